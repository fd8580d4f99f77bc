//! Portmap on port 111, asked by real clients in a network of their own. Needs root, and port 111 is free there.

mod root {
    use std::process::Command;

    use crate::server::Place;

    /// Runs in a network name space with nothing but loopback in it; `$STRATA` serves, then the rest is asked.
    const SCRIPT: &str = r#"
        set -eu
        ip link set lo up
        "$STRATA" serve --data "$DATA" --ports auto --nfs-portmap >/dev/null 2>"$DATA.log" &
        server=$!
        trap 'kill $server; wait $server || true' EXIT
        for _ in $(seq 300); do [ -e "$DATA/doors.json" ] && break; sleep 0.1; done
        echo 'nfs-ls:'; nfs-ls nfs://127.0.0.1/
        if command -v showmount >/dev/null; then echo 'showmount:'; showmount -e 127.0.0.1; fi
        if command -v rpcinfo >/dev/null; then echo 'rpcinfo:'; rpcinfo -p 127.0.0.1; rpcinfo -t 127.0.0.1 nfs 3; fi
        if command -v rpcinfo >/dev/null; then rpcinfo -t 127.0.0.1 nlockmgr 4; rpcinfo -u 127.0.0.1 status 1; fi
        echo done
    "#;

    #[test]
    fn clients_that_are_told_no_port_find_nfs_mount_and_locks() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: port 111 and a network of its own need root");
            return;
        }
        let place = Place::new();
        let output = Command::new("unshare")
            .args(["--net", "sh", "-c", SCRIPT])
            .env("STRATA", env!("CARGO_BIN_EXE_strata"))
            .env("DATA", place.data())
            .output()
            .expect("unshare runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.ends_with("done\n"), "{output:?}");
        if let Some((_, listed)) = said.split_once("showmount:\n") {
            assert!(listed.lines().any(|line| line.starts_with("/ ")), "{said}");
        }
        if let Some((_, listed)) = said.split_once("rpcinfo:\n") {
            for program in ["100003", "100005", "100021", "100024", "100000"] {
                assert!(listed.lines().any(|line| line.trim_start().starts_with(program)), "{said}");
            }
            for ready in ["100003 version 3", "100021 version 4", "100024 version 1"] {
                assert!(listed.contains(&format!("program {ready} ready and waiting")), "{said}");
            }
        }
    }
}

//! `strata locks`, and one lock at every door: the page "Locks" from outside.

use serde_json::Value;

use crate::drive::Drive;
use crate::http::Answer;
use crate::nfs::Nfs;
use crate::s3::S3;
use crate::server::{Place, Server, can_mount, complaint, run};
use crate::webdav::WebDav;

const INFO: &[u8] = b"<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype><owner>somebody</owner></lockinfo>";

/// Locks a path over WebDAV and returns the token.
fn lock(server: &Server<'_>, path: &str) -> String {
    let answer = WebDav::of(server).send("LOCK", path, &[], INFO);
    assert!(matches!(answer.status, 200 | 201), "{}", answer.status);
    token_of(&answer)
}

fn token_of(answer: &Answer) -> String {
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let (_, rest) = text.split_once("urn:uuid:").expect("a token");
    format!("urn:uuid:{}", &rest[..36])
}

fn locks(place: &Place, arguments: &[&str]) -> Value {
    let data = place.data_arg();
    let all = [&["locks"], arguments, &["--data", &data, "--json"]].concat();
    let output = run(&all);
    assert!(output.status.success(), "{all:?}: {}", complaint(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn paths(place: &Place, arguments: &[&str]) -> Vec<String> {
    let all = locks(place, arguments);
    all.as_array().unwrap().iter().map(|lock| lock["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn locks_are_listed_and_broken_beside_a_server_and_at_rest() {
    let place = Place::new();
    let server = place.serve(1, &[]);
    for bucket in ["bkt", "other"] {
        S3::of(&server).make_bucket(bucket);
    }
    assert_eq!(paths(&place, &["list"]), Vec::<String>::new());
    for key in ["/bkt/dir/a", "/bkt/dir/b", "/bkt/z", "/other/x"] {
        assert_eq!(S3::of(&server).send("PUT", key, "", &[], b"x").status, 200);
    }
    let tokens = ["/bkt/dir/a", "/bkt/z", "/other/x"].map(|path| lock(&server, path));
    let shown = locks(&place, &["list", "bkt/dir"]);
    assert_eq!(shown.as_array().unwrap().len(), 1);
    let shown = &shown[0];
    assert_eq!(shown["path"], "/bkt/dir/a");
    assert_eq!(shown["token"], tokens[0]);
    assert_eq!(shown["user"], server.door("webdav", "user"));
    assert_eq!((&shown["kind"], &shown["depth"]), (&"exclusive".into(), &"infinity".into()));
    assert!((3_500..=3_600).contains(&shown["expires_in"].as_i64().unwrap()), "{shown}");
    assert!(shown["owner"].as_str().unwrap().contains("somebody"), "{shown}");
    let status = run(&["status", "--data", &place.data_arg(), "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&status.stdout).unwrap()["locks"], 3);

    // Broken by its token, beside the server: the next write goes through.
    let webdav = WebDav::of(&server);
    assert_eq!(webdav.send("PUT", "/bkt/dir/a", &[], b"y").status, 423);
    let broken = locks(&place, &["break", &tokens[0]]);
    assert_eq!(broken[0]["path"], "/bkt/dir/a");
    assert_eq!(webdav.send("PUT", "/bkt/dir/a", &[], b"y").status, 204);
    let held = format!("(<{}>)", tokens[0]);
    assert_eq!(webdav.send("PUT", "/bkt/dir/a", &[("if", &held)], b"z").status, 412, "its holder is told");
    for (which, says) in [(&*tokens[0], "there is no lock"), ("/bkt/none\x1b[2J", "\\u{1b}")] {
        let output = run(&["locks", "break", which, "--data", &place.data_arg()]);
        assert_eq!(output.status.code(), Some(1));
        let said = complaint(&output);
        assert!(said.contains(says) && said.contains("nothing was changed"), "{said}");
    }
    assert!(server.stop().success());

    // Broken by its path, at rest; a restart of the server finds the one that is left.
    assert_eq!(paths(&place, &["list"]), ["/bkt/z", "/other/x"]);
    let data = place.data_arg();
    let words = run(&["locks", "break", "bkt/z", "--data", &data]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("the exclusive lock of") && words.contains("on /bkt/z is broken"), "{words}");
    let table = String::from_utf8(run(&["locks", "list", "--data", &data]).stdout).unwrap();
    assert!(table.contains("/other/x") && !table.contains("/bkt/z"), "{table}");
    let server = place.serve_again(&[]);
    assert_eq!(WebDav::of(&server).send("PUT", "/other/x", &[], b"y").status, 423);
    assert_eq!(WebDav::of(&server).send("PUT", "/bkt/z", &[], b"y").status, 204);
    assert!(server.stop().success());
    assert!(run(&["fsck", "--data", &data]).status.success());
}

#[test]
fn a_lock_is_refused_at_every_door_in_its_own_words_until_it_is_broken() {
    let place = Place::new();
    let server = place.serve_with_drive(1);
    let s3 = S3::of(&server);
    s3.make_bucket("bkt");
    assert_eq!(s3.send("PUT", "/bkt/dir/file", "", &[], b"before").status, 200);
    let token = lock(&server, "/bkt/dir");
    let put = |path: &str| s3.send("PUT", path, "", &[], b"after");
    for path in ["/bkt/dir/file", "/bkt/dir/new"] {
        let answer = put(path);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 409, "{text}");
        assert!(text.contains("<Code>ResourceLocked</Code>") && text.contains("/bkt/dir"), "{text}");
    }
    assert_eq!(WebDav::of(&server).send("PUT", "/bkt/dir/file", &[], b"x").status, 423);
    if can_mount() {
        let file = Drive(place.drive()).at("/bkt/dir/file");
        let busy = |outcome: std::io::Result<()>| {
            assert_eq!(outcome.unwrap_err().raw_os_error(), Some(rustix::io::Errno::BUSY.raw_os_error()));
        };
        busy(Drive::write_at(&file, 0, b"x"));
        busy(std::fs::remove_file(&file));
        assert_eq!(std::fs::read(&file).unwrap(), b"before");
    }
    locks(&place, &["break", &token]);
    assert_eq!(put("/bkt/dir/file").status, 200);
    assert_eq!(put("/bkt/dir/new").status, 200);
}

#[test]
fn what_nfs_clients_hold_is_listed_with_its_bytes_and_broken_and_ends_with_the_server() {
    const GRANTED: u32 = 0;
    const DENIED: u32 = 1;
    let place = Place::new();
    let server = place.serve(1, &[]);
    S3::of(&server).make_bucket("bkt");
    let nfs = Nfs::of(&server);
    for path in ["bkt/a", "bkt/b"] {
        nfs.put(path, b"x").unwrap();
    }
    assert_eq!(nfs.lock("bkt/a", 7, 10, 5), GRANTED);
    assert_eq!(nfs.lock("bkt/a", 7, 100, 0), GRANTED);
    assert_eq!(nfs.lock("bkt/b", 8, 0, 0), GRANTED);
    assert_eq!(paths(&place, &["list", "bkt"]), ["/bkt/a", "/bkt/a", "/bkt/b"]);
    let shown = locks(&place, &["list", "bkt/a"]);
    let [first, second] = [&shown[0], &shown[1]];
    assert_eq!(
        (&first["door"], &first["kind"], &first["client"]),
        (&"nfs".into(), &"exclusive".into(), &"127.0.0.1".into())
    );
    assert_eq!((&first["host"], &first["process"]), (&"testing".into(), &7.into()));
    assert_eq!((&first["bytes"], &second["bytes"]), (&serde_json::json!([10, 14]), &serde_json::json!([100, null])));
    assert_eq!(first["token"], second["token"], "of one owner");
    let data = place.data_arg();
    let table = String::from_utf8(run(&["locks", "list", "--data", &data]).stdout).unwrap();
    for words in ["process 7 of testing (127.0.0.1)", "bytes 10 to 14", "bytes from 100", "all bytes"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let status = run(&["status", "--data", &data]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("NFS clients hold 3 locks"), "{status:?}");
    // By the token, all locks of the owner on the file are broken; by the path, all locks of anybody.
    assert_eq!(nfs.lock("bkt/a", 9, 10, 1), DENIED);
    assert_eq!(locks(&place, &["break", first["token"].as_str().unwrap()]).as_array().unwrap().len(), 2);
    assert_eq!(nfs.lock("bkt/a", 9, 10, 1), GRANTED);
    assert_eq!(locks(&place, &["break", "/bkt/a"])[0]["process"], 9);
    assert_eq!(paths(&place, &["list"]), ["/bkt/b"]);
    assert!(server.stop().success());
    assert_eq!(paths(&place, &["list"]), Vec::<String>::new(), "nobody serves it");
    // The client gets time to ask for it again, and nobody else gets it meanwhile.
    const GRACE: u32 = 4;
    let server = place.serve_again(&[]);
    assert_eq!(Nfs::of(&server).lock("bkt/b", 9, 0, 0), GRACE);
    assert!(server.stop().success());
    let server = place.serve_again(&["--nfs-grace-seconds", "0"]);
    assert_eq!(Nfs::of(&server).lock("bkt/b", 9, 0, 0), GRANTED);
    assert!(server.stop().success());
    assert!(run(&["fsck", "--data", &data]).status.success());
}

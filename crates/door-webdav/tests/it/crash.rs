//! What a reply confirmed is there after a power cut: the disks are simulated, and what they had not synced is lost.

use std::sync::Arc;

use strata_door_webdav::DavConfig;
use strata_namespace::{Condition, ObjectMeta};
use strata_runtime::OpenStore;
use strata_seam::sim::SimWorld;
use strata_seam::{Disk, SystemClock, SystemEntropy};
use tempfile::TempDir;

use crate::support::{Server, noise, root, store_config};

fn over(world: &SimWorld) -> Server {
    let disks = (0..3).map(|n| -> Arc<dyn Disk> { world.disk(&format!("disk{n}")) }).collect();
    let store =
        OpenStore::open(store_config(disks), Arc::new(SystemClock::new()), &SystemEntropy).expect("the store opens");
    Server::over(store, Arc::new(TempDir::new().expect("a folder")), DavConfig::default())
}

/// Runs `before`, cuts the power as soon as it has its last reply, and looks at what is left.
fn power_cut(before: impl Fn(&Server), after: impl Fn(&Server)) {
    for seed in 0..4 {
        let world = SimWorld::new(seed);
        let server = over(&world);
        server.client().ok("MKCOL", "/bkt");
        before(&server);
        let left = world.fork();
        left.restart(seed);
        drop(server);
        let server = over(&left);
        after(&server);
        server.sound();
    }
}

#[test]
fn an_acknowledged_put_survives_a_power_cut() {
    let body = noise(5, 300_000);
    power_cut(
        |server| {
            server.client().put("/bkt/file", &body);
        },
        |server| assert!(server.client().get("/bkt/file") == body),
    );
}

#[test]
fn acknowledged_changes_of_the_tree_survive_a_power_cut() {
    power_cut(
        |server| {
            let mut client = server.client();
            client.ok("MKCOL", "/bkt/dir");
            client.put("/bkt/dir/file", b"x");
            client.put("/bkt/gone", b"y");
            assert_eq!(client.to("COPY", "/bkt/dir", "/bkt/copy", &[]), 201);
            assert_eq!(client.to("MOVE", "/bkt/dir", "/bkt/moved", &[]), 201);
            client.ok("DELETE", "/bkt/gone");
        },
        |server| {
            let mut client = server.client();
            assert_eq!(client.list("/bkt/"), ["/bkt/", "/bkt/copy/", "/bkt/moved/"]);
            assert_eq!(client.get("/bkt/copy/file"), b"x");
            assert_eq!(client.get("/bkt/moved/file"), b"x");
        },
    );
}

#[test]
fn an_acknowledged_partial_write_survives_a_power_cut() {
    power_cut(
        |server| {
            let mut client = server.client();
            client.put("/bkt/file", b"0123456789");
            assert_eq!(client.ask("PUT", "/bkt/file", &[("content-range", "bytes 2-4/10")], b"abc").status, 204);
        },
        |server| assert_eq!(server.client().get("/bkt/file"), b"01abc56789"),
    );
}

#[test]
fn locks_and_properties_survive_a_power_cut() {
    power_cut(
        |server| {
            let mut client = server.client();
            client.put("/bkt/file", b"x");
            let patch = b"<propertyupdate xmlns='DAV:'><set><prop><x xmlns='u'>kept</x></prop></set></propertyupdate>";
            assert_eq!(client.ask("PROPPATCH", "/bkt/file", &[], patch).status, 207);
            let info =
                b"<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
            assert_eq!(client.ask("LOCK", "/bkt/file", &[], info).status, 200);
        },
        |server| {
            let mut client = server.client();
            assert_eq!(client.ask("PUT", "/bkt/file", &[], b"y").status, 423);
            assert!(client.property("/bkt/file", "u", "x").unwrap().contains("kept"));
        },
    );
}

#[test]
fn what_a_reader_was_told_survives_a_power_cut_though_its_writer_had_no_answer_yet() {
    for method in ["GET", "PROPFIND"] {
        power_cut(
            |server| {
                let (ns, op) = (server.ns(), root());
                let content = ns.ingest(&op, "bkt").unwrap().finish().unwrap();
                ns.put_object(&op, "bkt", b"file", content, None, ObjectMeta::default(), &Condition::default())
                    .unwrap();
                // Nobody waits for `op`; the reader's own reply must.
                let path = if method == "GET" { "/bkt/file" } else { "/bkt/" };
                let reply = server.client().ask(method, path, &[("depth", "1")], b"");
                assert!(reply.status == 200 || reply.text().contains("/bkt/file"));
            },
            |server| assert_eq!(server.client().get("/bkt/file"), b""),
        );
    }
}

#[test]
fn a_download_whose_bytes_cannot_be_read_is_broken_off_and_never_filled_in() {
    let body = noise(6, 4_000_000);
    let world = SimWorld::new(1);
    let server = over(&world);
    server.client().ok("MKCOL", "/bkt");
    server.client().put("/bkt/file", &body);
    let left = world.fork();
    left.kill_process();
    drop(server);
    // Nothing is in memory any more, and more disks are lost than the parity can replace.
    let server = over(&left);
    left.vanish("disk0");
    left.vanish("disk1");
    let mut client = server.client();
    // Either the connection ends early, or the reply says that it failed.
    if let Ok(reply) = client.send("GET", "/bkt/file", &[], b"") {
        assert!(!reply.whole || reply.status >= 500, "{}", reply.status);
    }
}

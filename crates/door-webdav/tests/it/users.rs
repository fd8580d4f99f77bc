//! Section "Who may": credentials, and the mode bits behind them.

use std::time::Duration;

use strata_door_webdav::DavConfig;
use strata_namespace::SetAttr;
use strata_seam::Stopwatch;

use crate::support::{Server, root};

#[test]
fn nobody_is_anonymous() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    for (name, password) in [("root", "wrong"), ("root", ""), ("nobody", "not-a-secret-at-all"), ("", "")] {
        let reply = server.stranger().login(name, password).ask("GET", "/bkt/file", &[], b"");
        assert_eq!(reply.status, 401, "{name}");
        assert!(reply.expect("www-authenticate").starts_with("Basic realm="));
    }
    for method in ["GET", "PUT", "DELETE", "PROPFIND", "MKCOL", "LOCK"] {
        assert_eq!(server.stranger().ask(method, "/bkt/file", &[], b"").status, 401, "{method}");
    }
    assert_eq!(client.get("/bkt/file"), b"x");
}

/// Whoever has not shown who it is gets its answer although its body does not end, and holds nobody up.
#[test]
fn strangers_whose_bodies_do_not_end_are_answered_and_keep_nobody_out() {
    let server = Server::with(DavConfig { in_flight_max: 8, ..DavConfig::default() });
    server.client().put("/bkt/file", b"x");
    let mut strangers: Vec<_> = (0..24).map(|_| server.stranger()).collect();
    let began = Stopwatch::start();
    for (n, stranger) in strangers.iter_mut().enumerate() {
        let method = ["PUT", "PROPFIND", "OPTIONS"][n % 3];
        let head = stranger.head(method, "/bkt/file", &[("transfer-encoding", "chunked")]);
        stranger.write(format!("{head}\r\n1\r\na\r\n").as_bytes()).unwrap();
    }
    for stranger in &mut strangers {
        let reply = stranger.reply(false).unwrap();
        assert!([401, 200, 503].contains(&reply.status), "{} {}", reply.status, reply.text());
        assert_eq!(reply.expect("connection"), "close");
    }
    assert_eq!(server.client().get("/bkt/file"), b"x");
    // Much less than the time for which a client may be silent.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn the_access_key_logs_in_as_well_as_the_name() {
    let server = Server::start();
    let key = server.users().by_name("root").unwrap().access_key.clone();
    assert_eq!(server.client_of(&key).status("PROPFIND", "/", &[("depth", "0")]), 207);
}

#[test]
fn options_are_told_to_everybody_and_are_the_same_for_every_path() {
    let server = Server::start();
    let one = server.stranger().ask("OPTIONS", "/", &[], b"");
    let two = server.stranger().ask("OPTIONS", "/no/such/thing", &[], b"");
    assert_eq!((one.status, one.expect("dav"), one.expect("allow")), (200, two.expect("dav"), two.expect("allow")));
    assert_eq!(one.expect("dav"), "1, 2, 3, sabredav-partialupdate");
    assert_eq!(one.expect("ms-author-via"), "DAV");
}

#[test]
fn mode_bits_decide_for_users_that_are_no_administrators() {
    let server = Server::start();
    let mut admin = server.client();
    let mut ann = server.user("ann", 1001);
    let op = root();
    server.ns().set_bucket_mode(&op, "bkt", 0o644).unwrap();
    admin.put("/bkt/file", b"x");
    admin.ok("MKCOL", "/bkt/ann");
    let home = server.ns().resolve(&op, b"bkt/ann").unwrap();
    server.ns().setattr(&op, home.ino, &SetAttr { uid: Some(1001), mode: Some(0o700), ..SetAttr::default() }).unwrap();
    // Others may read what root made, no more.
    assert_eq!(ann.get("/bkt/file"), b"x");
    for (method, path) in [
        ("PUT", "/bkt/file"),
        ("PUT", "/bkt/new"),
        ("DELETE", "/bkt/file"),
        ("MKCOL", "/bkt/dir"),
        ("MKCOL", "/annsown"),
    ] {
        let status = ann.ask(method, path, &[], b"").status;
        assert_eq!(status, 403, "{method} {path}");
    }
    assert_eq!(ann.to("MOVE", "/bkt/file", "/bkt/ann/file", &[]), 403);
    let lock = b"<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
    assert_eq!(ann.ask("LOCK", "/bkt/file", &[], lock).status, 403);
    let patch = b"<propertyupdate xmlns='DAV:'><set><prop><x xmlns='u'>1</x></prop></set></propertyupdate>";
    assert_eq!(ann.ask("PROPPATCH", "/bkt/file", &[], patch).status, 403);
    // Her own folder is hers alone.
    ann.put("/bkt/ann/file", b"y");
    assert_eq!(ann.to("COPY", "/bkt/file", "/bkt/ann/copy", &[]), 201);
    let mut bob = server.user("bob", 1002);
    assert_eq!(bob.status("GET", "/bkt/ann/file", &[]), 403);
    assert_eq!(bob.status("PROPFIND", "/bkt/ann", &[("depth", "1")]), 403);
    assert_eq!(admin.get("/bkt/file"), b"x");
}

#[test]
fn what_is_made_is_its_owners_alone_unless_the_bucket_says_otherwise() {
    let server = Server::start();
    let (mut admin, mut ann) = (server.client(), server.user("ann", 1001));
    let op = root();
    let mode = |path: &str| server.ns().resolve(&op, path.as_bytes()).unwrap().mode;
    let make = |admin: &mut crate::client::Client, suffix: &str| {
        admin.ok("MKCOL", &format!("/bkt/dir{suffix}"));
        admin.put(&format!("/bkt/dir{suffix}/file"), b"x");
        let part = [("content-range", "bytes 0-0/1"), ("content-length", "1")];
        assert_eq!(admin.ask("PUT", &format!("/bkt/part{suffix}"), &part[..1], b"x").status, 201);
        let lock =
            b"<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
        assert_eq!(admin.ask("LOCK", &format!("/bkt/locked{suffix}"), &[], lock).status, 201);
        assert_eq!(admin.to("COPY", &format!("/bkt/dir{suffix}"), &format!("/bkt/copy{suffix}"), &[]), 201);
        ["dir", "dir*/file", "part", "locked", "copy", "copy*/file"].map(|name| {
            let name = if name.contains('*') { name.replace('*', suffix) } else { format!("{name}{suffix}") };
            mode(&format!("bkt/{name}"))
        })
    };
    assert_eq!(mode("bkt"), 0o700);
    assert_eq!(make(&mut admin, "1"), [0o700, 0o600, 0o600, 0o600, 0o700, 0o600]);
    assert_eq!(ann.status("GET", "/bkt/dir1/file", &[]), 403);
    server.ns().set_bucket_mode(&op, "bkt", 0o640).unwrap();
    assert_eq!(mode("bkt"), 0o750);
    assert_eq!(make(&mut admin, "2"), [0o750, 0o640, 0o640, 0o640, 0o750, 0o640]);
    assert_eq!(mode("bkt/dir1/file"), 0o600, "what was there stays");
}

#[test]
fn who_may_make_buckets_is_a_right_of_the_user_and_their_owner_removes_them() {
    let server = Server::start();
    let mut ann = server.user("ann", 1001);
    // The mode of the root counts only at file doors.
    let open = SetAttr { mode: Some(0o777), ..SetAttr::default() };
    server.ns().setattr(&root(), strata_namespace::ROOT_INO, &open).unwrap();
    let refused = ann.ask("MKCOL", "/anns", &[], b"");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("strata user set NAME --may-make-buckets"), "{}", refused.text());
    server.users().set_may_make_buckets(&root(), "ann", true).unwrap();
    ann.ok("MKCOL", "/anns");
    ann.put("/anns/file", b"x");
    let mut bob = server.user("bob", 1002);
    assert_eq!(bob.status("GET", "/anns/file", &[]), 403);
    assert_eq!(bob.status("DELETE", "/anns", &[]), 403);
    ann.ok("DELETE", "/anns/file");
    ann.ok("DELETE", "/anns");
}

#[test]
fn beyond_the_limit_of_requests_in_progress_a_client_is_told_to_come_back() {
    let server = Server::with(DavConfig { in_flight_max: 1, ..DavConfig::default() });
    let mut slow = server.client();
    let head = slow.head("PUT", "/bkt/file", &[("content-length", "2")]);
    slow.write(format!("{head}\r\n1").as_bytes()).unwrap();
    let refused = (0..500).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        let reply = server.client().ask("HEAD", "/bkt", &[], b"");
        (reply.status == 503).then_some(reply)
    });
    assert_eq!(refused.expect("the slow request holds the only place").expect("retry-after"), "1");
    slow.write(b"2").unwrap();
    assert_eq!(slow.reply(false).unwrap().status, 201);
    assert_eq!(server.client().get("/bkt/file"), b"12");
}

#[test]
fn slow_uploads_of_one_user_leave_places_for_the_others() {
    let server = Server::with(DavConfig { in_flight_max: 8, ..DavConfig::default() });
    let slow: Vec<_> = (0..8)
        .map(|n| {
            let mut client = server.client();
            let head = client.head("PUT", &format!("/bkt/slow{n}"), &[("content-length", "2")]);
            client.write(format!("{head}\r\n1").as_bytes()).unwrap();
            client
        })
        .collect();
    let refused = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        server.client().ask("HEAD", "/bkt", &[], b"").status == 503
    });
    assert!(refused, "this user has its share");
    // The bucket does not belong to bob, but he gets an answer.
    assert_eq!(server.user("bob", 1002).status("HEAD", "/bkt/", &[]), 403);
    drop(slow);
}

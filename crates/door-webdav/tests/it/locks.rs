//! Section "Conditions and locks", the locks.

use strata_namespace::{Caller, Condition, ErrorKind, ObjectMeta, Op, STORE};

use crate::client::{Client, Reply};
use crate::support::{Server, between, root};

fn info(scope: &str) -> String {
    format!(
        "<lockinfo xmlns='DAV:'><lockscope><{scope}/></lockscope><locktype><write/></locktype><owner>someone</owner></lockinfo>"
    )
}

fn try_lock(client: &mut Client, path: &str, scope: &str, headers: &[(&str, &str)]) -> Reply {
    client.ask("LOCK", path, headers, info(scope).as_bytes())
}

/// Locks exclusively and returns the token.
#[track_caller]
fn lock(client: &mut Client, path: &str) -> String {
    let reply = try_lock(client, path, "exclusive", &[]);
    assert!(matches!(reply.status, 200 | 201), "{} {}", reply.status, reply.text());
    reply.expect("lock-token").trim_matches(['<', '>']).to_owned()
}

fn with(token: &str) -> String {
    format!("(<{token}>)")
}

#[test]
fn a_lock_keeps_everybody_without_its_token_from_changing_the_resource() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    client.put("/bkt/other", b"o");
    let token = lock(&mut client, "/bkt/file");
    for method in ["PUT", "DELETE", "PROPPATCH"] {
        let body: &[u8] = if method == "PROPPATCH" {
            b"<propertyupdate xmlns='DAV:'><set><prop><x xmlns='u'>1</x></prop></set></propertyupdate>"
        } else {
            b""
        };
        assert_eq!(client.ask(method, "/bkt/file", &[], body).status, 423, "{method}");
    }
    assert_eq!(client.ask("PUT", "/bkt/file", &[("content-range", "bytes 0-0/*")], b"y").status, 423);
    assert_eq!(client.to("MOVE", "/bkt/file", "/bkt/away", &[]), 423);
    assert_eq!(client.to("MOVE", "/bkt/other", "/bkt/file", &[]), 423);
    assert_eq!(client.to("COPY", "/bkt/other", "/bkt/file", &[]), 423);
    assert_eq!(client.get("/bkt/file"), b"x");
    assert_eq!(client.ask("PUT", "/bkt/file", &[("if", &with(&token))], b"y").status, 204);
    assert_eq!(client.status("UNLOCK", "/bkt/file", &[("lock-token", &format!("<{token}>"))]), 204);
    assert_eq!(client.ask("PUT", "/bkt/file", &[], b"z").status, 204);
}

#[test]
fn a_token_helps_only_the_user_it_was_given_to() {
    let server = Server::start();
    let mut admin = server.client();
    admin.put("/bkt/file", b"x");
    let token = lock(&mut admin, "/bkt/file");
    server.add_user("second", 0, true);
    let mut thief = server.client_of("second");
    assert_eq!(thief.ask("PUT", "/bkt/file", &[("if", &with(&token))], b"y").status, 423);
    // But an administrator may break it.
    assert_eq!(thief.status("UNLOCK", "/bkt/file", &[("lock-token", &format!("<{token}>"))]), 204);
    assert_eq!(thief.ask("PUT", "/bkt/file", &[], b"y").status, 204);
}

#[test]
fn locks_survive_a_restart_of_the_server() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let token = lock(&mut client, "/bkt/file");
    drop(client);
    let server = server.restart();
    let mut client = server.client();
    assert_eq!(client.ask("PUT", "/bkt/file", &[], b"y").status, 423);
    assert!(client.property("/bkt/file", "DAV:", "lockdiscovery").unwrap().contains(&token));
    assert_eq!(client.ask("PUT", "/bkt/file", &[("if", &with(&token))], b"y").status, 204);
}

#[test]
fn a_lock_of_a_collection_covers_what_is_and_comes_below() {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/bkt/dir");
    client.put("/bkt/dir/file", b"x");
    let token = lock(&mut client, "/bkt/dir");
    assert_eq!(client.ask("PUT", "/bkt/dir/file", &[], b"y").status, 423);
    assert_eq!(client.ask("PUT", "/bkt/dir/new", &[], b"y").status, 423);
    assert_eq!(
        client
            .ask(
                "PUT",
                "/bkt/dir/new",
                &[("if", &format!("<http://{}/bkt/dir> {}", server.address, with(&token)))],
                b"y"
            )
            .status,
        201
    );
    assert_eq!(try_lock(&mut client, "/bkt/dir/file", "exclusive", &[]).status, 423);
    // A lock with depth 0 protects the list of members, not their content.
    client.ok("MKCOL", "/bkt/flat");
    client.put("/bkt/flat/file", b"x");
    assert_eq!(try_lock(&mut client, "/bkt/flat", "exclusive", &[("depth", "0")]).status, 200);
    assert_eq!(client.ask("PUT", "/bkt/flat/file", &[], b"y").status, 204);
    assert_eq!(client.ask("PUT", "/bkt/flat/new", &[], b"y").status, 423);
    assert_eq!(client.status("DELETE", "/bkt/flat/file", &[]), 423);
}

#[test]
fn shared_locks_live_together_and_exclusive_ones_alone() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let one = try_lock(&mut client, "/bkt/file", "shared", &[]);
    let two = try_lock(&mut client, "/bkt/file", "shared", &[]);
    assert_eq!((one.status, two.status), (200, 200));
    assert_eq!(try_lock(&mut client, "/bkt/file", "exclusive", &[]).status, 423);
    assert_eq!(client.ask("PUT", "/bkt/file", &[], b"y").status, 423);
    let token = one.expect("lock-token").trim_matches(['<', '>']).to_owned();
    assert_eq!(client.ask("PUT", "/bkt/file", &[("if", &with(&token))], b"y").status, 204);
}

#[test]
fn locking_an_unmapped_url_makes_an_empty_file() {
    let server = Server::start();
    let mut client = server.client();
    let reply = try_lock(&mut client, "/bkt/new", "exclusive", &[]);
    assert_eq!(reply.status, 201);
    assert_eq!(client.get("/bkt/new"), b"");
    assert_eq!(try_lock(&mut client, "/bkt/none/new", "exclusive", &[]).status, 409);
    server.sound();
}

#[test]
fn a_lock_ends_with_its_resource_and_does_not_move() {
    let server = Server::start();
    let mut client = server.client();
    for (method, destination) in [("DELETE", None), ("MOVE", Some("/bkt/moved"))] {
        client.put("/bkt/file", b"x");
        let token = with(&lock(&mut client, "/bkt/file"));
        let mut headers = vec![("if", token.as_str())];
        headers.extend(destination.map(|to| ("destination", to)));
        assert!(matches!(client.status(method, "/bkt/file", &headers), 201 | 204));
        client.put("/bkt/file", b"new");
        client.ok("DELETE", "/bkt/file");
    }
    client.put("/bkt/moved", b"unlocked");
}

#[test]
fn a_lock_lasts_an_hour_at_most_and_is_refreshed_by_its_token() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let seconds = |reply: &Reply| -> u64 { between(&reply.text(), "Second-", "<")[0].parse().unwrap() };
    let reply = try_lock(&mut client, "/bkt/file", "exclusive", &[("timeout", "Infinite, Second-4100000000")]);
    assert!((3_590..=3_600).contains(&seconds(&reply)), "{}", reply.text());
    let token = with(reply.expect("lock-token").trim_matches(['<', '>']));
    let half = client.ask("LOCK", "/bkt/file", &[("if", &token), ("timeout", "Second-1800")], b"");
    assert!((1_790..=1_800).contains(&seconds(&half)), "{}", half.text());
    let refreshed = client.ask("LOCK", "/bkt/file", &[("if", &token), ("timeout", "Second-60")], b"");
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    assert!(seconds(&refreshed) <= 60, "{}", refreshed.text());
    assert_eq!(client.status("LOCK", "/bkt/file", &[("if", "(<urn:uuid:00000000-0000-4000-8000-000000000000>)")]), 412);
    assert_eq!(
        client.status("UNLOCK", "/bkt/file", &[("lock-token", "<urn:uuid:00000000-0000-4000-8000-000000000000>")]),
        409
    );
}

#[test]
fn an_expired_lock_is_no_lock() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let reply = try_lock(&mut client, "/bkt/file", "shared", &[("timeout", "Second-1")]);
    assert_eq!(reply.status, 200);
    assert_eq!(client.ask("PUT", "/bkt/file", &[], b"y").status, 423);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert_eq!(client.ask("PUT", "/bkt/file", &[], b"y").status, 204);
    let found = client.property("/bkt/file", "DAV:", "lockdiscovery").unwrap();
    assert!(!found.contains("activelock"), "{found}");
}

#[test]
fn a_listing_tells_the_locks() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let token = lock(&mut client, "/bkt/file");
    let found = client.property("/bkt/file", "DAV:", "lockdiscovery").unwrap();
    assert!(found.contains(&token) && found.contains("someone"), "{found}");
}

#[test]
fn a_lock_binds_every_other_door_as_it_does_this_one() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let token = lock(&mut client, "/bkt/file");
    let (ns, op) = (server.ns(), root());
    let put = || {
        let content = ns.ingest(&op, "bkt").unwrap().finish().unwrap();
        let (meta, any) = (ObjectMeta::default(), Condition::default());
        ns.put_object(&op, "bkt", b"file", content, None, meta, &any).map(drop).map_err(|error| error.kind)
    };
    assert_eq!(put(), Err(ErrorKind::Locked));
    assert_eq!(client.get("/bkt/file"), b"x");
    assert_eq!(client.status("UNLOCK", "/bkt/file", &[("lock-token", &format!("<{token}>"))]), 204);
    assert_eq!(put(), Ok(()));
    assert_eq!(client.get("/bkt/file"), b"");
}

#[test]
fn only_an_administrator_locks_the_root() {
    let server = Server::start();
    assert_eq!(try_lock(&mut server.user("ann", 1001), "/", "exclusive", &[]).status, 403);
    assert_eq!(try_lock(&mut server.client(), "/", "exclusive", &[("depth", "0")]).status, 200);
}

#[test]
fn malformed_lock_requests_are_refused() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let bomb = b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><lockinfo xmlns='DAV:'>&a;</lockinfo>";
    for body in [&b"<lockinfo"[..], &bomb[..], b"<other/>", b"not xml"] {
        let status = client.ask("LOCK", "/bkt/file", &[], body).status;
        assert_eq!(status, 400, "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(client.ask("PUT", "/bkt/file", &[], b"y").status, 204);
}

#[test]
fn a_lock_of_a_file_that_an_operator_removed_ends_with_it() {
    let server = Server::start();
    let mut client = server.client();
    // Others are refused; only the operator of the store passes locks.
    let operator = Op::new(Caller::root(&STORE));
    let bucket = server.ns().lookup(&root(), strata_namespace::ROOT_INO, b"bkt").unwrap().ino;
    // A file that was there before, and one that its lock made.
    client.put("/bkt/old", b"x");
    for path in ["/bkt/old", "/bkt/new"] {
        let token = lock(&mut client, path);
        assert_eq!(client.ask("PUT", path, &[], b"y").status, 423, "{path}");
        let name = path.rsplit('/').next().unwrap().as_bytes();
        assert_eq!(server.ns().unlink(&root(), bucket, name).map_err(|error| error.kind), Err(ErrorKind::Locked));
        server.ns().unlink(&operator, bucket, name).unwrap();
        assert_eq!(client.ask("PUT", path, &[], b"y").status, 201, "{path}");
        // A new file of that name is locked for nobody.
        assert_eq!(client.ask("PUT", path, &[("if", &with(&token))], b"z").status, 412, "{path}");
        assert!(!client.property(path, "DAV:", "lockdiscovery").unwrap().contains(&token), "{path}");
        let again = lock(&mut client, path);
        assert_ne!(again, token);
    }
}

#[test]
fn a_lock_outlives_new_content_and_its_file_is_renamed_by_nobody_else() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let token = lock(&mut client, "/bkt/file");
    assert_eq!(client.ask("PUT", "/bkt/file", &[("if", &with(&token))], b"new content").status, 204);
    assert_eq!(client.ask("PUT", "/bkt/file", &[], b"y").status, 423);
    let bucket = server.ns().lookup(&root(), strata_namespace::ROOT_INO, b"bkt").unwrap().ino;
    let (from, to) = ((bucket, &b"file"[..]), (bucket, &b"away"[..]));
    let renamed = server.ns().rename(&root(), from, to, strata_namespace::RenameMode::Replace);
    assert_eq!(renamed.map_err(|error| error.kind), Err(ErrorKind::Locked));
    assert_eq!(client.ask("PUT", "/bkt/file", &[("if", &with(&token))], b"mine").status, 204);
}

#[test]
fn who_is_refused_by_a_lock_is_told_where_it_is() {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/bkt/d%20ir");
    lock(&mut client, "/bkt/d%20ir");
    let reply = client.ask("PUT", "/bkt/d%20ir/file", &[], b"y");
    assert_eq!(reply.status, 423);
    let element = "<D:lock-token-submitted><D:href>/bkt/d%20ir</D:href></D:lock-token-submitted>";
    assert!(reply.text().contains(element), "{}", reply.text());
    let reply = try_lock(&mut client, "/bkt/d%20ir", "exclusive", &[]);
    assert_eq!(reply.status, 423);
    assert!(reply.text().contains("<D:no-conflicting-lock><D:href>/bkt/d%20ir</D:href>"), "{}", reply.text());
}

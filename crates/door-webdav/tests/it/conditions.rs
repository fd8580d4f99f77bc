//! Section "Conditions and locks", the conditions.

use crate::support::{Server, root};

#[test]
fn conditions_guard_reading_and_writing() {
    let server = Server::start();
    let mut client = server.client();
    let etag = client.put("/bkt/file", b"x").expect("etag");
    let other = "\"0123\"";
    for (method, header, value, status) in [
        ("GET", "if-none-match", etag.as_str(), 304),
        ("GET", "if-none-match", "*", 304),
        ("GET", "if-none-match", other, 200),
        ("GET", "if-match", other, 412),
        ("GET", "if-match", etag.as_str(), 200),
        ("HEAD", "if-none-match", etag.as_str(), 304),
        ("GET", "if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT", 304),
        ("GET", "if-modified-since", "Sat, 01 Jan 2000 00:00:00 GMT", 200),
        ("GET", "if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT", 412),
        ("PUT", "if-match", other, 412),
        ("PUT", "if-none-match", "*", 412),
        ("PUT", "if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT", 412),
        ("DELETE", "if-match", other, 412),
        ("PROPFIND", "if-match", other, 412),
        ("DELETE", "if", "([\"0123\"])", 412),
        ("DELETE", "if", "(<urn:uuid:0>)", 412),
        ("PUT", "if", "(not-a-list", 400),
    ] {
        let headers = [(header, value), ("depth", "0")];
        let headers = if method == "PROPFIND" { &headers[..] } else { &headers[..1] };
        assert_eq!(client.status(method, "/bkt/file", headers), status, "{method} {header}: {value}");
    }
    assert_eq!(client.to("MOVE", "/bkt/file", "/bkt/else", &[("if-match", other)]), 412);
    assert_eq!(client.to("COPY", "/bkt/file", "/bkt/else", &[("if-match", other)]), 412);
    // Weak tags guard changes as strong ones do, and a date that comes twice is ignored.
    let weak = format!("W/{etag}");
    for method in ["PUT", "DELETE", "PROPPATCH"] {
        assert_eq!(client.status(method, "/bkt/file", &[("if-none-match", &weak)]), 412, "{method}");
    }
    let old = ("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT");
    assert_eq!(client.status("GET", "/bkt/file", &[old, old]), 200);
    assert_eq!(client.get("/bkt/file"), b"x");
    assert_eq!(client.status("PUT", "/bkt/new", &[("if-match", "*")]), 412);
    assert_eq!(client.ask("PUT", "/bkt/file", &[("if", &format!("([{etag}])"))], b"y").status, 204);
    assert_eq!(client.ask("PUT", "/bkt/new", &[("if-none-match", "*")], b"z").status, 201);
}

#[test]
fn a_range_of_another_version_is_not_given() {
    let server = Server::start();
    let mut client = server.client();
    let etag = client.put("/bkt/file", b"0123456789").expect("etag");
    let range = ("range", "bytes=2-3");
    assert_eq!(client.ask("GET", "/bkt/file", &[range, ("if-range", &etag)], b"").body, b"23");
    for other in ["\"old\"", "\"\u{e9}\"", "", etag.trim_matches('"'), &format!("W/{etag}")] {
        assert_eq!(client.ask("GET", "/bkt/file", &[range, ("if-range", other)], b"").body, b"0123456789", "{other}");
    }
}

#[test]
fn of_two_writers_with_the_same_etag_one_succeeds() {
    let server = Server::start();
    for round in 0..20 {
        let path = format!("/bkt/file{round}");
        let etag = server.client().put(&path, b"base").expect("etag");
        let write = |body: &'static [u8]| {
            let (mut client, path, etag) = (server.client(), path.clone(), etag.clone());
            std::thread::spawn(move || client.ask("PUT", &path, &[("if-match", &etag)], body).status)
        };
        let writers = [write(b"one"), write(b"two")];
        let mut statuses = writers.map(|writer| writer.join().unwrap());
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 412]);
    }
}

#[test]
fn nobody_removes_or_moves_what_was_replaced_since_it_was_judged() {
    let server = Server::start();
    for round in 0..40 {
        let path = format!("/bkt/file{round}");
        let etag = server.client().put(&path, b"base").expect("etag");
        let writer = {
            let (mut client, path) = (server.client(), path.clone());
            std::thread::spawn(move || client.ask("PUT", &path, &[], b"new").status)
        };
        let remover = {
            let (mut client, path) = (server.client(), path.clone());
            std::thread::spawn(move || match round % 2 {
                0 => client.ask("DELETE", &path, &[("if-match", &etag)], b"").status,
                _ => client.to("MOVE", &path, &format!("{path}-away"), &[("if-match", &etag)]),
            })
        };
        let (written, removed) = (writer.join().unwrap(), remover.join().unwrap());
        // Removed before the new content came, or refused after it.
        assert!(matches!((written, removed), (201, 204 | 201) | (204, 412)), "round {round}: {written} {removed}");
        assert_eq!(server.client().get(&path), b"new");
    }
}

#[test]
fn of_two_writers_of_a_new_file_one_succeeds() {
    let server = Server::start();
    for round in 0..20 {
        let path = format!("/bkt/file{round}");
        let write = || {
            let (mut client, path) = (server.client(), path.clone());
            std::thread::spawn(move || client.ask("PUT", &path, &[("if-none-match", "*")], b"x").status)
        };
        let writers = [write(), write()];
        let mut statuses = writers.map(|writer| writer.join().unwrap());
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 412]);
    }
}

#[test]
fn the_etag_is_that_of_the_object() {
    let server = Server::start();
    let etag = server.client().put("/bkt/file", b"x").expect("etag");
    let object = server.ns().head_object(&root(), "bkt", b"file").unwrap();
    assert_eq!(etag, format!("\"{}\"", strata_etag::of(&object.tag)));
}

//! PROPFIND of collections.

use strata_namespace::{Condition, ObjectMeta};

use crate::support::{Server, between, root};

#[test]
fn ten_thousand_entries_are_listed_once_each_and_streamed() {
    const ENTRIES: usize = 10_000;
    let server = Server::start();
    let ns = server.ns();
    let op = root();
    let bucket = ns.resolve(&op, b"bkt").unwrap().ino;
    for n in 0..ENTRIES {
        let content = ns.ingest(&op, "bkt").unwrap().finish().unwrap();
        ns.put_file(
            &op,
            bucket,
            format!("f{n:05}").as_bytes(),
            content,
            None,
            ObjectMeta::default(),
            &Condition::default(),
        )
        .unwrap();
    }
    ns.settle_blocking(&op).unwrap();
    let reply = server.client().ask("PROPFIND", "/bkt/", &[("depth", "1")], b"");
    assert!(reply.whole);
    assert_eq!(reply.expect("transfer-encoding"), "chunked");
    let hrefs = between(&reply.text(), "<D:href>", "</D:href>");
    assert_eq!(hrefs.len(), ENTRIES + 1);
    assert!(hrefs[1..].iter().enumerate().all(|(n, href)| *href == format!("/bkt/f{n:05}")));
}

#[test]
fn depth_infinity_and_no_depth_are_refused_with_the_reason() {
    let server = Server::start();
    let mut client = server.client();
    for headers in [&[][..], &[("depth", "infinity")]] {
        let reply = client.ask("PROPFIND", "/bkt/", headers, b"");
        assert_eq!(reply.status, 403);
        assert!(reply.text().contains("propfind-finite-depth"));
    }
    assert_eq!(client.status("PROPFIND", "/bkt/", &[("depth", "2")]), 400);
}

#[test]
fn every_entry_carries_what_was_asked_for() {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/bkt/dir");
    let etag = client.put("/bkt/file.txt", b"hello").expect("etag");
    let body = "<propfind xmlns='DAV:'><prop><resourcetype/><getcontentlength/><getetag/><none/></prop></propfind>";
    let text = client.ask("PROPFIND", "/bkt/", &[("depth", "1")], body.as_bytes()).text();
    let responses = between(&text, "<D:response>", "</D:response>");
    assert_eq!(responses.len(), 3);
    assert!(responses[1].contains("/bkt/dir/") && responses[1].contains("<D:collection/>"), "{}", responses[1]);
    assert!(responses[2].contains("<D:getcontentlength>5</D:getcontentlength>"), "{}", responses[2]);
    assert!(responses[2].contains(etag.trim_matches('"')), "{}", responses[2]);
    assert!(responses.iter().all(|response| response.contains("404 Not Found")));
    let names = client
        .ask("PROPFIND", "/bkt/file.txt", &[("depth", "0")], b"<propfind xmlns='DAV:'><propname/></propfind>")
        .text();
    assert!(names.contains("<D:getetag/>"), "{names}");
}

#[test]
fn quota_is_told_when_it_is_named() {
    let server = Server::start();
    let mut client = server.client();
    assert!(client.property("/bkt", "DAV:", "quota-available-bytes").is_some());
    assert!(!client.ask("PROPFIND", "/bkt", &[("depth", "0")], b"").text().contains("quota"));
}

#[test]
fn malformed_bodies_are_refused() {
    let server = Server::start();
    let mut client = server.client();
    let deep = format!("<propfind xmlns='DAV:'><prop>{}{}</prop></propfind>", "<a>".repeat(100), "</a>".repeat(100));
    let bomb = "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><propfind xmlns='DAV:'><prop>&a;</prop></propfind>";
    for body in ["<propfind", "<x/>", "<propfind xmlns='DAV:'/>", &deep, bomb] {
        assert_eq!(client.ask("PROPFIND", "/bkt/", &[("depth", "0")], body.as_bytes()).status, 400, "{body}");
    }
    let long = "x".repeat(65_537);
    assert_eq!(client.ask("PROPFIND", "/bkt/", &[("depth", "0")], long.as_bytes()).status, 413);
}

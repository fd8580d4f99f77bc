//! GET and HEAD: ranges, and one version from the first byte to the last.

use crate::support::{Server, noise};

#[test]
fn a_range_is_answered_with_exactly_its_bytes() {
    let server = Server::start();
    let mut client = server.client();
    let body = noise(1, 3_000_000);
    client.put("/bkt/file", &body);
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("10-19", 10, 20),
        ("1048570-1048585", 1_048_570, 1_048_586),
        ("2999990-", 2_999_990, 3_000_000),
        ("-5", 2_999_995, 3_000_000),
        ("2999990-9999999", 2_999_990, 3_000_000),
    ] {
        let reply = client.ask("GET", "/bkt/file", &[("range", &format!("bytes={range}"))], b"");
        assert_eq!(reply.status, 206, "{range}");
        assert_eq!(reply.expect("content-range"), format!("bytes {from}-{}/3000000", to - 1));
        assert!(reply.body == body[from..to], "{range}");
    }
}

#[test]
fn a_client_that_ends_its_half_behind_a_request_is_still_answered_whole() {
    let server = Server::start();
    let body = noise(2, 8 << 20);
    server.client().put("/bkt/file", &body);
    for _ in 0..10 {
        let mut client = server.client();
        let head = format!("{}\r\n", client.head("GET", "/bkt/file", &[]));
        client.write(head.as_bytes()).unwrap();
        client.hang_up().unwrap();
        let reply = client.reply(false).unwrap();
        assert!(reply.status == 200 && reply.whole && reply.body == body, "{} bytes came", reply.body.len());
    }
}

#[test]
fn several_ranges_come_as_parts_in_the_order_asked() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file.txt", b"0123456789");
    let reply = client.ask("GET", "/bkt/file.txt", &[("range", "bytes=7-8, 0-1,-1")], b"");
    assert_eq!(reply.status, 206);
    let kind = reply.expect("content-type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("a multipart type");
    let expected = [("7-8", "78"), ("0-1", "01"), ("9-9", "9")]
        .map(|(range, data)| format!("Content-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{data}"));
    let whole: String = expected
        .iter()
        .enumerate()
        .map(|(at, part)| format!("{}--{boundary}\r\n{part}", if at == 0 { "" } else { "\r\n" }))
        .collect();
    assert_eq!(reply.text(), format!("{whole}\r\n--{boundary}--\r\n"));
}

#[test]
fn what_is_no_useful_range_gets_the_whole_file_or_416() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"0123456789");
    let many = format!("bytes={}", (0..33).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(","));
    for range in ["bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=0-5,3-7", &many] {
        let reply = client.ask("GET", "/bkt/file", &[("range", range)], b"");
        assert_eq!((reply.status, reply.body.as_slice()), (200, b"0123456789".as_slice()), "{range}");
    }
    let reply = client.ask("GET", "/bkt/file", &[("range", "bytes=10-")], b"");
    assert_eq!((reply.status, reply.expect("content-range").as_str()), (416, "bytes */10"));
}

#[test]
fn a_download_reads_the_version_that_was_present_when_it_began() {
    let server = Server::start();
    let old = noise(4, 24 << 20);
    let mut client = server.client();
    client.put("/bkt/file", &old);
    // More than the sockets hold, so that most of it is read from the store after the overwrite.
    let mut slow = server.client();
    let request = format!("{}\r\n", slow.head("GET", "/bkt/file", &[]));
    slow.write(request.as_bytes()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    client.put("/bkt/file", b"new");
    client.ok("DELETE", "/bkt/file");
    let reply = slow.reply(false).unwrap();
    assert!(reply.whole && reply.body == old);
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/page.html", b"<p>hello</p>");
    let get = client.ok("GET", "/bkt/page.html");
    let head = client.ok("HEAD", "/bkt/page.html");
    assert!(head.body.is_empty());
    for name in ["content-length", "content-type", "etag", "last-modified", "accept-ranges"] {
        assert_eq!(head.expect(name), get.expect(name), "{name}");
    }
    assert_eq!(head.expect("content-type"), "text/html");
}

#[test]
fn a_media_type_comes_back_as_it_was_uploaded() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("PUT", "/bkt/file.txt", &[("content-type", "image/x-mine"), ("content-language", "de")], b"x");
    let reply = client.ok("GET", "/bkt/file.txt");
    assert_eq!(
        (reply.expect("content-type").as_str(), reply.expect("content-language").as_str()),
        ("image/x-mine", "de")
    );
}

#[test]
fn a_stored_page_runs_no_scripts_here() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/page.html", b"<script>alert(1)</script>");
    assert_eq!(client.ok("GET", "/bkt/page.html").expect("content-security-policy"), "sandbox");
}

#[test]
fn a_collection_is_shown_as_a_page_of_links() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/a%3Cb%3E%26", b"x");
    let reply = client.ok("GET", "/bkt/");
    assert_eq!(reply.expect("content-type"), "text/html; charset=utf-8");
    assert!(reply.text().contains("<a href=\"/bkt/a%3Cb%3E%26\">a&lt;b&gt;&amp;</a>"), "{}", reply.text());
}

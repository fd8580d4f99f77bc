//! Partial PUT and PATCH: written in place, as `pwrite` would.

use crate::support::Server;

const PARTIAL: (&str, &str) = ("content-type", "application/x-sabredav-partialupdate");

#[test]
fn a_put_with_content_range_changes_those_bytes() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"0123456789");
    let before = client.ok("HEAD", "/bkt/file").expect("etag");
    let reply = client.ask("PUT", "/bkt/file", &[("content-range", "bytes 2-4/10")], b"abc");
    assert_eq!(reply.status, 204, "{}", reply.text());
    assert_eq!(client.get("/bkt/file"), b"01abc56789");
    let after = client.ok("HEAD", "/bkt/file").expect("etag");
    assert_ne!(before, after);
    assert_eq!(reply.expect("etag"), after);
    server.sound();
}

#[test]
fn a_partial_put_makes_the_file_if_it_is_not_there() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask("PUT", "/bkt/file", &[("content-range", "bytes 3-5/*")], b"abc").status, 201);
    assert_eq!(client.get("/bkt/file"), b"\0\0\0abc");
}

#[test]
fn the_forms_of_a_patch() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"0123456789");
    for (range, body, after) in [
        ("bytes=0-1", b"ab".as_slice(), b"ab23456789".as_slice()),
        ("bytes=8-", b"cdef", b"ab234567cdef"),
        ("bytes=-2", b"EF!", b"ab234567cdEF!"),
        ("append", b"?", b"ab234567cdEF!?"),
    ] {
        let reply = client.ask("PATCH", "/bkt/file", &[PARTIAL, ("x-update-range", range)], body);
        assert_eq!(reply.status, 204, "{range}: {}", reply.text());
        assert_eq!(client.get("/bkt/file"), after, "{range}");
    }
    server.sound();
}

#[test]
fn a_partial_write_that_contradicts_itself_changes_nothing() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"0123456789");
    for range in ["bytes 2-4/10", "bytes 4-2/10", "bytes 2-3/3", "2-3", "bytes x"] {
        assert_eq!(client.ask("PUT", "/bkt/file", &[("content-range", range)], b"ab").status, 400, "{range}");
    }
    assert_eq!(client.ask("PATCH", "/bkt/file", &[("x-update-range", "append")], b"x").status, 415);
    assert_eq!(client.ask("PATCH", "/bkt/file", &[PARTIAL], b"x").status, 400);
    assert_eq!(client.ask("PATCH", "/bkt/none", &[PARTIAL, ("x-update-range", "append")], b"x").status, 404);
    assert_eq!(client.get("/bkt/file"), b"0123456789");
}

#[test]
fn what_came_before_a_connection_broke_stays_written() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", &vec![b'.'; 3 << 20]);
    let mut rude = server.client();
    let head = rude.head("PUT", "/bkt/file", &[("content-range", "bytes 0-2097151/*"), ("content-length", "2097152")]);
    rude.write(format!("{head}\r\n").as_bytes()).unwrap();
    rude.write(&vec![b'x'; 2_000_000]).unwrap();
    rude.hang_up().unwrap();
    let _ = rude.reply(false);
    let body = client.get("/bkt/file");
    let written = body.iter().take_while(|&&byte| byte == b'x').count();
    assert!(written >= 1 << 20, "{written} bytes of the first window");
    assert_eq!(body.len(), 3 << 20);
    assert!(body[written..].iter().all(|&byte| byte == b'.'));
    server.sound();
}

//! Requests that cannot be granted: each door answers as its protocol does, and nothing changes.

use crate::doors;
use crate::drive::Drive;
use crate::http::Answer;
use crate::nfs::Nfs;
use crate::s3::S3;
use crate::server::{Place, Server, noise};
use crate::webdav::WebDav;

const FBIG: u32 = 27;
const NAMETOOLONG: u32 = 63;

/// All doors still show this file as it was.
#[track_caller]
fn unchanged(server: &Server<'_>, path: &str, data: Option<&[u8]>, after: &str) {
    for door in doors::all(server) {
        assert!(door.get(path).as_deref() == data, "{} sees {path} changed by {after}", door.name());
    }
}

#[test]
fn a_body_shorter_than_promised_changes_nothing() {
    let place = Place::new();
    let server = place.serve_with_drive(2);
    let (s3, dav) = (S3::of(&server), WebDav::of(&server));
    s3.make_bucket("box");
    let (old, part) = (noise(1000, 1), noise(300_000, 2));
    s3.send("PUT", "/box/old", "", &[], &old);
    let promise = [("content-length", "300001")];
    for path in ["/box/old", "/box/new"] {
        let kept = (path == "/box/old").then_some(old.as_slice());
        let refused = |answer: Answer, by: &str| {
            assert!([0, 400, 408].contains(&answer.status), "{by}: {} {}", answer.status, answer.text());
            unchanged(&server, path, kept, by);
        };
        refused(s3.send("PUT", path, "", &promise, &part), "s3");
        refused(dav.send("PUT", path, &promise, &part), "webdav");
    }
}

#[test]
fn a_body_longer_than_promised_changes_nothing() {
    let place = Place::new();
    let server = place.serve_with_drive(2);
    let (s3, dav) = (S3::of(&server), WebDav::of(&server));
    s3.make_bucket("box");
    s3.send("PUT", "/box/old", "", &[], b"old");
    // The signature is that of all eight bytes; the announced length is four.
    let answer = s3.send("PUT", "/box/old", "", &[("content-length", "4")], b"12345678");
    assert_eq!(answer.status, 400, "{}", answer.text());
    unchanged(&server, "/box/old", Some(b"old"), "s3");
    // The header by which WebDAV clients that do not know the length announce what they expect.
    let answer = dav.send("PUT", "/box/old", &[("x-expected-entity-length", "4")], b"12345678");
    assert_eq!(answer.status, 400, "{}", answer.text());
    unchanged(&server, "/box/old", Some(b"old"), "webdav");
}

#[test]
fn a_range_that_cannot_be_is_refused_with_the_length_there_is() {
    let place = Place::new();
    let server = place.serve_with_drive(2);
    let (s3, dav, nfs) = (S3::of(&server), WebDav::of(&server), Nfs::of(&server));
    s3.make_bucket("box");
    s3.send("PUT", "/box/file", "", &[], b"12345");
    let beyond = [("range", "bytes=5-")];
    for (door, answer) in
        [("s3", s3.send("GET", "/box/file", "", &beyond, b"")), ("webdav", dav.send("GET", "/box/file", &beyond, b""))]
    {
        assert_eq!(answer.status, 416, "{door}: {}", answer.text());
        assert_eq!(answer.header("content-range"), Some("bytes */5"), "{door}");
    }
    let file = nfs.lookup("/box/file").unwrap();
    assert_eq!(nfs.write_at(&file, 1 << 61, b"x").unwrap_err(), FBIG);
    let far = [("content-range", "bytes 2305843009213693952-2305843009213693952/*")];
    let answer = dav.send("PUT", "/box/file", &far, b"x");
    assert!((400..500).contains(&answer.status) || answer.status == 507, "{} {}", answer.status, answer.text());
    if !server.doors["mount"].is_null() {
        let drive = Drive(server.door("mount", "path").into());
        let refused = Drive::write_at(&drive.at("/box/file"), 1 << 61, b"x").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::FileTooLarge);
    }
    unchanged(&server, "/box/file", Some(b"12345"), "a write far out");
}

#[test]
fn a_name_that_a_door_cannot_hold_is_refused_by_it() {
    let place = Place::new();
    let server = place.serve_with_drive(2);
    let (s3, dav, nfs) = (S3::of(&server), WebDav::of(&server), Nfs::of(&server));
    s3.make_bucket("box");
    let (long, endless) = ("x".repeat(256), "y/".repeat(513));
    let answer = s3.send("PUT", &format!("/box/{endless}"), "", &[], b"");
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("KeyTooLong"), "{}", answer.text());
    assert_eq!(dav.send("PUT", &format!("/box/{long}"), &[], b"x").status, 414);
    assert_eq!(dav.send("PUT", "/box/a/../b", &[], b"x").status, 400);
    assert_eq!(nfs.put(&format!("/box/{long}"), b"x").unwrap_err(), NAMETOOLONG);
    if !server.doors["mount"].is_null() {
        let drive = Drive(server.door("mount", "path").into());
        let refused = drive.put(&format!("/box/{long}"), b"x").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::NAMETOOLONG.raw_os_error()));
    }
    // A folder at the top may have a name that S3 gives no bucket.
    for name in ["UPPER", "x", "192.168.0.1"] {
        assert_eq!(s3.send("PUT", &format!("/{name}"), "", &[], b"").status, 400, "{name}");
        assert_eq!(dav.send("MKCOL", &format!("/{name}"), &[], b"").status, 201, "{name}");
    }
    assert_eq!(dav.send("MKCOL", &format!("/{long}"), &[], b"").status, 414);
    let listed = s3.send("GET", "/box", "list-type=2", &[], b"").text();
    assert!(listed.contains("<KeyCount>0</KeyCount>"), "nothing was made: {listed}");
}

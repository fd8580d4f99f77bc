//! Clients that take every connection there is: they are refused before the disks lack anything.

use std::net::TcpStream;

use crate::disks::{noise, states};
use crate::http::{self, authority};
use crate::s3::S3;
use crate::server::Place;

/// More than a server with [`FILES`] may hold, and no more than the kernel keeps for it.
const SILENT: usize = 130;
/// Files that the server may have open.
const FILES: u32 = 200;
const OBJECTS: u64 = 24;

#[test]
fn silent_connections_take_no_descriptor_that_a_disk_needs() {
    let place = Place::new();
    let server = place.serve_with_files(6, FILES, &["--connections", "1000"]);
    assert!(server.log().contains("fewer connections are taken than were asked for"), "{}", server.log());
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    let webdav = server.door("webdav", "url");
    let silent: Vec<TcpStream> = (0..SILENT).map_while(|_| TcpStream::connect(authority(&webdav)).ok()).collect();
    assert_eq!(silent.len(), SILENT, "the kernel takes them, whoever serves them");
    for n in 0..OBJECTS {
        let put = s3.send("PUT", &format!("/box/o{n}"), "", &[], &noise(n).repeat(10));
        assert_eq!(put.status, 200, "object {n}: {}", put.text());
    }
    for n in 0..OBJECTS {
        assert!(s3.send("GET", &format!("/box/o{n}"), "", &[], b"").body == noise(n).repeat(10), "object {n}");
    }
    assert_eq!(states(&place), ["active"; 6], "{}", server.log());
    let admin = server.door("admin", "url");
    assert_eq!(http::request(authority(&admin), "GET", "/health/ready", &[], b"").text(), "ready\n");
    drop(silent);
    assert!(server.stop().success());
}

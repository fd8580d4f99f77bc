//! Clients that take every connection there is: they are refused before the disks lack anything.

use std::net::TcpStream;
use std::time::Duration;

use strata_seam::Stopwatch;

use crate::disks::{noise, states};
use crate::http::{self, authority};
use crate::nfs::Nfs;
use crate::s3::S3;
use crate::server::Place;

/// More than a server with [`FILES`] may hold, and no more than the kernel keeps for it.
const SILENT: usize = 130;
/// Files that the server may have open.
const FILES: u32 = 200;
const OBJECTS: u64 = 24;
/// After this long, connections on which nothing comes are given up.
const GIVEN_UP: Duration = Duration::from_secs(10);

#[test]
fn silent_connections_take_no_descriptor_that_a_disk_needs() {
    let place = Place::new();
    let server = place.serve_with_files(6, FILES, &["--connections", "1000"]);
    assert!(server.log().contains("fewer connections are taken than were set"), "{}", server.log());
    let s3 = S3::of(&server);
    s3.make_bucket("box");
    let webdav = server.door("webdav", "url");
    let nfs = format!("{}:{}", server.door("nfs", "host"), server.doors["nfs"]["port"]);
    let doors = [authority(&webdav).to_owned(), authority(&server.door("s3", "endpoint")).to_owned(), nfs];
    let silent = doors.iter().flat_map(|door| (0..SILENT).map_while(move |_| TcpStream::connect(door).ok()));
    let silent: Vec<TcpStream> = silent.collect();
    assert_eq!(silent.len(), 3 * SILENT, "the kernel takes them, whoever serves them");
    // A client with a request gets the place of a silent one, long before the silent one times out.
    let began = Stopwatch::start();
    assert_eq!(http::request(authority(&webdav), "OPTIONS", "/", &[], b"").status, 200);
    assert!(Nfs::of(&server).lookup("/box").is_ok());
    for n in 0..OBJECTS {
        let put = s3.send("PUT", &format!("/box/o{n}"), "", &[], &noise(n).repeat(10));
        assert_eq!(put.status, 200, "object {n}: {}", put.text());
    }
    assert!(began.elapsed() < GIVEN_UP, "{:?}", began.elapsed());
    for n in 0..OBJECTS {
        assert!(s3.send("GET", &format!("/box/o{n}"), "", &[], b"").body == noise(n).repeat(10), "object {n}");
    }
    assert_eq!(states(&place), ["active"; 6], "{}", server.log());
    let admin = server.door("admin", "url");
    assert_eq!(http::request(authority(&admin), "GET", "/health/ready", &[], b"").text(), "ready\n");
    drop(silent);
    assert!(server.stop().success());
}

//! Invariant BOUND, of the process as the system sees it: whatever clients do, it stays within a tenth above `--memory`.

use std::net::TcpStream;
use std::time::Duration;

use crate::s3::S3;
use crate::server::{Place, Server};
use crate::webdav::WebDav;

/// As little as is useful, so that what has no bound shows soon.
const MEMORY_MIB: u64 = 256;
const OBJECT: usize = 16 << 20;
/// Clients of one kind at a time.
const CLIENTS: usize = 100;
/// Time for the server to do all it will do for clients that do nothing.
const A_WHILE: Duration = Duration::from_millis(1500);

/// Bytes that no two chunks have in common.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len / 8).flatten().collect()
}

/// The most that was ever resident, in MiB.
fn resident_max_mib(server: &Server<'_>) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a high-water mark");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

fn within(server: &Server<'_>, load: &str) {
    let most = resident_max_mib(server);
    println!("{load}: at most {most} MiB were resident");
    assert!(most <= MEMORY_MIB + MEMORY_MIB / 10, "{load}: {most} MiB were resident, of {MEMORY_MIB}");
}

/// So many clients that begin something and then do nothing.
fn idle(begin: impl Fn(usize) -> TcpStream) {
    let clients: Vec<TcpStream> = (0..CLIENTS).map(begin).collect();
    std::thread::sleep(A_WHILE);
    drop(clients);
}

#[test]
fn the_process_stays_within_its_memory_under_hostile_loads() {
    let place = Place::new();
    let server = place.serve(1, &["--memory", &format!("{MEMORY_MIB}MiB"), "--durability", "relaxed"]);
    let (s3, dav) = (S3::of(&server), WebDav::of(&server));
    s3.make_bucket("box");
    within(&server, "at the start");

    std::thread::scope(|scope| {
        for n in 0..16 {
            let s3 = &s3;
            scope.spawn(move || {
                let body = noise(OBJECT, n + 1);
                let answer = s3.send("PUT", &format!("/box/object{n}"), "", &[], &body);
                assert_eq!(answer.status, 200, "{}", answer.text());
            });
        }
    });
    within(&server, "large uploads at once");

    idle(|n| s3.begin("GET", &format!("/box/object{}", n % 16), "", 0, b""));
    within(&server, "s3 downloads of which nothing is read");
    idle(|n| dav.begin("GET", &format!("/box/object{}", n % 16), &[]));
    within(&server, "webdav downloads of which nothing is read");

    let part = noise(3 << 20, 99);
    idle(|n| s3.begin("PUT", &format!("/box/stalled{n}"), "", OBJECT, &part));
    within(&server, "uploads that stop in the middle");
    let document = vec![b' '; 2 << 20];
    idle(|_| s3.begin("POST", "/box", "delete=", 4 << 20, &document));
    within(&server, "long documents that stop in the middle");

    let mut deep = String::new();
    for chain in 0..8 {
        deep = format!("/box/deep{chain}");
        assert_eq!(dav.send("MKCOL", &deep, &[], b"").status, 201);
        for _ in 0..29 {
            deep.push('/');
            deep.push_str(&"d".repeat(250));
            let answer = dav.send("MKCOL", &deep, &[], b"");
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
    }
    for n in 0..100 {
        assert_eq!(dav.send("PUT", &format!("{deep}/{n:0>250}"), &[], b"x").status, 201);
    }
    idle(|_| s3.begin("GET", "/box", "list-type=2", 0, b""));
    within(&server, "lists of long keys of which nothing is read");
    idle(|_| dav.begin("PROPFIND", &deep, &[("depth", "1"), ("content-length", "0")]));
    within(&server, "collections below a long path of which nothing is read");

    // It serves on, and everything is as it was.
    assert!(s3.send("GET", "/box/object3", "", &[], b"").body == noise(OBJECT, 4));
    within(&server, "at the end");
}

//! Invariant BOUND, of the process as the system sees it: whatever clients do, it stays within a tenth above `--memory`.

use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::nfs::Nfs;
use crate::s3::S3;
use crate::server::{Place, Server, can_mount};
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

    let form = s3.send_form("box", "form", b"a file");
    assert_eq!(form.status, 204, "{}", form.text());
    let part = noise(3 << 20, 99);
    idle(|n| s3.begin("PUT", &format!("/box/stalled{n}"), "", OBJECT, &part));
    within(&server, "uploads that stop in the middle");
    idle(|n| s3.begin_form("box", &format!("form{n}"), OBJECT, &part));
    within(&server, "forms that stop in the middle");
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

    let upload = s3.send("POST", "/box/parts", "uploads=", &[], b"").text();
    let upload =
        upload.split("<UploadId>").nth(1).and_then(|rest| rest.split('<').next()).expect("an upload").to_owned();
    std::thread::scope(|scope| {
        for part in 1..=16 {
            let (s3, query) = (&s3, format!("partNumber={part}&uploadId={upload}"));
            scope.spawn(move || {
                let answer = s3.send("PUT", "/box/parts", &query, &[], &noise(OBJECT, 100 + part));
                assert_eq!(answer.status, 200, "{}", answer.text());
            });
        }
        for n in 0..16 {
            let s3 = &s3;
            scope.spawn(move || {
                let source = format!("/box/object{n}");
                let answer = s3.send("PUT", &format!("/box/copy{n}"), "", &[("x-amz-copy-source", &source)], b"");
                assert_eq!(answer.status, 200, "{}", answer.text());
            });
        }
    });
    within(&server, "parts and copies at once");
    std::thread::scope(|scope| {
        for n in 0..64_u64 {
            let s3 = &s3;
            scope.spawn(move || {
                let body = noise(6 << 20, 1000 + n);
                // Clients that are told to slow down do so.
                for _ in 0..2 {
                    let answer = s3.send("PUT", &format!("/box/many{n}"), "", &[], &body);
                    assert!([200, 503].contains(&answer.status), "{}", answer.text());
                }
            });
        }
    });
    within(&server, "many uploads at once");
    let nfs = Nfs::of(&server);
    let file = nfs.lookup("/box/object5").expect("there");
    // One address has 64 connections at most.
    let unread: Vec<TcpStream> = (0..48).map(|_| nfs.begin_reads(&file, 32)).collect();
    std::thread::sleep(A_WHILE);
    drop(unread);
    within(&server, "nfs replies of which nothing is read");

    // It serves on, and everything is as it was.
    assert!(s3.send("GET", "/box/object3", "", &[], b"").body == noise(OBJECT, 4));
    within(&server, "at the end");
}

#[test]
fn the_process_stays_within_its_memory_while_the_drive_is_written() {
    const FILES: u64 = 8;
    const LEN: u64 = 32 << 20;
    if !can_mount() {
        return;
    }
    let place = Place::new();
    let drive = place.drive();
    let (memory, mount) = (format!("{MEMORY_MIB}MiB"), drive.display().to_string());
    let server = place.serve(1, &["--memory", &memory, "--durability", "relaxed", "--mount", &mount]);
    S3::of(&server).make_bucket("box");
    let each = |work: &(dyn Fn(u64, &std::fs::File) -> std::io::Result<()> + Sync)| {
        std::thread::scope(|scope| {
            for n in 0..FILES {
                let path = drive.join(format!("box/file{n}"));
                scope.spawn(move || {
                    let file = std::fs::File::options().create(true).truncate(false).write(true).read(true).open(path);
                    work(n, &file.expect("opened")).expect("done");
                });
            }
        });
    };
    each(&|n, file| {
        let piece = noise(1 << 20, n + 1);
        (0..LEN >> 20).try_for_each(|at| file.write_all_at(&piece, at << 20))
    });
    within(&server, "files written from end to end at once");
    each(&|n, file| {
        let bytes = noise(4096, n + 100);
        let mut place = n + 1;
        (0..4000).try_for_each(|_| {
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            file.write_all_at(&bytes, (place >> 33) % (LEN / 4096) * 4096)
        })
    });
    within(&server, "small writes at random places");
    each(&|_, file| {
        let mut piece = vec![0; 1 << 20];
        (0..LEN >> 20).try_for_each(|at| file.read_exact_at(&mut piece, at << 20))
    });
    within(&server, "files read from end to end at once");
}

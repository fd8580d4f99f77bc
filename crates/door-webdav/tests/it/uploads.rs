//! Section "When is it safe" of docs/semantics/webdav.md: a PUT is all or nothing, whatever becomes of its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strata_door_webdav::DavConfig;
use strata_gate::Pace;
use strata_ledger::Options;
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::sim::SimWorld;
use strata_seam::{Disk, SystemClock, SystemEntropy};

use crate::client::Client;
use crate::support::{Server, noise, store_config};

/// The head of a PUT of `len` bytes, with the empty line.
fn head(client: &Client, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    format!("{}\r\n", client.head("PUT", path, headers)).into_bytes()
}

/// Waits for what happens soon but not at once.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: not within five seconds");
}

/// An upload that stops after `sent` must leave both an old and a new name as they were.
fn broken(headers: &[(&str, &str)], sent: &[u8], end: impl Fn(&mut Client)) {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/old", b"before");
    for path in ["/bkt/old", "/bkt/new"] {
        let mut rude = server.client();
        let mut request = head(&rude, path, headers);
        request.extend_from_slice(sent);
        rude.write(&request).expect("sent");
        end(&mut rude);
    }
    assert_eq!(client.get("/bkt/old"), b"before");
    assert_eq!(client.status("GET", "/bkt/new", &[]), 404);
    assert_eq!(client.list("/bkt/"), ["/bkt/", "/bkt/old"]);
    server.sound();
}

#[test]
fn a_connection_that_breaks_in_the_middle_of_a_body_changes_nothing() {
    broken(&[("content-length", "3000000")], &noise(1, 2_000_000), |rude| {
        rude.hang_up().unwrap();
        // A refusal or no answer at all: there must be no success.
        assert!(rude.reply(false).map_or(true, |reply| reply.status == 400));
    });
}

#[test]
fn a_chunked_body_without_its_last_chunk_changes_nothing() {
    broken(&[("transfer-encoding", "chunked")], b"5\r\nhello\r\n", |rude| {
        rude.hang_up().unwrap();
        assert!(rude.reply(false).map_or(true, |reply| reply.status == 400));
    });
}

#[test]
fn a_body_shorter_than_finder_announced_changes_nothing() {
    let headers = [("transfer-encoding", "chunked"), ("x-expected-entity-length", "6")];
    broken(&headers, b"5\r\nhello\r\n0\r\n\r\n", |rude| assert_eq!(rude.reply(false).unwrap().status, 400));
}

#[test]
fn a_body_longer_than_finder_announced_changes_nothing() {
    let headers = [("transfer-encoding", "chunked"), ("x-expected-entity-length", "4")];
    broken(&headers, b"5\r\nhello\r\n0\r\n\r\n", |rude| assert_eq!(rude.reply(false).unwrap().status, 400));
}

#[test]
fn a_client_that_falls_silent_is_given_up_and_changes_nothing() {
    let server = Server::with(DavConfig {
        pace: Pace { stall: Duration::from_millis(200), ..Pace::default() },
        ..DavConfig::default()
    });
    let mut silent = server.client();
    let mut request = head(&silent, "/bkt/new", &[("content-length", "10")]);
    request.extend_from_slice(b"12345");
    silent.write(&request).unwrap();
    assert_eq!(silent.reply(false).unwrap().status, 408);
    assert_eq!(server.client().status("GET", "/bkt/new", &[]), 404);
}

#[test]
fn nobody_sees_an_upload_before_it_is_whole() {
    let server = Server::start();
    let mut reader = server.client();
    reader.put("/bkt/file", b"before");
    let body = noise(2, 3_000_000);
    let mut writer = server.client();
    let request = head(&writer, "/bkt/file", &[("content-length", "3000000")]);
    writer.write(&request).unwrap();
    writer.write(&body[..2_900_000]).unwrap();
    assert_eq!(reader.get("/bkt/file"), b"before");
    writer.write(&body[2_900_000..]).unwrap();
    assert_eq!(writer.reply(false).unwrap().status, 204);
    assert_eq!(reader.get("/bkt/file"), body);
    server.sound();
}

#[test]
fn a_chunked_body_is_stored_as_it_was_sent() {
    let server = Server::start();
    let mut client = server.client();
    let body = noise(3, 300_000);
    let mut request =
        head(&client, "/bkt/chunked", &[("transfer-encoding", "chunked"), ("x-expected-entity-length", "300000")]);
    for piece in body.chunks(7_777) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    client.write(&request).unwrap();
    assert_eq!(client.reply(false).unwrap().status, 201);
    assert_eq!(client.get("/bkt/chunked"), body);
}

#[test]
fn a_body_of_any_length_comes_back_as_it_went() {
    let server = Server::start();
    let mut client = server.client();
    for len in [0, 1, 4095, 4096, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 2_500_000] {
        let body = noise(len as u64, len);
        client.put("/bkt/file", &body);
        assert!(client.get("/bkt/file") == body, "{len} bytes");
    }
    server.sound();
}

#[test]
fn a_client_that_waits_for_permission_to_send_gets_it() {
    let server = Server::start();
    let mut client = server.client();
    let request = head(&client, "/bkt/file", &[("content-length", "4"), ("expect", "100-continue")]);
    client.write(&request).unwrap();
    assert_eq!(client.one_reply(true).unwrap().status, 100);
    client.write(b"body").unwrap();
    assert_eq!(client.reply(false).unwrap().status, 201);
    // The request is refused before its body is sent.
    let mut client = server.client();
    let request = head(&client, "/bkt/no/such/folder", &[("content-length", "4"), ("expect", "100-continue")]);
    client.write(&request).unwrap();
    assert_eq!(client.one_reply(false).unwrap().status, 409);
}

#[test]
fn a_put_says_whether_the_file_is_new_and_what_its_etag_is() {
    let server = Server::start();
    let mut client = server.client();
    let first = client.put("/bkt/file", b"one");
    assert_eq!(first.status, 201);
    let second = client.put("/bkt/file", b"two");
    assert_eq!(second.status, 204);
    assert_ne!(first.expect("etag"), second.expect("etag"));
    assert_eq!(client.ok("HEAD", "/bkt/file").expect("etag"), second.expect("etag"));
}

#[test]
fn a_put_needs_a_parent_and_is_not_for_collections() {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/bkt/dir");
    for (path, status) in [
        ("/bkt/none/file", 409),
        ("/none/file", 409),
        ("/bkt/dir", 405),
        ("/bkt/dir/", 405),
        ("/", 405),
        ("/bkt", 405),
        ("/bkt/new/", 409),
    ] {
        assert_eq!(client.ask("PUT", path, &[], b"x").status, status, "{path}");
    }
    server.sound();
}

#[test]
fn the_modification_time_of_owncloud_clients_is_kept() {
    let server = Server::start();
    let mut client = server.client();
    let reply = client.ask("PUT", "/bkt/file", &[("x-oc-mtime", "1000000000.5")], b"x");
    assert_eq!(reply.expect("x-oc-mtime"), "accepted");
    assert_eq!(client.ok("HEAD", "/bkt/file").expect("last-modified"), "Sun, 09 Sep 2001 01:46:40 GMT");
    for time in ["soon", "+5", "5.x", "5 6", ""] {
        assert_eq!(client.ask("PUT", "/bkt/file", &[("x-oc-mtime", time)], b"y").status, 400, "{time}");
    }
    assert_eq!(client.get("/bkt/file"), b"x");
}

/// The largest resident set of this process so far, in bytes.
fn resident_max() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux kernel");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a high-water mark");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

#[test]
fn a_transfer_takes_the_same_memory_whatever_its_length() {
    const PIECE: usize = 4 << 20;
    const PIECES: u64 = 48;
    const GROWTH_MAX: u64 = 96 << 20;
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/warm", &noise(9, PIECE));
    let before = resident_max();
    let len = (PIECE as u64 * PIECES).to_string();
    let request = head(&client, "/bkt/long", &[("content-length", &len)]);
    client.write(&request).unwrap();
    for seed in 0..PIECES {
        client.write(&noise(seed, PIECE)).unwrap();
    }
    assert_eq!(client.reply(false).unwrap().status, 201);
    let mut sent = 0;
    client.fetch("/bkt/long", |bytes| sent += bytes.len() as u64).unwrap();
    assert_eq!(sent.to_string(), len);
    let growth = resident_max() - before;
    assert!(growth < GROWTH_MAX, "{growth} more bytes were resident for a transfer of {len}");
}

#[test]
fn uploads_that_broke_off_are_counted_and_let_go() {
    let server = Server::with(DavConfig { in_flight_max: 2, ..DavConfig::default() });
    let broken = |count: u64| {
        let metrics = server.metrics();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        eventually("it is counted", || read(&metrics.aborted_uploads) == count);
        eventually("and let go", || read(&metrics.in_flight) == 0);
    };
    for count in 1..=6 {
        let mut rude = server.client();
        let mut request = head(&rude, "/bkt/new", &[("content-length", "10")]);
        request.extend_from_slice(b"12345");
        rude.write(&request).unwrap();
        drop(rude);
        broken(count);
        // The broken upload holds no slot: the next request is answered, and finds no trace of the upload.
        assert_eq!(server.client().status("HEAD", "/bkt/new", &[]), 404);
    }
    // A whole upload is not among them.
    assert_eq!(server.client().status("PUT", "/bkt/whole", &[]), 201);
    broken(6);
}

#[test]
fn an_upload_that_finds_no_room_is_507_and_what_is_deleted_makes_room() {
    let world = SimWorld::new(1);
    let disks = (0..3).map(|n| -> Arc<dyn Disk> { world.disk(&format!("disk{n}")) }).collect();
    let ledger = Options { segment_len: 2 << 20, shard_payload_max: 256 << 10, ..Options::default() };
    let config = StoreConfig { ledger, ..store_config(disks) };
    let store = OpenStore::open(config, Arc::new(SystemClock::new()), &SystemEntropy).expect("the store opens");
    (0..3).for_each(|n| world.set_capacity(&format!("disk{n}"), 24 << 20));
    let server = Server::over(store, Arc::new(tempfile::TempDir::new().expect("a folder")), DavConfig::default());
    let mut client = server.client();
    client.ok("MKCOL", "/bkt");
    let put = |client: &mut Client, n: u64| client.ask("PUT", &format!("/bkt/f{n}"), &[], &noise(n, 3_000_000)).status;
    let stored = (0..40).take_while(|n| put(client_again(&mut client, &server), *n) == 201).count() as u64;
    assert!((4..40).contains(&stored), "{stored}");
    assert_eq!(put(client_again(&mut client, &server), 100), 507);
    // Changes that make nothing larger are accepted.
    client_again(&mut client, &server);
    (0..stored / 2).for_each(|n| assert_eq!(client.status("DELETE", &format!("/bkt/f{n}"), &[]), 204));
    eventually("room for another", || put(client_again(&mut client, &server), 101) == 201);
    client_again(&mut client, &server);
    (stored / 2..stored).for_each(|n| assert!(client.get(&format!("/bkt/f{n}")) == noise(n, 3_000_000)));
    server.sound();
}

/// A new connection: one on which a body was refused is closed.
fn client_again<'a>(client: &'a mut Client, server: &Server) -> &'a mut Client {
    *client = server.client();
    client
}

#[test]
fn a_client_that_sends_all_before_it_reads_gets_the_reply_to_a_long_upload_that_is_refused() {
    let server = Server::start();
    server.client().put("/bkt/file", b"here");
    let body = noise(1, 20 << 20);
    let len = body.len().to_string();
    let mut client = server.client();
    let refused = head(&client, "/bkt/file", &[("content-length", &len), ("if-none-match", "*")]);
    client.write(&refused).expect("sent");
    client.write(&body).expect("taken to the end, although nobody wants it");
    assert_eq!(client.reply(false).expect("a reply").status, 412);
    assert_eq!(server.client().get("/bkt/file"), b"here");
}

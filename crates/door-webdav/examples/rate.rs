//! How fast a WebDAV server answers: requests per second and megabytes per second on kept-alive connections.
//!
//! ```text
//! rate ADDRESS USER PASSWORD FOLDER [SECONDS [FIGURE]]
//! ```
//!
//! `FOLDER` is a collection that exists (`/bucket`); everything is written below it. Any server will do, so that others can be
//! measured with the same yardstick. `FIGURE` is the beginning of a name in the output, such as `PUT-4KiB`. Bodies are
//! random: they neither compress nor repeat. One line per figure.

#[path = "../tests/it/client.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod client;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use client::Client;
use strata_seam::{Clock, Entropy, SystemClock, SystemEntropy};

type Failure = Box<dyn Error + Send + Sync>;

/// Files that small reads choose among.
const FILES: usize = 256;
/// Members of the collection that is listed.
const MEMBERS: usize = 1000;

struct Target {
    address: SocketAddr,
    user: String,
    password: String,
    folder: String,
    run: Duration,
}

impl Target {
    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect(self.address)?.login(&self.user, &self.password))
    }
}

/// Runs `one(client, buffer, connection, n)` over and over on `connections` connections; calls per second. The buffer is the
/// connection's own and starts empty.
fn measure(
    target: &Target,
    connections: usize,
    one: impl Fn(&mut Client, &mut Vec<u8>, usize, usize) -> Result<(), Failure> + Sync,
) -> Result<f64, Failure> {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let clock = SystemClock::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|connection| {
                let (one, stop, done) = (&one, &stop, &done);
                scope.spawn(move || -> Result<(), Failure> {
                    let (mut client, mut buffer) = (target.client()?, Vec::new());
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        one(&mut client, &mut buffer, connection, n)?;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let start = clock.monotonic_nanos();
        std::thread::sleep(target.run);
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| "a connection's thread panicked")??;
        }
        let nanos = clock.monotonic_nanos() - start;
        Ok(done.load(Ordering::Relaxed) as f64 * 1e9 / nanos as f64)
    })
}

fn expect(status: u16, wanted: &[u16]) -> Result<(), Failure> {
    if wanted.contains(&status) { Ok(()) } else { Err(format!("the server answered {status}").into()) }
}

/// A body of its own for every call, at the cost of a few bytes: content that was seen before would not be stored again.
fn stamp(buffer: &mut Vec<u8>, noise: &[u8], connection: usize, n: usize) {
    if buffer.len() != noise.len() {
        *buffer = noise.to_vec();
    }
    for (at, page) in buffer.chunks_mut(4096).enumerate() {
        let stamp = (connection as u64) << 48 | (at as u64) << 24 | n as u64;
        page[..8].copy_from_slice(&stamp.to_le_bytes());
    }
}

fn puts(target: &Target, noise: &Arc<[u8]>, len: usize, connections: usize) -> Result<f64, Failure> {
    measure(target, connections, |client, buffer, connection, n| {
        stamp(buffer, &noise[..len], connection, n);
        let path = format!("{}/put-{len}-{connections}-{connection}-{}", target.folder, n % FILES);
        expect(client.send("PUT", &path, &[], buffer)?.status, &[200, 201, 204])
    })
}

fn gets(target: &Target, noise: &Arc<[u8]>, len: usize, connections: usize) -> Result<f64, Failure> {
    let mut client = target.client()?;
    let files = if len > 1 << 20 { 1 } else { FILES.min((64 << 20) / len) };
    let mut body = Vec::new();
    for n in 0..files {
        stamp(&mut body, &noise[..len], 99, n);
        expect(client.send("PUT", &format!("{}/get-{len}-{n}", target.folder), &[], &body)?.status, &[200, 201, 204])?;
    }
    measure(target, connections, |client, _, connection, n| {
        let mut read = 0;
        let status = client
            .fetch(&format!("{}/get-{len}-{}", target.folder, (n + connection * 7) % files), |bytes| {
                read += bytes.len()
            })?;
        if read != len {
            return Err("a short body".into());
        }
        expect(status, &[200])
    })
}

fn lists(target: &Target, body: &str) -> Result<f64, Failure> {
    let mut client = target.client()?;
    let folder = format!("{}/members", target.folder);
    client.send("MKCOL", &folder, &[], b"")?;
    for n in 0..MEMBERS {
        expect(client.send("PUT", &format!("{folder}/file-{n:05}"), &[], b"x")?.status, &[200, 201, 204])?;
    }
    measure(target, 1, |client, _, _, _| {
        let reply = client.send("PROPFIND", &format!("{folder}/"), &[("depth", "1")], body.as_bytes())?;
        expect(reply.status, &[207])
    })
}

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| {
        args.next()
            .ok_or_else(|| format!("missing {what}; usage: rate ADDRESS USER PASSWORD FOLDER [SECONDS [FIGURE]]"))
    };
    let target = Target {
        address: next("the address")?.parse()?,
        user: next("the user")?,
        password: next("the password")?,
        folder: next("the folder")?,
        run: Duration::from_secs_f64(next("").map_or(Ok(2.0), |text| text.parse())?),
    };
    let figure = next("").unwrap_or_default();
    let mut noise = vec![0; 256 << 20];
    SystemEntropy.fill(&mut noise);
    let noise: Arc<[u8]> = noise.into();
    for (size, len, connections) in
        [("4KiB", 4096, 1), ("4KiB", 4096, 8), ("1MiB", 1 << 20, 1), ("1MiB", 1 << 20, 8), ("256MiB", 256 << 20, 1)]
    {
        for (method, run) in [("PUT", puts as fn(&Target, &Arc<[u8]>, usize, usize) -> _), ("GET", gets)] {
            let name = format!("{method}-{size}-c{connections}");
            if name.starts_with(&figure) {
                let rate: f64 = run(&target, &noise, len, connections)?;
                println!("{name:<14} {rate:>9.1}/s {:>8.1} MB/s", rate * len as f64 / 1e6);
            }
        }
    }
    let some =
        "<propfind xmlns='DAV:'><prop><resourcetype/><getcontentlength/><getlastmodified/><getetag/></prop></propfind>";
    for (name, body) in [("PROPFIND-all", ""), ("PROPFIND-four", some)] {
        if name.starts_with(&figure) {
            println!("{name:<14} {:>9.2} ms for {MEMBERS} members", 1000.0 / lists(&target, body)?);
        }
    }
    Ok(())
}

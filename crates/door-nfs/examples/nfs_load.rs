//! Load on a running door, over one connection: what a client on the same machine gets.
//!
//! `cargo run --release -p strata-door-nfs --example nfs_load -- ADDRESS:PORT /bucket [FILES]`
//!
//! Prints one line per kind of work, rates by wall time: 256 MiB written in 128 KiB calls (8 on their way) and committed, read twice,
//! 4 KiB reads at random places, then FILES (2000) files of 4 KiB created and committed, looked at, listed and removed.
//! The bytes neither compress nor repeat. The caller is uid 0, so the export must not squash it; run it as root where the
//! rule asks for a privileged port.

#![allow(clippy::disallowed_methods, reason = "what is measured is real time")]

#[path = "../tests/it/client.rs"]
mod client;

use std::io::{Error, Result};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use client::{Args, Client, Cred, NFS, OK, Results, Set};

const FILE_LEN: u64 = 256 << 20;
const CALL_LEN: u64 = 128 << 10;
const SMALL_LEN: u64 = 4 << 10;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = || Error::other("usage: nfs_load ADDRESS:PORT /bucket [FILES]");
    let address = args.next().ok_or_else(usage)?.parse().map_err(Error::other)?;
    let path = args.next().ok_or_else(usage)?;
    let files: u32 = args.next().map_or(Ok(2000), |files| files.parse()).map_err(Error::other)?;
    let mut load = Load::over(Client::over(connect(address)?, Cred::user(0))?, &path)?;
    load.large()?;
    load.small(files)
}

/// Connects from a privileged port if one can be had, as kernels' clients do.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for port in (700..1000).rev() {
        let socket = tokio::net::TcpSocket::new_v4()?;
        if socket.bind(SocketAddr::from(([0, 0, 0, 0], port))).is_ok()
            && let Ok(stream) = runtime.block_on(socket.connect(address))
        {
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            return Ok(stream);
        }
    }
    TcpStream::connect(address)
}

/// A connection and the directory it works in.
struct Load {
    client: Client,
    root: Vec<u8>,
    random: u64,
}

impl Load {
    fn over(mut client: Client, path: &str) -> Result<Self> {
        let root = client.mount(path)?.map_err(|status| Error::other(format!("mount refused: {status}")))?;
        Ok(Self { client, root, random: 0x9E37_79B9_7F4A_7C15 })
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// A call that must succeed.
    fn call(&mut self, procedure: u32, args: &Args) -> Result<Results> {
        let (status, results) = self.client.nfs(procedure, args)?;
        if status == OK { Ok(results) } else { Err(Error::other(format!("procedure {procedure} answered {status}"))) }
    }

    /// `count` calls with `depth` of them on their way at any time.
    fn pipeline(
        &mut self,
        procedure: u32,
        count: u64,
        depth: u64,
        mut args: impl FnMut(&mut Self, u64) -> Args,
    ) -> Result<()> {
        let (mut sent, mut answered) = (0, 0);
        while answered < count {
            while sent < count && sent - answered < depth {
                let args = args(self, sent);
                self.client.send(NFS, procedure, &args)?;
                sent += 1;
            }
            let status = Client::accepted(self.client.receive()?.1)?.u32()?;
            if status != OK {
                return Err(Error::other(format!("procedure {procedure} answered {status}")));
            }
            answered += 1;
        }
        Ok(())
    }

    fn create(&mut self, directory: &[u8], name: &str) -> Result<Vec<u8>> {
        let args = Args::default().opaque(directory).opaque(name.as_bytes()).u32(1).set(&Set::mode(0o644));
        let handle = self.call(8, &args)?.post_op_handle()?;
        handle.ok_or_else(|| Error::other("a CREATE without a handle"))
    }

    fn commit(&mut self, file: &[u8]) -> Result<()> {
        self.call(21, &Args::default().opaque(file).u64(0).u32(0)).map(|_| ())
    }

    fn large(&mut self) -> Result<()> {
        let root = self.root.clone();
        let data: Vec<u8> = (0..FILE_LEN / 8).flat_map(|_| self.next_random().to_le_bytes()).collect();
        let file = self.create(&root, "load-large")?;
        let calls = FILE_LEN / CALL_LEN;
        let start = Instant::now();
        self.pipeline(7, calls, 8, |_, n| {
            let at = usize::try_from(n * CALL_LEN).unwrap_or(usize::MAX);
            let part = &data[at..at + (128 << 10)];
            Args::default().opaque(&file).u64(n * CALL_LEN).u32(128 << 10).u32(0).opaque(part)
        })?;
        self.commit(&file)?;
        rate("write and commit, 128 KiB, 8 deep", FILE_LEN, start, "MB/s", 1e6);
        for round in ["first read", "second read"] {
            let start = Instant::now();
            self.pipeline(6, calls, 8, |_, n| Args::default().opaque(&file).u64(n * CALL_LEN).u32(128 << 10))?;
            rate(&format!("{round}, 128 KiB, 8 deep"), FILE_LEN, start, "MB/s", 1e6);
        }
        for (depth, count) in [(1, 4000), (16, 16_000)] {
            let start = Instant::now();
            self.pipeline(6, count, depth, |load, _| {
                let at = load.next_random() % (FILE_LEN / SMALL_LEN) * SMALL_LEN;
                Args::default().opaque(&file).u64(at).u32(4 << 10)
            })?;
            rate(&format!("random read, 4 KiB, {depth} deep"), count, start, "/s", 1.0);
        }
        self.call(12, &Args::default().opaque(&root).opaque(b"load-large")).map(|_| ())
    }

    fn small(&mut self, files: u32) -> Result<()> {
        let root = self.root.clone();
        let made = Args::default().opaque(&root).opaque(b"load-small").set(&Set::mode(0o755));
        let directory =
            self.call(9, &made)?.post_op_handle()?.ok_or_else(|| Error::other("a MKDIR without a handle"))?;
        let name = |number: u32| format!("file-{number:06}");
        let start = Instant::now();
        let mut handles = Vec::new();
        for number in 0..files {
            let data: Vec<u8> = (0..SMALL_LEN / 8).flat_map(|_| self.next_random().to_le_bytes()).collect();
            let file = self.create(&directory, &name(number))?;
            self.call(7, &Args::default().opaque(&file).u64(0).u32(4 << 10).u32(0).opaque(&data))?;
            self.commit(&file)?;
            handles.push(file);
        }
        rate("create, write 4 KiB, commit", u64::from(files), start, "/s", 1.0);
        let start = Instant::now();
        for number in 0..files {
            self.call(3, &Args::default().opaque(&directory).opaque(name(number).as_bytes()))?;
        }
        rate("lookup with attributes", u64::from(files), start, "/s", 1.0);
        let start = Instant::now();
        let listed = self.list(&directory)?;
        rate("readdirplus, 64 KiB", listed, start, "entries/s", 1.0);
        let start = Instant::now();
        for number in 0..files {
            self.call(12, &Args::default().opaque(&directory).opaque(name(number).as_bytes()))?;
        }
        rate("remove", u64::from(files), start, "/s", 1.0);
        self.call(13, &Args::default().opaque(&root).opaque(b"load-small")).map(|_| ())
    }

    /// Lists a directory to its end; returns how many entries there were.
    fn list(&mut self, directory: &[u8]) -> Result<u64> {
        let (mut listed, mut cookie, mut verifier) = (0, 0, vec![0; 8]);
        loop {
            let args = Args::default().opaque(directory).u64(cookie).fixed(&verifier).u32(64 << 10).u32(64 << 10);
            let mut page = self.call(17, &args)?;
            page.post_op()?;
            verifier = page.fixed(8)?;
            while page.bool()? {
                page.u64()?;
                page.opaque()?;
                cookie = page.u64()?;
                page.post_op()?;
                page.post_op_handle()?;
                listed += 1;
            }
            if page.bool()? {
                return Ok(listed);
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "rates are shown with three digits")]
fn rate(what: &str, amount: u64, start: Instant, unit: &str, scale: f64) {
    println!("{what}: {:.0} {unit}", amount as f64 / scale / start.elapsed().as_secs_f64());
}

//! An NFS version 3 client over TCP (RFC 1813, RFC 5531), as small as these benchmarks allow.
//!
//! Up to [`WINDOW`] reads or writes are on their way at once, as kernel clients do; everything else is asked and answered in
//! turn. Where the process may, it calls from a port below 1024, which servers ask of root's calls.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::content::Source;

/// Reads or writes on their way at once.
const WINDOW: usize = 8;
/// Bytes of one READ or WRITE.
const TRANSFER_BYTES: u64 = 128 << 10;
/// Longest answer.
const ANSWER_BYTES_MAX: u32 = 4 << 20;
/// The flag of a record's only fragment.
const LAST_FRAGMENT: u32 = 1 << 31;
const MOUNT: (u32, u32) = (100_005, 3);
const NFS: (u32, u32) = (100_003, 3);

/// Procedures of NFS version 3.
#[derive(Clone, Copy)]
enum Procedure {
    GetAttr = 1,
    Lookup = 3,
    Read = 6,
    Write = 7,
    Create = 8,
    MkDir = 9,
    Remove = 12,
    ReadDir = 16,
    Commit = 21,
}

/// A client with one connection and one folder it works in.
pub(crate) struct Client {
    address: String,
    stream: Option<TcpStream>,
    /// Calls made so far.
    calls: u32,
    folder: Vec<u8>,
}

/// A call's arguments, or an answer's results, in XDR.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn number(&mut self, number: u32) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn long(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn opaque(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// sattr3 with a mode and nothing else.
    fn mode(&mut self, mode: u32) -> &mut Self {
        self.number(1).number(mode);
        (0..5).fold(self, |words, _| words.number(0))
    }
}

/// What is left of an answer.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(bytes).context("an NFS answer is too short")?;
        self.0 = left;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn long(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn opaque(&mut self) -> Result<&'a [u8]> {
        let length = self.number()? as usize;
        let padded = self.take(length.checked_next_multiple_of(4).context("an NFS answer is too long")?)?;
        Ok(&padded[..length])
    }

    /// post_op_attr and pre_op_attr: a flag, then so many bytes.
    fn optional(&mut self, bytes: usize) -> Result<()> {
        if self.number()? != 0 {
            self.take(bytes)?;
        }
        Ok(())
    }

    /// fattr3, if it is there.
    fn attributes(&mut self) -> Result<()> {
        self.optional(84)
    }

    /// wcc_data.
    fn change(&mut self) -> Result<()> {
        self.optional(24)?;
        self.attributes()
    }
}

impl Client {
    /// A client of the server at `address`, to be connected by the first call.
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, calls: 0, folder: Vec::new() }
    }

    /// Connects if need be and finds, or makes, the folder to work in.
    async fn ready(&mut self) -> Result<()> {
        if self.stream.is_none() {
            self.stream = Some(connect(self.address.parse()?).await?);
            let mut path = Words::default();
            path.opaque(b"/");
            let mounted = self.ask(MOUNT, 1, &path).await.context("the export was not mounted")?;
            let root = Answer(&mounted).opaque()?.to_vec();
            let mut arguments = Words::default();
            arguments.opaque(&root).opaque(b"bench");
            self.folder = match self.call(Procedure::Lookup, &arguments).await {
                Ok(found) => Answer(&found).opaque()?.to_vec(),
                Err(_) => {
                    arguments.mode(0o755);
                    made(&self.call(Procedure::MkDir, &arguments).await?)?
                }
            };
        }
        Ok(())
    }

    async fn send(&mut self, (program, version): (u32, u32), procedure: u32, arguments: &Words) -> Result<()> {
        self.calls += 1;
        let mut credential = Words::default();
        // A stamp, the machine's name, uid, gid and no more groups.
        credential.number(0).opaque(b"bench").number(rustix::process::getuid().as_raw());
        credential.number(rustix::process::getgid().as_raw()).number(0);
        let mut call = Words::default();
        call.number(0).number(self.calls).number(0).number(2).number(program).number(version).number(procedure);
        call.number(1).opaque(&credential.0).number(0).number(0);
        call.0.extend_from_slice(&arguments.0);
        let length = call.0.len() as u32 - 4;
        call.0[..4].copy_from_slice(&(length | LAST_FRAGMENT).to_be_bytes());
        Ok(self.stream.as_mut().context("there is no connection")?.write_all(&call.0).await?)
    }

    /// The results of the next answer, whichever call it belongs to, behind its status.
    async fn receive(&mut self) -> Result<Vec<u8>> {
        let stream = self.stream.as_mut().context("there is no connection")?;
        let mut record = Vec::new();
        loop {
            let mark = stream.read_u32().await?;
            let length = mark & !LAST_FRAGMENT;
            ensure!(length <= ANSWER_BYTES_MAX, "an NFS answer of {length} bytes is too long");
            let start = record.len();
            record.resize(start + length as usize, 0);
            stream.read_exact(&mut record[start..]).await?;
            if mark & LAST_FRAGMENT != 0 {
                break;
            }
        }
        let mut answer = Answer(&record);
        answer.take(4)?;
        let (kind, denied) = (answer.number()?, answer.number()?);
        ensure!((kind, denied) == (1, 0), "the server denied an NFS call");
        answer.number()?;
        answer.opaque()?;
        let accepted = answer.number()?;
        ensure!(accepted == 0, "the server did not do an NFS call: accept status {accepted}");
        let status = answer.number()?;
        ensure!(status == 0, "an NFS call failed with status {status}");
        Ok(answer.0.to_vec())
    }

    async fn ask(&mut self, program: (u32, u32), procedure: u32, arguments: &Words) -> Result<Vec<u8>> {
        self.send(program, procedure, arguments).await?;
        self.receive().await
    }

    async fn call(&mut self, procedure: Procedure, arguments: &Words) -> Result<Vec<u8>> {
        self.ask(NFS, procedure as u32, arguments).await
    }

    fn named(&self, name: &str) -> Words {
        let mut words = Words::default();
        words.opaque(&self.folder).opaque(name.as_bytes());
        words
    }

    /// Makes a file, writes it unstably and commits it.
    pub(crate) async fn put(&mut self, name: &str, source: &mut Source, bytes: u64) -> Result<()> {
        self.ready().await?;
        let mut arguments = self.named(name);
        arguments.number(0).mode(0o644);
        let file = made(&self.call(Procedure::Create, &arguments).await?)?;
        source.start_object();
        let (mut at, mut waiting) = (0, 0);
        while at < bytes || waiting > 0 {
            if at < bytes && waiting < WINDOW {
                let piece = source.piece((bytes - at).min(TRANSFER_BYTES));
                let mut arguments = Words::default();
                arguments.opaque(&file).long(at).number(piece.len() as u32).number(0).opaque(piece);
                at += piece.len() as u64;
                self.send(NFS, Procedure::Write as u32, &arguments).await?;
                waiting += 1;
            } else {
                self.receive().await?;
                waiting -= 1;
            }
        }
        let mut arguments = Words::default();
        arguments.opaque(&file).long(0).number(0);
        self.call(Procedure::Commit, &arguments).await?;
        Ok(())
    }

    /// The handle of a file in the folder.
    pub(crate) async fn look_up(&mut self, name: &str) -> Result<Vec<u8>> {
        self.ready().await?;
        let arguments = self.named(name);
        let found = self.call(Procedure::Lookup, &arguments).await?;
        Ok(Answer(&found).opaque()?.to_vec())
    }

    /// Looks a file of `bytes` up, reads it and drops what it holds, or appends that to `keep`, then in order.
    pub(crate) async fn get(&mut self, name: &str, bytes: u64, mut keep: Option<&mut Vec<u8>>) -> Result<()> {
        let file = self.look_up(name).await?;
        let window = if keep.is_some() { 1 } else { WINDOW };
        let (mut at, mut waiting, mut came) = (0, 0, 0);
        while at < bytes || waiting > 0 {
            if at < bytes && waiting < window {
                let length = (bytes - at).min(TRANSFER_BYTES);
                let mut arguments = Words::default();
                arguments.opaque(&file).long(at).number(length as u32);
                self.send(NFS, Procedure::Read as u32, &arguments).await?;
                at += length;
                waiting += 1;
            } else {
                let results = self.receive().await?;
                let mut answer = Answer(&results);
                answer.attributes()?;
                answer.take(8)?;
                let data = answer.opaque()?;
                came += data.len() as u64;
                if let Some(keep) = &mut keep {
                    keep.extend_from_slice(data);
                }
                waiting -= 1;
            }
        }
        ensure!(came == bytes, "reading {name} brought {came} bytes, not {bytes}");
        Ok(())
    }

    /// Asks for the attributes of a file.
    pub(crate) async fn attributes(&mut self, file: &[u8]) -> Result<()> {
        let mut arguments = Words::default();
        arguments.opaque(file);
        self.call(Procedure::GetAttr, &arguments).await?;
        Ok(())
    }

    /// Removes a file.
    pub(crate) async fn remove(&mut self, name: &str) -> Result<()> {
        self.ready().await?;
        let arguments = self.named(name);
        self.call(Procedure::Remove, &arguments).await?;
        Ok(())
    }

    /// Reads the folder through; gives back the number of its entries, `.` and `..` aside.
    pub(crate) async fn read_folder(&mut self) -> Result<u64> {
        self.ready().await?;
        let (mut cookie, mut verifier, mut entries) = (0, 0, 0);
        loop {
            let mut arguments = Words::default();
            arguments.opaque(&self.folder).long(cookie).long(verifier).number(64 << 10);
            let results = self.call(Procedure::ReadDir, &arguments).await?;
            let mut answer = Answer(&results);
            answer.attributes()?;
            verifier = answer.long()?;
            while answer.number()? != 0 {
                answer.long()?;
                let name = answer.opaque()?;
                entries += u64::from(name != b"." && name != b"..");
                cookie = answer.long()?;
            }
            if answer.number()? != 0 {
                return Ok(entries);
            }
        }
    }
}

/// The handle in the results of CREATE or MKDIR.
fn made(results: &[u8]) -> Result<Vec<u8>> {
    let mut answer = Answer(results);
    ensure!(answer.number()? != 0, "the server does not tell the handle of what it made");
    let handle = answer.opaque()?.to_vec();
    answer.attributes()?;
    answer.change()?;
    Ok(handle)
}

async fn connect(server: SocketAddr) -> Result<TcpStream> {
    /// The privileged ports that no service has of old.
    const PORTS: std::ops::Range<u16> = 600..1023;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in PORTS {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_nodelay(true)?;
        let port = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        match socket.bind(SocketAddr::from(([127, 0, 0, 1], port))) {
            // Not root: the server decides what such a call may do.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Ok(TcpStream::connect(server).await?);
            }
            Err(_) => continue,
            Ok(()) => {}
        }
        match socket.connect(server).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => continue,
            connected => return connected.with_context(|| format!("no connection to {server}")),
        }
    }
    bail!("no port below 1024 is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_bytes_are_padded_and_come_back() {
        let mut words = Words::default();
        words.opaque(b"abcde").number(7).long(9);
        assert_eq!(words.0.len(), 4 + 8 + 4 + 8);
        let mut answer = Answer(&words.0);
        assert_eq!(answer.opaque().unwrap(), b"abcde");
        assert_eq!((answer.number().unwrap(), answer.long().unwrap()), (7, 9));
        assert!(answer.number().is_err());
    }
}

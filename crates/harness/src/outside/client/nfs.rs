//! The smallest NFS version 3 client (RFC 1813): as the user who runs the harness, one call at a time, whole paths.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

use super::xdr::{Reader, Writer};
use super::{Failure, Reply};
use crate::outside::server::Doors;

const NFS: (u32, u32) = (100_003, 3);
const MOUNT: (u32, u32) = (100_005, 3);
/// Bytes per READ and WRITE.
const PIECE: usize = 512 << 10;
/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file handle.
type Handle = Vec<u8>;

/// What GETATTR says, as far as it is used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attr {
    /// Permission bits.
    pub(crate) mode: u32,
    /// Length in bytes.
    pub(crate) size: u64,
    /// Number of the inode.
    pub(crate) ino: u64,
}

/// A mounted export.
#[derive(Debug)]
pub(crate) struct Nfs {
    stream: TcpStream,
    root: Handle,
    /// Number of the last call: a repeated one would be answered from the server's reply cache.
    last_call: u32,
}

impl Nfs {
    /// Mounts the export of a server.
    pub(crate) fn new(doors: &Doors) -> Reply<Self> {
        let address = format!("{}:{}", doors.text("nfs", "host"), doors.number("nfs", "port"));
        let address: SocketAddr = address.parse().map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let stream = connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        static CLIENTS: AtomicU32 = AtomicU32::new(0);
        let last_call = CLIENTS.fetch_add(1, Ordering::Relaxed) << 20;
        let mut this = Self { stream, root: Handle::new(), last_call };
        let reply = this.call(MOUNT, 1, Writer::default().bytes(doors.text("nfs", "export").as_bytes()))?;
        let mut reply = Reader(&reply);
        match reply.u32()? {
            0 => this.root = reply.bytes()?.to_vec(),
            code => return Err(Failure::Refused { code, said: "the export is refused".to_owned() }),
        }
        Ok(this)
    }

    /// One call; the results behind "accepted, success".
    fn call(&mut self, (program, version): (u32, u32), procedure: u32, arguments: Writer) -> io::Result<Vec<u8>> {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let who = Writer::default().u32(0).bytes(b"harness").u32(uid).u32(gid).u32(0);
        self.last_call = self.last_call.wrapping_add(1);
        let xid = self.last_call;
        let mut call = Writer::default().u32(xid).u32(0).u32(2).u32(program).u32(version).u32(procedure);
        call = call.u32(1).bytes(&who.0).u32(0).u32(0);
        call.0.extend_from_slice(&arguments.0);
        let mut record = (0x8000_0000 | call.0.len() as u32).to_be_bytes().to_vec();
        record.extend_from_slice(&call.0);
        self.stream.write_all(&record)?;
        let mut reply = Vec::new();
        loop {
            let mut mark = [0; 4];
            self.stream.read_exact(&mut mark)?;
            let mark = u32::from_be_bytes(mark);
            let from = reply.len();
            reply.resize(from + (mark & 0x7fff_ffff) as usize, 0);
            self.stream.read_exact(&mut reply[from..])?;
            if mark & 0x8000_0000 != 0 {
                break;
            }
        }
        let mut head = Reader(&reply);
        let accepted = (head.u32()?, head.u32()?, head.u32()?) == (xid, 1, 0);
        head.take(4)?;
        head.bytes()?;
        if !accepted || head.u32()? != 0 {
            return Err(io::Error::new(ErrorKind::InvalidData, "the call is not accepted"));
        }
        Ok(head.0.to_vec())
    }

    /// One NFS call; what follows status 0.
    fn nfs(&mut self, procedure: u32, arguments: Writer) -> Reply<Vec<u8>> {
        let reply = self.call(NFS, procedure, arguments)?;
        let mut reader = Reader(&reply);
        match reader.u32()? {
            0 => Ok(reader.0.to_vec()),
            code => Err(Failure::Refused { code, said: format!("procedure {procedure}") }),
        }
    }

    /// Attributes of the file at `path`.
    pub(crate) fn getattr(&mut self, path: &str) -> Reply<Attr> {
        let file = self.lookup(path)?;
        let reply = self.nfs(1, Writer::default().bytes(&file))?;
        let mut attr = Reader(&reply);
        attr.take(4)?;
        let mode = attr.u32()? & 0o7777;
        attr.take(12)?;
        let size = attr.u64()?;
        // Bytes used, the device's two numbers, the number of the file system.
        attr.take(24)?;
        Ok(Attr { mode, size, ino: attr.u64()? })
    }

    /// Walks `/`-separated names from the root.
    fn lookup(&mut self, path: &str) -> Reply<Handle> {
        let mut at = self.root.clone();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let reply = self.nfs(3, Writer::default().bytes(&at).bytes(name.as_bytes()))?;
            at = Reader(&reply).bytes()?.to_vec();
        }
        Ok(at)
    }

    /// The directory and name of a path.
    fn split<'a>(&mut self, path: &'a str) -> Reply<(Handle, &'a str)> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.lookup(dir)?, name))
    }

    /// The whole file.
    pub(crate) fn read(&mut self, path: &str) -> Reply<Vec<u8>> {
        let file = self.lookup(path)?;
        let mut whole = Vec::new();
        loop {
            let reply = self.nfs(6, Writer::default().bytes(&file).u64(whole.len() as u64).u32(PIECE as u32))?;
            let mut reply = Reader(&reply);
            reply.skip_attributes()?;
            reply.take(4)?;
            let end = reply.u32()? == 1;
            whole.extend_from_slice(reply.bytes()?);
            if end {
                return Ok(whole);
            }
        }
    }

    /// Writes at an offset: durable with each reply where `stable`, else with a COMMIT at the end.
    pub(crate) fn write_at(&mut self, path: &str, offset: u64, data: &[u8], stable: bool) -> Reply<()> {
        let file = self.lookup(path)?;
        self.write(&file, offset, data, stable)
    }

    fn write(&mut self, file: &[u8], offset: u64, data: &[u8], stable: bool) -> Reply<()> {
        for (number, piece) in data.chunks(PIECE).enumerate() {
            let at = offset + (number * PIECE) as u64;
            let how = if stable { 2 } else { 0 };
            self.nfs(7, Writer::default().bytes(file).u64(at).u32(piece.len() as u32).u32(how).bytes(piece))?;
        }
        if stable { Ok(()) } else { self.nfs(21, Writer::default().bytes(file).u64(0).u32(0)).map(drop) }
    }

    /// Creates or empties a file, and then writes it.
    pub(crate) fn put(&mut self, path: &str, data: &[u8], stable: bool) -> Reply<()> {
        let (dir, name) = self.split(path)?;
        // UNCHECKED, with size 0 and nothing else.
        let how = Writer::default().bytes(&dir).bytes(name.as_bytes()).u32(0).u32(0).u32(0).u32(0);
        self.nfs(8, how.u32(1).u64(0).u32(0).u32(0))?;
        let file = self.lookup(path)?;
        self.write(&file, 0, data, stable)
    }

    /// Sets the length.
    pub(crate) fn truncate(&mut self, path: &str, len: u64) -> Reply<()> {
        let file = self.lookup(path)?;
        let set = Writer::default().bytes(&file).u32(0).u32(0).u32(0).u32(1).u64(len).u32(0).u32(0);
        self.nfs(2, set.u32(0)).map(drop)
    }

    /// Sets the permission bits.
    pub(crate) fn chmod(&mut self, path: &str, mode: u32) -> Reply<()> {
        let file = self.lookup(path)?;
        let set = Writer::default().bytes(&file).u32(1).u32(mode).u32(0).u32(0).u32(0).u32(0).u32(0);
        self.nfs(2, set.u32(0)).map(drop)
    }

    /// Renames.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Reply<()> {
        let ((from_dir, from), (to_dir, to)) = (self.split(from)?, self.split(to)?);
        let names = Writer::default().bytes(&from_dir).bytes(from.as_bytes()).bytes(&to_dir).bytes(to.as_bytes());
        self.nfs(14, names).map(drop)
    }

    /// Removes a file.
    pub(crate) fn remove(&mut self, path: &str) -> Reply<()> {
        let (dir, name) = self.split(path)?;
        self.nfs(12, Writer::default().bytes(&dir).bytes(name.as_bytes())).map(drop)
    }

    /// Removes an empty directory.
    pub(crate) fn rmdir(&mut self, path: &str) -> Reply<()> {
        let (dir, name) = self.split(path)?;
        self.nfs(13, Writer::default().bytes(&dir).bytes(name.as_bytes())).map(drop)
    }

    /// Makes a directory.
    pub(crate) fn mkdir(&mut self, path: &str) -> Reply<()> {
        let (dir, name) = self.split(path)?;
        let set = Writer::default().bytes(&dir).bytes(name.as_bytes()).u32(1).u32(0o755);
        self.nfs(9, set.u32(0).u32(0).u32(0).u32(0).u32(0)).map(drop)
    }
}

/// Connects; as root from a port that only root can use, since that is where root is believed.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    /// The privileged ports that no service has of old.
    const PORTS: std::ops::Range<u32> = 600..1000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if !rustix::process::geteuid().is_root() {
        return TcpStream::connect(address);
    }
    // Begins elsewhere in each process, so that several seldom meet.
    let start = std::process::id().wrapping_mul(37);
    for _ in PORTS {
        let port = PORTS.start + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let socket: OwnedFd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
        let own = SocketAddr::from(([127, 0, 0, 1], port as u16));
        if rustix::net::bind(&socket, &own).is_err() {
            continue;
        }
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(TcpStream::from(socket)),
            Err(rustix::io::Errno::ADDRNOTAVAIL | rustix::io::Errno::ADDRINUSE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(ErrorKind::AddrInUse, "every port below 1000 is taken"))
}

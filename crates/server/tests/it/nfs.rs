//! The smallest NFS version 3 client (RFC 1813): as the user who runs the tests, one call at a time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

use crate::server::Server;
use crate::xdr::{Reader, Writer};

const NFS: (u32, u32) = (100_003, 3);
const MOUNT: (u32, u32) = (100_005, 3);
const NLM: (u32, u32) = (100_021, 4);
/// Bytes per READ and WRITE.
const PIECE: usize = 512 << 10;
/// "No such file or directory".
pub(crate) const NOENT: u32 = 2;

/// A file handle.
pub(crate) type Handle = Vec<u8>;

/// What GETATTR says, as far as it is used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attr {
    pub(crate) is_dir: bool,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) mtime_secs: u64,
}

/// A mounted export. Errors are NFS status codes.
pub(crate) struct Nfs {
    stream: std::cell::RefCell<TcpStream>,
    pub(crate) root: Handle,
    /// Number of the last call: a repeated one would be answered from the server's reply cache.
    last_call: std::cell::Cell<u32>,
}

impl Nfs {
    /// Mounts the export of a server.
    pub(crate) fn of(server: &Server<'_>) -> Self {
        let port = server.doors["nfs"]["port"].as_u64().expect("the nfs door's port");
        let address: SocketAddr = format!("{}:{port}", server.door("nfs", "host")).parse().unwrap();
        let stream = connect(address);
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let this = Self { stream: stream.into(), root: Handle::new(), last_call: std::process::id().into() };
        let reply = this.call(MOUNT, 1, Writer::default().bytes(server.door("nfs", "export").as_bytes()));
        let mut reply = Reader(&reply);
        assert_eq!(reply.u32(), 0, "the export is refused");
        let root = reply.bytes().to_vec();
        Self { root, ..this }
    }

    /// The record of a call, and its number.
    fn record(&self, (program, version): (u32, u32), procedure: u32, arguments: &Writer) -> (u32, Vec<u8>) {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let who = Writer::default().u32(0).bytes(b"test").u32(uid).u32(gid).u32(0);
        let xid = self.last_call.get().wrapping_add(1);
        self.last_call.set(xid);
        let mut call = Writer::default().u32(xid).u32(0).u32(2).u32(program).u32(version).u32(procedure);
        call = call.u32(1).bytes(&who.0).u32(0).u32(0);
        call.0.extend_from_slice(&arguments.0);
        let mut record = (0x8000_0000 | u32::try_from(call.0.len()).unwrap()).to_be_bytes().to_vec();
        record.extend_from_slice(&call.0);
        (xid, record)
    }

    /// One call; the results behind "accepted, success".
    fn call(&self, program: (u32, u32), procedure: u32, arguments: Writer) -> Vec<u8> {
        let (xid, record) = self.record(program, procedure, &arguments);
        let mut stream = self.stream.borrow_mut();
        stream.write_all(&record).expect("the nfs door takes calls");
        let mut reply = Vec::new();
        loop {
            let mut mark = [0; 4];
            stream.read_exact(&mut mark).expect("the nfs door answers");
            let mark = u32::from_be_bytes(mark);
            let mut fragment = vec![0; (mark & 0x7fff_ffff) as usize];
            stream.read_exact(&mut fragment).expect("the nfs door answers to the end");
            reply.extend_from_slice(&fragment);
            if mark & 0x8000_0000 != 0 {
                break;
            }
        }
        let mut head = Reader(&reply);
        assert_eq!((head.u32(), head.u32(), head.u32()), (xid, 1, 0), "the call is accepted");
        head.skip(4);
        head.bytes();
        assert_eq!(head.u32(), 0, "the call is understood");
        head.0.to_vec()
    }

    /// One NFS call; what follows status 0.
    fn nfs(&self, procedure: u32, arguments: Writer) -> Result<Vec<u8>, u32> {
        let reply = self.call(NFS, procedure, arguments);
        let mut reader = Reader(&reply);
        match reader.u32() {
            0 => Ok(reader.0.to_vec()),
            status => Err(status),
        }
    }

    pub(crate) fn getattr(&self, file: &[u8]) -> Result<Attr, u32> {
        let reply = self.nfs(1, Writer::default().bytes(file))?;
        let mut attr = Reader(&reply);
        let (kind, mode) = (attr.u32(), attr.u32());
        attr.skip(12);
        let size = attr.u64();
        attr.skip(8 + 8 + 8 + 8 + 8);
        Ok(Attr { is_dir: kind == 2, mode, size, mtime_secs: u64::from(attr.u32()) })
    }

    fn lookup_one(&self, dir: &[u8], name: &str) -> Result<Handle, u32> {
        let reply = self.nfs(3, Writer::default().bytes(dir).bytes(name.as_bytes()))?;
        Ok(Reader(&reply).bytes().to_vec())
    }

    /// Walks `/`-separated names from the root.
    pub(crate) fn lookup(&self, path: &str) -> Result<Handle, u32> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(self.root.clone(), |dir, name| self.lookup_one(&dir, name))
    }

    /// The directory and name of a path.
    fn split<'a>(&self, path: &'a str) -> Result<(Handle, &'a str), u32> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.lookup(dir)?, name))
    }

    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>, u32> {
        let file = self.lookup(path)?;
        let mut whole = Vec::new();
        loop {
            let arguments = Writer::default().bytes(&file).u64(whole.len() as u64).u32(u32::try_from(PIECE).unwrap());
            let reply = self.nfs(6, arguments)?;
            let mut reply = Reader(&reply);
            if reply.u32() == 1 {
                reply.skip(84);
            }
            reply.skip(4);
            let end = reply.u32() == 1;
            whole.extend_from_slice(reply.bytes());
            if end {
                return Ok(whole);
            }
        }
    }

    /// Asks for so many pieces of a file on a connection of its own, and reads none of the replies.
    pub(crate) fn begin_reads(&self, file: &[u8], count: u64) -> TcpStream {
        let mut stream = connect(self.stream.borrow().peer_addr().expect("it is connected"));
        for number in 0..count {
            let len = u32::try_from(PIECE).unwrap();
            let arguments = Writer::default().bytes(file).u64(number * PIECE as u64).u32(len);
            stream.write_all(&self.record(NFS, 6, &arguments).1).expect("the nfs door takes calls");
        }
        stream
    }

    /// Writes at an offset, unstable, and commits.
    pub(crate) fn write_at(&self, file: &[u8], offset: u64, data: &[u8]) -> Result<(), u32> {
        for (number, piece) in data.chunks(PIECE).enumerate() {
            let at = offset + (number * PIECE) as u64;
            let len = u32::try_from(piece.len()).unwrap();
            self.nfs(7, Writer::default().bytes(file).u64(at).u32(len).u32(0).bytes(piece))?;
        }
        self.nfs(21, Writer::default().bytes(file).u64(0).u32(0)).map(drop)
    }

    /// Creates or empties a file and writes it.
    pub(crate) fn put(&self, path: &str, data: &[u8]) -> Result<(), u32> {
        let (dir, name) = self.split(path)?;
        // UNCHECKED, with mode 0644 and size 0.
        let how = Writer::default().bytes(&dir).bytes(name.as_bytes()).u32(0).u32(1).u32(0o644).u32(0).u32(0);
        self.nfs(8, how.u32(1).u64(0).u32(0).u32(0))?;
        self.write_at(&self.lookup(path)?, 0, data)
    }

    /// NLM's LOCK by a process of this host, for writing, of some bytes (to the end if of none), not waited for: its status.
    pub(crate) fn lock(&self, path: &str, process: u32, offset: u64, len: u64) -> u32 {
        let file = self.lookup(path).expect("it is there");
        let owner = format!("{process}@testing");
        let lock = Writer::default().bytes(b"c").u32(0).u32(1).bytes(b"testing").bytes(&file).bytes(owner.as_bytes());
        let reply = self.call(NLM, 2, lock.u32(process).u64(offset).u64(len).u32(0).u32(1));
        let mut reply = Reader(&reply);
        assert_eq!(reply.bytes(), b"c");
        reply.u32()
    }

    pub(crate) fn truncate(&self, path: &str, len: u64) -> Result<(), u32> {
        let file = self.lookup(path)?;
        let set = Writer::default().bytes(&file).u32(0).u32(0).u32(0).u32(1).u64(len).u32(0).u32(0);
        self.nfs(2, set.u32(0)).map(drop)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), u32> {
        let ((from_dir, from), (to_dir, to)) = (self.split(from)?, self.split(to)?);
        let names = Writer::default().bytes(&from_dir).bytes(from.as_bytes()).bytes(&to_dir).bytes(to.as_bytes());
        self.nfs(14, names).map(drop)
    }

    pub(crate) fn remove(&self, path: &str) -> Result<(), u32> {
        let (dir, name) = self.split(path)?;
        self.nfs(12, Writer::default().bytes(&dir).bytes(name.as_bytes())).map(drop)
    }

    pub(crate) fn mkdir(&self, path: &str) -> Result<(), u32> {
        let (dir, name) = self.split(path)?;
        let set = Writer::default().bytes(&dir).bytes(name.as_bytes()).u32(1).u32(0o755);
        self.nfs(9, set.u32(0).u32(0).u32(0).u32(0).u32(0)).map(drop)
    }
}

/// Connects; as root from a port that only root can use, since that is where root is believed.
fn connect(address: SocketAddr) -> TcpStream {
    if !rustix::process::geteuid().is_root() {
        return TcpStream::connect(address).expect("the nfs door is open");
    }
    // Start at a different port in each process, so that tests in parallel seldom meet.
    let start = 600 + std::process::id() % 400;
    for port in (start..1000).chain(600..start) {
        let socket: OwnedFd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true).expect("an option");
        let own = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        if rustix::net::bind(&socket, &own).is_ok() && rustix::net::connect(&socket, &address).is_ok() {
            return TcpStream::from(socket);
        }
    }
    panic!("every port below 1000 is taken");
}

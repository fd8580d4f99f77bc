//! A small NFS client of the tests and of the load example: blocking, one connection, one call or several at a time.
//!
//! It knows no more of the door than RFC 1813 and RFC 5531 say, so that a mistake is not made on both sides.

#![allow(dead_code, reason = "each user of this module calls a part of it")]

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const PORTMAP: (u32, u32) = (100_000, 2);
pub(crate) const NFS: (u32, u32) = (100_003, 3);
pub(crate) const MOUNT: (u32, u32) = (100_005, 3);

pub(crate) const OK: u32 = 0;
pub(crate) const PERM: u32 = 1;
pub(crate) const NOENT: u32 = 2;
pub(crate) const ACCES: u32 = 13;
pub(crate) const EXIST: u32 = 17;
pub(crate) const XDEV: u32 = 18;
pub(crate) const NOTDIR: u32 = 20;
pub(crate) const ISDIR: u32 = 21;
pub(crate) const INVAL: u32 = 22;
pub(crate) const ROFS: u32 = 30;
pub(crate) const NAMETOOLONG: u32 = 63;
pub(crate) const NOTEMPTY: u32 = 66;
pub(crate) const STALE: u32 = 70;
pub(crate) const BADHANDLE: u32 = 10_001;
pub(crate) const NOT_SYNC: u32 = 10_002;
pub(crate) const BAD_COOKIE: u32 = 10_003;
pub(crate) const TOOSMALL: u32 = 10_005;

/// XDR being written.
#[derive(Clone, Default)]
pub(crate) struct Args(pub(crate) Vec<u8>);

impl Args {
    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn fixed(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn opaque(self, bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.u32(len).fixed(bytes)
    }

    /// A `sattr3`.
    pub(crate) fn set(mut self, set: &Set) -> Self {
        for value in [set.mode, set.uid, set.gid] {
            self = match value {
                Some(value) => self.u32(1).u32(value),
                None => self.u32(0),
            };
        }
        self = match set.size {
            Some(size) => self.u32(1).u64(size),
            None => self.u32(0),
        };
        for time in [set.atime, set.mtime] {
            self = match time {
                Some((seconds, nanos)) => self.u32(2).u32(seconds).u32(nanos),
                None => self.u32(0),
            };
        }
        self
    }
}

/// Attributes to set.
#[derive(Clone, Default)]
pub(crate) struct Set {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<Time>,
    pub(crate) mtime: Option<Time>,
}

impl Set {
    pub(crate) fn mode(mode: u32) -> Self {
        Self { mode: Some(mode), ..Self::default() }
    }
}

/// XDR being read.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    bytes: Vec<u8>,
    at: usize,
}

impl Results {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, len: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, "the reply ends inside an item"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        let word = <[u8; 4]>::try_from(self.take(4)?).map_err(Error::other)?;
        Ok(u32::from_be_bytes(word))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    pub(crate) fn bool(&mut self) -> Result<bool> {
        Ok(self.u32()? != 0)
    }

    pub(crate) fn fixed(&mut self, len: usize) -> Result<Vec<u8>> {
        let bytes = self.take(len.next_multiple_of(4))?;
        Ok(bytes[..len].to_vec())
    }

    pub(crate) fn opaque(&mut self) -> Result<Vec<u8>> {
        let len = self.u32()? as usize;
        self.fixed(len)
    }

    fn time(&mut self) -> Result<Time> {
        Ok((self.u32()?, self.u32()?))
    }

    pub(crate) fn attr(&mut self) -> Result<Attr> {
        Ok(Attr {
            kind: self.u32()?,
            mode: self.u32()?,
            nlink: self.u32()?,
            uid: self.u32()?,
            gid: self.u32()?,
            size: self.u64()?,
            used: self.u64()?,
            rdev: (self.u32()?, self.u32()?),
            fsid: self.u64()?,
            fileid: self.u64()?,
            atime: self.time()?,
            mtime: self.time()?,
            ctime: self.time()?,
        })
    }

    pub(crate) fn post_op(&mut self) -> Result<Option<Attr>> {
        if self.bool()? { self.attr().map(Some) } else { Ok(None) }
    }

    pub(crate) fn post_op_handle(&mut self) -> Result<Option<Vec<u8>>> {
        if self.bool()? { self.opaque().map(Some) } else { Ok(None) }
    }

    pub(crate) fn wcc(&mut self) -> Result<Wcc> {
        let before = if self.bool()? { Some((self.u64()?, self.time()?, self.time()?)) } else { None };
        Ok(Wcc { before, after: self.post_op()? })
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) {
        assert_eq!(self.at, self.bytes.len(), "bytes behind the results");
    }
}

/// A `fattr3`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Attr {
    pub(crate) kind: u32,
    pub(crate) mode: u32,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) used: u64,
    pub(crate) rdev: (u32, u32),
    pub(crate) fsid: u64,
    pub(crate) fileid: u64,
    pub(crate) atime: Time,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
}

/// Seconds and nanoseconds.
pub(crate) type Time = (u32, u32);

/// Weak cache consistency data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wcc {
    /// Size, mtime, ctime.
    pub(crate) before: Option<(u64, Time, Time)>,
    pub(crate) after: Option<Attr>,
}

/// AUTH_SYS, or AUTH_NONE.
#[derive(Clone, Debug)]
pub(crate) enum Cred {
    None,
    Sys { uid: u32, gid: u32, groups: Vec<u32> },
}

impl Cred {
    pub(crate) fn user(uid: u32) -> Self {
        Self::Sys { uid, gid: uid, groups: Vec::new() }
    }

    fn put(&self, args: Args) -> Args {
        match self {
            Self::None => args.u32(0).u32(0),
            Self::Sys { uid, gid, groups } => {
                let mut body = Args::default().u32(7).opaque(b"tester").u32(*uid).u32(*gid);
                body = body.u32(u32::try_from(groups.len()).unwrap_or(u32::MAX));
                for group in groups {
                    body = body.u32(*group);
                }
                args.u32(1).opaque(&body.0)
            }
        }
    }
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    xid: u32,
    pub(crate) cred: Cred,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, cred: Cred) -> Result<Self> {
        Self::over(TcpStream::connect(address)?, cred)
    }

    pub(crate) fn over(stream: TcpStream, cred: Cred) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream, xid: 1000, cred })
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The record of a call.
    pub(crate) fn record(&self, xid: u32, (program, version): (u32, u32), procedure: u32, args: &Args) -> Vec<u8> {
        let head = Args::default().u32(0).u32(xid).u32(0).u32(2).u32(program).u32(version).u32(procedure);
        let mut record = self.cred.put(head).u32(0).u32(0).0;
        record.extend_from_slice(&args.0);
        let len = u32::try_from(record.len() - 4).unwrap_or(0);
        record[..4].copy_from_slice(&(len | 1 << 31).to_be_bytes());
        record
    }

    /// Sends a call and returns its xid.
    pub(crate) fn send(&mut self, program: (u32, u32), procedure: u32, args: &Args) -> Result<u32> {
        self.xid += 1;
        let record = self.record(self.xid, program, procedure, args);
        self.stream.write_all(&record)?;
        Ok(self.xid)
    }

    /// The next reply: its xid and everything behind.
    pub(crate) fn receive(&mut self) -> Result<(u32, Results)> {
        let mut mark = [0; 4];
        self.stream.read_exact(&mut mark)?;
        let mark = u32::from_be_bytes(mark);
        assert_ne!(mark & 1 << 31, 0, "a reply in one fragment");
        let mut bytes = vec![0; (mark & !(1 << 31)) as usize];
        self.stream.read_exact(&mut bytes)?;
        let mut results = Results::new(bytes);
        Ok((results.u32()?, results))
    }

    /// Strips the header of a reply that was accepted and succeeded; else the reply as it is.
    pub(crate) fn accepted(mut reply: Results) -> Result<Results> {
        let header = [reply.u32()?, reply.u32()?, reply.u32()?, reply.u32()?, reply.u32()?];
        if header == [1, 0, 0, 0, 0] { Ok(reply) } else { Err(Error::other(format!("refused: {header:?}"))) }
    }

    /// A call and its results.
    pub(crate) fn call(&mut self, program: (u32, u32), procedure: u32, args: &Args) -> Result<Results> {
        let sent = self.send(program, procedure, args)?;
        let (xid, reply) = self.receive()?;
        assert_eq!(xid, sent);
        Self::accepted(reply)
    }

    /// An NFS call: its status and what follows.
    pub(crate) fn nfs(&mut self, procedure: u32, args: &Args) -> Result<(u32, Results)> {
        let mut results = self.call(NFS, procedure, args)?;
        Ok((results.u32()?, results))
    }

    /// MNT: the status, or the handle.
    pub(crate) fn mount(&mut self, path: &str) -> Result<std::result::Result<Vec<u8>, u32>> {
        let mut results = self.call(MOUNT, 1, &Args::default().opaque(path.as_bytes()))?;
        Ok(match results.u32()? {
            OK => Ok(results.opaque()?),
            status => Err(status),
        })
    }
}

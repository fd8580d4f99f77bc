//! READ, WRITE, COMMIT, and attributes.

use bytes::Bytes;
use nfsserve::nfs::{nfsstat3, nfstime3, sattr3};
use strata_namespace::{Access, Attr, Condition, ErrorKind, FILE_LEN_MAX, Guard, NodeKind, Touch};

use super::args::Stable;
use super::context::Context;
use crate::attr::{same_time, set_attr, wire_time};
use crate::config::TRANSFER_LEN_MAX;
use crate::metrics::add;
use crate::status::Fail;
use crate::xdr::Encoder;

const UNSTABLE: u32 = 0;
const FILE_SYNC: u32 = 2;

// The bits of ACCESS (RFC 1813, section 3.3.4).
const ACCESS_READ: u32 = 0x01;
const ACCESS_LOOKUP: u32 = 0x02;
const ACCESS_MODIFY: u32 = 0x04;
const ACCESS_EXTEND: u32 = 0x08;
const ACCESS_DELETE: u32 = 0x10;
const ACCESS_EXECUTE: u32 = 0x20;

const READ: Access = Access { read: true, write: false, exec: false };
const WRITE: Access = Access { read: false, write: true, exec: false };

impl Context {
    pub(super) fn getattr(&self, out: &mut Encoder) -> Result<(), Fail> {
        let attr = self.attr(self.ino)?;
        self.ok(out);
        self.put_attr(&attr, out);
        Ok(())
    }

    pub(super) fn setattr(&self, wire: &sattr3, guard: Option<nfstime3>, out: &mut Encoder) -> Result<(), Fail> {
        let set = set_attr(wire)?;
        let before = self.attr(self.ino)?;
        if let Some(guard) = guard {
            if !same_time(guard, wire_time(before.ctime)) {
                return Err(Fail(nfsstat3::NFS3ERR_NOT_SYNC));
            }
            // Checked again in the commit, so that no change comes in between.
            let ctime = Some(before.ctime);
            self.op.guard(Guard { ino: self.ino, entry: None, condition: Condition::default(), ctime });
        }
        if set.size.is_some() {
            self.regular(&before)?;
        }
        self.watch(&before);
        self.door.ns.setattr(&self.op, self.ino, &set).map_err(|error| match error.kind {
            ErrorKind::PreconditionFailed => Fail(nfsstat3::NFS3ERR_NOT_SYNC),
            _ => Fail::of_inode(error),
        })?;
        self.ok(out);
        self.put_wcc(&before, out);
        Ok(())
    }

    /// Whether a lock of another door forbids changing the file now. A client that learns this at its `open` has written nothing yet that
    /// would be refused later.
    fn is_locked(&self, attr: &Attr) -> Result<bool, Fail> {
        let touch = if attr.kind == NodeKind::Directory { Touch::Members(self.ino) } else { Touch::Node(self.ino) };
        match self.door.ns.check_locks(&self.op, &[touch]) {
            Ok(()) => Ok(false),
            Err(error) if error.kind == ErrorKind::Locked => Ok(true),
            Err(error) => Err(Fail::of_inode(error)),
        }
    }

    pub(super) fn access(&self, asked: u32, out: &mut Encoder) -> Result<(), Fail> {
        let attr = self.attr(self.ino)?;
        let all = Access { read: true, write: true, exec: true };
        let granted = self.door.ns.access(&self.op, self.ino, all).map_err(Fail::of_inode)?;
        let write = granted.write && !self.read_only() && !self.is_locked(&attr)?;
        let mut bits = 0;
        if granted.read {
            bits |= ACCESS_READ;
        }
        if write {
            bits |= ACCESS_MODIFY | ACCESS_EXTEND;
        }
        if attr.kind == NodeKind::Directory {
            if granted.exec {
                bits |= ACCESS_LOOKUP;
            }
            if write {
                bits |= ACCESS_DELETE;
            }
        } else if granted.exec {
            bits |= ACCESS_EXECUTE;
        }
        self.ok(out);
        self.put_post_op(Some(&attr), out);
        out.u32(bits & asked);
        Ok(())
    }

    pub(super) fn readlink(&self, out: &mut Encoder) -> Result<(), Fail> {
        let attr = self.attr(self.ino)?;
        if attr.kind != NodeKind::Symlink {
            return Err(Fail(nfsstat3::NFS3ERR_INVAL));
        }
        let target = self.door.ns.readlink(&self.op, self.ino).map_err(Fail::of_inode)?;
        self.ok(out);
        self.put_post_op(Some(&attr), out);
        out.opaque(&target);
        Ok(())
    }

    /// The data is what the name space returned, uncopied. With `memory_only` it may be `None`: nothing was answered
    /// then, and the call belongs on a thread that may wait for a disk.
    pub(super) fn read(
        &self,
        offset: u64,
        count: u32,
        memory_only: bool,
        out: &mut Encoder,
    ) -> Result<Option<Bytes>, Fail> {
        let attr = self.attr(self.ino)?;
        self.regular(&attr)?;
        let asked = count.min(TRANSFER_LEN_MAX) as usize;
        let (ns, op) = (&self.door.ns, &self.op);
        let data = if offset >= attr.size || asked == 0 {
            ns.permit(op, self.ino, READ).map_err(Fail::of_inode)?;
            Bytes::new()
        } else if memory_only {
            match ns.read_cached(op, self.ino, offset, asked).map_err(Fail::of_inode)? {
                Some(data) => data,
                None => return Ok(None),
            }
        } else {
            ns.read(op, self.ino, offset, asked).map_err(Fail::of_inode)?
        };
        // A read of fewer bytes than asked for ends the file, even if the file was longer when its size was read.
        let end = offset.saturating_add(data.len() as u64) >= attr.size || data.len() < asked;
        self.ok(out);
        self.put_post_op(Some(&attr), out);
        out.length(data.len());
        out.bool(end);
        out.length(data.len());
        Ok(Some(data))
    }

    pub(super) fn write(&self, offset: u64, stable: Stable, data: &Bytes, out: &mut Encoder) -> Result<(), Fail> {
        let before = self.attr(self.ino)?;
        self.regular(&before)?;
        let permit = self.door.ns.permit(&self.op, self.ino, WRITE).map_err(Fail::of_inode)?;
        if offset.saturating_add(data.len() as u64) > FILE_LEN_MAX {
            return Err(Fail(nfsstat3::NFS3ERR_FBIG));
        }
        let ns = &self.door.ns;
        self.watch(&before);
        if !data.is_empty() {
            ns.write(&self.op, permit, offset, data).map_err(Fail::of_inode)?;
        }
        let committed = match stable {
            Stable::Unstable => UNSTABLE,
            Stable::Data | Stable::File => {
                ns.fsync(&self.op, self.ino).map_err(Fail::of_inode)?;
                FILE_SYNC
            }
        };
        add(&self.door.metrics().written_bytes, data.len());
        self.ok(out);
        self.put_wcc(&before, out);
        out.length(data.len());
        out.u32(committed);
        out.fixed(&self.door.write_verifier);
        Ok(())
    }

    pub(super) fn commit(&self, out: &mut Encoder) -> Result<(), Fail> {
        let before = self.attr(self.ino)?;
        self.regular(&before)?;
        self.door.ns.permit(&self.op, self.ino, WRITE).map_err(Fail::of_inode)?;
        self.door.ns.fsync(&self.op, self.ino).map_err(Fail::of_inode)?;
        self.ok(out);
        self.put_wcc(&before, out);
        out.fixed(&self.door.write_verifier);
        Ok(())
    }

    /// Refuses what has no content.
    pub(super) fn regular(&self, attr: &Attr) -> Result<(), Fail> {
        match attr.kind {
            NodeKind::File => Ok(()),
            NodeKind::Directory => Err(Fail(nfsstat3::NFS3ERR_ISDIR)),
            NodeKind::Symlink | NodeKind::Fifo | NodeKind::Socket | NodeKind::CharDevice | NodeKind::BlockDevice => {
                Err(Fail(nfsstat3::NFS3ERR_INVAL))
            }
        }
    }
}

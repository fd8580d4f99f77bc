//! Reading open files: stored content, with staged bytes over it.

use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use strata_content::{Hold, ReadAhead, Reader};
use strata_seam::Ino;

use crate::authority::{READ, Reach};
use crate::error::{ErrorKind, Result, fail};
use crate::file::READ_LEN_MAX;
use crate::namespace::Namespace;
use crate::opens::State;
use crate::types::{NodeKind, Op};
use crate::view::View;

impl State {
    /// The bytes of a range as a reader sees them: `sealed` gives those of the content, where they are needed.
    fn read(
        &self,
        reader: &Reader,
        offset: u64,
        len: usize,
        sealed: impl FnOnce(u64, usize) -> Result<Bytes>,
    ) -> Result<Bytes> {
        let size = self.end(reader.len());
        if offset >= size {
            return Ok(Bytes::new());
        }
        let len = len.min(usize::try_from(size - offset).unwrap_or(usize::MAX));
        let mut buf = BytesMut::with_capacity(len);
        if !self.staging.covers(offset, offset + len as u64) {
            buf.extend_from_slice(&sealed(offset, len)?);
        }
        buf.resize(len, 0);
        if let Some(sealing) = &self.sealing {
            sealing.overlay(offset, &mut buf);
        }
        self.staging.overlay(offset, &mut buf);
        Ok(buf.freeze())
    }
}

impl Namespace {
    /// Reads through staged writes. `file`: by the permit of an open, or by asking now. At most `len` bytes (and [`READ_LEN_MAX`]), fewer
    /// at the end of the file.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`], [`ErrorKind::Stale`], [`ErrorKind::Corrupt`] and those of the disks; never wrong bytes.
    pub fn read(&self, op: &Op, file: impl Into<Reach>, offset: u64, len: usize) -> Result<Bytes> {
        let ino = self.reach(op, file.into(), READ)?.ino();
        self.read_in_sequence(op, ino, None, offset, len)
    }

    /// Reads a file for which permission was checked, as [`Namespace::read`] does. With the read-ahead state of a handle, if there is
    /// one.
    pub(crate) fn read_in_sequence(
        &self,
        op: &Op,
        ino: Ino,
        ahead: Option<&ReadAhead>,
        offset: u64,
        len: usize,
    ) -> Result<Bytes> {
        let len = len.min(READ_LEN_MAX);
        let look_ahead = |reader: &Reader| {
            if let Some(ahead) = ahead {
                reader.look_ahead(ahead, offset, len);
            }
        };
        let Some(file) = self.opens.get(ino).filter(|file| file.dirty.load(Ordering::Acquire)) else {
            let reader = self.reader(op, ino)?;
            look_ahead(&reader);
            return Ok(reader.read(offset, len)?);
        };
        let state = file.state.lock();
        let reader = self.reader(op, ino)?;
        look_ahead(&reader);
        state.read(&reader, offset, len, |offset, len| Ok(reader.read(offset, len)?))
    }

    /// [`Namespace::read`] if it needs no disk and waits for nobody, else `None`: lets an async door answer on the
    /// thread that took the request. Costs a copy of `len` bytes at most.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`], [`ErrorKind::Stale`] and those of the index; faults of content are left for [`Namespace::read`] to tell.
    pub fn read_cached(&self, op: &Op, file: impl Into<Reach>, offset: u64, len: usize) -> Result<Option<Bytes>> {
        let ino = self.reach(op, file.into(), READ)?.ino();
        let len = len.min(READ_LEN_MAX);
        let Some(file) = self.opens.get(ino).filter(|file| file.dirty.load(Ordering::Acquire)) else {
            return Ok(self.reader(op, ino)?.read_cached(offset, len));
        };
        let Some(state) = file.state.try_lock() else { return Ok(None) };
        let reader = self.reader(op, ino)?;
        let mut complete = true;
        let read = state.read(&reader, offset, len, |offset, len| {
            let cached = reader.read_cached(offset, len);
            complete = cached.is_some();
            Ok(cached.unwrap_or_default())
        })?;
        Ok(complete.then_some(read))
    }

    /// A reader of the sealed content of a file that may be read.
    pub(crate) fn reader(&self, op: &Op, ino: Ino) -> Result<Reader> {
        let hold = Hold::begin(&self.store);
        let mut snap = self.snap(op);
        let inode = snap.inode(ino)?;
        snap.bucket = inode.bucket;
        if inode.attr.kind != NodeKind::File {
            return Err(fail(ErrorKind::Invalid, "this is no regular file"));
        }
        Ok(hold.read(&inode.items))
    }
}

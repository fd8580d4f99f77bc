//! Open files: reading through staged writes, and the calls that concern bytes.
//!
//! A write lands in the file's staging in memory and is visible to every door at once. It becomes content (chunks and
//! a manifest, in the ledger) when the file is closed, synced or idle, or when enough has gathered; see [`crate::seal`].
//! Staged bytes are counted, and above [`strata_content::StoreSettings::staged_bytes_max`] the writer seals before it goes on (invariant BOUND).
//!
//! Lock order: a file's seal lock, its state, then the writer's lock. Within a change only the atomics of an open file
//! are read.

mod opening;
mod storing;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strata_seam::{Duty, Ino};

use crate::authority::{Reach, WRITE};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::locks::uphold::Touched;
use crate::mode;
use crate::namespace::Namespace;
use crate::opens::{OpenFile, State};
use crate::records::Inode;
use crate::staging::EXTENT_ROOM;
use crate::types::{Attr, Change, FILE_LEN_MAX, NodeKind, Op, STORE};
use crate::view::View;

/// Staged bytes of one file at which a sealer takes them up, while the writer goes on.
const SEAL_BYTES: usize = 8 << 20;
/// Staged bytes of one file at which its writer seals them itself and so waits.
const SEAL_BYTES_MAX: usize = 32 << 20;
/// A file with staged bytes that nobody wrote to for this long is sealed.
const IDLE_NANOS: u64 = 1_000_000_000;
/// So is one that is written to without a pause, once its oldest staged byte has waited this long: a log that grows by a line at a
/// time would lie in memory for hours. Each time costs a chunk that is written anew, so not as often as when it is idle.
const STAGED_NANOS_MAX: u64 = 5_000_000_000;
/// The worker as which all sealers report: threads that turn written bytes into content.
pub const SEALER: Duty = Duty { name: "sealer", does: "makes content of written bytes", unit: "files" };
/// How long a sealer sleeps at most.
const SEALER_PAUSE: Duration = Duration::from_millis(200);
/// How often a create starts over because the name was removed or replaced under it.
const CREATE_TRIES_MAX: usize = 100;
/// Most bytes one read returns.
pub const READ_LEN_MAX: usize = 1 << 20;

/// How much is staged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pressure {
    None,
    Some,
    High,
}

impl Namespace {
    /// The attributes with what is staged taken into account.
    pub(crate) fn with_staged(&self, mut attr: Attr) -> Attr {
        if attr.kind == NodeKind::File
            && let Some(file) = self.opens.get(attr.ino)
            && file.dirty.load(Ordering::Acquire)
        {
            attr.size = attr.size.max(file.staged_end.load(Ordering::Acquire));
            attr.allocated = attr.allocated.max(file.staged_allocated.load(Ordering::Acquire));
            attr.mtime = attr.mtime.max(file.mtime());
            attr.ctime = attr.ctime.max(file.mtime());
            attr.change = attr.change.max(file.staged_change.load(Ordering::Acquire));
        }
        attr
    }

    /// The attributes that `sealed` reads, with what is staged: both of one moment, although sealing moves bytes from
    /// the one to the other meanwhile. A size that was seen never shrinks by it.
    pub(crate) fn attr_of_one_moment(&self, ino: Ino, mut sealed: impl FnMut() -> Result<Attr>) -> Result<Attr> {
        loop {
            let Some(file) = self.opens.get(ino) else { return Ok(self.with_staged(sealed()?)) };
            let moved = file.moved.load(Ordering::Acquire);
            let attr = self.with_staged(sealed()?);
            if file.moved.load(Ordering::Acquire) == moved {
                return Ok(attr);
            }
        }
    }

    /// Writes `data` at `offset` into the file's staging. Every door sees it at once; it is durable after [`Namespace::fsync`], or some
    /// seconds later. `file` is a permit from an open, or an inode for which permission is checked now ([`Reach`]). Returns the
    /// attributes after the write.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`], [`ErrorKind::Stale`], [`ErrorKind::TooLarge`], [`ErrorKind::Locked`], and those of sealing earlier writes.
    pub fn write(&self, op: &Op, file: impl Into<Reach>, offset: u64, data: &[u8]) -> Result<Attr> {
        let ino = self.reach(op, file.into(), WRITE)?.ino();
        if offset.saturating_add(data.len() as u64) > FILE_LEN_MAX {
            return Err(fail(ErrorKind::TooLarge, format!("a file may have {FILE_LEN_MAX} bytes at most")));
        }
        let (file, promised) = self.begin_write(op, ino, data.len())?;
        let written = {
            // Read under the lock, so that bytes that are being sealed are either still staged or already content.
            let mut state = file.state.lock();
            self.written_inode(op, ino).map(|inode| {
                let found = self.with_staged(inode.attr.clone());
                let pressure = self.stage(op, &inode, &file, &mut state, (offset, data), promised);
                let left = self.with_staged(inode.attr);
                op.note_watched(ino, Some(found), Some(left.clone()));
                (left, pressure)
            })
        };
        let (attr, pressure) = match written {
            Ok(written) => written,
            Err(error) => {
                self.store.keep_promised(promised, 0);
                drop(file);
                self.opens.forget_if_idle(ino);
                self.tell_refused(ino, &error);
                return Err(error);
            }
        };
        self.relieve(op, ino, &file, pressure);
        Ok(attr)
    }

    /// The file, with room promised for a write of so many bytes.
    fn begin_write(&self, op: &Op, ino: Ino, len: usize) -> Result<(Arc<OpenFile>, u64)> {
        let file = self.opens.get_or_insert(ino);
        self.unstage_first(op, ino, &file)?;
        match self.promise(op, ino, &file, len) {
            Ok(promised) => Ok((file, promised)),
            Err(error) => {
                drop(file);
                self.opens.forget_if_idle(ino);
                Err(error)
            }
        }
    }

    /// Has room kept for a write of so many bytes before any of it is staged: once it is, its writer has been told that all
    /// is well, and may close the file and go.
    fn promise(&self, op: &Op, ino: Ino, file: &OpenFile, len: usize) -> Result<u64> {
        let room = len as u64 + EXTENT_ROOM;
        let mut promised = self.store.promise(room)?;
        if !promised && file.dirty.load(Ordering::Acquire) {
            // Staged bytes have more room promised than they take once they are sealed.
            drop(self.seal_whole(op, ino, file));
            promised = self.store.promise(room)?;
        }
        if promised { Ok(room) } else { Err(strata_content::ContentError::full().into()) }
    }

    /// Bytes written through a mapping are in the kernel's pages by now: if a lock forbade the write, the kernel is told to read anew.
    fn tell_refused(&self, ino: Ino, error: &Error) {
        if error.kind == ErrorKind::Locked {
            self.feed.publish(&STORE, vec![Change::Content(ino)]);
        }
    }

    /// Whether a [`Namespace::write`] of `len` bytes would now only copy them to memory, without sealing or waiting. Async doors then
    /// call it directly instead of on another thread. Only a guess, since others write too.
    #[must_use]
    pub fn write_is_quick(&self, ino: Ino, len: usize) -> bool {
        let memory = self.opens.staged_bytes.load(Ordering::Acquire) + len <= self.store.settings().staged_bytes_max;
        // If there is little room, the write has to ask the disks.
        if !memory || self.store.is_full() {
            return false;
        }
        let Some(file) = self.opens.get(ino) else { return true };
        let Some(state) = file.state.try_lock() else { return false };
        let sealing = state.sealing.as_ref().map_or(0, |sealing| sealing.bytes());
        let limit = if self.opens.sealers.load(Ordering::Acquire) > 0 { SEAL_BYTES_MAX } else { SEAL_BYTES };
        state.staging.bytes() + sealing + len < limit
    }

    /// Writes `data` at the end of the file, atomically with respect to other appends. Returns the offset at which it was written.
    ///
    /// # Errors
    /// As [`Namespace::write`].
    pub fn append(&self, op: &Op, file: impl Into<Reach>, data: &[u8]) -> Result<u64> {
        let ino = self.reach(op, file.into(), WRITE)?.ino();
        let (file, promised) = self.begin_write(op, ino, data.len())?;
        let staged = {
            let mut state = file.state.lock();
            self.written_inode(op, ino).map(|inode| {
                let offset = state.end(inode.attr.size);
                (offset, self.stage(op, &inode, &file, &mut state, (offset, data), promised))
            })
        };
        let (offset, staged) = match staged {
            Ok(staged) => staged,
            Err(error) => {
                self.store.keep_promised(promised, 0);
                drop(file);
                self.opens.forget_if_idle(ino);
                self.tell_refused(ino, &error);
                return Err(error);
            }
        };
        self.relieve(op, ino, &file, staged);
        Ok(offset)
    }

    /// The inode, after checking that it can be written and taking away set-id bits.
    fn written_inode(&self, op: &Op, ino: Ino) -> Result<Inode> {
        self.refuse_outdated()?;
        let mut snap = self.snap(op);
        let inode = snap.inode(ino)?;
        // A write's answer does not depend on the inode read here; a sync asks for the durability of the write.
        snap.bucket = inode.bucket;
        if inode.attr.kind != NodeKind::File {
            return Err(fail(ErrorKind::Invalid, "this is no regular file"));
        }
        self.uphold_locks(&mut snap, op, &[Touched::Node(&inode)])?;
        if mode::loses_set_id(&op.caller, &inode.attr) {
            drop(snap);
            return self.change(op, |tx, effects| {
                let mut inode = tx.inode(ino)?;
                mode::drop_set_id(&op.caller, &mut inode);
                effects.bucket = inode.bucket;
                self.put_inode(tx, &mut inode);
                self.tell_attributes(tx, effects, &inode);
                Ok(inode)
            });
        }
        Ok(inode)
    }

    /// Stages `data` at `offset`, for which room was promised.
    fn stage(
        &self,
        op: &Op,
        inode: &Inode,
        file: &OpenFile,
        state: &mut State,
        (offset, data): (u64, &[u8]),
        promised: u64,
    ) -> Pressure {
        let ino = inode.attr.ino;
        state.count_write(inode, offset..offset + data.len() as u64, || self.reader(op, ino));
        let (before, now) = (state.staging.bytes(), self.clock.monotonic_nanos());
        if state.staging.is_empty() {
            file.staged_since_nanos.store(now, Ordering::Release);
        }
        state.staging.write(offset, data);
        let added = state.staging.bytes() - before;
        let all = self.opens.staged_bytes.fetch_add(added, Ordering::AcqRel) + added;
        if state.writer.as_ref() != Some(&op.caller) {
            state.writer = Some(op.caller.clone());
        }
        file.staged_mtime.store(self.clock.now().0, Ordering::Release);
        let told = file.staged_change.load(Ordering::Acquire).max(inode.attr.change);
        file.staged_change.store(told + 1, Ordering::Release);
        file.last_write_nanos.store(now, Ordering::Release);
        file.publish(state, &self.store, promised);
        self.feed.publish(op.caller.door, vec![Change::Content(ino)]);
        op.note_published();
        let sealing = state.sealing.as_ref().map_or(0, |sealing| sealing.bytes());
        if state.staging.bytes() + sealing >= SEAL_BYTES_MAX || all > self.store.settings().staged_bytes_max {
            Pressure::High
        } else if state.staging.bytes() >= SEAL_BYTES {
            Pressure::Some
        } else {
            Pressure::None
        }
    }
}

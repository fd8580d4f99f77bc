//! Open files: reading, writing and what else a descriptor can do.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strata_namespace::{Attr, Namespace};
use strata_seam::Ino;

use crate::attr::{access_of_open, is_sync};
use crate::caller::Identity;
use crate::door::MountDoor;
use crate::errno::Refusal;
use crate::nodes::Node;

/// Most bytes one copy by reference covers; the reply counts in 32 bits, and the kernel asks again for the rest.
const COPY_LEN_MAX: u64 = 0x7fff_f000;

/// An open file of a program.
pub(crate) struct OpenFile {
    ino: Ino,
    who: Identity,
    writable: bool,
    /// Whether anything was changed through it: the last close then cuts a version.
    wrote: AtomicBool,
    node: Option<Arc<Node>>,
}

impl OpenFile {
    pub(crate) fn ino(&self) -> Ino {
        self.ino
    }
    pub(crate) fn writable(&self) -> bool {
        self.writable
    }
    pub(crate) fn note_wrote(&self) {
        self.wrote.store(true, Ordering::Release);
    }
}

/// A file that was opened.
pub(crate) struct Opened {
    /// Its handle.
    pub(crate) handle: u64,
    /// Whether pages the kernel has of it are still good.
    pub(crate) keep_cache: bool,
    /// Whether the size and times the kernel has of it may be those of an earlier content.
    pub(crate) attr_stale: bool,
}

/// What the kernel says about a write.
#[derive(Clone, Copy)]
pub(crate) struct WriteHow {
    /// Flags of the open file.
    pub(crate) flags: i32,
    /// Sent from the page cache: the offset is meant, `O_APPEND` has been served by the kernel.
    pub(crate) from_cache: bool,
    /// The writer lacks the privilege to keep set-id bits.
    pub(crate) clear_set_id: bool,
}

/// What `fallocate` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fallocate {
    /// Reserve, and extend the file unless `keep_size`.
    Reserve { keep_size: bool },
    /// Make a hole; the size stays.
    Punch,
    /// Make the range read as zeros, and extend the file unless `keep_size`.
    Zero { keep_size: bool },
}

impl Fallocate {
    /// From the mode bits; `None` for modes that are not offered.
    pub(crate) fn from_mode(mode: i32) -> Option<Self> {
        const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
        const ZERO_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        match mode {
            0 => Some(Self::Reserve { keep_size: false }),
            KEEP => Some(Self::Reserve { keep_size: true }),
            PUNCH => Some(Self::Punch),
            ZERO => Some(Self::Zero { keep_size: false }),
            ZERO_KEEP => Some(Self::Zero { keep_size: true }),
            _ => None,
        }
    }
}

impl MountDoor {
    fn opened(&self, who: Identity, attr: &Attr, flags: i32, truncated: bool) -> Opened {
        let node = self.nodes.get(attr.ino.0);
        let kept = node.as_ref().is_some_and(|node| node.keep_cache(attr));
        let attr_stale = node.as_ref().is_some_and(|node| node.misinformed(attr));
        let writable = access_of_open(flags).write;
        let file = OpenFile { ino: attr.ino, who, writable, wrote: AtomicBool::new(truncated), node };
        Opened { handle: self.files.insert(file), keep_cache: kept, attr_stale }
    }

    pub(crate) fn open(&self, who: Identity, ino: Ino, flags: i32) -> Result<Opened, Refusal> {
        let truncate = flags & libc::O_TRUNC != 0;
        let attr = self.callers.run(&self.ns, who, |op| self.ns.open(op, ino, access_of_open(flags), truncate))?;
        let attr = if truncate && who.uid != 0 { self.clear_set_id(attr)? } else { attr };
        Ok(self.opened(who, &attr, flags, truncate))
    }

    /// Creates and opens. The reference of the new entry is counted here: the open file needs its node.
    pub(crate) fn create(
        &self,
        who: Identity,
        parent: Ino,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> Result<(Attr, Opened), Refusal> {
        let exclusive = flags & libc::O_EXCL != 0;
        let truncate = flags & libc::O_TRUNC != 0;
        // The mode bounds what others may do; the creator gets what it asked for, even with mode 0.
        let attr = self.callers.run(&self.ns, who, |op| {
            self.ns.create(op, parent, name.as_bytes(), mode & 0o7777, access_of_open(flags), exclusive, truncate)
        })?;
        self.nodes.entered(&attr);
        let opened = self.opened(who, &attr, flags, true);
        Ok((attr, opened))
    }

    /// Reads through staged writes. Permission was checked at open.
    pub(crate) fn read(
        &self,
        who: Identity,
        ino: Ino,
        offset: u64,
        len: usize,
    ) -> Result<impl AsRef<[u8]> + use<>, Refusal> {
        let data = self.ns.read(&self.callers.op(who), ino, offset, len)?;
        self.metrics.read(data.len());
        Ok(data)
    }

    /// Writes `data`, all of it or nothing.
    pub(crate) fn write(
        &self,
        who: Identity,
        handle: u64,
        ino: Ino,
        offset: u64,
        data: &[u8],
        how: WriteHow,
    ) -> Result<(), Refusal> {
        let op = self.callers.op(who);
        // The kernel appends at the end it knows. Another door may have moved the end, so the name space decides.
        let append = how.flags & libc::O_APPEND != 0 && !how.from_cache && !self.options.writeback;
        let attr = if append {
            let at = self.ns.append(&op, ino, data)?;
            if at != offset {
                // The kernel put the bytes at the wrong place of its page cache.
                if let Some(node) = self.nodes.get(ino.0) {
                    node.stale();
                }
                self.feed.resync(ino.0);
            }
            self.ns.getattr(&op, ino)?
        } else {
            self.ns.write(&op, ino, offset, data)?
        };
        let attr = if how.clear_set_id { self.clear_set_id(attr)? } else { attr };
        match self.files.get(handle) {
            Some(file) => {
                file.note_wrote();
                if let Some(node) = &file.node {
                    node.wrote(&attr);
                }
            }
            // Written back from the cache through a descriptor that is closed already.
            None => {
                if let Some(node) = self.nodes.get(ino.0) {
                    node.wrote(&attr);
                }
            }
        }
        self.metrics.written(data.len());
        if is_sync(how.flags) {
            self.sync(who, ino)?;
        }
        Ok(())
    }

    /// Gives a handle up; what was written through it becomes a version.
    pub(crate) fn release(&self, handle: u64) -> Result<(), Refusal> {
        match self.files.remove(handle) {
            Some(file) => self.close_file(&file),
            None => Err(Refusal(libc::EBADF)),
        }
    }

    /// Whether closing this handle has nothing to store and so cannot take long.
    pub(crate) fn closes_quickly(&self, handle: u64) -> bool {
        self.files.get(handle).is_none_or(|file| !file.wrote.load(Ordering::Acquire))
    }

    pub(crate) fn close_file(&self, file: &OpenFile) -> Result<(), Refusal> {
        let op = self.callers.op(file.who);
        Ok(self.ns.close(&op, file.ino, file.wrote.load(Ordering::Acquire))?)
    }

    pub(crate) fn fallocate(
        &self,
        who: Identity,
        handle: u64,
        ino: Ino,
        offset: u64,
        len: u64,
        what: Fallocate,
    ) -> Result<(), Refusal> {
        let op = self.callers.op(who);
        if let Some(file) = self.files.get(handle) {
            file.note_wrote();
        }
        match what {
            Fallocate::Reserve { keep_size } => self.ns.fallocate(&op, ino, offset, len, false, !keep_size)?,
            Fallocate::Punch => self.ns.fallocate(&op, ino, offset, len, true, false)?,
            Fallocate::Zero { keep_size } => {
                self.ns.fallocate(&op, ino, offset, len, true, false)?;
                self.ns.fallocate(&op, ino, offset, len, false, !keep_size)?;
            }
        }
        self.refresh(&self.ns, who, ino)
    }

    /// `SEEK_DATA` and `SEEK_HOLE`; the kernel answers the others itself.
    pub(crate) fn lseek(&self, who: Identity, ino: Ino, offset: i64, whence: i32) -> Result<i64, Refusal> {
        let offset = u64::try_from(offset).map_err(|_| Refusal(libc::ENXIO))?;
        let data = match whence {
            libc::SEEK_DATA => true,
            libc::SEEK_HOLE => false,
            _ => return Err(Refusal(libc::EINVAL)),
        };
        let found = self.ns.seek(&self.callers.op(who), ino, offset, data)?.ok_or(Refusal(libc::ENXIO))?;
        i64::try_from(found).map_err(|_| Refusal(libc::EOVERFLOW))
    }

    /// Copies by reference; answers how many bytes.
    pub(crate) fn copy_range(
        &self,
        who: Identity,
        from: (Ino, u64),
        to: (Ino, u64),
        to_handle: u64,
        len: u64,
    ) -> Result<u32, Refusal> {
        let op = self.callers.op(who);
        if let Some(file) = self.files.get(to_handle) {
            file.note_wrote();
        }
        let copied = self.ns.copy_range(&op, from, to, len.min(COPY_LEN_MAX))?;
        self.refresh(&self.ns, who, to.0)?;
        u32::try_from(copied).map_err(|_| Refusal(libc::EIO))
    }

    /// After a change of ours that the kernel knows of but whose new times it has not been told.
    fn refresh(&self, ns: &Namespace, who: Identity, ino: Ino) -> Result<(), Refusal> {
        if let Some(node) = self.nodes.get(ino.0) {
            node.wrote(&ns.getattr(&self.callers.op(who), ino)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fallocate_offers_reserving_punching_and_zeroing_and_nothing_else() {
        assert_eq!(Fallocate::from_mode(0), Some(Fallocate::Reserve { keep_size: false }));
        assert_eq!(Fallocate::from_mode(libc::FALLOC_FL_KEEP_SIZE), Some(Fallocate::Reserve { keep_size: true }));
        assert_eq!(
            Fallocate::from_mode(libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE),
            Some(Fallocate::Punch)
        );
        assert_eq!(Fallocate::from_mode(libc::FALLOC_FL_ZERO_RANGE), Some(Fallocate::Zero { keep_size: false }));
        for mode in [libc::FALLOC_FL_PUNCH_HOLE, libc::FALLOC_FL_COLLAPSE_RANGE, libc::FALLOC_FL_INSERT_RANGE, -1] {
            assert_eq!(Fallocate::from_mode(mode), None, "{mode:#x}");
        }
    }
}

//! Open files: reading, writing and the other calls on a descriptor.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strata_namespace::{Attr, ErrorKind, Op, Opened as OpenedFile, Permit, Pin, ReadAhead};
use strata_seam::Ino;

use crate::attr::{access_of_open, is_sync};
use crate::caller::Identity;
use crate::door::MountDoor;
use crate::errno::Refusal;
use crate::nodes::{Admission, Node, Shown, Validator, ino_of, validator};

/// Most bytes one copy by reference covers; the reply counts in 32 bits, and the kernel asks again for the rest.
const COPY_LEN_MAX: u64 = 0x7fff_f000;

/// An open file of a program.
pub(crate) struct OpenFile {
    ino: Ino,
    who: Identity,
    /// Whether anything was changed through it: the last close then cuts a version.
    wrote: AtomicBool,
    /// The kernel's inode whose pages it uses; `None` if it is served past them.
    node: Option<Arc<Node>>,
    /// Keeps it on its content.
    pin: Arc<Pin>,
    /// What it was opened for.
    permit: Permit,
    /// What it read so far, for reading ahead.
    ahead: ReadAhead,
}

impl OpenFile {
    pub(crate) fn ino(&self) -> Ino {
        self.ino
    }
    pub(crate) fn writable(&self) -> bool {
        self.permit.access().write
    }
    /// What it was opened for.
    pub(crate) fn permit(&self) -> Permit {
        self.permit
    }
    pub(crate) fn note_wrote(&self) {
        self.wrote.store(true, Ordering::Release);
    }
    /// Whether the file has other content by now than what was opened.
    pub(crate) fn is_past(&self) -> bool {
        self.pin.kept().is_some()
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
    /// Whether reads and writes have to come here, because the kernel's pages are those of another content.
    pub(crate) direct: bool,
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
    /// The kernel's pages do not have the bytes.
    pub(crate) past_pages: bool,
}

/// What the kernel does not know of a write.
#[derive(Clone, Copy)]
pub(crate) struct Wrote {
    /// Whether the kernel may have pages of before the write.
    pub(crate) pages_stale: bool,
    /// Whether set-id bits are gone.
    pub(crate) mode_changed: bool,
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
    /// The pin of an open file's present content, and that content's attributes.
    fn pin(&self, op: &Op, ino: Ino) -> Result<(Arc<Pin>, Attr), Refusal> {
        loop {
            let pin = self.ns.pin(ino);
            let attr = self.ns.getattr(op, ino)?;
            if pin.kept().is_none() {
                return Ok((pin, attr));
            }
            self.ns.unpin(op, pin)?;
        }
    }

    /// Makes a handle of a file that was opened, or made and entered; `None` where the kernel's inode stands for another content.
    fn handle(
        &self,
        who: Identity,
        number: u64,
        permit: Permit,
        flags: i32,
        made: bool,
    ) -> Result<Option<Opened>, Refusal> {
        let ino = permit.ino();
        let op = self.callers.op(who);
        let truncated = !made && flags & libc::O_TRUNC != 0;
        let (pin, attr) = self.pin(&op, ino)?;
        let node = self.nodes.get(number);
        let admission = node.as_ref().map_or(Admission::Refused, |node| node.admit(&attr, &pin, truncated));
        let (keep_cache, attr_stale) = match admission {
            Admission::Admitted { keep_cache, attr_stale } => (keep_cache, attr_stale),
            Admission::Refused => {
                self.ns.unpin(&op, pin)?;
                return Ok(None);
            }
        };
        let file = OpenFile {
            ino,
            who,
            wrote: AtomicBool::new(made || truncated),
            node,
            pin,
            permit,
            ahead: ReadAhead::default(),
        };
        Ok(Some(Opened { handle: self.files.insert(file), keep_cache, attr_stale, direct: false }))
    }

    /// A handle that is served past the kernel's pages.
    fn direct_handle(&self, who: Identity, permit: Permit, truncated: bool) -> Opened {
        let ino = permit.ino();
        let pin = self.ns.pin(ino);
        let file = OpenFile {
            ino,
            who,
            wrote: AtomicBool::new(truncated),
            node: None,
            pin,
            permit,
            ahead: ReadAhead::default(),
        };
        Opened { handle: self.files.insert(file), keep_cache: true, attr_stale: false, direct: true }
    }

    /// Opens what the kernel knows as `number`. ESTALE makes the kernel look the name up anew and come back.
    pub(crate) fn open(&self, who: Identity, number: u64, flags: i32) -> Result<Opened, Refusal> {
        let ino = ino_of(number);
        let truncate = flags & libc::O_TRUNC != 0;
        let past = self.nodes.get(number).is_some_and(|node| node.is_past());
        if past && self.refusals.may_refuse(who.pid, ino) {
            return Err(Refusal(libc::ESTALE));
        }
        let access = access_of_open(flags);
        let opened = self.callers.run(&self.ns, who, |op| self.ns.open(op, ino, access, truncate));
        let file = match opened {
            // The file was removed since the kernel walked the path: the inode found there is opened.
            Err(e) if e.kind == ErrorKind::Stale => {
                self.callers.run(&self.ns, who, |op| self.ns.open_removed(op, ino, access, truncate))?
            }
            opened => opened?,
        };
        let opened = self.open_pinned(who, (!past).then_some(number), file, flags);
        if opened.is_err() {
            self.ns.close(&self.callers.op(who), ino, truncate)?;
        }
        opened
    }

    /// The handle of a file that was opened: on the kernel's inode `number`, or past it where that is `None`.
    fn open_pinned(&self, who: Identity, number: Option<u64>, file: OpenedFile, flags: i32) -> Result<Opened, Refusal> {
        let (ino, permit, truncate) = (file.ino, file.permit, flags & libc::O_TRUNC != 0);
        if truncate && who.uid != 0 {
            self.clear_set_id(file.attr)?;
        }
        let Some(number) = number else { return Ok(self.direct_handle(who, permit, truncate)) };
        match self.handle(who, number, permit, flags, false)? {
            Some(mut opened) => {
                self.refusals.met(who.pid, ino);
                // A truncation may have cleared set-id bits, of which the kernel knows nothing.
                opened.attr_stale |= truncate && who.uid != 0;
                Ok(opened)
            }
            None if self.refusals.may_refuse(who.pid, ino) => Err(Refusal(libc::ESTALE)),
            None => Ok(self.direct_handle(who, permit, truncate)),
        }
    }

    /// Creates and opens. The reference of the new entry is counted here: the open file needs its node.
    pub(crate) fn create(
        &self,
        who: Identity,
        parent: Ino,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> Result<(Shown, Opened), Refusal> {
        let exclusive = flags & libc::O_EXCL != 0;
        let truncate = flags & libc::O_TRUNC != 0;
        let asked = self.nodes.moments.now();
        // The mode bounds what others may do; the creator gets what it asked for, even with mode 0.
        let made = self.callers.run(&self.ns, who, |op| {
            self.ns.create(op, parent, name.as_bytes(), mode & 0o7777, access_of_open(flags), exclusive, truncate)
        });
        let made = made.map_err(|e| self.refuse_in(parent, e))?;
        let permit = made.permit;
        let shown = self.nodes.enter(made.attr, asked);
        let opened = self.handle(who, shown.number, permit, flags, true);
        match opened {
            Ok(Some(opened)) => Ok((shown, opened)),
            // Somebody has replaced the file's content already.
            Ok(None) => Ok((shown, self.direct_handle(who, permit, true))),
            Err(refusal) => {
                self.forget(shown.number, 1);
                self.ns.close(&self.callers.op(who), permit.ino(), true)?;
                Err(refusal)
            }
        }
    }

    /// Reads what was opened, through staged writes. Permission was checked at open. `pages`: the kernel's inode whose
    /// pages it fills, if it does.
    pub(crate) fn read(
        &self,
        who: Identity,
        handle: u64,
        pages: Option<u64>,
        offset: u64,
        len: usize,
    ) -> Result<impl AsRef<[u8]> + use<>, Refusal> {
        let file = self.files.get(handle).ok_or(Refusal(libc::EBADF))?;
        if let Some(number) = pages
            && let Some(node) = file.node.clone().or_else(|| self.nodes.get(number))
        {
            node.note_pages();
        }
        let op = self.callers.op(who);
        // A page that is written in part is read through the handle it is written by.
        let permit = if file.permit.access().read { file.permit } else { self.ns.permit_pages(&op, file.ino)? };
        let data = self.ns.read_pinned_ahead(&op, (&file.pin, permit), &file.ahead, offset, len)?;
        self.metrics.read(data.len());
        Ok(data)
    }

    /// Writes `data`, all of it or nothing.
    pub(crate) fn write(
        &self,
        who: Identity,
        handle: u64,
        number: u64,
        offset: u64,
        data: &[u8],
        how: WriteHow,
    ) -> Result<Wrote, Refusal> {
        let op = self.callers.op(who);
        let (ino, file) = (ino_of(number), self.files.get(handle));
        // Written back from the cache through a descriptor that is closed already: the node is known by its number.
        let node = file.as_ref().and_then(|file| file.node.clone()).or_else(|| self.nodes.get(number));
        if let Some(file) = &file {
            self.joins_present(file);
        }
        if let Some(node) = &node
            && !how.past_pages
        {
            node.note_pages();
        }
        // The kernel appends at the end it knows. Another door may have moved the end, so the name space decides.
        let append = how.flags & libc::O_APPEND != 0 && !how.from_cache && !self.options.writeback;
        let permit = match &file {
            Some(file) if file.permit.access().write => file.permit,
            _ => self.ns.permit_pages(&op, ino)?,
        };
        op.watch(ino);
        let attr = if append {
            let at = self.ns.append(&op, permit, data)?;
            if at != offset {
                // The kernel put the bytes at the wrong place of its page cache.
                if let Some(node) = &node {
                    node.stale();
                }
                self.feed.resync(number);
            }
            self.ns.getattr(&op, ino)?
        } else {
            self.ns.write(&op, permit, offset, data)?
        };
        let watched = op.watched(ino);
        let mut mode_changed = watched.as_ref().is_some_and(|(found, left)| found.mode != left.mode);
        // An append says nothing about the state it found: the name space chose the place, and the kernel is told of it.
        let found = match watched {
            _ if append => node.as_ref().and_then(|node| node.told()),
            Some((found, _)) => Some(validator(&found)),
            None => None,
        };
        let mode = attr.mode;
        let attr = if how.clear_set_id { self.clear_set_id(attr)? } else { attr };
        mode_changed |= attr.mode != mode;
        if let Some(file) = &file {
            file.note_wrote();
        }
        self.changed_here(number, node.as_deref(), found, &attr);
        self.metrics.written(data.len());
        if is_sync(how.flags) {
            self.sync(who, ino)?;
        }
        // Checked after the write: a page that is filled from here on has what was written.
        let pages_stale = how.past_pages && node.is_some_and(|node| node.may_have_pages());
        Ok(Wrote { pages_stale, mode_changed })
    }

    /// Before a change through a handle: if its content was replaced meanwhile, the change goes into the new content,
    /// and so do its reads from now on.
    pub(crate) fn joins_present(&self, file: &OpenFile) {
        if file.is_past() {
            file.pin.follow();
            if let Some(node) = &file.node {
                node.stale();
                self.feed.resync(node.number());
            }
        }
    }

    /// After a change of bytes through `node`, which is known as `number`: its pages are right, those of other
    /// incarnations of the file are not.
    pub(crate) fn changed_here(&self, number: u64, node: Option<&Node>, found: Option<Validator>, left: &Attr) {
        if let Some(node) = node {
            node.wrote(found, left);
        }
        for sibling in self.nodes.siblings(number) {
            if let Some(sibling) = self.nodes.get(sibling) {
                sibling.stale();
            }
            self.feed.resync(sibling);
        }
    }

    /// Gives a handle up; what was written through it becomes a version.
    pub(crate) fn release(&self, handle: u64) -> Result<(), Refusal> {
        match self.files.remove(handle) {
            Some(file) => self.close_file(file),
            None => Err(Refusal(libc::EBADF)),
        }
    }

    /// Whether closing this handle has nothing to store and so cannot take long.
    pub(crate) fn closes_quickly(&self, handle: u64) -> bool {
        self.files.get(handle).is_none_or(|file| !file.wrote.load(Ordering::Acquire))
    }

    pub(crate) fn close_file(&self, file: Arc<OpenFile>) -> Result<(), Refusal> {
        let op = self.callers.op(file.who);
        let closed = self.ns.close(&op, file.ino, file.wrote.load(Ordering::Acquire));
        // The kernel releases a handle after the last request for it, so nobody else holds it.
        if let Some(file) = Arc::into_inner(file) {
            self.ns.unpin(&op, file.pin)?;
        }
        Ok(closed?)
    }

    /// Answers whether set-id bits were cleared.
    pub(crate) fn fallocate(
        &self,
        who: Identity,
        handle: u64,
        number: u64,
        offset: u64,
        len: u64,
        what: Fallocate,
    ) -> Result<bool, Refusal> {
        let (op, ino) = (self.callers.op(who), ino_of(number));
        let mode = self.ns.getattr(&op, ino)?.mode;
        let file = self.files.get(handle).ok_or(Refusal(libc::EBADF))?;
        self.joins_present(&file);
        file.note_wrote();
        let permit = file.permit;
        match what {
            Fallocate::Reserve { keep_size } => self.ns.fallocate(&op, permit, offset, len, false, !keep_size)?,
            Fallocate::Punch => self.ns.fallocate(&op, permit, offset, len, true, false)?,
            Fallocate::Zero { keep_size } => {
                // In this order: if there is no room, nothing is zeroed either.
                self.ns.fallocate(&op, permit, offset, len, false, !keep_size)?;
                self.ns.fallocate(&op, permit, offset, len, true, false)?;
            }
        }
        Ok(self.refresh(who, number)?.mode != mode)
    }

    /// `SEEK_DATA` and `SEEK_HOLE`; the kernel answers the others itself.
    pub(crate) fn lseek(&self, who: Identity, handle: u64, offset: i64, whence: i32) -> Result<i64, Refusal> {
        let file = self.files.get(handle).ok_or(Refusal(libc::EBADF))?;
        let offset = u64::try_from(offset).map_err(|_| Refusal(libc::ENXIO))?;
        let data = match whence {
            libc::SEEK_DATA => true,
            libc::SEEK_HOLE => false,
            _ => return Err(Refusal(libc::EINVAL)),
        };
        let found = self
            .ns
            .seek_pinned(&self.callers.op(who), (&file.pin, file.permit), offset, data)?
            .ok_or(Refusal(libc::ENXIO))?;
        i64::try_from(found).map_err(|_| Refusal(libc::EOVERFLOW))
    }

    /// Copies by reference between open files, each given as number, handle and offset; answers how many bytes, and
    /// whether set-id bits of the target were cleared.
    pub(crate) fn copy_range(
        &self,
        who: Identity,
        from: (u64, u64, u64),
        to: (u64, u64, u64),
        len: u64,
    ) -> Result<(u32, bool), Refusal> {
        let op = self.callers.op(who);
        let mode = self.ns.getattr(&op, ino_of(to.0))?.mode;
        let handle = |handle: u64| self.files.get(handle).ok_or(Refusal(libc::EBADF));
        let (source, target) = (handle(from.1)?, handle(to.1)?);
        self.joins_present(&target);
        target.note_wrote();
        let (to_permit, len) = (target.permit, len.min(COPY_LEN_MAX));
        let copied = self.ns.copy_range_pinned(&op, (&source.pin, source.permit), from.2, (to_permit, to.2), len)?;
        let mode_changed = self.refresh(who, to.0)?.mode != mode;
        Ok((u32::try_from(copied).map_err(|_| Refusal(libc::EIO))?, mode_changed))
    }

    /// Attributes after a change of this mount that the kernel knows of, and whose new times it was not told.
    fn refresh(&self, who: Identity, number: u64) -> Result<Attr, Refusal> {
        let attr = self.ns.getattr(&self.callers.op(who), ino_of(number))?;
        let node = self.nodes.get(number);
        self.changed_here(number, node.as_deref(), node.as_ref().and_then(|node| node.told()), &attr);
        Ok(attr)
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

//! Changing attributes, allocating and punching ranges, copying ranges, and extended attributes.

use strata_content::{Item, Reader, items_len};
use strata_seam::planted::{Bug, planted};
use strata_seam::{Ino, Timestamp};

use crate::authority::{Action, READ, Reach, Resource, WRITE};
use crate::domain::dedup_domain;
use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::locks::uphold::Touched;
use crate::mode;
use crate::namespace::Namespace;
use crate::times;
use crate::types::{Attr, FILE_LEN_MAX, NodeKind, Op, SetAttr, SetTime, XATTR_LEN_MAX, XattrMode};
use crate::view::View;

/// Longest name of an extended attribute (as on Linux).
const XATTR_NAME_MAX: usize = 255;
/// Most bytes of names and values one inode may have in extended attributes.
const XATTR_TOTAL_MAX: usize = 256 << 10;
/// Most extended attributes of one inode.
const XATTRS_MAX: usize = 4096;

impl Namespace {
    /// Changes attributes by the rules of chmod, chown, utimensat and truncate.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`], [`ErrorKind::AccessDenied`], [`ErrorKind::TooLarge`], [`ErrorKind::Stale`],
    /// [`ErrorKind::Locked`].
    pub fn setattr(&self, op: &Op, ino: Ino, set: &SetAttr) -> Result<Attr> {
        let mut attr = None;
        if let Some(size) = set.size {
            if size > FILE_LEN_MAX {
                return Err(fail(ErrorKind::TooLarge, format!("a file may have {FILE_LEN_MAX} bytes at most")));
            }
            let inode = self.inode_alone(op, ino)?;
            if inode.attr.kind == crate::types::NodeKind::Directory {
                return Err(fail(ErrorKind::IsDirectory, "this is a directory"));
            }
            match set.permit {
                Some(permit) if permit.ino() == ino => self.reach(op, permit.into(), WRITE)?,
                _ => self.authorize(op, Action::Write, &inode.attr)?,
            };
            attr = Some(self.resize(op, ino, size)?);
        }
        if set.mode.is_none() && set.uid.is_none() && set.gid.is_none() && set.atime.is_none() && set.mtime.is_none() {
            return attr.map_or_else(|| self.getattr(op, ino), Ok);
        }
        if set.mtime.is_some() {
            // Sealed first, so that an earlier write does not replace the time that is set.
            self.seal_if_dirty(op, ino)?;
        }
        self.change(op, |tx, effects| {
            let mut inode = tx.inode(ino)?;
            self.uphold_locks(tx, op, &[Touched::Node(&inode)])?;
            let cell = tx.times(&inode)?;
            if let Some(cell) = &cell {
                times::put_in(&mut inode.attr, cell);
            }
            let now = self.clock.now();
            if set.uid.is_some() || set.gid.is_some() {
                let uid = set.uid.unwrap_or(inode.attr.uid);
                let gid = set.gid.unwrap_or(inode.attr.gid);
                self.authorize(op, Action::SetOwner, Resource::Ownership { inode: &inode.attr, uid, gid })?;
                // This holds for every caller, the superuser included (Linux, chown(2)).
                mode::clear_set_id(&mut inode);
                (inode.attr.uid, inode.attr.gid) = (uid, gid);
            }
            if let Some(mode) = set.mode {
                self.authorize(op, Action::SetMode, &inode.attr)?;
                inode.attr.mode = mode::chmod(&op.caller, &inode.attr, mode);
            }
            for (set, is_mtime) in [(set.atime, false), (set.mtime, true)] {
                let Some(set) = set else { continue };
                let time = match set {
                    SetTime::At(time) => {
                        self.authorize(op, Action::SetTimes, &inode.attr)?;
                        time
                    }
                    SetTime::Now => {
                        self.authorize(op, Action::Touch, &inode.attr)?;
                        now
                    }
                };
                if is_mtime {
                    inode.attr.mtime = time;
                } else {
                    inode.attr.atime = time;
                }
            }
            inode.attr.ctime = ctime_after(inode.attr.ctime, now);
            effects.bucket = inode.bucket;
            self.put_inode(tx, &mut inode);
            self.tell_attributes(tx, effects, &inode);
            if inode.attr.kind == NodeKind::Directory {
                if cell.is_some() || planted(Bug::AbsentTimesUnguarded) {
                    times::put(tx, &inode.attr);
                } else {
                    times::put_first(tx, &inode.attr);
                }
            }
            tx.complete(&mut inode)?;
            Ok(self.with_staged(inode.attr))
        })
    }

    /// With `punch` makes the range a hole; otherwise checks that there is room for the part of it that holds no data. With `extend` the
    /// file grows to cover the range. No room is reserved for the file, since written bytes take new room each time (as in ZFS).
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`], [`ErrorKind::NoSpace`], [`ErrorKind::TooLarge`], [`ErrorKind::Invalid`].
    pub fn fallocate(
        &self,
        op: &Op,
        file: impl Into<Reach>,
        offset: u64,
        len: u64,
        punch: bool,
        extend: bool,
    ) -> Result<()> {
        let ino = self.reach(op, file.into(), WRITE)?.ino();
        let end = offset.saturating_add(len);
        if len == 0 {
            return Err(fail(ErrorKind::Invalid, "an empty range"));
        }
        if end > FILE_LEN_MAX {
            return Err(fail(ErrorKind::TooLarge, format!("a file may have {FILE_LEN_MAX} bytes at most")));
        }
        if punch {
            self.edit(op, ino, |ns, inode| {
                let size = items_len(&inode.items);
                let (from, to) = (offset.min(size), end.min(size));
                Ok(ns.store.splice(dedup_domain(inode.bucket), &inode.items, from..to, &[Item::hole(to - from)])?)
            })?;
            return Ok(());
        }
        let lacking = len.saturating_sub(self.data_in(op, ino, offset..end)?);
        let free = self.store.space().free;
        if lacking > free {
            let what = format!("{lacking} bytes are to be reserved and {free} are free; nothing was changed");
            return Err(fail(ErrorKind::NoSpace, what));
        }
        if extend && self.getattr(op, ino)?.size < end {
            self.resize(op, ino, end)?;
        }
        Ok(())
    }

    /// Bytes of a range that hold data.
    fn data_in(&self, op: &Op, ino: Ino, range: std::ops::Range<u64>) -> Result<u64> {
        let (mut at, mut data) = (range.start, 0);
        while let Some(from) = self.find_extent(op, ino, at, true)?.filter(|from| *from < range.end) {
            at = self.find_extent(op, ino, from, false)?.unwrap_or(range.end).clamp(from + 1, range.end);
            data += at - from;
        }
        Ok(data)
    }

    /// Copies a range from one file to another by reference: no data moves. Returns the bytes copied, fewer at the source's end. Source
    /// and destination are permits from opens, or inodes for which permission is checked now ([`Reach`]).
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`]; [`ErrorKind::Invalid`] for overlapping ranges of one file.
    pub fn copy_range(
        &self,
        op: &Op,
        from: (impl Into<Reach>, u64),
        to: (impl Into<Reach>, u64),
        len: u64,
    ) -> Result<u64> {
        let from = (self.reach(op, from.0.into(), READ)?.ino(), from.1);
        let to = (self.reach(op, to.0.into(), WRITE)?.ino(), to.1);
        refuse_overlap(from, to, len)?;
        let source = self.source_of_copy(op, from.0)?;
        self.copy_from(op, &source, from.1, to, len)
    }

    /// The content of a file as it is now, for a copy by reference.
    pub(crate) fn source_of_copy(&self, op: &Op, ino: Ino) -> Result<Reader> {
        self.seal_if_dirty(op, ino)?;
        self.reader(op, ino)
    }

    pub(crate) fn copy_from(&self, op: &Op, source: &Reader, from: u64, to: (Ino, u64), len: u64) -> Result<u64> {
        let end = from.saturating_add(len).min(source.len());
        let len = end.saturating_sub(from);
        if len == 0 {
            return Ok(0);
        }
        if to.1.saturating_add(len) > FILE_LEN_MAX {
            return Err(fail(ErrorKind::TooLarge, format!("a file may have {FILE_LEN_MAX} bytes at most")));
        }
        let copied = self.store.slice(source.items(), from..end)?;
        self.edit(op, to.0, |ns, inode| {
            let size = items_len(&inode.items);
            let replaced = to.1..(to.1 + len).min(size).max(to.1);
            Ok(ns.store.splice(dedup_domain(inode.bucket), &inode.items, replaced, &copied)?)
        })?;
        Ok(len)
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// [`ErrorKind::NoAttribute`].
    pub fn get_xattr(&self, op: &Op, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let mut snap = self.snap(op);
        let inode = snap.inode(ino)?;
        snap.bucket = inode.bucket;
        self.authorize(op, read_action(name), &inode.attr)?;
        let found = if inode.beside.attributes { snap.record(&key::under(key::TABLE_XATTR, ino, name))? } else { None };
        found.ok_or_else(|| fail(ErrorKind::NoAttribute, format!("no attribute '{}'", name.escape_ascii())))
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`], [`ErrorKind::NoAttribute`] by `mode`; [`ErrorKind::TooLarge`], [`ErrorKind::NoSpace`].
    pub fn set_xattr(&self, op: &Op, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        if name.is_empty() || name.len() > XATTR_NAME_MAX || name.contains(&0) {
            return Err(fail(ErrorKind::Invalid, "an attribute name of 1 to 255 bytes is needed"));
        }
        if value.len() > XATTR_LEN_MAX {
            return Err(fail(ErrorKind::TooLarge, format!("an attribute value has {XATTR_LEN_MAX} bytes at most")));
        }
        self.change(op, |tx, effects| {
            let mut inode = tx.inode(ino)?;
            self.authorize(op, write_action(name), &inode.attr)?;
            self.uphold_locks(tx, op, &[Touched::Node(&inode)])?;
            let key = key::under(key::TABLE_XATTR, ino, name);
            let present = tx.record(&key)?;
            match (mode, &present) {
                (XattrMode::Create, Some(_)) => return Err(fail(ErrorKind::Exists, "the attribute exists already")),
                (XattrMode::Replace, None) => return Err(fail(ErrorKind::NoAttribute, "the attribute does not exist")),
                _ => {}
            }
            let all =
                tx.records(&key::under(key::TABLE_XATTR, ino, &[]), &key::behind(key::TABLE_XATTR, ino), XATTRS_MAX)?;
            if present.is_none() && all.len() >= XATTRS_MAX {
                return Err(fail(ErrorKind::NoSpace, format!("an inode has {XATTRS_MAX} attributes at most")));
            }
            let total: usize = all.iter().map(|(key, value)| key.len() + value.len()).sum();
            if total + name.len() + value.len() > XATTR_TOTAL_MAX + present.map_or(0, |old| old.len()) {
                return Err(fail(
                    ErrorKind::NoSpace,
                    format!("an inode has {XATTR_TOTAL_MAX} bytes of attributes at most"),
                ));
            }
            tx.put(key, value);
            inode.beside.attributes = true;
            inode.attr.ctime = self.clock.now();
            effects.bucket = inode.bucket;
            self.put_inode(tx, &mut inode);
            self.tell_attributes(tx, effects, &inode);
            Ok(())
        })
    }

    /// Names of all extended attributes, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`].
    pub fn list_xattrs(&self, op: &Op, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let mut snap = self.snap(op);
        let inode = snap.inode(ino)?;
        snap.bucket = inode.bucket;
        self.authorize(op, Action::ReadAttributes, &inode.attr)?;
        if !inode.beside.attributes {
            return Ok(Vec::new());
        }
        let all =
            snap.records(&key::under(key::TABLE_XATTR, ino, &[]), &key::behind(key::TABLE_XATTR, ino), XATTRS_MAX)?;
        Ok(all.into_iter().map(|(key, _)| key[9..].to_vec()).collect())
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// [`ErrorKind::NoAttribute`].
    pub fn remove_xattr(&self, op: &Op, ino: Ino, name: &[u8]) -> Result<()> {
        self.change(op, |tx, effects| {
            let mut inode = tx.inode(ino)?;
            self.authorize(op, write_action(name), &inode.attr)?;
            self.uphold_locks(tx, op, &[Touched::Node(&inode)])?;
            let key = key::under(key::TABLE_XATTR, ino, name);
            if tx.record(&key)?.is_none() {
                return Err(fail(ErrorKind::NoAttribute, format!("no attribute '{}'", name.escape_ascii())));
            }
            tx.delete(key);
            inode.attr.ctime = self.clock.now();
            effects.bucket = inode.bucket;
            self.put_inode(tx, &mut inode);
            self.tell_attributes(tx, effects, &inode);
            Ok(())
        })
    }
}

/// What reading an extended attribute of this name is.
fn read_action(name: &[u8]) -> Action {
    match name {
        name if name.starts_with(b"user.") => Action::ReadXattr,
        name if name.starts_with(b"trusted.") => Action::ReadTrustedXattr,
        _ => Action::ReadAttributes,
    }
}

/// What writing or removing an extended attribute of this name is. Capabilities of executables are of the `security.` class.
fn write_action(name: &[u8]) -> Action {
    match name {
        name if name.starts_with(b"user.") => Action::WriteXattr,
        name if name.starts_with(b"trusted.") || name.starts_with(b"security.") => Action::WriteTrustedXattr,
        _ => Action::WriteSystemXattr,
    }
}

/// Refuses a copy between overlapping ranges of one file.
pub(crate) fn refuse_overlap(from: (Ino, u64), to: (Ino, u64), len: u64) -> Result<()> {
    if from.0 == to.0 && from.1 < to.1.saturating_add(len) && to.1 < from.1.saturating_add(len) {
        return Err(fail(ErrorKind::Invalid, "the ranges overlap"));
    }
    Ok(())
}

/// ctime never stands still across a change, even when the clock does.
fn ctime_after(before: Timestamp, now: Timestamp) -> Timestamp {
    if now > before { now } else { Timestamp(before.0.saturating_add(1)) }
}

//! Open directories: the kernel's numeric offsets on top of the name space's opaque cursors.
//!
//! Every entry handed out gets the next number; the handle remembers the cursor behind it, so `telldir`/`seekdir`
//! return to exactly that entry, whatever was added or removed meanwhile. Entries are always read afresh, never kept:
//! attributes that waited here could overtake an invalidation. Memory per handle is bounded by [`CURSOR_BYTES_MAX`]:
//! beyond it cursors are thinned out, and a seek far back counts on from the nearest one that was kept.
//!
//! Offsets are valid within their handle only. For that reason the kernel is not asked to cache listings
//! (FOPEN_CACHE_DIR): it would continue a listing cached from one handle with requests on another.

use std::collections::VecDeque;

use parking_lot::Mutex;
use strata_namespace::{Attr, ErrorKind, NodeKind};
use strata_seam::Ino;

use crate::caller::Identity;
use crate::door::MountDoor;
use crate::errno::Refusal;

/// Most bytes of cursors kept per open directory (about 60,000 entries of ordinary names).
pub(crate) const CURSOR_BYTES_MAX: usize = 4 << 20;
/// What a kept cursor costs beside its bytes.
const CURSOR_OVERHEAD: usize = 40;
/// The most recent cursors are never thinned out: programs that delete what they read seek back a little.
const RECENT: u64 = 4096;
/// Offset behind `.`.
const DOT: u64 = 1;
/// Offset behind `..`, and so the offset before the first entry of the name space.
const DOT_DOT: u64 = 2;

/// Where to continue: behind `after`, leaving out `skip` entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) after: Vec<u8>,
    pub(crate) skip: u64,
}

/// Offsets of one open directory and the cursors behind them.
#[derive(Debug)]
pub(crate) struct Positions {
    next: u64,
    kept: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    stride: u64,
}

impl Positions {
    pub(crate) fn new() -> Self {
        Self { next: DOT_DOT + 1, kept: VecDeque::new(), bytes: 0, stride: 1 }
    }

    /// `rewinddir`: positions told before it mean nothing any more (POSIX), so numbering starts over.
    pub(crate) fn rewind(&mut self) {
        *self = Self::new();
    }

    /// The offset the next entry will have.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Remembers that the entry with offset [`Self::next`] was handed out and that `cursor` continues behind it.
    pub(crate) fn push(&mut self, cursor: Vec<u8>) {
        self.bytes += cursor.len() + CURSOR_OVERHEAD;
        self.kept.push_back((self.next, cursor));
        self.next += 1;
        while self.bytes > CURSOR_BYTES_MAX {
            self.thin_out();
        }
    }

    fn thin_out(&mut self) {
        self.stride *= 2;
        let (stride, next) = (self.stride, self.next);
        // Once the stride is beyond all that was numbered only the recent ones remain, and then those go too.
        let recent = if stride > next { RECENT.min(self.kept.len() as u64 / 2) } else { RECENT };
        self.kept.retain(|(offset, _)| offset % stride == 0 || offset + recent >= next);
        self.bytes = self.kept.iter().map(|(_, cursor)| cursor.len() + CURSOR_OVERHEAD).sum();
    }

    /// Where `offset` leads; `None` if this handle never gave it out.
    pub(crate) fn resolve(&self, offset: u64) -> Option<Position> {
        if offset >= self.next {
            return None;
        }
        let behind = self.kept.partition_point(|(kept, _)| *kept <= offset);
        Some(match behind.checked_sub(1).and_then(|index| self.kept.get(index)) {
            Some((kept, cursor)) => Position { after: cursor.clone(), skip: offset - kept },
            None => Position { after: Vec::new(), skip: offset.saturating_sub(DOT_DOT) },
        })
    }
}

/// An open directory.
pub(crate) struct OpenDir {
    ino: Ino,
    /// Who opened it: later reads are judged by the right to open, not by who happens to hold the descriptor.
    who: Identity,
    positions: Mutex<Positions>,
}

/// An entry on its way to the kernel.
pub(crate) struct Item<'a> {
    /// The offset behind it.
    pub(crate) offset: u64,
    /// Its inode.
    pub(crate) ino: u64,
    /// What it is.
    pub(crate) kind: NodeKind,
    /// Its name.
    pub(crate) name: &'a [u8],
    /// Its attributes; `None` for `.` and `..`, whose attributes the kernel ignores.
    pub(crate) attr: Option<&'a Attr>,
}

impl MountDoor {
    /// Opens a directory for listing.
    pub(crate) fn open_dir(&self, who: Identity, ino: Ino) -> u64 {
        self.dirs.insert(OpenDir { ino, who, positions: Mutex::new(Positions::new()) })
    }

    /// Gives an open directory up.
    pub(crate) fn close_dir(&self, handle: u64) {
        self.dirs.remove(handle);
    }

    /// Hands entries behind `offset` to `emit` until it answers that the reply is full, or the directory ends.
    /// `page` is how many entries to ask of the name space at once.
    pub(crate) fn list(
        &self,
        handle: u64,
        offset: u64,
        page: usize,
        emit: &mut dyn FnMut(&Item<'_>) -> bool,
    ) -> Result<(), Refusal> {
        let dir = self.dirs.get(handle).ok_or(Refusal(libc::EBADF))?;
        let mut positions = dir.positions.lock();
        if offset == 0 {
            positions.rewind();
        }
        if self.list_dots(&dir, offset, emit) {
            return Ok(());
        }
        let mut at = positions.resolve(offset.max(DOT_DOT)).ok_or(Refusal(libc::EINVAL))?;
        let mut told_any = offset < DOT_DOT;
        loop {
            let listed = self.callers.run(&self.ns, dir.who, |op| self.ns.readdir(op, dir.ino, &at.after, page));
            let listed = match listed {
                Ok(listed) => listed,
                // A removed directory that is still open is empty.
                Err(e) if matches!(e.kind, ErrorKind::NotFound | ErrorKind::Stale) => return Ok(()),
                // What was told so far is good; the error comes with the next request.
                Err(_) if told_any => return Ok(()),
                Err(e) => return Err(e.into()),
            };
            let Some(last) = listed.entries.last() else {
                return Ok(());
            };
            let behind = last.cursor.clone();
            for entry in listed.entries {
                if at.skip > 0 {
                    at.skip -= 1;
                    continue;
                }
                let item = Item {
                    offset: positions.next(),
                    ino: entry.attr.ino.0,
                    kind: entry.attr.kind,
                    name: &entry.name,
                    attr: Some(&entry.attr),
                };
                if emit(&item) {
                    return Ok(());
                }
                told_any = true;
                positions.push(entry.cursor);
            }
            if listed.end {
                return Ok(());
            }
            at.after = behind;
        }
    }

    /// `.` and `..`, if `offset` lies before them. Returns whether the reply is full.
    fn list_dots(&self, dir: &OpenDir, offset: u64, emit: &mut dyn FnMut(&Item<'_>) -> bool) -> bool {
        let dot = |offset, ino: Ino, name| Item { offset, ino: ino.0, kind: NodeKind::Directory, name, attr: None };
        if offset < DOT && emit(&dot(DOT, dir.ino, b".")) {
            return true;
        }
        if offset < DOT_DOT {
            // The number beside `..` informs only; a removed directory has no parent any more.
            let parent = self.ns.parent(&self.callers.root_op(), dir.ino).map_or(dir.ino, |attr| attr.ino);
            return emit(&dot(DOT_DOT, parent, b".."));
        }
        false
    }
}

#[cfg(test)]
#[path = "dir/tests.rs"]
mod tests;

//! Pins: an open file stays on its content when another door replaces that content whole.
//!
//! A door that keeps files open asks for a [`Pin`] after the open and reads through it. While nobody replaces the
//! content, a pin changes nothing: writes in place, at whatever door, are read. When a PUT replaces the content of a
//! pinned file, the same commit moves what was there to an inode without a name, as an `unlink` of an open file would
//! have left it, and the pin leads there from then on. So a reader never meets two contents, what it reads is counted
//! like any other file, and a crash leaves nothing behind: inodes without names are removed at the next start.
//!
//! Invariants: the pin leads to the kept content before the new content can be read. A reader that looks at the pin,
//! reads, and finds the pin unchanged has therefore read the content it meant. And no pin is made between the moment a
//! replacement has looked for pins and the moment it shows: such a pin would stand for the old content and not know it.
//! Whoever asks for one then waits for the commit.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use strata_content::{ReadAhead, Tx};
use strata_seam::Ino;

use crate::authority::{Permit, READ, Reach, WRITE};
use crate::bucket::dedup_domain;
use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::file::Opens;
use crate::key;
use crate::namespace::Namespace;
use crate::records::{Beside, Inode};
use crate::setattr::refuse_overlap;
use crate::types::{Access, Op};

/// Keeps the readers of one open file on one content. All handles that were opened between two replacements share it;
/// each gives its share back with [`Namespace::unpin`].
#[derive(Debug)]
pub struct Pin {
    ino: Ino,
    /// The inode without a name that has the content since it was replaced; zero before.
    kept: AtomicU64,
    /// Reads go to the file itself whatever happens to it.
    following: AtomicBool,
}

/// The pins of a file's present content: one, if anybody has it.
#[derive(Default)]
pub(crate) struct Pinned(Mutex<Vec<Weak<Pin>>>);

/// Files whose content is being replaced at this moment, one for each change in progress. A file can be here more than
/// once: the next change may begin while the one before it, which shows already, still settles its pins.
#[derive(Default)]
pub(crate) struct Replacements {
    inos: Mutex<Vec<Ino>>,
    ended: Condvar,
}

/// A replacement in progress, from the look for pins until it shows or has failed.
pub(crate) struct Replacing {
    all: Arc<Replacements>,
    ino: Ino,
}

impl Replacements {
    /// Notes a replacement; from here on nobody pins the file until what is returned is dropped.
    fn begin(self: &Arc<Self>, ino: Ino) -> Replacing {
        self.inos.lock().push(ino);
        Replacing { all: Arc::clone(self), ino }
    }

    /// Waits until nobody replaces the file's content. While the guard lives no replacement begins.
    ///
    /// The wait ends: whoever replaces holds the writer's lock and waits for the ledger alone, and a change that fails or
    /// panics drops its [`Replacing`] as well. The caller holds no lock that a change takes.
    fn none_of(&self, ino: Ino) -> MutexGuard<'_, Vec<Ino>> {
        let mut inos = self.inos.lock();
        while inos.contains(&ino) {
            self.ended.wait(&mut inos);
        }
        inos
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        let mut inos = self.all.inos.lock();
        // Its own note alone: another change may be replacing the same file by now.
        if let Some(at) = inos.iter().position(|ino| *ino == self.ino) {
            inos.swap_remove(at);
        }
        drop(inos);
        self.all.ended.notify_all();
    }
}

impl Pin {
    /// The file that is pinned.
    #[must_use]
    pub fn ino(&self) -> Ino {
        self.ino
    }

    /// The inode that has the pinned content since another took its place; `None` while it is the file's own.
    #[must_use]
    pub fn kept(&self) -> Option<Ino> {
        match self.kept.load(Ordering::Acquire) {
            0 => None,
            _ if self.following.load(Ordering::Acquire) => None,
            kept => Some(Ino(kept)),
        }
    }

    /// Where the content is to be read.
    #[must_use]
    pub fn source(&self) -> Ino {
        self.kept().unwrap_or(self.ino)
    }

    /// Lets go of the old content for good: who writes into the file wants to read what was written.
    pub fn follow(&self) {
        self.following.store(true, Ordering::Release);
    }
}

impl Namespace {
    /// The pin of a file's present content, for who has the file open.
    #[must_use]
    pub fn pin(&self, ino: Ino) -> Arc<Pin> {
        let fresh = || Arc::new(Pin { ino, kept: AtomicU64::new(0), following: AtomicBool::new(false) });
        let Some(file) = self.opens.get(ino) else { return fresh() };
        let _none = self.opens.replacements.none_of(ino);
        let mut present = file.pinned.0.lock();
        present.retain(|pin| pin.strong_count() > 0);
        present.iter().find_map(Weak::upgrade).unwrap_or_else(|| {
            let pin = fresh();
            present.push(Arc::downgrade(&pin));
            pin
        })
    }

    /// Gives a pin back. Content that was kept for it alone is removed.
    ///
    /// # Errors
    /// Those of the commit that removes it; it is then removed at the next start.
    pub fn unpin(&self, op: &Op, pin: Arc<Pin>) -> Result<()> {
        match Arc::into_inner(pin).map(|pin| pin.kept.into_inner()) {
            None | Some(0) => Ok(()),
            Some(kept) => self.close(op, Ino(kept), false),
        }
    }

    /// [`Namespace::read`] of the pinned content, by the permit of the open.
    ///
    /// # Errors
    /// Those of [`Namespace::read`].
    pub fn read_pinned(&self, op: &Op, pinned: (&Pin, Permit), offset: u64, len: usize) -> Result<Bytes> {
        let pin = self.reach_pinned(op, pinned, READ)?;
        self.of_pinned(op, pin, |ino| self.read_in_sequence(op, ino, None, offset, len))
    }

    /// The same through a handle, whose earlier reads are in `ahead`: while they follow one another, the disks bring in
    /// what comes next.
    ///
    /// # Errors
    /// Those of [`Namespace::read`].
    pub fn read_pinned_ahead(
        &self,
        op: &Op,
        pinned: (&Pin, Permit),
        ahead: &ReadAhead,
        offset: u64,
        len: usize,
    ) -> Result<Bytes> {
        let pin = self.reach_pinned(op, pinned, READ)?;
        self.of_pinned(op, pin, |ino| self.read_in_sequence(op, ino, Some(ahead), offset, len))
    }

    /// The pin, if the permit is one of its file.
    fn reach_pinned<'p>(&self, op: &Op, (pin, permit): (&'p Pin, Permit), asked: Access) -> Result<&'p Pin> {
        if permit.ino() != pin.ino {
            return Err(fail(ErrorKind::AccessDenied, "the permit is for another file"));
        }
        self.reach(op, permit.into(), asked)?;
        Ok(pin)
    }

    /// [`Namespace::seek`] in the pinned content.
    ///
    /// # Errors
    /// Those of [`Namespace::seek`].
    pub fn seek_pinned(&self, op: &Op, pinned: (&Pin, Permit), offset: u64, data: bool) -> Result<Option<u64>> {
        let pin = self.reach_pinned(op, pinned, Access::default())?;
        self.of_pinned(op, pin, |ino| self.find_extent(op, ino, offset, data))
    }

    /// [`Namespace::copy_range`] from the pinned content at `from` bytes.
    ///
    /// # Errors
    /// Those of [`Namespace::copy_range`].
    pub fn copy_range_pinned(
        &self,
        op: &Op,
        pinned: (&Pin, Permit),
        from: u64,
        to: (impl Into<Reach>, u64),
        len: u64,
    ) -> Result<u64> {
        let pin = self.reach_pinned(op, pinned, READ)?;
        let to = (self.reach(op, to.0.into(), WRITE)?.ino(), to.1);
        if pin.kept().is_none() {
            refuse_overlap((pin.ino, from), to, len)?;
        }
        let source = self.of_pinned(op, pin, |ino| self.source_of_copy(op, ino))?;
        self.copy_from(op, &source, from, to, len)
    }

    /// What `get` answers of the inode that has the pinned content.
    fn of_pinned<T>(&self, op: &Op, pin: &Pin, get: impl Fn(Ino) -> Result<T>) -> Result<T> {
        loop {
            let source = pin.source();
            let mut got = get(source);
            if source != pin.ino && matches!(&got, Err(error) if error.kind == ErrorKind::Stale) {
                // The replacement is on its way. It shows all at once, so as long as the kept content is not there, the
                // file still has it.
                got = get(pin.ino);
                if self.find_inode_alone(op, source)?.is_some() {
                    continue;
                }
            }
            if pin.source() == source {
                return got;
            }
        }
    }

    /// Within the change that replaces the content of `inode`: keeps the old one for those who have it pinned. Answers
    /// whether anybody has.
    pub(crate) fn keep_pinned(&self, tx: &mut Tx<'_>, effects: &mut Effects, inode: &Inode) -> Result<bool> {
        let ino = inode.attr.ino;
        effects.replacing.push(self.opens.replacements.begin(ino));
        let Some(file) = self.opens.get(ino) else { return Ok(false) };
        let pins: Vec<Arc<Pin>> = file.pinned.0.lock().iter().filter_map(Weak::upgrade).collect();
        if pins.is_empty() {
            return Ok(false);
        }
        let mut old = Inode { items: Vec::new(), parts: Vec::new(), etag: None, counted: None, ..inode.clone() };
        old.unname();
        old.beside = Beside::default();
        old.attr.ino = Ino(self.number(tx)?);
        old.attr.nlink = 0;
        tx.tally(key::KEY_INODES, 1);
        let content = self.store.content(dedup_domain(inode.bucket), inode.items.clone())?;
        self.set_content(tx, &mut old, &content, inode.attr.allocated)?;
        self.put_inode(tx, &mut old);
        tx.put(key::unlinked(self.own.id, old.attr.ino), Vec::new());
        effects.kept.push(Kept { old: old.attr.ino, pins });
        Ok(true)
    }

    /// [`Namespace::unpin`] where nobody waits for the outcome.
    pub(crate) fn unpin_or_warn(&self, op: &Op, pin: Arc<Pin>) {
        if let Err(error) = self.unpin(op, pin)
            && error.kind != ErrorKind::Stale
        {
            tracing::warn!(%error, "content kept for a reader that is gone stays until the next start");
        }
    }
}

/// Content that is being replaced and that somebody has pinned. None of the pins is given back before it is settled.
pub(crate) struct Kept {
    /// The inode without a name that has the content once the change shows.
    old: Ino,
    pub(crate) pins: Vec<Arc<Pin>>,
}

impl Kept {
    /// The pins lead to the kept content from here on.
    pub(crate) fn lead_there(&self, opens: &Opens) {
        for pin in &self.pins {
            opens.hold(self.old);
            pin.kept.store(self.old.0, Ordering::Release);
            if let Some(file) = opens.get(pin.ino) {
                file.pinned.0.lock().clear();
            }
        }
    }
}

impl Opens {
    /// Pins an inode that is about to be made.
    pub(crate) fn hold(&self, ino: Ino) {
        self.get_or_insert(ino).handles.fetch_add(1, Ordering::AcqRel);
    }

    /// Undoes [`Opens::hold`] where the inode was not made after all.
    pub(crate) fn let_go(&self, ino: Ino) {
        if let Some(file) = self.get(ino) {
            file.handles.fetch_sub(1, Ordering::AcqRel);
        }
        self.forget_if_idle(ino);
    }
}

#[cfg(test)]
#[path = "pin/tests.rs"]
mod tests;

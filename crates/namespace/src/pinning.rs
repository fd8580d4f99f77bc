//! Pinning the content of an open file, and reading it; see [`crate::pin`].

use std::sync::{Arc, Weak};

use bytes::Bytes;
use strata_content::{ReadAhead, Tx};
use strata_seam::Ino;

use crate::authority::{Permit, READ, Reach, WRITE};
use crate::domain::dedup_domain;
use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::namespace::Namespace;
use crate::pin::{Kept, Pin};
use crate::records::{Beside, Inode};
use crate::setattr::refuse_overlap;
use crate::types::{Access, Op};

impl Namespace {
    /// Pins the present content of a file that the caller has open: if another door replaces the content, reads through the pin return
    /// the old one until [`Namespace::unpin`]. See [`Pin`].
    #[must_use]
    pub fn pin(&self, ino: Ino) -> Arc<Pin> {
        let fresh = || Arc::new(Pin::new(ino));
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

    /// Reads as [`Namespace::read_pinned`] does, through a handle with its own read-ahead: while reads follow one another, the disks read
    /// in advance. `ahead` is the state of that handle.
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
                // The replacement is in progress. It shows all at once: while the kept content cannot be found, the file still
                // has it.
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
        let mut old = Inode { items: Vec::new(), parts: Vec::new(), tag: None, counted: None, ..inode.clone() };
        old.unname();
        old.beside = Beside::default();
        old.attr.ino = Ino(self.numbers.draw(tx)?);
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

#[cfg(test)]
#[path = "pinning/tests.rs"]
mod tests;

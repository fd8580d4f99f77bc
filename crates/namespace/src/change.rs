//! Making a change: it is computed under the writer's lock or ahead of it, accepted, and then reported to those who cache.

use strata_content::{Computed, Done, Tx};
use strata_seam::{Ino, Lsn};

use crate::effects::Effects;
use crate::error::{Error, ErrorKind, Result};
use crate::namespace::Namespace;
use crate::numbers;
use crate::types::{Attr, Change, Op};
use crate::view::View;

impl Namespace {
    /// Attributes of inodes as a change sees them.
    fn attrs_now(&self, tx: &mut Tx<'_>, inodes: &[Ino]) -> Result<Vec<Option<Attr>>> {
        let attr = |ino: &Ino| match tx.find_inode(*ino)? {
            Some(mut inode) => {
                tx.complete(&mut inode)?;
                Ok(Some(self.with_staged(inode.attr)))
            }
            None => Ok(None),
        };
        inodes.iter().map(attr).collect()
    }

    /// Runs a change, notes in `op` what the answer depends on, and publishes it to the feed. The closure may run more than once: it
    /// changes nothing but its arguments, and returns in its effects what else is to happen.
    pub(crate) fn change<T>(&self, op: &Op, run: impl FnMut(&mut Tx<'_>, &mut Effects) -> Result<T>) -> Result<T> {
        self.change_when(op, Computed::UnderLock, run)
    }

    /// Makes a change of many look-ups, as [`Namespace::change`] does. It is computed before the writer's lock is taken, and again under
    /// the lock only if another change has altered what it read. The caller makes sure that what it relies on besides records does not
    /// change meanwhile: a [`crate::Claim`] keeps locks from being granted.
    pub(crate) fn change_ahead<T>(
        &self,
        op: &Op,
        run: impl FnMut(&mut Tx<'_>, &mut Effects) -> Result<T>,
    ) -> Result<T> {
        self.change_when(op, Computed::Ahead, run)
    }

    fn change_when<T>(
        &self,
        op: &Op,
        computed: Computed,
        mut run: impl FnMut(&mut Tx<'_>, &mut Effects) -> Result<T>,
    ) -> Result<T> {
        self.refuse_outdated()?;
        // Most changes draw no number: a failure to reserve some is returned only by a change that needs one.
        let at_hand = self.numbers.have_at_hand(&self.store, numbers::AT_HAND);
        let _removing = self.opens.erasing.begin();
        let watching = op.watching();
        let (mut seen_so_far, mut relaxed) = (Lsn(0), false);
        let compute = |tx: &mut Tx<'_>| {
            let mut effects = Effects::default();
            let found = self.attrs_now(tx, &watching)?;
            let ran = self.uphold(tx, op).and_then(|()| run(tx, &mut effects));
            seen_so_far = tx.seen();
            let promised = effects.relaxed.map_or_else(|| tx.is_relaxed(effects.bucket), Ok);
            relaxed = promised.as_ref().is_ok_and(|relaxed| *relaxed);
            let value = ran?;
            promised?;
            tx.set_relaxed(relaxed);
            self.write_events(tx, &mut effects, op, relaxed);
            let left = self.attrs_now(tx, &watching)?;
            Ok::<_, Error>((value, effects, found.into_iter().zip(left).collect::<Vec<_>>()))
        };
        let done = self.store.transact_then(false, computed, compute, |(_, effects, _)| self.enact(effects));
        if let (Err(error), Err(refused)) = (&done, at_hand)
            && error.kind == ErrorKind::Busy
        {
            return Err(refused);
        }
        if done.is_err() && seen_so_far > self.store.durable() {
            // A refusal also shows what is there ("exists already"), and a crash must not take that back either.
            op.note(seen_so_far, !relaxed);
        }
        let Done { value: (value, effects, watched), lsn, seen } = done?;
        let changes = self.settle_effects(op, effects);
        // The guard held in this commit and is not checked again; see `guard.rs`.
        *op.guard.lock() = None;
        for (ino, (found, left)) in watching.into_iter().zip(watched) {
            op.note_watched(ino, found, left);
        }
        if let Some(lsn) = lsn {
            op.note(lsn, !relaxed);
        } else if seen > self.store.durable() {
            op.note(seen, !relaxed);
        }
        if !changes.is_empty() {
            op.note_published();
        }
        self.feed.publish(op.caller.door, changes);
        Ok(value)
    }

    /// The change was accepted and shows next. Under the writer's lock.
    pub(crate) fn enact(&self, effects: &mut Effects) {
        if effects.moved {
            self.paths.forget();
        }
        effects.opened.iter().for_each(|ino| self.opens.hold(*ino));
        effects.kept.iter().for_each(|kept| kept.lead_there(&self.opens));
        for (inode, hold) in effects.removed.drain(..) {
            self.remember(inode, hold);
        }
        self.locks.held.take(std::mem::take(&mut effects.locks));
        self.locks.holds.take(std::mem::take(&mut effects.holds));
        if let Some((number, places)) = effects.claim.take() {
            self.locks.claim(number, places);
        }
    }

    /// The change shows: pins that were kept only for it are released. Returns what is to be published to the feed.
    pub(crate) fn settle_effects(&self, op: &Op, effects: Effects) -> Vec<Change> {
        let Effects { told, kept, replacing, .. } = effects;
        drop(replacing);
        for pin in kept.into_iter().flat_map(|kept| kept.pins) {
            self.unpin_or_warn(op, pin);
        }
        let mut changes = Vec::new();
        told.into_iter().for_each(|telling| telling.changes(&mut changes));
        changes
    }
}

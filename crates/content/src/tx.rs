//! A change while it is computed: what it has read and what it will write.
//!
//! A [`Tx`] collects a [`Change`] of the engine. `refs.rs` decides what it does to references; `transact.rs` runs and commits it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use strata_engine::{Cell, Change, Exclusive, Premises, Purpose};
use strata_seam::Lsn;
use strata_seam::planted::{Bug, planted};

use crate::error::Result;
use crate::keys::TABLE_GARBAGE;
use crate::refs::Refs;
use crate::store::Store;

/// Bytes that a change may add to the index and still pass for a removal: a longer name, a time, a mark.
const GROWTH_MAX: usize = 512;

/// A change being computed. Reads see its own writes.
pub struct Tx<'a> {
    pub(crate) store: &'a Arc<Store>,
    /// What it has come to so far.
    pub(crate) change: Change,
    pub(crate) refs: Refs,
    seen: Lsn,
    /// Numbers drawn for it, which it draws again when it is computed again.
    drawn: Vec<u64>,
    draws: usize,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(store: &'a Arc<Store>, relaxed: bool) -> Self {
        Self { store, change: Change::new(relaxed), refs: Refs::default(), seen: Lsn(0), drawn: Vec::new(), draws: 0 }
    }

    /// A change whose premises are checked before it is committed.
    pub(crate) fn noting_premises(store: &'a Arc<Store>, relaxed: bool) -> Self {
        let mut tx = Self::new(store, relaxed);
        tx.change.premises = Some(Premises::default());
        tx
    }

    /// A change that is computed again, and draws the numbers that `early` drew.
    pub(crate) fn drawing_as(early: &Self, relaxed: bool) -> Self {
        let mut again = Self { drawn: early.drawn.clone(), ..Self::new(early.store, relaxed) };
        if planted(Bug::EventsOfThrownAwayKept) {
            again.change.events.clone_from(&early.change.events);
        }
        again
    }

    /// A number from `fresh`, or, where the change is computed again, the one that it drew before: the same change draws the same
    /// numbers. `None` where `fresh` has none.
    pub fn draw(&mut self, fresh: impl FnOnce() -> Option<u64>) -> Option<u64> {
        if self.draws == self.drawn.len() {
            self.drawn.push(fresh()?);
        }
        let number = self.drawn.get(self.draws).copied();
        self.draws += 1;
        number
    }

    /// The store this changes.
    #[must_use]
    pub fn store(&self) -> &'a Arc<Store> {
        self.store
    }

    /// Highest sequence number of anything read so far, removals included.
    #[must_use]
    pub fn seen(&self) -> Lsn {
        self.seen
    }

    /// Sets whether nobody will be promised the durability of this change; called once the change knows its bucket.
    pub fn set_relaxed(&mut self, relaxed: bool) {
        self.change.relaxed = relaxed;
    }

    /// The record at `key` as this change has it.
    ///
    /// # Errors
    /// [`crate::ContentError::Index`].
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(own) = self.change.rows.get(key) {
            return Ok(own.clone());
        }
        // A removal that is not yet durable counts as much as a value (invariant SEEN).
        let found = self.store.engine().get(key, None)?;
        self.seen = self.seen.max(found.lsn);
        if let Some(premises) = &mut self.change.premises {
            premises.note(key, found.value.as_deref());
        }
        Ok(found.value)
    }

    /// The record at `key` as this change has it, without making it a premise. Only for records that do not influence the change.
    ///
    /// # Errors
    /// [`crate::ContentError::Index`].
    pub fn peek(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.change.rows.get(key) {
            Some(own) => Ok(own.clone()),
            None => Ok(self.store.engine().get(key, None)?.value),
        }
    }

    /// Up to `limit` records with keys in `from .. to`, in order, own writes included.
    ///
    /// # Errors
    /// [`crate::ContentError::Index`].
    pub fn range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let own: Vec<_> = self
            .change
            .rows
            .range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        // Every own delete may hide one stored record, so that many more are fetched.
        let stored = self.store.engine().scan(from, to, limit.saturating_add(own.len()), None)?;
        self.seen = self.seen.max(stored.lsn);
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> =
            stored.entries.into_iter().map(|(key, entry)| (key, entry.value)).collect();
        for (key, value) in own {
            match value {
                Some(value) => merged.insert(key, value),
                None => merged.remove(&key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }

    /// Writes a record.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.change.rows.insert(key.into(), Some(value.into()));
    }

    /// Removes a record.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        let key = key.into();
        // What this change has added to the cell is removed with it.
        self.change.tallies.remove(&key);
        self.change.tails.remove(&key);
        self.change.rows.insert(key, None);
    }

    /// Up to `limit` members of a set with keys in `from .. to`, as [`Tx::range`] gives them. `guard` is the cell to which every change adds
    /// that adds or removes a member ([`Tx::tally`]).
    ///
    /// # Errors
    /// [`crate::ContentError::Index`].
    pub fn members(&mut self, guard: &[u8], from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        if self.change.premises.is_some() && !planted(Bug::SetUnguarded) {
            self.get(guard)?;
        }
        self.range(from, to, limit)
    }

    /// Adds to a counter that is only ever added to, without reading it.
    pub fn tally(&mut self, key: &[u8], delta: i64) {
        *self.change.tallies.entry(key.to_vec()).or_default() += delta;
    }

    /// Replaces the tail of a cell, without reading it. Not for the cells of chunks.
    pub fn put_tail(&mut self, key: impl Into<Vec<u8>>, tail: impl Into<Vec<u8>>) {
        self.change.tails.insert(key.into(), tail.into());
    }

    /// Adds an event to the change's commit; its bytes are opaque here. A change that writes nothing has no events.
    pub fn tell(&mut self, event: Vec<u8>) {
        self.change.events.push(event);
    }

    /// The count and the tail of a cell as this change has it; `None` where there is none.
    ///
    /// # Errors
    /// [`crate::ContentError::Index`].
    pub fn cell(&mut self, key: &[u8]) -> Result<Option<Cell>> {
        let mut cell = self.get(key)?.map(|value| Cell::from_value(&value));
        if let Some(more) = self.change.tallies.get(key) {
            cell.get_or_insert_default().count += more;
        }
        if let Some(tail) = self.change.tails.get(key) {
            cell.get_or_insert_default().tail.clone_from(tail);
        }
        Ok(cell)
    }

    /// Hands it to the engine; `then` is called when it was accepted, before it shows. `None` where nothing is changed.
    pub(crate) fn commit(
        self,
        held: &Exclusive<'_>,
        purpose: Option<Purpose>,
        then: impl FnOnce(),
    ) -> Result<Option<Lsn>> {
        let Self { store, mut change, refs, .. } = self;
        let gone = refs.gone(&change);
        change.blocks = refs.blocks();
        if change.is_empty() {
            then();
            return Ok(None);
        }
        change.purpose = match purpose {
            Some(purpose) => purpose,
            None if refs.are_promised() => Purpose::Promised,
            None if !change.blocks.is_empty() || (store.is_full() && store.grows(&change)?) => Purpose::Data,
            None => Purpose::Removal,
        };
        let mut then = Some(then);
        let mut accepted = || {
            refs.own();
            if let Some(then) = then.take() {
                then();
            }
        };
        let lsn = store.engine().commit(held, change, &mut accepted)?.lsn;
        store.released.fetch_add(gone, Ordering::Relaxed);
        store.last_commit.store(lsn.0, Ordering::Release);
        Ok(Some(lsn))
    }
}

impl Store {
    /// Whether the index is larger after this change: more records, or more in them. What is queued to be released does not
    /// count. Asked only in a full store.
    fn grows(&self, change: &Change) -> Result<bool> {
        let (mut more, mut less) = ((0_usize, 0_usize), (0_usize, 0_usize));
        for (key, value) in change.rows.iter().filter(|(key, _)| key.first() != Some(&TABLE_GARBAGE)) {
            let (new, old) = (value.as_ref().map(Vec::len), self.engine().get(key, None)?.value.map(|old| old.len()));
            let (new, old) = (new.map(|len| len + key.len()), old.map(|len| len + key.len()));
            more = (more.0 + usize::from(new.is_some()), more.1 + new.unwrap_or(0));
            less = (less.0 + usize::from(old.is_some()), less.1 + old.unwrap_or(0));
        }
        Ok(more.0 > less.0 || more.1 > less.1 + GROWTH_MAX)
    }
}

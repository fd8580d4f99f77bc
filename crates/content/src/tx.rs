//! The single writer: a change is computed under one lock, ordered by the ledger, and visible at once.
//!
//! **Invariant PREFIX**: the lock covers reading, deciding, taking a sequence number and applying to the index, so the
//! order of the log is the order in which changes were decided.
//!
//! A change is computed by a closure that may run more than once and touches nothing but its [`Tx`]. What else it causes is
//! part of its value and done by whoever called, once, when the change was accepted (`then` of [`Store::transact_then`]).
//!
//! **Invariant REF**: references change in the commit that causes them. A page's children are counted exactly while
//! the page itself is counted at least once.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use strata_chunk::{DedupDomain, Item, Node, Source};
use strata_index::{BATCH_EVENTS_MAX, Batch, Cell, EVENT_LEN_MAX, Mutation};
use strata_ledger::{Append, Purpose};
use strata_seam::planted::{Bug, planted};
use strata_seam::rehearsal::{refuses_first, report, take_interlude};
use strata_seam::{ChunkId, Lsn};

use crate::cell::{self, TABLE_GARBAGE};
use crate::error::{ContentError, Result};
use crate::ingest::{Content, Made};
use crate::mover::Phase;
use crate::premises::Premises;
use crate::prepare::PreparedBlock;
use crate::store::Store;

/// Largest encoded commit; what is larger has to be split into several by the caller.
pub const COMMIT_BYTES_MAX: usize = 512 << 10;

/// Longest that one change waits for the index to catch up.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(2);

/// Longest that a removal waits for the mover where it would take the mover's room.
const MOVER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks whether it still would.
const MOVER_PAUSE: Duration = Duration::from_millis(20);

/// Bytes that a change may add to the index and still pass for a removal: a longer name, a time, a mark.
const GROWTH_MAX: usize = 512;

/// Pages let go within the commit itself; beyond, they are queued for the collector, so that a change that releases many
/// owners (aborting a large upload) stays one commit.
const INLINE_RELEASE_PAGES_MAX: usize = 2;

/// A change being computed. Reads see its own writes.
pub struct Tx<'a> {
    store: &'a Arc<Store>,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Ordered, so that the same change is the same bytes in every run.
    counts: BTreeMap<ChunkId, i64>,
    /// Bytes of chunks that were let go, whether others count them or not.
    released: BTreeMap<ChunkId, u64>,
    tallies: BTreeMap<Vec<u8>, i64>,
    /// What becomes somebody's by this change.
    contents: Vec<Arc<Made>>,
    seen: Lsn,
    relaxed: bool,
    released_pages: usize,
    /// Tails of cells that are no chunks'.
    tails: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What is told of it.
    events: Vec<Vec<u8>>,
    /// What it read, where somebody wants to know.
    premises: Option<Premises>,
    /// Numbers drawn for it, which it draws again when it is computed again.
    drawn: Vec<u64>,
    draws: usize,
}

/// What became of a page that was to be let go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Released {
    /// It has an owner less.
    Done,
    /// It had one owner left, and what is in it has to be read first: nothing was changed.
    Unread,
}

/// What a change gave.
#[derive(Debug)]
pub struct Done<T> {
    /// The closure's result.
    pub value: T,
    /// Sequence number of the commit; `None` if nothing changed.
    pub lsn: Option<Lsn>,
    /// Highest sequence number of anything read on the way.
    pub seen: Lsn,
}

impl Store {
    /// Computes and commits one change. `relaxed` says that nobody will be promised its durability.
    ///
    /// The closure runs under the writer's lock: no hashing, no compression, no waiting inside. It may run more than once, each
    /// time from the start, and has no effect but on its [`Tx`]. An error of the closure changes nothing.
    ///
    /// # Errors
    /// The closure's own, and those of the ledger; the change has then not happened.
    pub fn transact<T, E: From<ContentError>>(
        self: &Arc<Self>,
        relaxed: bool,
        change: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<Done<T>, E> {
        self.transact_then(relaxed, Computed::UnderLock, change, |_| {})
    }

    /// As [`Store::transact`]; `then` is called once, with the closure's result, when the change was accepted and before it
    /// shows to anybody. Still under the writer's lock: it takes microseconds. `computed` says when the closure runs.
    ///
    /// # Errors
    /// Those of [`Store::transact`]; `then` was not called.
    pub fn transact_then<T, E: From<ContentError>>(
        self: &Arc<Self>,
        relaxed: bool,
        computed: Computed,
        change: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
        then: impl FnOnce(&mut T),
    ) -> Result<Done<T>, E> {
        self.wait_for_room();
        self.run(None, relaxed, computed, change, then)
    }

    /// As [`Store::transact`], with the room that removals have: for what has to be done however full the disks are.
    ///
    /// # Errors
    /// Those of [`Store::transact`].
    pub fn transact_as_removal<T, E: From<ContentError>>(
        self: &Arc<Self>,
        change: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<Done<T>, E> {
        self.wait_for_room();
        self.run(Some(Purpose::Removal), false, Computed::UnderLock, change, |_| {})
    }

    /// As [`Store::transact`], without waiting for anything, and for the purpose given instead of the one that shows.
    pub(crate) fn transact_for<T, E: From<ContentError>>(
        self: &Arc<Self>,
        purpose: Option<Purpose>,
        relaxed: bool,
        change: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<Done<T>, E> {
        self.run(purpose, relaxed, Computed::UnderLock, change, |_| {})
    }

    fn run<T, E: From<ContentError>>(
        self: &Arc<Self>,
        purpose: Option<Purpose>,
        relaxed: bool,
        computed: Computed,
        mut change: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
        then: impl FnOnce(&mut T),
    ) -> Result<Done<T>, E> {
        let early = self.rehearse(relaxed, &mut change);
        let ahead = match computed {
            Computed::Ahead if early.is_none() => self.compute_ahead(relaxed, &mut change),
            _ => None,
        };
        let _writer = self.writer.lock();
        let _held = self.held.begin();
        if refuses_first() {
            drop(change(&mut Tx::new(self, relaxed)));
        }
        let (tx, mut value) = match (early, ahead.map(|ahead| self.as_it_was(ahead)).transpose()?.flatten()) {
            (Some(early), _) => self.judge(early, relaxed, &mut change)?,
            (None, Some(ahead)) => ahead,
            (None, None) => {
                let mut tx = Tx::new(self, relaxed);
                let value = change(&mut tx)?;
                (tx, value)
            }
        };
        let seen = tx.seen;
        let lsn = tx.commit(purpose, || then(&mut value))?;
        Ok(Done { value, lsn, seen })
    }
}

/// When a change is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Computed {
    /// Under the writer's lock, while nobody else changes anything.
    UnderLock,
    /// Before the lock is taken: for a change of many look-ups. Under the lock is only looked whether every row that it read still is so,
    /// and if not, it is computed once more, there. The closure must rely on nothing but records, or on what keeps still while it
    /// is under way: its caller sees to that.
    Ahead,
}

/// A change that was computed before others changed something.
type Early<'a, T, E> = (Tx<'a>, Result<T, E>);

impl Store {
    /// Computes a change before what a test has happen in between; `None` outside of such a test.
    fn rehearse<'a, T, E: From<ContentError>>(
        self: &'a Arc<Self>,
        relaxed: bool,
        change: &mut impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Option<Early<'a, T, E>> {
        let happens = take_interlude()?;
        let mut tx = Tx { premises: Some(Premises::default()), ..Tx::new(self, relaxed) };
        let value = change(&mut tx);
        happens();
        Some((tx, value))
    }

    /// A change computed without the lock; `None` if it would be refused, which is for the lock to say.
    fn compute_ahead<'a, T, E: From<ContentError>>(
        self: &'a Arc<Self>,
        relaxed: bool,
        change: &mut impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Option<(Tx<'a>, T)> {
        let mut tx = Tx { premises: Some(Premises::default()), ..Tx::new(self, relaxed) };
        let value = change(&mut tx).ok()?;
        // Whoever has used up its time on the core would lose it while it holds the lock, and everybody would wait.
        std::thread::yield_now();
        Some((tx, value))
    }

    /// Such a change, if every row it read is as it was, absent ones included. Under the writer's lock.
    fn as_it_was<'a, T>(&self, (tx, value): (Tx<'a>, T)) -> Result<Option<(Tx<'a>, T)>, ContentError> {
        let holds = match &tx.premises {
            Some(premises) if !planted(Bug::PremisesUnchecked) => premises.hold(self, |_| true)?,
            _ => true,
        };
        Ok(holds.then_some((tx, value)))
    }

    /// What an engine that many share would do with such a change: commit it as it is while its premises hold, else have it computed
    /// again. Reports a change that would have come out differently although its premises hold.
    fn judge<'a, T, E: From<ContentError>>(
        self: &'a Arc<Self>,
        (early, value): Early<'a, T, E>,
        relaxed: bool,
        change: &mut impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<(Tx<'a>, T), E> {
        let mut again = Tx { drawn: early.drawn.clone(), ..Tx::new(self, relaxed) };
        let holds = match &early.premises {
            Some(premises) if !planted(Bug::PremisesUnchecked) => {
                premises.hold(self, |key| early.writes.contains_key(key))?
            }
            _ => true,
        };
        match value {
            Ok(value) if holds => {
                // What only read saw one moment, and need not be true any more.
                if early.has_written() {
                    match change(&mut again) {
                        Ok(_) if early.writes_like(&again) => {}
                        Ok(_) => report(format!("{} instead of {}", early.written(), again.written())),
                        Err(_) => report(format!("{} instead of a refusal", early.written())),
                    }
                }
                Ok((early, value))
            }
            Err(refused) if holds => Err(refused),
            _ => {
                let value = change(&mut again)?;
                Ok((again, value))
            }
        }
    }
}

impl Store {
    /// Holds a change back while the index's overlay is full (invariant BOUND): its worker catches up in the meantime.
    /// The wait ends after [`ROOM_WAIT_MAX`] whatever happens: a stuck worker must not stop changes that would tell why.
    fn wait_for_room(&self) {
        if !self.index.has_room() && self.ledger.is_started() {
            let _has_room = self.index.wait_for_room(ROOM_WAIT_MAX);
        }
        if self.ledger.is_tight() && self.ledger.is_started() {
            self.wait_for_mover();
        }
    }

    /// Holds a change back while the mover makes room (invariant ROOM). The wait ends whatever happens: what is removed may
    /// be what the mover needs to go on.
    fn wait_for_mover(&self) {
        let mut waited = Duration::ZERO;
        let at_work = || self.mover.status.lock().phase != Phase::Idle;
        while waited < MOVER_WAIT_MAX && self.ledger.is_tight() && at_work() {
            std::thread::sleep(MOVER_PAUSE);
            waited += MOVER_PAUSE;
        }
    }

    /// Whether the index is larger after these changes: more records, or more in them. What is queued to be let go does not
    /// count. Asked only in a full store.
    fn grows(&self, mutations: &[Mutation]) -> Result<bool> {
        let (mut more, mut less) = ((0_usize, 0_usize), (0_usize, 0_usize));
        for mutation in mutations {
            let (key, new) = match mutation {
                Mutation::Put { key, .. } if key.first() == Some(&TABLE_GARBAGE) || key == cell::KEY_SESSION => {
                    continue;
                }
                Mutation::Put { key, value } => (key, Some(value.len())),
                Mutation::Delete { key } => (key, None),
                Mutation::Count { .. } | Mutation::SetTail { .. } => continue,
            };
            let old = self.index.get(key)?.map(|entry| entry.value.len());
            let (new, old) = (new.map(|len| len + key.len()), old.map(|len| len + key.len()));
            more = (more.0 + usize::from(new.is_some()), more.1 + new.unwrap_or(0));
            less = (less.0 + usize::from(old.is_some()), less.1 + old.unwrap_or(0));
        }
        Ok(more.0 > less.0 || more.1 > less.1 + GROWTH_MAX)
    }
}

impl<'a> Tx<'a> {
    fn new(store: &'a Arc<Store>, relaxed: bool) -> Self {
        Self {
            store,
            writes: BTreeMap::new(),
            counts: BTreeMap::new(),
            released: BTreeMap::new(),
            tallies: BTreeMap::new(),
            contents: Vec::new(),
            seen: Lsn(0),
            relaxed,
            released_pages: 0,
            tails: BTreeMap::new(),
            events: Vec::new(),
            premises: None,
            drawn: Vec::new(),
            draws: 0,
        }
    }

    /// Whether it writes exactly what the other does.
    fn writes_like(&self, other: &Self) -> bool {
        let counts = |tx: &Self| -> Vec<(ChunkId, i64)> {
            tx.counts.iter().filter(|(_, delta)| **delta != 0).map(|(id, delta)| (*id, *delta)).collect()
        };
        self.writes == other.writes
            && self.tallies == other.tallies
            && self.tails == other.tails
            && counts(self) == counts(other)
    }

    /// What it writes, for a report.
    fn written(&self) -> String {
        let writes = self.writes.iter().map(|(key, value)| {
            let what = if value.is_some() { "put" } else { "delete" };
            format!("{what} {}", key.escape_ascii())
        });
        writes.collect::<Vec<_>>().join(", ")
    }

    fn has_written(&self) -> bool {
        !self.writes.is_empty() || !self.counts.is_empty() || !self.tallies.is_empty() || !self.tails.is_empty()
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

    /// Says, once the change knows what it concerns, whether anybody will be promised its durability.
    pub fn set_relaxed(&mut self, relaxed: bool) {
        self.relaxed = relaxed;
    }

    /// The record at `key` as this change has it.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(own) = self.writes.get(key) {
            return Ok(own.clone());
        }
        // A removal that is not yet durable counts as much as a value (invariant SEEN).
        let found = self.store.index.lookup(key)?;
        self.seen = self.seen.max(found.lsn);
        if let Some(premises) = &mut self.premises {
            premises.note(key, found.value.as_deref());
        }
        Ok(found.value)
    }

    /// The record at `key` as this change has it, for what is only told of it: the change does not rely on it, and would be the same
    /// whatever it says.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn peek(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.writes.get(key) {
            Some(own) => Ok(own.clone()),
            None => Ok(self.store.index.lookup(key)?.value),
        }
    }

    /// Up to `limit` records with keys in `from .. to`, in order, own writes included.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let own: Vec<_> = self
            .writes
            .range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        // Every own delete may hide one stored record, so that many more are fetched.
        let stored = self.store.index.scan(from, to, limit.saturating_add(own.len()))?;
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
        self.writes.insert(key.into(), Some(value.into()));
    }

    /// Removes a record.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        let key = key.into();
        // What this change has added to a cell goes with it.
        self.tallies.remove(&key);
        self.tails.remove(&key);
        self.writes.insert(key, None);
    }

    /// Makes content part of this change: its last blocks travel with the commit, its references are counted. The
    /// returned items are to be stored in the owner's record. Content becomes part of one change alone.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn attach(&mut self, content: &Content) -> Result<Vec<Item>> {
        let made = &content.made;
        debug_assert!(!made.is_owned(), "content has one owner");
        self.contents.push(Arc::clone(made));
        self.retain_in(made.domain, &made.items)?;
        for (key, page) in &made.provisional {
            self.delete(key.clone());
            self.add(*page, -1);
        }
        Ok(made.items.clone())
    }

    /// Counts one more owner of these items, which somebody owned before.
    ///
    /// # Errors
    /// [`ContentError::Index`], reading a page that comes alive again, and [`ContentError::Gone`] for content by reference
    /// that was let go meanwhile.
    pub fn retain(&mut self, items: &[Item]) -> Result<()> {
        self.retain_of(None, items)
    }

    /// The same for content of a dedup domain; nothing of another may be in it.
    ///
    /// # Errors
    /// Those of [`Tx::retain`], and [`ContentError::OtherDomain`].
    fn retain_in(&mut self, domain: DedupDomain, items: &[Item]) -> Result<()> {
        self.retain_of(Some(domain), items)
    }

    fn retain_of(&mut self, domain: Option<DedupDomain>, items: &[Item]) -> Result<()> {
        for item in items {
            match item.source {
                Source::Hole => {}
                Source::Chunk { id, .. } if planted(Bug::SecondReferenceNotCounted) && self.count(&id)? > 0 => {}
                Source::Chunk { id, .. } => {
                    self.check_there(&id, domain)?;
                    self.add(id, 1);
                }
                Source::Page { id, .. } => {
                    self.check_there(&id, domain)?;
                    if self.count(&id)? == 0 && !planted(Bug::RevivedPageNotCounted) {
                        let node = self.page(&id)?;
                        self.retain_of(domain, node.items())?;
                    }
                    self.add(id, 1);
                }
            }
        }
        Ok(())
    }

    /// Refuses to count what nobody could read (invariant REF): a chunk is there, on its way, or comes with this commit.
    /// Under the writer's lock, so the mover removes it either before this, or sees the count. With a dedup domain, also what is
    /// of another one: chunks are never shared across two.
    fn check_there(&self, id: &ChunkId, wanted: Option<DedupDomain>) -> Result<()> {
        let mut blocks = self.contents.iter().flat_map(|made| &made.blocks);
        let comes_along = blocks.find(|block| block.chunks.iter().any(|(chunk, _)| chunk == id));
        let found = match comes_along {
            Some(block) => Some(block.domain),
            None => self.store.domain_of(id)?,
        };
        match found {
            None => Err(ContentError::Gone(*id)),
            Some(found) if wanted.is_some_and(|wanted| wanted != found) => Err(ContentError::OtherDomain(*id)),
            Some(_) => Ok(()),
        }
    }

    /// Counts one owner less. A few pages that are in memory are let go here, all others are queued for [`Store::collect`]:
    /// nothing is read from a disk under the writer's lock.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn release(&mut self, items: &[Item]) -> Result<()> {
        for item in items {
            match item.source {
                Source::Hole => {}
                Source::Chunk { .. } if planted(Bug::ReleaseForgotten) => {}
                Source::Chunk { id, .. } => self.let_go(id, item.len),
                Source::Page { id, .. } => self.release_or_queue(&id)?,
            }
        }
        Ok(())
    }

    /// Ends an owner's references to items that something written in the same change owns too.
    pub fn hand_over(&mut self, items: &[Item]) {
        for item in items {
            match item.source {
                Source::Hole => {}
                Source::Chunk { id, .. } | Source::Page { id, .. } => self.add(id, -1),
            }
        }
    }

    fn release_or_queue(&mut self, id: &ChunkId) -> Result<()> {
        if self.released_pages >= INLINE_RELEASE_PAGES_MAX {
            self.queue_release(id);
            return Ok(());
        }
        let mut released = self.release_page(id, None)?;
        if released == Released::Unread {
            let comes_along = self.contents.iter().find_map(|made| made.pages.get(id)).cloned();
            let node = comes_along.map_or_else(|| self.store.page_in_memory(id), |node| Ok(Some(node)))?;
            released = self.release_page(id, node.as_ref())?;
        }
        match released {
            Released::Done => self.released_pages += 1,
            Released::Unread => self.queue_release(id),
        }
        Ok(())
    }

    /// One owner less of a page; when it was the last, its children go too (pages among them through the queue), for which `node`
    /// is what is in the page.
    pub(crate) fn release_page(&mut self, id: &ChunkId, node: Option<&Node>) -> Result<Released> {
        let last = self.count(id)? == 1 || planted(Bug::ChildrenReleasedTwice);
        if last {
            let Some(node) = node else { return Ok(Released::Unread) };
            for item in node.items() {
                match item.source {
                    Source::Hole => {}
                    Source::Chunk { id, .. } => self.let_go(id, item.len),
                    Source::Page { id, .. } => self.queue_release(&id),
                }
            }
        }
        self.add(*id, -1);
        Ok(Released::Done)
    }

    /// The queue takes over the owner's reference.
    fn queue_release(&mut self, id: &ChunkId) {
        let store = self.store;
        // It never has none.
        let number = self.draw(|| Some(store.unique())).unwrap_or_default();
        self.put(cell::garbage_key(store.session, number), id.0.to_vec());
    }

    /// Up to `limit` members of a set with keys in `from .. to`, as [`Tx::range`] gives them. `guard` is the cell that everybody adds
    /// to who adds a member or takes one away ([`Tx::tally`]).
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn members(&mut self, guard: &[u8], from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        if self.premises.is_some() && !planted(Bug::SetUnguarded) {
            self.get(guard)?;
        }
        self.range(from, to, limit)
    }

    /// Adds to a counter that is only ever added to, without reading it.
    pub fn tally(&mut self, key: &[u8], delta: i64) {
        *self.tallies.entry(key.to_vec()).or_default() += delta;
    }

    /// Replaces the tail of a cell, without reading it. Not for the cells of chunks.
    pub fn put_tail(&mut self, key: impl Into<Vec<u8>>, tail: impl Into<Vec<u8>>) {
        self.tails.insert(key.into(), tail.into());
    }

    /// Has readers of the log told of this change: the bytes travel in its commit and are opaque here. What changes nothing
    /// tells nothing.
    pub fn tell(&mut self, event: Vec<u8>) {
        self.events.push(event);
    }

    /// The count and the tail of a cell as this change has it; `None` where there is none.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn cell(&mut self, key: &[u8]) -> Result<Option<Cell>> {
        let mut cell = self.get(key)?.map(|value| Cell::from_value(&value));
        if let Some(more) = self.tallies.get(key) {
            cell.get_or_insert_default().count += more;
        }
        if let Some(tail) = self.tails.get(key) {
            cell.get_or_insert_default().tail.clone_from(tail);
        }
        Ok(cell)
    }

    /// Corrects a chunk's count after references were counted afresh. For repairs alone: everything else goes through
    /// owners.
    pub fn correct_count(&mut self, id: ChunkId, delta: i64) {
        self.add(id, delta);
    }

    pub(crate) fn add(&mut self, id: ChunkId, delta: i64) {
        *self.counts.entry(id).or_default() += delta;
    }

    fn let_go(&mut self, id: ChunkId, len: u64) {
        self.add(id, -1);
        self.released.insert(id, len);
    }

    fn count(&self, id: &ChunkId) -> Result<i64> {
        Ok(self.store.references(id)? + self.counts.get(id).copied().unwrap_or(0))
    }

    fn page(&self, id: &ChunkId) -> Result<Node> {
        match self.contents.iter().find_map(|made| made.pages.get(id)) {
            Some(node) => Ok(node.clone()),
            None => self.store.page(id),
        }
    }

    fn commit(self, purpose: Option<Purpose>, then: impl FnOnce()) -> Result<Option<Lsn>> {
        let Self { store, writes, counts, released, tallies, tails, contents, relaxed, events, .. } = self;
        // What the same change counts again, as a write in the midst of a file does, is no garbage.
        let gone = released.iter().filter(|(id, _)| counts.get(id).is_some_and(|delta| *delta < 0));
        let gone: u64 = gone.map(|(_, len)| len).sum();
        let mut mutations: Vec<Mutation> = writes
            .into_iter()
            .map(|(key, value)| match value {
                Some(value) => Mutation::Put { key, value },
                None => Mutation::Delete { key },
            })
            .collect();
        mutations.extend(
            counts
                .into_iter()
                .filter(|(_, delta)| *delta != 0)
                .map(|(id, delta)| Mutation::Count { key: cell::chunk_key(&id).to_vec(), delta }),
        );
        mutations.extend(tallies.into_iter().map(|(key, delta)| Mutation::Count { key, delta }));
        mutations.extend(tails.into_iter().map(|(key, tail)| Mutation::SetTail { key, tail }));
        let blocks: Vec<PreparedBlock> = contents.iter().flat_map(|made| made.blocks.iter().cloned()).collect();
        if mutations.is_empty() && blocks.is_empty() {
            then();
            return Ok(None);
        }
        // The first commit of a session takes its number, whatever else it does.
        let begins = !store.session_begun.load(Ordering::Acquire);
        if begins {
            let (key, value) = (cell::KEY_SESSION.to_vec(), store.session.0.to_be_bytes().to_vec());
            mutations.push(Mutation::Put { key, value });
        }
        let batch = Batch(mutations);
        if events.len() > BATCH_EVENTS_MAX || events.iter().any(|event| event.len() > EVENT_LEN_MAX) {
            return Err(ContentError::TooLarge(
                "a change tells more of itself than one commit can hold; nothing was changed".to_owned(),
            ));
        }
        let encoded = Bytes::from(batch.encode_with(&events));
        if encoded.len() > COMMIT_BYTES_MAX {
            return Err(ContentError::TooLarge(format!(
                "a change of {} bytes is above the limit of {COMMIT_BYTES_MAX} for one commit; nothing was changed",
                encoded.len()
            )));
        }
        let added = batch.0.iter().map(|mutation| match mutation {
            Mutation::Put { key, value } => key.len() + value.len(),
            Mutation::Count { key, delta } if *delta > 0 => key.len(),
            _ => 0,
        });
        let added = added.sum();
        let purpose = match purpose {
            Some(purpose) => purpose,
            None if contents.iter().any(|made| made.promised) => Purpose::Promised,
            None if !blocks.is_empty() || (store.ledger.is_full() && store.grows(&batch.0)?) => Purpose::Data,
            None => Purpose::Removal,
        };
        // The ledger may have written it, and say so, before it is in the index.
        let committing = store.index.begin_commit();
        let lsn = store.append(blocks, Some(encoded.clone()), relaxed, purpose, added)?;
        store.recent.note(lsn, (!events.is_empty()).then_some(encoded));
        store.session_begun.fetch_or(begins, Ordering::AcqRel);
        contents.iter().for_each(|made| made.own());
        then();
        store.watchers.tell(&batch);
        store.index.apply_revocable(lsn, &batch, store.ledger.written());
        drop(committing);
        store.released.fetch_add(gone, Ordering::Relaxed);
        store.last_commit.store(lsn.0, Ordering::Release);
        Ok(Some(lsn))
    }
}

impl Store {
    /// Appends blocks that no commit refers to yet; `promised` says that room for them was.
    pub(crate) fn append_blocks(&self, blocks: Vec<PreparedBlock>, relaxed: bool, promised: bool) -> Result<()> {
        let _with_pending = self.appending.read();
        let purpose = if promised { Purpose::Promised } else { Purpose::Data };
        self.append(blocks, None, relaxed, purpose, 0).map(|_| ())
    }

    /// Appends a block of chunks that are being moved; also where only the room kept back is left.
    pub(crate) fn append_moved(&self, block: PreparedBlock) -> Result<Lsn> {
        let _with_pending = self.appending.read();
        self.append(vec![block], None, false, Purpose::Mover, 0)
    }

    /// Hands blocks and a commit to the ledger. Once it has taken them, and not before, the chunks are readable from
    /// memory until the ledger has placed them: nobody leaves content out for the sake of chunks that never reach a
    /// disk. `added` is what the commit adds to the index.
    fn append(
        &self,
        blocks: Vec<PreparedBlock>,
        commit: Option<Bytes>,
        relaxed: bool,
        purpose: Purpose,
        added: usize,
    ) -> Result<Lsn> {
        let (records, chunks): (Vec<_>, Vec<_>) =
            blocks.into_iter().map(|block| (block.record, (block.domain, block.chunks))).unzip();
        let pending = |(domain, chunks): (DedupDomain, Vec<(ChunkId, Bytes)>)| {
            chunks.into_iter().map(move |(id, bytes)| (id, (domain, bytes)))
        };
        if planted(Bug::ChunkKnownTooEarly) {
            self.pending.lock().chunks.extend(chunks.iter().cloned().flat_map(pending));
        }
        let append = Append { blocks: records, commit, relaxed };
        // Each chunk has a cell, which takes about twice what its entry there does.
        let placed = 2 * append.blocks.iter().map(|block| block.directory.len()).sum::<usize>();
        let lsn = self.ledger.append_for(append, purpose)?;
        self.note_changed((placed + added) as u64);
        if !chunks.is_empty() {
            let mut known = self.pending.lock();
            // The writer may have been quicker: then they are in the index already.
            if known.placed < lsn {
                known.chunks.extend(chunks.into_iter().flat_map(pending));
            }
        }
        Ok(lsn)
    }
}

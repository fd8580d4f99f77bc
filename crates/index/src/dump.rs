//! A consistent dump of the engine while drains go on.
//!
//! Right after a finished drain the engine is exactly the state at `applied`, and its fingerprint is known. A dump begins at
//! such a moment and walks the keys in order behind a cursor, a page at a time. A drain that then changes a key the cursor has
//! not reached keeps the key's old value in a map; a page is what the engine has, with that map over it. So neither stops the
//! other for longer than a page or a batch.
//!
//! Invariants: the pairs given out are those the engine held when the dump began, each once, in order; the map holds at most
//! [`PRESERVED_BYTES_MAX`] and one batch, since a drain that finds it full waits for the dump; a dump that is dropped lets
//! go of everything.

use std::collections::BTreeMap;

use strata_seam::{Lsn, Position};

use crate::engine::{EngineError, Pair};
use crate::error::IndexError;
use crate::index::Index;
use crate::mutation::{Cell, KEY_LEN_MAX};
use crate::stored::{STATUS_KEY, Stored};
use crate::sum::Sum;

/// Old values kept for a running dump, in bytes with overhead.
pub(crate) const PRESERVED_BYTES_MAX: usize = 32 << 20;
/// Counted per kept value beside key and value.
const PRESERVED_OVERHEAD: usize = 96;
/// Pairs per page: some milliseconds during which a drain waits.
const PAGE: usize = 2048;

/// Which state of the index some pairs are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Every change up to this number is in, and none above.
    pub applied: Lsn,
    /// From where a replay meets everything above it.
    pub position: Position,
    /// Fingerprint of the pairs ([`crate::Fingerprint`]).
    pub sum: u128,
}

/// The fingerprint of pairs put in one by one, in any order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fingerprint(Sum);

impl Fingerprint {
    /// Of the pairs of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0.and(other.0))
    }

    /// With this pair put in.
    pub fn add(&mut self, (key, value): &Pair) {
        self.0 = self.0.with(key, value);
    }

    /// The number to compare with [`Stamp::sum`].
    #[must_use]
    pub fn sum(self) -> u128 {
        self.0.0
    }
}

/// What a drain keeps for the dump that runs beside it.
#[derive(Debug, Default)]
pub(crate) struct Preserving {
    /// Everything before this was given out or skipped.
    next: Vec<u8>,
    preserved: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Preserving {
    /// Keeps what `key` was before it is changed, unless the dump has passed it or it was changed before.
    pub(crate) fn keep(&mut self, key: &[u8], known: Option<&Vec<u8>>) {
        if key >= &self.next[..] && !self.preserved.contains_key(key) {
            self.bytes += PRESERVED_OVERHEAD + key.len() + known.map_or(0, Vec::len);
            self.preserved.insert(key.to_vec(), known.cloned());
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= PRESERVED_BYTES_MAX
    }

    /// Takes what was kept for keys before `next`, where the dump goes on.
    fn pass(&mut self, next: &[u8]) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let later = self.preserved.split_off(next);
        let passed = std::mem::replace(&mut self.preserved, later);
        let gone = passed.iter();
        self.bytes -=
            gone.map(|(key, value)| PRESERVED_OVERHEAD + key.len() + value.as_ref().map_or(0, Vec::len)).sum::<usize>();
        self.next = next.to_vec();
        passed
    }
}

/// A dump under way; see the module.
pub struct Dump<'a> {
    index: &'a Index,
    stamp: Stamp,
    moment: Moment,
    /// The least key that was not given out or skipped yet.
    from: Vec<u8>,
}

/// When a dump was begun, among the changes of the engine in one opening of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(u64);

impl Index {
    /// Begins a dump if the engine is exactly the state at some number right now: call [`Index::drain_step`] and ask again
    /// if it is not, or was never filled. One dump at a time: a second one gets `None`.
    #[must_use]
    pub fn begin_dump(&self) -> Option<Dump<'_>> {
        let mut state = self.drain.lock();
        let status = *self.status.lock();
        let (applied, position) = status.applied?;
        if status.draining.is_some() || state.has_dead() || state.dump.is_some() {
            return None;
        }
        state.dump = Some(Preserving::default());
        let moment = Moment(self.engine.writes());
        Some(Dump { index: self, stamp: Stamp { applied, position, sum: status.sum.0 }, moment, from: vec![1] })
    }
}

impl Dump<'_> {
    /// Which state the pairs are.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// When it was begun.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// Goes on behind all keys below `to`, if a dump of this opening that was begun at `since` gave out the same pairs there as
    /// this one would; says whether. Costs nothing that grows with them.
    pub fn skip(&mut self, to: &[u8], since: Moment) -> bool {
        let mut state = self.index.drain.lock();
        let skips = self.index.engine.is_unchanged(&self.from, to, since.0);
        if skips && let Some(preserving) = state.dump.as_mut() {
            drop(preserving.pass(to));
            self.from = to.to_vec();
        }
        skips
    }

    /// The next pairs in order of key, as the engine has them (tagged); none once everything was given out.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn next_page(&mut self) -> Result<Vec<Pair>, IndexError> {
        self.next_page_below(&[0xff; KEY_LEN_MAX + 1])
    }

    /// As [`Dump::next_page`], of the keys below `end`; none once all of those were given out.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn next_page_below(&mut self, end: &[u8]) -> Result<Vec<Pair>, IndexError> {
        // A page may come out empty where everything in it was added since.
        while &self.from[..] < end {
            let mut state = self.index.drain.lock();
            let pairs = self.index.engine.range(&self.from, end, PAGE);
            let pairs = pairs.map_err(|error| self.index.engine_failed(error))?;
            let Some(preserving) = state.dump.as_mut() else {
                let gone = EngineError::Damaged("a dump that was ended goes on".into());
                return Err(IndexError::Engine(gone));
            };
            self.from = match pairs.last() {
                Some((last, _)) if pairs.len() == PAGE => [&last[..], &[0]].concat(),
                _ => end.to_vec(),
            };
            let kept = preserving.pass(&self.from);
            drop(state);
            let merged = merge(pairs, kept);
            if !merged.is_empty() {
                return Ok(merged);
            }
        }
        Ok(Vec::new())
    }
}

/// What the engine has now, with what it had over it.
fn merge(pairs: Vec<Pair>, mut kept: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Vec<Pair> {
    if kept.is_empty() {
        return pairs;
    }
    for (key, value) in pairs {
        debug_assert_ne!(key, STATUS_KEY, "the record about the engine lies before the first key");
        kept.entry(key).or_insert(Some(value));
    }
    kept.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect()
}

impl Drop for Dump<'_> {
    fn drop(&mut self) {
        self.index.drain.lock().dump = None;
    }
}

/// The cell in a tagged value as a dump gives it; `None` for other values.
#[must_use]
pub fn engine_cell(value: &[u8]) -> Option<Cell> {
    match Stored::decode(Some(value.to_vec())) {
        Ok(Stored::Cell { cell, .. }) => Some(cell),
        _ => None,
    }
}

impl Index {
    /// A hash of everything a reader sees, key by key: two indexes that hold the same have the same, however their engines
    /// came to it. Reads all of it; the caller sees to it that nothing changes meanwhile.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn meaning(&self) -> Result<[u8; 32], IndexError> {
        let mut hasher = blake3::Hasher::new();
        let end = [0xff; KEY_LEN_MAX + 1];
        let mut from = vec![1];
        loop {
            let page = self.range(&from, &end, PAGE)?;
            for (key, entry) in &page {
                hasher.update(&(key.len() as u64).to_le_bytes()).update(key);
                hasher.update(&(entry.value.len() as u64).to_le_bytes()).update(&entry.value);
            }
            match page.into_iter().next_back() {
                Some((last, _)) => from = [&last[..], &[0]].concat(),
                None => return Ok(*hasher.finalize().as_bytes()),
            }
        }
    }
}

#[cfg(test)]
mod tests;

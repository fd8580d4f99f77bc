//! The overlay: what was changed since the engine's state, by key, in one or two generations.
//!
//! A generation is an interval of sequence numbers. *Active* takes new changes and has no upper end yet; *frozen* has its
//! bound fixed and waits for its last late changes and then for being drained. An entry knows the highest number that touched
//! it, which is what tells a cell in the engine that already includes it from one that does not (`docs/format/index.md`).

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use strata_seam::{Lsn, Position};

use crate::mutation::{Cell, Mutation};
use crate::stored::Stored;
use crate::undo::Undo;

/// Counted per entry beside its key and value: the map's node, the entry, and three allocations.
const ENTRY_OVERHEAD: usize = 176;

/// All changes of one key within a generation.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Highest sequence number among them.
    pub(crate) lsn: Lsn,
    /// The last `Put` (`Some`) or `Delete` (`None`), which hides everything below and before.
    base: Option<(Lsn, Option<Box<[u8]>>)>,
    /// Whether a `Count` or `SetTail` came after it.
    cell: bool,
    /// Sum of the `Count`s after it.
    delta: i64,
    /// The `SetTail` with the highest number after it.
    tail: Option<(Lsn, Box<[u8]>)>,
}

impl Change {
    fn new() -> Self {
        Self { lsn: Lsn(0), base: None, cell: false, delta: 0, tail: None }
    }

    fn value_len(&self) -> usize {
        let base = self.base.as_ref().and_then(|(_, value)| value.as_ref()).map_or(0, |value| value.len());
        base + self.tail.as_ref().map_or(0, |(_, tail)| tail.len())
    }

    /// Whether it needs nothing from below.
    pub(crate) fn is_absolute(&self) -> bool {
        self.base.is_some()
    }

    fn hidden_by_base(&self, lsn: Lsn) -> bool {
        self.base.as_ref().is_some_and(|(base, _)| *base > lsn)
    }

    fn set(&mut self, lsn: Lsn, value: Option<&[u8]>) {
        if self.hidden_by_base(lsn) {
            return;
        }
        self.base = Some((lsn, value.map(Box::from)));
        self.delta = 0;
        // Only tails come late: one with a higher number stays over a value that arrives after it.
        self.tail.take_if(|(tail, _)| *tail <= lsn);
        self.cell = self.tail.is_some();
    }

    fn count(&mut self, lsn: Lsn, delta: i64) {
        if !self.hidden_by_base(lsn) {
            self.cell = true;
            self.delta = self.delta.wrapping_add(delta);
        }
    }

    fn set_tail(&mut self, lsn: Lsn, tail: &[u8]) {
        if !self.hidden_by_base(lsn) && self.tail.as_ref().is_none_or(|(known, _)| *known <= lsn) {
            self.cell = true;
            self.tail = Some((lsn, tail.into()));
        }
    }

    fn make(&mut self, lsn: Lsn, mutation: &Mutation) {
        self.lsn = self.lsn.max(lsn);
        match mutation {
            Mutation::Put { value, .. } => self.set(lsn, Some(value)),
            Mutation::Delete { .. } => self.set(lsn, None),
            Mutation::Count { delta, .. } => self.count(lsn, *delta),
            Mutation::SetTail { tail, .. } => self.set_tail(lsn, tail),
        }
    }

    /// What the key is once these changes are made to `below`. A cell that includes them already stays as it is.
    pub(crate) fn over(&self, below: Stored) -> Stored {
        let start = match &self.base {
            Some((_, Some(value))) => Stored::Plain(value.to_vec()),
            Some((_, None)) => Stored::Absent,
            None => match below {
                Stored::Cell { through, .. } if through >= self.lsn => return below,
                below => below,
            },
        };
        if !self.cell {
            return start;
        }
        let Cell { count, tail } = start.into_cell();
        let tail = self.tail.as_ref().map_or(tail, |(_, tail)| tail.to_vec());
        Stored::Cell { through: self.lsn, cell: Cell { count: count.wrapping_add(self.delta), tail } }
    }
}

/// The changes of an interval of sequence numbers, in order of key.
#[derive(Debug, Default)]
pub(crate) struct Generation {
    changes: BTreeMap<Box<[u8]>, Change>,
    bytes: usize,
}

impl Generation {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Estimate of the memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Change> {
        self.changes.get(key)
    }

    pub(crate) fn make(&mut self, lsn: Lsn, mutation: &Mutation) {
        let key = mutation.key();
        if let Some(change) = self.changes.get_mut(key) {
            self.bytes -= change.value_len();
            change.make(lsn, mutation);
            self.bytes += change.value_len();
        } else {
            let mut change = Change::new();
            change.make(lsn, mutation);
            self.bytes += ENTRY_OVERHEAD + key.len() + change.value_len();
            self.changes.insert(key.into(), change);
        }
    }

    /// The changes with `lo <= key < hi`, in order of key.
    pub(crate) fn range(&self, lo: &[u8], hi: &[u8]) -> impl DoubleEndedIterator<Item = (&[u8], &Change)> + use<'_> {
        // The map panics on a range whose ends are the wrong way round.
        let hi = hi.max(lo);
        self.changes.range::<[u8], _>((Included(lo), Excluded(hi))).map(|(key, change)| (&**key, change))
    }

    /// Up to `limit` changes behind `cursor`, copied.
    pub(crate) fn batch_behind(&self, cursor: &[u8], limit: usize) -> Vec<(Vec<u8>, Change)> {
        self.changes
            .range::<[u8], _>((Excluded(cursor), std::ops::Bound::Unbounded))
            .take(limit)
            .map(|(key, change)| (key.to_vec(), change.clone()))
            .collect()
    }
}

/// A generation with its upper end fixed.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) changes: Generation,
    /// Its highest sequence number: all of `(engine's applied, bound]` is here or in the engine.
    pub(crate) bound: Lsn,
    /// The furthest place noted from which a replay meets everything above `bound`.
    pub(crate) replay_from: Option<Position>,
    /// Key up to which it is in the engine; `None` before the first batch. From then on it takes no more changes.
    pub(crate) drained_to: Option<Vec<u8>>,
}

/// Everything behind the index's lock.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) active: Generation,
    pub(crate) frozen: Option<Frozen>,
    /// Highest sequence number applied.
    pub(crate) highest: Lsn,
    /// Changes up to here are complete in the engine, or complete in the frozen generation and being drained: repeated by
    /// a replay, they are passed over.
    pub(crate) floor: Lsn,
    /// The furthest place below which everything was applied.
    pub(crate) noted: Option<Position>,
    /// What keys were before changes that are not durable yet.
    pub(crate) undo: Undo,
    /// Counts the calls of apply that changed something.
    pub(crate) applies: u64,
    /// Counts the generations dropped because the engine has them: what was read from the engine before must be read again.
    pub(crate) finished: u64,
}

impl Overlay {
    pub(crate) fn bytes(&self) -> usize {
        self.active.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.changes.bytes())
    }

    /// The changes of one key, upper first; with `upto` those up to this number.
    pub(crate) fn changes(&self, key: &[u8], upto: Option<Lsn>) -> [Option<&Change>; 2] {
        let active = self.active.get(key);
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.changes.get(key));
        self.below(key, upto, [active, frozen])
    }

    /// What the changes of a key, upper first, were when `upto` was the last one.
    pub(crate) fn below<'a>(
        &'a self,
        key: &[u8],
        upto: Option<Lsn>,
        [active, frozen]: [Option<&'a Change>; 2],
    ) -> [Option<&'a Change>; 2] {
        let Some(upto) = upto else { return [active, frozen] };
        let bound = self.frozen.as_ref().map_or(Lsn(0), |frozen| frozen.bound);
        [self.undo.below(key, upto, (false, bound), active), self.undo.below(key, upto, (true, bound), frozen)]
    }

    pub(crate) fn note(&mut self, position: Position) {
        if self.noted.is_none_or(|noted| noted.next_lsn <= position.next_lsn) {
            self.noted = Some(position);
        }
        if let Some(frozen) = &mut self.frozen
            && position.next_lsn <= frozen.bound.next()
            && frozen.replay_from.is_none_or(|known| known.next_lsn <= position.next_lsn)
        {
            frozen.replay_from = Some(position);
        }
    }

    /// Everything below this number was applied.
    pub(crate) fn written(&self) -> Lsn {
        self.noted.map_or(Lsn(0), |noted| Lsn(noted.next_lsn.0.saturating_sub(1)))
    }

    /// Fixes the bound of the active generation and starts a new one. Only without a frozen one, and once a place to
    /// replay from is known.
    pub(crate) fn freeze(&mut self) -> bool {
        if self.frozen.is_some() || self.active.is_empty() || self.noted.is_none() {
            return false;
        }
        // What was noted may reach further than what changed something: those numbers are complete as well.
        let bound = self.highest.max(self.written());
        self.frozen = Some(Frozen {
            changes: std::mem::take(&mut self.active),
            bound,
            replay_from: self.noted,
            drained_to: None,
        });
        true
    }
}

/// A key's value with the overlay's changes (upper first) made to what the engine has, and the highest number among them.
pub(crate) fn resolve(changes: [Option<&Change>; 2], engine: Stored) -> (Stored, Lsn) {
    let lsn = changes.iter().flatten().map(|change| change.lsn).max().unwrap_or_default();
    let stored = changes.into_iter().rev().flatten().fold(engine, |below, change| change.over(below));
    (stored, lsn)
}

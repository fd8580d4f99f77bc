//! What the tests of this crate share: an engine that loses its last batches in a crash, a ledger in memory, and the model.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_seam::{Lsn, Position, SegmentId, SetId};

use crate::engine::{EngineError, OrderedKv, Pair, Write};
use crate::memory::MemoryEngine;
use crate::{Batch, Cell, Drained, EngineKind, Index, IndexOptions, Mutation};

/// What a reader may see, by key.
pub(crate) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// An engine like Sled in a crash: it comes back as it was after some earlier batch, never torn.
#[derive(Default)]
pub(crate) struct CrashEngine {
    now: MemoryEngine,
    batches: Mutex<Vec<Vec<Write>>>,
}

impl CrashEngine {
    /// The engine after a crash that took its last `lost` batches.
    pub(crate) fn crashed(&self, lost: usize) -> Arc<Self> {
        let after = Self::default();
        let batches = self.batches.lock();
        for batch in &batches[..batches.len().saturating_sub(lost)] {
            after.write(batch.clone()).unwrap();
        }
        Arc::new(after)
    }
}

impl OrderedKv for CrashEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.now.get(key)
    }
    fn range(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        self.now.range(lo, hi, limit)
    }
    fn range_back(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        self.now.range_back(lo, hi, limit)
    }
    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError> {
        self.batches.lock().push(writes.clone());
        self.now.write(writes)
    }
    fn flush(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

pub(crate) fn options(drain_keys: usize) -> IndexOptions {
    IndexOptions { drain_keys, engine: Some(engine()), ..IndexOptions::new(SetId([7; 16])) }
}

/// The engine that tests on real folders run over: the one that the variable `STRATA_INDEX_ENGINE` names, else Sled.
pub(crate) fn engine() -> EngineKind {
    std::env::var("STRATA_INDEX_ENGINE").map_or(EngineKind::Sled, |word| word.parse().expect("an engine of the index"))
}

pub(crate) fn position(next_lsn: u64) -> Position {
    Position { segment: SegmentId(1), offset: next_lsn * 4096, next_lsn: Lsn(next_lsn) }
}

/// An append: its commit, and the tails that are known only once it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) commit: Batch,
    pub(crate) tails: Batch,
}

/// The truth: appends with numbers from 1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(pub(crate) Vec<Record>);

impl Ledger {
    pub(crate) fn last(&self) -> Lsn {
        Lsn(self.0.len() as u64)
    }

    /// What readers must see once all commits and the tails of the first `tails` appends were applied: everything in the order
    /// of numbers.
    pub(crate) fn model(&self, tails: usize) -> Model {
        let mut model = Model::new();
        for (at, record) in self.0.iter().enumerate() {
            make(&mut model, &record.commit);
            if at < tails {
                make(&mut model, &record.tails);
            }
        }
        model
    }

    /// Replays into an index as a restart does, from where it says; noting the way if `note_each`, else the end.
    pub(crate) fn replay(&self, index: &Index, note_each: bool) {
        let from = index.applied().map_or(1, |(_, position)| position.next_lsn.0);
        for (lsn, record) in (1..).zip(&self.0).filter(|(lsn, _)| *lsn >= from) {
            index.apply(Lsn(lsn), &record.commit);
            index.apply(Lsn(lsn), &record.tails);
            if note_each {
                index.note_written(position(lsn + 1));
            }
        }
        index.note_written(position(self.last().next().0));
    }
}

fn make(model: &mut Model, batch: &Batch) {
    for mutation in &batch.0 {
        let key = mutation.key().to_vec();
        let mut cell = model.get(&key).map_or(Cell::default(), |value| Cell::from_value(value));
        let value = match mutation {
            Mutation::Put { value, .. } => Some(value.clone()),
            Mutation::Delete { .. } => None,
            Mutation::Count { delta, .. } => {
                cell.count = cell.count.wrapping_add(*delta);
                cell.to_value()
            }
            Mutation::SetTail { tail, .. } => {
                cell.tail.clone_from(tail);
                cell.to_value()
            }
        };
        match value {
            Some(value) => model.insert(key, value),
            None => model.remove(&key),
        };
    }
}

/// Every read of the index gives what the model has.
pub(crate) fn check(index: &Index, model: &Model) {
    let all: Vec<_> = model.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let read = |page: crate::Page| page.entries.into_iter().map(|(key, entry)| (key, entry.value)).collect::<Vec<_>>();
    let (lo, hi) = (&[1][..], &[0xff][..]);
    assert_eq!(read(index.scan(lo, hi, usize::MAX).unwrap()), all);
    for limit in [1, 3] {
        assert_eq!(read(index.scan(lo, hi, limit).unwrap()), all[..limit.min(all.len())]);
        let back: Vec<_> = all.iter().rev().take(limit).cloned().collect();
        assert_eq!(read(index.scan_back(lo, hi, limit).unwrap()), back);
    }
    // Those that are there, each with one behind it that is not, all over the place and some twice.
    let behind = |key: &Vec<u8>| [&key[..], &[0]].concat();
    let mut keys: Vec<Vec<u8>> = model.keys().flat_map(|key| [key.clone(), behind(key)]).collect();
    keys.sort_unstable_by_key(|key| key.iter().rev().copied().collect::<Vec<_>>());
    keys.extend(keys.first().cloned());
    let found = index.lookup_many_below(&keys, None).unwrap();
    for (key, found) in keys.iter().zip(&found) {
        assert_eq!(found.value.as_ref(), model.get(key));
        assert_eq!(*found, index.lookup(key).unwrap());
    }
    for key in (b'a'..=b'l').map(|name| vec![name]) {
        assert_eq!(index.get(&key).unwrap().map(|entry| entry.value).as_ref(), model.get(&key));
        let below = model.range(..key.clone()).next_back().map(|(key, _)| key.clone());
        assert_eq!(index.last_below(&key, &[]).unwrap().map(|(key, _)| key), below);
    }
}

/// Drains until nothing is left to do.
pub(crate) fn drain_all(index: &Index, durable: Lsn) {
    index.freeze();
    while matches!(index.drain_step(0, durable).unwrap(), Drained::Batch { .. } | Drained::Done { .. }) {}
}

//! What keys were before changes that are not written yet, so that a reader can be shown the state below them.
//!
//! A change is visible as soon as it has its number, and whoever must not be told what a crash takes back waits for it. While
//! nothing can be written such a wait has no end: readers are then shown the last state that is written ([`Index::lookup_below`]).
//!
//! Which generation a change went into follows from its number alone: all up to the frozen one's bound are in that one or in
//! the engine, and the engine gets none that is not durable.
//!
//! [`Index::lookup_below`]: crate::Index::lookup_below

use std::collections::{HashMap, VecDeque};
use std::sync::OnceLock;

use strata_seam::Lsn;

use crate::overlay::Change;

/// What a key was before a change.
#[derive(Debug)]
struct Before {
    lsn: Lsn,
    key: Box<[u8]>,
    /// All changes of the key in its generation before that one.
    change: Option<Change>,
}

/// See the module. Bounded by what the ledger's queue holds. Every commit notes, and hardly anybody ever asks: so a note is
/// put down where it falls, and only who asks pays for finding it by its key.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    /// In order of number.
    notes: VecDeque<Before>,
    /// By key, the places of its notes; of those of now, if it is there.
    by_key: OnceLock<HashMap<Box<[u8]>, Vec<usize>>>,
}

impl Undo {
    /// Notes what a key was before change `lsn`.
    pub(crate) fn note(&mut self, lsn: Lsn, key: &[u8], change: Option<Change>) {
        self.by_key.take();
        self.notes.push_back(Before { lsn, key: key.into(), change });
    }

    /// Forgets what nobody will be shown any more: changes up to `settled`.
    pub(crate) fn forget(&mut self, settled: Lsn) {
        while self.notes.front().is_some_and(|before| before.lsn <= settled) {
            self.by_key.take();
            self.notes.pop_front();
        }
    }

    /// A key's changes within a generation as they were up to `upto`: of the frozen one with bound `bound` (`frozen`), or of
    /// the one above it. `now` is what they are by now.
    pub(crate) fn below<'a>(
        &'a self,
        key: &[u8],
        upto: Lsn,
        (frozen, bound): (bool, Lsn),
        now: Option<&'a Change>,
    ) -> Option<&'a Change> {
        let by_key = self.by_key.get_or_init(|| {
            let mut by_key: HashMap<Box<[u8]>, Vec<usize>> = HashMap::new();
            for (at, before) in self.notes.iter().enumerate() {
                by_key.entry(before.key.clone()).or_default().push(at);
            }
            by_key
        });
        let of_key = by_key.get(key).into_iter().flatten().map(|at| &self.notes[*at]);
        let mut later = of_key.filter(|before| before.lsn > upto && (before.lsn <= bound) == frozen);
        match later.next() {
            Some(before) => before.change.as_ref(),
            None => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use strata_seam::sim::SimRng;
    use strata_seam::{Lsn, SetId};

    use crate::testing::position;
    use crate::{Batch, Cell, Index, IndexOptions};

    /// Random changes, some of them durable, with generations frozen and drained in between: at every moment the state below
    /// any change that is not durable can be read, key by key and by scans of any size.
    #[test]
    fn the_state_below_any_change_that_is_not_durable_can_be_read() {
        for seed in 0..60 {
            let mut rng = SimRng::new(seed);
            let index = Index::in_memory();
            let mut states = vec![BTreeMap::<Vec<u8>, Vec<u8>>::new()];
            let mut durable = 0;
            for lsn in 1..80_u64 {
                let mut batch = Batch::default();
                let mut next = states[lsn as usize - 1].clone();
                for _ in 0..1 + rng.below(4) {
                    let key = vec![b'k', rng.below(12) as u8];
                    if rng.one_in(3) {
                        batch.delete(key.clone());
                        next.remove(&key);
                    } else {
                        let value = lsn.to_le_bytes().to_vec();
                        batch.put(key.clone(), value.clone());
                        next.insert(key, value);
                    }
                }
                states.push(next);
                index.apply_revocable(Lsn(lsn), &batch, Lsn(durable));
                index.note_written(position(lsn + 1));
                if rng.one_in(4) {
                    durable = durable.max(lsn.saturating_sub(rng.below(12)));
                }
                if rng.one_in(6) {
                    index.freeze();
                }
                if rng.one_in(2) {
                    index.drain_frozen(Lsn(durable)).unwrap();
                }
                for upto in durable..=lsn {
                    let expected = &states[upto as usize];
                    for key in 0..12 {
                        let found = index.lookup_below(&[b'k', key], Some(Lsn(upto))).unwrap();
                        assert_eq!(
                            found.value.as_ref(),
                            expected.get(&vec![b'k', key]),
                            "seed {seed}, {upto} of {lsn}"
                        );
                        assert!(found.lsn <= Lsn(upto));
                    }
                    let limit = 1 + rng.below(14) as usize;
                    let page = index.scan_below(b"k", b"l", limit, Some(Lsn(upto))).unwrap();
                    let found: Vec<_> = page.entries.into_iter().map(|(key, entry)| (key, entry.value)).collect();
                    let expected: Vec<_> = expected.clone().into_iter().take(limit).collect();
                    assert_eq!(found, expected, "seed {seed}, {upto} of {lsn}");
                }
            }
        }
    }

    #[test]
    fn a_cell_of_a_table_that_is_shown_reads_below_a_change_as_it_was_and_others_as_they_are() {
        let options = IndexOptions { cells_shown: b"k", ..IndexOptions::new(SetId([0; 16])) };
        let index = Index::in_memory_with(options);
        for lsn in 1..=3_u64 {
            let mut batch = Batch::default();
            for key in [b"k", b"m"] {
                batch.count(key.to_vec(), 1);
                batch.set_tail(key.to_vec(), vec![lsn as u8]);
            }
            index.apply_revocable(Lsn(lsn), &batch, Lsn(0));
        }
        let cell = |key: &[u8], upto| {
            let found = index.lookup_below(key, Some(Lsn(upto))).unwrap();
            found.value.map(|value| Cell::from_value(&value)).map(|cell| (cell.count, cell.tail))
        };
        assert_eq!(cell(b"k", 0), None);
        assert_eq!(cell(b"k", 1), Some((1, vec![1])));
        assert_eq!(cell(b"k", 3), Some((3, vec![3])));
        assert_eq!(cell(b"m", 1), Some((3, vec![3])));
    }
}

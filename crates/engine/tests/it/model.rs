//! Random changes against a model in memory, through checkpoints and openings that have nothing but the log: what the engine shows is what
//! the changes add up to, and stays so (invariants PREFIX and TRUTH).

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use strata_engine::{Cell, Change, Embedded, Engine, KEY_SESSION, Restored, TABLE_CHUNK, Taken, chunk_key};
use strata_index::Index;
use strata_ledger::Peek;
use strata_seam::ChunkId;

use super::{commit, create, disks, open, open_over, options};

/// What is done to a row or a cell.
#[derive(Clone, Debug)]
enum Deed {
    Put(u8, Vec<u8>),
    Delete(u8),
    Refer(u8, i64),
    Tally(u8, i64),
    Tail(u8, Vec<u8>),
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Deed>),
    /// Opened anew, from the log alone.
    Reopen,
    /// A checkpoint, and opened anew from that.
    Checkpoint,
}

fn deed() -> impl Strategy<Value = Deed> {
    let value = proptest::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        (0..6_u8, value.clone()).prop_map(|(key, value)| Deed::Put(key, value)),
        (0..6_u8).prop_map(Deed::Delete),
        (0..3_u8, -2..3_i64).prop_map(|(chunk, delta)| Deed::Refer(chunk, delta)),
        (0..3_u8, -2..3_i64).prop_map(|(key, delta)| Deed::Tally(key, delta)),
        (0..3_u8, value).prop_map(|(key, tail)| Deed::Tail(key, tail)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => proptest::collection::vec(deed(), 1..8).prop_map(Step::Commit),
        1 => Just(Step::Reopen),
        1 => Just(Step::Checkpoint),
    ]
}

fn row(key: u8) -> Vec<u8> {
    vec![b'r', key]
}

fn cell(key: u8) -> Vec<u8> {
    vec![b't', key]
}

fn chunk(id: u8) -> ChunkId {
    ChunkId([id; 32])
}

/// The rows as they have to be. Cells have keys of their own.
#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, Vec<u8>>);

impl Model {
    fn cell(&mut self, key: Vec<u8>, change: impl FnOnce(&mut Cell)) {
        let mut cell = self.0.get(&key).map(|value| Cell::from_value(value)).unwrap_or_default();
        change(&mut cell);
        match cell.to_value() {
            Some(value) => self.0.insert(key, value),
            None => self.0.remove(&key),
        };
    }

    fn make(&mut self, change: &Change) {
        for (key, value) in &change.rows {
            match value {
                Some(value) => self.0.insert(key.clone(), value.clone()),
                None => self.0.remove(key),
            };
        }
        for (id, delta) in &change.refs {
            self.cell(chunk_key(id).to_vec(), |cell| cell.count += delta);
        }
        for (key, delta) in &change.tallies {
            self.cell(key.clone(), |cell| cell.count += delta);
        }
        for (key, tail) in &change.tails {
            self.cell(key.clone(), |cell| cell.tail.clone_from(tail));
        }
    }
}

fn change_of(deeds: Vec<Deed>) -> Change {
    let mut change = Change::new(false);
    for deed in deeds {
        match deed {
            Deed::Put(key, value) => drop(change.rows.insert(row(key), Some(value))),
            Deed::Delete(key) => drop(change.rows.insert(row(key), None)),
            Deed::Refer(id, delta) => *change.refs.entry(chunk(id)).or_default() += delta,
            Deed::Tally(key, delta) => *change.tallies.entry(cell(key)).or_default() += delta,
            Deed::Tail(key, tail) => drop(change.tails.insert(cell(key), tail)),
        }
    }
    change
}

/// Everything the engine shows but the number of the session.
fn shown(engine: &Embedded) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let all = engine.scan(&[1], &[0xff], usize::MAX, None).unwrap().entries;
    let all: BTreeMap<_, _> = all.into_iter().map(|(key, entry)| (key, entry.value)).collect();
    for (key, value) in &all {
        let row = engine.get(key, None).unwrap();
        assert_eq!(row.value.as_ref(), Some(value), "a scan and a look-up show the same");
    }
    all.into_iter().filter(|(key, _)| key != KEY_SESSION).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_shown_is_what_the_changes_add_up_to(steps in proptest::collection::vec(step(), 1..40)) {
        let (world, mut engine) = create();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Commit(deeds) => {
                    let change = change_of(deeds);
                    model.make(&change);
                    if !change.is_empty() {
                        commit(&engine, change);
                    }
                }
                Step::Reopen => {
                    engine.sync().unwrap();
                    drop(engine);
                    engine = open(&world);
                }
                Step::Checkpoint => {
                    engine.sync().unwrap();
                    let taken = engine.take_checkpoint(&BTreeSet::new(), &mut |_| true).unwrap();
                    drop(engine);
                    engine = match taken {
                        Taken::Done(_) => {
                            let (peek, index) = (Peek::new(&disks(&world), &options()).unwrap(), Index::in_memory());
                            let found = Restored::find(&peek).unwrap().expect("it was just taken");
                            let records = found.fill(&index).unwrap();
                            prop_assert_eq!(records, found.checkpoint().pairs());
                            open_over(&world, index)
                        }
                        Taken::Empty | Taken::Stopped => open(&world),
                    };
                }
            }
            prop_assert_eq!(&shown(&engine), &model.0);
        }
        let counts = engine.scan(&[TABLE_CHUNK], &[TABLE_CHUNK + 1], 10, None).unwrap().entries.len();
        prop_assert_eq!(counts, model.0.keys().filter(|key| key[0] == TABLE_CHUNK).count());
    }
}

//! The index against a model: whatever is applied, frozen, drained and lost in a crash, readers see what the ledger says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use strata_seam::Lsn;

use super::*;
use crate::testing::{CrashEngine, Ledger, Record, check, drain_all, options, position};
use crate::{Batch, Cell, IndexOptions, MemoryEngine, Mutation, OrderedKv};

#[derive(Clone, Debug)]
enum Step {
    Commit(Record),
    /// The late tails of so many appends are applied; then the way is noted, if `note`.
    Written {
        appends: usize,
        note: bool,
    },
    Durable,
    Freeze,
    Drain(usize),
    /// The engine loses so many batches, the ledger what was not durable.
    Crash {
        lost: usize,
        note_each: bool,
    },
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    (b'a'..=b'l').prop_map(|name| vec![name])
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(vec![]), proptest::collection::vec(any::<u8>(), 0..12)]
}

fn any_record() -> impl Strategy<Value = Record> {
    let put = (any_key(), any_bytes()).prop_map(|(key, value)| Mutation::Put { key, value });
    let delete = any_key().prop_map(|key| Mutation::Delete { key });
    let count = (any_key(), -2_i64..3).prop_map(|(key, delta)| Mutation::Count { key, delta });
    let tail = || (any_key(), any_bytes()).prop_map(|(key, tail)| Mutation::SetTail { key, tail });
    let commit = proptest::collection::vec(prop_oneof![2 => put, 1 => delete, 4 => count, 1 => tail()], 0..5);
    let tails = proptest::collection::vec(tail(), 0..3);
    (commit, tails).prop_map(|(commit, tails)| Record { commit: Batch(commit), tails: Batch(tails) })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any_record().prop_map(Step::Commit),
        4 => (0_usize..6, any::<bool>()).prop_map(|(appends, note)| Step::Written { appends, note }),
        3 => Just(Step::Durable),
        3 => Just(Step::Freeze),
        6 => (1_usize..8).prop_map(Step::Drain),
        1 => (0_usize..6, any::<bool>()).prop_map(|(lost, note_each)| Step::Crash { lost, note_each }),
    ]
}

fn reopen(engine: &Arc<CrashEngine>) -> (Arc<CrashEngine>, Index) {
    match Index::with_engine(engine.clone(), options(2)) {
        Ok(index) => (engine.clone(), index),
        // Left in its very first drain.
        Err(_) => {
            let engine = Arc::new(CrashEngine::default());
            (engine.clone(), Index::with_engine(engine, options(2)).unwrap())
        }
    }
}

fn run(steps: Vec<Step>) {
    let mut ledger = Ledger::default();
    let (mut written, mut durable) = (0, 0);
    let (mut engine, mut index) = reopen(&Arc::default());
    for step in steps {
        match step {
            Step::Commit(record) => {
                ledger.0.push(record.clone());
                index.apply(ledger.last(), &record.commit);
            }
            Step::Written { appends, note } => {
                for record in ledger.0.iter().skip(written).take(appends) {
                    written += 1;
                    index.apply(Lsn(written as u64), &record.tails);
                }
                if note {
                    index.note_written(position(written as u64 + 1));
                }
            }
            Step::Durable => durable = written,
            Step::Freeze => {
                index.freeze();
            }
            Step::Drain(steps) => {
                for _ in 0..steps {
                    index.drain_step(0, Lsn(durable as u64)).unwrap();
                }
            }
            Step::Crash { lost, note_each } => {
                ledger.0.truncate(durable);
                written = durable;
                (engine, index) = reopen(&engine.crashed(lost));
                assert!(index.engine_reach() <= ledger.last());
                ledger.replay(&index, note_each);
            }
        }
        check(&index, &ledger.model(written));
    }
    // Whatever it was left in, it can be drained to the end and is then whole in the engine.
    for record in ledger.0.iter().skip(written) {
        written += 1;
        index.apply(Lsn(written as u64), &record.tails);
    }
    index.note_written(position(written as u64 + 1));
    drain_all(&index, ledger.last());
    drain_all(&index, ledger.last());
    assert_eq!(index.overlay_bytes(), 0);
    let (_, index) = reopen(&engine);
    check(&index, &ledger.model(written));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn readers_see_what_the_ledger_says_through_freezes_drains_and_crashes(
        steps in proptest::collection::vec(any_step(), 0..80),
    ) {
        run(steps);
    }
}

fn record(commit: &[Mutation], tails: &[Mutation]) -> Record {
    Record { commit: Batch(commit.to_vec()), tails: Batch(tails.to_vec()) }
}

fn count(key: &str, delta: i64) -> Mutation {
    Mutation::Count { key: key.into(), delta }
}

fn tail(key: &str, tail: &str) -> Mutation {
    Mutation::SetTail { key: key.into(), tail: tail.into() }
}

/// A ledger whose second half changes everything the first half made: cells that go on, come to nothing, come back.
fn two_halves() -> Ledger {
    let keys = || ('a'..='h').map(|name| name.to_string());
    let first = keys().map(|key| record(&[count(&key, 2)], &[tail(&key, "here")]));
    let second = keys().enumerate().map(|(at, key)| match at % 4 {
        0 => record(&[count(&key, 1)], &[]),
        1 => record(&[count(&key, -2), tail(&key, "")], &[]),
        2 => record(&[Mutation::Delete { key: key.clone().into() }, count(&key, 5)], &[tail(&key, "new")]),
        _ => record(&[Mutation::Put { key: key.clone().into(), value: b"plain".to_vec() }], &[]),
    });
    Ledger(first.chain(second).collect())
}

#[test]
fn a_drain_may_be_cut_at_every_batch_and_again_at_every_batch_after_that() {
    let ledger = two_halves();
    let model = ledger.model(usize::MAX);
    for cut in 0..8 {
        for cut_again in 0..8 {
            let engine = Arc::new(CrashEngine::default());
            let index = Index::with_engine(engine.clone(), options(2)).unwrap();
            let half = Ledger(ledger.0[..8].to_vec());
            half.replay(&index, true);
            drain_all(&index, half.last());
            assert_eq!(index.applied(), Some((Lsn(8), position(9))));
            let mut index = index;
            for steps in [cut, cut_again] {
                ledger.replay(&index, true);
                check(&index, &model);
                index.freeze();
                for _ in 0..steps {
                    index.drain_step(0, ledger.last()).unwrap();
                    check(&index, &model);
                }
                index = Index::with_engine(engine.clone(), options(2)).unwrap();
            }
            ledger.replay(&index, false);
            drain_all(&index, ledger.last());
            check(&index, &model);
            check(&Index::with_engine(engine, options(2)).unwrap(), &model);
        }
    }
}

#[test]
fn cells_that_came_to_nothing_are_gone_from_the_engine_once_the_drain_is_done() {
    let engine = Arc::new(CrashEngine::default());
    let index = Index::with_engine(engine.clone(), options(2)).unwrap();
    for lsn in 1..=2 {
        let mut batch = Batch::new();
        for key in 'a'..='e' {
            batch.count(key.to_string(), if lsn == 1 { 1 } else { -1 });
        }
        index.apply(Lsn(lsn), &batch);
        index.note_written(position(lsn + 1));
        drain_all(&index, Lsn(lsn));
    }
    assert_eq!(engine.range(&[1], &[0xff], 100).unwrap(), []);
}

#[test]
fn a_drain_waits_until_its_bound_is_written_and_durable() {
    let index = Index::in_memory();
    let mut batch = Batch::new();
    batch.put("a", "1");
    index.note_written(position(1));
    index.apply(Lsn(1), &batch);
    index.apply(Lsn(2), &batch);
    assert!(index.freeze());
    assert_eq!(index.drain_step(0, Lsn(2)).unwrap(), Drained::Waiting { bound: Lsn(2) });
    index.note_written(position(2));
    assert_eq!(index.drain_step(0, Lsn(2)).unwrap(), Drained::Waiting { bound: Lsn(2) });
    index.note_written(position(3));
    assert_eq!(index.drain_step(0, Lsn(1)).unwrap(), Drained::Waiting { bound: Lsn(2) });
    assert_eq!(index.drain_step(0, Lsn(2)).unwrap(), Drained::Done { applied: Lsn(2) });
    assert_eq!(index.applied(), Some((Lsn(2), position(3))));
}

#[test]
fn a_batch_that_is_written_before_it_is_applied_is_not_left_out_of_a_drain() {
    let index = Arc::new(Index::in_memory());
    let batch_of = |key: &str| {
        let mut batch = Batch::new();
        batch.put(key, "1");
        batch
    };
    index.apply(Lsn(1), &batch_of("a"));
    // The ledger numbers the next batch, writes it and says so; whoever appended it gets no time to apply it.
    let committing = index.begin_commit();
    index.note_written(position(3));
    let drained = {
        let index = Arc::clone(&index);
        std::thread::spawn(move || drain_all(&index, Lsn(2)))
    };
    // Time for a drain that does not wait to be through.
    std::thread::sleep(std::time::Duration::from_millis(50));
    index.apply(Lsn(2), &batch_of("b"));
    drop(committing);
    drained.join().unwrap();
    assert!(index.get(b"b").unwrap().is_some(), "a batch got lost between its number and the overlay");
    assert_eq!(index.applied(), Some((Lsn(2), position(3))));
}

#[test]
fn a_change_that_comes_again_once_it_is_being_drained_is_passed_over() {
    let index = Index::with_engine(Arc::new(CrashEngine::default()), options(1)).unwrap();
    let mut batch = Batch::new();
    batch.count("a", 1);
    batch.count("b", 1);
    index.apply(Lsn(1), &batch);
    index.note_written(position(2));
    index.freeze();
    for _ in 0..3 {
        index.drain_step(0, Lsn(1)).unwrap();
        index.apply(Lsn(1), &batch);
        for key in ["a", "b"] {
            assert_eq!(Cell::from_value(&index.get(key.as_bytes()).unwrap().unwrap().value).count, 1);
        }
    }
    assert_eq!(index.overlay_bytes(), 0);
}

#[test]
fn the_replay_starts_at_the_last_place_noted_that_meets_everything_above_the_bound() {
    let index = Index::in_memory();
    let mut batch = Batch::new();
    batch.put("a", "1");
    index.note_written(position(1));
    for lsn in 1..=4 {
        index.apply(Lsn(lsn), &batch);
    }
    index.note_written(position(3));
    index.freeze();
    index.apply(Lsn(5), &batch);
    index.note_written(position(4));
    index.note_written(position(6));
    drain_all(&index, Lsn(5));
    assert_eq!(index.applied(), Some((Lsn(4), position(4))));
}

#[test]
fn the_active_generation_is_frozen_when_it_is_large_old_and_quiet_or_very_old() {
    let small = IndexOptions { freeze_bytes: 4096, ..options(512) };
    let index = Index::with_engine(Arc::new(CrashEngine::default()), small).unwrap();
    index.note_written(position(1));
    let seconds = |secs: u64| secs * 1_000_000_000;
    let mut lsn = 0;
    let mut apply = |len: usize| {
        lsn += 1;
        let mut batch = Batch::new();
        batch.put("a", vec![0; len]);
        index.apply(Lsn(lsn), &batch);
    };
    let step = |secs| index.drain_step(seconds(secs), Lsn(u64::MAX)).unwrap();
    let finish = |lsn: u64| {
        index.note_written(position(lsn + 1));
        assert!(matches!(step(0), Drained::Done { .. }));
    };
    assert_eq!(step(0), Drained::Idle);
    apply(10);
    assert_eq!(step(100), Drained::Idle, "its age counts from when it was first seen");
    assert_eq!(step(109), Drained::Idle);
    assert_eq!(step(110), Drained::Frozen, "old, and nothing was applied for a while");
    finish(1);
    apply(5000);
    assert_eq!(step(200), Drained::Frozen, "large");
    finish(2);
    for secs in 300..360 {
        apply(10);
        assert_eq!(step(secs), Drained::Idle, "something is applied every second");
    }
    apply(10);
    assert_eq!(step(360), Drained::Frozen, "very old");
}

#[test]
fn a_caller_above_the_limit_waits_until_a_drain_is_done() {
    let options = IndexOptions { overlay_bytes_max: 1000, ..options(512) };
    let index = Index::with_engine(Arc::new(CrashEngine::default()), options).unwrap();
    assert!(index.wait_for_room(std::time::Duration::ZERO));
    let mut batch = Batch::new();
    batch.put("a", vec![0; 1000]);
    index.apply(Lsn(1), &batch);
    assert!(!index.wait_for_room(std::time::Duration::from_millis(1)));
    index.note_written(position(2));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| index.wait_for_room(std::time::Duration::from_secs(60)));
        drain_all(&index, Lsn(1));
        assert!(waiting.join().unwrap());
    });
}

#[test]
fn readers_see_all_or_none_of_a_batch_while_it_is_drained() {
    /// Enough for the readers to meet every moment of a drain; about half a second.
    const DRAINS: u64 = 400;
    let index = Index::with_engine(Arc::new(MemoryEngine::default()), options(3)).unwrap();
    index.note_written(position(1));
    let keys: Vec<_> = ('a'..='j').map(|name| name.to_string()).collect();
    let (applied, drained) = (AtomicU64::new(0), AtomicU64::new(0));
    let over = || drained.load(Ordering::SeqCst) >= DRAINS;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut lsn = 0_u64;
            while !over() {
                lsn += 1;
                let mut batch = Batch::new();
                for key in &keys {
                    // Even keys count, and are at `lsn` after append `lsn`; odd ones are set and deleted in turns.
                    match key.as_bytes()[0] % 2 {
                        0 => batch.count(key.clone(), 1),
                        _ if lsn.is_multiple_of(2) => batch.delete(key.clone()),
                        _ => batch.put(key.clone(), lsn.to_le_bytes()),
                    }
                }
                index.apply(Lsn(lsn), &batch);
                index.note_written(position(lsn + 1));
                applied.store(lsn, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            while !over() {
                index.freeze();
                let durable = Lsn(applied.load(Ordering::SeqCst));
                if matches!(index.drain_step(0, durable).unwrap(), Drained::Done { .. }) {
                    drained.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while !over() {
                    let at_least = applied.load(Ordering::SeqCst).max(seen);
                    let part = index.scan(&[1], &[0xff], 3).unwrap();
                    let whole = index.scan(&[1], &[0xff], 100).unwrap();
                    for page in [&part, &whole] {
                        let counts: Vec<_> =
                            page.entries.iter().map(|(_, entry)| Cell::from_value(&entry.value).count).collect();
                        assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "{counts:?}");
                    }
                    let Some((_, entry)) = whole.entries.first() else { continue };
                    seen = Cell::from_value(&entry.value).count.cast_unsigned();
                    assert_eq!(whole.entries.len(), if seen % 2 == 0 { 5 } else { 10 });
                    assert!(seen >= at_least, "time runs forward");
                    let one = Cell::from_value(&index.get(b"b").unwrap().unwrap().value).count.cast_unsigned();
                    assert!(one >= seen, "also from one kind of read to another");
                }
            });
        }
    });
    let last = Cell::from_value(&index.get(b"b").unwrap().unwrap().value).count.cast_unsigned();
    assert_eq!(last, applied.into_inner());
}

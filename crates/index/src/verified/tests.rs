//! Whatever an engine comes back with, no pair and no absence of it is believed that was not written.

use std::sync::atomic::AtomicU64;

use proptest::prelude::*;
use strata_seam::{Lsn, SetId};

use super::*;
use crate::memory::MemoryEngine;
use crate::testing::{options, position};
use crate::{Batch, Drained, Index, IndexError, Opened};

/// Counts the pairs that are read of it.
#[derive(Default)]
struct Counting {
    inner: MemoryEngine,
    read: AtomicU64,
}

impl OrderedKv for Counting {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key)
    }
    fn range(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        let pairs = self.inner.range(lo, hi, limit)?;
        self.read.fetch_add(pairs.len() as u64, Ordering::Relaxed);
        Ok(pairs)
    }
    fn range_back(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        let pairs = self.inner.range_back(lo, hi, limit)?;
        self.read.fetch_add(pairs.len() as u64, Ordering::Relaxed);
        Ok(pairs)
    }
    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError> {
        self.inner.write(writes)
    }
    fn flush(&self) -> Result<(), EngineError> {
        self.inner.flush()
    }
}

fn key(n: u64) -> Vec<u8> {
    [b"k", &n.to_be_bytes()[..]].concat()
}

fn blank() -> Status {
    Status { store: SetId([7; 16]), applied: None, draining: None, sum: Sum::default(), spans: Sum::default() }
}

/// Changes some keys, as a drain does.
fn change(engine: &Verified, status: Status, changes: &[(u64, Option<&[u8]>)]) -> Status {
    let known = |key: Vec<u8>| (engine.get_to_change(&key).unwrap(), key);
    let changes = changes.iter().map(|(n, value)| (known(key(*n)), value.map(<[u8]>::to_vec)));
    let changes = changes.filter(|((known, _), value)| known != value);
    engine.write(changes.map(|((known, key), value)| (key, known, value)).collect(), status).unwrap()
}

/// An engine with `pairs` pairs at even numbers, its status, and all that is in it.
fn filled(pairs: u64) -> (Arc<MemoryEngine>, Status) {
    let kv = Arc::new(MemoryEngine::default());
    let engine = Verified::empty(kv.clone());
    let mut status = blank();
    for from in (0..pairs).step_by(300) {
        let batch: Vec<_> = (from..pairs.min(from + 300)).map(|n| (2 * n, Some(&b"value"[..]))).collect();
        status = change(&engine, status, &batch);
    }
    (kv, status)
}

fn all(kv: &dyn OrderedKv) -> Vec<Pair> {
    kv.range(&[], &end(), usize::MAX).unwrap()
}

fn copy(kv: &dyn OrderedKv) -> Arc<MemoryEngine> {
    let copy = MemoryEngine::default();
    copy.write(all(kv).into_iter().map(|(key, value)| (key, Some(value))).collect()).unwrap();
    Arc::new(copy)
}

#[test]
fn an_opening_reads_the_records_of_spans_and_a_first_read_its_own_span() {
    let (kv, status) = filled(20_000);
    let counting = Arc::new(Counting::default());
    counting.inner.write(all(&*kv).into_iter().map(|(key, value)| (key, Some(value))).collect()).unwrap();
    let engine = Verified::open(counting.clone(), &status).unwrap();
    let read = || counting.read.swap(0, Ordering::Relaxed);
    assert!(read() < 200, "an opening reads a record for some hundred pairs");
    assert_eq!(engine.total().pairs, 20_000);
    assert_eq!(engine.get(&key(2)).unwrap().unwrap(), b"value");
    assert!((2..1000).contains(&read()), "one span");
    assert_eq!(engine.get(&key(3)).unwrap(), None);
    assert_eq!(read(), 1, "the same span, verified by now");
    assert_eq!(engine.range(&key(0), &end(), 10).unwrap().len(), 10);
    assert_eq!(read(), 10);
}

#[test]
fn in_the_background_every_span_is_verified_once() {
    let (kv, status) = filled(5000);
    let counting = Arc::new(Counting::default());
    counting.inner.write(all(&*kv).into_iter().map(|(key, value)| (key, Some(value))).collect()).unwrap();
    let engine = Verified::open(counting.clone(), &status).unwrap();
    counting.read.store(0, Ordering::Relaxed);
    let mut cursor = Vec::new();
    while engine.verify_next(&mut cursor).unwrap() {}
    assert_eq!(counting.read.load(Ordering::Relaxed), 5000);
    assert_eq!(engine.get(&key(4)).unwrap().unwrap(), b"value");
    assert_eq!(counting.read.load(Ordering::Relaxed), 5001);
}

type Read<'a> = dyn Fn(&Verified) -> Result<(), EngineError> + 'a;

/// Every read that could show the damage at `n` fails, those of other spans do not, and the next opening knows.
fn check_found(kv: &Arc<MemoryEngine>, status: &Status, n: u64) {
    let damaged = |what: Result<_, EngineError>| matches!(what, Err(EngineError::Damaged(_)));
    let reads: [&Read<'_>; 5] = [
        &|engine| engine.get(&key(n)).map(drop),
        &|engine| engine.range(&key(n), &key(n + 1), 5).map(drop),
        &|engine| engine.range(&key(n.saturating_sub(40)), &end(), 100).map(drop),
        &|engine| engine.range_back(&key(0), &key(n + 40), 100).map(drop),
        &|engine| engine.range(FIRST_KEY, &end(), usize::MAX).map(drop),
    ];
    for read in reads {
        let kv = copy(&**kv);
        let engine = Verified::open(kv.clone(), status).unwrap();
        assert!(damaged(read(&engine)), "damage at {n}");
        assert!(damaged(read(&engine)), "it does not become right by being asked twice");
        let far = if n < 5000 { 9000 } else { 1000 };
        assert_eq!(engine.get(&key(far)).unwrap().unwrap(), b"value");
        assert!(damaged(Verified::open(kv, status).map(drop)), "the next opening was not told");
    }
}

#[test]
fn a_pair_that_is_gone_changed_old_or_too_many_is_never_given_out_nor_its_absence() {
    let (kv, status) = filled(5000);
    for n in [0, 2, 510, 512, 514, 4444, 9998] {
        let gone = copy(&*kv);
        gone.write(vec![(key(n), None)]).unwrap();
        check_found(&gone, &status, n);
        let changed = copy(&*kv);
        changed.write(vec![(key(n), Some(b"other".to_vec()))]).unwrap();
        check_found(&changed, &status, n);
        let too_many = copy(&*kv);
        too_many.write(vec![(key(n + 1), Some(b"value".to_vec()))]).unwrap();
        check_found(&too_many, &status, n + 1);
    }
}

#[test]
fn pairs_that_come_back_older_together_with_their_span_are_found_by_the_opening() {
    let (kv, status) = filled(5000);
    let old = copy(&*kv);
    let engine = Verified::open(kv.clone(), &status).unwrap();
    let status = change(&engine, status, &[(512, Some(b"new")), (514, None), (515, Some(b"more"))]);
    Verified::open(copy(&*kv), &status).map(drop).unwrap();
    // All that the batch wrote but the record about the engine, in any choice.
    let changed = all(&*old).into_iter().filter(|(key, value)| kv.get(key).unwrap().as_ref() != Some(value));
    let changed: Vec<Pair> = changed.filter(|(key, _)| key != STATUS_KEY).collect();
    assert!(changed.len() >= 3);
    for choice in 1..1_u32 << changed.len() {
        let mixed = copy(&*kv);
        let chosen = changed.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1);
        mixed.write(chosen.clone().map(|(_, (key, value))| (key.clone(), Some(value.clone()))).collect()).unwrap();
        let of_spans = chosen.clone().any(|(_, (key, _))| key.starts_with(SPAN_PREFIX));
        match Verified::open(mixed, &status) {
            Err(EngineError::Damaged(_)) => assert!(of_spans),
            Err(other) => panic!("{other}"),
            Ok(engine) => {
                assert!(!of_spans);
                chosen.for_each(|(_, (key, _))| assert!(engine.get(key).is_err()));
            }
        }
    }
}

#[test]
fn keys_of_an_engine_that_says_it_has_none_are_found_by_the_opening() {
    let kv = Arc::new(MemoryEngine::default());
    kv.write(vec![(key(1), Some(b"value".to_vec()))]).unwrap();
    assert!(matches!(Verified::open(kv, &blank()).map(drop), Err(EngineError::Damaged(_))));
}

#[test]
fn spans_are_divided_and_joined_so_that_their_number_follows_that_of_the_pairs() {
    let (kv, status) = filled(20_000);
    let engine = Verified::open(kv, &status).unwrap();
    let spans = || engine.spans.read().records().count();
    assert!((30..160).contains(&spans()), "{} spans of 20,000 pairs", spans());
    let mut status = status;
    for from in (0..20_000).step_by(500) {
        let batch: Vec<_> = (from..from + 500).filter(|n| n % 100 != 0).map(|n| (2 * n, None)).collect();
        status = change(&engine, status, &batch);
    }
    assert_eq!(engine.total().pairs, 200);
    assert!(spans() < 10, "{} spans of 200 pairs", spans());
    let batch: Vec<_> = (0..200).map(|n| (200 * n, None)).collect();
    status = change(&engine, status, &batch);
    assert_eq!((engine.total(), status.sum, status.spans), (Tally::default(), Sum::default(), Sum::default()));
}

#[test]
fn an_engine_of_version_1_is_verified_as_a_whole_once_and_given_spans() {
    let kv = Arc::new(MemoryEngine::default());
    let pairs: Vec<Pair> = (0..3000).map(|n| (key(n), b"value".to_vec())).collect();
    kv.write(pairs.iter().cloned().map(|(key, value)| (key, Some(value))).collect()).unwrap();
    // What an upgrade that was cut off may have left.
    kv.write(vec![(record_key(&key(7)), Some(vec![1, 2, 3]))]).unwrap();
    let sum = pairs.iter().fold(Sum::default(), |sum, (key, value)| sum.with(key, value));
    let mut version_1 = Status { applied: Some((Lsn(5), position(6))), sum, ..blank() }.encode();
    version_1[0] = 1;
    version_1.truncate(version_1.len() - 16);
    kv.write(vec![(STATUS_KEY.to_vec(), Some(version_1))]).unwrap();
    let damaged = copy(&*kv);
    damaged.write(vec![(key(2500), None)]).unwrap();
    assert!(matches!(Index::with_engine(damaged, options(2)), Err(IndexError::Engine(EngineError::Damaged(_)))));
    for _ in 0..2 {
        let index = Index::with_engine(kv.clone(), options(2)).unwrap();
        assert_eq!((index.opened(), index.applied()), (&Opened::Resumed, Some((Lsn(5), position(6)))));
        assert_eq!(index.range(b"k", b"l", usize::MAX).map(|pairs| pairs.len()).ok(), None, "values without a tag");
        assert_eq!(index.engine.range(b"k", b"l", usize::MAX).unwrap(), pairs);
    }
    assert!(Status::decode(&kv.get(STATUS_KEY).unwrap().unwrap()).unwrap().1, "it has spans now");
}

#[test]
fn a_drain_that_meets_a_wrong_span_ends_all_draining_and_nothing_claims_what_it_left_out() {
    let kv = Arc::new(MemoryEngine::default());
    let index = Index::with_engine(kv.clone(), options(64)).unwrap();
    let mut batch = Batch::new();
    (0..2000).for_each(|n| batch.put(key(n), "value"));
    index.apply(Lsn(1), &batch);
    index.note_written(position(2));
    crate::testing::drain_all(&index, Lsn(1));
    drop(index);
    kv.write(vec![(key(1000), None)]).unwrap();
    let index = Index::with_engine(kv.clone(), options(64)).unwrap();
    let mut batch = Batch::new();
    (0..2000).for_each(|n| batch.put(key(n), "newer"));
    index.apply(Lsn(2), &batch);
    index.note_written(position(3));
    index.freeze();
    let failed = (0..100).find(|_| index.drain_step(0, Lsn(2)).is_err());
    assert!(failed.is_some_and(|steps| steps > 3), "what comes before it is drained");
    for _ in 0..100 {
        assert!(index.drain_step(0, Lsn(2)).is_err());
    }
    assert!(index.is_broken());
    assert_eq!(index.applied().unwrap().0, Lsn(1));
    // What is in the overlay is the truth whatever is below it.
    assert_eq!(index.get(&key(1000)).unwrap().unwrap().value, b"newer");
    assert!(matches!(Index::with_engine(kv, options(64)), Err(IndexError::Engine(EngineError::Damaged(_)))));
}

#[test]
fn the_background_verifies_where_nothing_else_is_due_and_passes_what_is_wrong() {
    let kv = Arc::new(MemoryEngine::default());
    let index = Index::with_engine(kv.clone(), options(64)).unwrap();
    let mut batch = Batch::new();
    (0..3000).for_each(|n| batch.put(key(n), "value"));
    index.apply(Lsn(1), &batch);
    index.note_written(position(2));
    crate::testing::drain_all(&index, Lsn(1));
    drop(index);
    let index = Index::with_engine(copy(&*kv), options(64)).unwrap();
    let verified = (0..1000).take_while(|_| index.drain_step(0, Lsn(1)).unwrap() == Drained::Verified).count();
    assert!((3000 / 512..3000 / 64).contains(&verified), "{verified} spans");
    assert_eq!(index.drain_step(0, Lsn(1)).unwrap(), Drained::Idle);
    kv.write(vec![(key(1000), None)]).unwrap();
    let index = Index::with_engine(kv, options(64)).unwrap();
    assert!((0..100).any(|_| index.drain_step(0, Lsn(1)).is_err()), "it is found although nobody asks for it");
    assert!(index.is_broken());
}

#[test]
fn readers_beside_drains_find_nothing_wrong_where_nothing_is() {
    let (kv, status) = filled(4000);
    for round in 0..8 {
        let engine = Verified::open(copy(&*kv), &status).unwrap();
        std::thread::scope(|scope| {
            for reader in 0..2_u64 {
                let engine = &engine;
                scope.spawn(move || {
                    for n in 0..800 {
                        let n = (n * 7919 + reader * 13 + round) % 4000;
                        engine.get(&key(2 * n)).unwrap();
                        engine.range(&key(2 * n), &end(), 20).unwrap();
                    }
                });
            }
            let mut status = status;
            for n in 0..100_u64 {
                let at = (n * 104_729 + round) % 7800;
                let batch: Vec<_> = (at..at + 100).map(|n| (n, (n % 3 > 0).then_some(&b"newer"[..]))).collect();
                status = change(&engine, status, &batch);
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn whatever_is_written_the_records_of_spans_say_what_is_there(
        batches in proptest::collection::vec((0..3000_u64, 1..400_u64, 1..4_u64, 0..3_u8), 1..25),
    ) {
        let kv = Arc::new(MemoryEngine::default());
        let engine = Verified::empty(kv.clone());
        let mut status = blank();
        let mut model = BTreeMap::new();
        for (from, count, step, kind) in batches {
            let value = [kind; 20];
            let value = (kind > 0).then_some(&value[..]);
            let batch: Vec<_> = (0..count).map(|n| (from + n * step, value)).collect();
            for (n, value) in &batch {
                match value {
                    Some(value) => model.insert(key(*n), value.to_vec()),
                    None => model.remove(&key(*n)),
                };
            }
            status = change(&engine, status, &batch);
            let reopened = Verified::open(copy(&*kv), &status).unwrap();
            let found = reopened.range(FIRST_KEY, &end(), usize::MAX).unwrap();
            prop_assert_eq!(found, model.clone().into_iter().collect::<Vec<_>>());
            let largest = reopened.spans.read().records().map(|(_, record)| Tally::decode(&record).unwrap().pairs).max();
            prop_assert!(largest.unwrap_or(0) <= 512);
        }
    }
}

#[test]
fn a_pair_that_was_read_is_not_asked_for_again_until_it_is_changed() {
    let kv = Arc::new(Counting::default());
    let engine = Verified::empty(kv.clone()).with_hot(1 << 20);
    let status = change(&engine, blank(), &[(1, Some(b"one")), (2, Some(b"two"))]);
    assert_eq!(engine.get(&key(1)).unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(engine.get(&key(1)).unwrap().as_deref(), Some(&b"one"[..]));
    let before = kv.read.load(Ordering::Relaxed);
    assert_eq!(engine.get(&key(1)).unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(kv.read.load(Ordering::Relaxed), before, "found in memory");
    let status = change(&engine, status, &[(1, Some(b"new"))]);
    assert_eq!(engine.get(&key(1)).unwrap().as_deref(), Some(&b"new"[..]));
    change(&engine, status, &[(1, None)]);
    assert_eq!(engine.get(&key(1)).unwrap(), None);
    let HotCounts { hits, .. } = engine.hot();
    assert_eq!(hits, 1);
}

/// An engine that stops in the midst of reading one key until it is told to go on.
struct Held {
    inner: MemoryEngine,
    key: Vec<u8>,
    at: std::sync::Barrier,
}

impl OrderedKv for Held {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let value = self.inner.get(key);
        if key == self.key {
            // The value is taken; whoever asked for it comes back with it only after what the test does in between.
            self.at.wait();
            self.at.wait();
        }
        value
    }
    fn range(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        self.inner.range(lo, hi, limit)
    }
    fn range_back(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        self.inner.range_back(lo, hi, limit)
    }
    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError> {
        self.inner.write(writes)
    }
    fn flush(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

#[test]
fn what_was_read_before_a_write_is_not_kept_behind_it() {
    let held = Arc::new(Held { inner: MemoryEngine::default(), key: key(1), at: std::sync::Barrier::new(2) });
    let engine = Verified::empty(held.clone()).with_hot(1 << 20);
    let write = |status, known: Option<&[u8]>, value: &[u8]| {
        let pair = (key(1), known.map(<[u8]>::to_vec), Some(value.to_vec()));
        engine.write(vec![pair], status).unwrap()
    };
    let status = write(blank(), None, b"old");
    assert!(!engine.hot.wants(&key(1)), "asked for once, it is kept the next time");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| engine.get(&key(1)).unwrap());
        held.at.wait();
        write(status, Some(b"old"), b"new");
        held.at.wait();
        assert_eq!(reader.join().unwrap().as_deref(), Some(&b"old"[..]));
    });
    assert_eq!(engine.hot.get(&key(1)), None, "the old value was kept");
}

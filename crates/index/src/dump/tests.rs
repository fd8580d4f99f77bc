//! Dumps beside drains, and what is filled from them, against the model.

use std::convert::Infallible;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::engine::OrderedKv;
use crate::fill::FillError;
use crate::memory::MemoryEngine;
use crate::testing::{Ledger, Record, check, drain_all, options, position};
use crate::{Batch, Drained, KEYS_END};

const KEYS: u8 = 12;

fn record() -> impl Strategy<Value = Record> {
    let change = (0..KEYS, 0..4_u8, any::<i8>());
    proptest::collection::vec(change, 1..6).prop_map(|changes| {
        let (mut commit, mut tails) = (Batch::new(), Batch::new());
        for (key, kind, number) in changes {
            let key = vec![b'a' + key];
            match kind {
                0 => commit.put(key, vec![number.unsigned_abs(); 9]),
                1 => commit.delete(key),
                2 => commit.count(key, i64::from(number)),
                _ => tails.set_tail(key, vec![number.unsigned_abs()]),
            }
        }
        Record { commit, tails }
    })
}

fn apply(index: &Index, from: usize, records: &[Record]) {
    for (lsn, record) in (from as u64 + 1..).zip(&records[from..]) {
        index.apply(Lsn(lsn), &record.commit);
        index.apply(Lsn(lsn), &record.tails);
        index.note_written(position(lsn + 1));
    }
}

fn fresh() -> Index {
    Index::with_engine(Arc::new(MemoryEngine::default()), options(3)).unwrap()
}

fn filled(stamp: &Stamp, pairs: &[Pair]) -> Result<Index, FillError<Infallible>> {
    let index = fresh();
    let mut runs = pairs.chunks(5);
    index.fill(stamp, &mut || Ok(runs.next().map(<[Pair]>::to_vec).unwrap_or_default()))?;
    Ok(index)
}

/// Walks a dump to its end, with `meanwhile` called between pages.
fn walk(dump: &mut Dump<'_>, meanwhile: &mut dyn FnMut()) -> Vec<Pair> {
    let mut all = Vec::new();
    loop {
        let page = dump.next_page().unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
        meanwhile();
    }
}

proptest! {
    #[test]
    fn a_dump_is_the_state_it_began_with_whatever_is_drained_meanwhile(
        records in proptest::collection::vec(record(), 2..40),
        before in 1..20_usize,
        stops in proptest::collection::vec(0..KEYS, 0..3),
    ) {
        let before = before.min(records.len() - 1);
        let index = fresh();
        apply(&index, 0, &records[..before]);
        drain_all(&index, Lsn(before as u64));
        let ledger = Ledger(records.clone());
        // Nothing may have been drained if all came to nothing at once.
        prop_assume!(index.applied().is_some());
        let mut dump = index.begin_dump().unwrap();
        prop_assert!(index.begin_dump().is_none(), "one at a time");
        // The first keys were given out, then everything else is drained.
        let mut all = Vec::new();
        for stop in stops.iter().collect::<std::collections::BTreeSet<_>>() {
            all.extend(dump.next_page_below(&[b'a' + stop, 0]).unwrap());
        }
        apply(&index, before, &records);
        drain_all(&index, ledger.last());
        all.extend(walk(&mut dump, &mut || {}));
        let mut sum = Fingerprint::default();
        all.iter().for_each(|pair| sum.add(pair));
        let stamp = dump.stamp();
        prop_assert_eq!(sum.sum(), stamp.sum);
        drop(dump);

        // What is filled from it, with the rest replayed, is what everything gives.
        let again = filled(&stamp, &all).unwrap();
        ledger.replay(&again, true);
        check(&again, &ledger.model(records.len()));
        prop_assert_eq!(again.meaning().unwrap(), index.meaning().unwrap());
        drain_all(&again, ledger.last());
        check(&again, &ledger.model(records.len()));
    }
}

/// The next dump is put together from what was given out before, where it may be skipped, and from what it gives out itself,
/// while drains change keys it passed, skipped and did not reach.
#[test]
fn a_dump_that_skips_what_did_not_change_since_another_is_the_state_it_began_with() {
    let key = |n: u64| [b"k", &n.to_be_bytes()[..]].concat();
    let put = |index: &Index, lsn: u64, keys: &mut dyn Iterator<Item = u64>| {
        let mut batch = Batch::new();
        keys.for_each(|n| batch.put(key(n), lsn.to_le_bytes()));
        index.apply(Lsn(lsn), &batch);
        index.note_written(position(lsn + 1));
        drain_all(index, Lsn(lsn));
    };
    for seed in 0..20_u64 {
        let index = Index::with_engine(Arc::new(MemoryEngine::default()), options(64)).unwrap();
        put(&index, 1, &mut (0..6000).map(|n| 2 * n));
        let mut dump = index.begin_dump().unwrap();
        let before = walk(&mut dump, &mut || {});
        let moment = dump.moment();
        drop(dump);
        put(&index, 2, &mut [seed * 577, seed * 577 + 1, 11_999].into_iter());
        let mut dump = index.begin_dump().unwrap();
        let (mut all, mut skipped) = (Vec::new(), 0);
        for step in 0..30 {
            let (from, end) = (key(step * 400), key((step + 1) * 400));
            let (from, end) =
                (if step == 0 { vec![1] } else { from }, if step == 29 { KEYS_END.to_vec() } else { end });
            if dump.skip(&end, moment) {
                skipped += 1;
                all.extend(before.iter().filter(|(key, _)| from <= *key && *key < end).cloned());
            } else {
                loop {
                    let page = dump.next_page_below(&end).unwrap();
                    if page.is_empty() {
                        break;
                    }
                    all.extend(page);
                }
            }
            if step % 7 == seed % 7 {
                put(&index, 3 + step, &mut (0..3).map(|n| (n * 3997 + step * 331) % 12_000));
            }
        }
        let mut sum = Fingerprint::default();
        all.iter().for_each(|pair| sum.add(pair));
        assert_eq!(sum.sum(), dump.stamp().sum, "seed {seed}");
        assert!((1..29).contains(&skipped), "{skipped} stretches were skipped");
    }
}

#[test]
fn an_engine_in_the_midst_of_a_drain_cannot_be_dumped() {
    let index = fresh();
    let records: Vec<Record> = (0..KEYS)
        .map(|key| {
            let mut commit = Batch::new();
            commit.put(vec![b'a' + key], vec![key; 9]);
            Record { commit, tails: Batch::new() }
        })
        .collect();
    apply(&index, 0, &records);
    assert!(index.begin_dump().is_none(), "never filled");
    index.freeze();
    assert!(matches!(index.drain_step(0, Lsn(12)).unwrap(), Drained::Batch { .. }));
    assert!(index.begin_dump().is_none());
    drain_all(&index, Lsn(12));
    assert!(index.begin_dump().is_some());
}

#[test]
fn a_drain_waits_where_too_much_would_have_to_be_kept_and_goes_on_behind_the_dump() {
    let index = fresh();
    let big = |lsn: u64| {
        let mut commit = Batch::new();
        commit.put(vec![b'a', u8::try_from(lsn % 40).unwrap()], vec![1; 1 << 20]);
        Record { commit, tails: Batch::new() }
    };
    let records: Vec<Record> = (0..80).map(big).collect();
    apply(&index, 0, &records[..40]);
    drain_all(&index, Lsn(40));
    let mut dump = index.begin_dump().unwrap();
    apply(
        &index,
        40,
        &records
            .iter()
            .map(|record| {
                let mut commit = Batch::new();
                record.commit.0.iter().for_each(|put| commit.delete(put.key()));
                Record { commit, tails: Batch::new() }
            })
            .collect::<Vec<_>>(),
    );
    drain_all(&index, Lsn(80));
    assert!(index.applied().unwrap().0 < Lsn(80), "it waits");
    assert!(index.drain.lock().dump.as_ref().unwrap().bytes < PRESERVED_BYTES_MAX + (4 << 20));
    assert_eq!(walk(&mut dump, &mut || {}).len(), 40);
    drain_all(&index, Lsn(80));
    assert_eq!(index.applied().unwrap().0, Lsn(80));
}

#[test]
fn pairs_that_are_not_those_of_the_stamp_are_refused_and_leave_an_index_that_is_thrown_away() {
    let stamp = Stamp { applied: Lsn(3), position: position(4), sum: 77 };
    assert!(matches!(filled(&stamp, &[(vec![1], vec![0, 1])]), Err(FillError::Fingerprint)));
    let engine: Arc<dyn OrderedKv> = Arc::new(MemoryEngine::default());
    let index = Index::with_engine(Arc::clone(&engine), options(3)).unwrap();
    assert!(index.fill::<Infallible>(&stamp, &mut || Ok(Vec::new())).is_err());
    drop(index);
    assert!(Index::with_engine(engine, options(3)).is_err(), "left in its first drain");
}

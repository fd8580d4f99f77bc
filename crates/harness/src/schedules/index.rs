//! The index: one writer, a ledger that tells how far it has written, also before the writer has applied what it was given
//! a number for, a drain that freezes and moves what was written, and readers.
//!
//! What is claimed: a reader sees all of a batch or nothing, never something older than what it saw before, and everything the
//! writer had finished before the read began.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shuttle::rand::Rng;
use shuttle::thread;
use strata_index_scheduled::{Batch, Cell, Drained, Index, IndexOptions, MemoryEngine, Mutation};
use strata_seam::{Lsn, Position, SegmentId, SetId};

const BATCHES: u64 = 6;
const READERS: usize = 2;
const READS: usize = 3;
/// Every batch sets or removes these two, alike, and adds one to the third.
const LEFT: &[u8] = b"a";
const RIGHT: &[u8] = b"b";
const COUNT: &[u8] = b"c";

/// What the two hold after batch `number`.
fn value(number: u64) -> Option<Vec<u8>> {
    // Removed now and then: what is gone must not come back out of the engine.
    (number > 0 && number % 3 != 2).then(|| number.to_le_bytes().to_vec())
}

fn batch(number: u64) -> Batch {
    let set = |key: &[u8]| match value(number) {
        None => Mutation::Delete { key: key.to_vec() },
        Some(value) => Mutation::Put { key: key.to_vec(), value },
    };
    Batch(vec![set(LEFT), set(RIGHT), Mutation::Count { key: COUNT.to_vec(), delta: 1 }])
}

/// Drains while batches are made and read.
pub(super) fn drain() {
    let options = IndexOptions {
        freeze_bytes: 1,
        freeze_age: Duration::ZERO,
        freeze_quiet: Duration::ZERO,
        // The writer has to wait for the drain now and then.
        overlay_bytes_max: 1500,
        drain_keys: 1,
        ..IndexOptions::new(SetId([1; 16]))
    };
    let index = Index::with_engine(Arc::new(MemoryEngine::default()), options).expect("an index");
    let index = Arc::new(index);
    let (given, written) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (index, written) = (Arc::clone(&index), Arc::clone(&written));
            thread::spawn(move || read(&index, &written))
        })
        .collect();
    let beside = |step: fn(&Index, u64)| {
        let (index, given, over) = (Arc::clone(&index), Arc::clone(&given), Arc::clone(&over));
        thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                step(&index, given.load(Ordering::SeqCst));
                thread::yield_now();
            }
        })
    };
    let ledger = beside(|index, given| {
        index.note_written(Position { segment: SegmentId(1), offset: given, next_lsn: Lsn(given + 1) });
    });
    let drainer = beside(|index, given| {
        index.drain_step(0, Lsn(given)).expect("a step");
    });
    for number in 1..=BATCHES {
        while !index.wait_for_room(Duration::from_millis(1)) {
            thread::yield_now();
        }
        let committing = index.begin_commit();
        given.store(number, Ordering::SeqCst);
        thread::yield_now();
        index.apply(Lsn(number), &batch(number));
        drop(committing);
        written.store(number, Ordering::SeqCst);
    }
    readers.into_iter().for_each(|reader| reader.join().expect("a reader"));
    over.store(true, Ordering::SeqCst);
    drainer.join().expect("the drain");
    ledger.join().expect("the ledger");
    index.note_written(Position { segment: SegmentId(1), offset: BATCHES, next_lsn: Lsn(BATCHES + 1) });
    // What was frozen before, and then the rest.
    for _ in 0..2 {
        while index.drain_frozen(Lsn(BATCHES)).expect("a step") != Drained::Idle {}
        index.freeze();
    }
    while index.drain_frozen(Lsn(BATCHES)).expect("a step") != Drained::Idle {}
    assert_eq!(index.applied().map(|(lsn, _)| lsn), Some(Lsn(BATCHES)), "the drain lost its place");
    assert_eq!(look(&index), BATCHES);
}

fn read(index: &Index, written: &AtomicU64) {
    let mut seen = 0;
    for _ in 0..READS {
        let before = written.load(Ordering::SeqCst).max(seen);
        seen = look(index);
        assert!(seen >= before, "batch {seen} is read after {before}");
    }
}

/// The batch whose state is read, by one of the ways to read.
fn look(index: &Index) -> u64 {
    let count = |value: Option<Vec<u8>>| Cell::from_value(&value.unwrap_or_default()).count.unsigned_abs();
    if shuttle::rand::thread_rng().gen_bool(0.3) {
        return count(index.lookup(COUNT).expect("a look-up").value);
    }
    let page = if shuttle::rand::thread_rng().gen_bool(0.5) {
        index.scan(LEFT, b"d", 10)
    } else {
        index.scan_back(LEFT, b"d", 10)
    };
    let found = page.expect("a scan").entries;
    let of = |key: &[u8]| found.iter().find(|(found, _)| found == key).map(|(_, entry)| entry.value.clone());
    let number = count(of(COUNT));
    assert_eq!((of(LEFT), of(RIGHT)), (value(number), value(number)), "not all of batch {number}");
    number
}

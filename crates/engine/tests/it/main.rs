//! The embedded engine through the seam, over simulated disks: what a caller may rely on, whatever engine it is.

#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod chunks;
mod model;

use std::sync::Arc;

use parking_lot::Mutex;
use strata_engine::{
    Absent, Batch, COMMIT_BYTES_MAX, Change, Class, Embedded, Engine, EngineError, KEY_SESSION, LogPlace, Mutation,
    Premises, events_of, place_blocks,
};
use strata_index::Index;
use strata_ledger::{Geometry, Ledger, LedgerError, Options};
use strata_seam::sim::{SimEntropy, SimWorld};
use strata_seam::{Clock, Disk, Lsn, SessionId};

fn disks(world: &SimWorld) -> Vec<Arc<dyn Disk>> {
    (0..3).map(|n| -> Arc<dyn Disk> { world.disk(&format!("disk{n}")) }).collect()
}

fn options() -> Options {
    Options { segment_len: 4 << 20, ..Options::default() }
}

/// A new store.
fn create() -> (SimWorld, Embedded) {
    let world = SimWorld::new(7);
    let geometry = Geometry { data_shards: 2, parity_shards: 1 };
    Ledger::format(&disks(&world), geometry, &options(), &*world.clock(), &SimEntropy::new(1)).unwrap();
    let engine = open(&world);
    (world, engine)
}

/// The engine of a store with nothing but its log: the index is what the log adds up to.
fn open(world: &SimWorld) -> Embedded {
    open_over(world, Index::in_memory())
}

fn open_over(world: &SimWorld, index: Index) -> Embedded {
    let from = index.applied().map(|(_, position)| position);
    let clock: Arc<dyn Clock> = world.clock();
    let ledger = Ledger::open(disks(world), options(), clock, &SimEntropy::new(2), from, &mut |append| {
        let broken = |error: EngineError| LedgerError::Inconsistent { what: error.to_string() };
        index.apply(append.lsn, &place_blocks(&append.blocks).map_err(broken)?);
        if let Some(commit) = &append.commit {
            index.apply(append.lsn, &Batch::decode(commit).expect("a commit decodes"));
        }
        Ok(())
    });
    Embedded::new(Arc::new(ledger.unwrap()), Arc::new(index)).unwrap()
}

/// A change that puts or removes these rows.
fn rows(rows: &[(&str, Option<&str>)]) -> Change {
    let mut change = Change::new(false);
    let owned = |(key, value): &(&str, Option<&str>)| (key.as_bytes().to_vec(), value.map(|value| value.into()));
    change.rows.extend(rows.iter().map(owned));
    change
}

/// Commits a change and gives its number.
fn commit(engine: &dyn Engine, change: Change) -> Lsn {
    let held = engine.exclusive();
    engine.commit(&held, change, &mut || {}).unwrap().lsn
}

fn put(engine: &dyn Engine, key: &str, value: &str) -> Lsn {
    commit(engine, rows(&[(key, Some(value))]))
}

fn get(engine: &dyn Engine, key: &str) -> Option<String> {
    engine.get(key.as_bytes(), None).unwrap().value.map(|value| String::from_utf8(value).unwrap())
}

#[test]
fn a_change_shows_when_it_is_committed_with_its_number_and_is_durable_once_waited_for() {
    let (world, engine) = create();
    let engine: &dyn Engine = &engine;
    let lsn = put(engine, "key", "value");
    let row = engine.get(b"key", None).unwrap();
    assert_eq!((row.value.as_deref(), row.lsn), (Some(&b"value"[..]), lsn));
    assert_eq!(engine.newest_commit(), lsn);
    assert!(engine.durable() < lsn);
    engine.wait(lsn, Class::Durable).unwrap();
    assert!(engine.durable() >= lsn && engine.written() >= lsn);
    let removed = commit(engine, rows(&[("key", None)]));
    let row = engine.get(b"key", None).unwrap();
    assert_eq!((row.value, row.lsn), (None, removed), "a removal counts as much as a value");
    // A power loss takes back what nobody waited for, and nothing else.
    world.restart(0);
    assert_eq!(get(&open(&world), "key"), Some("value".to_owned()));
}

#[test]
fn a_change_is_accepted_once_before_it_shows_and_not_at_all_where_it_is_refused() {
    let (_world, engine) = create();
    let engine: &dyn Engine = &engine;
    let mut accepted = Vec::new();
    let held = engine.exclusive();
    engine.commit(&held, rows(&[("a", Some("1"))]), &mut || accepted.push(get(engine, "a"))).unwrap();
    assert_eq!(accepted, [None], "it was called once, and nobody saw the change yet");
    drop(held);
    assert_eq!(get(engine, "a"), Some("1".to_owned()));

    let (newest, large) = (engine.newest_commit(), "x".repeat(COMMIT_BYTES_MAX));
    let change = rows(&[("a", Some(&large)), ("b", Some("2"))]);
    let held = engine.exclusive();
    let refused = engine.commit(&held, change, &mut || unreachable!("it was refused")).unwrap_err();
    drop(held);
    assert!(matches!(refused, EngineError::TooLarge(_)), "{refused}");
    assert_eq!((get(engine, "a"), get(engine, "b")), (Some("1".to_owned()), None));
    assert_eq!(engine.newest_commit(), newest);
}

#[test]
fn a_session_takes_its_number_with_its_first_commit_and_no_other() {
    let (world, engine) = create();
    assert_eq!(engine.session(), SessionId(1));
    drop(engine);
    let engine = open(&world);
    assert_eq!(engine.session(), SessionId(1), "nobody has taken it yet");
    let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
    let theirs = Arc::clone(&seen);
    let takes = |mutation: &Mutation| mutation.key() == KEY_SESSION;
    let watch = engine.watch(Arc::new(move |batch| theirs.lock().push(batch.0.iter().any(takes))));
    put(&engine, "a", "1");
    put(&engine, "a", "2");
    drop(watch);
    put(&engine, "a", "3");
    assert_eq!(*seen.lock(), [true, false], "and who ended watching is told no more");
    engine.sync().unwrap();
    drop(engine);
    assert_eq!(open(&world).session(), SessionId(2));
}

#[test]
fn a_commit_that_was_refused_leaves_the_number_of_the_session_to_the_next() {
    let (world, engine) = create();
    let held = engine.exclusive();
    let large = "x".repeat(COMMIT_BYTES_MAX);
    engine.commit(&held, rows(&[("a", Some(&large))]), &mut || {}).unwrap_err();
    drop(held);
    put(&engine, "a", "1");
    engine.sync().unwrap();
    drop(engine);
    assert_eq!(open(&world).session(), SessionId(2));
}

#[test]
fn who_watches_is_told_before_a_change_shows_and_sees_every_earlier_one() {
    let (_world, engine) = create();
    let engine = Arc::new(engine);
    put(&*engine, "a", "1");
    let told: Arc<Mutex<Vec<[Option<String>; 2]>>> = Arc::default();
    let (theirs, other) = (Arc::clone(&told), Arc::clone(&engine));
    let _watch = engine.watch(Arc::new(move |_| theirs.lock().push([get(&*other, "a"), get(&*other, "b")])));
    put(&*engine, "b", "2");
    assert_eq!(*told.lock(), [[Some("1".to_owned()), None]]);
}

#[test]
fn premises_hold_while_every_row_that_counts_is_as_it_was_read() {
    let (_world, engine) = create();
    let engine: &dyn Engine = &engine;
    put(engine, "read", "1");
    let change = |writes: &[(&str, Option<&str>)]| {
        let mut premises = Premises::default();
        premises.note(b"read", Some(b"1"));
        premises.note(b"absent", None);
        Change { premises: Some(premises), ..rows(writes) }
    };
    let holds = |change: &Change| {
        let held = engine.exclusive();
        [Absent::Any, Absent::Written].map(|absent| engine.premises_hold(&held, change, absent).unwrap())
    };
    let (other, same) = (change(&[("other", Some("x"))]), change(&[("absent", Some("x"))]));
    assert_eq!((holds(&other), holds(&same)), ([true, true], [true, true]));
    // A row that was absent is there now: an engine that compares rows notices that only if the change writes the row.
    put(engine, "absent", "");
    assert_eq!((holds(&other), holds(&same)), ([false, true], [false, false]));
    commit(engine, rows(&[("absent", None), ("read", Some("2"))]));
    assert_eq!((holds(&other), holds(&same)), ([false, false], [false, false]));
    // A row that has its old value again is no reason to compute the change anew.
    put(engine, "read", "1");
    assert_eq!((holds(&other), holds(&same)), ([true, true], [true, true]));
    assert_eq!(holds(&rows(&[])), [true, true], "without premises there is nothing to hold");
}

#[test]
fn rows_can_be_read_as_they_were_before_what_is_not_written() {
    let (_world, engine) = create();
    let engine: &dyn Engine = &engine;
    let first = commit(engine, rows(&[("a", Some("1")), ("b", Some("1"))]));
    engine.sync().unwrap();
    commit(engine, rows(&[("a", Some("2")), ("b", None), ("c", Some("2"))]));
    let scan = |upto| {
        let page = engine.scan(b"a", b"d", 10, upto).unwrap().entries;
        page.into_iter().map(|(key, entry)| [key, entry.value].concat()).collect::<Vec<_>>()
    };
    assert_eq!(scan(None), [b"a2", b"c2"]);
    assert_eq!(scan(Some(first)), [b"a1", b"b1"]);
    assert_eq!(engine.get(b"a", Some(first)).unwrap().value.as_deref(), Some(&b"1"[..]));
    assert_eq!(engine.get(b"c", Some(first)).unwrap().value, None);
    assert_eq!(engine.scan(b"a", b"d", 1, None).unwrap().entries.len(), 1, "no more than asked for");
}

/// The events of commits from `next` on, with their numbers.
fn events(engine: &dyn Engine, place: &mut LogPlace, most: usize) -> Vec<(Lsn, Vec<String>)> {
    let mut found = Vec::new();
    let mut each = |lsn: Lsn, commit: &[u8]| {
        let events = events_of(commit).unwrap().into_iter().map(|event| String::from_utf8_lossy(event).into_owned());
        found.push((lsn, events.collect()));
        found.len() < most
    };
    engine.read_commits(place, Lsn(u64::MAX), &mut each).unwrap();
    found
}

#[test]
fn commits_with_events_are_read_in_order_once_they_are_written_from_memory_or_from_the_log() {
    let (world, engine) = create();
    let told = |number: u32| {
        let mut change = rows(&[("row", Some(&number.to_string()))]);
        change.events.extend([format!("{number}a").into_bytes(), format!("{number}b").into_bytes()]);
        change
    };
    let mut expected = Vec::new();
    // More commits than are handed over between two looks at what is in memory.
    for number in 0..600 {
        let lsn = commit(&engine, told(number));
        expected.push((lsn, vec![format!("{number}a"), format!("{number}b")]));
        put(&engine, "silent", "row");
    }
    let mut place = LogPlace::before(Lsn(1));
    assert_eq!(events(&engine, &mut place, 9), [], "what is not written is told nobody");
    engine.sync().unwrap();
    assert_eq!(events(&engine, &mut place, 100), expected[..100], "and it ends where its reader says so");
    assert_eq!(events(&engine, &mut place, 1000), expected[100..]);
    assert_eq!(events(&engine, &mut place, 1000), []);
    drop(engine);
    let engine = open(&world);
    let mut place = LogPlace::before(Lsn(1));
    assert_eq!(events(&engine, &mut place, 1000), expected, "another process reads them from the log");
    let lsn = commit(&engine, told(600));
    engine.sync().unwrap();
    assert_eq!(events(&engine, &mut place, 9), [(lsn, vec!["600a".to_owned(), "600b".to_owned()])]);
}

#[test]
fn holds_of_the_writers_lock_are_counted() {
    let (_world, engine) = create();
    let engine: &dyn Engine = &engine;
    put(engine, "a", "1");
    put(engine, "a", "2");
    drop(engine.exclusive());
    let (holds, longest) = engine.held();
    assert_eq!(holds.count(), 3);
    assert!(longest > 0);
}

//! Content over simulated disks: manifests of several levels, references, splicing, and what crashes leave behind.
//!
//! Chunks are tiny here (256 bytes on average), so that a few megabytes make manifests of three levels.

#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

mod ahead;
mod domains;
mod streams;

use std::cell::RefCell;
use std::sync::Arc;

use proptest::prelude::*;
use strata_chunk::ChunkParams;
use strata_content::{
    Audit, ContentError, DedupDomain, INLINE_ITEMS_MAX, Item, Reader, Scope, Store, StoreSettings, place_blocks,
};
use strata_index::{Batch, EngineKind, Index, IndexOptions};
use strata_ledger::{Geometry, Ledger, LedgerError, Options};
use strata_seam::sim::{SimEntropy, SimWorld};
use strata_seam::{Clock, Disk, SetId};

fn disks(world: &SimWorld) -> Vec<Arc<dyn Disk>> {
    (0..3).map(|n| -> Arc<dyn Disk> { world.disk(&format!("disk{n}")) }).collect()
}

fn options() -> Options {
    Options { segment_len: 16 << 20, ..Options::default() }
}

fn create() -> (SimWorld, Arc<Store>) {
    let world = SimWorld::new(7);
    let geometry = Geometry { data_shards: 2, parity_shards: 1 };
    Ledger::format(&disks(&world), geometry, &options(), &*world.clock(), &SimEntropy::new(1)).unwrap();
    let store = open(&world);
    (world, store)
}

/// An empty index, in memory or, if the variable `STRATA_INDEX_ENGINE` names one, of that engine, in a folder that goes with the test.
fn empty_index() -> Index {
    thread_local!(static FOLDERS: RefCell<Vec<tempfile::TempDir>> = const { RefCell::new(Vec::new()) });
    let Ok(word) = std::env::var("STRATA_INDEX_ENGINE") else { return Index::in_memory() };
    let engine: EngineKind = word.parse().expect("an engine of the index");
    let folder = tempfile::tempdir().unwrap();
    let options = IndexOptions { engine: Some(engine), ..IndexOptions::new(SetId([0; 16])) };
    let index = Index::open(&folder.path().join("index"), options).unwrap();
    FOLDERS.with_borrow_mut(|folders| folders.push(folder));
    index
}

/// Opens with an index rebuilt from the whole log.
fn open(world: &SimWorld) -> Arc<Store> {
    open_with(world, options())
}

fn open_with(world: &SimWorld, options: Options) -> Arc<Store> {
    let index = empty_index();
    let clock: Arc<dyn Clock> = world.clock();
    let ledger = Ledger::open(disks(world), options, clock, &SimEntropy::new(2), None, &mut |append| {
        let broken = |error: ContentError| LedgerError::Inconsistent { what: error.to_string() };
        index.apply(append.lsn, &place_blocks(&append.blocks).map_err(broken)?);
        if let Some(commit) = &append.commit {
            index.apply(append.lsn, &Batch::decode(commit).expect("a commit decodes"));
        }
        Ok(())
    })
    .unwrap();
    let settings = StoreSettings {
        chunks: ChunkParams::new(64, 256, 1024).unwrap(),
        cache_bytes: 4 << 20,
        ..StoreSettings::default()
    };
    Store::new(Arc::new(ledger), Arc::new(index), settings).unwrap()
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Stores `data` under the owner record `key`, in place of what it owned.
fn own(store: &Arc<Store>, key: &str, data: &[u8]) -> Vec<Item> {
    own_in(store, DedupDomain::COMMON, key, data)
}

/// The same in a dedup domain.
fn own_in(store: &Arc<Store>, domain: DedupDomain, key: &str, data: &[u8]) -> Vec<Item> {
    let mut ingest = store.ingest(domain, false);
    for step in data.chunks(100_000) {
        ingest.push(step).unwrap();
    }
    let content = ingest.finish().unwrap();
    store
        .transact(false, |tx| {
            let items = tx.attach(&content)?;
            tx.put(key.as_bytes(), b"owner".to_vec());
            Ok::<_, ContentError>(items)
        })
        .unwrap()
        .value
}

fn let_go(store: &Arc<Store>, key: &str, items: &[Item]) {
    store
        .transact(false, |tx| {
            tx.delete(key.as_bytes());
            tx.release(items)
        })
        .unwrap();
    while store.collect().unwrap() > 0 {}
}

#[test]
fn a_change_that_lets_long_content_go_reads_nothing_from_the_disks() {
    let (world, store) = create();
    let data = noise(3, 2_000_000);
    let items = own(&store, "owner", &data);
    assert!(items.iter().any(|item| item.height() > 0), "{items:?}");
    store.ledger().sync().unwrap();
    drop(store);
    // A process that has nothing of the store in memory.
    let store = open(&world);
    let (before, mut during) = (world.io_count(), 0);
    store
        .transact(false, |tx| {
            tx.delete("owner");
            tx.release(&items)?;
            during = world.io_count() - before;
            Ok::<_, ContentError>(())
        })
        .unwrap();
    assert_eq!(during, 0);
    while store.collect().unwrap() > 0 {}
    assert!(world.io_count() > before, "its pages were read behind it");
    sound(&store, &[]);
}

fn read(store: &Arc<Store>, items: &[Item]) -> Vec<u8> {
    let reader = Reader::new(store, items);
    let mut out = Vec::new();
    while (out.len() as u64) < reader.len() {
        out.extend_from_slice(&reader.read(out.len() as u64, 777_777).unwrap());
    }
    out
}

/// References are exactly those of these owners, and every chunk reads as what it is named after.
fn sound(store: &Arc<Store>, owners: &[&[Item]]) {
    let mut from = strata_seam::ChunkId([0; 32]);
    loop {
        // In parts, however small: together they cover all chunks.
        let scope = Scope::next(store, from, 7).unwrap();
        let mut audit = Audit::new(store, scope.clone()).unwrap();
        for owner in owners {
            audit.owner(owner);
        }
        assert!(audit.finish(true, &mut |_| true).unwrap());
        assert_eq!(audit.faults, Vec::new());
        match scope {
            Scope::Between(_, Some(next)) => from = next,
            _ => return,
        }
    }
}

#[test]
fn what_was_taken_in_is_known_zero_or_new_and_stored_smaller_where_it_shrinks() {
    let (_world, store) = create();
    let (fresh, text) = (noise(1, 1 << 20), b"all work and no play makes jack a dull boy ".repeat(20_000));
    own(&store, "fresh", &fresh);
    let first = store.traffic();
    assert_eq!((first.written(), first.new, first.known, first.zeros), (1 << 20, 1 << 20, 0, 0));
    assert!((1 << 20..(1 << 20) + 1000).contains(&first.stored), "noise does not shrink: {first:?}");
    own(&store, "again", &fresh);
    let again = store.traffic();
    assert_eq!((again.known, again.new, again.stored), (1 << 20, first.new, first.stored));
    own(&store, "text", &text);
    let shrunk = store.traffic();
    assert!(shrunk.stored - again.stored < (shrunk.new - again.new) / 2, "text shrinks: {shrunk:?}");
    own(&store, "hole", &vec![0; 4 << 20]);
    let hole = store.traffic();
    assert_eq!((hole.zeros, hole.stored), (4 << 20, shrunk.stored));
    assert_eq!(hole.written(), (6 << 20) + text.len() as u64);
}

#[test]
fn content_of_any_length_has_a_short_record_and_reads_back() {
    let (_world, store) = create();
    let mut owners = Vec::new();
    for (n, len) in [0, 1, 2000, 100_000, 600_000, 4_000_000].into_iter().enumerate() {
        let data = noise(n as u64, len);
        let items = own(&store, &format!("k{n}"), &data);
        assert!(items.len() <= INLINE_ITEMS_MAX, "{} items for {len} bytes", items.len());
        assert!(read(&store, &items) == data, "{len} bytes");
        owners.push(items);
    }
    let owners: Vec<&[Item]> = owners.iter().map(Vec::as_slice).collect();
    sound(&store, &owners);
}

#[test]
fn shared_content_is_let_go_with_its_last_owner() {
    let (_world, store) = create();
    let data = noise(1, 1_500_000);
    let one = own(&store, "kone", &data);
    let two = own(&store, "ktwo", &data);
    assert_eq!(one, two, "equal content has an equal manifest");
    sound(&store, &[&one, &two]);
    let_go(&store, "kone", &one);
    assert!(read(&store, &two) == data);
    sound(&store, &[&two]);
    let_go(&store, "ktwo", &two);
    sound(&store, &[]);
    let again = own(&store, "kagain", &data);
    sound(&store, &[&again]);
}

#[test]
fn an_ingest_given_up_leaves_no_reference() {
    let (_world, store) = create();
    let mut ingest = store.ingest(DedupDomain::COMMON, false);
    ingest.push(&noise(3, 2_000_000)).unwrap();
    drop(ingest);
    let mut ingest = store.ingest(DedupDomain::COMMON, false);
    ingest.push(&noise(4, 2_000_000)).unwrap();
    drop(ingest.finish().unwrap());
    while store.collect().unwrap() > 0 {}
    sound(&store, &[]);
}

#[test]
fn an_ingest_cut_off_by_a_crash_is_let_go_at_the_next_start() {
    let (world, store) = create();
    let kept = own(&store, "kkept", &noise(8, 700_000));
    let mut ingest = store.ingest(DedupDomain::COMMON, false);
    ingest.push(&noise(5, 3_000_000)).unwrap();
    store.ledger().sync().unwrap();
    std::mem::forget(ingest);
    drop(store);
    world.restart(5);
    let store = open(&world);
    assert!(store.collect_unfinished().unwrap() > 0);
    while store.collect().unwrap() > 0 {}
    sound(&store, &[&kept]);
    assert!(read(&store, &kept) == noise(8, 700_000));
}

#[test]
fn a_flipped_bit_on_one_disk_is_never_seen_by_a_reader() {
    let (world, store) = create();
    let data = noise(6, 500_000);
    let items = own(&store, "k", &data);
    store.ledger().sync().unwrap();
    drop(store);
    for offset in (4096..200_000).step_by(1000) {
        world.flip_bit("disk1", "seg-00000000", offset, 3);
    }
    let store = open(&world);
    assert!(read(&store, &items) == data);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn splicing_behaves_like_a_plain_buffer(steps in proptest::collection::vec((0usize..400_000, 0usize..50_000, 0usize..50_000, any::<u64>()), 1..12)) {
        let (_world, store) = create();
        let mut model = noise(2, 300_000);
        let mut items = own(&store, "k", &model);
        for (at, cut, insert, seed) in steps {
            let new = noise(seed, insert);
            let mut ingest = store.ingest(DedupDomain::COMMON, false);
            ingest.push(&new).unwrap();
            let piece = own(&store, "piece", &new);
            drop(ingest);
            let end = (at + cut).min(model.len().max(at));
            let spliced = store.splice(DedupDomain::COMMON, &items, at as u64..end as u64, &piece).unwrap();
            let old = std::mem::take(&mut items);
            items = store.transact(false, |tx| {
                let items = tx.attach(&spliced)?;
                tx.release(&old)?;
                tx.release(&piece)?;
                Ok::<_, ContentError>(items)
            }).unwrap().value;
            if at > model.len() { model.resize(at, 0); }
            model.splice(at..end.min(model.len()), new);
            prop_assert!(items.len() <= INLINE_ITEMS_MAX);
            prop_assert!(read(&store, &items) == model);
            while store.collect().unwrap() > 0 {}
        }
        sound(&store, &[&items]);
    }
}

/// Chunks that a full ledger refused are not stored: whoever brings the same bytes again when there is room must not be
/// told that they are there.
#[test]
fn what_a_full_ledger_refused_is_stored_when_it_comes_again_with_room() {
    let world = SimWorld::new(7);
    let geometry = Geometry { data_shards: 2, parity_shards: 1 };
    let tight = Options {
        segment_len: 512 << 10,
        shard_payload_max: 128 << 10,
        queue_bytes_max: 128 << 10,
        flush_bytes: 32 << 10,
        reserve_segments: 0,
        ..options()
    };
    Ledger::format(&disks(&world), geometry, &tight, &*world.clock(), &SimEntropy::new(1)).unwrap();
    let store = open_with(&world, tight.clone());
    own(&store, "kept", &noise(1, 50_000));
    store.ledger().sync().unwrap();
    let names = ["disk0", "disk1", "disk2"];
    for name in names {
        let used: u64 = world.files(name).iter().map(|file| file.len).sum();
        world.set_capacity(name, used + 1000);
    }
    let mut refused = None;
    for seed in 2..20 {
        let data = noise(seed, 1_500_000);
        let mut ingest = store.ingest(DedupDomain::COMMON, false);
        // The blocks of content this small travel with its commit.
        let result = ingest.push(&data).and_then(|()| ingest.finish()).and_then(|content| {
            store.transact(false, |tx| {
                let _items = tx.attach(&content)?;
                tx.put(format!("owner {seed}").as_bytes(), b"owner".to_vec());
                Ok(())
            })
        });
        let written = store.ledger().sync();
        match result {
            Ok(_) => written.unwrap(),
            Err(error) => {
                assert!(matches!(error, ContentError::Ledger(LedgerError::Full)), "{error:?}");
                refused = Some(data);
                break;
            }
        }
    }
    let refused = refused.expect("the disks are full before long");
    names.iter().for_each(|name| world.set_capacity(name, 1 << 40));
    let items = own(&store, "again", &refused);
    store.ledger().sync().unwrap();
    assert!(read(&store, &items) == refused);
    drop(store);
    world.kill_process();
    assert!(read(&open_with(&world, tight), &items) == refused, "it is on the disks, not only in memory");
}

/// A database that writes here and there and syncs each time splices its file thousands of times: its manifest must stay as
/// flat as that of a file written in one go.
#[test]
fn thousands_of_small_writes_in_place_leave_a_flat_manifest() {
    let (_world, store) = create();
    const LEN: u64 = 1 << 26;
    const WRITE: u64 = 512;
    let mut items = vec![Item::hole(LEN)];
    let mut model = std::collections::BTreeMap::new();
    let mut at = 0_u64;
    for n in 0..4000_u64 {
        // Writes here and there, and now and then to the very next page.
        at =
            if n % 7 == 0 { (at + WRITE) % LEN } else { n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (LEN / WRITE) * WRITE };
        let mut ingest = store.ingest(DedupDomain::COMMON, true);
        ingest.push_items(&store.slice(&items, 0..at).unwrap()).unwrap();
        ingest.push(&noise(n + 1, WRITE as usize)).unwrap();
        ingest.push_items(&store.slice(&items, at + WRITE..LEN).unwrap()).unwrap();
        let content = ingest.finish().unwrap();
        let old = std::mem::take(&mut items);
        items = store
            .transact(true, |tx| {
                let items = tx.attach(&content)?;
                tx.release(&old)?;
                Ok::<_, ContentError>(items)
            })
            .unwrap()
            .value;
        model.insert(at, n + 1);
        let highest = items.iter().map(Item::height).max();
        assert!(highest <= Some(3) && items.len() <= INLINE_ITEMS_MAX, "write {n}: {highest:?}");
        if n % 50 == 0 {
            while store.collect().unwrap() > 0 {}
            store.ledger().sync().unwrap();
        }
    }
    let reader = Reader::new(&store, &items);
    assert_eq!(reader.len(), LEN);
    for (at, seed) in model {
        assert!(reader.read(at, WRITE as usize).unwrap() == noise(seed, WRITE as usize), "the write at {at}");
    }
}

/// Low items lie before a page two levels higher and stay there: the level between them is made on the way.
#[test]
fn bytes_before_a_high_page_stay_before_it() {
    let (_world, store) = create();
    let once = own(&store, "once", &noise(1, 20_000));
    let mut ingest = store.ingest(DedupDomain::COMMON, false);
    for _ in 0..10_000 {
        ingest.push_items(&once).unwrap();
    }
    let high = ingest.finish().unwrap();
    let high = store.transact(false, |tx| tx.attach(&high)).unwrap().value;
    assert!(high[0].height() >= 2, "{:?}", high[0]);

    let mut ingest = store.ingest(DedupDomain::COMMON, false);
    ingest.push(&noise(2, 5_000)).unwrap();
    ingest.push_items(&high).unwrap();
    ingest.push(&noise(3, 5_000)).unwrap();
    let content = ingest.finish().unwrap();
    let items = store.transact(false, |tx| tx.attach(&content)).unwrap().value;
    let reader = Reader::new(&store, &items);
    assert_eq!(reader.len(), 10_000 + 10_000 * 20_000);
    assert!(reader.read(0, 5_000).unwrap() == noise(2, 5_000));
    assert!(reader.read(5_000, 20_000).unwrap() == noise(1, 20_000));
    assert!(reader.read(reader.len() - 5_000, 5_000).unwrap() == noise(3, 5_000));
}

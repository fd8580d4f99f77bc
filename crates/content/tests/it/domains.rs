//! Dedup domains and tiers: equal bytes of different domains are never one chunk, how chunks are proved, and chunks that this version cannot read.

use std::collections::BTreeSet;
use std::sync::Arc;

use strata_content::{
    Audit, Choice, ChunkFault, ContentError, ContentErrorKind, DedupDomain, Item, OutOfReach, Scope, Source, Store,
    Tier, Unpaced,
};
use strata_seam::ChunkId;

use crate::{create, let_go, noise, open, own, own_in, read, sound};

const OF_CLASS: DedupDomain = DedupDomain::of(1, 0);
const ENCRYPTED: DedupDomain = DedupDomain::of(0, 1);
const BOTH: DedupDomain = DedupDomain::of(9, 0x0102_0304);
const ALL: [DedupDomain; 4] = [DedupDomain::COMMON, OF_CLASS, ENCRYPTED, BOTH];

/// Every chunk and page below these items.
fn reached(store: &Store, items: &[Item]) -> BTreeSet<ChunkId> {
    let mut found = BTreeSet::new();
    let mut rest = items.to_vec();
    while let Some(item) = rest.pop() {
        match item.source {
            Source::Hole => {}
            Source::Chunk { id, .. } => drop(found.insert(id)),
            Source::Page { id, .. } => {
                found.insert(id);
                rest.extend(store.page(&id).unwrap().into_items());
            }
        }
    }
    found
}

fn first_chunk(store: &Store, items: &[Item]) -> ChunkId {
    let pages: BTreeSet<ChunkId> = items.iter().filter(|item| item.height() > 0).filter_map(id_of).collect();
    *reached(store, items).iter().find(|id| !pages.contains(id)).unwrap()
}

fn id_of(item: &Item) -> Option<ChunkId> {
    match item.source {
        Source::Hole => None,
        Source::Chunk { id, .. } | Source::Page { id, .. } => Some(id),
    }
}

fn cell_key(id: &ChunkId) -> Vec<u8> {
    [b"C", &id.0[..]].concat()
}

/// The record of a chunk's place.
fn tail(store: &Store, id: &ChunkId) -> Vec<u8> {
    store.get(&cell_key(id)).unwrap().unwrap().value[8..].to_vec()
}

/// Has the record say something else, as a version that knows more would.
fn set_tail(store: &Arc<Store>, id: &ChunkId, tail: &[u8]) {
    store
        .transact(false, |tx| {
            tx.put_tail(cell_key(id), tail);
            Ok::<_, ContentError>(())
        })
        .unwrap();
}

/// What was stored so far lies in segments that the mover may take up.
fn go_on_in_another_segment(store: &Arc<Store>) {
    let writing = store.ledger().writing();
    while store.ledger().writing() == writing {
        own(store, "filler", &noise(store.last_commit().0, 3_000_000));
        store.ledger().sync().unwrap();
    }
}

fn faults(store: &Arc<Store>, owners: &[&[Item]]) -> Vec<ChunkFault> {
    let mut audit = Audit::new(store, Scope::ALL).unwrap();
    owners.iter().for_each(|owner| audit.owner(owner));
    assert!(audit.finish(true, &mut |_| true).unwrap());
    audit.faults
}

#[test]
fn equal_content_of_different_domains_shares_no_chunk_and_no_page_and_within_one_all_of_it() {
    let (world, store) = create();
    let data = noise(5, 1_500_000);
    let owners = ALL.map(|domain| own_in(&store, domain, &format!("{domain}"), &data));
    let again = ALL.map(|domain| own_in(&store, domain, &format!("{domain} again"), &data));
    assert_eq!(owners, again, "equal content of one domain has an equal manifest");
    let mut all = BTreeSet::new();
    let mut count = 0;
    for items in &owners {
        assert!(items.iter().any(|item| item.height() > 0), "there are pages");
        let chunks = reached(&store, items);
        count += chunks.len();
        all.extend(chunks);
    }
    assert_eq!(all.len(), count);
    assert!(owners.iter().all(|items| read(&store, items) == data));
    let every: Vec<&[Item]> = owners.iter().chain(&again).map(Vec::as_slice).collect();
    sound(&store, &every);

    // An index that is built from the log alone has the same for each.
    store.ledger().sync().unwrap();
    let before: Vec<_> = all.iter().map(|id| tail(&store, id)).collect();
    drop(store);
    world.kill_process();
    let store = open(&world);
    assert_eq!(all.iter().map(|id| tail(&store, id)).collect::<Vec<_>>(), before);
    sound(&store, &every);
    // A place in the common domain takes no more room than before, one in another domain five bytes more.
    let lens: BTreeSet<usize> = before.iter().map(Vec::len).collect();
    assert_eq!(lens, [38, 43].into());
    // Content that was released in one domain is there in the others.
    let_go(&store, "class 0, encryption domain 0", &owners[0]);
    let_go(&store, "class 0, encryption domain 0 again", &owners[0]);
    assert!(owners[1..].iter().all(|items| read(&store, items) == data));
}

#[test]
fn the_mover_proves_chunks_in_their_domains_and_packs_each_domain_by_itself() {
    let (world, store) = create();
    let owners: Vec<Vec<Item>> =
        (0..40).map(|n| own_in(&store, ALL[n % 4], &format!("k{n}"), &noise(n as u64 / 4, 90_000))).collect();
    let every: Vec<&[Item]> = owners.iter().map(Vec::as_slice).collect();
    go_on_in_another_segment(&store);
    let filler = own(&store, "filler", &noise(77, 1000));
    let report = store.reclaim(Choice::All, &mut Unpaced).unwrap();
    assert_eq!(report.unreadable, 0, "{report:?}");
    assert!(report.segments_freed > 0 && report.chunks_moved > 1000, "{report:?}");
    let every = [&every[..], &[&filler[..]]].concat();
    let found = faults(&store, &every);
    // What the fillers before the last owned was never released here.
    assert!(found.iter().all(|fault| matches!(fault, ChunkFault::Count { .. })), "{found:?}");
    for (n, items) in owners.iter().enumerate() {
        assert!(read(&store, items) == noise(n as u64 / 4, 90_000));
    }
    drop(store);
    drop(world);
}

#[test]
fn a_record_that_says_a_wrong_domain_is_found_by_the_name() {
    let (_world, store) = create();
    let items = own_in(&store, OF_CLASS, "k", &noise(1, 5_000));
    store.ledger().sync().unwrap();
    let id = first_chunk(&store, &items);
    let mut wrong = tail(&store, &id);
    assert_eq!(wrong[..6], [0x11, 1, 0, 0, 0, 0]);
    wrong[1] = 2;
    set_tail(&store, &id, &wrong);
    let found = faults(&store, &[&items]);
    assert!(matches!(&found[..], [ChunkFault::Unreadable { id: at, page: false, .. }] if *at == id), "{found:?}");
}

#[test]
fn content_by_reference_is_refused_where_it_would_share_chunks_of_another_domain() {
    let (_world, store) = create();
    for (len, synced) in [(5_000, false), (5_000, true), (2_000_000, true)] {
        let items = own_in(&store, ENCRYPTED, "k", &noise(len as u64, len));
        if synced {
            store.ledger().sync().unwrap();
        }
        for domain in [DedupDomain::COMMON, OF_CLASS, BOTH] {
            let content = store.content(domain, items.clone()).unwrap();
            let refused = store.transact(false, |tx| tx.attach(&content)).unwrap_err();
            assert!(matches!(refused, ContentError::OtherDomain(_)), "{refused}");
            assert_eq!(refused.kind(), ContentErrorKind::NotSupported);
            // Nor is a page made that would hold such chunks.
            let mut ingest = store.ingest(domain, false);
            ingest.push(&noise(3, 1_000)).unwrap();
            ingest.push_items(&items).unwrap();
            let content = ingest.finish().unwrap();
            assert!(store.transact(false, |tx| tx.attach(&content)).is_err());
        }
        while store.collect().unwrap() > 0 {}
        sound(&store, &[&items]);
        let content = store.content(ENCRYPTED, items.clone()).unwrap();
        store.transact(false, |tx| tx.attach(&content)).unwrap();
        store.transact(false, |tx| tx.release(&items)).unwrap();
        sound(&store, &[&items]);
        let_go(&store, "k", &items);
    }
}

/// What a later version may have written in place of a place in the ledger, and what is said of it.
const BEYOND: [(&[u8], OutOfReach, &str); 4] = [
    (b"\x02a bucket and a key", OutOfReach::Tier(Tier::Remote), "an object of a remote store"),
    (b"\x03", OutOfReach::Tier(Tier::Tape), "a tape"),
    (b"\x22\x07\x00\x00\x00a key", OutOfReach::Tier(Tier::Remote), "an object of a remote store"),
    (b"\x24\x07\x00\x00\x00the bytes", OutOfReach::Tier(Tier::Inline), "the index itself"),
];

#[test]
fn what_lies_in_another_tier_is_refused_by_name_and_kept_by_everybody() {
    for (record, reach, name) in BEYOND {
        let (world, store) = create();
        let data = noise(2, 5_000);
        let items = own(&store, "k", &data);
        let other = own(&store, "other", &noise(3, 4_000_000));
        store.ledger().sync().unwrap();
        let id = first_chunk(&store, &items);
        set_tail(&store, &id, record);
        store.ledger().sync().unwrap();
        drop(store);
        world.kill_process();
        let store = open(&world);
        let refused = store.chunk(&id).unwrap_err();
        assert!(matches!(&refused, ContentError::OutOfReach { chunk, why } if *chunk == id && *why == reach));
        assert!(refused.to_string().contains(name) && refused.to_string().contains("its bytes are kept"), "{refused}");
        assert_eq!(refused.kind(), ContentErrorKind::NotSupported);
        // The fault is not reported as damage, and what is beside the chunk can still be read.
        assert_eq!(faults(&store, &[&items, &other]), [ChunkFault::OutOfReach { id, page: false, why: reach }]);
        assert!(read(&store, &other) == noise(3, 4_000_000));
        // The chunk is referred to again and released again. The mover skips it, and its record stays as it was.
        store.transact(false, |tx| tx.retain(&items)).unwrap();
        store.transact(false, |tx| tx.release(&items)).unwrap();
        go_on_in_another_segment(&store);
        let report = store.reclaim(Choice::All, &mut Unpaced).unwrap();
        assert!(report.segments_freed > 0 && report.unreadable == 0, "{report:?}");
        assert_eq!((tail(&store, &id), store.references(&id).unwrap()), (record.to_vec(), 1));
        assert!(read(&store, &other) == noise(3, 4_000_000));
        // An ingest of the same bytes stores them where they can be read.
        assert!(!store.has_chunk(&id).unwrap());
        let anew = own(&store, "anew", &data);
        assert_eq!(anew, items);
        store.ledger().sync().unwrap();
        assert!(read(&store, &items) == data && store.has_chunk(&id).unwrap());
    }
}

#[test]
fn a_sealed_block_is_neither_given_out_nor_moved_nor_lost() {
    let (_world, store) = create();
    let data = noise(2, 5_000);
    let items = own(&store, "k", &data);
    go_on_in_another_segment(&store);
    let id = first_chunk(&store, &items);
    let plain = tail(&store, &id);
    let sealed = [&[0x21, 7, 0, 0, 0][..], &plain[1..]].concat();
    set_tail(&store, &id, &sealed);
    let refused = store.chunk(&id).unwrap_err().to_string();
    assert!(refused.contains("is sealed with key 7, which this version cannot open"), "{refused}");
    let location = store.location(&id);
    assert!(matches!(location, Err(ContentError::OutOfReach { .. })), "{location:?}");
    let report = store.reclaim(Choice::All, &mut Unpaced).unwrap();
    assert_eq!(report.unreadable, 1, "its segment stays: {report:?}");
    assert_eq!(tail(&store, &id), sealed);
    let segment = u32::from_le_bytes(plain[1..5].try_into().unwrap());
    assert!(store.ledger().segments().iter().any(|held| held.0 == segment));
}

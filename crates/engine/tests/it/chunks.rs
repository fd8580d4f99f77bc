//! Blocks: readable from the moment the engine takes them, first from memory and then from their place.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use strata_chunk::{BlockDirectory, BlockEntry, Codec, DedupDomain, chunk_id};
use strata_engine::{
    BlockRecord, Change, Class, Engine, EngineError, Place, PlacedBlock, PreparedBlock, Purpose, Whereabouts,
    chunk_key, place_blocks, split_cell,
};
use strata_seam::{ChunkId, Lsn};

use super::{commit, create, open};

/// A block of one chunk with these bytes, as they are.
fn block(bytes: &'static [u8]) -> (ChunkId, PreparedBlock) {
    let (id, data) = (chunk_id(bytes), Bytes::from_static(bytes));
    let entries = vec![BlockEntry { id, len: u32::try_from(bytes.len()).unwrap() }];
    let directory = BlockDirectory::new(Codec::Raw, DedupDomain::COMMON, entries).unwrap().encode();
    let record = BlockRecord { directory, data: data.clone() };
    (id, PreparedBlock { record, domain: DedupDomain::COMMON, chunks: vec![(id, data)] })
}

/// References to a chunk, and where it lies once that is known.
fn cell(engine: &dyn Engine, id: &ChunkId) -> (i64, Option<Place>) {
    let Some(cell) = engine.get(&chunk_key(id), None).unwrap().value else { return (0, None) };
    let (count, tail) = split_cell(&cell).unwrap();
    let place = Whereabouts::decode(tail).map(|found| found.within_reach().unwrap());
    (count, place)
}

#[test]
fn a_chunk_is_on_its_way_until_it_has_a_place_and_never_neither() {
    let (world, engine) = create();
    let (id, block) = block(b"some bytes");
    assert_eq!((engine.on_its_way(&id), cell(&engine, &id)), (None, (0, None)));
    let lsn = engine.append(vec![block], Purpose::Data, false).unwrap();
    assert_eq!(engine.on_its_way(&id), Some(DedupDomain::COMMON));
    assert_eq!(engine.bytes_on_their_way(&id).as_deref(), Some(&b"some bytes"[..]));
    assert_eq!(cell(&engine, &id), (0, None));
    engine.wait(lsn, Class::Durable).unwrap();
    assert_eq!((engine.on_its_way(&id), engine.bytes_on_their_way(&id)), (None, None));
    let (count, place) = cell(&engine, &id);
    let place = place.unwrap();
    assert_eq!((count, place.domain, place.offset, place.len), (0, DedupDomain::COMMON, 0, 10));
    assert_eq!(&engine.block(&place.location).unwrap()[..], b"some bytes");
    drop(engine);
    let engine = open(&world);
    assert_eq!(cell(&engine, &id), (0, Some(place)), "its place is told by the log");
    assert_eq!(&engine.block(&place.location).unwrap()[..], b"some bytes");
}

#[test]
fn blocks_that_travel_with_a_change_are_stored_if_it_is() {
    let (_world, engine) = create();
    let (id, block) = block(b"with the change");
    let mut change = Change::new(false);
    change.refs.insert(id, 2);
    change.blocks.push(block);
    change.purpose = Purpose::Data;
    let lsn = commit(&engine, change);
    assert_eq!((engine.on_its_way(&id), cell(&engine, &id)), (Some(DedupDomain::COMMON), (2, None)));
    engine.wait(lsn, Class::Durable).unwrap();
    let (count, place) = cell(&engine, &id);
    assert_eq!((engine.on_its_way(&id), count), (None, 2));
    assert_eq!(&engine.block(&place.unwrap().location).unwrap()[..], b"with the change");
}

#[test]
fn what_the_log_refuses_is_not_on_its_way() {
    let (world, engine) = create();
    (0..3).for_each(|n| world.vanish(&format!("disk{n}")));
    let (first, block_of_first) = block(b"taken before anybody knows");
    let lsn = engine.append(vec![block_of_first], Purpose::Data, false).unwrap();
    engine.wait(lsn, Class::Durable).unwrap_err();
    assert_eq!(engine.on_its_way(&first), Some(DedupDomain::COMMON), "it waits for its disks");
    assert!(engine.read_only().is_some());
    let (id, block) = block(b"refused");
    engine.append(vec![block.clone()], Purpose::Data, false).unwrap_err();
    let held = engine.exclusive();
    let change = Change { blocks: vec![block], ..Change::new(false) };
    engine.commit(&held, change, &mut || unreachable!("it was refused")).unwrap_err();
    assert_eq!(engine.on_its_way(&id), None);
}

#[test]
fn no_blocks_are_taken_ahead_of_a_change_while_appends_are_held() {
    let (_world, engine) = create();
    let engine = Arc::new(engine);
    let ((ahead, block_ahead), (with, block_with)) = (block(b"ahead"), block(b"with a change"));
    let held = engine.hold_appends();
    let (done, is_done) = channel();
    let theirs = Arc::clone(&engine);
    let thread = std::thread::spawn(move || {
        theirs.append(vec![block_ahead], Purpose::Data, false).unwrap();
        done.send(()).unwrap();
    });
    assert!(is_done.recv_timeout(Duration::from_millis(50)).is_err());
    // The commit that removes cells does not have to wait.
    commit(&*engine, Change { blocks: vec![block_with], purpose: Purpose::Data, ..Change::new(false) });
    assert_eq!((engine.on_its_way(&ahead), engine.on_its_way(&with)), (None, Some(DedupDomain::COMMON)));
    drop(held);
    is_done.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(engine.on_its_way(&ahead), Some(DedupDomain::COMMON));
    thread.join().unwrap();
}

#[test]
fn a_block_whose_directory_is_none_is_refused_by_name_and_one_of_a_checkpoint_passed_over() {
    let (_world, engine) = create();
    let (id, block) = block(b"some bytes");
    engine.append(vec![block.clone()], Purpose::Data, false).unwrap();
    engine.sync().unwrap();
    let location = cell(&engine, &id).1.unwrap().location;
    let placed = |directory: Bytes| PlacedBlock { lsn: Lsn(1), directory, location };
    assert_eq!(place_blocks(&[placed(block.record.directory.clone())]).unwrap().0.len(), 1);
    assert!(place_blocks(&[placed(Bytes::from_static(&[2, 9, 9]))]).unwrap().is_empty(), "of a checkpoint");
    let refused = place_blocks(&[placed(Bytes::from_static(&[200, 1]))]).unwrap_err();
    assert!(matches!(&refused, EngineError::Record { what } if what.contains("directory")), "{refused}");
}

//! Checkpoints: a lost index is filled from one and has the same records, a checkpoint is never half taken, and a damaged one is skipped
//! or refused by name.

use std::collections::BTreeSet;

use strata_content::{StoreSettings, Taken};
use strata_index::Opened;
use strata_ledger::Options;
use strata_namespace::{Condition, ErrorKind, Result};
use strata_runtime::{EngineKind, OpenStore, StoreConfig};
use strata_seam::SegmentId;
use strata_seam::sim::{Fault, SimEntropy, SimWorld, When};

use crate::support::*;

/// Small segments and stripes, so that a little data lies in many.
pub(crate) fn small(world: &SimWorld) -> StoreConfig {
    StoreConfig {
        ledger: Options { segment_len: 512 << 10, shard_payload_max: 256 << 10, ..Options::default() },
        ..config(world, 2, 1)
    }
}

pub(crate) fn try_open_small(world: &SimWorld) -> Result<OpenStore> {
    OpenStore::open(small(world), world.clock(), &SimEntropy::new(world.io_count() + 1))
}

/// A store with objects `k0` to `k{count - 1}`, every third one overwritten and every fifth one deleted.
pub(crate) fn filled(count: u64) -> (SimWorld, OpenStore) {
    let world = SimWorld::new(1);
    let store = try_open_small(&world).expect("the store opens");
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    for n in 0..count {
        put(ns, &format!("k{n}"), &noise(n + 1, 3000 + 7000 * usize::try_from(n % 4).expect("small")));
    }
    for n in (0..count).step_by(3) {
        put(ns, &format!("k{n}"), &noise(n + 1000, 5000));
    }
    for n in (0..count).step_by(5) {
        ns.delete_object(&root(), "bkt", format!("k{n}").as_bytes(), &Condition::default()).expect("deleted");
    }
    ns.store().ledger().sync().expect("synced");
    (world, store)
}

pub(crate) fn objects(ns: &strata_namespace::Namespace) -> Vec<(String, Vec<u8>)> {
    let names = keys(ns, "", None).0;
    names.into_iter().map(|key| (key.clone(), get(ns, &key).expect("listed, so readable"))).collect()
}

fn checkpoint(store: &OpenStore) -> Result<Taken> {
    Ok(store.namespace().store().take_checkpoint(&BTreeSet::new(), &mut |_| true)?)
}

fn meaning(store: &OpenStore) -> [u8; 32] {
    store.namespace().store().index().meaning().expect("read")
}

#[test]
fn a_lost_index_filled_from_the_checkpoint_means_what_the_whole_log_means() {
    let (world, store) = filled(30);
    let before = objects(store.namespace());
    let Taken::Done(first) = checkpoint(&store).expect("taken") else { panic!("there is something to write down") };
    assert!(first.pairs > 60 && first.shared == 0);
    let without = world.fork();
    put(store.namespace(), "later", &noise(77, 9000));
    let wanted = meaning(&store);
    drop(store);
    world.kill_process();
    let again = try_open_small(&world).expect("the store opens");
    assert_eq!(again.restored, first.pairs);
    assert!(again.replayed < 12, "{} appends were replayed behind it", again.replayed);
    assert_eq!(meaning(&again), wanted);
    sound(again.namespace());
    assert_eq!(objects(again.namespace()).len(), before.len() + 1);

    // The same without the checkpoint: all superblocks say there is none.
    drop(again);
    for disk in 0..3 {
        for slot in 0..2 {
            // A flipped bit makes a slot count as blank; the older one lies before the checkpoint.
            let bytes = without.peek(&format!("disk{disk}"), "superblock").expect("there");
            if bytes[slot * 4096 + 80..slot * 4096 + 208].iter().any(|byte| *byte != 0) {
                without.flip_bit(&format!("disk{disk}"), "superblock", slot as u64 * 4096 + 100, 1);
            }
        }
    }
    without.kill_process();
    let replayed = try_open_small(&without).expect("the store opens");
    assert_eq!(replayed.restored, 0);
    assert_eq!(objects(replayed.namespace()), before);
}

#[test]
fn the_next_checkpoint_shares_the_pieces_that_did_not_change_and_leaves_the_segments_it_is_told_to() {
    let (_world, store) = filled(30);
    checkpoint(&store).expect("taken");
    let Taken::Done(second) = checkpoint(&store).expect("taken") else { panic!("a second one") };
    assert_eq!((second.shared, second.unread), (second.pieces, second.pieces), "nothing changed, and nothing is read");
    let content = store.namespace().store();
    let held: BTreeSet<SegmentId> = content.ledger().segments().into_iter().collect();
    let Taken::Done(third) = content.take_checkpoint(&held, &mut |_| true).expect("taken") else { panic!("a third") };
    assert_eq!(third.shared, 0, "all pieces lay in segments to be left");
    assert!(content.checkpoint().expect("known").kept().is_empty());
}

#[test]
fn checkpoints_that_read_what_changed_alone_are_as_good_as_those_that_read_everything() {
    let world = SimWorld::new(1);
    // Short appends, so that there are many pieces.
    let open = |world: &SimWorld| {
        let ledger = Options { segment_len: 512 << 10, shard_payload_max: 12 << 10, ..Options::default() };
        let config = StoreConfig { ledger, ..config(world, 2, 1) };
        OpenStore::open(config, world.clock(), &SimEntropy::new(world.io_count() + 1)).expect("the store opens")
    };
    let store = open(&world);
    store.namespace().create_bucket(&root(), "bkt", None).expect("a bucket");
    for n in 0..900 {
        put(store.namespace(), &format!("many{n}"), &noise(n + 5000, 100));
    }
    let Taken::Done(first) = checkpoint(&store).expect("taken") else { panic!("there is something to write down") };
    assert!(first.pieces > 2);
    assert_eq!(first.unread, 0, "the first one behind an opening knows nothing");
    let mut unread = 0;
    for round in 0..20 {
        put(store.namespace(), &format!("many{}", round * 77 % 900), &noise(round, 9000));
        put(store.namespace(), &format!("more{round}"), &noise(round + 100, 900));
        if round % 3 == 0 {
            let key = format!("many{}", round * 77 % 900);
            store.namespace().delete_object(&root(), "bkt", key.as_bytes(), &Condition::default()).expect("deleted");
        }
        let Taken::Done(next) = checkpoint(&store).expect("taken") else { panic!("the next one") };
        unread += next.unread;
        let wanted = meaning(&store);
        let lost = world.fork();
        lost.kill_process();
        let again = open(&lost);
        assert_eq!(again.restored, next.pairs);
        assert_eq!(meaning(&again), wanted, "round {round}");
    }
    assert!(unread > 0, "some pieces were not read");
}

#[test]
fn a_long_log_is_replayed_in_memory_that_does_not_grow_with_it_and_to_the_same_end() {
    let (world, store) = filled(120);
    let wanted = meaning(&store);
    let all = store.namespace().store().index().overlay_bytes();
    drop(store);
    world.kill_process();
    for bytes in [4 << 10, 32 << 10] {
        let content = StoreSettings { overlay_bytes_max: bytes, ..small(&world).content };
        let folder = tempfile::tempdir().expect("a folder");
        let config = StoreConfig { content, index_dir: Some(folder.path().join("index")), ..small(&world) };
        let again = OpenStore::open(config, world.clock(), &SimEntropy::new(9)).expect("the store opens");
        let index = again.namespace().store().index();
        // One stripe may come on top.
        let most = bytes + (16 << 10);
        assert!(index.overlay_bytes() < most && most < all, "{} of {all}", index.overlay_bytes());
        assert!(index.applied().is_some_and(|(lsn, _)| lsn < again.namespace().store().ledger().next_lsn()));
        assert_eq!(meaning(&again), wanted);
        sound(again.namespace());
        drop(again);
        world.kill_process();
    }
}

#[test]
fn a_checkpoint_called_off_leaves_the_one_before() {
    let (_world, store) = filled(5);
    let content = store.namespace().store();
    assert_eq!(content.take_checkpoint(&BTreeSet::new(), &mut |_| false).expect("called off"), Taken::Stopped);
    assert!(content.checkpoint().is_none());
    checkpoint(&store).expect("and the next is taken");
    assert!(content.checkpoint().is_some());
}

#[test]
fn a_crash_at_any_io_of_taking_a_checkpoint_leaves_the_old_or_the_new_one_and_all_data() {
    let (world, store) = filled(12);
    checkpoint(&store).expect("taken");
    put(store.namespace(), "k1", &noise(4711, 9000));
    let wanted = objects(store.namespace());
    drop(store);
    world.kill_process();
    let start = world.snapshot();
    let (mut at, mut points) = (1, 0);
    loop {
        world.restore(&start);
        let store = try_open_small(&world).expect("the store opens");
        world.crash_at(world.io_count() + at);
        let taken = checkpoint(&store);
        if !world.is_crashed() {
            taken.expect("taken");
            break;
        }
        drop(store);
        let crashed = world.snapshot();
        for choice in 0..4_u64 {
            world.restore(&crashed);
            world.restart(choice);
            if choice > 0 {
                world.vanish(&format!("disk{}", choice - 1));
            }
            let store = try_open_small(&world).unwrap_or_else(|error| panic!("crash at {at}, {choice}: {error:?}"));
            assert!(store.restored > 0, "crash at {at}, {choice}: a checkpoint is there");
            assert!(objects(store.namespace()) == wanted, "crash at {at}, {choice}");
            sound(store.namespace());
        }
        points += 1;
        at += 1;
    }
    assert!(points > 8, "only {points} crash points");
}

#[test]
fn a_failed_io_of_any_number_while_taking_one_costs_no_data() {
    let (world, store) = filled(8);
    let wanted = objects(store.namespace());
    drop(store);
    world.kill_process();
    let start = world.snapshot();
    for at in 1.. {
        world.restore(&start);
        let store = try_open_small(&world).expect("the store opens");
        let first = world.io_count();
        world.set_fault(Fault::medium().when(When::At(first + at)));
        drop(checkpoint(&store));
        let done = world.io_count() < first + at;
        drop(store);
        world.clear_faults();
        world.kill_process();
        let store = try_open_small(&world).unwrap_or_else(|error| panic!("failure at {at}: {error:?}"));
        assert!(objects(store.namespace()) == wanted, "failure at {at}");
        sound(store.namespace());
        if done {
            assert!(at > 8, "only {at} I/Os");
            break;
        }
    }
}

/// Damages every piece of the checkpoint on all disks, and nothing that a replay reads.
fn damage_pieces(world: &SimWorld, store: OpenStore) {
    let checkpoint = store.namespace().store().checkpoint().expect("there is one");
    drop(store);
    world.kill_process();
    for place in checkpoint.pieces() {
        for disk in 0..3 {
            let file = format!("seg-{:08x}", place.segment.0);
            // Behind the header: the first columns of the shards, which hold data alone in a stripe of this size.
            for byte in 0..8 {
                let at = u64::from(place.sector) * 4096 + 256 + byte * 7;
                assert!(world.flip_bit(&format!("disk{disk}"), &file, at, 3));
            }
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_while_the_log_is_whole_and_refused_by_name_when_it_is_not() {
    let (world, store) = filled(30);
    checkpoint(&store).expect("taken");
    // More objects behind it, so that the damaged stripes are not the log's tail.
    put(store.namespace(), "last", &noise(4, 100_000));
    let wanted = objects(store.namespace());
    damage_pieces(&world, store);
    let store = try_open_small(&world).expect("opens by the log");
    assert_eq!(store.restored, 0);
    assert!(objects(store.namespace()) == wanted);
    drop(store);
    world.kill_process();
    // Without the log's start there is nothing left to build the index from.
    for disk in 0..3 {
        strata_seam::Disk::remove(&*world.disk(&format!("disk{disk}")), "seg-00000000").expect("removed");
    }
    let error = try_open_small(&world).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("checkpoint"), "{error}");
}

#[test]
fn an_index_is_built_anew_for_another_engine_and_stays_as_it_was_where_that_cannot_be() {
    let (world, store) = filled(30);
    checkpoint(&store).expect("taken");
    put(store.namespace(), "last", &noise(4, 100_000));
    let wanted = objects(store.namespace());
    drop(store);
    world.kill_process();
    let folder = tempfile::tempdir().expect("a folder");
    let open = |engine| {
        let dir = Some(folder.path().join("index"));
        let config = StoreConfig { index_dir: dir, index_engine: Some(engine), ..small(&world) };
        OpenStore::open(config, world.clock(), &SimEntropy::new(world.io_count() + 1))
    };
    let (sled, fjall) = (EngineKind::Sled, EngineKind::Fjall);
    for (engine, former) in [(sled, None), (fjall, Some(sled)), (sled, Some(fjall))] {
        let store = open(engine).expect("built anew");
        match former {
            Some(former) => assert_eq!(store.index_opened, Opened::Exchanged { former }),
            None => assert_eq!(store.index_opened, Opened::Fresh),
        }
        assert!(objects(store.namespace()) == wanted);
        store.close().expect("closed");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1, "the former one is gone");
    }
    let names = |store: &OpenStore| keys(store.namespace(), "", None).0;
    damage_pieces(&world, open(sled).expect("as it was"));
    // The log's start is gone and the checkpoint is damaged: only the present index has the records.
    for disk in 0..3 {
        strata_seam::Disk::remove(&*world.disk(&format!("disk{disk}")), "seg-00000000").expect("removed");
    }
    let error = open(fjall).err().expect("refused");
    assert!(error.to_string().contains("set `index-engine` to sled"), "{error}");
    let store = open(sled).expect("as it was");
    assert_eq!(store.index_opened, Opened::Resumed);
    assert_eq!(names(&store), wanted.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
}

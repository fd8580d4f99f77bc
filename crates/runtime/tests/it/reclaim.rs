//! The mover: space is freed, nothing that is referenced or relied upon is removed, whatever happens at which moment.

use std::collections::BTreeSet;
use std::time::Duration;

use strata_content::{Choice, Content, DedupDomain, Host, MoverReport};
use strata_ledger::Options;
use strata_namespace::{Condition, ErrorKind, Namespace, ObjectMeta, Result};
use strata_runtime::{ContentSettings, OpenStore, SpaceWatch, StoreConfig};
use strata_seam::Clock;
use strata_seam::sim::{Fault, SimEntropy, SimWorld, When};

use crate::checkpoint::{filled, objects, small, try_open_small};
use crate::support::*;

fn reclaim(store: &OpenStore) -> MoverReport {
    store.runtime().reclaim(Duration::ZERO, &mut |_| true).expect("reclaimed")
}

fn delete(ns: &Namespace, key: &str) {
    ns.delete_object(&root(), "bkt", key.as_bytes(), &Condition::default()).expect("deleted");
}

fn own(ns: &Namespace, key: &str, content: Content) -> Result<()> {
    let op = root();
    ns.put_object(&op, "bkt", key.as_bytes(), content, None, ObjectMeta::default(), &Condition::default())?;
    ns.settle_blocking(&op)
}

fn segments(store: &OpenStore) -> usize {
    store.namespace().store().ledger().segments().len()
}

/// Calls back at each step, so that a test can act in the midst of a round.
struct Acting<P, W>(P, W);

impl<P: FnMut(&MoverReport) -> bool, W: FnMut(usize) -> bool> Host for Acting<P, W> {
    fn pace(&mut self, _bytes: u64, report: &MoverReport) -> bool {
        (self.0)(report)
    }
    fn wait(&mut self, holders: usize, _report: &MoverReport) -> bool {
        (self.1)(holders)
    }
}

/// A reclaim of everything, with `wait` called while holders from before are there.
fn reclaim_acting(
    store: &OpenStore,
    pace: impl FnMut(&MoverReport) -> bool,
    wait: impl FnMut(usize) -> bool,
) -> MoverReport {
    let content = store.namespace().store();
    content.ledger().begin_segment().expect("begun");
    content.reclaim(Choice::All, &mut Acting(pace, wait)).expect("reclaimed")
}

fn reopened(world: &SimWorld, store: OpenStore) -> OpenStore {
    drop(store);
    world.kill_process();
    try_open_small(world).expect("the store opens")
}

#[test]
fn the_space_of_deleted_content_comes_back_and_all_else_stays() {
    let (world, store) = filled(60);
    for n in 0..60 {
        if n % 10 != 1 {
            drop(store.namespace().delete_object(&root(), "bkt", format!("k{n}").as_bytes(), &Condition::default()));
        }
    }
    let (wanted, before) = (objects(store.namespace()), segments(&store));
    assert_eq!(wanted.len(), 6);
    let report = reclaim(&store);
    assert!(report.chunks_dropped > 30 && report.segments_freed > 0, "{report:?}");
    assert!(segments(&store) < before, "{} of {before} segments are left", segments(&store));
    assert!(objects(store.namespace()) == wanted);
    sound(store.namespace());
    // Nothing is left to do, and a restart (without any index) finds the same.
    assert_eq!(reclaim(&store).chunks_dropped, 0);
    let store = reopened(&world, store);
    assert!(store.restored > 0);
    assert!(objects(store.namespace()) == wanted);
    sound(store.namespace());
}

#[test]
fn small_commits_are_packed() {
    let world = SimWorld::new(1);
    let store = try_open_small(&world).expect("the store opens");
    store.namespace().create_bucket(&root(), "bkt", None).expect("a bucket");
    let text = |n: u64| format!("object {n}, much like all the others in this place\n").repeat(20).into_bytes();
    for n in 0..600 {
        put(store.namespace(), &format!("k{n}"), &text(n));
    }
    let before = segments(&store);
    let report = reclaim(&store);
    assert!(segments(&store) * 3 <= before, "{} of {before} segments are left: {report:?}", segments(&store));
    for n in 0..600 {
        assert_eq!(get(store.namespace(), &format!("k{n}")).expect("there"), text(n));
    }
    sound(store.namespace());
}

#[test]
fn a_checkpoint_is_taken_for_as_much_as_is_worth_it_however_little_memory_a_portion_has() {
    const OBJECTS: u64 = 1500;
    const PORTION: usize = 30;
    let world = SimWorld::new(1);
    let memory = ContentSettings { mover_bytes_max: PORTION * 128, ..ContentSettings::default() };
    let config = StoreConfig { content: memory, ..small(&world) };
    let store = OpenStore::open(config, world.clock(), &SimEntropy::new(1)).expect("opens");
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    let data = |n: u64| noise(n + 1, 300);
    (0..OBJECTS).for_each(|n| drop(put(ns, &format!("k{n}"), &data(n))));
    ns.store().take_checkpoint(&BTreeSet::new(), &mut |_| true).expect("taken");
    let before = ns.store().checkpoint_counts().written;
    let report = reclaim(&store);
    let (checkpoints, written) = (report.checkpoints, ns.store().checkpoint_counts().written - before);
    assert!(report.chunks_moved >= OBJECTS, "{report:?}");
    assert!(checkpoints * 8 * PORTION as u64 <= OBJECTS, "{checkpoints} checkpoints: {report:?}");
    assert!(written * 8 <= report.bytes_freed, "{written} bytes of checkpoints: {report:?}");
    (0..OBJECTS).for_each(|n| assert_eq!(get(ns, &format!("k{n}")).expect("there"), data(n)));
    sound(ns);
}

#[test]
fn an_ingest_that_found_a_chunk_before_it_was_condemned_is_waited_for() {
    let (world, store) = filled(10);
    let ns = store.namespace();
    let data = noise(9000, 40_000);
    put(ns, "gone", &data);
    delete(ns, "gone");
    // The ingest left the bytes out, and has not counted them yet.
    let mut content = Some(content(ns, &data));
    let mut waited = 0;
    reclaim_acting(
        &store,
        |_| true,
        |holders| {
            waited = holders;
            own(ns, "back", content.take().expect("once")).expect("owned");
            true
        },
    );
    assert_eq!(waited, 1);
    assert_eq!(get(ns, "back").expect("there"), data);
    sound(ns);
    let store = reopened(&world, store);
    assert_eq!(get(store.namespace(), "back").expect("there"), data);
    sound(store.namespace());
}

#[test]
fn an_ingest_that_does_not_end_keeps_what_it_relies_on() {
    let (world, store) = filled(10);
    let ns = store.namespace();
    let data = noise(9000, 40_000);
    put(ns, "gone", &data);
    delete(ns, "gone");
    let kept = content(ns, &data);
    let report = reclaim_acting(&store, |_| true, |_| false);
    assert!(report.segments_waiting > 0 && report.chunks_dropped == 0, "{report:?}");
    own(ns, "back", kept).expect("owned");
    assert_eq!(get(ns, "back").expect("there"), data);
    sound(ns);
    let store = reopened(&world, store);
    assert_eq!(get(store.namespace(), "back").expect("there"), data);
}

#[test]
fn an_ingest_begun_after_the_condemnation_writes_the_chunk_anew() {
    let (world, store) = filled(10);
    let ns = store.namespace();
    let data = noise(9000, 40_000);
    put(ns, "gone", &data);
    delete(ns, "gone");
    // A holder from before makes the round wait at the moment when everything is condemned.
    let mut older = Some(content(ns, &data));
    let mut fresh = None;
    let report = reclaim_acting(
        &store,
        |_| true,
        |_| {
            fresh = Some(content(ns, &data));
            drop(older.take());
            true
        },
    );
    assert!(report.chunks_dropped > 0, "{report:?}");
    own(ns, "back", fresh.expect("made")).expect("owned");
    assert_eq!(get(ns, "back").expect("there"), data);
    sound(ns);
    let store = reopened(&world, store);
    assert_eq!(get(store.namespace(), "back").expect("there"), data);
    sound(store.namespace());
}

#[test]
fn a_stream_that_takes_long_keeps_what_it_relies_on_and_nothing_else() {
    let (world, store) = filled(10);
    let ns = store.namespace();
    let (relied, own_bytes, gone) = (noise(9000, 6 << 20), noise(9001, 3 << 20), noise(9002, 6 << 20));
    for (key, data) in [("relied", &relied), ("gone", &gone)] {
        put(ns, key, data);
    }
    let mut stream = ns.ingest(&root(), "bkt").expect("an ingest");
    stream.push(&relied).expect("taken in");
    stream.push(&own_bytes).expect("taken in");
    for key in ["relied", "gone"] {
        delete(ns, key);
    }
    while ns.store().collect().expect("collected") > 0 {}
    let report = reclaim_acting(&store, |_| true, |_| false);
    assert!(report.chunks_dropped > 50 && report.segments_waiting > 0, "{report:?}");
    // Chunks that it leaves out from here on are there too.
    stream.push(&gone).expect("taken in");
    let report = reclaim_acting(&store, |_| true, |_| false);
    assert!(report.segments_waiting > 0, "{report:?}");
    own(ns, "whole", stream.finish().expect("ended")).expect("owned");
    let all = [relied, own_bytes, gone].concat();
    assert!(get(ns, "whole").expect("there") == all);
    sound(ns);
    let store = reopened(&world, store);
    assert!(get(store.namespace(), "whole").expect("there") == all);
    sound(store.namespace());
}

#[test]
fn streams_that_rely_on_nothing_that_goes_hold_nothing_up() {
    let (_world, store) = filled(10);
    let ns = store.namespace();
    put(ns, "gone", &noise(9001, 6 << 20));
    let mut streams: Vec<_> = (0..256).map(|_| ns.ingest(&root(), "bkt").expect("an ingest")).collect();
    streams.iter_mut().for_each(|stream| stream.push(&noise(9002, 100_000)).expect("taken in"));
    delete(ns, "gone");
    while ns.store().collect().expect("collected") > 0 {}
    let report = reclaim_acting(&store, |_| true, |_| panic!("nobody is waited for"));
    assert!(report.chunks_dropped > 50 && report.segments_waiting == 0, "{report:?}");
    drop(streams);
    sound(ns);
}

#[test]
fn an_open_reader_reads_on_and_what_it_read_goes_when_it_is_closed() {
    let (_world, store) = filled(10);
    let ns = store.namespace();
    let data = noise(9000, 300_000);
    put(ns, "read", &data);
    let (_, reader) = ns.get_object(&root(), "bkt", b"read").expect("there");
    delete(ns, "read");
    let report = reclaim_acting(&store, |_| true, |_| false);
    assert!(report.segments_waiting > 0, "{report:?}");
    assert_eq!(reader.read(0, 300_000).expect("read"), data);
    drop(reader);
    let report = reclaim_acting(&store, |_| true, |_| panic!("nobody is left"));
    assert!(report.chunks_dropped >= 2, "{report:?}");
    sound(ns);
}

#[test]
fn a_reader_of_what_is_wanted_holds_nothing_up() {
    let (world, store) = filled(10);
    let ns = store.namespace();
    // Content with pages, whose items the mover has to look at.
    let data = noise(9000, 6 << 20);
    put(ns, "live", &data);
    let (_, reader) = ns.get_object(&root(), "bkt", b"live").expect("there");
    put(ns, "gone", &noise(9001, 6 << 20));
    delete(ns, "gone");
    while ns.store().collect().expect("collected") > 0 {}
    let report = reclaim_acting(&store, |_| true, |_| panic!("nobody is waited for"));
    assert!(report.chunks_dropped > 50 && report.segments_waiting == 0, "{report:?}");
    assert_eq!(reader.read(0, 6 << 20).expect("read"), data);
    sound(ns);
    drop(reader);
    let store = reopened(&world, store);
    assert_eq!(get(store.namespace(), "live").expect("there"), data);
    sound(store.namespace());
}

#[test]
fn a_reader_of_what_is_gone_keeps_that_and_nothing_else() {
    let (_world, store) = filled(10);
    let ns = store.namespace();
    let data = noise(9000, 6 << 20);
    put(ns, "read", &data);
    let (_, reader) = ns.get_object(&root(), "bkt", b"read").expect("there");
    delete(ns, "read");
    put(ns, "gone", &noise(9001, 6 << 20));
    delete(ns, "gone");
    while ns.store().collect().expect("collected") > 0 {}
    let report = reclaim_acting(&store, |_| true, |_| false);
    assert!(report.chunks_dropped > 50 && report.segments_waiting > 0, "{report:?}");
    for at in 0..6 {
        let part = reader.read(at << 20, 1 << 20).expect("read");
        assert!(part == data[at as usize * (1 << 20)..][..1 << 20]);
    }
    drop(reader);
    let report = reclaim_acting(&store, |_| true, |_| panic!("nobody is left"));
    assert!(report.chunks_dropped > 50, "{report:?}");
    sound(ns);
}

#[test]
fn a_copy_of_an_object_deleted_meanwhile_is_whole_or_refused() {
    let (_world, store) = filled(4);
    let ns = store.namespace();
    let data = noise(9000, 40_000);
    let copied = |ns: &Namespace| {
        let inode = ns.head_object(&root(), "bkt", b"source").expect("there");
        (inode, ns.get_object(&root(), "bkt", b"source").expect("there").1.items().to_vec())
    };
    put(ns, "source", &data);
    let (_, items) = copied(ns);
    // Made before the deletion, committed while the round waits for it.
    let mut early = Some(ns.store().content(DedupDomain::COMMON, items.clone()).expect("by reference"));
    delete(ns, "source");
    reclaim_acting(
        &store,
        |_| true,
        |_| {
            own(ns, "early", early.take().expect("once")).expect("owned");
            true
        },
    );
    assert_eq!(get(ns, "early").expect("there"), data);
    sound(ns);
    // Only the items were kept, and everything else is gone: refused, nothing is half there.
    delete(ns, "early");
    reclaim_acting(&store, |_| true, |_| true);
    let late = ns.store().content(DedupDomain::COMMON, items).expect("by reference");
    assert_eq!(own(ns, "late", late).expect_err("refused").kind, ErrorKind::Stale);
    assert!(get(ns, "late").is_err());
    sound(ns);
}

#[test]
fn a_page_whose_count_went_to_zero_comes_back_whole() {
    let (world, store) = filled(4);
    let ns = store.namespace();
    // More chunks than a record holds: the manifest has pages.
    let data = noise(9000, 6 << 20);
    put(ns, "large", &data);
    delete(ns, "large");
    while ns.store().collect().expect("collected") > 0 {}
    let mut again = Some(content(ns, &data));
    let report = reclaim_acting(
        &store,
        |_| true,
        |_| {
            own(ns, "again", again.take().expect("once")).expect("owned");
            true
        },
    );
    assert_eq!(get(ns, "again").expect("there"), data);
    sound(ns);
    let store = reopened(&world, store);
    assert_eq!(get(store.namespace(), "again").expect("there"), data);
    sound(store.namespace());
    // Deleted for good, all of it is removed.
    delete(store.namespace(), "again");
    while store.namespace().store().collect().expect("collected") > 0 {}
    let report = (report, reclaim_acting(&store, |_| true, |_| true));
    assert!(report.1.chunks_dropped > 60, "{report:?}");
    sound(store.namespace());
}

#[test]
fn parts_of_an_upload_stay_until_it_is_completed_or_aborted() {
    let (world, store) = filled(6);
    let ns = store.namespace();
    let op = root();
    let upload = ns.create_upload(&op, "bkt", b"joined", ObjectMeta::default()).expect("begun");
    let data = noise(9000, 5 << 20);
    let etag = format!("{:032x}", 1);
    let part = content(ns, &data);
    ns.put_part(&op, "bkt", b"joined", &upload.id, 1, part, etag.clone(), Default::default()).expect("put");
    reclaim_acting(&store, |_| true, |_| true);
    let store = reopened(&world, store);
    let ns = store.namespace();
    ns.complete_upload(&op, "bkt", b"joined", &upload.id, &[(1, etag)], Default::default(), &Condition::default())
        .expect("completed");
    assert_eq!(get(ns, "joined").expect("there"), data);
    sound(ns);
}

#[test]
fn a_reclaim_called_off_at_any_step_loses_nothing_and_the_next_one_ends_it() {
    let (world, store) = filled(30);
    let wanted = objects(store.namespace());
    drop(store);
    world.kill_process();
    let start = world.snapshot();
    for stop in 0.. {
        world.restore(&start);
        let store = try_open_small(&world).expect("the store opens");
        let mut steps = 0;
        reclaim_acting(
            &store,
            |_| {
                steps += 1;
                steps <= stop
            },
            |_| true,
        );
        assert!(objects(store.namespace()) == wanted, "called off at {stop}");
        sound(store.namespace());
        if steps <= stop {
            assert!(stop > 5, "only {stop} steps");
            break;
        }
        assert!(reclaim_acting(&store, |_| true, |_| true).segments_freed > 0);
        assert!(objects(store.namespace()) == wanted, "called off at {stop}");
        world.kill_process();
    }
}

#[test]
fn a_crash_at_any_io_of_a_reclaim_loses_nothing_and_the_next_one_ends_it() {
    let (world, store) = filled(12);
    delete(store.namespace(), "k1");
    store.namespace().store().ledger().sync().expect("synced");
    let wanted = objects(store.namespace());
    drop(store);
    world.kill_process();
    let start = world.snapshot();
    let mut at = 1;
    loop {
        world.restore(&start);
        let store = try_open_small(&world).expect("the store opens");
        world.crash_at(world.io_count() + at);
        let done = store.runtime().reclaim(Duration::ZERO, &mut |_| true);
        if !world.is_crashed() {
            assert!(done.expect("reclaimed").segments_freed > 0);
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
            assert!(objects(store.namespace()) == wanted, "crash at {at}, {choice}");
            sound(store.namespace());
            if choice == 0 && at % 5 == 0 {
                reclaim(&store);
                assert!(objects(store.namespace()) == wanted, "crash at {at}, then another reclaim");
                sound(store.namespace());
            }
        }
        at += 1;
    }
    assert!(at > 30, "only {at} crash points");
}

#[test]
fn a_failed_io_of_any_number_in_a_reclaim_costs_no_data() {
    let (world, store) = filled(10);
    let wanted = objects(store.namespace());
    drop(store);
    world.kill_process();
    let start = world.snapshot();
    for at in 1.. {
        world.restore(&start);
        let store = try_open_small(&world).expect("the store opens");
        let first = world.io_count();
        world.set_fault(Fault::medium().when(When::At(first + at)));
        let done = store.runtime().reclaim(Duration::ZERO, &mut |_| true);
        let struck = world.io_count() >= first + at;
        world.clear_faults();
        assert!(objects(store.namespace()) == wanted, "failure at {at}: {done:?}");
        let store = reopened(&world, store);
        assert!(objects(store.namespace()) == wanted, "failure at {at}, restarted: {done:?}");
        sound(store.namespace());
        if !struck {
            assert!(at > 30, "only {at} I/Os");
            break;
        }
    }
}

#[test]
fn a_chunk_that_cannot_be_read_keeps_its_segment_and_is_reported() {
    let (world, store) = filled(10);
    let ns = store.namespace();
    put(ns, "hurt", &noise(9000, 20_000));
    put(ns, "fine", &noise(9001, 20_000));
    let id = strata_chunk::chunk_id(&noise(9000, 20_000));
    let place = ns.store().location(&id).expect("read").expect("there");
    for disk in 0..3 {
        let file = format!("seg-{:08x}", place.segment.0);
        for byte in 0..8 {
            assert!(world.flip_bit(&format!("disk{disk}"), &file, u64::from(place.sector) * 4096 + 256 + byte * 5, 1));
        }
    }
    // A fresh process, without the blocks in memory.
    let store = reopened(&world, store);
    let report = reclaim_acting(&store, |_| true, |_| true);
    assert!(report.unreadable > 0, "{report:?}");
    let ns = store.namespace();
    assert!(ns.store().ledger().segments().contains(&place.segment), "its segment stays");
    assert_eq!(get(ns, "hurt").expect_err("damaged").kind, ErrorKind::Corrupt);
    assert_eq!(get(ns, "fine").expect("there"), noise(9001, 20_000));
}

#[test]
fn a_full_store_takes_deletions_and_their_space_comes_back() {
    let world = SimWorld::new(1);
    let store = try_open_small(&world).expect("the store opens");
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    for disk in 0..3 {
        world.set_capacity(&format!("disk{disk}"), 12 * (512 << 10) + 8192);
    }
    let mut count = 0;
    loop {
        let mut ingest = ns.ingest(&root(), "bkt").expect("an ingest");
        if ingest.push(&noise(count + 1, 60_000)).is_err() {
            break;
        }
        let Ok(content) = ingest.finish() else { break };
        match own(ns, &format!("k{count}"), content) {
            Ok(()) => count += 1,
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
                break;
            }
        }
    }
    assert!(count > 60, "{count} objects");
    for n in 0..count {
        if n % 4 != 0 {
            delete(ns, &format!("k{n}"));
        }
    }
    let report = reclaim(&store);
    assert!(report.segments_freed > 3, "{report:?}");
    for n in 0..20 {
        put(ns, &format!("new{n}"), &noise(5000 + n, 60_000));
    }
    for n in (0..count).step_by(4) {
        assert_eq!(get(ns, &format!("k{n}")).expect("there"), noise(n + 1, 60_000));
    }
    sound(ns);
}

#[test]
fn a_disk_that_was_away_gives_up_what_was_freed_meanwhile() {
    let (world, store) = filled(40);
    drop(store);
    world.kill_process();
    world.vanish("disk2");
    let store = try_open_small(&world).expect("degraded");
    for n in 0..40 {
        drop(store.namespace().delete_object(&root(), "bkt", format!("k{n}").as_bytes(), &Condition::default()));
    }
    put(store.namespace(), "last", &noise(4711, 70_000));
    assert!(reclaim(&store).segments_freed > 0);
    let held: BTreeSet<_> = store.namespace().store().ledger().segments().into_iter().collect();
    drop(store);
    world.kill_process();
    world.bring_back("disk2");
    let store = try_open_small(&world).expect("the store opens");
    assert_eq!(objects(store.namespace()), [("last".to_owned(), noise(4711, 70_000))]);
    let names = |disk: &str| -> BTreeSet<String> {
        world.files(disk).into_iter().map(|file| file.name).filter(|name| name.starts_with("seg-")).collect()
    };
    let stale: Vec<_> = names("disk2")
        .into_iter()
        .filter(|name| {
            let number = u32::from_str_radix(&name[4..], 16).expect("a number");
            !held.contains(&strata_seam::SegmentId(number))
        })
        .collect();
    assert_eq!(stale, Vec::<String>::new());
    sound(store.namespace());
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

#[test]
fn an_index_folder_from_before_a_reclaim_is_brought_up_to_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = SimWorld::new(1);
    let config = |dir: &str| StoreConfig { index_dir: Some(folder.path().join(dir)), ..small(&world) };
    let open = |dir: &str| OpenStore::open(config(dir), world.clock(), &SimEntropy::new(world.io_count() + 1));
    let store = open("index").expect("the store opens");
    store.namespace().create_bucket(&root(), "bkt", None).expect("a bucket");
    for n in 0..20 {
        put(store.namespace(), &format!("k{n}"), &noise(n + 1, 30_000));
    }
    store.close().expect("closed");
    copy_folder(&folder.path().join("index"), &folder.path().join("old"));
    let store = open("index").expect("the store opens");
    for n in 0..15 {
        delete(store.namespace(), &format!("k{n}"));
    }
    assert!(reclaim(&store).segments_freed > 0);
    let wanted = objects(store.namespace());
    store.close().expect("closed");
    for (dir, restored) in [("index", false), ("old", true), ("none", true)] {
        let store = open(dir).unwrap_or_else(|error| panic!("{dir}: {error:?}"));
        assert_eq!(store.restored > 0, restored, "{dir}");
        assert!(objects(store.namespace()) == wanted, "{dir}");
        sound(store.namespace());
        drop(store);
        world.kill_process();
    }
}

#[test]
fn a_reclaim_beside_writers_and_readers_in_threads_loses_nothing() {
    let world = SimWorld::new(1);
    let config = StoreConfig {
        threads: true,
        ledger: Options { segment_len: 512 << 10, shard_payload_max: 256 << 10, ..Options::default() },
        ..small(&world)
    };
    let store = OpenStore::open(config, world.clock(), &SimEntropy::new(3)).expect("the store opens");
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let data = |n: u64, round: u64| noise(n % 7 + 1 + (round % 3) * 100, 20_000);
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let stop = &stop;
            scope.spawn(move || {
                for round in 0..40 {
                    for n in 0..4 {
                        let key = format!("t{thread}/{n}");
                        put(ns, &key, &data(n + thread, round));
                        assert!(get(ns, &key).expect("there") == data(n + thread, round));
                        if (round + n) % 3 == 0 {
                            delete(ns, &key);
                        }
                    }
                }
                stop.store(true, std::sync::atomic::Ordering::Release);
            });
        }
        scope.spawn(|| {
            let mut rounds = 0;
            while !stop.load(std::sync::atomic::Ordering::Acquire) || rounds < 2 {
                store.runtime().reclaim(Duration::from_secs(5), &mut |_| true).expect("reclaimed");
                rounds += 1;
            }
        });
    });
    sound(ns);
    store.close().expect("closed");
    world.kill_process();
    let store = try_open_small(&world).expect("the store opens");
    sound(store.namespace());
}

/// A store without threads is one whole simulation: what the mover's pace costs passes on its clock, and is the same in every run.
#[test]
fn the_mover_of_a_simulated_store_keeps_to_its_pace_in_simulated_time() {
    const SECOND: u64 = 1_000_000_000;
    let run = |rate: u64| {
        let (world, store) = filled(40);
        let ns = store.namespace();
        ns.store().set_mover_rate(rate);
        world.clock().advance(61 * SECOND);
        let before = world.clock().monotonic_nanos();
        store.runtime().give_back_if_due(&mut SpaceWatch::default()).expect("looked");
        let counted = ns.store().mover().status().handled;
        (world.clock().monotonic_nanos() - before, counted)
    };
    let (nanos, counted) = run(1000);
    assert!(counted > 1000 && nanos >= (counted / 1000 - 1) * SECOND, "{counted} bytes in {nanos} ns");
    assert_eq!(run(1000), (nanos, counted));
    assert_eq!(run(0), (0, counted));
}

//! The fault catalogue, one sentence per test.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::{Clock, Disk, DiskError, DiskErrorKind, DiskFile, SECTOR_LEN, WriteMode};
use DiskErrorKind::{Full, Gone, Medium, NotFound, ReadOnly};
use WriteMode::{Buffered, Durable};

const SECTOR: u64 = SECTOR_LEN as u64;

/// A world with one disk and one file of 16 sectors that hold zeros.
fn world() -> (SimWorld, Arc<dyn DiskFile>) {
    let world = SimWorld::new(42);
    let file = world.disk("disk0").create("segment", 16 * SECTOR, true).unwrap();
    (world, file)
}

fn reopen(world: &SimWorld) -> Arc<dyn DiskFile> {
    world.disk("disk0").open("segment").unwrap()
}

fn bytes(world: &SimWorld) -> Vec<u8> {
    world.peek("disk0", "segment").unwrap()
}

fn sector(file: &dyn DiskFile, number: u64) -> Result<u8, DiskError> {
    let mut buf = [0; SECTOR_LEN];
    file.read_at(number * SECTOR, &mut buf)?;
    assert!(buf.iter().all(|byte| *byte == buf[0]), "mixed sector");
    Ok(buf[0])
}

fn put(file: &dyn DiskFile, number: u64, value: u8, mode: WriteMode) -> Result<(), DiskError> {
    file.write_at(number * SECTOR, &[value; SECTOR_LEN], mode)
}

fn kind<T>(result: Result<T, DiskError>) -> Option<DiskErrorKind> {
    result.err().map(|error| error.kind)
}

/// Every distinct content of the file after a power cut, over many choices, from the same moment.
fn outcomes(world: &SimWorld) -> BTreeSet<Vec<u8>> {
    let moment = world.snapshot();
    (0..200)
        .map(|seed| {
            world.restore(&moment);
            world.restart(seed);
            bytes(world)
        })
        .collect()
}

#[test]
fn the_simulated_disk_conforms() {
    conformance::check(&*SimWorld::new(1).disk("disk0"));
}

#[test]
fn synced_and_durable_writes_survive_every_power_cut() {
    let (world, file) = world();
    put(&*file, 0, 1, Buffered).unwrap();
    file.sync().unwrap();
    put(&*file, 1, 2, Durable).unwrap();
    let expected = bytes(&world);
    assert_eq!(outcomes(&world), BTreeSet::from([expected]));
}

#[test]
fn unsynced_writes_survive_in_any_subset() {
    let (world, file) = world();
    for number in 0..3 {
        put(&*file, number, 1, Buffered).unwrap();
    }
    let subsets: BTreeSet<_> = outcomes(&world)
        .into_iter()
        .map(|content| [0, 1, 2].map(|number| content[number * SECTOR_LEN..][..SECTOR_LEN].to_vec()))
        .filter(|sectors| sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])))
        .map(|sectors| sectors.map(|sector| sector[0]))
        .collect();
    assert_eq!(subsets.len(), 8, "all subsets of three whole writes: {subsets:?}");
}

#[test]
fn restart_zero_keeps_nothing_unsynced_and_restart_one_keeps_all() {
    let (world, file) = world();
    put(&*file, 0, 1, Buffered).unwrap();
    let moment = world.snapshot();
    world.restart(0);
    assert_eq!(sector(&*reopen(&world), 0).unwrap(), 0);
    world.restore(&moment);
    world.restart(1);
    assert_eq!(sector(&*reopen(&world), 0).unwrap(), 1);
}

#[test]
fn a_durable_write_is_torn_only_by_a_crash_at_that_write_and_only_between_sectors() {
    let (world, file) = world();
    world.crash_at(world.io_count() + 1);
    assert_eq!(kind(file.write_at(SECTOR, &[1; 4 * SECTOR_LEN], Durable)), Some(Gone));
    let outcomes = outcomes(&world);
    let torn_inside_4k =
        outcomes.iter().filter(|content| content.chunks(SECTOR_LEN).any(|s| s.contains(&0) && s.contains(&1)));
    assert!(torn_inside_4k.count() > 0, "tears at 512 bytes occur");
    assert!(outcomes.len() > 10);
    for content in outcomes {
        assert!(content.chunks(512).all(|part| part.iter().all(|byte| *byte == part[0])), "torn inside 512 bytes");
        assert!(content[..SECTOR_LEN].iter().chain(&content[5 * SECTOR_LEN..]).all(|byte| *byte == 0));
    }
}

#[test]
fn after_a_crash_every_disk_is_gone_until_the_restart_and_old_handles_stay_dead() {
    let (world, file) = world();
    let (zero, one) = (world.disk("disk0"), world.disk("disk1"));
    world.crash_at(world.io_count() + 2);
    one.space().unwrap();
    assert_eq!(kind(file.sync()), Some(Gone));
    assert!(world.is_crashed());
    assert_eq!(kind(one.list()), Some(Gone));
    world.restart(1);
    assert_eq!(kind(file.sync()), Some(Gone));
    assert_eq!(kind(zero.list()), Some(Gone));
    assert_eq!(world.disk("disk0").list().unwrap().len(), 1);
}

#[test]
fn a_crash_during_several_writes_at_once_may_keep_any_of_them() {
    let world = SimWorld::new(0);
    let files: Vec<_> =
        ["a", "b", "c"].map(|disk| world.disk(disk).create("segment", SECTOR, true).unwrap()).into_iter().collect();
    world.crash_during(world.io_count() + 1, 3);
    for file in &files {
        assert_eq!(kind(put(&**file, 0, 1, Durable)), Some(Gone));
    }
    assert_eq!(kind(put(&*files[0], 0, 2, Durable)), Some(Gone));
    let moment = world.snapshot();
    let subsets: BTreeSet<_> = (0..300)
        .map(|seed| {
            world.restore(&moment);
            world.restart(seed);
            ["a", "b", "c"].map(|disk| world.peek(disk, "segment").unwrap())
        })
        .filter(|contents| contents.iter().all(|content| content.iter().all(|byte| *byte == content[0])))
        .map(|contents| contents.map(|content| content[0]))
        .collect();
    assert_eq!(subsets.len(), 8, "{subsets:?}");
    assert!(subsets.iter().flatten().all(|value| *value < 2), "the write after the crash never arrives");
}

#[test]
fn a_file_whose_creation_was_cut_off_is_missing_old_shorter_or_whole() {
    let seen = |old: bool| -> BTreeSet<Option<(u64, u8)>> {
        let world = SimWorld::new(0);
        if old {
            world.disk("disk0").replace("segment", &[7; 10_000]).unwrap();
        }
        world.crash_at(world.io_count() + 1);
        assert_eq!(kind(world.disk("disk0").create("segment", 2 * SECTOR, true)), Some(Gone));
        let moment = world.snapshot();
        (0..100)
            .map(|seed| {
                world.restore(&moment);
                world.restart(seed);
                let content = world.peek("disk0", "segment")?;
                Some((content.len() as u64, content.first().copied().unwrap_or(0)))
            })
            .collect()
    };
    assert_eq!(seen(false), BTreeSet::from([None, Some((0, 0)), Some((SECTOR, 0)), Some((2 * SECTOR, 0))]));
    assert!(seen(true).contains(&Some((10_000, 7))));
}

#[test]
fn content_whose_replacement_was_cut_off_is_old_or_new_and_never_mixed() {
    let world = SimWorld::new(0);
    world.disk("disk0").replace("state", b"old state").unwrap();
    world.crash_at(world.io_count() + 1);
    assert_eq!(kind(world.disk("disk0").replace("state", b"new")), Some(Gone));
    let moment = world.snapshot();
    let seen: BTreeSet<_> = (0..50)
        .map(|seed| {
            world.restore(&moment);
            world.restart(seed);
            world.peek("disk0", "state").unwrap()
        })
        .collect();
    assert_eq!(seen, BTreeSet::from([b"old state".to_vec(), b"new".to_vec()]));
}

#[test]
fn a_file_whose_removal_was_cut_off_may_still_be_there() {
    let (world, _file) = world();
    world.crash_at(world.io_count() + 1);
    assert_eq!(kind(world.disk("disk0").remove("segment")), Some(Gone));
    let moment = world.snapshot();
    let seen: BTreeSet<_> = (0..20)
        .map(|seed| {
            world.restore(&moment);
            world.restart(seed);
            world.peek("disk0", "segment").is_some()
        })
        .collect();
    assert_eq!(seen, BTreeSet::from([false, true]));
}

#[test]
fn when_only_the_process_dies_unsynced_writes_are_still_read_and_still_unsynced() {
    let (world, file) = world();
    put(&*file, 0, 1, Buffered).unwrap();
    world.kill_process();
    assert_eq!(kind(file.sync()), Some(Gone));
    assert_eq!(sector(&*reopen(&world), 0).unwrap(), 1);
    world.restart(0);
    assert_eq!(sector(&*reopen(&world), 0).unwrap(), 0);
}

#[test]
fn the_nth_io_fails_once_or_from_then_on() {
    let (world, file) = world();
    let next = world.io_count() + 1;
    world.set_fault(Fault::medium().when(When::At(next + 1)));
    world.set_fault(Fault::full().when(When::From(next + 3)));
    let kinds: Vec<_> = (0..6).map(|_| kind(sector(&*file, 0))).collect();
    assert_eq!(kinds, [None, Some(Medium), None, Some(Full), Some(Full), Some(Full)]);
    world.clear_faults();
    sector(&*file, 0).unwrap();
}

#[test]
fn a_fault_strikes_only_the_disk_file_and_call_it_names() {
    let (world, file) = world();
    let other = world.disk("disk1").create("segment", SECTOR, true).unwrap();
    world.disk("disk0").replace("state", b"x").unwrap();
    world.set_fault(Fault::medium().on("disk0").of(IoOp::Read).file("segment").when(When::Next(2)));
    sector(&*other, 0).unwrap();
    put(&*file, 0, 1, Durable).unwrap();
    world.disk("disk0").open("state").unwrap().read_at(0, &mut [0]).unwrap();
    let kinds: Vec<_> = (0..3).map(|_| kind(sector(&*file, 0))).collect();
    assert_eq!(kinds, [Some(Medium), Some(Medium), None]);
}

#[test]
fn a_failed_write_changes_nothing() {
    let (world, file) = world();
    world.set_fault(Fault::full().of(IoOp::Write).when(When::Next(1)));
    assert_eq!(kind(put(&*file, 0, 1, Durable)), Some(Full));
    assert_eq!(sector(&*file, 0).unwrap(), 0);
}

#[test]
fn after_a_failed_sync_a_later_one_succeeds_and_the_data_is_lost_all_the_same() {
    let (world, file) = world();
    put(&*file, 0, 1, Buffered).unwrap();
    world.set_fault(Fault::medium().of(IoOp::Sync).when(When::Next(1)));
    assert_eq!(kind(file.sync()), Some(Medium));
    put(&*file, 1, 2, Buffered).unwrap();
    file.sync().unwrap();
    assert_eq!(sector(&*file, 0).unwrap(), 1, "memory still shows it");
    world.restart(1);
    let file = reopen(&world);
    assert_eq!((sector(&*file, 0).unwrap(), sector(&*file, 1).unwrap()), (0, 2));
}

#[test]
fn a_failed_sync_may_also_bring_the_old_bytes_back_at_once() {
    let (world, file) = world();
    put(&*file, 0, 1, Buffered).unwrap();
    world.set_fault(Fault::new(FaultKind::FailedSyncReverts));
    assert_eq!(kind(file.sync()), Some(Medium));
    assert_eq!(sector(&*file, 0).unwrap(), 0);
}

#[test]
fn a_short_write_leaves_a_part_and_fails() {
    let (world, file) = world();
    world.set_fault(Fault::new(FaultKind::ShortWrite));
    let mut arrived = BTreeSet::new();
    for _ in 0..50 {
        assert_eq!(kind(file.write_at(0, &[1; 2 * SECTOR_LEN], Durable)), Some(Medium));
        arrived.insert(bytes(&world).iter().filter(|byte| **byte == 1).count());
        world.poke("disk0", "segment", 0, &[0; 2 * SECTOR_LEN]);
    }
    assert!(arrived.len() > 5 && arrived.iter().all(|len| *len < 2 * SECTOR_LEN), "{arrived:?}");
}

#[test]
fn a_lost_write_reports_success_and_changes_nothing() {
    let (world, file) = world();
    world.set_fault(Fault::new(FaultKind::LostWrite).when(When::Next(1)));
    put(&*file, 0, 1, Durable).unwrap();
    assert_eq!(sector(&*file, 0).unwrap(), 0);
}

#[test]
fn a_misdirected_write_lands_at_another_offset_or_in_another_file() {
    let (world, file) = world();
    let other = world.disk("disk0").create("other", SECTOR, true).unwrap();
    let astray = |file: Option<&str>, offset| FaultKind::Misdirected { file: file.map(str::to_owned), offset };
    world.set_fault(Fault::new(astray(None, 3 * SECTOR)).when(When::Next(1)));
    put(&*file, 0, 1, Durable).unwrap();
    assert_eq!((sector(&*file, 0).unwrap(), sector(&*file, 3).unwrap()), (0, 1));
    world.set_fault(Fault::new(astray(Some("other"), 0)).when(When::Next(1)));
    put(&*file, 0, 2, Durable).unwrap();
    assert_eq!((sector(&*file, 0).unwrap(), sector(&*other, 0).unwrap()), (0, 2));
    world.set_fault(Fault::new(astray(None, 16 * SECTOR)).when(When::Next(1)));
    put(&*file, 0, 3, Durable).unwrap();
    assert!(!bytes(&world).contains(&3));
}

#[test]
fn a_lying_disk_may_lose_what_it_called_durable() {
    let (world, file) = world();
    world.set_fault(Fault::new(FaultKind::Lie));
    put(&*file, 0, 1, Durable).unwrap();
    put(&*file, 1, 1, Buffered).unwrap();
    file.sync().unwrap();
    assert_eq!((sector(&*file, 0).unwrap(), sector(&*file, 1).unwrap()), (1, 1));
    world.restart(0);
    assert!(bytes(&world).iter().all(|byte| *byte == 0));
}

#[test]
fn a_flipped_bit_stays_on_the_medium_until_it_is_overwritten() {
    let (world, file) = world();
    put(&*file, 2, 0, Durable).unwrap();
    assert!(world.flip_bit("disk0", "segment", 2 * SECTOR + 9, 3));
    assert_eq!(bytes(&world)[2 * SECTOR_LEN + 9], 8);
    world.restart(0);
    assert_eq!(bytes(&world)[2 * SECTOR_LEN + 9], 8);
    put(&*reopen(&world), 2, 0, Durable).unwrap();
    assert!(bytes(&world).iter().all(|byte| *byte == 0));
    assert!(!world.flip_bit("disk0", "segment", 16 * SECTOR, 0) && !world.flip_bit("disk0", "nothing", 0, 0));
}

#[test]
fn a_damaged_read_flips_one_bit_on_the_way_and_none_on_the_medium() {
    let (world, file) = world();
    world.set_fault(Fault::new(FaultKind::DamagedRead).when(When::Next(2)));
    let mut places = BTreeSet::new();
    for _ in 0..2 {
        let mut buf = [0; SECTOR_LEN];
        file.read_at(0, &mut buf).unwrap();
        assert_eq!(buf.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        places.insert(buf.iter().position(|byte| *byte != 0));
    }
    assert_eq!(places.len(), 2);
    assert_eq!(sector(&*file, 0).unwrap(), 0);
}

#[test]
fn a_stale_read_returns_the_generation_before_the_last_write() {
    let (world, file) = world();
    let stale = || world.set_fault(Fault::new(FaultKind::StaleRead).when(When::Next(1)));
    for value in 1..4 {
        put(&*file, 0, value, if value == 2 { Buffered } else { Durable }).unwrap();
        stale();
        assert_eq!(sector(&*file, 0).unwrap(), value - 1);
        assert_eq!(sector(&*file, 0).unwrap(), value);
    }
    let disk = world.disk("disk0");
    disk.replace("state", b"old").unwrap();
    disk.replace("state", b"new").unwrap();
    let (state, mut buf) = (disk.open("state").unwrap(), [0; 3]);
    stale();
    state.read_at(0, &mut buf).unwrap();
    assert_eq!(&buf, b"old");
}

#[test]
fn a_vanished_disk_is_gone_and_returns_as_it_was_pulled() {
    let (world, file) = world();
    let disk = world.disk("disk0");
    put(&*file, 0, 1, Durable).unwrap();
    world.vanish("disk0");
    assert_eq!((kind(disk.list()), kind(sector(&*file, 0))), (Some(Gone), Some(Gone)));
    world.disk("disk1").list().unwrap();
    world.bring_back("disk0");
    assert_eq!(kind(sector(&*file, 0)), Some(Gone), "a handle of before stays dead");
    assert_eq!(sector(&*disk.open("segment").unwrap(), 0).unwrap(), 1);
}

#[test]
fn a_vanished_disk_may_return_with_an_older_content_or_as_a_blank_one() {
    let (world, file) = world();
    put(&*file, 0, 1, Durable).unwrap();
    let image = world.disk_image("disk0");
    put(&*file, 0, 2, Durable).unwrap();
    world.vanish("disk0");
    world.bring_back_with("disk0", &image);
    assert_eq!(sector(&*reopen(&world), 0).unwrap(), 1);
    world.bring_back_with("disk0", &DiskImage::default());
    assert_eq!(world.disk("disk0").list().unwrap(), []);
}

#[test]
fn two_disks_swap_their_content() {
    let (world, _file) = world();
    world.disk("disk1").replace("state", b"x").unwrap();
    world.swap("disk0", "disk1");
    let names = |disk: &str| world.files(disk).into_iter().map(|file| file.name).collect::<Vec<_>>();
    assert_eq!((names("disk0"), names("disk1")), (vec!["state".to_owned()], vec!["segment".to_owned()]));
}

#[test]
fn a_read_only_disk_reads_and_refuses_every_change() {
    let (world, file) = world();
    let disk = world.disk("disk0");
    world.set_read_only("disk0", true);
    sector(&*file, 0).unwrap();
    disk.list().unwrap();
    let refusals = [
        kind(put(&*file, 0, 1, Buffered)),
        kind(file.sync()),
        kind(disk.create("new", 1, true)),
        kind(disk.replace("new", b"x")),
        kind(disk.remove("segment")),
    ];
    assert_eq!(refusals, [Some(ReadOnly); 5]);
    world.set_read_only("disk0", false);
    put(&*file, 0, 1, Buffered).unwrap();
}

#[test]
fn a_full_disk_refuses_new_files_and_still_takes_writes_into_old_ones() {
    let (world, file) = world();
    let disk = world.disk("disk0");
    world.set_capacity("disk0", 20 * SECTOR);
    assert_eq!(disk.space().unwrap().free, 4 * SECTOR);
    assert_eq!(kind(disk.create("new", 5 * SECTOR, true)), Some(Full));
    assert!(world.files("disk0").iter().map(|file| file.len).sum::<u64>() <= 20 * SECTOR);
    disk.remove("new").unwrap();
    assert_eq!(kind(disk.replace("state", &[1; 5 * SECTOR_LEN])), Some(Full));
    put(&*file, 0, 1, Durable).unwrap();
    disk.create("new", 4 * SECTOR, true).unwrap();
}

#[test]
fn a_failed_creation_may_leave_a_part_and_the_next_try_replaces_it() {
    let mut lengths = BTreeSet::new();
    for seed in 0..50 {
        let world = SimWorld::new(seed);
        world.set_fault(Fault::medium().of(IoOp::Create).when(When::Next(1)));
        assert_eq!(kind(world.disk("disk0").create("segment", 4 * SECTOR, true)), Some(Medium));
        lengths.insert(world.files("disk0").first().map(|file| file.len));
        assert_eq!(world.disk("disk0").create("segment", 4 * SECTOR, true).unwrap().len(), 4 * SECTOR);
    }
    assert!(lengths.contains(&None) && lengths.contains(&Some(4 * SECTOR)) && lengths.len() > 3, "{lengths:?}");
}

#[test]
fn a_slow_disk_takes_virtual_time_and_adds_up_with_other_faults() {
    let (world, file) = world();
    let clock = world.clock();
    let (wall, start) = (clock.now(), clock.monotonic_nanos());
    world.set_fault(Fault::new(FaultKind::Slow(30_000_000_000)).on("disk0"));
    world.set_fault(Fault::medium().of(IoOp::Sync));
    assert_eq!(kind(file.sync()), Some(Medium));
    assert_eq!(clock.monotonic_nanos() - start, 30_000_000_000);
    assert_eq!(clock.now().secs() - wall.secs(), 30);
    world.disk("disk1").list().unwrap();
    assert_eq!(clock.monotonic_nanos() - start, 30_000_000_000);
}

#[test]
fn a_stepped_wall_clock_leaves_monotonic_time_alone() {
    let clock = SimClock::new();
    clock.advance(5);
    clock.set_wall(crate::Timestamp::from_parts(-1, 0));
    assert_eq!((clock.now().secs(), clock.monotonic_nanos()), (-1, 5));
}

#[test]
fn a_file_cut_short_ends_there() {
    let (world, file) = world();
    put(&*file, 3, 1, Durable).unwrap();
    drop(file);
    assert!(world.truncate("disk0", "segment", 3 * SECTOR + 100));
    assert!(world.truncate("disk0", "segment", 5 * SECTOR));
    let content = bytes(&world);
    assert_eq!(content.len(), 5 * SECTOR_LEN);
    assert!(
        content
            .iter()
            .enumerate()
            .all(|(at, byte)| (*byte == 1) == (3 * SECTOR_LEN..3 * SECTOR_LEN + 100).contains(&at))
    );
    assert!(!world.truncate("disk0", "nothing", 0));
}

#[test]
fn ios_are_counted_over_all_disks_and_the_trace_names_each() {
    let world = SimWorld::new(0);
    world.record_trace(true);
    let file = world.disk("disk0").create("segment", SECTOR, true).unwrap();
    put(&*file, 0, 1, Durable).unwrap();
    assert_eq!(kind(world.disk("disk1").open("nothing")), Some(NotFound));
    assert_eq!(world.io_count(), 3);
    let trace: Vec<_> =
        world.trace().into_iter().map(|io| (io.number, io.disk, io.op, io.op.is_change(), io.len)).collect();
    assert_eq!(
        trace,
        [
            (1, "disk0".to_owned(), IoOp::Create, true, SECTOR),
            (2, "disk0".to_owned(), IoOp::Write, true, SECTOR),
            (3, "disk1".to_owned(), IoOp::Open, false, 0),
        ]
    );
}

#[test]
fn a_fork_goes_its_own_way() {
    let (world, file) = world();
    let fork = world.fork();
    put(&*file, 0, 1, Durable).unwrap();
    put(&*reopen(&fork), 0, 2, Durable).unwrap();
    assert_eq!((bytes(&world)[0], bytes(&fork)[0]), (1, 2));
}

#[test]
fn the_same_seed_gives_the_same_crash_and_removed_files_do_not_pile_up() {
    let (world, file) = world();
    for number in 0..16 {
        put(&*file, number, 1, Buffered).unwrap();
    }
    let run = |seed| {
        let fork = world.fork();
        fork.restart(seed);
        bytes(&fork)
    };
    assert_eq!(run(99), run(99));
    let disk = world.disk("disk0");
    let held = disk.create("held", SECTOR, true).unwrap();
    for _ in 0..100 {
        disk.create("held", SECTOR, true).unwrap();
    }
    assert_eq!(world.disk_image("disk0").0.files.len(), 2);
    put(&*held, 0, 1, Buffered).unwrap();
}

#[test]
fn exploring_crash_states_does_not_copy_large_files() {
    let world = SimWorld::new(0);
    for disk in 0..6 {
        let file = world.disk(&format!("disk{disk}")).create("segment", 64 << 20, true).unwrap();
        for megabyte in 0..64 {
            file.write_at(megabyte << 20, &[1; 1 << 16], Durable).unwrap();
        }
        put(&*file, 5, 2, Buffered).unwrap();
    }
    let moment = world.snapshot();
    let start = crate::SystemClock::new();
    for seed in 0..2000 {
        world.restore(&moment);
        world.restart(seed);
        put(&*reopen(&world), 7, 3, Durable).unwrap();
    }
    println!("2,000 crash states in {} ms", start.monotonic_nanos() / 1_000_000);
    // measured: 35 ms on one core, so the limit is missed only if the 24 MiB in use are copied for each state
    assert!(start.monotonic_nanos() < 5_000_000_000);
}

#[test]
fn states_are_told_apart_by_what_the_media_hold_and_by_nothing_else() {
    let world = SimWorld::new(1);
    world.disk("a").create("log", 3 << 20, true).unwrap();
    world.poke("a", "log", 5000, b"before");
    let base = world.snapshot();
    let untouched = world.change_hash(&base);
    world.restore(&base);
    world.clock().advance(7);
    assert_eq!(world.change_hash(&base), untouched);
    // The same bytes again are no change; other bytes, another length, a lost disk and a new file are.
    world.poke("a", "log", 5000, b"before");
    assert_eq!(world.change_hash(&base), untouched);
    let mut seen = std::collections::BTreeSet::from([untouched]);
    world.poke("a", "log", 2 << 20, &[1]);
    assert!(seen.insert(world.change_hash(&base)));
    world.poke("a", "log", 2 << 20, &[2]);
    assert!(seen.insert(world.change_hash(&base)));
    world.poke("a", "log", 2 << 20, &[0]);
    assert_eq!(world.change_hash(&base), untouched, "zeros written over nothing are nothing");
    world.truncate("a", "log", 2 << 20);
    assert!(seen.insert(world.change_hash(&base)));
    world.restore(&base);
    world.disk("b").create("log", 0, true).unwrap();
    assert!(seen.insert(world.change_hash(&base)));
    world.vanish("b");
    world.vanish("a");
    assert!(seen.insert(world.change_hash(&base)));
}

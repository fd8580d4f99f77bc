//! Disks lost, bytes changed, writes failed: reads are right or refused by name, what was acknowledged stays, and a
//! heal brings back every frame.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::sync::Arc;

use strata_ledger::{Class, DiskState, Geometry, Ledger, LedgerError, Options, PassOptions, StrangerKind};
use strata_seam::sim::{DiskImage, Fault, FaultKind, IoOp, SimEntropy, SimRng, When};
use strata_seam::{Disk, DiskErrorKind, Lsn};
use support::{LAYOUTS, Model, Rig};

/// A set with some log in it, closed by the death of the process.
fn filled(data: u8, parity: u8, count: u64) -> (Rig, Model) {
    let mut rig = Rig::new(data, parity, support::small());
    let (ledger, _) = rig.open();
    let mut model = Model::default();
    model.fill(&ledger, &mut SimRng::new(11), count);
    drop(ledger);
    rig.world.kill_process();
    (rig, model)
}

fn check_all(rig: &mut Rig, model: &Model) -> Ledger {
    let (ledger, replayed) = rig.open();
    assert_eq!(replayed.len(), model.appends.len());
    model.check_prefix(&replayed, Lsn(model.appends.len() as u64), Some(&ledger));
    ledger
}

#[test]
fn any_disks_up_to_the_parity_may_be_missing() {
    for (data, parity) in LAYOUTS {
        let (mut rig, model) = filled(data, parity, 40);
        let start = rig.world.snapshot();
        let disks = u32::from(data + parity);
        // All pairs and the like up to six disks; of twenty, every 37th subset.
        let step = if disks > 6 { 37 } else { 1 };
        for mask in (0_u32..1 << disks).filter(|mask| mask.count_ones() <= u32::from(parity)).step_by(step) {
            rig.world.restore(&start);
            for index in (0..disks).filter(|index| mask >> index & 1 == 1) {
                let name = rig.names[index as usize].clone();
                rig.world.vanish(&name);
            }
            check_all(&mut rig, &model);
        }
    }
}

#[test]
fn one_disk_more_than_the_parity_is_refused_by_name() {
    for (data, parity) in LAYOUTS {
        let (mut rig, _) = filled(data, parity, 5);
        for index in 0..=parity {
            let name = rig.names[usize::from(index)].clone();
            rig.world.vanish(&name);
        }
        assert!(matches!(rig.try_open(), Err(LedgerError::TooFewDisks { .. })));
    }
}

#[test]
fn disks_lost_while_the_set_is_open_cost_no_read_and_no_commit_within_the_quorum() {
    for (data, parity, lost) in [(1, 1, 1), (2, 1, 1), (2, 2, 1), (3, 2, 1), (4, 2, 1), (16, 4, 3)] {
        let (mut rig, mut model) = filled(data, parity, 30);
        let (ledger, replayed) = rig.open();
        for name in &rig.names[..lost] {
            rig.world.vanish(name);
        }
        model.check_prefix(&replayed, Lsn(30), Some(&ledger));
        model.fill(&ledger, &mut SimRng::new(2), 30);
        let states: Vec<_> = ledger.status().disks.iter().map(|disk| disk.state).collect();
        assert!(states[..lost].iter().all(|state| *state == DiskState::Gone), "{states:?}");
        drop(ledger);
        rig.world.kill_process();
        check_all(&mut rig, &model);
        // They come back: what they lack is known, and healed.
        for name in &rig.names[..lost] {
            rig.world.bring_back(name);
        }
        rig.world.kill_process();
        let ledger = check_all(&mut rig, &model);
        assert_eq!(ledger.status().disks[0].state, DiskState::Stale);
        let report = ledger.heal(&PassOptions::default(), &mut |_| true).unwrap();
        assert!(report.is_whole() && report.disks[0].healed > 0, "{report:?}");
        assert_eq!(ledger.status().disks[0].state, DiskState::Active);
        // Now others may be lost instead.
        for name in rig.names.iter().rev().take(usize::from(parity)) {
            rig.world.vanish(name);
        }
        rig.world.kill_process();
        check_all(&mut rig, &model);
    }
}

#[test]
fn below_the_quorum_the_set_is_read_only_and_says_so() {
    for (data, parity, lost) in [(1, 0, 1), (1, 1, 2), (2, 1, 2), (2, 2, 2), (4, 2, 2)] {
        let (mut rig, mut model) = filled(data, parity, 20);
        let (ledger, replayed) = rig.open();
        let mut rng = SimRng::new(3);
        for name in &rig.names[..lost] {
            rig.world.set_fault(Fault::new(FaultKind::Fail(DiskErrorKind::Medium)).on(name).of(IoOp::Write));
        }
        let lsn = model.append(&ledger, support::sample(&mut rng, 1, 3000)).unwrap();
        assert!(matches!(ledger.wait(lsn, Class::Durable), Err(LedgerError::QuorumLost { .. })));
        assert!(matches!(ledger.append(support::sample(&mut rng, 2, 10)), Err(LedgerError::QuorumLost { .. })));
        assert!(matches!(ledger.sync(), Err(LedgerError::QuorumLost { .. })));
        assert_eq!(ledger.durable(), Lsn(20));
        model.check_prefix(&replayed, Lsn(20), Some(&ledger));
        // The write that was not acknowledged may be there or not; all else is.
        drop(ledger);
        rig.world.clear_faults();
        rig.world.kill_process();
        let (ledger, replayed) = rig.open();
        model.check_prefix(&replayed, Lsn(20), Some(&ledger));
        model.cut(ledger.next_lsn());
        model.fill(&ledger, &mut rng, 5);
    }
}

#[test]
fn a_failed_sync_sets_the_disk_aside_and_is_never_taken_for_success() {
    for kind in [FaultKind::Fail(DiskErrorKind::Medium), FaultKind::FailedSyncReverts] {
        let (mut rig, mut model) = filled(2, 1, 10);
        let (ledger, _) = rig.open();
        let relaxed = |model: &mut Model, rng: &mut SimRng| {
            let mut append = support::sample(rng, rng.clone().next_u64(), 2000);
            append.relaxed = true;
            let lsn = model.append(&ledger, append).unwrap();
            ledger.wait(lsn, Class::Written).unwrap();
        };
        let mut rng = SimRng::new(8);
        (0..5).for_each(|_| relaxed(&mut model, &mut rng));
        rig.world.set_fault(Fault::new(kind).on("d01").of(IoOp::Sync).when(When::Next(1)));
        ledger.sync().unwrap();
        assert_eq!(ledger.durable(), Lsn(15));
        assert_eq!(ledger.status().disks[1].state, DiskState::Failed);
        (0..5).for_each(|_| relaxed(&mut model, &mut rng));
        ledger.sync().unwrap();
        drop(ledger);
        rig.world.restart(0);
        check_all(&mut rig, &model);
    }
}

/// Every bit of a frame's header and table, and some of its shard.
#[test]
fn a_flipped_bit_anywhere_in_a_frame_is_healed_from_parity() {
    let (mut rig, model) = filled(2, 1, 12);
    let start = rig.world.snapshot();
    // The last stripe lies in the tail, the first is proven.
    for offset in (0..192).chain((192..4096).step_by(119)) {
        rig.world.restore(&start);
        let disk = format!("d{:02}", offset % 3);
        assert!(rig.world.flip_bit(&disk, "seg-00000000", offset, (offset % 8) as u8));
        let ledger = check_all(&mut rig, &model);
        let report = ledger.heal(&PassOptions::default(), &mut |_| true).unwrap();
        assert!(report.is_whole(), "{report:?}");
        let again = ledger.verify(&PassOptions::default(), &mut |_| true).unwrap();
        assert!(again.disks.iter().all(|disk| disk.damaged + disk.missing == 0));
        assert!(again.stripes > 2);
    }
}

#[test]
fn a_flipped_bit_in_the_tail_is_healed_when_the_set_is_opened() {
    let (mut rig, model) = filled(2, 1, 1);
    let start = rig.world.snapshot();
    let clean = rig.world.peek("d01", "seg-00000000").unwrap();
    for offset in (0..192).chain((192..4096).step_by(211)) {
        rig.world.restore(&start);
        rig.world.flip_bit("d01", "seg-00000000", offset, (offset % 8) as u8);
        check_all(&mut rig, &model);
        assert!(rig.world.peek("d01", "seg-00000000").unwrap()[..4096] == clean[..4096], "byte {offset}");
    }
}

#[test]
fn damage_beyond_the_parity_before_acknowledged_data_refuses_to_open() {
    let (mut rig, model) = filled(2, 1, 30);
    for disk in ["d00", "d01"] {
        rig.world.poke(disk, "seg-00000000", 0, &[0; 4096]);
    }
    assert!(support::is_corrupt(&rig.try_open()), "the first of many stripes is gone");
    // With the header whole on enough disks but data gone, the log opens and the read is refused by name.
    let (mut rig, _) = filled(2, 1, 30);
    let told = rig.open().1;
    let places = support::places(&model, &told);
    let (location, _) = places.iter().find(|(location, bytes)| location.offset < 3000 && bytes.len() > 100).unwrap();
    let at = u64::from(location.sector) * 4096 + 192 + u64::from(location.offset % location.shard_len);
    rig.world.kill_process();
    for disk in ["d00", "d01", "d02"] {
        rig.world.flip_bit(disk, &format!("seg-{:08x}", location.segment.0), at, 3);
    }
    let (ledger, _) = rig.open();
    assert!(support::is_corrupt(&ledger.read(location)));
    let report = ledger.verify(&PassOptions::default(), &mut |_| true).unwrap();
    assert_eq!(report.unreadable_count, 1);
    assert!(!report.is_whole());
}

#[test]
fn different_pieces_may_be_damaged_on_different_disks() {
    let mut rig = Rig::new(
        2,
        1,
        Options { shard_payload_max: 256 << 10, segment_len: 2 << 20, queue_bytes_max: 1 << 20, ..support::small() },
    );
    let (ledger, _) = rig.open();
    let data = bytes::Bytes::from((0..400_000_u32).map(|n| ((n * 7) >> 3) as u8).collect::<Vec<_>>());
    let told = Arc::new(support::Told::default());
    ledger.set_sink(told.clone());
    let block = strata_ledger::BlockRecord { directory: bytes::Bytes::new(), data: data.clone() };
    ledger.append(strata_ledger::Append { blocks: vec![block], ..Default::default() }).unwrap();
    ledger.sync().unwrap();
    for (disk, offset) in [("d00", 50_000), ("d01", 90_000), ("d02", 130_000)] {
        rig.world.flip_bit(disk, "seg-00000000", offset, 1);
    }
    let location = told.blocks.lock()[0].location;
    assert_eq!(ledger.read(&location).unwrap(), data);
    assert!(ledger.status().disks.iter().map(|disk| disk.read_errors).sum::<u64>() > 0);
}

#[test]
fn a_disk_of_another_set_a_copy_and_a_blank_one_are_told_apart() {
    let (mut rig, model) = filled(2, 1, 10);
    let other = Rig::blank(2, 1, support::small());
    Ledger::format(&other.disks(), other.geometry, &other.options, &*other.world.clock(), &SimEntropy::new(77))
        .unwrap();
    let image = rig.world.disk_image("d01");
    let clean = rig.world.snapshot();
    let strangers = |ledger: &Ledger| {
        let status = ledger.status();
        let missing = status.disks.iter().filter(|disk| disk.state == DiskState::Missing).count();
        (missing, status.strangers.into_iter().map(|stranger| stranger.kind).collect::<Vec<_>>())
    };
    rig.world.bring_back_with("d01", &other.world.disk_image("d01"));
    let ledger = check_all(&mut rig, &model);
    let foreign = Ledger::find(&[other.world.disk("d00") as Arc<dyn Disk>]).unwrap().unwrap();
    assert_eq!(strangers(&ledger), (1, vec![StrangerKind::Foreign(foreign)]));
    // As many of the one as of the other: whose store is it?
    rig.world.restore(&clean);
    rig.world.bring_back_with("d01", &other.world.disk_image("d01"));
    rig.world.vanish("d02");
    assert!(matches!(rig.try_open(), Err(LedgerError::ForeignDisk { .. })));
    assert!(matches!(Ledger::find(&rig.disks()), Err(LedgerError::ForeignDisk { .. })));
    // Of a disk and its copy one may be left behind: neither is trusted, and of two plus one that is one too few.
    rig.world.restore(&clean);
    rig.world.bring_back_with("d02", &image);
    assert!(matches!(rig.try_open(), Err(LedgerError::TooFewDisks { .. })));
    rig.world.restore(&clean);
    rig.world.bring_back_with("d02", &DiskImage::default());
    let ledger = check_all(&mut rig, &model);
    assert_eq!(strangers(&ledger), (1, vec![StrangerKind::Blank]));
    rig.world.restore(&clean);
    rig.world.swap("d00", "d02");
    check_all(&mut rig, &model);
    rig.world.restore(&clean);
    let again = Ledger::format(&rig.disks(), rig.geometry, &rig.options, &*rig.world.clock(), &SimEntropy::new(5));
    assert!(matches!(again, Err(LedgerError::ForeignDisk { .. })), "a set is never formatted over");
}

#[test]
fn an_empty_disk_takes_the_place_of_a_lost_one_and_is_healed() {
    for (data, parity, cut_off) in [(1, 1, false), (2, 2, true), (4, 2, true), (16, 4, false)] {
        let (mut rig, mut model) = filled(data, parity, 60);
        let replaced: Vec<String> = rig.names.iter().skip(1).take(usize::from(parity)).cloned().collect();
        for name in &replaced {
            rig.world.bring_back_with(name, &DiskImage::default());
        }
        rig.options.adopt_blank = true;
        // Cut off in the midst of it, it is taken up again.
        for io in (5..150).step_by(9).filter(|_| cut_off) {
            rig.world.crash_at(rig.world.io_count() + io);
            drop(rig.try_open());
            rig.world.restart(io);
        }
        let ledger = check_all(&mut rig, &model);
        let stale = ledger.status().disks.iter().filter(|disk| disk.state == DiskState::Stale).count();
        assert_eq!(stale, replaced.len());
        model.fill(&ledger, &mut SimRng::new(6), 10);
        assert!(ledger.heal(&PassOptions::default(), &mut |_| true).unwrap().is_whole());
        drop(ledger);
        // From now on the others may be lost.
        rig.options.adopt_blank = false;
        for name in rig.names.iter().filter(|name| !replaced.contains(name)).take(usize::from(parity)) {
            rig.world.vanish(name);
        }
        rig.world.kill_process();
        check_all(&mut rig, &model);
    }
}

#[test]
fn a_disk_with_segments_but_no_superblock_is_not_overwritten() {
    let (mut rig, model) = filled(2, 1, 10);
    rig.world.truncate("d01", "superblock", 0);
    rig.options.adopt_blank = true;
    let ledger = check_all(&mut rig, &model);
    assert_eq!(ledger.status().disks[1].state, DiskState::Missing);
}

#[test]
fn disks_whose_superblocks_are_all_lost_are_not_taken_for_blank_ones() {
    let (rig, _) = filled(2, 1, 10);
    for name in &rig.names {
        assert!(rig.world.truncate(name, "superblock", 80));
    }
    let disks = rig.disks();
    assert!(matches!(Ledger::find(&disks), Err(LedgerError::Inconsistent { .. })));
    let made = Ledger::format(&disks, rig.geometry, &rig.options, &*rig.world.clock(), &SimEntropy::new(5));
    assert!(matches!(made, Err(LedgerError::Inconsistent { .. })), "{made:?}");
}

#[test]
fn halves_of_a_mirror_written_apart_are_refused() {
    let (mut rig, _) = filled(1, 1, 5);
    for name in ["d00", "d01"] {
        let other = if name == "d00" { "d01" } else { "d00" };
        rig.world.vanish(other);
        rig.world.kill_process();
        let (ledger, _) = rig.open();
        Model::default().append(&ledger, support::sample(&mut SimRng::new(1), 1, 100)).unwrap();
        ledger.sync().unwrap();
        rig.world.bring_back(other);
        rig.world.kill_process();
        if name == "d00" {
            rig.world.vanish("d00");
        }
    }
    rig.world.bring_back("d00");
    rig.world.kill_process();
    assert!(matches!(rig.try_open(), Err(LedgerError::Inconsistent { .. })));
}

#[test]
fn a_disk_that_missed_the_last_writes_cannot_stand_in_for_one_that_did_not() {
    let (mut rig, mut model) = filled(2, 1, 5);
    let (ledger, _) = rig.open();
    rig.world.set_fault(Fault::new(FaultKind::Fail(DiskErrorKind::Medium)).on("d00").of(IoOp::Write));
    model.fill(&ledger, &mut SimRng::new(4), 5);
    drop(ledger);
    rig.world.clear_faults();
    rig.world.kill_process();
    rig.world.vanish("d01");
    // d00 and d02 are enough to read, but not to know where the log ends.
    assert!(matches!(rig.try_open(), Err(LedgerError::TooFewDisks { .. })));
    rig.world.bring_back("d01");
    rig.world.kill_process();
    check_all(&mut rig, &model);
}

#[test]
fn an_older_image_of_a_disk_cannot_stand_in_for_it_and_is_healed() {
    let (mut rig, mut model) = filled(2, 1, 5);
    let image = rig.world.disk_image("d00");
    let (ledger, _) = rig.open();
    model.fill(&ledger, &mut SimRng::new(4), 40);
    drop(ledger);
    rig.world.bring_back_with("d00", &image);
    rig.world.vanish("d01");
    rig.world.kill_process();
    assert!(matches!(rig.try_open(), Err(LedgerError::TooFewDisks { .. })));
    rig.world.bring_back("d01");
    rig.world.kill_process();
    let ledger = check_all(&mut rig, &model);
    assert_eq!(ledger.status().disks[0].state, DiskState::Stale);
    assert!(ledger.heal(&PassOptions::default(), &mut |_| true).unwrap().is_whole());
    drop(ledger);
    rig.world.vanish("d01");
    rig.world.kill_process();
    check_all(&mut rig, &model);
}

#[test]
fn a_full_set_refuses_data_takes_deletions_and_goes_on_when_there_is_room() {
    let mut rig = Rig::new(2, 1, support::small());
    for name in rig.names.clone() {
        rig.world.set_capacity(&name, 3 * (128 << 10) + 8192 + 1000);
    }
    rig.options.reserve_segments = 0;
    let (ledger, _) = rig.open();
    let (mut model, mut rng) = (Model::default(), SimRng::new(4));
    let mut refused = false;
    for tag in 0..2000 {
        match model.append(&ledger, support::sample(&mut rng, tag, 6000)) {
            Ok(lsn) => ledger.wait(lsn, Class::Durable).unwrap(),
            Err(error) => {
                assert!(matches!(error, LedgerError::Full), "{error}");
                refused = true;
                break;
            }
        }
    }
    assert!(refused && ledger.status().full);
    let commit = strata_ledger::Append { commit: Some(bytes::Bytes::from_static(b"unlink")), ..Default::default() };
    let lsn = model.append(&ledger, commit).unwrap();
    ledger.wait(lsn, Class::Durable).unwrap();
    // Segments nobody needs any more are given back.
    ledger.free_segment(ledger.segments()[0]).unwrap();
    model.fill(&ledger, &mut rng, 10);
    assert!(!ledger.status().full);
    assert!(ledger.verify(&PassOptions::default(), &mut |_| true).unwrap().is_whole());
}

/// Fails the I/O of every number once, with every kind of error, on whatever disk it happens to be.
#[test]
fn no_failed_io_leads_to_a_false_acknowledgement() {
    for (data, parity) in [(1, 0), (1, 1), (2, 1), (2, 2)] {
        let kinds = [
            FaultKind::Fail(DiskErrorKind::Medium),
            FaultKind::Fail(DiskErrorKind::Full),
            FaultKind::Fail(DiskErrorKind::Gone),
            FaultKind::ShortWrite,
            FaultKind::FailedSyncReverts,
        ];
        let (mut rig, model) = filled(data, parity, 6);
        let start = rig.world.snapshot();
        let work = |rig: &mut Rig, model: &mut Model| {
            let mut acked = Lsn(6);
            let Ok((ledger, _)) = rig.try_open() else { return acked };
            let mut rng = SimRng::new(1);
            for tag in 0..60 {
                let mut append = support::sample(&mut rng, tag, 5000);
                append.relaxed = tag % 3 == 0;
                let Ok(lsn) = model.append(&ledger, append) else { break };
                if rng.one_in(3) && ledger.wait(lsn, Class::Durable).is_ok() {
                    acked = lsn;
                }
            }
            acked
        };
        let first = rig.world.io_count();
        work(&mut rig, &mut model.clone());
        let last = rig.world.io_count();
        for kind in kinds {
            for io in first + 1..=last {
                rig.world.restore(&start);
                rig.world.set_fault(Fault::new(kind.clone()).when(When::At(io)));
                let mut model = model.clone();
                let acked = work(&mut rig, &mut model);
                rig.world.clear_faults();
                rig.world.restart(io);
                let (ledger, replayed) = rig.open();
                model.check_prefix(&replayed, acked, Some(&ledger));
            }
        }
    }
}

#[test]
fn geometry_and_settings_outside_their_limits_are_refused() {
    let rig = Rig::blank(2, 1, support::small());
    let format = |geometry, options: Options| {
        Ledger::format(&rig.disks(), geometry, &options, &*rig.world.clock(), &SimEntropy::new(1))
    };
    let wrong = [
        format(Geometry { data_shards: 3, parity_shards: 1 }, support::small()),
        format(Geometry { data_shards: 0, parity_shards: 3 }, support::small()),
        format(rig.geometry, Options { segment_len: 1000, ..support::small() }),
        format(rig.geometry, Options { segment_len: 8192, ..support::small() }),
        format(rig.geometry, Options { shard_payload_max: 100, ..support::small() }),
    ];
    assert!(wrong.iter().all(|result| matches!(result, Err(LedgerError::Setting { .. }))));
    let disks: Vec<Arc<dyn Disk>> = rig.disks();
    assert!(disks.iter().all(|disk| disk.list().unwrap().is_empty()), "nothing was written");
}

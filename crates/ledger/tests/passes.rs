//! Passes over a running set: stopped and taken up again, paced, in nobody's way, and exact about what cannot be read.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use strata_ledger::{Class, DiskState, Ledger, PassOptions};
use strata_seam::sim::{DiskImage, SimRng};
use strata_seam::{Clock, DiskIndex, Lsn, Pace, Position, SegmentId};
use support::disturbed::{Disturb, Disturbed};
use support::{Model, Rig};

fn filled(data: u8, parity: u8, count: u64) -> (Rig, Ledger, Model) {
    let mut rig = Rig::new(data, parity, support::small());
    let (ledger, _) = rig.open();
    let mut model = Model::default();
    for tag in 0..count {
        let lsn = model.append(&ledger, support::sample(&mut SimRng::new(tag + 1), tag, 3000)).unwrap();
        ledger.wait(lsn, Class::Durable).unwrap();
    }
    (rig, ledger, model)
}

fn stop_after(stripes: u64) -> impl FnMut(&strata_ledger::Progress<'_>) -> bool {
    move |progress| progress.report.stripes < stripes
}

#[test]
fn a_pass_that_is_stopped_goes_on_where_it_was_and_tells_of_every_stripe_once() {
    let (_rig, ledger, _) = filled(2, 1, 120);
    let (mut from, mut next, mut runs) = (None, Lsn(1), 0);
    loop {
        let mut done = 0;
        let report = ledger
            .scrub(&PassOptions { from, ..PassOptions::default() }, &mut |progress| {
                assert_eq!(progress.stripe.first_lsn, next, "each stripe once, in order");
                assert_eq!((progress.stripe.present, progress.stripe.expected, progress.stripe.readable), (3, 3, true));
                assert!(progress.done_bytes > done && progress.done_bytes <= progress.total_bytes);
                (next, done) = (progress.stripe.last_lsn.next(), progress.done_bytes);
                assert!(progress.remaining().is_some());
                progress.report.stripes < 13
            })
            .unwrap();
        assert!(report.is_whole() && report.degraded() == 0);
        runs += 1;
        if report.finished {
            break;
        }
        from = Some(report.next);
    }
    assert!(runs > 5 && next == Lsn(121), "{runs} runs up to {next}");
}

/// Gives a segment back before the disk answers one of the reads of it, counted down.
struct GivesBack {
    ledger: OnceLock<Ledger>,
    segment: SegmentId,
    reads_before: AtomicI64,
}

impl Disturb for GivesBack {
    fn before_read(&self, file: &str) {
        let wanted = file == format!("seg-{:08x}", self.segment.0);
        if wanted && self.reads_before.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.ledger.get().unwrap().free_segment(self.segment).unwrap();
        }
    }
}

#[test]
fn a_segment_that_is_given_back_while_it_is_read_counts_as_nothing_that_is_lacking() {
    for (heal, reads_before) in [false, true].into_iter().flat_map(|heal| (0..12).map(move |reads| (heal, reads))) {
        let (mut rig, ledger, _) = filled(2, 1, 200);
        drop(ledger);
        rig.world.kill_process();
        let segment = SegmentId(2);
        let act = GivesBack { ledger: OnceLock::new(), segment, reads_before: AtomicI64::new(i64::MAX) };
        let act = Arc::new(act);
        let mut disks = rig.disks();
        disks[1] = Arc::new(Disturbed(Arc::clone(&disks[1]), Arc::<GivesBack>::clone(&act)));
        assert!(act.ledger.set(rig.open_on(disks, None, &mut |_| Ok(())).unwrap()).is_ok());
        let ledger = act.ledger.get().unwrap();
        assert!(ledger.segments().contains(&segment) && ledger.writing() > segment);
        act.reads_before.store(reads_before, Ordering::Relaxed);
        let report = match heal {
            false => ledger.verify(&PassOptions::default(), &mut |_| true),
            true => ledger.heal(&PassOptions::default(), &mut |_| true),
        };
        let report = report.unwrap();
        assert!(!ledger.segments().contains(&segment), "it was given back");
        assert!(report.finished && report.is_whole() && report.degraded() == 0, "{reads_before}: {report:?}");
        assert!(report.disks.iter().all(|disk| disk.damaged + disk.missing + disk.healed == 0), "{report:?}");
    }
}

#[test]
fn a_segment_file_that_was_removed_behind_our_back_is_missing_and_written_anew() {
    let (mut rig, ledger, model) = filled(2, 1, 200);
    ledger.verify(&PassOptions::default(), &mut |_| true).unwrap();
    rig.world.remove_file("d01", "seg-00000001");
    let found = ledger.verify(&PassOptions::default(), &mut |_| true).unwrap();
    assert!(found.disks[1].missing > 0 && found.degraded() == found.disks[1].missing, "{found:?}");
    let healed = ledger.heal(&PassOptions::default(), &mut |_| true).unwrap();
    assert!(healed.degraded() == 0 && healed.disks[1].healed == found.disks[1].missing, "{healed:?}");
    drop(ledger);
    rig.world.kill_process();
    rig.world.vanish("d00");
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(200), Some(&ledger));
}

#[test]
fn what_a_heal_synced_by_the_way_is_told_to_be_durable() {
    let (_rig, ledger, mut model) = filled(2, 1, 20);
    let append = strata_ledger::Append { relaxed: true, ..support::sample(&mut SimRng::new(3), 3, 300) };
    let lsn = model.append(&ledger, append).unwrap();
    ledger.wait(lsn, Class::Written).unwrap();
    assert!(ledger.status().durable < lsn);
    ledger.heal(&PassOptions::default(), &mut |_| true).unwrap();
    assert_eq!(ledger.status().durable, lsn);
    ledger.wait(lsn, Class::Durable).unwrap();
}

#[test]
fn a_heal_that_is_stopped_is_taken_up_where_it_was_also_after_a_restart() {
    let (mut rig, ledger, mut model) = filled(2, 2, 150);
    rig.world.vanish("d01");
    model.fill(&ledger, &mut SimRng::new(9), 10);
    rig.world.bring_back_with("d01", &DiskImage::default());
    ledger.replace_disk(DiskIndex(1), rig.world.disk("d01")).unwrap();
    let all = ledger.verify(&PassOptions::default(), &mut |_| true).unwrap();
    assert_eq!(all.by_present[3], all.degraded());
    let stopped = ledger.heal(&PassOptions::default(), &mut stop_after(100)).unwrap();
    assert!(!stopped.finished && stopped.stripes == 100);
    let sound = ledger.status().disks[1].sound.unwrap();
    assert!(sound > Lsn(50) && ledger.status().disks[1].state == DiskState::Stale, "{sound}");
    rig.world.clear_faults();
    let (ledger, _) = rig.reopen(ledger);
    assert_eq!(ledger.status().disks[1].sound, Some(sound));
    let rest = ledger.heal(&PassOptions::default(), &mut |_| true).unwrap();
    assert!(rest.finished && rest.is_whole() && rest.stripes < all.stripes, "{rest:?} of {}", all.stripes);
    assert_eq!(ledger.status().disks[1].state, DiskState::Active);
    assert_eq!(ledger.verify(&PassOptions::default(), &mut |_| true).unwrap().degraded(), 0);
    drop(ledger);
    rig.world.restart(0);
    ["d00", "d02"].iter().for_each(|name| rig.world.vanish(name));
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(160), Some(&ledger));
}

/// Beginning in the middle leaves a gap: the disk must not be called complete.
#[test]
fn a_heal_that_leaves_something_out_does_not_make_a_disk_complete() {
    let (rig, ledger, _) = filled(2, 1, 150);
    rig.world.bring_back_with("d01", &DiskImage::default());
    let lsn = ledger.append(support::sample(&mut SimRng::new(1), 1, 100)).unwrap();
    ledger.wait(lsn, Class::Durable).unwrap();
    ledger.replace_disk(DiskIndex(1), rig.world.disk("d01")).unwrap();
    let middle = ledger.verify(&PassOptions::default(), &mut stop_after(70)).unwrap().next;
    let report = ledger.heal(&PassOptions { from: Some(middle), ..PassOptions::default() }, &mut |_| true).unwrap();
    assert!(report.finished && report.is_whole());
    let disk = &ledger.status().disks[1];
    assert_eq!((disk.state, disk.sound), (DiskState::Stale, Some(Lsn(0))));
    assert!(ledger.heal(&PassOptions::default(), &mut |_| true).unwrap().is_whole());
    assert_eq!(ledger.status().disks[1].state, DiskState::Active);
}

/// Nothing is locked while a pass tells of itself or reads: appends, reads and changes of the set go on in the midst of it.
#[test]
fn a_pass_holds_up_no_append_no_read_and_no_return_of_a_disk() {
    let (rig, ledger, mut model) = filled(2, 1, 60);
    let mut rng = SimRng::new(77);
    let mut told = 0;
    let report = ledger
        .heal(&PassOptions::default(), &mut |progress| {
            told += 1;
            let lsn = model.append(&ledger, support::sample(&mut rng, told, 2000)).unwrap();
            ledger.wait(lsn, Class::Durable).unwrap();
            match progress.report.stripes {
                10 => rig.world.vanish("d02"),
                20 => {
                    rig.world.bring_back("d02");
                    ledger.rejoin(rig.world.disk("d02")).unwrap();
                }
                _ => {}
            }
            true
        })
        .unwrap();
    assert!(report.finished && told == report.stripes && ledger.durable() == Lsn(60 + told));
    assert_eq!(ledger.status().disks[2].state, DiskState::Stale, "what it missed meanwhile was not looked at");
    ledger.heal(&PassOptions::default(), &mut |_| true).unwrap();
    assert_eq!(ledger.verify(&PassOptions::default(), &mut |_| true).unwrap().degraded(), 0);
}

#[test]
fn a_pass_keeps_to_its_pace_hears_of_a_change_and_can_be_stopped() {
    let (rig, ledger, _) = filled(2, 1, 60);
    let total = {
        let mut total = 0;
        ledger
            .verify(&PassOptions::default(), &mut |progress| {
                total = progress.done_bytes;
                true
            })
            .unwrap();
        total
    };
    let took = |pace: &Arc<Pace>, after_each: &dyn Fn(u64)| {
        let before = rig.world.clock().monotonic_nanos();
        let options = PassOptions { from: None, pace: Arc::clone(pace) };
        let report = ledger
            .verify(&options, &mut |progress| {
                after_each(progress.report.stripes);
                true
            })
            .unwrap();
        (report, Duration::from_nanos(rig.world.clock().monotonic_nanos() - before))
    };
    // Three tenths of a second for all of it, in the time of the simulation.
    let (report, time) = took(&Arc::new(Pace::new(total * 10 / 3)), &|_| {});
    assert!(report.finished, "{time:?}");
    assert!((290..=301).contains(&time.as_millis()), "{time:?}");
    // A byte a second takes hours for each stripe; then no limit.
    let pace = Arc::new(Pace::new(1));
    let (report, time) = took(&pace, &|stripes| {
        if stripes == 3 {
            pace.set(0);
        }
    });
    assert!(report.finished && time < 10 * Duration::from_secs(total / report.stripes), "{time:?}");
    let pace = Arc::new(Pace::new(0));
    let (report, _) = took(&pace, &|stripes| {
        if stripes == 3 {
            pace.stop();
        }
    });
    assert!(!report.finished && report.stripes == 3);
    // Where it was stopped it goes on.
    let rest = PassOptions { from: Some(report.next), ..PassOptions::default() };
    assert!(ledger.verify(&rest, &mut |_| true).unwrap().finished);
}

/// Rot in the superblock alone: nothing reads it while the set runs, and the next opening would not know the disk.
#[test]
fn a_repairing_pass_tells_a_disk_again_which_it_is() {
    for heal in [false, true] {
        let (mut rig, ledger, _) = filled(2, 1, 20);
        for slot in 0..2 {
            rig.world.flip_bit("d01", "superblock", slot * 4096 + 60, 3);
        }
        let found = ledger.verify(&PassOptions::default(), &mut |_| true).unwrap();
        assert!(found.is_whole(), "every frame is there");
        let options = PassOptions::default();
        let report = if heal { ledger.heal(&options, &mut |_| true) } else { ledger.scrub(&options, &mut |_| true) };
        assert_eq!(report.unwrap().superblocks, 1);
        assert_eq!(ledger.scrub(&options, &mut |_| true).unwrap().superblocks, 0, "it says so from now on");
        drop(ledger);
        rig.world.kill_process();
        let (ledger, _) = rig.open();
        assert_eq!(ledger.status().disks[1].state, DiskState::Active, "known by its own word");
    }
}

/// One old stripe is beyond repair, in its data or in all of it: it is named, at run time and after a restart, and every
/// other block is read.
#[test]
fn one_stripe_beyond_repair_is_named_and_everything_else_is_served() {
    for header in [false, true] {
        let (mut rig, ledger, model) = filled(2, 1, 60);
        let replayed = {
            drop(ledger);
            rig.world.kill_process();
            let (ledger, replayed) = rig.open();
            drop(ledger);
            rig.world.kill_process();
            replayed
        };
        let places = support::places(&model, &replayed);
        let (victim, bytes) = places[20].clone();
        assert!(!bytes.is_empty());
        let file = format!("seg-{:08x}", victim.segment.0);
        let at = u64::from(victim.sector) * 4096;
        let frame_len = u64::from(victim.shard_len);
        let (ledger, _) = rig.open();
        for disk in ["d00", "d01"] {
            let (from, len) = if header { (0, 4096) } else { (192, frame_len.min(3904)) };
            assert!(rig.world.poke(disk, &file, at + from, &vec![0xA5; usize::try_from(len).unwrap()]));
        }
        let is_victim =
            |place: &strata_ledger::Location| (place.segment, place.sector) == (victim.segment, victim.sector);
        let check = |ledger: &Ledger| {
            let mut refused = 0;
            for (place, bytes) in &places {
                match ledger.read(place) {
                    Ok(read) => assert_eq!(read, *bytes),
                    Err(_) => {
                        assert!(is_victim(place), "{place:?} is not concerned");
                        refused += 1;
                    }
                }
            }
            let report = ledger.scrub(&PassOptions::default(), &mut |_| true).unwrap();
            assert_eq!((report.finished, report.unreadable_count), (true, 1), "{report:?}");
            let named = report.unreadable[0];
            assert_eq!((named.segment, named.offset), (victim.segment, at));
            assert!(named.lsn > Lsn(0) && named.until > named.lsn, "{named:?}");
            refused
        };
        assert!(check(&ledger) > 0);
        let end = Position { next_lsn: ledger.next_lsn(), ..ledger.status().position };
        drop(ledger);
        rig.world.kill_process();
        // What a replay does not need may be unreadable; what it needs is refused by name.
        let disks = rig.disks();
        let ledger = rig.open_on(disks, Some(end), &mut |_| Ok(())).unwrap();
        check(&ledger);
        drop(ledger);
        rig.world.kill_process();
        let whole = rig.try_open();
        if header {
            let Err(error) = whole else { panic!("a stripe that the replay needs is gone") };
            let strata_ledger::LedgerError::Corrupt { segment, offset, lsn, .. } = error else { panic!("{error}") };
            assert_eq!((segment, offset), (victim.segment, at));
            assert!(lsn > Lsn(0));
        } else if let Ok((ledger, _)) = whole {
            check(&ledger);
        }
    }
}

//! A running set whose disks vanish, return, slow down, fill up, turn read-only, fail syncs or are replaced: served
//! around, taken back by their identity while the set runs, healed, and only then counted as complete.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::sync::Arc;

use strata_ledger::{Class, DiskState, Ledger, LedgerError, PassOptions};
use strata_seam::sim::{DiskImage, Fault, FaultKind, IoOp, SimEntropy, SimRng};
use strata_seam::{Clock, Disk, DiskErrorKind, DiskIndex, Lsn};
use support::{Model, Rig, Told};

/// Nanoseconds that a slow call takes here: four times what counts as slow.
const SLOW: u64 = 20_000_000;

/// A running set, what was appended to it and where that lies.
struct Live {
    rig: Rig,
    ledger: Ledger,
    model: Model,
    told: Arc<Told>,
    rng: SimRng,
}

impl Live {
    fn new(data: u8, parity: u8) -> Self {
        let mut rig = Rig::new(data, parity, support::small());
        let (ledger, _) = rig.open();
        let told = Arc::new(Told::default());
        ledger.set_sink(told.clone());
        let mut live = Self { rig, ledger, model: Model::default(), told, rng: SimRng::new(17) };
        live.append(30);
        live
    }

    /// Appends and waits for each: every one is acknowledged as durable.
    fn append(&mut self, count: u64) {
        for _ in 0..count {
            let tag = self.rng.next_u64();
            let append = support::sample(&mut self.rng, tag, 3000);
            let lsn = self.model.append(&self.ledger, append).unwrap();
            self.ledger.wait(lsn, Class::Durable).unwrap();
        }
    }

    /// Every byte that was acknowledged, by location.
    fn check(&self) {
        for placed in self.told.blocks.lock().iter() {
            let blocks = &self.model.appends[&placed.lsn].blocks;
            let block = blocks.iter().find(|block| block.directory == placed.directory).unwrap();
            assert_eq!(self.ledger.read(&placed.location).unwrap(), block.data, "data of {}", placed.lsn);
        }
    }

    fn disk(&self, name: &str) -> Arc<dyn Disk> {
        self.rig.world.disk(name)
    }

    fn state(&self, disk: usize) -> DiskState {
        self.ledger.status().disks[disk].state
    }

    /// Heals, and every disk is complete by the word of the report and of the status.
    fn heal(&self) -> strata_ledger::Report {
        let report = self.ledger.heal(&PassOptions::default(), &mut |_| true).unwrap();
        assert!(report.finished && report.is_whole() && report.degraded() == 0, "{report:?}");
        let states: Vec<_> = self.ledger.status().disks.iter().map(|disk| disk.state).collect();
        assert!(states.iter().all(|state| *state == DiskState::Active), "{states:?}");
        report
    }

    /// In another world that is as this one: the power goes, and the set opens without `lost` and holds everything.
    fn survives_without(&self, lost: &[String]) {
        let geometry = self.rig.geometry;
        let mut rig = Rig::blank(geometry.data_shards, geometry.parity_shards, self.rig.options.clone());
        rig.world = self.rig.world.fork();
        rig.world.clear_faults();
        rig.world.restart(0);
        lost.iter().for_each(|name| rig.world.vanish(name));
        let (ledger, replayed) = rig.open();
        self.model.check_prefix(&replayed, Lsn(self.model.appends.len() as u64), Some(&ledger));
    }
}

#[test]
fn a_disk_that_went_and_came_back_unnoticed_is_not_called_whole_before_it_takes_writes_again() {
    let mut live = Live::new(2, 1);
    live.rig.world.vanish("d01");
    live.rig.world.bring_back("d01");
    // What the writer has open of it leads nowhere.
    let report = live.ledger.heal(&PassOptions::default(), &mut |_| true).unwrap();
    assert_eq!((live.state(1), report.is_whole()), (DiskState::Gone, false), "{report:?}");
    live.ledger.rejoin(live.disk("d01")).unwrap();
    live.heal();
    live.append(20);
    live.check();
    live.survives_without(&["d00".to_owned()]);
}

/// What can ail a disk of a running set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    Vanishes,
    FailsWrites,
    FailsSyncs,
    Full,
    ReadOnly,
    Slow,
    Replaced,
    OldContent,
}

impl Trouble {
    const ALL: [Self; 8] = [
        Self::Vanishes,
        Self::FailsWrites,
        Self::FailsSyncs,
        Self::Full,
        Self::ReadOnly,
        Self::Slow,
        Self::Replaced,
        Self::OldContent,
    ];

    fn begins(self, live: &Live, name: &str) {
        let world = &live.rig.world;
        match self {
            Self::Vanishes | Self::Replaced | Self::OldContent => world.vanish(name),
            Self::FailsWrites => world.set_fault(Fault::medium().on(name).of(IoOp::Write)),
            Self::FailsSyncs => {
                // Both ways to make a stripe durable.
                world.set_fault(Fault::new(FaultKind::Fail(DiskErrorKind::Medium)).on(name).of(IoOp::Sync));
                world.set_fault(Fault::medium().on(name).of(IoOp::Write));
            }
            Self::Full => world.set_capacity(name, 0),
            Self::ReadOnly => world.set_read_only(name, true),
            Self::Slow => world.set_fault(Fault::new(FaultKind::Slow(SLOW)).on(name)),
        }
    }

    /// Ends the trouble, after all faults were cleared, and has the disk taken back.
    fn ends(self, live: &Live, index: usize, image: &DiskImage) {
        let (world, name) = (&live.rig.world, live.rig.names[index].clone());
        let place = DiskIndex(index as u8);
        match self {
            Self::Vanishes => world.bring_back(&name),
            Self::Replaced => world.bring_back_with(&name, &DiskImage::default()),
            Self::OldContent => world.bring_back_with(&name, image),
            Self::Full => world.set_capacity(&name, 1 << 40),
            Self::ReadOnly => world.set_read_only(&name, false),
            Self::FailsWrites | Self::FailsSyncs | Self::Slow => {}
        }
        let joined = match self {
            Self::Full | Self::ReadOnly | Self::Slow => {
                assert!(live.ledger.tend().unwrap().contains(&place) || live.state(index) == DiskState::Stale);
                return;
            }
            Self::Replaced => live.ledger.replace_disk(place, live.disk(&name)),
            _ => live.ledger.rejoin(live.disk(&name)),
        };
        let joined = joined.unwrap();
        assert!(joined.place == place && joined.written);
    }

    fn state(self) -> DiskState {
        match self {
            Self::Vanishes | Self::Replaced | Self::OldContent => DiskState::Gone,
            Self::FailsWrites | Self::FailsSyncs => DiskState::Failed,
            Self::Full => DiskState::Full,
            Self::ReadOnly => DiskState::ReadOnly,
            Self::Slow => DiskState::Slow,
        }
    }
}

/// Several disks ail at once, the set is written and read meanwhile, they come back, are healed, and then as many others
/// as the parity covers are lost.
fn ail(data: u8, parity: u8, troubles: &[(Trouble, usize)]) {
    let mut live = Live::new(data, parity);
    let images: Vec<DiskImage> =
        troubles.iter().map(|(_, disk)| live.rig.world.disk_image(&live.rig.names[*disk])).collect();
    live.append(3);
    for (trouble, disk) in troubles {
        trouble.begins(&live, &live.rig.names[*disk]);
    }
    live.append(60);
    for (trouble, disk) in troubles {
        assert_eq!(live.state(*disk), trouble.state(), "{troubles:?}");
        assert!(live.ledger.status().disks[*disk].why.is_some());
    }
    live.check();
    live.survives_without(&[]);
    live.rig.world.clear_faults();
    for ((trouble, disk), image) in troubles.iter().zip(&images) {
        trouble.ends(&live, *disk, image);
        assert_eq!(live.state(*disk), DiskState::Stale, "not complete before it is healed");
    }
    live.append(10);
    live.survives_without(&[]);
    let report = live.heal();
    for (_, disk) in troubles {
        assert!(report.disks[*disk].healed > 0);
    }
    live.check();
    let ailed = |name: &&String| troubles.iter().all(|(_, disk)| live.rig.names[*disk] != **name);
    let others: Vec<String> = live.rig.names.iter().filter(ailed).take(usize::from(parity)).cloned().collect();
    live.survives_without(&others);
    others.iter().for_each(|name| live.rig.world.vanish(name));
    live.check();
}

#[test]
fn every_trouble_of_one_disk_is_served_around_and_healed() {
    for (data, parity) in [(1, 1), (2, 1), (2, 2), (4, 2)] {
        for trouble in Trouble::ALL {
            ail(data, parity, &[(trouble, 1)]);
        }
    }
}

#[test]
fn every_pair_of_troubles_within_the_quorum_is_served_around_and_healed() {
    for one in Trouble::ALL {
        for other in Trouble::ALL {
            ail(2, 3, &[(one, 0), (other, 3)]);
        }
    }
}

/// Two troubles of one slot after another, the second before the first is healed.
#[test]
fn a_disk_that_ails_again_before_it_is_healed_is_healed_of_both() {
    for first in Trouble::ALL {
        for second in [Trouble::Vanishes, Trouble::FailsSyncs, Trouble::Replaced] {
            let mut live = Live::new(2, 2);
            let name = live.rig.names[2].clone();
            for trouble in [first, second] {
                let image = live.rig.world.disk_image(&name);
                trouble.begins(&live, &name);
                live.append(60);
                live.rig.world.clear_faults();
                trouble.ends(&live, 2, &image);
                live.append(5);
            }
            live.heal();
            live.survives_without(&["d00".to_owned(), "d03".to_owned()]);
        }
    }
}

/// The operating system shows what a failed sync lost: until it is written again the disk must not count for it.
#[test]
fn what_a_disk_shows_after_a_failed_sync_is_written_again_before_it_is_trusted() {
    for kind in [FaultKind::Fail(DiskErrorKind::Medium), FaultKind::FailedSyncReverts] {
        let mut live = Live::new(2, 1);
        // Sent to the operating system only, lost by the sync, shown all the same.
        for tag in 0..8 {
            let append = strata_ledger::Append { relaxed: true, ..support::sample(&mut live.rng, tag, 3000) };
            let lsn = live.model.append(&live.ledger, append).unwrap();
            live.ledger.wait(lsn, Class::Written).unwrap();
        }
        let shown = kind == FaultKind::Fail(DiskErrorKind::Medium);
        live.rig.world.set_fault(Fault::new(kind).on("d01").of(IoOp::Sync));
        live.ledger.sync().unwrap();
        assert_eq!(live.state(1), DiskState::Failed);
        live.rig.world.clear_faults();
        live.ledger.rejoin(live.disk("d01")).unwrap();
        let report = live.heal();
        assert_eq!(report.disks[1].renewed > 0, shown, "{report:?}");
        live.survives_without(&["d00".to_owned()]);
        live.survives_without(&["d02".to_owned()]);
    }
}

/// The power goes at every I/O of taking a disk back and healing it.
#[test]
fn a_crash_at_any_io_of_a_return_loses_nothing_and_trusts_nothing_too_early() {
    for (data, parity) in [(2, 1), (2, 2)] {
        for trouble in [Trouble::Vanishes, Trouble::FailsSyncs, Trouble::Replaced] {
            let mut live = Live::new(data, parity);
            let image = DiskImage::default();
            trouble.begins(&live, "d01");
            live.append(25);
            live.rig.world.clear_faults();
            // What the power takes from a running ledger cannot be put back: each run opens the set anew.
            drop(live.ledger);
            live.rig.world.restart(0);
            if trouble != Trouble::FailsSyncs {
                live.rig.world.vanish("d01");
            }
            let start = live.rig.world.snapshot();
            let back = |rig: &mut Rig, model: &mut Model| {
                let mut acked = Lsn(55);
                let Ok((ledger, _)) = rig.try_open() else { return acked };
                let live = Live {
                    rig: Rig::blank(1, 0, support::small()),
                    ledger,
                    model: Model::default(),
                    told: Arc::default(),
                    rng: SimRng::new(1),
                };
                if trouble != Trouble::FailsSyncs {
                    match trouble {
                        Trouble::Replaced => rig.world.bring_back_with("d01", &image),
                        _ => rig.world.bring_back("d01"),
                    }
                    let disk: Arc<dyn Disk> = rig.world.disk("d01");
                    let joined = match trouble {
                        Trouble::Replaced => live.ledger.replace_disk(DiskIndex(1), disk),
                        _ => live.ledger.rejoin(disk),
                    };
                    if joined.is_err() {
                        return acked;
                    }
                }
                let mut rng = SimRng::new(3);
                for tag in 0..4 {
                    let Ok(lsn) = model.append(&live.ledger, support::sample(&mut rng, tag, 2000)) else {
                        return acked;
                    };
                    if live.ledger.wait(lsn, Class::Durable).is_ok() {
                        acked = lsn;
                    }
                }
                drop(live.ledger.heal(&PassOptions::default(), &mut |_| true));
                acked
            };
            let first = live.rig.world.io_count() + 1;
            assert_eq!(back(&mut live.rig, &mut live.model.clone()), Lsn(59));
            let last = live.rig.world.io_count();
            let mut refused = 0;
            for io in (first..=last).step_by(7) {
                live.rig.world.restore(&start);
                live.rig.world.crash_at(io);
                let mut model = live.model.clone();
                let acked = back(&mut live.rig, &mut model);
                live.rig.world.restart(io % 3);
                live.rig.world.bring_back("d01");
                let after = live.rig.world.snapshot();
                let (ledger, replayed) = live.rig.open();
                model.check_prefix(&replayed, acked, Some(&ledger));
                drop(ledger);
                // Another disk is lost on top: with two parities nothing is missing, with one it is all there or refused.
                live.rig.world.restore(&after);
                live.rig.world.vanish("d00");
                match live.rig.try_open() {
                    Ok((ledger, replayed)) => {
                        assert!(replayed.len() as u64 >= acked.0);
                        let all = parity == 2 || ledger.status().disks[1].state == DiskState::Active;
                        let read = |placed: &strata_ledger::PlacedBlock| ledger.read(&placed.location);
                        let blocks: Vec<_> = replayed.iter().flat_map(|append| &append.blocks).collect();
                        let unreadable = blocks.iter().filter(|placed| read(placed).is_err()).count();
                        assert!(!all || unreadable == 0, "crash at {io}: {unreadable} of {} unreadable", blocks.len());
                    }
                    Err(error) => {
                        assert!(parity == 1, "crash at {io}: {error}");
                        refused += 1;
                    }
                }
            }
            assert!(last - first > 60, "{} I/Os, {refused} refused", last - first);
        }
    }
}

/// Files of segments that were freed while their disk was away would be stripes that every other disk lacks.
#[test]
fn what_was_given_back_while_a_disk_was_away_goes_before_it_is_taken_back() {
    for trouble in [Trouble::Vanishes, Trouble::ReadOnly, Trouble::OldContent] {
        let mut live = Live::new(2, 1);
        let image = live.rig.world.disk_image("d01");
        trouble.begins(&live, "d01");
        live.append(60);
        live.ledger.begin_segment().unwrap();
        let segments = live.ledger.segments();
        let (kept, position) = (segments[segments.len() / 2], live.ledger.status().position);
        assert!(live.ledger.free_all_but(&[kept].into(), position).unwrap() > 0);
        trouble.ends(&live, 1, &image);
        let files = live.rig.world.files("d01");
        let number =
            |name: &str| Some(strata_seam::SegmentId(u32::from_str_radix(name.strip_prefix("seg-")?, 16).ok()?));
        let segments = files.iter().filter_map(|file| number(&file.name));
        let stale: Vec<_> = segments.filter(|segment| *segment < position.segment && *segment != kept).collect();
        assert_eq!(stale, [], "{trouble:?}");
        let healed = live.heal();
        let found = live.ledger.verify(&PassOptions::default(), &mut |_| true).unwrap();
        assert_eq!((healed.degraded(), found.degraded()), (0, 0), "{trouble:?}");
    }
}

/// Else the next checkpoint would name it among those that are kept, and a heal would give every disk a file of it again.
#[test]
fn a_segment_given_back_is_none_of_the_set_although_a_disk_cannot_remove_it() {
    let mut live = Live::new(2, 1);
    live.append(60);
    live.ledger.begin_segment().unwrap();
    live.rig.world.set_read_only("d01", true);
    let position = live.ledger.status().position;
    drop(live.ledger.free_all_but(&[].into(), position));
    assert!(live.rig.world.files("d01").iter().any(|file| file.name == "seg-00000000"));
    assert!(live.ledger.segments().iter().all(|segment| *segment >= position.segment));
    live.append(5);
    assert_eq!(live.state(1), DiskState::ReadOnly);
    let found = live.ledger.verify(&PassOptions::default(), &mut |_| true).unwrap();
    assert_eq!((found.unreadable_count, found.stripes), (0, 5), "{found:?}");
}

#[test]
fn a_disk_handed_in_is_known_by_its_identity_alone() {
    let mut live = Live::new(2, 2);
    let world = live.rig.world.clone();
    let foreign = |result: Result<strata_ledger::Rejoined, LedgerError>| {
        assert!(matches!(result, Err(LedgerError::ForeignDisk { .. })), "{result:?}");
    };
    // In order, and handed in again.
    foreign(live.ledger.rejoin(live.disk("d01")));
    foreign(live.ledger.replace_disk(DiskIndex(1), live.disk("empty")));
    // Of another set, blank without a place, full of another disk's content.
    let other = Rig::blank(2, 2, support::small());
    Ledger::format(&other.disks(), other.geometry, &other.options, &*world.clock(), &SimEntropy::new(9)).unwrap();
    live.rig.world.vanish("d01");
    live.append(20);
    foreign(live.ledger.rejoin(other.world.disk("d01")));
    foreign(live.ledger.rejoin(live.disk("empty")));
    foreign(live.ledger.replace_disk(DiskIndex(1), other.world.disk("d01")));
    foreign(live.ledger.replace_disk(DiskIndex(1), live.disk("d02")));
    assert!(matches!(live.ledger.replace_disk(DiskIndex(4), live.disk("empty")), Err(LedgerError::Setting { .. })));
    assert_eq!(live.state(1), DiskState::Gone);
    // Found elsewhere: the disk counts, not the path.
    live.rig.world.bring_back_with("elsewhere", &world.disk_image("d01"));
    let joined = live.ledger.rejoin(live.disk("elsewhere")).unwrap();
    assert_eq!((joined.place, joined.written), (DiskIndex(1), true));
    assert_eq!(live.ledger.status().disks[1].label, "elsewhere");
    live.heal();
    // The one it was copied from is an older image now, and its place is taken.
    live.append(5);
    live.rig.world.bring_back("d01");
    foreign(live.ledger.rejoin(live.disk("d01")));
    live.check();
}

#[test]
fn a_disk_written_elsewhere_meanwhile_is_not_taken_back() {
    let mut live = Live::new(1, 1);
    live.rig.world.vanish("d01");
    live.append(5);
    // Its half was opened on another machine.
    let mut other = Rig::blank(1, 1, support::small());
    other.names = vec!["d01".to_owned()];
    live.rig.world.bring_back("d01");
    other.world.bring_back_with("d01", &live.rig.world.disk_image("d01"));
    let (ledger, _) = other.open();
    Model::default().append(&ledger, support::sample(&mut SimRng::new(1), 1, 100)).unwrap();
    ledger.sync().unwrap();
    live.rig.world.bring_back_with("d01", &other.world.disk_image("d01"));
    assert!(matches!(live.ledger.rejoin(live.disk("d01")), Err(LedgerError::Inconsistent { .. })));
    live.check();
}

#[test]
fn below_the_quorum_a_disk_is_taken_back_for_reading() {
    let mut live = Live::new(2, 2);
    for name in ["d00", "d01", "d02"] {
        live.rig.world.vanish(name);
    }
    let lsn = live.model.append(&live.ledger, support::sample(&mut live.rng, 1, 100)).unwrap();
    assert!(matches!(live.ledger.wait(lsn, Class::Durable), Err(LedgerError::QuorumLost { .. })));
    let place = live.told.blocks.lock()[0].location;
    assert!(support::is_corrupt(&live.ledger.read(&place)) || live.ledger.read(&place).is_ok());
    live.rig.world.bring_back("d01");
    let joined = live.ledger.rejoin(live.disk("d01")).unwrap();
    assert_eq!((joined.place, joined.written), (DiskIndex(1), false));
    live.check();
    assert!(matches!(live.ledger.append(support::sample(&mut live.rng, 2, 10)), Err(LedgerError::QuorumLost { .. })));
}

#[test]
fn a_disk_with_slow_reads_is_read_around_and_read_again_when_it_is_quick() {
    let live = Live::new(2, 1);
    // What peers take is known only where it is more than nothing.
    live.rig.world.set_fault(Fault::new(FaultKind::Slow(50_000)).of(IoOp::Read));
    live.check();
    live.rig.world.set_fault(Fault::new(FaultKind::Slow(SLOW)).on("d01").of(IoOp::Read));
    live.check();
    assert!(live.ledger.status().disks[1].read_around);
    assert_eq!(live.state(1), DiskState::Active, "it is written as before");
    let clock = live.rig.world.clock();
    let before = (clock.monotonic_nanos(), live.ledger.status().disks[1].counters);
    live.check();
    let (spent, after) = (clock.monotonic_nanos() - before.0, live.ledger.status().disks[1].counters);
    let blocks = live.told.blocks.lock().len() as u64;
    assert!(after.rebuilt_reads > before.1.rebuilt_reads, "{after:?}");
    assert!(after.reads - before.1.reads <= 1, "a probe at most: {after:?}");
    assert!(spent < SLOW + blocks * 500_000, "{blocks} reads took {spent} ns");
    // Quick again: the probes notice.
    live.rig.world.clear_faults();
    for _ in 0..4 {
        clock.advance(10_000_000_000);
        live.check();
    }
    assert!(!live.ledger.status().disks[1].read_around);
}

/// Reading around a slow disk must not make a stripe unreadable that only the slow one can complete.
#[test]
fn a_slow_disk_is_read_all_the_same_where_nobody_else_has_the_bytes() {
    let live = Live::new(2, 1);
    live.rig.world.set_fault(Fault::new(FaultKind::Slow(50_000)).of(IoOp::Read));
    live.check();
    live.rig.world.set_fault(Fault::new(FaultKind::Slow(SLOW)).on("d01").of(IoOp::Read));
    live.check();
    assert!(live.ledger.status().disks[1].read_around);
    live.rig.world.vanish("d02");
    live.check();
}

#[test]
fn a_disk_with_slow_writes_is_set_aside_only_where_the_quorum_allows() {
    let mut live = Live::new(2, 1);
    live.rig.world.set_fault(Fault::new(FaultKind::Slow(SLOW)).on("d01"));
    live.append(7);
    assert_eq!(live.state(1), DiskState::Active, "a few slow stripes decide nothing");
    live.append(3);
    assert_eq!(live.state(1), DiskState::Slow);
    let clock = live.rig.world.clock();
    let before = clock.monotonic_nanos();
    live.append(20);
    assert!(clock.monotonic_nanos() - before < SLOW, "commits do not wait for it");
    // Still slow: not taken back. And a second one is not set aside, or nobody could write.
    assert_eq!(live.ledger.tend().unwrap(), []);
    live.rig.world.set_fault(Fault::new(FaultKind::Slow(SLOW)).on("d02"));
    live.append(20);
    assert_eq!(live.state(2), DiskState::Active);
    live.rig.world.clear_faults();
    assert_eq!(live.ledger.tend().unwrap(), [DiskIndex(1)]);
    live.append(5);
    live.heal();
    live.survives_without(&["d00".to_owned()]);
}

/// A segment given back while a disk was away is not part of the log when the disk returns with its file.
#[test]
fn a_segment_given_back_while_a_disk_was_away_does_not_come_back_with_it() {
    let mut live = Live::new(2, 1);
    live.append(60);
    live.rig.world.vanish("d01");
    live.append(20);
    let first = live.ledger.segments()[0];
    live.ledger.free_segment(first).unwrap();
    live.told.blocks.lock().retain(|placed| placed.location.segment != first);
    live.rig.world.bring_back("d01");
    live.ledger.rejoin(live.disk("d01")).unwrap();
    live.heal();
    live.check();
    let verified = live.ledger.verify(&PassOptions::default(), &mut |_| true).unwrap();
    assert!(verified.is_whole() && verified.degraded() == 0, "{verified:?}");
    assert!(live.rig.world.peek("d00", &format!("seg-{:08x}", first.0)).is_none(), "a heal does not make it anew");
}

//! The write quorum is lost and comes back while the process runs: what could not be written stays queued, and is written
//! under its own numbers when enough disks are back, without another start.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use strata_ledger::{Class, Ledger, LedgerError, Options, PassOptions};
use strata_seam::sim::{DiskImage, Fault, IoOp, SimRng, When};
use strata_seam::{Disk, DiskIndex, Lsn, Position, SegmentId};
use support::{Model, Rig, Told};

const LOST: [(u8, u8, usize); 5] = [(1, 0, 1), (1, 1, 2), (2, 1, 2), (2, 2, 2), (4, 2, 2)];

/// Appends until one is refused; the last number acknowledged.
fn until_refused(ledger: &Ledger, model: &mut Model, rng: &mut SimRng) -> Lsn {
    for tag in 0..200 {
        let append = support::sample(rng, tag, 3000);
        let Ok(lsn) = model.append(ledger, append) else { return ledger.durable() };
        match ledger.wait(lsn, Class::Durable) {
            Ok(()) => {}
            Err(LedgerError::QuorumLost { .. }) => return ledger.durable(),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("nothing was ever refused");
}

fn hand_in(rig: &Rig, ledger: &Ledger, name: &str) -> bool {
    ledger.rejoin(rig.world.disk(name) as Arc<dyn Disk>).unwrap().written
}

#[test]
fn writing_resumes_by_itself_when_the_disks_that_were_pulled_are_back() {
    for (data, parity, lost) in LOST {
        for threads in [false, true] {
            let mut rig = Rig::new(data, parity, support::small());
            let mut model = Model::default();
            let (ledger, _) = rig.open();
            let told = Arc::new(Told::default());
            ledger.set_sink(Arc::clone(&told) as Arc<dyn strata_ledger::Sink>);
            if threads {
                ledger.start().unwrap();
            }
            let mut rng = SimRng::new(4);
            model.fill(&ledger, &mut rng, 20);
            let pulled: Vec<String> = rig.names[..lost].to_vec();
            pulled.iter().for_each(|name| rig.world.vanish(name));
            let acked = until_refused(&ledger, &mut model, &mut rng);
            assert_eq!(ledger.stalled_at(), Some(acked), "what came after it is not shown");
            let refused = ledger.append(support::sample(&mut rng, 9, 100));
            assert!(matches!(refused, Err(LedgerError::QuorumLost { .. })), "nothing more is taken");
            for (nth, name) in pulled.iter().enumerate() {
                rig.world.bring_back(name);
                let enough =
                    usize::from(data + parity) - lost + nth + 1 >= usize::from(data) + usize::from(parity >= 2);
                if !ledger.status().disks[nth].state.is_written() {
                    assert_eq!(hand_in(&rig, &ledger, name), enough && ledger.status().read_only.is_none());
                }
            }
            ledger.tend().unwrap();
            assert_eq!(ledger.status().read_only, None, "{data}+{parity}");
            // What was refused when the disks went is durable under its own number; new appends follow it.
            model.fill(&ledger, &mut rng, 20);
            assert_eq!(ledger.stalled_at(), None);
            let last = ledger.durable();
            assert_eq!(last, *model.appends.keys().last().unwrap());
            for placed in told.blocks.lock().iter() {
                let wanted = model.appends[&placed.lsn].blocks.iter().any(|block| {
                    block.directory == placed.directory && ledger.read(&placed.location).unwrap() == block.data
                });
                assert!(wanted, "the block of {} is where the sink was told", placed.lsn);
            }
            drop(ledger);
            rig.world.restart(1);
            let (ledger, replayed) = rig.open();
            model.check_prefix(&replayed, last, Some(&ledger));
        }
    }
}

#[test]
fn writing_resumes_with_blank_disks_in_the_place_of_the_lost_ones_and_a_heal_makes_them_whole() {
    let mut rig = Rig::new(4, 2, support::small());
    let mut model = Model::default();
    let (ledger, _) = rig.open();
    let mut rng = SimRng::new(6);
    model.fill(&ledger, &mut rng, 30);
    let lost = ["d01", "d04"];
    lost.iter().for_each(|name| rig.world.vanish(name));
    until_refused(&ledger, &mut model, &mut rng);
    for (name, place, resumes) in [("d01", 1, true), ("d04", 4, true)] {
        rig.world.bring_back_with(name, &DiskImage::default());
        let joined = ledger.replace_disk(DiskIndex(place), rig.world.disk(name) as Arc<dyn Disk>).unwrap();
        assert_eq!(joined.written, resumes);
    }
    model.fill(&ledger, &mut rng, 10);
    assert!(ledger.heal(&strata_ledger::PassOptions::default(), &mut |_| true).unwrap().finished);
    let acked = ledger.durable();
    drop(ledger);
    rig.world.restart(2);
    rig.world.vanish("d00");
    rig.world.vanish("d05");
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, acked, Some(&ledger));
}

#[test]
fn a_store_opened_with_too_few_disks_takes_writes_as_soon_as_the_others_are_handed_in() {
    let mut rig = Rig::new(4, 2, support::small());
    let mut model = Model::default();
    let (ledger, _) = rig.open();
    let mut rng = SimRng::new(7);
    model.fill(&ledger, &mut rng, 30);
    drop(ledger);
    rig.world.kill_process();
    rig.world.vanish("d02");
    rig.world.vanish("d03");
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(30), Some(&ledger));
    assert!(matches!(ledger.append(support::sample(&mut rng, 1, 10)), Err(LedgerError::QuorumLost { .. })));
    rig.world.bring_back("d02");
    assert!(hand_in(&rig, &ledger, "d02"));
    model.fill(&ledger, &mut rng, 10);
}

/// What was given back while a disk was away goes from it when it comes back, also where the quorum comes back with it.
#[test]
fn a_disk_that_returns_with_the_quorum_gives_up_what_was_given_back_meanwhile() {
    for (data, parity, lost) in [(1, 2, 2), (2, 2, 2), (4, 2, 2)] {
        let mut rig = Rig::new(data, parity, Options { segment_len: 64 << 10, ..support::small() });
        let (mut model, mut rng) = (Model::default(), SimRng::new(11));
        let (ledger, _) = rig.open();
        model.fill(&ledger, &mut rng, 30);
        let pulled = rig.names[..lost].to_vec();
        rig.world.vanish(&pulled[0]);
        model.fill(&ledger, &mut rng, 5);
        while ledger.writing() < SegmentId(2) {
            model.fill(&ledger, &mut rng, 5);
        }
        let end = ledger.writing();
        assert!(!ledger.status().disks[0].state.is_written());
        let position = Position { segment: end, offset: 0, next_lsn: Lsn(1) };
        ledger.free_all_but(&BTreeSet::new(), position).unwrap();
        pulled.iter().for_each(|name| rig.world.vanish(name));
        until_refused(&ledger, &mut model, &mut rng);
        pulled.iter().for_each(|name| rig.world.bring_back(name));
        let files = |name: &str| rig.world.files(name).into_iter().map(|file| file.name).collect::<Vec<_>>();
        assert!(files(&pulled[0]).contains(&"seg-00000000".to_owned()), "it did not hear of it");
        for name in &pulled {
            let disks = ledger.status().disks;
            if disks.iter().any(|disk| disk.label == *name && !disk.state.is_written()) {
                hand_in(&rig, &ledger, name);
            }
        }
        ledger.tend().unwrap();
        assert_eq!(ledger.status().read_only, None, "{data}+{parity}");
        model.fill(&ledger, &mut rng, 5);
        assert!(ledger.heal(&PassOptions::default(), &mut |_| true).unwrap().is_whole());
        let report = ledger.scrub(&PassOptions::default(), &mut |_| true).unwrap();
        assert!(report.is_whole() && report.degraded() == 0, "{data}+{parity}: {report:?}");
        for name in &rig.names {
            let left =
                files(name).into_iter().filter(|file| file.starts_with("seg-") && *file < format!("seg-{:08x}", end.0));
            assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new(), "{name}");
        }
    }
}

/// The same where the process was started with too few disks, and only knows from its checkpoint what was given back.
#[test]
fn a_store_opened_with_too_few_disks_gives_up_what_was_given_back_when_the_others_return() {
    let mut rig = Rig::new(2, 2, Options { segment_len: 64 << 10, ..support::small() });
    let (mut model, mut rng) = (Model::default(), SimRng::new(12));
    let (ledger, _) = rig.open();
    model.fill(&ledger, &mut rng, 30);
    rig.world.vanish("d00");
    model.fill(&ledger, &mut rng, 5);
    while ledger.writing() < SegmentId(2) {
        model.fill(&ledger, &mut rng, 5);
    }
    ledger.begin_segment().unwrap();
    let position = Position { segment: ledger.writing(), offset: 0, next_lsn: ledger.next_lsn() };
    ledger.free_all_but(&BTreeSet::new(), position).unwrap();
    model.fill(&ledger, &mut rng, 3);
    drop(ledger);
    rig.world.kill_process();
    rig.world.vanish("d01");
    let disks = rig.disks();
    let ledger = rig.open_on(disks, Some(position), &mut |_| Ok(())).unwrap();
    assert!(ledger.status().read_only.is_some());
    assert_eq!(ledger.free_all_but(&BTreeSet::new(), position).unwrap(), 0, "nothing is changed below the quorum");
    for name in ["d00", "d01"] {
        rig.world.bring_back(name);
        hand_in(&rig, &ledger, name);
    }
    assert_eq!(ledger.status().read_only, None);
    assert!(ledger.heal(&PassOptions::default(), &mut |_| true).unwrap().is_whole());
    let report = ledger.scrub(&PassOptions::default(), &mut |_| true).unwrap();
    assert!(report.is_whole() && report.degraded() == 0, "{report:?}");
    assert!(ledger.segments().iter().all(|segment| *segment >= position.segment));
}

/// A process that dies at any I/O of the return of its disks leaves what a start can take.
#[test]
fn a_crash_anywhere_while_the_quorum_returns_loses_nothing() {
    for (data, parity, lost) in LOST {
        let mut rig = Rig::new(data, parity, Options { segment_len: 64 << 10, ..support::small() });
        let mut model = Model::default();
        let (ledger, _) = rig.open();
        let mut rng = SimRng::new(11);
        model.fill(&ledger, &mut rng, 8);
        drop(ledger);
        rig.world.kill_process();
        let start = rig.world.snapshot();
        let run = |rig: &mut Rig, model: &mut Model, crash: Option<u64>| -> (Lsn, Lsn, u64) {
            let mut rng = SimRng::new(12);
            let (ledger, _) = rig.open();
            let pulled: Vec<String> = rig.names[..lost].to_vec();
            pulled.iter().for_each(|name| rig.world.vanish(name));
            let acked = until_refused(&ledger, model, &mut rng);
            let before = rig.world.io_count();
            if let Some(crash) = crash {
                rig.world.crash_at(before + crash);
            }
            for name in &pulled {
                rig.world.bring_back(name);
                drop(ledger.rejoin(rig.world.disk(name) as Arc<dyn Disk>));
            }
            let mut last = acked;
            for tag in 0..4 {
                let Ok(lsn) = model.append(&ledger, support::sample(&mut rng, tag, 3000)) else { break };
                if ledger.wait(lsn, Class::Durable).is_ok() {
                    last = ledger.durable();
                }
            }
            (acked, last, rig.world.io_count() - before)
        };
        let (acked, last, count) = run(&mut rig, &mut model.clone(), None);
        assert!(last > acked, "{data}+{parity} resumed");
        for crash in (1..=count).step_by(if data == 4 { 5 } else { 1 }) {
            rig.world.restore(&start);
            let mut model = model.clone();
            let (_, acked, _) = run(&mut rig, &mut model, Some(crash));
            rig.world.clear_faults();
            rig.world.restart(crash);
            rig.names.iter().for_each(|name| rig.world.bring_back(name));
            let what = format!("{data}+{parity}, crash at {crash} of {count}");
            let (ledger, replayed) = rig.try_open().unwrap_or_else(|error| panic!("{what}: {error}"));
            model.check_prefix(&replayed, acked, Some(&ledger));
            model.cut(ledger.next_lsn());
            model.fill(&ledger, &mut SimRng::new(3), 3);
        }
    }
}

/// The same where the frames are still there: they are made durable, and nothing that was told is taken back.
#[test]
fn what_was_told_to_be_written_and_is_still_there_becomes_durable_when_the_quorum_returns() {
    for pull in [false, true] {
        let mut rig = Rig::new(4, 2, support::small());
        let mut model = Model::default();
        let (ledger, _) = rig.open();
        let mut rng = SimRng::new(10);
        model.fill(&ledger, &mut rng, 6);
        for tag in 0..5 {
            let mut append = support::sample(&mut rng, tag, 2000);
            append.relaxed = true;
            let lsn = model.append(&ledger, append).unwrap();
            ledger.wait(lsn, Class::Written).unwrap();
        }
        for name in ["d00", "d01"] {
            match pull {
                true => rig.world.vanish(name),
                false => rig.world.set_fault(Fault::medium().on(name).of(IoOp::Sync).when(When::Next(1))),
            }
        }
        assert!(ledger.sync().is_err());
        assert_eq!(ledger.stalled_at(), Some(Lsn(11)));
        for (place, name) in ["d00", "d01"].into_iter().enumerate() {
            rig.world.bring_back(name);
            // One that only failed is there already, and is tried with the others.
            assert!(ledger.status().disks[place].state.is_written() || hand_in(&rig, &ledger, name));
        }
        model.fill(&ledger, &mut rng, 6);
        let acked = ledger.durable();
        drop(ledger);
        rig.world.restart(5);
        let (ledger, replayed) = rig.open();
        model.check_prefix(&replayed, acked, Some(&ledger));
    }
}

/// Relaxed appends were told to be written when their sync lost the quorum. Where a failed sync lost them, the process
/// does not go on as if it had them.
#[test]
fn what_was_told_to_be_written_and_is_lost_keeps_the_store_read_only() {
    let mut rig = Rig::new(2, 1, support::small());
    let mut model = Model::default();
    let (ledger, _) = rig.open();
    let mut rng = SimRng::new(9);
    model.fill(&ledger, &mut rng, 6);
    for tag in 0..5 {
        let mut append = support::sample(&mut rng, tag, 2000);
        append.relaxed = true;
        let lsn = model.append(&ledger, append).unwrap();
        ledger.wait(lsn, Class::Written).unwrap();
    }
    rig.world.set_fault(Fault::new(strata_seam::sim::FaultKind::FailedSyncReverts).of(IoOp::Sync).when(When::Next(3)));
    assert!(ledger.sync().is_err());
    for name in ["d00", "d01", "d02"] {
        assert!(!hand_in(&rig, &ledger, name));
    }
    assert!(ledger.status().read_only.is_some());
    drop(ledger);
    rig.world.kill_process();
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(6), Some(&ledger));
}

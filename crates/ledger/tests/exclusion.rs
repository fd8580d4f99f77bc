//! Who is excluded from a set, and when: a disk that lacks something acknowledged never passes for one that has it, and
//! no failure, however wide, makes a set refuse to open whose disks are all back.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use strata_ledger::{Class, DiskState, LedgerError, Options};
use strata_seam::sim::{Fault, FaultKind, IoOp, SimRng, When};
use strata_seam::{DiskErrorKind, Lsn};
use support::{Model, Rig};

/// Appends of both classes until done or refused; returns the last number that was acknowledged as durable.
fn work(rig: &mut Rig, model: &mut Model, count: u64) -> Lsn {
    let mut acked = Lsn(0);
    let Ok((ledger, _)) = rig.try_open() else { return acked };
    let mut rng = SimRng::new(21);
    for tag in 0..count {
        let mut append = support::sample(&mut rng, tag, 3000);
        append.relaxed = tag % 3 != 0;
        let Ok(lsn) = model.append(&ledger, append) else { break };
        let class = if rng.one_in(2) { Class::Durable } else { Class::Written };
        if ledger.wait(lsn, class).is_ok() {
            acked = acked.max(ledger.durable());
        }
    }
    acked
}

/// A closed set with a little log and the number of its first I/O to come.
fn prepared(data: u8, parity: u8) -> (Rig, Model) {
    let mut rig = Rig::new(data, parity, Options { segment_len: 64 << 10, ..support::small() });
    let mut model = Model::default();
    let (ledger, _) = rig.open();
    model.fill(&ledger, &mut SimRng::new(5), 6);
    drop(ledger);
    rig.world.kill_process();
    (rig, model)
}

/// The disks of a mask, by name.
fn named(rig: &Rig, mask: u32) -> Vec<String> {
    (0..).zip(&rig.names).filter(|(index, _)| mask >> index & 1 == 1).map(|(_, name)| name.clone()).collect()
}

fn kinds() -> [Fault; 6] {
    [
        Fault::medium().of(IoOp::Sync),
        Fault::new(FaultKind::FailedSyncReverts),
        Fault::medium().of(IoOp::Write),
        Fault::new(FaultKind::ShortWrite),
        Fault::medium().of(IoOp::Create),
        Fault::new(FaultKind::Fail(DiskErrorKind::Gone)),
    ]
}

/// Every I/O of a run fails, alone or with all that follow, on the disks of each mask; then the power goes. With every
/// disk back the set opens and holds all that was acknowledged. With up to `parity` disks lost on top it holds all of it
/// or is refused, and must not be refused while faulty and lost disks together are no more than the parity.
fn sweep(data: u8, parity: u8, step: usize) {
    let (mut rig, model) = prepared(data, parity);
    let start = rig.world.snapshot();
    rig.world.record_trace(true);
    work(&mut rig, &mut model.clone(), 14);
    let trace = rig.world.trace();
    let disks = u32::from(data + parity);
    let all = (1_u32 << disks) - 1;
    let (mut runs, mut refused) = (0_u64, 0_u64);
    let masks = (1..=all).filter(|mask| mask.count_ones() <= 2 || *mask == all);
    for (number, record) in trace.iter().enumerate().step_by(step) {
        let io = record.number;
        let its_disk = rig.names.iter().position(|name| *name == record.disk).unwrap();
        for faulty in masks.clone() {
            for kind in kinds() {
                for when in [When::At(io), When::From(io)] {
                    rig.world.restore(&start);
                    // One I/O is on one disk.
                    if matches!(when, When::At(_)) && faulty != 1 << its_disk {
                        continue;
                    }
                    for name in named(&rig, faulty) {
                        rig.world.set_fault(kind.clone().on(&name).when(when));
                    }
                    let mut model = model.clone();
                    let acked = work(&mut rig, &mut model, 14).max(Lsn(6));
                    rig.world.clear_faults();
                    rig.world.restart([0, 1, io][number % 3]);
                    let after = rig.world.snapshot();
                    let what = format!("{data}+{parity} {kind:?} {when:?} on {faulty:b}");
                    runs += 1;
                    let (ledger, replayed) = rig.try_open().unwrap_or_else(|error| panic!("{what}: {error}"));
                    model.check_prefix(&replayed, acked, Some(&ledger));
                    // Lose disks on top: one choice per run, all of them over the runs.
                    let lost = (io as u32).wrapping_mul(2_654_435_761) >> 7 & all;
                    if lost == 0 || lost.count_ones() > u32::from(parity) {
                        continue;
                    }
                    rig.world.restore(&after);
                    named(&rig, lost).iter().for_each(|name| rig.world.vanish(name));
                    match rig.try_open() {
                        Ok((ledger, replayed)) if all & !faulty & !lost != 0 => {
                            model.check_prefix(&replayed, acked, Some(&ledger));
                        }
                        // Nobody is left who could have been told: half a mirror cannot know that the other half went on.
                        Ok((ledger, replayed)) => model.check_prefix(&replayed, Lsn(6), Some(&ledger)),
                        Err(error) => {
                            let many = (faulty | lost).count_ones() > u32::from(parity);
                            assert!(many, "{what}, lost {lost:b}: {error}");
                            let named = matches!(error, LedgerError::TooFewDisks { .. } | LedgerError::Corrupt { .. });
                            assert!(named, "{what}, lost {lost:b}: {error}");
                            refused += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(runs > 200 && refused < runs, "{runs} runs, {refused} refused");
}

#[test]
fn exclusions_of_one_disk_alone_lose_and_refuse_nothing() {
    sweep(1, 0, 1);
}
#[test]
fn exclusions_of_a_mirror_lose_and_refuse_nothing() {
    sweep(1, 1, 2);
}
#[test]
fn exclusions_of_two_and_one_lose_and_refuse_nothing() {
    sweep(2, 1, 4);
}
#[test]
fn exclusions_of_two_and_two_lose_and_refuse_nothing() {
    sweep(2, 2, 13);
}
#[test]
fn exclusions_of_three_and_two_lose_and_refuse_nothing() {
    sweep(3, 2, 29);
}

/// The seed of the rule that a rest below the quorum is never written down: while an opening made the end of the log
/// durable, the syncs of all disks but the first failed, and that one alone was told that it is the set.
#[test]
fn an_opening_whose_syncs_fail_on_all_disks_but_one_leaves_the_set_openable() {
    let (mut rig, mut model) = prepared(2, 1);
    let (ledger, _) = rig.open();
    let mut append = support::sample(&mut SimRng::new(1), 1, 2000);
    append.relaxed = true;
    let lsn = model.append(&ledger, append).unwrap();
    ledger.wait(lsn, Class::Written).unwrap();
    drop(ledger);
    rig.world.kill_process();
    for name in ["d01", "d02"] {
        rig.world.set_fault(Fault::medium().on(name).of(IoOp::Sync));
    }
    let (ledger, _) = rig.open();
    assert!(ledger.status().read_only.is_some());
    drop(ledger);
    rig.world.clear_faults();
    rig.world.restart(0);
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(6), Some(&ledger));
    model.cut(ledger.next_lsn());
    model.fill(&ledger, &mut SimRng::new(3), 5);
}

/// After a failed sync the operating system goes on showing what it lost, and the next sync succeeds. A process that
/// finds such a tail must write it again before it calls it durable.
#[test]
fn what_a_failed_sync_lost_is_written_again_before_the_next_process_relies_on_it() {
    for (data, parity) in [(1, 0), (2, 1), (2, 2)] {
        for kind in [FaultKind::Fail(DiskErrorKind::Medium), FaultKind::FailedSyncReverts] {
            let (mut rig, mut model) = prepared(data, parity);
            let (ledger, _) = rig.open();
            let mut rng = SimRng::new(9);
            for tag in 0..5 {
                let mut append = support::sample(&mut rng, tag, 2000);
                append.relaxed = true;
                let lsn = model.append(&ledger, append).unwrap();
                ledger.wait(lsn, Class::Written).unwrap();
            }
            rig.world.set_fault(Fault::new(kind).of(IoOp::Sync));
            assert!(ledger.sync().is_err());
            rig.world.clear_faults();
            drop(ledger);
            rig.world.kill_process();
            // The process starts again, shows what it found and goes on.
            let (ledger, replayed) = rig.open();
            model.check_prefix(&replayed, Lsn(6), Some(&ledger));
            model.cut(ledger.next_lsn());
            model.fill(&ledger, &mut rng, 5);
            let acked = ledger.durable();
            drop(ledger);
            rig.world.restart(0);
            let (ledger, replayed) = rig.open();
            model.check_prefix(&replayed, acked, Some(&ledger));
        }
    }
}

/// A disk may fail where no stripe is being written: when the next segment is made.
#[test]
fn a_disk_set_aside_between_stripes_is_known_to_lack_the_next_one() {
    let (mut rig, mut model) = prepared(2, 1);
    let (ledger, _) = rig.open();
    rig.world.set_fault(Fault::medium().on("d00").of(IoOp::Create));
    model.fill(&ledger, &mut SimRng::new(2), 60);
    assert_eq!(ledger.status().disks[0].state, DiskState::Failed);
    drop(ledger);
    rig.world.clear_faults();
    rig.world.kill_process();
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(66), Some(&ledger));
    assert_eq!(ledger.status().disks[0].state, DiskState::Stale, "what it lacks is asked for");
    drop(ledger);
    // And without another disk it does not stand in for what it lacks.
    rig.world.kill_process();
    rig.world.vanish("d01");
    if let Ok((ledger, replayed)) = rig.try_open() {
        model.check_prefix(&replayed, Lsn(66), Some(&ledger));
    }
}

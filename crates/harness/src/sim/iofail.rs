//! Row `iofail`: every I/O of every small workload fails once, in every way, alone and from then on, on one disk and on
//! all. Nothing panics, nothing is acknowledged that is not kept, and the store opens again.
//!
//! Whole stores wait for the disks with every answer; the ledger alone also has what is acknowledged before it is synced.

use anyhow::Result;
use strata_seam::DiskErrorKind;
use strata_seam::sim::{Fault, FaultKind, IoOp, SimWorld, sweep_failures};

use super::full;
use super::log;
use super::model::{Possible, seen};
use super::rig::{Layout, Rig, root, violations};
use super::step::Step;
use super::takeover;
use super::workload::{Workload, run as run_step, sequences};
use crate::cases::{self, Tally};
use crate::options::Options;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row =
    Row { name: "iofail", id: "R3", about: "every single I/O failing, in every way, once and for good", run };

const LAYOUTS: [Layout; 4] = [(2, 1), (2, 2), (1, 1), (4, 2)];

/// What is run, each kind by its own numbers.
#[derive(Clone, Copy, Debug)]
enum Case {
    /// Steps of a whole store.
    Store(u64),
    /// Appends to the ledger alone.
    Log(u64),
    /// A set without room.
    Full(u64),
    /// A log whose set is taken over by another while descriptors are short.
    Sets(u64),
}

/// The ways in which an I/O fails.
fn faults() -> [Fault; 6] {
    [
        Fault::medium(),
        Fault::full(),
        Fault::new(FaultKind::Fail(DiskErrorKind::ReadOnly)),
        Fault::medium().of(IoOp::Sync),
        Fault::new(FaultKind::FailedSyncReverts),
        Fault::new(FaultKind::ShortWrite),
    ]
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let all = sequences(options.seed, options.sized(0, 300), 0);
    let stores = all.len().min(options.sized(8, usize::MAX)) as u64;
    let logs = options.sized(8, 400);
    let mut all_cases: Vec<Case> = (0..options.sized(8, 200)).map(Case::Full).collect();
    all_cases.extend((0..options.sized(4, 60)).map(Case::Sets));
    // One of each kind in turn, so that a run that is cut short has some of both.
    for number in 0..stores.max(logs) {
        all_cases.extend((number < stores).then_some(Case::Store(number)));
        all_cases.extend((number < logs).then_some(Case::Log(number)));
    }
    let name = |number: u64| match all_cases[number as usize] {
        Case::Store(number) => format!("sequence-{number}"),
        Case::Log(number) => format!("log-{number}"),
        Case::Full(number) => format!("full-{number}"),
        Case::Sets(number) => format!("sets-{number}"),
    };
    let tally =
        cases::run(options, report, all_cases.len() as u64, name, |number, tally| match all_cases[number as usize] {
            Case::Store(number) => {
                let number = number as usize;
                sweep(LAYOUTS[number % LAYOUTS.len()], options, &all[number], number, tally);
            }
            Case::Log(number) => {
                tally.count("workloads", 1);
                for one_disk in [true, false] {
                    let faults = faults();
                    let some = (number + u64::from(one_disk)) as usize % faults.len();
                    let faults = if options.full { &faults[..] } else { &faults[some..=some] };
                    log::fail(options.seed.wrapping_add(number), faults, one_disk, tally);
                }
            }
            Case::Sets(number) => takeover::exhaust(options.seed.wrapping_add(number), tally),
            Case::Full(number) => {
                // In a short run one of them is filled twice.
                let twice = options.full || number == 0;
                if let Err(wrong) = full::fill(options.seed.wrapping_add(number), twice, tally) {
                    tally.broken(wrong);
                }
            }
        });
    report.goal("runs", tally.of("runs"), 200_000.0);
    report.goal("workloads", tally.of("workloads"), 30.0);
    report.figure("stores opened again", tally.of("opened"));
    report.figure("puts refused by full sets, stored when they came again", tally.of("refused by a full set"));
    report.figure("pairs of sets, one taken over by the other", tally.of("sets taken over"));
    report.figure("disks taken back, healed and relied on", tally.of("disks taken back and relied on"));
    report.figure("refused by name, more disks failing than parity covers", tally.of("refused"));
    Ok(())
}

/// Does the steps whatever they meet, and keeps book of what was answered.
fn work(workload: &Workload, world: &SimWorld) -> Result<Possible, String> {
    let mut possible = Possible::known(workload.model.clone());
    let Ok(store) = workload.rig.open(world) else { return Ok(possible) };
    for step in &workload.steps {
        let answer = run_step(&store, step);
        possible.note(step, &answer, answer.is_ok())?;
    }
    Ok(possible)
}

fn sweep(layout: Layout, options: &Options, steps: &[Step], number: usize, tally: &mut Tally) {
    tally.count("workloads", 1);
    let workload = Workload::new(layout, options.seed, steps.to_vec());
    let world = &workload.world;
    let bad = Rig::disk_name(number % workload.rig.disk_count());
    let mut number_of_run = 0_u64;
    for one_disk in [true, false] {
        let faults = faults().map(|fault| if one_disk { fault.on(&bad) } else { fault });
        world.restore(&workload.start);
        // In a short run every I/O is met by one of the ways, in a full one by all.
        let some = (number + usize::from(one_disk)) % faults.len();
        let faults = if options.full { &faults[..] } else { &faults[some..=some] };
        let runs = sweep_failures(
            world,
            faults,
            |world| work(&workload, world),
            |world, possible, fault| {
                number_of_run += 1;
                let how = (one_disk, number_of_run.is_multiple_of(3));
                let checked = possible.clone().and_then(|possible| check(&workload, world, possible, how, tally));
                if let Err(wrong) = checked {
                    tally.broken(format!("{layout:?} {steps:?}, {fault:?}: {wrong}"));
                }
            },
        );
        tally.count("runs", runs);
    }
}

/// What the failure left, after a power cut that takes what was not synced; with `seen_between`, the next process showed
/// it to somebody before.
fn check(
    workload: &Workload,
    world: &SimWorld,
    mut possible: Possible,
    (one_disk, seen_between): (bool, bool),
    tally: &mut Tally,
) -> Result<(), String> {
    if seen_between {
        world.kill_process();
        if let Ok(store) = workload.rig.open(world) {
            let found = seen(store.namespace()).map_err(|error| format!("it cannot be read: {error:?}"))?;
            if store.namespace().store().ledger().status().read_only.is_none() {
                possible.check_after_crash(&found)?;
            }
        }
    }
    world.restart(0);
    let store = match workload.rig.open(world) {
        Ok(store) => store,
        Err(error) if !one_disk && format!("{error:?}").contains("TooFewDisks") => {
            tally.count("refused", 1);
            return Ok(());
        }
        Err(error) => return Err(format!("it does not open again: {error:?}")),
    };
    tally.count("opened", 1);
    let found = seen(store.namespace()).map_err(|error| format!("it cannot be read: {error:?}"))?;
    possible.check_after_crash(&found)?;
    if let Some(first) = violations(store.namespace()).first() {
        return Err(first.clone());
    }
    let op = root();
    let step = Step::Put("later".to_owned(), 3);
    let took = step.apply(store.namespace(), &op).and_then(|()| store.namespace().settle_blocking(&op));
    took.map_err(|error| format!("it takes no writes: {error:?}"))
}

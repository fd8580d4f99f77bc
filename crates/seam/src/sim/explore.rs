//! Exhaustive walks: a crash at every I/O of a workload, and a failure of every I/O of it.
//!
//! Both run the workload once untouched to learn its I/Os, then again from the same snapshot for each of them. The
//! workload must be deterministic, and must stop (not retry for ever) when its disks are gone.

use std::ops::Range;

use super::fault::{Fault, IoOp, IoRecord, When};
use super::world::SimWorld;

/// How the code under test hands writes to several disks, and so which of them may be under way at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Submission {
    /// Each I/O waits for the one before it.
    OneByOne,
    /// Writes that follow each other on different disks, as the frames of a stripe do, wait for none of the others: the
    /// power may also go with all of them under way, so that any of them, and not only the first few, arrives.
    DisksInParallel,
}

/// One state of the world after a power cut, as [`explore_crashes`] shows it. Its `Debug` text is what to replay, with
/// [`SimWorld::crash_during`] and [`SimWorld::restart`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrashState {
    /// The first I/O under way when the power went; one past the last for a cut after the workload.
    pub io: u64,
    /// How many were under way.
    pub width: u64,
    /// What was given to [`SimWorld::restart`].
    pub choices: u64,
}

/// The crash points of a workload with this trace, as first I/O and width.
fn crash_points(trace: &[IoRecord], submission: Submission) -> Vec<(u64, u64)> {
    let changes: Vec<_> = trace.iter().filter(|io| io.op.is_change()).collect();
    let mut points: Vec<_> = changes.iter().map(|io| (io.number, 1)).collect();
    if submission == Submission::DisksInParallel {
        let mut group: Vec<&IoRecord> = Vec::new();
        for io in changes {
            let joins = io.op == IoOp::Write
                && group.last().is_none_or(|last| last.number + 1 == io.number)
                && group.iter().all(|other| other.disk != io.disk);
            if !joins {
                points.extend(as_point(&group));
                group.clear();
            }
            if io.op == IoOp::Write {
                group.push(io);
            }
        }
        points.extend(as_point(&group));
    }
    points
}

fn as_point(group: &[&IoRecord]) -> Option<(u64, u64)> {
    (group.len() > 1).then(|| (group[0].number, group.len() as u64))
}

/// Runs `work` from the present state of the world, once for each I/O that may change what a crash leaves, with the power
/// going at that I/O, and once with the power going after the last. `work` has to ask the world for its disks. For each of these and each of `choices` the world is
/// restarted and handed to `check`, with what `work` returned (what it was told to be durable, for instance).
///
/// Returns how many states were checked. The world ends in the last of them, without faults or plans of its own.
pub fn explore_crashes<T>(
    world: &SimWorld,
    submission: Submission,
    choices: Range<u64>,
    mut work: impl FnMut(&SimWorld) -> T,
    mut check: impl FnMut(&SimWorld, &T, CrashState),
) -> u64 {
    let start = world.snapshot();
    world.restore(&start);
    world.record_trace(true);
    work(world);
    let mut points = crash_points(&world.trace(), submission);
    points.push((world.io_count() + 1, 1));
    let mut states = 0;
    for (io, width) in points {
        world.restore(&start);
        world.crash_during(io, width);
        let promised = work(world);
        let cut = world.snapshot();
        for choices in choices.clone() {
            world.restore(&cut);
            world.restart(choices);
            check(world, &promised, CrashState { io, width, choices });
            states += 1;
        }
    }
    states
}

/// Runs `work` from the present state of the world once for each of its I/Os and each of `faults`, which strikes at that
/// I/O, first alone and then at every later one as well; the world and what `work` returned are handed to `check`, with
/// the fault as it was planned. The plan is empty by then, so that `check` sees what the failure left and no more
/// failures.
///
/// Returns how many runs were checked.
pub fn sweep_failures<T>(
    world: &SimWorld,
    faults: &[Fault],
    mut work: impl FnMut(&SimWorld) -> T,
    mut check: impl FnMut(&SimWorld, &T, &Fault),
) -> u64 {
    let start = world.snapshot();
    let first = world.io_count() + 1;
    world.restore(&start);
    work(world);
    let last = world.io_count();
    let mut runs = 0;
    for io in first..=last {
        for fault in faults {
            for when in [When::At(io), When::From(io)] {
                let fault = fault.clone().when(when);
                world.restore(&start);
                world.set_fault(fault.clone());
                let promised = work(world);
                world.clear_faults();
                check(world, &promised, &fault);
                runs += 1;
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    //! A log of four records on one disk, right and with planted mistakes: the walks must pass the first and catch the
    //! others, or their silence over a real store would mean nothing.

    use super::*;
    use crate::sim::FaultKind;
    use crate::{Disk, DiskError, DiskFile, WriteMode};

    const RECORD: u64 = 4096;
    const RECORDS: u8 = 4;

    #[derive(Clone, Copy, PartialEq)]
    enum Mistake {
        None,
        ForgetsTheSync,
        RetriesTheSync,
        TrustsTornRecords,
    }

    fn append(file: &dyn DiskFile, number: u8, mistake: Mistake) -> Result<(), DiskError> {
        file.write_at(u64::from(number) * RECORD, &[number + 1; RECORD as usize], WriteMode::Buffered)?;
        match mistake {
            Mistake::ForgetsTheSync => Ok(()),
            Mistake::RetriesTheSync => file.sync().or_else(|_| file.sync()),
            _ => file.sync(),
        }
    }

    /// Appends all records and returns how many were acknowledged before the first error.
    fn run(world: &SimWorld, mistake: Mistake) -> u8 {
        let Ok(file) = world.disk("disk0").open("log") else {
            return 0;
        };
        (0..RECORDS).find(|number| append(&*file, *number, mistake).is_err()).unwrap_or(RECORDS)
    }

    /// Reads the log as recovery would and says whether it kept its promise.
    fn is_intact(world: &SimWorld, acknowledged: u8, mistake: Mistake) -> bool {
        let log = world.peek("disk0", "log").unwrap();
        (0..RECORDS).all(|number| {
            let record = &log[usize::from(number) * RECORD as usize..][..RECORD as usize];
            let whole = record.iter().all(|byte| *byte == number + 1);
            let looks_whole = whole || (mistake == Mistake::TrustsTornRecords && record[0] == number + 1);
            (whole || number >= acknowledged) && whole == looks_whole
        })
    }

    fn log_world() -> SimWorld {
        let world = SimWorld::new(5);
        world.disk("disk0").create("log", u64::from(RECORDS) * RECORD, true).unwrap();
        world
    }

    fn broken_promises(mistake: Mistake) -> (u64, u64) {
        let mut broken = 0;
        let mut note = |kept: bool| broken += u64::from(!kept);
        let states = explore_crashes(
            &log_world(),
            Submission::OneByOne,
            0..16,
            |world| run(world, mistake),
            |world, acknowledged, _| note(is_intact(world, *acknowledged, mistake)),
        );
        let faults = [Fault::medium(), Fault::full(), Fault::new(FaultKind::ShortWrite)];
        let runs = sweep_failures(
            &log_world(),
            &faults,
            |world| run(world, mistake),
            |world, acknowledged, _| {
                world.restart(0);
                note(is_intact(world, *acknowledged, mistake));
            },
        );
        (states + runs, broken)
    }

    #[test]
    fn a_sound_log_passes_every_crash_and_every_failure() {
        let (tried, broken) = broken_promises(Mistake::None);
        // 4 writes, 4 syncs and the end, 16 choices each; 9 I/Os with the opening, 3 faults, once and sticky
        assert_eq!((tried, broken), (9 * 16 + 9 * 3 * 2, 0));
    }

    #[test]
    fn frames_written_to_several_disks_at_once_arrive_in_any_subset() {
        let world = SimWorld::new(0);
        let disks = ["a", "b", "c"];
        for disk in disks {
            world.disk(disk).create("log", 2 * RECORD, true).unwrap();
        }
        let stripes = |world: &SimWorld| {
            let files = disks.map(|disk| world.disk(disk).open("log"));
            for (stripe, file) in (0..2).flat_map(|stripe| files.iter().map(move |file| (stripe, file))) {
                let Ok(file) = file else { continue };
                // each answer is awaited only once all were asked
                let _ = file.write_at(stripe * RECORD, &[1; RECORD as usize], WriteMode::Durable);
            }
        };
        let seen = |submission| {
            let mut seen = std::collections::BTreeSet::new();
            explore_crashes(&world.fork(), submission, 0..100, stripes, |world, (), state| {
                if state.io <= world.io_count() {
                    seen.insert(disks.map(|disk| world.peek(disk, "log").unwrap()[RECORD as usize] == 1));
                }
            });
            seen
        };
        assert_eq!(seen(Submission::OneByOne).len(), 4, "only prefixes");
        assert_eq!(seen(Submission::DisksInParallel).len(), 8);
    }

    #[test]
    fn a_log_that_forgets_or_retries_its_sync_or_trusts_torn_records_is_caught() {
        for mistake in [Mistake::ForgetsTheSync, Mistake::RetriesTheSync, Mistake::TrustsTornRecords] {
            assert!(broken_promises(mistake).1 > 0);
        }
    }
}

//! R13: concurrency, schedule by schedule. The sources of the ledger, the index, the content store and the name space are compiled
//! once more under the Shuttle scheduler (`crates/scheduled`), which decides at every lock, wait, wake-up and (in the
//! ledger) atomic access who goes on.
//!
//! Half of the schedules are drawn evenly (which finds what many orders show), half by priorities that change at a few
//! random places (which finds bugs of small depth with a known probability). A seed replays all of them.
//! Source: S. Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010.

mod contents;
mod guards;
mod index;
mod ledger;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::options::Options;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "schedules",
    id: "R13",
    about: "every structure with a locking protocol of its own, under many thousand schedules of its threads",
    run,
};

const SCHEDULES_SHORT: usize = 200;
const SCHEDULES_FULL: usize = 100_000;
/// Schedules explored in one go, between two looks at the clock and with a seed of their own.
const BATCH: usize = 1000;
/// Changes of priority in a schedule by priorities.
const DEPTH: usize = 3;
/// Decisions in one schedule after which its threads are taken to go round in circles.
const STEPS_MAX: usize = 200_000;
/// Stack of each thread under the scheduler, in bytes.
const STACK_LEN: usize = 512 << 10;

/// A structure and one run of what its threads do. The run panics where a promise is broken; the scheduler does where
/// nobody can go on.
struct Structure {
    name: &'static str,
    once: fn(),
}

const STRUCTURES: [Structure; 8] = [
    Structure { name: "ledger: appends, waits and futures", once: ledger::progress },
    Structure { name: "ledger: more appends than the queue takes", once: ledger::crowd },
    Structure { name: "ledger: disks that fail under waiters", once: ledger::failures },
    Structure { name: "ledger: stopped under waiters", once: ledger::stopped },
    Structure { name: "index: readers beside a drain", once: index::drain },
    Structure { name: "content: guards and epochs", once: guards::epochs },
    Structure { name: "content: reclaim beside readers and ingests", once: contents::reclaim },
    Structure { name: "name space: pins beside replacements", once: contents::pins },
];

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let goal = options.sized(SCHEDULES_SHORT, SCHEDULES_FULL);
    let wanted = |structure: &&Structure| options.case.as_deref().is_none_or(|case| structure.name.starts_with(case));
    let structures: Vec<&Structure> = STRUCTURES.iter().filter(wanted).collect();
    ensure!(!structures.is_empty(), "no structure has a name that begins so");
    for structure in structures {
        let mut explored = 0;
        while explored < goal {
            if report.out_of_time() {
                report.set_cut_short();
                break;
            }
            let count = BATCH.min(goal - explored);
            // Seeds of batches are apart, and the first is the one that was given.
            let seed = options.seed + (explored / BATCH) as u64 * 1_000_003;
            let (done, ended) = explore(structure.once, seed, count);
            explored += done;
            if let Err(told) = ended {
                let replay = format!("schedules --case '{}' --seed {seed}", structure.name);
                report.violation(format!("{}: {told}", structure.name), Some(replay));
                break;
            }
        }
        report.goal(format!("schedules of {}", structure.name), explored as f64, goal as f64);
    }
    Ok(())
}

/// Runs `once` under `count` schedules; gives how many were begun, and what went wrong.
fn explore(once: fn(), seed: u64, count: usize) -> (usize, Result<(), String>) {
    let begun = Arc::new(AtomicU64::new(0));
    let mut ended = Ok(());
    for by_priority in [false, true] {
        let counted = Arc::clone(&begun);
        let run = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            once();
        };
        let half = if by_priority { count / 2 } else { count - count / 2 };
        ended = catch_unwind(AssertUnwindSafe(|| {
            if by_priority {
                Runner::new(PctScheduler::new_from_seed(seed, DEPTH, half), config()).run(run);
            } else {
                Runner::new(RandomScheduler::new_from_seed(seed, half), config()).run(run);
            }
        }))
        .map_err(|panic| crate::report::panic_text(&*panic));
        if ended.is_err() {
            break;
        }
    }
    (usize::try_from(begun.load(Ordering::Relaxed)).unwrap_or(usize::MAX), ended)
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_LEN;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.max_time = None::<Duration>;
    config.silence_warnings = true;
    config
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_few_schedules_of_every_structure_break_no_promise() {
        let options = Options::parse_from(["strata-harness", ROW.name]);
        let mut report = Report::new(&ROW, &options);
        run(&options, &mut report).unwrap();
        assert!(report.kept(), "{:?}", report.violations);
        assert!(report.goals_reached(), "{}", report.line());
    }

    #[test]
    fn a_lost_wake_up_is_found() {
        fn forgetful() {
            use strata_scheduled::{Condvar, Mutex, thread};
            let shared = Arc::new((Mutex::new(false), Condvar::new()));
            let theirs = Arc::clone(&shared);
            let waiter = thread::spawn(move || {
                // Looks and waits under two different holdings of the lock.
                let ready = *theirs.0.lock();
                if !ready {
                    theirs.1.wait(&mut theirs.0.lock());
                }
            });
            *shared.0.lock() = true;
            shared.1.notify_one();
            waiter.join().unwrap();
        }
        let (begun, ended) = explore(forgetful, 1, 200);
        assert!(ended.unwrap_err().contains("deadlock"), "after {begun} schedules");
    }
}

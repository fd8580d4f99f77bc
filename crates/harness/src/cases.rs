//! Many independent cases on a few threads: counted, timed, and every panic turned into a violation.
//!
//! Cases are taken in the order of their numbers, so a run that its time ended can be gone on with at the first case that
//! was not run.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::options::Options;
use crate::report::{Report, panic_text};

/// What one thread counted and what it found broken.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: BTreeMap<&'static str, u64>,
    broken: Vec<String>,
}

impl Tally {
    /// Counts `by` more of `what`.
    pub(crate) fn count(&mut self, what: &'static str, by: u64) {
        *self.counts.entry(what).or_default() += by;
    }

    /// Notes a broken promise of this case.
    pub(crate) fn broken(&mut self, what: impl Into<String>) {
        self.broken.push(what.into());
    }

    /// How many of `what` were counted.
    pub(crate) fn of(&self, what: &str) -> f64 {
        self.counts.get(what).map_or(0.0, |count| *count as f64)
    }
}

/// Which cases `--case` asks for: one by its name, or all whose name begins so.
fn wanted(case: Option<&str>, name: &str) -> bool {
    case.is_none_or(|case| case.strip_suffix('*').map_or(case == name, |start| name.starts_with(start)))
}

/// Runs the cases `0 .. count` on the row's threads (from where the run before ended, if this one adds to it) until all
/// are done or its time is over, and returns what they counted. A violation is replayed by the row's name and what
/// `replay` says of the case.
pub(crate) fn run(
    options: &Options,
    report: &mut Report,
    count: u64,
    replay: impl Fn(u64) -> String + Sync,
    case: impl Fn(u64, &mut Tally) + Sync,
) -> Tally {
    let (next, left) = (AtomicU64::new(report.first_case), AtomicU64::new(count.max(report.first_case)));
    let (total, shared) = (Mutex::new(Tally::default()), Mutex::new(report));
    let work = || {
        let mut tally = Tally::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            if options.case.is_some() && !wanted(options.case.as_deref(), &replay(number)) {
                continue;
            }
            if shared.lock().out_of_time() {
                shared.lock().set_cut_short();
                left.fetch_min(number, Ordering::Relaxed);
                break;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(number, &mut tally))) {
                tally.broken(panic_text(&*panic));
            }
            for text in tally.broken.drain(..) {
                let (row, seed, size) = (shared.lock().row, options.seed, options.size_word());
                let again = format!("{row} --{size} --seed {seed} --case '{}'", replay(number));
                shared.lock().violation(text, Some(again));
            }
        }
        let mut total = total.lock();
        tally.counts.into_iter().for_each(|(what, by)| total.count(what, by));
    };
    std::thread::scope(|scope| (0..options.threads()).for_each(|_| drop(scope.spawn(work))));
    shared.into_inner().next_case = left.into_inner();
    total.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_asked_for_by_its_name_or_by_how_its_name_begins() {
        assert!(wanted(None, "log-3") && wanted(Some("log-3"), "log-3") && wanted(Some("log-*"), "log-3"));
        assert!(!wanted(Some("log-3"), "log-31") && !wanted(Some("log-*"), "store-3"));
    }
}

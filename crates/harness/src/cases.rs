//! Many independent cases on a few threads: counted, timed, and every panic turned into a violation.

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

/// Runs the cases `0 .. count` on the row's threads until all are done or its time is over, and returns what they
/// counted. A violation is replayed by the row's name and what `replay` says of the case.
///
/// With `--case`, that one case runs alone.
pub(crate) fn run(
    options: &Options,
    report: &mut Report,
    count: u64,
    replay: impl Fn(u64) -> String + Sync,
    case: impl Fn(u64, &mut Tally) + Sync,
) -> Tally {
    let only = options.case.as_deref().and_then(|case| (0..count).find(|number| replay(*number) == case));
    let (first, count) = only.map_or((0, count), |number| (number, number + 1));
    let (next, total, shared) = (AtomicU64::new(first), Mutex::new(Tally::default()), Mutex::new(report));
    let work = || {
        let mut tally = Tally::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            if shared.lock().out_of_time() {
                shared.lock().set_cut_short();
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
    total.into_inner()
}

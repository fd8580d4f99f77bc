//! Work in the background: the one kind of worker that a store has, and the list of all of them.
//!
//! A worker is what the outside sees of somebody who works by themselves, on a thread of their own or on a caller's: a name, a
//! budget, how far it is and of how much, what it is at, and what it failed by. Who does the work tells it; anybody may read
//! it at any time. It decides nothing.
//!
//! Progress costs an atomic addition; beginning and ending a round, a short lock that is never held while anything is done.

mod status;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub use status::{Failure, WorkerState, WorkerStatus, remaining};

use crate::{Clock, Pace, Said, Stop, Timestamp};

/// A bound that nobody knows.
const UNKNOWN: u64 = u64::MAX;

/// What a worker is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Duty {
    /// One word; the label in metrics.
    pub name: &'static str,
    /// What it does, for people, as in "writes down the index".
    pub does: &'static str,
    /// What its progress is counted in: `bytes`, `segments` and the like.
    pub unit: &'static str,
}

/// Every background worker of a store, in the order in which they came.
pub struct Crew {
    clock: Arc<dyn Clock>,
    workers: Mutex<Vec<Arc<Worker>>>,
}

impl Crew {
    /// An empty list, whose workers go by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, workers: Mutex::default() }
    }

    /// Adds a worker that goes by `pace`, if by any. One that is there by that name is given instead: several threads may have
    /// one duty.
    pub fn add(&self, duty: Duty, pace: Option<Arc<Pace>>) -> Arc<Worker> {
        let mut workers = self.workers.lock();
        if let Some(known) = workers.iter().find(|worker| worker.duty.name == duty.name) {
            return Arc::clone(known);
        }
        let worker = Arc::new(Worker::new(duty, pace, Arc::clone(&self.clock)));
        workers.push(Arc::clone(&worker));
        worker
    }

    /// How each of them is.
    #[must_use]
    pub fn status(&self) -> Vec<WorkerStatus> {
        let workers = self.workers.lock().clone();
        workers.iter().map(|worker| worker.status()).collect()
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.workers.lock().iter().map(|worker| worker.duty.name)).finish()
    }
}

/// See the module.
pub struct Worker {
    duty: Duty,
    pace: Option<Arc<Pace>>,
    clock: Arc<dyn Clock>,
    /// Of the round under way, or of the last one.
    cursor: AtomicU64,
    bound: AtomicU64,
    /// Since the process started.
    handled: AtomicU64,
    rounds: AtomicU64,
    errors: AtomicU64,
    moment: Mutex<Moment>,
}

/// What a worker is at.
#[derive(Default)]
struct Moment {
    /// Rounds under way: there may be several threads.
    at_work: u32,
    waits_for: Option<Cow<'static, str>>,
    paused: bool,
    failure: Option<Failed>,
    said: Said,
    since: Timestamp,
}

/// What it failed by, again and again.
struct Failed {
    what: String,
    since: Timestamp,
    last: Timestamp,
    again: Option<Timestamp>,
}

impl Moment {
    fn state(&self) -> WorkerState {
        match (self.at_work > 0, &self.waits_for) {
            (true, None) => WorkerState::Working,
            (_, Some(_)) => WorkerState::Waiting,
            (false, None) if self.paused => WorkerState::Paused,
            (false, None) if self.failure.is_some() => WorkerState::Failed,
            (false, None) => WorkerState::Idle,
        }
    }
}

impl Worker {
    fn new(duty: Duty, pace: Option<Arc<Pace>>, clock: Arc<dyn Clock>) -> Self {
        let moment = Moment { since: clock.now(), ..Moment::default() };
        Self {
            duty,
            pace,
            clock,
            cursor: AtomicU64::new(0),
            bound: AtomicU64::new(UNKNOWN),
            handled: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            moment: Mutex::new(moment),
        }
    }

    /// The pace it goes by.
    #[must_use]
    pub fn pace(&self) -> Option<&Arc<Pace>> {
        self.pace.as_ref()
    }

    /// Changes what it is at, and notes since when if that shows.
    fn change<T>(&self, change: impl FnOnce(&mut Moment) -> T) -> T {
        let mut moment = self.moment.lock();
        let before = moment.state();
        let value = change(&mut moment);
        if moment.state() != before {
            moment.since = self.clock.now();
        }
        value
    }

    /// A round begins, of so much work where that is known. It ends when what is returned is dropped.
    pub fn begin(&self, bound: Option<u64>) -> Round<'_> {
        self.change(|moment| {
            if moment.at_work == 0 {
                self.cursor.store(0, Ordering::Relaxed);
                self.bound.store(bound.unwrap_or(UNKNOWN), Ordering::Relaxed);
            }
            moment.at_work += 1;
        });
        Round(self)
    }

    /// So much was done.
    pub fn advance(&self, more: u64) {
        self.cursor.fetch_add(more, Ordering::Relaxed);
        self.handled.fetch_add(more, Ordering::Relaxed);
    }

    /// So much of so much is done, in a round that one thread does.
    pub fn reach(&self, cursor: u64, bound: Option<u64>) {
        let before = self.cursor.swap(cursor, Ordering::Relaxed);
        self.handled.fetch_add(cursor.saturating_sub(before), Ordering::Relaxed);
        self.bound.store(bound.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    /// It cannot go on before `what` has come: "the write quorum", "3 readers". Until [`Worker::goes_on`] or the end of the round.
    pub fn waits_for(&self, what: impl Into<Cow<'static, str>>) {
        let what = what.into();
        self.change(|moment| moment.waits_for = Some(what));
    }

    /// It waits no longer.
    pub fn goes_on(&self) {
        self.change(|moment| moment.waits_for = None);
    }

    /// Whether somebody wants it to do nothing.
    pub fn set_paused(&self, paused: bool) {
        self.change(|moment| moment.paused = paused);
    }

    /// It failed, and tries again after so long; [`Duration::MAX`] for never. Whether that is to be said: not while it fails by the same again and again.
    #[must_use = "what it failed by is to be said once"]
    pub fn failed(&self, error: &dyn Display, again: Duration) -> bool {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let (last, monotonic) = (self.clock.now(), self.clock.monotonic_nanos());
        let again = i64::try_from(again.as_nanos()).ok().map(|nanos| Timestamp(last.0.saturating_add(nanos)));
        self.change(|moment| {
            let since = moment.failure.as_ref().map_or(last, |before| before.since);
            moment.failure = Some(Failed { what: error.to_string(), since, last, again });
            moment.said.is_new(error, monotonic)
        })
    }

    /// A round failed that somebody had asked for, who is told and tries again or does not: it is counted, and nothing is left
    /// that fails.
    pub fn count_failure<T, E>(&self, done: &Result<T, E>) {
        self.errors.fetch_add(u64::from(done.is_err()), Ordering::Relaxed);
    }

    /// It did what it is there for: what it failed by before is over.
    pub fn well(&self) {
        self.change(|moment| moment.failure = None);
    }

    /// [`Worker::well`] or [`Worker::failed`], by what a round came to. Whether an error is to be said.
    #[must_use = "what it failed by is to be said once"]
    pub fn note<T, E: Display>(&self, done: &Result<T, E>, again: Duration) -> bool {
        match done {
            Ok(_) => {
                self.well();
                false
            }
            Err(error) => self.failed(error, again),
        }
    }

    /// The loop of a worker's thread: sleeps, takes a step, sleeps as long as the step says, until the end is asked for. A step
    /// that fails is noted, given to `say` unless it was said already, and tried again after `again`.
    pub fn work<E: Display>(
        &self,
        stop: &Stop,
        again: impl Fn() -> Duration,
        say: impl Fn(&E),
        mut step: impl FnMut() -> Result<Duration, E>,
    ) {
        let mut pause = Duration::ZERO;
        while stop.sleep(pause) {
            let done = step();
            let again = again();
            let new = self.note(&done, again);
            pause = done.unwrap_or_else(|error| {
                if new {
                    say(&error);
                }
                again
            });
        }
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> WorkerStatus {
        let seconds = |time: Timestamp| u64::try_from(time.secs()).unwrap_or(0);
        let moment = self.moment.lock();
        let failure = moment.failure.as_ref().map(|failed| Failure {
            what: failed.what.clone(),
            since: seconds(failed.since),
            last: seconds(failed.last),
            again: failed.again.map(seconds),
        });
        let (state, since) = (moment.state(), seconds(moment.since));
        let waits_for = moment.waits_for.as_ref().map(ToString::to_string);
        drop(moment);
        let bound = Some(self.bound.load(Ordering::Relaxed)).filter(|bound| *bound != UNKNOWN);
        WorkerStatus {
            name: self.duty.name.into(),
            does: self.duty.does.into(),
            state,
            since,
            waits_for,
            cursor: self.cursor.load(Ordering::Relaxed),
            bound,
            unit: self.duty.unit.into(),
            handled: self.handled.load(Ordering::Relaxed),
            budget: self.pace.as_ref().map(|pace| pace.budget()),
            rounds: self.rounds.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            failure,
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Worker").field(&self.status()).finish()
    }
}

/// A round of a worker under way.
#[derive(Debug)]
pub struct Round<'a>(&'a Worker);

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.0.rounds.fetch_add(1, Ordering::Relaxed);
        self.0.change(|moment| {
            moment.at_work -= 1;
            moment.waits_for = None;
        });
        if std::thread::panicking() {
            // The panic itself says what there is to say.
            let _ = self.0.failed(&"it panicked; restart the server", Duration::MAX);
        }
    }
}

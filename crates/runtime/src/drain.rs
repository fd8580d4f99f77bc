//! Draining a set: emptying it step by step until it leaves the store.
//!
//! The superblocks say that a set is being drained, so no state is kept here. A step ends the segment being written, has the mover move
//! what lies on the set, and removes the set once no segment is left on it. A step that was cut off, by a crash or by its caller, is
//! simply done again.
//!
//! A segment can be freed only once a checkpoint lies behind it, and the position of a checkpoint is that of its last change. So each
//! step first makes a change of its own: it writes a setting, which is removed at the end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strata_content::{Choice, ContentError, Host};
use strata_ledger::{LedgerError, SetState, SetStatus};
use strata_namespace::{Caller, Error, ErrorKind, Op, Result, STORE};
use strata_seam::{Duty, Worker, remaining};

use crate::runtime::Runtime;

/// The emptying, as it is shown.
const DRAIN: Duty = Duty { name: "drain", does: "empties a set that is to leave the store", unit: "bytes" };
/// The setting that each step changes.
const SETTING: &str = "drain";
/// Live bytes moved by one step, so that the thread that does it can look after other things in between.
const STEP_BYTES: u64 = 4 << 30;

/// How far the drain of a set is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrainStatus {
    /// The set.
    pub number: u16,
    /// Bytes of the segments that lie on it, on the disks that hold data.
    pub left: u64,
    /// Bytes that were left when this process began with it.
    pub total: u64,
    /// Time since then; zero before the first step.
    pub elapsed: Duration,
    /// What the last step failed by, or why it came to nothing; it is tried again.
    pub trouble: Option<String>,
}

impl DrainStatus {
    /// How long the rest takes at the speed so far; `None` before anything is known.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        remaining(self.total.saturating_sub(self.left), self.total, self.elapsed)
    }
}

/// What a step came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DrainStep {
    /// Something was freed, and something is left.
    More,
    /// Nothing could be freed this time, for this reason.
    Stuck(String),
    /// The host ended it.
    Ended,
    /// The set is empty and has left the store. Disks of it that could not be wiped are named.
    Released(Vec<String>),
}

/// What is known of the drain under way.
#[derive(Default)]
pub(crate) struct Drain {
    state: Mutex<Option<State>>,
}

struct State {
    number: u16,
    total: u64,
    since: u64,
    trouble: Option<String>,
}

impl Runtime {
    /// Begins to empty a set, or continues with it: nothing new is written to it from now on. The mover's thread does the rest, or the
    /// caller by [`Runtime::drain_step`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a set that the store does not have, or that is the last to take writes; those of
    /// the ledger.
    pub fn begin_drain(&self, number: u16) -> Result<()> {
        self.changed_set(self.store().ledger().set_draining(number, true))
    }

    /// Cancels the drain of a set, which takes writes again. What was moved stays where it is.
    ///
    /// # Errors
    /// As for [`Runtime::begin_drain`].
    pub fn cancel_drain(&self, number: u16) -> Result<()> {
        self.changed_set(self.store().ledger().set_draining(number, false))?;
        *self.drain.state.lock() = None;
        Ok(())
    }

    fn changed_set(&self, changed: Result<(), LedgerError>) -> Result<()> {
        changed.map_err(|error| match error {
            LedgerError::Setting { what, .. } => Error::new(ErrorKind::Invalid, what),
            other => ContentError::from(other).into(),
        })
    }

    /// The set that is being drained; the first one if there are several.
    #[must_use]
    pub fn draining(&self) -> Option<SetStatus> {
        self.store().ledger().status().sets.into_iter().find(|set| set.state == SetState::Draining)
    }

    /// How far the drain is; `None` if no set is being drained.
    #[must_use]
    pub fn drain_status(&self) -> Option<DrainStatus> {
        let set = self.draining()?;
        let left = self.left_on(set.number);
        let state = self.drain.state.lock();
        let known = state.as_ref().filter(|state| state.number == set.number);
        let elapsed = known.map_or(0, |known| self.clock().monotonic_nanos().saturating_sub(known.since));
        Some(DrainStatus {
            number: set.number,
            left,
            total: known.map_or(left, |known| known.total.max(left)),
            elapsed: Duration::from_nanos(elapsed),
            trouble: known.and_then(|known| known.trouble.clone()),
        })
    }

    fn left_on(&self, number: u16) -> u64 {
        let ledger = self.store().ledger();
        ledger.segments_on(number).into_iter().map(|segment| ledger.capacity_of(segment)).sum()
    }

    /// One step of emptying the set `number`, which is being drained: moves at most a few GiB.
    ///
    /// # Errors
    /// Those of the store; nothing is lost, and the next step goes on.
    pub fn drain_step(&self, number: u16, host: &mut dyn Host) -> Result<DrainStep> {
        let total = {
            let mut state = self.drain.state.lock();
            if state.as_ref().is_none_or(|state| state.number != number) {
                let (total, since) = (self.left_on(number), self.clock().monotonic_nanos());
                *state = Some(State { number, total, since, trouble: None });
            }
            state.as_ref().map_or(0, |state| state.total)
        };
        let worker = self.drainer();
        let round = worker.begin(Some(total));
        let reach = || worker.reach(total.saturating_sub(self.left_on(number)), Some(total));
        reach();
        let done = self.step(number, host, &reach);
        reach();
        drop(round);
        let mut state = self.drain.state.lock();
        match &done {
            Ok(DrainStep::Released(_)) => *state = None,
            Ok(step) => {
                if let Some(state) = &mut *state {
                    state.trouble = if let DrainStep::Stuck(why) = step { Some(why.clone()) } else { None };
                }
            }
            Err(error) => {
                if let Some(state) = &mut *state {
                    state.trouble = Some(error.to_string());
                }
            }
        }
        done
    }

    /// The worker that empties sets.
    pub(crate) fn drainer(&self) -> Arc<Worker> {
        self.crew().add(DRAIN, Some(Arc::clone(self.store().mover_pace())))
    }

    fn step(&self, number: u16, host: &mut dyn Host, reach: &dyn Fn()) -> Result<DrainStep> {
        let ledger = self.store().ledger();
        let op = Op::new(Caller::root(&STORE));
        let before = ledger.segments_on(number).len();
        if before > 0 {
            while self.store().collect()? > 0 {}
            // A change first, so that the segment is ended even if it was empty, and segments prepared ahead on the set are removed.
            self.namespace().put_setting(&op, SETTING, Some(number.to_string().as_bytes()))?;
            ledger.begin_segment().map_err(ContentError::from)?;
            self.namespace().put_setting(&op, SETTING, Some(number.to_string().as_bytes()))?;
            ledger.sync().map_err(ContentError::from)?;
            let mut ended = false;
            let mut watched = Watched { host, ended: &mut ended, reach, freed: 0 };
            let report = self.store().reclaim(Choice::OnSet { set: number, bytes: STEP_BYTES }, &mut watched)?;
            let left = ledger.segments_on(number).len();
            if left > 0 {
                return Ok(match () {
                    () if ended => DrainStep::Ended,
                    () if report.unreadable > 0 => DrainStep::Stuck(format!(
                        "{} chunks or stripes on the set cannot be read, so they stay there; run strata fsck",
                        report.unreadable
                    )),
                    () if left < before => DrainStep::More,
                    () if report.segments_waiting > 0 => DrainStep::Stuck(format!(
                        "no segment could be freed: readers and uploads that began before still use {} segments",
                        report.segments_waiting
                    )),
                    () => DrainStep::Stuck("no segment could be freed this time".to_owned()),
                });
            }
        }
        let unwiped = ledger.release_set(number).map_err(ContentError::from)?;
        self.namespace().put_setting(&op, SETTING, None)?;
        Ok(DrainStep::Released(unwiped))
    }
}

/// Notes whether the host ended the work, and how far it is.
struct Watched<'a> {
    host: &'a mut dyn Host,
    ended: &'a mut bool,
    /// Called when something was freed.
    reach: &'a dyn Fn(),
    freed: u64,
}

impl Host for Watched<'_> {
    fn pace(&mut self, bytes: u64, report: &strata_content::MoverReport) -> bool {
        if report.segments_freed > self.freed {
            self.freed = report.segments_freed;
            (self.reach)();
        }
        let on = self.host.pace(bytes, report);
        *self.ended |= !on;
        on
    }

    fn wait(&mut self, holders: usize, report: &strata_content::MoverReport) -> bool {
        self.host.wait(holders, report)
    }
}

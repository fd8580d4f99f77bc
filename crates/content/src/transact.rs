//! Making a change: it is computed, under the writer's lock or ahead of it, and committed to the engine under that lock.
//!
//! **Invariant PREFIX**: the lock covers reading, deciding and committing, so the order of the log is the order in which changes were
//! decided. A change that was computed ahead is committed only while every row that it read is unchanged.
//!
//! A change is computed by a closure. The closure may run more than once and has no effect but on its [`Tx`]. Everything else that the
//! change causes is part of the closure's value; the caller does it once, when the change was accepted (`then` of
//! [`Store::transact_then`]).

use std::sync::Arc;
use std::time::Duration;

use strata_engine::{Absent, Exclusive, Purpose};
use strata_seam::Lsn;
use strata_seam::rehearsal::{refuses_first, report, take_interlude};

use crate::error::ContentError;
use crate::mover::state::Phase;
use crate::store::Store;
use crate::tx::Tx;

/// Longest that one change waits for the index to catch up.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(2);

/// Longest that a removal waits for the mover where it would take the mover's room.
const MOVER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks whether it still would.
const MOVER_PAUSE: Duration = Duration::from_millis(20);

/// The result of a change that was accepted.
#[derive(Debug)]
pub struct Done<T> {
    /// The closure's result.
    pub value: T,
    /// Sequence number of the commit; `None` if nothing changed.
    pub lsn: Option<Lsn>,
    /// Highest sequence number of anything read on the way.
    pub seen: Lsn,
}

impl Store {
    /// Computes and commits one change. `relaxed` says that nobody will be promised its durability.
    ///
    /// The closure runs under the writer's lock: no hashing, no compression, no waiting inside. It may run more than once, each
    /// time from the start, and has no effect but on its [`Tx`]. An error of the closure changes nothing.
    ///
    /// # Errors
    /// The closure's own, and those of the ledger; the change has then not happened.
    pub fn transact<T, E: From<ContentError>>(
        self: &Arc<Self>,
        relaxed: bool,
        change: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<Done<T>, E> {
        self.transact_then(relaxed, Computed::UnderLock, change, |_| {})
    }

    /// As [`Store::transact`]; `then` is called once, with the closure's result, when the change was accepted and before it
    /// shows to anybody. Still under the writer's lock: it takes microseconds. `computed` says when the closure runs.
    ///
    /// # Errors
    /// Those of [`Store::transact`]; `then` was not called.
    pub fn transact_then<T, E: From<ContentError>>(
        self: &Arc<Self>,
        relaxed: bool,
        computed: Computed,
        change: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
        then: impl FnOnce(&mut T),
    ) -> Result<Done<T>, E> {
        self.wait_for_room();
        self.run(None, relaxed, computed, change, then)
    }

    /// As [`Store::transact`], with the room that removals have: for what has to be done however full the disks are.
    ///
    /// # Errors
    /// Those of [`Store::transact`].
    pub fn transact_as_removal<T, E: From<ContentError>>(
        self: &Arc<Self>,
        change: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<Done<T>, E> {
        self.wait_for_room();
        self.run(Some(Purpose::Removal), false, Computed::UnderLock, change, |_| {})
    }

    /// As [`Store::transact`], without waiting for anything, and for the purpose given instead of the one that shows.
    pub(crate) fn transact_for<T, E: From<ContentError>>(
        self: &Arc<Self>,
        purpose: Option<Purpose>,
        relaxed: bool,
        change: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<Done<T>, E> {
        self.run(purpose, relaxed, Computed::UnderLock, change, |_| {})
    }

    fn run<T, E: From<ContentError>>(
        self: &Arc<Self>,
        purpose: Option<Purpose>,
        relaxed: bool,
        computed: Computed,
        mut change: impl FnMut(&mut Tx<'_>) -> Result<T, E>,
        then: impl FnOnce(&mut T),
    ) -> Result<Done<T>, E> {
        let early = self.rehearse(relaxed, &mut change);
        let ahead = match computed {
            Computed::Ahead if early.is_none() => self.compute_ahead(relaxed, &mut change),
            _ => None,
        };
        let held = self.engine().exclusive();
        if refuses_first() {
            drop(change(&mut Tx::new(self, relaxed)));
        }
        let (tx, mut value) = match (early, ahead.map(|ahead| self.as_it_was(&held, ahead)).transpose()?.flatten()) {
            (Some(early), _) => self.judge(&held, early, relaxed, &mut change)?,
            (None, Some(ahead)) => ahead,
            (None, None) => {
                let mut tx = Tx::new(self, relaxed);
                let value = change(&mut tx)?;
                (tx, value)
            }
        };
        let seen = tx.seen();
        let lsn = tx.commit(&held, purpose, || then(&mut value))?;
        Ok(Done { value, lsn, seen })
    }
}

/// When a change is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Computed {
    /// Under the writer's lock, while nobody else changes anything.
    UnderLock,
    /// Before the lock is taken: for a change of many look-ups. Under the lock is only looked whether every row that it read still is so,
    /// and if not, it is computed once more, there. The closure must rely on nothing but records, or on what keeps still while it
    /// is under way: its caller sees to that.
    Ahead,
}

/// A change that was computed before others changed something.
type Early<'a, T, E> = (Tx<'a>, Result<T, E>);

impl Store {
    /// Computes a change before what a test has happen in between; `None` outside of such a test.
    fn rehearse<'a, T, E: From<ContentError>>(
        self: &'a Arc<Self>,
        relaxed: bool,
        change: &mut impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Option<Early<'a, T, E>> {
        let happens = take_interlude()?;
        let mut tx = Tx::noting_premises(self, relaxed);
        let value = change(&mut tx);
        happens();
        Some((tx, value))
    }

    /// A change computed without the lock; `None` if it would be refused, which is for the lock to say.
    fn compute_ahead<'a, T, E: From<ContentError>>(
        self: &'a Arc<Self>,
        relaxed: bool,
        change: &mut impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Option<(Tx<'a>, T)> {
        let mut tx = Tx::noting_premises(self, relaxed);
        let value = change(&mut tx).ok()?;
        // A thread whose time slice ends while it holds the lock would make everybody wait; so it gives up the core before.
        std::thread::yield_now();
        Some((tx, value))
    }

    /// Such a change, if every row it read is as it was, absent ones included. Under the writer's lock.
    fn as_it_was<'a, T>(
        &self,
        held: &Exclusive<'_>,
        (tx, value): (Tx<'a>, T),
    ) -> Result<Option<(Tx<'a>, T)>, ContentError> {
        let holds = self.engine().premises_hold(held, &tx.change, Absent::Any)?;
        Ok(holds.then_some((tx, value)))
    }

    /// What an engine that many share would do with such a change: commit it as it is while its premises hold, else have it computed
    /// again. Reports a change that would have come out differently although its premises hold.
    fn judge<'a, T, E: From<ContentError>>(
        self: &'a Arc<Self>,
        held: &Exclusive<'_>,
        (early, value): Early<'a, T, E>,
        relaxed: bool,
        change: &mut impl FnMut(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<(Tx<'a>, T), E> {
        let mut again = Tx::drawing_as(&early, relaxed);
        let holds = self.engine().premises_hold(held, &early.change, Absent::Written).map_err(ContentError::from)?;
        match value {
            Ok(value) if holds => {
                // A change that only read saw one moment, which may be over: it is not compared.
                if early.change.has_written() {
                    match change(&mut again) {
                        Ok(_) if early.change.writes_like(&again.change) => {
                            // Its events must not describe an earlier state either.
                            if early.change.events != again.change.events {
                                report(format!("{} tells what is not so any more", early.change.written()));
                            }
                        }
                        Ok(_) => report(format!("{} instead of {}", early.change.written(), again.change.written())),
                        Err(_) => report(format!("{} instead of a refusal", early.change.written())),
                    }
                }
                Ok((early, value))
            }
            Err(refused) if holds => Err(refused),
            _ => {
                let value = change(&mut again)?;
                Ok((again, value))
            }
        }
    }
}

impl Store {
    /// Holds a change back while the index's overlay is full (invariant BOUND): its worker catches up in the meantime.
    /// The wait ends after [`ROOM_WAIT_MAX`] whatever happens: a stuck worker must not stop changes that would tell why.
    fn wait_for_room(&self) {
        self.engine().wait_for_room(ROOM_WAIT_MAX);
        if self.engine().is_tight() {
            self.wait_for_mover();
        }
    }

    /// Holds a change back while the mover makes room (invariant ROOM). The wait ends whatever happens: what is removed may
    /// be what the mover needs to go on.
    fn wait_for_mover(&self) {
        let mut waited = Duration::ZERO;
        let at_work = || self.mover.status.lock().phase != Phase::Idle;
        while waited < MOVER_WAIT_MAX && self.engine().is_tight() && at_work() {
            std::thread::sleep(MOVER_PAUSE);
            waited += MOVER_PAUSE;
        }
    }
}

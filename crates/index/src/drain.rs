//! Draining: moving the overlay into the engine, in small atomic batches that a crash may cut anywhere.
//!
//! Every batch also records the bound of the drain and the sums of what the engine then holds, the last one that the
//! drain is done. Every cell is written with the bound it includes. After a crash in between, the same generation is built again by the replay (same bound, same changes) and
//! drained again: plain values are absolute, and a cell that includes the bound already passes its changes over. A cell that
//! came to nothing is therefore kept, dead, until the drain is done, and removed afterwards. `docs/format/index.md` has the
//! proof.

use strata_seam::Lsn;
use strata_seam::planted::{Bug, planted};

use crate::dump::Preserving;
use crate::error::IndexError;
use crate::fill::FLUSH_BYTES;
use crate::index::Index;
use crate::overlay::{self, Frozen};
use crate::stored::{Status, Stored};
use crate::verified::Change;

/// What one step of a drain did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drained {
    /// Nothing is due, or a dump has to go on first: call again in a second or so.
    Idle,
    /// The active generation was frozen: call again.
    Frozen,
    /// The frozen generation still waits for changes up to `bound` to be applied and durable: call again when they are.
    Waiting {
        /// Its last sequence number.
        bound: Lsn,
    },
    /// Nothing is due, and a span of the engine that nobody had read since the opening was verified: call again in a while.
    Verified,
    /// A batch went into the engine: call again.
    Batch {
        /// Keys in it.
        keys: usize,
    },
    /// The last batch did; the engine has everything up to `applied`.
    Done {
        /// Its last sequence number.
        applied: Lsn,
    },
}

/// What the drainer remembers between steps.
#[derive(Debug, Default)]
pub(crate) struct DrainState {
    /// When the active generation was first seen with something in it, in nanoseconds of the caller's clock.
    first_seen: Option<u64>,
    /// `Overlay::applies` when last looked at, and when it last changed.
    applies: u64,
    changed_at: u64,
    /// Cells of the running drain that came to nothing.
    dying: Vec<Vec<u8>>,
    /// Those of finished drains, still in the engine.
    dead: Vec<Vec<u8>>,
    /// Bytes written since the engine was last flushed.
    unflushed: usize,
    /// Spans before this were verified, or looked at and found wrong.
    verified: Vec<u8>,
    /// What a dump under way needs of keys that are changed before it reaches them.
    pub(crate) dump: Option<Preserving>,
}

impl DrainState {
    /// Whether dead cells wait to be removed from the engine.
    pub(crate) fn has_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    fn preserve(&mut self, key: &[u8], known: Option<&Vec<u8>>) {
        if let Some(dump) = &mut self.dump {
            dump.keep(key, known);
        }
    }
}

/// A batch taken out of the frozen generation.
struct Taken {
    bound: Lsn,
    changes: Vec<(Vec<u8>, overlay::Change)>,
    last: bool,
}

impl Index {
    /// Does one step of the background work: freezes the active generation if it is due, or moves one batch of the frozen one
    /// into the engine; where nothing is due, verifies one span that nobody has read yet. `now_nanos` is monotonic time, `durable` the highest number known to be durable: the engine never gets
    /// a change above it. Steps of several callers follow each other.
    ///
    /// # Errors
    /// [`IndexError::Engine`]; the index is then broken ([`Index::is_broken`]) and nothing was lost.
    pub fn drain_step(&self, now_nanos: u64, durable: Lsn) -> Result<Drained, IndexError> {
        let mut state = self.drain.lock();
        match self.step_of_frozen(&mut state, durable) {
            None => match self.freeze_if_due(&mut state, now_nanos) {
                Drained::Idle => self.verify_one(&mut state),
                due => Ok(due),
            },
            Some(Ok(Drained::Idle)) => self.verify_one(&mut state),
            Some(step) => step,
        }
    }

    fn verify_one(&self, state: &mut DrainState) -> Result<Drained, IndexError> {
        let more = self.engine.verify_next(&mut state.verified).map_err(|error| self.engine_failed(error))?;
        Ok(if more { Drained::Verified } else { Drained::Idle })
    }

    /// One step of what is frozen or dead; `None` if there is nothing of either.
    fn step_of_frozen(&self, state: &mut DrainState, durable: Lsn) -> Option<Result<Drained, IndexError>> {
        if let Err(broken) = self.whole() {
            return Some(Err(broken));
        }
        if state.dump.as_ref().is_some_and(Preserving::is_full) {
            return Some(Ok(Drained::Idle));
        }
        if !state.dead.is_empty() {
            return Some(self.bury(state));
        }
        Some(match self.take_batch(durable)? {
            Ok(taken) => self.write_batch(state, taken),
            Err(bound) => Ok(Drained::Waiting { bound }),
        })
    }

    /// As [`Index::drain_step`], but freezes nothing by itself: [`Drained::Idle`] means that everything frozen is in the engine,
    /// or that a dump has to go on first.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn drain_frozen(&self, durable: Lsn) -> Result<Drained, IndexError> {
        let mut state = self.drain.lock();
        self.step_of_frozen(&mut state, durable).unwrap_or(Ok(Drained::Idle))
    }

    /// Freezes the active generation now, for a clean shutdown or a test; says whether there was one to freeze.
    pub fn freeze(&self) -> bool {
        let mut state = self.drain.lock();
        state.first_seen = None;
        self.freeze_between_commits()
    }

    /// Freezes while no batch has a number and is not yet applied.
    fn freeze_between_commits(&self) -> bool {
        let _none = self.commits.lock();
        self.overlay.write().freeze()
    }

    fn freeze_if_due(&self, state: &mut DrainState, now: u64) -> Drained {
        let (bytes, applies) = {
            let overlay = self.overlay.read();
            (overlay.active.bytes(), overlay.applies)
        };
        if state.applies != applies {
            state.applies = applies;
            state.changed_at = now;
        }
        if bytes == 0 {
            state.first_seen = None;
            return Drained::Idle;
        }
        let age = u128::from(now.saturating_sub(*state.first_seen.get_or_insert(now)));
        let quiet = u128::from(now.saturating_sub(state.changed_at));
        let options = &self.options;
        let due = bytes >= options.freeze_bytes
            || age >= options.freeze_age_max.as_nanos()
            || (age >= options.freeze_age.as_nanos() && quiet >= options.freeze_quiet.as_nanos());
        if due && self.freeze_between_commits() {
            state.first_seen = None;
            Drained::Frozen
        } else {
            Drained::Idle
        }
    }

    /// The next batch of the frozen generation, if there is one; `Err` with its bound if it must wait.
    fn take_batch(&self, durable: Lsn) -> Option<Result<Taken, Lsn>> {
        let mut overlay = self.overlay.write();
        let written = overlay.written();
        let Frozen { changes, bound, replay_from, drained_to } = overlay.frozen.as_mut()?;
        let bound = *bound;
        if written < bound || durable < bound || replay_from.is_none() {
            return Some(Err(bound));
        }
        let limit = self.options.drain_keys.max(1);
        let mut batch = changes.batch_behind(drained_to.as_deref().unwrap_or_default(), limit + 1);
        let last = batch.len() <= limit;
        batch.truncate(limit);
        let cursor = batch.last().map(|(key, _)| key.clone());
        *drained_to = cursor.or(drained_to.take()).or(Some(Vec::new()));
        overlay.floor = overlay.floor.max(bound);
        Some(Ok(Taken { bound, changes: batch, last }))
    }

    fn write_batch(&self, state: &mut DrainState, taken: Taken) -> Result<Drained, IndexError> {
        let Taken { bound, changes, last } = taken;
        let keys = changes.len();
        let mut writes = Writes::new(*self.status.lock(), keys);
        for (key, change) in changes {
            let known = self.engine.get_to_change(&key).map_err(|error| self.engine_failed(error))?;
            let below = match &known {
                Some(_) if !change.is_absolute() => {
                    Stored::decode(known.clone()).map_err(|error| self.engine_failed(error))?
                }
                _ => Stored::Absent,
            };
            let mut stored = change.over(below);
            if stored.is_dead() {
                if change.is_absolute() {
                    // Nothing below counts when it is built again, so nothing needs to be said about it.
                    stored = Stored::Absent;
                } else {
                    state.dying.push(key.clone());
                }
            }
            if let Stored::Cell { through, .. } = &mut stored {
                *through = bound;
            }
            state.preserve(&key, known.as_ref());
            writes.push(key, known, stored.encode());
        }
        writes.status.draining = Some(bound);
        if last {
            let replay_from = self.overlay.read().frozen.as_ref().and_then(|frozen| frozen.replay_from);
            let applied = Lsn(bound.0 + u64::from(planted(Bug::IndexClaimsMore)));
            writes.status.applied = replay_from.map(|position| (applied, position));
            writes.status.draining = None;
        }
        self.write(state, writes)?;
        if !last {
            return Ok(Drained::Batch { keys });
        }
        let done = {
            let mut overlay = self.overlay.write();
            overlay.finished += 1;
            overlay.frozen.take()
        };
        // Freeing some hundred thousand entries takes milliseconds: not under the lock.
        drop(done);
        let _wake = self.room.0.lock();
        self.room.1.notify_all();
        state.dead = std::mem::take(&mut state.dying);
        Ok(Drained::Done { applied: bound })
    }

    /// Removes dead cells. A crash before this leaves some behind, invisible, until they are touched again.
    fn bury(&self, state: &mut DrainState) -> Result<Drained, IndexError> {
        let from = state.dead.len().saturating_sub(self.options.drain_keys.max(1));
        let dead = state.dead.split_off(from);
        let keys = dead.len();
        let mut writes = Writes::new(*self.status.lock(), keys);
        for key in dead {
            let known = self.engine.get_to_change(&key).map_err(|error| self.engine_failed(error))?;
            state.preserve(&key, known.as_ref());
            writes.push(key, known, None);
        }
        self.write(state, writes)?;
        Ok(Drained::Batch { keys })
    }

    fn write(&self, state: &mut DrainState, writes: Writes) -> Result<(), IndexError> {
        let Writes { status, changes } = writes;
        let bytes = changes.iter().map(|(key, _, value)| key.len() + value.as_ref().map_or(0, Vec::len));
        state.unflushed += bytes.sum::<usize>();
        let status = self.engine.write(changes, status).map_err(|error| self.engine_failed(error))?;
        if state.unflushed >= FLUSH_BYTES {
            // For its memory alone: what was drained is in the ledger.
            state.unflushed = 0;
            self.engine.flush().map_err(|error| self.engine_failed(error))?;
        }
        *self.status.lock() = status;
        Ok(())
    }
}

/// A batch for the engine in the making.
struct Writes {
    /// As it is to be; the sums are the engine's affair.
    status: Status,
    changes: Vec<Change>,
}

impl Writes {
    fn new(status: Status, keys: usize) -> Self {
        Self { status, changes: Vec::with_capacity(keys) }
    }

    /// Changes `key`, which is in the engine as `known`.
    fn push(&mut self, key: Vec<u8>, known: Option<Vec<u8>>, value: Option<Vec<u8>>) {
        if known != value {
            self.changes.push((key, known, value));
        }
    }
}

#[cfg(test)]
mod tests;

//! Getting the next segment ready before it is needed.
//!
//! A thread creates the files, filled with zeros where commits are small, while the writer uses the segment before.
//! Without the thread the writer does it itself at the same moment, only reserving the room.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use strata_seam::{DiskErrorKind, Duty, SegmentId};

use crate::error::Result;
use crate::set::Set;
use crate::shared::Shared;

/// The thread, as it is shown.
const PREPARER: Duty = Duty { name: "preparer", does: "makes the next segment of the log ready", unit: "segments" };

/// Hand-over between the writer and the thread that prepares.
#[derive(Default)]
pub(crate) struct Prepare {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Asked(SegmentId, bool),
    Busy,
    Done(SegmentId, Result<Arc<Set>>),
    Stop,
}

impl Set {
    /// Creates a segment file on every disk that takes writes, if there is then still room for `reserve` more. A disk
    /// that fails is set aside, and one that is full where the others have room.
    ///
    /// # Errors
    /// [`LedgerError::Full`](crate::LedgerError::Full) if the set is full, [`LedgerError::QuorumLost`](crate::LedgerError::QuorumLost) if too few disks are left.
    pub(crate) fn create_segment(&self, segment: SegmentId, zeroed: bool, reserve: u32) -> Result<()> {
        if reserve > 0 {
            self.check_room(u64::from(reserve) + 1)?;
        }
        let mut full = Vec::new();
        for (index, member) in self.members.iter().enumerate().filter(|(_, member)| member.writable()) {
            match member.create(segment, self.segment_len, zeroed) {
                Ok(_) => {}
                Err(error) if error.kind == DiskErrorKind::Full => full.push((index, error)),
                Err(error) => member.blame(&error)?,
            }
        }
        self.judge_full(&full)?;
        self.check_quorum()
    }
}

impl Prepare {
    /// Asks the thread for a segment.
    pub(crate) fn ask(&self, segment: SegmentId, zeroed: bool) {
        *self.state.lock() = State::Asked(segment, zeroed);
        self.changed.notify_all();
    }

    /// The set that `segment` was made on, if it was asked for and not yet taken; waits while it is being made.
    pub(crate) fn take(&self, segment: SegmentId) -> Option<Result<Arc<Set>>> {
        let mut state = self.state.lock();
        loop {
            match std::mem::take(&mut *state) {
                State::Busy => *state = State::Busy,
                State::Done(made, result) if made == segment => return Some(result),
                // Asked but not begun: the writer makes it at once instead.
                State::Idle | State::Asked(..) | State::Done(..) => return None,
                State::Stop => {
                    *state = State::Stop;
                    return None;
                }
            }
            self.changed.wait(&mut state);
        }
    }

    /// The set that has the segment last asked for, once it is made and as long as it is not taken.
    pub(crate) fn made(&self) -> Option<Arc<Set>> {
        match &*self.state.lock() {
            State::Done(_, Ok(set)) => Some(Arc::clone(set)),
            _ => None,
        }
    }

    /// Ends the thread, also in the midst of waiting for work.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        while matches!(*state, State::Busy) {
            self.changed.wait(&mut state);
        }
        *state = State::Stop;
        self.changed.notify_all();
    }

    /// Forgets what was asked for or made, after waiting for what is being made.
    pub(crate) fn quiesce(&self) {
        let mut state = self.state.lock();
        while matches!(*state, State::Busy) {
            self.changed.wait(&mut state);
        }
        if !matches!(*state, State::Stop) {
            *state = State::Idle;
        }
    }

    /// Forgets a stop.
    pub(crate) fn reset(&self) {
        *self.state.lock() = State::Idle;
    }

    /// The thread.
    pub(crate) fn serve(&self, shared: &Shared) {
        let worker = shared.crew.add(PREPARER, None);
        loop {
            let mut state = self.state.lock();
            let (segment, zeroed) = loop {
                match *state {
                    State::Asked(segment, zeroed) => break (segment, zeroed),
                    State::Stop => return,
                    State::Idle | State::Busy | State::Done(..) => self.changed.wait(&mut state),
                }
            };
            *state = State::Busy;
            drop(state);
            // Where only what is kept back is left, the writer makes it when it comes to that.
            let round = worker.begin(Some(1));
            let result = shared.make_segment(segment, zeroed, true);
            worker.advance(u64::from(result.is_ok()));
            // The writer is told when it comes to that, and makes the segment itself.
            worker.count_failure(&result);
            drop(round);
            *self.state.lock() = State::Done(segment, result);
            self.changed.notify_all();
        }
    }
}

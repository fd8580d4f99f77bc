//! The phase that a connection is in, reported by the code that answers its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use strata_gate::{Seat, Turn, Working};

/// A head is being received; so begins a connection.
pub(crate) const HEAD: u8 = 0;
/// A request is worked on, or its answer is leaving.
pub(crate) const BUSY: u8 = 1;
/// Nothing happens.
pub(crate) const IDLE: u8 = 2;

/// Where a connection is.
#[derive(Debug)]
pub(crate) struct Phase {
    turn: Arc<Turn>,
    now: AtomicU8,
    /// Requests so far.
    requests: AtomicU64,
    /// The last request was answered before it was received whole.
    unread: AtomicBool,
}

impl Phase {
    pub(crate) fn new(seat: Arc<Seat>) -> Arc<Self> {
        Arc::new(Self {
            turn: Turn::new(seat),
            now: AtomicU8::new(HEAD),
            requests: AtomicU64::new(0),
            unread: AtomicBool::new(false),
        })
    }

    /// Notes that a request is worked on, until what is returned is dropped; `None` where the connection is to leave.
    pub(crate) fn busy(self: &Arc<Self>) -> Option<Busy> {
        let working = self.turn.begin()?;
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.now.store(BUSY, Ordering::Release);
        Some(Busy { phase: Arc::clone(self), _working: working })
    }

    pub(crate) fn now(&self) -> u8 {
        self.now.load(Ordering::Acquire)
    }

    /// How many requests there were, the one that is worked on among them.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Acquire)
    }

    /// Notes that something arrived: after a request was answered, it is the next head.
    pub(crate) fn arrived(&self) {
        let _ = self.now.compare_exchange(IDLE, HEAD, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Notes that all that was written has been handed over.
    pub(crate) fn flushed(&self) {
        self.turn.flushed();
    }

    /// Whether a request is worked on, or its answer may not have been handed over whole.
    pub(crate) fn is_answering(&self) -> bool {
        self.turn.is_on()
    }

    /// Notes whether the client may still be sending when the connection ends behind this answer.
    pub(crate) fn leaves_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Release);
    }

    pub(crate) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Acquire)
    }
}

/// A request that is worked on.
pub(crate) struct Busy {
    phase: Arc<Phase>,
    _working: Working,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.phase.now.store(IDLE, Ordering::Release);
    }
}

//! The feed of changes for doors that keep caches: the mount.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};

use parking_lot::Mutex;
use strata_seam::Clock;

use crate::types::{Change, Door};

/// All listeners.
#[derive(Default)]
pub(crate) struct Feed {
    listeners: Mutex<Vec<Listener>>,
    any: AtomicBool,
    /// Changes handed to the mount, and of these told to its kernel.
    sent: AtomicU64,
    told: AtomicU64,
}

struct Listener {
    sender: SyncSender<Change>,
    skip: Option<&'static Door>,
    /// Something was dropped and the listener has not been told yet.
    overflowed: bool,
}

impl Feed {
    /// So many more changes were told.
    pub(crate) fn note_told(&self, changes: u64) {
        self.told.fetch_add(changes, Ordering::AcqRel);
    }

    /// Adds a listener, which does not get the changes that its own door makes.
    pub(crate) fn listen(&self, queue_max: usize, skip: Option<&'static Door>) -> Receiver<Change> {
        let (sender, receiver) = mpsc::sync_channel(queue_max.max(2));
        self.listeners.lock().push(Listener { sender, skip, overflowed: false });
        self.any.store(true, Ordering::Release);
        receiver
    }

    /// Tells everybody; never waits.
    pub(crate) fn publish(&self, door: &Door, changes: Vec<Change>) {
        if changes.is_empty() || !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut listeners = self.listeners.lock();
        listeners.retain_mut(|listener| {
            if listener.skip.is_some_and(|own| own == door) {
                return true;
            }
            let Some(sent) = listener.tell(&changes) else { return false };
            if listener.skip.is_some_and(|door| door.keeps_pages) {
                self.sent.fetch_add(sent, Ordering::AcqRel);
            }
            true
        });
        self.any.store(!listeners.is_empty(), Ordering::Release);
    }
}

/// Waits until the mount's kernel was told of everything that happened before, so that a client that gets its answer finds the same
/// state at the mount; not longer than [`TOLD_NANOS_MAX`], since programs may hold up their kernel.
pub(crate) struct Told {
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    sent: u64,
    until: u64,
}

/// Longest that an answer waits for that.
const TOLD_NANOS_MAX: u64 = 200_000_000;

impl Told {
    /// `None` where there is nothing to wait for.
    pub(crate) fn of(feed: &Arc<Feed>, clock: &Arc<dyn Clock>) -> Option<Self> {
        let sent = feed.sent.load(Ordering::Acquire);
        (feed.any.load(Ordering::Acquire) && feed.told.load(Ordering::Acquire) < sent).then(|| Self {
            until: clock.monotonic_nanos() + TOLD_NANOS_MAX,
            feed: Arc::clone(feed),
            clock: Arc::clone(clock),
            sent,
        })
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.feed.told.load(Ordering::Acquire) >= self.sent || self.clock.monotonic_nanos() >= self.until
    }
}

impl Listener {
    /// How many messages were sent; `None` when nobody listens any more.
    fn tell(&mut self, changes: &[Change]) -> Option<u64> {
        let mut sent = 0;
        for change in changes {
            if self.overflowed {
                match self.sender.try_send(Change::Overflow) {
                    Ok(()) => (self.overflowed, sent) = (false, sent + 1),
                    Err(TrySendError::Full(_)) => return Some(sent),
                    Err(TrySendError::Disconnected(_)) => return None,
                }
            }
            match self.sender.try_send(change.clone()) {
                Ok(()) => sent += 1,
                Err(TrySendError::Full(_)) => self.overflowed = true,
                Err(TrySendError::Disconnected(_)) => return None,
            }
        }
        Some(sent)
    }
}

//! The change feed: what happened, told to the doors that keep caches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};

use parking_lot::Mutex;

use crate::namespace::Namespace;
use crate::types::{Change, Door};

/// All listeners.
#[derive(Default)]
pub(crate) struct Feed {
    listeners: Mutex<Vec<Listener>>,
    any: AtomicBool,
}

struct Listener {
    sender: SyncSender<Change>,
    skip: Option<Door>,
    /// Something was dropped and the listener has not been told yet.
    overflowed: bool,
}

impl Feed {
    /// Tells everybody; never waits.
    pub(crate) fn publish(&self, door: Door, changes: Vec<Change>) {
        if changes.is_empty() || !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut listeners = self.listeners.lock();
        listeners.retain_mut(|listener| listener.skip == Some(door) || listener.tell(&changes));
        self.any.store(!listeners.is_empty(), Ordering::Release);
    }
}

impl Listener {
    /// `false` when nobody listens any more.
    fn tell(&mut self, changes: &[Change]) -> bool {
        for change in changes {
            if self.overflowed {
                match self.sender.try_send(Change::Overflow) {
                    Ok(()) => self.overflowed = false,
                    Err(TrySendError::Full(_)) => return true,
                    Err(TrySendError::Disconnected(_)) => return false,
                }
            }
            match self.sender.try_send(change.clone()) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => self.overflowed = true,
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        true
    }
}

impl Namespace {
    /// The change feed from now on. `queue_max` bounds it; beyond, the listener gets [`Change::Overflow`]. Changes made
    /// through `skip_door` itself are left out.
    pub fn changes(&self, queue_max: usize, skip_door: Option<Door>) -> Receiver<Change> {
        let (sender, receiver) = mpsc::sync_channel(queue_max.max(2));
        self.feed.listeners.lock().push(Listener { sender, skip: skip_door, overflowed: false });
        self.feed.any.store(true, Ordering::Release);
        receiver
    }
}

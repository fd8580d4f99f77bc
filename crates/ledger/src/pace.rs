//! How fast a pass over the log may read, to be changed and stopped while it runs.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Longest pause at a time: how late a change of the rate may be noticed by a pass that is not told of it.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// Shorter pauses are saved up: a sleep costs more than it gives back.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// The speed limit of a pass, shared between the pass and whoever steers it.
#[derive(Debug, Default)]
pub struct Pace {
    /// Bytes read from all disks together per second; 0 for as fast as they go.
    rate: AtomicU64,
    stopped: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Pace {
    /// A limit in bytes per second, over all disks together; 0 is none.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self { rate: AtomicU64::new(bytes_per_second), ..Self::default() }
    }

    /// Changes the limit; a pass that pauses goes on at the new rate at once.
    pub fn set(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::Relaxed);
        self.tell();
    }

    /// The limit in bytes per second; 0 if there is none.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Ends the pass after the stripe it is at.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.tell();
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn tell(&self) {
        let guard = self.lock.lock();
        self.changed.notify_all();
        drop(guard);
    }

    /// Waits until `debt`, bytes read and not yet waited for, is paid. `worked` is how long reading them took.
    pub(crate) fn pay(&self, debt: &mut Debt, worked: Duration) {
        let rate = self.bytes_per_second();
        if rate == 0 {
            debt.bytes = 0;
            return;
        }
        let per =
            |time: Duration| u64::try_from(u128::from(rate) * time.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX);
        debt.bytes = debt.bytes.saturating_sub(per(worked));
        loop {
            let rate = self.bytes_per_second();
            if rate == 0 || self.is_stopped() {
                debt.bytes = 0;
                return;
            }
            let left = Duration::from_nanos(
                u64::try_from(u128::from(debt.bytes) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX),
            );
            if left < PAUSE_MIN {
                return;
            }
            let pause = left.min(PAUSE_MAX);
            let mut guard = self.lock.lock();
            // Told of a change: look again, with what is still owed.
            if !self.is_stopped()
                && self.bytes_per_second() == rate
                && self.changed.wait_for(&mut guard, pause).timed_out()
            {
                let paid = u128::from(rate) * pause.as_nanos() / 1_000_000_000;
                debt.bytes = debt.bytes.saturating_sub(u64::try_from(paid).unwrap_or(u64::MAX));
            }
        }
    }
}

/// Bytes read and not yet waited for.
#[derive(Default)]
pub(crate) struct Debt {
    pub(crate) bytes: u64,
}

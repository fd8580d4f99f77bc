//! Waiting for another thread's word.

use std::time::Duration;

use shuttle::rand::Rng;
use shuttle::sync;

use crate::MutexGuard;

/// Tells threads that something has changed. Who waits may also be woken without a reason.
#[derive(Debug, Default)]
pub struct Condvar(sync::Condvar);

/// Whether a wait ended by its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// It did.
    #[must_use]
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the lock go until somebody tells.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(held) = guard.guard.take() {
            let held = self.0.wait(held).unwrap_or_else(|poisoned| poisoned.into_inner());
            guard.guard = Some(held);
        }
    }

    /// Lets the lock go for a moment in which any number of other threads may do anything.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _limit: Duration) -> WaitTimeoutResult {
        drop(guard.guard.take());
        shuttle::thread::yield_now();
        guard.guard = Some(guard.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        WaitTimeoutResult(shuttle::rand::thread_rng().gen_bool(0.5))
    }

    /// Wakes one thread that waits.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all threads that wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

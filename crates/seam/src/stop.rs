//! Ending somebody who works in the background, and waking who sleeps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Asks for an end, and wakes whoever sleeps by it. Any number may sleep by the same one.
#[derive(Debug, Default)]
pub struct Stop {
    asked: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Stop {
    /// Asks for the end: every sleep is over, and further ones do not begin.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Takes it back, for whoever begins anew.
    pub fn take_back(&self) {
        self.asked.store(false, Ordering::Release);
    }

    /// Ends the sleeps of this moment: something has changed that is worth a look.
    pub fn wake(&self) {
        let _held = self.lock.lock();
        self.wake.notify_all();
    }

    /// Sleeps for `pause` of real time at most; `false` once the end is asked for.
    pub fn sleep(&self, pause: Duration) -> bool {
        let mut held = self.lock.lock();
        if !self.is_asked() && !pause.is_zero() {
            self.wake.wait_for(&mut held, pause);
        }
        !self.is_asked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_is_woken_by_a_change_and_sleeps_no_more_after_the_end() {
        let stop = Stop::default();
        let long = Duration::from_secs(600);
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| (stop.sleep(long), stop.sleep(long), stop.sleep(long)));
            while !sleeper.is_finished() {
                // Whichever sleep it is in: the first one ends by a wake, all others by the end.
                stop.wake();
                std::thread::sleep(Duration::from_millis(1));
                stop.ask();
            }
            assert!(!sleeper.join().unwrap().2);
        });
        stop.take_back();
        assert!(stop.sleep(Duration::from_millis(1)));
    }
}

//! A limited number of turns: a task that may run only so many times at once takes a turn first, and waits until one is free.

use parking_lot::{Condvar, Mutex};

/// A limited number of turns. A task takes one with [`Turns::take`] and waits until one is free.
#[derive(Debug)]
pub struct Turns {
    left: Mutex<usize>,
    given_back: Condvar,
}

/// A turn, released when it is dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a Turns);

impl Turns {
    /// As many turns at a time as `count`.
    #[must_use]
    pub fn of(count: usize) -> Self {
        Self { left: Mutex::new(count), given_back: Condvar::new() }
    }

    /// Takes one; waits while none is left.
    pub fn take(&self) -> Turn<'_> {
        let mut left = self.left.lock();
        while *left == 0 {
            self.given_back.wait(&mut left);
        }
        *left -= 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.left.lock() += 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_go_on_at_a_time_than_there_are_turns_and_everybody_gets_one() {
        let (turns, now, most, all) = (Turns::of(2), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _turn = turns.take();
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                        all.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((most.into_inner(), all.into_inner()), (2, 400));
    }
}

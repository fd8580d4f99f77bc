//! Keeps the process within its memory: freed memory that the allocator still holds is returned to the system before the process
//! exceeds the setting `memory`.
//!
//! The parts of the memory ([`crate::config::Memory`]) limit what is in use. Freed pages come on top of that: the allocator keeps them
//! for some seconds, because returning them and asking for them again would slow uploads down. While there is room, that is fine. Near
//! the limit this worker has them returned (invariant BOUND).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use strata_seam::{Crew, Duty, Stop, Worker};

use crate::allocator::give_back;
use crate::process::resident_bytes;

const TRIM: Duty = Duty { name: "memory", does: "gives freed memory back to the system near the limit", unit: "bytes" };
/// How often it looks while there is much room: a fast upload fills a tenth of the smallest memory in this time ...
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// ... and how often near the limit.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(10);

/// The resident bytes from which on freed memory is returned to the system, and how often.
struct Limit {
    /// An eighth below the setting.
    at: u64,
    /// Memory is returned again after so many more bytes: what is in use may itself be near the limit, and then nothing is gained by trying at
    /// each look.
    step: u64,
    /// What was resident after the last time, while that is near the limit.
    after: u64,
}

impl Limit {
    const fn of(memory: u64) -> Self {
        Self { at: memory - memory / 8, step: memory / 32, after: 0 }
    }

    /// Whether it is time, with so many bytes resident.
    fn is_reached(&mut self, resident: u64) -> bool {
        // Memory that was in use near the limit may have been freed.
        self.after = self.after.min(resident);
        resident >= self.at && resident >= self.after + self.step
    }

    /// Whether the next look is to come sooner.
    const fn is_near(&self, resident: u64) -> bool {
        resident >= self.at - self.at / 4
    }
}

/// The worker's thread.
pub(crate) struct Trim {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Trim {
    /// Starts it, for a process that may have so many bytes.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(crew: &Crew, memory: u64) -> anyhow::Result<Self> {
        let stop = Arc::new(Stop::default());
        let (worker, asked) = (crew.add(TRIM, None), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("strata-memory".to_owned())
            .spawn(move || work(&worker, &asked, Limit::of(memory)))
            .context("the thread strata-memory cannot be started")?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Trim {
    fn drop(&mut self) {
        self.stop.ask();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that gives freed memory back panicked");
        }
    }
}

fn work(worker: &Worker, stop: &Stop, mut limit: Limit) {
    let say = |error: &&str| tracing::warn!(%error, "freed memory is given back later than it should be");
    worker.work(
        stop,
        || LOOK_EVERY,
        say,
        || {
            let resident = resident_bytes().ok_or("the kernel does not say how much memory is resident")?;
            if limit.is_reached(resident) {
                let _round = worker.begin(None);
                if !give_back() {
                    return Err("the allocator refuses to give freed memory back");
                }
                limit.after = resident_bytes().unwrap_or(resident);
                worker.advance(resident.saturating_sub(limit.after));
            }
            Ok(if limit.is_near(resident) { LOOK_CLOSELY_EVERY } else { LOOK_EVERY })
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_near_the_limit_and_not_at_each_look_where_that_gains_nothing() {
        let mut limit = Limit::of(256);
        assert!(!limit.is_reached(223) && limit.is_near(223) && !limit.is_near(160));
        assert!(limit.is_reached(224));
        // All of it is in use.
        limit.after = 230;
        assert!(!limit.is_reached(237) && limit.is_reached(238));
        limit.after = 238;
        assert!(!limit.is_reached(100));
        assert!(limit.is_reached(224));
    }
}

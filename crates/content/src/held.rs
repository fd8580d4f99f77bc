//! How long changes hold the writer's lock, for metrics: whoever writes waits for it.

use std::sync::atomic::{AtomicU64, Ordering};

use strata_seam::{Latencies, LatencyCounts, Stopwatch};

/// Counts since the process started.
#[derive(Default)]
pub(crate) struct Held {
    all: Latencies,
    longest_nanos: AtomicU64,
}

/// One hold, counted when it is dropped.
pub(crate) struct Hold<'a> {
    held: &'a Held,
    began: Stopwatch,
}

impl Held {
    /// The lock was taken.
    pub(crate) fn begin(&self) -> Hold<'_> {
        Hold { held: self, began: Stopwatch::start() }
    }

    /// All of them, and nanoseconds of the longest.
    pub(crate) fn counts(&self) -> (LatencyCounts, u64) {
        (self.all.counts(), self.longest_nanos.load(Ordering::Relaxed))
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.held.all.note(took);
        self.held.longest_nanos.fetch_max(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hold_is_counted_at_its_end_and_the_longest_is_kept() {
        let held = Held::default();
        let hold = held.begin();
        assert_eq!(held.counts().0.count(), 0);
        std::thread::sleep(std::time::Duration::from_millis(2));
        drop(hold);
        drop(held.begin());
        let (counts, longest) = held.counts();
        assert_eq!(counts.count(), 2);
        assert!(longest >= 2_000_000 && counts.nanos >= longest, "{longest} of {}", counts.nanos);
    }
}

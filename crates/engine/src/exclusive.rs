//! The writer's lock: its guard, and statistics of how long it is held. Every other change waits meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use strata_seam::{Latencies, LatencyCounts, Stopwatch};

/// The writer's lock, with counts since the process started.
#[derive(Default)]
pub(crate) struct Writer {
    lock: Mutex<()>,
    all: Latencies,
    longest_nanos: AtomicU64,
}

/// The single writer's lock, held: while one lives, no other change is accepted.
///
/// **Invariant PREFIX**: what it protects is reading, deciding, taking a number and applying to the index as one step. So the order of
/// numbers is the order in which changes were decided. Its length is counted when it is dropped.
pub struct Exclusive<'a> {
    writer: &'a Writer,
    began: Stopwatch,
    _lock: MutexGuard<'a, ()>,
}

impl Writer {
    /// Waits for the lock, and counts how long it is held from then on.
    pub(crate) fn exclusive(&self) -> Exclusive<'_> {
        let lock = self.lock.lock();
        Exclusive { writer: self, began: Stopwatch::start(), _lock: lock }
    }

    /// Waits until no change is under way, and keeps others from beginning. Not counted as a hold.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        self.lock.lock()
    }

    /// All holds, and nanoseconds of the longest.
    pub(crate) fn counts(&self) -> (LatencyCounts, u64) {
        (self.all.counts(), self.longest_nanos.load(Ordering::Relaxed))
    }
}

impl Exclusive<'_> {
    /// Whether it is this lock, and not another store's.
    pub(crate) fn is_of(&self, writer: &Writer) -> bool {
        std::ptr::eq(self.writer, writer)
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.writer.all.note(took);
        self.writer.longest_nanos.fetch_max(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hold_is_counted_at_its_end_and_the_longest_is_kept() {
        let writer = Writer::default();
        let held = writer.exclusive();
        assert!(held.is_of(&writer) && !held.is_of(&Writer::default()));
        assert_eq!(writer.counts().0.count(), 0);
        std::thread::sleep(std::time::Duration::from_millis(2));
        drop(held);
        drop(writer.exclusive());
        drop(writer.pause());
        let (counts, longest) = writer.counts();
        assert_eq!(counts.count(), 2, "a pause is no hold");
        assert!(longest >= 2_000_000 && counts.nanos >= longest, "{longest} of {}", counts.nanos);
    }
}

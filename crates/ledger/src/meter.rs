//! What a disk does and how long it takes: counters for the operator, and the judgement that a disk is far slower than
//! its peers.
//!
//! A disk is compared with the others of its set at the same time, never with a fixed figure: a cold cache, a busy
//! machine or a slow kind of disk slows all alike. Only a call that is slow by both measures ([`FLOOR_NANOS`],
//! [`RATIO`]) counts, and only several in a row decide, so that one pause of a file system decides nothing.

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// No call quicker than this is slow, in nanoseconds: 5 ms, a seek of a healthy hard disk.
pub(crate) const FLOOR_NANOS: u64 = 5_000_000;
/// So many times what its peers take is slow.
pub(crate) const RATIO: u64 = 16;
/// Slow reads in a row after which a disk is read around. Being wrong costs reads of other disks.
const READ_RUN: u32 = 4;
/// Slow writes in a row after which a disk is set aside. Being wrong costs a heal.
pub(crate) const WRITE_RUN: u32 = 8;
/// Quick probes in a row after which a disk is read again.
const PROBE_RUN: u32 = 3;
/// A probe is made after this many times what the last one took: at most 2 % of one reader's time goes into them.
const PROBE_SPACING: u64 = 64;

/// Calls to a disk since the set was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskCounters {
    /// Reads that were answered, right or wrong.
    pub reads: u64,
    /// Writes of frames that succeeded.
    pub writes: u64,
    /// Reads that failed.
    pub read_errors: u64,
    /// Writes, syncs and creations that failed.
    pub write_errors: u64,
    /// Reads that did not pass their check.
    pub checksum_failures: u64,
    /// Reads of data on this disk that were rebuilt from the others.
    pub rebuilt_reads: u64,
    /// Smoothed time of a read in nanoseconds; 0 before the first.
    pub read_nanos: u64,
    /// Smoothed time of a write with its sync in nanoseconds; 0 before the first.
    pub write_nanos: u64,
}

/// A mean over about the last eight calls.
#[derive(Default)]
struct Gauge {
    nanos: AtomicU64,
    slow_run: AtomicU32,
}

impl Gauge {
    fn add(&self, nanos: u64) {
        let old = self.nanos.load(Ordering::Relaxed);
        // Two callers at once may lose one sample, which matters to nobody.
        let new = if old == 0 { nanos.max(1) } else { old - old / 8 + nanos / 8 };
        self.nanos.store(new.max(1), Ordering::Relaxed);
    }

    /// Counts slow calls in a row.
    fn judge(&self, slow: bool) -> u32 {
        if slow {
            self.slow_run.fetch_add(1, Ordering::Relaxed) + 1
        } else {
            if self.slow_run.load(Ordering::Relaxed) != 0 {
                self.slow_run.store(0, Ordering::Relaxed);
            }
            0
        }
    }

    fn reset(&self) {
        self.nanos.store(0, Ordering::Relaxed);
        self.slow_run.store(0, Ordering::Relaxed);
    }
}

/// The measures of one slot.
#[derive(Default)]
pub(crate) struct Meter {
    reads: AtomicU64,
    writes: AtomicU64,
    read_errors: AtomicU64,
    write_errors: AtomicU64,
    checksum_failures: AtomicU64,
    rebuilt_reads: AtomicU64,
    read: Gauge,
    write: Gauge,
    around: AtomicBool,
    quick_probes: AtomicU32,
    /// Monotonic nanoseconds from which on the next probe may be made.
    probe_at: AtomicU64,
}

impl Meter {
    pub(crate) fn counters(&self) -> DiskCounters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DiskCounters {
            reads: of(&self.reads),
            writes: of(&self.writes),
            read_errors: of(&self.read_errors),
            write_errors: of(&self.write_errors),
            checksum_failures: of(&self.checksum_failures),
            rebuilt_reads: of(&self.rebuilt_reads),
            read_nanos: of(&self.read.nanos),
            write_nanos: of(&self.write.nanos),
        }
    }

    pub(crate) fn note_read_error(&self) {
        self.read_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_write_error(&self) {
        self.write_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_checksum_failure(&self) {
        self.checksum_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_rebuilt_read(&self) {
        self.rebuilt_reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Smoothed time of a read; 0 before the first.
    pub(crate) fn read_nanos(&self) -> u64 {
        self.read.nanos.load(Ordering::Relaxed)
    }

    /// Whether reads go around the disk.
    pub(crate) fn is_around(&self) -> bool {
        self.around.load(Ordering::Relaxed)
    }

    /// Whether a read may go to the disk now: always, unless it is read around; then once in a while, as a probe.
    pub(crate) fn may_read(&self, now: u64) -> bool {
        if !self.is_around() {
            return true;
        }
        let at = self.probe_at.load(Ordering::Relaxed);
        let next = now.saturating_add(PROBE_SPACING * self.read_nanos());
        now >= at && self.probe_at.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Notes a read; `usual` tells what its peers take, where anything is known. True if the disk has just been found
    /// slow.
    pub(crate) fn note_read(&self, now: u64, nanos: u64, usual: impl FnOnce() -> Option<u64>) -> bool {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.read.add(nanos);
        let slow = nanos > FLOOR_NANOS && usual().is_some_and(|usual| nanos > usual.saturating_mul(RATIO));
        let run = self.read.judge(slow);
        if self.is_around() {
            if slow {
                self.quick_probes.store(0, Ordering::Relaxed);
            } else if self.quick_probes.fetch_add(1, Ordering::Relaxed) + 1 >= PROBE_RUN {
                self.read.reset();
                self.around.store(false, Ordering::Relaxed);
            } else {
                self.probe_at.store(now, Ordering::Relaxed);
            }
            return false;
        }
        if run < READ_RUN {
            return false;
        }
        self.quick_probes.store(0, Ordering::Relaxed);
        self.probe_at.store(now.saturating_add(PROBE_SPACING * nanos), Ordering::Relaxed);
        !self.around.swap(true, Ordering::Relaxed)
    }

    /// Notes a write; `usual` is what the other disks took for the same stripe. Returns how many in a row were slow.
    pub(crate) fn note_write(&self, nanos: u64, usual: impl FnOnce() -> Option<u64>) -> u32 {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.write.add(nanos);
        let slow = nanos > FLOOR_NANOS && usual().is_some_and(|usual| nanos > usual.saturating_mul(RATIO));
        self.write.judge(slow)
    }

    /// Another disk is in the slot: nothing is known of its speed.
    pub(crate) fn forget_speed(&self) {
        self.read.reset();
        self.write.reset();
        self.around.store(false, Ordering::Relaxed);
    }
}

/// The middle one of what the others took.
pub(crate) fn median(mut nanos: Vec<u64>) -> Option<u64> {
    nanos.sort_unstable();
    nanos.get(nanos.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: u64 = 100_000;
    const SLOW: u64 = 10_000_000;

    #[test]
    fn a_disk_is_read_around_after_several_slow_reads_in_a_row_and_read_again_after_quick_probes() {
        let meter = Meter::default();
        let usual = || Some(QUICK);
        for _ in 0..3 {
            (0..3).for_each(|_| assert!(!meter.note_read(0, SLOW, usual)));
            meter.note_read(0, QUICK, usual);
        }
        assert!(!meter.is_around(), "never four in a row");
        assert!((0..4).any(|_| meter.note_read(1000, SLOW, usual)) && meter.is_around());
        assert!(!meter.may_read(1000 + SLOW));
        let due = 1000 + PROBE_SPACING * SLOW;
        assert!(meter.may_read(due) && !meter.may_read(due), "one probe at a time");
        meter.note_read(due, SLOW, usual);
        let mut now = due;
        for _ in 0..PROBE_RUN {
            now += PROBE_SPACING * meter.read_nanos() + SLOW;
            assert!(meter.is_around() && meter.may_read(now));
            meter.note_read(now, QUICK, usual);
        }
        assert!(!meter.is_around() && meter.may_read(now));
    }

    #[test]
    fn what_slows_all_disks_or_is_quick_enough_is_not_slow() {
        let meter = Meter::default();
        (0..100).for_each(|_| assert!(!meter.note_read(0, SLOW, || Some(SLOW / 2))));
        (0..100).for_each(|_| assert!(!meter.note_read(0, FLOOR_NANOS, || Some(1))));
        (0..100).for_each(|_| assert!(!meter.note_read(0, SLOW, || None)));
        assert!((0..100).all(|_| meter.note_write(SLOW, || Some(SLOW / 2)) == 0));
        assert_eq!((0..u64::from(WRITE_RUN)).map(|_| meter.note_write(SLOW, || Some(QUICK))).last(), Some(WRITE_RUN));
    }
}

//! Read-ahead: which reads follow one another, and how far ahead of them the disks read.
//!
//! A handle that is read from front to back would wait for a disk at every block, although the next request is predictable. So while it
//! reads in sequence, the blocks ahead are announced to the disks, which read them into the operating system's memory. Nothing is
//! decoded or kept here, so the bound is the window. What nobody reads after all costs one read of the disk.
//!
//! Invariant: a range is announced once while the reads stay in sequence.

use std::ops::Range;

use parking_lot::Mutex;

/// How far ahead the disks are sent at most, in bytes: enough that a disk of 2 GB/s is busy for 4 ms, which is longer than
/// a thread that was to ask for more may have to wait for a processor.
const WINDOW_MAX: u64 = 8 << 20;
/// Smallest extension of the window, in bytes, so that it is not extended block by block.
const STEP_MIN: u64 = 1 << 20;
/// Shorter reads are no part of a sequence: programs that read in small pieces come here through the kernel's read-ahead.
const READ_MIN: u64 = 64 << 10;
/// How far from where the last read ended a read may begin, in bytes, to follow it. The kernel has several requests of its
/// read-ahead under way at once, and they arrive in any order.
const SLACK: u64 = 4 << 20;

/// The state of a handle's read-ahead: how far its reads have gone in sequence.
#[derive(Debug, Default)]
pub struct ReadAhead(Mutex<Run>);

#[derive(Debug, Default)]
struct Run {
    /// The furthest end of its reads.
    end: u64,
    /// Bytes read in sequence.
    bytes: u64,
    /// Up to where was announced.
    announced: u64,
}

impl ReadAhead {
    /// Notes a read of `len` bytes at `offset`; answers what is to be announced now.
    pub(crate) fn note(&self, offset: u64, len: u64) -> Option<Range<u64>> {
        if len < READ_MIN {
            return None;
        }
        let end = offset.saturating_add(len);
        let mut run = self.0.lock();
        // A handle that was never read from counts as read up to its start.
        if offset.abs_diff(run.end) > SLACK || (run.bytes == 0 && offset > 0) {
            *run = Run { end, bytes: len, announced: end };
            return None;
        }
        run.end = run.end.max(end);
        run.bytes = run.bytes.saturating_add(len);
        // The window grows with the bytes read, so that a reader of a file's head does not have all of the file read.
        let until = run.end.saturating_add(run.bytes.min(WINDOW_MAX));
        let from = run.announced.max(offset);
        if until < from.saturating_add(STEP_MIN) {
            return None;
        }
        run.announced = until;
        Some(from..until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn reads_in_sequence_announce_every_byte_once_and_a_growing_window_ahead() {
        let ahead = ReadAhead::default();
        let mut announced = 0;
        for n in 0..64 {
            if let Some(range) = ahead.note(n * MIB, MIB) {
                assert_eq!(range.start, announced, "without a gap, and never twice");
                announced = range.end;
            }
            assert!(announced > n * MIB && announced <= (n + 1) * MIB + WINDOW_MAX.min((n + 1) * MIB));
        }
        assert_eq!(announced, 64 * MIB + WINDOW_MAX);
    }

    #[test]
    fn requests_of_one_reader_may_arrive_in_any_order() {
        let ahead = ReadAhead::default();
        let mut announced = 0;
        for n in [1, 0, 3, 2, 4, 6, 5, 7_u64] {
            if let Some(range) = ahead.note(n * MIB, MIB) {
                assert!(range.start >= announced);
                announced = range.end;
            }
        }
        assert!(announced >= 12 * MIB, "{announced}");
    }

    #[test]
    fn small_reads_and_reads_here_and_there_announce_nothing() {
        let ahead = ReadAhead::default();
        for n in 0..1000 {
            assert_eq!(ahead.note(n * 4096, 4096), None);
            assert_eq!(ahead.note((n * 7 % 100 + 1) * 64 * MIB, MIB), None);
        }
    }

    #[test]
    fn a_reader_that_jumps_begins_a_new_sequence_there() {
        let ahead = ReadAhead::default();
        assert!(ahead.note(0, MIB).is_some());
        assert_eq!(ahead.note(500 * MIB, MIB), None);
        assert_eq!(ahead.note(501 * MIB, MIB), Some(501 * MIB..504 * MIB));
        assert_eq!(ahead.note(u64::MAX - 5, MIB), None);
    }
}

//! What a pass over the log is asked and what it answers.

use std::sync::Arc;
use std::time::Duration;

use strata_seam::{Lsn, Pace, Position, SegmentId, remaining};

/// Unreadable places named in a report; further ones are only counted.
pub const UNREADABLE_NAMED_MAX: usize = 1000;

/// How a pass is done.
#[derive(Clone, Debug, Default)]
pub struct PassOptions {
    /// Where to begin: [`Report::next`] of a pass that was stopped, also before a restart. `None` begins where there may
    /// be something to do.
    pub from: Option<Position>,
    /// How fast to read. Keep a clone to change or stop the pass while it runs.
    pub pace: Arc<Pace>,
}

/// The frames of one disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DiskFrames {
    /// The disk's label.
    pub label: String,
    /// Valid in every byte.
    pub good: u64,
    /// There, but damaged.
    pub damaged: u64,
    /// Not there, or on a disk that takes no writes and failed before it said to have it.
    pub missing: u64,
    /// Damaged or missing ones written anew, and read back.
    pub healed: u64,
    /// Valid ones written anew because the disk failed when they were first written.
    pub renewed: u64,
}

/// A place where something acknowledged cannot be read or rebuilt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// Segment file.
    pub segment: SegmentId,
    /// Byte offset within it. Locations of this segment whose sector is this offset / 4096 are concerned.
    pub offset: u64,
    /// First sequence number expected there; 0 where it is not known.
    pub lsn: Lsn,
    /// First sequence number behind it that is readable again; 0 where that is not known.
    pub until: Lsn,
}

/// The proof for one stripe: how many of its frames are valid in every byte, after healing where that was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StripeProof {
    /// Segment file.
    pub segment: SegmentId,
    /// Byte offset of the stripe's frames within it.
    pub offset: u64,
    /// Its first sequence number.
    pub first_lsn: Lsn,
    /// Its last one.
    pub last_lsn: Lsn,
    /// Frames that are valid.
    pub present: u8,
    /// Frames there should be: one per disk of the set.
    pub expected: u8,
    /// Whether its data can be read: at least `data_shards` frames are valid.
    pub readable: bool,
}

/// What a pass over the log found. `stripes * disks` is the sum of `good`, `damaged` and `missing`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Segments looked at.
    pub segments: u64,
    /// Stripes found.
    pub stripes: u64,
    /// By place in the store.
    pub disks: Vec<DiskFrames>,
    /// Stripes by the number of their frames that are valid at the end: entry `n` counts those with `n`. The last entry
    /// counts the stripes that are whole, and in a store of several sets each one before it those that lack one frame more,
    /// whatever their set.
    pub by_present: Vec<u64>,
    /// Places that cannot be read or rebuilt: all of them.
    pub unreadable_count: u64,
    /// The first of them, at most [`UNREADABLE_NAMED_MAX`].
    pub unreadable: Vec<Unreadable>,
    /// Disks whose superblock did not say what it should, and was written anew.
    pub superblocks: u64,
    /// Whether the pass came to the end of what was written when it began.
    pub finished: bool,
    /// Where a further pass may go on; may be stored.
    pub next: Position,
}

impl Report {
    /// Whether every frame of every stripe looked at is valid, or has been made so.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.unreadable_count == 0 && self.disks.iter().all(|disk| disk.damaged + disk.missing == disk.healed)
    }

    /// Adds what an earlier part of the same pass found, which ended where this one began.
    pub fn add_earlier(&mut self, earlier: &Self) {
        self.segments += earlier.segments;
        self.stripes += earlier.stripes;
        for (disk, before) in self.disks.iter_mut().zip(&earlier.disks) {
            disk.good += before.good;
            disk.damaged += before.damaged;
            disk.missing += before.missing;
            disk.healed += before.healed;
            disk.renewed += before.renewed;
        }
        // Counted from the last entry, as sets may have joined in between.
        let longer = earlier.by_present.len().saturating_sub(self.by_present.len());
        self.by_present.splice(0..0, std::iter::repeat_n(0, longer));
        for (now, before) in self.by_present.iter_mut().rev().zip(earlier.by_present.iter().rev()) {
            *now += before;
        }
        self.unreadable_count += earlier.unreadable_count;
        let room = UNREADABLE_NAMED_MAX.saturating_sub(self.unreadable.len());
        self.unreadable.splice(0..0, earlier.unreadable.iter().take(room).cloned());
        self.superblocks += earlier.superblocks;
    }

    /// Stripes that lack frames at the end.
    #[must_use]
    pub fn degraded(&self) -> u64 {
        let (_, rest) = self.by_present.split_last().unwrap_or((&0, &[]));
        rest.iter().sum()
    }
}

/// Where a pass is, told after every stripe.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What was found so far.
    pub report: &'a Report,
    /// The stripe just dealt with.
    pub stripe: StripeProof,
    /// Bytes of the log dealt with, over all disks. Counts the log, so that an estimate is steady; what is read may be
    /// less.
    pub done_bytes: u64,
    /// Bytes of the log from where this pass began to where it ends, over all disks.
    pub total_bytes: u64,
    /// Time since it began.
    pub elapsed: Duration,
}

impl Progress<'_> {
    /// How long the rest takes at the pace so far; `None` at the very beginning.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        remaining(self.done_bytes, self.total_bytes, self.elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(stripes: u64, damaged: u64, by_present: &[u64]) -> Report {
        let disk = DiskFrames { good: stripes - damaged, damaged, healed: damaged, ..DiskFrames::default() };
        let lost = Unreadable { segment: SegmentId(1), offset: stripes, lsn: Lsn(0), until: Lsn(0) };
        Report {
            segments: 1,
            stripes,
            disks: vec![DiskFrames::default(), disk],
            by_present: by_present.to_vec(),
            unreadable_count: 1,
            unreadable: vec![lost],
            superblocks: 1,
            finished: by_present.len() > 2,
            next: Position { segment: SegmentId(0), offset: 0, next_lsn: Lsn(1) },
        }
    }

    #[test]
    fn a_pass_that_was_interrupted_tells_what_its_parts_found() {
        let mut last = found(10, 2, &[0, 1, 9]);
        last.add_earlier(&found(5, 1, &[3, 2]));
        assert_eq!((last.segments, last.stripes, last.unreadable_count, last.superblocks), (2, 15, 2, 2));
        assert_eq!((last.disks[1].good, last.disks[1].damaged, last.disks[1].healed), (12, 3, 3));
        assert_eq!(last.by_present, [0, 4, 11]);
        assert_eq!(last.unreadable.iter().map(|lost| lost.offset).collect::<Vec<_>>(), [5, 10]);
        assert!(last.finished);
        let mut shorter = found(5, 1, &[3, 2]);
        shorter.add_earlier(&found(10, 2, &[0, 1, 9]));
        assert_eq!(shorter.by_present, [0, 4, 11]);
        assert!(!shorter.finished);
    }
}

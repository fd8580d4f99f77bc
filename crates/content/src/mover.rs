//! The mover: what is still wanted of some segments is appended anew, and the segments are given back.
//!
//! A round chooses segments, walks their frames, moves the chunks that are counted, forgets those that nobody counts, takes a
//! checkpoint and frees the files. Reclaiming, packing of small commits and recompression of cold data are this one thing
//! with a choice of segments ([`Choice`]); emptying a set, and so changing the layout, is the same with another.
//!
//! **Invariant REF**: a chunk's cell is removed only under the writer's lock, in a commit that finds its count at zero and its place still
//! where the round saw it; and no commit counts a chunk that has no place ([`ContentError::Gone`]). So whichever of the two comes
//! first, nothing that is counted was ever forgotten. That alone keeps the data safe; what follows keeps everybody else
//! from noticing:
//!
//! - An ingest that found a chunk present leaves its bytes out and counts it only with its commit. So idle chunks are first
//!   *condemned*: from then on an ingest takes them for absent and writes them anew. Those that may have looked before hold a
//!   [`Guard`](crate::guard::Guard) from an earlier epoch, and the round waits until all of these are gone. The same holds for content made of items,
//!   and for readers of contents that were deleted meanwhile. A reader that takes long is asked what it may read: its manifest is
//!   fixed, and so is what is condemned, so one that does not meet the other never will. A stream that is being taken in is asked
//!   what it relies on and nobody counts yet: what is condemned does not come in any more. What either meets stays, with its
//!   segments; all else goes.
//! - A chunk written anew is *pending* until its place is in the index, and the tail that says so carries the number of its
//!   append. Were its cell removed under a higher number in between, that tail would be passed over and the chunk lost. So
//!   handing blocks over and noting them as pending is one step to the removal (`Embedded::hold_appends`), which leaves pending
//!   chunks alone; blocks handed over after it have a higher number than it.
//! - A chunk that is counted again while it is condemned stays, and is moved like the others.
//! - Moved bytes are proved by their hash first. What cannot be read stays where it is, and so does its segment.
//!
//! A segment is freed only after a checkpoint that (1) lies behind it in the log, (2) has no piece in it, and (3) whose own pairs were
//! looked at, every one, and none places a chunk in it; changes behind the checkpoint's position place chunks only in segments from there on. So
//! no cell can lead into a freed segment, whatever the walk over its frames missed.
//!
//! A reader that looked a place up and came to read it after the segment went looks it up once more.
//!
//! Nothing of a round is remembered: one that was cut off, by a crash or by its caller, leaves some chunks moved and some cells
//! removed, each by a commit of its own, and the next one goes on from there.

mod census;
mod checkpoints;
mod readers;
mod relocate;
mod round;
mod traces;

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_seam::{Crew, Duty, Pace, SegmentId, Worker};

pub use census::{Census, SegmentUse};

use crate::error::Result;
use crate::store::Store;

/// Bytes that a chunk takes while a round handles its segment and it is condemned, about.
pub(crate) const ROUND_CHUNK_BYTES: usize = 128;
/// Live bytes moved in one round, at most, so that segments come free in the course of a long reclaim.
pub(crate) const ROUND_BYTES_MAX: u64 = 4 << 30;

/// The workers that the mover is made of.
const MOVER: Duty = Duty { name: "mover", does: "counts what is wanted of each segment", unit: "bytes" };
const RECLAIM: Duty = Duty { name: "reclaim", does: "moves what is wanted and frees segments", unit: "segments" };
const CHECKPOINT: Duty = Duty { name: "checkpoint", does: "writes the index down in the log", unit: "bytes" };

/// Which segments a reclaim takes up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice<'a> {
    /// Those of which at most this many per cent are still wanted, the emptiest first.
    Below(u8),
    /// All that are complete: repacks the whole store.
    All,
    /// These.
    These(&'a BTreeSet<SegmentId>),
    /// Those that lie on the set of this number, up to so many bytes that are still wanted: empties it, or makes it emptier.
    /// What is moved goes wherever the ledger makes new segments.
    OnSet {
        /// The set.
        set: u16,
        /// Bytes to move at most, beside the first segment.
        bytes: u64,
    },
}

/// What a mover needs from whoever runs it.
pub trait Host {
    /// Told after every step how many bytes it moved or read; may take its time, and ends the reclaim with `false`.
    fn pace(&mut self, bytes: u64, report: &MoverReport) -> bool;

    /// Called again and again while `holders` ingests and readers from before have to end; `false` gives the waiting up,
    /// and the segments in question are left for another time.
    fn wait(&mut self, holders: usize, report: &MoverReport) -> bool;
}

/// Goes on as fast as it can and waits for nobody: for stores without threads.
pub struct Unpaced;

impl Host for Unpaced {
    fn pace(&mut self, _bytes: u64, _report: &MoverReport) -> bool {
        true
    }

    fn wait(&mut self, _holders: usize, _report: &MoverReport) -> bool {
        false
    }
}

/// What a reclaim did, or has done so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MoverReport {
    /// Rounds that were begun.
    pub rounds: u64,
    /// Segments taken up.
    pub segments: u64,
    /// Segments given back.
    pub segments_freed: u64,
    /// Stored bytes read for moving.
    pub bytes_read: u64,
    /// Stored bytes appended anew.
    pub bytes_moved: u64,
    /// Bytes given back, on the disks that hold data.
    pub bytes_freed: u64,
    /// Chunks appended anew.
    pub chunks_moved: u64,
    /// Chunks forgotten.
    pub chunks_dropped: u64,
    /// Segments left because an ingest or reader from before had not ended.
    pub segments_waiting: u64,
    /// Chunks and stripes that could not be read; their segments stay.
    pub unreadable: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
}

/// What the mover is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// Nothing.
    #[default]
    Idle,
    /// Counting what is wanted of each segment.
    Counting,
    /// Moving what is wanted of a segment.
    Moving(SegmentId),
    /// Waiting for so many ingests and readers from before.
    Waiting(usize),
    /// Taking a checkpoint.
    Checkpoint,
    /// Removing files.
    Freeing,
}

/// For `strata status` and metrics.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MoverStatus {
    /// What it is at.
    pub phase: Phase,
    /// Of the reclaim under way, or of the last one.
    pub report: MoverReport,
    /// Bytes that the census counted last: in all complete segments, and of these still wanted.
    pub occupied: u64,
    /// See [`MoverStatus::occupied`].
    pub live: u64,
    /// Segments still to be taken up by the reclaim under way.
    pub backlog: u64,
    /// Bytes a second it may handle; 0 is no limit.
    pub rate: u64,
    /// Whether the disks are full.
    pub full: bool,
}

/// The mover's part of a store.
pub(crate) struct Mover {
    /// Held by the one reclaim under way.
    pub(crate) running: Mutex<()>,
    pace: Arc<Pace>,
    pub(crate) status: Mutex<MoverStatus>,
    /// See [`Store::mover`].
    pub(crate) looks: Arc<Worker>,
    pub(crate) reclaims: Arc<Worker>,
    pub(crate) writes_down: Arc<Worker>,
}

impl Mover {
    pub(crate) fn at_rate(bytes_per_second: u64, crew: &Crew) -> Self {
        let pace = Arc::new(Pace::new(bytes_per_second));
        let worker = |duty| crew.add(duty, Some(Arc::clone(&pace)));
        let (looks, reclaims, writes_down) = (worker(MOVER), worker(RECLAIM), worker(CHECKPOINT));
        Self { running: Mutex::default(), pace, status: Mutex::default(), looks, reclaims, writes_down }
    }
}

impl Store {
    /// What the mover is at.
    #[must_use]
    pub fn mover_status(&self) -> MoverStatus {
        let mut status = self.mover.status.lock().clone();
        status.rate = self.mover_rate();
        status.full = self.is_full();
        status
    }

    /// Bytes a second the mover may handle; 0 is no limit. Its host keeps to it.
    #[must_use]
    pub fn mover_rate(&self) -> u64 {
        self.mover.pace.bytes_per_second()
    }

    /// Changes that at once.
    pub fn set_mover_rate(&self, bytes_per_second: u64) {
        self.mover.pace.set(bytes_per_second);
    }

    /// The pace of the mover, which its host goes by.
    #[must_use]
    pub fn mover_pace(&self) -> &Arc<Pace> {
        &self.mover.pace
    }

    /// The worker that looks whether anything is to be given back; its thread is the host's.
    #[must_use]
    pub fn mover(&self) -> &Arc<Worker> {
        &self.mover.looks
    }

    /// Moves and frees, round by round, until nothing of `choice` is left or nothing more can be done. Only one reclaim
    /// runs at a time; another one waits for it.
    ///
    /// # Errors
    /// Those of the ledger and the index. Whatever was done stays done, nothing is lost, and the next one goes on.
    pub fn reclaim(self: &std::sync::Arc<Self>, choice: Choice<'_>, host: &mut dyn Host) -> Result<MoverReport> {
        let _one = self.mover.running.lock();
        let _round = self.mover.reclaims.begin(None);
        self.mover.status.lock().phase = Phase::Counting;
        let done = round::reclaim(self, choice, host);
        self.mover.reclaims.count_failure(&done);
        self.mover.status.lock().phase = Phase::Idle;
        done
    }
}

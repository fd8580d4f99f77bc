//! What the mover is asked to do, what it reports, and what a store keeps of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_seam::{Crew, Duty, Pace, SegmentId, Worker};

/// Bytes that a chunk takes while a round handles its segment and it is condemned, about.
pub(crate) const ROUND_CHUNK_BYTES: usize = 128;
/// Live bytes moved in one round, at most, so that segments come free in the course of a long reclaim.
pub(crate) const ROUND_BYTES_MAX: u64 = 4 << 30;

/// The workers that the mover is made of.
const MOVER: Duty = Duty { name: "mover", does: "counts what is wanted of each segment", unit: "bytes" };
const RECLAIM: Duty = Duty { name: "reclaim", does: "moves what is wanted and frees segments", unit: "segments" };
const CHECKPOINT: Duty = Duty { name: "checkpoint", does: "writes the index down in the log", unit: "bytes" };

/// Which segments a reclaim takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice<'a> {
    /// Segments of which at most this many per cent are still referenced, the emptiest first.
    Below(u8),
    /// All that are complete: repacks the whole store.
    All,
    /// These.
    These(&'a BTreeSet<SegmentId>),
    /// Segments on the set of this number, up to so many bytes that are still referenced: empties the set, or makes it emptier.
    /// What is moved goes wherever the ledger makes new segments.
    OnSet {
        /// The set.
        set: u16,
        /// Bytes to move at most, beside the first segment.
        bytes: u64,
    },
}

/// What the mover needs from its caller: a pace, and whether to go on or to wait.
pub trait Host {
    /// Told after every step how many bytes it moved or read; may take its time, and ends the reclaim with `false`.
    fn pace(&mut self, bytes: u64, report: &MoverReport) -> bool;

    /// Called again and again while `holders` ingests and readers from before have to end; `false` gives the waiting up,
    /// and the segments in question are left for another time.
    fn wait(&mut self, holders: usize, report: &MoverReport) -> bool;
}

/// A host without a limit, which waits for nobody: for stores without threads.
pub struct Unpaced;

impl Host for Unpaced {
    fn pace(&mut self, _bytes: u64, _report: &MoverReport) -> bool {
        true
    }

    fn wait(&mut self, _holders: usize, _report: &MoverReport) -> bool {
        false
    }
}

/// What a reclaim has done so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MoverReport {
    /// Rounds that were begun.
    pub rounds: u64,
    /// Segments taken up.
    pub segments: u64,
    /// Segments freed.
    pub segments_freed: u64,
    /// Stored bytes read for moving.
    pub bytes_read: u64,
    /// Stored bytes appended anew.
    pub bytes_moved: u64,
    /// Bytes freed, on the disks that hold data.
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

/// What the mover is doing.
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

/// The state of the mover, for `strata status` and metrics.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MoverStatus {
    /// What it is at.
    pub phase: Phase,
    /// The report of the running reclaim, or of the last one.
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
    pub(crate) pace: Arc<Pace>,
    pub(crate) status: Mutex<MoverStatus>,
    /// See [`crate::Store::mover`].
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

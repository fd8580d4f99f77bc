//! The mover: it appends the referenced content of some segments again elsewhere, and frees these segments.
//!
//! A round chooses segments, walks their frames, moves the chunks that have references, removes the records of those that have none, and frees
//! the files behind a checkpoint. It does so portion by portion, each as large as memory is meant for, until what comes free is worth the
//! checkpoint. Reclaiming, packing of small commits, recompression of cold data and emptying a set all work like this;
//! they differ only in which segments they choose ([`Choice`]).
//!
//! **Invariant REF**: a chunk's cell is removed only under the writer's lock, in a commit that finds its count at zero and its place still
//! where the round saw it. And no commit counts a reference to a chunk that has no place (`ContentError::Gone`). So whichever of the two comes
//! first, no chunk with references is ever removed. That alone keeps the data safe. The rules that follow keep ingests, readers and streams
//! from noticing:
//!
//! - An ingest that found a chunk present leaves its bytes out and counts it only with its commit. So idle chunks are first
//!   *condemned*: from then on an ingest takes them for absent and writes them anew. Ingests that may have looked before hold a
//!   [`Guard`](crate::guard::Guard) from an earlier epoch, and the round waits until all of these are gone. The same holds for content made of items,
//!   and for readers of contents that were deleted meanwhile. A reader that takes long is asked what it may read. Its manifest is
//!   fixed, and so are the condemned chunks: if they have no chunk in common, they never will. A stream that is being taken in is asked
//!   which uncounted chunks it relies on; it cannot come to rely on further condemned ones. Condemned chunks that a reader or a stream
//!   needs stay, with their segments; all others are removed.
//! - A chunk written anew is *pending* until its place is in the index. The tail with the place carries the number of the chunk's
//!   append. If the cell were removed under a higher number in between, that tail would be ignored and the chunk lost. So
//!   handing blocks over and noting them as pending is one step to the removal (`Embedded::hold_appends`), which leaves pending
//!   chunks alone. Blocks handed over after the removal have a higher number than the removal.
//! - A chunk that is counted again while it is condemned stays, and is moved like the others.
//! - Moved bytes are verified by their hash first. What cannot be read stays where it is, and so does its segment.
//!
//! A segment is freed only after a checkpoint that (1) lies behind it in the log, (2) has no piece in it, and (3) has no pair that places a
//! chunk in it; every pair is checked for that. Changes behind the checkpoint's position place chunks only in segments from there on. So
//! no cell can lead into a freed segment, whatever the walk over its frames missed.
//!
//! A reader whose segment was freed between its look-up and its read looks the place up once more.
//!
//! A round leaves no state. One that was cut off, by a crash or by its caller, leaves some chunks moved and some cells removed, each by a
//! commit of its own, and the next round goes on from there.

mod census;
mod checkpoints;
mod readers;
mod relocate;
mod round;
pub(crate) mod state;
mod traces;

use std::sync::Arc;

use strata_seam::{Pace, Worker};

pub use census::{Census, SegmentUse};
pub use state::{Choice, Host, MoverReport, MoverStatus, Phase, Unpaced};

use crate::error::Result;
use crate::store::Store;

impl Store {
    /// What the mover is doing, and what it has done.
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

    /// Sets the bytes a second that the mover may handle, at once; 0 means no limit.
    pub fn set_mover_rate(&self, bytes_per_second: u64) {
        self.mover.pace.set(bytes_per_second);
    }

    /// The pace of the mover, which its host goes by.
    #[must_use]
    pub fn mover_pace(&self) -> &Arc<Pace> {
        &self.mover.pace
    }

    /// The worker as which the mover reports when it checks whether anything is to be reclaimed. Its thread belongs to the host.
    #[must_use]
    pub fn mover(&self) -> &Arc<Worker> {
        &self.mover.looks
    }

    /// Reclaims the segments of `choice`, round by round, until none is left or no more can be done. Only one reclaim runs at a time;
    /// another call waits for it.
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

//! Checkpoints, as the mover takes them and as the opening of a store finds them. The engine makes them (`strata_engine`,
//! `checkpoint.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;

use strata_engine::{Checkpoint, CheckpointCounts, PlacedBlock, Taken};
use strata_seam::SegmentId;

use crate::error::Result;
use crate::store::Store;

impl Store {
    /// Writes the index down as it is now and makes that the checkpoint. The segments in `leave` are to be freed: nothing
    /// of the checkpoint lies in them, and it does not name them among those that are kept. `pace` is told the bytes
    /// handled and may call it off by `false`. See `Embedded::take_checkpoint` for what it costs.
    ///
    /// # Errors
    /// Those of the index and of the ledger; the checkpoint before is then still the one, or (a quorum lost while the
    /// root was stored) the new one.
    pub fn take_checkpoint(
        self: &Arc<Self>,
        leave: &BTreeSet<SegmentId>,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Taken> {
        let worker = &self.mover.writes_down;
        let _round = worker.begin(None);
        let taken = self.embedded.take_checkpoint(leave, &mut |bytes| {
            worker.advance(bytes);
            pace(bytes)
        });
        worker.count_failure(&taken);
        Ok(taken?)
    }

    /// The newest checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.embedded.checkpoint()
    }

    /// What checkpoints cost since the store was opened.
    #[must_use]
    pub fn checkpoint_counts(&self) -> CheckpointCounts {
        self.embedded.checkpoint_counts()
    }

    /// Bytes that a whole checkpoint may take now: what the newest one takes, and what changed since (invariant ROOM).
    #[must_use]
    pub fn checkpoint_room(&self) -> u64 {
        self.embedded.checkpoint_room()
    }

    /// Bytes of garbage from which giving them back is worth the checkpoint that it takes, by what the last one wrote.
    #[must_use]
    pub fn worth_a_checkpoint(&self) -> u64 {
        self.embedded.worth_a_checkpoint()
    }

    /// Whether a checkpoint is due: the log behind the newest one is longer than the store's settings say, or much room is kept for
    /// the next one, or how much must be is a guess in a full store.
    #[must_use]
    pub fn checkpoint_due(&self) -> bool {
        self.embedded.checkpoint_due(self.settings.checkpoint_log_bytes)
    }

    /// Bytes of log behind the newest checkpoint: what a rebuild of the index would have to replay.
    #[must_use]
    pub fn log_since_checkpoint(&self) -> u64 {
        self.embedded.log_since_checkpoint()
    }

    /// About how many bytes the log has been written for since the store was made: segments that were freed count, parity
    /// does not. With several sets it is as exact as their segments are alike.
    #[must_use]
    pub fn log_written(&self) -> u64 {
        self.embedded.log_written()
    }

    /// Says which checkpoint an opening found.
    pub fn set_checkpoint(&self, checkpoint: Checkpoint) {
        self.embedded.set_checkpoint(checkpoint);
    }

    /// Says which blocks of checkpoints a replay found: some may be of one that was cut off.
    pub fn note_checkpoint_blocks(&self, blocks: &[PlacedBlock]) {
        self.embedded.note_checkpoint_blocks(blocks);
    }

    /// Notes that the index was changed by about so many bytes.
    pub fn note_changed(&self, bytes: u64) {
        self.embedded.note_changed(bytes);
    }

    /// Notes about how many bytes of changes behind the newest checkpoint nobody counted, because the index had them when it was
    /// opened; see `Embedded::guess_changed`.
    pub fn guess_changed(&self, bytes: u64) {
        self.embedded.guess_changed(bytes);
    }
}

//! The calls for operating an open store.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use strata_content::{CheckpointCounts, MoverStatus, Store, Taken, TrafficCounts};
use strata_namespace::{Namespace, Result};
use strata_seam::{ChunkId, Clock, Crew, LatencyCounts, Pace};

use crate::drain::Drain;
use crate::sets::Sets;

/// The calls for operating a store: health, disks, sets, reclaim, checkpoints. Users' data is reached through its name space. Shared as
/// `Arc<Runtime>`; every call may run on any thread.
pub struct Runtime {
    namespace: Arc<Namespace>,
    pub(crate) drain: Drain,
}

impl Runtime {
    /// The runtime of this name space. A name space has only one.
    #[must_use]
    pub fn over(namespace: Arc<Namespace>) -> Self {
        Self { namespace, drain: Drain::default() }
    }

    /// The name space.
    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// The background workers of the store.
    #[must_use]
    pub fn crew(&self) -> &Arc<Crew> {
        self.namespace.crew()
    }

    /// The sets and their disks.
    #[must_use]
    pub fn sets(&self) -> Sets {
        Sets::of(self.store().ledger())
    }

    /// How much content was written since the store was opened, and how much of it had to be stored.
    #[must_use]
    pub fn traffic(&self) -> TrafficCounts {
        self.store().traffic()
    }

    /// A counter that grows while clients read or write. Background work compares two values to see whether the store is in use.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.store().served()
    }

    /// Checkpoints taken since the store was opened.
    #[must_use]
    pub fn checkpoint_counts(&self) -> CheckpointCounts {
        self.store().checkpoint_counts()
    }

    /// Bytes written to the log since the last checkpoint.
    #[must_use]
    pub fn log_since_checkpoint(&self) -> u64 {
        self.store().log_since_checkpoint()
    }

    /// Bytes written to the log since the store was opened.
    #[must_use]
    pub fn log_written(&self) -> u64 {
        self.store().log_written()
    }

    /// Writes a checkpoint of the index to the log.
    ///
    /// # Errors
    /// Those of the store; the checkpoint before stays the newest.
    pub fn take_checkpoint(&self) -> Result<Taken> {
        Ok(self.store().take_checkpoint(&BTreeSet::new(), &mut |_| true)?)
    }

    /// How long changes held the writer's lock since the store was opened: a histogram, and the longest in nanoseconds.
    #[must_use]
    pub fn writer_held(&self) -> (LatencyCounts, u64) {
        self.store().writer_held()
    }

    /// What the mover is doing, and what it has done since the store was opened.
    #[must_use]
    pub fn mover_status(&self) -> MoverStatus {
        self.store().mover_status()
    }

    /// The rate limit that mover, checkpoints, drains and the eraser share.
    #[must_use]
    pub fn mover_pace(&self) -> &Arc<Pace> {
        self.store().mover_pace()
    }

    /// Sets that limit, in bytes a second; 0 means no limit.
    pub fn set_mover_rate(&self, rate: u64) {
        self.store().set_mover_rate(rate);
    }

    /// Which chunks lie in these stripes: segment and sector of each.
    ///
    /// # Errors
    /// Reading the index.
    pub fn chunks_in(&self, stripes: &HashSet<(u32, u32)>) -> Result<HashMap<ChunkId, (u32, u32)>> {
        Ok(self.store().chunks_in(stripes)?)
    }

    /// Whether a chunk can be had from the disks at this moment, whatever is in memory. Reads its block, and rebuilds it where need be.
    ///
    /// # Errors
    /// Reading the index.
    pub fn is_readable(&self, chunk: &ChunkId) -> Result<bool> {
        Ok(self.store().is_readable(chunk)?)
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        self.namespace.store()
    }

    /// The clock of the store.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.namespace.clock()
    }
}

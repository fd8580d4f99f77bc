//! A store at work: its name space, and what works in its background.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use strata_content::{CheckpointCounts, MoverStatus, Store, Taken, TrafficCounts};
use strata_namespace::{Namespace, Result};
use strata_seam::{ChunkId, Clock, Crew, LatencyCounts, Pace};

use crate::drain::Drain;
use crate::sets::Sets;

/// What whoever operates a store asks of it, beside what its users do through the name space. Shared as `Arc<Runtime>`; every call may run on any
/// thread.
pub struct Runtime {
    namespace: Arc<Namespace>,
    pub(crate) drain: Drain,
}

impl Runtime {
    /// The background of this name space, of which there is one.
    #[must_use]
    pub fn over(namespace: Arc<Namespace>) -> Self {
        Self { namespace, drain: Drain::default() }
    }

    /// The name space.
    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Who works in the background.
    #[must_use]
    pub fn crew(&self) -> &Arc<Crew> {
        self.namespace.crew()
    }

    /// The sets and their disks.
    #[must_use]
    pub fn sets(&self) -> Sets {
        Sets::of(self.store().ledger())
    }

    /// What was taken in since the store was opened, and what of it had to be stored.
    #[must_use]
    pub fn traffic(&self) -> TrafficCounts {
        self.store().traffic()
    }

    /// A number that grows while somebody is served.
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

    /// Writes the index down in the log.
    ///
    /// # Errors
    /// Those of the store; the checkpoint before stays the newest.
    pub fn take_checkpoint(&self) -> Result<Taken> {
        Ok(self.store().take_checkpoint(&BTreeSet::new(), &mut |_| true)?)
    }

    /// How long the lock of all changes was held since the store was opened: all times, and nanoseconds of the longest.
    #[must_use]
    pub fn writer_held(&self) -> (LatencyCounts, u64) {
        self.store().writer_held()
    }

    /// How the giving back of space goes.
    #[must_use]
    pub fn mover_status(&self) -> MoverStatus {
        self.store().mover_status()
    }

    /// What the giving back of space in the background goes by.
    #[must_use]
    pub fn mover_pace(&self) -> &Arc<Pace> {
        self.store().mover_pace()
    }

    /// Bytes a second that it may handle; 0 is no limit.
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

    /// What the store takes the time from.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.namespace.clock()
    }
}

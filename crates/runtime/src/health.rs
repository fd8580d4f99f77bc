//! The health of a store, for checks and metrics.

use strata_index::HotCounts;
use strata_ledger::{DiskState, Refusing};

use crate::runtime::Runtime;

/// How the store is doing, for health checks and metrics. Reads counters only.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// Disks that take part fully.
    pub disks_active: u64,
    /// Disks of the set.
    pub disks: u64,
    /// Highest sequence number handed to the operating system.
    pub written: u64,
    /// Highest sequence number that survives power loss.
    pub durable: u64,
    /// Bytes of appends waiting to be written.
    pub queued_bytes: u64,
    /// Why nothing can be changed, if so.
    pub read_only: Option<String>,
    /// What is refused for now, if anything is.
    pub refusing: Option<Refusing>,
    /// Whether new data is refused for lack of room.
    pub full: bool,
    /// Whether the index engine failed and waits for a restart to be rebuilt.
    pub index_broken: bool,
    /// Bytes of the index's overlay in memory.
    pub index_overlay_bytes: u64,
    /// How often a pair of the index's engine was found in memory, how often the engine was asked, and bytes of such pairs.
    pub index_hot: HotCounts,
    /// Bytes of decoded blocks in memory.
    pub cache_bytes: u64,
    /// Bytes written to open files and not yet content.
    pub staged_bytes: u64,
}

impl Runtime {
    /// What is refused, failing or running short, for health checks and metrics. Reads counters only.
    #[must_use]
    pub fn health(&self) -> Health {
        let status = self.store().ledger().status();
        let active = status.disks.iter().filter(|disk| disk.state == DiskState::Active).count();
        Health {
            disks_active: active as u64,
            disks: status.disks.len() as u64,
            written: status.written.0,
            durable: status.durable.0,
            queued_bytes: status.queued_bytes as u64,
            read_only: status.read_only,
            refusing: self.store().ledger().refusing(),
            full: status.full,
            index_broken: self.store().index().is_broken(),
            index_overlay_bytes: self.store().index().overlay_bytes() as u64,
            index_hot: self.store().index().hot(),
            cache_bytes: self.store().cache_weight(),
            staged_bytes: self.namespace().staged_bytes(),
        }
    }
}

//! The status of a store, as it goes over the control socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use strata_runtime::TrafficCounts;
use strata_seam::WorkerStatus;

use crate::disks::messages::DiskStatus;
use crate::keeper::messages::KeeperStatus;
use crate::reclaim::messages::ReclaimStatus;
use crate::running::messages::ServerStatus;
use crate::sets::messages::{Moving, SetStatus};

/// What can be said of a store, as `strata status --json` shows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Status {
    pub(super) data: PathBuf,
    pub(super) set: String,
    pub(super) layout: String,
    pub(super) sets: Vec<SetStatus>,
    pub(super) drain: Option<Moving>,
    pub(super) durability: String,
    pub(super) read_only: Option<String>,
    pub(super) refusing: Option<RefusingStatus>,
    pub(super) full: bool,
    pub(super) segments: u64,
    pub(super) segment_len: u64,
    pub(super) durable: u64,
    pub(super) mover: ReclaimStatus,
    pub(super) log_since_checkpoint: u64,
    /// Bytes of the log written since the store was opened.
    pub(super) log_written: u64,
    pub(super) checkpoints: CheckpointStatus,
    /// Engine of the index on disk, if there is one.
    #[serde(default)]
    pub(super) index_engine: Option<String>,
    /// The index failed: the server answers some reads with errors until it is started again, which builds the index anew.
    #[serde(default)]
    pub(super) index_failed: bool,
    pub(super) content: ContentStatus,
    pub(super) disks: Vec<DiskStatus>,
    pub(super) space: SpaceStatus,
    /// WebDAV locks that are held.
    #[serde(default)]
    pub(super) locks: u64,
    /// Locks that NFS clients hold.
    #[serde(default)]
    pub(super) nfs_locks: u64,
    /// Workers in the background; none in a store at rest.
    pub(super) workers: Vec<WorkerStatus>,
    /// The heals and the scrub of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keeper: Option<KeeperStatus>,
    /// The server that runs on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerStatus>,
}

/// The checkpoints taken since the store was opened.
#[derive(Serialize, Deserialize)]
pub(super) struct CheckpointStatus {
    pub(super) taken: u64,
    /// Bytes they wrote.
    pub(super) written: u64,
}

/// What is refused for now.
#[derive(Serialize, Deserialize)]
pub(super) struct RefusingStatus {
    pub(super) what: String,
    /// Seconds since 1970.
    pub(super) since: i64,
    pub(super) why: String,
    pub(super) remedy: String,
    pub(super) words: String,
}

/// What was taken in since the store was opened, and what of it had to be stored.
#[derive(Serialize, Deserialize)]
pub(super) struct ContentStatus {
    pub(super) written: u64,
    pub(super) deduplicated: u64,
    pub(super) compressed: u64,
    pub(super) stored: u64,
    pub(super) ratio: Option<f64>,
}

impl ContentStatus {
    pub(super) fn of(traffic: &TrafficCounts) -> Self {
        Self {
            written: traffic.written(),
            deduplicated: traffic.known + traffic.zeros,
            compressed: traffic.compressed(),
            stored: traffic.stored,
            ratio: (traffic.stored > 0).then(|| traffic.written() as f64 / traffic.stored as f64),
        }
    }
}

/// Room for content, or why it cannot be told.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum SpaceStatus {
    Known { total: u64, free: u64, inodes: u64 },
    Unknown { error: String },
}

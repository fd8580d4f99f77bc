//! What `strata set` asks, and what is shown of sets and of what is moved between them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use strata_runtime::DrainStatus;

/// What `strata set` asks of the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SetRequest {
    /// The sets and their states.
    List,
    /// Make a set and take it in.
    Add {
        /// The folders of its disks.
        folders: Vec<PathBuf>,
        /// How many of the disks hold data.
        data: u8,
        /// How many hold parity.
        parity: u8,
        /// Also where that is less than the other sets have.
        #[serde(default)]
        yes: bool,
    },
    /// Empty a set and let it go.
    Drain {
        /// Its number.
        number: u16,
        /// Or take that back.
        cancel: bool,
        /// Also where disks of the sets that stay are not in order.
        #[serde(default)]
        yes: bool,
    },
    /// Make the sets about equally full.
    Rebalance,
}

/// A set, for tables, JSON and the status.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SetStatus {
    pub(super) number: u16,
    pub(super) set: String,
    pub(super) layout: String,
    pub(super) state: String,
    pub(super) written: bool,
    pub(super) segments: u64,
    pub(super) segment_len: u64,
    pub(super) free: u64,
    pub(super) total: u64,
    pub(super) disks: Vec<String>,
}

/// How a drain or a rebalance goes, for a bar, JSON and the status.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Moving {
    pub(crate) number: u16,
    pub(crate) left_bytes: u64,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) bytes_per_second: Option<u64>,
    pub(crate) seconds_left: Option<u64>,
    pub(crate) trouble: Option<String>,
}

impl Moving {
    /// The state of a drain.
    pub(crate) fn of(status: &DrainStatus) -> Self {
        let done = status.total.saturating_sub(status.left);
        let seconds = status.elapsed.as_secs_f64();
        Self {
            number: status.number,
            left_bytes: status.left,
            done_bytes: done,
            total_bytes: status.total,
            bytes_per_second: (seconds > 0.0).then_some((done as f64 / seconds) as u64),
            seconds_left: status.remaining().map(|left| left.as_secs()),
            trouble: status.trouble.clone(),
        }
    }
}

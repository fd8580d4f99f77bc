//! What `strata disk` asks, and what is shown of disks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What `strata disk` asks of the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DiskRequest {
    /// The disks and their states.
    List,
    /// Take a disk of the set back, wherever it is found now.
    Add {
        /// Its folder.
        folder: PathBuf,
    },
    /// Take a disk out of its set.
    Remove {
        /// Its place.
        place: u8,
    },
    /// Give an empty disk the place of one that is lost.
    Replace {
        /// The place.
        place: u8,
        /// The folder of the new disk.
        folder: PathBuf,
    },
}

/// The disks of a store, for tables and JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct DiskList {
    pub(super) layout: String,
    pub(super) read_only: Option<String>,
    pub(super) disks: Vec<DiskStatus>,
    pub(super) strangers: Vec<Stranger>,
    pub(super) folders: Vec<PathBuf>,
}

/// A disk, for tables, JSON and the status.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DiskStatus {
    pub(crate) place: usize,
    pub(crate) set: u16,
    pub(crate) disk: String,
    pub(crate) state: String,
    pub(crate) why: Option<String>,
    pub(crate) read_around: bool,
    pub(crate) free: Option<u64>,
    pub(crate) total: Option<u64>,
    pub(crate) read_errors: u64,
    pub(crate) write_errors: u64,
    pub(crate) checksum_failures: u64,
    pub(crate) rebuilt_reads: u64,
}

/// A disk that has no place in the store.
#[derive(Serialize, Deserialize)]
pub(super) struct Stranger {
    pub(super) disk: String,
    pub(super) why: String,
}

//! What is shown of a serving process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::rates::DoorRates;

/// A serving process, as it is shown.
#[derive(Serialize, Deserialize)]
pub(crate) struct ServerStatus {
    pub(super) phase: String,
    pub(super) pid: u32,
    pub(super) version: String,
    pub(super) doors: DoorAddresses,
    pub(super) per_second: Option<BTreeMap<String, DoorRates>>,
}

/// Addresses of the doors, without their secrets.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct DoorAddresses {
    pub(super) s3: Option<String>,
    pub(super) webdav: Option<String>,
    pub(super) nfs: Option<String>,
    pub(super) mount: Option<PathBuf>,
    pub(super) admin: Option<String>,
}

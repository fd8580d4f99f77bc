//! What `strata keys show` shows.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What `strata keys show` shows.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeyStatus {
    /// Where the key is kept.
    pub(super) path: PathBuf,
    /// Its id, if it is there.
    pub(super) key: Option<String>,
    /// Why it cannot be read.
    pub(super) trouble: Option<String>,
    /// Secrets of users, and how many of them the key opens.
    pub(super) secrets: u64,
    pub(super) opens: u64,
    /// What is left of secrets that an earlier release kept in clear.
    pub(super) clear_secrets: ClearSecrets,
}

/// Traces of clear secrets.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ClearSecrets {
    #[serde(rename = "none")]
    None,
    #[serde(rename = "being erased")]
    BeingErased,
}

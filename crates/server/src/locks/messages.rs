//! What `strata locks` asks, and what is shown of a lock.

use serde::{Deserialize, Serialize};

/// A question or change of locks, as it goes to the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LockRequest {
    /// Locks on paths that begin so.
    List {
        /// Bucket, or bucket and what the rest begins with; all if not said.
        under: Option<String>,
    },
    /// No longer the one with this token, or none of those on this path.
    Break {
        /// Token or path.
        which: String,
    },
}

/// A lock, as `--json` shows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Shown {
    /// From the root of the name space; bytes that are no text as `\xNN`.
    pub(super) path: String,
    pub(super) token: String,
    /// The user who holds it.
    pub(super) user: String,
    /// `exclusive` or `shared`.
    pub(super) kind: String,
    /// `0` or `infinity`.
    pub(super) depth: String,
    /// Seconds since 1970; none if it does not end by itself.
    pub(super) expires: Option<i64>,
    /// Seconds from now.
    pub(super) expires_in: Option<i64>,
    /// XML by which the client describes the holder; empty for NFS.
    pub(super) owner: String,
    /// At which door it was taken: `webdav` or `nfs`.
    #[serde(default)]
    pub(super) door: String,
    /// The address of the client, for an NFS lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<String>,
    /// What the client calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    /// The process, by the client's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<u32>,
    /// The first byte and the last; without a last, to the end of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<(u64, Option<u64>)>,
}

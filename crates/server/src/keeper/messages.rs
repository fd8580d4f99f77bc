//! What the keeper is asked, and what is shown of it.

use serde::{Deserialize, Serialize};

use crate::passes::messages::{PassProgress, PassSummary};

/// What `strata scrub` asks.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ScrubRequest {
    /// Bytes per second from now on, 0 for no limit; kept.
    pub(crate) pace: Option<u64>,
    /// What to do.
    pub(crate) action: ScrubAction,
}

/// What to do with the scrub.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ScrubAction {
    /// Begin, or go on where the last one was, and watch it to its end.
    Run,
    /// Stop, and do not begin by itself until resumed.
    Pause,
    /// Go on, now or when it is due.
    Resume,
}

/// What a pass ended with.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum PassEnd {
    /// The pass could not run.
    Failed {
        /// Why.
        error: String,
    },
    /// What it found.
    Ended(Box<PassSummary>),
}

/// The heals and the scrub, for `strata status`.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeeperStatus {
    pub(super) running: Option<PassProgress>,
    pub(super) last_heal: Option<PassEnd>,
    pub(crate) scrub: ScrubStatus,
}

/// The scrub under way, or the last one. Times are seconds since 1970.
#[derive(Serialize, Deserialize)]
pub(crate) struct ScrubStatus {
    pub(crate) paused: bool,
    pub(super) bytes_per_second_max: u64,
    pub(super) interval_seconds: Option<u64>,
    pub(super) began: Option<u64>,
    pub(crate) ended: Option<u64>,
    pub(super) next: Option<u64>,
    pub(crate) at: Option<ScrubPlace>,
    pub(crate) damaged: u64,
    pub(crate) healed: u64,
    pub(crate) unreadable: u64,
}

/// Where a scrub is.
#[derive(Serialize, Deserialize)]
pub(crate) struct ScrubPlace {
    pub(super) segment: u32,
    pub(super) byte: u64,
}

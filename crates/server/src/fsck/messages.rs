//! How far a check is, and what it found.

use serde::{Deserialize, Serialize};
use strata_check::RepairStep;

use crate::passes::messages::Concerned;

/// How far a check is.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct CheckAt {
    /// What it is at.
    pub(crate) what: String,
    /// Records that it has looked at.
    pub(crate) done: u64,
}

/// The report of a check, as `strata fsck --json` shows it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Checked {
    pub(super) at_rest: bool,
    pub(super) ended: bool,
    pub(super) invariants: Vec<InvariantFound>,
    pub(super) inodes: u64,
    pub(super) entries: u64,
    pub(super) chunks: u64,
    pub(super) logical_bytes: u64,
    pub(super) live_bytes: u64,
    pub(super) reclaimable_chunks: u64,
    pub(super) reclaimable_bytes: u64,
    pub(super) unsettled: u64,
    pub(super) violations: Vec<String>,
    pub(super) concerned: Vec<Concerned>,
    /// What only a check at rest looks at.
    #[serde(flatten)]
    pub(super) at_rest_only: Option<AtRest>,
    /// What a repair would do, with `--repair`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) plan: Option<Vec<StepShown>>,
    /// What it did and could not do, and the check behind it.
    #[serde(flatten)]
    pub(super) repaired: Option<RepairShown>,
}

/// The verdict on an invariant.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct InvariantFound {
    pub(super) id: String,
    /// `holds`, `broken` or `not checked`.
    pub(super) verdict: String,
    pub(super) how: String,
}

/// The frames of every disk, and the index against the log.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AtRest {
    pub(super) segments: u64,
    pub(super) stripes: u64,
    pub(super) disks: Vec<DiskFound>,
    pub(super) index: IndexFound,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct DiskFound {
    pub(super) disk: String,
    pub(super) good: u64,
    pub(super) damaged: u64,
    pub(super) missing: u64,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct IndexFound {
    pub(super) records: u64,
    pub(super) from_checkpoint: u64,
    pub(super) replayed: u64,
    pub(super) behind: u64,
    pub(super) differing: u64,
    pub(super) fingerprint_on_disk: String,
    pub(super) fingerprint_of_log: String,
}

/// A step of a repair.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct StepShown {
    pub(super) wrong: String,
    pub(super) action: String,
    pub(super) changes: bool,
}

impl From<&RepairStep> for StepShown {
    fn from(step: &RepairStep) -> Self {
        Self { wrong: step.wrong.clone(), action: step.action.clone(), changes: step.changes }
    }
}

/// A repair that was made.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct RepairShown {
    pub(super) done: Vec<String>,
    pub(super) failed: Vec<String>,
    pub(super) after: Box<Checked>,
}

//! What `strata reclaim` asks, and how a reclaim goes.

use serde::{Deserialize, Serialize};
use strata_runtime::{MoverReport, MoverStatus, Phase};

/// What the command asks of the server.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReclaimRequest {
    /// Begin, if none is under way.
    Start,
    /// How it goes.
    Progress,
}

/// Whether a reclaim is under way, or what became of it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReclaimState {
    Idle,
    Running,
    Done,
    Failed,
}

/// A reclaim as `strata reclaim --json` and `strata status --json` show it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ReclaimStatus {
    pub(super) state: ReclaimState,
    pub(super) phase: String,
    pub(super) occupied: u64,
    pub(super) live: u64,
    pub(super) backlog_segments: u64,
    pub(super) rate: u64,
    pub(super) full: bool,
    pub(super) segments: u64,
    pub(super) segments_freed: u64,
    pub(super) segments_waiting: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_moved: u64,
    pub(super) bytes_freed: u64,
    pub(super) chunks_moved: u64,
    pub(super) chunks_dropped: u64,
    pub(super) unreadable: u64,
    pub(super) checkpoints: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl ReclaimStatus {
    /// The state of the mover, whatever set it to work.
    pub(crate) fn of_mover(status: &MoverStatus) -> Self {
        let state = if status.phase == Phase::Idle { ReclaimState::Idle } else { ReclaimState::Running };
        Self::of(state, status, &status.report)
    }

    pub(super) fn of(state: ReclaimState, status: &MoverStatus, report: &MoverReport) -> Self {
        let phase = match status.phase {
            Phase::Idle => "idle".to_owned(),
            Phase::Counting => "counting".to_owned(),
            Phase::Moving(segment) => format!("moving segment {segment}"),
            Phase::Waiting(holders) => format!("waiting for {holders} readers and uploads"),
            Phase::Checkpoint => "taking a checkpoint".to_owned(),
            Phase::Freeing => "freeing".to_owned(),
        };
        Self {
            state,
            phase,
            occupied: status.occupied,
            live: status.live,
            backlog_segments: status.backlog,
            rate: status.rate,
            full: status.full,
            segments: report.segments,
            segments_freed: report.segments_freed,
            segments_waiting: report.segments_waiting,
            bytes_read: report.bytes_read,
            bytes_moved: report.bytes_moved,
            bytes_freed: report.bytes_freed,
            chunks_moved: report.chunks_moved,
            chunks_dropped: report.chunks_dropped,
            unreadable: report.unreadable,
            checkpoints: report.checkpoints,
            error: None,
        }
    }
}

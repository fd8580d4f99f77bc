//! What is known of the scrub across restarts; it is a setting in the store.

use serde::{Deserialize, Serialize};
use strata_runtime::Report;
use strata_seam::{Lsn, Position, SegmentId};

/// What is known of the scrub across restarts. Times are seconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ScrubRecord {
    /// The place of the running scrub: segment, byte, sequence number.
    pub(super) at: Option<(u32, u64, u64)>,
    /// When it began.
    pub(super) began: Option<u64>,
    /// When the last one came to its end, or when the first one was put off from.
    pub(super) ended: Option<u64>,
    pub(super) paused: bool,
    /// Bytes per second, where the operator asked for other than the setting.
    pub(super) pace: Option<u64>,
    /// What the one under way, or the last one, found and mended.
    pub(super) damaged: u64,
    pub(super) healed: u64,
    pub(super) unreadable: u64,
}

impl ScrubRecord {
    /// Adds what a stretch of the pass found.
    pub(super) fn note(&mut self, report: &Report) {
        self.at = Some((report.next.segment.0, report.next.offset, report.next.next_lsn.0));
        self.damaged += report.disks.iter().map(|disk| disk.damaged + disk.missing).sum::<u64>();
        self.healed += report.disks.iter().map(|disk| disk.healed).sum::<u64>();
        self.unreadable += report.unreadable_count;
    }
}

/// The place as the ledger has it.
pub(super) fn position((segment, offset, next_lsn): (u32, u64, u64)) -> Position {
    Position { segment: SegmentId(segment), offset, next_lsn: Lsn(next_lsn) }
}

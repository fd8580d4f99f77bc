//! Rebalancing: making the sets of a store equally full.
//!
//! A new set is preferred for new segments, and existing content stays where it is. So the set fills as the store is used. To be
//! faster, `strata set rebalance` has the mover take segments of the fullest set; their content goes to the emptiest one, because new
//! segments are made there. No state is kept: a rebalance that was cut off has made the difference smaller.

use std::time::Duration;

use strata_content::{Choice, ContentError, MoverReport};
use strata_ledger::SetStatus;
use strata_namespace::Result;

use crate::runtime::Runtime;

/// Per cent of their room by which the free shares of sets may differ from that of the whole store. Less is not worth moving for: a few
/// segments of a small disk.
const TOLERANCE_PERCENT: u64 = 3;
/// Bytes moved between two looks at the sets.
const STEP_BYTES: u64 = 1 << 30;

/// How much fuller the fullest set is than the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Imbalance {
    /// The fullest set.
    pub from: u16,
    /// Bytes more than its part of the store's content that it holds.
    pub surplus: u64,
}

/// How the sets are apart, if they are by more than is worth it.
fn imbalance(sets: &[SetStatus]) -> Option<Imbalance> {
    let written = || sets.iter().filter(|set| set.is_written && set.room.total > 0);
    let total: u128 = written().map(|set| u128::from(set.room.total)).sum();
    let free: u128 = written().map(|set| u128::from(set.room.free)).sum();
    let surplus = |set: &SetStatus| {
        let part = free * u128::from(set.room.total) / total.max(1);
        u64::try_from(part.saturating_sub(u128::from(set.room.free))).unwrap_or(u64::MAX)
    };
    let apart = written().filter(|set| surplus(set).saturating_mul(100) / set.room.total >= TOLERANCE_PERCENT);
    apart.map(|set| Imbalance { from: set.number, surplus: surplus(set) }).max_by_key(|apart| apart.surplus)
}

impl Runtime {
    /// How far the sets of the store are from being equally full; `None` if the difference is too small to move content for.
    #[must_use]
    pub fn imbalance(&self) -> Option<Imbalance> {
        imbalance(&self.store().ledger().status().sets)
    }

    /// Moves content from the fullest set until the sets are about equally full, at the mover's pace. Ends early where a step gives
    /// nothing back. `progress` is told what is left and what was done, and may end it by `false`.
    ///
    /// # Errors
    /// Those of the store; nothing is lost, and what was moved stays moved.
    pub fn rebalance(
        &self,
        patience: Duration,
        progress: &mut dyn FnMut(Imbalance, &MoverReport) -> bool,
    ) -> Result<MoverReport> {
        let mut done = MoverReport::default();
        self.store().ledger().begin_segment().map_err(ContentError::from)?;
        while let Some(apart) = self.imbalance() {
            let choice = Choice::OnSet { set: apart.from, bytes: apart.surplus.min(STEP_BYTES) };
            let before = done.clone();
            let mut on = true;
            let mut tell = |report: &MoverReport| {
                on = on && progress(apart, &sum(&before, report));
                on
            };
            let report = self.reclaim_as(choice, patience, false, &mut tell)?;
            done = sum(&done, &report);
            if !on || report.segments_freed == 0 {
                break;
            }
        }
        Ok(done)
    }
}

/// What two reclaims did together, in the figures that add up.
pub(crate) fn sum(one: &MoverReport, other: &MoverReport) -> MoverReport {
    MoverReport {
        rounds: one.rounds + other.rounds,
        segments: one.segments + other.segments,
        segments_freed: one.segments_freed + other.segments_freed,
        bytes_read: one.bytes_read + other.bytes_read,
        bytes_moved: one.bytes_moved + other.bytes_moved,
        bytes_freed: one.bytes_freed + other.bytes_freed,
        chunks_moved: one.chunks_moved + other.chunks_moved,
        chunks_dropped: one.chunks_dropped + other.chunks_dropped,
        segments_waiting: other.segments_waiting,
        unreadable: one.unreadable + other.unreadable,
        checkpoints: one.checkpoints + other.checkpoints,
    }
}

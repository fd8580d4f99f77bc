//! How much of each segment is still referenced: one pass over the cells of all chunks.

use std::collections::BTreeMap;

use strata_engine::{Place, TABLE_CHUNK, split_cell};
use strata_seam::{ChunkId, SegmentId};

use super::state::{Choice, Host, MoverReport, Phase};
use crate::error::Result;
use crate::store::Store;

/// Cells read per step.
const STEP: usize = 4096;
/// Bytes a cell counts for the pace.
const CELL_BYTES: u64 = 100;

/// How much of one complete segment is still referenced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentUse {
    /// Which.
    pub segment: SegmentId,
    /// Number of the set it lies on.
    pub set: u16,
    /// Bytes that it takes on the disks that hold data.
    pub capacity: u64,
    /// Stored bytes of chunks that are counted, and of the checkpoint.
    pub live: u64,
    /// Bytes of chunks alone: those that are moved.
    pub content: u64,
}

/// How much of every complete segment is still referenced.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// In order of number. The segment being written and later ones are not among them.
    pub segments: Vec<SegmentUse>,
    /// Bytes that one of them takes on the disks that hold data, at most.
    pub capacity: u64,
    /// The segment being written, with what of it is written by now.
    pub writing: Option<SegmentUse>,
}

impl Census {
    /// Bytes of all of them.
    #[must_use]
    pub fn occupied(&self) -> u64 {
        self.segments.iter().map(|segment| segment.capacity).sum()
    }

    /// Bytes that are still referenced.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.segments.iter().map(|segment| segment.live).sum()
    }

    /// The segments of a choice, those with the fewest bytes to move first, the oldest first among equals.
    #[must_use]
    pub fn chosen(&self, choice: Choice<'_>) -> Vec<SegmentUse> {
        let mut chosen: Vec<_> = self
            .segments
            .iter()
            .filter(|segment| match choice {
                Choice::Below(percent) => {
                    segment.live.saturating_mul(100) <= segment.capacity.saturating_mul(percent.into())
                }
                Choice::All => true,
                Choice::These(these) => these.contains(&segment.segment),
                Choice::OnSet { set, .. } => segment.set == set,
            })
            .copied()
            .collect();
        chosen.sort_by_key(|segment| (segment.content, segment.segment));
        chosen
    }

    /// Bytes that a reclaim of this choice would free.
    #[must_use]
    pub fn garbage(&self, choice: Choice<'_>) -> u64 {
        self.chosen(choice).iter().map(|segment| segment.capacity.saturating_sub(segment.live)).sum()
    }
}

impl Store {
    /// Counts the referenced bytes of every complete segment; `None` if the host cancelled it. Reads every cell: about a second per
    /// million.
    ///
    /// # Errors
    /// Reading the index.
    pub fn census(&self, host: &mut dyn Host, report: &MoverReport) -> Result<Option<Census>> {
        let was_idle = {
            let mut status = self.mover.status.lock();
            let was_idle = status.phase == Phase::Idle;
            if was_idle {
                status.phase = Phase::Counting;
            }
            was_idle
        };
        let round = self.mover.looks.begin(None);
        let counted = self.count(host, report);
        drop(round);
        let mut status = self.mover.status.lock();
        // A reclaim that has begun meanwhile sets its own phase.
        if was_idle && status.phase == Phase::Counting {
            status.phase = Phase::Idle;
        }
        drop(status);
        counted
    }

    fn count(&self, host: &mut dyn Host, report: &MoverReport) -> Result<Option<Census>> {
        let writing = self.ledger().writing();
        let mut content: BTreeMap<SegmentId, u64> = self
            .ledger()
            .segments()
            .into_iter()
            .filter(|segment| *segment < writing)
            .map(|segment| (segment, 0))
            .collect();
        let (mut in_writing, mut from) = (0, vec![TABLE_CHUNK]);
        loop {
            let found = self.range(&from, &[TABLE_CHUNK + 1], STEP)?;
            let Some((last, _)) = found.last() else { break };
            from.clone_from(last);
            from.push(0);
            for (_, entry) in &found {
                let Some((count, tail)) = split_cell(&entry.value) else { continue };
                let Some(place) = Place::decode(tail).filter(|_| count > 0) else { continue };
                if place.location.segment == writing {
                    in_writing += place.stored_share();
                } else if let Some(bytes) = content.get_mut(&place.location.segment) {
                    *bytes += place.stored_share();
                }
            }
            let looked_at = found.len() as u64 * CELL_BYTES;
            self.mover.looks.advance(looked_at);
            if !host.pace(looked_at, report) {
                return Ok(None);
            }
        }
        let of_checkpoint = self.checkpoint().map(|checkpoint| checkpoint.bytes_by_segment()).unwrap_or_default();
        let used = |(segment, content)| {
            let set = self.ledger().set_of(segment)?;
            let live = content + of_checkpoint.get(&segment).copied().unwrap_or(0);
            Some(SegmentUse { segment, set, capacity: self.ledger().capacity_of(segment), live, content })
        };
        // A segment that is on no set any more was freed meanwhile.
        let segments = content.into_iter().filter_map(used).collect();
        let (segment, written) = self.ledger().writing_to();
        let in_writing = self.ledger().set_of(segment).filter(|_| segment == writing).map(|set| {
            let live = in_writing + of_checkpoint.get(&segment).copied().unwrap_or(0);
            SegmentUse { segment, set, capacity: written, live, content: in_writing }
        });
        let census = Census { segments, capacity: self.ledger().segment_capacity(), writing: in_writing };
        let mut status = self.mover.status.lock();
        (status.occupied, status.live) = (census.occupied(), census.live());
        Ok(Some(census))
    }

    /// Whether a chunk is condemned: an ingest takes it for absent.
    pub(crate) fn is_condemned(&self, id: &ChunkId) -> bool {
        let condemned = self.condemned.read();
        !condemned.is_empty() && condemned.contains(id)
    }
}

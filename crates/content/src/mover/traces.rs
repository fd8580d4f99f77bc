//! Finding and overwriting old records that the log still has.
//!
//! When a record is replaced, the old one is gone from the index. It stays in the commits of the log, and in the checkpoints that were
//! taken before, until their segments are freed. After that it stays on the medium until something else is written there.

use std::collections::BTreeSet;
use std::sync::Arc;

use strata_engine::{Batch, Mutation, PlacedBlock};
use strata_index::decode_piece;
use strata_ledger::Replayed;
use strata_seam::SegmentId;

use super::state::{Choice, Host, MoverReport};
use crate::error::Result;
use crate::store::Store;

/// Whether a record, by its key and value, is one that is looked for.
type Sought<'a> = &'a dyn Fn(&[u8], &[u8]) -> bool;

/// Bytes that an append counts for the pace.
const APPEND_BYTES: u64 = 4096;
/// The mark of a plain value in a checkpoint (`docs/format/index.md`).
const PLAIN: u8 = 0;

impl Store {
    /// Overwrites whatever the log still has of records that are sought, in commits and in checkpoints before the newest.
    /// The segments concerned are emptied by the mover and their files overwritten before they are removed. The index itself
    /// must have none any more, and something must have been committed behind their segments. `true` once nothing is left;
    /// `false` if the host ended it, or segments stay for now.
    ///
    /// Reads the commits of the whole log and all checkpoints in it.
    ///
    /// # Errors
    /// Those of the ledger and the index; the next one goes on.
    pub fn erase(self: &Arc<Self>, sought: Sought<'_>, host: &mut dyn Host) -> Result<bool> {
        let Some(found) = self.segments_with(sought, host)? else { return Ok(false) };
        if found.is_empty() {
            return Ok(true);
        }
        self.ledger().erase_freed(true);
        let moved = self.reclaim(Choice::These(&found), host);
        self.ledger().erase_freed(false);
        moved?;
        Ok(self.ledger().segments().iter().all(|segment| !found.contains(segment)))
    }

    /// The complete segments that have one; `None` if the host called it off.
    fn segments_with(&self, sought: Sought<'_>, host: &mut dyn Host) -> Result<Option<BTreeSet<SegmentId>>> {
        let (mut found, writing) = (BTreeSet::new(), self.ledger().writing());
        for segment in self.ledger().segments().into_iter().filter(|segment| *segment < writing) {
            let (mut appends, mut has) = (0, false);
            let (_, unreadable) = self.ledger().walk_segment(segment, &mut |append| {
                appends += 1;
                has = has || self.has(&append, sought);
            });
            if unreadable > 0 {
                tracing::warn!(%segment, stripes = unreadable, "a segment cannot be read whole: what is to be erased may stay in it");
            }
            if has {
                found.insert(segment);
            }
            if !host.pace(appends * APPEND_BYTES, &MoverReport::default()) {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    fn has(&self, append: &Replayed, sought: Sought<'_>) -> bool {
        let in_commit = |commit: &[u8]| match Batch::decode(commit) {
            Ok(batch) => {
                batch.0.iter().any(|change| matches!(change, Mutation::Put { key, value } if sought(key, value)))
            }
            Err(_) => false,
        };
        append.commit.as_deref().is_some_and(in_commit)
            || append.blocks.iter().any(|block| self.piece_has(block, sought))
    }

    /// Whether a block is a piece of a checkpoint with such a record. One that cannot be read may be.
    fn piece_has(&self, block: &PlacedBlock, sought: Sought<'_>) -> bool {
        let Some(plain) = self.embedded.block_of_checkpoint(block) else { return false };
        let Ok(plain) = plain else { return true };
        // A list of pieces is no piece, and has no records.
        decode_piece(&plain).is_ok_and(|pairs| {
            pairs
                .iter()
                .any(|(key, value)| value.split_first().is_some_and(|(tag, value)| *tag == PLAIN && sought(key, value)))
        })
    }
}

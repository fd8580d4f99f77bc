//! The segments that the mover keeps for readers of events; see `feed.rs`.

use strata_seam::SegmentId;
use strata_seam::planted::{Bug, planted};

use crate::error::{ContentError, Result};
use crate::store::Store;

/// Room for data, in segments, below which nothing is held back for readers: writers go first (invariant ROOM).
const ROOM_SEGMENTS: u64 = 4;

impl Store {
    /// The segment from which on the mover leaves all alone for the sake of cursors; `None` where nothing is held back. It is the
    /// one that the slowest cursor goes on in, but of the log no more than the newest `events_kept` bytes, and nothing where
    /// little room is left.
    ///
    /// # Errors
    /// Reading the index.
    pub fn held_for_readers(&self) -> Result<Option<SegmentId>> {
        let cursors = match self.cursors() {
            // If the cursors cannot be read, no room is kept for them.
            Err(error @ ContentError::Record { .. }) => {
                tracing::error!(%error, "nothing is held back for readers of events");
                return Ok(None);
            }
            cursors => cursors?,
        };
        let Some(slowest) = cursors.into_iter().map(|cursor| cursor.after).min() else { return Ok(None) };
        let ledger = self.ledger();
        let capacity = ledger.segment_capacity().max(1);
        if planted(Bug::CursorNotHeld) || ledger.room().spare < ROOM_SEGMENTS * capacity {
            return Ok(None);
        }
        let whole = slowest.index == u32::MAX;
        let next = if whole { slowest.lsn.next() } else { slowest.lsn };
        let needed = ledger.holding(next).unwrap_or_default();
        let kept = u32::try_from(self.settings.events_kept / capacity).unwrap_or(u32::MAX);
        Ok(Some(needed.max(SegmentId(ledger.writing().0.saturating_sub(kept)))))
    }
}

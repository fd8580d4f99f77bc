//! A change as it is handed to an engine.
//!
//! Everything in it is ordered, so that the same change is the same bytes in every run.

use std::collections::BTreeMap;

use bytes::Bytes;
use strata_chunk::DedupDomain;
use strata_index::{BATCH_EVENTS_MAX, Batch, EVENT_LEN_MAX, Mutation};
use strata_ledger::{BlockRecord, Purpose};
use strata_seam::ChunkId;

use crate::cell::chunk_key;
use crate::error::{EngineError, Result};
use crate::premises::Premises;

/// Largest encoded commit; what is larger has to be split into several by the caller.
pub const COMMIT_BYTES_MAX: usize = 512 << 10;

/// A compressed block that is ready to be appended, with the plain bytes of its chunks.
#[derive(Clone, Debug)]
pub struct PreparedBlock {
    /// Its stored bytes, and the directory that describes them.
    pub record: BlockRecord,
    /// The dedup domain that its chunks are named in.
    pub domain: DedupDomain,
    /// The chunks by name: readable from here until the block has a place.
    pub chunks: Vec<(ChunkId, Bytes)>,
}

/// One change: rows, references to chunks, blocks and events that become visible and durable together.
#[derive(Debug)]
pub struct Change {
    /// Rows to be put, or removed where there is no value.
    pub rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// References to chunks: how many owners more or less each has. They are added without reading what is there.
    pub refs: BTreeMap<ChunkId, i64>,
    /// Counters of cells to be added to, without reading them.
    pub tallies: BTreeMap<Vec<u8>, i64>,
    /// Tails of cells to be replaced, without reading them.
    pub tails: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Blocks that travel with it: they are stored if it is.
    pub blocks: Vec<PreparedBlock>,
    /// Events for readers of the log. A change that changes nothing has none.
    pub events: Vec<Vec<u8>>,
    /// The rows that it was computed from, where that is to be looked at again.
    pub premises: Option<Premises>,
    /// Whether nobody will be promised its durability.
    pub relaxed: bool,
    /// The purpose, which decides whether the change may use the last room.
    pub purpose: Purpose,
}

impl Change {
    /// A change without content. `relaxed`: nobody will wait until it is durable.
    #[must_use]
    pub fn new(relaxed: bool) -> Self {
        Self {
            rows: BTreeMap::new(),
            refs: BTreeMap::new(),
            tallies: BTreeMap::new(),
            tails: BTreeMap::new(),
            blocks: Vec::new(),
            events: Vec::new(),
            premises: None,
            relaxed,
            purpose: Purpose::Removal,
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
            && self.rows.is_empty()
            && self.tallies.is_empty()
            && self.tails.is_empty()
            && self.counted().next().is_none()
    }

    /// The references that are not as many as before.
    fn counted(&self) -> impl Iterator<Item = (&ChunkId, &i64)> {
        self.refs.iter().filter(|(_, delta)| **delta != 0)
    }

    /// Whether it writes any row or counter, even if only to the value it had.
    #[must_use]
    pub fn has_written(&self) -> bool {
        !self.rows.is_empty() || !self.refs.is_empty() || !self.tallies.is_empty() || !self.tails.is_empty()
    }

    /// Whether it writes exactly the same rows and references as `other`. Blocks and events are not compared. For tests that compute a
    /// change twice.
    #[must_use]
    pub fn writes_like(&self, other: &Self) -> bool {
        self.rows == other.rows
            && self.tallies == other.tallies
            && self.tails == other.tails
            && self.counted().eq(other.counted())
    }

    /// The rows and references that it writes, as text for a failed test.
    #[must_use]
    pub fn written(&self) -> String {
        let writes = self.rows.iter().map(|(key, value)| {
            let what = if value.is_some() { "put" } else { "delete" };
            format!("{what} {}", key.escape_ascii())
        });
        writes.collect::<Vec<_>>().join(", ")
    }

    /// The mutations of an index that it comes to, in the order in which a commit has them, and its blocks.
    pub(crate) fn into_mutations(self) -> (Vec<Mutation>, Vec<PreparedBlock>) {
        let Self { rows, refs, tallies, tails, blocks, .. } = self;
        let mut mutations: Vec<Mutation> = rows
            .into_iter()
            .map(|(key, value)| match value {
                Some(value) => Mutation::Put { key, value },
                None => Mutation::Delete { key },
            })
            .collect();
        mutations.extend(
            refs.into_iter()
                .filter(|(_, delta)| *delta != 0)
                .map(|(id, delta)| Mutation::Count { key: chunk_key(&id).to_vec(), delta }),
        );
        mutations.extend(tallies.into_iter().map(|(key, delta)| Mutation::Count { key, delta }));
        mutations.extend(tails.into_iter().map(|(key, tail)| Mutation::SetTail { key, tail }));
        (mutations, blocks)
    }
}

/// The bytes of a commit.
///
/// # Errors
/// [`EngineError::TooLarge`].
pub(crate) fn encode(batch: &Batch, events: &[Vec<u8>]) -> Result<Bytes> {
    if events.len() > BATCH_EVENTS_MAX || events.iter().any(|event| event.len() > EVENT_LEN_MAX) {
        return Err(EngineError::TooLarge(
            "a change tells more of itself than one commit can hold; nothing was changed".to_owned(),
        ));
    }
    let encoded = Bytes::from(batch.encode_with(events));
    if encoded.len() > COMMIT_BYTES_MAX {
        return Err(EngineError::TooLarge(format!(
            "a change of {} bytes is above the limit of {COMMIT_BYTES_MAX} for one commit; nothing was changed",
            encoded.len()
        )));
    }
    Ok(encoded)
}

/// Bytes that these changes add to the index, about.
pub(crate) fn added(mutations: &[Mutation]) -> usize {
    let added = mutations.iter().map(|mutation| match mutation {
        Mutation::Put { key, value } => key.len() + value.len(),
        Mutation::Count { key, delta } if *delta > 0 => key.len(),
        _ => 0,
    });
    added.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_has_rows_then_references_then_counters_then_tails_each_in_order_of_keys() {
        let mut change = Change::new(false);
        change.tails.insert(b"t".to_vec(), b"tail".to_vec());
        change.tallies.insert(b"n".to_vec(), 0);
        change.refs.extend([(ChunkId([2; 32]), -1), (ChunkId([1; 32]), 1), (ChunkId([3; 32]), 0)]);
        change.rows.extend([(b"b".to_vec(), None), (b"a".to_vec(), Some(b"v".to_vec()))]);
        let (mutations, _) = change.into_mutations();
        let mut expected = Batch::new();
        expected.put(*b"a", *b"v");
        expected.delete(*b"b");
        expected.count(chunk_key(&ChunkId([1; 32])), 1);
        expected.count(chunk_key(&ChunkId([2; 32])), -1);
        expected.count(*b"n", 0);
        expected.set_tail(*b"t", *b"tail");
        assert_eq!(mutations, expected.0);
        // The row and the added reference, and nothing for what is removed.
        assert_eq!(added(&mutations), 2 + 33);
    }

    #[test]
    fn references_that_cancel_out_are_no_change_and_are_compared_as_none() {
        let (mut change, none) = (Change::new(false), Change::new(true));
        change.refs.insert(ChunkId([1; 32]), 0);
        change.events.push(b"told".to_vec());
        assert!(change.is_empty() && change.has_written() && change.writes_like(&none));
        change.refs.insert(ChunkId([1; 32]), 1);
        assert!(!change.is_empty() && !change.writes_like(&none));
    }

    #[test]
    fn what_is_beyond_the_limits_of_a_commit_is_refused() {
        let of = |len: usize| {
            let mut batch = Batch::new();
            batch.put(*b"key", vec![0; len]);
            batch
        };
        assert!(encode(&of(COMMIT_BYTES_MAX - 100), &[]).is_ok());
        assert!(matches!(encode(&of(COMMIT_BYTES_MAX), &[]), Err(EngineError::TooLarge(_))));
        assert!(encode(&of(1), &[vec![0; EVENT_LEN_MAX]]).is_ok());
        assert!(matches!(encode(&of(1), &[vec![0; EVENT_LEN_MAX + 1]]), Err(EngineError::TooLarge(_))));
        assert!(matches!(encode(&of(1), &vec![Vec::new(); BATCH_EVENTS_MAX + 1]), Err(EngineError::TooLarge(_))));
    }
}

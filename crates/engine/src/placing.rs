//! Blocks on their way into the ledger: they are read from memory until the ledger has written them and the index knows their place.
//!
//! **Invariant REF**: a chunk is pending only once the ledger took it. If the ledger refused it (a full disk), it must not count as
//! stored: the next content with the same bytes would refer to nothing. It stops being pending only when its place is in the index.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLockWriteGuard};
use strata_chunk::{BlockDirectory, DedupDomain};
use strata_index::{Batch, Index, Mutation};
use strata_ledger::{Append, PlacedBlock, Purpose, Sink};
use strata_seam::planted::{Bug, planted};
use strata_seam::{ChunkId, Lsn, Position};

use crate::cell::chunk_key;
use crate::change::PreparedBlock;
use crate::checkpoint::known::{CheckpointPlaces, is_directory_of_checkpoint, note_places};
use crate::embedded::Embedded;
use crate::error::{EngineError, Result};
use crate::place::Place;

/// Chunks that the ledger took and has not placed.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) chunks: HashMap<ChunkId, (DedupDomain, Bytes)>,
    /// The last append whose blocks the index has; the ledger tells in the order of appends.
    placed: Lsn,
}

/// Told by the ledger where blocks went; moves that into the index.
pub(crate) struct Placement {
    pub(crate) index: Arc<Index>,
    pub(crate) pending: Arc<Mutex<Pending>>,
    pub(crate) checkpoint_places: Arc<CheckpointPlaces>,
}

/// While this guard lives, [`Engine::append`](crate::Engine::append) waits; see [`Embedded::hold_appends`].
pub struct AppendsHeld<'a>(#[allow(dead_code, reason = "held")] RwLockWriteGuard<'a, ()>);

/// The index mutations that record where the chunks of an append's blocks lie.
///
/// # Errors
/// [`EngineError::Record`] for a directory that does not decode.
pub fn place_blocks(blocks: &[PlacedBlock]) -> Result<Batch> {
    let mut mutations = Vec::new();
    for block in blocks {
        if is_directory_of_checkpoint(&block.directory) {
            // The block has no chunks, and nothing that a replay has to know.
            continue;
        }
        let directory = BlockDirectory::decode(&block.directory)
            .map_err(|_| EngineError::Record { what: format!("the directory of a block at {:?}", block.location) })?;
        for (offset, entry) in directory.placed() {
            let place = Place {
                location: block.location,
                domain: directory.domain(),
                key: directory.key(),
                codec: directory.codec().as_u8(),
                raw_len: directory.raw_len(),
                offset: if planted(Bug::ChunkOffsetLost) { 0 } else { offset },
                len: entry.len,
            };
            mutations.push(Mutation::SetTail { key: chunk_key(&entry.id).to_vec(), tail: place.encode() });
        }
    }
    Ok(Batch(mutations))
}

impl Sink for Placement {
    fn written(&self, blocks: &[PlacedBlock], after: Position) {
        note_places(&self.checkpoint_places, blocks);
        for of_append in blocks.chunk_by(|a, b| a.lsn == b.lsn) {
            match place_blocks(of_append) {
                Ok(batch) => {
                    self.index.apply(of_append[0].lsn, &batch);
                    let mut pending = self.pending.lock();
                    pending.placed = pending.placed.max(of_append[0].lsn);
                    for mutation in &batch.0 {
                        if let Some(id) = mutation.key().get(1..33).and_then(|id| <[u8; 32]>::try_from(id).ok()) {
                            pending.chunks.remove(&ChunkId(id));
                        }
                    }
                }
                // This process encoded the directory moments ago: it decodes, or memory is broken.
                Err(error) => tracing::error!(%error, "a block that was just written has no readable directory"),
            }
        }
        self.index.note_written(after);
    }
}

impl Embedded {
    /// Hands blocks and a commit to the ledger. Once it has taken them, and not before, the chunks are readable from
    /// memory until the ledger has placed them: nobody leaves content out for the sake of chunks that never reach a
    /// disk. `added` is what the commit adds to the index.
    pub(crate) fn hand_over(
        &self,
        blocks: Vec<PreparedBlock>,
        commit: Option<Bytes>,
        relaxed: bool,
        purpose: Purpose,
        added: usize,
    ) -> Result<Lsn> {
        let (records, chunks): (Vec<_>, Vec<_>) =
            blocks.into_iter().map(|block| (block.record, (block.domain, block.chunks))).unzip();
        let pending = |(domain, chunks): (DedupDomain, Vec<(ChunkId, Bytes)>)| {
            chunks.into_iter().map(move |(id, bytes)| (id, (domain, bytes)))
        };
        if planted(Bug::ChunkKnownTooEarly) {
            self.pending.lock().chunks.extend(chunks.iter().cloned().flat_map(pending));
        }
        let append = Append { blocks: records, commit, relaxed };
        // Each chunk has a cell, which takes about twice what its entry in the directory does.
        let placed = 2 * append.blocks.iter().map(|block| block.directory.len()).sum::<usize>();
        let lsn = self.ledger.append_for(append, purpose)?;
        self.note_changed((placed + added) as u64);
        if !chunks.is_empty() {
            let mut known = self.pending.lock();
            // The writer may have been quicker: then the chunks are in the index already.
            if known.placed < lsn {
                known.chunks.extend(chunks.into_iter().flat_map(pending));
            }
        }
        Ok(lsn)
    }

    /// Makes [`Engine::append`](crate::Engine::append) wait until the guard is dropped. When this returns, all earlier appends are noted
    /// as on their way. Needed to remove cells of chunks: the place of a chunk that is appended afterwards then has a higher number than
    /// the removal, and so is not lost to it.
    #[must_use]
    pub fn hold_appends(&self) -> AppendsHeld<'_> {
        AppendsHeld(self.appending.write())
    }
}

//! What an engine knows of checkpoints: the newest one, what they cost, and where their blocks lie.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use bytes::Bytes;
use parking_lot::Mutex;
use strata_chunk::{Codec, decompress};
use strata_ledger::{LedgerError, Location, PlacedBlock};
use strata_seam::{Position, SegmentId};

use super::facts::Facts;
use super::format::{BlockRef, Hash, Root, parse_directory};
use crate::error::EngineError;

/// The newest checkpoint as a running store knows it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub(super) root: Root,
    /// Pieces of the index, in order.
    pub(super) pieces: Vec<BlockRef>,
    /// The nodes, the top one included.
    pub(super) nodes: Vec<BlockRef>,
    pub(super) kept: BTreeSet<SegmentId>,
    /// What is known of the pieces, if this process took it.
    pub(super) facts: Option<Arc<Facts>>,
}

impl Checkpoint {
    /// The place in the log from which a replay continues after the checkpoint.
    #[must_use]
    pub fn position(&self) -> Position {
        self.root.stamp.position
    }

    /// The last sequence number in it.
    #[must_use]
    pub fn applied(&self) -> strata_seam::Lsn {
        self.root.stamp.applied
    }

    /// Records of the index in it.
    #[must_use]
    pub fn pairs(&self) -> u64 {
        self.root.pairs
    }

    /// The segments before its position that hold something still referenced. All others before it may be freed.
    #[must_use]
    pub fn kept(&self) -> &BTreeSet<SegmentId> {
        &self.kept
    }

    /// Where its pieces lie, in order of their keys.
    pub fn pieces(&self) -> impl Iterator<Item = Location> + '_ {
        self.pieces.iter().map(|piece| piece.location)
    }

    /// How many stored bytes of the checkpoint lie in each segment.
    #[must_use]
    pub fn bytes_by_segment(&self) -> BTreeMap<SegmentId, u64> {
        let mut bytes = BTreeMap::new();
        for block in self.pieces.iter().chain(&self.nodes) {
            *bytes.entry(block.location.segment).or_default() += u64::from(block.location.len);
        }
        bytes
    }
}

/// What an engine knows about checkpoints.
#[derive(Default)]
pub(crate) struct Checkpoints {
    pub(crate) newest: Mutex<Option<Checkpoint>>,
    /// Held while one is taken.
    pub(super) taking: Mutex<()>,
    /// Stored bytes of the newest, those of them that were written for it (all, if an earlier process took it) ...
    pub(super) bytes: AtomicU64,
    pub(super) cost: AtomicU64,
    /// ... and about so many of changes that are not in it.
    pub(super) changed: AtomicU64,
    /// Whether a part of these is a guess.
    pub(super) guessed: AtomicBool,
    /// What checkpoints cost since the store was opened.
    pub(super) taken: AtomicU64,
    pub(super) written: AtomicU64,
}

/// What checkpoints cost since the store was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckpointCounts {
    /// Checkpoints that were stored.
    pub taken: u64,
    /// Stored bytes appended for them, also for those that were called off; parity and headers are not counted.
    pub written: u64,
}

/// Where blocks of a checkpoint being taken went, by hash: told by the ledger's writer and by a replay, emptied when it is
/// done. What one left that was cut off is found here by the next one, so that a full store, in which room is kept for two,
/// may be cut off any number of times.
pub(crate) type CheckpointPlaces = Mutex<HashMap<Hash, BlockRef>>;

/// Whether a block is one of a checkpoint.
#[must_use]
pub fn is_of_checkpoint(block: &PlacedBlock) -> bool {
    matches!(parse_directory(&block.directory), Some(Ok(_)))
}

/// Whether this directory is of a block of a checkpoint. Looks only at its first byte, so it works for damaged directories too.
#[must_use]
pub fn is_directory_of_checkpoint(directory: &[u8]) -> bool {
    parse_directory(directory).is_some()
}

/// Notes those of `blocks` that belong to a checkpoint.
pub(crate) fn note_places(places: &CheckpointPlaces, blocks: &[PlacedBlock]) {
    for block in blocks {
        if let Some(Ok((hash, codec, raw_len))) = parse_directory(&block.directory) {
            places.lock().insert(hash, BlockRef { hash, location: block.location, codec, raw_len });
        }
    }
}

/// The plain bytes of a checkpoint's block, proved by its hash.
pub(super) fn read_block(
    read: &dyn Fn(&Location) -> Result<Bytes, LedgerError>,
    block: &BlockRef,
) -> Result<Vec<u8>, EngineError> {
    let damaged = || EngineError::Record { what: format!("a block of the checkpoint at {:?}", block.location) };
    let stored = read(&block.location)?;
    let codec = Codec::from_u8(block.codec).ok_or_else(damaged)?;
    let mut raw = Vec::new();
    decompress(codec, &stored, block.raw_len as usize, &mut raw).map_err(|_| damaged())?;
    if *blake3::hash(&raw).as_bytes() == block.hash { Ok(raw) } else { Err(damaged()) }
}

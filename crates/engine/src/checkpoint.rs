//! Checkpoints: the index as a deduplicated dump in the ledger, so that a lost index is filled from it and the log's
//! start can be freed.
//!
//! **Invariant TRUTH**: a checkpoint is the state at one sequence number, proved by the hash of each piece and the
//! fingerprint of all. With the log from its position on, it is the whole truth. Its root is stored only after everything
//! it refers to is durable, so a crash at any moment leaves the old checkpoint or the new one, each complete.
//!
//! Pieces are cut where keys say so (`strata_index::PieceCutter`) and named by their hash. A piece that the previous checkpoint
//! had too keeps its place, and a piece in whose keys nothing changed since is not even read. `format.rs` has the bytes,
//! `take.rs` makes a checkpoint, `facts.rs` is what is known of the previous one, `restore.rs` fills an index from one. Format:
//! `docs/format/checkpoint.md`.

mod facts;
mod format;
pub(crate) mod known;
mod restore;
mod take;

use strata_ledger::PlacedBlock;

use crate::embedded::Embedded;
use crate::error::{EngineError, Result};
use format::{BlockRef, parse_directory};
use known::read_block;

pub use known::{Checkpoint, CheckpointCounts, is_directory_of_checkpoint, is_of_checkpoint};
pub use restore::{RestoreError, Restored};
pub use take::{CheckpointReport, Taken};

impl Embedded {
    /// The plain bytes of a block of some checkpoint, proved by the hash in its directory; `None` for a block of chunks. A piece of the
    /// index is read by [`strata_index::decode_piece`], which refuses a list of pieces.
    ///
    /// # Errors
    /// A directory or a block that does not decode, and those of the ledger.
    pub fn block_of_checkpoint(&self, block: &PlacedBlock) -> Option<Result<Vec<u8>>> {
        let directory = parse_directory(&block.directory)?;
        let damaged = |_| EngineError::Record { what: "the directory of a checkpoint's block".to_owned() };
        Some(directory.map_err(damaged).and_then(|(hash, codec, raw_len)| {
            let block = BlockRef { hash, location: block.location, codec, raw_len };
            read_block(&|at| self.ledger.read(at), &block)
        }))
    }
}

//! Filling an index from the newest checkpoint, before the log is opened.

use strata_index::{FillError, Index, decode_piece};
use strata_ledger::Peek;

use super::format::{Node, Root};
use super::known::{Checkpoint, read_block};
use crate::error::{EngineError, Result};

/// Why an index could not be filled from the checkpoint. The caller then tries the whole log.
#[derive(Debug, thiserror::Error)]
#[error("the checkpoint cannot be used: {0}")]
pub struct RestoreError(String, #[source] Option<EngineError>);

/// The newest checkpoint of a set that is not open yet.
pub struct Restored<'a> {
    peek: &'a Peek,
    checkpoint: Checkpoint,
}

impl<'a> Restored<'a> {
    /// Reads the root and the lists; `None` where there never was a checkpoint.
    ///
    /// # Errors
    /// [`RestoreError`] where one of them cannot be read or is not what its hash says.
    pub fn find(peek: &'a Peek) -> Result<Option<Self>, RestoreError> {
        let Some(root) = peek.checkpoint_root() else { return Ok(None) };
        let wire = |what: &str, error: strata_chunk::wire::WireError| RestoreError(format!("{what}: {error}"), None);
        let list = |error| RestoreError("a list of its pieces cannot be read".to_owned(), Some(error));
        let root = Root::decode(&root).map_err(|error| wire("its root", error))?;
        let read = |block| read_block(&|at| peek.read(at), block);
        let top = Node::decode(&read(&root.top).map_err(list)?).map_err(|error| wire("its list", error))?;
        let mut nodes = Vec::new();
        let pieces = if top.level == 0 {
            top.refs
        } else {
            let mut pieces = Vec::new();
            for block in &top.refs {
                let node = Node::decode(&read(block).map_err(list)?).map_err(|error| wire("its list", error))?;
                if node.level != 0 {
                    return Err(RestoreError("its lists are nested deeper than any we write".to_owned(), None));
                }
                pieces.extend(node.refs);
            }
            nodes = top.refs;
            pieces
        };
        nodes.push(root.top);
        Ok(Some(Self { peek, checkpoint: Checkpoint { root, pieces, nodes, kept: top.kept, facts: None } }))
    }

    /// The checkpoint that was found.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Fills an empty index with the checkpoint. Each piece is verified by its hash, all together by the fingerprint. Returns the number
    /// of records.
    ///
    /// # Errors
    /// [`RestoreError`]; the index is then of no use.
    pub fn fill(&self, index: &Index) -> Result<u64, RestoreError> {
        let mut pieces = self.checkpoint.pieces.iter();
        let mut next = || -> Result<_, EngineError> {
            let Some(piece) = pieces.next() else { return Ok(Vec::new()) };
            let raw = read_block(&|at| self.peek.read(at), piece)?;
            decode_piece(&raw).map_err(|_| EngineError::Record { what: "a piece of the checkpoint".to_owned() })
        };
        index.fill(&self.checkpoint.root.stamp, &mut next).map_err(|error| match error {
            FillError::Source(source) => RestoreError("a piece of it cannot be read".to_owned(), Some(source)),
            other => RestoreError(other.to_string(), None),
        })
    }
}

//! What can go wrong with the index. Nothing here loses data: the ledger has it all.

use std::path::PathBuf;

use crate::engine::EngineError;

/// An error of the index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The engine failed while it was in use. What is durable is safe in the ledger; the index must be rebuilt from it.
    #[error("the index cannot be read; the ledger has all of it: rebuild the index by a replay into a fresh one")]
    Engine(#[source] EngineError),
    /// Not even a fresh engine could be opened.
    #[error(
        "no index can be opened at {path:?}; the ledger is untouched: make the folder writable and free some space, then retry"
    )]
    Open {
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: EngineError,
    },
}

//! What can go wrong in an engine.

use strata_index::IndexError;
use strata_ledger::LedgerError;

/// An error of an engine. Whatever was asked for did not happen.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The ledger refused or failed.
    #[error("the ledger did not do it")]
    Ledger(#[source] LedgerError),
    /// The index could not be read; the ledger is intact and the next start rebuilds the index from it.
    #[error("the index could not be read; the data is intact, restart the server to rebuild the index")]
    Index(#[source] IndexError),
    /// A record does not decode.
    #[error("{what} does not decode; run strata fsck")]
    Record {
        /// Which one.
        what: String,
    },
    /// A commit or a checkpoint beyond a limit.
    #[error("{0}")]
    TooLarge(String),
}

impl From<LedgerError> for EngineError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<IndexError> for EngineError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

/// Shorthand for results of an engine.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

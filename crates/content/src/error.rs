//! What can go wrong below the name space, by what the caller does next.

use strata_chunk::DecompressError;
use strata_engine::{EngineError, OutOfReach};
use strata_index::IndexError;
use strata_ledger::LedgerError;
use strata_seam::{ChunkId, DiskErrorKind};

/// Kinds of failure of the content layer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ContentErrorKind {
    /// No room on the disks.
    NoSpace,
    /// The set takes no writes.
    ReadOnly,
    /// Stored bytes fail their check and cannot be rebuilt.
    Corrupt,
    /// Larger than a limit allows.
    TooLarge,
    /// The source of a copy was deleted meanwhile; a retry shows what is there now.
    Gone,
    /// Nothing is wrong with it, and this version cannot do it.
    NotSupported,
    /// The server is out of descriptors or memory; trying again may help.
    Busy,
    /// The machinery below failed in another way.
    Io,
}

/// An error of the content layer.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The ledger refused or failed.
    #[error("the ledger did not do it")]
    Ledger(#[source] LedgerError),
    /// The index could not be read; the ledger is intact and the next start rebuilds the index from it.
    #[error("the index could not be read; the data is intact, restart the server to rebuild the index")]
    Index(#[source] IndexError),
    /// A chunk that something refers to is not in the index.
    #[error("chunk {0} is referred to but unknown to the index; run strata fsck")]
    MissingChunk(ChunkId),
    /// A chunk that content was made of by reference was given up meanwhile: its last owner was deleted.
    #[error("chunk {0} was deleted while it was being copied; nothing was changed, try again")]
    Gone(ChunkId),
    /// A chunk is kept where, or sealed as, this version cannot read it.
    #[error("chunk {chunk} {why}; its bytes are kept, and nothing was changed; use the version that put it there")]
    OutOfReach {
        /// The chunk wanted.
        chunk: ChunkId,
        /// Why it cannot be read.
        why: OutOfReach,
    },
    /// Content was to refer to a chunk that may not be shared with it.
    #[error(
        "chunk {0} is of another storage class or encryption domain than the content that was to refer to it; nothing was changed; \
         copy the bytes instead"
    )]
    OtherDomain(ChunkId),
    /// A block's bytes passed the ledger's check but do not decode.
    #[error("the block of chunk {chunk} does not decode; run strata fsck")]
    Block {
        /// The chunk wanted.
        chunk: ChunkId,
        /// What is wrong with it.
        #[source]
        source: DecompressError,
    },
    /// A record or page does not decode.
    #[error("{what} does not decode; run strata fsck")]
    Record {
        /// Which one.
        what: String,
    },
    /// A stream lost the thread that took it in, or ended without its last piece.
    #[error("the stream was given up before its end; nothing of it was stored; send it again")]
    Abandoned,
    /// Content or a commit beyond a limit.
    #[error("{0}")]
    TooLarge(String),
}

impl ContentError {
    /// The error for a store that has no room left.
    #[must_use]
    pub fn full() -> Self {
        Self::Ledger(LedgerError::Full)
    }

    /// The kind of the error, which says what a caller can do next.
    #[must_use]
    pub fn kind(&self) -> ContentErrorKind {
        match self {
            Self::Ledger(error) => match error {
                LedgerError::Full => ContentErrorKind::NoSpace,
                LedgerError::QuorumLost { .. } => ContentErrorKind::ReadOnly,
                LedgerError::Corrupt { .. } => ContentErrorKind::Corrupt,
                LedgerError::Exhausted { .. } => ContentErrorKind::Busy,
                LedgerError::Disk(error) if error.kind == DiskErrorKind::Exhausted => ContentErrorKind::Busy,
                LedgerError::TooLarge { .. } => ContentErrorKind::TooLarge,
                _ => ContentErrorKind::Io,
            },
            Self::Index(_) | Self::Abandoned => ContentErrorKind::Io,
            Self::MissingChunk(_) | Self::Block { .. } | Self::Record { .. } => ContentErrorKind::Corrupt,
            Self::TooLarge(_) => ContentErrorKind::TooLarge,
            Self::Gone(_) => ContentErrorKind::Gone,
            Self::OutOfReach { .. } | Self::OtherDomain(_) => ContentErrorKind::NotSupported,
        }
    }
}

impl From<EngineError> for ContentError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Ledger(error) => Self::Ledger(error),
            EngineError::Index(error) => Self::Index(error),
            EngineError::Record { what } => Self::Record { what },
            EngineError::TooLarge(why) => Self::TooLarge(why),
        }
    }
}

impl From<LedgerError> for ContentError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<IndexError> for ContentError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Shorthand for results of the content layer.
pub type Result<T, E = ContentError> = std::result::Result<T, E>;

//! What can go wrong with a ledger, by what the caller does next.

use strata_seam::{DiskError, Lsn, SegmentId};

/// Result of a ledger operation.
pub type Result<T, E = LedgerError> = std::result::Result<T, E>;

/// An error of the ledger. No variant ever stands for wrong bytes: what fails its check is rebuilt or refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Bytes that were once acknowledged cannot be read or rebuilt.
    #[error(
        "the ledger is damaged at segment {segment}, byte {offset} (sequence number {lsn}): {what}; nothing was changed; \
         return a missing disk or restore from a copy"
    )]
    Corrupt {
        /// Segment file, the same name on every disk.
        segment: SegmentId,
        /// Byte offset of the stripe's frames within it.
        offset: u64,
        /// First sequence number expected there; 0 where it is not known.
        lsn: Lsn,
        /// What was found.
        what: String,
    },
    /// A superblock or position that contradicts the others.
    #[error("{what}; nothing was changed")]
    Inconsistent {
        /// What contradicts what, and what to do.
        what: String,
    },
    /// Fewer disks than the write quorum took the last write; the set is read-only until enough of them are back.
    #[error(
        "write quorum lost: {answered} of the {needed} disks needed took the write; what was acknowledged before is intact and \
         readable, and writing goes on by itself when disks are returned or replaced"
    )]
    QuorumLost {
        /// Disks that took the write.
        answered: usize,
        /// Disks that must.
        needed: usize,
    },
    /// Too few disks of the set are present to read it.
    #[error(
        "{present} disks of the set are usable, {needed} are needed to read it: {what}; nothing was changed; return the missing disks"
    )]
    TooFewDisks {
        /// Disks that are present and up to date.
        present: usize,
        /// Disks that are needed.
        needed: usize,
        /// Which are missing or out of date.
        what: String,
    },
    /// A disk that belongs to another set, or is given twice.
    #[error("disk {disk}: {what}; nothing was changed; give another disk, or correct the list of disks")]
    ForeignDisk {
        /// Its label.
        disk: String,
        /// Why it does not belong here.
        what: String,
    },
    /// Written by a newer version that uses features this one does not know.
    #[error(
        "disk {disk}: written by a newer version (unknown feature bits {flags:#x}); nothing was changed; use that version"
    )]
    NewerFormat {
        /// Its label.
        disk: String,
        /// The feature bits this version does not know.
        flags: u32,
    },
    /// A disk refused.
    #[error("a disk refused")]
    Disk(#[from] DiskError),
    /// No room for another segment.
    #[error("the set is full: no room for another segment; nothing was lost; delete data or add room, then retry")]
    Full,
    /// The server is out of something it needs to reach the disks; it goes on by itself as soon as there is some.
    #[error(
        "the server is out of descriptors or memory ({what}); what was acknowledged is safe; try again, or raise its limits \
         (LimitNOFILE, ulimit -n)"
    )]
    Exhausted {
        /// What it was needed for.
        what: String,
    },
    /// The ledger was stopped.
    #[error("the ledger is closed; what was acknowledged is safe; open it again")]
    Closed,
    /// The append does not fit into one stripe.
    #[error("an append of {len} bytes does not fit into a stripe of {limit}; nothing was written; split it")]
    TooLarge {
        /// Bytes the append would take.
        len: u64,
        /// Bytes it may take.
        limit: u64,
    },
    /// A setting is outside its limits.
    #[error("{name}: {what}")]
    Setting {
        /// Which.
        name: &'static str,
        /// Its limits.
        what: String,
    },
    /// A thread of the ledger could not be started.
    #[error("a thread of the ledger could not be started; what was acknowledged is safe")]
    Thread(#[source] std::io::Error),
}

impl LedgerError {
    pub(crate) fn corrupt(segment: SegmentId, sector: u32, lsn: Lsn, what: impl Into<String>) -> Self {
        let offset = u64::from(sector) * strata_seam::SECTOR_LEN as u64;
        Self::Corrupt { segment, offset, lsn, what: what.into() }
    }
}

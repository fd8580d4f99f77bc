//! The fault catalogue for single I/Os: what may go wrong with one call, where, and when.
//!
//! Faults of a whole disk (vanished, read-only, full, swapped, rotten) and of the whole world (crash) are methods of
//! [`SimWorld`](super::SimWorld).

use crate::DiskErrorKind;

/// A call to a disk; each one counts as one I/O.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoOp {
    /// [`Disk::list`](crate::Disk::list).
    List,
    /// [`Disk::open`](crate::Disk::open).
    Open,
    /// [`Disk::space`](crate::Disk::space).
    Space,
    /// [`DiskFile::read_at`](crate::DiskFile::read_at).
    Read,
    /// [`DiskFile::write_at`](crate::DiskFile::write_at), in either mode.
    Write,
    /// [`DiskFile::sync`](crate::DiskFile::sync).
    Sync,
    /// [`Disk::create`](crate::Disk::create).
    Create,
    /// [`Disk::replace`](crate::Disk::replace).
    Replace,
    /// [`Disk::remove`](crate::Disk::remove).
    Remove,
}

impl IoOp {
    /// Whether the call may change what a crash leaves behind. A crash at any other call leaves the same states as a
    /// crash at the next changing one, so a sweep may skip it.
    #[must_use]
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Write | Self::Sync | Self::Create | Self::Replace | Self::Remove)
    }
}

/// One I/O as it reached a disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IoRecord {
    /// Its number in the whole world, from 1.
    pub number: u64,
    /// The disk.
    pub disk: String,
    /// The call.
    pub op: IoOp,
    /// The file; empty for [`IoOp::List`] and [`IoOp::Space`].
    pub file: String,
    /// First byte of a read or write, else 0.
    pub offset: u64,
    /// Bytes read, written, created or replaced.
    pub len: u64,
}

/// What goes wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The call fails with this kind. A failed write changes nothing. A failed create leaves the old file, none or a
    /// shorter one. A failed sync loses the file's unsynced data: reads show it until the power goes, and later syncs
    /// succeed without it (ext4 and XFS do this: A. Rebello et al., "Can Applications Recover from fsync Failures?",
    /// ATC 2020). Applies to every call.
    Fail(DiskErrorKind),
    /// A sync fails, and reads show the old data from then on (as Btrfs does). Applies to [`IoOp::Sync`].
    FailedSyncReverts,
    /// A part of the data arrives, cut at a multiple of 512 bytes, then the write fails with
    /// [`DiskErrorKind::Medium`]. Applies to [`IoOp::Write`].
    ShortWrite,
    /// The write reports success and changes nothing. Applies to [`IoOp::Write`].
    LostWrite,
    /// The write reports success and lands elsewhere; past the end of the file it changes nothing. Applies to
    /// [`IoOp::Write`].
    Misdirected {
        /// The file hit; `None` for the same one.
        file: Option<String>,
        /// Where in it.
        offset: u64,
    },
    /// A durable write or a sync reports success without having reached the medium: a crash may take the data back.
    /// Applies to [`IoOp::Write`] and [`IoOp::Sync`].
    Lie,
    /// Each page of 4 KiB reads as it was before its last write. Applies to [`IoOp::Read`].
    StaleRead,
    /// One bit of what is read is flipped on the way, at a place drawn from the world's seed. Applies to
    /// [`IoOp::Read`].
    DamagedRead,
    /// The call takes this many nanoseconds of the world's clock, and then does what it should. Applies to every call;
    /// adds up with other faults.
    Slow(u64),
}

impl FaultKind {
    fn applies_to(&self, op: IoOp) -> bool {
        match self {
            // A failed sync may have lost something, whatever it says.
            Self::Fail(DiskErrorKind::Exhausted) => op != IoOp::Sync,
            Self::Fail(_) | Self::Slow(_) => true,
            Self::FailedSyncReverts => op == IoOp::Sync,
            Self::ShortWrite | Self::LostWrite | Self::Misdirected { .. } => op == IoOp::Write,
            Self::Lie => matches!(op, IoOp::Write | IoOp::Sync),
            Self::StaleRead | Self::DamagedRead => op == IoOp::Read,
        }
    }
}

/// When a fault strikes, among the I/Os it applies to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Each time.
    Always,
    /// The next so many times.
    Next(u64),
    /// At the I/O of this number.
    At(u64),
    /// From the I/O of this number on.
    From(u64),
}

/// One fault of the plan: what, where and when. Without narrowing it strikes every I/O it applies to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    kind: FaultKind,
    disk: Option<String>,
    op: Option<IoOp>,
    file: Option<String>,
    when: When,
}

impl Fault {
    /// A fault that always strikes, on every disk.
    #[must_use]
    pub const fn new(kind: FaultKind) -> Self {
        Self { kind, disk: None, op: None, file: None, when: When::Always }
    }

    /// The call fails with [`DiskErrorKind::Medium`], as for EIO.
    #[must_use]
    pub const fn medium() -> Self {
        Self::new(FaultKind::Fail(DiskErrorKind::Medium))
    }

    /// The call fails with [`DiskErrorKind::Full`], as for ENOSPC.
    #[must_use]
    pub const fn full() -> Self {
        Self::new(FaultKind::Fail(DiskErrorKind::Full))
    }

    /// The call fails with [`DiskErrorKind::Exhausted`], as for EMFILE. Strikes no sync.
    #[must_use]
    pub const fn exhausted() -> Self {
        Self::new(FaultKind::Fail(DiskErrorKind::Exhausted))
    }

    /// Strikes this disk alone.
    #[must_use]
    pub fn on(mut self, disk: &str) -> Self {
        self.disk = Some(disk.to_owned());
        self
    }

    /// Strikes calls of this kind alone.
    #[must_use]
    pub const fn of(mut self, op: IoOp) -> Self {
        self.op = Some(op);
        self
    }

    /// Strikes this file alone.
    #[must_use]
    pub fn file(mut self, name: &str) -> Self {
        self.file = Some(name.to_owned());
        self
    }

    /// Strikes then alone.
    #[must_use]
    pub const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// The kind, if this fault strikes the I/O; counts [`When::Next`] down.
    pub(super) fn strikes(&mut self, io: &IoRecord) -> Option<FaultKind> {
        let meant = self.kind.applies_to(io.op)
            && self.op.is_none_or(|op| op == io.op)
            && self.disk.as_ref().is_none_or(|disk| *disk == io.disk)
            && self.file.as_ref().is_none_or(|file| *file == io.file);
        let now = meant
            && match &mut self.when {
                When::Always => true,
                When::At(number) => *number == io.number,
                When::From(number) => *number <= io.number,
                When::Next(0) => false,
                When::Next(left) => {
                    *left -= 1;
                    true
                }
            };
        now.then(|| self.kind.clone())
    }

    /// Whether it stands for a lack of descriptors or memory.
    pub(super) fn is_exhaustion(&self) -> bool {
        self.kind == FaultKind::Fail(DiskErrorKind::Exhausted)
    }

    /// Whether it can never strike again.
    pub(super) fn is_spent(&self, io_count: u64) -> bool {
        match self.when {
            When::Next(0) => true,
            When::At(number) => number <= io_count,
            _ => false,
        }
    }
}

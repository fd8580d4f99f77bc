//! Counters of the mount: atomics without locks, read by whoever exports them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strata_namespace::Operation;
use strata_seam::{Latencies, LatencyCounts};

use crate::operations::DOOR;

macro_rules! op_kinds {
    ($($(#[$doc:meta])* $kind:ident => $label:literal,)*) => {
        /// Kinds of request, as counted and as labels of a metric.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(usize)]
        pub enum OpKind { $($(#[$doc])* $kind,)* }

        impl OpKind {
            /// Every kind, in the order of the counters.
            pub const ALL: &'static [OpKind] = &[$(OpKind::$kind,)*];
            /// The label of the kind in metrics and logs.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(OpKind::$kind => $label,)* }
            }
        }
    };
}

op_kinds! {
    /// Name to inode.
    Lookup => "lookup",
    /// Attributes.
    Getattr => "getattr",
    /// Change of attributes.
    Setattr => "setattr",
    /// Target of a symbolic link.
    Readlink => "readlink",
    /// Creation of a node without opening it.
    Mknod => "mknod",
    /// New directory or bucket.
    Mkdir => "mkdir",
    /// Removal of a name.
    Unlink => "unlink",
    /// Removal of a directory.
    Rmdir => "rmdir",
    /// New symbolic link.
    Symlink => "symlink",
    /// Rename.
    Rename => "rename",
    /// New hard link.
    Link => "link",
    /// Opening a file.
    Open => "open",
    /// Creating and opening a file.
    Create => "create",
    /// Reading.
    Read => "read",
    /// Writing.
    Write => "write",
    /// Last close of a handle.
    Release => "release",
    /// Making a file or directory durable.
    Fsync => "fsync",
    /// Opening a directory.
    Opendir => "opendir",
    /// Listing names.
    Readdir => "readdir",
    /// Listing names with attributes.
    Readdirplus => "readdirplus",
    /// Totals.
    Statfs => "statfs",
    /// Extended attributes, all calls.
    Xattr => "xattr",
    /// Permission check.
    Access => "access",
    /// Reserving space and making holes.
    Fallocate => "fallocate",
    /// Finding data and holes.
    Lseek => "lseek",
    /// Copying by reference.
    CopyRange => "copy_file_range",
}

static ROWS: LazyLock<Vec<&'static Operation>> =
    LazyLock::new(|| DOOR.operations_of(OpKind::ALL.iter().map(|kind| kind.label())));

impl OpKind {
    /// Its row in the table of operations.
    #[must_use]
    pub fn row(self) -> &'static Operation {
        ROWS[self as usize]
    }
}

const KINDS: usize = OpKind::ALL.len();

/// Counters since the mount was made. All monotonic.
#[derive(Debug)]
pub struct MountMetrics {
    ops: [AtomicU64; KINDS],
    errors: [AtomicU64; KINDS],
    latencies: [Latencies; KINDS],
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    invalidations: AtomicU64,
    overflows: AtomicU64,
}

impl Default for MountMetrics {
    fn default() -> Self {
        Self {
            ops: std::array::from_fn(|_| AtomicU64::new(0)),
            errors: std::array::from_fn(|_| AtomicU64::new(0)),
            latencies: std::array::from_fn(|_| Latencies::default()),
            read_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            invalidations: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
        }
    }
}

impl MountMetrics {
    /// Requests of this kind, failed ones included.
    #[must_use]
    pub fn ops(&self, kind: OpKind) -> u64 {
        self.ops[kind as usize].load(Ordering::Relaxed)
    }
    /// Requests of this kind that were answered with an errno. ENOENT of a lookup counts as an answer, not an error.
    #[must_use]
    pub fn errors(&self, kind: OpKind) -> u64 {
        self.errors[kind as usize].load(Ordering::Relaxed)
    }
    /// Times that requests of this kind were worked on.
    #[must_use]
    pub fn latencies(&self, kind: OpKind) -> LatencyCounts {
        self.latencies[kind as usize].counts()
    }
    /// Bytes sent to the kernel by reads.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }
    /// Bytes taken from the kernel by writes.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }
    /// Invalidations sent to the kernel.
    #[must_use]
    pub fn invalidations(&self) -> u64 {
        self.invalidations.load(Ordering::Relaxed)
    }
    /// Times the feed of foreign changes overflowed and everything cached was dropped.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    pub(crate) fn op(&self, kind: OpKind) {
        self.ops[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn took(&self, kind: OpKind, took: Duration) {
        self.latencies[kind as usize].note(took);
    }
    pub(crate) fn error(&self, kind: OpKind) {
        self.errors[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn read(&self, bytes: usize) {
        self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    pub(crate) fn written(&self, bytes: usize) {
        self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    pub(crate) fn invalidated(&self, count: u64) {
        self.invalidations.fetch_add(count, Ordering::Relaxed);
    }
    pub(crate) fn overflowed(&self) {
        self.overflows.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_label_and_counter() {
        let metrics = MountMetrics::default();
        for (index, &kind) in OpKind::ALL.iter().enumerate() {
            assert_eq!(kind as usize, index);
            (0..=index).for_each(|_| metrics.op(kind));
        }
        for (index, &kind) in OpKind::ALL.iter().enumerate() {
            assert_eq!(metrics.ops(kind), index as u64 + 1, "{}", kind.label());
        }
        let labels: std::collections::HashSet<_> = OpKind::ALL.iter().map(|k| k.label()).collect();
        assert_eq!(labels.len(), OpKind::ALL.len());
    }
}

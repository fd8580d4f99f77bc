//! Counters of the door. All grow from zero at start; only `connections` goes down too.

use std::sync::atomic::{AtomicU64, Ordering};

use strata_seam::Latencies;

/// The procedures of NFS version 3, by number.
pub const PROCEDURES: [&str; 22] = [
    "null",
    "getattr",
    "setattr",
    "lookup",
    "access",
    "readlink",
    "read",
    "write",
    "create",
    "mkdir",
    "symlink",
    "mknod",
    "remove",
    "rmdir",
    "rename",
    "link",
    "readdir",
    "readdirplus",
    "fsstat",
    "fsinfo",
    "pathconf",
    "commit",
];

/// Counters, read by whoever exports metrics.
#[derive(Debug, Default)]
pub struct NfsMetrics {
    /// Calls by procedure, in the order of [`PROCEDURES`].
    pub calls: [AtomicU64; 22],
    /// Calls answered with a status other than NFS3_OK, by procedure.
    pub errors: [AtomicU64; 22],
    /// Times from a call's arrival to its reply, by procedure.
    pub latencies: [Latencies; 22],
    /// Calls of MOUNT.
    pub mount_calls: AtomicU64,
    /// Calls of NLM.
    pub lock_calls: AtomicU64,
    /// Calls to clients: of granted locks, of answers, of a restart.
    pub lock_callbacks: AtomicU64,
    /// Callbacks that failed.
    pub lock_callbacks_failed: AtomicU64,
    /// Restarts that clients reported.
    pub restart_notices: AtomicU64,
    /// Calls of portmap.
    pub portmap_calls: AtomicU64,
    /// Bytes of file content sent by READ.
    pub read_bytes: AtomicU64,
    /// Bytes of file content taken by WRITE.
    pub written_bytes: AtomicU64,
    /// Open connections.
    pub connections: AtomicU64,
    /// Connections accepted.
    pub connections_accepted: AtomicU64,
    /// Connections closed at once because of a limit.
    pub connections_refused: AtomicU64,
    /// Connections closed because of what the client sent or failed to read.
    pub connections_aborted: AtomicU64,
    /// Calls denied for their RPC version or credentials.
    pub calls_denied: AtomicU64,
    /// Calls of programs, versions or procedures that are not offered.
    pub calls_unavailable: AtomicU64,
    /// Calls whose arguments could not be decoded.
    pub calls_garbage: AtomicU64,
    /// Calls refused by the export rules.
    pub export_refusals: AtomicU64,
    /// Retransmitted calls answered from the reply cache.
    pub replies_repeated: AtomicU64,
    /// Retransmitted calls that waited for the execution under way.
    pub calls_joined: AtomicU64,
    /// Listings continued from a cookie that was not kept any more.
    pub cookie_scans: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Adds `amount`.
pub(crate) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(u64::try_from(amount).unwrap_or(u64::MAX), Ordering::Relaxed);
}

//! What the door counts. Plain atomics: whoever publishes them reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use strata_seam::Latencies;

/// Names of the methods counted one by one; all others are counted as the last.
pub const METHODS: [&str; 14] = [
    "GET",
    "HEAD",
    "PUT",
    "PATCH",
    "DELETE",
    "MKCOL",
    "COPY",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "OPTIONS",
    "other",
];

/// The place of a method in [`METHODS`].
pub(crate) fn number_of(method: &Method) -> usize {
    METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1)
}

/// Counters and gauges of a WebDAV door since it was made.
#[derive(Debug, Default)]
pub struct DavMetrics {
    /// Requests answered, in the order of [`METHODS`].
    pub requests: [AtomicU64; METHODS.len()],
    /// Times from a request's head to the head of its answer, in the order of [`METHODS`].
    pub latencies: [Latencies; METHODS.len()],
    /// Answers by the first digit of their status: 1xx to 5xx.
    pub statuses: [AtomicU64; 5],
    /// Bytes of request bodies taken in.
    pub bytes_in: AtomicU64,
    /// Bytes of reply bodies handed to connections.
    pub bytes_out: AtomicU64,
    /// Requests whose credentials were wrong (missing ones are not counted: clients probe without).
    pub auth_failures: AtomicU64,
    /// Requests refused because too many were in progress.
    pub refused_busy: AtomicU64,
    /// Uploads that ended before they were whole and changed nothing.
    pub aborted_uploads: AtomicU64,
    /// Downloads broken off because stored content could not be read.
    pub broken_downloads: AtomicU64,
    /// Open connections.
    pub connections: AtomicU64,
    /// Requests in progress, their reply bodies included.
    pub in_flight: AtomicU64,
    /// Locks held.
    pub locks: AtomicU64,
}

impl DavMetrics {
    pub(crate) fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        let at = number_of(method);
        self.requests[at].fetch_add(1, Ordering::Relaxed);
        self.latencies[at].note(took);
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.statuses[class].fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// One gauge of the metrics, raised while this lives.
pub(crate) struct Raised {
    metrics: Arc<DavMetrics>,
    gauge: fn(&DavMetrics) -> &AtomicU64,
}

impl Raised {
    pub(crate) fn new(metrics: &Arc<DavMetrics>, gauge: fn(&DavMetrics) -> &AtomicU64) -> Self {
        gauge(metrics).fetch_add(1, Ordering::Relaxed);
        Self { metrics: metrics.clone(), gauge }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        (self.gauge)(&self.metrics).fetch_sub(1, Ordering::Relaxed);
    }
}

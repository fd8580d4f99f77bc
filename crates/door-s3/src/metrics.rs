//! Counters of the door: plain atomics, read by whoever exports them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strata_seam::{Latencies, LatencyCounts};

use crate::operations::DOOR;

macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// What a request asked for.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Operation {
            $(#[doc = concat!("`", stringify!($name), "`")] $name,)*
        }
        /// Every operation, in the order of its number.
        pub const OPERATIONS: &[Operation] = &[$(Operation::$name,)*];
        impl Operation {
            /// Its name as in the S3 API; `Other` for requests that did not get as far as an operation.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

operations!(
    Other,
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CopyObject,
    CreateBucket,
    CreateMultipartUpload,
    DeleteBucket,
    DeleteObject,
    DeleteObjects,
    GetBucketAccelerateConfiguration,
    GetBucketAcl,
    GetBucketAnalyticsConfiguration,
    GetBucketCors,
    GetBucketEncryption,
    GetBucketIntelligentTieringConfiguration,
    GetBucketInventoryConfiguration,
    GetBucketLifecycleConfiguration,
    GetBucketLocation,
    GetBucketLogging,
    GetBucketMetadataTableConfiguration,
    GetBucketMetricsConfiguration,
    GetBucketNotificationConfiguration,
    GetBucketOwnershipControls,
    GetBucketPolicy,
    GetBucketPolicyStatus,
    GetBucketReplication,
    GetBucketRequestPayment,
    GetBucketTagging,
    GetBucketVersioning,
    GetBucketWebsite,
    GetObject,
    GetObjectAcl,
    GetObjectAttributes,
    GetObjectLegalHold,
    GetObjectLockConfiguration,
    GetObjectRetention,
    GetObjectTagging,
    GetPublicAccessBlock,
    HeadBucket,
    HeadObject,
    ListBucketAnalyticsConfigurations,
    ListBucketIntelligentTieringConfigurations,
    ListBucketInventoryConfigurations,
    ListBucketMetricsConfigurations,
    ListBuckets,
    ListMultipartUploads,
    ListObjectVersions,
    ListObjects,
    ListObjectsV2,
    ListParts,
    PostObject,
    PutObject,
    UploadPart,
    UploadPartCopy,
);

static ROWS: LazyLock<Vec<&'static strata_namespace::Operation>> =
    LazyLock::new(|| DOOR.operations_of(OPERATIONS.iter().map(|operation| operation.name())));

impl Operation {
    /// Its row in the table of operations.
    #[must_use]
    pub fn row(self) -> &'static strata_namespace::Operation {
        ROWS[self as usize]
    }
}

/// Classes of HTTP status, by their first digit from 1 to 5.
const STATUS_CLASSES: usize = 5;

/// What the door has done since it started.
#[derive(Debug)]
pub struct S3Metrics {
    requests: Vec<[AtomicU64; STATUS_CLASSES]>,
    latencies: Vec<Latencies>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    connections: AtomicU64,
    in_flight: AtomicU64,
    shed: AtomicU64,
}

impl Default for S3Metrics {
    fn default() -> Self {
        Self {
            requests: OPERATIONS.iter().map(|_| Default::default()).collect(),
            latencies: OPERATIONS.iter().map(|_| Latencies::default()).collect(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            shed: AtomicU64::new(0),
        }
    }
}

impl S3Metrics {
    /// Requests answered, by operation and class of status (2 for 2xx), without those that are zero.
    pub fn requests(&self) -> impl Iterator<Item = (Operation, usize, u64)> + '_ {
        OPERATIONS.iter().zip(&self.requests).flat_map(|(operation, classes)| {
            let counted =
                classes.iter().enumerate().map(|(i, count)| (*operation, i + 1, count.load(Ordering::Relaxed)));
            counted.filter(|(_, _, count)| *count > 0)
        })
    }
    /// Times from a request's head to the head of its answer, by operation, without operations never asked for.
    pub fn latencies(&self) -> impl Iterator<Item = (Operation, LatencyCounts)> + '_ {
        let counts = OPERATIONS.iter().zip(&self.latencies).map(|(operation, took)| (*operation, took.counts()));
        counts.filter(|(_, counts)| counts.count() > 0)
    }
    /// Bytes of request bodies received, as sent (with their chunked encoding).
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }
    /// Bytes of answers' bodies handed to the connection.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }
    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
    /// Requests being worked on now, until the last byte of their answers.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
    /// Requests answered with `SlowDown` because too many were in flight.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self, operation: Operation, status: u16, took: Duration) {
        if let Some(latencies) = self.latencies.get(operation as usize) {
            latencies.note(took);
        }
        let class = usize::from(status / 100).clamp(1, STATUS_CLASSES) - 1;
        if let Some(classes) = self.requests.get(operation as usize) {
            classes[class].fetch_add(1, Ordering::Relaxed);
        }
    }
    pub(crate) fn received(&self, len: usize) {
        self.bytes_in.fetch_add(len as u64, Ordering::Relaxed);
    }
    pub(crate) fn sent(&self, len: usize) {
        self.bytes_out.fetch_add(len as u64, Ordering::Relaxed);
    }
    pub(crate) fn refused_for_load(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn connection(self: &std::sync::Arc<Self>) -> Gauge {
        Gauge::up(self, |metrics| &metrics.connections)
    }
    pub(crate) fn request(self: &std::sync::Arc<Self>) -> Gauge {
        Gauge::up(self, |metrics| &metrics.in_flight)
    }
}

/// Counts something as present for as long as it lives.
pub(crate) struct Gauge(std::sync::Arc<S3Metrics>, fn(&S3Metrics) -> &AtomicU64);

impl Gauge {
    fn up(metrics: &std::sync::Arc<S3Metrics>, of: fn(&S3Metrics) -> &AtomicU64) -> Self {
        of(metrics).fetch_add(1, Ordering::Relaxed);
        Self(std::sync::Arc::clone(metrics), of)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_operation_and_status_class() {
        let metrics = S3Metrics::default();
        for status in [200, 206, 404] {
            metrics.answered(Operation::GetObject, status, Duration::from_millis(3));
        }
        let took: Vec<_> = metrics.latencies().map(|(operation, took)| (operation.name(), took.count())).collect();
        assert_eq!(took, [("GetObject", 3)]);
        let counted: Vec<_> =
            metrics.requests().map(|(operation, class, count)| (operation.name(), class, count)).collect();
        assert_eq!(counted, [("GetObject", 2, 2), ("GetObject", 4, 1)]);
    }
}

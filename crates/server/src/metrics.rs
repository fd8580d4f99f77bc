//! What the doors count, under the names that the admin door publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strata_door_admin::metrics::{
    DOOR_ABORTED_UPLOADS, DOOR_ANSWERS, DOOR_AUTH_FAILURES, DOOR_BROKEN_DOWNLOADS, DOOR_CONNECTIONS, DOOR_IN_FLIGHT,
    DOOR_LOCKS, DOOR_RECEIVED_BYTES, DOOR_REFUSED_BUSY, DOOR_REQUESTS, DOOR_SENT_BYTES, Samples, Source,
};
use strata_door_nfs::NfsDoor;
use strata_door_s3::{S3Door, S3Metrics};
use strata_door_webdav::WebDavDoor;
use strata_mount::{MountMetrics, OpKind};

/// Classes of HTTP status by their first digit.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Numbers of the S3 door.
pub(crate) struct S3Source(Arc<S3Metrics>);

impl S3Source {
    /// Reads the counters of `door`.
    pub(crate) fn of(door: &S3Door) -> Arc<Self> {
        Arc::new(Self(door.metrics()))
    }
}

impl Source for S3Source {
    fn collect(&self, out: &mut Samples) {
        let metrics = &self.0;
        let mut answers = [0; CLASSES.len()];
        let mut requests: Vec<(&str, u64)> = Vec::new();
        for (operation, class, count) in metrics.requests() {
            answers[class - 1] += count;
            match requests.last_mut() {
                Some((name, total)) if *name == operation.name() => *total += count,
                _ => requests.push((operation.name(), count)),
            }
        }
        requests.iter().for_each(|(name, count)| out.put(&DOOR_REQUESTS, &["s3", name], *count));
        CLASSES.iter().zip(answers).for_each(|(class, count)| out.put(&DOOR_ANSWERS, &["s3", class], count));
        out.put(&DOOR_RECEIVED_BYTES, &["s3"], metrics.bytes_in());
        out.put(&DOOR_SENT_BYTES, &["s3"], metrics.bytes_out());
        out.put(&DOOR_CONNECTIONS, &["s3"], metrics.connections());
        out.put(&DOOR_IN_FLIGHT, &["s3"], metrics.in_flight());
        out.put(&DOOR_REFUSED_BUSY, &["s3"], metrics.shed());
    }
}

/// Numbers of the WebDAV door.
pub(crate) struct WebDavSource(pub(crate) Arc<WebDavDoor>);

impl Source for WebDavSource {
    fn collect(&self, out: &mut Samples) {
        let metrics = self.0.metrics();
        for (method, count) in strata_door_webdav::METHODS.iter().zip(&metrics.requests) {
            out.put(&DOOR_REQUESTS, &["webdav", method], read(count));
        }
        for (class, count) in CLASSES.iter().zip(&metrics.statuses) {
            out.put(&DOOR_ANSWERS, &["webdav", class], read(count));
        }
        for (metric, counter) in [
            (&DOOR_RECEIVED_BYTES, &metrics.bytes_in),
            (&DOOR_SENT_BYTES, &metrics.bytes_out),
            (&DOOR_AUTH_FAILURES, &metrics.auth_failures),
            (&DOOR_REFUSED_BUSY, &metrics.refused_busy),
            (&DOOR_ABORTED_UPLOADS, &metrics.aborted_uploads),
            (&DOOR_BROKEN_DOWNLOADS, &metrics.broken_downloads),
            (&DOOR_CONNECTIONS, &metrics.connections),
            (&DOOR_IN_FLIGHT, &metrics.in_flight),
            (&DOOR_LOCKS, &metrics.locks),
        ] {
            out.put(metric, &["webdav"], read(counter));
        }
    }
}

/// Numbers of the NFS door.
pub(crate) struct NfsSource(pub(crate) Arc<NfsDoor>);

impl Source for NfsSource {
    fn collect(&self, out: &mut Samples) {
        let metrics = self.0.metrics();
        let (mut calls, mut errors) = (0, 0);
        for ((procedure, called), failed) in strata_door_nfs::PROCEDURES.iter().zip(&metrics.calls).zip(&metrics.errors)
        {
            out.put(&DOOR_REQUESTS, &["nfs", procedure], read(called));
            calls += read(called);
            errors += read(failed);
        }
        // The two are read one after the other, so that errors may be ahead for a moment.
        out.put(&DOOR_ANSWERS, &["nfs", "ok"], calls.saturating_sub(errors));
        out.put(&DOOR_ANSWERS, &["nfs", "error"], errors);
        out.put(&DOOR_RECEIVED_BYTES, &["nfs"], read(&metrics.written_bytes));
        out.put(&DOOR_SENT_BYTES, &["nfs"], read(&metrics.read_bytes));
        out.put(&DOOR_AUTH_FAILURES, &["nfs"], read(&metrics.calls_denied) + read(&metrics.export_refusals));
        out.put(&DOOR_REFUSED_BUSY, &["nfs"], read(&metrics.connections_refused));
        out.put(&DOOR_CONNECTIONS, &["nfs"], read(&metrics.connections));
    }
}

/// Numbers of the mount.
pub(crate) struct MountSource(pub(crate) Arc<MountMetrics>);

impl Source for MountSource {
    fn collect(&self, out: &mut Samples) {
        let (mut ops, mut errors) = (0, 0);
        for kind in OpKind::ALL {
            out.put(&DOOR_REQUESTS, &["mount", kind.label()], self.0.ops(*kind));
            ops += self.0.ops(*kind);
            errors += self.0.errors(*kind);
        }
        out.put(&DOOR_ANSWERS, &["mount", "ok"], ops.saturating_sub(errors));
        out.put(&DOOR_ANSWERS, &["mount", "error"], errors);
        out.put(&DOOR_RECEIVED_BYTES, &["mount"], self.0.written_bytes());
        out.put(&DOOR_SENT_BYTES, &["mount"], self.0.read_bytes());
    }
}

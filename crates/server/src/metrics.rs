//! The counters of the doors, under the names that the admin door publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strata_door_admin::metrics::{
    DISK_CHECKSUM_FAILURES, DISK_FREE_BYTES, DISK_READ_AROUND, DISK_READ_ERRORS, DISK_REBUILT_READS, DISK_TOTAL_BYTES,
    DISK_WRITE_ERRORS, DOOR_ABORTED_UPLOADS, DOOR_ANSWERS, DOOR_AUTH_FAILURES, DOOR_BROKEN_DOWNLOADS, DOOR_CONNECTIONS,
    DOOR_IN_FLIGHT, DOOR_LATENCY, DOOR_LOCKS, DOOR_RECEIVED_BYTES, DOOR_REFUSED_BUSY, DOOR_REQUESTS, DOOR_SENT_BYTES,
    EVENT_CURSOR_BEHIND, EVENT_CURSOR_MOVED, SCRUB_DAMAGED_FRAMES, SCRUB_ENDED_SECONDS, SCRUB_HEALED_FRAMES,
    SCRUB_PAUSED, SCRUB_UNREADABLE, SET_DISKS_BY_STATE, Samples, Source, WORKER_BOUND, WORKER_BUDGET_RATE,
    WORKER_CURSOR, WORKER_ERRORS, WORKER_FAILING_SINCE, WORKER_HANDLED, WORKER_ROUNDS, WORKER_STATE,
};
use strata_door_nfs::NfsDoor;
use strata_door_s3::{S3Door, S3Metrics};
use strata_door_webdav::WebDavDoor;
use strata_mount::{MountMetrics, OpKind};
use strata_namespace::Namespace;
use strata_runtime::Runtime;
use strata_seam::{Latencies, WorkerState};

use crate::keeper::Keeper;

/// Classes of HTTP status by their first digit.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The latencies of a door, without operations never asked for.
fn put_latencies<'a>(out: &mut Samples, door: &str, operations: impl Iterator<Item = (&'static str, &'a Latencies)>) {
    for (operation, took) in operations {
        let took = took.counts();
        if took.count() > 0 {
            out.put_latencies(&DOOR_LATENCY, &[door, operation], took);
        }
    }
}

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
        for (operation, took) in metrics.latencies() {
            out.put_latencies(&DOOR_LATENCY, &["s3", operation.name()], took);
        }
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
        put_latencies(out, "webdav", strata_door_webdav::METHODS.iter().copied().zip(&metrics.latencies));
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
        out.put(&DOOR_REQUESTS, &["nfs", "nlm"], read(&metrics.lock_calls));
        put_latencies(out, "nfs", strata_door_nfs::PROCEDURES.iter().copied().zip(&metrics.latencies));
        // The two are read one after the other, so that errors may be ahead for a moment.
        out.put(&DOOR_ANSWERS, &["nfs", "ok"], calls.saturating_sub(errors));
        out.put(&DOOR_ANSWERS, &["nfs", "error"], errors);
        out.put(&DOOR_RECEIVED_BYTES, &["nfs"], read(&metrics.written_bytes));
        out.put(&DOOR_SENT_BYTES, &["nfs"], read(&metrics.read_bytes));
        out.put(&DOOR_AUTH_FAILURES, &["nfs"], read(&metrics.calls_denied) + read(&metrics.export_refusals));
        out.put(&DOOR_REFUSED_BUSY, &["nfs"], read(&metrics.connections_refused));
        out.put(&DOOR_CONNECTIONS, &["nfs"], read(&metrics.connections));
        out.put(&DOOR_LOCKS, &["nfs"], self.0.locks_held());
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
            let took = self.0.latencies(*kind);
            if took.count() > 0 {
                out.put_latencies(&DOOR_LATENCY, &["mount", kind.label()], took);
            }
        }
        out.put(&DOOR_ANSWERS, &["mount", "ok"], ops.saturating_sub(errors));
        out.put(&DOOR_ANSWERS, &["mount", "error"], errors);
        out.put(&DOOR_RECEIVED_BYTES, &["mount"], self.0.written_bytes());
        out.put(&DOOR_SENT_BYTES, &["mount"], self.0.read_bytes());
    }
}

/// Numbers of the disks and of the scrub.
pub(crate) struct DiskSource {
    /// The store whose disks these are.
    pub(crate) runtime: Arc<Runtime>,
    /// The keeper that scrubs them.
    pub(crate) keeper: Arc<Keeper>,
}

impl Source for DiskSource {
    fn collect(&self, out: &mut Samples) {
        let status = self.runtime.sets().status();
        for (state, count) in crate::disks::count_by_state(&status) {
            out.put(&SET_DISKS_BY_STATE, &[state], count);
        }
        for (place, disk) in status.disks.iter().enumerate() {
            let place = place.to_string();
            for (metric, value) in [
                (&DISK_TOTAL_BYTES, disk.space.map_or(0, |space| space.total)),
                (&DISK_FREE_BYTES, disk.space.map_or(0, |space| space.free)),
                (&DISK_READ_ERRORS, disk.read_errors),
                (&DISK_WRITE_ERRORS, disk.counters.write_errors),
                (&DISK_CHECKSUM_FAILURES, disk.counters.checksum_failures),
                (&DISK_REBUILT_READS, disk.counters.rebuilt_reads),
                (&DISK_READ_AROUND, u64::from(disk.read_around)),
            ] {
                out.put(metric, &[&place], value);
            }
        }
        let scrub = self.keeper.status().scrub;
        out.put(&SCRUB_ENDED_SECONDS, &[], scrub.ended.unwrap_or(0));
        out.put(&SCRUB_DAMAGED_FRAMES, &[], scrub.damaged);
        out.put(&SCRUB_HEALED_FRAMES, &[], scrub.healed);
        out.put(&SCRUB_UNREADABLE, &[], scrub.unreadable);
        out.put(&SCRUB_PAUSED, &[], u64::from(scrub.paused));
    }
}

/// Numbers of the background workers, the same of every one.
pub(crate) struct CrewSource(pub(crate) Arc<Namespace>);

impl Source for CrewSource {
    fn collect(&self, out: &mut Samples) {
        for worker in self.0.crew().status() {
            let (name, unit) = (&*worker.name, &*worker.unit);
            for state in WorkerState::ALL {
                out.put(&WORKER_STATE, &[name, state.word()], u64::from(state == worker.state));
            }
            out.put(&WORKER_ROUNDS, &[name], worker.rounds);
            out.put(&WORKER_ERRORS, &[name], worker.errors);
            out.put(&WORKER_HANDLED, &[name, unit], worker.handled);
            out.put(&WORKER_CURSOR, &[name, unit], worker.cursor);
            out.put(&WORKER_BOUND, &[name, unit], worker.bound.unwrap_or(0));
            let budget = worker.budget;
            out.put(&WORKER_BUDGET_RATE, &[name], budget.and_then(|budget| budget.bytes_per_second).unwrap_or(0));
            out.put(&WORKER_FAILING_SINCE, &[name], worker.failure.map_or(0, |failure| failure.since));
        }
    }
}

/// Numbers of the readers of events that have a name.
pub(crate) struct CursorSource(pub(crate) Arc<Namespace>);

impl Source for CursorSource {
    fn collect(&self, out: &mut Samples) {
        // An index that cannot be read is reported elsewhere.
        for cursor in self.0.cursors().unwrap_or_default() {
            let behind = self.0.newest_commit().0.saturating_sub(cursor.after.lsn.0);
            out.put(&EVENT_CURSOR_BEHIND, &[&cursor.name], behind);
            out.put(&EVENT_CURSOR_MOVED, &[&cursor.name], u64::try_from(cursor.moved.secs()).unwrap_or(0));
        }
    }
}

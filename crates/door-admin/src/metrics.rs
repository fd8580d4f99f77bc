//! Every metric of the store: name, kind, unit, labels and meaning, in this one file. Dashboards are an interface too: a
//! name listed here stays, and what is not listed here cannot be published.
//!
//! Names are `strata_<area>_<what>_<unit>`; counters get `_total` when they are written. Bytes and seconds, never
//! multiples of them. Labels have few values: methods, doors, status classes, never users, buckets or paths.

use strata_seam::LatencyCounts;

/// How a metric behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in seconds, counted by ranges.
    Histogram,
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Without `_total`.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// For a person reading a dashboard.
    pub help: &'static str,
    /// Label names, in the order in which [`Samples::put`] takes their values.
    pub labels: &'static [&'static str],
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $id:ident = $kind:ident $name:literal [$($label:literal),*];)+) => {
        $($(#[doc = $help])+
        pub static $id: Metric = Metric { name: $name, kind: Kind::$kind, help: concat!($($help),+), labels: &[$($label),*] };)+
        /// All of them, in the order in which they are written.
        pub static ALL: &[&Metric] = &[$(&$id),+];
    };
}

metrics! {
    /// Requests answered, by door and method.
    DOOR_REQUESTS = Counter "strata_door_requests" ["door", "method"];
    /// Answers, by door and class of status (2xx, 4xx, ...; ok and error where a protocol has no classes).
    DOOR_ANSWERS = Counter "strata_door_answers" ["door", "class"];
    /// Seconds from a request to its answer (its head, where a body is streamed), by door and operation.
    DOOR_LATENCY = Histogram "strata_door_latency_seconds" ["door", "operation"];
    /// Seconds that what the network doors hand to the store waits for a thread: calls that wait, and work that keeps a core busy.
    BRIDGE_WAIT = Histogram "strata_bridge_wait_seconds" ["kind"];
    /// Requests answered per second, over the last seconds.
    DOOR_REQUEST_RATE = Gauge "strata_door_requests_per_second" ["door"];
    /// Bytes of request bodies taken in per second, over the last seconds.
    DOOR_RECEIVED_RATE = Gauge "strata_door_received_bytes_per_second" ["door"];
    /// Bytes of reply bodies sent per second, over the last seconds.
    DOOR_SENT_RATE = Gauge "strata_door_sent_bytes_per_second" ["door"];
    /// Bytes of content taken in by every door since the start.
    CONTENT_WRITTEN_BYTES = Counter "strata_content_written_bytes" [];
    /// Bytes of it that were not stored because the store had them already, or because they are zeros.
    CONTENT_DEDUPLICATED_BYTES = Counter "strata_content_deduplicated_bytes" [];
    /// Bytes of it that compression took off the rest.
    CONTENT_COMPRESSED_BYTES = Counter "strata_content_compressed_bytes" [];
    /// Bytes of it that were stored, parity not counted.
    CONTENT_STORED_BYTES = Counter "strata_content_stored_bytes" [];
    /// Checkpoints of the index that were stored.
    CHECKPOINTS = Counter "strata_checkpoints" [];
    /// Stored bytes appended for checkpoints, parity not counted.
    CHECKPOINT_BYTES = Counter "strata_checkpoint_bytes" [];
    /// Bytes of request bodies taken in.
    DOOR_RECEIVED_BYTES = Counter "strata_door_received_bytes" ["door"];
    /// Bytes of reply bodies sent.
    DOOR_SENT_BYTES = Counter "strata_door_sent_bytes" ["door"];
    /// Requests with wrong credentials.
    DOOR_AUTH_FAILURES = Counter "strata_door_auth_failures" ["door"];
    /// Requests refused because a limit on concurrent work was reached.
    DOOR_REFUSED_BUSY = Counter "strata_door_refused_busy" ["door"];
    /// Uploads that ended before they were whole and changed nothing.
    DOOR_ABORTED_UPLOADS = Counter "strata_door_aborted_uploads" ["door"];
    /// Downloads broken off because stored content could not be read.
    DOOR_BROKEN_DOWNLOADS = Counter "strata_door_broken_downloads" ["door"];
    /// Open connections.
    DOOR_CONNECTIONS = Gauge "strata_door_connections" ["door"];
    /// Requests in progress.
    DOOR_IN_FLIGHT = Gauge "strata_door_in_flight_requests" ["door"];
    /// Locks held by clients.
    DOOR_LOCKS = Gauge "strata_door_locks" ["door"];
    /// Bytes of content that the disks can hold, parity taken off.
    SPACE_TOTAL_BYTES = Gauge "strata_space_total_bytes" [];
    /// Bytes of content that still fit.
    SPACE_FREE_BYTES = Gauge "strata_space_free_bytes" [];
    /// Files, directories and other inodes.
    SPACE_INODES = Gauge "strata_space_inodes" [];
    /// Disks of the set that take part fully.
    SET_DISKS_ACTIVE = Gauge "strata_set_disks_active" [];
    /// Disks of the set.
    SET_DISKS = Gauge "strata_set_disks" [];
    /// Disks of the set by their state (active, stale, failed, gone, full, read-only, slow, missing).
    SET_DISKS_BY_STATE = Gauge "strata_set_disks_by_state" ["state"];
    /// Bytes of a disk's file system, by its place in the set.
    DISK_TOTAL_BYTES = Gauge "strata_disk_total_bytes" ["place"];
    /// Bytes of it that are free.
    DISK_FREE_BYTES = Gauge "strata_disk_free_bytes" ["place"];
    /// Reads of a disk that failed or did not pass their check, by its place in the set; answered from the others.
    DISK_READ_ERRORS = Counter "strata_disk_read_errors" ["place"];
    /// Writes and syncs of a disk that failed.
    DISK_WRITE_ERRORS = Counter "strata_disk_write_errors" ["place"];
    /// Reads of a disk whose bytes did not pass their check.
    DISK_CHECKSUM_FAILURES = Counter "strata_disk_checksum_failures" ["place"];
    /// Reads rebuilt from the other disks in place of this one.
    DISK_REBUILT_READS = Counter "strata_disk_rebuilt_reads" ["place"];
    /// 1 while a disk is so slow that reads are answered from the others, else 0.
    DISK_READ_AROUND = Gauge "strata_disk_read_around" ["place"];
    /// 1 for what a background worker is at (idle, working, waiting, paused, failed), else 0.
    WORKER_STATE = Gauge "strata_worker_state" ["worker", "state"];
    /// Rounds of a worker that have ended, in whatever way.
    WORKER_ROUNDS = Counter "strata_worker_rounds" ["worker"];
    /// Rounds and looks of it that failed.
    WORKER_ERRORS = Counter "strata_worker_errors" ["worker"];
    /// What it has done since the start, in its own unit.
    WORKER_HANDLED = Counter "strata_worker_handled" ["worker", "unit"];
    /// How far its round is, or how far the last one came, in its own unit.
    WORKER_CURSOR = Gauge "strata_worker_cursor" ["worker", "unit"];
    /// How much that round has to do; 0 where it is not known.
    WORKER_BOUND = Gauge "strata_worker_bound" ["worker", "unit"];
    /// Bytes per second that it may handle; 0 where they are not limited.
    WORKER_BUDGET_RATE = Gauge "strata_worker_budget_bytes_per_second" ["worker"];
    /// Since when it fails, in seconds since 1970; 0 if it does not.
    WORKER_FAILING_SINCE = Gauge "strata_worker_failing_since_timestamp_seconds" ["worker"];
    /// Commits behind what a named reader of events has confirmed.
    EVENT_CURSOR_BEHIND = Gauge "strata_event_cursor_behind_commits" ["cursor"];
    /// When it confirmed last, in seconds since 1970.
    EVENT_CURSOR_MOVED = Gauge "strata_event_cursor_moved_timestamp_seconds" ["cursor"];
    /// When the last scrub came to its end, in seconds since 1970; 0 if none ever did.
    SCRUB_ENDED_SECONDS = Gauge "strata_scrub_ended_timestamp_seconds" [];
    /// Damaged and missing frames that the scrub under way, or else the last one, found.
    SCRUB_DAMAGED_FRAMES = Gauge "strata_scrub_damaged_frames" [];
    /// Frames that it wrote anew.
    SCRUB_HEALED_FRAMES = Gauge "strata_scrub_healed_frames" [];
    /// Places that it could neither read nor rebuild.
    SCRUB_UNREADABLE = Gauge "strata_scrub_unreadable_places" [];
    /// 1 while the scrub is paused by the operator, else 0.
    SCRUB_PAUSED = Gauge "strata_scrub_paused" [];
    /// 1 while the set takes no changes because its write quorum is lost, else 0.
    SET_READ_ONLY = Gauge "strata_set_read_only" [];
    /// 1 while new data is refused for lack of room, else 0.
    SET_FULL = Gauge "strata_set_full" [];
    /// Highest sequence number handed to the operating system.
    LEDGER_WRITTEN = Gauge "strata_ledger_written_sequence" [];
    /// Highest sequence number that survives power loss.
    LEDGER_DURABLE = Gauge "strata_ledger_durable_sequence" [];
    /// Bytes of appends waiting to be written.
    LEDGER_QUEUED_BYTES = Gauge "strata_ledger_queued_bytes" [];
    /// Seconds that changes held the lock of the one writer; whoever writes waits for it.
    WRITER_LOCK = Histogram "strata_writer_lock_seconds" [];
    /// Microseconds of the longest such hold since the start.
    WRITER_LOCK_LONGEST = Gauge "strata_writer_lock_longest_microseconds" [];
    /// Bytes of index changes in memory, not yet in the engine.
    INDEX_OVERLAY_BYTES = Gauge "strata_index_overlay_bytes" [];
    /// Reads of single keys of the index engine that were answered from memory in front of it.
    INDEX_HOT_HITS = Counter "strata_index_hot_hits" [];
    /// Reads of single keys that the index engine itself was asked for.
    INDEX_HOT_MISSES = Counter "strata_index_hot_misses" [];
    /// Bytes of the index engine's pairs in memory in front of it.
    INDEX_HOT_BYTES = Gauge "strata_index_hot_bytes" [];
    /// 1 while the index engine has failed and a restart is needed to rebuild it, else 0.
    INDEX_BROKEN = Gauge "strata_index_broken" [];
    /// Bytes of decoded blocks in memory.
    CACHE_BYTES = Gauge "strata_cache_bytes" [];
    /// Bytes written to open files and not yet content.
    STAGED_BYTES = Gauge "strata_staged_bytes" [];
    /// When the process started, in seconds since 1970.
    PROCESS_STARTED_SECONDS = Gauge "strata_process_start_timestamp_seconds" [];
    /// Bytes of memory that the process has.
    PROCESS_RESIDENT_BYTES = Gauge "strata_process_resident_bytes" [];
    /// Descriptors that it has open.
    PROCESS_DESCRIPTORS = Gauge "strata_process_open_descriptors" [];
    /// Descriptors that it may have open.
    PROCESS_DESCRIPTORS_MAX = Gauge "strata_process_open_descriptors_limit" [];
    /// 1 while the store serves requests as promised, else 0.
    READY = Gauge "strata_ready" [];
}

/// A source of metrics. Called on every scrape, on a blocking thread; it reads counters and takes no long lock.
pub trait Source: Send + Sync {
    /// Adds what this source knows now.
    fn collect(&self, out: &mut Samples);
}

/// One number with the values of its metric's labels.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Sample {
    pub(crate) metric: &'static Metric,
    pub(crate) labels: Vec<String>,
    pub(crate) value: Value,
}

/// What a sample says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    /// The value of a counter or a gauge.
    Number(u64),
    /// The value of a histogram.
    Latencies(Box<LatencyCounts>),
}

/// The numbers of one scrape.
#[derive(Debug, Default)]
pub struct Samples {
    pub(crate) samples: Vec<Sample>,
}

impl Samples {
    /// The numbers of a metric with their labels' values. Of a histogram there are none.
    pub fn numbers(&self, metric: &'static Metric) -> impl Iterator<Item = (&[String], u64)> {
        let of_metric = self.samples.iter().filter(move |sample| sample.metric == metric);
        of_metric.filter_map(|sample| match sample.value {
            Value::Number(number) => Some((sample.labels.as_slice(), number)),
            Value::Latencies(_) => None,
        })
    }

    /// The sum of a metric's numbers whose first label has this value.
    #[must_use]
    pub fn total(&self, metric: &'static Metric, first: &str) -> u64 {
        self.numbers(metric)
            .filter(|(labels, _)| labels.first().is_some_and(|label| label == first))
            .map(|(_, n)| n)
            .sum()
    }

    /// Most numbers in one scrape; more are left out.
    pub const MAX: usize = 10_000;

    /// Adds a number. `labels` are the values for [`Metric::labels`], in order.
    ///
    /// # Panics
    /// In debug builds, if there are more or fewer values than labels.
    pub fn put(&mut self, metric: &'static Metric, labels: &[&str], value: u64) {
        self.add(metric, labels, Value::Number(value));
    }

    /// Adds durations. `labels` as for [`Samples::put`].
    ///
    /// # Panics
    /// As for [`Samples::put`].
    pub fn put_latencies(&mut self, metric: &'static Metric, labels: &[&str], counts: LatencyCounts) {
        self.add(metric, labels, Value::Latencies(Box::new(counts)));
    }

    fn add(&mut self, metric: &'static Metric, labels: &[&str], value: Value) {
        debug_assert_eq!(metric.kind == Kind::Histogram, matches!(value, Value::Latencies(_)), "{}", metric.name);
        debug_assert_eq!(labels.len(), metric.labels.len(), "labels of {}", metric.name);
        if self.samples.len() < Self::MAX {
            self.samples.push(Sample { metric, labels: labels.iter().map(|&label| label.to_owned()).collect(), value });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_its_own_and_follows_the_rules() {
        for (at, metric) in ALL.iter().enumerate() {
            assert!(ALL[..at].iter().all(|other| other.name != metric.name), "{} twice", metric.name);
            assert!(metric.name.starts_with("strata_") && !metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", metric.name);
            assert!(metric.help.trim().ends_with('.'), "{}", metric.help);
        }
    }
}

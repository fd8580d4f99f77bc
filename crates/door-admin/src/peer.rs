//! The same numbers under the names of the best-known S3 store, so that dashboards and probes made for it work here.
//!
//! What such a dashboard asks for and this store has is answered with its real figure; what it has not (usage by bucket,
//! replication, goroutines) is left out, so that a panel says "no data" and not zero. The names are those of MinIO's
//! metrics version 2; `docs/operate/metrics.md` has the list.

use std::fmt::Write;

use strata_seam::BOUNDS_NANOS;

use crate::metrics::{
    DISK_FREE_BYTES, DISK_TOTAL_BYTES, DOOR_ANSWERS, DOOR_IN_FLIGHT, DOOR_LATENCY, DOOR_RECEIVED_BYTES, DOOR_REQUESTS,
    DOOR_SENT_BYTES, Metric, PROCESS_DESCRIPTORS, PROCESS_DESCRIPTORS_MAX, PROCESS_RESIDENT_BYTES,
    PROCESS_STARTED_SECONDS, READY, SET_DISKS, SET_DISKS_ACTIVE, SPACE_FREE_BYTES, SPACE_TOTAL_BYTES, Samples, Value,
};

/// Media type of the text: the older format, in which a counter's name is written as it is.
pub(crate) const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The server's name in the numbers: there is only one node.
const SERVER: &str = "strata";

/// Text in which each metric is one family.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (String, String)>) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        // Writing into a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let comma = if labels.is_empty() { "" } else { "," };
            let _ = writeln!(self.0, "{name}{{{labels}{comma}server=\"{SERVER}\"}} {value}");
        }
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: Option<u64>) {
        self.family(name, kind, help, value.map(|value| (String::new(), value.to_string())));
    }
}

/// Writes them.
pub(crate) fn text(samples: &Samples) -> String {
    let mut page = Page(String::new());
    let single = |metric: &'static Metric| samples.numbers(metric).map(|(_, number)| number).next();
    let summed = |metric: &'static Metric| samples.numbers(metric).map(|(_, number)| number).reduce(|a, b| a + b);
    let of_s3 = |metric: &'static Metric| {
        samples.numbers(metric).any(|(labels, _)| labels[0] == "s3").then(|| samples.total(metric, "s3"))
    };
    let gauge = "gauge";
    let counter = "counter";
    page.one("minio_cluster_capacity_raw_total_bytes", gauge, "Bytes of all disks.", summed(&DISK_TOTAL_BYTES));
    page.one("minio_cluster_capacity_raw_free_bytes", gauge, "Free bytes of all disks.", summed(&DISK_FREE_BYTES));
    page.one(
        "minio_cluster_capacity_usable_total_bytes",
        gauge,
        SPACE_TOTAL_BYTES.help.trim(),
        single(&SPACE_TOTAL_BYTES),
    );
    page.one(
        "minio_cluster_capacity_usable_free_bytes",
        gauge,
        SPACE_FREE_BYTES.help.trim(),
        single(&SPACE_FREE_BYTES),
    );
    let used =
        single(&SPACE_TOTAL_BYTES).zip(single(&SPACE_FREE_BYTES)).map(|(total, free)| total.saturating_sub(free));
    page.one("minio_cluster_usage_total_bytes", gauge, "Bytes in use, garbage not yet given back among them.", used);
    let (disks, active) = (single(&SET_DISKS), single(&SET_DISKS_ACTIVE));
    let away = disks.zip(active).map(|(disks, active)| disks.saturating_sub(active));
    // MinIO's names before and after it changed the word.
    for word in ["disk", "drive"] {
        page.one(&format!("minio_cluster_{word}_total"), gauge, "Disks.", disks);
        page.one(&format!("minio_cluster_{word}_online_total"), gauge, "Disks that take part fully.", active);
        page.one(&format!("minio_cluster_{word}_offline_total"), gauge, "Disks that do not.", away);
    }
    page.one("minio_cluster_nodes_online_total", gauge, "Servers that run.", Some(1));
    page.one("minio_cluster_nodes_offline_total", gauge, "Servers that do not.", Some(0));
    page.one("minio_cluster_health_status", gauge, READY.help.trim(), single(&READY));
    let by_api = |number: u64, api: &str| (format!("api=\"{}\"", api.to_ascii_lowercase()), number.to_string());
    let requests = samples.numbers(&DOOR_REQUESTS).filter(|(labels, _)| labels[0] == "s3");
    page.family(
        "minio_s3_requests_total",
        counter,
        "S3 requests by operation.",
        requests.map(|(labels, number)| by_api(number, &labels[1])),
    );
    let class = |wanted: &str| {
        let mut answers = samples.numbers(&DOOR_ANSWERS);
        answers.find(|(labels, _)| labels[0] == "s3" && labels[1] == wanted).map(|(_, number)| number)
    };
    let (refused, failed) = (class("4xx"), class("5xx"));
    page.one("minio_s3_requests_4xx_errors_total", counter, "S3 requests answered with 4xx.", refused);
    page.one("minio_s3_requests_5xx_errors_total", counter, "S3 requests answered with 5xx.", failed);
    let errors = refused.zip(failed).map(|(refused, failed)| refused + failed);
    page.one("minio_s3_requests_errors_total", counter, "S3 requests answered with 4xx or 5xx.", errors);
    page.one("minio_s3_requests_inflight_total", gauge, "S3 requests in progress.", of_s3(&DOOR_IN_FLIGHT));
    page.one("minio_s3_requests_waiting_total", gauge, "S3 requests that wait: none ever do.", Some(0));
    page.one("minio_s3_traffic_received_bytes", counter, "Bytes of S3 requests' bodies.", of_s3(&DOOR_RECEIVED_BYTES));
    page.one("minio_s3_traffic_sent_bytes", counter, "Bytes of S3 answers' bodies.", of_s3(&DOOR_SENT_BYTES));
    page.family(
        "minio_s3_requests_ttfb_seconds_distribution",
        gauge,
        "S3 requests whose answer began within so many seconds, by operation.",
        first_bytes(samples),
    );
    let by_disk = |metric: &'static Metric| {
        samples.numbers(metric).map(|(labels, number)| (format!("drive=\"{0}\",disk=\"{0}\"", labels[0]), number))
    };
    let shown = |(labels, number): (String, u64)| (labels, number.to_string());
    for word in ["disk", "drive"] {
        let name = |what: &str| format!("minio_node_{word}_{what}_bytes");
        page.family(&name("total"), gauge, "Bytes of a disk.", by_disk(&DISK_TOTAL_BYTES).map(shown));
        page.family(&name("free"), gauge, "Free bytes of a disk.", by_disk(&DISK_FREE_BYTES).map(shown));
        let used = by_disk(&DISK_TOTAL_BYTES).zip(by_disk(&DISK_FREE_BYTES));
        let used = used.map(|((labels, total), (_, free))| shown((labels, total.saturating_sub(free))));
        page.family(&name("used"), gauge, "Bytes of a disk that are in use.", used);
    }
    for (name, metric) in [
        ("minio_node_process_starttime_seconds", &PROCESS_STARTED_SECONDS),
        ("minio_node_process_resident_memory_bytes", &PROCESS_RESIDENT_BYTES),
        ("minio_node_file_descriptor_open_total", &PROCESS_DESCRIPTORS),
        ("minio_node_file_descriptor_limit_total", &PROCESS_DESCRIPTORS_MAX),
    ] {
        page.one(name, gauge, metric.help.trim(), single(metric));
    }
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    page.family("minio_software_version_info", gauge, "This store and its version.", [(version, "1".to_owned())]);
    page.0
}

/// The histogram of S3's latencies, each range with all below it.
fn first_bytes(samples: &Samples) -> impl Iterator<Item = (String, String)> {
    let of_s3 = samples.samples.iter().filter(|sample| *sample.metric == DOOR_LATENCY && sample.labels[0] == "s3");
    of_s3.flat_map(|sample| {
        let Value::Latencies(counts) = &sample.value else { return Vec::new() };
        let ends = BOUNDS_NANOS.iter().map(|nanos| (*nanos as f64 / 1e9).to_string()).chain(["+Inf".to_owned()]);
        let mut within = 0;
        let ranges = ends.zip(counts.ranges).map(|(end, count)| {
            within += count;
            (format!("api=\"{}\",le=\"{end}\"", sample.labels[1].to_ascii_lowercase()), within.to_string())
        });
        ranges.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use strata_seam::Latencies;

    #[test]
    fn the_names_that_dashboards_ask_for_have_the_figures_of_this_store() {
        let took = Latencies::default();
        [50, 900, 2000].into_iter().for_each(|micros| took.note(Duration::from_micros(micros)));
        let mut samples = Samples::default();
        samples.put_latencies(&DOOR_LATENCY, &["s3", "GetObject"], took.counts());
        samples.put_latencies(&DOOR_LATENCY, &["nfs", "read"], took.counts());
        for (metric, labels, number) in [
            (&DOOR_REQUESTS, &["s3", "GetObject"][..], 3),
            (&DOOR_REQUESTS, &["webdav", "GET"], 9),
            (&DOOR_ANSWERS, &["s3", "4xx"], 2),
            (&DOOR_ANSWERS, &["s3", "5xx"], 1),
            (&DOOR_SENT_BYTES, &["s3"], 77),
            (&DOOR_SENT_BYTES, &["webdav"], 1000),
            (&SET_DISKS, &[], 6),
            (&SET_DISKS_ACTIVE, &[], 5),
            (&SPACE_TOTAL_BYTES, &[], 100),
            (&SPACE_FREE_BYTES, &[], 60),
            (&DISK_TOTAL_BYTES, &["0"], 30),
            (&DISK_TOTAL_BYTES, &["1"], 30),
            (&DISK_FREE_BYTES, &["0"], 10),
            (&DISK_FREE_BYTES, &["1"], 20),
            (&READY, &[], 1),
        ] {
            samples.put(metric, labels, number);
        }
        let text = text(&samples);
        for line in [
            "minio_cluster_capacity_raw_total_bytes{server=\"strata\"} 60",
            "minio_cluster_capacity_usable_free_bytes{server=\"strata\"} 60",
            "minio_cluster_usage_total_bytes{server=\"strata\"} 40",
            "minio_cluster_drive_offline_total{server=\"strata\"} 1",
            "minio_cluster_health_status{server=\"strata\"} 1",
            "minio_s3_requests_total{api=\"getobject\",server=\"strata\"} 3",
            "minio_s3_requests_errors_total{server=\"strata\"} 3",
            "minio_s3_traffic_sent_bytes{server=\"strata\"} 77",
            "minio_s3_requests_ttfb_seconds_distribution{api=\"getobject\",le=\"0.0001\",server=\"strata\"} 1",
            "minio_s3_requests_ttfb_seconds_distribution{api=\"getobject\",le=\"0.001\",server=\"strata\"} 2",
            "minio_s3_requests_ttfb_seconds_distribution{api=\"getobject\",le=\"+Inf\",server=\"strata\"} 3",
            "minio_node_drive_used_bytes{drive=\"0\",disk=\"0\",server=\"strata\"} 20",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("received"), "what nobody counted is left out: {text}");
        assert!(!text.contains("webdav") && !text.contains("api=\"read\""), "{text}");
    }
}

//! One scrape as OpenMetrics text, through prometheus-client.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use strata_seam::{BOUNDS_NANOS, LatencyCounts};

use crate::metrics::{ALL, Kind, Samples, Value};

/// Media type of the text.
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes the numbers, grouped by metric in the order of [`ALL`].
///
/// # Errors
/// Never in practice: writing into a string does not fail.
pub(crate) fn text(samples: Samples) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(samples)));
    let mut out = String::new();
    encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Scrape(Samples);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        for metric in ALL {
            let mut samples = self.0.samples.iter().filter(|sample| sample.metric == *metric).peekable();
            if samples.peek().is_none() {
                continue;
            }
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help.trim(), None, kind)?;
            for sample in samples {
                let labels: Vec<(&str, &str)> =
                    metric.labels.iter().copied().zip(sample.labels.iter().map(String::as_str)).collect();
                // A family without labels would be written with empty braces.
                if labels.is_empty() {
                    value(&mut family, metric.kind, &sample.value)?;
                } else {
                    value(&mut family.encode_family(&labels)?, metric.kind, &sample.value)?;
                }
            }
        }
        Ok(())
    }
}

fn value(out: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> Result<(), std::fmt::Error> {
    match value {
        Value::Latencies(counts) => histogram(out, counts),
        Value::Number(number) if kind == Kind::Counter => out.encode_counter::<NoLabelSet, u64, u64>(number, None),
        Value::Number(number) => out.encode_gauge(&gauge(*number)),
    }
}

fn histogram(out: &mut MetricEncoder<'_>, counts: &LatencyCounts) -> Result<(), std::fmt::Error> {
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let ends = BOUNDS_NANOS.iter().map(|nanos| seconds(*nanos)).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = ends.zip(counts.ranges).collect();
    out.encode_histogram::<NoLabelSet>(seconds(counts.nanos), counts.count(), &buckets, None)
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{DOOR_LATENCY, DOOR_REQUESTS, SPACE_FREE_BYTES};
    use proptest::prelude::*;
    use std::time::Duration;
    use strata_seam::Latencies;

    #[test]
    fn numbers_are_grouped_under_their_metric() {
        let mut samples = Samples::default();
        samples.put(&DOOR_REQUESTS, &["webdav", "GET"], 3);
        samples.put(&SPACE_FREE_BYTES, &[], 7);
        samples.put(&DOOR_REQUESTS, &["s3", "PUT"], 4);
        let expected = "# HELP strata_door_requests Requests answered, by door and method.\n\
                        # TYPE strata_door_requests counter\n\
                        strata_door_requests_total{door=\"webdav\",method=\"GET\"} 3\n\
                        strata_door_requests_total{door=\"s3\",method=\"PUT\"} 4\n\
                        # HELP strata_space_free_bytes Bytes of content that still fit.\n\
                        # TYPE strata_space_free_bytes gauge\n\
                        strata_space_free_bytes 7\n\
                        # EOF\n";
        assert_eq!(text(samples).unwrap(), expected);
    }

    #[test]
    fn latencies_are_a_histogram_in_seconds_whose_ranges_add_up() {
        let took = Latencies::default();
        [40, 700, 700, 40_000_000].into_iter().for_each(|micros| took.note(Duration::from_micros(micros)));
        let mut samples = Samples::default();
        samples.put_latencies(&DOOR_LATENCY, &["s3", "GetObject"], took.counts());
        let text = text(samples).unwrap();
        for line in [
            "# TYPE strata_door_latency_seconds histogram",
            "strata_door_latency_seconds_sum{door=\"s3\",operation=\"GetObject\"} 40.00144",
            "strata_door_latency_seconds_count{door=\"s3\",operation=\"GetObject\"} 4",
            "strata_door_latency_seconds_bucket{le=\"0.0001\",door=\"s3\",operation=\"GetObject\"} 1",
            "strata_door_latency_seconds_bucket{le=\"0.001\",door=\"s3\",operation=\"GetObject\"} 3",
            "strata_door_latency_seconds_bucket{le=\"30.0\",door=\"s3\",operation=\"GetObject\"} 3",
            "strata_door_latency_seconds_bucket{le=\"+Inf\",door=\"s3\",operation=\"GetObject\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    proptest! {
        #[test]
        fn a_label_value_never_breaks_the_line(value in ".{0,20}") {
            let mut samples = Samples::default();
            samples.put(&DOOR_REQUESTS, &[&value, "GET"], 1);
            let text = text(samples).unwrap();
            prop_assert_eq!(text.matches('\n').count(), 4, "{}", text);
        }
    }
}

//! One scrape as OpenMetrics text, through prometheus-client.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::metrics::{ALL, Kind, Samples};

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
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help.trim(), None, kind)?;
            for sample in samples {
                let labels: Vec<(&str, &str)> =
                    metric.labels.iter().copied().zip(sample.labels.iter().map(String::as_str)).collect();
                match metric.kind {
                    Kind::Counter if labels.is_empty() => {
                        family.encode_counter::<NoLabelSet, u64, u64>(&sample.value, None)?
                    }
                    Kind::Counter => {
                        family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&sample.value, None)?
                    }
                    Kind::Gauge if labels.is_empty() => family.encode_gauge(&gauge(sample.value))?,
                    Kind::Gauge => family.encode_family(&labels)?.encode_gauge(&gauge(sample.value))?,
                }
            }
        }
        Ok(())
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{DOOR_REQUESTS, SPACE_FREE_BYTES};
    use proptest::prelude::*;

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

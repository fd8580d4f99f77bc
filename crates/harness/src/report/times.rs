//! Measured times as a histogram: small in a result file, and the times of several runs can be added up.
//!
//! A bucket is about 2 % wide, so a percentile is right to 2 % and never too low.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets to the power of ten.
const BUCKETS_PER_DECADE: f64 = 116.0;

/// Milliseconds, counted by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Times(BTreeMap<i32, u64>);

impl Times {
    /// Counts one time.
    pub(crate) fn add(&mut self, millis: f64) {
        let bucket = (millis.max(0.001).log10() * BUCKETS_PER_DECADE).ceil();
        #[expect(clippy::cast_possible_truncation, reason = "a logarithm of milliseconds is a small number")]
        let bucket = bucket as i32;
        *self.0.entry(bucket).or_default() += 1;
    }

    /// Counts all of `other`, too.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            *self.0.entry(*bucket).or_default() += count;
        }
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The time in milliseconds that this share of them does not exceed; zero if there are none.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let wanted = (self.count() as f64 * share).ceil();
        let mut seen = 0;
        let reached = self.0.iter().find(|(_, count)| {
            seen += **count;
            seen as f64 >= wanted
        });
        reached.map_or(0.0, |(bucket, _)| 10_f64.powf(f64::from(*bucket) / BUCKETS_PER_DECADE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_two_percent_and_never_too_low() {
        let mut times = Times::default();
        assert_eq!(times.at(0.99), 0.0);
        for millis in 1..=1000 {
            times.add(f64::from(millis));
        }
        for (share, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let told = times.at(share);
            assert!((exact..=exact * 1.021).contains(&told), "{share}: {told}");
        }
    }

    #[test]
    fn times_of_two_runs_added_up_are_those_of_one_long_run() {
        let (mut first, mut second, mut both) = (Times::default(), Times::default(), Times::default());
        for millis in 1..100_u32 {
            if millis % 3 == 0 { &mut first } else { &mut second }.add(f64::from(millis).powi(2));
            both.add(f64::from(millis).powi(2));
        }
        first.merge(&second);
        assert_eq!(first, both);
        let text = serde_json::to_string(&both).unwrap();
        assert_eq!(serde_json::from_str::<Times>(&text).unwrap(), both);
    }
}

//! How long operations take, counted by ranges: what a door measures and whoever publishes metrics reads.
//!
//! One observation is a search among [`BOUNDS_NANOS`] and two relaxed additions; nothing is allocated and nobody waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper ends of the ranges in nanoseconds, from what is answered out of memory to what nobody waits for; a last range has no
/// end. Steps of 1, 2.5, 5, as dashboards expect them.
pub const BOUNDS_NANOS: [u64; 17] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];
/// Ranges in all.
pub(crate) const RANGES: usize = BOUNDS_NANOS.len() + 1;

/// Durations of one kind of operation since the process started.
#[derive(Debug, Default)]
pub struct Latencies {
    ranges: [AtomicU64; RANGES],
    nanos: AtomicU64,
}

/// What was counted up to one moment. Read while others count, so that the sum may be an observation ahead or behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LatencyCounts {
    /// Observations by range.
    pub ranges: [u64; BOUNDS_NANOS.len() + 1],
    /// Nanoseconds in all.
    pub nanos: u64,
}

impl Latencies {
    /// Counts one operation that took so long.
    pub fn note(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.ranges[BOUNDS_NANOS.partition_point(|bound| *bound < nanos)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> LatencyCounts {
        LatencyCounts {
            ranges: std::array::from_fn(|at| self.ranges[at].load(Ordering::Relaxed)),
            nanos: self.nanos.load(Ordering::Relaxed),
        }
    }
}

impl LatencyCounts {
    /// Observations in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.ranges.iter().sum()
    }
}

/// Measures one operation. For metrics alone: nothing that a seed should replay may depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "only metrics come of it")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since it began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_first_range_that_holds_it() {
        let latencies = Latencies::default();
        for nanos in [0, 100_000, 100_001, 2_000_000, 30_000_000_000, 30_000_000_001] {
            latencies.note(Duration::from_nanos(nanos));
        }
        let counts = latencies.counts();
        assert_eq!((counts.ranges[0], counts.ranges[1], counts.ranges[4]), (2, 1, 1));
        assert_eq!((counts.ranges[RANGES - 2], counts.ranges[RANGES - 1]), (1, 1));
        assert_eq!((counts.count(), counts.nanos), (6, 60_002_200_002));
    }
}

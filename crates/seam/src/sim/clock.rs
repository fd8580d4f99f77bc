//! A clock that moves only when told to.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use std::time::Duration;

use crate::{Clock, Stop, Timestamp};

/// The simulated [`Clock`]. Starts at 2020-01-01 UTC with a monotonic time of zero.
#[derive(Debug)]
pub struct SimClock {
    wall: AtomicI64,
    monotonic: AtomicU64,
}

/// 2020-01-01T00:00:00Z in nanoseconds: a date no real clock shows, so that a leaked wall clock is seen.
const START: i64 = 1_577_836_800_000_000_000;

impl SimClock {
    /// A clock at its start.
    #[must_use]
    pub const fn new() -> Self {
        Self { wall: AtomicI64::new(START), monotonic: AtomicU64::new(0) }
    }

    /// Lets `nanos` nanoseconds pass on both times.
    pub fn advance(&self, nanos: u64) {
        self.wall.fetch_add(i64::try_from(nanos).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.monotonic.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Steps the wall clock, in either direction, as an administrator or NTP does; monotonic time does not notice.
    pub fn set_wall(&self, time: Timestamp) {
        self.wall.store(time.0, Ordering::Relaxed);
    }

    pub(super) fn times(&self) -> (i64, u64) {
        (self.wall.load(Ordering::Relaxed), self.monotonic.load(Ordering::Relaxed))
    }

    pub(super) fn set_times(&self, (wall, monotonic): (i64, u64)) {
        self.wall.store(wall, Ordering::Relaxed);
        self.monotonic.store(monotonic, Ordering::Relaxed);
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::Relaxed))
    }
    fn monotonic_nanos(&self) -> u64 {
        self.monotonic.load(Ordering::Relaxed)
    }
    /// Nobody else lets the time of whoever pauses pass.
    fn pause(&self, _stop: &Stop, pause: Duration) {
        self.advance(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
    }
}

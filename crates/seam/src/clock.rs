//! The seam for time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Stop;

/// Nanoseconds since 1970-01-01 UTC; negative before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From whole seconds and nanoseconds; saturates at the ends of the range (years 1677 and 2262).
    #[must_use]
    pub fn from_parts(secs: i64, nanos: u32) -> Self {
        Self(secs.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos)))
    }
    /// Whole seconds, rounded towards the past.
    #[must_use]
    pub fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }
    /// Nanoseconds within the second, `0 .. 1_000_000_000`.
    #[must_use]
    pub fn nanos(self) -> u32 {
        u32::try_from(self.0.rem_euclid(1_000_000_000)).unwrap_or(0)
    }
    /// As the standard library's type.
    #[must_use]
    pub fn to_system_time(self) -> SystemTime {
        if self.0 >= 0 {
            UNIX_EPOCH + std::time::Duration::from_nanos(self.0.unsigned_abs())
        } else {
            UNIX_EPOCH - std::time::Duration::from_nanos(self.0.unsigned_abs())
        }
    }
    /// From the standard library's type; saturates.
    #[must_use]
    pub fn from_system_time(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX)),
            Err(before) => Self(i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)),
        }
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Wall-clock time. May step in either direction; never used for ordering.
    fn now(&self) -> Timestamp;
    /// Nanoseconds since an arbitrary start; never goes back.
    fn monotonic_nanos(&self) -> u64;
    /// Lets so much time pass, or less where `stop` is asked for or woken meanwhile. For who goes by a [`Pace`](crate::Pace).
    fn pause(&self, stop: &Stop, pause: Duration) {
        stop.sleep(pause);
    }
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place where the wall clock enters")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place where the wall clock enters")]
    fn now(&self) -> Timestamp {
        Timestamp::from_system_time(SystemTime::now())
    }
    fn monotonic_nanos(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

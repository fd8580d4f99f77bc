//! Time for measurements: the one place of this crate that reads a clock.

use std::time::{Duration, SystemTime};

/// A moment of the monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(std::time::Instant);

impl Moment {
    /// The present.
    #[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    pub(crate) fn now() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since.
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().0 - self.0
    }

    /// The moment `later` after this one.
    pub(crate) fn after(self, later: Duration) -> Self {
        Self(self.0 + later)
    }
}

/// Seconds since 1970, for signatures and the small print.
#[allow(clippy::disallowed_methods, reason = "S3 signatures carry the real date")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// `unix` as S3 writes it: `20260101T120000Z`.
pub(crate) fn amz_date(unix: u64) -> String {
    let (days, of_day) = (unix / 86_400, unix % 86_400);
    // H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days; days after 1970 only.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_s3_writes_them() {
        assert_eq!(amz_date(0), "19700101T000000Z");
        assert_eq!(amz_date(951_782_399), "20000228T235959Z");
        assert_eq!(amz_date(951_782_400), "20000229T000000Z");
        assert_eq!(amz_date(1_767_225_599), "20251231T235959Z");
    }
}

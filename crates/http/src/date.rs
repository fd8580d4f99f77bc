//! Dates as headers have them (RFC 9110, section 5.6.7), from and to the store's timestamps, and as RFC 3339 does: whole seconds.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use strata_seam::Timestamp;

/// Last second of the year 9999.
const SECS_MAX: i64 = 253_402_300_799;

/// The date in the form of HTTP: `Sun, 06 Nov 1994 08:49:37 GMT`. Times before 1970, which files may have, are written as the first
/// second of 1970.
#[must_use]
pub fn format(time: Timestamp) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(u64::try_from(time.secs()).unwrap_or(0)))
}

/// Seconds since 1970 of a date in any of the three forms of RFC 9110; `None` if the text is not a date.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// The time in the form of RFC 3339, `1994-11-06T08:49:37Z`, for years from 1970 to 9999. The civil date is computed from days as in H.
/// Hinnant, "chrono-Compatible Low-Level Date Algorithms".
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    let secs = u64::try_from(time.secs().clamp(0, SECS_MAX)).unwrap_or(0);
    let days = secs / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let mut out = String::with_capacity(20);
    // Writing into a string cannot fail.
    let _ =
        write!(out, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", secs / 3600 % 24, secs / 60 % 60, secs % 60);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_forms_of_a_date_name_the_same_moment() {
        let time = Timestamp::from_parts(784_111_777, 5);
        assert_eq!(format(time), "Sun, 06 Nov 1994 08:49:37 GMT");
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text), Some(784_111_777), "{text}");
        }
        for text in ["", "yesterday", "784111777", "Mon, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn both_forms_name_the_same_moment() {
        let time = Timestamp::from_parts(784_111_777, 5);
        assert_eq!(format(time), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(rfc3339(time), "1994-11-06T08:49:37Z");
        assert_eq!(rfc3339(Timestamp::from_parts(951_782_399, 0)), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(Timestamp::from_parts(951_782_400, 0)), "2000-02-29T00:00:00Z");
    }

    #[test]
    fn times_that_no_date_can_name_are_written_all_the_same() {
        assert_eq!(format(Timestamp(i64::MIN)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(format(Timestamp(i64::MAX)), "Fri, 11 Apr 2262 23:47:16 GMT");
    }

    proptest! {
        #[test]
        fn every_date_of_rfc_3339_has_the_same_length(secs in 0..9_000_000_000_i64) {
            prop_assert_eq!(rfc3339(Timestamp::from_parts(secs, 0)).len(), 20);
        }

        #[test]
        fn a_written_date_is_read_back(secs in 0..9_000_000_000_i64) {
            prop_assert_eq!(parse(&format(Timestamp::from_parts(secs, 0))), Some(secs));
        }
    }
}

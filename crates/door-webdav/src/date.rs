//! Dates as properties of WebDAV have them beside those of HTTP. Whole seconds; years 1970 to 9999.

use std::fmt::Write;

use strata_seam::Timestamp;

/// Last second of the year 9999.
const SECS_MAX: i64 = 253_402_300_799;

fn secs(time: Timestamp) -> u64 {
    u64::try_from(time.secs().clamp(0, SECS_MAX)).unwrap_or(0)
}

/// `1994-11-06T08:49:37Z`, the form of `creationdate` (RFC 3339). Civil date from days after H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms".
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let secs = secs(time);
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
    use strata_http::date;

    #[test]
    fn both_forms_name_the_same_moment() {
        let time = Timestamp::from_parts(784_111_777, 5);
        assert_eq!(date::format(time), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(rfc3339(time), "1994-11-06T08:49:37Z");
        assert_eq!(rfc3339(Timestamp::from_parts(951_782_399, 0)), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(Timestamp::from_parts(951_782_400, 0)), "2000-02-29T00:00:00Z");
    }

    proptest! {
        #[test]
        fn every_date_has_the_same_length(secs in 0..9_000_000_000_i64) {
            let rfc3339 = rfc3339(Timestamp::from_parts(secs, 0));
            prop_assert_eq!(rfc3339.len(), 20);
        }
    }
}

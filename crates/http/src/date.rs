//! Dates as headers have them (RFC 9110, section 5.6.7), from and to the store's timestamps: whole seconds.

use std::time::{Duration, UNIX_EPOCH};

use strata_seam::Timestamp;

/// `Sun, 06 Nov 1994 08:49:37 GMT`. A date of HTTP has a year from 1970 on: what is older, as a file may be, is written as its
/// first second.
#[must_use]
pub fn format(time: Timestamp) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(u64::try_from(time.secs()).unwrap_or(0)))
}

/// Any of the three forms of RFC 9110, as seconds since 1970; `None` for what is no date.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
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
    fn times_that_no_date_can_name_are_written_all_the_same() {
        assert_eq!(format(Timestamp(i64::MIN)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(format(Timestamp(i64::MAX)), "Fri, 11 Apr 2262 23:47:16 GMT");
    }

    proptest! {
        #[test]
        fn a_written_date_is_read_back(secs in 0..9_000_000_000_i64) {
            prop_assert_eq!(parse(&format(Timestamp::from_parts(secs, 0))), Some(secs));
        }
    }
}

//! The timestamps of signatures: `YYYYMMDDThhmmssZ`, and what a `Date` header may hold instead.

use std::borrow::Cow;

use strata_http::date;
use strata_seam::Timestamp;

/// A moment in seconds since 1970, with the text it was given as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AmzDate {
    text: String,
    secs: i64,
}

impl AmzDate {
    /// Reads exactly the sixteen characters of the format; dates that do not exist are refused.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        let number = |range: std::ops::Range<usize>| -> Option<i64> {
            bytes[range].iter().try_fold(0, |sum, c| c.is_ascii_digit().then(|| sum * 10 + i64::from(c - b'0')))
        };
        let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
        let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_in_month = match month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => return None,
        };
        if year < 1970 || !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let secs = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        Some(Self { text: text.to_owned(), secs })
    }

    /// Reads a `Date` header: a date of HTTP, also as mails have it, or the format above.
    pub(super) fn of_header(text: &str) -> Option<Self> {
        let text = text.strip_suffix("+0000").map_or_else(|| text.into(), |date| Cow::from(format!("{date}GMT")));
        let text = text.as_ref();
        let Some(secs) = date::parse(text) else { return Self::parse(text) };
        // The form is `Sun, 06 Nov 1994 08:49:37 GMT`.
        let fixed = date::format(Timestamp::from_parts(secs, 0));
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = 1 + months.iter().position(|month| Some(*month) == fixed.get(8..11))?;
        let (day, year, clock) = (fixed.get(5..7)?, fixed.get(12..16)?, fixed.get(17..25)?.replace(':', ""));
        Self::parse(&format!("{year}{month:02}{day}T{clock}Z"))
    }

    /// The timestamp as it goes into the string to sign.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
    /// Its date, `YYYYMMDD`.
    pub(super) fn date(&self) -> &str {
        &self.text[..8]
    }
    /// Seconds since 1970-01-01 UTC.
    pub(super) fn secs(&self) -> i64 {
        self.secs
    }
}

/// Days from 1970-01-01 in the Gregorian calendar. Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments_have_their_seconds() {
        for (text, secs) in
            [("19700101T000000Z", 0), ("20130524T000000Z", 1_369_353_600), ("20240229T235959Z", 1_709_251_199)]
        {
            assert_eq!(AmzDate::parse(text).map(|date| date.secs()), Some(secs), "{text}");
        }
    }

    #[test]
    fn a_date_header_holds_a_date_of_http_or_a_timestamp() {
        for text in ["Fri, 24 May 2013 00:00:00 GMT", "Fri, 24 May 2013 00:00:00 +0000", "20130524T000000Z"] {
            let date = AmzDate::of_header(text).map(|date| (date.text().to_owned(), date.secs()));
            assert_eq!(date, Some(("20130524T000000Z".to_owned(), 1_369_353_600)), "{text}");
        }
        for text in ["", "today", "2013-05-24"] {
            assert_eq!(AmzDate::of_header(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "20130524T000000",
            "20130524 000000Z",
            "20230229T000000Z",
            "20131301T000000Z",
            "20130524T240000Z",
            "+0130524T000000Z",
        ] {
            assert_eq!(AmzDate::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_that_is_read_is_the_moment_it_names(text in "(19|20)[0-9]{2}[01][0-9][0-3][0-9]T[0-2][0-9][0-5][0-9][0-5][0-9]Z|.{0,24}") {
            if let Some(date) = AmzDate::parse(&text) {
                // Computed the other way round, by another algorithm.
                let number = |at: std::ops::Range<usize>| text[at].parse::<i64>().unwrap();
                let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
                let mut days: i64 = (1970..number(0..4)).map(|year| if leap(year) { 366 } else { 365 }).sum();
                let lengths = [31, if leap(number(0..4)) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
                days += lengths[..number(4..6) as usize - 1].iter().sum::<i64>() + number(6..8) - 1;
                let secs = number(9..11) * 3600 + number(11..13) * 60 + number(13..15);
                prop_assert_eq!(date.secs(), days * 86_400 + secs);
                prop_assert_eq!((date.text(), date.date()), (text.as_str(), &text[..8]));
            }
        }
    }
}

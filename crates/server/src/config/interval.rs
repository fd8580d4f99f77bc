//! Times between repeated events, as people write them: `7d`, `12h`, `90s`, or `off`.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// How often something happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Interval {
    /// Never by itself.
    Off,
    /// Again and again after this time.
    Every(Duration),
}

const UNITS: [(char, u64); 4] = [('d', 24 * 3600), ('h', 3600), ('m', 60), ('s', 1)];
/// Longer is a slip.
const SECONDS_MAX: u64 = 10 * 366 * 24 * 3600;

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        let refuse = || format!("`{text}` is not a time; write a number and d, h, m or s, such as 7d, or off");
        let unit = text.chars().next_back().ok_or_else(refuse)?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
        let number: u64 = text[..text.len() - 1].trim().parse().map_err(|_| refuse())?;
        match number.checked_mul(*factor) {
            Some(seconds) if (1..=SECONDS_MAX).contains(&seconds) => Ok(Self::Every(Duration::from_secs(seconds))),
            _ => Err(format!("`{text}` is outside a second to ten years; to switch it off write off")),
        }
    }
}

impl TryFrom<String> for Interval {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let every = |seconds| Ok(Interval::Every(Duration::from_secs(seconds)));
        for (text, time) in [("7d", every(604_800)), ("12 h", every(43_200)), ("5m", every(300)), ("1s", every(1))] {
            assert_eq!(text.parse(), time, "{text}");
        }
        assert_eq!("off".parse(), Ok(Interval::Off));
        for text in ["", "7", "d", "0s", "-1d", "1.5h", "99999999d", "18446744073709551615d", "7é"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_that_is_read_is_a_number_of_a_unit(text in "[0-9]{1,12} ?[dhms]|.{0,12}") {
            if let Ok(Interval::Every(time)) = text.parse() {
                let (number, unit) = text.trim().split_at(text.trim().len() - 1);
                let factor = UNITS.iter().find(|(name, _)| unit.starts_with(*name)).unwrap().1;
                prop_assert_eq!(time.as_secs(), number.trim().parse::<u64>().unwrap() * factor);
                prop_assert!((1..=SECONDS_MAX).contains(&time.as_secs()));
            }
        }
    }
}

//! Sequences of changes, as people and programs write them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strata_namespace::EventSequence;
use strata_seam::Lsn;

/// Where a reader without a place of its own begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum From {
    /// With what comes from now on.
    Now,
    /// With the first that is still kept.
    Start,
    /// Behind this one.
    Behind(Sequence),
}

/// The place of an event, as `COMMIT.INDEX`; a commit alone is behind all of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Sequence(pub(super) EventSequence);

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.index {
            u32::MAX => write!(f, "{}", self.0.lsn.0),
            index => write!(f, "{}.{index}", self.0.lsn.0),
        }
    }
}

impl FromStr for Sequence {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is no sequence of a change: one looks like 4711.0; `strata watch --json` prints them");
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| number.to_string() == text);
        let (lsn, index) = match text.split_once('.') {
            Some((lsn, index)) => {
                let index = number(index).and_then(|index| u32::try_from(index).ok()).ok_or_else(wrong)?;
                (lsn, index)
            }
            None => (text, u32::MAX),
        };
        Ok(Self(EventSequence { lsn: Lsn(number(lsn).ok_or_else(wrong)?), index }))
    }
}

impl Serialize for Sequence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sequence {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "now" => Ok(Self::Now),
            "start" => Ok(Self::Start),
            sequence => sequence.parse().map(Self::Behind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_read_as_it_is_printed() {
        for (lsn, index, text) in [(4711, 0, "4711.0"), (1, 65_535, "1.65535"), (9, u32::MAX, "9")] {
            let sequence = Sequence(EventSequence { lsn: Lsn(lsn), index });
            assert_eq!(sequence.to_string(), text);
            assert_eq!(text.parse::<Sequence>().unwrap(), sequence);
        }
        for wrong in ["", ".", "1.", ".1", "01", "1.01", "-1", "1.2.3", "1.4294967296", "today"] {
            assert!(wrong.parse::<From>().unwrap_err().contains("no sequence"), "{wrong}");
        }
        assert_eq!(("now".parse(), "start".parse()), (Ok(From::Now), Ok(From::Start)));
    }
}

//! Sizes in bytes, written as people write them: `64MiB`, `1.5 GiB`, `4096`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ByteSize(pub(crate) u64);

/// Units, largest first. Decimal units are what disk makers print, binary ones what memory has.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// So many MiB.
    pub(crate) const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a size; write a number and a unit, such as 64MiB or 2GiB");
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = (&trimmed[..digits], trimmed[digits..].trim());
        let factor = if unit.is_empty() {
            1
        } else {
            UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(refuse)?.1
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.len() > 6 {
            return Err(refuse());
        }
        let whole: u64 = whole.parse().map_err(|_| refuse())?;
        let mut bytes = whole.checked_mul(factor).ok_or_else(|| format!("`{text}` is more than 16 EiB"))?;
        if !fraction.is_empty() {
            let part: u64 = fraction.parse().map_err(|_| refuse())?;
            let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| refuse())?);
            let extra = u64::try_from(u128::from(part) * u128::from(factor) / scale).map_err(|_| refuse())?;
            bytes = bytes.checked_add(extra).ok_or_else(|| format!("`{text}` is more than 16 EiB"))?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ByteSize {
    /// In the largest binary unit that keeps the number at 1 or above, with one decimal where it is not whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, factor) in &UNITS[..4] {
            if self.0 >= *factor {
                let tenths = u128::from(self.0) * 10 / u128::from(*factor);
                return if tenths % 10 == 0 {
                    write!(f, "{} {name}", tenths / 10)
                } else {
                    write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64MiB\", or a number of bytes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom("a size cannot be negative"))
            }
            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("1.5 GiB", 3 << 29),
            ("2gb", 2_000_000_000),
            (" 10 KiB ", 10_240),
            ("0.25KiB", 256),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in
            ["", "MiB", "-1", "64 megs", "1.MiB", "1e9", "0x10", "99999999999999999999", "1.5.5GiB", "20000000TiB"]
        {
            let refused = text.parse::<ByteSize>();
            assert!(refused.is_err(), "{text} became {refused:?}");
        }
        assert!("64 megs".parse::<ByteSize>().unwrap_err().contains("such as 64MiB"));
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (5 << 30, "5 GiB")] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_that_is_read_is_digits_and_a_unit(text in "[0-9]{1,20}([.][0-9]{0,3})? ?([KMGTkmgt]i?)?[Bb]?|\\PC{0,24}") {
            if let Ok(size) = text.parse::<ByteSize>() {
                let plain = text.trim();
                prop_assert!(plain.starts_with(|first: char| first.is_ascii_digit()), "{text} is {size}");
                let whole = plain.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u64>().ok());
                prop_assert!(whole.is_some_and(|whole| size.0 >= whole), "{text} is {size}");
            }
        }

        #[test]
        fn every_whole_number_of_bytes_is_read_back(bytes: u64) {
            prop_assert_eq!(format!("{bytes}B").parse(), Ok(ByteSize(bytes)));
        }
    }
}

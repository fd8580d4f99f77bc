//! Byte ranges (RFC 9110, section 14): what a `Range` header asks for, and which bytes of a resource that is.

use std::ops::Range;

/// One range, before the length of the resource is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spec {
    /// From the first to the second byte, both included.
    FromTo(u64, u64),
    /// From this byte to the end.
    From(u64),
    /// The last so many bytes.
    Last(u64),
}

/// The ranges of a `Range` header, at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked(Vec<Spec>);

/// What part of a resource an answer holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// 200 with everything.
    Whole,
    /// 206 with these parts, none empty, none behind the end, no two overlapping.
    Parts(Vec<Range<u64>>),
    /// 416.
    Nothing,
}

impl Spec {
    /// Reads `first-last`, `first-` or `-length`, without any space; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        match (first, last) {
            ("", last) => Some(Self::Last(number(last)?)),
            (first, "") => Some(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::FromTo(first, last))
            }
        }
    }

    /// Its bytes among `len`; empty where there are none.
    fn of(self, len: u64) -> Range<u64> {
        match self {
            Self::FromTo(first, last) => first..last.saturating_add(1).min(len),
            Self::From(first) => first..len,
            Self::Last(count) => len.saturating_sub(count)..len,
        }
    }
}

impl Asked {
    /// Reads a `Range` header. Other units, malformed ranges, and more than `most` of them mean, as section 14.2 allows, that it is
    /// ignored: `None`.
    #[must_use]
    pub fn parse(header: &str, most: usize) -> Option<Self> {
        let specs = after_unit(header)?.strip_prefix('=')?;
        // Empty elements of a list are passed over (section 5.6.1).
        let specs = specs.split(',').map(str::trim).filter(|spec| !spec.is_empty());
        let mut asked = Vec::new();
        for spec in specs {
            if asked.len() == most {
                return None;
            }
            asked.push(Spec::parse(spec)?);
        }
        (!asked.is_empty()).then_some(Self(asked))
    }

    /// What to answer with, of a resource of `len` bytes. Of several ranges those that can be satisfied are; where two overlap, the
    /// whole is less to send (section 14.2).
    #[must_use]
    pub fn of(&self, len: u64) -> Wanted {
        // The last bytes of an empty resource are all of it, and no `Content-Range` can say so (section 14.1.2).
        if len == 0 && self.0.iter().any(|spec| matches!(spec, Spec::Last(1..))) {
            return Wanted::Whole;
        }
        let parts: Vec<_> = self.0.iter().map(|spec| spec.of(len)).filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Wanted::Nothing;
        }
        let mut sorted: Vec<_> = parts.iter().collect();
        sorted.sort_by_key(|part| part.start);
        if sorted.windows(2).any(|pair| pair[0].end > pair[1].start) {
            return Wanted::Whole;
        }
        Wanted::Parts(parts)
    }
}

/// What follows the unit `bytes`, whose case does not matter (section 14.1); `None` where there is another.
#[must_use]
pub fn after_unit(header: &str) -> Option<&str> {
    let header = header.trim();
    let (unit, rest) = (header.get(..5)?, header.get(5..)?);
    unit.eq_ignore_ascii_case("bytes").then_some(rest)
}

/// The value of a text of decimal digits; above 64 bits the largest number. `None` if it has anything else.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The value of `Content-Range` for a part of a resource of `len` bytes; the part has at least one byte (section 14.4).
#[must_use]
pub fn content_range(part: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", part.start, part.end.saturating_sub(1))
}

/// The value of `Content-Range` for an answer 416 about a resource of `len` bytes (section 15.5.17).
#[must_use]
pub fn unsatisfied(len: u64) -> String {
    format!("bytes */{len}")
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: usize = 32;

    fn wanted(header: &str, len: u64) -> Wanted {
        Asked::parse(header, MOST).map_or(Wanted::Whole, |asked| asked.of(len))
    }

    #[test]
    fn the_forms_of_a_range() {
        for (header, parts) in [
            ("bytes=0-3", vec![0..4]),
            ("bytes=8-", vec![8..10]),
            ("bytes=-3", vec![7..10]),
            ("bytes=-30", vec![0..10]),
            ("bytes=9-9", vec![9..10]),
            ("bytes=0-0, 5-99", vec![0..1, 5..10]),
            ("Bytes=0-0,, 5-99,", vec![0..1, 5..10]),
            ("bytes=4-99999999999999999999999", vec![4..10]),
            ("bytes=7-8, 20-30, 0-1", vec![7..9, 0..2]),
        ] {
            assert_eq!(wanted(header, 10), Wanted::Parts(parts), "{header}");
        }
    }

    #[test]
    fn a_range_behind_the_end_cannot_be_satisfied() {
        for (header, len) in [
            ("bytes=10-", 10),
            ("bytes=10-12", 10),
            ("bytes=-0", 10),
            ("bytes=10-,11-12", 10),
            ("bytes=0-", 0),
            ("bytes=0-0", 0),
            ("bytes=-0", 0),
        ] {
            assert_eq!(wanted(header, len), Wanted::Nothing, "{header}");
        }
    }

    #[test]
    fn the_last_bytes_of_an_empty_resource_are_the_whole() {
        assert_eq!(wanted("bytes=-5", 0), Wanted::Whole);
    }

    #[test]
    fn what_cannot_be_read_or_asks_too_much_gets_the_whole() {
        for header in [
            "lines=1-2",
            "bytes=3-1",
            "bytes=a-b",
            "bytes=-",
            "bytes=",
            "bytes=,",
            "bytes",
            "",
            "bytes=0-5,3-8",
            "bytes=0-1,3",
            "bytes=0 - 3",
            "bytes =0-3",
            "bytes=+1-3",
        ] {
            assert_eq!(wanted(header, 10), Wanted::Whole, "{header}");
        }
        let many = |count| (0..count).map(|at| format!("{0}-{0}", at * 2)).collect::<Vec<_>>().join(",");
        assert!(matches!(wanted(&format!("bytes={}", many(MOST)), 1000), Wanted::Parts(parts) if parts.len() == MOST));
        assert_eq!(wanted(&format!("bytes={}", many(MOST + 1)), 1000), Wanted::Whole);
    }

    #[test]
    fn a_part_says_where_it_lies_and_a_416_how_long_the_whole_is() {
        assert_eq!(content_range(&(2..5), 10), "bytes 2-4/10");
        assert_eq!(unsatisfied(10), "bytes */10");
    }

    proptest! {
        #[test]
        fn parts_are_never_empty_and_never_leave_the_content(text in "bytes=[0-9, -]{0,40}", len in 0..1000_u64) {
            if let Wanted::Parts(parts) = wanted(&text, len) {
                prop_assert!(!parts.is_empty());
                for part in parts {
                    prop_assert!(part.start < part.end && part.end <= len);
                }
            }
        }
    }
}

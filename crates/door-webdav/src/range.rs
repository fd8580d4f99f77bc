//! Byte ranges: `Range` for reading (RFC 9110 section 14), `Content-Range` and `X-Update-Range` for writing. Pure.

use crate::error::{Refusal, Result};

/// Most ranges answered in one reply; more, or ranges that overlap, get the whole resource instead.
pub(crate) const RANGES_MAX: usize = 32;

/// What part of a resource a reply holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// 200 with everything.
    Whole,
    /// 206 with these parts, each `start .. end`, none empty, none behind the end.
    Parts(Vec<std::ops::Range<u64>>),
    /// 416.
    Nothing,
}

/// Reads a `Range` header against a length. What cannot be read is ignored, as RFC 9110 allows.
pub(crate) fn wanted(header: &str, len: u64) -> Wanted {
    let Some(specs) = after_unit(header).and_then(|specs| specs.strip_prefix('=')) else { return Wanted::Whole };
    let mut parts = Vec::new();
    let mut any = false;
    // Empty elements of a list are passed over (RFC 9110 section 5.6.1).
    let specs = specs.split(',').map(str::trim).filter(|spec| !spec.is_empty());
    for (count, spec) in specs.enumerate() {
        let Some((first, last)) = spec.split_once('-') else { return Wanted::Whole };
        if count >= RANGES_MAX {
            return Wanted::Whole;
        }
        let range = match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(len),
            (Some(first), None) if last.is_empty() => first..len,
            // The last so many bytes of an empty resource are all it has, and no `Content-Range` can say so.
            (None, Some(1..)) if first.is_empty() && len == 0 => return Wanted::Whole,
            (None, Some(suffix)) if first.is_empty() => len.saturating_sub(suffix)..len,
            _ => return Wanted::Whole,
        };
        any = true;
        if range.start < range.end {
            parts.push(range);
        }
    }
    if parts.is_empty() {
        return if any { Wanted::Nothing } else { Wanted::Whole };
    }
    let mut sorted: Vec<_> = parts.iter().collect();
    sorted.sort_by_key(|range| range.start);
    if sorted.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Wanted::Whole;
    }
    Wanted::Parts(parts)
}

/// What follows the unit `bytes`, whose case does not matter (RFC 9110 section 14.1).
fn after_unit(header: &str) -> Option<&str> {
    let header = header.trim();
    let (unit, rest) = (header.get(..5)?, header.get(5..)?);
    unit.eq_ignore_ascii_case("bytes").then_some(rest)
}

/// Decimal digits and nothing else; what is beyond 64 bits counts as the largest number.
pub(crate) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Where the body of a partial write goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WriteAt {
    /// From this offset; the body must have this length if it is given.
    Offset(u64, Option<u64>),
    /// Behind the present end.
    Append,
    /// So many bytes before the present end.
    FromEnd(u64),
}

/// `Content-Range: bytes first-last/total` of a PUT (Apache's partial PUT).
///
/// # Errors
/// 400 for anything else: taking it for a whole body would destroy the rest of the file.
pub(crate) fn content_range(header: &str) -> Result<WriteAt> {
    let refuse =
        || Refusal::bad_request("Content-Range of a PUT must be `bytes first-last/total`; nothing was changed");
    // Some clients write `=` for the space.
    let spec = after_unit(header).and_then(|spec| spec.strip_prefix([' ', '='])).ok_or_else(refuse)?;
    let (span, total) = spec.split_once('/').ok_or_else(refuse)?;
    let (first, last) = span.split_once('-').ok_or_else(refuse)?;
    let (first, last) = (number(first).ok_or_else(refuse)?, number(last).ok_or_else(refuse)?);
    let total_fits = total == "*" || number(total).is_some_and(|total| last < total);
    if first > last || last == u64::MAX || !total_fits {
        return Err(refuse());
    }
    Ok(WriteAt::Offset(first, Some(last - first + 1)))
}

/// `X-Update-Range` of a PATCH (SabreDAV): `bytes=first-last`, `bytes=first-`, `bytes=-n` (last n) or `append`.
///
/// # Errors
/// 400 for anything else.
pub(crate) fn update_range(header: &str) -> Result<WriteAt> {
    let refuse = || {
        Refusal::bad_request(
            "X-Update-Range must be `append`, `bytes=first-last`, `bytes=first-` or `bytes=-n`; nothing was changed",
        )
    };
    let header = header.trim();
    if header.eq_ignore_ascii_case("append") {
        return Ok(WriteAt::Append);
    }
    let spec = after_unit(header).and_then(|spec| spec.strip_prefix('='));
    let (first, last) = spec.and_then(|spec| spec.split_once('-')).ok_or_else(refuse)?;
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last && last < u64::MAX => {
            Ok(WriteAt::Offset(first, Some(last - first + 1)))
        }
        (Some(first), None) if last.is_empty() => Ok(WriteAt::Offset(first, None)),
        (None, Some(count)) if first.is_empty() => Ok(WriteAt::FromEnd(count)),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_of_a_range() {
        assert_eq!(wanted("bytes=0-3", 10), Wanted::Parts(vec![0..4]));
        assert_eq!(wanted("bytes=8-", 10), Wanted::Parts(vec![8..10]));
        assert_eq!(wanted("bytes=-3", 10), Wanted::Parts(vec![7..10]));
        assert_eq!(wanted("bytes=-30", 10), Wanted::Parts(vec![0..10]));
        assert_eq!(wanted("bytes=0-0, 5-99", 10), Wanted::Parts(vec![0..1, 5..10]));
        assert_eq!(wanted("Bytes=0-0,, 5-99,", 10), Wanted::Parts(vec![0..1, 5..10]));
        assert_eq!(wanted("bytes=4-99999999999999999999999", 10), Wanted::Parts(vec![4..10]));
    }

    #[test]
    fn a_range_behind_the_end_cannot_be_satisfied() {
        assert_eq!(wanted("bytes=10-", 10), Wanted::Nothing);
        assert_eq!(wanted("bytes=-0", 10), Wanted::Nothing);
        assert_eq!(wanted("bytes=0-", 0), Wanted::Nothing);
        assert_eq!(wanted("bytes=-0", 0), Wanted::Nothing);
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
            "bytes=",
            "bytes=,",
            "bytes=0-5,3-8",
            "bytes=0 - 3",
            "bytes =0-3",
            "bytes=+1-3",
        ] {
            assert_eq!(wanted(header, 10), Wanted::Whole, "{header}");
        }
        let many = (0..=RANGES_MAX).map(|at| format!("{0}-{0}", at * 2)).collect::<Vec<_>>().join(",");
        assert_eq!(wanted(&format!("bytes={many}"), 1000), Wanted::Whole);
    }

    #[test]
    fn the_forms_of_a_partial_write() {
        assert_eq!(content_range("bytes 2-5/10").unwrap(), WriteAt::Offset(2, Some(4)));
        assert_eq!(content_range("bytes 2-5/*").unwrap(), WriteAt::Offset(2, Some(4)));
        assert_eq!(update_range("bytes=2-").unwrap(), WriteAt::Offset(2, None));
        assert_eq!(update_range("bytes=-2").unwrap(), WriteAt::FromEnd(2));
        assert_eq!(update_range("append").unwrap(), WriteAt::Append);
        assert_eq!(content_range("Bytes=2-5/10").unwrap(), WriteAt::Offset(2, Some(4)));
        for header in [
            "bytes  2-5/10",
            "bytes==2-5/10",
            "bytes2-5/10",
            "bytes 2 - 5/10",
            "bytes 2-5/ 10",
            "bytes 5-2/10",
            "bytes 2-10/10",
            "bytes */10",
            "items 1-2/3",
            "bytes 1-2",
        ] {
            assert!(content_range(header).is_err(), "{header}");
        }
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
        #[test]
        fn a_partial_write_goes_where_it_says_and_nowhere_else(first: u32, more in 0..1000_u32, beyond in 0..3_u64) {
            let (first, last) = (u64::from(first), u64::from(first) + u64::from(more));
            let there = WriteAt::Offset(first, Some(u64::from(more) + 1));
            prop_assert_eq!(update_range(&format!("bytes={first}-{last}")).unwrap(), there);
            prop_assert_eq!(content_range(&format!("bytes {first}-{last}/*")).unwrap(), there);
            let with_total = content_range(&format!("bytes {first}-{last}/{}", last + beyond));
            prop_assert_eq!(with_total.is_ok(), beyond > 0);
            if more > 0 {
                let backwards = [format!("bytes {last}-{first}/*"), format!("bytes={last}-{first}")];
                prop_assert!(content_range(&backwards[0]).is_err());
                prop_assert!(update_range(&backwards[1]).is_err());
            }
        }
        #[test]
        fn any_text_that_is_read_as_a_partial_write_has_a_span_of_bytes(text in "bytes[= ]?[0-9]{0,21}-[0-9]{0,21}(/[0-9*]{0,21})?|.{0,40}") {
            for read in [content_range(&text), update_range(&text)].into_iter().flatten() {
                if let WriteAt::Offset(at, Some(len)) = read {
                    prop_assert!(len > 0 && at.checked_add(len).is_some(), "{text}: {read:?}");
                }
            }
        }
    }
}

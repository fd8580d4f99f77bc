//! Byte ranges to be written: `Content-Range` and `X-Update-Range`. Pure.

use strata_http::range::{after_unit, number};

use crate::error::{Refusal, Result};

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
mod tests {
    use super::*;
    use proptest::prelude::*;

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

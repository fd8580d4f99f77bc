//! The part of an object a reader asks for: the `Range` header and part numbers.

use std::ops::Range;

use s3s::{S3Error, S3ErrorCode};
use strata_http::range::{Asked, Spec, Wanted, unsatisfied};

use crate::error::refuse;

/// Reads a `Range` header. Several ranges are ignored, as S3 does: `None`.
pub(crate) fn asked(header: &str) -> Option<Asked> {
    Asked::parse(header, 1)
}

/// The bytes of an object of `len` bytes.
///
/// # Errors
/// `InvalidRange` if there are none.
pub(crate) fn resolve(asked: &Asked, len: u64) -> Result<Range<u64>, S3Error> {
    match asked.of(len) {
        Wanted::Parts(parts) => parts.first().cloned().ok_or_else(|| unsatisfiable(len)),
        Wanted::Whole => Ok(0..len),
        Wanted::Nothing => Err(unsatisfiable(len)),
    }
}

fn unsatisfiable(len: u64) -> S3Error {
    let mut err = refuse(S3ErrorCode::InvalidRange, "the requested range is not satisfiable");
    if let Ok(value) = unsatisfied(len).parse() {
        err.set_headers(http::HeaderMap::from_iter([(http::header::CONTENT_RANGE, value)]));
    }
    err
}

/// The bytes of part `number` of an object uploaded in parts of these sizes; an object uploaded whole is its only part.
///
/// # Errors
/// `InvalidPartNumber` if there is no such part.
pub(crate) fn of_part(number: i32, parts: &[u64], len: u64) -> Result<Range<u64>, S3Error> {
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    match index {
        Some(0) if parts.is_empty() => Ok(0..len),
        Some(index) if index < parts.len() => {
            let start: u64 = parts[..index].iter().sum();
            Ok(start..start + parts[index])
        }
        Some(_) => {
            let mut err =
                refuse(S3ErrorCode::Custom("InvalidPartNumber".into()), "the requested partnumber is not satisfiable");
            err.set_status_code(http::StatusCode::RANGE_NOT_SATISFIABLE);
            Err(err)
        }
        None => Err(refuse(S3ErrorCode::InvalidArgument, "part number must be an integer between 1 and 10000")),
    }
}

/// The range of `x-amz-copy-source-range`, which has only the form `bytes=first-last` and must lie inside the source.
///
/// # Errors
/// `InvalidArgument` otherwise, as S3 answers.
pub(crate) fn of_copy(header: Option<&str>, len: u64) -> Result<Range<u64>, S3Error> {
    let Some(header) = header else { return Ok(0..len) };
    match header.trim().strip_prefix("bytes=").and_then(Spec::parse) {
        Some(Spec::FromTo(first, last)) if last < len => Ok(first..last + 1),
        Some(Spec::FromTo(..)) => Err(refuse(
            S3ErrorCode::InvalidArgument,
            format!("range specified is not valid for source object of size: {len}"),
        )),
        _ => Err(refuse(
            S3ErrorCode::InvalidArgument,
            "the x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolved(header: &str, len: u64) -> Option<Result<Range<u64>, S3ErrorCode>> {
        asked(header).map(|asked| resolve(&asked, len).map_err(|err| err.code().clone()))
    }

    #[test]
    fn single_ranges_are_cut_to_the_object() {
        for (header, range) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("Bytes=2-4", 2..5),
            ("bytes= 2-4,", 2..5),
            ("bytes=5-", 5..10),
            ("bytes=-3", 7..10),
            ("bytes=0-99999999999999999999999", 0..10),
            ("bytes=-99", 0..10),
            ("bytes=9-9", 9..10),
        ] {
            assert_eq!(resolved(header, 10), Some(Ok(range)), "{header}");
        }
    }

    #[test]
    fn ranges_outside_the_object_cannot_be_satisfied() {
        for (header, len) in [
            ("bytes=10-", 10),
            ("bytes=10-12", 10),
            ("bytes=-0", 10),
            ("bytes=-0", 0),
            ("bytes=0-0", 0),
            ("bytes=0-", 0),
        ] {
            assert_eq!(resolved(header, len), Some(Err(S3ErrorCode::InvalidRange)), "{header}");
        }
    }

    #[test]
    fn the_last_bytes_of_an_empty_object_are_none() {
        assert_eq!(resolved("bytes=-5", 0), Some(Ok(0..0)));
    }

    #[test]
    fn what_is_no_single_byte_range_is_ignored() {
        for header in [
            "bytes=0-1,3-4",
            "items=0-1",
            "bytes=4-2",
            "bytes=-",
            "bytes=a-b",
            "bytes",
            "",
            "bytes=+1-2",
            "bytes=1 - 2",
        ] {
            assert_eq!(resolved(header, 10), None, "{header}");
        }
    }

    #[test]
    fn parts_are_found_by_their_number() {
        assert_eq!(of_part(2, &[5, 7, 1], 13).unwrap(), 5..12);
        assert_eq!(of_part(1, &[], 13).unwrap(), 0..13);
        for (number, parts) in [(0, &[5, 8][..]), (-1, &[5, 8]), (3, &[5, 8]), (2, &[])] {
            assert!(of_part(number, parts, 13).is_err(), "{number}");
        }
    }

    #[test]
    fn copy_ranges_must_lie_inside_the_source() {
        assert_eq!(of_copy(Some("bytes=2-9"), 10).unwrap(), 2..10);
        assert_eq!(of_copy(None, 10).unwrap(), 0..10);
        for header in ["bytes=2-10", "bytes=2-", "bytes=-2", "2-3", "Bytes=2-3", "bytes=2-3,"] {
            assert!(of_copy(Some(header), 10).is_err(), "{header}");
        }
    }

    proptest! {
        #[test]
        fn a_resolved_range_is_outside_of_no_object_and_empty_in_an_empty_one_only(
            header in "bytes=[0-9]{0,20}-[0-9]{0,20}", len in 0u64..1000
        ) {
            if let Some(Ok(range)) = resolved(&header, len) {
                prop_assert!((range.start < range.end || len == 0) && range.end <= len);
            }
        }
    }
}

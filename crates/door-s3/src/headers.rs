//! Object properties as HTTP headers, in both directions. What a client stored comes back byte for
//! byte; only user metadata beyond ASCII comes back encoded.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::{S3Error, S3ErrorCode};
use strata_http::conditions::Validators;
use strata_http::range::content_range;
use strata_namespace::{ObjectInfo, ObjectMeta};

use crate::checksum::ALGORITHMS;
use crate::error::refuse;

/// Headers kept with an object beside its user metadata.
const SYSTEM: [&str; 6] =
    ["cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"];
/// Start of the headers of user metadata.
const USER_PREFIX: &str = "x-amz-meta-";
/// Most user metadata of one object in bytes, names and values together: the limit of S3.
const USER_LEN_MAX: usize = 2 * 1024;
/// What an object is that was stored without a type.
const DEFAULT_TYPE: HeaderValue = HeaderValue::from_static("binary/octet-stream");

/// The properties that a request stores with an object.
///
/// # Errors
/// `MetadataTooLarge`; `InvalidArgument` for values that are no UTF-8.
pub(crate) fn object_meta(headers: &HeaderMap) -> Result<ObjectMeta, S3Error> {
    let mut meta = ObjectMeta::default();
    let mut user_len = 0;
    for name in headers.keys() {
        let name = name.as_str();
        let user = name.strip_prefix(USER_PREFIX);
        if user.is_none() && !SYSTEM.contains(&name) {
            continue;
        }
        let value = joined(headers, name)?;
        match user {
            Some(user) => {
                user_len += user.len() + value.len();
                meta.user.insert(user.to_owned(), value);
            }
            None if name == "content-encoding" => {
                if let Some(value) = without_aws_chunked(&value) {
                    meta.system.insert(name.to_owned(), value);
                }
            }
            None if value.is_empty() => {}
            None => {
                meta.system.insert(name.to_owned(), value);
            }
        }
    }
    if user_len > USER_LEN_MAX {
        return Err(refuse(
            S3ErrorCode::MetadataTooLarge,
            "your metadata headers exceed the maximum allowed metadata size of 2 KiB",
        ));
    }
    Ok(meta)
}

fn joined(headers: &HeaderMap, name: &str) -> Result<String, S3Error> {
    let values: Result<Vec<_>, _> =
        headers.get_all(name).iter().map(|value| std::str::from_utf8(value.as_bytes())).collect();
    values
        .map(|values| values.join(","))
        .map_err(|_| refuse(S3ErrorCode::InvalidArgument, format!("the header {name} is no UTF-8")))
}

/// Whether a content coding is the one that S3 clients send bodies in.
pub(crate) fn is_chunked(coding: &str) -> bool {
    coding.trim().eq_ignore_ascii_case("aws-chunked")
}

/// `aws-chunked` is how the request was sent, not what the object is; the rest stays as it is written.
fn without_aws_chunked(value: &str) -> Option<String> {
    let kept = value.split(',').filter(|coding| !is_chunked(coding));
    let kept = kept.collect::<Vec<_>>().join(",");
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// User metadata as a header: HTTP's values are no Unicode, so text beyond ASCII is written as RFC 2047 has it, as in S3.
fn mail_safe(value: &str) -> Cow<'_, str> {
    if value.is_ascii() { value.into() } else { format!("=?UTF-8?B?{}?=", BASE64.encode(value)).into() }
}

/// ETag and modification time: what a cache compares.
pub(crate) fn with_validators<R>(info: &ObjectInfo, then: impl FnOnce(&Validators<'_>) -> R) -> R {
    then(&Validators { etag: Some(&strata_etag::of(&info.tag)), modified: info.attr.mtime })
}

/// The headers of an answer with all or `range` of an object.
pub(crate) fn of_object(info: &ObjectInfo, range: Option<&std::ops::Range<u64>>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(16);
    with_validators(info, |validators| validators.add_to(&mut map));
    map.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    map.insert(CONTENT_TYPE, DEFAULT_TYPE);
    for (name, value) in &info.meta.system {
        if SYSTEM.contains(&name.as_str()) {
            insert(&mut map, name, value);
        }
    }
    for (name, value) in &info.meta.user {
        insert(&mut map, &format!("{USER_PREFIX}{name}"), &mail_safe(value));
    }
    let len = range.map_or(info.attr.size, |range| range.end - range.start);
    map.insert(CONTENT_LENGTH, HeaderValue::from(len));
    if let Some(range) = range {
        // An empty object has no range that could be written down; only asking for its one part gets here.
        if range.end > range.start {
            insert(&mut map, CONTENT_RANGE.as_str(), &content_range(range, info.attr.size));
        }
    }
    map
}

/// The stored checksums, for a client that asked for them.
pub(crate) fn add_checksums(map: &mut HeaderMap, info: &ObjectInfo) {
    let mut kind = None;
    for algorithm in ALGORITHMS {
        if let Some(value) = info.meta.checksums.get(algorithm.name()) {
            insert(map, algorithm.header(), value);
            kind = Some(if value.contains('-') { "COMPOSITE" } else { "FULL_OBJECT" });
        }
    }
    if let Some(kind) = kind {
        map.insert("x-amz-checksum-type", HeaderValue::from_static(kind));
    }
}

/// Adds a header; one that HTTP cannot carry is left out and counted for the client in `x-amz-missing-meta`, as in S3.
pub(crate) fn insert(map: &mut HeaderMap, name: &str, value: &str) {
    match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes())) {
        (Ok(name), Ok(value)) => {
            map.insert(name, value);
        }
        _ => {
            let before = map
                .get("x-amz-missing-meta")
                .and_then(|count| count.to_str().ok())
                .and_then(|count| count.parse().ok());
            map.insert("x-amz-missing-meta", HeaderValue::from(before.unwrap_or(0_u32) + 1));
        }
    }
}

/// Headers that a reader may replace in the answer, with the query parameters that do it.
const OVERRIDES: [(&str, &str); 6] = [
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-language", "content-language"),
    ("response-content-type", "content-type"),
    ("response-expires", "expires"),
];

/// Applies the `response-*` parameters of a signed read.
///
/// # Errors
/// `InvalidArgument` for values that no header can carry.
pub(crate) fn apply_overrides(map: &mut HeaderMap, query: &[(String, String)]) -> Result<(), S3Error> {
    for (name, value) in query {
        let Some((_, header)) = OVERRIDES.iter().find(|(parameter, _)| parameter == name) else {
            continue;
        };
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            refuse(S3ErrorCode::InvalidArgument, format!("the value of {name} cannot be sent as a header"))
        })?;
        map.insert(*header, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn system_and_user_headers_are_kept_and_others_are_not() {
        let meta = object_meta(&map(&[
            ("content-type", "text/plain"),
            ("expires", "whenever"),
            ("x-amz-meta-a", "1"),
            ("x-amz-meta-a", "2"),
            ("x-amz-meta-name", "Bjørn"),
            ("authorization", "canary"),
            ("x-amz-date", "canary"),
        ]))
        .unwrap();
        assert_eq!(
            meta.system.into_iter().collect::<Vec<_>>(),
            [("content-type".into(), "text/plain".into()), ("expires".into(), "whenever".into())]
        );
        assert_eq!(
            meta.user.into_iter().collect::<Vec<_>>(),
            [("a".to_owned(), "1,2".to_owned()), ("name".into(), "Bjørn".into())]
        );
    }

    #[test]
    fn the_transfer_coding_is_not_stored_as_the_content_coding() {
        let coding =
            |value| object_meta(&map(&[("content-encoding", value)])).unwrap().system.remove("content-encoding");
        assert_eq!(coding("aws-chunked"), None);
        assert_eq!(coding("AWS-Chunked"), None);
        assert_eq!(coding("gzip, aws-chunked"), Some("gzip".to_owned()));
        assert_eq!(coding("AWS-Chunked, gzip"), Some("gzip".to_owned()));
        for kept in ["gzip", "deflate, gzip", "deflate,gzip"] {
            assert_eq!(coding(kept).as_deref(), Some(kept));
        }
    }

    #[test]
    fn user_metadata_is_at_most_two_kibibytes() {
        let value = "x".repeat(2047);
        assert!(object_meta(&map(&[("x-amz-meta-a", &value)])).is_ok());
        let err = object_meta(&map(&[("x-amz-meta-ab", &value)])).unwrap_err();
        assert_eq!(err.code(), &S3ErrorCode::MetadataTooLarge);
    }

    #[test]
    fn values_that_http_cannot_carry_are_counted_instead_of_sent() {
        let mut map = HeaderMap::new();
        insert(&mut map, "x-amz-meta-a", "line\nbreak");
        insert(&mut map, "x-amz-meta-b c", "x");
        assert_eq!(map.get("x-amz-missing-meta").unwrap(), "2");
        assert_eq!(map.len(), 1);
    }
}

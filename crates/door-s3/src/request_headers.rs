//! What the door does with the headers of a request, each by name: a table.
//!
//! A header that asks for something this store does not do is refused: a client that asks for encryption, a lock or public
//! access must not believe that it got it. A condition is held by the operation or refused, never ignored: ignoring one
//! destroys what the client meant to keep.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::HeaderMap;
use s3s::{S3Error, S3ErrorCode};

use crate::error::{not_offered, refuse};
use crate::metrics::Operation;

/// Most bytes of all headers of a request together, names and values.
const HEADERS_LEN_MAX: usize = 16 * 1024;

/// What is done with a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// The operations that know it read it.
    Read,
    /// Read by the operations that know it, and nothing but digits.
    Number,
    /// A condition: held by the operations of [`holds`], refused by all others.
    Condition,
    /// The header has no effect here, for this reason.
    Nothing(&'static str),
    /// The header asks for something that is not there.
    Refused(&'static str),
    /// Refused for every value but these.
    Only(&'static [&'static str], &'static str),
}

use Rule::{Condition, Nothing, Number, Only, Read, Refused};

/// Every header that an operation of S3 knows. A name that ends with a hyphen stands for all that start so.
const RULES: &[(&str, Rule)] = &[
    ("cache-control", Read),
    ("content-disposition", Read),
    ("content-encoding", Read),
    ("content-language", Read),
    ("content-length", Read),
    ("content-md5", Read),
    ("content-type", Read),
    ("expires", Read),
    ("range", Read),
    ("if-match", Condition),
    ("if-none-match", Condition),
    ("if-modified-since", Condition),
    ("if-unmodified-since", Condition),
    ("if-range", Condition),
    ("x-amz-copy-source-if-match", Condition),
    ("x-amz-copy-source-if-none-match", Condition),
    ("x-amz-copy-source-if-modified-since", Condition),
    ("x-amz-copy-source-if-unmodified-since", Condition),
    ("x-amz-if-match-initiated-time", Condition),
    ("x-amz-if-match-last-modified-time", Condition),
    ("x-amz-if-match-size", Condition),
    ("x-amz-object-if-match", Condition),
    ("x-amz-rename-source-if-match", Condition),
    ("x-amz-rename-source-if-none-match", Condition),
    ("x-amz-rename-source-if-modified-since", Condition),
    ("x-amz-rename-source-if-unmodified-since", Condition),
    (
        "x-amz-acl",
        Only(&["private", "bucket-owner-full-control", "bucket-owner-read"], "public access by access control list"),
    ),
    ("x-amz-bucket-namespace", Only(&["global"], "a name space of buckets per account")),
    ("x-amz-bucket-object-lock-enabled", Only(&["false", "False"], "object lock")),
    ("x-amz-bypass-governance-retention", Nothing("nothing is retained")),
    ("x-amz-checksum-algorithm", Read),
    ("x-amz-checksum-crc32", Read),
    ("x-amz-checksum-crc32c", Read),
    ("x-amz-checksum-crc64nvme", Read),
    ("x-amz-checksum-md5", Refused("the checksum MD5")),
    ("x-amz-checksum-mode", Read),
    ("x-amz-checksum-sha1", Read),
    ("x-amz-checksum-sha256", Read),
    ("x-amz-checksum-sha512", Refused("the checksum SHA512")),
    ("x-amz-checksum-type", Read),
    ("x-amz-checksum-xxhash128", Refused("the checksum XXHASH128")),
    ("x-amz-checksum-xxhash3", Refused("the checksum XXHASH3")),
    ("x-amz-checksum-xxhash64", Refused("the checksum XXHASH64")),
    ("x-amz-copy-source", Read),
    ("x-amz-copy-source-range", Read),
    ("x-amz-copy-source-server-side-encryption", Refused("server-side encryption")),
    ("x-amz-copy-source-server-side-encryption-", Refused("server-side encryption")),
    ("x-amz-decoded-content-length", Number),
    ("x-amz-expected-bucket-owner", Read),
    ("x-amz-fwd-", Refused("object lambda")),
    ("x-amz-grant-", Refused("access control lists")),
    ("x-amz-max-parts", Number),
    ("x-amz-meta-", Read),
    ("x-amz-metadata-directive", Read),
    ("x-amz-mfa", Refused("multi-factor authentication")),
    ("x-amz-mp-object-size", Number),
    ("x-amz-object-annotation-directive", Only(&["COPY", "EXCLUDE"], "this annotation directive")),
    ("x-amz-object-attributes", Read),
    ("x-amz-object-lock-", Refused("object lock")),
    ("x-amz-object-ownership", Only(&["BucketOwnerEnforced"], "object ownership by writer")),
    ("x-amz-optional-object-attributes", Nothing("no object is archived, so none has a restore status")),
    ("x-amz-part-number-marker", Number),
    ("x-amz-rename-source", Refused("renaming an object")),
    ("x-amz-request-payer", Nothing("nobody is billed")),
    ("x-amz-request-route", Refused("object lambda")),
    ("x-amz-sdk-checksum-algorithm", Read),
    ("x-amz-server-side-encryption", Refused("server-side encryption")),
    ("x-amz-server-side-encryption-", Refused("server-side encryption")),
    ("x-amz-source-expected-bucket-owner", Read),
    ("x-amz-storage-class", Only(&["STANDARD", ""], "this storage class")),
    ("x-amz-tagging", Only(&[""], "object tagging")),
    ("x-amz-tagging-directive", Only(&["COPY", "REPLACE"], "this tagging directive")),
    ("x-amz-website-redirect-location", Refused("website redirection")),
    ("x-amz-write-offset-bytes", Refused("appending to an object")),
];

/// Headers that may come more than once: lists, and metadata, whose values are joined.
const LISTS: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "x-amz-object-attributes",
    "x-amz-optional-object-attributes",
];

/// The rules by name: every header of every request is looked up here.
static BY_NAME: LazyLock<HashMap<&str, Rule>> = LazyLock::new(|| RULES.iter().copied().collect());
/// The rules for names that stand for many headers.
static BY_START: LazyLock<Vec<(&str, Rule)>> =
    LazyLock::new(|| RULES.iter().copied().filter(|(name, _)| name.ends_with('-')).collect());

/// The rule for a header, if S3 knows it.
pub(crate) fn rule(name: &str) -> Option<Rule> {
    if let Some(rule) = BY_NAME.get(name) {
        return Some(*rule);
    }
    let rest = name.strip_prefix("x-amz-")?;
    let by_start = BY_START.iter().find(|(known, _)| name.starts_with(known));
    // Future conditions are recognised by their form, and refused.
    let looks_so = rest.starts_with("if-") || rest.contains("-if-");
    by_start.map(|(_, rule)| *rule).or(looks_so.then_some(Condition))
}

/// Refuses a request whose headers ask for what is not there, whatever the operation.
///
/// # Errors
/// `NotImplemented`, `InvalidStorageClass`, `InvalidArgument`, `InvalidRequest`, `RequestHeaderSectionTooLarge`.
pub(crate) fn refuse_unsupported(headers: &HeaderMap) -> Result<(), S3Error> {
    let mut len = 0;
    for (name, value) in headers {
        let name = name.as_str();
        len += name.len() + value.len();
        match rule(name) {
            Some(Refused(what)) => return Err(not_offered(what)),
            Some(Only(values, what)) if !values.iter().any(|known| known.as_bytes() == value.as_bytes()) => {
                return Err(match name {
                    "x-amz-storage-class" => refuse(
                        S3ErrorCode::InvalidStorageClass,
                        "the storage class you specified is not valid here; use STANDARD",
                    ),
                    _ => not_offered(what),
                });
            }
            Some(Number) if value.is_empty() || !value.as_bytes().iter().all(u8::is_ascii_digit) => {
                return Err(refuse(S3ErrorCode::InvalidArgument, format!("the header {name} is no number")));
            }
            _ => {}
        }
    }
    // Two readers could take different values. Conditions have a rule of their own.
    let single = |name: &&str| match rule(name) {
        None | Some(Condition) => false,
        Some(_) => !LISTS.contains(name) && !name.starts_with("x-amz-meta-"),
    };
    if headers.len() > headers.keys_len() {
        let mut names = headers.keys().map(http::HeaderName::as_str).filter(single);
        if let Some(name) = names.find(|name| headers.get_all(*name).iter().count() > 1) {
            return Err(refuse(S3ErrorCode::InvalidRequest, format!("the header {name} is given twice")));
        }
    }
    if len > HEADERS_LEN_MAX {
        return Err(refuse(
            S3ErrorCode::RequestHeaderSectionTooLarge,
            "your request headers exceed the maximum of 16 KiB",
        ));
    }
    Ok(())
}

/// The conditions that an operation holds.
pub(crate) fn holds(operation: Operation, condition: &str) -> bool {
    let of_target = matches!(condition, "if-match" | "if-none-match");
    let of_source = condition.starts_with("x-amz-copy-source-if-");
    match operation {
        Operation::GetObject | Operation::HeadObject => condition.starts_with("if-"),
        Operation::PutObject | Operation::CompleteMultipartUpload | Operation::DeleteObject => of_target,
        Operation::CopyObject => of_target || of_source,
        Operation::UploadPartCopy => of_source,
        _ => false,
    }
}

/// Refuses a request with a condition that its operation does not hold, or with part of a body where a whole one belongs.
///
/// # Errors
/// `NotImplemented`, as S3 answers it; `InvalidRequest`.
pub(crate) fn refuse_unheld(operation: Operation, headers: &HeaderMap) -> Result<(), S3Error> {
    let conditions = headers.keys().map(http::HeaderName::as_str).filter(|name| rule(name) == Some(Condition));
    for name in conditions {
        if !holds(operation, name) {
            return Err(not_offered(&format!("the condition {name} of {}", operation.name())));
        }
    }
    let whole = !matches!(operation, Operation::UploadPartCopy) && headers.contains_key("x-amz-copy-source-range");
    if whole || headers.contains_key(http::header::CONTENT_RANGE) {
        return Err(refuse(
            S3ErrorCode::InvalidRequest,
            format!("{} takes no range of bytes to write; nothing was changed", operation.name()),
        ));
    }
    Ok(())
}

/// Refuses to make a bucket for a request that brings the metadata of an object.
///
/// # Errors
/// `InvalidRequest`.
pub(crate) fn refuse_object_headers(headers: &HeaderMap) -> Result<(), S3Error> {
    match headers.keys().find(|name| name.as_str().starts_with("x-amz-meta-")) {
        Some(name) => Err(refuse(
            S3ErrorCode::InvalidRequest,
            format!(
                "a bucket has no {name}; nothing was changed; if this was to be an object, the bucket has to be in the path, or the server has to be started with --domain"
            ),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::TABLE;

    fn refused(name: &str, value: &str) -> Option<S3ErrorCode> {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        let map = HeaderMap::from_iter([(name, value.parse().unwrap())]);
        refuse_unsupported(&map).err().map(|err| err.code().clone())
    }

    #[test]
    fn every_header_of_every_operation_has_a_rule() {
        for known in TABLE.iter().filter(|known| known.offered.is_some()) {
            for header in known.headers.iter().map(|header| header.trim_end_matches('!')) {
                // A name that stands for many headers is tried with one of them.
                let name = if header.ends_with('-') { format!("{header}x") } else { header.to_owned() };
                assert!(rule(&name).is_some(), "nothing is said about {name} of {}", known.name);
            }
        }
    }

    #[test]
    fn every_condition_of_the_operations_that_change_objects_is_held_where_the_names_are_plain() {
        let held = |name: &str| {
            let known = TABLE.iter().find(|known| known.name == name).unwrap();
            let conditions = known.headers.iter().filter(|header| rule(header) == Some(Condition));
            conditions.filter(|header| !holds(known.offered.unwrap(), header)).copied().collect::<Vec<_>>()
        };
        for name in ["GetObject", "HeadObject", "PutObject", "CopyObject", "UploadPartCopy", "CompleteMultipartUpload"]
        {
            assert!(held(name).is_empty(), "{name}: {:?}", held(name));
        }
        // These conditions are refused.
        assert_eq!(held("DeleteObject"), ["x-amz-if-match-last-modified-time", "x-amz-if-match-size"]);
        assert_eq!(held("AbortMultipartUpload"), ["x-amz-if-match-initiated-time"]);
    }

    #[test]
    fn a_condition_that_nobody_knows_yet_is_one() {
        assert_eq!(rule("x-amz-if-nothing-changed"), Some(Condition));
        assert_eq!(rule("x-amz-copy-target-if-match"), Some(Condition));
        assert_eq!(rule("x-amz-meta-what-if-match"), Some(Read));
        assert_eq!(rule("x-amz-user-agent"), None);
    }

    #[test]
    fn what_would_be_silently_missing_is_refused() {
        for (name, value) in [
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-server-side-encryption-customer-key", "k"),
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-grant-read", "uri=all"),
            ("x-amz-acl", "public-read"),
            ("x-amz-tagging", "a=b"),
            ("x-amz-website-redirect-location", "/"),
            ("x-amz-write-offset-bytes", "5"),
            ("x-amz-bucket-object-lock-enabled", "true"),
            ("x-amz-object-ownership", "ObjectWriter"),
            ("x-amz-bucket-namespace", "account-regional"),
            ("x-amz-checksum-sha512", "x"),
        ] {
            assert_eq!(refused(name, value), Some(S3ErrorCode::NotImplemented), "{name}: {value}");
        }
        assert_eq!(refused("x-amz-storage-class", "GLACIER"), Some(S3ErrorCode::InvalidStorageClass));
        assert_eq!(refused("x-custom", &"x".repeat(17_000)), Some(S3ErrorCode::RequestHeaderSectionTooLarge));
    }

    #[test]
    fn numbers_are_digits_and_one_value_is_enough() {
        for value in ["", "-1", "+1", "1x", "0x1", "1 2"] {
            assert_eq!(refused("x-amz-mp-object-size", value), Some(S3ErrorCode::InvalidArgument), "{value}");
        }
        assert_eq!(refused("x-amz-mp-object-size", "12"), None);
        let twice = |name: &'static str| {
            let mut map = HeaderMap::new();
            map.append(name, "a".parse().unwrap());
            map.append(name, "b".parse().unwrap());
            refuse_unsupported(&map).is_err()
        };
        for name in ["range", "content-md5", "x-amz-copy-source", "x-amz-metadata-directive", "content-type"] {
            assert!(twice(name), "{name}");
        }
        for name in ["if-match", "x-amz-meta-a", "cache-control", "x-amz-object-attributes", "x-forwarded-for"] {
            assert!(!twice(name), "{name}");
        }
    }

    #[test]
    fn what_changes_nothing_is_accepted() {
        for (name, value) in [
            ("x-amz-acl", "private"),
            ("x-amz-storage-class", "STANDARD"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-meta-x", "AES256"),
            ("x-amz-request-payer", "requester"),
        ] {
            assert_eq!(refused(name, value), None, "{name}: {value}");
        }
    }
}

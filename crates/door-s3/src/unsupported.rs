//! Headers that ask for something this store does not do. They are refused: a client that asks for encryption, a lock or
//! public access must not believe that it got it.

use http::HeaderMap;
use s3s::{S3Error, S3ErrorCode};

use crate::error::{not_offered, refuse};

/// Most bytes of all headers of a request together, names and values.
const HEADERS_LEN_MAX: usize = 16 * 1024;

/// Features asked for by any header that starts so.
const PREFIXES: [(&str, &str); 4] = [
    ("x-amz-server-side-encryption", "server-side encryption"),
    ("x-amz-copy-source-server-side-encryption", "server-side encryption"),
    ("x-amz-object-lock-", "object lock"),
    ("x-amz-grant-", "access control lists"),
];

/// Features asked for by these headers, whatever their value.
const NAMES: [(&str, &str); 5] = [
    ("x-amz-website-redirect-location", "website redirection"),
    ("x-amz-write-offset-bytes", "appending to an object"),
    ("x-amz-mfa", "multi-factor authentication"),
    ("x-amz-rename-source", "renaming an object"),
    ("x-amz-fwd-status", "object lambda"),
];

/// Refuses a request whose headers ask for what is not there.
///
/// # Errors
/// `NotImplemented`, `InvalidStorageClass`, `RequestHeaderSectionTooLarge`.
pub(crate) fn refuse_unsupported(headers: &HeaderMap) -> Result<(), S3Error> {
    let mut len = 0;
    for (name, value) in headers {
        let name = name.as_str();
        len += name.len() + value.len();
        if !name.starts_with("x-amz-") {
            continue;
        }
        let by_prefix = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
        let by_name = NAMES.iter().find(|(unsupported, _)| name == *unsupported);
        if let Some((_, what)) = by_prefix.or(by_name) {
            return Err(not_offered(what));
        }
        let value = value.as_bytes();
        match name {
            // Everything here is private to its owner and group, so asking for that is no change.
            "x-amz-acl" if !matches!(value, b"private" | b"bucket-owner-full-control" | b"bucket-owner-read") => {
                return Err(not_offered("public access by access control list"));
            }
            "x-amz-storage-class" if !matches!(value, b"STANDARD" | b"") => {
                return Err(refuse(
                    S3ErrorCode::InvalidStorageClass,
                    "the storage class you specified is not valid here; use STANDARD",
                ));
            }
            "x-amz-tagging" if !value.is_empty() => return Err(not_offered("object tagging")),
            "x-amz-bucket-object-lock-enabled" if !value.eq_ignore_ascii_case(b"false") => {
                return Err(not_offered("object lock"));
            }
            "x-amz-object-ownership" if value != b"BucketOwnerEnforced" => {
                return Err(not_offered("object ownership by writer"));
            }
            _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &'static str, value: &str) -> Option<S3ErrorCode> {
        let map = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
        refuse_unsupported(&map).err().map(|err| err.code().clone())
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
        ] {
            assert_eq!(refused(name, value), Some(S3ErrorCode::NotImplemented), "{name}: {value}");
        }
        assert_eq!(refused("x-amz-storage-class", "GLACIER"), Some(S3ErrorCode::InvalidStorageClass));
        assert_eq!(refused("x-custom", &"x".repeat(17_000)), Some(S3ErrorCode::RequestHeaderSectionTooLarge));
    }

    #[test]
    fn what_changes_nothing_is_accepted() {
        for (name, value) in [
            ("x-amz-acl", "private"),
            ("x-amz-storage-class", "STANDARD"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-meta-x", "AES256"),
        ] {
            assert_eq!(refused(name, value), None, "{name}: {value}");
        }
    }
}

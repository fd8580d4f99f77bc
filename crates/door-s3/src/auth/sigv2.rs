//! Signature Version 2: the default of clients that were never told otherwise, presigned URLs of today's boto3 and AWS
//! command line among them.
//!
//! It covers less than Version 4: neither host nor region, no header but three and `x-amz-*`, no body, and of the query
//! only the names in [`SIGNED`]. What a request asks for must not depend on something that anybody on the way could add, so
//! of all other names only those in [`HARMLESS`] are let through.
//!
//! Source: "Signing and Authenticating REST Requests (AWS Signature Version 2)", Amazon S3 Developer Guide, and the list
//! of names in botocore (`auth.py`, `HmacV1Auth`), which is longer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::{S3Error, S3ErrorCode};

use super::hmac::hmac_sha1;
use crate::error::refuse;
use crate::route::is_ignored;

/// Names of the query that are part of what is signed.
const SIGNED: [&str; 35] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Names of the query that are not signed and choose no operation, but only which page of a list is shown, and how.
const HARMLESS: [&str; 17] = [
    "bucket-region",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "prefix",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
];

/// The names that carry the credentials of a presigned request.
pub(super) const CREDENTIALS: [&str; 3] = ["AWSAccessKeyId", "Expires", "Signature"];

/// Whether a name of the query stands for a header of the same name: a presigned request carries there what it signs.
pub(super) fn is_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("x-amz-") || name == "content-type" || name == "content-md5"
}

/// Refuses a query that asks for something nobody signed.
///
/// # Errors
/// `InvalidArgument`.
pub(super) fn refuse_unsigned(pairs: &[(String, String)], presigned: bool) -> Result<(), S3Error> {
    let covered = |name: &str| {
        SIGNED.contains(&name)
            || HARMLESS.contains(&name)
            || is_ignored(name)
            || (presigned && (CREDENTIALS.contains(&name) || is_header(name)))
    };
    match pairs.iter().find(|(name, _)| !covered(name)) {
        Some((name, _)) => Err(refuse(
            S3ErrorCode::InvalidArgument,
            format!("Signature Version 2 does not cover the query parameter '{name}'; sign with AWS4-HMAC-SHA256"),
        )),
        None => Ok(()),
    }
}

/// The headers of a request, with those its query stands for.
///
/// # Errors
/// `InvalidArgument` if a header comes twice with different values, or cannot be one.
pub(super) fn with_query_headers(headers: &HeaderMap, pairs: &[(String, String)]) -> Result<HeaderMap, S3Error> {
    let mut headers = headers.clone();
    for (name, value) in pairs.iter().filter(|(name, _)| is_header(name)) {
        let unusable = || refuse(S3ErrorCode::InvalidArgument, format!("the query parameter '{name}' cannot be used"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unusable())?;
        if headers.get(&name).is_some_and(|given| given != value) {
            return Err(refuse(S3ErrorCode::InvalidArgument, format!("{name} differs between header and query")));
        }
        headers.insert(name, value);
    }
    Ok(headers)
}

/// What a request looks like to the signature.
pub(super) struct Signable<'a> {
    pub(super) method: &'a str,
    /// The bucket that the host names, if it names one.
    pub(super) bucket: Option<&'a str>,
    /// The path as it came over the wire.
    pub(super) path: &'a str,
    pub(super) pairs: &'a [(String, String)],
    pub(super) headers: &'a HeaderMap,
    /// When it was signed or, presigned, when it ends; nothing where `x-amz-date` says it.
    pub(super) date: &'a str,
}

impl Signable<'_> {
    /// `None` if a header that is signed is no text.
    pub(super) fn string_to_sign(&self) -> Option<String> {
        let mut out = String::with_capacity(256);
        for text in [self.method, &self.joined("content-md5")?, &self.joined("content-type")?, self.date] {
            out.push_str(text);
            out.push('\n');
        }
        let mut names: Vec<&str> =
            self.headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("x-amz-")).collect();
        names.sort_unstable();
        for name in names {
            out.push_str(&format!("{name}:{}\n", self.joined(name)?));
        }
        out.push_str(&self.resource());
        Some(out)
    }

    /// All values of a header.
    fn joined(&self, name: &str) -> Option<String> {
        let values = self.headers.get_all(name).iter().map(|value| std::str::from_utf8(value.as_bytes()));
        let values = values.map(|value| value.map(str::trim)).collect::<Result<Vec<_>, _>>();
        values.ok().map(|values| values.join(","))
    }

    fn resource(&self) -> String {
        let mut out = self.bucket.map(|bucket| format!("/{bucket}")).unwrap_or_default();
        out.push_str(self.path);
        // A bucket alone is signed with a slash behind it, however the path is written.
        if self.bucket.is_none() && self.path.len() > 1 && !self.path[1..].contains('/') {
            out.push('/');
        }
        let mut signed: Vec<_> = self.pairs.iter().filter(|(name, _)| SIGNED.contains(&name.as_str())).collect();
        signed.sort();
        for (at, (name, value)) in signed.into_iter().enumerate() {
            out.push(if at == 0 { '?' } else { '&' });
            out.push_str(name);
            if !value.is_empty() {
                out.push('=');
                out.push_str(value);
            }
        }
        out
    }
}

/// The signature of a text, a form's policy among them.
pub(super) fn sign(secret: &str, text: &str) -> String {
    BASE64.encode(hmac_sha1(secret.as_bytes(), text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn resource(bucket: Option<&str>, path: &str, query: &[(&str, &str)]) -> String {
        let (headers, pairs) = (HeaderMap::new(), pairs(query));
        Signable { method: "GET", bucket, path, pairs: &pairs, headers: &headers, date: "" }.resource()
    }

    #[test]
    fn the_resource_is_the_path_with_what_chooses_the_operation_in_order() {
        for (bucket, path, query, expected) in [
            (None, "/b/k", &[][..], "/b/k"),
            (Some("b"), "/k", &[], "/b/k"),
            (None, "/", &[], "/"),
            (None, "/b", &[("acl", "")], "/b/?acl"),
            (None, "/b/", &[], "/b/"),
            (Some("b"), "/", &[("prefix", "x"), ("max-keys", "2")], "/b/"),
            (None, "/b/a%20b", &[("acl", "")], "/b/a%20b?acl"),
            (None, "/b/k", &[("uploadId", "7"), ("partNumber", "2")], "/b/k?partNumber=2&uploadId=7"),
            (None, "/b/k", &[("response-content-type", "text/x; a=b")], "/b/k?response-content-type=text/x; a=b"),
            (None, "/b/k", &[("AWSAccessKeyId", "K"), ("Expires", "1"), ("Signature", "S")], "/b/k"),
        ] {
            assert_eq!(resource(bucket, path, query), expected);
        }
    }

    #[test]
    fn every_name_that_chooses_an_operation_is_signed_or_refused() {
        for known in crate::route::TABLE.iter() {
            for name in known.selectors.iter().filter(|name| **name != "list-type") {
                let query = [(*name, "v")];
                let signed = resource(None, "/b", &query) != "/b/";
                assert!(signed || refuse_unsigned(&pairs(&query), true).is_err(), "{name} of {}", known.name);
            }
        }
    }

    #[test]
    fn pages_of_lists_go_through_and_headers_in_the_query_only_where_they_are_signed() {
        assert!(refuse_unsigned(&pairs(&[("list-type", "2"), ("prefix", "a"), ("x-id", "GetObject")]), false).is_ok());
        for name in ["x-amz-acl", "Content-Type", "Expires"] {
            assert!(refuse_unsigned(&pairs(&[(name, "v")]), true).is_ok(), "{name}");
            assert!(refuse_unsigned(&pairs(&[(name, "v")]), false).is_err(), "{name}");
        }
    }

    #[test]
    fn a_header_in_the_query_counts_once() {
        let map = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("text/a"))]);
        let with = |value| with_query_headers(&map, &pairs(&[("content-type", value), ("x-amz-meta-a", "1")]));
        assert_eq!(with("text/a").unwrap().len(), 2);
        assert!(with("text/b").is_err());
        assert!(with_query_headers(&map, &pairs(&[("x-amz-meta-a", "line\nbreak")])).is_err());
    }
}

//! Errors of the name space as S3 codes, without a catch-all arm, and the XML an error leaves the door as.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use s3s::{S3Error, S3ErrorCode};
use strata_namespace::{Error, ErrorKind};

/// The code of a full store, with 503: AWS never runs full and has none. `ServiceUnavailable` is that of lost disks.
const STORAGE_FULL: &str = "StorageFull";

/// An S3 error with a sentence for a person.
pub(crate) fn refuse(code: S3ErrorCode, message: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::with_message(code, message)
}

/// A feature this store does not have: said clearly, never ignored where ignoring it would change what the client gets.
pub(crate) fn not_offered(what: &str) -> S3Error {
    refuse(S3ErrorCode::NotImplemented, format!("{what} is not offered by this store"))
}

/// The S3 form of an error of the name space.
pub(crate) fn from_namespace(err: Error) -> S3Error {
    let code = code_of(err.kind);
    let inner = matches!(code, S3ErrorCode::InternalError);
    if inner {
        tracing::error!(kind = ?err.kind, error = %chain(&err), "request failed inside the store");
        return refuse(
            code,
            "the store failed inside; the operator finds the cause in its log; what was stored before is untouched",
        );
    }
    let mut refused = refuse(code, err.what);
    if refused.status_code().is_none() {
        let full = matches!(err.kind, ErrorKind::NoSpace);
        refused.set_status_code(if full { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT });
    }
    refused
}

fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut next = err.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The S3 form of an error of the content layer.
pub(crate) fn from_content(err: strata_namespace::ContentError) -> S3Error {
    from_namespace(Error::from(err))
}

/// Which code answers which kind. Every kind is named, so that a new one does not quietly become an internal error.
fn code_of(kind: ErrorKind) -> S3ErrorCode {
    match kind {
        ErrorKind::NotFound => S3ErrorCode::NoSuchKey,
        ErrorKind::NoSuchBucket => S3ErrorCode::NoSuchBucket,
        ErrorKind::NoSuchUpload => S3ErrorCode::NoSuchUpload,
        ErrorKind::BucketExists => S3ErrorCode::BucketAlreadyExists,
        ErrorKind::NotEmpty => S3ErrorCode::BucketNotEmpty,
        ErrorKind::AccessDenied | ErrorKind::NotPermitted => S3ErrorCode::AccessDenied,
        ErrorKind::NameTooLong => S3ErrorCode::KeyTooLongError,
        ErrorKind::InvalidName => S3ErrorCode::InvalidBucketName,
        ErrorKind::Invalid | ErrorKind::NoAttribute => S3ErrorCode::InvalidArgument,
        ErrorKind::NotSupported => S3ErrorCode::NotImplemented,
        ErrorKind::TooLarge => S3ErrorCode::EntityTooLarge,
        ErrorKind::PartTooSmall => S3ErrorCode::EntityTooSmall,
        ErrorKind::InvalidPart => S3ErrorCode::InvalidPart,
        ErrorKind::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
        ErrorKind::InvalidRange => S3ErrorCode::InvalidRange,
        ErrorKind::PreconditionFailed => S3ErrorCode::PreconditionFailed,
        ErrorKind::BadBody => S3ErrorCode::BadDigest,
        // S3 has no such case and so no such code. Its codes for 409 ask clients to try again.
        ErrorKind::Exists => S3ErrorCode::Custom("NameIsNoObject".into()),
        // A WebDAV lock, held for up to an hour or longer: an immediate retry would be in vain. It is no Object Lock.
        ErrorKind::Locked => S3ErrorCode::Custom("ResourceLocked".into()),
        // The name space changed under the request in a way that a retry resolves.
        ErrorKind::NotDirectory
        | ErrorKind::IsDirectory
        | ErrorKind::Stale
        | ErrorKind::TooManyLinks
        | ErrorKind::CrossDevice
        | ErrorKind::Loop => S3ErrorCode::OperationAborted,
        ErrorKind::Busy => S3ErrorCode::SlowDown,
        ErrorKind::NoSpace => S3ErrorCode::Custom(STORAGE_FULL.into()),
        ErrorKind::ReadOnly => S3ErrorCode::ServiceUnavailable,
        ErrorKind::Corrupt | ErrorKind::Io => S3ErrorCode::InternalError,
    }
}

/// What an error document says about the request, beside the error.
pub(crate) struct About<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) host_id: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) region: Option<&'a str>,
}

/// Adds what the library leaves out of an error document: words, the resource, and the ids of request and store, which
/// people paste into reports. A document that has them already stays as it is.
pub(crate) fn complete_document(xml: &Bytes, about: &About<'_>) -> Bytes {
    const END: &[u8] = b"</Error>";
    let Some(body) = xml.strip_suffix(END).filter(|body| !find(body, b"<RequestId>")) else {
        return xml.clone();
    };
    let mut out = Vec::with_capacity(xml.len() + 256 + about.resource.len());
    out.extend_from_slice(body);
    let mut element = |name: &str, text: &str| {
        out.extend_from_slice(format!("<{name}>{}</{name}>", escape(text)).as_bytes());
    };
    if !find(body, b"<Message>") {
        element("Message", &words(body));
    }
    element("Resource", about.resource);
    if let Some(region) = about.region {
        element("Region", region);
    }
    element("RequestId", about.request_id);
    element("HostId", about.host_id);
    out.extend_from_slice(END);
    out.into()
}

/// The code of an error document in words: `MethodNotAllowed` is "method not allowed".
fn words(document: &[u8]) -> String {
    let text = String::from_utf8_lossy(document);
    let code =
        text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("error", |(code, _)| code);
    if code == S3ErrorCode::MalformedXML.as_str() {
        return "the document is not well-formed, or lacks what one of this operation has".to_owned();
    }
    let mut out = String::with_capacity(code.len() + 8);
    for (at, c) in code.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            out.push(' ');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Text of an XML element.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_document_gets_words_its_ids_and_its_resource_escaped() {
        let xml = Bytes::from_static(b"<Error><Code>MethodNotAllowed</Code></Error>");
        let about = About { request_id: "00AB", host_id: "77", resource: "/b/<k>&\u{1}", region: None };
        let text = complete_document(&xml, &about);
        assert_eq!(
            String::from_utf8_lossy(&text),
            "<Error><Code>MethodNotAllowed</Code><Message>method not allowed</Message>\
             <Resource>/b/&lt;k&gt;&amp;</Resource><RequestId>00AB</RequestId><HostId>77</HostId></Error>"
        );
        assert_eq!(complete_document(&text, &About { request_id: "00CD", ..about }), text);
        let said = Bytes::from_static(b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>");
        let about = About { request_id: "", host_id: "", resource: "", region: None };
        assert_eq!(complete_document(&said, &about).windows(9).filter(|at| at == b"<Message>").count(), 1);
    }

    #[test]
    fn failures_inside_the_store_do_not_leave_the_door_with_their_details() {
        let err = from_namespace(Error::new(ErrorKind::Io, "disk /secret/path broke"));
        assert_eq!(err.code(), &S3ErrorCode::InternalError);
        assert!(!err.message().unwrap().contains("/secret/path"));
    }
}

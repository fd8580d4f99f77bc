//! Where a request carries its credentials, and whether it does so in exactly one place and one form.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use s3s::{S3Error, S3ErrorCode};

use super::sigv2::CREDENTIALS;
use crate::error::refuse;

/// The query parameters of a presigned request, each of which may appear once.
const PRESIGNED: [&str; 6] =
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"];

/// The credentials as sent, not yet looked at.
pub(super) enum Credentials<'a> {
    /// In the `Authorization` header.
    Header(&'a str),
    /// In the query: the values of [`PRESIGNED`], in that order.
    Query([&'a str; 6]),
    /// Signature Version 2 in the `Authorization` header: access key and signature.
    OldHeader([&'a str; 2]),
    /// Signature Version 2 in the query: access key, end and signature.
    OldQuery([&'a str; 3]),
}

/// Finds the one set of credentials.
///
/// # Errors
/// `AccessDenied` without any; `InvalidArgument` with two; `InvalidRequest` for other mechanisms than the Signature
/// Versions 4 and 2.
pub(super) fn find<'a>(headers: &'a HeaderMap, query: &'a [(String, String)]) -> Result<Credentials<'a>, S3Error> {
    let unsupported =
        || refuse(S3ErrorCode::InvalidRequest, "this authorization mechanism is not supported; use AWS4-HMAC-SHA256");
    let has = |name: &str| query.iter().any(|(given, _)| given == name);
    let in_query = PRESIGNED.iter().any(|name| has(name));
    let old = has("Signature") || has("AWSAccessKeyId");
    let mut in_header = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (in_header.next(), in_header.next());

    if second.is_some() || (first.is_some() && (in_query || old)) || (in_query && old) {
        return Err(refuse(
            S3ErrorCode::InvalidArgument,
            "only one set of credentials is allowed: a header or a query, not both",
        ));
    }
    // Temporary credentials are not issued here, so a session token can only be someone else's.
    if headers.contains_key("x-amz-security-token") || has("X-Amz-Security-Token") {
        return Err(refuse(S3ErrorCode::InvalidToken, "this store issues no session tokens"));
    }
    if let Some(value) = first {
        let value = value.to_str().map_err(|_| unsupported())?;
        if let Some(old) = value.strip_prefix("AWS ") {
            let (access_key, signature) = old.trim().split_once(':').ok_or_else(|| {
                refuse(
                    S3ErrorCode::InvalidArgument,
                    "AWS authorization header is invalid; expected AccessKeyId:signature",
                )
            })?;
            return Ok(Credentials::OldHeader([access_key, signature]));
        }
        if !value.starts_with("AWS4-HMAC-SHA256 ") {
            return Err(unsupported());
        }
        return Ok(Credentials::Header(value));
    }
    if old {
        return Ok(Credentials::OldQuery(each_once(query, CREDENTIALS, S3ErrorCode::AccessDenied)?));
    }
    if in_query {
        let values = each_once(query, PRESIGNED, S3ErrorCode::AuthorizationQueryParametersError)?;
        if values[0] != "AWS4-HMAC-SHA256" {
            return Err(unsupported());
        }
        return Ok(Credentials::Query(values));
    }
    Err(refuse(S3ErrorCode::AccessDenied, "anonymous requests are refused; sign the request"))
}

/// The values of parameters that a presigned request has once each.
fn each_once<'a, const N: usize>(
    query: &'a [(String, String)],
    names: [&str; N],
    code: S3ErrorCode,
) -> Result<[&'a str; N], S3Error> {
    let mut values = [""; N];
    for (slot, name) in values.iter_mut().zip(names) {
        let mut given = query.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
        match (given.next(), given.next()) {
            (Some(value), None) => *slot = value,
            _ => return Err(refuse(code, format!("a presigned request needs {name} exactly once"))),
        }
    }
    Ok(values)
}

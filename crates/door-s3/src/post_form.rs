//! Uploads by HTML form (POST policy). Their credentials are fields of the body, so the S3 library reads the form, checks
//! signature and policy, and the operation comes here to close what it leaves open: Signature Version 2, other regions,
//! forms without credentials, and the checksums of the file.
//!
//! The library holds the file in memory; [`FORM_FILE_LEN_MAX`] and [`FORMS_MAX`] bound that.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::PostObjectInput;
use s3s::{S3ErrorCode, S3Request, S3Result};
use strata_iam::Users;
use strata_namespace::{KEY_LEN_MAX, ObjectMeta};

use crate::auth::Payload;
use crate::body::{Promised, Upload};
use crate::context::Context;
use crate::door::Shared;
use crate::error::{not_offered, refuse};
use crate::headers;
use crate::metrics::Operation;
use crate::request_headers::refuse_unsupported;

/// Largest file of a form in bytes.
pub(crate) const FORM_FILE_LEN_MAX: u64 = 64 << 20;
/// Most bytes of one field of a form beside the file.
pub(crate) const FORM_FIELD_LEN_MAX: usize = 64 << 10;
/// Most bytes of all fields of a form beside the file.
pub(crate) const FORM_FIELDS_LEN_MAX: usize = 256 << 10;
/// Most fields of a form.
pub(crate) const FORM_FIELDS_MAX: usize = 100;
/// Most forms received at a time: together at most 256 MiB.
pub(crate) const FORMS_MAX: usize = 4;

mod filename;

pub(crate) use filename::{FormHead, Kept};

/// What a key may contain to mean the name of the file.
const FILENAME: &str = "${filename}";

/// Marks a request that came through the door for forms: only such a one may bring its credentials in the body.
#[derive(Clone, Debug)]
pub(crate) struct FormRequest(pub(crate) FormHead);

/// Gives the library the secret keys it needs to check a form's signature.
pub(crate) struct FormAuth(pub(crate) Arc<Users>);

#[async_trait::async_trait]
impl S3Auth for FormAuth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.by_access_key(access_key) {
            Some(user) => Ok(SecretKey::from(user.secret_key.expose())),
            None => Err(refuse(S3ErrorCode::InvalidAccessKeyId, "the access key does not exist in this store")),
        }
    }
}

/// Whether a request is a form.
pub(crate) fn is_form(method: &http::Method, headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    method == http::Method::POST && kind.eq_ignore_ascii_case("multipart/form-data")
}

/// Lets a form's operation go on: gives it the context that other requests get at the front.
pub(crate) fn admit(door: &Shared, req: &mut S3Request<PostObjectInput>) -> S3Result<()> {
    let denied = |what: &'static str| refuse(S3ErrorCode::AccessDenied, what);
    // Credentials are there only where the library found a policy, its signature right and its conditions met.
    let signed = req.credentials.as_ref().filter(|_| req.extensions.get::<FormRequest>().is_some());
    let credentials = signed.ok_or_else(|| denied("anonymous uploads are refused; sign the form's policy"))?;
    // The older signature carries no scope, and so no region.
    let region = req.region.as_ref().ok_or_else(|| {
        refuse(S3ErrorCode::InvalidRequest, "this authorization mechanism is not supported; use AWS4-HMAC-SHA256")
    })?;
    if region.as_str() != door.config.region || req.service.as_deref() != Some("s3") {
        return Err(refuse(
            S3ErrorCode::AuthorizationHeaderMalformed,
            format!("the form's credential scope is wrong; expecting region '{}' and service 's3'", door.config.region),
        ));
    }
    let user =
        door.users.by_access_key(&credentials.access_key).ok_or_else(|| denied("the form's user was removed"))?;
    if req.input.key.contains(FILENAME) {
        let name = req.extensions.get::<FormRequest>().and_then(|form| form.0.filename());
        let name = name.ok_or_else(|| {
            refuse(S3ErrorCode::InvalidArgument, "the key asks for the file's name, and the file has none")
        })?;
        req.input.key = req.input.key.replace(FILENAME, &name);
    }
    if req.input.key.is_empty() || req.input.key.len() > KEY_LEN_MAX {
        return Err(refuse(S3ErrorCode::KeyTooLongError, "a key has 1 to 1024 bytes"));
    }
    let fields = field_headers(&req.input)?;
    refuse_unsupported(&fields)?;
    if let Some(target) = &req.input.success_action_redirect {
        // After the file is stored would be too late to find that the answer cannot be given.
        target
            .parse::<http::Uri>()
            .ok()
            .filter(|uri| uri.scheme().is_some())
            .ok_or_else(|| refuse(S3ErrorCode::InvalidArgument, "success_action_redirect is no URL"))?;
    }
    let len = u64::try_from(req.input.content_length.unwrap_or(0)).unwrap_or(0);
    let body = req
        .input
        .body
        .take()
        .ok_or_else(|| refuse(S3ErrorCode::IncorrectNumberOfFilesInPostRequest, "a form needs exactly one file"))?;
    let promised = Promised::of_headers(&fields, &Payload::Unsigned, true)?;
    let upload = Upload::of_form(Box::pin(body), len, promised, Arc::clone(&door.metrics));
    req.extensions.insert(Arc::new(Context::new(user, Operation::PostObject, fields, Vec::new(), Some(upload))));
    Ok(())
}

/// The fields of a form that stand for headers, as headers.
fn field_headers(input: &PostObjectInput) -> S3Result<HeaderMap> {
    let enumerated = |value: Option<&str>| value.map(ToOwned::to_owned);
    let pairs = [
        ("content-md5", input.content_md5.clone()),
        ("x-amz-checksum-crc32", input.checksum_crc32.clone()),
        ("x-amz-checksum-crc32c", input.checksum_crc32c.clone()),
        ("x-amz-checksum-crc64nvme", input.checksum_crc64nvme.clone()),
        ("x-amz-checksum-sha1", input.checksum_sha1.clone()),
        ("x-amz-checksum-sha256", input.checksum_sha256.clone()),
        ("x-amz-acl", enumerated(input.acl.as_ref().map(|acl| acl.as_str()))),
        ("x-amz-storage-class", enumerated(input.storage_class.as_ref().map(|class| class.as_str()))),
        ("x-amz-server-side-encryption", enumerated(input.server_side_encryption.as_ref().map(|kind| kind.as_str()))),
        ("x-amz-server-side-encryption-customer-algorithm", input.sse_customer_algorithm.clone()),
        ("x-amz-tagging", input.tagging.clone()),
        ("x-amz-website-redirect-location", input.website_redirect_location.clone()),
        ("x-amz-object-lock-mode", enumerated(input.object_lock_mode.as_ref().map(|mode| mode.as_str()))),
    ];
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let Some(value) = value else { continue };
        let value = HeaderValue::from_str(&value)
            .map_err(|_| refuse(S3ErrorCode::InvalidArgument, format!("the form's field {name} cannot be used")))?;
        map.insert(HeaderName::from_static(name), value);
    }
    Ok(map)
}

/// The properties that a form stores with its object.
///
/// # Errors
/// As for a PUT; `NotImplemented` for an expiry date, which the library does not hand on as it was written.
pub(crate) fn object_meta(input: &PostObjectInput) -> S3Result<ObjectMeta> {
    if input.expires.is_some() {
        return Err(not_offered("the field Expires of a form"));
    }
    let system = [
        ("content-type", &input.content_type),
        ("cache-control", &input.cache_control),
        ("content-disposition", &input.content_disposition),
        ("content-encoding", &input.content_encoding),
        ("content-language", &input.content_language),
    ];
    let system = system.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
    let user = input
        .metadata
        .iter()
        .flatten()
        .map(|(name, value)| (format!("x-amz-meta-{}", name.to_lowercase()), value.clone()));
    let mut map = HeaderMap::new();
    for (name, value) in system.chain(user) {
        let unusable = |_| refuse(S3ErrorCode::InvalidArgument, "a field of the form cannot be kept as a header");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable(()))?;
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unusable(()))?);
    }
    headers::object_meta(&map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_post_of_form_data_is_a_form() {
        let map = |kind: &str| HeaderMap::from_iter([(http::header::CONTENT_TYPE, kind.parse().unwrap())]);
        assert!(is_form(&http::Method::POST, &map("Multipart/Form-Data; boundary=x")));
        assert!(!is_form(&http::Method::PUT, &map("multipart/form-data; boundary=x")));
        assert!(!is_form(&http::Method::POST, &map("application/xml")));
    }
}

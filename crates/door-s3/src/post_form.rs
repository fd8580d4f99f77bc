//! Uploads by HTML form (POST policy). Their credentials are fields of the body, so a form is proven here, before its file
//! is read: the signature over its policy, then the policy against its fields. The file is streamed like any other body.
//!
//! Source: "Browser-Based Uploads Using POST", Amazon S3 API Reference, in both signature versions.

use http::header::{ETAG, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::{Body, HttpResponse, S3Error, S3ErrorCode};
use strata_http::Received;
use strata_http::etag::quoted;
use strata_iam::User;
use strata_namespace::{KEY_LEN_MAX, ObjectInfo};

use crate::auth::Payload;
use crate::body::{Promised, Upload};
use crate::context::Context;
use crate::door::Shared;
use crate::error::{from_namespace, refuse};
use crate::headers::object_meta;
use crate::keys::Encoding;
use crate::metrics::Operation;
use crate::request_headers::{refuse_unheld, refuse_unsupported};

pub(crate) mod file;
mod policy;
mod reader;

use file::FormFile;
pub(crate) use reader::Fields;

/// What a key may contain to mean the name of the file.
const FILENAME: &str = "${filename}";

/// Fields that stand for headers of the same name, beside those that begin with `x-amz-`.
const HEADERS: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
];

/// Fields that carry the signature and begin like headers.
const SIGNING: [&str; 4] = ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"];

/// Whether a request is a form.
pub(crate) fn is_form(method: &http::Method, headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    method == http::Method::POST && kind.eq_ignore_ascii_case("multipart/form-data")
}

/// Answers a form, once `admit` has let its user in.
///
/// # Errors
/// The S3 error to answer with; nothing is stored then.
pub(crate) async fn answer(
    door: &Shared,
    parts: &Parts,
    body: Received,
    admit: impl FnOnce(&User) -> Result<(), S3Error>,
) -> Result<HttpResponse, S3Error> {
    let header = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let host = header(http::header::HOST);
    let (bucket, in_host) = bucket_of(door, host, parts.uri.path())?;
    // The length of the form, which is an upper limit for that of the file.
    let len = header(http::header::CONTENT_LENGTH).parse().map_err(|_| {
        refuse(S3ErrorCode::MissingContentLength, "you must provide the Content-Length HTTP header; nothing was stored")
    })?;
    let mut reader = reader::FormReader::new(header(http::header::CONTENT_TYPE), body)?;
    let fields = file::in_time(reader.fields()).await?;
    let now_secs = door.ns.now().secs();
    let user = door.verifier.verify_form(&fields, now_secs)?;
    admit(&user)?;
    let sizes = policy::check(&fields, fields.get("policy").unwrap_or_default(), &bucket, now_secs)?;
    let key = key_of(&fields)?;
    let reply = Answer::of_fields(&fields)?;
    let headers = headers_of(&fields)?;
    refuse_unsupported(&headers)?;
    refuse_unheld(Operation::PostObject, &headers)?;
    let meta = object_meta(&headers)?;
    let promised = Promised::of_headers(&headers, &Payload::Unsigned, true)?;
    let cx = Context::new(user, Operation::PostObject, headers, Vec::new(), None);
    let file = FormFile::open(reader, sizes).await?;
    let stored = door.store(&cx, &bucket, &key, meta, Upload::of_form(file, len, promised, door)).await;
    // An error also shows what was read.
    door.ns.settle(&cx.op).await.map_err(from_namespace)?;
    let path = Encoding::Url.write(key.as_bytes());
    let location = if in_host { format!("http://{host}/{path}") } else { format!("http://{host}/{bucket}/{path}") };
    Ok(reply.of(&bucket, &key, &location, &stored?))
}

/// The bucket that a form is sent to, and whether the host names it.
fn bucket_of(door: &Shared, host: &str, path: &str) -> Result<(String, bool), S3Error> {
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let path = path.trim_matches('/');
    match door.domains.bucket(host) {
        Some(bucket) if path.is_empty() => Ok((bucket, true)),
        None if !path.is_empty() && !path.contains('/') => Ok((path.to_owned(), false)),
        _ => Err(refuse(S3ErrorCode::MethodNotAllowed, "a form is sent to a bucket, and names its key in a field")),
    }
}

fn key_of(fields: &Fields) -> Result<String, S3Error> {
    let key = fields.get("key").filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| {
        refuse(
            S3ErrorCode::InvalidArgument,
            "bucket POST must contain a field named 'key'; if it is, put it before the file",
        )
    })?;
    let key = match (key.contains(FILENAME), &fields.filename) {
        (false, _) => key.to_owned(),
        (true, Some(name)) => key.replace(FILENAME, name),
        (true, None) => {
            return Err(refuse(
                S3ErrorCode::InvalidArgument,
                "the key asks for the file's name, and the file has none",
            ));
        }
    };
    match key.len() {
        1..=KEY_LEN_MAX => Ok(key),
        _ => Err(refuse(S3ErrorCode::KeyTooLongError, "a key has 1 to 1024 bytes")),
    }
}

/// The fields of a form that stand for headers, as headers.
fn headers_of(fields: &Fields) -> Result<HeaderMap, S3Error> {
    let mut map = HeaderMap::new();
    for (field, value) in fields.iter() {
        let name = match field {
            // Only under these names do forms have what is a header elsewhere.
            "acl" => "x-amz-acl",
            "tagging" => "x-amz-tagging",
            _ => field,
        };
        if SIGNING.contains(&name) || !(name.starts_with("x-amz-") || HEADERS.contains(&name)) {
            continue;
        }
        let unusable =
            || refuse(S3ErrorCode::InvalidArgument, format!("the form's field {field} cannot be used as a header"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        map.insert(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unusable())?);
    }
    Ok(map)
}

/// What a form asks to be answered with, known to be possible before anything is stored.
enum Answer {
    Status(StatusCode),
    Redirect(String),
}

impl Answer {
    /// # Errors
    /// `InvalidArgument` for a redirection that is no URL.
    fn of_fields(fields: &Fields) -> Result<Self, S3Error> {
        let target =
            fields.get("success_action_redirect").or(fields.get("redirect")).filter(|target| !target.is_empty());
        if let Some(target) = target {
            let valid = target.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some());
            return match valid {
                true => Ok(Self::Redirect(target.to_owned())),
                false => Err(refuse(S3ErrorCode::InvalidArgument, "success_action_redirect is no URL")),
            };
        }
        Ok(Self::Status(match fields.get("success_action_status") {
            Some("200") => StatusCode::OK,
            Some("201") => StatusCode::CREATED,
            _ => StatusCode::NO_CONTENT,
        }))
    }

    fn of(self, bucket: &str, key: &str, location: &str, info: &ObjectInfo) -> HttpResponse {
        let etag = quoted(&strata_etag::of(&info.tag));
        let mut response = HttpResponse::new(Body::empty());
        let location = match self {
            Self::Redirect(target) => {
                *response.status_mut() = StatusCode::SEE_OTHER;
                let joint = if target.contains('?') { '&' } else { '?' };
                let encode = |text: &str| Encoding::Url.write(text.as_bytes());
                format!("{target}{joint}bucket={}&key={}&etag={}", encode(bucket), encode(key), encode(&etag))
            }
            Self::Status(status) => {
                *response.status_mut() = status;
                if status == StatusCode::CREATED {
                    let escape = crate::error::escape;
                    let document = format!(
                        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><PostResponse><Location>{}</Location><Bucket>{}</Bucket><Key>{}</Key><ETag>{}</ETag></PostResponse>",
                        escape(location),
                        escape(bucket),
                        escape(key),
                        escape(&etag)
                    );
                    *response.body_mut() = Body::from(document);
                    let kind = HeaderValue::from_static("application/xml");
                    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
                }
                location.to_owned()
            }
        };
        for (name, value) in [(ETAG, &etag), (LOCATION, &location)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
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

    #[test]
    fn fields_that_stand_for_headers_become_headers_and_the_signature_does_not() {
        let fields = Fields::of(&[
            ("Content-Type", "text/a"),
            ("acl", "private"),
            ("x-amz-meta-a", "1"),
            ("x-amz-date", "20130524T000000Z"),
            ("success_action_status", "201"),
            ("key", "k"),
        ]);
        let map = headers_of(&fields).unwrap();
        let mut names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "x-amz-acl", "x-amz-meta-a"]);
        assert!(headers_of(&Fields::of(&[("content-type", "a\nb")])).is_err());
    }

    #[test]
    fn the_name_of_the_file_stands_in_the_key_where_the_key_asks_for_it() {
        let mut fields = Fields::of(&[("key", "up/${filename}")]);
        assert!(key_of(&fields).is_err());
        fields.filename = Some("a.txt".to_owned());
        assert_eq!(key_of(&fields).unwrap(), "up/a.txt");
        fields.filename = Some("x".repeat(KEY_LEN_MAX));
        assert_eq!(key_of(&fields).unwrap_err().code(), &S3ErrorCode::KeyTooLongError);
        assert!(key_of(&Fields::of(&[("key", "")])).is_err());
    }
}

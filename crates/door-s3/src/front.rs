//! One request from the wire to the S3 library: proven first, then its body stashed or read, then handed over without
//! anything the library would take for credentials or parse more strictly than S3 does.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, EXPIRES, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
    RANGE, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpResponse, S3Error, S3ErrorCode};
use strata_gate::{Held, Shares};
use strata_http::Received;
use strata_http::head::is_coded;
use strata_iam::User;
use strata_namespace::{ErrorKind, Op};

use crate::auth::{query_pairs, strip_credentials};
use crate::body::{Promised, Upload, framing};
use crate::context::{Context, Holder, Marks};
use crate::document;
use crate::door::{Operations, Shared};
use crate::error::{from_namespace, not_offered, refuse};
use crate::ingest::collect;
use crate::metrics::Operation;
use crate::post_form::{self, is_form};
use crate::request_headers::{refuse_object_headers, refuse_unheld, refuse_unsupported};
use crate::route::{self, Level};

/// Largest request document (XML) in bytes: a list of 10,000 parts with checksums has about 2 MiB.
const DOCUMENT_LEN_MAX: usize = 4 << 20;

/// Headers that this door reads itself, because the library refuses what S3 accepts: lists of ETags, malformed dates,
/// ranges to be ignored, expiry dates that are none.
const READ_HERE: [HeaderName; 10] = [
    RANGE,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
    EXPIRES,
    HeaderName::from_static("x-amz-copy-source-if-match"),
    HeaderName::from_static("x-amz-copy-source-if-none-match"),
    HeaderName::from_static("x-amz-copy-source-if-modified-since"),
    HeaderName::from_static("x-amz-copy-source-if-unmodified-since"),
];

/// The way of a request through the door.
pub(crate) struct Front {
    door: Arc<Shared>,
    service: S3Service,
    /// Requests in flight, by whose they are.
    places: Arc<Shares<Holder>>,
}

impl Front {
    pub(crate) fn new(door: Arc<Shared>) -> Self {
        let mut config = s3s::config::S3Config::default();
        config.xml_max_body_size = DOCUMENT_LEN_MAX;
        let mut builder = S3ServiceBuilder::new(Operations { door: Arc::clone(&door) });
        builder.set_config(Arc::new(s3s::config::StaticConfigProvider::new(Arc::new(config))));
        builder.set_host(door.domains.clone());
        Self { service: builder.build(), places: Shares::new(door.config.in_flight_max), door }
    }

    /// Answers a request of a client ([`strata_gate::client`]).
    ///
    /// # Errors
    /// The S3 error of a request that did not get as far as an operation.
    pub(crate) async fn answer(
        &self,
        client: IpAddr,
        request: Request<Received>,
        marks: &Arc<Marks>,
    ) -> Result<HttpResponse, S3Error> {
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(Arc::clone(marks));
        refuse_ambiguous(&parts)?;
        refuse_unsupported(&parts.headers)?;
        if is_form(&parts.method, &parts.headers) {
            marks.enter(Operation::PostObject);
            return self.answer_form(client, &parts, body, marks).await;
        }
        let now_secs = self.door.ns.now().secs();
        let verified = self.door.verifier.verify(&parts, now_secs)?;
        self.admit(&verified.user, marks)?;
        parts.headers.remove(AUTHORIZATION);
        if verified.presigned {
            if hoist(&mut parts, verified.old)? {
                refuse_unsupported(&parts.headers)?;
            }
            strip_credentials(&mut parts, verified.old)?;
        }
        let operation = self.route(&mut parts, &verified.user).await?;
        refuse_unheld(operation, &parts.headers)?;
        let headers = parts.headers.clone();
        let query = query_pairs(parts.uri.query().unwrap_or_default());
        // The checksum in a completion is that of the object to be made, not of the document that lists its parts.
        let completes = operation == Operation::CompleteMultipartUpload;
        let payload = framing(&headers, verified.payload)?;
        let promised = Promised::of_headers(&headers, &payload, !completes)?;
        let upload = Upload::of_wire(body, payload, promised, &self.door);
        for name in READ_HERE {
            parts.headers.remove(name);
        }
        let sent_in_chunks = parts.headers.remove(TRANSFER_ENCODING).is_some();
        // The body is an object's data, to be streamed, or a document.
        let (stashed, document) = if matches!(operation, Operation::PutObject | Operation::UploadPart) {
            // Only data needs a length: a document that is not there loses nothing.
            if !headers.contains_key(CONTENT_LENGTH) && !sent_in_chunks {
                return Err(refuse(
                    S3ErrorCode::MissingContentLength,
                    "you must provide the Content-Length HTTP header; nothing was stored",
                ));
            }
            (Some(upload), Bytes::new())
        } else {
            // A document is held whole, and once more while it is read.
            let len = 2 * usize::try_from(upload.len()).unwrap_or(usize::MAX).min(DOCUMENT_LEN_MAX);
            self.door.hold_document(verified.user.uid, len, marks)?;
            (None, document::plain(operation, collect(upload, DOCUMENT_LEN_MAX as u64).await?)?)
        };
        parts.headers.insert(CONTENT_LENGTH, document.len().into());
        parts.extensions.insert(Arc::new(Context::new(verified.user, operation, headers, query, stashed)));
        call(&self.service, Request::from_parts(parts, Body::from(document))).await
    }

    /// A place among the requests of all users, held until the answer has left.
    ///
    /// # Errors
    /// `SlowDown` for a user who has a share of them already.
    fn admit(&self, user: &User, marks: &Marks) -> Result<(), S3Error> {
        let place = self.place(Holder::User(user.uid))?;
        marks.of_user(user.uid);
        marks.admit(place);
        Ok(())
    }

    fn place(&self, holder: Holder) -> Result<Held<Holder>, S3Error> {
        self.places.take(holder).ok_or_else(|| {
            self.door.metrics.refused_for_load();
            let whose = match holder {
                Holder::User(_) => "requests of this user",
                Holder::Unproven(_) => "forms of this address",
            };
            refuse(S3ErrorCode::SlowDown, format!("too many {whose} are in flight; reduce your request rate"))
        })
    }

    async fn answer_form(
        &self,
        client: IpAddr,
        parts: &Parts,
        body: Received,
        marks: &Marks,
    ) -> Result<HttpResponse, S3Error> {
        // Credentials belong in the form: any others would be a second set.
        if parts.headers.contains_key(http::header::AUTHORIZATION) {
            return Err(refuse(
                S3ErrorCode::InvalidArgument,
                "only one set of credentials is allowed: a form carries them in its fields",
            ));
        }
        let query = query_pairs(parts.uri.query().unwrap_or_default());
        if let Some((key, _)) = query.iter().find(|(key, _)| !route::is_ignored(key)) {
            return Err(refuse(
                S3ErrorCode::InvalidArgument,
                format!("a form has no query parameter '{key}'; nothing was changed"),
            ));
        }
        refuse_unheld(Operation::PostObject, &parts.headers)?;
        // A form names its user in its body. Until that is read, the form counts for its client's address.
        let unproven = self.place(Holder::Unproven(client))?;
        let admit = |user: &User| {
            drop(unproven);
            self.admit(user, marks)
        };
        post_form::answer(&self.door, parts, body, admit).await
    }

    /// Finds the operation, and leaves the request with what that operation knows.
    async fn route(&self, parts: &mut Parts, user: &Arc<User>) -> Result<Operation, S3Error> {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let level = route::level_of(parts.uri.path(), self.door.domains.bucket(host).is_some());
        let resolved = route::resolve(&parts.method, level, &parts.uri, &parts.headers);
        // If a bucket is in the name of a host outside the domains, the path seen here has one name less.
        let suspect = match &resolved {
            Ok((operation, _)) => {
                matches!(operation, Operation::ListBuckets | Operation::CreateBucket | Operation::DeleteBucket)
            }
            Err(_) => level == Level::Root,
        };
        if suspect {
            self.refuse_bucket_in_host(&host.to_ascii_lowercase(), user).await?;
        }
        let (operation, uri) = resolved?;
        if operation == Operation::CreateBucket {
            refuse_object_headers(&parts.headers)?;
        }
        parts.uri = uri;
        Ok(operation)
    }

    /// Refuses a request that would list or change buckets, where its host looks as if it named one.
    async fn refuse_bucket_in_host(&self, host: &str, user: &Arc<User>) -> Result<(), S3Error> {
        for name in self.door.domains.perhaps_buckets(host) {
            let op = Op::new(user.caller(&crate::operations::DOOR));
            match self.door.ns.bucket(&op, name) {
                Ok(_) => {
                    self.door.ns.settle(&op).await.map_err(from_namespace)?;
                    return Err(refuse(
                        S3ErrorCode::InvalidRequest,
                        format!(
                            "the host '{host}' starts with the bucket '{name}', but this server has no domain of which it is a part, so the path alone names what is meant; nothing was changed; start the server with --domain and the rest of the host name, or use path-style requests to another name or address"
                        ),
                    ));
                }
                Err(err) if matches!(err.kind, ErrorKind::NoSuchBucket | ErrorKind::InvalidName) => {}
                Err(err) => return Err(from_namespace(err)),
            }
        }
        Ok(())
    }
}

/// Some clients sign headers of a presigned request by moving them into its query; they count as headers again. Their
/// checksums do not: they were computed before there was a body. Whether there were any.
///
/// # Errors
/// `InvalidArgument` for what no header can carry: left out, it would be ignored.
fn hoist(parts: &mut Parts, old: bool) -> Result<bool, S3Error> {
    let mut hoisted = false;
    for (name, value) in query_pairs(parts.uri.query().unwrap_or_default()) {
        let name = name.to_ascii_lowercase();
        let typed = old && (name == "content-type" || name == "content-md5");
        let kept = typed
            || name.strip_prefix("x-amz-").is_some_and(|rest| {
                const SIGNATURE: [&str; 8] = [
                    "algorithm",
                    "credential",
                    "date",
                    "expires",
                    "signedheaders",
                    "signature",
                    "content-sha256",
                    "security-token",
                ];
                !SIGNATURE.contains(&rest) && !rest.starts_with("checksum-") && !rest.starts_with("sdk-")
            });
        if !kept {
            continue;
        }
        hoisted = true;
        let unusable =
            || refuse(S3ErrorCode::InvalidArgument, format!("the query parameter {name} cannot be a header"));
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unusable())?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        // A second value is added beside the header: whatever takes only one value refuses two.
        if typed {
            parts.headers.entry(name).or_insert(value);
        } else if parts.headers.get(&name) != Some(&value) {
            parts.headers.append(name, value);
        }
    }
    Ok(hoisted)
}

async fn call(service: &S3Service, request: Request<Body>) -> Result<HttpResponse, S3Error> {
    service.call(request).await.map_err(|err| {
        tracing::error!(error = ?err, "the S3 library failed");
        refuse(S3ErrorCode::InternalError, "the store failed inside")
    })
}

/// Requests whose length two readers could understand differently, and such without a host.
fn refuse_ambiguous(parts: &Parts) -> Result<(), S3Error> {
    let several = |name: &HeaderName| parts.headers.get_all(name).iter().count() > 1;
    if (parts.headers.contains_key(TRANSFER_ENCODING) && parts.headers.contains_key(CONTENT_LENGTH))
        || several(&CONTENT_LENGTH)
        || several(&TRANSFER_ENCODING)
    {
        return Err(refuse(S3ErrorCode::InvalidRequest, "the length of the request is given twice"));
    }
    if is_coded(&parts.headers) {
        return Err(not_offered("a transfer coding other than chunked"));
    }
    if parts.headers.get_all(HOST).iter().count() != 1 {
        return Err(refuse(S3ErrorCode::InvalidRequest, "the request needs exactly one Host header"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_with_two_lengths_or_hosts_is_refused() {
        let check = |pairs: &[(&str, &str)]| {
            let request = pairs.iter().fold(Request::builder(), |builder, (name, value)| builder.header(*name, *value));
            refuse_ambiguous(&request.body(()).unwrap().into_parts().0).is_ok()
        };
        assert!(check(&[("host", "a"), ("content-length", "1")]));
        assert!(!check(&[("host", "a"), ("content-length", "1"), ("transfer-encoding", "chunked")]));
        assert!(!check(&[("host", "a"), ("content-length", "1"), ("content-length", "1")]));
        assert!(!check(&[("host", "a"), ("host", "b")]));
        assert!(!check(&[]));
    }
}

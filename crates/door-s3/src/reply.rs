//! The answer on its way out: what the S3 library leaves undone is completed here, for every answer alike.
//!
//! HEAD, 204 and 304 never carry a body; errors always carry the request's id; bytes are counted as they leave, and a
//! request counts as in flight until its last byte.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SERVER, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use s3s::{Body, HttpResponse, S3Error, StdError};
use tokio::sync::OwnedSemaphorePermit;

use crate::auth::REGION_HEADER;
use crate::context::Marks;
use crate::error::{About, complete_document};
use crate::keys::without_raw_controls;
use crate::metrics::{Gauge, Operation, S3Metrics};
use crate::ops::Status;

/// What an answer needs to know about its request.
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// The path as sent, for error documents.
    pub(crate) resource: String,
    pub(crate) request_id: String,
    /// Names the store, for error documents.
    pub(crate) host_id: String,
}

/// The answer to a request that ended with an error before it was an operation.
pub(crate) fn of_error(err: S3Error) -> HttpResponse {
    let (status, headers) = (err.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), err.headers().cloned());
    let mut response = err.to_http_response().unwrap_or_else(|_| Response::new(Body::empty()));
    *response.status_mut() = status;
    response.headers_mut().extend(headers.unwrap_or_default());
    response
}

/// Completes an answer.
pub(crate) fn complete(mut response: HttpResponse, asked: &Asked, operation: Operation) -> HttpResponse {
    if let Some(Status(status)) = response.extensions_mut().remove() {
        *response.status_mut() = status;
    }
    let status = response.status();
    // An error with headers of its own loses its type in the library.
    if response.body().bytes().is_some_and(|body| body.starts_with(b"<?xml")) {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    }
    let failed = status.is_client_error() || status.is_server_error();
    let bodiless =
        asked.method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if bodiless {
        drop_body(&mut response, failed || status == StatusCode::NOT_MODIFIED);
    } else if let Some(document) = response.body().bytes().filter(|document| !document.is_empty()) {
        let document = match operation {
            _ if failed => {
                let region = response.headers().get(REGION_HEADER).and_then(|region| region.to_str().ok());
                let Asked { resource, request_id, host_id, .. } = asked;
                complete_document(&document, &About { request_id, host_id, resource, region })
            }
            Operation::GetObjectAttributes => unquote_etag(&document),
            _ => document,
        };
        if is_xml(response.headers()) {
            *response.body_mut() = Body::from(without_raw_controls(document));
        }
    }
    let headers = response.headers_mut();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    headers.insert(SERVER, HeaderValue::from_static("StrataFS"));
    if let Ok(id) = HeaderValue::from_str(&asked.request_id) {
        headers.insert("x-amz-request-id", id);
    }
    if let Ok(id) = HeaderValue::from_str(&asked.host_id) {
        headers.insert("x-amz-id-2", id);
    }
    response
}

fn is_xml(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/xml")
}

/// The length of a HEAD is that of the object; the length of an error document nobody gets is nobody's.
fn drop_body(response: &mut HttpResponse, forget_length: bool) {
    *response.body_mut() = Body::empty();
    response.headers_mut().remove(TRANSFER_ENCODING);
    if forget_length {
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().remove(CONTENT_TYPE);
    }
}

/// S3 writes this one ETag without quotes, alone among all its documents.
fn unquote_etag(document: &Bytes) -> Bytes {
    match std::str::from_utf8(document) {
        Ok(text) => text.replacen("<ETag>\"", "<ETag>", 1).replacen("\"</ETag>", "</ETag>", 1).into(),
        Err(_) => document.clone(),
    }
}

/// What an answer holds on to until its last byte has left.
pub(crate) struct Held {
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// With the user's place.
    pub(crate) _marks: Arc<Marks>,
    pub(crate) _gauge: Gauge,
}

/// The body of an answer.
pub(crate) struct ReplyBody {
    inner: Body,
    metrics: Arc<S3Metrics>,
    _held: Held,
}

impl ReplyBody {
    pub(crate) fn new(inner: Body, metrics: Arc<S3Metrics>, held: Held) -> Self {
        Self { inner, metrics, _held: held }
    }
}

impl HttpBody for ReplyBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(task);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.metrics.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::refuse;
    use s3s::S3ErrorCode;

    fn asked(method: Method) -> Asked {
        Asked { method, resource: "/b/k".to_owned(), request_id: "00AB".to_owned(), host_id: "77".to_owned() }
    }

    #[test]
    fn an_error_names_its_request_and_its_resource() {
        let response = of_error(refuse(S3ErrorCode::NoSuchKey, "gone"));
        let response = complete(response, &asked(Method::GET), Operation::GetObject);
        let text = String::from_utf8(response.body().bytes().unwrap().to_vec()).unwrap();
        assert!(
            text.contains("<Code>NoSuchKey</Code>")
                && text.contains("<RequestId>00AB</RequestId>")
                && text.contains("<HostId>77</HostId>")
                && text.contains("<Resource>/b/k</Resource>"),
            "{text}"
        );
        assert_eq!(
            (response.status().as_u16(), response.headers()["x-amz-request-id"].to_str().unwrap()),
            (404, "00AB")
        );
    }

    #[test]
    fn head_and_bodiless_statuses_never_carry_a_body() {
        let head =
            complete(of_error(refuse(S3ErrorCode::NoSuchKey, "gone")), &asked(Method::HEAD), Operation::HeadObject);
        assert!(head.body().bytes().unwrap().is_empty() && !head.headers().contains_key(CONTENT_TYPE));
        let mut err = S3Error::new(S3ErrorCode::NotModified);
        err.set_status_code(StatusCode::NOT_MODIFIED);
        err.set_headers(HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("\"e\""))]));
        let not_modified = complete(of_error(err), &asked(Method::GET), Operation::GetObject);
        assert_eq!(not_modified.status(), StatusCode::NOT_MODIFIED);
        assert!(not_modified.body().bytes().unwrap().is_empty() && not_modified.headers()["etag"] == "\"e\"");
    }

    #[test]
    fn a_wrong_region_is_answered_with_the_right_one() {
        let mut err = refuse(S3ErrorCode::AuthorizationHeaderMalformed, "the region 'x' is wrong; expecting 'eu-1'");
        err.set_headers(HeaderMap::from_iter([(REGION_HEADER, HeaderValue::from_static("eu-1"))]));
        let response = complete(of_error(err), &asked(Method::GET), Operation::Other);
        let text = String::from_utf8(response.body().bytes().unwrap().to_vec()).unwrap();
        assert!(text.contains("<Region>eu-1</Region>"), "{text}");
    }

    #[test]
    fn the_etag_among_attributes_has_no_quotes() {
        let document = Bytes::from_static(b"<R><ETag>\"abc\"</ETag></R>");
        assert_eq!(&unquote_etag(&document)[..], b"<R><ETag>abc</ETag></R>");
    }
}

//! Connections, served over HTTP/1.1.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, DATE, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use s3s::S3ErrorCode;
use strata_gate::{Ends, Seat, Seats, Serves, client, listen};
use strata_http::{Answers, HEADERS_MAX, Received, Terms, Waits, date};
use strata_seam::Stopwatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::context::Marks;
use crate::door::{S3Door, Shared};
use crate::error::refuse;
use crate::front::Front;
use crate::metrics::Operation;
use crate::reply::{Asked, Held, ReplyBody, complete, of_error};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may be idle, as long as nobody else needs its seat. Pools of clients keep connections for a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Most bytes read from a connection at a time; with it, the longest head of a request.
const READ_BUFFER_LEN_MAX: usize = 256 * 1024;

struct Server {
    door: Arc<Shared>,
    front: Front,
    in_flight: Arc<Semaphore>,
    next_id: AtomicU64,
    /// The store's id, by which answers of different stores are told apart.
    host_id: String,
}

/// Serves the door on `listener` until `shutdown` resolves; then no connection is accepted any more, requests under way
/// go on for at most the configured time, and what is left after that is cut.
pub async fn serve(listener: TcpListener, door: S3Door, shutdown: impl Future<Output = ()>) {
    let door = door.shared;
    let in_flight = Arc::new(Semaphore::new(door.config.in_flight_max));
    let seats = Seats::new(door.config.connections_max, usize::MAX);
    let drain = door.config.drain;
    // Request ids of different starts differ, so that an id pasted into a report means one request.
    let next_id = AtomicU64::new(door.ns.boot_id() << 32);
    let host_id = hex::encode(door.ns.store_id());
    let server = Arc::new(Server { front: Front::new(Arc::clone(&door)), door, in_flight, next_id, host_id });
    listen(listener, server, seats, drain, shutdown).await;
}

impl Serves for Server {
    fn name(&self) -> &'static str {
        "s3"
    }
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, seat: Arc<Seat>, ends: Ends) {
        let _gauge = self.door.metrics.connection();
        let waits = Waits { head: HEAD_TIMEOUT, idle: Some(IDLE_TIMEOUT) };
        let pace = self.door.config.pace;
        let terms = Terms { door: self.name(), head_len_max: READ_BUFFER_LEN_MAX, waits, pace };
        strata_http::serve(stream, peer, seat, ends, &terms, self).await;
    }
}

impl Answers for Server {
    type Body = ReplyBody;

    async fn answer(&self, peer: SocketAddr, request: Request<Received>) -> Response<ReplyBody> {
        let begun = Stopwatch::start();
        let asked = Asked {
            method: request.method().clone(),
            resource: request.uri().path().to_owned(),
            request_id: self.request_id(),
            host_id: self.host_id.clone(),
        };
        let unasked = ends_unasked(&request);
        let metrics = &self.door.metrics;
        let marks = Arc::new(Marks::default());
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().ok();
        let held = Held { permit, _marks: Arc::clone(&marks), _gauge: metrics.request() };
        let answered = if held.permit.is_some() {
            self.front.answer(client(peer.ip()), request, &marks).await
        } else {
            metrics.refused_for_load();
            Err(refuse(S3ErrorCode::SlowDown, "too many requests are in flight; reduce your request rate"))
        };
        let operation = marks.operation();
        // Lists are counted; if there is no room for one, it is not kept for a client that may be slow to take it. Objects are
        // counted where they are read, and a change is answered in any case.
        let lists = asked.method == Method::GET && operation != Operation::GetObject;
        let answered = answered.and_then(|answer| match answer.body().bytes() {
            Some(document) if lists => self.door.hold_document(marks.uid(), document.len(), &marks).map(|()| answer),
            _ => Ok(answer),
        });
        let mut response = complete(answered.unwrap_or_else(of_error), &asked, operation);
        let status = response.status();
        if unasked {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        tracing::debug!(id = %asked.request_id, method = %asked.method, operation = operation.name(), status = status.as_u16(), "answered");
        metrics.answered(operation, status.as_u16(), begun.elapsed());
        response.map(|body| ReplyBody::new(body, Arc::clone(metrics), held))
    }

    fn refusal(&self, status: StatusCode) -> Option<Response<Bytes>> {
        let (code, message) = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
                S3ErrorCode::RequestHeaderSectionTooLarge,
                format!("the head of the request is too long or has more than {HEADERS_MAX} headers"),
            ),
            StatusCode::URI_TOO_LONG => {
                (S3ErrorCode::InvalidURI, "the target of the request is longer than 64 KiB".to_owned())
            }
            _ => (S3ErrorCode::Custom("BadRequest".into()), "the request is no HTTP/1.1".to_owned()),
        };
        let mut error = refuse(code, message);
        error.set_status_code(status);
        let asked = Asked {
            method: Method::GET,
            resource: String::new(),
            request_id: self.request_id(),
            host_id: self.host_id.clone(),
        };
        tracing::debug!(id = %asked.request_id, status = status.as_u16(), "a head was refused");
        let mut response = complete(of_error(error), &asked, Operation::Other);
        if let Ok(date) = HeaderValue::try_from(date::format(self.door.ns.now())) {
            response.headers_mut().insert(DATE, date);
        }
        Some(response.map(|document| document.bytes().unwrap_or_default()))
    }
}

impl Server {
    fn request_id(&self) -> String {
        format!("{:016X}", self.next_id.fetch_add(1, Ordering::Relaxed))
    }
}

/// Whether the client waits for `100 Continue` although it has no body to send.
///
/// A final answer without that interim one is right, but botocore (seen with 1.43) keeps the state of having had it for the
/// next request on the same connection, takes that one's answer apart wrongly, and waits for more until the connection
/// ends. So after such an answer the connection is closed. Bodies that are read are asked for by hyper.
fn ends_unasked(request: &Request<Received>) -> bool {
    let expects = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    request.headers().get(EXPECT).is_some_and(expects) && request.body().is_end_stream()
}

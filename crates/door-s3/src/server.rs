//! Connections, served over HTTP/1.1.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::S3ErrorCode;
use strata_gate::{Ends, PacedStream, Seat, Seats, Serves, client, listen};
use strata_seam::Stopwatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::body::Received;
use crate::connection::{Busy, Connection, Phase};
use crate::context::Marks;
use crate::door::{S3Door, Shared};
use crate::error::refuse;
use crate::front::Front;
use crate::headers::http_date;
use crate::metrics::Operation;
use crate::reply::{Asked, Held, ReplyBody, complete, of_error};

/// Most headers of a request.
const HEADERS_MAX: usize = 100;
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
        connection(self, stream, peer, seat, ends).await;
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream, peer: SocketAddr, seat: Arc<Seat>, mut ends: Ends) {
    let _gauge = server.door.metrics.connection();
    let phase = Arc::new(Phase::new(seat));
    let stream = PacedStream::new(stream, server.door.config.pace);
    let refuse = {
        let server = Arc::clone(&server);
        Box::new(move |status| server.refuse_head(status))
    };
    let stream = Connection::new(stream, Arc::clone(&phase), refuse);
    let service = service_fn(|request| {
        let (server, phase) = (Arc::clone(&server), Arc::clone(&phase));
        async move {
            // Nothing begins any more on a connection whose seat was given to another.
            let Some(busy) = phase.busy() else { std::future::pending().await };
            Ok::<_, Infallible>(server.answer(client(peer.ip()), request, &phase, busy).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The stream itself tells a slow head from an idle client.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(READ_BUFFER_LEN_MAX)
        // A client that has sent all it will may end its half: it still waits for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ends.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(err) = ended {
        tracing::debug!(%peer, error = %err, "a connection ended early");
    }
}

impl Server {
    fn request_id(&self) -> String {
        format!("{:016X}", self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// The whole answer to a head that the HTTP library refused.
    fn refuse_head(&self, status: StatusCode) -> Bytes {
        let (code, message) = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
                S3ErrorCode::RequestHeaderSectionTooLarge,
                "the head of the request is too long or has more than 100 headers",
            ),
            StatusCode::URI_TOO_LONG => (S3ErrorCode::InvalidURI, "the target of the request is longer than 64 KiB"),
            _ => (S3ErrorCode::Custom("BadRequest".into()), "the request is no HTTP/1.1"),
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
        let response = complete(of_error(error), &asked, Operation::Other);
        let document = response.body().bytes().unwrap_or_default();
        let mut answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", document.len());
        answer.push_str(&format!("date: {}\r\n", http_date(self.door.ns.now())));
        for (name, value) in response.headers() {
            answer.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
        }
        answer.push_str("\r\n");
        [answer.as_bytes(), &document].concat().into()
    }

    async fn answer(
        &self,
        client: IpAddr,
        request: Request<Incoming>,
        phase: &Arc<Phase>,
        busy: Busy,
    ) -> Response<ReplyBody> {
        let begun = Stopwatch::start();
        let asked = Asked {
            method: request.method().clone(),
            resource: request.uri().path().to_owned(),
            request_id: self.request_id(),
            host_id: self.host_id.clone(),
        };
        let unasked = ends_unasked(&request);
        let (request, received) = Received::of(request);
        let metrics = &self.door.metrics;
        let marks = Arc::new(Marks::default());
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().ok();
        let held = Held { permit, _marks: Arc::clone(&marks), _gauge: metrics.request(), _busy: busy };
        let answered = if held.permit.is_some() {
            self.front.answer(client, request, &marks).await
        } else {
            metrics.refused_for_load();
            Err(refuse(S3ErrorCode::SlowDown, "too many requests are in flight; reduce your request rate"))
        };
        let operation = marks.operation();
        // Lists are counted; where there is no room for one, it is not kept for a client that may be slow to take it. Objects are
        // counted where they are read, and what changed something is told in any case.
        let lists = asked.method == Method::GET && operation != Operation::GetObject;
        let answered = answered.and_then(|answer| match answer.body().bytes() {
            Some(document) if lists => self.door.hold_document(marks.uid(), document.len(), &marks).map(|()| answer),
            _ => Ok(answer),
        });
        let mut response = complete(answered.unwrap_or_else(of_error), &asked, operation);
        let status = response.status();
        let unread = !received.load(Ordering::Acquire);
        if unread {
            phase.leave_unread();
        }
        // Where the body was not read the library ends the connection: what follows on it could be anything.
        if unread || unasked {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        tracing::debug!(id = %asked.request_id, method = %asked.method, operation = operation.name(), status = status.as_u16(), "answered");
        metrics.answered(operation, status.as_u16(), begun.elapsed());
        response.map(|body| ReplyBody::new(body, Arc::clone(metrics), held))
    }
}

/// Whether the client waits for `100 Continue` although it has no body to send.
///
/// A final answer without that interim one is right, but botocore (seen with 1.43) keeps the state of having had it for the
/// next request on the same connection, takes that one's answer apart wrongly, and waits for more until the connection
/// ends. So after such an answer the connection is closed. Bodies that are read are asked for by hyper.
fn ends_unasked(request: &Request<Incoming>) -> bool {
    let expects = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    request.headers().get(EXPECT).is_some_and(expects) && request.body().is_end_stream()
}

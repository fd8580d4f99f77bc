//! One connection, served over HTTP/1.1 to its end.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use strata_gate::{Ends, Pace, PacedStream, Seat, Unsent};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::{Leaving, Received};
use crate::connection::Connection;
use crate::phase::Phase;

/// Most headers that a request may have; more are answered with 431.
pub const HEADERS_MAX: usize = 100;

/// What a connection runs over: a socket, or a wrapper of one.
pub trait Stream: AsyncRead + AsyncWrite + Unsent + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unsent + Unpin + Send + 'static> Stream for S {}

/// What [`serve`] needs from a door. One value serves one connection or all of them.
pub trait Answers: Send + Sync + 'static {
    /// The body of its answers.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static;

    /// Answers one request. The request counts as running until the body of the answer is dropped.
    fn answer(&self, peer: SocketAddr, request: Request<Received>)
    -> impl Future<Output = Response<Self::Body>> + Send;

    /// The door's document for a head that the HTTP library refused with this status (400, 414 or 431). Without one the status is sent
    /// without a body.
    fn refusal(&self, _status: StatusCode) -> Option<Response<Bytes>> {
        None
    }

    /// Called with all bytes that arrive, heads and bodies, before any of them is parsed. For counters.
    fn arrived(&self, _bytes: &[u8]) {}
}

/// The limits under which a connection is served.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The door's name, for the log.
    pub door: &'static str,
    /// Most bytes read at a time; with it, the longest head of a request. At least 8 KiB.
    pub head_len_max: usize,
    /// How long a client is waited for while no request of it is worked on.
    pub waits: Waits,
    /// How slow it may be in taking answers.
    pub pace: Pace,
}

/// How long the server waits for a client.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// From the first byte of a head to its last, and from the beginning of the connection.
    pub head: Duration,
    /// Between two requests, as long as nobody else needs its seat. Without it, a head has its time from the request before.
    pub idle: Option<Duration>,
}

/// Serves the connection of a client until either ends it. After [`Ends::asked`] it ends with the request under way.
///
/// A client that ended its half is still answered. One that is gone, or was too slow, is given up without a word: what was to be its
/// answer is dropped, which may be at any point.
pub async fn serve<S: Stream, A: Answers>(
    stream: S,
    peer: SocketAddr,
    seat: Arc<Seat>,
    mut ends: Ends,
    terms: &Terms,
    answers: Arc<A>,
) {
    let phase = Phase::new(seat);
    let stream = PacedStream::new(stream, terms.pace);
    let stream = Connection::new(stream, Arc::clone(&phase), Arc::clone(&answers), terms.waits);
    let service = service_fn(|request| {
        let (answers, phase) = (Arc::clone(&answers), Arc::clone(&phase));
        async move {
            // Nothing begins any more on a connection whose seat was given to another.
            let Some(busy) = phase.busy() else { std::future::pending().await };
            let request = Received::of(request);
            let whole = request.body().whole();
            let mut answer = answers.answer(peer, request).await;
            // A request that is refused for lack of room gets none by waiting for the rest of its body.
            let spared = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
            let goes_on = whole.is_received() || !spared && whole.lets_go_on().await;
            phase.leaves_unread(!goes_on);
            // If more of the body may come, the library ends the connection: what follows on it could be anything.
            if !goes_on {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer.map(|body| Leaving::new(body, busy)))
        }
    });
    let connection = http1::Builder::new()
        // The stream itself tells a slow head from an idle client.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(terms.head_len_max)
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
    if let Err(error) = ended {
        tracing::debug!(door = terms.door, %peer, %error, "a connection ended early");
    }
}

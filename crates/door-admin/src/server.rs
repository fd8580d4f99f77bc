//! The server loop: few connections, each with its timeouts, and a shutdown that lets requests finish.
//!
//! Health must be answered whoever holds sockets open, and no number of silent clients may take descriptors from the other
//! doors: few connections, of which the one without a request for longest makes room for one more.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use strata_gate::{Ends, Seat, Seats, Serves, listen};
use tokio::net::{TcpListener, TcpStream};

use crate::api::AdminDoor;

/// Most connections; one more takes the place of one that does nothing.
pub(crate) const CONNECTIONS_MAX: usize = 64;
/// Longest wait for the head of a request, on a new connection and between requests.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest head, in bytes.
const HEAD_LEN_MAX: usize = 16 << 10;
/// How long requests in progress may go on after a shutdown was asked for.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves; then requests in progress have five seconds to finish.
pub async fn serve(listener: TcpListener, door: AdminDoor, shutdown: impl Future<Output = ()> + Send + 'static) {
    let seats = Seats::new(CONNECTIONS_MAX, CONNECTIONS_MAX);
    listen(listener, Arc::new(Server { router: crate::api::router(door) }), seats, DRAIN_TIME_MAX, shutdown).await;
}

struct Server {
    router: Router,
}

impl Serves for Server {
    fn name(&self) -> &'static str {
        "admin"
    }
    fn waits(&self) -> bool {
        false
    }
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, seat: Arc<Seat>, ends: Ends) {
        connection(self.router.clone(), stream, peer, seat, ends).await;
    }
}

async fn connection(router: Router, stream: TcpStream, peer: SocketAddr, seat: Arc<Seat>, mut ends: Ends) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        let busy = seat.busy();
        request.extensions_mut().insert(ConnectInfo(peer));
        let answering = router.call(request);
        async move {
            // Nothing begins any more on a connection whose seat was given to another.
            let Some(busy) = busy else { std::future::pending().await };
            let answer = answering.await;
            drop(busy);
            answer
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_LEN_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = ends.asked() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

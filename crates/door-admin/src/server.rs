//! The server loop: few connections, each with its timeouts, and a shutdown that lets requests finish.
//!
//! Health must be answered whoever holds sockets open, and silent clients must not take descriptors from the other doors. So there are few
//! connections, and the one that has been without a request for longest is closed for a new one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use strata_gate::{Ends, Pace, Seat, Seats, Serves, listen};
use strata_http::{Answers, Received, Terms, Waits};
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
        let waits = Waits { head: HEAD_TIME_MAX, idle: None };
        let terms = Terms { door: self.name(), head_len_max: HEAD_LEN_MAX, waits, pace: Pace::default() };
        strata_http::serve(stream, peer, seat, ends, &terms, self).await;
    }
}

impl Answers for Server {
    type Body = Body;

    async fn answer(&self, peer: SocketAddr, mut request: Request<Received>) -> Response<Body> {
        request.extensions_mut().insert(ConnectInfo(peer));
        let Ok(answer) = TowerToHyperService::new(self.router.clone()).call(request).await;
        answer
    }
}

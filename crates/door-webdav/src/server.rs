//! Connections, served over HTTP/1.1.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use strata_gate::{Ends, PacedStream, Seat, Seats, Serves, listen};
use tokio::net::{TcpListener, TcpStream};

use crate::connection::{Connection, Wire};
use crate::door::WebDavDoor;
use crate::front;
use crate::metrics::Raised;

/// Largest request head in bytes; also how much of a body is read at a time.
const READ_BUFFER: usize = 256 * 1024;

/// Serves until `shutdown` resolves; then requests in progress have [`crate::DavConfig::drain_timeout`] to finish.
pub async fn serve(listener: TcpListener, door: Arc<WebDavDoor>, shutdown: impl Future<Output = ()> + Send) {
    let seats = Seats::new(door.config.connections_max, usize::MAX);
    let drain = door.config.drain_timeout;
    listen(listener, door, seats, drain, shutdown).await;
}

impl Serves for WebDavDoor {
    fn name(&self) -> &'static str {
        "webdav"
    }
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, seat: Arc<Seat>, ends: Ends) {
        connection(self, stream, peer.ip(), seat, ends).await;
    }
}

async fn connection(door: Arc<WebDavDoor>, stream: TcpStream, peer: IpAddr, seat: Arc<Seat>, mut ends: Ends) {
    let _open = Raised::new(&door.metrics, |metrics| &metrics.connections);
    let wire = Wire::new(seat);
    let io = TokioIo::new(Connection::new(PacedStream::new(stream, door.config.pace), wire.clone()));
    let service = {
        let door = door.clone();
        service_fn(move |request| {
            let (door, wire) = (door.clone(), wire.clone());
            async move {
                // Nothing begins any more on a connection whose seat was given to another.
                let Some(working) = wire.turn.begin() else { std::future::pending().await };
                front::handle(door, request, peer, wire, working).await
            }
        })
    };
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.config.head_timeout)
        .max_buf_size(READ_BUFFER)
        // A client that has sent all it will may end its half: it still waits for the reply.
        .half_close(true)
        .serve_connection(io, service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = ends.asked() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a webdav connection ended early");
    }
}

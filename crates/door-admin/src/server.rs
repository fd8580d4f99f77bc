//! The server loop: few connections, each with its timeouts, and a shutdown that lets requests finish.
//!
//! Health must be answered whoever holds sockets open, and no number of silent clients may take descriptors from the other
//! doors: few connections, of which the one without a request for longest makes room for one more.

use std::io;
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
use strata_gate::{Seat, Seats};
use strata_seam::{Said, Stopwatch};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::AdminDoor;

/// Most connections; one more takes the place of one that does nothing.
pub(crate) const CONNECTIONS_MAX: usize = 64;
/// Longest wait for the head of a request, on a new connection and between requests.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest head, in bytes.
const HEAD_LEN_MAX: usize = 16 << 10;
/// How long to wait after an `accept` that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests in progress may go on after a shutdown was asked for.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves; then requests in progress have five seconds to finish.
///
/// # Errors
/// None at present; a failing `accept` is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    door: AdminDoor,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = crate::api::router(door);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let seats = Seats::new(CONNECTIONS_MAX, CONNECTIONS_MAX);
    let mut shutdown = pin!(shutdown);
    let (mut said, begun) = (Said::default(), Stopwatch::start());
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match seats.take(peer.ip()) {
                    Ok(seat) => {
                        connections.spawn(connection(router.clone(), stream, peer, seat, stopping.clone()));
                    }
                    Err(full) => tracing::debug!(%peer, error = %full, "an admin connection was refused"),
                },
                Err(error) => {
                    if said.is_new(&error, begun.elapsed().as_nanos() as u64) {
                        tracing::warn!(%error, "the admin listener cannot accept connections for now");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let _ = stop.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIME_MAX, drained).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

async fn connection(
    router: Router,
    stream: TcpStream,
    peer: SocketAddr,
    seat: Arc<Seat>,
    mut stopping: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "an admin connection could not be set to send at once");
    }
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
    let stop = async { drop(stopping.wait_for(|stop| *stop).await) };
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = seat.left() => Ok(()),
        () = stop => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

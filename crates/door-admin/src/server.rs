//! The server loop: few connections, each with its timeouts, and a shutdown that lets requests finish.
//!
//! Health must be answered whoever holds sockets open: when all places are taken and one more client comes, the oldest
//! connection without a request in progress makes room. So no number of silent clients keeps others out, or takes
//! descriptors from the other doors.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use strata_seam::{Said, Stopwatch};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
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

/// What is known of an open connection.
#[derive(Default)]
struct Open {
    /// Requests in progress on it.
    requests: AtomicU32,
    /// Told that it must make room.
    leave: Notify,
}

/// A request in progress, as long as it lives.
struct Busy(Arc<Open>);

impl Busy {
    fn on(open: &Arc<Open>) -> Self {
        open.requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

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
    // Oldest first; those whose task has ended are dropped when room is looked for.
    let mut open: VecDeque<Arc<Open>> = VecDeque::new();
    let mut shutdown = pin!(shutdown);
    let (mut said, begun) = (Said::default(), Stopwatch::start());
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Only its connection's task holds on to an open one.
                    open.retain(|open| Arc::strong_count(open) > 1);
                    if open.len() >= CONNECTIONS_MAX && !make_room(&mut open) {
                        tracing::debug!(%peer, "an admin connection was refused: all of them have requests in progress");
                        continue;
                    }
                    let known = Arc::new(Open::default());
                    open.push_back(Arc::clone(&known));
                    connections.spawn(connection(router.clone(), stream, peer, known, stopping.clone()));
                }
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

/// Has the oldest connection without a request in progress closed; false if there is none.
fn make_room(open: &mut VecDeque<Arc<Open>>) -> bool {
    let Some(idle) = open.iter().position(|open| open.requests.load(Ordering::Relaxed) == 0) else {
        return false;
    };
    if let Some(idle) = open.remove(idle) {
        idle.leave.notify_one();
    }
    true
}

async fn connection(
    router: Router,
    stream: TcpStream,
    peer: SocketAddr,
    open: Arc<Open>,
    mut stopping: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "an admin connection could not be set to send at once");
    }
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        let busy = Busy::on(&open);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answering = router.call(request);
        async move {
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
        () = open.leave.notified() => Ok(()),
        () = stop => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

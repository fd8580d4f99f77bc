//! The server loop: connections within a limit, each with its timeouts, and a shutdown that lets requests finish.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use strata_gate::{PacedStream, Seat, Seats};
use strata_seam::{Said, Stopwatch};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connection::{Connection, Wire};
use crate::door::WebDavDoor;
use crate::front;
use crate::metrics::Raised;

/// Largest request head in bytes; also how much of a body is read at a time.
const READ_BUFFER: usize = 256 * 1024;
/// How long to wait after an `accept` that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` resolves; then requests in progress have [`crate::DavConfig::drain_timeout`] to finish.
///
/// # Errors
/// None at present; a failing `accept` is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    door: Arc<WebDavDoor>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let seats = Seats::new(door.config.connections_max, usize::MAX);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let (mut said, begun) = (Said::default(), Stopwatch::start());
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let (stream, peer) = listener.accept().await?;
            Ok((stream, peer, seats.take_when_one_is_free(peer.ip()).await))
        };
        let accepted: io::Result<_> = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((_, peer, None)) => {
                tracing::debug!(%peer, "an address has its share of the connections; one more is closed");
            }
            Ok((stream, peer, Some(seat))) => {
                connections.spawn(connection(Arc::clone(&door), stream, peer.ip(), seat, stopping.clone()));
            }
            Err(error) => {
                if said.is_new(&error, begun.elapsed().as_nanos() as u64) {
                    tracing::warn!(%error, "the webdav listener cannot accept connections for now");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = stop.send(true);
    let drained =
        tokio::time::timeout(door.config.drain_timeout, async { while connections.join_next().await.is_some() {} })
            .await;
    if drained.is_err() {
        tracing::warn!(connections = connections.len(), "webdav connections are cut off at the end of the drain time");
        connections.shutdown().await;
    }
    Ok(())
}

async fn connection(
    door: Arc<WebDavDoor>,
    stream: TcpStream,
    peer: IpAddr,
    seat: Arc<Seat>,
    mut stopping: watch::Receiver<bool>,
) {
    let _open = Raised::new(&door.metrics, |metrics| &metrics.connections);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a webdav connection could not be set to send at once");
    }
    let wire = Wire::new(Arc::clone(&seat));
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
        tracing::debug!(%error, "a webdav connection ended early");
    }
}

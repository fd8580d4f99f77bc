//! The server loop: connections within a limit, each with its timeouts, and a shutdown that lets requests finish.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use strata_gate::{PacedStream, Shares, client};
use strata_seam::{Said, Stopwatch};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
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
    let slots = Arc::new(Semaphore::new(door.config.connections_max));
    let by_address = Shares::new(door.config.connections_max);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let (mut said, begun) = (Said::default(), Stopwatch::start());
    loop {
        // The slot is taken before the connection: beyond the limit, clients wait in the listener's queue.
        let accepted = async {
            let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, peer)| (stream, peer, slot))
        };
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = accepted => match accepted {
                Ok((stream, peer, slot)) => {
                    let Some(place) = by_address.take(client(peer.ip())) else {
                        tracing::debug!(%peer, "an address has its share of the connections; one more is closed");
                        continue;
                    };
                    let (door, stopping) = (door.clone(), stopping.clone());
                    connections.spawn(async move {
                        connection(door, stream, peer.ip(), stopping).await;
                        drop((place, slot));
                    });
                }
                Err(error) => {
                    if said.is_new(&error, begun.elapsed().as_nanos() as u64) {
                        tracing::warn!(%error, "the webdav listener cannot accept connections for now");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
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

async fn connection(door: Arc<WebDavDoor>, stream: TcpStream, peer: IpAddr, mut stopping: watch::Receiver<bool>) {
    let _open = Raised::new(&door.metrics, |metrics| &metrics.connections);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a webdav connection could not be set to send at once");
    }
    let wire = Wire::new();
    let io = TokioIo::new(Connection::new(PacedStream::new(stream, door.config.pace), wire.clone()));
    let service = {
        let door = door.clone();
        service_fn(move |request| front::handle(door.clone(), request, peer, wire.clone()))
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
        () = stop => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a webdav connection ended early");
    }
}

//! One connection: reads records, executes them, and writes replies in the order they are ready.
//!
//! A request is polled once on the reading task: most metadata calls are done then, without a task of their own and
//! without waking another thread. What has to wait (for a sync, for a disk) goes on as a task, and is not cancelled
//! when the connection ends: its reply goes to the reply cache, where the client finds it when it connects again.
//!
//! Invariants: at most `requests_per_connection_max` requests between being read and their reply being written; a
//! client that sends slowly or does not read its replies is disconnected after a time, whatever it does.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::config::{RECORD_LEN_MAX, STRANGER_RECORD_LEN_MAX};
use crate::dispatch::{Answer, Peer, Service, dispatch};
use crate::door::{Budgets, ConnectionBudgets, NfsDoor, Permit};
use crate::metrics::count;
use crate::record::{RecordError, RecordLimits, RecordReader};
use crate::rpc::{Message, Reply};
use crate::xdr::padding;

/// Replies written with one system call at most.
const BATCH_MAX: usize = 16;

/// A reply on its way out, with the places it holds until it was written.
struct Outgoing {
    answer: Answer,
    _place: (Permit, Permit),
}

/// Serves one connection until it ends or `stop` turns true; then waits for the requests in work.
pub(crate) async fn run(
    door: Arc<NfsDoor>,
    stream: TcpStream,
    address: SocketAddr,
    service: Service,
    stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let limits = door.limits;
    let nfs_port = match service {
        Service::All => stream.local_addr()?.port(),
        Service::Portmap { nfs_port } => nfs_port,
    };
    let known = service == Service::All && door.exports().admits(address.ip());
    let peer = Arc::new(Peer {
        address,
        nfs_port,
        service,
        budgets: ConnectionBudgets {
            own: Budgets::new(
                limits.requests_per_connection_max,
                limits.request_bytes_per_connection_max,
                limits.reply_bytes_per_connection_max,
            ),
            door: Arc::clone(&door),
        },
    });
    let (read, write) = stream.into_split();
    // As many as there are places for requests: sending never waits.
    let (replies, outgoing) = mpsc::channel(limits.requests_per_connection_max);
    let writer = tokio::spawn(write_replies(write, outgoing, limits.write_timeout));
    let records = RecordReader::new(
        read,
        RecordLimits {
            len_max: if known { RECORD_LEN_MAX } else { STRANGER_RECORD_LEN_MAX },
            idle_timeout: limits.idle_timeout,
            record_timeout: limits.record_timeout,
        },
    );
    if let Err(error) = read_requests(&door, &peer, records, replies, stop).await {
        count(&door.metrics().connections_aborted);
        tracing::info!(client = %address, error = %error, "nfs connection ended");
    }
    // All senders are gone when the last request in work has its reply.
    match writer.await {
        Ok(result) => result,
        Err(_) => Ok(()),
    }
}

/// Why a connection is ended from this side.
#[derive(Debug, thiserror::Error)]
enum EndError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the client sent something other than an rpc call")]
    NoCall,
}

async fn read_requests(
    door: &Arc<NfsDoor>,
    peer: &Arc<Peer>,
    mut records: RecordReader<OwnedReadHalf>,
    replies: mpsc::Sender<Outgoing>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), EndError> {
    loop {
        tokio::select! {
            begun = records.begins() => match begun {
                Ok(()) => {}
                Err(RecordError::Closed | RecordError::Idle) => return Ok(()),
                Err(error) => return Err(error.into()),
            },
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            () = replies.closed() => return Ok(()),
        }
        let place = peer.budgets.request().await;
        let (record, memory) = records.next(&peer.budgets).await?;
        let call = match Message::parse(record) {
            Ok(Message::Call(call)) => call,
            Ok(Message::Denied { xid, denial }) => {
                count(&door.metrics().calls_denied);
                let answer = Reply::denied(xid, denial).into();
                // The writer is gone only if the connection is.
                let _ = replies.send(Outgoing { answer, _place: place }).await;
                continue;
            }
            Err(_) => return Err(EndError::NoCall),
        };
        let mut request = Box::pin(dispatch(Arc::clone(door), Arc::clone(peer), call));
        match poll_once(request.as_mut()).await {
            Some(answer) => {
                drop(memory);
                let _ = replies.send(Outgoing { answer, _place: place }).await;
            }
            None => {
                let replies = replies.clone();
                tokio::spawn(async move {
                    let answer = request.await;
                    drop(memory);
                    let _ = replies.send(Outgoing { answer, _place: place }).await;
                });
            }
        }
    }
}

/// The future's output if it is ready at once.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

async fn write_replies<W: AsyncWrite + Unpin>(
    mut stream: W,
    mut outgoing: mpsc::Receiver<Outgoing>,
    stall: Duration,
) -> std::io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while outgoing.recv_many(&mut batch, BATCH_MAX).await > 0 {
        write_batch(&mut stream, &batch, stall).await?;
        batch.clear();
    }
    stream.shutdown().await
}

/// Writes all replies of `batch`, giving up when nothing was taken for `stall`.
async fn write_batch<W: AsyncWrite + Unpin>(
    stream: &mut W,
    batch: &[Outgoing],
    stall: Duration,
) -> std::io::Result<()> {
    const ZEROS: [u8; 3] = [0; 3];
    let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(batch.len() * 3);
    for Outgoing {
        answer: Answer { reply, .. },
        ..
    } in batch
    {
        let parts: [&[u8]; 3] = [&reply.head, &reply.data, &ZEROS[..padding(reply.data.len())]];
        slices.extend(parts.into_iter().filter(|part| !part.is_empty()).map(IoSlice::new));
    }
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        let written = timeout(stall, stream.write_vectored(left)).await??;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! One connection: reads records, executes them, and writes replies in the order they are ready.
//!
//! A request is polled once on the reading task: most calls are done then, without a task of their own and without
//! waking another thread, and their replies are written by the same task, together, as soon as nothing more is to be
//! done at once. What has to wait (for a sync, for a disk) goes on as a task that hands its reply to the writing task,
//! and is not cancelled when the connection ends: its reply goes to the reply cache, where the client finds it when it
//! connects again.
//!
//! Invariants: at most `requests_per_connection_max` requests between being read and their reply being written; a
//! client that sends slowly or does not read its replies is disconnected after a time, whatever it does. The reading
//! task never waits for anything while it holds replies that are ready: these occupy places that it may be waiting for.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use strata_gate::{Busy, Ends, PacedStream, Seat};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc};

use crate::config::{RECORD_LEN_MAX, STRANGER_RECORD_LEN_MAX};
use crate::dispatch::dispatch;
use crate::door::{Budgets, ConnectionBudgets, NfsDoor, Places};
use crate::metrics::count;
use crate::peer::{Answer, Peer, Service};
use crate::record::{RecordError, RecordLimits, RecordReader};
use crate::rpc::{Message, Reply};
use crate::xdr::padding;

/// Replies written with one system call at most.
const BATCH_MAX: usize = 16;

/// A reply on its way out, with the places it holds until it was written.
struct Outgoing {
    answer: Answer,
    _place: Places,
    _busy: Busy,
}

/// Serves one connection until it ends or the door does; then waits for the requests in work.
pub(crate) async fn run(
    door: Arc<NfsDoor>,
    stream: TcpStream,
    address: SocketAddr,
    service: Service,
    (client, seat): (Arc<Budgets>, Arc<Seat>),
    ends: Ends,
) -> std::io::Result<()> {
    let limits = door.limits;
    let local = stream.local_addr()?;
    let nfs_port = match service {
        Service::All => local.port(),
        Service::Portmap { nfs_port } => nfs_port,
    };
    let known = service == Service::All && door.exports().admits(address.ip());
    let peer = Arc::new(Peer {
        address,
        local: local.ip(),
        nfs_port,
        service,
        budgets: ConnectionBudgets {
            own: Budgets::new(
                limits.requests_per_connection_max,
                limits.request_bytes_per_connection_max,
                limits.reply_bytes_per_connection_max,
            ),
            client,
            door: Arc::clone(&door),
        },
    });
    let (read, write) = stream.into_split();
    let writer = Arc::new(ReplyWriter { stream: Mutex::new(Some(PacedStream::new(write, limits.pace))) });
    // As many as there are places for requests: sending never waits.
    let (replies, outgoing) = mpsc::channel(limits.requests_per_connection_max);
    let writing = tokio::spawn(write_replies(Arc::clone(&writer), outgoing));
    let records = RecordReader::new(
        read,
        RecordLimits {
            len_max: if known { RECORD_LEN_MAX } else { STRANGER_RECORD_LEN_MAX },
            idle_timeout: limits.idle_timeout,
            pace: limits.pace,
        },
    );
    let mut requests = Requests { door, peer, seat, replies, writer, ready: Vec::with_capacity(BATCH_MAX) };
    let ended = requests.serve(records, ends).await;
    let flushed = requests.flush().await;
    if let Err(error) = ended {
        count(&requests.door.metrics().connections_aborted);
        tracing::info!(client = %address, error = %error, "nfs connection ended");
    }
    drop(requests);
    // All senders are gone when the last request in work has its reply.
    match writing.await {
        Ok(result) => flushed.and(result),
        Err(_) => flushed,
    }
}

/// Why a connection is ended from this side.
#[derive(Debug, thiserror::Error)]
enum EndError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the client sent something other than an rpc call")]
    NoCall,
    #[error("a reply could not be written")]
    Write(#[from] std::io::Error),
}

/// The reading side of a connection.
struct Requests {
    door: Arc<NfsDoor>,
    peer: Arc<Peer>,
    seat: Arc<Seat>,
    /// To the writing task.
    replies: mpsc::Sender<Outgoing>,
    writer: Arc<ReplyWriter<PacedStream<OwnedWriteHalf>>>,
    /// Replies that are ready and not yet written.
    ready: Vec<Outgoing>,
}

impl Requests {
    async fn serve(&mut self, mut records: RecordReader<OwnedReadHalf>, mut ends: Ends) -> Result<(), EndError> {
        loop {
            if let Some(begun) = poll_once(pin!(records.begins())).await {
                if matches!(begun, Err(RecordError::Closed)) || ends.is_asked() {
                    return Ok(());
                }
                begun?;
            } else {
                self.flush().await?;
                tokio::select! {
                    begun = records.begins() => match begun {
                        Ok(()) => {}
                        Err(RecordError::Closed | RecordError::Idle) => return Ok(()),
                        Err(error) => return Err(error.into()),
                    },
                    () = ends.asked() => return Ok(()),
                    () = self.replies.closed() => return Ok(()),
                }
            }
            let (peer, seat) = (Arc::clone(&self.peer), Arc::clone(&self.seat));
            let place = self.flushed_before(pin!(peer.budgets.request())).await?;
            let (record, memory) = self.flushed_before(pin!(records.next(&peer.budgets))).await??;
            // Nothing begins any more on a connection whose seat was given to another.
            let Some(busy) = seat.busy() else { return Ok(()) };
            let call = match Message::parse(record) {
                Ok(Message::Call(call)) => call,
                Ok(Message::Denied { xid, denial }) => {
                    count(&self.door.metrics().calls_denied);
                    let answer = Reply::denied(xid, denial).into();
                    self.keep(Outgoing { answer, _place: place, _busy: busy }).await?;
                    continue;
                }
                Err(_) => return Err(EndError::NoCall),
            };
            let mut request = Box::pin(dispatch(Arc::clone(&self.door), peer, call));
            match poll_once(request.as_mut()).await {
                Some(answer) => {
                    drop(memory);
                    self.keep(Outgoing { answer, _place: place, _busy: busy }).await?;
                }
                None => {
                    let replies = self.replies.clone();
                    tokio::spawn(async move {
                        let answer = request.await;
                        drop(memory);
                        // The writer is gone only if the connection is.
                        let _ = replies.send(Outgoing { answer, _place: place, _busy: busy }).await;
                    });
                }
            }
        }
    }

    /// The future's output; replies that are ready are written before it is waited for.
    async fn flushed_before<F: Future>(&mut self, mut future: Pin<&mut F>) -> Result<F::Output, EndError> {
        if let Some(output) = poll_once(future.as_mut()).await {
            return Ok(output);
        }
        self.flush().await?;
        Ok(future.await)
    }

    async fn keep(&mut self, reply: Outgoing) -> Result<(), EndError> {
        self.ready.push(reply);
        if self.ready.len() >= BATCH_MAX {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let written = self.writer.write(&self.ready).await;
        self.ready.clear();
        written
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

/// The sending half, for whoever has replies.
struct ReplyWriter<W> {
    /// Gone once a write failed or was given up in the middle: the client could not tell where the next reply begins.
    stream: Mutex<Option<W>>,
}

impl<W: AsyncWrite + Unpin> ReplyWriter<W> {
    /// Writes whole replies, one caller after the other.
    async fn write(&self, batch: &[Outgoing]) -> std::io::Result<()> {
        let mut place = self.stream.lock().await;
        let mut stream = place.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        write_batch(&mut stream, batch).await?;
        *place = Some(stream);
        Ok(())
    }

    async fn shutdown(&self) -> std::io::Result<()> {
        match self.stream.lock().await.as_mut() {
            Some(stream) => stream.shutdown().await,
            None => Ok(()),
        }
    }
}

/// Writes the replies of requests that had to wait, until all senders are gone.
async fn write_replies<W: AsyncWrite + Unpin>(
    writer: Arc<ReplyWriter<W>>,
    mut outgoing: mpsc::Receiver<Outgoing>,
) -> std::io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while outgoing.recv_many(&mut batch, BATCH_MAX).await > 0 {
        writer.write(&batch).await?;
        batch.clear();
    }
    writer.shutdown().await
}

/// Writes all replies of `batch`.
async fn write_batch<W: AsyncWrite + Unpin>(stream: &mut W, batch: &[Outgoing]) -> std::io::Result<()> {
    const ZEROS: [u8; 3] = [0; 3];
    let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(batch.len() * 3);
    for Outgoing { answer: Answer { reply, .. }, .. } in batch {
        let parts: [&[u8]; 3] = [&reply.head, &reply.data, &ZEROS[..padding(reply.data.len())]];
        slices.extend(parts.into_iter().filter(|part| !part.is_empty()).map(IoSlice::new));
    }
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        let written = stream.write_vectored(left).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

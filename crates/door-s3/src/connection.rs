//! One connection, beside what the HTTP library does with it: how long it may be idle and a head may take, a document for
//! heads that the library refuses, and an end that lets a client read the answer it was given while it was still sending.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::StatusCode;
use strata_gate::{Linger, Seat, Turn, Working};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may be idle, as long as nobody else needs its seat. Pools of clients keep connections for a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// A head is being received; so begins a connection.
const HEAD: u8 = 0;
/// A request is worked on, or its answer is leaving.
const BUSY: u8 = 1;
/// Nothing happens.
const IDLE: u8 = 2;

/// Where a connection is between two requests, told by whoever answers them.
#[derive(Debug)]
pub(crate) struct Phase {
    turn: Arc<Turn>,
    now: AtomicU8,
    /// The last answer ends the connection before its request was received whole.
    unread: AtomicBool,
}

impl Phase {
    pub(crate) fn new(seat: Arc<Seat>) -> Self {
        Self { turn: Turn::new(seat), now: AtomicU8::new(HEAD), unread: AtomicBool::new(false) }
    }

    /// Notes that a request is worked on, until what is returned is dropped; `None` where the connection is to leave.
    pub(crate) fn busy(self: &Arc<Self>) -> Option<Busy> {
        let working = self.turn.begin()?;
        self.now.store(BUSY, Ordering::Release);
        Some(Busy { phase: Arc::clone(self), _working: working })
    }

    /// Notes that the client may still be sending when the connection ends.
    pub(crate) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Release);
    }
}

/// A request that is worked on.
pub(crate) struct Busy {
    phase: Arc<Phase>,
    _working: Working,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.phase.now.store(IDLE, Ordering::Release);
    }
}

/// Writes the answer to a head that was refused with this status.
pub(crate) type Refuse = Box<dyn Fn(StatusCode) -> Bytes + Send + Sync>;

/// The stream of a connection.
pub(crate) struct Connection<S> {
    stream: S,
    phase: Arc<Phase>,
    timer: Pin<Box<Sleep>>,
    /// The phase that the timer was set in.
    timed: u8,
    /// Behind the last answer.
    linger: Option<Linger>,
    refuse: Refuse,
    /// What is left to send of such an answer; it is the last one.
    refusal: Bytes,
}

impl<S> Connection<S> {
    pub(crate) fn new(stream: S, phase: Arc<Phase>, refuse: Refuse) -> Self {
        let timer = Box::pin(sleep(HEAD_TIMEOUT));
        Self { stream, phase, timer, timed: HEAD, linger: None, refuse, refusal: Bytes::new() }
    }

    /// Takes the place of an answer without a document that the library gives by itself: what is written while no answer is
    /// under way is one. Behind it the library ends the connection.
    fn replaces(&mut self, head: &[u8]) -> bool {
        let status = head.strip_prefix(b"HTTP/1.1 ").and_then(|rest| StatusCode::from_bytes(rest.get(..3)?).ok());
        let Some(status) = status.filter(|_| !self.phase.turn.is_on()) else {
            return false;
        };
        self.refusal = (self.refuse)(status);
        self.phase.leave_unread();
        true
    }

    /// Ready when the client was waited for long enough.
    fn poll_patience(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let phase = self.phase.now.load(Ordering::Acquire);
        if phase == BUSY {
            self.timed = BUSY;
            return Poll::Pending;
        }
        if phase != self.timed {
            let patience = if phase == HEAD { HEAD_TIMEOUT } else { IDLE_TIMEOUT };
            self.timed = phase;
            self.timer.as_mut().reset(Instant::now() + patience);
        }
        self.timer.as_mut().poll(task)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match Pin::new(&mut self.stream).poll_read(task, into) {
            Poll::Pending => match self.poll_patience(task) {
                // As if the client had ended the connection.
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            },
            done => {
                if into.filled().len() > before {
                    let idle = IDLE;
                    let _ = self.phase.now.compare_exchange(idle, HEAD, Ordering::AcqRel, Ordering::Acquire);
                }
                done
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.replaces(data) {
            return Poll::Ready(Ok(data.len()));
        }
        Pin::new(&mut self.stream).poll_write(task, data)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if data.first().is_some_and(|head| self.replaces(head)) {
            return Poll::Ready(Ok(data.iter().map(|piece| piece.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(task, data)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(task);
        // The library flushes when it has written all it has.
        if flushed.is_ready() {
            self.phase.turn.flushed();
        }
        flushed
    }

    /// Ends the connection for writing; where the client may still be sending, reads on for a while.
    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            while !this.refusal.is_empty() {
                match ready!(Pin::new(&mut this.stream).poll_write(task, &this.refusal))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    len => this.refusal.advance(len),
                }
            }
            ready!(Pin::new(&mut this.stream).poll_shutdown(task))?;
            if !this.phase.unread.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_with(Linger::begin).poll(&mut this.stream, task).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_gate::{LINGER_LEN_MAX, LINGER_TIMEOUT, Seats};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn connection() -> (Connection<DuplexStream>, DuplexStream, Arc<Phase>) {
        let (server, client) = duplex(1 << 10);
        let seat = Seats::new(1, 1).take([127, 0, 0, 1].into()).unwrap();
        let phase = Arc::new(Phase::new(seat));
        (Connection::new(server, Arc::clone(&phase), Box::new(|_| Bytes::new())), client, phase)
    }

    /// Seconds until a read ends without a byte.
    async fn patience(connection: &mut Connection<DuplexStream>) -> u64 {
        let began = Instant::now();
        assert_eq!(connection.read(&mut [0; 10]).await.unwrap(), 0);
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds_and_an_idle_client_more_than_a_minute() {
        let (mut connection, _client, _) = self::connection();
        assert_eq!(patience(&mut connection).await, 10);
        let (mut connection, _client, phase) = self::connection();
        drop(phase.busy());
        assert_eq!(patience(&mut connection).await, 75);
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_a_later_request_has_ten_seconds_from_its_first_byte() {
        let (mut connection, mut client, phase) = self::connection();
        drop(phase.busy());
        let sent = async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            client.write_all(b"G").await.unwrap();
        };
        let (first, ()) = tokio::join!(connection.read_u8(), sent);
        assert_eq!(first.unwrap(), b'G');
        assert_eq!(patience(&mut connection).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_worked_for_is_not_timed() {
        let (mut connection, _client, phase) = self::connection();
        let _busy = phase.busy().unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(1000), patience(&mut connection)).await;
        assert!(waited.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_reads_on_only_where_the_client_may_still_be_sending() {
        let (mut connection, mut client, _) = self::connection();
        client.write_all(b"rest").await.unwrap();
        connection.shutdown().await.unwrap();
        for (len, silent) in [(100_000, false), (LINGER_LEN_MAX + (1 << 20), false), (10, true)] {
            let (mut connection, mut client, phase) = self::connection();
            phase.leave_unread();
            let sending = tokio::spawn(async move {
                let sent = client.write_all(&vec![0; len]).await;
                if silent {
                    tokio::time::sleep(Duration::from_secs(1000)).await;
                }
                sent.is_ok()
            });
            let began = Instant::now();
            connection.shutdown().await.unwrap();
            drop(connection);
            assert_eq!(began.elapsed() >= LINGER_TIMEOUT, silent);
            if !silent {
                assert_eq!(sending.await.unwrap(), len < LINGER_LEN_MAX, "{len}");
            }
        }
    }
}

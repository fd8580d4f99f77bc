//! A connection that gives up on a peer that takes too little: a stalled download must not hold its slot for ever.
//!
//! What a write hands over lies in the kernel's queue until the peer takes it, and with a large queue the next write may
//! have to wait for long although the peer takes bytes all the time. So before a wait is too long the queue itself is
//! looked at ([`Unsent`]).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Instant, Sleep};

use crate::pace::{Pace, Patience, TooSlow};

/// How many bytes were handed over and not yet taken by the peer.
pub trait Unsent {
    /// Zero where nobody can tell.
    fn unsent(&self) -> u64;
}

impl Unsent for TcpStream {
    fn unsent(&self) -> u64 {
        queue::of(self)
    }
}

impl Unsent for OwnedWriteHalf {
    fn unsent(&self) -> u64 {
        queue::of(self.as_ref())
    }
}

impl Unsent for tokio::io::DuplexStream {
    fn unsent(&self) -> u64 {
        0
    }
}

#[allow(unsafe_code, reason = "the length of a socket's queue is asked for with an ioctl that rustix has no name for")]
mod queue {
    use std::os::fd::AsFd;

    use rustix::ioctl::{Getter, Opcode, ioctl};

    /// Bytes that the peer has not acknowledged: on sockets the same number as `SIOCOUTQ`.
    const OUTQ: Opcode = libc::TIOCOUTQ as Opcode;

    pub(super) fn of(socket: impl AsFd) -> u64 {
        // SAFETY: the kernel writes one `int` for this request, as tcp(7) says.
        let length = unsafe { ioctl(socket, Getter::<OUTQ, i32>::new()) };
        length.ok().and_then(|length| u64::try_from(length).ok()).unwrap_or(0)
    }
}

/// Fails a write, flush or shutdown whose peer is slower than its [`Pace`]. Reading is left alone: whoever reads knows when
/// something has to come.
pub struct PacedStream<T> {
    inner: T,
    patience: Patience,
    /// Bytes handed over so far.
    written: u64,
    /// Bytes of these that the peer had taken when that was last looked at.
    taken: u64,
    waiting: Option<Instant>,
    deadline: Pin<Box<Sleep>>,
}

impl<T: Unsent> PacedStream<T> {
    /// Around a connection.
    pub fn new(inner: T, pace: Pace) -> Self {
        let deadline = Box::pin(tokio::time::sleep(pace.stall));
        Self { inner, patience: Patience::new(pace), written: 0, taken: 0, waiting: None, deadline }
    }

    /// The connection inside.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Bytes the peer took since this was last asked.
    fn progress(&mut self) -> u64 {
        let taken = self.written.saturating_sub(self.inner.unsent()).max(self.taken);
        taken - std::mem::replace(&mut self.taken, taken)
    }

    /// Passes progress on and turns waiting for too long into an error.
    fn watch<R>(&mut self, task: &mut Context<'_>, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if result.is_ready() {
            if let Some(since) = self.waiting.take() {
                let progress = self.progress();
                if let Err(slow) = self.patience.note(since.elapsed(), progress) {
                    return Poll::Ready(Err(given_up(slow)));
                }
            }
            return result;
        }
        if self.waiting.is_none() {
            self.wait();
        }
        while self.deadline.as_mut().poll(task).is_ready() {
            let waited = self.waiting.map_or(Duration::ZERO, |since| since.elapsed());
            let stall = self.patience.pace().stall;
            let checked = match self.progress() {
                0 => Err(TooSlow::Stalled(stall)),
                progress => self.patience.note(waited, progress),
            };
            if let Err(slow) = checked {
                return Poll::Ready(Err(given_up(slow)));
            }
            self.wait();
        }
        Poll::Pending
    }

    fn wait(&mut self) {
        let now = Instant::now();
        self.waiting = Some(now);
        self.deadline.as_mut().reset(now + self.patience.pace().stall);
    }
}

fn given_up(slow: TooSlow) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, slow)
}

impl<T: AsyncRead + Unpin> AsyncRead for PacedStream<T> {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(task, buf)
    }
}

impl<T: AsyncWrite + Unsent + Unpin> AsyncWrite for PacedStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(task, buf);
        self.count(&result);
        self.watch(task, result)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(task, bufs);
        self.count(&result);
        self.watch(task, result)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(task);
        self.watch(task, result)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(task);
        self.watch(task, result)
    }
}

impl<T> PacedStream<T> {
    fn count(&mut self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(written)) = result {
            self.written += *written as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const PACE: Pace =
        Pace { stall: Duration::from_millis(300), rate_min: 100_000, window: Duration::from_millis(600) };

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (near, _far) = tokio::io::duplex(16);
        let mut near = PacedStream::new(near, Pace { stall: Duration::from_millis(20), ..PACE });
        let error = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_at_the_other_end_of_a_socket_that_takes_nothing_is_given_up() {
        let (near, _far) = pair().await;
        let mut near = PacedStream::new(near, PACE);
        let error = near.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_takes_too_little_is_given_up_at_the_end_of_a_window() {
        let (near, mut far) = tokio::io::duplex(1024);
        let mut near = PacedStream::new(near, PACE);
        let reading = tokio::spawn(async move {
            let mut buf = [0; 1024];
            while far.read(&mut buf).await.is_ok_and(|len| len > 0) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let error = near.write_all(&vec![0; 1 << 20]).await.unwrap_err();
        assert!(error.to_string().contains("bytes a second"), "{error}");
        reading.abort();
    }

    #[tokio::test]
    async fn a_peer_that_empties_a_long_queue_bit_by_bit_is_not_taken_for_one_that_stalls() {
        let (near, mut far) = pair().await;
        // Of a queue this long a third must be free before the next write is let in: longer than the stall time.
        let mut near = PacedStream::new(near, Pace { rate_min: 1, ..PACE });
        let writing = tokio::spawn(async move { near.write_all(&vec![0; 24 << 20]).await });
        let mut buf = vec![0; 256 << 10];
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            far.read_exact(&mut buf).await.unwrap();
        }
        assert!(!writing.is_finished());
        tokio::io::copy(&mut far, &mut tokio::io::sink()).await.unwrap();
        writing.await.unwrap().unwrap();
    }
}

//! One connection, beside what the HTTP library does with it: its request lines are read along, and it ends so that a client
//! reads the reply it was given while it was still sending.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use strata_gate::{Linger, Seat, Turn};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::request_line::RequestLine;

/// What the connection and the request on it tell each other.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) line: RequestLine,
    pub(crate) turn: Arc<Turn>,
    unread: Arc<AtomicBool>,
}

impl Wire {
    pub(crate) fn new(seat: Arc<Seat>) -> Self {
        Self { line: RequestLine::new(), turn: Turn::new(seat), unread: Arc::default() }
    }

    /// Notes whether the client may still be sending when the connection ends with the reply to this request.
    pub(crate) fn leaves_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Release);
    }
}

/// The stream of a connection.
pub(crate) struct Connection<S> {
    stream: S,
    wire: Wire,
    linger: Option<Linger>,
}

impl<S> Connection<S> {
    pub(crate) fn new(stream: S, wire: Wire) -> Self {
        Self { stream, wire, linger: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(task, into))?;
        self.wire.line.read_along(&into.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, data)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(task, data)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(task);
        // The library flushes when it has written all it has.
        if flushed.is_ready() {
            self.wire.turn.flushed();
        }
        flushed
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(task))?;
            if !this.wire.unread.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_with(Linger::begin).poll(&mut this.stream, task).map(Ok)
    }
}

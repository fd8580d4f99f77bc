//! The stream of one connection, beside what the HTTP library does with it: how long a client may be idle and a head may take, a
//! document for heads that the library refuses, and an end that lets a client read the answer it was given while it was still
//! sending.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use strata_gate::Linger;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::phase::{BUSY, HEAD, IDLE, Phase};
use crate::refusal;
use crate::serve::{Answers, Waits};

/// The stream, between the library and what carries it.
pub(crate) struct Connection<S, A> {
    stream: S,
    phase: Arc<Phase>,
    answers: Arc<A>,
    waits: Waits,
    timer: Pin<Box<Sleep>>,
    /// The phase that the timer was set in, and how many requests there were before.
    timed: (u8, u64),
    /// Behind the last answer.
    linger: Option<Linger>,
    /// What is left to send of an answer to a head that was refused; it is the last one.
    refusal: Bytes,
}

impl<S, A: Answers> Connection<S, A> {
    pub(crate) fn new(stream: S, phase: Arc<Phase>, answers: Arc<A>, waits: Waits) -> Self {
        let timer = Box::pin(sleep(waits.head));
        Self { stream, phase, answers, waits, timer, timed: (HEAD, 0), linger: None, refusal: Bytes::new() }
    }

    /// Takes the place of an answer without a document that the library gives by itself: what is written while no answer is
    /// under way is one. Behind it the library ends the connection.
    fn replaces(&mut self, head: &[u8]) -> bool {
        if self.phase.is_answering() {
            return false;
        }
        let status = head.strip_prefix(b"HTTP/1.1 ").and_then(|rest| StatusCode::from_bytes(rest.get(..3)?).ok());
        let Some(answer) = status.and_then(|status| self.answers.refusal(status)) else { return false };
        self.refusal = refusal::whole(&answer);
        self.phase.leaves_unread(true);
        true
    }

    /// Ready when the client was waited for long enough.
    fn poll_patience(&mut self, task: &mut Context<'_>) -> Poll<()> {
        // A request may arrive and be answered between two looks: what follows it is another phase, although it looks the same.
        let (phase, requests) = (self.phase.now(), self.phase.requests());
        if phase == BUSY {
            return Poll::Pending;
        }
        if (phase, requests) != self.timed {
            let wait = match (phase, self.waits.idle) {
                (IDLE, Some(idle)) => Some(idle),
                // The time between two requests counts as the head's.
                (HEAD, None) if self.timed == (IDLE, requests) => None,
                _ => Some(self.waits.head),
            };
            self.timed = (phase, requests);
            if let Some(wait) = wait {
                self.timer.as_mut().reset(Instant::now() + wait);
            }
        }
        self.timer.as_mut().poll(task)
    }
}

impl<S: AsyncRead + Unpin, A: Answers> AsyncRead for Connection<S, A> {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match Pin::new(&mut self.stream).poll_read(task, into) {
            // When the time is up, the read ends as if the client had ended the connection.
            Poll::Pending => self.poll_patience(task).map(Ok),
            done => {
                let arrived = &into.filled()[before..];
                if !arrived.is_empty() {
                    self.answers.arrived(arrived);
                    self.phase.arrived();
                }
                done
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, A: Answers> AsyncWrite for Connection<S, A> {
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
            self.phase.flushed();
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
            if !this.phase.is_unread() {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_with(Linger::begin).poll(&mut this.stream, task).map(Ok)
    }
}

#[cfg(test)]
mod tests;

//! Bodies on their way: that of a request, which tells whether it arrived whole, and that of an answer, which keeps its connection
//! busy until it has left. Both are forwarded as they come; nothing here gathers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::phase::Busy;

/// The body of a request as it arrives.
#[derive(Debug)]
pub struct Received {
    inner: Incoming,
    whole: Whole,
}

/// Tells, also when the body is gone, whether all of it was received.
#[derive(Clone, Debug)]
pub struct Whole(Arc<AtomicBool>);

impl Whole {
    /// Whether it is by now.
    #[must_use]
    pub fn is_received(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Received {
    pub(crate) fn of(request: Request<Incoming>) -> Request<Self> {
        request.map(|inner| Self { whole: Whole(Arc::new(AtomicBool::new(inner.is_end_stream()))), inner })
    }

    /// What tells whether it arrived whole.
    #[must_use]
    pub fn whole(&self) -> Whole {
        self.whole.clone()
    }

    /// The next piece; `None` at the end. Trailers (RFC 9110, section 6.5) are dropped.
    ///
    /// Cancel-safe: a piece is handed on or still to come.
    ///
    /// # Errors
    /// The body broke off, or is not framed as it says.
    pub async fn piece(&mut self) -> Option<hyper::Result<Bytes>> {
        loop {
            match self.frame().await?.map(Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(task);
        if matches!(polled, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.whole.0.store(true, Ordering::Release);
        }
        polled
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer, with the request it answers.
pub(crate) struct Leaving<B> {
    inner: B,
    _busy: Busy,
}

impl<B> Leaving<B> {
    pub(crate) fn new(inner: B, busy: Busy) -> Self {
        Self { inner, _busy: busy }
    }
}

impl<B: Body + Unpin> Body for Leaving<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.inner).poll_frame(task)
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

//! Bodies on their way: that of a request, which tells whether it arrived whole, and that of an answer, which keeps its connection
//! busy until it has left. Both are forwarded as they come; nothing here gathers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::phase::Busy;

/// Most bytes taken in of a body that nobody wants, so that its connection can go on. Longer ones end it.
const UNWANTED_LEN_MAX: u64 = 64 << 10;
/// How often it is looked for. What a client sent with the head is there by then; nobody waits for more, whose place others need.
const LOOKS_MAX: u32 = 8;

/// The body of a request as it arrives.
#[derive(Debug)]
pub struct Received {
    /// Until it is dropped.
    inner: Option<Incoming>,
    whole: Whole,
}

/// Says whether a body was received completely, even after the body was dropped.
#[derive(Clone, Debug)]
pub struct Whole(Arc<Arrival>);

#[derive(Debug)]
struct Arrival {
    received: AtomicBool,
    /// The client waits with the body until it is asked for (`Expect: 100-continue`), and nobody has done so.
    unasked: AtomicBool,
    /// What the door left of it.
    left: Mutex<Option<Incoming>>,
}

impl Whole {
    /// Whether all of the body has arrived.
    #[must_use]
    pub fn is_received(&self) -> bool {
        self.0.received.load(Ordering::Acquire)
    }

    /// Behind the answer: whether the next request can follow on the connection, for which a short rest of the body that comes at
    /// once is taken in.
    pub(crate) async fn lets_go_on(&self) -> bool {
        let left = self.0.left.lock().take();
        let Some(mut left) = left.filter(|_| !self.is_received()) else { return self.is_received() };
        if self.0.unasked.load(Ordering::Acquire) {
            return false;
        }
        let (mut taken, mut looks) = (0, 0);
        while taken + left.size_hint().lower() <= UNWANTED_LEN_MAX && looks < LOOKS_MAX {
            let frame = std::future::poll_fn(|task| Poll::Ready(Pin::new(&mut left).poll_frame(task))).await;
            match frame {
                Poll::Ready(Some(Ok(frame))) => taken += frame.data_ref().map_or(0, |data| data.len() as u64),
                Poll::Ready(Some(Err(_))) => return false,
                Poll::Ready(None) => return true,
                // The connection, which is served by this very task, reads on meanwhile.
                Poll::Pending => {
                    looks += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
        false
    }
}

impl Received {
    pub(crate) fn of(request: Request<Incoming>) -> Request<Self> {
        let expects = request.headers().contains_key(EXPECT);
        request.map(|inner| {
            let (received, unasked) = (AtomicBool::new(inner.is_end_stream()), AtomicBool::new(expects));
            Self { whole: Whole(Arc::new(Arrival { received, unasked, left: Mutex::default() })), inner: Some(inner) }
        })
    }

    /// A handle that says later whether all of this body arrived.
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
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        this.whole.0.unasked.store(false, Ordering::Release);
        let polled = Pin::new(&mut *inner).poll_frame(task);
        if matches!(polled, Poll::Ready(None)) || inner.is_end_stream() {
            this.whole.0.received.store(true, Ordering::Release);
        }
        polled
    }
    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.whole.is_received() {
            *self.whole.0.left.lock() = self.inner.take();
        }
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

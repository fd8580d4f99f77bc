//! Bodies of replies: whole, streamed page by page, or read window by window from a pinned version.
//!
//! A download never makes up bytes: if content cannot be read, the body ends with an error and the connection is broken
//! off, so that the client sees a short transfer instead of a wrong file. At most [`READ_AHEAD`] windows are in memory.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use strata_gate::{Budget, Held};
use strata_namespace::Reader;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use crate::metrics::{DavMetrics, Raised, add};

/// Bytes asked of the memory cache at a time, on the connection's own thread.
const CACHED_WINDOW: usize = 256 * 1024;
/// Bytes asked of the disks at a time, on a blocking thread.
const READ_WINDOW: usize = 1024 * 1024;
/// Windows being read or waiting to be sent, per download.
const READ_AHEAD: usize = 2;

/// Why a body could not be sent to its end.
#[derive(Debug, thiserror::Error)]
#[error("the reply was broken off: {0}")]
pub struct BodyError(pub(crate) String);

/// A piece of a download.
#[derive(Debug)]
pub(crate) enum Segment {
    /// These bytes.
    Literal(Bytes),
    /// This range of the content.
    Content(std::ops::Range<u64>),
}

enum Kind {
    Whole(Option<Bytes>),
    Pages(mpsc::Receiver<Result<Bytes, BodyError>>),
    File(FileBody),
}

/// The body of a reply.
pub struct ReplyBody {
    kind: Kind,
    metrics: Arc<DavMetrics>,
    /// Held until the body is sent: the limit on requests in progress covers slow readers too.
    _in_progress: Option<(OwnedSemaphorePermit, Raised)>,
    _of_user: Option<Held<u32>>,
}

impl ReplyBody {
    pub(crate) fn whole(metrics: &Arc<DavMetrics>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::new(Kind::Whole((!bytes.is_empty()).then_some(bytes)), metrics)
    }
    pub(crate) fn pages(metrics: &Arc<DavMetrics>, pages: mpsc::Receiver<Result<Bytes, BodyError>>) -> Self {
        Self::new(Kind::Pages(pages), metrics)
    }
    pub(crate) fn file(
        metrics: &Arc<DavMetrics>,
        reader: Reader,
        segments: VecDeque<Segment>,
        budget: &Arc<Budget>,
    ) -> Self {
        let remaining = segments.iter().map(Segment::len).sum();
        let (budget, windows) = (Arc::clone(budget), VecDeque::with_capacity(READ_AHEAD));
        Self::new(Kind::File(FileBody { reader, segments, windows, remaining, budget }), metrics)
    }
    fn new(kind: Kind, metrics: &Arc<DavMetrics>) -> Self {
        Self { kind, metrics: metrics.clone(), _in_progress: None, _of_user: None }
    }
    pub(crate) fn of_user(mut self, place: Held<u32>) -> Self {
        self._of_user = Some(place);
        self
    }
    pub(crate) fn holding(mut self, permit: OwnedSemaphorePermit, gauge: Raised) -> Self {
        self._in_progress = Some((permit, gauge));
        self
    }
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Self::Literal(bytes) => bytes.len() as u64,
            Self::Content(range) => range.end - range.start,
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let next = match &mut this.kind {
            Kind::Whole(bytes) => bytes.take().map(Ok),
            Kind::Pages(pages) => ready!(pages.poll_recv(cx)),
            Kind::File(file) => ready!(file.poll_next(cx)),
        };
        match &next {
            Some(Ok(bytes)) => add(&this.metrics.bytes_out, bytes.len() as u64),
            Some(Err(error)) => {
                add(&this.metrics.broken_downloads, 1);
                tracing::error!(%error, "a webdav download was broken off");
            }
            None => {}
        }
        Poll::Ready(next.map(|next| next.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Pages(_) => false,
            Kind::File(file) => file.remaining == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Pages(_) => SizeHint::default(),
            Kind::File(file) => SizeHint::with_exact(file.remaining),
        }
    }
}

enum Window {
    Ready(Result<Bytes, BodyError>),
    Reading(JoinHandle<Result<Bytes, BodyError>>),
}

struct FileBody {
    reader: Reader,
    segments: VecDeque<Segment>,
    windows: VecDeque<Window>,
    remaining: u64,
    budget: Arc<Budget>,
}

impl FileBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        // While the memory cache answers there is nothing to read ahead.
        while self.windows.len() < READ_AHEAD && !matches!(self.windows.front(), Some(Window::Ready(_))) {
            match self.start_window() {
                Some(window) => self.windows.push_back(window),
                None => break,
            }
        }
        let result = match self.windows.front_mut() {
            None => return Poll::Ready(None),
            Some(Window::Ready(result)) => std::mem::replace(result, Ok(Bytes::new())),
            Some(Window::Reading(task)) => match ready!(Pin::new(task).poll(cx)) {
                Ok(result) => result,
                Err(error) => Err(BodyError(error.to_string())),
            },
        };
        self.windows.pop_front();
        match &result {
            Ok(bytes) => self.remaining = self.remaining.saturating_sub(bytes.len() as u64),
            Err(_) => {
                self.windows.clear();
                self.segments.clear();
            }
        }
        Poll::Ready(Some(result))
    }

    /// Takes the next window off the plan and begins to read it.
    fn start_window(&mut self) -> Option<Window> {
        let range = match self.segments.pop_front()? {
            Segment::Literal(bytes) => return Some(Window::Ready(Ok(bytes))),
            Segment::Content(range) => range,
        };
        let piece = self.budget.piece((range.end - range.start).min(READ_WINDOW as u64));
        let most = usize::try_from(piece.len()).unwrap_or(READ_WINDOW);
        let small = most.min(CACHED_WINDOW);
        let (window, taken) = match self.reader.read_cached(range.start, small) {
            Some(bytes) => (Window::Ready(exactly(bytes, small).map(|bytes| piece.of(bytes))), small),
            None => {
                let (reader, start) = (self.reader.clone(), range.start);
                let read = move || {
                    reader
                        .read(start, most)
                        .map_err(|error| BodyError(error.to_string()))
                        .and_then(|bytes| exactly(bytes, most))
                        .map(|bytes| piece.of(bytes))
                };
                (Window::Reading(strata_gate::bridge::wait(read)), most)
            }
        };
        let next = range.start + taken as u64;
        if next < range.end {
            self.segments.push_front(Segment::Content(next..range.end));
        }
        Some(window)
    }
}

fn exactly(bytes: Bytes, len: usize) -> Result<Bytes, BodyError> {
    if bytes.len() == len {
        return Ok(bytes);
    }
    Err(BodyError(format!("the store returned {} bytes where {len} were asked for", bytes.len())))
}

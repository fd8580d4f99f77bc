//! A stream that arrives on one thread, piece by piece, and is taken in on another.
//!
//! Pieces wait in a short queue. Once enough of them wait, an [`Ingest`] is set to work on a thread of the caller's choice,
//! and it works until nothing is left. While pieces come faster than they are chunked, a whole body costs one hand-over;
//! while a slow client sends nothing, no thread is held. Once there is a stream at work for every core, more is
//! gathered first: starting early gains nothing then, and costs hand-overs and the warmth of caches.
//!
//! It is written over [`std::task`] alone and knows no runtime.
//!
//! Invariants:
//! - **BOUND**: at most [`QUEUED_LEN_MAX`] bytes and a piece wait.
//! - At most one thread works for an intake, and pieces are taken in their order.
//! - A stream counts as ended only if its last piece was pushed as such; one that is dropped leaves nothing.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::at_work::AtWork;
use crate::content::Content;
use crate::error::{ContentError, Result};
use crate::ingest::Ingest;

/// Bytes that wait before a thread is set to work, unless the stream ends: a quarter of a millisecond of work, more than
/// waking a thread costs.
const START_LEN: usize = 256 << 10;
/// Bytes that wait before a thread is set to work when there is one for every core already, unless the stream ends.
const START_LEN_BUSY: usize = 1 << 20;
/// Bytes that may wait before the sender has to, where there is memory for it.
const QUEUED_LEN_MAX: usize = 1 << 20;
/// And where there is not.
const QUEUED_LEN_MIN: usize = 256 << 10;

/// Work for a thread that may block.
pub type Job = Box<dyn FnOnce() + Send>;

/// The sending side of a stream. Dropping it before the end drops the stream.
pub struct Intake {
    shared: Arc<Shared>,
    /// Runs a job on a thread that may block.
    spawn: fn(Job),
    /// The streams at work in all intakes of the store.
    at_work: Arc<AtWork>,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    queue: Vec<Bytes>,
    len: usize,
    /// The last piece is in the queue or behind it.
    last: bool,
    stage: Stage,
    /// The task that waits for room or for the end.
    waiting: Option<Waker>,
}

enum Stage {
    Idle(Box<Ingest>),
    Busy,
    Ended(Result<Content>),
    Gone,
}

impl Intake {
    /// An intake for `ingest`. `spawn` runs a job on a thread that may block.
    #[must_use]
    pub fn new(ingest: Ingest, spawn: fn(Job)) -> Self {
        let at_work = ingest.streams_at_work();
        let stage = Stage::Idle(Box::new(ingest));
        let state = State { queue: Vec::new(), len: 0, last: false, stage, waiting: None };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }), spawn, at_work }
    }

    /// Appends a piece; `last` says that none follows. Waits while more than `room` bytes (within limits) are queued. Cancel-safe: the
    /// piece is queued before the call waits.
    ///
    /// # Errors
    /// Those of [`Ingest::push`] for anything pushed so far; the stream is then lost.
    pub async fn push(&mut self, piece: Bytes, last: bool, room: u64) -> Result<()> {
        let most = usize::try_from(room).unwrap_or(usize::MAX).clamp(QUEUED_LEN_MIN, QUEUED_LEN_MAX);
        let busy = self.at_work.per_core() > 0;
        let start_len = if busy { START_LEN_BUSY.min(most) } else { START_LEN };
        let start = {
            let mut state = self.shared.state.lock();
            state.len += piece.len();
            state.last |= last;
            state.queue.push(piece);
            if last || state.len >= start_len { state.begin() } else { None }
        };
        if let Some(ingest) = start {
            self.at_work.streams.fetch_add(1, Ordering::Relaxed);
            let worker = Worker { shared: Arc::clone(&self.shared), at_work: Arc::clone(&self.at_work), ended: false };
            (self.spawn)(Box::new(move || worker.work(*ingest)));
        }
        if last {
            return Ok(());
        }
        poll_fn(|context| {
            let mut state = self.shared.state.lock();
            match &state.stage {
                Stage::Busy if state.len > most => {
                    state.waiting = Some(context.waker().clone());
                    Poll::Pending
                }
                Stage::Ended(_) | Stage::Gone => Poll::Ready(state.take_end().map(drop)),
                Stage::Idle(_) | Stage::Busy => Poll::Ready(Ok(())),
            }
        })
        .await
    }

    /// Waits until everything is taken in, and returns the content.
    ///
    /// # Errors
    /// As [`Intake::push`]; [`ContentError::Abandoned`] if no last piece was pushed.
    pub async fn finish(self) -> Result<Content> {
        poll_fn(|context| {
            let mut state = self.shared.state.lock();
            match &state.stage {
                Stage::Busy => {
                    state.waiting = Some(context.waker().clone());
                    Poll::Pending
                }
                Stage::Idle(_) | Stage::Ended(_) | Stage::Gone => Poll::Ready(state.take_end()),
            }
        })
        .await
    }
}

impl State {
    /// The ingest, to be set to work, if it is not at work already.
    fn begin(&mut self) -> Option<Box<Ingest>> {
        match std::mem::replace(&mut self.stage, Stage::Busy) {
            Stage::Idle(ingest) => Some(ingest),
            other => {
                self.stage = other;
                None
            }
        }
    }

    fn take_end(&mut self) -> Result<Content> {
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Ended(end) => end,
            Stage::Idle(_) | Stage::Busy | Stage::Gone => Err(ContentError::Abandoned),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

/// The working side. Dropped without having ended properly (a panic, a runtime that shuts down) it ends the stream, so that
/// nobody waits for what cannot come.
struct Worker {
    shared: Arc<Shared>,
    at_work: Arc<AtWork>,
    ended: bool,
}

impl Worker {
    fn work(mut self, mut ingest: Ingest) {
        let at_work = Arc::clone(&self.at_work);
        let _turn = at_work.turns.take();
        let mut rested = false;
        let end = loop {
            let pieces = {
                let mut state = self.shared.state.lock();
                if state.queue.is_empty() && !state.last && !rested {
                    drop(state);
                    rested = true;
                    if let Err(error) = ingest.rest() {
                        break Some(error);
                    }
                    continue;
                }
                if state.queue.is_empty() && !state.last {
                    state.stage = Stage::Idle(Box::new(ingest));
                    state.wake();
                    self.ended = true;
                    return;
                }
                if state.queue.is_empty() {
                    break None;
                }
                state.len = 0;
                rested = false;
                state.wake();
                std::mem::take(&mut state.queue)
            };
            if let Err(error) = pieces.iter().try_for_each(|piece| ingest.push(piece)) {
                break Some(error);
            }
        };
        let end = match end {
            None => ingest.finish(),
            Some(error) => Err(error),
        };
        let mut state = self.shared.state.lock();
        state.stage = Stage::Ended(end);
        state.wake();
        drop(state);
        self.ended = true;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.at_work.streams.fetch_sub(1, Ordering::Relaxed);
        if !self.ended {
            let mut state = self.shared.state.lock();
            state.stage = Stage::Gone;
            state.wake();
        }
    }
}

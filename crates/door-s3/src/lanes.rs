//! MD5 over many bodies at once. One stream of MD5 cannot use more than one lane of a vector register; the bodies of
//! different requests can fill the others, at up to seven times the bytes per second of a core.
//!
//! Streams hand in windows. A stream that finds nobody at work becomes the *leader*: a blocking task that hashes
//! everything handed in, its own window and those that arrive meanwhile, and ends when nothing is left. So no
//! thread idles, and a lone stream is hashed at once, by scalar code.
//!
//! Invariants:
//! - A stream has at most one window here, so the queue is bounded by the requests in flight.
//! - At most [`Lanes::leaders_max`] leaders run. Where lanes pay, one leader serves until its register is full.
//! - No window waits longer than [`LINGER`] for others, and only for streams that kept pace so far (`Queue::hot`).
//! - A window handed in is answered, also if a leader dies: then with [`Died`].

mod kernel;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use strata_gate::bridge;
use tokio::sync::oneshot;

pub(crate) use kernel::State;
use kernel::{Engine, LANES_MAX};

/// Bytes of a body handed in at once.
pub(crate) type Window = Arc<Vec<Bytes>>;

/// Streams from which on lanes beat scalar code: a lane runs at about 0.4 of its speed, whether others are used or not.
const STREAMS_FOR_LANES: usize = 3;
/// Bytes hashed of each stream before newcomers may join: 0.1 ms.
const STEP_LEN: usize = 64 * 1024;
/// Runs shorter than this are not worth loading a register.
const RUN_LEN_MIN: usize = 1024;
/// How long the first window of a batch waits for those of other streams: about what hashing it takes alone.
const LINGER: Duration = Duration::from_millis(1);

/// The process has one: its leaders share the machine's cores.
static SHARED: LazyLock<Arc<Lanes>> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Lanes::new(Engine::chosen().clone(), cores))
});

/// Finds out which code hashes on this machine, and proves it against the reference: before the first body, not under it.
pub(crate) fn prepare() {
    LazyLock::force(&SHARED);
}

/// A leader died with the window; the stream is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task that computed an MD5 died; the digest is lost")]
pub(crate) struct Died;

/// What the streams share.
struct Lanes {
    engine: Engine,
    leaders_max: usize,
    queue: Mutex<Queue>,
    /// A window arrived or a stream ended.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    leaders: usize,
    next_stream: u64,
    /// Streams worth waiting for: open, and not missing when the last batch had waited in full.
    hot: HashSet<u64>,
}

/// A window being hashed.
struct Job {
    stream: u64,
    state: State,
    window: Window,
    piece: usize,
    offset: usize,
    reply: oneshot::Sender<State>,
}

/// The MD5 of one body, window by window.
pub(crate) struct Stream {
    lanes: Arc<Lanes>,
    id: u64,
    stage: Stage,
}

enum Stage {
    Idle(State),
    Busy(oneshot::Receiver<State>),
}

impl Stream {
    /// A stream of no bytes, of which windows are expected soon.
    pub(crate) fn open() -> Self {
        Self::of(&SHARED)
    }

    fn of(lanes: &Arc<Lanes>) -> Self {
        let mut queue = lanes.queue.lock();
        let id = queue.next_stream;
        queue.next_stream += 1;
        queue.hot.insert(id);
        Self { lanes: Arc::clone(lanes), id, stage: Stage::Idle(lanes.engine.state()) }
    }

    /// Whether so few streams are open that each is hashed by itself.
    pub(crate) fn is_alone(&self) -> bool {
        !self.lanes.pays(self.lanes.queue.lock().hot.len())
    }

    /// Hands in the next window, as soon as the one before is hashed. Returns without waiting for this one.
    ///
    /// # Errors
    /// [`Died`], also if the window before was lost.
    pub(crate) async fn start(mut self, window: Window) -> Result<Self, Died> {
        let state = self.idle().await?;
        let (reply, answer) = oneshot::channel();
        let job = Job { stream: self.id, state, window, piece: 0, offset: 0, reply };
        self.stage = Stage::Busy(answer);
        if let Some(leader) = Lanes::hand_in(&self.lanes, job) {
            bridge::toil(move || leader.lead());
        }
        Ok(self)
    }

    /// The digest of all windows.
    ///
    /// # Errors
    /// [`Died`].
    pub(crate) async fn finish(mut self) -> Result<[u8; 16], Died> {
        Ok(self.idle().await?.finish())
    }

    async fn idle(&mut self) -> Result<State, Died> {
        match &mut self.stage {
            Stage::Idle(state) => Ok(state.clone()),
            Stage::Busy(answer) => answer.await.map_err(|_| Died),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.lanes.queue.lock().hot.remove(&self.id);
        self.lanes.changed.notify_all();
    }
}

/// The right and duty to serve the queue. If it is dropped without having ended properly (a panic, a runtime that shuts down), it
/// drops everything queued, so that nobody waits for an answer that cannot come.
struct Leader {
    lanes: Arc<Lanes>,
    ended: bool,
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.ended {
            let mut queue = self.lanes.queue.lock();
            queue.leaders -= 1;
            queue.jobs.clear();
        }
    }
}

impl Lanes {
    fn new(engine: Engine, leaders_max: usize) -> Self {
        Self { engine, leaders_max, queue: Mutex::default(), changed: Condvar::new() }
    }

    /// Whether so many streams are better hashed together than one after the other.
    fn pays(&self, streams: usize) -> bool {
        self.engine.width() > 1 && streams >= STREAMS_FOR_LANES
    }

    /// Queues a window; returns the leader to run if those at work are not enough.
    fn hand_in(this: &Arc<Self>, job: Job) -> Option<Leader> {
        let mut queue = this.queue.lock();
        queue.hot.insert(job.stream);
        queue.jobs.push_back(job);
        this.changed.notify_all();
        let crowded = !this.pays(queue.hot.len()) || queue.jobs.len() > this.engine.width();
        if queue.leaders > 0 && !(crowded && queue.leaders < this.leaders_max) {
            return None;
        }
        queue.leaders += 1;
        Some(Leader { lanes: Arc::clone(this), ended: false })
    }
}

impl Leader {
    fn lead(mut self) {
        let mut batch = Vec::with_capacity(self.lanes.engine.width());
        while self.join(&mut batch) {
            self.lanes.step(&mut batch);
            for at in (0..batch.len()).rev() {
                if batch[at].is_done() {
                    let Job { state, reply, .. } = batch.swap_remove(at);
                    // Nobody listens any more if the request was aborted.
                    let _ = reply.send(state);
                }
            }
        }
    }

    /// Takes in windows that arrived. False if nothing is left to do for this leader, which has then ended.
    fn join(&mut self, batch: &mut Vec<Job>) -> bool {
        let Lanes { queue, changed, .. } = &*self.lanes;
        let mut queue = queue.lock();
        let pays = self.lanes.pays(queue.hot.len());
        let room = if pays { self.lanes.engine.width() } else { 1 };
        let others = queue.leaders > 1;
        if pays && others && batch.len() + queue.jobs.len() <= room {
            // Two leaders with half a batch each: one is enough.
            queue.jobs.extend(batch.drain(..));
            changed.notify_all();
        } else {
            let fresh = batch.is_empty();
            queue.fill(batch, room);
            if pays && fresh && !batch.is_empty() {
                #[allow(clippy::disallowed_methods, reason = "threads wait by real time; nothing stored depends on it")]
                let until = Instant::now() + LINGER;
                while batch.len() < queue.hot.len().min(room) {
                    if changed.wait_until(&mut queue, until).timed_out() {
                        queue.fill(batch, room);
                        queue.hot.retain(|id| batch.iter().any(|job| job.stream == *id));
                        break;
                    }
                    queue.fill(batch, room);
                }
            }
        }
        if batch.is_empty() {
            queue.leaders -= 1;
            self.ended = true;
        }
        !self.ended
    }
}

impl Queue {
    fn fill(&mut self, batch: &mut Vec<Job>, room: usize) {
        let free = room.saturating_sub(batch.len()).min(self.jobs.len());
        batch.extend(self.jobs.drain(..free));
    }
}

impl Lanes {
    /// Hashes up to [`STEP_LEN`] bytes of each window.
    fn step(&self, batch: &mut [Job]) {
        if self.pays(batch.len()) {
            batch.iter_mut().for_each(Job::align);
            let running = || batch.iter().map(Job::run_len).filter(|len| *len > 0);
            if running().count() >= STREAMS_FOR_LANES {
                let len = running().min().unwrap_or(0).min(STEP_LEN);
                return self.step_together(batch, len);
            }
        }
        batch.iter_mut().for_each(|job| job.alone(STEP_LEN));
    }

    /// Hashes `len` bytes, whole blocks, of each window that still has a run; there is at least one.
    fn step_together(&self, batch: &mut [Job], len: usize) {
        let mut states: [State; LANES_MAX] = std::array::from_fn(|_| self.engine.state());
        let mut inputs: [&[u8]; LANES_MAX] = [&[]; LANES_MAX];
        let mut used = 0;
        for job in batch.iter().filter(|job| job.run_len() > 0) {
            states[used] = job.state.clone();
            inputs[used] = &job.rest()[..len];
            used += 1;
        }
        self.engine.update(&mut states, &mut inputs, used);
        for (job, state) in batch.iter_mut().filter(|job| job.run_len() > 0).zip(states) {
            job.state = state;
            job.offset += len;
        }
    }
}

impl Job {
    fn is_done(&self) -> bool {
        self.window[self.piece..].iter().map(Bytes::len).sum::<usize>() == self.offset
    }

    /// What is left of the present piece.
    fn rest(&self) -> &[u8] {
        self.window.get(self.piece).map_or(&[], |piece| &piece[self.offset..])
    }

    /// Bytes from here that are whole blocks of the present piece; none unless the state stands between two blocks.
    fn run_len(&self) -> usize {
        let len = self.rest().len();
        if self.state.partial_len() == 0 && len >= RUN_LEN_MIN { len / 64 * 64 } else { 0 }
    }

    /// Goes on to the start of a run, or to the end of the window.
    fn align(&mut self) {
        while self.piece < self.window.len() && self.run_len() == 0 {
            let rest = self.rest().len();
            let partial = self.state.partial_len();
            self.advance(if partial > 0 && rest >= RUN_LEN_MIN { 64 - partial } else { rest });
        }
    }

    /// Hashes `len` bytes, or somewhat more, by scalar code.
    fn alone(&mut self, len: usize) {
        let mut left = len;
        while left > 0 && self.piece < self.window.len() {
            let take = self.rest().len().min(left);
            self.advance(take);
            left -= take;
        }
    }

    /// Hashes `len` bytes of the present piece by scalar code.
    fn advance(&mut self, len: usize) {
        let Some(piece) = self.window.get(self.piece) else {
            return;
        };
        self.state.update(&piece[self.offset..self.offset + len]);
        self.offset += len;
        if self.offset == piece.len() {
            self.piece += 1;
            self.offset = 0;
        }
    }
}

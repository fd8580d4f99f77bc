//! Blocks made ready for the ledger: compressed and described, on the thread of their stream or on a helper's.
//!
//! A stream hands a closed block to [`Helpers`] only if one of them has nothing to do, and otherwise prepares it itself, so
//! a busy machine pays for no hand-over and an idle one uses its other cores. A thread that waits for a block that nobody has
//! begun prepares it too: no stream ever depends on a helper coming by.
//!
//! Invariants:
//! - A task is prepared once, and its result taken once.
//! - **BOUND**: at most as many tasks are queued as helpers wait for one.
//! - Without helpers (simulation) everything happens on the calling thread, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use strata_chunk::{BlockDirectory, BlockEntry, CompressPolicy, DedupDomain, compress};
use strata_engine::{BlockRecord, PreparedBlock};
use strata_seam::Worker;

use crate::error::{ContentError, Result};

/// Compresses as `policy` says and describes a block of chunks of one dedup domain. With the hot policy about 2 ms per MiB that
/// shrinks, 0.2 ms per MiB that does not.
pub(crate) fn prepare(
    raw: &Bytes,
    domain: DedupDomain,
    entries: Vec<BlockEntry>,
    policy: CompressPolicy,
) -> Result<PreparedBlock> {
    let (codec, data) = compress(raw, policy);
    let data = match data {
        std::borrow::Cow::Borrowed(_) => raw.clone(),
        std::borrow::Cow::Owned(data) => Bytes::from(data),
    };
    let directory = BlockDirectory::new(codec, domain, entries)
        .map_err(|error| ContentError::TooLarge(format!("a block beyond its format: {error}")))?;
    let chunks = directory
        .placed()
        .map(|(offset, entry)| (entry.id, raw.slice(offset as usize..offset as usize + entry.len as usize)))
        .collect();
    Ok(PreparedBlock { record: BlockRecord { directory: directory.encode(), data }, domain, chunks })
}

/// A closed block on its way.
pub(crate) struct Task {
    domain: DedupDomain,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Waiting(Bytes, Vec<BlockEntry>),
    Running,
    Done(Result<PreparedBlock>),
    Taken,
}

impl Task {
    pub(crate) fn new(raw: Bytes, domain: DedupDomain, entries: Vec<BlockEntry>) -> Arc<Self> {
        Arc::new(Self { domain, state: Mutex::new(State::Waiting(raw, entries)), changed: Condvar::new() })
    }

    /// Prepares the block, unless somebody has begun to.
    pub(crate) fn work(&self) {
        let (raw, entries) = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut *state, State::Running) {
                State::Waiting(raw, entries) => (raw, entries),
                other => {
                    *state = other;
                    return;
                }
            }
        };
        let mut begun = Begun { task: self, end: Some(State::Waiting(raw.clone(), entries.clone())) };
        begun.end = Some(State::Done(prepare(&raw, self.domain, entries, CompressPolicy::HOT)));
    }

    /// Whether nobody has begun.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(*self.state.lock(), State::Waiting(..))
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(*self.state.lock(), State::Done(_))
    }

    /// The block, prepared here if nobody has begun to, or waited for. To be called once.
    ///
    /// # Errors
    /// [`ContentError::TooLarge`] for a block beyond its format.
    pub(crate) fn take(&self) -> Result<PreparedBlock> {
        loop {
            self.work();
            let mut state = self.state.lock();
            match std::mem::replace(&mut *state, State::Taken) {
                State::Done(result) => return result,
                State::Running => {
                    *state = State::Running;
                    self.changed.wait(&mut state);
                }
                // A helper failed while it prepared the block, and has put it back.
                State::Waiting(raw, entries) => *state = State::Waiting(raw, entries),
                State::Taken => return Err(ContentError::TooLarge("a block was taken twice".to_owned())),
            }
        }
    }
}

/// Ends the preparation of a task. In a panic the task is put back, and the stream that waits for it prepares it itself.
struct Begun<'a> {
    task: &'a Task,
    end: Option<State>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            *self.task.state.lock() = end;
            self.task.changed.notify_all();
        }
    }
}

/// Hands blocks to idle helper threads to be compressed. The threads belong to the caller of [`Helpers::help`].
#[derive(Default)]
pub struct Helpers {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Arc<Task>>,
    /// Helpers waiting for a task, those not counted that one in the queue is meant for.
    idle: usize,
    ended: bool,
}

impl Helpers {
    /// The body of a helper's thread: prepares blocks until [`Helpers::end`], reporting as `worker`.
    pub fn help(&self, worker: &Worker) {
        let mut queue = self.queue.lock();
        while !queue.ended {
            queue.idle += 1;
            while queue.tasks.is_empty() && !queue.ended {
                self.wake.wait(&mut queue);
            }
            let Some(task) = queue.tasks.pop_front() else { return };
            parking_lot::MutexGuard::unlocked(&mut queue, || {
                let _round = worker.begin(Some(1));
                task.work();
                worker.advance(1);
            });
        }
    }

    /// Ends all helpers: their [`Helpers::help`] returns.
    pub fn end(&self) {
        self.queue.lock().ended = true;
        self.wake.notify_all();
    }

    /// Gives `task` to a helper with nothing to do. False if there is none.
    pub(crate) fn offer(&self, task: &Arc<Task>) -> bool {
        let mut queue = self.queue.lock();
        if queue.idle == 0 || queue.ended {
            return false;
        }
        queue.idle -= 1;
        queue.tasks.push_back(Arc::clone(task));
        drop(queue);
        self.wake.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use strata_chunk::chunk_id;
    use strata_seam::{Crew, Duty, SystemClock};

    use super::*;

    fn task(number: u8) -> Arc<Task> {
        let raw = Bytes::from(vec![number; 100_000]);
        let entry = BlockEntry { id: chunk_id(&raw), len: 100_000 };
        Task::new(raw, DedupDomain::COMMON, vec![entry])
    }

    #[test]
    fn without_helpers_a_stream_prepares_its_blocks_itself() {
        let task = task(1);
        assert!(!Helpers::default().offer(&task));
        assert_eq!(task.take().unwrap().chunks[0].1, vec![1; 100_000]);
    }

    #[test]
    fn no_more_is_queued_than_helpers_wait_and_every_block_is_prepared_once() {
        let helpers = Helpers::default();
        let duty = Duty { name: "helper", does: "prepares blocks", unit: "blocks" };
        let worker = Crew::new(Arc::new(SystemClock::new())).add(duty, None);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| helpers.help(&worker));
            }
            let tasks: Vec<_> = (0..200).map(|number| task(number as u8)).collect();
            for task in &tasks {
                if !helpers.offer(task) {
                    task.work();
                }
                assert!(helpers.queue.lock().tasks.len() <= 2);
            }
            for (number, task) in tasks.iter().enumerate() {
                assert_eq!(task.take().unwrap().chunks[0].1[0], number as u8);
            }
            helpers.end();
        });
    }

    #[test]
    fn a_block_that_a_helper_died_over_is_prepared_by_who_waits_for_it() {
        let task = task(3);
        std::thread::scope(|scope| {
            let died = scope.spawn(|| {
                let (raw, entries) = match std::mem::replace(&mut *task.state.lock(), State::Running) {
                    State::Waiting(raw, entries) => (raw, entries),
                    _ => unreachable!("nobody else has begun"),
                };
                let _begun = Begun { task: &task, end: Some(State::Waiting(raw, entries)) };
                panic!("as a fault in the code of a codec would");
            });
            assert!(died.join().is_err());
        });
        assert_eq!(task.take().unwrap().chunks.len(), 1);
    }
}

//! Writing the frames of a stripe: one after the other on the calling thread, or all at once on a thread per disk.
//!
//! A hand-over is a slot under a lock: the job goes in, the buffer and the result come out. The caller writes one disk
//! itself, which saves the most expensive part, waking another core.

use crate::sync::thread::{self, JoinHandle};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use strata_seam::{AlignedBuf, Clock, DiskError, DiskErrorKind, DiskFile, WriteMode};

/// One disk's part of a stripe.
pub(crate) struct Job {
    pub(crate) disk: usize,
    pub(crate) file: Arc<dyn DiskFile>,
    /// What to write: the first `len` bytes of `buf` at `offset`; nothing if `len` is zero.
    pub(crate) buf: AlignedBuf,
    pub(crate) len: usize,
    pub(crate) offset: u64,
    pub(crate) mode: WriteMode,
    /// Whether the file is synced afterwards.
    pub(crate) sync: bool,
}

/// A finished job.
pub(crate) struct Done {
    pub(crate) disk: usize,
    pub(crate) buf: AlignedBuf,
    pub(crate) result: Result<(), DiskError>,
    /// What it took.
    pub(crate) nanos: u64,
}

fn run(job: Job, clock: &dyn Clock) -> Done {
    let started = clock.monotonic_nanos();
    let mut result = Ok(());
    if job.len > 0 {
        result = job.file.write_at(job.offset, &job.buf[..job.len], job.mode);
    }
    if job.sync && result.is_ok() {
        result = job.file.sync();
    }
    let nanos = clock.monotonic_nanos().saturating_sub(started);
    Done { disk: job.disk, buf: job.buf, result, nanos }
}

/// How the writer writes.
#[derive(Default)]
pub(crate) struct Workers {
    /// By disk; empty for writing on the calling thread.
    threads: Vec<Worker>,
}

struct Worker {
    slot: Arc<Slot>,
    thread: Option<JoinHandle<()>>,
}

struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Idle,
    Todo(Job),
    Busy,
    Done(Done),
    Stop,
}

impl Workers {
    /// Starts a thread per disk.
    pub(crate) fn start(disks: usize, clock: &Arc<dyn Clock>) -> std::io::Result<Self> {
        let mut workers = Self::default();
        workers.grow(disks, clock)?;
        Ok(workers)
    }

    /// Starts more, up to a thread for each of so many disks.
    pub(crate) fn grow(&mut self, disks: usize, clock: &Arc<dyn Clock>) -> std::io::Result<()> {
        for disk in self.threads.len()..disks {
            let slot = Arc::new(Slot { state: Mutex::new(State::Idle), changed: Condvar::new() });
            let (theirs, clock) = (Arc::clone(&slot), Arc::clone(clock));
            let thread = thread::Builder::new()
                .name(format!("ledger-disk-{disk}"))
                .spawn(move || theirs.serve(disk, &*clock))?;
            self.threads.push(Worker { slot, thread: Some(thread) });
        }
        Ok(())
    }

    /// Runs all jobs and returns when the last one is done. `inline` says that handing them over costs more than it
    /// gains.
    pub(crate) fn run(&self, mut jobs: Vec<Job>, inline: bool, clock: &dyn Clock) -> Vec<Done> {
        if inline || self.threads.is_empty() || jobs.len() <= 1 {
            return jobs.into_iter().map(|job| run(job, clock)).collect();
        }
        // Those for which no thread could be started are the caller's, too.
        let beyond = jobs.iter().position(|job| job.disk >= self.threads.len());
        let own = jobs.split_off(beyond.unwrap_or(jobs.len() - 1).min(jobs.len() - 1));
        let disks: Vec<usize> = jobs.iter().map(|job| job.disk).collect();
        for job in jobs {
            let slot = &self.threads[job.disk].slot;
            *slot.state.lock() = State::Todo(job);
            slot.changed.notify_all();
        }
        let mut done: Vec<Done> = own.into_iter().map(|job| run(job, clock)).collect();
        done.extend(disks.into_iter().map(|disk| self.threads[disk].slot.result()));
        done
    }
}

impl Slot {
    fn serve(&self, disk: usize, clock: &dyn Clock) {
        loop {
            let mut state = self.state.lock();
            while matches!(*state, State::Idle | State::Busy | State::Done(_)) {
                self.changed.wait(&mut state);
            }
            let job = match std::mem::replace(&mut *state, State::Busy) {
                State::Todo(job) => job,
                _ => return,
            };
            drop(state);
            // A panic below must not leave the writer waiting for ever: it counts as a failed disk.
            let done =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(job, clock))).unwrap_or_else(|_| Done {
                    disk,
                    buf: AlignedBuf::new(),
                    result: Err(DiskError {
                        kind: DiskErrorKind::Medium,
                        disk: format!("place {disk}"),
                        what: "the disk's code panicked".to_owned(),
                        source: None,
                    }),
                    nanos: 0,
                });
            *self.state.lock() = State::Done(done);
            self.changed.notify_all();
        }
    }

    fn result(&self) -> Done {
        let mut state = self.state.lock();
        loop {
            match std::mem::replace(&mut *state, State::Idle) {
                State::Done(done) => return done,
                other => *state = other,
            }
            self.changed.wait(&mut state);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &self.threads {
            *worker.slot.state.lock() = State::Stop;
            worker.slot.changed.notify_all();
        }
        for thread in self.threads.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A worker that panicked has said so already.
            drop(thread.join());
        }
    }
}

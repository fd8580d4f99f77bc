//! The state that callers, the writer and the helper threads share, and how progress is told.
//!
//! Lock order: `writer`, then the `supers` of one set, then `queue`. No lock is held while wakers or condition variables wake others,
//! and `queue` is never held during I/O.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use strata_seam::{Clock, Crew, Duty, Lsn, Worker};

use crate::api::{Class, Sink};
use crate::error::{LedgerError, Result};
use crate::history::History;
use crate::identify::Stranger;
use crate::options::Options;
use crate::prepare::Prepare;
use crate::queue::{Halt, Queue};
use crate::sets::Sets;
use crate::writer::Writer;

/// The writer, as it is shown: the thread, or whoever leads in its place.
const WRITER: Duty = Duty { name: "writer", does: "writes the log to the disks", unit: "appends" };
/// What it waits for where too few disks are left.
pub(crate) const QUORUM: &str = "the write quorum";

pub(crate) struct Shared {
    pub(crate) sets: Sets,
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    /// Who works in the background of this store: of every layer.
    pub(crate) crew: Arc<Crew>,
    /// The writer among them.
    pub(crate) writes: Arc<Worker>,
    pub(crate) queue: Mutex<Queue>,
    /// Signalled on progress and on a halt.
    pub(crate) progress: Condvar,
    /// Signalled when the queue got shorter.
    pub(crate) room: Condvar,
    /// Signalled when the writer thread has something to do.
    pub(crate) work: Condvar,
    written: AtomicU64,
    durable: AtomicU64,
    pub(crate) writer: Mutex<Writer>,
    /// Which opening may have written which numbers: as the superblocks of the sets that take writes have it.
    pub(crate) history: Mutex<History>,
    /// How often anything about the disks had changed when it was last tried to open the store anew.
    pub(crate) looked_at: AtomicU64,
    /// Names of further openings in this process are made of it.
    pub(crate) seed: u64,
    /// Disks given that have no place in the set.
    pub(crate) strangers: Mutex<Vec<Stranger>>,
    pub(crate) sink: RwLock<Option<Arc<dyn Sink>>>,
    /// Whether what is queued cannot be written for now.
    pub(crate) stalled: AtomicBool,
    /// Whether the writer thread runs; otherwise whoever waits writes.
    pub(crate) started: AtomicBool,
    pub(crate) prepare: Prepare,
    /// Bytes that a checkpoint may take: see `room.rs`.
    pub(crate) keep: AtomicU64,
    /// Whether files of freed segments are overwritten before they go.
    pub(crate) erasing: AtomicBool,
}

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "the one place where a ledger is put together")]
    pub(crate) fn new(
        sets: Sets,
        options: Options,
        clock: Arc<dyn Clock>,
        queue: Queue,
        durable: Lsn,
        writer: Writer,
        history: History,
        strangers: Vec<Stranger>,
        seed: u64,
    ) -> Self {
        let crew = Arc::new(Crew::new(Arc::clone(&clock)));
        Self {
            sets,
            options,
            writes: crew.add(WRITER, None),
            crew,
            clock,
            queue: Mutex::new(queue),
            progress: Condvar::new(),
            room: Condvar::new(),
            work: Condvar::new(),
            written: AtomicU64::new(durable.0),
            durable: AtomicU64::new(durable.0),
            writer: Mutex::new(writer),
            history: Mutex::new(history),
            looked_at: AtomicU64::new(0),
            seed,
            strangers: Mutex::new(strangers),
            sink: RwLock::new(None),
            stalled: AtomicBool::new(false),
            started: AtomicBool::new(false),
            prepare: Prepare::default(),
            keep: AtomicU64::new(0),
            erasing: AtomicBool::new(false),
        }
    }

    pub(crate) fn written(&self) -> Lsn {
        Lsn(self.written.load(Ordering::Acquire))
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Notes progress, in bytes of the queue and in numbers, and wakes whom it concerns.
    pub(crate) fn advance(&self, bytes: usize, written: Lsn, durable: Lsn) {
        let mut queue = self.queue.lock();
        queue.bytes -= bytes;
        if queue.stuck.take().is_some() {
            self.writes.well();
        }
        self.stalled.store(queue.halt.is_some(), Ordering::Release);
        queue.oldest_at = self.clock.monotonic_nanos();
        self.written.fetch_max(written.0, Ordering::AcqRel);
        self.durable.fetch_max(durable.0, Ordering::AcqRel);
        self.wake(queue);
    }

    /// Stops all writing until the store is opened again, by this process or another. The first reason stays.
    pub(crate) fn halt(&self, halt: Halt) {
        let mut queue = self.queue.lock();
        if queue.halt.is_none() {
            queue.halt = Some(halt);
            queue.note_refusing(self.clock.now());
            self.stalled.store(true, Ordering::Release);
            if let Halt::QuorumLost { answered, needed } = halt {
                tracing::error!(
                    answered,
                    needed,
                    "write quorum lost: the store is read-only until enough disks are back"
                );
                // It was said above.
                let _ = self.writes.failed(&halt.error(), Duration::MAX);
                self.writes.waits_for(QUORUM);
            }
        }
        self.wake(queue);
    }

    pub(crate) fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        let wakers = queue.ready_wakers(self.written(), self.durable());
        drop(queue);
        self.progress.notify_all();
        self.room.notify_all();
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// The answer for whoever waits for `lsn`, if there is one.
    pub(crate) fn settled(&self, queue: &Queue, lsn: Lsn, class: Class) -> Option<Result<()>> {
        let reached = match class {
            Class::Written => self.written(),
            Class::Durable => self.durable(),
        };
        if lsn <= reached {
            return Some(Ok(()));
        }
        if let Some(halt) = queue.halt {
            return Some(Err(halt.error()));
        }
        if lsn >= queue.next_lsn {
            let what = format!("sequence number {lsn} was never given out, the next one is {}", queue.next_lsn);
            return Some(Err(LedgerError::Inconsistent { what }));
        }
        queue.stuck.map(|stuck| Err(stuck.error()))
    }

    /// Wakes the writer thread if there is reason to write at once.
    pub(crate) fn hand_over(&self) {
        if self.started() {
            let queue = self.queue.lock();
            let urgent = queue.urgent(self.written(), self.durable(), self.options.flush_bytes);
            drop(queue);
            if urgent {
                self.work.notify_one();
            }
        }
    }
}

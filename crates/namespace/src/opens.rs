//! Open files of this process, and their staged bytes.
//!
//! Within a change only the atomics of an open file are read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};
use strata_content::{Store, Turns};
use strata_seam::{Ino, Timestamp};

use crate::erasing::Erasing;
use crate::pin::{Kept, Pinned, Replacements};
use crate::staging::Staging;
use crate::stored::Stored;
use crate::types::Caller;

/// Large seals that go on at a time.
const LARGE_SEALS_MAX: usize = 2;

/// Turns of large seals. Each holds some megabytes beside what is staged, and they share the cores (invariant BOUND); small ones,
/// as of a sync, do not wait for them.
pub(crate) struct LargeSeals(pub(crate) Turns);

impl Default for LargeSeals {
    fn default() -> Self {
        Self(Turns::of(LARGE_SEALS_MAX))
    }
}

/// Files that are open or hold staged bytes.
#[derive(Default)]
pub(crate) struct Opens {
    pub(crate) table: Mutex<HashMap<Ino, Arc<OpenFile>>>,
    pub(crate) erasing: Erasing,
    pub(crate) replacements: Arc<Replacements>,
    pub(crate) staged_bytes: AtomicUsize,
    pub(crate) stored: Stored,
    /// Turns of large seals.
    pub(crate) large_seals: LargeSeals,
    /// Files whose front a sealer is to take up, each at most once.
    pub(crate) queue: Mutex<VecDeque<Ino>>,
    pub(crate) queued: Condvar,
    /// Threads that take them up.
    pub(crate) sealers: AtomicUsize,
}

/// A file that is open or holds staged bytes.
#[derive(Default)]
pub(crate) struct OpenFile {
    /// Handles at doors that open and close.
    pub(crate) handles: AtomicU32,
    /// What other threads may see without the lock, valid while `dirty`.
    pub(crate) dirty: AtomicBool,
    pub(crate) staged_end: AtomicU64,
    pub(crate) staged_allocated: AtomicU64,
    pub(crate) staged_mtime: AtomicI64,
    pub(crate) staged_change: AtomicU64,
    pub(crate) last_write_nanos: AtomicU64,
    /// When the oldest of the staged bytes was written.
    pub(crate) staged_since_nanos: AtomicU64,
    /// Counts how often staged bytes became content (or were given up), ahead of the fields above.
    pub(crate) moved: AtomicU64,
    pub(crate) state: Mutex<State>,
    /// Held while the file is being sealed; writing goes on meanwhile.
    pub(crate) seal: Mutex<()>,
    /// Whether a sealer has been asked for.
    pub(crate) queued: AtomicBool,
    /// Bytes of room that the ledger keeps for what is staged.
    pub(crate) promised: AtomicU64,
    /// Readers of the present content that are to stay on it.
    pub(crate) pinned: Pinned,
}

/// The part of an open file that its lock guards.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) staging: Staging,
    /// What was staged before and is being sealed now; read below `staging`.
    pub(crate) sealing: Option<Arc<Staging>>,
    /// Where the content ends in a natural cut, so that what follows is chunked as if the file had come in one stream.
    pub(crate) natural_end: Option<u64>,
    /// Ranges put in place as they were by a sync; chunked again when the file is closed.
    pub(crate) fragments: Vec<(u64, u64)>,
    /// Who wrote last.
    pub(crate) writer: Option<Caller>,
    /// Bytes allocated, counted while something is staged; and upon which version of the content.
    pub(crate) allocated: u64,
    pub(crate) counted: u64,
}

impl Opens {
    pub(crate) fn get(&self, ino: Ino) -> Option<Arc<OpenFile>> {
        self.table.lock().get(&ino).cloned()
    }

    pub(crate) fn get_or_insert(&self, ino: Ino) -> Arc<OpenFile> {
        Arc::clone(self.table.lock().entry(ino).or_default())
    }

    /// As [`Opens::is_open`], for a change that erases the file if not: until that shows, who opens it waits.
    pub(crate) fn is_open_for_erasing(&self, ino: Ino) -> bool {
        self.erasing.ask();
        self.is_open(ino)
    }

    /// Waits for writes that were judged before now: a lock that shows by now forbids all later ones.
    pub(crate) fn wait_for_writes(&self) {
        let files: Vec<_> = self.table.lock().values().cloned().collect();
        // A write is checked and staged under this lock, and its file is in the table before that.
        files.iter().for_each(|file| drop(file.state.lock()));
    }

    pub(crate) fn is_open(&self, ino: Ino) -> bool {
        self.table.lock().get(&ino).is_some_and(|file| file.handles.load(Ordering::Acquire) > 0)
    }

    /// Forgets a file that nobody has open and that holds nothing.
    pub(crate) fn forget_if_idle(&self, ino: Ino) {
        let mut table = self.table.lock();
        let idle = |file: &Arc<OpenFile>| {
            file.handles.load(Ordering::Acquire) == 0
                && !file.dirty.load(Ordering::Acquire)
                && Arc::strong_count(file) == 1
        };
        if table.get(&ino).is_some_and(idle) {
            table.remove(&ino);
        }
    }

    /// The change number that was given out for the staged bytes of a file; zero if there are none.
    pub(crate) fn staged_change(&self, ino: Ino) -> u64 {
        let file = if self.any_staged() { self.get(ino) } else { None };
        file.map_or(0, |file| file.staged_change.load(Ordering::Acquire))
    }

    /// Whether bytes were written to a file that are not stored yet.
    pub(crate) fn has_staged(&self, ino: Ino) -> bool {
        self.any_staged() && self.get(ino).is_some_and(|file| file.dirty.load(Ordering::Acquire))
    }

    /// Whether anything is staged at all.
    pub(crate) fn any_staged(&self) -> bool {
        self.staged_bytes.load(Ordering::Acquire) > 0
    }

    pub(crate) fn dirty_files(&self) -> Vec<(Ino, Arc<OpenFile>)> {
        let table = self.table.lock();
        table
            .iter()
            .filter(|(_, file)| file.dirty.load(Ordering::Acquire))
            .map(|(ino, file)| (*ino, Arc::clone(file)))
            .collect()
    }
}

impl OpenFile {
    /// After the staging was changed under its lock. `ahead` was promised room for that change.
    pub(crate) fn publish(&self, state: &State, store: &Store, ahead: u64) {
        let room = state.staging.room() + state.sealing.as_ref().map_or(0, |sealing| sealing.room());
        let before = self.promised.swap(room, Ordering::AcqRel) + ahead;
        if before != room {
            store.keep_promised(before, room);
        }
        let end = state.end(0);
        let dirty = !state.staging.is_empty() || state.sealing.is_some();
        if self.dirty.load(Ordering::Acquire) && (!dirty || end < self.staged_end.load(Ordering::Acquire)) {
            self.moved.fetch_add(1, Ordering::AcqRel);
        }
        self.staged_end.store(end, Ordering::Release);
        self.staged_allocated.store(state.allocated, Ordering::Release);
        self.dirty.store(dirty, Ordering::Release);
    }

    pub(crate) fn mtime(&self) -> Timestamp {
        Timestamp(self.staged_mtime.load(Ordering::Acquire))
    }
}

impl Opens {
    /// Pins an inode that is about to be made.
    pub(crate) fn hold(&self, ino: Ino) {
        self.get_or_insert(ino).handles.fetch_add(1, Ordering::AcqRel);
    }

    /// Undoes [`Opens::hold`] where the inode was not made after all.
    pub(crate) fn let_go(&self, ino: Ino) {
        if let Some(file) = self.get(ino) {
            file.handles.fetch_sub(1, Ordering::AcqRel);
        }
        self.forget_if_idle(ino);
    }
}

impl Kept {
    /// The pins lead to the kept content from here on.
    pub(crate) fn lead_there(&self, opens: &Opens) {
        for pin in &self.pins {
            opens.hold(self.old);
            pin.kept.store(self.old.0, Ordering::Release);
            if let Some(file) = opens.get(pin.ino) {
                file.pinned.0.lock().clear();
            }
        }
    }
}

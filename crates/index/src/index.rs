//! The index as its callers see it: opening, reading, applying. Draining into the engine is in `drain.rs`.
//!
//! Readers never hold the overlay's lock while the engine is asked, because an engine may wait for a disk and a waiting
//! writer would then stop everybody. They ask the engine first, then merge under the lock, and start over in the rare case
//! that a drain was finished in between (`Overlay::finished`): as long as it was not, the overlay still holds every change
//! that the engine may or may not have shown, and merging gives the same result either way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use strata_seam::planted::{Bug, planted};
use strata_seam::{Lsn, Position, SetId};

use crate::drain::DrainState;
use crate::engine::{EngineError, OrderedKv};
use crate::engines::EngineKind;
use crate::error::IndexError;
use crate::former::exchange;
use crate::hot::HotCounts;
use crate::memory::MemoryEngine;
use crate::merge::{Direction, merge};
use crate::mutation::{Batch, Mutation};
use crate::overlay::{Frozen, Generation, Overlay, resolve};
use crate::set_aside::{failed_before, mark_failed, remove, set_aside};
use crate::stored::{FIRST_KEY, STATUS_KEY, Status, Stored};
use crate::sum::Sum;
use crate::verified::Verified;

/// Most pairs asked of the engine at once.
const ENGINE_PAGE_MAX: usize = 4096;

/// Settings, as plain data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexOptions {
    /// Whose ledger the index is derived from: an engine of another store is set aside.
    pub store: SetId,
    /// Which engine is to hold it. `None`: the one whose files lie in the folder, Sled where none do.
    pub engine: Option<EngineKind>,
    /// The engine's cache in bytes; Sled takes four to five times as much memory.
    pub cache_capacity: u64,
    /// Memory for pairs of the engine that are read again and again, in bytes; 0 for none.
    pub hot_bytes: u64,
    /// Size of the active generation, in bytes of memory, from which it is frozen and drained.
    pub freeze_bytes: usize,
    /// Age from which it is frozen when nothing was applied for [`IndexOptions::freeze_quiet`].
    pub freeze_age: Duration,
    /// See [`IndexOptions::freeze_age`].
    pub freeze_quiet: Duration,
    /// Age from which it is frozen in any case, so that a replay stays short under a steady trickle.
    pub freeze_age_max: Duration,
    /// Size of the whole overlay, in bytes of memory, above which callers must slow down ([`Index::wait_for_room`]).
    pub overlay_bytes_max: usize,
    /// Keys per batch written to the engine: each batch stops the engine's readers.
    pub drain_keys: usize,
    /// First bytes of the keys of cells that [`Index::lookup_below`] shows as they were; others it shows as they are.
    pub cells_shown: &'static [u8],
}

impl IndexOptions {
    /// The defaults, for `store`.
    #[must_use]
    pub fn new(store: SetId) -> Self {
        Self {
            store,
            engine: None,
            cache_capacity: 64 << 20,
            hot_bytes: 4 << 20,
            freeze_bytes: 48 << 20,
            freeze_age: Duration::from_secs(10),
            freeze_quiet: Duration::from_secs(2),
            freeze_age_max: Duration::from_secs(60),
            overlay_bytes_max: 192 << 20,
            drain_keys: 512,
            cells_shown: &[],
        }
    }
}

/// How the engine was found by [`Index::open`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Opened {
    /// There was none, or none that was ever filled: replay everything.
    Fresh,
    /// As left: replay from [`Index::applied`].
    Resumed,
    /// It could not be used and was moved: replay everything.
    SetAside {
        /// Why, for the log.
        why: String,
        /// Where it is kept, if there was something to keep.
        kept: Option<PathBuf>,
    },
    /// It was sound, and of another engine than is asked for. It is kept until [`crate::forget_former`]: replay everything.
    Exchanged {
        /// Whose it was.
        former: EngineKind,
    },
}

/// A value as a reader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What was put, or a cell (see [`crate::Cell`]).
    pub value: Vec<u8>,
    /// The last change of it that the overlay holds, or 0 if it comes from the engine and is durable.
    pub lsn: Lsn,
}

/// The answer for one key, also where it is that there is nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lookup {
    /// The value, if there is one.
    pub value: Option<Vec<u8>>,
    /// The last change of it that the overlay holds, a removal included, or 0.
    pub lsn: Lsn,
}

/// The answer for a range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// In scan order.
    pub entries: Vec<(Vec<u8>, Entry)>,
    /// The highest change the answer rests on, removals included, or 0.
    pub lsn: Lsn,
}

/// The index. All calls may come from any thread.
pub struct Index {
    pub(crate) engine: Verified,
    pub(crate) options: IndexOptions,
    pub(crate) overlay: RwLock<Overlay>,
    pub(crate) status: Mutex<Status>,
    pub(crate) drain: Mutex<DrainState>,
    /// Held from before the ledger numbers a batch until the batch is applied, and while a generation is frozen.
    /// Taken after `drain` and before `overlay`.
    pub(crate) commits: Mutex<()>,
    pub(crate) room: (Mutex<()>, Condvar),
    broken: AtomicBool,
    /// What broke it.
    cause: Mutex<Option<EngineError>>,
    /// Its folder, if it has one.
    home: Option<PathBuf>,
    opened: Opened,
    found_bytes: u64,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("status", &self.status).field("opened", &self.opened).finish_non_exhaustive()
    }
}

impl Index {
    /// Opens the index in the folder `dir`. A damaged or foreign one is moved to `dir.bad-N` and replaced by an empty one, one
    /// of another engine than [`IndexOptions::engine`] to `dir.was-ENGINE`; [`Index::opened`] says so. The caller then replays the ledger from [`Index::applied`]. Reads the records of the spans, one
    /// for some hundred keys; what lies in a span is verified when it is first read, or by [`Index::drain_step`] before.
    ///
    /// # Errors
    /// [`IndexError::Open`] if not even an empty one can be made.
    pub fn open(dir: &Path, options: IndexOptions) -> Result<Self, IndexError> {
        let open = |source| IndexError::Open { path: dir.to_owned(), source };
        let found = EngineKind::of(dir);
        let kind = options.engine.or(found).unwrap_or_default();
        let mut former = None;
        if found != Some(kind) {
            let kept = exchange(dir, found, kind)
                .map_err(|error| open(EngineError::Damaged(format!("it cannot be moved beside: {error}"))))?;
            if let (Some(from), Some(kept)) = (found, kept) {
                tracing::warn!(
                    %from, to = %kind, kept = %kept.display(),
                    "the index is of another engine than is asked for; it is kept while it is built anew from the ledger"
                );
                former = Some(from);
            }
        }
        if let Some(why) = failed_before(dir) {
            return Self::open_fresh(dir, options, &why);
        }
        let existed = dir.exists();
        match kind.open(dir, options.cache_capacity).and_then(|engine| look(engine, &options)) {
            Ok(Found::Usable(engine, status)) => {
                let opened = former.map_or_else(|| resumed(&status), |former| Opened::Exchanged { former });
                Ok(Self { home: Some(dir.to_owned()), ..Self::build(*engine, options, status, opened) })
            }
            Ok(Found::Worthless) => {
                remove(dir).map_err(|error| open(EngineError::Damaged(error.to_string())))?;
                let engine = kind.open(dir, options.cache_capacity).map_err(open)?;
                let status = fresh(&options);
                let fresh = Self::build(Verified::empty(engine), options, status, Opened::Fresh);
                Ok(Self { home: Some(dir.to_owned()), ..fresh })
            }
            // Another process has it, or nothing could be made: moving folders about would not help.
            Err(source) if !existed || matches!(source, EngineError::InUse { .. }) => Err(open(source)),
            Err(error) => Self::open_fresh(dir, options, &error.to_string()),
        }
    }

    /// Sets aside whatever index there is at `dir` and opens an empty one, to be filled by a replay of everything and then put
    /// in the place of a broken one. It is of the same engine, where the options name none. `why` goes to the log.
    ///
    /// # Errors
    /// [`IndexError::Open`].
    pub fn open_fresh(dir: &Path, options: IndexOptions, why: &str) -> Result<Self, IndexError> {
        let open = |source| IndexError::Open { path: dir.to_owned(), source };
        let kind = options.engine.or_else(|| EngineKind::of(dir)).unwrap_or_default();
        let kept =
            set_aside(dir).map_err(|error| open(EngineError::Damaged(format!("it cannot be set aside: {error}"))))?;
        tracing::warn!(why, kept = ?kept, "the index is set aside and rebuilt from the ledger");
        let engine = kind.open(dir, options.cache_capacity).map_err(open)?;
        let status = fresh(&options);
        let opened = Opened::SetAside { why: why.to_owned(), kept };
        let fresh = Self::build(Verified::empty(engine), options, status, opened);
        Ok(Self { home: Some(dir.to_owned()), ..fresh })
    }

    /// An index over `engine`, which may hold what an earlier index left in it.
    ///
    /// # Errors
    /// [`IndexError::Engine`] if the engine fails, is another store's, or was left in its very first drain: give an empty one.
    pub fn with_engine(engine: Arc<dyn OrderedKv>, options: IndexOptions) -> Result<Self, IndexError> {
        match look(engine, &options).map_err(IndexError::Engine)? {
            Found::Usable(engine, status) => Ok(Self::build(*engine, options, status, resumed(&status))),
            Found::Worthless => {
                Err(IndexError::Engine(EngineError::Damaged("its first drain was never finished".into())))
            }
        }
    }

    /// An index that forgets everything when it is dropped.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::in_memory_with(IndexOptions::new(SetId([0; 16])))
    }

    /// The same with these settings.
    #[must_use]
    pub fn in_memory_with(options: IndexOptions) -> Self {
        let status = fresh(&options);
        Self::build(Verified::empty(Arc::new(MemoryEngine::default())), options, status, Opened::Fresh)
    }

    fn build(engine: Verified, options: IndexOptions, status: Status, opened: Opened) -> Self {
        let mut overlay = Overlay { floor: status.applied.map_or(Lsn(0), |(lsn, _)| lsn), ..Overlay::default() };
        // A drain that was begun must be ended with the very same bound: cells it wrote include everything up to it.
        overlay.frozen = status.draining.map(|bound| Frozen {
            changes: Generation::default(),
            bound,
            replay_from: status.applied.map(|(_, position)| position),
            drained_to: None,
        });
        Self {
            found_bytes: engine.total().bytes,
            engine: engine.with_hot(options.hot_bytes),
            options,
            overlay: RwLock::new(overlay),
            status: Mutex::new(status),
            drain: Mutex::default(),
            commits: Mutex::default(),
            room: (Mutex::new(()), Condvar::new()),
            broken: AtomicBool::new(false),
            cause: Mutex::default(),
            home: None,
            opened,
        }
    }

    /// How the engine was found.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Bytes of the keys and values that the engine held when it was opened.
    #[must_use]
    pub fn found_bytes(&self) -> u64 {
        self.found_bytes
    }

    /// How often a pair of the engine was found in memory, and how often the engine was asked, since the index was opened.
    #[must_use]
    pub fn hot(&self) -> HotCounts {
        self.engine.hot()
    }

    /// Verifies whatever of the engine nobody has read since it was opened, as long as `go_on` says so; `false` where that ended it.
    ///
    /// # Errors
    /// [`IndexError::Engine`] at the first span that is wrong: the next opening builds the index anew.
    pub fn verify(&self, go_on: &mut dyn FnMut() -> bool) -> Result<bool, IndexError> {
        let mut cursor = Vec::new();
        while go_on() {
            if !self.engine.verify_next(&mut cursor).map_err(|error| self.engine_failed(error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Up to which number the engine has every change, and from where a replay must start; `None`: from the very beginning.
    /// Changes that a replay repeats are passed over by [`Index::apply`].
    #[must_use]
    pub fn applied(&self) -> Option<(Lsn, Position)> {
        self.status.lock().applied
    }

    /// The highest number of which the engine may hold a trace. Above the end of the ledger, the engine is of another history:
    /// take a fresh one ([`Index::open_fresh`]).
    #[must_use]
    pub fn engine_reach(&self) -> Lsn {
        let status = self.status.lock();
        status.applied.map(|(lsn, _)| lsn).max(status.draining).unwrap_or_default()
    }

    /// Whether the engine failed or was found wrong since it was opened. Reads then fail or are right, and nothing is drained any
    /// more; the next opening builds the index anew where that is needed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(crate) fn engine_failed(&self, error: EngineError) -> IndexError {
        let mut cause = self.cause.lock();
        if cause.is_none() {
            tracing::error!(%error, "the index failed; what is stored is untouched; restart the server, and the index is built anew from it");
            if let Some(home) = &self.home {
                mark_failed(home, &error.to_string());
            }
            *cause = Some(error.clone());
            self.broken.store(true, Ordering::Release);
        }
        IndexError::Engine(error)
    }

    /// # Errors
    /// What broke the index, if something did: what a batch failed to bring into the engine, no later one may claim.
    pub(crate) fn whole(&self) -> Result<(), IndexError> {
        if !self.is_broken() {
            return Ok(());
        }
        self.cause.lock().clone().map_or(Ok(()), |cause| Err(IndexError::Engine(cause)))
    }

    /// The value at `key`.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Entry>, IndexError> {
        let Lookup { value, lsn } = self.lookup(key)?;
        Ok(value.map(|value| Entry { value, lsn }))
    }

    /// The value at `key`, and the last change of it also where it was removed.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn lookup(&self, key: &[u8]) -> Result<Lookup, IndexError> {
        self.lookup_below(key, None)
    }

    /// As [`Index::lookup`]; with `upto` as it was when that was the last change, of those made by [`Index::apply_revocable`]
    /// and not durable yet.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn lookup_below(&self, key: &[u8], upto: Option<Lsn>) -> Result<Lookup, IndexError> {
        if key < FIRST_KEY {
            return Ok(Lookup { value: None, lsn: Lsn(0) });
        }
        let answer = |(stored, lsn): (Stored, Lsn)| Lookup { value: stored.into_value(), lsn };
        loop {
            let finished = {
                let overlay = self.overlay.read();
                let changes = overlay.changes(key, upto);
                if changes.iter().flatten().any(|change| change.is_absolute()) {
                    return Ok(answer(resolve(changes, Stored::Absent)));
                }
                overlay.finished
            };
            let engine = self.engine.get(key).and_then(Stored::decode).map_err(|error| self.engine_failed(error))?;
            let overlay = self.overlay.read();
            if overlay.finished == finished {
                return Ok(answer(resolve(overlay.changes(key, upto), engine)));
            }
        }
    }

    /// As [`Index::lookup_below`] of each of `keys`, in their order. Each answer is as of some moment of the call, and not all of one. The
    /// engines here are asked key by key: going through neighbouring pairs took Sled twice as long.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn lookup_many_below(&self, keys: &[Vec<u8>], upto: Option<Lsn>) -> Result<Vec<Lookup>, IndexError> {
        keys.iter().map(|key| self.lookup_below(key, upto)).collect()
    }

    /// The first `limit` keys with a value in `lo <= key < hi`, in order. Fewer mean that there are no more.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn range(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Entry)>, IndexError> {
        Ok(self.scan(lo, hi, limit)?.entries)
    }

    /// As [`Index::range`], with the highest change the answer rests on, so that a reader can wait until it is durable.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn scan(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Page, IndexError> {
        self.scan_below(lo, hi, limit, None)
    }

    /// As [`Index::scan`], and as [`Index::lookup_below`].
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn scan_below(&self, lo: &[u8], hi: &[u8], limit: usize, upto: Option<Lsn>) -> Result<Page, IndexError> {
        self.scan_in((lo, hi), limit, Direction::Forward, upto)
    }

    /// The last `limit` keys with a value in `lo <= key < hi`, last first. Fewer mean that there are no more.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn scan_back(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Page, IndexError> {
        self.scan_in((lo, hi), limit, Direction::Back, None)
    }

    /// The last key with a value in `lo <= key < hi`.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn last_below(&self, hi: &[u8], lo: &[u8]) -> Result<Option<(Vec<u8>, Entry)>, IndexError> {
        Ok(self.scan_back(lo, hi, 1)?.entries.pop())
    }

    fn scan_in(
        &self,
        (lo, hi): (&[u8], &[u8]),
        limit: usize,
        direction: Direction,
        upto: Option<Lsn>,
    ) -> Result<Page, IndexError> {
        let lo = lo.max(FIRST_KEY);
        if lo >= hi || limit == 0 {
            return Ok(Page { entries: Vec::new(), lsn: Lsn(0) });
        }
        loop {
            let finished = self.overlay.read().finished;
            if let Some(page) = self.try_scan((lo, hi), limit, direction, (finished, upto))? {
                return Ok(page);
            }
        }
    }

    /// One try; `None` if a drain was finished meanwhile.
    fn try_scan(
        &self,
        (lo, hi): (&[u8], &[u8]),
        limit: usize,
        direction: Direction,
        (finished, upto): (u64, Option<Lsn>),
    ) -> Result<Option<Page>, IndexError> {
        let mut pairs = Vec::new();
        // The part of the range of which `pairs` has all that counts.
        let mut window = match direction {
            Direction::Forward => (lo.to_vec(), lo.to_vec()),
            Direction::Back => (hi.to_vec(), hi.to_vec()),
        };
        let mut page = limit.min(ENGINE_PAGE_MAX);
        loop {
            let more = match direction {
                Direction::Forward => self.engine.range(&window.1, hi, page),
                Direction::Back => self.engine.range_back(lo, &window.0, page),
            };
            let more = more.map_err(|error| self.engine_failed(error))?;
            let last = (more.len() == page).then(|| more.last().map(|(key, _)| key.clone())).flatten();
            match (direction, &last) {
                // The least key behind the last one.
                (Direction::Forward, Some(last)) => window.1 = [&last[..], &[0]].concat(),
                (Direction::Forward, None) => window.1 = hi.to_vec(),
                (Direction::Back, Some(last)) => window.0.clone_from(last),
                (Direction::Back, None) => window.0 = lo.to_vec(),
            }
            pairs.extend(more);
            let merged = {
                let overlay = self.overlay.read();
                if overlay.finished != finished {
                    return Ok(None);
                }
                merge(&pairs, &overlay, (&window.0, &window.1), limit, direction, upto)
            };
            let merged = merged.map_err(|error| self.engine_failed(error))?;
            if merged.live.len() == limit || last.is_none() {
                let entries = merged.live.into_iter().map(|(key, value, lsn)| (key, Entry { value, lsn })).collect();
                return Ok(Some(Page { entries, lsn: merged.lsn }));
            }
            // Removals ate some: go on behind, with what is hidden for good left out, so that memory stays bounded.
            let mut hidden = merged.hidden.into_iter().peekable();
            let mut at = 0;
            pairs.retain(|_| {
                let keep = hidden.next_if_eq(&at).is_none();
                at += 1;
                keep
            });
            page = (page * 2).min(ENGINE_PAGE_MAX);
        }
    }

    /// Makes the changes of `batch`, which is what append `lsn` carried: all of them become visible at once. Never waits for
    /// the engine; see [`Index::wait_for_room`] for the brake.
    ///
    /// Batches with `Put`, `Delete` and `Count` come in the order of their numbers. Those with `SetTail` alone may come late
    /// (where a block lies is known only after it was written), as long as [`Index::note_written`] was not told otherwise.
    /// What the engine has already is passed over, so a replay may start anywhere before it.
    ///
    /// # Panics
    /// In debug builds, if the batch is outside its limits ([`Batch::check`]).
    pub fn apply(&self, lsn: Lsn, batch: &Batch) {
        self.apply_noting(lsn, batch, None);
    }

    /// As [`Index::apply`], of a change that is not written yet and may never be: until it is, readers can be shown the state
    /// below it. Counts are not part of that state. `settled` is up to where everything is written by now.
    pub fn apply_revocable(&self, lsn: Lsn, batch: &Batch, settled: Lsn) {
        self.apply_noting(lsn, batch, Some(settled));
    }

    fn apply_noting(&self, lsn: Lsn, batch: &Batch, settled: Option<Lsn>) {
        debug_assert_eq!(batch.check(), Ok(()), "a batch outside its limits");
        if batch.is_empty() {
            return;
        }
        let mut overlay = self.overlay.write();
        if lsn <= overlay.floor {
            return;
        }
        overlay.highest = overlay.highest.max(lsn);
        overlay.applies += 1;
        let Overlay { active, frozen, undo, .. } = &mut *overlay;
        let generation = match frozen {
            Some(frozen) if lsn <= frozen.bound => &mut frozen.changes,
            _ => active,
        };
        let Some(settled) = settled else {
            batch.0.iter().for_each(|mutation| generation.make(lsn, mutation));
            return;
        };
        undo.forget(settled);
        for mutation in &batch.0 {
            let shown = match mutation {
                Mutation::Put { .. } | Mutation::Delete { .. } => true,
                Mutation::Count { key, .. } | Mutation::SetTail { key, .. } => {
                    key.first().is_some_and(|table| self.options.cells_shown.contains(table))
                }
            };
            if shown {
                undo.note(lsn, mutation.key(), generation.get(mutation.key()).cloned());
            }
            generation.make(lsn, mutation);
        }
    }

    /// To be held from before the ledger numbers a batch until the batch is applied. In between the ledger may write it and
    /// tell [`Index::note_written`]: a generation frozen then would be bounded by a number whose batch is not in it, and
    /// drained without it.
    #[must_use]
    pub fn begin_commit(&self) -> Committing<'_> {
        Committing { _held: self.commits.lock() }
    }

    /// Tells that every append below `position.next_lsn` has had all its changes applied, late ones included, or is under
    /// [`Index::begin_commit`].
    pub fn note_written(&self, position: Position) {
        self.overlay.write().note(position);
    }

    /// Estimate of the memory the overlay takes, in bytes.
    #[must_use]
    pub fn overlay_bytes(&self) -> usize {
        self.overlay.read().bytes()
    }

    /// Whether the overlay has grown to where it is drained whatever its age.
    #[must_use]
    pub fn has_much(&self) -> bool {
        self.overlay_bytes() >= self.options.freeze_bytes
    }

    /// Whether the overlay is below its limit.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.overlay_bytes() < self.options.overlay_bytes_max
    }

    /// Waits until the overlay is below its limit, at most `max_wait`; says whether it is. To be called before a change is
    /// computed, outside all locks.
    #[must_use]
    pub fn wait_for_room(&self, max_wait: Duration) -> bool {
        let (lock, drained) = &self.room;
        let mut guard = lock.lock();
        if self.has_room() {
            return true;
        }
        // One wait is enough: only a finished drain gives room back, and it wakes everybody.
        drained.wait_for(&mut guard, max_wait);
        self.has_room()
    }

    /// Asks the engine to make durable what it has, for a clean shutdown. Nothing rests on it.
    ///
    /// # Errors
    /// [`IndexError::Engine`].
    pub fn flush(&self) -> Result<(), IndexError> {
        self.engine.flush().map_err(|error| self.engine_failed(error))
    }
}

/// A batch is on its way from the ledger's numbers to the overlay; see [`Index::begin_commit`].
pub struct Committing<'a> {
    _held: MutexGuard<'a, ()>,
}

enum Found {
    /// To be used as it is.
    Usable(Box<Verified>, Status),
    /// Left in its first drain: a replay starts from the beginning in any case.
    Worthless,
}

fn fresh(options: &IndexOptions) -> Status {
    Status { store: options.store, applied: None, draining: None, sum: Sum::default(), spans: Sum::default() }
}

fn resumed(status: &Status) -> Opened {
    if status.applied.is_some() { Opened::Resumed } else { Opened::Fresh }
}

/// Looks at an engine that may hold something.
fn look(engine: Arc<dyn OrderedKv>, options: &IndexOptions) -> Result<Found, EngineError> {
    let (mut status, has_spans) = match engine.get(STATUS_KEY)? {
        Some(record) => Status::decode(&record)?,
        None => (fresh(options), true),
    };
    if status.store != options.store && !planted(Bug::ForeignIndexTaken) {
        return Err(EngineError::Damaged(format!("it belongs to store {}", status.store)));
    }
    match status {
        Status { applied: None, draining: Some(_), .. } => return Ok(Found::Worthless),
        Status { applied: Some((applied, _)), draining: Some(bound), .. } if bound <= applied => {
            return Err(EngineError::Damaged("its record says that it drains what it has".into()));
        }
        _ => {}
    }
    let engine = if has_spans { Verified::open(engine, &status)? } else { Verified::upgrade(engine, &mut status)? };
    Ok(Found::Usable(Box::new(engine), status))
}

#[cfg(test)]
mod tests;

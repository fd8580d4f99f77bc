//! The content store: an engine, a memory cache, and the guards of those who rely on chunks.
//!
//! Reading needs no lock. Writing goes through [`Store::transact`](crate::Store::transact), the single writer.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use strata_cache::BlockCache;
use strata_chunk::ChunkParams;
use strata_engine::{Embedded, Engine, Entry, PlacedBlock, Row};
use strata_index::Index;
use strata_ledger::Ledger;
use strata_seam::{ChunkId, Crew, LatencyCounts, Lsn, SessionId};

use crate::at_work::AtWork;
use crate::error::Result;
use crate::guard::Guards;
use crate::keys;
use crate::mover::state::Mover;
use crate::pages::Pages;
use crate::prepare::Helpers;
use crate::traffic::{Traffic, TrafficCounts};

/// Bytes of decoded blocks kept in memory unless told otherwise. A quarter of the 512 MiB a busy server may take.
pub const CACHE_BYTES_DEFAULT: u64 = 128 << 20;

/// Bytes of log kept for readers of events unless told otherwise: some millions of events, and the garbage between them.
pub const EVENTS_KEPT_DEFAULT: u64 = 4 << 30;

/// Settings of the content layer.
#[derive(Clone, Copy, Debug)]
pub struct StoreSettings {
    /// How streams are cut into chunks.
    pub chunks: ChunkParams,
    /// Bound of the cache of decoded blocks, in bytes.
    pub cache_bytes: u64,
    /// Bytes of changes that the index holds in memory before callers must slow down.
    pub overlay_bytes_max: usize,
    /// Bytes written to open files that are held before they become content.
    pub staged_bytes_max: usize,
    /// Bytes of memory for what the mover handles at a time: a portion of a round.
    pub mover_bytes_max: usize,
    /// Bytes of log behind a checkpoint from which the next one is taken: a lost index is rebuilt by replaying these.
    pub checkpoint_log_bytes: u64,
    /// Bytes of the newest log that the mover leaves alone while a reader of events still needs them; see `Store::held_for_readers`.
    pub events_kept: u64,
    /// Bytes a second that the mover may handle in the background; 0 is no limit. Changed by `Store::set_mover_rate`.
    pub mover_rate: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            chunks: ChunkParams::DEFAULT,
            cache_bytes: CACHE_BYTES_DEFAULT,
            overlay_bytes_max: 192 << 20,
            staged_bytes_max: 128 << 20,
            mover_bytes_max: 16 << 20,
            checkpoint_log_bytes: 1 << 30,
            events_kept: EVENTS_KEPT_DEFAULT,
            mover_rate: 64 << 20,
        }
    }
}

/// Content by chunks over an engine.
pub struct Store {
    /// Asked through the seam ([`Store::engine`]) by all but the mover and what opens and closes a store.
    pub(crate) embedded: Arc<Embedded>,
    pub(crate) cache: BlockCache,
    pub(crate) pages: Pages,
    pub(crate) settings: StoreSettings,
    pub(crate) helpers: Arc<Helpers>,
    /// Streams that threads work for; see [`crate::Intake`].
    pub(crate) streams_at_work: Arc<AtWork>,
    /// Sequence number of the newest commit of this process; zero before the first.
    pub(crate) last_commit: AtomicU64,
    /// Bytes of content released by this process: at most so much of it has become garbage, beside what was never owned.
    pub(crate) released: AtomicU64,
    /// Source of numbers unique within this session: ingests, entries of the garbage queue.
    numbers: AtomicU64,
    /// Keys of provisional pages whose ingest was dropped; the collector releases them.
    pub(crate) abandoned: Mutex<Vec<Vec<u8>>>,
    /// Key from which the queue of pages to release is read; see [`Store::collect`].
    pub(crate) garbage_from: Mutex<Vec<u8>>,
    pub(crate) guards: Arc<Guards>,
    /// Chunks about to be forgotten: see [`crate::mover`].
    pub(crate) condemned: RwLock<HashSet<ChunkId>>,
    pub(crate) mover: Mover,
    pub(crate) traffic: Traffic,
}

impl Store {
    /// A store over an opened ledger whose replay has already been applied to `index`: over the embedded engine made of the two.
    ///
    /// # Errors
    /// Reading the index; [`ContentError::Record`](crate::ContentError::Record) for a number of a session that is none.
    pub fn new(ledger: Arc<Ledger>, index: Arc<Index>, settings: StoreSettings) -> Result<Arc<Self>> {
        let embedded = Arc::new(Embedded::new(ledger, index)?);
        let mover = Mover::at_rate(settings.mover_rate, embedded.ledger().crew());
        Ok(Arc::new(Self {
            embedded,
            cache: BlockCache::new(settings.cache_bytes),
            pages: Pages::default(),
            settings,
            helpers: Arc::default(),
            streams_at_work: Arc::default(),
            last_commit: AtomicU64::new(0),
            released: AtomicU64::new(0),
            numbers: AtomicU64::new(0),
            abandoned: Mutex::default(),
            garbage_from: Mutex::new(vec![keys::TABLE_GARBAGE]),
            guards: Arc::default(),
            condemned: RwLock::default(),
            mover,
            traffic: Traffic::default(),
        }))
    }

    /// What rows, changes and blocks go through.
    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.embedded
    }

    /// This opening of the store.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.engine().session()
    }

    /// Where threads may help to prepare the blocks of streams; none have to.
    #[must_use]
    pub fn helpers(&self) -> &Arc<Helpers> {
        &self.helpers
    }

    /// The ledger below.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        self.embedded.ledger()
    }

    /// The index below.
    #[must_use]
    pub fn index(&self) -> &Arc<Index> {
        self.embedded.index()
    }

    /// The background workers of the store.
    #[must_use]
    pub fn crew(&self) -> &Arc<Crew> {
        self.embedded.ledger().crew()
    }

    /// What it was opened with.
    #[must_use]
    pub fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// What was taken in, and what of it had to be stored.
    #[must_use]
    pub fn traffic(&self) -> TrafficCounts {
        self.traffic.counts()
    }

    /// A counter that grows while clients read, write or change something. Background work compares two values to see whether the store
    /// is in use.
    #[must_use]
    pub fn served(&self) -> u64 {
        let traffic = self.traffic();
        traffic.written() + traffic.read + self.last_commit().0
    }

    /// How long the writer's lock was held by changes since the process started: all of them, and nanoseconds of the longest.
    #[must_use]
    pub fn writer_held(&self) -> (LatencyCounts, u64) {
        self.engine().held()
    }

    /// A number never given out before in this session.
    pub fn unique(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Sequence number of the newest commit of this process; zero before the first.
    #[must_use]
    pub fn last_commit(&self) -> Lsn {
        Lsn(self.last_commit.load(Ordering::Acquire))
    }

    /// Bytes of content whose last reference commits of this process removed: about as much as has become garbage.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.released.load(Ordering::Relaxed)
    }

    /// The record at `key`, with the sequence number it was written at (zero if long ago).
    ///
    /// # Errors
    /// [`crate::ContentError::Index`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Entry>> {
        let Row { value, lsn } = self.engine().get(key, None)?;
        Ok(value.map(|value| Entry { value, lsn }))
    }

    /// Up to `limit` records with keys in `from .. to`, in order.
    ///
    /// # Errors
    /// [`crate::ContentError::Index`].
    pub fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Entry)>> {
        Ok(self.engine().scan(from, to, limit, None)?.entries)
    }

    /// Bytes in the memory cache.
    #[must_use]
    pub fn cache_weight(&self) -> u64 {
        self.cache.weight()
    }
}

/// The mutations by which the blocks of one append become known to the index.
///
/// # Errors
/// [`ContentError::Record`](crate::ContentError::Record) for a directory that does not decode.
pub fn place_blocks(blocks: &[PlacedBlock]) -> Result<strata_engine::Batch> {
    Ok(strata_engine::place_blocks(blocks)?)
}

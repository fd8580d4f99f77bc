//! The content store: ledger, index and memory cache as one.
//!
//! Reading needs no lock. Writing goes through [`Store::transact`](crate::Store::transact), the single writer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use strata_cache::{BlockCache, BlockKey};
use strata_chunk::{BlockDirectory, ChunkNamer, ChunkParams, Codec, DedupDomain, Node, decompress};
use strata_index::{Batch, Entry, Index, Mutation};
use strata_ledger::{Ledger, PlacedBlock, Sink};
use strata_seam::planted::{Bug, planted};
use strata_seam::{ChunkId, LatencyCounts, Lsn, Position, SessionId};

use crate::cell;
use crate::checkpoint::{CheckpointPlaces, Checkpoints, note_places, parse_directory};
use crate::error::{ContentError, Result};
use crate::feed::Recent;
use crate::guard::Guards;
use crate::held::Held;
use crate::intake::AtWork;
use crate::mover::Mover;
use crate::pages::Pages;
use crate::place::{Place, Whereabouts};
use crate::prepare::Helpers;
use crate::traffic::{Traffic, TrafficCounts};
use crate::watch::Watchers;

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
    /// Bytes that a round of the mover may take to remember what it handles.
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

/// Chunks on their way into the ledger: readable here until their place is in the index.
///
/// A chunk is here only once the ledger took it: one that it refused (a full disk) must not count as stored, or the next
/// content with the same bytes would refer to nothing.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) chunks: HashMap<ChunkId, (DedupDomain, Bytes)>,
    /// The last append whose blocks the index has; the ledger tells in the order of appends.
    pub(crate) placed: Lsn,
}

/// Content by chunks over a ledger and its index.
pub struct Store {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) index: Arc<Index>,
    pub(crate) pending: Arc<Mutex<Pending>>,
    cache: BlockCache,
    pub(crate) pages: Pages,
    pub(crate) settings: StoreSettings,
    pub(crate) helpers: Arc<Helpers>,
    /// Streams that threads work for; see [`crate::Intake`].
    pub(crate) streams_at_work: Arc<AtWork>,
    /// The single writer's lock; see [`Store::transact`].
    pub(crate) writer: Mutex<()>,
    /// Sequence number of the newest commit of this process; zero before the first.
    pub(crate) last_commit: AtomicU64,
    /// Bytes of content let go by this process: at most so much of it has become garbage, beside what was never owned.
    pub(crate) released: AtomicU64,
    /// This opening of the store, and whether a commit has taken its number.
    pub(crate) session: SessionId,
    pub(crate) session_begun: AtomicBool,
    /// Source of numbers unique within this session: ingests, entries of the garbage queue.
    pub(crate) numbers: AtomicU64,
    /// Keys of provisional pages whose ingest was dropped; the collector lets them go.
    pub(crate) abandoned: Mutex<Vec<Vec<u8>>>,
    /// Key from which the queue of pages to let go is looked at; see [`Store::collect`].
    pub(crate) garbage_from: Mutex<Vec<u8>>,
    pub(crate) guards: Arc<Guards>,
    /// Chunks about to be forgotten: see [`crate::mover`].
    pub(crate) condemned: RwLock<HashSet<ChunkId>>,
    /// Read while blocks are handed over outside the writer's lock and noted as pending; written while cells are removed.
    pub(crate) appending: RwLock<()>,
    pub(crate) mover: Mover,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) checkpoint_places: Arc<CheckpointPlaces>,
    /// The newest commits that tell anything.
    pub(crate) recent: Recent,
    /// Told of every commit.
    pub(crate) watchers: Watchers,
    pub(crate) traffic: Traffic,
    /// How long the writer's lock was held.
    pub(crate) held: Held,
}

/// Told by the ledger where blocks went; moves that into the index.
struct Placement {
    index: Arc<Index>,
    pending: Arc<Mutex<Pending>>,
    checkpoint_places: Arc<CheckpointPlaces>,
}

impl Store {
    /// A store over an opened ledger whose replay has already been applied to `index`.
    ///
    /// Registers itself as the ledger's sink, and begins a session: the number behind that of the newest one in the index.
    ///
    /// # Errors
    /// Reading the index; [`ContentError::Record`] for a number that is none.
    pub fn new(ledger: Arc<Ledger>, index: Arc<Index>, settings: StoreSettings) -> Result<Arc<Self>> {
        let newest = match index.lookup(cell::KEY_SESSION)?.value {
            Some(value) => <[u8; 4]>::try_from(&value[..])
                .map(u32::from_be_bytes)
                .map_err(|_| ContentError::Record { what: "the number of the newest session".to_owned() })?,
            None => 0,
        };
        let pending = Arc::new(Mutex::new(Pending::default()));
        let checkpoint_places = Arc::<CheckpointPlaces>::default();
        ledger.set_sink(Arc::new(Placement {
            index: Arc::clone(&index),
            pending: Arc::clone(&pending),
            checkpoint_places: Arc::clone(&checkpoint_places),
        }));
        let mover = Mover::at_rate(settings.mover_rate, ledger.crew());
        let recent = Recent::behind(Lsn(ledger.next_lsn().0.saturating_sub(1)));
        Ok(Arc::new(Self {
            ledger,
            index,
            session: SessionId(newest.wrapping_add(1)),
            session_begun: AtomicBool::new(false),
            pending,
            cache: BlockCache::new(settings.cache_bytes),
            pages: Pages::default(),
            settings,
            helpers: Arc::default(),
            streams_at_work: Arc::default(),
            writer: Mutex::new(()),
            last_commit: AtomicU64::new(0),
            released: AtomicU64::new(0),
            numbers: AtomicU64::new(0),
            abandoned: Mutex::default(),
            garbage_from: Mutex::new(vec![cell::TABLE_GARBAGE]),
            guards: Arc::default(),
            condemned: RwLock::default(),
            appending: RwLock::new(()),
            mover,
            checkpoints: Checkpoints::default(),
            checkpoint_places,
            recent,
            watchers: Watchers::default(),
            traffic: Traffic::default(),
            held: Held::default(),
        }))
    }

    /// This opening of the store.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Where threads may help to prepare the blocks of streams; none have to.
    #[must_use]
    pub fn helpers(&self) -> &Arc<Helpers> {
        &self.helpers
    }

    /// The ledger below.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The index below.
    #[must_use]
    pub fn index(&self) -> &Arc<Index> {
        &self.index
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

    /// A number that grows while somebody is served: with bytes taken in or handed out, and with changes. Who works in the
    /// background may yield to that.
    #[must_use]
    pub fn served(&self) -> u64 {
        let traffic = self.traffic();
        traffic.written() + traffic.read + self.last_commit().0
    }

    /// How long the writer's lock was held by changes since the process started: all of them, and nanoseconds of the longest.
    #[must_use]
    pub fn writer_held(&self) -> (LatencyCounts, u64) {
        self.held.counts()
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

    /// Bytes of content that commits of this process let go: about what became garbage by them.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.released.load(Ordering::Relaxed)
    }

    /// The record at `key`, with the sequence number it was written at (zero if long ago).
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Entry>> {
        Ok(self.index.get(key)?)
    }

    /// Up to `limit` records with keys in `from .. to`, in order.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Entry)>> {
        Ok(self.index.range(from, to, limit)?)
    }

    /// Whether content with this id can be read and relied on by whoever holds a guard. What lies out of this version's reach is
    /// not: who has its bytes stores them anew, and the new place takes the place of the other.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn has_chunk(&self, id: &ChunkId) -> Result<bool> {
        let condemned = self.is_condemned(id) && !planted(Bug::CondemnedStillOffered);
        // In this order: a place is in the index before the chunk ceases to be pending.
        if self.pending.lock().chunks.contains_key(id) {
            return Ok(true);
        }
        let readable = self.whereabouts(id)?.is_some_and(|found| found.within_reach().is_ok());
        Ok(readable && (!condemned || self.pending.lock().chunks.contains_key(id)))
    }

    /// The dedup domain of a chunk that is stored, wherever, or on its way to the ledger; `None` for one that is neither.
    pub(crate) fn domain_of(&self, id: &ChunkId) -> Result<Option<DedupDomain>> {
        // In this order: a place is in the index before the chunk ceases to be pending.
        if let Some((domain, _)) = self.pending.lock().chunks.get(id) {
            return Ok(Some(*domain));
        }
        Ok(self.whereabouts(id)?.map(Whereabouts::domain))
    }

    /// References counted on a chunk.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn references(&self, id: &ChunkId) -> Result<i64> {
        let entry = self.index.get(&cell::chunk_key(id))?;
        Ok(entry.and_then(|entry| cell::split_cell(&entry.value).map(|(count, _)| count)).unwrap_or(0))
    }

    /// Where the block of a chunk lies; `None` for a chunk that is unknown or not written yet.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn location(&self, id: &ChunkId) -> Result<Option<strata_ledger::Location>> {
        Ok(self.place(id)?.map(|place| place.location))
    }

    /// Where a chunk lies; `None` for one that is unknown or not written yet.
    pub(crate) fn whereabouts(&self, id: &ChunkId) -> Result<Option<Whereabouts>> {
        let Some(entry) = self.index.get(&cell::chunk_key(id))? else { return Ok(None) };
        let Some((_, tail)) = cell::split_cell(&entry.value) else {
            return Err(ContentError::Record { what: format!("the cell of chunk {id}") });
        };
        if tail.is_empty() {
            return Ok(None);
        }
        let found = Whereabouts::decode(tail);
        found.map(Some).ok_or_else(|| ContentError::Record { what: format!("the place of chunk {id}") })
    }

    /// The same as a place to read from.
    ///
    /// # Errors
    /// [`ContentError::OutOfReach`] for one that this version cannot read.
    pub(crate) fn place(&self, id: &ChunkId) -> Result<Option<Place>> {
        let found = self.whereabouts(id)?.map(Whereabouts::within_reach).transpose();
        found.map_err(|why| ContentError::OutOfReach { chunk: *id, why })
    }

    /// The plain bytes of a chunk.
    ///
    /// # Errors
    /// [`ContentError::MissingChunk`] and what reading the ledger gives.
    pub fn chunk(&self, id: &ChunkId) -> Result<Bytes> {
        match self.chunk_within(id, false)? {
            Some(bytes) => Ok(bytes),
            None => Err(ContentError::MissingChunk(*id)),
        }
    }

    /// Whether the chunk's bytes, read once more, are those that it is named after in its dedup domain (invariant HASH).
    ///
    /// # Errors
    /// As [`Store::chunk`].
    pub(crate) fn is_proved(&self, id: &ChunkId) -> Result<bool> {
        let bytes = self.chunk(id)?;
        // One that was stored anew meanwhile has the same domain: it is part of its name.
        let Some(domain) = self.domain_of(id)? else {
            return Err(ContentError::MissingChunk(*id));
        };
        Ok(ChunkNamer::new(domain).name(&bytes) == *id)
    }

    /// The chunk, or with `memory_only` nothing where that would touch a disk of the set.
    pub(crate) fn chunk_within(&self, id: &ChunkId, memory_only: bool) -> Result<Option<Bytes>> {
        let mut place = self.place(id)?;
        if place.is_none() {
            if let Some((_, bytes)) = self.pending.lock().chunks.get(id) {
                return Ok(Some(bytes.clone()));
            }
            // Between the two looks the block may have been written and its place have moved into the index.
            place = self.place(id)?;
        }
        let Some(place) = place else { return Err(ContentError::MissingChunk(*id)) };
        match self.chunk_at(id, &place, memory_only) {
            // The chunk may have been moved, and the segment freed, since its place was looked up.
            Err(error) => match self.place(id)? {
                Some(moved) if moved != place => self.chunk_at(id, &moved, memory_only),
                _ => Err(error),
            },
            found => found,
        }
    }

    /// The chunk at `place`, for whoever reads many in the order of the disks and has `held` for them.
    pub(crate) fn chunk_behind(&self, id: &ChunkId, place: &Place, held: &mut HeldBlock) -> Result<Bytes> {
        let key = block_key(&place.location);
        let block =
            match held.0.take().filter(|(at, _)| *at == key).map(|(_, block)| block).or_else(|| self.cache.get(&key)) {
                Some(block) => block,
                None => decode_block(id, place, self.ledger.read(&place.location)?)?,
            };
        held.0 = Some((key, block.clone()));
        cut(&block, id, place)
    }

    /// Where the block of a chunk would be read from, if it is neither in memory nor on its way to the ledger.
    pub(crate) fn cold_location(&self, id: &ChunkId) -> Option<strata_ledger::Location> {
        let location = self.place(id).ok()??.location;
        (!self.cache.contains(&block_key(&location))).then_some(location)
    }

    /// The chunk at a place.
    fn chunk_at(&self, id: &ChunkId, place: &Place, memory_only: bool) -> Result<Option<Bytes>> {
        let key = block_key(&place.location);
        let block = match self.cache.get(&key) {
            Some(block) => block,
            None if memory_only => return Ok(None),
            None => {
                let stored = self.ledger.read(&place.location)?;
                let block = decode_block(id, place, stored)?;
                self.cache.insert(key, block.clone());
                block
            }
        };
        cut(&block, id, place).map(Some)
    }

    /// A page of a manifest.
    ///
    /// # Errors
    /// As [`Store::chunk`], and [`ContentError::Record`] where the chunk is no page.
    pub fn page(&self, id: &ChunkId) -> Result<Node> {
        let bytes = self.chunk(id)?;
        Node::decode(&bytes).map_err(|_| ContentError::Record { what: format!("manifest page {id}") })
    }

    /// The same if it need not be read from a disk.
    pub(crate) fn page_in_memory(&self, id: &ChunkId) -> Result<Option<Node>> {
        if let Some(node) = self.pages.get(id) {
            return Ok(Some(Node::clone(&node)));
        }
        let bytes = self.chunk_within(id, true)?;
        let decoded = bytes.map(|bytes| Node::decode(&bytes)).transpose();
        decoded.map_err(|_| ContentError::Record { what: format!("manifest page {id}") })
    }

    /// Bytes in the memory cache.
    #[must_use]
    pub fn cache_weight(&self) -> u64 {
        self.cache.weight()
    }
}

fn block_key(location: &strata_ledger::Location) -> BlockKey {
    let offset = if planted(Bug::CacheKeyTooShort) { 0 } else { location.offset };
    BlockKey { segment: location.segment, sector: location.sector, offset }
}

/// The block that a reader of many chunks is at. The cache may refuse one that was asked for once, and each of its chunks would then
/// read it anew.
#[derive(Default)]
pub(crate) struct HeldBlock(Option<(BlockKey, Bytes)>);

/// The chunk's part of its block.
fn cut(block: &Bytes, id: &ChunkId, place: &Place) -> Result<Bytes> {
    let (from, to) = (place.offset as usize, place.offset as usize + place.len as usize);
    if to > block.len() {
        return Err(ContentError::Record { what: format!("the place of chunk {id}") });
    }
    Ok(block.slice(from..to))
}

/// The plain bytes of a block as it was stored.
pub(crate) fn decode_block(id: &ChunkId, place: &Place, stored: Bytes) -> Result<Bytes> {
    let codec = Codec::from_u8(place.codec)
        .ok_or_else(|| ContentError::Record { what: format!("the codec {} of chunk {id}", place.codec) })?;
    if codec == Codec::Raw && stored.len() == place.raw_len as usize {
        return Ok(stored);
    }
    let mut raw = Vec::new();
    decompress(codec, &stored, place.raw_len as usize, &mut raw)
        .map_err(|source| ContentError::Block { chunk: *id, source })?;
    Ok(Bytes::from(raw))
}

/// The mutations by which the blocks of one append become known to the index.
pub fn place_blocks(blocks: &[PlacedBlock]) -> Result<Batch> {
    let mut mutations = Vec::new();
    for block in blocks {
        if parse_directory(&block.directory).is_some() {
            // A block of a checkpoint: no chunks, and nothing a replay has to know.
            continue;
        }
        let directory = BlockDirectory::decode(&block.directory)
            .map_err(|_| ContentError::Record { what: format!("the directory of a block at {:?}", block.location) })?;
        for (offset, entry) in directory.placed() {
            let place = Place {
                location: block.location,
                domain: directory.domain(),
                key: directory.key(),
                codec: directory.codec().as_u8(),
                raw_len: directory.raw_len(),
                offset: if planted(Bug::ChunkOffsetLost) { 0 } else { offset },
                len: entry.len,
            };
            mutations.push(Mutation::SetTail { key: cell::chunk_key(&entry.id).to_vec(), tail: place.encode() });
        }
    }
    Ok(Batch(mutations))
}

impl Sink for Placement {
    fn written(&self, blocks: &[PlacedBlock], after: Position) {
        note_places(&self.checkpoint_places, blocks);
        for of_append in blocks.chunk_by(|a, b| a.lsn == b.lsn) {
            match place_blocks(of_append) {
                Ok(batch) => {
                    self.index.apply(of_append[0].lsn, &batch);
                    let mut pending = self.pending.lock();
                    pending.placed = pending.placed.max(of_append[0].lsn);
                    for mutation in &batch.0 {
                        if let Some(id) = mutation.key().get(1..33).and_then(|id| <[u8; 32]>::try_from(id).ok()) {
                            pending.chunks.remove(&ChunkId(id));
                        }
                    }
                }
                // We encoded this directory ourselves moments ago: it decodes, or memory is broken.
                Err(error) => tracing::error!(%error, "a block that was just written has no readable directory"),
            }
        }
        self.index.note_written(after);
    }
}

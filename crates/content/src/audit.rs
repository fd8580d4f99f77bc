//! Invariants REF and HASH as predicates: every cell's count equals the number of owners, pages and queue entries that
//! refer to the chunk, and everything referred to can be read as what it is named after.
//!
//! Memory is bounded by looking at a part of the chunks at a time ([`Scope`]): 72 bytes per chunk of the part, and 32
//! per page of a manifest (one per 16 MiB of content). Over a store that is being written to, a fault is a suspicion only
//! until it was found again while nobody touched what it is about ([`crate::Watch`]).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use strata_chunk::{ChunkNamer, Item, Source};
use strata_engine::{OutOfReach, Place, TABLE_CHUNK, Whereabouts, chunk_key, split_cell};
use strata_seam::ChunkId;

use crate::chunks::HeldBlock;
use crate::error::{ContentError, Result};
use crate::keys::{TABLE_GARBAGE, TABLE_ORPHAN_PAGE};
use crate::store::Store;

/// Cells read per step.
const STEP: usize = 1024;
/// Faults kept by one audit; further ones are only counted.
pub const FAULTS_MAX: usize = 100_000;
/// How often a chunk is read before it counts as unreadable: it may be moved between the look at its place and the read.
const READS: usize = 3;

/// Something wrong with a chunk.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChunkFault {
    /// The cell counts another number of references than exist.
    #[error("REF: chunk {id} counts {counted} references, {exist} exist")]
    Count {
        /// The chunk.
        id: ChunkId,
        /// What its cell says; 0 where it has none.
        counted: i64,
        /// What there is.
        exist: i64,
    },
    /// The chunk is referred to, and the index has no place of its bytes.
    #[error("HASH: chunk {id} is referred to and its bytes are nowhere")]
    Missing {
        /// The chunk.
        id: ChunkId,
    },
    /// Its bytes cannot be read, or are not those it is named after.
    #[error("HASH: {} {id} cannot be read: {why}", if *.page { "manifest page" } else { "chunk" })]
    Unreadable {
        /// The chunk.
        id: ChunkId,
        /// Whether it is wanted as a page of a manifest.
        page: bool,
        /// What reading it gave.
        why: String,
    },
    /// The chunk is where, or in a form that, this version cannot read. Nothing says that anything is wrong with it.
    #[error("HASH: {} {id} {why}: it was not checked", if *.page { "manifest page" } else { "chunk" })]
    OutOfReach {
        /// The chunk.
        id: ChunkId,
        /// Whether it is wanted as a page of a manifest.
        page: bool,
        /// Why.
        why: OutOfReach,
    },
    /// A record of this layer is malformed.
    #[error("REF: the record {} is malformed", .key.escape_ascii())]
    Record {
        /// Its key.
        key: Vec<u8>,
    },
}

impl ChunkFault {
    /// The chunk it is about.
    #[must_use]
    pub fn chunk(&self) -> Option<ChunkId> {
        match self {
            Self::Count { id, .. }
            | Self::Missing { id }
            | Self::Unreadable { id, .. }
            | Self::OutOfReach { id, .. } => Some(*id),
            Self::Record { .. } => None,
        }
    }
}

/// The chunks an audit looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The chunks from the first up to, and without, the second.
    Between(ChunkId, Option<ChunkId>),
    /// These.
    These(Arc<HashSet<ChunkId>>),
}

impl Scope {
    /// Every chunk.
    pub const ALL: Self = Self::Between(ChunkId([0; 32]), None);

    fn holds(&self, id: &ChunkId) -> bool {
        match self {
            Self::Between(from, to) => from.0 <= id.0 && to.as_ref().is_none_or(|to| id.0 < to.0),
            Self::These(ids) => ids.contains(id),
        }
    }

    /// The part from `from` on that has at most `at_once` cells.
    ///
    /// # Errors
    /// Reading the index.
    pub fn next(store: &Store, from: ChunkId, at_once: usize) -> Result<Self> {
        let mut key = chunk_key(&from).to_vec();
        let mut left = at_once.max(1);
        loop {
            let found = store.range(&key, &[TABLE_CHUNK + 1], left.min(STEP) + 1)?;
            let ask = left.min(STEP);
            if found.len() <= ask {
                return Ok(Self::Between(from, None));
            }
            left -= ask;
            key.clone_from(&found[ask].0);
            if left == 0 {
                return Ok(Self::Between(from, id_of(&key)));
            }
        }
    }
}

/// What an audit counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tallies {
    /// Chunks looked at.
    pub chunks: u64,
    /// Bytes of those that are referred to, uncompressed.
    pub live_bytes: u64,
    /// Chunks nobody refers to: not wrong, the next reclaim removes them.
    pub unused: u64,
    /// Bytes of those, uncompressed.
    pub unused_bytes: u64,
}

/// Counts references again from their owners, and compares them with the stored counts.
pub struct Audit {
    store: Arc<Store>,
    scope: Scope,
    expected: HashMap<ChunkId, i64>,
    /// Pages met, and those among them not yet followed with the length they are to describe.
    met: HashSet<ChunkId>,
    pages: Vec<(ChunkId, u64)>,
    /// What was found wrong, at most [`FAULTS_MAX`].
    pub faults: Vec<ChunkFault>,
    /// Faults beyond those.
    pub more: u64,
    /// What was counted.
    pub tallies: Tallies,
}

impl Audit {
    /// Begins an audit. The queue of pages to release and the pages of unfinished ingests are counted as owners at once; the caller adds
    /// the others by [`Audit::owner`].
    ///
    /// # Errors
    /// Reading the index.
    pub fn new(store: &Arc<Store>, scope: Scope) -> Result<Self> {
        let mut audit = Self {
            store: Arc::clone(store),
            scope,
            expected: HashMap::new(),
            met: HashSet::new(),
            pages: Vec::new(),
            faults: Vec::new(),
            more: 0,
            tallies: Tallies::default(),
        };
        for table in [TABLE_GARBAGE, TABLE_ORPHAN_PAGE] {
            let mut from = vec![table];
            loop {
                let found = store.range(&from, &[table + 1], STEP)?;
                let Some((last, _)) = found.last() else { break };
                from.clone_from(last);
                from.push(0);
                for (key, entry) in found {
                    match <[u8; 32]>::try_from(&entry.value[..]) {
                        // Only the owner knows the length, and the owner is gone.
                        Ok(id) => audit.refer_page(ChunkId(id), None),
                        Err(_) => audit.fault(ChunkFault::Record { key }),
                    }
                }
            }
        }
        Ok(audit)
    }

    /// Counts these items as owned once.
    pub fn owner(&mut self, items: &[Item]) {
        for item in items {
            match item.source {
                Source::Hole => {}
                Source::Chunk { id, .. } => self.count(id),
                Source::Page { id, .. } => self.refer_page(id, Some(item.len)),
            }
        }
    }

    fn count(&mut self, id: ChunkId) {
        if self.scope.holds(&id) {
            *self.expected.entry(id).or_default() += 1;
        }
    }

    fn refer_page(&mut self, id: ChunkId, len: Option<u64>) {
        self.count(id);
        if self.met.insert(id) {
            self.pages.push((id, len.unwrap_or(u64::MAX)));
        }
    }

    fn fault(&mut self, fault: ChunkFault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// Follows all pages and compares the counts with the cells. With `contents` every chunk is also read and hashed (invariant HASH), in
    /// the order in which they lie on the disks. `progress` is called with the number of cells and chunks looked at, and returns whether
    /// to go on; if it did not, the result is false and the audit is worthless.
    ///
    /// # Errors
    /// Reading the index.
    pub fn finish(&mut self, contents: bool, progress: &mut dyn FnMut(u64) -> bool) -> Result<bool> {
        while let Some((id, len)) = self.pages.pop() {
            match self.store.page(&id) {
                Ok(node) => {
                    if len != u64::MAX && node.len() != len && self.scope.holds(&id) {
                        let why = format!("it describes {} bytes where {len} are expected", node.len());
                        self.fault(ChunkFault::Unreadable { id, page: true, why });
                    }
                    self.owner(node.items());
                }
                // The page's cell shows this too.
                Err(ContentError::OutOfReach { .. }) => {}
                Err(error) if self.scope.holds(&id) => {
                    let why = crate::error::chain(&error);
                    self.fault(ChunkFault::Unreadable { id, page: true, why });
                }
                Err(_) => {}
            }
            if !progress(self.tallies.chunks) {
                return Ok(false);
            }
        }
        let mut wanted = Vec::new();
        match self.scope.clone() {
            Scope::Between(from, to) => {
                let end = to.map_or_else(|| vec![TABLE_CHUNK + 1], |to| chunk_key(&to).to_vec());
                let mut from = chunk_key(&from).to_vec();
                loop {
                    let found = self.store.range(&from, &end, STEP)?;
                    let Some((last, _)) = found.last() else { break };
                    from.clone_from(last);
                    from.push(0);
                    for (key, entry) in found {
                        match id_of(&key) {
                            Some(id) => self.cell(id, Some(&entry.value), contents.then_some(&mut wanted)),
                            None => self.fault(ChunkFault::Record { key }),
                        }
                    }
                    if !progress(self.tallies.chunks) {
                        return Ok(false);
                    }
                }
                let without: Vec<ChunkId> = self.expected.keys().copied().collect();
                without.into_iter().for_each(|id| self.cell(id, None, None));
            }
            Scope::These(ids) => {
                for id in ids.iter() {
                    let cell = self.store.get(&chunk_key(id))?;
                    self.cell(*id, cell.as_ref().map(|cell| &cell.value[..]), contents.then_some(&mut wanted));
                }
            }
        }
        wanted.sort_unstable_by_key(|(place, _)| where_it_lies(place));
        let (counted, mut held) = (self.tallies.chunks, HeldBlock::default());
        for (done, (place, id)) in wanted.into_iter().enumerate() {
            self.read(id, &place, &mut held);
            if done % 16 == 0 && !progress(counted + done as u64) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Compares one cell with what was counted.
    fn cell(&mut self, id: ChunkId, cell: Option<&[u8]>, wanted: Option<&mut Vec<(Place, ChunkId)>>) {
        let exist = self.expected.remove(&id).unwrap_or(0);
        let (counted, tail) = match cell.map(split_cell) {
            Some(Some(found)) => found,
            Some(None) => return self.fault(ChunkFault::Record { key: chunk_key(&id).to_vec() }),
            None => (0, &[][..]),
        };
        self.tallies.chunks += 1;
        if counted != exist {
            self.fault(ChunkFault::Count { id, counted, exist });
        }
        let found = Whereabouts::decode(tail);
        if !tail.is_empty() && found.is_none() {
            self.fault(ChunkFault::Record { key: chunk_key(&id).to_vec() });
        }
        if exist > 0
            && let Some(Err(why)) = found.map(Whereabouts::within_reach)
        {
            let page = self.met.contains(&id);
            self.fault(ChunkFault::OutOfReach { id, page, why });
        }
        let place = match found {
            Some(Whereabouts::Ledger(place)) => Some(place),
            Some(Whereabouts::Elsewhere(..)) | None => None,
        };
        let len = place.map_or(0, |place| u64::from(place.len));
        if exist > 0 {
            self.tallies.live_bytes += len;
        } else if place.is_some() {
            self.tallies.unused += 1;
            self.tallies.unused_bytes += len;
        }
        match (exist > 0, place, wanted) {
            (true, None, _) if tail.is_empty() && !self.store.has_chunk(&id).unwrap_or(true) => {
                self.fault(ChunkFault::Missing { id });
            }
            (true, Some(place), Some(wanted)) if place.key.is_none() => wanted.push((place, id)),
            _ => {}
        }
    }

    /// Reads a chunk, which its cell places at `place`, and compares it with its name.
    fn read(&mut self, id: ChunkId, place: &Place, held: &mut HeldBlock) {
        let namer = ChunkNamer::new(place.domain);
        if self.store.chunk_behind(&id, place, held).is_ok_and(|bytes| namer.name(&bytes) == id) {
            return;
        }
        // The chunk may have been moved since its cell was read.
        *held = HeldBlock::default();
        let mut why = String::new();
        for _ in 0..READS {
            match self.store.is_proved(&id) {
                Ok(true) => return,
                Ok(false) => "it reads as other content".clone_into(&mut why),
                Err(error) => why = crate::error::chain(&error),
            }
        }
        let page = self.met.contains(&id);
        // A page that could not be followed has been reported already.
        if !(page
            && self.faults.iter().any(|fault| matches!(fault, ChunkFault::Unreadable { id: at, .. } if *at == id)))
        {
            self.fault(ChunkFault::Unreadable { id, page, why });
        }
    }
}

/// Segment, sector and offset of the block, then the offset in it: the order on the disks.
fn where_it_lies(place: &Place) -> (u32, u32, u32, u32) {
    let location = &place.location;
    (location.segment.0, location.sector, location.offset, place.offset)
}

fn id_of(key: &[u8]) -> Option<ChunkId> {
    key.get(1..).and_then(|id| <[u8; 32]>::try_from(id).ok()).map(ChunkId)
}

impl Store {
    /// The chunks whose blocks lie in stripes that begin at these segments and sectors, in use or not. Reads every cell.
    ///
    /// # Errors
    /// Reading the index.
    pub fn chunks_in(&self, stripes: &HashSet<(u32, u32)>) -> Result<HashMap<ChunkId, (u32, u32)>> {
        let mut found = HashMap::new();
        let mut from = vec![TABLE_CHUNK];
        loop {
            let page = self.range(&from, &[TABLE_CHUNK + 1], STEP)?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            from.clone_from(last);
            from.push(0);
            for (key, entry) in page {
                let place = split_cell(&entry.value).and_then(|(_, tail)| Place::decode(tail));
                if let (Some(id), Some(place)) = (id_of(&key), place) {
                    let stripe = (place.location.segment.0, place.location.sector);
                    if stripes.contains(&stripe) {
                        found.insert(id, stripe);
                    }
                }
            }
        }
    }
}

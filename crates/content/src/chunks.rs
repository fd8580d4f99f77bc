//! Chunks by name: whether they are there, where they lie, and their bytes, from memory or verified from their block.

use bytes::Bytes;
use strata_cache::BlockKey;
use strata_chunk::{ChunkNamer, Codec, DedupDomain, Node, decompress};
use strata_engine::{Location, Place, Whereabouts, chunk_key, split_cell};
use strata_seam::ChunkId;
use strata_seam::planted::{Bug, planted};

use crate::error::{ContentError, Result};
use crate::store::Store;

impl Store {
    /// Whether the caller, who holds a guard, can rely on the store's chunk with this id. False for a chunk in a tier that this version
    /// cannot read: if its bytes are stored again, the new place replaces the old one.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn has_chunk(&self, id: &ChunkId) -> Result<bool> {
        Ok(self.have_chunks(std::slice::from_ref(id))?.first().is_some_and(|found| *found))
    }

    /// Whether the store has each of these chunks, in their order.
    pub(crate) fn have_chunks(&self, ids: &[ChunkId]) -> Result<Vec<bool>> {
        let is_condemned = |id: &ChunkId| self.is_condemned(id) && !planted(Bug::CondemnedStillOffered);
        let is_on_its_way = |id: &ChunkId| self.engine().on_its_way(id).is_some();
        let condemned: Vec<bool> = ids.iter().map(is_condemned).collect();
        // In this order: a place is in the index before the chunk ceases to be pending.
        let mut found: Vec<bool> = ids.iter().map(is_on_its_way).collect();
        let unknown: Vec<usize> = (0..ids.len()).filter(|at| !found[*at]).collect();
        let keys: Vec<Vec<u8>> = unknown.iter().map(|at| chunk_key(&ids[*at]).to_vec()).collect();
        for (at, row) in unknown.into_iter().zip(self.engine().get_many(&keys, None)?) {
            let place = row.value.map(|cell| whereabouts_in(&ids[at], &cell)).transpose()?.flatten();
            let readable = place.is_some_and(|found| found.within_reach().is_ok());
            found[at] = readable && (!condemned[at] || is_on_its_way(&ids[at]));
        }
        Ok(found)
    }

    /// The dedup domain of a chunk that is stored, wherever, or on its way to the ledger; `None` for one that is neither.
    pub(crate) fn domain_of(&self, id: &ChunkId) -> Result<Option<DedupDomain>> {
        // In this order: a place is in the index before the chunk ceases to be pending.
        if let Some(domain) = self.engine().on_its_way(id) {
            return Ok(Some(domain));
        }
        Ok(self.whereabouts(id)?.map(Whereabouts::domain))
    }

    /// References counted on a chunk.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn references(&self, id: &ChunkId) -> Result<i64> {
        let cell = self.engine().get(&chunk_key(id), None)?.value;
        Ok(cell.and_then(|cell| split_cell(&cell).map(|(count, _)| count)).unwrap_or(0))
    }

    /// Where the block of a chunk lies; `None` for a chunk that is unknown or not written yet.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn location(&self, id: &ChunkId) -> Result<Option<Location>> {
        Ok(self.place(id)?.map(|place| place.location))
    }

    /// Where a chunk lies; `None` for one that is unknown or not written yet.
    pub(crate) fn whereabouts(&self, id: &ChunkId) -> Result<Option<Whereabouts>> {
        let cell = self.engine().get(&chunk_key(id), None)?.value;
        Ok(cell.map(|cell| whereabouts_in(id, &cell)).transpose()?.flatten())
    }

    /// Where a chunk lies in the ledger, to read it; `None` if it has no place.
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

    /// Whether a chunk can be had at this moment without what is in memory: its block is read from the disks, rebuilt where need be, and
    /// verified. One that is on its way to the ledger can be had. Cost: one block is read and decompressed.
    ///
    /// # Errors
    /// Reading the index; that the chunk cannot be had is none.
    pub fn is_readable(&self, id: &ChunkId) -> Result<bool> {
        let mut read_at = None;
        loop {
            let Some(place) = self.place(id)? else { return Ok(self.engine().bytes_on_their_way(id).is_some()) };
            // The chunk may have been moved, and the segment freed, since its place was looked up.
            if read_at.replace(place) == Some(place) {
                return Ok(false);
            }
            let block = self.engine().block(&place.location).map_err(ContentError::from);
            if block
                .and_then(|stored| decode_block(id, &place, stored))
                .and_then(|block| cut(&block, id, &place))
                .is_ok()
            {
                return Ok(true);
            }
        }
    }

    /// Whether the chunk's bytes, read once more, are those that it is named after in its dedup domain (invariant HASH).
    ///
    /// # Errors
    /// As [`Store::chunk`].
    pub(crate) fn is_proved(&self, id: &ChunkId) -> Result<bool> {
        let bytes = self.chunk(id)?;
        // A chunk that was stored anew meanwhile has the same domain, which is part of its name.
        let Some(domain) = self.domain_of(id)? else {
            return Err(ContentError::MissingChunk(*id));
        };
        Ok(ChunkNamer::new(domain).name(&bytes) == *id)
    }

    /// The chunk, or with `memory_only` nothing where that would touch a disk of the set.
    pub(crate) fn chunk_within(&self, id: &ChunkId, memory_only: bool) -> Result<Option<Bytes>> {
        let mut place = self.place(id)?;
        if place.is_none() {
            if let Some(bytes) = self.engine().bytes_on_their_way(id) {
                return Ok(Some(bytes));
            }
            // Between the two look-ups the block may have been written and its place have moved into the index.
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

    /// The chunk at `place`, for a reader of many chunks in the order of the disks, which has `held` for them.
    pub(crate) fn chunk_behind(&self, id: &ChunkId, place: &Place, held: &mut HeldBlock) -> Result<Bytes> {
        let key = block_key(&place.location);
        let block =
            match held.0.take().filter(|(at, _)| *at == key).map(|(_, block)| block).or_else(|| self.cache.get(&key)) {
                Some(block) => block,
                None => decode_block(id, place, self.engine().block(&place.location)?)?,
            };
        held.0 = Some((key, block.clone()));
        cut(&block, id, place)
    }

    /// Where the block of a chunk would be read from, if it is neither in memory nor on its way to the ledger.
    pub(crate) fn cold_location(&self, id: &ChunkId) -> Option<Location> {
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
                let stored = self.engine().block(&place.location)?;
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

    /// A page of a manifest, if that needs no disk.
    pub(crate) fn page_in_memory(&self, id: &ChunkId) -> Result<Option<Node>> {
        if let Some(node) = self.pages.get(id) {
            return Ok(Some(Node::clone(&node)));
        }
        let bytes = self.chunk_within(id, true)?;
        let decoded = bytes.map(|bytes| Node::decode(&bytes)).transpose();
        decoded.map_err(|_| ContentError::Record { what: format!("manifest page {id}") })
    }
}

/// The place of a chunk by its cell; `None` if the chunk was not written yet.
fn whereabouts_in(id: &ChunkId, cell: &[u8]) -> Result<Option<Whereabouts>> {
    let Some((_, tail)) = split_cell(cell) else {
        return Err(ContentError::Record { what: format!("the cell of chunk {id}") });
    };
    if tail.is_empty() {
        return Ok(None);
    }
    let found = Whereabouts::decode(tail);
    found.map(Some).ok_or_else(|| ContentError::Record { what: format!("the place of chunk {id}") })
}

fn block_key(location: &Location) -> BlockKey {
    let offset = if planted(Bug::CacheKeyTooShort) { 0 } else { location.offset };
    BlockKey { segment: location.segment, sector: location.sector, offset }
}

/// The block that a reader of many chunks is at. The cache may refuse a block that was used once, and each of its chunks would then
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

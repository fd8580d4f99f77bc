//! Moving chunks: read, verified by their hash, packed in the order in which they came, compressed better than at first, appended.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use strata_chunk::{BLOCK_CHUNKS_MAX, BlockEntry, ChunkNamer, CompressPolicy, DedupDomain};
use strata_engine::{Location, Purpose, Whereabouts};
use strata_seam::{ChunkId, Lsn, SegmentId};

use super::state::MoverReport;
use crate::chunks::decode_block;
use crate::error::{ContentError, Result};
use crate::prepare::prepare;
use crate::store::Store;

/// Plain bytes of a packed block: a chunk in one costs reading and decoding up to this much, and longer ones compress
/// hardly better.
const PACK_LEN: usize = 1 << 20;
/// Bytes of a chunk in a block's directory, and of an append beside its data.
const ENTRY_LEN: usize = 40;

/// Packs chunks and hands the blocks over.
pub(crate) struct Packer<'a> {
    store: &'a Store,
    raw: Vec<u8>,
    entries: Vec<BlockEntry>,
    /// Names the chunks of the block in the making: all of one dedup domain.
    namer: ChunkNamer,
    len_max: usize,
    /// The block last read, with its plain bytes: its chunks usually follow each other.
    block: Option<(Location, Bytes)>,
    /// What this round moved: a chunk that lies in two segments is moved once.
    moved: HashSet<ChunkId>,
    /// The last append.
    pub(crate) last: Lsn,
    /// Segments that hold something that cannot be read.
    pub(crate) unreadable: BTreeSet<SegmentId>,
}

impl<'a> Packer<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        // Half of the greatest append: the other half is room for the directory of many small chunks.
        let len_max = PACK_LEN.min(store.ledger().append_len_max() / 2);
        Self {
            store,
            raw: Vec::new(),
            entries: Vec::new(),
            namer: ChunkNamer::new(DedupDomain::COMMON),
            len_max,
            block: None,
            moved: HashSet::new(),
            last: Lsn(0),
            unreadable: BTreeSet::new(),
        }
    }

    /// Takes a chunk along if it is counted and lies in `segment`.
    ///
    /// # Errors
    /// Those of the index and of appending. A chunk that cannot be read is noted, not an error.
    pub(crate) fn take(&mut self, id: &ChunkId, segment: SegmentId, report: &mut MoverReport) -> Result<()> {
        if self.moved.contains(id) {
            return Ok(());
        }
        // A chunk in another tier is in no segment.
        let Some(Whereabouts::Ledger(place)) = self.store.whereabouts(id)? else { return Ok(()) };
        if place.location.segment != segment {
            return Ok(());
        }
        if let Err(why) = Whereabouts::Ledger(place).within_reach() {
            self.note(id, segment, &why.to_string(), report);
            return Ok(());
        }
        if place.domain != self.namer.domain() {
            self.hand_over(report)?;
            self.namer = ChunkNamer::new(place.domain);
        }
        if self.block.as_ref().is_none_or(|(at, _)| *at != place.location) {
            report.bytes_read += u64::from(place.location.len);
            let read = self.store.engine().block(&place.location).map_err(ContentError::from);
            match read.and_then(|stored| decode_block(id, &place, stored)) {
                Ok(plain) => self.block = Some((place.location, plain)),
                Err(error) => {
                    self.note(id, segment, &error.to_string(), report);
                    return Ok(());
                }
            }
        }
        let plain = self.block.as_ref().map(|(_, plain)| plain.clone()).unwrap_or_default();
        let (from, to) = (place.offset as usize, place.offset as usize + place.len as usize);
        let Some(bytes) = plain.get(from..to).filter(|bytes| self.namer.name(bytes) == *id) else {
            self.note(id, segment, "its bytes are not what its name says", report);
            return Ok(());
        };
        let full = self.raw.len() + bytes.len() > self.len_max
            || self.entries.len() == BLOCK_CHUNKS_MAX
            || (self.entries.len() + 1) * ENTRY_LEN > self.len_max / 2;
        if full && !self.entries.is_empty() {
            self.hand_over(report)?;
        }
        self.raw.extend_from_slice(bytes);
        self.entries.push(BlockEntry { id: *id, len: place.len });
        self.moved.insert(*id);
        Ok(())
    }

    fn note(&mut self, id: &ChunkId, segment: SegmentId, why: &str, report: &mut MoverReport) {
        tracing::error!(chunk = %id, %segment, why, "a chunk cannot be moved: it stays where it is");
        report.unreadable += 1;
        self.unreadable.insert(segment);
    }

    /// Appends what was gathered.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(crate) fn hand_over(&mut self, report: &mut MoverReport) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let (raw, entries) = (std::mem::take(&mut self.raw), std::mem::take(&mut self.entries));
        report.chunks_moved += entries.len() as u64;
        let block = prepare(&Bytes::from(raw), self.namer.domain(), entries, CompressPolicy::COLD)?;
        report.bytes_moved += block.record.data.len() as u64;
        // Appended even if only the reserved room is left.
        self.last = self.store.engine().append(vec![block], Purpose::Mover, false)?;
        Ok(())
    }
}

//! Taking a checkpoint, while commits and drains go on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use strata_chunk::{CompressPolicy, compress};
use strata_index::{Drained, Dump, Fingerprint, KEYS_END, PieceCutter};
use strata_ledger::{Append, BlockRecord, Class, PlacedBlock, Purpose};
use strata_seam::planted::{Bug, planted};
use strata_seam::{Lsn, SegmentId};

use super::facts::{Fact, Facts};
use super::format::{self, BlockRef, Hash, NODE_REFS_MAX, Node, Root};
use super::known::{Checkpoint, CheckpointCounts, Checkpoints, note_places, read_block};
use crate::embedded::Embedded;
use crate::engine::Engine;
use crate::error::{EngineError, Result};

/// Bytes kept for the smallest checkpoint: its nodes, and a stripe's headers for each of its few blocks.
const CHECKPOINT_ROOM_MIN: u64 = 64 << 10;
/// Bytes of changes behind the newest checkpoint from which the next one is taken, so that little room is kept for it ...
const CHANGED_MAX: u64 = 64 << 20;
/// ... unless that would write more than one byte for so many of the log: one that was expensive is waited for longer, ...
const LOG_PER_BYTE: u64 = 24;
/// ... but not beyond so many times what a whole one takes: that much more room would be kept.
const WHOLE_TIMES: u64 = 4;
/// Room for so many whole ones has to be left where one is waited for.
const ROOM_TIMES: u64 = 4;
/// A guess of those is this share of a segment at most: room for two checkpoints is kept, each a good eighth longer.
const GUESSED_SHARE: u64 = 8;
/// Beside the plain bytes, what an append of one block and its directory may take.
const APPEND_OVERHEAD: usize = 256;
/// One in so many pieces that are taken over is read back.
const READ_BACK_TURNS: u64 = 16;
/// Bytes that one of them counts for the pace.
const SKIP_BYTES: u64 = 100;
/// Bytes of a reference in a node, at most.
const REF_LEN_MAX: usize = 80;

/// What a checkpoint that was taken consists of and cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckpointReport {
    /// Records of the index in it.
    pub pairs: u64,
    /// Pieces it is made of.
    pub pieces: u64,
    /// Pieces that were in the previous checkpoint too.
    pub shared: u64,
    /// Pieces that were not even read, because nothing changed in them.
    pub unread: u64,
    /// Stored bytes appended for it.
    pub bytes_written: u64,
}

/// What [`Embedded::take_checkpoint`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// There is nothing to write down yet.
    Empty,
    /// The checkpoint was called off.
    Stopped,
    /// The checkpoint is stored on a quorum of disks.
    Done(CheckpointReport),
}

/// The pieces under construction.
struct Taking<'a> {
    engine: &'a Embedded,
    known: HashMap<Hash, BlockRef>,
    leave: &'a BTreeSet<SegmentId>,
    /// In order; places of new ones are filled in once they are written.
    pieces: Vec<BlockRef>,
    facts: Facts,
    last: Lsn,
    report: CheckpointReport,
    /// Segments to be left in which some cell still places a chunk: they are kept.
    held: BTreeSet<SegmentId>,
}

impl Embedded {
    /// Writes a checkpoint of the index as it is now, and makes it the one from which an index is restored. The segments in `leave` are
    /// about to be freed: no part of the checkpoint is put there, and it does not list them as kept. `pace` is called with the bytes
    /// handled, and cancels the checkpoint by returning `false`.
    ///
    /// Cost: reads and writes the pieces in which something changed since the last checkpoint; the first one after an opening reads the
    /// whole index. Commits and drains go on meanwhile.
    ///
    /// # Errors
    /// Those of the index and of the ledger. The previous checkpoint then still counts, or (if the quorum was lost while the root was
    /// stored) the new one.
    pub fn take_checkpoint(&self, leave: &BTreeSet<SegmentId>, pace: &mut dyn FnMut(u64) -> bool) -> Result<Taken> {
        let _one = self.checkpoints.taking.lock();
        // Commits from here on may be missing in the checkpoint.
        let changed = self.checkpoints.changed.load(Ordering::Acquire);
        let Some(mut dump) = self.dump_of_now()? else { return Ok(Taken::Empty) };
        let newest = self.checkpoints.newest.lock().clone();
        let known = newest.iter().flat_map(|known| &known.pieces).map(|piece| (piece.hash, *piece)).collect();
        let mut taking = Taking {
            engine: self,
            known,
            leave,
            pieces: Vec::new(),
            facts: Facts { moment: dump.moment(), pieces: Vec::new() },
            last: Lsn(0),
            report: CheckpointReport::default(),
            held: BTreeSet::new(),
        };
        let stamp = dump.stamp();
        let dumped = taking.pieces_of(&mut dump, newest.as_ref(), pace);
        drop(dump);
        let taken =
            dumped.and_then(|complete| if complete { taking.publish(stamp, changed) } else { Ok(Taken::Stopped) });
        if matches!(taken, Ok(Taken::Done(_))) {
            self.checkpoint_places.lock().clear();
        }
        taken
    }

    /// Brings what the index keeps on disk up to everything that was committed, and begins a dump of it. `None` where the index is empty.
    fn dump_of_now(&self) -> Result<Option<Dump<'_>>> {
        // Twice: what was frozen earlier ends below now, what is frozen after it reaches now. A third round would only
        // cover commits that came later.
        for _ in 0..2 {
            self.index.freeze();
            self.drain_frozen()?;
        }
        loop {
            if let Some(dump) = self.index.begin_dump() {
                return Ok(Some(dump));
            }
            if self.index.applied().is_none() && !self.index.freeze() {
                return Ok(None);
            }
            // Another drain was begun meanwhile, or cells that add up to nothing wait to be removed.
            self.drain_frozen()?;
        }
    }

    fn drain_frozen(&self) -> Result<()> {
        loop {
            match self.index.drain_frozen(self.durable())? {
                Drained::Waiting { bound } => self.ledger.wait(bound, Class::Durable)?,
                Drained::Idle => return Ok(()),
                Drained::Batch { .. } | Drained::Done { .. } | Drained::Frozen | Drained::Verified => {}
            }
        }
    }

    /// The newest checkpoint; `None` before the first.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoints.newest.lock().clone()
    }

    /// Notes the blocks of checkpoints that a replay found. Some may be of one that was cut off, and are then garbage.
    pub fn note_checkpoint_blocks(&self, blocks: &[PlacedBlock]) {
        note_places(&self.checkpoint_places, blocks);
    }

    /// Sets the checkpoint that was found when the store was opened.
    pub fn set_checkpoint(&self, checkpoint: Checkpoint) {
        let bytes = checkpoint.bytes_by_segment().values().sum();
        *self.checkpoints.newest.lock() = Some(checkpoint);
        self.checkpoints.bytes.store(bytes, Ordering::Release);
        self.checkpoints.cost.store(bytes, Ordering::Release);
        self.note_changed(0);
    }

    /// What checkpoints cost since the store was opened.
    #[must_use]
    pub fn checkpoint_counts(&self) -> CheckpointCounts {
        let Checkpoints { taken, written, .. } = &self.checkpoints;
        CheckpointCounts { taken: taken.load(Ordering::Relaxed), written: written.load(Ordering::Relaxed) }
    }

    /// Notes that the index was changed by about so many bytes.
    pub fn note_changed(&self, bytes: u64) {
        self.checkpoints.changed.fetch_add(bytes, Ordering::AcqRel);
        self.ledger.keep_room(self.checkpoint_room());
    }

    /// Notes about how many bytes of changes behind the newest checkpoint nobody counted, because the index had them when it was
    /// opened. A wrong guess must not cost a full store what is kept for removals: so it is a small share of a segment at most,
    /// and where the store is full, a checkpoint is due that puts an end to guessing.
    pub fn guess_changed(&self, bytes: u64) {
        let most = self.ledger.segment_capacity() / GUESSED_SHARE;
        self.checkpoints.guessed.store(bytes > 0, Ordering::Release);
        self.note_changed(bytes.min(most));
    }

    /// Bytes that a whole checkpoint may take now: what the newest one takes, and what changed since (invariant ROOM).
    #[must_use]
    pub fn checkpoint_room(&self) -> u64 {
        let checkpoints = &self.checkpoints;
        let bytes = checkpoints.bytes.load(Ordering::Acquire) + checkpoints.changed.load(Ordering::Acquire);
        bytes + bytes / 8 + CHECKPOINT_ROOM_MIN
    }

    /// Bytes of garbage from which giving them back is worth the checkpoint that it takes, by what the last one wrote: so that what
    /// checkpoints add to the log stays a small share of it however often there is garbage.
    #[must_use]
    pub fn worth_a_checkpoint(&self) -> u64 {
        self.checkpoints.cost.load(Ordering::Acquire).saturating_mul(LOG_PER_BYTE)
    }

    /// Whether a checkpoint is due: a lost index would be rebuilt from `log_bytes` of log or more, or much room is kept for the next one, or how
    /// much must be is a guess in a full store. What checkpoints add to the log stays a small share of it: where keys change
    /// all over the index, each writes most of it anew, so a large index is written down less often.
    #[must_use]
    pub fn checkpoint_due(&self, log_bytes: u64) -> bool {
        let Checkpoints { changed, guessed, bytes, cost, .. } = &self.checkpoints;
        let read = |number: &AtomicU64| number.load(Ordering::Acquire);
        let log = self.log_since_checkpoint();
        if guessed.load(Ordering::Acquire) && self.ledger.is_full() {
            return true;
        }
        let changed = read(changed);
        if log < log_bytes && changed < CHANGED_MAX {
            return false;
        }
        log >= read(cost).saturating_mul(LOG_PER_BYTE)
            || changed >= CHANGED_MAX.max(read(bytes).saturating_mul(WHOLE_TIMES))
            || self.ledger.room().spare < self.checkpoint_room().saturating_mul(ROOM_TIMES)
    }
}

impl Taking<'_> {
    /// Cuts the dump into pieces and hands new ones to the ledger; `false` where it was called off. Where nothing changed since
    /// `newest`, its pieces are taken over.
    fn pieces_of(
        &mut self,
        dump: &mut Dump<'_>,
        newest: Option<&Checkpoint>,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<bool> {
        let mut cutter = PieceCutter::new(self.block_len_max());
        // Without facts, all keys are one stretch, which is read.
        let known = newest.and_then(|newest| Some((newest, newest.facts.clone()?)));
        for number in 0..known.as_ref().map_or(1, |(newest, _)| newest.pieces.len().max(1)) {
            let mut end = KEYS_END;
            if let Some((newest, facts)) = &known {
                end = facts.end_of(number);
                if cutter.is_at_cut() && self.is_kept(newest, number) && dump.skip(end, facts.moment) {
                    self.take_over(newest.pieces[number], &facts.pieces[number]);
                    if !pace(SKIP_BYTES) {
                        return Ok(false);
                    }
                    continue;
                }
            }
            loop {
                let page = dump.next_page_below(end)?;
                if page.is_empty() {
                    break;
                }
                for pair in &page {
                    for piece in cutter.push(pair) {
                        if !self.piece(piece, pace)? {
                            return Ok(false);
                        }
                    }
                }
            }
        }
        if let Some(last) = cutter.finish()
            && !self.piece(last, pace)?
        {
            return Ok(false);
        }
        let sum = self.facts.pieces.iter().fold(Fingerprint::default(), |sum, fact| sum.and(fact.sum));
        if sum.sum() != dump.stamp().sum {
            // The index engine does not hold what was put in: a checkpoint of it would make that the truth.
            return Err(EngineError::Record { what: "the index engine (the next start rebuilds it)".to_owned() });
        }
        Ok(true)
    }

    /// Whether a piece of the checkpoint before may stay where it is. Now and then one is read back, so that one beyond
    /// repair is written anew from the index; the disks are scrubbed besides.
    fn is_kept(&self, newest: &Checkpoint, number: usize) -> bool {
        let Some(piece) = newest.pieces.get(number) else { return false };
        let stays = !self.leave.contains(&piece.location.segment);
        let turn = self.engine.checkpoints.taken.load(Ordering::Relaxed) % READ_BACK_TURNS;
        stays
            && (number as u64 % READ_BACK_TURNS != turn || read_block(&|at| self.engine.ledger.read(at), piece).is_ok())
    }

    /// A piece in which nothing changed.
    fn take_over(&mut self, piece: BlockRef, fact: &Fact) {
        self.report.pieces += 1;
        self.report.shared += 1;
        self.report.unread += 1;
        self.add(piece, fact.clone());
    }

    /// The next piece, wherever it lies. Invariant REF: a segment in which this very checkpoint still places a chunk is not
    /// given up.
    fn add(&mut self, piece: BlockRef, fact: Fact) {
        self.report.pairs += fact.pairs;
        for segment in fact.segments.iter().filter(|segment| self.leave.contains(segment)) {
            if self.held.insert(*segment) {
                tracing::debug!(%segment, "a segment to be freed still holds a chunk: it stays");
            }
        }
        self.pieces.push(piece);
        self.facts.pieces.push(fact);
    }

    /// The next piece as it was read; `false` where it was called off.
    fn piece(&mut self, raw: Vec<u8>, pace: &mut dyn FnMut(u64) -> bool) -> Result<bool> {
        let len = raw.len() as u64;
        let hash = *blake3::hash(&raw).as_bytes();
        let fact = Fact::of(&raw).map_err(|_| EngineError::Record { what: "a piece of the index".to_owned() })?;
        self.report.pieces += 1;
        let left = || self.engine.checkpoint_places.lock().get(&hash).copied();
        let known = self.known.get(&hash).copied().or_else(left);
        let sound = |known: &BlockRef| {
            !self.leave.contains(&known.location.segment)
                && read_block(&|at| self.engine.ledger.read(at), known).is_ok()
        };
        let block = match known.filter(sound) {
            Some(known) => {
                self.report.shared += 1;
                known
            }
            None => self.append(hash, raw)?,
        };
        self.add(block, fact);
        Ok(pace(len))
    }

    /// Hands a block to the ledger; its place is not known yet.
    fn append(&mut self, hash: Hash, raw: Vec<u8>) -> Result<BlockRef> {
        let raw_len = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        let (codec, stored) = compress(&raw, CompressPolicy::HOT);
        let data = Bytes::copy_from_slice(&stored);
        self.report.bytes_written += data.len() as u64;
        self.engine.checkpoints.written.fetch_add(data.len() as u64, Ordering::Relaxed);
        let record = BlockRecord { directory: format::directory(&hash, codec.as_u8(), raw_len), data };
        let relaxed = planted(Bug::CheckpointNotDurable);
        let append = Append { blocks: vec![record], commit: None, relaxed };
        self.last = self.engine.ledger.append_for(append, Purpose::Mover)?;
        let nowhere =
            strata_ledger::Location { segment: SegmentId(0), sector: 0, shard_len: 0, offset: 0, len: 0, crc: 0 };
        Ok(BlockRef { hash, location: nowhere, codec: codec.as_u8(), raw_len })
    }

    /// Waits until all that was handed over is durable, and fills its places in.
    fn place(&self, blocks: &mut [BlockRef]) -> Result<()> {
        let class = if planted(Bug::CheckpointNotDurable) { Class::Written } else { Class::Durable };
        self.engine.ledger.wait(self.last, class)?;
        let places = self.engine.checkpoint_places.lock();
        for block in blocks.iter_mut().filter(|block| block.location.shard_len == 0) {
            block.location = places
                .get(&block.hash)
                .map(|block| block.location)
                .ok_or_else(|| EngineError::Record { what: "a block of the checkpoint just written".to_owned() })?;
        }
        Ok(())
    }

    /// Writes the nodes, then the root.
    fn publish(mut self, stamp: strata_index::Stamp, changed: u64) -> Result<Taken> {
        let mut pieces = std::mem::take(&mut self.pieces);
        self.place(&mut pieces)?;
        let refs_max = (self.block_len_max() / REF_LEN_MAX).clamp(1, NODE_REFS_MAX);
        let ledger = &self.engine.ledger;
        let before = |segment: &SegmentId| {
            *segment < stamp.position.segment && (!self.leave.contains(segment) || self.held.contains(segment))
        };
        let mut kept: BTreeSet<SegmentId> = ledger.segments().into_iter().filter(before).collect();
        if planted(Bug::KeptSegmentsForgotten) {
            kept.clear();
        }
        let mut nodes = Vec::new();
        let mut top = Node { level: 0, refs: pieces.clone(), kept: kept.clone() };
        if top.refs.len() > refs_max {
            for refs in pieces.chunks(refs_max) {
                let node = Node { level: 0, refs: refs.to_vec(), kept: BTreeSet::new() }.encode();
                nodes.push(self.append(*blake3::hash(&node).as_bytes(), node)?);
            }
            self.place(&mut nodes)?;
            if nodes.len() > NODE_REFS_MAX {
                return Err(EngineError::TooLarge("an index too large for a checkpoint".to_owned()));
            }
            (top.level, top.refs) = (1, nodes.clone());
        }
        let top = top.encode();
        nodes.push(self.append(*blake3::hash(&top).as_bytes(), top)?);
        self.place(&mut nodes)?;
        let root = Root { stamp, pairs: self.report.pairs, top: nodes[nodes.len() - 1] };
        self.engine.ledger.store_checkpoint_root(root.encode())?;
        let facts = Some(Arc::new(self.facts));
        self.engine.set_checkpoint(Checkpoint { root, pieces, nodes, kept, facts });
        self.engine.checkpoints.taken.fetch_add(1, Ordering::Relaxed);
        self.engine.checkpoints.cost.store(self.report.bytes_written, Ordering::Release);
        self.engine.checkpoints.changed.fetch_sub(changed, Ordering::AcqRel);
        self.engine.checkpoints.guessed.store(false, Ordering::Release);
        self.engine.note_changed(0);
        if let Err(error) = self.engine.index.flush() {
            tracing::warn!(%error, "the index could not be flushed; the next start may fill it from the checkpoint");
        }
        Ok(Taken::Done(self.report))
    }

    fn block_len_max(&self) -> usize {
        self.engine.ledger.append_len_max().saturating_sub(APPEND_OVERHEAD).min(1 << 20)
    }
}

//! Storing a stream: cut into chunks, name them, leave out those that the store has, compress, append to the ledger.
//!
//! **Invariant BOUND**: an ingest holds at most [`BLOCKS_ON_THEIR_WAY_MAX`] closed blocks, an open one, one uncut piece and one
//! unfinished page per level of its manifest, whatever the length of the stream.
//!
//! **Invariant PREFIX**: blocks reach the ledger in the order of the stream, and all of them before any commit that refers to them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use strata_chunk::{BlockEntry, ChunkNamer, Chunker, CompressPolicy, DedupDomain, Item, Source, is_zero};
use strata_seam::ChunkId;

use crate::at_work::AtWork;
use crate::content::{Content, Made, PAGE_ITEMS, Page, entry_len};
use crate::error::{ContentError, Result};
use crate::guard::Streaming;
use crate::keys;
use crate::prepare::{Task, prepare};
use crate::store::Store;

/// A block is closed once it holds this much plain content: longer ones compress little better and cost more to read
/// a piece of (shared with the mover's cold blocks, which are longer).
const BLOCK_LEN_TARGET: usize = 256 << 10;

/// Closed blocks of one stream that are being compressed or wait for their turn to be appended: as many as keep a few
/// cores busy.
const BLOCKS_ON_THEIR_WAY_MAX: usize = 4;
/// Most closed blocks of a stream while there is a stream at work for every core, because the streams themselves keep the cores busy
/// then. While there are many streams for every core, none is held back.
const BLOCKS_ON_THEIR_WAY_BUSY_MAX: usize = 1;
const STREAMS_MANY: usize = 8;

/// Input is taken in steps of at most this size, so that what is in memory beside a block stays little.
const STEP: usize = 256 << 10;
/// Chunks that are cut and looked up at once: what a step comes to, mostly.
const CUTS_AT_ONCE: usize = 16;

/// Takes a stream of bytes in and turns it into content. Dropping it unfinished leaves nothing but reclaimable chunks.
pub struct Ingest {
    store: Arc<Store>,
    chunker: Chunker,
    namer: ChunkNamer,
    relaxed: bool,
    /// Whether room for it was promised.
    promised: bool,
    /// Accepted new chunks of the open block, then bytes not yet cut.
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are accepted chunks.
    accepted: usize,
    chunks: Vec<BlockEntry>,
    /// Chunks of the open block and of those on their way, which the store does not know yet.
    taken: HashSet<ChunkId>,
    /// Closed blocks, in order.
    on_their_way: VecDeque<Arc<Task>>,
    tree: Tree,
    len: u64,
    /// What it found present stays until it is counted, or this and the content made of it are gone.
    guard: Streaming,
}

/// A piece of the stream with both of its ends known.
struct Cut {
    item: Item,
    len: usize,
}

impl Cut {
    /// Its chunk; `None` for zeros.
    fn chunk(&self) -> Option<ChunkId> {
        match self.item.source {
            Source::Chunk { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// The manifest under construction: per level the items not yet in a page.
struct Tree {
    ingest: u64,
    sequence: u64,
    levels: Vec<Level>,
}

#[derive(Default)]
struct Level {
    items: Vec<Item>,
    /// Holds of the pages among `items`.
    provisional: Vec<(Vec<u8>, ChunkId)>,
}

impl Ingest {
    pub(crate) fn new(store: Arc<Store>, domain: DedupDomain, relaxed: bool) -> Self {
        let ingest = store.unique();
        let guard = store.guards.stream();
        Self {
            chunker: Chunker::new(store.settings.chunks),
            namer: ChunkNamer::new(domain),
            store,
            relaxed,
            promised: false,
            buffer: Vec::new(),
            accepted: 0,
            chunks: Vec::new(),
            taken: HashSet::new(),
            on_their_way: VecDeque::new(),
            tree: Tree { ingest, sequence: 0, levels: vec![Level::default()] },
            len: 0,
            guard,
        }
    }

    /// Appends bytes. CPU-bound (about 2 ms per MiB) and may wait for the ledger: call it on a blocking thread for
    /// anything above 64 KiB. Memory held is bounded (about 4 MiB).
    ///
    /// # Errors
    /// Those of the ledger and the index; the ingest is then of no more use.
    pub fn push(&mut self, data: &[u8]) -> Result<()> {
        for step in data.chunks(STEP) {
            self.make_room(step.len());
            self.buffer.extend_from_slice(step);
            self.len += step.len() as u64;
            self.cut(false)?;
        }
        Ok(())
    }

    /// A stream that is longer than a step gets at once what a block and the chunk behind it can come to: growing there by
    /// doubling would copy it several times. What is not written to is not resident.
    fn make_room(&mut self, len: usize) {
        let wanted = self.buffer.len() + len;
        if wanted > self.buffer.capacity().max(STEP) {
            let all = BLOCK_LEN_TARGET + self.store.settings.chunks.max() + STEP;
            self.buffer.reserve_exact(all.max(wanted) - self.buffer.len());
        }
    }

    /// How many streams of this store are being taken in by an intake at this moment.
    pub(crate) fn streams_at_work(&self) -> Arc<AtWork> {
        Arc::clone(&self.store.streams_at_work)
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was taken yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes over `items` of existing content by reference, as if their bytes had been pushed. What was pushed before
    /// ends in a cut of its own.
    ///
    /// # Errors
    /// As [`Ingest::push`].
    pub fn push_items(&mut self, items: &[Item]) -> Result<()> {
        self.cut(true)?;
        for item in items {
            self.len += item.len;
            self.end_below(item.height())?;
            // The caller has held the item until here.
            self.guard.relied.note(*item, || Ok::<_, ContentError>(()))?;
            self.add_item(*item)?;
        }
        Ok(())
    }

    /// Bytes at the end that no cut has taken in yet; they are part of [`Ingest::len`].
    #[must_use]
    pub fn uncut_len(&self) -> usize {
        self.buffer.len() - self.accepted
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// As [`Ingest::push`].
    pub fn finish(mut self) -> Result<Content> {
        self.cut(true)?;
        self.finish_cut()
    }

    /// Ends the stream at its last cut and drops the bytes after it. Returns the content, and the number of dropped bytes.
    ///
    /// # Errors
    /// As [`Ingest::push`].
    pub fn finish_at_last_cut(mut self) -> Result<(Content, usize)> {
        let rest = self.uncut_len();
        self.buffer.truncate(self.accepted);
        self.len -= rest as u64;
        Ok((self.finish_cut()?, rest))
    }

    fn finish_cut(&mut self) -> Result<Content> {
        // The last block travels with the commit. It is prepared here while helpers prepare those before it.
        let domain = self.namer.domain();
        let last =
            self.take_block().map(|(raw, entries)| prepare(&raw, domain, entries, CompressPolicy::HOT)).transpose()?;
        self.append_all()?;
        last.iter().for_each(|last| self.store.traffic.block(last));
        let mut made = Made::new(domain, self.promised);
        made.blocks.extend(last);
        let mut carried: Vec<Item> = Vec::new();
        for level in std::mem::take(&mut self.tree.levels) {
            made.provisional.extend(level.provisional);
            // Items of a higher level lie before those of a lower one.
            let mut items = level.items;
            items.append(&mut carried);
            carried = items;
        }
        made.items = carried;
        Content::of(&self.store, self.len, self.relaxed, made, self.guard.widen())
    }

    /// Cuts what can be cut and accepts or leaves out each chunk.
    fn cut(&mut self, end: bool) -> Result<()> {
        loop {
            let cuts = self.next_cuts(end);
            if cuts.is_empty() {
                return Ok(());
            }
            let known = self.which_are_known(&cuts)?;
            let mut at = self.accepted;
            for (cut, known) in cuts.iter().zip(known) {
                at = self.take_cut(cut, known, at)?;
            }
            self.leave_out(at - self.accepted);
            cuts.into_iter().try_for_each(|cut| self.add_item(cut.item))?;
        }
    }

    /// The next cuts of what is not cut yet, as many as are asked for in one look-up. Not more than the lowest level of the manifest has
    /// room for: a page is made behind the last of them, when all of them are in it.
    fn next_cuts(&self, end: bool) -> Vec<Cut> {
        let room = (2 * PAGE_ITEMS).saturating_sub(self.tree.levels[0].items.len()).max(1);
        let mut cuts = Vec::new();
        let mut uncut = &self.buffer[self.accepted..];
        while cuts.len() < room.min(CUTS_AT_ONCE)
            && let Some(len) = self.chunker.next_cut(uncut, end).filter(|len| *len > 0)
        {
            let (chunk, rest) = uncut.split_at(len);
            let source = match is_zero(chunk) {
                true => Source::Hole,
                false => Source::Chunk { id: self.namer.name(chunk), offset: 0 },
            };
            cuts.push(Cut { item: Item { len: len as u64, source }, len });
            uncut = rest;
        }
        cuts
    }

    /// Which of these need not be stored, with all of them noted as relied upon.
    fn which_are_known(&self, cuts: &[Cut]) -> Result<Vec<bool>> {
        let mut known = vec![true; cuts.len()];
        let (mut asked, mut ids, mut items) = (Vec::new(), Vec::new(), Vec::new());
        for (at, cut) in cuts.iter().enumerate() {
            let Some(id) = cut.chunk() else { continue };
            items.push(cut.item);
            // A chunk that comes twice is the stream's own the second time.
            if !self.taken.contains(&id) && !ids.contains(&id) {
                asked.push(at);
                ids.push(id);
            }
        }
        let found = self.guard.relied.note_all(&items, || self.store.have_chunks(&ids))?;
        asked.into_iter().zip(found).for_each(|(at, found)| known[at] = found);
        Ok(known)
    }

    /// Accepts the cut that lies at `from`, or passes it over; says where the next one lies.
    fn take_cut(&mut self, cut: &Cut, known: bool, from: usize) -> Result<usize> {
        let behind = from + cut.len;
        let Some(id) = cut.chunk() else {
            self.store.traffic.zeros(cut.len);
            return Ok(behind);
        };
        if known {
            self.store.traffic.known(cut.len);
            return Ok(behind);
        }
        if from > self.accepted {
            self.buffer.copy_within(from..behind, self.accepted);
        }
        self.accepted += cut.len;
        self.chunks.push(BlockEntry { id, len: entry_len(cut.len) });
        self.taken.insert(id);
        if self.accepted < BLOCK_LEN_TARGET {
            return Ok(behind);
        }
        self.leave_out(behind - self.accepted);
        self.close_block()?;
        Ok(self.accepted)
    }

    /// Removes the first `len` uncut bytes.
    fn leave_out(&mut self, len: usize) {
        if len > 0 {
            self.buffer.copy_within(self.accepted + len.., self.accepted);
            self.buffer.truncate(self.buffer.len() - len);
        }
    }

    /// Sends the open block on its way: to a helper with nothing to do, or else through the work here and now.
    fn close_block(&mut self) -> Result<()> {
        let Some((raw, entries)) = self.take_block() else { return Ok(()) };
        let task = Task::new(raw, self.namer.domain(), entries);
        if !self.store.helpers.offer(&task) {
            task.work();
        }
        self.on_their_way.push_back(task);
        let most = match self.store.streams_at_work.per_core() {
            0 => BLOCKS_ON_THEIR_WAY_MAX,
            1..STREAMS_MANY => BLOCKS_ON_THEIR_WAY_BUSY_MAX,
            STREAMS_MANY.. => 0,
        };
        while self.on_their_way.len() > most || self.on_their_way.front().is_some_and(|first| first.is_done()) {
            self.append_first()?;
        }
        Ok(())
    }

    /// Before a wait for more bytes: hands on what is ready, so that a stream that waits for long holds little.
    ///
    /// # Errors
    /// As [`Ingest::push`].
    pub(crate) fn rest(&mut self) -> Result<()> {
        while self.on_their_way.front().is_some_and(|first| first.is_done()) {
            self.append_first()?;
        }
        Ok(())
    }

    /// Appends all blocks on their way.
    fn append_all(&mut self) -> Result<()> {
        while !self.on_their_way.is_empty() {
            self.append_first()?;
        }
        Ok(())
    }

    /// Appends the first block on its way. While a helper is still at it, others that nobody has begun are prepared here.
    fn append_first(&mut self) -> Result<()> {
        while let Some(other) = self.on_their_way.iter().find(|task| task.is_waiting())
            && !self.on_their_way[0].is_done()
        {
            other.work();
        }
        let Some(task) = self.on_their_way.pop_front() else { return Ok(()) };
        let block = task.take()?;
        self.store.traffic.block(&block);
        let ids: Vec<ChunkId> = block.chunks.iter().map(|(id, _)| *id).collect();
        self.store.append_blocks(vec![block], self.relaxed, self.promised)?;
        // From here on the store has these chunks.
        ids.iter().for_each(|id| {
            self.taken.remove(id);
        });
        Ok(())
    }

    /// The open block; the uncut bytes stay.
    fn take_block(&mut self) -> Option<(Bytes, Vec<BlockEntry>)> {
        if self.chunks.is_empty() {
            return None;
        }
        // The next block will need about as much room as this one; growing step by step would copy it several times.
        let mut next = Vec::with_capacity(self.buffer.capacity());
        next.extend_from_slice(&self.buffer[self.accepted..]);
        let mut raw = std::mem::replace(&mut self.buffer, next);
        raw.truncate(self.accepted);
        // The buffer is kept until the block is written and can be found; the allocator takes the rest back in place.
        raw.shrink_to_fit();
        let raw = Bytes::from(raw);
        self.accepted = 0;
        Some((raw, std::mem::take(&mut self.chunks)))
    }

    /// Adds an item to the level of its height. All that is lower lies before it and ends here, so it becomes pages up to that
    /// level: no page ever holds items of several heights, which would make the tree higher with every few edits.
    fn add_item(&mut self, item: Item) -> Result<()> {
        self.end_below(item.height())?;
        let at = usize::from(item.height());
        if self.tree.levels.len() <= at {
            self.tree.levels.resize_with(at + 1, Level::default);
        }
        push_joined(&mut self.tree.levels[at].items, item);
        self.page_out_if_full(at)
    }

    /// Turns what is lower than `height` into pages.
    fn end_below(&mut self, height: u8) -> Result<()> {
        for lower in 0..usize::from(height) {
            // Paging out a level may have made the next one.
            if lower < self.tree.levels.len() {
                self.page_out(lower)?;
            }
        }
        Ok(())
    }

    /// A level holds up to two pages: what lies between two higher items is then split evenly, and not into a full page and
    /// a crumb.
    fn page_out_if_full(&mut self, at: usize) -> Result<()> {
        if self.tree.levels[at].items.len() >= 2 * PAGE_ITEMS { self.page_out(at) } else { Ok(()) }
    }

    /// Turns a level into pages of the level above.
    fn page_out(&mut self, at: usize) -> Result<()> {
        let Level { items, mut provisional } = std::mem::take(&mut self.tree.levels[at]);
        let mut behind = items.as_slice();
        while !behind.is_empty() {
            let (part, rest) = behind.split_at(behind.len().div_ceil(behind.len().div_ceil(PAGE_ITEMS)));
            behind = rest;
            // Pages that later items refer to stay held on their own.
            let held = |(_, id): &mut (Vec<u8>, ChunkId)| {
                !behind.iter().any(|item| matches!(item.source, Source::Page { id: other, .. } if other == *id))
            };
            let held = provisional.extract_if(.., held).collect();
            if let Err(error) = self.store_page(at, part, held) {
                self.tree.levels[at].provisional.append(&mut provisional);
                return Err(error);
            }
        }
        self.guard.relied.are_counted(at);
        Ok(())
    }

    /// Stores a page of the level `at`, held by a provisional record until the content has an owner: so the commit of a long
    /// stream stays small, and a crash leaves a list of what to release. `provisional` are the records that hold what is in it.
    fn store_page(&mut self, at: usize, items: &[Item], provisional: Vec<(Vec<u8>, ChunkId)>) -> Result<()> {
        self.close_block()?;
        self.append_all()?;
        let page = Page::of(&self.namer, items)?;
        let Page { id, len, height, .. } = page;
        self.tree.sequence += 1;
        let level = u8::try_from(at).unwrap_or(u8::MAX);
        let key = keys::orphan_key(self.store.session(), self.tree.ingest, level, self.tree.sequence);
        let mut made = Made::new(self.namer.domain(), self.promised);
        made.items.push(Item::page(id, height, len));
        made.blocks.push(page.block);
        made.pages.insert(id, page.node);
        made.provisional = provisional;
        let content = Content::of(&self.store, len, self.relaxed, made, self.guard.widen())?;
        self.store.transact(self.relaxed, |tx| {
            tx.attach(&content)?;
            tx.put(key.clone(), id.0.to_vec());
            Ok::<_, crate::ContentError>(())
        })?;
        if self.tree.levels.len() == at + 1 {
            self.tree.levels.push(Level::default());
        }
        let above = &mut self.tree.levels[at + 1];
        above.provisional.push((key, id));
        above.items.push(Item::page(id, height, len));
        self.page_out_if_full(at + 1)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let holds = self.tree.levels.iter_mut().flat_map(|level| level.provisional.drain(..));
        let mut keys: Vec<_> = holds.map(|(key, _)| key).collect();
        if !keys.is_empty() {
            self.store.abandoned.lock().append(&mut keys);
        }
    }
}

fn push_joined(items: &mut Vec<Item>, item: Item) {
    if let (Some(Item { len, source: Source::Hole }), Source::Hole) = (items.last_mut(), item.source) {
        *len += item.len;
    } else {
        items.push(item);
    }
}

impl Store {
    /// Begins to take in content for which room was reserved ([`Store::promise`]); otherwise as [`Store::ingest`].
    #[must_use]
    pub fn ingest_promised(self: &Arc<Self>, domain: DedupDomain, relaxed: bool) -> Ingest {
        let mut ingest = Ingest::new(Arc::clone(self), domain, relaxed);
        ingest.promised = true;
        ingest
    }

    /// Begins to take in content of a dedup domain. Chunks that the domain has are not stored again. `relaxed`: nobody will be promised
    /// its durability, as in [`Store::transact`].
    #[must_use]
    pub fn ingest(self: &Arc<Self>, domain: DedupDomain, relaxed: bool) -> Ingest {
        Ingest::new(Arc::clone(self), domain, relaxed)
    }
}

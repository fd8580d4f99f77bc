//! Manifests: which chunks, holes and pages make up some content. Values and pure operations; loading pages is the caller's.
//!
//! A [`Node`] is a list of [`Item`]s that follow each other without gaps. A short manifest is one node kept inline in a
//! record; a long one is a tree whose pages are nodes stored as chunks, so that versions share pages and the root's hash
//! proves the whole content. Invariants of a node that encodes or decodes: no item is empty, a chunk's piece lies within
//! [`CHUNK_LEN_MAX`], at most [`NODE_ITEMS_MAX`] items, at most [`CONTENT_LEN_MAX`] bytes. Nodes in memory may be longer.
//! Format: `docs/format/manifest.md`.

use std::ops::Range;

use strata_seam::ChunkId;

use crate::chunker::CHUNK_LEN_MAX;
use crate::wire::{Decoder, Encoder, WireError};

/// Most items in an encoded node: a page of chunks stays below 40 KiB, a default chunk, and covers 64 MiB on average.
pub const NODE_ITEMS_MAX: usize = 1024;
/// Longest content in bytes.
pub const CONTENT_LEN_MAX: u64 = 1 << 60;
/// Most levels of pages below a root. Five full ones are more than [`CONTENT_LEN_MAX`] takes; editing may leave pages that are
/// not full, so there may be more.
pub const DEPTH_MAX: u8 = 12;

const VERSION: u8 = 1;

/// A run of content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Item {
    /// Its length in bytes, never 0.
    pub len: u64,
    /// What it reads as.
    pub source: Source,
}

/// What a run of content reads as.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// Zeros, stored nowhere.
    Hole,
    /// The bytes of a chunk from `offset`.
    Chunk {
        /// Its name.
        id: ChunkId,
        /// First byte within it.
        offset: u32,
    },
    /// The whole of another node, stored as a chunk.
    Page {
        /// Its name.
        id: ChunkId,
        /// Levels of pages below and including it: 1 where its items are chunks and holes.
        height: u8,
    },
}

/// An operation would cut through a page: load it, put its items in by [`Node::expand`], and try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("page {id} at item {index} must be loaded first; nothing was changed")]
pub struct NeedsPage {
    /// Which item of the node it is.
    pub index: usize,
    /// The chunk that holds it.
    pub id: ChunkId,
}

/// A manifest that cannot be stored, or a page that is not the one its parent names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ManifestError {
    /// The node is not what this build writes or may write.
    #[error("a manifest node cannot be used")]
    Wire(#[from] WireError),
    /// The page's length is not what its parent says.
    #[error(
        "a manifest page covers {found} bytes where its parent says {expected}; the page is damaged, heal it from parity"
    )]
    PageLength {
        /// Length in the parent.
        expected: u64,
        /// Sum of the page's items.
        found: u64,
    },
    /// The page holds a page that is not below it.
    #[error("a manifest page of height {height} holds one that is not lower; the page is damaged, heal it from parity")]
    PageHeight {
        /// Height in the parent.
        height: u8,
    },
}

/// An item together with where it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Which item of the node it is.
    pub index: usize,
    /// Offset of its first byte within the node's content.
    pub start: u64,
    /// The item.
    pub item: Item,
}

impl Item {
    /// Zeros.
    #[must_use]
    pub fn hole(len: u64) -> Self {
        Self { len, source: Source::Hole }
    }

    /// A whole chunk.
    #[must_use]
    pub fn chunk(id: ChunkId, len: u32) -> Self {
        Self { len: u64::from(len), source: Source::Chunk { id, offset: 0 } }
    }

    /// A page that covers `len` bytes, `height` levels above the chunks.
    #[must_use]
    pub fn page(id: ChunkId, height: u8, len: u64) -> Self {
        Self { len, source: Source::Page { id, height } }
    }

    /// Levels of pages below it: 0 for a chunk or hole.
    #[must_use]
    pub fn height(&self) -> u8 {
        match self.source {
            Source::Page { height, .. } => height,
            Source::Hole | Source::Chunk { .. } => 0,
        }
    }

    /// The bytes from `skip` on; `None` for a page, which must be opened to be cut. `skip` is below the length.
    fn without_first(self, skip: u64) -> Option<Self> {
        let source = match self.source {
            Source::Hole => Source::Hole,
            // A chunk's length fits 32 bits (CHUNK_LEN_MAX), so what is skipped of it does.
            Source::Chunk { id, offset } => Source::Chunk { id, offset: offset + u32::try_from(skip).ok()? },
            Source::Page { .. } => return None,
        };
        Some(Self { len: self.len - skip, source })
    }

    /// The two joined into one item, if they are neighbours in what they read as.
    fn joined(self, next: Self) -> Option<Self> {
        let len = self.len.checked_add(next.len)?;
        match (self.source, next.source) {
            (Source::Hole, Source::Hole) => Some(Self::hole(len)),
            (Source::Chunk { id, offset }, Source::Chunk { id: next_id, offset: next_offset })
                if id == next_id
                    && u64::from(offset) + self.len == u64::from(next_offset)
                    && u64::from(offset) + len <= CHUNK_LEN_MAX as u64 =>
            {
                Some(Self { len, source: self.source })
            }
            _ => None,
        }
    }
}

/// A list of items that follow each other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    items: Vec<Item>,
}

impl FromIterator<Item> for Node {
    /// As by [`Node::push`] one after another.
    fn from_iter<T: IntoIterator<Item = Item>>(items: T) -> Self {
        let mut node = Self::default();
        items.into_iter().for_each(|item| node.push(item));
        node
    }
}

impl Node {
    /// No content.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The items.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The items, given away.
    #[must_use]
    pub fn into_items(self) -> Vec<Item> {
        self.items
    }

    /// Bytes of content; the sum of the items' lengths, one pass over them.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.items.iter().fold(0, |sum, item| sum.saturating_add(item.len))
    }

    /// Whether there is no content.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Puts `item` behind the last: an empty one is dropped, a neighbour of the last (hole behind hole, the following bytes
    /// of the same chunk) becomes one with it.
    pub fn push(&mut self, item: Item) {
        if item.len == 0 {
            return;
        }
        match self.items.last_mut() {
            Some(last) => match last.joined(item) {
                Some(both) => *last = both,
                None => self.items.push(item),
            },
            None => self.items.push(item),
        }
    }

    /// Puts all of `items` behind the last, as by [`Node::push`].
    pub fn extend(&mut self, items: impl IntoIterator<Item = Item>) {
        items.into_iter().for_each(|item| self.push(item));
    }

    /// All items with their places.
    pub fn placed(&self) -> impl Iterator<Item = Placed> + '_ {
        self.items.iter().enumerate().scan(0_u64, |next, (index, &item)| {
            let start = *next;
            *next = next.saturating_add(item.len);
            Some(Placed { index, start, item })
        })
    }

    /// The item that holds the byte at `offset`; `None` behind the end.
    #[must_use]
    pub fn locate(&self, offset: u64) -> Option<Placed> {
        self.placed().find(|placed| offset - placed.start < placed.item.len)
    }

    /// The items that hold any byte of `range`, whole, with their places. This is what a reader walks; it opens the pages.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = Placed> + '_ {
        self.placed()
            .skip_while(move |placed| placed.start.saturating_add(placed.item.len) <= range.start)
            .take_while(move |placed| placed.start < range.end)
    }

    /// The items before and from `offset`; an item that lies across is cut in two. Behind the end, the second is empty.
    ///
    /// # Errors
    /// [`NeedsPage`] if that item is a page.
    pub fn split_at(&self, offset: u64) -> Result<(Vec<Item>, Vec<Item>), NeedsPage> {
        let Some(Placed { index, start, item }) = self.locate(offset) else {
            return Ok((self.items.clone(), Vec::new()));
        };
        let mut before = self.items[..index].to_vec();
        let mut from = self.items[index..].to_vec();
        let skip = offset - start;
        if skip > 0 {
            from[0] = item.without_first(skip).ok_or_else(|| needs_page(index, item))?;
            before.push(Item { len: skip, ..item });
        }
        Ok((before, from))
    }

    /// The items of `range`, the first and last cut to it; what lies behind the end gives nothing.
    ///
    /// # Errors
    /// [`NeedsPage`] if one of the two is a page.
    pub fn slice(&self, range: Range<u64>) -> Result<Vec<Item>, NeedsPage> {
        let mut items = Vec::new();
        for Placed { index, start, item } in self.overlapping(range.clone()) {
            let skip = range.start.saturating_sub(start);
            let cut_end = start.saturating_add(item.len).saturating_sub(range.end);
            let mut piece = item;
            if skip > 0 || cut_end > 0 {
                piece = item.without_first(skip).ok_or_else(|| needs_page(index, item))?;
                piece.len -= cut_end;
            }
            items.push(piece);
        }
        Ok(items)
    }

    /// The content with `range` replaced by `items`, whatever their length. A range that starts behind the end is reached
    /// by a hole, one that ends behind it just ends.
    ///
    /// # Errors
    /// [`NeedsPage`] if a page lies across either end of the range.
    pub fn replace(&self, range: Range<u64>, items: impl IntoIterator<Item = Item>) -> Result<Self, NeedsPage> {
        let (before, _) = self.split_at(range.start)?;
        let (_, after) = self.split_at(range.end.max(range.start))?;
        let mut node: Self = before.into_iter().collect();
        node.push(Item::hole(range.start.saturating_sub(self.len())));
        node.extend(items);
        node.extend(after);
        Ok(node)
    }

    /// The content with the page at item `index` replaced by its items.
    ///
    /// # Errors
    /// [`ManifestError::PageLength`] if `page` does not cover what that item covers, [`ManifestError::PageHeight`] if it holds
    /// pages that are not lower (so descending always ends); [`WireError::Invalid`] if the item is no page.
    pub fn expand(&self, index: usize, page: &Self) -> Result<Self, ManifestError> {
        let Some(&Item { len, source: Source::Page { height, .. } }) = self.items.get(index) else {
            return Err(WireError::Invalid("an item that is no page was to be expanded").into());
        };
        page.check_page(height, len)?;
        let (before, after) = (&self.items[..index], &self.items[index + 1..]);
        Ok(before.iter().chain(&page.items).chain(after).copied().collect())
    }

    /// Whether this node, loaded as a page, is what its parent says: `height` levels above the chunks, `len` bytes.
    ///
    /// # Errors
    /// [`ManifestError::PageLength`], [`ManifestError::PageHeight`].
    pub fn check_page(&self, height: u8, len: u64) -> Result<(), ManifestError> {
        if self.items.iter().any(|item| item.height() >= height) {
            return Err(ManifestError::PageHeight { height });
        }
        let found = self.len();
        if found == len { Ok(()) } else { Err(ManifestError::PageLength { expected: len, found }) }
    }

    /// The record.
    ///
    /// # Errors
    /// [`WireError`] if the node has more items or bytes than a stored one may have: divide it into pages.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        check(&self.items)?;
        let mut out = Encoder::with_capacity(4 + self.items.len() * 37);
        out.u8(VERSION).uvarint(self.items.len() as u64);
        for item in &self.items {
            // Lengths have at most 60 bits, which leaves the low two for the kind.
            match item.source {
                Source::Hole => out.uvarint(item.len << 2 | HOLE),
                Source::Chunk { id, offset: 0 } => out.uvarint(item.len << 2 | CHUNK).raw(&id.0),
                Source::Chunk { id, offset } => {
                    out.uvarint(item.len << 2 | PIECE).uvarint(u64::from(offset)).raw(&id.0)
                }
                Source::Page { id, height } => out.uvarint(item.len << 2 | PAGE).u8(height).raw(&id.0),
            };
        }
        Ok(out.finish())
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`WireError`] if it is not one this build writes.
    pub fn decode(record: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(record);
        input.version("a manifest node", VERSION)?;
        let count = input.length(NODE_ITEMS_MAX)?;
        let mut items = Vec::with_capacity(count.min(input.remaining()));
        for _ in 0..count {
            let head = input.uvarint()?;
            let source = match head & 3 {
                HOLE => Source::Hole,
                CHUNK => Source::Chunk { offset: 0, id: ChunkId(input.array()?) },
                PAGE => {
                    let height = input.u8()?;
                    Source::Page { height, id: ChunkId(input.array()?) }
                }
                _ => match input.uvarint32()? {
                    0 => return Err(WireError::Invalid("a piece of a chunk that starts at 0")),
                    offset => Source::Chunk { offset, id: ChunkId(input.array()?) },
                },
            };
            items.push(Item { len: head >> 2, source });
        }
        input.finish()?;
        check(&items)?;
        Ok(Self { items })
    }
}

const HOLE: u64 = 0;
const CHUNK: u64 = 1;
const PAGE: u64 = 2;
const PIECE: u64 = 3;

fn needs_page(index: usize, item: Item) -> NeedsPage {
    match item.source {
        Source::Page { id, .. } | Source::Chunk { id, .. } => NeedsPage { index, id },
        Source::Hole => NeedsPage { index, id: ChunkId([0; 32]) },
    }
}

fn check(items: &[Item]) -> Result<(), WireError> {
    if items.len() > NODE_ITEMS_MAX {
        return Err(WireError::TooLong { len: items.len() as u64, limit: NODE_ITEMS_MAX as u64 });
    }
    let mut sum = 0_u64;
    for item in items {
        if item.len == 0 {
            return Err(WireError::Invalid("an empty item in a manifest"));
        }
        sum = sum.saturating_add(item.len);
        if matches!(item.source, Source::Page { height, .. } if height == 0 || height > DEPTH_MAX) {
            return Err(WireError::Invalid("a manifest page of a height that none has"));
        }
        if let Source::Chunk { offset, .. } = item.source {
            let end = item.len.saturating_add(u64::from(offset));
            if end > CHUNK_LEN_MAX as u64 {
                return Err(WireError::TooLong { len: end, limit: CHUNK_LEN_MAX as u64 });
            }
        }
    }
    if sum > CONTENT_LEN_MAX {
        return Err(WireError::TooLong { len: sum, limit: CONTENT_LEN_MAX });
    }
    Ok(())
}

#[cfg(test)]
mod tests;

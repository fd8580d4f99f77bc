//! Editing manifests: cutting out a range of items, and putting others in its place. Only pages that a cut goes
//! through are loaded; all others are shared between the old version and the new.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use strata_chunk::{DedupDomain, Item, Node, Source};
use strata_seam::ChunkId;

use crate::content::Content;
use crate::error::{ContentError, Result};
use crate::store::Store;

/// Deepest manifest we follow: pages of 1024 items reach past 2^60 bytes at seven levels; more is damage.
pub(crate) const DEPTH_MAX: usize = 12;

/// Bytes covered by a list of items.
#[must_use]
pub fn items_len(items: &[Item]) -> u64 {
    items.iter().map(|item| item.len).sum()
}

impl Store {
    /// The items that cover exactly `range` of `items`.
    ///
    /// # Errors
    /// Reading a page.
    pub fn slice(&self, items: &[Item], range: Range<u64>) -> Result<Vec<Item>> {
        let mut out = Vec::new();
        self.slice_into(items, range, &mut out, 0)?;
        Ok(out)
    }

    fn slice_into(&self, items: &[Item], range: Range<u64>, out: &mut Vec<Item>, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(ContentError::Record { what: "a manifest deeper than any we write".to_owned() });
        }
        let mut start = 0;
        for item in items {
            let end = start + item.len;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                match item.source {
                    _ if from == start && to == end => out.push(*item),
                    Source::Hole => out.push(Item { len: to - from, source: Source::Hole }),
                    Source::Chunk { id, offset } => {
                        let skip = u32::try_from(from - start)
                            .ok()
                            .and_then(|skip| offset.checked_add(skip))
                            .ok_or_else(|| ContentError::Record { what: format!("the extent of chunk {id}") })?;
                        out.push(Item { len: to - from, source: Source::Chunk { id, offset: skip } });
                    }
                    Source::Page { id, .. } => {
                        let page = self.page(&id)?;
                        if page.len() != item.len {
                            return Err(ContentError::Record { what: format!("the length of manifest page {id}") });
                        }
                        self.slice_into(page.items(), from - start..to - start, out, depth + 1)?;
                    }
                }
            }
            start = end;
            if start >= range.end {
                break;
            }
        }
        Ok(())
    }

    /// Content equal to `items` with `range` replaced by `with` (whose length may differ), all of one dedup domain. A range that
    /// starts behind the end is reached by a hole.
    ///
    /// # Errors
    /// Reading a page.
    pub fn splice(
        self: &Arc<Self>,
        domain: DedupDomain,
        items: &[Item],
        range: Range<u64>,
        with: &[Item],
    ) -> Result<Content> {
        let len = items_len(items);
        let mut list = self.slice(items, 0..range.start.min(len))?;
        if range.start > len {
            list.push(Item { len: range.start - len, source: Source::Hole });
        }
        list.extend_from_slice(with);
        if range.end < len {
            list.extend(self.slice(items, range.end..len)?);
        }
        self.content(domain, list)
    }

    /// Content of a dedup domain made of items of existing content of the same domain, by reference. That it is the same is
    /// looked at when the content becomes somebody's ([`crate::Tx::attach`]).
    ///
    /// # Errors
    /// Looking pages up.
    pub fn content(self: &Arc<Self>, domain: DedupDomain, items: Vec<Item>) -> Result<Content> {
        let mut merged: Vec<Item> = Vec::with_capacity(items.len());
        for item in items.into_iter().filter(|item| item.len > 0) {
            match (merged.last_mut(), item.source) {
                (Some(Item { len, source: Source::Hole }), Source::Hole) => *len += item.len,
                (
                    Some(Item { len, source: Source::Chunk { id: last, offset } }),
                    Source::Chunk { id, offset: next },
                ) if *last == id && u64::from(*offset) + *len == u64::from(next) => {
                    *len += item.len;
                }
                _ => merged.push(item),
            }
        }
        Content::from_items(self, domain, merged)
    }

    /// Where the item that holds `offset` begins and ends: its chunk's neighbourhood, for chunking again from there.
    /// `None` at or behind the end.
    ///
    /// # Errors
    /// Reading a page.
    pub fn item_bounds(&self, items: &[Item], offset: u64) -> Result<Option<Range<u64>>> {
        let mut items = std::borrow::Cow::Borrowed(items);
        let mut base = 0;
        for _ in 0..=DEPTH_MAX {
            let mut start = base;
            let Some(item) = items.iter().find(|item| {
                let inside = offset < start + item.len;
                if !inside {
                    start += item.len;
                }
                inside
            }) else {
                return Ok(None);
            };
            match item.source {
                Source::Page { id, .. } => {
                    base = start;
                    items = std::borrow::Cow::Owned(self.page(&id)?.into_items());
                }
                Source::Hole | Source::Chunk { .. } => return Ok(Some(start..start + item.len)),
            }
        }
        Err(ContentError::Record { what: "a manifest deeper than any we write".to_owned() })
    }

    /// Bytes of finished content that are not holes.
    ///
    /// # Errors
    /// Reading a page.
    pub fn allocated_of(&self, content: &Content) -> Result<u64> {
        self.allocated_among(&content.made.items, &content.made.pages)
    }

    /// Bytes of stored content that are not holes.
    ///
    /// # Errors
    /// Reading a page.
    pub fn allocated_in(&self, items: &[Item]) -> Result<u64> {
        self.allocated_among(items, &HashMap::new())
    }

    /// Bytes of `items` that are no holes; pages that are not stored yet are among `new`.
    fn allocated_among(&self, items: &[Item], new: &HashMap<ChunkId, Node>) -> Result<u64> {
        let mut total = 0;
        for item in items {
            total += match item.source {
                Source::Hole => 0,
                Source::Chunk { .. } => item.len,
                Source::Page { id, .. } => match self.pages.allocated(&id) {
                    Some(known) => known,
                    None => {
                        let bytes = match new.get(&id) {
                            Some(page) => self.allocated_among(page.items(), new)?,
                            None => self.allocated_among(self.page(&id)?.items(), new)?,
                        };
                        self.pages.keep_allocated(id, bytes);
                        bytes
                    }
                },
            };
        }
        Ok(total)
    }
}

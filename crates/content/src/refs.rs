//! References to chunks: the changes of their counts, in the change that causes them.
//!
//! What a change does to references is one list, [`Change::refs`](strata_engine::Change): by how many owners each chunk has more or
//! fewer. This file alone decides what is in that list; the engine applies it.
//!
//! **Invariant REF**: references change in the commit that causes them, and no reference is counted to a chunk that is not there. A
//! page's children are counted exactly while the page itself is counted at least once.

use std::collections::BTreeMap;
use std::sync::Arc;

use strata_chunk::{DedupDomain, Item, Node, Source};
use strata_engine::{Change, PreparedBlock};
use strata_seam::ChunkId;
use strata_seam::planted::{Bug, planted};

use crate::content::{Content, Made};
use crate::error::{ContentError, Result};
use crate::keys;
use crate::tx::Tx;

/// Pages released within the commit itself; beyond, they are queued for the collector, so that a change that releases many
/// owners (aborting a large upload) stays one commit.
const INLINE_RELEASE_PAGES_MAX: usize = 2;

/// What a change knows of references beside their list.
#[derive(Default)]
pub(crate) struct Refs {
    /// What becomes somebody's by this change.
    contents: Vec<Arc<Made>>,
    /// Bytes of chunks that were released, whether others count them or not.
    released: BTreeMap<ChunkId, u64>,
    /// Pages released in the commit itself.
    released_pages: usize,
}

/// What became of a page that was to be released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Released {
    /// The page has one owner less.
    Done,
    /// The page had one owner left, and its content has to be read first: nothing was changed.
    Unread,
}

impl Refs {
    /// The blocks that travel with the commit.
    pub(crate) fn blocks(&self) -> Vec<PreparedBlock> {
        self.contents.iter().flat_map(|made| made.blocks.iter().cloned()).collect()
    }

    /// Whether room was promised for any of it.
    pub(crate) fn are_promised(&self) -> bool {
        self.contents.iter().any(|made| made.promised)
    }

    /// The change was accepted: what it makes somebody's is owned.
    pub(crate) fn own(&self) {
        self.contents.iter().for_each(|made| made.own());
    }

    /// Bytes that `change` releases. Bytes that the same change counts again, as a write in the midst of a file does, are no garbage.
    pub(crate) fn gone(&self, change: &Change) -> u64 {
        let gone = self.released.iter().filter(|(id, _)| change.refs.get(id).is_some_and(|delta| *delta < 0));
        gone.map(|(_, len)| len).sum()
    }
}

impl Tx<'_> {
    /// Makes content part of this change: its last blocks travel with the commit, its references are counted. The
    /// returned items are to be stored in the owner's record. Content becomes part of one change alone.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn attach(&mut self, content: &Content) -> Result<Vec<Item>> {
        let made = &content.made;
        debug_assert!(!made.is_owned(), "content has one owner");
        self.refs.contents.push(Arc::clone(made));
        self.retain_in(made.domain, &made.items)?;
        for (key, page) in &made.provisional {
            self.delete(key.clone());
            self.add(*page, -1);
        }
        Ok(made.items.clone())
    }

    /// Counts one more owner of these items, which somebody owned before.
    ///
    /// # Errors
    /// [`ContentError::Index`], reading a page that comes alive again, and [`ContentError::Gone`] for content by reference
    /// that was released meanwhile.
    pub fn retain(&mut self, items: &[Item]) -> Result<()> {
        self.retain_of(None, items)
    }

    /// Counts a reference to each of `items`, which have to be of this dedup domain.
    ///
    /// # Errors
    /// Those of [`Tx::retain`], and [`ContentError::OtherDomain`].
    fn retain_in(&mut self, domain: DedupDomain, items: &[Item]) -> Result<()> {
        self.retain_of(Some(domain), items)
    }

    fn retain_of(&mut self, domain: Option<DedupDomain>, items: &[Item]) -> Result<()> {
        for item in items {
            match item.source {
                Source::Hole => {}
                Source::Chunk { id, .. } if planted(Bug::SecondReferenceNotCounted) && self.count(&id)? > 0 => {}
                Source::Chunk { id, .. } => {
                    self.check_there(&id, domain)?;
                    self.add(id, 1);
                }
                Source::Page { id, .. } => {
                    self.check_there(&id, domain)?;
                    if self.count(&id)? == 0 && !planted(Bug::RevivedPageNotCounted) {
                        let node = self.page(&id)?;
                        self.retain_of(domain, node.items())?;
                    }
                    self.add(id, 1);
                }
            }
        }
        Ok(())
    }

    /// Refuses to count what nobody could read (invariant REF): a chunk is there, on its way, or comes with this commit.
    /// Under the writer's lock, so the mover removes it either before this, or sees the count. With a dedup domain, also what is
    /// of another one: chunks are never shared across two.
    fn check_there(&self, id: &ChunkId, wanted: Option<DedupDomain>) -> Result<()> {
        let mut blocks = self.refs.contents.iter().flat_map(|made| &made.blocks);
        let comes_along = blocks.find(|block| block.chunks.iter().any(|(chunk, _)| chunk == id));
        let found = match comes_along {
            Some(block) => Some(block.domain),
            None => self.store.domain_of(id)?,
        };
        match found {
            None => Err(ContentError::Gone(*id)),
            Some(found) if wanted.is_some_and(|wanted| wanted != found) && !planted(Bug::DomainNotChecked) => {
                Err(ContentError::OtherDomain(*id))
            }
            Some(_) => Ok(()),
        }
    }

    /// Removes one owner of these items. A few pages that are in memory are released at once, all others are queued for
    /// [`crate::Store::collect`]: nothing is read from a disk under the writer's lock.
    ///
    /// # Errors
    /// [`ContentError::Index`].
    pub fn release(&mut self, items: &[Item]) -> Result<()> {
        for item in items {
            match item.source {
                Source::Hole => {}
                Source::Chunk { .. } if planted(Bug::ReleaseForgotten) => {}
                Source::Chunk { id, .. } => self.let_go(id, item.len),
                Source::Page { id, .. } => self.release_or_queue(&id)?,
            }
        }
        Ok(())
    }

    /// Removes an owner's references to items that something else, written in the same change, owns from now on.
    pub fn hand_over(&mut self, items: &[Item]) {
        for item in items {
            match item.source {
                Source::Hole => {}
                Source::Chunk { id, .. } | Source::Page { id, .. } => self.add(id, -1),
            }
        }
    }

    fn release_or_queue(&mut self, id: &ChunkId) -> Result<()> {
        if self.refs.released_pages >= INLINE_RELEASE_PAGES_MAX {
            self.queue_release(id);
            return Ok(());
        }
        let mut released = self.release_page(id, None)?;
        if released == Released::Unread {
            let comes_along = self.refs.contents.iter().find_map(|made| made.pages.get(id)).cloned();
            let node = comes_along.map_or_else(|| self.store.page_in_memory(id), |node| Ok(Some(node)))?;
            released = self.release_page(id, node.as_ref())?;
        }
        match released {
            Released::Done => self.refs.released_pages += 1,
            Released::Unread => self.queue_release(id),
        }
        Ok(())
    }

    /// One owner less of a page; when it was the last, its children go too (pages among them through the queue), for which `node`
    /// is what is in the page.
    pub(crate) fn release_page(&mut self, id: &ChunkId, node: Option<&Node>) -> Result<Released> {
        let last = self.count(id)? == 1 || planted(Bug::ChildrenReleasedTwice);
        if last {
            let Some(node) = node else { return Ok(Released::Unread) };
            for item in node.items() {
                match item.source {
                    Source::Hole => {}
                    Source::Chunk { id, .. } => self.let_go(id, item.len),
                    Source::Page { id, .. } => self.queue_release(&id),
                }
            }
        }
        self.add(*id, -1);
        Ok(Released::Done)
    }

    /// The queue takes over the owner's reference.
    fn queue_release(&mut self, id: &ChunkId) {
        let store = self.store;
        // There always is a number.
        let number = self.draw(|| Some(store.unique())).unwrap_or_default();
        self.put(keys::garbage_key(store.session(), number), id.0.to_vec());
    }

    /// Corrects the reference count of a chunk by `delta`. Only for repairs, after references were counted again.
    pub fn correct_count(&mut self, id: ChunkId, delta: i64) {
        self.add(id, delta);
    }

    pub(crate) fn add(&mut self, id: ChunkId, delta: i64) {
        *self.change.refs.entry(id).or_default() += delta;
    }

    fn let_go(&mut self, id: ChunkId, len: u64) {
        self.add(id, -1);
        self.refs.released.insert(id, len);
    }

    fn count(&self, id: &ChunkId) -> Result<i64> {
        Ok(self.store.references(id)? + self.change.refs.get(id).copied().unwrap_or(0))
    }

    fn page(&self, id: &ChunkId) -> Result<Node> {
        match self.refs.contents.iter().find_map(|made| made.pages.get(id)) {
            Some(node) => Ok(node.clone()),
            None => self.store.page(id),
        }
    }
}

//! Finished content. Its list of items is shortened to what a record may hold: the rest become pages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use strata_chunk::{BlockEntry, ChunkNamer, CompressPolicy, DedupDomain, Item, Node, Source};
use strata_engine::PreparedBlock;
use strata_seam::ChunkId;

use crate::error::{ContentError, Result};
use crate::guard::Guard;
use crate::prepare::prepare;
use crate::store::Store;

/// Items kept in the owner's own record; longer manifests become pages. 16 items of about 37 bytes stay below 640.
pub const INLINE_ITEMS_MAX: usize = 16;

/// Items of a page. A synced write into a file rewrites one page per level, so pages are a quarter of what the format
/// allows: 10 KiB that describe 16 MiB of content.
pub(crate) const PAGE_ITEMS: usize = 256;

/// Blocks that travel with the commit of their content; each is at most a block or a page.
const BLOCKS_WITH_COMMIT_MAX: usize = 2;

/// Highest page that is kept as it is: half-full pages reach 2^42 items at this height. The format allows twice as much.
const HEIGHT_MAX: u8 = 6;

/// Finished content that is not yet part of the name space. A change makes it so by [`Tx::attach`](crate::Tx::attach). Until that is
/// committed nobody owns it, and when it is dropped its chunks become garbage.
pub struct Content {
    store: Arc<Store>,
    len: u64,
    pub(crate) made: Arc<Made>,
    _guard: Guard,
}

/// What a stream made. Shared with the change that attaches it, which may be computed more than once.
#[derive(Default)]
pub(crate) struct Made {
    /// The dedup domain of all of it, pages included.
    pub(crate) domain: DedupDomain,
    /// Whether room for it was promised.
    pub(crate) promised: bool,
    pub(crate) items: Vec<Item>,
    /// Blocks that travel with the commit.
    pub(crate) blocks: Vec<PreparedBlock>,
    /// Pages that may not be in the store yet.
    pub(crate) pages: HashMap<ChunkId, Node>,
    /// Keys by which finished pages are held until somebody owns this content, with the page.
    pub(crate) provisional: Vec<(Vec<u8>, ChunkId)>,
    /// A commit has made it somebody's.
    owned: AtomicBool,
}

impl Made {
    /// Nothing yet, of a dedup domain.
    pub(crate) fn new(domain: DedupDomain, promised: bool) -> Self {
        Self { domain, promised, ..Self::default() }
    }

    /// Its change was committed.
    pub(crate) fn own(&self) {
        self.owned.store(true, Ordering::Release);
    }

    /// Whether its change was committed.
    pub(crate) fn is_owned(&self) -> bool {
        self.owned.load(Ordering::Acquire)
    }
}

impl Content {
    /// Content made of items of existing content of the same dedup domain (copies, concatenations), by reference.
    pub(crate) fn from_items(store: &Arc<Store>, domain: DedupDomain, items: Vec<Item>) -> Result<Self> {
        let len = items.iter().map(|item| item.len).sum();
        Self::of(store, len, true, Made { domain, items, ..Made::default() }, store.guards.hold())
    }

    /// What was made, in as many items as a record may hold.
    pub(crate) fn of(store: &Arc<Store>, len: u64, relaxed: bool, mut made: Made, guard: Guard) -> Result<Self> {
        let shortened = made.shorten(store, relaxed);
        let content = Self { store: Arc::clone(store), len, made: Arc::new(made), _guard: guard };
        shortened.map(|()| content)
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The items that will stand in the owner's record.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.made.items
    }
}

impl Made {
    /// Brings the list of items down to what a record may hold, the lowest level first, so that pages stay of even
    /// height however often content is spliced: a page's children are all one level below it, even if it has but one.
    /// Pages over children of several heights would make the tree higher with every few splices, up to what no record can
    /// name. It ends: each turn either raises the lowest level or, where all are level, leaves at most half of the items.
    fn shorten(&mut self, store: &Arc<Store>, relaxed: bool) -> Result<()> {
        let too_high = self.items.iter().any(|item| item.height() > HEIGHT_MAX);
        if self.items.len() <= INLINE_ITEMS_MAX && !too_high {
            return Ok(());
        }
        let items = std::mem::take(&mut self.items);
        let mut items = if too_high { self.lowered(store, items)? } else { items };
        while items.len() > INLINE_ITEMS_MAX {
            let lowest = items.iter().map(Item::height).min().unwrap_or(0);
            let mut shorter = Vec::new();
            for run in items.chunk_by(|a, b| (a.height() == lowest) == (b.height() == lowest)) {
                if run[0].height() == lowest {
                    self.page_evenly(store, relaxed, run, &mut shorter)?;
                } else {
                    shorter.extend_from_slice(run);
                }
            }
            items = shorter;
        }
        self.items = items;
        Ok(())
    }

    /// The items with the children of higher pages than any content needs in their place: trees once grew too high.
    fn lowered(&self, store: &Arc<Store>, items: Vec<Item>) -> Result<Vec<Item>> {
        let mut lowered = Vec::with_capacity(items.len());
        let mut rest: Vec<Item> = items.into_iter().rev().collect();
        while let Some(item) = rest.pop() {
            match item.source {
                Source::Page { id, height } if height > HEIGHT_MAX => {
                    let page = match self.pages.get(&id) {
                        Some(page) => page.clone(),
                        None => store.page(&id)?,
                    };
                    rest.extend(page.into_items().into_iter().rev());
                }
                _ => lowered.push(item),
            }
        }
        Ok(lowered)
    }

    /// Splits `items` evenly over as few pages as hold them.
    fn page_evenly(&mut self, store: &Arc<Store>, relaxed: bool, items: &[Item], out: &mut Vec<Item>) -> Result<()> {
        let namer = ChunkNamer::new(self.domain);
        let pages = items.len().div_ceil(PAGE_ITEMS).max(1);
        for part in items.chunks(items.len().div_ceil(pages)) {
            let page = Page::of(&namer, part)?;
            if !self.pages.contains_key(&page.id) && !store.has_chunk(&page.id)? {
                self.blocks.push(page.block);
                // Blocks beyond a few are appended ahead of the commit, which has to fit into one stripe.
                if self.blocks.len() > BLOCKS_WITH_COMMIT_MAX {
                    store.append_blocks(vec![self.blocks.remove(0)], relaxed, self.promised)?;
                }
            }
            self.pages.insert(page.id, page.node);
            out.push(Item::page(page.id, page.height, page.len));
        }
        Ok(())
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if !self.made.provisional.is_empty() && !self.made.is_owned() {
            self.store.abandoned.lock().extend(self.made.provisional.iter().map(|(key, _)| key.clone()));
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("len", &self.len).field("items", &self.made.items.len()).finish_non_exhaustive()
    }
}

/// A page about to be stored.
pub(crate) struct Page {
    pub(crate) id: ChunkId,
    pub(crate) len: u64,
    pub(crate) height: u8,
    pub(crate) node: Node,
    pub(crate) block: PreparedBlock,
}

impl Page {
    pub(crate) fn of(namer: &ChunkNamer, items: &[Item]) -> Result<Self> {
        let node: Node = items.iter().copied().collect();
        let encoded = node
            .encode()
            .map_err(|error| ContentError::TooLarge(format!("content with too long a manifest: {error}")))?;
        let bytes = Bytes::from(encoded);
        let id = namer.name(&bytes);
        let height = items.iter().map(Item::height).max().unwrap_or(0).saturating_add(1);
        let len = entry_len(bytes.len());
        Ok(Self {
            id,
            len: node.len(),
            height,
            block: prepare(&bytes, namer.domain(), vec![BlockEntry { id, len }], CompressPolicy::HOT)?,
            node,
        })
    }
}

/// Chunks and pages are far below 4 GiB.
pub(crate) fn entry_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

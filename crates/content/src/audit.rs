//! Invariant REF as a predicate: every cell's count equals the number of owners, pages and queue entries that refer to
//! the chunk, and everything referred to can be read.

use std::collections::HashMap;
use std::sync::Arc;

use strata_chunk::{Item, Source};
use strata_seam::ChunkId;

use crate::cell::{TABLE_CHUNK, TABLE_GARBAGE, TABLE_ORPHAN_PAGE, split_cell};
use crate::error::Result;
use crate::store::Store;

/// Cells read per step.
const STEP: usize = 1024;

/// Counts references afresh, over a store at rest. Holds 40 bytes per chunk.
pub struct Audit {
    store: Arc<Store>,
    expected: HashMap<ChunkId, i64>,
    pages: Vec<ChunkId>,
    /// What was found wrong, a sentence each.
    pub violations: Vec<String>,
}

impl Audit {
    /// Starts with the queue of pages to let go and the pages of unfinished ingests as owners.
    ///
    /// # Errors
    /// Reading the index.
    pub fn new(store: &Arc<Store>) -> Result<Self> {
        let mut audit =
            Self { store: Arc::clone(store), expected: HashMap::new(), pages: Vec::new(), violations: Vec::new() };
        for table in [TABLE_GARBAGE, TABLE_ORPHAN_PAGE] {
            let mut from = vec![table];
            loop {
                let found = store.range(&from, &[table + 1], STEP)?;
                let Some((last, _)) = found.last() else { break };
                from.clone_from(last);
                from.push(0);
                for (_, entry) in found {
                    match <[u8; 32]>::try_from(&entry.value[..]) {
                        Ok(id) => audit.refer(&Source::Page { id: ChunkId(id), height: 1 }),
                        Err(_) => audit.violations.push("REF: a queued page has a malformed record".to_owned()),
                    }
                }
            }
        }
        Ok(audit)
    }

    /// Counts an owner of these items.
    pub fn owner(&mut self, items: &[Item]) {
        for item in items {
            self.refer(&item.source);
        }
    }

    fn refer(&mut self, source: &Source) {
        let (id, page) = match source {
            Source::Hole => return,
            Source::Chunk { id, .. } => (*id, false),
            Source::Page { id, .. } => (*id, true),
        };
        let count = self.expected.entry(id).or_default();
        *count += 1;
        if page && *count == 1 {
            self.pages.push(id);
        }
    }

    /// Follows all pages, compares with the cells, and returns the number of chunks checked. With `contents` every
    /// chunk is also read and its hash compared (invariant HASH).
    ///
    /// # Errors
    /// Reading the index.
    pub fn finish(&mut self, contents: bool, mut progress: impl FnMut(u64)) -> Result<u64> {
        while let Some(id) = self.pages.pop() {
            match self.store.page(&id) {
                Ok(node) => self.owner(node.items()),
                Err(error) => self.violations.push(format!("REF: page {id} cannot be read: {error}")),
            }
        }
        let mut checked = 0;
        let mut from = vec![TABLE_CHUNK];
        loop {
            let found = self.store.range(&from, &[TABLE_CHUNK + 1], STEP)?;
            let Some((last, _)) = found.last() else { break };
            from.clone_from(last);
            from.push(0);
            for (key, entry) in &found {
                let Some(id) = key.get(1..).and_then(|id| <[u8; 32]>::try_from(id).ok()).map(ChunkId) else {
                    self.violations.push("REF: a cell has a malformed key".to_owned());
                    continue;
                };
                let count = split_cell(&entry.value).map_or(0, |(count, _)| count);
                let expected = self.expected.remove(&id).unwrap_or(0);
                if count != expected {
                    self.violations.push(format!("REF: chunk {id} counts {count} references, {expected} exist"));
                }
                if count > 0 && contents {
                    match self.store.chunk(&id) {
                        Ok(bytes) if strata_chunk::chunk_id(&bytes) == id => {}
                        Ok(_) => self.violations.push(format!("HASH: chunk {id} reads as other content")),
                        Err(error) => self.violations.push(format!("HASH: chunk {id} cannot be read: {error}")),
                    }
                }
                checked += 1;
            }
            progress(checked);
        }
        for (id, count) in self.expected.drain() {
            self.violations.push(format!("REF: chunk {id} is referred to {count} times but has no cell"));
        }
        Ok(checked)
    }
}

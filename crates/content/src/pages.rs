//! Pages of manifests lately read, decoded: a page describes some 16 MiB of content, and reading that in pieces of 4 or
//! 128 KiB would otherwise decode its thousand items each time (a sixth of the work of such reads).
//!
//! Invariants: at most [`PAGES_MAX`] pages, the least recently used are evicted first. A page is named by the hash of its bytes, so
//! a cached page never becomes invalid.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use strata_chunk::Node;
use strata_seam::ChunkId;

/// Pages kept: a page takes about 56 KiB at most, all of them 3.5 MiB, and they describe 1 GiB of content.
const PAGES_MAX: usize = 64;

/// Sums kept, 48 bytes each: of all pages of a file of 1 TiB.
const SUMS_MAX: usize = 64 << 10;

/// The decoded pages that were read last.
#[derive(Default)]
pub(crate) struct Pages {
    /// Latest use first.
    kept: Mutex<VecDeque<(ChunkId, Arc<Node>)>>,
    /// Bytes below a page that are not holes.
    allocated: Mutex<HashMap<ChunkId, u64>>,
}

impl Pages {
    pub(crate) fn get(&self, id: &ChunkId) -> Option<Arc<Node>> {
        let mut kept = self.kept.lock();
        let at = kept.iter().position(|(other, _)| other == id)?;
        let found = kept.remove(at)?;
        let node = Arc::clone(&found.1);
        kept.push_front(found);
        Some(node)
    }

    /// Bytes below a page that are not holes, if they were ever counted.
    pub(crate) fn allocated(&self, id: &ChunkId) -> Option<u64> {
        self.allocated.lock().get(id).copied()
    }

    pub(crate) fn keep_allocated(&self, id: ChunkId, bytes: u64) {
        let mut allocated = self.allocated.lock();
        if allocated.len() >= SUMS_MAX {
            // Sums are counted again when needed; it does not matter which are evicted.
            allocated.clear();
        }
        allocated.insert(id, bytes);
    }

    pub(crate) fn keep(&self, id: ChunkId, node: &Arc<Node>) {
        let mut kept = self.kept.lock();
        if kept.iter().all(|(other, _)| *other != id) {
            kept.push_front((id, Arc::clone(node)));
            kept.truncate(PAGES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_least_lately_used_go_first_and_their_number_is_bounded() {
        let pages = Pages::default();
        let id = |n: usize| strata_chunk::chunk_id(&n.to_le_bytes());
        let node = Arc::new(Node::from_iter([]));
        for n in 0..PAGES_MAX {
            pages.keep(id(n), &node);
        }
        assert!(pages.get(&id(0)).is_some());
        pages.keep(id(PAGES_MAX), &node);
        assert!(pages.get(&id(0)).is_some(), "lately used");
        assert!(pages.get(&id(1)).is_none(), "gave way");
        assert_eq!(pages.kept.lock().len(), PAGES_MAX);
    }
}

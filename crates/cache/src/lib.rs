//! Layer 4: the memory cache of decoded blocks.
//!
//! Blocks are kept decoded and verified, named by where they lie in the ledger; a location is never reused for other
//! bytes while it is referenced, so an entry cannot go stale. Admission is TinyLFU (moka), which a scan cannot flush.

use bytes::Bytes;
use moka::sync::Cache;
use strata_seam::SegmentId;

/// What a block is called in the cache: segment, sector of its stripe, offset within the stripe's payload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockKey {
    /// Segment of the stripe.
    pub segment: SegmentId,
    /// Sector of the stripe within the segment.
    pub sector: u32,
    /// Offset of the block within the stripe's payload.
    pub offset: u32,
}

/// What one entry costs beside its bytes, as moka keeps it (measured roughly: key, entry and queue nodes).
const ENTRY_OVERHEAD: u32 = 160;

/// Decoded blocks in memory, bounded in bytes.
#[derive(Clone, Debug)]
pub struct BlockCache {
    blocks: Cache<BlockKey, Bytes>,
}

impl BlockCache {
    /// A cache of at most `capacity` bytes, overhead included.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        let blocks = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, block: &Bytes| u32::try_from(block.len()).unwrap_or(u32::MAX).saturating_add(ENTRY_OVERHEAD))
            .build();
        Self { blocks }
    }

    /// The block, if it is here.
    #[must_use]
    pub fn get(&self, key: &BlockKey) -> Option<Bytes> {
        self.blocks.get(key)
    }

    /// Whether the block is here; counts as no use of it.
    #[must_use]
    pub fn contains(&self, key: &BlockKey) -> bool {
        self.blocks.contains_key(key)
    }

    /// Offers a block; the cache may decline it.
    pub fn insert(&self, key: BlockKey, block: Bytes) {
        self.blocks.insert(key, block);
    }

    /// Bytes held, overhead included; lags a little behind.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.blocks.weighted_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_found_under_its_place_and_the_cache_stays_within_its_bytes() {
        let cache = BlockCache::new(1 << 20);
        let key = |n| BlockKey { segment: SegmentId(n), sector: 1, offset: 0 };
        for n in 0..64 {
            cache.insert(key(n), Bytes::from(vec![0; 64 * 1024]));
        }
        cache.blocks.run_pending_tasks();
        assert!(cache.weight() <= 1 << 20);
        cache.insert(key(1000), Bytes::from_static(b"small"));
        cache.blocks.run_pending_tasks();
        assert!((0..64).any(|n| cache.get(&key(n)).is_some()));
    }
}

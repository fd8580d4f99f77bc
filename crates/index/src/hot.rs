//! Pairs that are asked for again and again, in memory in front of the engine: Sled takes microseconds for a key that it has in its own
//! cache.
//!
//! Invariant COHERENT: what is here is what the engine holds. Whoever changes the engine lets go of the keys that it changes, under the lock
//! that [`Hot::keep`] needs; `verified.rs` says how a reader knows that nothing was changed since it asked the engine. While a batch is being
//! written, a reader may still find the value of before: the overlay has the change until then, and gives the same result over either.
//!
//! Only what is asked for a second time is kept, since to keep a pair costs as much as Sled's answer and a listing of everything asks for
//! each once; and only what is there: that something is absent is mostly asked before a name is made or a chunk stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use moka::sync::Cache;
use xxhash_rust::xxh3::xxh3_64;

/// What one pair takes beside its bytes, as moka keeps it: 200,000 pairs of 144 bytes took 373 more each.
const ENTRY_OVERHEAD: usize = 384;

/// Bytes for pairs per key that is remembered as asked for: some three times as many as there is room for pairs ...
const ASKED_SHARE: u64 = 128;
/// ... and at most so many.
const ASKED_MAX: u64 = 1 << 20;

/// How often a key was found here, and how often the engine was asked, since the process started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HotCounts {
    /// Found here.
    pub hits: u64,
    /// Read from the engine.
    pub misses: u64,
    /// Bytes held, overhead included; lags a little behind.
    pub bytes: u64,
}

type Pairs = Cache<Arc<[u8]>, Arc<[u8]>>;

/// See the module.
pub(crate) struct Hot {
    /// `None` where none are to be kept.
    pairs: Option<Pairs>,
    /// Which keys were asked for lately: at the place that the low half of a key's hash says, the high half of the last one's.
    asked: Box<[AtomicU32]>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Hot {
    /// For at most so many bytes, overhead included.
    pub(crate) fn new(capacity: u64) -> Self {
        let weight = |key: &[u8], value: &[u8]| u32::try_from(key.len() + value.len() + ENTRY_OVERHEAD);
        let pairs = (capacity > 0).then(|| {
            Cache::builder()
                .max_capacity(capacity)
                .weigher(move |key: &Arc<[u8]>, value: &Arc<[u8]>| weight(key, value).unwrap_or(u32::MAX))
                .build()
        });
        let places = (capacity / ASKED_SHARE).clamp(1, ASKED_MAX);
        let asked = (0..places).map(|_| AtomicU32::new(0)).collect();
        Self { pairs, asked, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// The value at `key`, if it is here.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.pairs.as_ref()?.get(key).map(|value| value.to_vec());
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Whether `key`, which is not here, was asked for before, and not very many others since.
    pub(crate) fn wants(&self, key: &[u8]) -> bool {
        let hash = xxh3_64(key);
        let tag = (hash >> 32) as u32 | 1;
        let place = usize::try_from(hash % self.asked.len() as u64).unwrap_or_default();
        self.pairs.is_some() && self.asked[place].swap(tag, Ordering::Relaxed) == tag
    }

    /// Takes what the engine has at `key`. The caller holds off whoever would change it.
    pub(crate) fn keep(&self, key: &[u8], value: &[u8]) {
        if let Some(pairs) = &self.pairs {
            pairs.insert(key.into(), value.into());
        }
    }

    /// Lets go of `key`, which is about to be changed.
    pub(crate) fn forget(&self, key: &[u8]) {
        if let Some(pairs) = &self.pairs {
            pairs.invalidate(key);
        }
    }

    pub(crate) fn counts(&self) -> HotCounts {
        HotCounts {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes: self.pairs.as_ref().map_or(0, Cache::weighted_size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_until_it_is_let_go_of_and_both_are_counted() {
        let hot = Hot::new(1 << 20);
        assert_eq!(hot.get(b"key"), None);
        assert!(!hot.wants(b"key") && hot.wants(b"key"), "the second time");
        hot.keep(b"key", b"value");
        assert_eq!(hot.get(b"key").as_deref(), Some(&b"value"[..]));
        hot.forget(b"key");
        assert_eq!(hot.get(b"key"), None);
        let HotCounts { hits, misses, .. } = hot.counts();
        assert_eq!((hits, misses), (1, 2));
    }

    #[test]
    fn it_stays_within_its_bytes_and_keeps_nothing_where_it_has_none() {
        let hot = Hot::new(64 << 10);
        (0..10_000_u32).for_each(|n| hot.keep(&n.to_be_bytes(), &[0; 100]));
        let pairs = hot.pairs.as_ref().unwrap();
        pairs.run_pending_tasks();
        assert!(hot.counts().bytes <= 64 << 10, "{:?}", hot.counts());
        assert!(pairs.entry_count() > 100);
        let none = Hot::new(0);
        none.keep(b"key", b"value");
        assert_eq!(none.get(b"key"), None);
    }
}

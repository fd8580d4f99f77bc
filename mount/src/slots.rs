//! Open handles: the numbers that the kernel holds, and the open files and directories for them.
//!
//! Sharded, because every write looks its handle up. The number of handles is bounded by the programs' open files.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

const SHARDS: usize = 16;

/// A table of handles of one kind.
pub(crate) struct Slots<T> {
    next: AtomicU64,
    shards: [Mutex<HashMap<u64, Arc<T>>>; SHARDS],
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        // Handle zero is never given out: the kernel sends it where it has none.
        Self { next: AtomicU64::new(1), shards: std::array::from_fn(|_| Mutex::new(HashMap::new())) }
    }

    fn shard(&self, handle: u64) -> &Mutex<HashMap<u64, Arc<T>>> {
        // The remainder is below SHARDS.
        &self.shards[(handle % SHARDS as u64) as usize]
    }

    /// Keeps `value` and returns its number.
    pub(crate) fn insert(&self, value: T) -> u64 {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.shard(handle).lock().insert(handle, Arc::new(value));
        handle
    }

    /// What stands behind `handle`.
    pub(crate) fn get(&self, handle: u64) -> Option<Arc<T>> {
        self.shard(handle).lock().get(&handle).map(Arc::clone)
    }

    /// Gives up `handle`.
    pub(crate) fn remove(&self, handle: u64) -> Option<Arc<T>> {
        self.shard(handle).lock().remove(&handle)
    }

    /// Gives up all handles: the kernel sends no release for those open when a mount is cut off.
    pub(crate) fn drain(&self) -> Vec<Arc<T>> {
        self.shards.iter().flat_map(|shard| std::mem::take(&mut *shard.lock()).into_values()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_leads_to_its_value_until_it_is_removed() {
        let slots = Slots::new();
        let handles: Vec<u64> = (0..100).map(|value| slots.insert(value)).collect();
        assert!(!handles.contains(&0));
        assert_eq!(slots.get(handles[42]).as_deref(), Some(&42));
        assert_eq!(slots.remove(handles[42]).as_deref(), Some(&42));
        assert!(slots.get(handles[42]).is_none() && slots.remove(handles[42]).is_none());
        assert_eq!(slots.drain().len(), 99);
        assert!(slots.get(handles[0]).is_none());
    }
}

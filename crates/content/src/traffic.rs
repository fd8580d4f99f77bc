//! Counters since the store was opened: bytes taken in, bytes that had to be stored, bytes read.
//!
//! Content that is taken over by reference (a copy) is not counted, since nobody wrote it.

use std::sync::atomic::{AtomicU64, Ordering};

use strata_engine::PreparedBlock;

/// Counters that every ingest adds to.
#[derive(Default)]
pub(crate) struct Traffic {
    known: AtomicU64,
    zeros: AtomicU64,
    new: AtomicU64,
    stored: AtomicU64,
    read: AtomicU64,
}

/// Bytes since the store was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TrafficCounts {
    /// Taken in, and left out because the store had them.
    pub known: u64,
    /// Taken in, and left out because they are zeros.
    pub zeros: u64,
    /// Taken in, and new. Those of the last block of a stream are counted once it ends.
    pub new: u64,
    /// What the new ones came to after compression; parity, descriptions and pages are not counted.
    pub stored: u64,
    /// Handed out to readers.
    pub read: u64,
}

impl TrafficCounts {
    /// Bytes taken in.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.known + self.zeros + self.new
    }

    /// Bytes that compression took off.
    #[must_use]
    pub fn compressed(&self) -> u64 {
        self.new.saturating_sub(self.stored)
    }
}

impl Traffic {
    pub(crate) fn known(&self, len: usize) {
        self.known.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, len: u64) {
        self.read.fetch_add(len, Ordering::Relaxed);
    }

    pub(crate) fn zeros(&self, len: usize) {
        self.zeros.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(crate) fn block(&self, block: &PreparedBlock) {
        let plain: usize = block.chunks.iter().map(|(_, chunk)| chunk.len()).sum();
        self.new.fetch_add(plain as u64, Ordering::Relaxed);
        self.stored.fetch_add(block.record.data.len() as u64, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> TrafficCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrafficCounts {
            known: read(&self.known),
            zeros: read(&self.zeros),
            new: read(&self.new),
            stored: read(&self.stored),
            read: read(&self.read),
        }
    }
}

//! How many streams have threads at work, and which one may have the next.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::turns::Turns;

/// Streams that have their turn at a time, for each core: one may wait for the ledger while another works.
const TURNS_PER_CORE: usize = 2;

/// The streams of a store that threads are set to work for. A few of them have their turn at a time: each has a block in hand
/// then, and more of them than there are cores would not be quicker.
pub(crate) struct AtWork {
    cores: usize,
    pub(crate) streams: AtomicUsize,
    pub(crate) turns: Turns,
}

impl Default for AtWork {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cores, streams: AtomicUsize::new(0), turns: Turns::of(TURNS_PER_CORE * cores) }
    }
}

impl AtWork {
    /// How many streams there are for each core.
    pub(crate) fn per_core(&self) -> usize {
        self.streams.load(Ordering::Relaxed) / self.cores
    }
}

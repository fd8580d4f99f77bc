//! Sled behind the seam, with everything it may do caught: errors, panics, and what it leaves on disk.
//!
//! One tree holds all keys, because a batch of Sled's is atomic within one tree only. The periodic flusher stays on: it is
//! also the one thing that reclaims space.

use std::path::Path;
use std::time::Duration;

use crate::engine::{EngineError, OrderedKv, Pair, Write};
use crate::guarded::{Guarded, failed};

const NAME: &str = "sled";
/// Milliseconds between Sled's own flushes: its default.
const FLUSH_EVERY_MS: u64 = 500;
/// How long an opening waits for the folder's lock.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// A Sled database in a folder of its own.
#[derive(Debug)]
pub struct SledEngine {
    db: Guarded<sled::Db>,
}

impl SledEngine {
    /// Opens the database in `dir`, or makes one. `cache_capacity` is in bytes; Sled takes four to five times as much.
    /// Waits up to a second for another process to release the folder.
    ///
    /// # Errors
    /// Whatever Sled says or panics with; [`EngineError::InUse`].
    pub fn open(dir: &Path, cache_capacity: u64) -> Result<Self, EngineError> {
        let config = sled::Config::new().path(dir).cache_capacity(cache_capacity).flush_every_ms(Some(FLUSH_EVERY_MS));
        let mut waited = Duration::ZERO;
        loop {
            let config = config.clone();
            match Guarded::open(NAME, move || config.open().map_err(|error| opening(&error))) {
                Ok(db) => return Ok(Self { db }),
                // Threads of a database that was just dropped may hold its lock a moment longer.
                Err(EngineError::InUse { .. }) if waited < LOCK_WAIT => {
                    std::thread::sleep(LOCK_RETRY);
                    waited += LOCK_RETRY;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl OrderedKv for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.db.call("read a key", |db| db.get(key).map(|value| value.map(|value| value.to_vec())))
    }

    fn range(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        if lo >= hi {
            return Ok(Vec::new());
        }
        self.db.call("read a range", |db| db.range(lo..hi).take(limit).map(owned).collect())
    }

    fn range_back(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        if lo >= hi {
            return Ok(Vec::new());
        }
        self.db.call("read a range backwards", |db| db.range(lo..hi).rev().take(limit).map(owned).collect())
    }

    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError> {
        self.db.call("write a batch", |db| {
            let mut batch = sled::Batch::default();
            for (key, value) in writes {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            db.apply_batch(batch)
        })
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.db.call("flush", |db| db.flush().map(|_| ()))
    }
}

fn owned(pair: sled::Result<(sled::IVec, sled::IVec)>) -> sled::Result<Pair> {
    pair.map(|(key, value)| (key.to_vec(), value.to_vec()))
}

/// Why an opening failed. That somebody else has the database open is told by Sled's words; it has no error of its own for it.
fn opening(error: &sled::Error) -> EngineError {
    match failed(NAME, "open", error) {
        EngineError::Failed { message, .. } if message.contains("could not acquire lock") => {
            EngineError::InUse { engine: NAME }
        }
        error => error,
    }
}

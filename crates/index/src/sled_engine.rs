//! Sled behind the seam, with everything it may do caught: errors, panics, and what it leaves on disk.
//!
//! One tree holds all keys, because a batch of Sled's is atomic within one tree only. The periodic flusher stays on: it is
//! also the one thing that reclaims space. Once Sled has panicked it is not called again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::engine::{EngineError, OrderedKv, Pair, Write};

const NAME: &str = "sled";
/// Milliseconds between Sled's own flushes: its default.
const FLUSH_EVERY_MS: u64 = 500;
/// How long an opening waits for the folder's lock.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// A Sled database in a folder of its own.
pub struct SledEngine {
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
    panicked: AtomicBool,
}

impl std::fmt::Debug for SledEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledEngine").field("panicked", &self.panicked).finish_non_exhaustive()
    }
}

impl SledEngine {
    /// Opens the database in `dir`, or makes one. `cache_capacity` is in bytes; Sled takes four to five times as much.
    /// Waits up to [`LOCK_WAIT`] for another user of the folder to let go of it.
    ///
    /// # Errors
    /// Whatever Sled says or panics with.
    pub fn open(dir: &Path, cache_capacity: u64) -> Result<Self, EngineError> {
        let config = sled::Config::new().path(dir).cache_capacity(cache_capacity).flush_every_ms(Some(FLUSH_EVERY_MS));
        let mut waited = Duration::ZERO;
        loop {
            match open_once(config.clone()) {
                Ok(db) => return Ok(Self { db: Some(db), panicked: AtomicBool::new(false) }),
                // Threads of a database that was just dropped may hold its lock a moment longer.
                Err(error) if is_in_use(&error) && waited < LOCK_WAIT => {
                    std::thread::sleep(LOCK_RETRY);
                    waited += LOCK_RETRY;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn call<T>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&sled::Db) -> Result<T, sled::Error>,
    ) -> Result<T, EngineError> {
        let db = match &self.db {
            Some(db) if !self.panicked.load(Ordering::Acquire) => db,
            _ => {
                let message = "it panicked before and was not called again".into();
                return Err(EngineError::Panicked { engine: NAME, operation, message });
            }
        };
        match catch_unwind(AssertUnwindSafe(|| body(db))) {
            Ok(result) => result.map_err(|error| failed(operation, &error)),
            Err(panic) => {
                self.panicked.store(true, Ordering::Release);
                Err(panicked(operation, panic.as_ref()))
            }
        }
    }
}

impl OrderedKv for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.call("read a key", |db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn range(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        if lo >= hi {
            return Ok(Vec::new());
        }
        self.call("read a range", |db| {
            db.range(lo..hi).take(limit).map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
        })
    }

    fn range_back(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        if lo >= hi {
            return Ok(Vec::new());
        }
        self.call("read a range backwards", |db| {
            let pairs = db.range(lo..hi).rev().take(limit);
            pairs.map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
        })
    }

    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError> {
        self.call("write a batch", |db| {
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
        self.call("flush", |db| db.flush().map(|_| ()))
    }
}

impl Drop for SledEngine {
    /// Sled flushes when it is dropped, and may panic when it does.
    fn drop(&mut self) {
        let db = self.db.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::warn!("sled panicked while it was closed; the index is checked when it is opened again");
        }
    }
}

fn open_once(config: sled::Config) -> Result<sled::Db, EngineError> {
    // In a thread of its own, so that no state of the caller's is unwound through if the recovery of a damaged file panics.
    let opener = std::thread::Builder::new().name("sled-open".into()).spawn(move || config.open());
    opener
        .map_err(|error| failed("open", &error))?
        .join()
        .map_err(|panic| panicked("open", panic.as_ref()))?
        .map_err(|error| failed("open", &error))
}

/// Whether somebody else has the database open. These are Sled's words; it has no error of its own for it.
pub(crate) fn is_in_use(error: &EngineError) -> bool {
    matches!(error, EngineError::Failed { message, .. } if message.contains("could not acquire lock"))
}

fn failed(operation: &'static str, error: &dyn std::error::Error) -> EngineError {
    EngineError::Failed { engine: NAME, operation, message: error.to_string() }
}

fn panicked(operation: &'static str, panic: &(dyn std::any::Any + Send)) -> EngineError {
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .unwrap_or_else(|| "no message".into());
    EngineError::Panicked { engine: NAME, operation, message }
}

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
/// Pairs that are passed over before a key is looked up: about what a look-up costs.
const STEPS_MAX: usize = 6;
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
    /// Waits up to [`LOCK_WAIT`] for another user of the folder to let go of it.
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

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        self.db.call("read keys", |db| neighbours(db, keys))
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

/// The values at ascending keys. A look-up goes down from the root of the tree, and the pair behind the last one is at hand: keys that
/// lie close together are read by going on from one to the next.
fn neighbours(db: &sled::Db, keys: &[&[u8]]) -> sled::Result<Vec<Option<Vec<u8>>>> {
    let mut found = Vec::with_capacity(keys.len());
    // The pairs from some key on, with the one at hand.
    let mut walk: Option<(sled::Iter, Option<(sled::IVec, sled::IVec)>)> = None;
    for (n, key) in keys.iter().enumerate() {
        if let Some((pairs, at)) = &mut walk {
            let mut steps = 0;
            while at.as_ref().is_some_and(|(next, _)| next.as_ref() < *key) && steps < STEPS_MAX {
                *at = pairs.next().transpose()?;
                steps += 1;
            }
        }
        let is_there = |at: &Option<(sled::IVec, _)>| at.as_ref().is_none_or(|(next, _)| next.as_ref() >= *key);
        if !walk.as_ref().is_some_and(|(_, at)| is_there(at)) {
            if !keys.get(n + 1).is_some_and(|next| are_close(key, next)) {
                walk = None;
                found.push(db.get(key)?.map(|value| value.to_vec()));
                continue;
            }
            let mut pairs = db.range(*key..);
            let at = pairs.next().transpose()?;
            walk = Some((pairs, at));
        }
        let at = walk.as_ref().and_then(|(_, at)| at.as_ref());
        found.push(at.filter(|(next, _)| next.as_ref() == *key).map(|(_, value)| value.to_vec()));
    }
    Ok(found)
}

/// Whether two keys differ in their last byte alone, as those of inodes do that were made one after the other.
fn are_close(key: &[u8], next: &[u8]) -> bool {
    key.len() == next.len() && key.split_last().map(|(_, start)| start) == next.split_last().map(|(_, start)| start)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_are_read_as_each_alone_wherever_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(dir.path(), 1 << 20).unwrap();
        // Runs of numbers with holes of every width, as inodes have them.
        let there = |n: u64| !(n % 7 == 3 || (300..320).contains(&n) || (400..900).contains(&n));
        let key = |n: u64| [&[b'I'][..], &n.to_be_bytes()].concat();
        engine.write((0..2000).filter(|n| there(*n)).map(|n| (key(n), Some(vec![n as u8]))).collect()).unwrap();
        for step in [1, 2, 5, 9, 250] {
            let wanted: Vec<Vec<u8>> = (0..2100).step_by(step).map(key).collect();
            let found = engine.get_many(&wanted.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
            for (key, found) in wanted.iter().zip(found) {
                assert_eq!(found, engine.get(key).unwrap(), "{key:?}");
            }
        }
        let twice = [&key(5)[..], &key(5)[..], &key(6)[..], &key(6)[..], b"J"];
        let found = engine.get_many(&twice).unwrap();
        assert_eq!(found, [Some(vec![5]), Some(vec![5]), Some(vec![6]), Some(vec![6]), None]);
        assert!(engine.get_many(&[]).unwrap().is_empty());
    }
}

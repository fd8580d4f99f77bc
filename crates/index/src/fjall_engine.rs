//! Fjall behind the seam: a log-structured merge tree, for indexes of many millions of pairs.
//!
//! What Sled cannot give at that size is bounded memory and a quick opening. Here writes go to a journal and a table in memory of
//! [`MEMTABLE_BYTES`], which becomes a sorted file; reads see blocks of these files through one cache of a given size. When tables
//! are closed, and when a writer waits for that, is decided here: so memory has a bound, and nobody waits for workers that failed.
//!
//! Invariants: a batch is in the journal as a whole or not at all, with its checksum, and batches come back in order: what is missing
//! after a crash is the end. Blocks of files have checksums that are compared when they are read, and nothing rests on that: the
//! index verifies what it reads of any engine.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fjall::config::PartitioningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::engine::{EngineError, OrderedKv, Pair, Write};
use crate::fjall_manifest;
use crate::guarded::{Guarded, failed};

const NAME: &str = "fjall";
/// All pairs lie in this one keyspace.
const KEYSPACE: &str = "index";
/// Bytes of keys and values after which a table in memory is closed and written to a file.
const MEMTABLE_BYTES: usize = 8 << 20;
/// The limit at which Fjall would close one by itself: never reached. It asks its workers for that at each batch beyond it, through a
/// queue that the worker which answers has to write to as well: once full, nothing goes on.
const MEMTABLE_BYTES_MAX: u64 = 1 << 40;
/// Of the capacity that it is given: Sled takes four to five times that, Fjall what it is told.
const CACHE_TIMES: u64 = 3;
/// The least that Fjall takes for the limit of its journals, which are read by an opening.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// Threads that write tables to files and merge files. With two of them one is always there to write.
const WORKERS: usize = 2;
/// Closed tables in memory, and files not yet merged, with which a further one has to wait. From 4 and 20 on Fjall has writers wait
/// by itself, and goes on with that also where its workers have failed.
const SEALED_MAX: usize = 1;
const UNMERGED_MAX: usize = 16;
/// How often is looked whether there is room again.
const ROOM_RETRY: Duration = Duration::from_millis(2);
/// Openings that may end with the process, by a kill for instance, before a further one takes the database for damaged.
const OPENINGS_MAX: usize = 3;
/// How long an opening waits for the folder's lock.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// A Fjall database in a folder of its own.
#[derive(Debug)]
pub struct FjallEngine {
    db: Guarded<Open>,
}

struct Open {
    db: Database,
    pairs: Keyspace,
    /// Bytes written to the table in memory.
    unsealed: AtomicUsize,
}

impl Open {
    /// Closes the table in memory where it has become large, once there is room for another closed one.
    fn seal(&self, bytes: usize) -> fjall::Result<()> {
        if self.unsealed.fetch_add(bytes, Ordering::AcqRel) + bytes < MEMTABLE_BYTES {
            return Ok(());
        }
        while self.pairs.sealed_memtable_count() > SEALED_MAX || self.pairs.l0_table_count() > UNMERGED_MAX {
            // Fails where the workers have.
            self.db.persist(PersistMode::Buffer)?;
            std::thread::sleep(ROOM_RETRY);
        }
        self.unsealed.store(0, Ordering::Release);
        self.pairs.rotate_memtable().map(drop)
    }
}

impl FjallEngine {
    /// Opens the database in `dir`, or makes one. `cache_capacity` is in bytes; Fjall's cache gets three times as much. Waits up to a
    /// second for another process to release the folder.
    ///
    /// # Errors
    /// Whatever Fjall says or panics with; [`EngineError::InUse`].
    pub fn open(dir: &Path, cache_capacity: u64) -> Result<Self, EngineError> {
        fjall_manifest::check(dir)?;
        let mark = OpeningMark::set(dir)?;
        let opened = Self::open_checked(dir, cache_capacity);
        mark.remove();
        opened
    }

    fn open_checked(dir: &Path, cache_capacity: u64) -> Result<Self, EngineError> {
        let mut waited = Duration::ZERO;
        loop {
            let dir = dir.to_owned();
            match Guarded::open(NAME, move || open(&dir, cache_capacity).map_err(|error| opening(&error))) {
                Ok(db) => return Ok(Self { db }),
                Err(EngineError::InUse { .. }) if waited < LOCK_WAIT => {
                    std::thread::sleep(LOCK_RETRY);
                    waited += LOCK_RETRY;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A file beside the database that is there while it is opened. A length in a damaged file may ask for more memory than there is, and
/// that ends the process, which cannot be caught: so the opening behind [`OPENINGS_MAX`] that ended so does not try again.
struct OpeningMark(PathBuf);

impl OpeningMark {
    fn set(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.with_extension("opening");
        let before = std::fs::read(&path).map_or(0, |mark| mark.len());
        if before >= OPENINGS_MAX {
            let what = format!("the process ended {before} times while fjall opened it");
            return Err(EngineError::Damaged(what));
        }
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&path, vec![b'.'; before + 1]))
            .map_err(|error| failed(NAME, "open", &error))?;
        Ok(Self(path))
    }

    fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a mark of the index's opening could not be removed");
        }
    }
}

fn open(dir: &Path, cache_capacity: u64) -> fjall::Result<Open> {
    let db = Database::builder(dir)
        .cache_size(cache_capacity.saturating_mul(CACHE_TIMES))
        .worker_threads(WORKERS)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .open()?;
    let pairs = db.keyspace(KEYSPACE, || {
        // In parts of 4 KiB. In one piece, the index and the filter of a file of 64 MiB take most of a megabyte: a cache that has no room for
        // those of all files reads one of them for nearly every key.
        KeyspaceCreateOptions::default()
            .max_memtable_size(MEMTABLE_BYTES_MAX)
            .index_block_partitioning_policy(PartitioningPolicy::all(true))
            .filter_block_partitioning_policy(PartitioningPolicy::all(true))
    })?;
    Ok(Open { db, pairs, unsealed: AtomicUsize::new(0) })
}

impl OrderedKv for FjallEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.db.call("read a key", |open| open.pairs.get(key).map(|value| value.map(|value| value.to_vec())))
    }

    fn range(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        if lo >= hi {
            return Ok(Vec::new());
        }
        self.db.call("read a range", |open| open.pairs.range(lo..hi).take(limit).map(owned).collect())
    }

    fn range_back(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        if lo >= hi {
            return Ok(Vec::new());
        }
        self.db.call("read a range backwards", |open| open.pairs.range(lo..hi).rev().take(limit).map(owned).collect())
    }

    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError> {
        self.db.call("write a batch", |open| {
            let mut batch = open.db.batch();
            let mut bytes = 0;
            for (key, value) in writes {
                bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                match value {
                    Some(value) => batch.insert(&open.pairs, key, value),
                    None => batch.remove(&open.pairs, key),
                }
            }
            batch.commit()?;
            open.seal(bytes)
        })
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.db.call("flush", |open| open.db.persist(PersistMode::SyncData))
    }
}

fn owned(guard: fjall::Guard) -> fjall::Result<Pair> {
    guard.into_inner().map(|(key, value)| (key.to_vec(), value.to_vec()))
}

fn opening(error: &fjall::Error) -> EngineError {
    match error {
        fjall::Error::Locked => EngineError::InUse { engine: NAME },
        error => failed(NAME, "open", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_whose_openings_end_with_the_process_is_taken_for_damaged() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("fjall");
        for _ in 0..OPENINGS_MAX {
            // An opening that ends so removes no mark.
            drop(OpeningMark::set(&dir).unwrap());
        }
        assert!(matches!(FjallEngine::open(&dir, 1 << 20), Err(EngineError::Damaged(_))));
        std::fs::remove_file(dir.with_extension("opening")).unwrap();
        drop(OpeningMark::set(&dir).unwrap());
        drop(FjallEngine::open(&dir, 1 << 20).unwrap());
        assert!(!dir.with_extension("opening").exists(), "one that came to its end counts anew");
    }
}

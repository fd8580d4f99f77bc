//! Paths of directories that were looked up, cached in memory for events.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_seam::Ino;
use strata_seam::planted::{Bug, planted};

/// Bytes that kept paths may take, and what one takes beside its key.
const PATHS_BYTES_MAX: usize = 2 << 20;
const PATH_BYTES: usize = 96;
/// Where a directory is.
#[derive(Clone, Debug)]
pub(crate) struct DirPath {
    /// What S3 calls its bucket.
    pub(crate) bucket: Arc<str>,
    /// What the keys in it begin with; `None` where that is too long, or cannot be told.
    pub(crate) key: Option<Arc<[u8]>>,
}

/// Paths of directories. Used within changes alone, and forgotten before one shows that gives a directory another. Where several
/// sessions share the store none is kept: another one's rename would not be known.
pub(crate) struct Paths {
    kept: Option<Mutex<KnownPaths>>,
}

#[derive(Default)]
struct KnownPaths {
    of: HashMap<Ino, DirPath>,
    bytes: usize,
}

impl Paths {
    /// A directory is about to have another path, and everything below it.
    pub(crate) fn forget(&self) {
        if let Some(kept) = &self.kept {
            *kept.lock() = KnownPaths::default();
        }
    }

    /// An empty cache. If other sessions share the store, nothing is cached.
    pub(crate) fn of(shared: bool) -> Self {
        Self { kept: (!shared || planted(Bug::PathsOfOthersKept)).then(Mutex::default) }
    }

    pub(crate) fn known(&self, dir: Ino) -> Option<DirPath> {
        self.kept.as_ref()?.lock().of.get(&dir).cloned()
    }

    pub(crate) fn keep(&self, dir: Ino, path: &DirPath) {
        let Some(kept) = &self.kept else { return };
        let mut known = kept.lock();
        if known.bytes > PATHS_BYTES_MAX {
            // Paths in use are soon cached again.
            *known = KnownPaths::default();
        }
        known.bytes += PATH_BYTES + path.key.as_ref().map_or(0, |key| key.len());
        known.of.insert(dir, path.clone());
    }
}

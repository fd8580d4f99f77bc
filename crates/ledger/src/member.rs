//! One disk of the set as the ledger sees it: present or missing, taking writes or not, with a bounded cache of open
//! segment files.
//!
//! Invariant: a member that failed a write or a sync is never written again by this process. What an operating system
//! holds after a failed sync is unknown, so trying again proves nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use strata_seam::{Disk, DiskError, DiskErrorKind, DiskFile, SegmentId};

use crate::layout;

/// A slot of the set.
pub(crate) struct Member {
    /// The disk's label, or that of its slot while it is missing.
    pub(crate) label: String,
    disk: Option<Arc<dyn Disk>>,
    failed: AtomicBool,
    read_errors: AtomicU64,
    files: Mutex<FileCache>,
}

struct FileCache {
    open: HashMap<SegmentId, (Arc<dyn DiskFile>, u64)>,
    uses: u64,
    max: usize,
}

impl Member {
    pub(crate) fn new(index: usize, disk: Option<Arc<dyn Disk>>, open_files_max: usize) -> Self {
        let label = disk.as_ref().map_or_else(|| format!("slot {index}"), |disk| disk.label().to_owned());
        let files = FileCache { open: HashMap::new(), uses: 0, max: open_files_max };
        Self { label, disk, failed: AtomicBool::new(false), read_errors: AtomicU64::new(0), files: Mutex::new(files) }
    }

    pub(crate) fn present(&self) -> bool {
        self.disk.is_some()
    }

    pub(crate) fn writable(&self) -> bool {
        self.present() && !self.failed.load(Ordering::Acquire)
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(crate) fn read_errors(&self) -> u64 {
        self.read_errors.load(Ordering::Relaxed)
    }

    /// Counts a read that failed or did not pass its check.
    pub(crate) fn note_read_error(&self) {
        self.read_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the disk aside for writing, and says so once.
    pub(crate) fn fail(&self, error: &DiskError) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            tracing::error!(
                disk = self.label,
                error = error as &dyn std::error::Error,
                "disk set aside: a write or sync failed; the set goes on without it"
            );
        }
    }

    /// The disk.
    pub(crate) fn disk(&self) -> Result<&Arc<dyn Disk>, DiskError> {
        self.disk.as_ref().ok_or_else(|| DiskError {
            kind: DiskErrorKind::Gone,
            disk: self.label.clone(),
            what: "missing from the set".to_owned(),
            source: None,
        })
    }

    /// An existing segment file.
    pub(crate) fn file(&self, segment: SegmentId) -> Result<Arc<dyn DiskFile>, DiskError> {
        let disk = self.disk()?;
        if let Some(file) = self.files.lock().get(segment) {
            return Ok(file);
        }
        let file = disk.open(&layout::segment_name(segment))?;
        self.files.lock().insert(segment, Arc::clone(&file));
        Ok(file)
    }

    /// Creates a segment file, replacing one of that name.
    pub(crate) fn create(&self, segment: SegmentId, len: u64, zeroed: bool) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.files.lock().open.remove(&segment);
        let file = self.disk()?.create(&layout::segment_name(segment), len, zeroed)?;
        self.files.lock().insert(segment, Arc::clone(&file));
        Ok(file)
    }

    /// Removes a segment file.
    pub(crate) fn remove(&self, segment: SegmentId) -> Result<(), DiskError> {
        self.files.lock().open.remove(&segment);
        self.disk()?.remove(&layout::segment_name(segment))
    }
}

impl FileCache {
    fn get(&mut self, segment: SegmentId) -> Option<Arc<dyn DiskFile>> {
        self.uses += 1;
        let uses = self.uses;
        self.open.get_mut(&segment).map(|(file, used)| {
            *used = uses;
            Arc::clone(file)
        })
    }

    fn insert(&mut self, segment: SegmentId, file: Arc<dyn DiskFile>) {
        // A walk over some hundred entries, next to opening a file.
        while self.open.len() >= self.max {
            let Some(oldest) = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(segment, _)| *segment) else {
                break;
            };
            self.open.remove(&oldest);
        }
        self.uses += 1;
        self.open.insert(segment, (file, self.uses));
    }
}

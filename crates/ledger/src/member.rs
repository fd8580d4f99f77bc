//! One slot of the set: its disk, if it has one, whether that takes writes, and a bounded cache of its open segment
//! files.
//!
//! Invariant: a disk that failed a write or a sync is not written again until it is taken back as a whole
//! ([`rejoin`](crate::Ledger::rejoin)). What an operating system holds after a failed sync is unknown, so trying again
//! proves nothing.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_seam::planted::{Bug, planted};
use strata_seam::{AlignedBuf, Disk, DiskError, DiskErrorKind, DiskFile, Lsn, SegmentId, WriteMode};

use crate::error::LedgerError;
use crate::layout;
use crate::meter::Meter;

/// Bytes written at once over a file that is to be erased.
const ZERO_LEN: usize = 1 << 20;

/// A slot of the set.
pub(crate) struct Member {
    slot: usize,
    mount: Mutex<Mount>,
    writable: AtomicBool,
    aside: Mutex<Option<Aside>>,
    /// Counts every time the disk was set aside, put in or taken back: who looks at it for long can tell.
    changes: AtomicU64,
    /// From this number on it took every stripe since it was last taken back.
    joined: AtomicU64,
    pub(crate) meter: Meter,
}

/// Why a disk is read but not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// A write or sync failed: what it holds of the last ones is not known.
    Failed,
    /// It answers that it is gone.
    Gone,
    /// It has no room where the others have.
    Full,
    /// It refuses to be changed.
    ReadOnly,
    /// Every commit would wait for it.
    Slow,
}

/// A disk that is set aside.
#[derive(Clone, Debug)]
pub(crate) struct Aside {
    pub(crate) why: Why,
    /// In words.
    pub(crate) what: String,
}

/// The disk in a slot, and what is open on it.
struct Mount {
    disk: Option<Arc<dyn Disk>>,
    /// The disk's label, or that of its slot while it is missing.
    label: Arc<str>,
    open: HashMap<SegmentId, (Arc<dyn DiskFile>, u64)>,
    uses: u64,
    max: usize,
    /// Counts the disks that were in this slot, so that a file of an earlier one is not kept.
    generation: u64,
}

fn label_of(slot: usize, disk: Option<&Arc<dyn Disk>>) -> Arc<str> {
    disk.map_or_else(|| format!("place {slot}").into(), |disk| disk.label().into())
}

impl Member {
    pub(crate) fn new(slot: usize, disk: Option<Arc<dyn Disk>>, open_files_max: usize) -> Self {
        let writable = AtomicBool::new(disk.is_some());
        let label = label_of(slot, disk.as_ref());
        let mount = Mount { disk, label, open: HashMap::new(), uses: 0, max: open_files_max, generation: 0 };
        Self {
            slot,
            mount: Mutex::new(mount),
            writable,
            aside: Mutex::new(None),
            changes: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            meter: Meter::default(),
        }
    }

    /// The disk's label, or that of its slot while it is missing.
    pub(crate) fn label(&self) -> Arc<str> {
        Arc::clone(&self.mount.lock().label)
    }

    /// Whether there is a disk in the slot.
    pub(crate) fn present(&self) -> bool {
        self.mount.lock().disk.is_some()
    }

    /// Whether the disk takes writes.
    pub(crate) fn writable(&self) -> bool {
        self.writable.load(Ordering::Acquire)
    }

    /// Why it does not, if it is there and does not.
    pub(crate) fn aside(&self) -> Option<Aside> {
        self.aside.lock().clone()
    }

    /// Whether it was set aside because it is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.aside.lock().as_ref().is_some_and(|aside| aside.why == Why::Gone)
    }

    /// How often anything about its taking part has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// From which number on it took every stripe.
    pub(crate) fn joined(&self) -> Lsn {
        Lsn(self.joined.load(Ordering::Acquire))
    }

    /// Notes from which number on it takes every stripe.
    pub(crate) fn join_at(&self, lsn: Lsn) {
        self.joined.store(lsn.0, Ordering::Release);
    }

    /// Sets the disk aside for writing after an error, unless the disk is not to blame for it.
    ///
    /// # Errors
    /// [`LedgerError::Exhausted`]: the disk takes part as before, and what was to be done is to be tried again.
    pub(crate) fn blame(&self, error: &DiskError) -> Result<(), LedgerError> {
        if error.kind == DiskErrorKind::Exhausted && !planted(Bug::ExhaustionBlamed) {
            return Err(LedgerError::Exhausted { what: error.to_string() });
        }
        self.fail(error);
        Ok(())
    }

    /// Sets the disk aside for writing after an error, and says so once.
    pub(crate) fn fail(&self, error: &DiskError) {
        let why = match error.kind {
            DiskErrorKind::Gone => Why::Gone,
            DiskErrorKind::Full => Why::Full,
            DiskErrorKind::ReadOnly => Why::ReadOnly,
            DiskErrorKind::NotFound | DiskErrorKind::Medium | DiskErrorKind::ShortRead | DiskErrorKind::Exhausted => {
                Why::Failed
            }
        };
        self.meter.note_write_error();
        self.set_aside(why, error.to_string());
    }

    /// Sets the disk aside for writing, and says so once.
    pub(crate) fn set_aside(&self, why: Why, what: String) {
        if self.stop_writing(why, what.clone()) {
            tracing::error!(disk = &*self.label(), what, "disk set aside for writing; the set goes on without it");
        }
    }

    /// Sets the disk aside for writing. False where it was so before.
    pub(crate) fn stop_writing(&self, why: Why, what: String) -> bool {
        let was_writable = self.writable.swap(false, Ordering::AcqRel);
        if was_writable {
            self.changes.fetch_add(1, Ordering::AcqRel);
            *self.aside.lock() = Some(Aside { why, what });
        }
        was_writable
    }

    /// Notes why a disk that was put in is not let in after all.
    pub(crate) fn give_up(&self, error: &DiskError) {
        self.admit();
        self.fail(error);
    }

    /// Puts a disk into the slot, for reading only.
    pub(crate) fn put_in(&self, disk: Arc<dyn Disk>) {
        self.writable.store(false, Ordering::Release);
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.meter.forget_speed();
        let mut mount = self.mount.lock();
        mount.label = label_of(self.slot, Some(&disk));
        mount.disk = Some(disk);
        mount.open.clear();
        mount.generation += 1;
    }

    /// Lets go of a disk that was set aside: it is not read either, and its files are closed.
    pub(crate) fn take_out(&self) {
        let mut mount = self.mount.lock();
        mount.disk = None;
        mount.open.clear();
        mount.generation += 1;
    }

    /// Lets the disk take writes again.
    pub(crate) fn admit(&self) {
        *self.aside.lock() = None;
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.writable.store(true, Ordering::Release);
    }

    /// The disk.
    pub(crate) fn disk(&self) -> Result<Arc<dyn Disk>, DiskError> {
        self.mount.lock().disk(self.slot)
    }

    /// An existing segment file.
    pub(crate) fn file(&self, segment: SegmentId) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut mount = self.mount.lock();
        if let Some(file) = mount.get(segment) {
            return Ok(file);
        }
        let (disk, generation) = (mount.disk(self.slot)?, mount.generation);
        drop(mount);
        let file = disk.open(&layout::segment_name(segment))?;
        self.keep(generation, segment, &file);
        Ok(file)
    }

    fn keep(&self, generation: u64, segment: SegmentId, file: &Arc<dyn DiskFile>) {
        let mut mount = self.mount.lock();
        if mount.generation == generation {
            mount.insert(segment, Arc::clone(file));
        }
    }

    /// Forgets an open file, since another, or none, may have its name now.
    pub(crate) fn forget(&self, segment: SegmentId) {
        self.mount.lock().open.remove(&segment);
    }

    /// Creates a segment file, replacing one of that name.
    pub(crate) fn create(&self, segment: SegmentId, len: u64, zeroed: bool) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut mount = self.mount.lock();
        mount.open.remove(&segment);
        let (disk, generation) = (mount.disk(self.slot)?, mount.generation);
        drop(mount);
        let file = disk.create(&layout::segment_name(segment), len, zeroed)?;
        self.keep(generation, segment, &file);
        Ok(file)
    }

    /// Removes a segment file, overwritten before if `erase` says so.
    pub(crate) fn remove(&self, segment: SegmentId, erase: bool) -> Result<(), DiskError> {
        let disk = self.disk()?;
        if erase {
            overwrite(&*disk, &layout::segment_name(segment))?;
        }
        let removed = disk.remove(&layout::segment_name(segment));
        // Behind it, so that nobody opened it again in between and keeps its room.
        self.forget(segment);
        removed
    }
}

/// Writes zeros over a file; that there is none is fine.
fn overwrite(disk: &dyn Disk, name: &str) -> Result<(), DiskError> {
    let file = match disk.open(name) {
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let zeros = AlignedBuf::zeroed(ZERO_LEN);
    let (mut at, len) = (0, file.len());
    while at < len {
        let piece = usize::try_from(len - at).unwrap_or(usize::MAX).min(ZERO_LEN);
        file.write_at(at, &zeros[..piece], WriteMode::Buffered)?;
        at += piece as u64;
    }
    file.sync()
}

impl Mount {
    fn disk(&self, slot: usize) -> Result<Arc<dyn Disk>, DiskError> {
        self.disk.clone().ok_or_else(|| DiskError {
            kind: DiskErrorKind::Gone,
            disk: format!("place {slot}"),
            what: "missing from the set".to_owned(),
            source: None,
        })
    }

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

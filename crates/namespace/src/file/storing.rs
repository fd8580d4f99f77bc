//! When written bytes become content: as writers ask for it, when they sync, and once files are idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strata_seam::planted::{Bug, planted};
use strata_seam::{Ino, Stop, Worker};

use super::{IDLE_NANOS, Pressure, SEAL_BYTES_MAX, SEALER, SEALER_PAUSE, STAGED_NANOS_MAX};
use crate::error::Result;
use crate::namespace::Namespace;
use crate::opens::OpenFile;
use crate::types::{Op, STORE};

impl Namespace {
    /// Before more is staged of a file that has too much staged already: what was staged could not be sealed, and nobody may
    /// fill the memory instead of the disks (invariant BOUND).
    pub(super) fn unstage_first(&self, op: &Op, ino: Ino, file: &OpenFile) -> Result<()> {
        let staged = {
            let state = file.state.lock();
            state.staging.bytes() + state.sealing.as_ref().map_or(0, |sealing| sealing.bytes())
        };
        let all = self.opens.staged_bytes.load(Ordering::Acquire);
        if staged >= SEAL_BYTES_MAX || (all > self.store.settings().staged_bytes_max && staged > 0) {
            self.seal_front(op, ino, file)?;
        }
        Ok(())
    }

    /// Has the front of a file sealed when much of it is staged: by a sealer, or here when it is too much or there is
    /// no sealer. If that fails, what was just written stays staged, so that is no error of this write: the next write
    /// or a sync reports it.
    pub(super) fn relieve(&self, op: &Op, ino: Ino, file: &OpenFile, pressure: Pressure) {
        match pressure {
            Pressure::None => {}
            Pressure::Some if self.opens.sealers.load(Ordering::Acquire) > 0 => {
                if !file.queued.swap(true, Ordering::AcqRel) {
                    self.opens.queue.lock().push_back(ino);
                    self.opens.queued.notify_one();
                }
            }
            Pressure::Some | Pressure::High => {
                if let Err(error) = self.seal_front(op, ino, file) {
                    tracing::debug!(%ino, %error, "written bytes could not be sealed; they stay in memory");
                }
            }
        }
    }

    /// The body of a sealer's thread: seals files as their writers ask for it, until `stop` is asked. A failure is not reported here: the
    /// bytes stay staged, and the writer's sync or close reports it.
    pub fn run_sealer(&self, worker: &Worker, stop: &Stop) {
        self.opens.sealers.fetch_add(1, Ordering::AcqRel);
        let op = Op::new(crate::types::Caller::root(&STORE));
        while !stop.is_asked() {
            let next = {
                let mut queue = self.opens.queue.lock();
                if queue.is_empty() {
                    self.opens.queued.wait_for(&mut queue, SEALER_PAUSE);
                }
                queue.pop_front()
            };
            let Some((ino, file)) = next.and_then(|ino| Some((ino, self.opens.get(ino)?))) else { continue };
            file.queued.store(false, Ordering::Release);
            let round = worker.begin(Some(1));
            let sealed = self.seal_front(&op, ino, &file);
            worker.advance(u64::from(sealed.is_ok()));
            drop(round);
            if worker.note(&sealed, SEALER_PAUSE)
                && let Err(error) = sealed
            {
                tracing::warn!(%ino, %error, "written bytes could not be sealed; they stay in memory and it is tried again");
            }
            drop(file);
            self.opens.forget_if_idle(ino);
        }
        self.opens.sealers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Seals the staged bytes of a file. A [`Namespace::settle`] afterwards waits until they, and everything before them, are durable.
    ///
    /// # Errors
    /// Those of sealing; what was written stays staged.
    pub fn fsync(&self, op: &Op, ino: Ino) -> Result<()> {
        let dirty = |file: &Arc<OpenFile>| file.dirty.load(Ordering::Acquire) && !planted(Bug::FsyncForgetsStaged);
        if let Some(file) = self.opens.get(ino).filter(dirty) {
            self.seal_in_place(op, ino, &file)?;
        }
        let bucket = self.find_inode_alone(op, ino)?.map_or(Ino(0), |inode| inode.bucket);
        op.note(self.store.last_commit(), !self.is_relaxed(bucket)?);
        Ok(())
    }

    /// Seals the staged bytes of all files, as `syncfs` does. A [`Namespace::settle`] afterwards waits until they are durable.
    ///
    /// # Errors
    /// The first failure of sealing, after trying all.
    pub fn sync_all(&self, op: &Op) -> Result<()> {
        // A file for which there is no room does not keep the others from being synced.
        let mut failed = None;
        for (ino, file) in self.opens.dirty_files() {
            if let Err(error) = self.seal_in_place(op, ino, &file) {
                failed = failed.or(Some(error));
            }
        }
        op.note(self.store.last_commit(), true);
        failed.map_or(Ok(()), Err)
    }

    /// Seals files that were written and are idle, or have waited for long, and forgets locks that have ended; called by a worker
    /// about once a second. Returns how many files it sealed.
    ///
    /// # Errors
    /// The first failure, after trying all.
    pub fn seal_idle(&self) -> Result<usize> {
        self.expire_removed();
        let now = self.clock.monotonic_nanos();
        let op = Op::new(crate::types::Caller::root(&STORE));
        let (mut count, mut failed) = (0, None);
        let age = |since: &AtomicU64| now.saturating_sub(since.load(Ordering::Acquire));
        let mut due = self.opens.dirty_files();
        due.retain(|(_, file)| {
            age(&file.last_write_nanos) >= IDLE_NANOS || age(&file.staged_since_nanos) >= STAGED_NANOS_MAX
        });
        let worker = self.crew().add(SEALER, None);
        let _round = (!due.is_empty()).then(|| worker.begin(Some(due.len() as u64)));
        for (ino, file) in due {
            match self.seal_whole(&op, ino, &file) {
                Ok(()) => {
                    count += 1;
                    worker.advance(1);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
            drop(file);
            self.opens.forget_if_idle(ino);
        }
        failed = failed.or(self.sweep_locks().err()).or(self.release_unopened().err());
        failed.map_or(Ok(count), Err)
    }
}

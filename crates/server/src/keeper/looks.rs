//! Looking after the disks: those that work again are taken back, and those of sets that left are forgotten.

use std::path::Path;
use std::sync::Arc;

use strata_disk::FileDisk;
use strata_runtime::{DiskState, DiskStatus};
use strata_seam::Disk;

use super::{Keeper, LOOK_EVERY};
use crate::config::Remembered;

impl Keeper {
    /// Forgets where the disks of sets are that have left the store since the last look.
    fn forget_released(&self) {
        let now = self.sets().status();
        let Some(before) = self.seen.lock().replace(now.clone()) else { return };
        if before.sets.iter().all(|set| now.sets.iter().any(|other| other.set == set.set)) {
            return;
        }
        let folders = crate::sets::without_released(&before, &now, self.folders());
        let kept = Remembered::of(&self.sets(), folders.clone(), &self.data).map_err(anyhow::Error::from);
        if let Err(error) = kept.and_then(|kept| kept.save(&self.data)) {
            tracing::warn!(error = format!("{error:#}"), "the folders of a set that left could not be forgotten");
        }
        self.disks.let_go_of_unused(&self.sets(), &folders);
        self.set_folders(folders);
    }

    /// Takes back disks that are well again, and such as have returned.
    pub(super) fn look_after_disks(&self) {
        let mut trouble = None;
        self.forget_released();
        let sets = self.sets();
        match sets.tend() {
            Ok(back) if !back.is_empty() => {
                self.note_back(back.len());
                tracing::info!(places = ?back, "disks that were set aside take part again");
            }
            Ok(_) => {}
            Err(error) => trouble = Some(error.to_string()),
        }
        let status = sets.status();
        let away = status.disks.iter().any(|disk| matches!(disk.state, DiskState::Gone | DiskState::Missing));
        for folder in self.folders().into_iter().filter(|_| away) {
            // Checked anew for each folder: once a quorum is back, several disks are back.
            let is_used = |disk: &DiskStatus| {
                Path::new(&disk.label) == folder && !matches!(disk.state, DiskState::Gone | DiskState::Missing)
            };
            if sets.status().disks.iter().any(is_used) {
                continue;
            }
            let Ok(disk) = FileDisk::open(&folder) else { continue };
            let disk: Arc<dyn Disk> = Arc::new(disk);
            // A blank disk is a forgotten mount as often as a new disk: somebody has to say which.
            if !matches!(strata_runtime::store_on(std::slice::from_ref(&disk)), Ok(Some(set)) if set == status.set)
                || strata_runtime::is_taken_out(&*disk)
            {
                continue;
            }
            match sets.rejoin(disk) {
                Ok(joined) => {
                    self.note_back(1);
                    self.complained.lock().remove(&folder);
                    tracing::info!(disk = %folder.display(), place = joined.place.0, "a disk is back");
                }
                Err(error) => {
                    if self.complained.lock().insert(folder.clone()) {
                        tracing::warn!(disk = %folder.display(), %error, "a disk is back and cannot take part");
                    }
                    trouble = Some(format!("{}: {error}", folder.display()));
                }
            }
        }
        if self.looks.note(&trouble.map_or(Ok(()), Err), LOOK_EVERY) {
            tracing::debug!("not all disks can be taken back; the status says why");
        }
    }

    /// Notes that so many disks take part again.
    fn note_back(&self, disks: usize) {
        let _round = self.looks.begin(Some(disks as u64));
        self.looks.advance(disks as u64);
    }
}

//! Telling which set some disks belong to, before anything is opened.

use std::sync::Arc;

use strata_seam::{Disk, SetId};

use crate::error::{LedgerError, Result};
use crate::identify::{Found, look};
use crate::ledger::Ledger;

impl Ledger {
    /// The set that these disks hold; `None` if every one of them is blank. Changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::NewerFormat`], and the first disk's error where no disk tells and one cannot be read: a disk in
    /// doubt is never taken for a blank one.
    pub fn find(disks: &[Arc<dyn Disk>]) -> Result<Option<SetId>> {
        let mut doubt = None;
        let mut found = None;
        for disk in disks {
            match look(&**disk) {
                Ok(Found::Formatted(superblock, _)) => found = found.or(Some(superblock.set)),
                Ok(Found::Blank) => {}
                Err(LedgerError::Disk(error)) => doubt = doubt.or(Some(error)),
                Err(other) => return Err(other),
            }
        }
        match (found, doubt) {
            (None, Some(error)) => Err(LedgerError::Disk(error)),
            (found, _) => Ok(found),
        }
    }

    /// Whether the ledger has threads of its own, so that waiting for it makes sense.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.shared.started()
    }

    /// Bytes of content the set can hold and still has room for: what the fullest disk allows, parity taken off.
    #[must_use]
    pub fn space(&self) -> strata_seam::DiskSpace {
        let mut least: Option<strata_seam::DiskSpace> = None;
        for space in self.status().disks.iter().filter_map(|disk| disk.space) {
            least = Some(match least {
                Some(least) => strata_seam::DiskSpace { total: least.total.min(space.total), free: least.free.min(space.free) },
                None => space,
            });
        }
        let data = u64::from(self.geometry().data_shards);
        let least = least.unwrap_or(strata_seam::DiskSpace { total: 0, free: 0 });
        strata_seam::DiskSpace { total: least.total.saturating_mul(data), free: least.free.saturating_mul(data) }
    }
}

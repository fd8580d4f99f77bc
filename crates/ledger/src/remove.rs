//! Disks that the operator takes out of the running set, and gives back.
//!
//! A file on the disk says that it was taken out (`docs/format/superblock.md`). Invariant: it is written before the other disks
//! are told that this one takes part no more, and taken away before the disk is let in again; so whatever a crash leaves, a
//! disk that was taken out comes back only when somebody says so, and what is on it counts for no more than it holds.

use std::sync::Arc;

use strata_seam::{Disk, DiskIndex};

use crate::error::{LedgerError, Result};
use crate::identify::{REMOVED_FILE, is_removed};
use crate::ledger::Ledger;
use crate::member::{Member, Why};
use crate::rejoin::Rejoined;

/// What is in the file.
const CONTENT: &[u8] = b"taken out of its set by the operator; `strata disk add` takes it back\n";

impl Ledger {
    /// Takes a disk out of the running set, in order or not: it is neither written nor read from here on, its files are closed,
    /// and no opening takes it in. What it holds stays on it. Another may be given its place
    /// ([`replace_disk`](Self::replace_disk)), or it is given back ([`add_disk`](Self::add_disk)). Returns its label.
    ///
    /// # Errors
    /// [`LedgerError::Setting`] for a place that the set does not have, one whose disk is not there, and where too few disks
    /// would remain for the set to be written, or that hold everything: nothing was changed then. [`LedgerError::Disk`] where the disk takes no mark:
    /// it stays as it is. [`LedgerError::QuorumLost`] where the others could not be told: it is out after the next opening.
    pub fn remove_disk(&self, place: DiskIndex) -> Result<String> {
        let shared = &self.shared;
        let refuse = |what: String| LedgerError::Setting { name: "place", what };
        let mut writer = self.lock_for_change()?;
        let Some((set, index)) = shared.sets.disk_at(usize::from(place.0)) else {
            return Err(refuse(format!(
                "the set has the places 0 to {}; nothing was changed",
                shared.sets.disks() - 1
            )));
        };
        let member = &set.members[index];
        let label = member.label().to_string();
        let Ok(disk) = member.disk() else {
            return Err(refuse(format!(
                "there is no disk in place {place}; nothing was changed; give it another by `strata disk replace`"
            )));
        };
        let was_written = member.writable();
        if was_written && set.writable() <= set.write_quorum() {
            let what = format!(
                "without {label} the set would have {} disks that take writes and needs {}; nothing was changed; put another disk in order first",
                set.writable() - 1,
                set.write_quorum()
            );
            return Err(refuse(what));
        }
        // What others lack may be on this disk alone.
        let whole = set.supers.lock().newest.whole & set.mask(Member::writable) & !(1 << index);
        if (whole.count_ones() as usize) < set.data_shards() {
            let what = format!(
                "without {label} the set would have {} disks that hold everything and needs {}; nothing was changed; heal it first",
                whole.count_ones(),
                set.data_shards()
            );
            return Err(refuse(what));
        }
        if was_written {
            // What was accepted must not count on this disk for its quorum.
            shared.sync(&mut writer)?;
        }
        disk.replace(REMOVED_FILE, CONTENT)?;
        member.stop_writing(Why::Gone, "it was taken out by the operator".to_owned());
        writer.leave(&set, index);
        let told = match was_written {
            true => {
                let durable = shared.durable();
                let mut supers = set.supers.lock();
                supers.store(&set, durable, |superblock| superblock.durable_lsn = durable)
            }
            false => Ok(()),
        };
        member.take_out();
        told?;
        tracing::info!(disk = label, %place, "a disk was taken out of its set");
        Ok(label)
    }

    /// As [`rejoin`](Self::rejoin), also for a disk that was taken out.
    ///
    /// # Errors
    /// Those of [`rejoin`](Self::rejoin); a disk that was taken out stays so.
    pub fn add_disk(&self, disk: Arc<dyn Disk>) -> Result<Rejoined> {
        let was_removed = is_removed(&*disk)?;
        if was_removed {
            disk.remove(REMOVED_FILE)?;
        }
        let joined = self.rejoin(Arc::clone(&disk));
        if was_removed && joined.is_err() {
            disk.replace(REMOVED_FILE, CONTENT)?;
        }
        joined
    }
}

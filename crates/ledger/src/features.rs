//! Marks in the superblocks that keep off versions which do not know what a store may hold.
//!
//! What such a mark stands for is the layers' above. Invariant: once a store was told to have a feature, every opening of it finds
//! the mark, whichever disks and sets come; and whoever opens it without knowing the feature refuses it, since each superblock is
//! refused that carries an unknown bit.

use std::sync::Arc;

use crate::error::Result;
use crate::ledger::Ledger;
use crate::set::Set;
use crate::superblock::Feature;

/// The features that any set knows: one of several may not have been told.
pub(crate) fn known(sets: &[Arc<Set>]) -> u32 {
    sets.iter().fold(0, |known, set| known | set.supers.lock().newest.features)
}

impl Ledger {
    /// Whether all sets that take writes, or where none does, all sets, are marked as having a feature.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        let sets = self.shared.sets.all();
        let open = sets.iter().any(|set| !set.is_halted());
        let counting = |set: &&Arc<Set>| !open || !set.is_halted();
        sets.iter().filter(counting).all(|set| set.supers.lock().newest.features & feature.bit() != 0)
    }

    /// Marks the store as having a feature, on every disk that takes writes, before anything is written that needs it. Does
    /// nothing where it is marked. The mark is never taken away.
    ///
    /// # Errors
    /// [`LedgerError::QuorumLost`](crate::LedgerError::QuorumLost), [`LedgerError::Closed`](crate::LedgerError::Closed): some disks
    /// may have the mark, and the next opening tells the others.
    pub fn mark(&self, feature: Feature) -> Result<()> {
        if self.has(feature) {
            return Ok(());
        }
        // The writer's lock, so that no stripe is acknowledged between a disk's failure and the others being told of it.
        let writer = self.lock_for_change()?;
        let durable = self.shared.durable();
        let marked = self.shared.tell_all(|superblock| {
            superblock.durable_lsn = superblock.durable_lsn.max(durable);
            superblock.features |= feature.bit();
        });
        drop(writer);
        marked
    }
}

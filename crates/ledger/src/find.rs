//! Telling which set some disks belong to, before anything is opened.

use std::sync::Arc;

use strata_seam::{Disk, DiskSpace, SetId};

use crate::error::{LedgerError, Result};
use crate::identify::{Found, check_empty, is_removed, look, majority};
use crate::ledger::Ledger;
use crate::superblock::Feature;

/// Share of what is written that frames and descriptions take, at most, where content is not tiny.
const HEADERS_SHARE: u64 = 32;

/// Room for content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreRoom {
    /// Bytes in all.
    pub total: u64,
    /// Bytes still free.
    pub free: u64,
}

impl Ledger {
    /// The store, named by its first set, that these disks, or most of them, hold a part of; `None` if every one of them is
    /// blank, or was to be one of a set that was never made. Changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::NewerFormat`], [`LedgerError::ForeignDisk`] where two stores have as many disks each, and where no disk
    /// tells: the error of the first that cannot be read, or [`LedgerError::Inconsistent`] for one that holds segments. A disk in doubt is never taken for a blank one.
    pub fn find(disks: &[Arc<dyn Disk>]) -> Result<Option<SetId>> {
        let mut doubt = None;
        let mut found = Vec::new();
        for disk in disks {
            match look(&**disk) {
                Ok(Found::Formatted(superblock, _)) if !superblock.is_unmade() => {
                    found.push((disk.label(), superblock.roster().store))
                }
                Ok(Found::Blank | Found::Formatted(..)) => {
                    if let Err(error) = check_empty(&**disk) {
                        doubt = doubt.or(Some(error));
                    }
                }
                Err(error @ LedgerError::Disk(_)) => doubt = doubt.or(Some(error)),
                Err(other) => return Err(other),
            }
        }
        match (majority(found.into_iter())?, doubt) {
            (None, Some(error)) => Err(error),
            (found, _) => Ok(found),
        }
    }

    /// Whether somebody took this disk out of its set; false where it cannot be told.
    #[must_use]
    pub fn is_taken_out(disk: &dyn Disk) -> bool {
        is_removed(disk).unwrap_or(false)
    }

    /// Whether the store on these disks is marked as having a feature ([`Ledger::mark`]): by any of those that can be read, since one that
    /// was away was not told. Changes nothing.
    #[must_use]
    pub fn is_marked(disks: &[Arc<dyn Disk>], feature: Feature) -> bool {
        disks.iter().any(|disk| {
            matches!(look(&**disk), Ok(Found::Formatted(superblock, _)) if superblock.features & feature.bit() != 0)
        })
    }

    /// Whether each of these disks, looked at together, holds something: a part of a store, or what cannot be read. One that
    /// was to be of a set that was never made holds nothing. Changes nothing.
    #[must_use]
    pub fn in_use(disks: &[Arc<dyn Disk>]) -> Vec<bool> {
        let looks: Vec<_> = disks.iter().map(|disk| look(&**disk)).collect();
        let made = |set: SetId| {
            let mut found = looks.iter().filter_map(|look| look.as_ref().ok());
            found.any(|found| matches!(found, Found::Formatted(other, _) if other.set == set && !other.is_unmade()))
        };
        let in_use = |(disk, look): (&Arc<dyn Disk>, &Result<Found>)| match look {
            Err(_) => true,
            Ok(Found::Formatted(superblock, _)) if !superblock.is_unmade() || made(superblock.set) => true,
            Ok(Found::Blank | Found::Formatted(..)) => check_empty(&**disk).is_err(),
        };
        disks.iter().zip(&looks).map(in_use).collect()
    }

    /// Whether the ledger has threads of its own, so that waiting for it makes sense.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.shared.started()
    }

    /// Bytes of content the store can hold and still has room for: by set what its fullest disk allows, parity taken off,
    /// and of what is free neither what is kept back for removals nor what headers take. A set that takes no new segments
    /// has no room.
    #[must_use]
    pub fn space(&self) -> StoreRoom {
        let sets = self.status().sets;
        let total = sets.iter().map(|set| set.room.total).sum();
        let free = self.room().spare;
        StoreRoom { total, free: (free - free / HEADERS_SHARE).min(total) }
    }
}

/// The room of a set of `data` data disks, `spaces` of which tell theirs; `all` are those of the whole store.
pub(crate) fn room_of(spaces: &[DiskSpace], all: &[DiskSpace], data: u8) -> StoreRoom {
    // Folders of one file system, as in a trial set-up, have only a part of it each.
    let share =
        |bytes: u64, volume: u64| bytes / all.iter().filter(|other| other.volume == volume).count().max(1) as u64;
    let least =
        |of: fn(&DiskSpace) -> u64| spaces.iter().map(|space| share(of(space), space.volume)).min().unwrap_or(0);
    StoreRoom {
        total: least(|space| space.total).saturating_mul(u64::from(data)),
        free: least(|space| space.free).saturating_mul(u64::from(data)),
    }
}

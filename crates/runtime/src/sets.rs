//! The sets of a store and their disks: the calls with which operators see and change them.

use std::sync::Arc;

use strata_ledger::{Geometry, Ledger, PassOptions, Progress, Refusing, Rejoined, Report, Result, Status};
use strata_seam::{Disk, DiskIndex, Entropy, SetId};

/// Whether each of these disks, looked at together, holds something: a part of a store, or what cannot be read. Changes nothing.
#[must_use]
pub fn in_use(disks: &[Arc<dyn Disk>]) -> Vec<bool> {
    Ledger::in_use(disks)
}

/// The store, named by its first set, that these disks hold, or hold parts of; `None` where they are blank. Changes nothing.
///
/// # Errors
/// The disks are of several stores, of a newer version, or cannot be read.
pub fn store_on(disks: &[Arc<dyn Disk>]) -> Result<Option<SetId>> {
    Ledger::find(disks)
}

/// Whether an operator took this disk out of its set; also false if that cannot be read.
#[must_use]
pub fn is_taken_out(disk: &dyn Disk) -> bool {
    Ledger::is_taken_out(disk)
}

/// The calls for the sets of an open store and their disks. Cheap to clone; every call may run on any thread. After an error the store
/// goes on as before.
#[derive(Clone)]
pub struct Sets(Arc<Ledger>);

impl Sets {
    pub(crate) fn of(ledger: &Arc<Ledger>) -> Self {
        Self(Arc::clone(ledger))
    }

    /// The state of every set and disk. Asks every disk for its files and room, so it is too slow for a hot path.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// What the store refuses at present (writes, or new content) and why; `None` if nothing.
    #[must_use]
    pub fn refusing(&self) -> Option<Refusing> {
        self.0.refusing()
    }

    /// The layout of the oldest set that is still in the store.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    /// Takes back disks that were set aside and work again; returns their places, which then need a heal. Also notices disks that
    /// vanished, and room that became free.
    ///
    /// # Errors
    /// Those of the store; none for a disk that stays aside.
    pub fn tend(&self) -> Result<Vec<DiskIndex>> {
        self.0.tend()
    }

    /// Takes back a disk that was away.
    ///
    /// # Errors
    /// It is blank, of another set, written while the set was away, or fails again.
    pub fn rejoin(&self, disk: Arc<dyn Disk>) -> Result<Rejoined> {
        self.0.rejoin(disk)
    }

    /// As [`Sets::rejoin`], also for a disk that was taken out.
    ///
    /// # Errors
    /// Those of [`Sets::rejoin`]; a disk that was taken out stays so.
    pub fn add_disk(&self, disk: Arc<dyn Disk>) -> Result<Rejoined> {
        self.0.add_disk(disk)
    }

    /// Takes a disk out of its running set and returns its label. What it holds stays on it.
    ///
    /// # Errors
    /// There is no such disk, or too few would remain.
    pub fn remove_disk(&self, place: DiskIndex) -> Result<String> {
        self.0.remove_disk(place)
    }

    /// Gives an empty disk a place whose disk is missing or was set aside.
    ///
    /// # Errors
    /// The disk is not empty, or the place is taken.
    pub fn replace_disk(&self, place: DiskIndex, disk: Arc<dyn Disk>) -> Result<Rejoined> {
        self.0.replace_disk(place, disk)
    }

    /// Has a new set of blank disks join the store; returns its number.
    ///
    /// # Errors
    /// The disks do not suit the layout or are not blank; or no set could be told, and the next opening takes the new one in or leaves it out.
    pub fn add_set(&self, disks: &[Arc<dyn Disk>], geometry: Geometry, entropy: &dyn Entropy) -> Result<u16> {
        self.0.add_set(disks, geometry, entropy)
    }

    /// Writes the frames that disks lack, from the first one that any disk lacks. `progress` is called after each stripe and ends the
    /// pass by returning `false`. The report says for every stripe whether it is complete.
    ///
    /// # Errors
    /// The store takes no writes.
    pub fn heal(&self, options: &PassOptions, progress: &mut dyn FnMut(&Progress<'_>) -> bool) -> Result<Report> {
        self.0.heal(options, progress)
    }

    /// Reads every frame and writes damaged and missing ones anew; `progress` may end it by `false`.
    ///
    /// # Errors
    /// The store takes no writes.
    pub fn scrub(&self, options: &PassOptions, progress: &mut dyn FnMut(&Progress<'_>) -> bool) -> Result<Report> {
        self.0.scrub(options, progress)
    }

    /// Reads every frame and changes nothing; `progress` may end it by `false`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn verify(&self, options: &PassOptions, progress: &mut dyn FnMut(&Progress<'_>) -> bool) -> Result<Report> {
        self.0.verify(options, progress)
    }
}

//! The world: a set of simulated disks that share an I/O counter, a fault plan, a clock and a power supply.
//!
//! Invariants: one lock guards everything; a handle taken before a restart, a restore or a disk's disappearance answers
//! [`Gone`](crate::DiskErrorKind::Gone) for ever, so that no leftover of a "dead" process can touch the world after it.

use std::sync::Arc;

use super::clock::SimClock;
use super::disk::SimDisk;
use super::fault::{Fault, IoRecord};
use super::file::Fate;
use super::state::{CrashPlan, DiskImage, DiskState, Shared, State};
use crate::FileInfo;

/// A set of simulated disks. Clones are the same world; [`SimWorld::fork`] makes another.
#[derive(Clone)]
pub struct SimWorld(Arc<Shared>);

/// Everything of a world at one moment. Taking and restoring one costs a few reference counts per disk.
#[derive(Clone, Debug)]
pub struct Snapshot {
    state: State,
    times: (i64, u64),
}

impl SimWorld {
    /// A world without disks. `seed` feeds the choices made while it runs (where a damaged read is damaged, how much of
    /// a short write arrives); those of a crash are given to [`SimWorld::restart`].
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Shared::new(seed)))
    }

    /// The disk of this name; a blank one appears with the first call. Ask again after every restart: what was handed
    /// out before is dead.
    #[must_use]
    pub fn disk(&self, name: &str) -> Arc<SimDisk> {
        let mut state = self.0.lock();
        state.disk(name);
        Arc::new(SimDisk::new(Arc::clone(&self.0), name, state.boot))
    }

    fn with_disk<R>(&self, name: &str, change: impl FnOnce(&mut DiskState) -> R) -> R {
        change(self.0.lock().disk(name))
    }

    /// The clock that [`FaultKind::Slow`](super::FaultKind::Slow) advances.
    #[must_use]
    pub fn clock(&self) -> Arc<SimClock> {
        Arc::clone(&self.0.clock)
    }

    /// I/Os so far on all disks: the number of the last one. Calls after a crash do not count.
    #[must_use]
    pub fn io_count(&self) -> u64 {
        self.0.lock().io_count
    }

    /// Starts (or stops and forgets) recording every I/O.
    pub fn record_trace(&self, on: bool) {
        self.0.lock().trace = on.then(Vec::new);
    }

    /// The I/Os recorded so far, oldest first; at most the last 2^20.
    #[must_use]
    pub fn trace(&self) -> Vec<IoRecord> {
        self.0.lock().trace.clone().unwrap_or_default()
    }

    /// Adds a fault to the plan. Where several strike one I/O, the first added wins.
    pub fn set_fault(&self, fault: Fault) {
        self.0.lock().faults.push(fault);
    }

    /// The process has descriptors and memory again: no call fails for the lack of them any more.
    pub fn end_exhaustion(&self) {
        self.0.lock().faults.retain(|fault| !fault.is_exhaustion());
    }

    /// Empties the fault plan; a planned crash stays.
    pub fn clear_faults(&self) {
        self.0.lock().faults.clear();
    }

    /// Lets the power go at the I/O of this number: that one and every later one on every disk answers
    /// [`Gone`](crate::DiskErrorKind::Gone) until [`SimWorld::restart`].
    pub fn crash_at(&self, io: u64) {
        self.crash_during(io, 1);
    }

    /// Like [`SimWorld::crash_at`], but the `width` I/Os from number `first` on are all under way when the power goes,
    /// as when the frames of one stripe are written to several disks at once: any of them may have arrived. Only for
    /// I/Os that the code under test would have started without waiting for each other.
    pub fn crash_during(&self, first: u64, width: u64) {
        self.0.lock().crash = Some(CrashPlan { first, width });
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// Power off (if it is not yet) and on again. Of everything unsynced an arbitrary part survives, as `choices` says:
    /// 0 keeps nothing, 1 keeps everything, any other seed keeps some, tears some at multiples of 512 bytes or 4 KiB and
    /// loses some. All disks and files handed out before are dead. Faults stay planned.
    pub fn restart(&self, choices: u64) {
        self.0.lock().power_cut(choices);
    }

    /// The process dies and starts again, the power stays: unsynced data is neither lost nor made durable. All disks and
    /// files handed out before are dead.
    pub fn kill_process(&self) {
        self.0.lock().kill_handles();
    }

    /// Everything as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { state: self.0.lock().clone(), times: self.0.clock.times() }
    }

    /// Makes everything as it was, the plans included. All disks and files handed out before are dead.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut state = self.0.lock();
        state.restore(&snapshot.state);
        self.0.clock.set_times(snapshot.times);
    }

    /// A hash of what the disks hold, as far as it differs from `base`: two states with the same base are alike exactly
    /// if their hashes are (but for one chance in 2^64). Unsynced data does not count. Costs the pages that differ.
    #[must_use]
    pub fn change_hash(&self, base: &Snapshot) -> u64 {
        self.0.lock().hash_change(&base.state)
    }

    /// Another world that starts as this one is now, for exploring on another thread.
    #[must_use]
    pub fn fork(&self) -> Self {
        let other = Self::new(0);
        other.restore(&self.snapshot());
        other
    }

    /// Pulls the disk out: every call to it answers [`Gone`](crate::DiskErrorKind::Gone); what it had not synced is kept, lost or torn
    /// by chance.
    pub fn vanish(&self, name: &str) {
        let mut state = self.0.lock();
        let seed = state.rng.next_u64();
        let generation = state.fresh();
        let disk = state.disk(name);
        disk.present = false;
        disk.generation = generation;
        disk.tree_mut().power_cut(&mut Fate::new(seed));
    }

    /// Plugs the disk in again, as it was pulled.
    pub fn bring_back(&self, name: &str) {
        self.with_disk(name, |disk| disk.present = true);
    }

    /// Plugs a disk with other content into this place: an older image of it, or `DiskImage::default()` for a blank
    /// replacement.
    pub fn bring_back_with(&self, name: &str, image: &DiskImage) {
        let mut state = self.0.lock();
        let generation = state.fresh();
        let disk = state.disk(name);
        disk.present = true;
        disk.generation = generation;
        disk.tree = Arc::clone(&image.0);
    }

    /// The content of a disk as it is now, unsynced data included as such.
    #[must_use]
    pub fn disk_image(&self, name: &str) -> DiskImage {
        let mut tree = self.with_disk(name, |disk| Arc::clone(&disk.tree));
        Arc::make_mut(&mut tree).drop_handles();
        DiskImage(tree)
    }

    /// Swaps the content of two disks, as when cables are mixed up. Files open on either are dead.
    pub fn swap(&self, one: &str, other: &str) {
        let image = self.disk_image(one);
        self.bring_back_with(one, &self.disk_image(other));
        self.bring_back_with(other, &image);
    }

    /// Makes every change on the disk fail with [`ReadOnly`](crate::DiskErrorKind::ReadOnly), or lifts that.
    pub fn set_read_only(&self, name: &str, read_only: bool) {
        self.with_disk(name, |disk| disk.read_only = read_only);
    }

    /// Limits the sum of the lengths of the disk's files, in bytes.
    pub fn set_capacity(&self, name: &str, bytes: u64) {
        self.with_disk(name, |disk| disk.capacity = bytes);
    }

    /// Removes a file as somebody does who works on the disk behind the program's back: what has it open goes on reading it.
    pub fn remove_file(&self, name: &str, file: &str) {
        self.with_disk(name, |disk| disk.tree_mut().unlink(file));
    }

    /// Exchanges the names of two files in the same way; what has one of them open goes on with it under a name that leads elsewhere.
    pub fn exchange_files(&self, name: &str, one: &str, other: &str) {
        self.with_disk(name, |disk| disk.tree_mut().exchange(one, other));
    }

    /// The files of a disk, without an I/O.
    #[must_use]
    pub fn files(&self, name: &str) -> Vec<FileInfo> {
        self.with_disk(name, |disk| {
            let len = |id| disk.tree.files.get(id).map_or(0, |file| file.len);
            disk.tree.names.iter().map(|(name, id)| FileInfo { name: name.clone(), len: len(id) }).collect()
        })
    }

    /// What a file would read, without an I/O and without faults; `None` where it does not exist.
    #[must_use]
    pub fn peek(&self, disk: &str, file: &str) -> Option<Vec<u8>> {
        self.with_disk(disk, |disk| {
            let file = disk.tree.named(file)?;
            let mut bytes = vec![0; usize::try_from(file.len).ok()?];
            file.read(0, &mut bytes);
            Some(bytes)
        })
    }

    /// Changes bytes on the medium without an I/O: rot, or a write that went astray. Returns whether the range exists.
    pub fn poke(&self, disk: &str, file: &str, offset: u64, bytes: &[u8]) -> bool {
        self.with_disk(disk, |disk| match disk.tree_mut().named_mut(file) {
            Some(file) if file.holds(offset, bytes.len() as u64) => {
                file.overwrite(offset, bytes);
                true
            }
            _ => false,
        })
    }

    /// Flips one bit (0 to 7) on the medium. Returns whether the byte exists.
    pub fn flip_bit(&self, disk: &str, file: &str, offset: u64, bit: u8) -> bool {
        self.with_disk(disk, |disk| match disk.tree_mut().named_mut(file) {
            Some(file) if file.holds(offset, 1) => {
                let mut byte = [0];
                file.read(offset, &mut byte);
                file.overwrite(offset, &[byte[0] ^ (1 << (bit % 8))]);
                true
            }
            _ => false,
        })
    }

    /// Cuts a file short, or extends it by zeros, without an I/O. Returns whether it exists.
    pub fn truncate(&self, disk: &str, file: &str, len: u64) -> bool {
        self.with_disk(disk, |disk| disk.tree_mut().named_mut(file).map(|file| file.set_len(len)).is_some())
    }
}

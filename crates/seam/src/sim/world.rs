//! The world: a set of simulated disks that share an I/O counter, a fault plan, a clock and a power supply.
//!
//! Invariants: one lock guards everything; a handle taken before a restart, a restore or a disk's disappearance answers
//! [`DiskErrorKind::Gone`] for ever, so that no leftover of a "dead" process can touch the world after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::clock::SimClock;
use super::disk::SimDisk;
use super::entropy::SimRng;
use super::fault::{Fault, FaultKind, IoRecord};
use super::file::{Fate, SimFile};
use crate::{DiskErrorKind, FileInfo};

/// Bytes of a simulated disk unless [`SimWorld::set_capacity`] says otherwise: 1 TiB.
const CAPACITY: u64 = 1 << 40;

/// I/O records kept by [`SimWorld::record_trace`]; older ones are dropped first.
const TRACE_LIMIT: usize = 1 << 20;

/// Number of a file, never used twice in a world, so that a handle cannot reach a later file of the same name.
pub(super) type FileId = u64;

#[derive(Clone, Default, Debug)]
pub(super) struct Tree {
    pub(super) names: BTreeMap<String, FileId>,
    pub(super) files: BTreeMap<FileId, Arc<SimFile>>,
}

impl Tree {
    pub(super) fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(id)).map(|file| file.len).sum()
    }

    pub(super) fn file_mut(&mut self, id: FileId) -> Option<&mut SimFile> {
        self.files.get_mut(&id).map(Arc::make_mut)
    }

    pub(super) fn named(&self, name: &str) -> Option<&SimFile> {
        self.names.get(name).and_then(|id| self.files.get(id)).map(|file| &**file)
    }

    pub(super) fn named_mut(&mut self, name: &str) -> Option<&mut SimFile> {
        let id = *self.names.get(name)?;
        self.file_mut(id)
    }

    /// Takes the name away; the file stays while handles are open.
    pub(super) fn unlink(&mut self, name: &str) {
        let Some(id) = self.names.remove(name) else { return };
        let held = self.file_mut(id).is_some_and(|file| {
            file.linked = false;
            file.handles > 0
        });
        if !held {
            self.files.remove(&id);
        }
    }

    pub(super) fn link(&mut self, name: &str, id: FileId, file: SimFile) {
        self.unlink(name);
        self.names.insert(name.to_owned(), id);
        self.files.insert(id, Arc::new(file));
    }

    /// Forgets every handle, and the files only handles kept alive.
    fn drop_handles(&mut self) {
        self.files.retain(|_, file| file.linked);
        for file in self.files.values_mut().filter(|file| file.handles > 0) {
            Arc::make_mut(file).handles = 0;
        }
    }

    fn power_cut(&mut self, fate: &mut Fate) {
        self.drop_handles();
        for file in self.files.values_mut().filter(|file| !file.is_settled()) {
            Arc::make_mut(file).power_cut(fate);
        }
    }
}

/// The content of one disk at one moment; cheap to clone. The default is a blank disk.
#[derive(Clone, Default, Debug)]
pub struct DiskImage(pub(super) Arc<Tree>);

#[derive(Clone, Debug)]
pub(super) struct DiskState {
    pub(super) tree: Arc<Tree>,
    /// Changes whenever handles of before must die.
    pub(super) generation: u64,
    pub(super) present: bool,
    pub(super) read_only: bool,
    pub(super) capacity: u64,
}

impl DiskState {
    pub(super) fn tree_mut(&mut self) -> &mut Tree {
        Arc::make_mut(&mut self.tree)
    }
}

/// A change of names that was under way when the power went.
#[derive(Clone, Debug)]
pub(super) enum InFlight {
    Create { disk: String, name: String, len: u64 },
    Replace { disk: String, name: String, content: Arc<[u8]> },
    Remove { disk: String, name: String },
}

#[derive(Clone, Copy, Debug)]
struct CrashPlan {
    first: u64,
    width: u64,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) disks: BTreeMap<String, DiskState>,
    pub(super) rng: SimRng,
    /// Changes with every restart, restore and process death; disks of an older boot are dead.
    pub(super) boot: u64,
    pub(super) in_flight: Vec<InFlight>,
    io_count: u64,
    next_number: u64,
    faults: Vec<Fault>,
    crash: Option<CrashPlan>,
    crashed: bool,
    trace: Option<Vec<IoRecord>>,
}

/// What the world decides about one I/O before it happens.
pub(super) enum Verdict {
    /// It happens.
    Do,
    /// It happens wrongly.
    Wrong(FaultKind),
    /// The power goes while it is under way.
    CrashDuring,
    /// It fails and changes nothing.
    Refuse(DiskErrorKind),
}

impl State {
    /// A number never given out before, for files and generations.
    pub(super) fn fresh(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Counts one I/O and decides about it. `io.number` is filled in here.
    pub(super) fn judge(&mut self, clock: &SimClock, mut io: IoRecord) -> Verdict {
        let next = self.io_count + 1;
        let crash_now = self.crash.is_some_and(|plan| (plan.first..plan.first.saturating_add(plan.width)).contains(&next));
        if self.crashed && !crash_now {
            return Verdict::Refuse(DiskErrorKind::Gone);
        }
        self.io_count = next;
        io.number = next;
        let mut wrong = None;
        for fault in &mut self.faults {
            match fault.strikes(&io) {
                Some(FaultKind::Slow(nanos)) => clock.advance(nanos),
                Some(kind) if wrong.is_none() => wrong = Some(kind),
                _ => {}
            }
        }
        self.faults.retain(|fault| !fault.is_spent(next));
        let refused = match self.disks.get(&io.disk) {
            Some(disk) if disk.present => (disk.read_only && io.op.is_change()).then_some(DiskErrorKind::ReadOnly),
            _ => Some(DiskErrorKind::Gone),
        };
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE_LIMIT {
                trace.drain(..TRACE_LIMIT / 2);
            }
            trace.push(io);
        }
        self.crashed |= crash_now;
        match (refused, wrong) {
            (Some(kind), _) => Verdict::Refuse(kind),
            _ if crash_now => Verdict::CrashDuring,
            (_, Some(kind)) => Verdict::Wrong(kind),
            _ => Verdict::Do,
        }
    }

    fn kill_handles(&mut self) {
        self.boot = self.fresh();
        let mut next = self.next_number;
        for disk in self.disks.values_mut() {
            next += 1;
            disk.generation = next;
            if disk.tree.files.values().any(|file| file.handles > 0 || !file.linked) {
                disk.tree_mut().drop_handles();
            }
        }
        self.next_number = next;
    }

    fn power_cut(&mut self, seed: u64) {
        let mut fate = Fate::new(seed);
        for disk in self.disks.values_mut() {
            if disk.tree.files.values().any(|file| !file.is_settled()) {
                disk.tree_mut().power_cut(&mut fate);
            }
        }
        for change in std::mem::take(&mut self.in_flight) {
            self.settle(change, &mut fate);
        }
        self.kill_handles();
        self.crash = None;
        self.crashed = false;
    }

    fn settle(&mut self, change: InFlight, fate: &mut Fate) {
        let id = self.fresh();
        let (InFlight::Create { disk, name, .. } | InFlight::Replace { disk, name, .. } | InFlight::Remove { disk, name }) =
            &change;
        let Some(tree) = self.disks.get_mut(disk).map(DiskState::tree_mut) else { return };
        match &change {
            InFlight::Create { len, .. } => create_partly(tree, id, name, *len, fate),
            InFlight::Replace { content, .. } => {
                if fate.outcome(2) == 1 {
                    let file = SimFile::with_content(content, tree.named(name));
                    tree.link(name, id, file);
                }
            }
            InFlight::Remove { .. } => {
                if fate.outcome(2) == 1 {
                    tree.unlink(name);
                }
            }
        }
    }
}

/// What a creation that did not finish leaves: the old file, none, a shorter one, or all that was asked.
pub(super) fn create_partly(tree: &mut Tree, id: FileId, name: &str, len: u64, fate: &mut Fate) {
    match fate.outcome(4) {
        0 => {}
        1 => tree.unlink(name),
        2 => {
            let shorter = fate.shorter(len);
            tree.link(name, id, SimFile::zeros(shorter));
        }
        _ => tree.link(name, id, SimFile::zeros(len)),
    }
}

pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) clock: Arc<SimClock>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

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
        let state = State {
            disks: BTreeMap::new(),
            rng: SimRng::new(seed),
            boot: 0,
            in_flight: Vec::new(),
            io_count: 0,
            next_number: 0,
            faults: Vec::new(),
            crash: None,
            crashed: false,
            trace: None,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), clock: Arc::new(SimClock::new()) }))
    }

    /// The disk of this name; a blank one appears with the first call. Ask again after every restart: what was handed
    /// out before is dead.
    #[must_use]
    pub fn disk(&self, name: &str) -> Arc<SimDisk> {
        let mut state = self.0.lock();
        self.ensure(&mut state, name);
        Arc::new(SimDisk::new(Arc::clone(&self.0), name, state.boot))
    }

    fn ensure<'a>(&self, state: &'a mut State, name: &str) -> &'a mut DiskState {
        let generation = state.fresh();
        state.disks.entry(name.to_owned()).or_insert_with(|| DiskState {
            tree: Arc::default(),
            generation,
            present: true,
            read_only: false,
            capacity: CAPACITY,
        })
    }

    fn with_disk<R>(&self, name: &str, change: impl FnOnce(&mut DiskState) -> R) -> R {
        let mut state = self.0.lock();
        change(self.ensure(&mut state, name))
    }

    /// The clock that [`FaultKind::Slow`] advances.
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

    /// Empties the fault plan; a planned crash stays.
    pub fn clear_faults(&self) {
        self.0.lock().faults.clear();
    }

    /// Lets the power go at the I/O of this number: that one and every later one on every disk answers
    /// [`DiskErrorKind::Gone`] until [`SimWorld::restart`].
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
        let newest = state.next_number.max(snapshot.state.next_number);
        *state = snapshot.state.clone();
        state.next_number = newest; // so that no generation is given out twice
        state.kill_handles();
        self.0.clock.set_times(snapshot.times);
    }

    /// Another world that starts as this one is now, for exploring on another thread.
    #[must_use]
    pub fn fork(&self) -> Self {
        let other = Self::new(0);
        other.restore(&self.snapshot());
        other
    }

    /// Pulls the disk out: every call to it answers [`DiskErrorKind::Gone`]; what it had not synced is kept, lost or torn
    /// by chance.
    pub fn vanish(&self, name: &str) {
        let mut state = self.0.lock();
        let seed = state.rng.next_u64();
        let generation = state.fresh();
        let disk = self.ensure(&mut state, name);
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
        let disk = self.ensure(&mut state, name);
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

    /// Makes every change on the disk fail with [`DiskErrorKind::ReadOnly`], or lifts that.
    pub fn set_read_only(&self, name: &str, read_only: bool) {
        self.with_disk(name, |disk| disk.read_only = read_only);
    }

    /// Limits the sum of the lengths of the disk's files, in bytes.
    pub fn set_capacity(&self, name: &str, bytes: u64) {
        self.with_disk(name, |disk| disk.capacity = bytes);
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

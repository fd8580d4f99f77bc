//! The state behind a simulated world: content of the disks, the plan, and the verdict about each I/O.
//!
//! Invariant: numbers for files, generations and boots come from one counter and are never used twice, also not after a
//! snapshot is restored; so a handle of another life is always told apart.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::clock::SimClock;
use super::entropy::SimRng;
use super::fault::{Fault, FaultKind, IoRecord};
use super::file::{Fate, SimFile};
use crate::DiskErrorKind;

/// Bytes of a simulated disk unless [`SimWorld::set_capacity`](super::SimWorld::set_capacity) says otherwise: 1 TiB.
const CAPACITY: u64 = 1 << 40;

/// I/O records kept by [`SimWorld::record_trace`](super::SimWorld::record_trace); older ones are dropped first.
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

    /// Exchanges two names, where both lead to a file.
    pub(super) fn exchange(&mut self, one: &str, other: &str) {
        let (Some(first), Some(second)) = (self.names.get(one).copied(), self.names.get(other).copied()) else {
            return;
        };
        self.names.insert(one.to_owned(), second);
        self.names.insert(other.to_owned(), first);
    }

    pub(super) fn link(&mut self, name: &str, id: FileId, file: SimFile) {
        self.unlink(name);
        self.names.insert(name.to_owned(), id);
        self.files.insert(id, Arc::new(file));
    }

    /// Forgets every handle, and the files only handles kept alive.
    pub(super) fn drop_handles(&mut self) {
        self.files.retain(|_, file| file.linked);
        for file in self.files.values_mut().filter(|file| file.handles > 0) {
            Arc::make_mut(file).handles = 0;
        }
    }

    pub(super) fn power_cut(&mut self, fate: &mut Fate) {
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
pub(super) struct CrashPlan {
    pub(super) first: u64,
    pub(super) width: u64,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) disks: BTreeMap<String, DiskState>,
    pub(super) rng: SimRng,
    /// Changes with every restart, restore and process death; disks of an older boot are dead.
    pub(super) boot: u64,
    pub(super) in_flight: Vec<InFlight>,
    pub(super) io_count: u64,
    next_number: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) crash: Option<CrashPlan>,
    pub(super) crashed: bool,
    pub(super) trace: Option<Vec<IoRecord>>,
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
    fn new(seed: u64) -> Self {
        Self {
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
        }
    }

    /// The disk of this name; a blank one where there is none yet.
    pub(super) fn disk(&mut self, name: &str) -> &mut DiskState {
        let generation = self.fresh();
        self.disks.entry(name.to_owned()).or_insert_with(|| DiskState {
            tree: Arc::default(),
            generation,
            present: true,
            read_only: false,
            capacity: CAPACITY,
        })
    }

    /// Puts this state in place of the present one, and ends the lives of all handles of both.
    pub(super) fn restore(&mut self, earlier: &Self) {
        let newest = self.next_number.max(earlier.next_number);
        *self = Self { next_number: newest, ..earlier.clone() };
        self.kill_handles();
    }

    /// A number never given out before, for files and generations.
    pub(super) fn fresh(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Counts one I/O and decides about it. `io.number` is filled in here.
    pub(super) fn judge(&mut self, clock: &SimClock, mut io: IoRecord) -> Verdict {
        let next = self.io_count + 1;
        let crash_now =
            self.crash.is_some_and(|plan| (plan.first..plan.first.saturating_add(plan.width)).contains(&next));
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

    pub(super) fn kill_handles(&mut self) {
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

    pub(super) fn power_cut(&mut self, seed: u64) {
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

    /// A hash of what all media hold that are plugged in, as far as it differs from `base`.
    pub(super) fn hash_change(&self, base: &Self) -> u64 {
        // Fixed keys: the same states have the same hash in every run.
        let mut hasher = DefaultHasher::new();
        for (name, disk) in self.disks.iter().filter(|(_, disk)| disk.present) {
            name.hash(&mut hasher);
            let before = base.disks.get(name);
            for (file, id) in &disk.tree.names {
                file.hash(&mut hasher);
                if let Some(now) = disk.tree.files.get(id) {
                    now.hash_change(before.and_then(|disk| disk.tree.named(file)), &mut hasher);
                }
            }
        }
        hasher.finish()
    }

    fn settle(&mut self, change: InFlight, fate: &mut Fate) {
        let id = self.fresh();
        let (InFlight::Create { disk, name, .. }
        | InFlight::Replace { disk, name, .. }
        | InFlight::Remove { disk, name }) = &change;
        let Some(tree) = self.disks.get_mut(disk).map(DiskState::tree_mut) else {
            return;
        };
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

/// What a world, its disks and their files share.
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) clock: Arc<SimClock>,
}

impl Shared {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: Mutex::new(State::new(seed)), clock: Arc::new(SimClock::new()) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

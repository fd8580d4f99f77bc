//! One disk of a simulated world, as the code under test sees it.

use std::sync::Arc;

use super::fault::{FaultKind, IoOp, IoRecord};
use super::file::{Fate, SimFile};
use super::state::{DiskState, FileId, InFlight, Shared, State, Verdict, create_partly};
use crate::{Disk, DiskError, DiskErrorKind, DiskFile, DiskSpace, FileInfo, WriteMode, is_file_name};

/// A simulated [`Disk`]; get one from [`SimWorld::disk`](super::SimWorld::disk).
pub struct SimDisk {
    world: Arc<Shared>,
    name: String,
    boot: u64,
}

struct SimDiskFile {
    world: Arc<Shared>,
    disk: String,
    name: String,
    id: FileId,
    generation: u64,
    len: u64,
}

/// A call on its way to the world.
struct Call<'a> {
    disk: &'a str,
    op: IoOp,
    file: &'a str,
    offset: u64,
    len: u64,
}

impl Call<'_> {
    fn record(&self) -> IoRecord {
        IoRecord {
            number: 0,
            disk: self.disk.to_owned(),
            op: self.op,
            file: self.file.to_owned(),
            offset: self.offset,
            len: self.len,
        }
    }

    fn error(&self, kind: DiskErrorKind) -> DiskError {
        let Self { op, file, offset, len, .. } = self;
        let what = match op {
            IoOp::List | IoOp::Space => format!("{op:?}").to_lowercase(),
            IoOp::Read | IoOp::Write => format!("{op:?} {file} at {offset}, {len} bytes").to_lowercase(),
            _ => format!("{op:?} {file}").to_lowercase(),
        };
        DiskError { kind, disk: self.disk.to_owned(), what, source: None }
    }
}

impl SimDisk {
    pub(super) fn new(world: Arc<Shared>, name: &str, boot: u64) -> Self {
        Self { world, name: name.to_owned(), boot }
    }

    /// Runs one call: `done` for the normal case, `wrong` when a fault or a crash changes it.
    fn call<R>(
        &self,
        op: IoOp,
        file: &str,
        len: u64,
        act: impl FnOnce(&mut State, Verdict) -> Result<R, DiskErrorKind>,
    ) -> Result<R, DiskError> {
        let call = Call { disk: &self.name, op, file, offset: 0, len };
        if !matches!(op, IoOp::List | IoOp::Space) && !is_file_name(file) {
            return Err(call.error(DiskErrorKind::NotFound));
        }
        let mut state = self.world.lock();
        if state.boot != self.boot {
            return Err(call.error(DiskErrorKind::Gone));
        }
        let verdict = state.judge(&self.world.clock, call.record());
        act(&mut state, verdict).map_err(|kind| call.error(kind))
    }

    /// A call that reads: it happens or fails, nothing between.
    fn query<R>(
        &self,
        op: IoOp,
        file: &str,
        act: impl FnOnce(&mut DiskState) -> Result<R, DiskErrorKind>,
    ) -> Result<R, DiskError> {
        self.call(op, file, 0, |state, verdict| match verdict {
            Verdict::Do => act(state.disks.get_mut(&self.name).ok_or(DiskErrorKind::Gone)?),
            other => Err(other.refusal()),
        })
    }

    fn handle(&self, disk: &mut DiskState, name: &str) -> Result<Arc<dyn DiskFile>, DiskErrorKind> {
        let id = *disk.tree.names.get(name).ok_or(DiskErrorKind::NotFound)?;
        let generation = disk.generation;
        let file = disk.tree_mut().file_mut(id).ok_or(DiskErrorKind::NotFound)?;
        file.handles += 1;
        Ok(Arc::new(SimDiskFile {
            world: Arc::clone(&self.world),
            disk: self.name.clone(),
            name: name.to_owned(),
            id,
            generation,
            len: file.len,
        }))
    }
}

impl Verdict {
    /// The error of a call that this verdict keeps from happening.
    fn refusal(&self) -> DiskErrorKind {
        match self {
            Self::Refuse(kind) | Self::Wrong(FaultKind::Fail(kind)) => *kind,
            Self::CrashDuring => DiskErrorKind::Gone,
            Self::Do | Self::Wrong(_) => DiskErrorKind::Medium,
        }
    }
}

impl Disk for SimDisk {
    fn label(&self) -> &str {
        &self.name
    }

    fn list(&self) -> Result<Vec<FileInfo>, DiskError> {
        self.query(IoOp::List, "", |disk| {
            let len = |id| disk.tree.files.get(id).map_or(0, |file| file.len);
            Ok(disk.tree.names.iter().map(|(name, id)| FileInfo { name: name.clone(), len: len(id) }).collect())
        })
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.query(IoOp::Open, name, |disk| self.handle(disk, name))
    }

    fn create(&self, name: &str, len: u64, _zeroed: bool) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.call(IoOp::Create, name, len, |state, verdict| {
            let id = state.fresh();
            let seed = state.rng.next_u64();
            let disk = state.disks.get_mut(&self.name).ok_or(DiskErrorKind::Gone)?;
            let others = disk.tree.used() - disk.tree.named(name).map_or(0, |file| file.len);
            match verdict {
                Verdict::Do if others.saturating_add(len) > disk.capacity => {
                    let room = disk.capacity.saturating_sub(others);
                    create_partly(disk.tree_mut(), id, name, room, &mut Fate::new(seed));
                    Err(DiskErrorKind::Full)
                }
                Verdict::Do => {
                    disk.tree_mut().link(name, id, SimFile::zeros(len));
                    self.handle(disk, name)
                }
                Verdict::Wrong(FaultKind::Fail(kind)) => {
                    create_partly(disk.tree_mut(), id, name, len, &mut Fate::new(seed));
                    Err(kind)
                }
                other => {
                    if matches!(other, Verdict::CrashDuring) {
                        let (disk, name) = (self.name.clone(), name.to_owned());
                        state.in_flight.push(InFlight::Create { disk, name, len });
                    }
                    Err(other.refusal())
                }
            }
        })
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), DiskError> {
        let len = content.len() as u64;
        self.call(IoOp::Replace, name, len, |state, verdict| {
            let id = state.fresh();
            let disk = state.disks.get_mut(&self.name).ok_or(DiskErrorKind::Gone)?;
            match verdict {
                // old and new exist side by side for a moment
                Verdict::Do if disk.tree.used().saturating_add(len) > disk.capacity => Err(DiskErrorKind::Full),
                Verdict::Do => {
                    let file = SimFile::with_content(content, disk.tree.named(name));
                    disk.tree_mut().link(name, id, file);
                    Ok(())
                }
                other => {
                    if matches!(other, Verdict::CrashDuring) {
                        let (disk, name) = (self.name.clone(), name.to_owned());
                        state.in_flight.push(InFlight::Replace { disk, name, content: content.into() });
                    }
                    Err(other.refusal())
                }
            }
        })
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.call(IoOp::Remove, name, 0, |state, verdict| {
            let disk = state.disks.get_mut(&self.name).ok_or(DiskErrorKind::Gone)?;
            match verdict {
                Verdict::Do => {
                    disk.tree_mut().unlink(name);
                    Ok(())
                }
                other => {
                    if matches!(other, Verdict::CrashDuring) {
                        state.in_flight.push(InFlight::Remove { disk: self.name.clone(), name: name.to_owned() });
                    }
                    Err(other.refusal())
                }
            }
        })
    }

    fn space(&self) -> Result<DiskSpace, DiskError> {
        self.query(IoOp::Space, "", |disk| {
            Ok(DiskSpace {
                total: disk.capacity,
                free: disk.capacity.saturating_sub(disk.tree.used()),
                // Every simulated disk is a file system of its own.
                volume: self
                    .label()
                    .bytes()
                    .fold(0, |sum: u64, byte| sum.wrapping_mul(257).wrapping_add(u64::from(byte))),
            })
        })
    }
}

impl SimDiskFile {
    fn call<R>(
        &self,
        (op, offset, len): (IoOp, u64, usize),
        act: impl FnOnce(&mut State, Verdict) -> Result<R, DiskErrorKind>,
    ) -> Result<R, DiskError> {
        let call = Call { disk: &self.disk, op, file: &self.name, offset, len: len as u64 };
        let mut state = self.world.lock();
        if state.disks.get(&self.disk).is_none_or(|disk| disk.generation != self.generation) {
            return Err(call.error(DiskErrorKind::Gone));
        }
        let verdict = state.judge(&self.world.clock, call.record());
        act(&mut state, verdict).map_err(|kind| call.error(kind))
    }

    /// Whether the name it was opened by leads to it.
    fn is_named(&self, state: &State) -> bool {
        state.disks.get(&self.disk).is_some_and(|disk| disk.tree.names.get(&self.name) == Some(&self.id))
    }

    fn file<'a>(&self, state: &'a mut State) -> Result<&'a mut SimFile, DiskErrorKind> {
        let disk = state.disks.get_mut(&self.disk).ok_or(DiskErrorKind::Gone)?;
        disk.tree_mut().file_mut(self.id).ok_or(DiskErrorKind::Gone)
    }
}

fn write(file: &mut SimFile, offset: u64, data: &[u8], mode: WriteMode) {
    match mode {
        WriteMode::Buffered => file.write_buffered(offset, data),
        WriteMode::Durable => file.write_durable(offset, data),
    }
}

impl DiskFile for SimDiskFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.call((IoOp::Read, offset, buf.len()), |state, verdict| {
            let draw = state.rng.clone().next_u64();
            let disk = state.disks.get(&self.disk).ok_or(DiskErrorKind::Gone)?;
            let file = disk.tree.files.get(&self.id).ok_or(DiskErrorKind::Gone)?;
            match verdict {
                Verdict::Do | Verdict::Wrong(FaultKind::StaleRead | FaultKind::DamagedRead)
                    if !file.holds(offset, buf.len() as u64) =>
                {
                    return Err(DiskErrorKind::ShortRead);
                }
                Verdict::Do => file.read(offset, buf),
                Verdict::Wrong(FaultKind::StaleRead) => file.read_stale(offset, buf),
                Verdict::Wrong(FaultKind::DamagedRead) => {
                    file.read(offset, buf);
                    let bits = buf.len() as u64 * 8;
                    if let Some(bit) = draw.checked_rem(bits) {
                        buf[(bit / 8) as usize] ^= 1 << (bit % 8);
                    }
                    state.rng.next_u64();
                }
                other => return Err(other.refusal()),
            }
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, data: &[u8], mode: WriteMode) -> Result<(), DiskError> {
        self.call((IoOp::Write, offset, data.len()), |state, verdict| {
            let draw = state.rng.clone();
            // What its name does not lead to swallows writes without a trace; whoever promises durability looks.
            if mode == WriteMode::Durable && !self.is_named(state) {
                return Err(DiskErrorKind::Gone);
            }
            let file = self.file(state)?;
            if !matches!(verdict, Verdict::Refuse(_)) && !file.holds(offset, data.len() as u64) {
                return Err(DiskErrorKind::ShortRead);
            }
            match verdict {
                Verdict::Do => write(file, offset, data, mode),
                Verdict::CrashDuring => {
                    // whatever the mode: what is under way when the power goes may arrive in parts
                    file.write_buffered(offset, data);
                    return Err(DiskErrorKind::Gone);
                }
                Verdict::Wrong(FaultKind::LostWrite) => {}
                Verdict::Wrong(FaultKind::Lie) => file.write_buffered(offset, data),
                Verdict::Wrong(FaultKind::Misdirected { file: target, offset }) => {
                    let file = match target {
                        None => file,
                        Some(name) => {
                            let disk = state.disks.get_mut(&self.disk).ok_or(DiskErrorKind::Gone)?;
                            let Some(file) = disk.tree_mut().named_mut(&name) else {
                                return Ok(());
                            };
                            file
                        }
                    };
                    if file.holds(offset, data.len() as u64) {
                        write(file, offset, data, mode);
                    }
                }
                Verdict::Wrong(FaultKind::ShortWrite) => {
                    let mut draw = draw;
                    let kept = draw.below(data.len() as u64 / 512 + 1) as usize * 512;
                    write(file, offset, &data[..kept.min(data.len().saturating_sub(1))], mode);
                    state.rng = draw;
                    return Err(DiskErrorKind::Medium);
                }
                other => return Err(other.refusal()),
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.call((IoOp::Sync, 0, 0), |state, verdict| {
            if !self.is_named(state) {
                return Err(DiskErrorKind::Gone);
            }
            let file = self.file(state)?;
            match verdict {
                Verdict::Do => file.sync(),
                Verdict::Wrong(FaultKind::Lie) => {}
                Verdict::Wrong(FaultKind::Fail(kind)) => {
                    file.lose_pending(false);
                    return Err(kind);
                }
                Verdict::Wrong(FaultKind::FailedSyncReverts) => {
                    file.lose_pending(true);
                    return Err(DiskErrorKind::Medium);
                }
                other => return Err(other.refusal()),
            }
            Ok(())
        })
    }
}

impl Drop for SimDiskFile {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        let Some(disk) = state.disks.get_mut(&self.disk).filter(|disk| disk.generation == self.generation) else {
            return;
        };
        let tree = disk.tree_mut();
        let unused = tree.file_mut(self.id).is_some_and(|file| {
            file.handles = file.handles.saturating_sub(1);
            file.handles == 0 && !file.linked
        });
        if unused {
            tree.files.remove(&self.id);
        }
    }
}

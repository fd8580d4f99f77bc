//! The calls on names and attributes, without the kernel's wire types.
//!
//! Changes of metadata are visible at once and durable soon after. Nothing here waits for a disk except [`MountDoor::sync`].

use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strata_namespace::{
    Access, Attr, ErrorKind, Namespace, NewNode, NodeKind, Op, Positions, RenameMode, SYMLINK_LEN_MAX, SetAttr,
    StoreSpace,
};
use strata_seam::Ino;

use crate::attr::without_set_id;
use crate::blocking::Pool;
use crate::caller::{Callers, Identity};
use crate::dir::OpenDir;
use crate::errno::Refusal;
use crate::file::OpenFile;
use crate::metrics::MountMetrics;
use crate::nodes::{Nodes, Shown, ino_of, validator};
use crate::notify::Feed;
use crate::options::MountOptions;
use crate::refusals::Refusals;
use crate::slots::Slots;

/// Set-group-id in a mode.
const SGID: u32 = 0o2000;

/// One mount: the name space and what the kernel holds of it.
pub(crate) struct MountDoor {
    pub(crate) ns: Arc<Namespace>,
    pub(crate) options: MountOptions,
    pub(crate) callers: Callers,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) files: Slots<OpenFile>,
    pub(crate) refusals: Refusals,
    pub(crate) dirs: Slots<OpenDir>,
    /// Offsets in directories.
    pub(crate) positions: Positions,
    pub(crate) metrics: Arc<MountMetrics>,
    pub(crate) pool: Pool,
    /// Whether the kernel has sent its last request: what is left is to store what programs wrote.
    pub(crate) finishing: Arc<AtomicBool>,
    pub(crate) feed: Arc<Feed>,
}

impl MountDoor {
    pub(crate) fn new(ns: Arc<Namespace>, options: MountOptions) -> std::io::Result<Self> {
        let nodes = Arc::new(Nodes::new());
        let known = Arc::downgrade(&nodes);
        ns.remember_removed(move |ino| known.upgrade().is_some_and(|nodes| nodes.refers(ino)));
        Ok(Self {
            ns,
            callers: Callers::new(),
            nodes,
            files: Slots::new(),
            refusals: Refusals::default(),
            dirs: Slots::new(),
            positions: Positions::new(secret(), options.position_bytes_max),
            metrics: Arc::new(MountMetrics::default()),
            pool: Pool::start(options.threads())?,
            finishing: Arc::default(),
            feed: Arc::new(Feed::default()),
            options,
        })
    }

    /// After the last request: finishes what runs and closes what programs left open.
    pub(crate) fn finish(&self) {
        self.finishing.store(true, Ordering::Release);
        self.pool.finish();
        for file in self.files.drain() {
            let ino = file.ino();
            if let Err(error) = self.close_file(file) {
                tracing::error!(ino = ino.0, errno = error.0, "closing a file left open at unmount failed");
            }
        }
        self.dirs.drain();
    }

    /// The attributes a name leads to, `None` if there is no such name. The caller counts the reference.
    pub(crate) fn lookup(&self, who: Identity, parent: Ino, name: &OsStr) -> Result<Option<Attr>, Refusal> {
        let found = match name.as_bytes() {
            // The kernel's NFS server looks `.` and `..` up to turn a bare inode number into an entry.
            b"." => self.callers.run(&self.ns, who, |op| self.ns.getattr(op, parent)),
            b".." => self.callers.run(&self.ns, who, |op| self.ns.parent(op, parent)),
            name => self.callers.run(&self.ns, who, |op| self.ns.lookup(op, parent, name)),
        };
        match found {
            Ok(attr) => Ok(Some(Attr { mode: self.ns.mode_for_kernel(&attr), ..attr })),
            Err(e) if e.kind == ErrorKind::NotFound => Ok(None),
            Err(e) => match self.refuse_in(parent, e) {
                Refusal(libc::ENOENT) => Ok(None),
                refusal => Err(refusal),
            },
        }
    }

    pub(crate) fn getattr(&self, who: Identity, number: u64) -> Result<Shown, Refusal> {
        let ino = ino_of(number);
        match self.callers.run(&self.ns, who, |op| self.ns.getattr(op, ino)) {
            Ok(attr) => self.shown(number, attr),
            // Reached through a working directory, or a descriptor that does not hold the file open.
            Err(e) if e.kind == ErrorKind::Stale => match self.ns.removed(ino) {
                Some(attr) => Ok(Shown { number, attr, lasting: true }),
                None => Err(e.into()),
            },
            Err(e) => Err(e.into()),
        }
    }

    /// The kernel gives `count` references to an inode back.
    pub(crate) fn forget(&self, number: u64, count: u64) {
        if self.nodes.forget(number, count) {
            self.ns.forget_removed(ino_of(number));
        }
    }

    /// What a call in directory `parent` failed with: in one that was removed there are no names, and none can be made.
    pub(crate) fn refuse_in(&self, parent: Ino, error: strata_namespace::Error) -> Refusal {
        if error.kind == ErrorKind::Stale && self.ns.removed(parent).is_some() {
            return Refusal(libc::ENOENT);
        }
        error.into()
    }

    /// The file's attributes as an inode of the kernel is to have them. Read before the node is looked at, so that
    /// attributes of a new content find the node past.
    fn shown(&self, number: u64, mut attr: Attr) -> Result<Shown, Refusal> {
        attr.mode = self.ns.mode_for_kernel(&attr);
        let Some(node) = self.nodes.get(number) else { return Ok(Shown { number, attr, lasting: true }) };
        let kept = match node.kept() {
            None => None,
            Some(kept) => match self.ns.getattr(&self.callers.root_op(), kept) {
                Ok(kept) => Some(kept),
                // The last who had it open is closing it.
                Err(e) if e.kind == ErrorKind::Stale => None,
                Err(e) => return Err(e.into()),
            },
        };
        Ok(node.show(attr, kept.as_ref()))
    }

    /// Changes attributes. `handle` is the open file the kernel names, if any; `by_kernel` says that the kernel itself
    /// stores times it kept while writing back.
    pub(crate) fn setattr(
        &self,
        who: Identity,
        number: u64,
        mut set: SetAttr,
        handle: Option<u64>,
        by_kernel: bool,
    ) -> Result<Shown, Refusal> {
        let asked = self.nodes.moments.now();
        let (ino, file) = (ino_of(number), handle.and_then(|handle| self.files.get(handle)));
        if set.size.is_some() {
            match file.filter(|file| file.writable()) {
                Some(file) => {
                    set.permit = Some(file.permit());
                    self.joins_present(&file);
                    file.note_wrote();
                }
                // Reached by name: the name leads to another content now, and the kernel looks it up again.
                None if handle.is_none() && self.nodes.get(number).is_some_and(|node| node.is_past()) => {
                    return Err(Refusal(libc::ESTALE));
                }
                None => {}
            }
        }
        // The kernel leaves clearing set-id bits to this side (HANDLE_KILLPRIV_V2): always after a change of owner.
        if (set.uid.is_some() || set.gid.is_some()) && set.mode.is_none() {
            let before = self.callers.run(&self.ns, who, |op| self.ns.getattr(op, ino))?;
            if before.kind != NodeKind::Directory {
                set.mode = without_set_id(before.mode);
            }
        }
        // The kernel was shown more mode bits of the root than there are. A program that adds a bit to the mode it sees sends these as well.
        if let Some(mode) = set.mode.filter(|_| ino == strata_namespace::ROOT_INO) {
            let before = self.callers.run(&self.ns, who, |op| self.ns.getattr(op, ino))?;
            set.mode = Some(mode & !(self.ns.mode_for_kernel(&before) & !before.mode));
        }
        let change = |op: &Op| {
            op.watch(ino);
            let attr = self.ns.setattr(op, ino, &set)?;
            Ok((attr, op.watched(ino).map(|(found, _)| validator(&found))))
        };
        let (attr, found) = if by_kernel {
            change(&self.callers.root_op())?
        } else if set.mode.is_some() || set.gid.is_some() {
            // Whether set-group-id may stay and which groups may be given depends on all groups, and no refusal shows that some are missing.
            change(&self.callers.full_op(&self.ns, who))?
        } else {
            self.callers.run(&self.ns, who, change)?
        };
        let attr = if set.size.is_some() && who.uid != 0 { self.clear_set_id(attr)? } else { attr };
        let node = self.nodes.get(number);
        if set.size.is_some() {
            self.changed_here(number, node.as_deref(), found, &attr);
            if let Some(node) = &node {
                node.resized(&attr);
            }
        } else if let Some(node) = node.filter(|node| !node.is_past()) {
            node.wrote(found, &attr);
        }
        let shown = self.shown(number, attr)?;
        Ok(Shown { lasting: shown.lasting && !self.nodes.moments.changed_since(asked, ino.0), ..shown })
    }

    /// Clears set-id bits after a write or truncation by somebody without the privilege to keep them.
    pub(crate) fn clear_set_id(&self, attr: Attr) -> Result<Attr, Refusal> {
        match without_set_id(attr.mode) {
            Some(mode) if attr.kind == NodeKind::File => {
                let set = SetAttr { mode: Some(mode), ..SetAttr::default() };
                Ok(self.ns.setattr(&self.callers.root_op(), attr.ino, &set)?)
            }
            Some(_) | None => Ok(attr),
        }
    }

    pub(crate) fn access(&self, who: Identity, ino: Ino, asked: Access) -> Result<(), Refusal> {
        // The result is an answer, not a refusal, so all groups are needed from the start.
        let has = self.ns.access(&self.callers.full_op(&self.ns, who), ino, asked)?;
        if (asked.read && !has.read) || (asked.write && !has.write) || (asked.exec && !has.exec) {
            return Err(Refusal(libc::EACCES));
        }
        Ok(())
    }

    pub(crate) fn readlink(&self, who: Identity, ino: Ino) -> Result<Vec<u8>, Refusal> {
        Ok(self.callers.run(&self.ns, who, |op| self.ns.readlink(op, ino))?)
    }

    pub(crate) fn mknod(&self, who: Identity, parent: Ino, name: &OsStr, node: NewNode) -> Result<Attr, Refusal> {
        let name = name.as_bytes();
        if node.mode & SGID != 0 {
            let op = self.callers.full_op(&self.ns, who);
            return self.ns.mknod(&op, parent, name, node).map_err(|e| self.refuse_in(parent, e));
        }
        let made = self.callers.run(&self.ns, who, |op| self.ns.mknod(op, parent, name, node));
        made.map_err(|e| self.refuse_in(parent, e))
    }

    pub(crate) fn mkdir(&self, who: Identity, parent: Ino, name: &OsStr, mode: u32) -> Result<Attr, Refusal> {
        let made = self.callers.run(&self.ns, who, |op| self.ns.mkdir(op, parent, name.as_bytes(), mode));
        made.map_err(|e| self.refuse_in(parent, e))
    }

    pub(crate) fn symlink(&self, who: Identity, parent: Ino, name: &OsStr, target: &[u8]) -> Result<Attr, Refusal> {
        if target.len() > SYMLINK_LEN_MAX {
            return Err(Refusal(libc::ENAMETOOLONG));
        }
        let made = self.callers.run(&self.ns, who, |op| self.ns.symlink(op, parent, name.as_bytes(), target));
        made.map_err(|e| self.refuse_in(parent, e))
    }

    pub(crate) fn link(&self, who: Identity, ino: Ino, parent: Ino, name: &OsStr) -> Result<Attr, Refusal> {
        let made = self.callers.run(&self.ns, who, |op| self.ns.link(op, ino, parent, name.as_bytes()));
        made.map_err(|e| self.refuse_in(parent, e))
    }

    pub(crate) fn unlink(&self, who: Identity, parent: Ino, name: &OsStr) -> Result<(), Refusal> {
        Ok(self.callers.run(&self.ns, who, |op| self.ns.unlink(op, parent, name.as_bytes()))?)
    }

    pub(crate) fn rmdir(&self, who: Identity, parent: Ino, name: &OsStr) -> Result<(), Refusal> {
        Ok(self.callers.run(&self.ns, who, |op| self.ns.rmdir(op, parent, name.as_bytes()))?)
    }

    pub(crate) fn rename(
        &self,
        who: Identity,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        mode: RenameMode,
    ) -> Result<(), Refusal> {
        let (from, to) = ((from.0, from.1.as_bytes()), (to.0, to.1.as_bytes()));
        Ok(self.callers.run(&self.ns, who, |op| self.ns.rename_or_trash(op, from, to, mode))?)
    }

    pub(crate) fn space(&self, who: Identity) -> Result<StoreSpace, Refusal> {
        Ok(self.ns.space(&self.callers.op(who))?)
    }

    /// Makes a file or directory durable (invariant ACK). Waits for the disks.
    pub(crate) fn sync(&self, who: Identity, ino: Ino) -> Result<(), Refusal> {
        let op = self.callers.op(who);
        self.ns.fsync(&op, ino)?;
        Ok(self.ns.settle_blocking(&op)?)
    }
}

/// A key nobody outside knows; offsets in directories need not outlive the mount.
fn secret() -> [u8; 32] {
    let mut key = [0; 32];
    for part in key.chunks_mut(8) {
        part.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    key
}

/// How a `renameat2` treats an existing target; `None` for combinations this door refuses with EINVAL, RENAME_WHITEOUT
/// among them (it belongs to overlay file systems, which keep their upper layer elsewhere).
pub(crate) fn rename_mode(flags: u32) -> Option<RenameMode> {
    match flags {
        0 => Some(RenameMode::Replace),
        libc::RENAME_NOREPLACE => Some(RenameMode::NoReplace),
        libc::RENAME_EXCHANGE => Some(RenameMode::Exchange),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_and_contradictory_renames_are_refused() {
        assert_eq!(rename_mode(0), Some(RenameMode::Replace));
        assert_eq!(rename_mode(libc::RENAME_NOREPLACE), Some(RenameMode::NoReplace));
        assert_eq!(rename_mode(libc::RENAME_EXCHANGE), Some(RenameMode::Exchange));
        for flags in [
            libc::RENAME_WHITEOUT,
            libc::RENAME_WHITEOUT | libc::RENAME_NOREPLACE,
            1 << 10,
            libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE,
        ] {
            assert_eq!(rename_mode(flags), None, "{flags:#x}");
        }
    }
}

//! Opening files and closing them.

use std::sync::atomic::Ordering;

use strata_seam::Ino;
use strata_seam::planted::{Bug, planted};

use super::CREATE_TRIES_MAX;
use crate::authority::Action;
use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::locks::uphold::Touched;
use crate::mode;
use crate::namespace::Namespace;
use crate::types::{Access, NodeKind, Op, Opened, STORE};
use crate::view::{View, gone};

impl Namespace {
    /// Checks access and opens the file. An unlinked file stays readable and writable until its last [`Namespace::close`]. `truncate`
    /// cuts it to zero bytes. Each call needs one `close`.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`], [`ErrorKind::IsDirectory`], [`ErrorKind::Stale`]; for writing [`ErrorKind::Locked`].
    pub fn open(&self, op: &Op, ino: Ino, access: Access, truncate: bool) -> Result<Opened> {
        // Counted as open before it is checked, so that an unlink in between keeps the file.
        let file = self.opens.get_or_insert(ino);
        file.handles.fetch_add(1, Ordering::SeqCst);
        self.opens.erasing.wait();
        let opened = self.check_open(op, ino, access, truncate);
        if opened.is_err() {
            file.handles.fetch_sub(1, Ordering::AcqRel);
            drop(file);
            self.opens.forget_if_idle(ino);
        }
        opened
    }

    pub(super) fn check_open(&self, op: &Op, ino: Ino, access: Access, truncate: bool) -> Result<Opened> {
        let attr = self.attr_of_one_moment(ino, || {
            let mut snap = self.snap(op);
            let inode = snap.inode(ino)?;
            snap.bucket = inode.bucket;
            if inode.attr.nlink == 0 && !self.is_kept_here(&mut snap, ino)? {
                return Err(gone());
            }
            if access.write || truncate {
                self.uphold_locks(&mut snap, op, &[Touched::Node(&inode)])?;
            }
            Ok(inode.attr)
        })?;
        if attr.kind == NodeKind::Directory {
            return Err(fail(ErrorKind::IsDirectory, "this is a directory"));
        }
        let permit = self.permit_of(op, &attr, access)?;
        // Truncating counts as writing, even if the file is opened only for reading.
        if truncate && !access.write {
            self.authorize(op, Action::Write, &attr)?;
        }
        let attr = if truncate && attr.size > 0 { self.resize(op, ino, 0)? } else { attr };
        Ok(Opened { attr, permit })
    }

    /// Creates a regular file and opens it. With `exclusive` an existing name is an error; without, the existing file is opened after a
    /// check of permission. Each call needs one [`Namespace::close`].
    ///
    /// # Errors
    /// [`ErrorKind::Exists`], and those of [`Namespace::mknod`] and [`Namespace::open`].
    #[allow(clippy::too_many_arguments, reason = "the arguments of open(2), of which none can be left out")]
    pub fn create(
        &self,
        op: &Op,
        parent: Ino,
        name: &[u8],
        mode: u32,
        access: Access,
        exclusive: bool,
        truncate: bool,
    ) -> Result<Opened> {
        let mut tries = 0;
        loop {
            tries += 1;
            let made = self.change(op, |tx, effects| {
                if !exclusive && tx.find(parent, name)?.is_some() {
                    return Ok(None);
                }
                let inode = self.make(tx, effects, op, parent, name, NodeKind::File, mode, |_| Ok(()))?;
                // Counted as open by the change itself, so that nobody can remove the file before it has its first handle.
                if planted(Bug::EffectInBody) {
                    self.opens.hold(inode.attr.ino);
                } else {
                    effects.opened.push(inode.attr.ino);
                }
                let permit = self.permit_of_made(op, &inode.attr, access);
                Ok(Some(Opened { attr: inode.attr, permit }))
            })?;
            if let Some(opened) = made {
                return Ok(opened);
            }
            let opened = self.lookup(op, parent, name).and_then(|attr| self.open(op, attr.ino, access, truncate));
            match opened {
                // The file was removed or replaced since the look-up: the next try makes it, or opens what is there now.
                Err(error)
                    if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Stale) && tries < CREATE_TRIES_MAX => {}
                opened => return opened,
            }
        }
    }

    /// Creates an open file without a name (`O_TMPFILE`); it vanishes when closed, unless it was linked.
    ///
    /// # Errors
    /// Those of permission.
    pub fn create_unnamed(&self, op: &Op, dir: Ino, mode: u32) -> Result<Opened> {
        self.change(op, |tx, effects| {
            let parent = tx.dir(dir)?;
            self.authorize(op, Action::Add, &parent.attr)?;
            let now = self.clock.now();
            let (gid, mode) = mode::inherit(&op.caller, &parent.attr, NodeKind::File, mode);
            let mut inode = self.new_inode(tx, NodeKind::File, mode, (op.caller.uid, gid), &parent, now)?;
            inode.attr.nlink = 0;
            self.put_inode(tx, &mut inode);
            tx.put(key::unlinked(self.own.id, inode.attr.ino), Vec::new());
            effects.opened.push(inode.attr.ino);
            effects.bucket = parent.bucket;
            let all = Access { read: true, write: true, exec: false };
            Ok(Opened { permit: self.permit_of_made(op, &inode.attr, all), attr: inode.attr })
        })
    }

    /// Ends one [`Namespace::open`] or [`Namespace::create`]. `wrote`: the handle was used for writing. Written bytes are sealed into
    /// content; the call does not wait until that is durable.
    ///
    /// # Errors
    /// Those of sealing: what was written and not yet synced stays staged, and is tried again.
    pub fn close(&self, op: &Op, ino: Ino, wrote: bool) -> Result<()> {
        let Some(file) = self.opens.get(ino) else { return Ok(()) };
        let dirty = || file.dirty.load(Ordering::Acquire);
        // The file counts as open until it is sealed: if it is removed meanwhile, those who still refer to it get its last bytes.
        let mut sealed = Ok(());
        if wrote || (file.handles.load(Ordering::Acquire) == 1 && dirty()) {
            sealed = self.seal_whole(op, ino, &file);
        }
        let last = file.handles.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && sealed.is_ok() && dirty() {
            sealed = self.seal_whole(op, ino, &file);
        }
        drop(file);
        if last {
            self.remove_if_unlinked(op, ino)?;
            self.opens.forget_if_idle(ino);
        }
        sealed
    }

    /// Removes an inode without names once nobody has it open.
    pub(super) fn remove_if_unlinked(&self, op: &Op, ino: Ino) -> Result<()> {
        self.remove_marked(op, &key::unlinked(self.own.id, ino), ino)
    }

    /// Removes an inode without names if its mark is there and nobody has it open. The mark is this session's, or one of a session that
    /// is gone and so has nothing open.
    pub(crate) fn remove_marked(&self, op: &Op, mark: &[u8], ino: Ino) -> Result<()> {
        if self.store.get(mark)?.is_none() {
            return Ok(());
        }
        let session = key::session_of(mark).unwrap_or(self.own.id);
        self.change(op, |tx, effects| {
            if tx.record(mark)?.is_none() || session == self.own.id && self.opens.is_open_for_erasing(ino) {
                return Ok(());
            }
            if let Some(inode) = tx.find_inode(ino)?
                && inode.attr.nlink == 0
                && !self.is_marked_beside(tx, ino, session)?
            {
                effects.bucket = inode.bucket;
                self.erase(tx, effects, &inode)?;
            }
            tx.delete(mark);
            Ok(())
        })
    }

    /// After a start, before anything is opened: files that were unlinked while open have nobody left in whatever session.
    pub(crate) fn remove_unlinked(&self) -> Result<()> {
        let op = Op::new(crate::types::Caller::root(&STORE));
        loop {
            let found = self.store.range(&[key::TABLE_UNLINKED], &[key::TABLE_UNLINKED + 1], 256)?;
            if found.is_empty() || planted(Bug::UnlinkedKept) {
                return Ok(());
            }
            for (key, _) in found {
                let ino = key::unlinked_ino(&key);
                let ino = ino.ok_or_else(|| crate::view::damaged("the list of unlinked inodes".to_owned()))?;
                self.remove_marked(&op, &key, ino)?;
            }
        }
    }
}

//! Making and removing entries, for file doors.

use strata_content::Tx;
use strata_seam::Ino;
use strata_seam::planted::{Bug, planted};

use crate::authority::{Action, Resource};
use crate::bucket;
use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::locks::uphold::Touched;
use crate::mode;
use crate::name;
use crate::namespace::Namespace;
use crate::records::{Dirent, Inode};
use crate::rename::stays_inside;
use crate::told::Entry;
use crate::top;
use crate::types::{Attr, Durability, LINK_MAX, NewNode, NodeKind, Op, ROOT_INO, SYMLINK_LEN_MAX};
use crate::view::View;

impl Namespace {
    /// Creates a file, FIFO, socket or device.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] and those of names and permission.
    pub fn mknod(&self, op: &Op, parent: Ino, name: &[u8], node: NewNode) -> Result<Attr> {
        if matches!(node.kind, NodeKind::Directory | NodeKind::Symlink) {
            return Err(fail(ErrorKind::Invalid, "directories and symbolic links have calls of their own"));
        }
        if matches!(node.kind, NodeKind::CharDevice | NodeKind::BlockDevice) {
            self.authorize(op, Action::MakeDevice, Resource::Store)?;
        }
        self.change(op, |tx, effects| {
            let inode = self.make(tx, effects, op, parent, name, node.kind, node.mode, |inode| {
                inode.attr.rdev = node.rdev;
                Ok(())
            })?;
            Ok(inode.attr)
        })
    }

    /// Creates a symbolic link. The target is stored as it is and never followed by the store.
    ///
    /// # Errors
    /// As [`Namespace::mknod`]; [`ErrorKind::NameTooLong`] for a target above [`SYMLINK_LEN_MAX`].
    pub fn symlink(&self, op: &Op, parent: Ino, name: &[u8], target: &[u8]) -> Result<Attr> {
        if target.is_empty() || target.len() > SYMLINK_LEN_MAX || target.contains(&0) {
            return Err(fail(ErrorKind::NameTooLong, format!("a link target of {} bytes", target.len())));
        }
        self.change(op, |tx, effects| {
            let inode = self.make(tx, effects, op, parent, name, NodeKind::Symlink, 0o777, |inode| {
                inode.target = target.to_vec();
                inode.attr.size = target.len() as u64;
                Ok(())
            })?;
            Ok(inode.attr)
        })
    }

    /// Creates a directory. In the root this creates a bucket.
    ///
    /// # Errors
    /// As [`Namespace::mknod`].
    pub fn mkdir(&self, op: &Op, parent: Ino, name: &[u8], mode: u32) -> Result<Attr> {
        self.change(op, |tx, effects| {
            if parent == ROOT_INO {
                let relaxed = self.durability == Durability::Relaxed;
                return Ok(self
                    .make_bucket(tx, effects, op, name, (mode, bucket::OBJECT_MODE_DEFAULT), relaxed)?
                    .0
                    .attr);
            }
            Ok(self.make(tx, effects, op, parent, name, NodeKind::Directory, mode, |_| Ok(()))?.attr)
        })
    }

    /// Makes a new inode under a name that must be free.
    #[allow(clippy::too_many_arguments, reason = "one per property of what is made; a struct would only rename them")]
    pub(crate) fn make(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        parent: Ino,
        name: &[u8],
        kind: NodeKind,
        mode: u32,
        fill: impl Fn(&mut Inode) -> Result<()>,
    ) -> Result<Inode> {
        name::check_new(name)?;
        let dir = tx.dir(parent)?;
        self.authorize(op, Action::Search, &dir.attr)?;
        let plain = tx.any_entry(parent, name)?;
        if plain.is_some() {
            return Err(fail(ErrorKind::Exists, format!("'{}' exists already", name.escape_ascii())));
        }
        self.make_in(tx, effects, op, dir, (name, plain), kind, mode, fill)
    }

    /// Makes a directory under a name of keys, which may be one that no file door gives (empty, of 300 bytes, `..`), beside an object of
    /// that name too. Below a bucket.
    #[allow(clippy::too_many_arguments, reason = "one per property of what is made; a struct would only rename them")]
    pub(crate) fn make_of_key(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        parent: Ino,
        name: &[u8],
        mode: u32,
        fill: impl Fn(&mut Inode) -> Result<()>,
    ) -> Result<Inode> {
        let dir = tx.dir(parent)?;
        self.authorize(op, Action::Search, &dir.attr)?;
        let plain = tx.any_entry(parent, name)?;
        if plain.is_some_and(|plain| plain.stands_in(name)) || tx.entry(parent, &[name, b"/"].concat())?.is_some() {
            return Err(fail(ErrorKind::Exists, format!("'{}/' exists already", name.escape_ascii())));
        }
        self.make_in(tx, effects, op, dir, (name, plain), NodeKind::Directory, mode, fill)
    }

    /// Makes a new inode in a directory that the caller may search, under a name that is free. `plain` as [`Self::add_entry`] has it.
    #[allow(clippy::too_many_arguments, reason = "one per property of what is made; a struct would only rename them")]
    fn make_in(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        mut dir: Inode,
        (name, plain): (&[u8], Option<Dirent>),
        kind: NodeKind,
        mode: u32,
        fill: impl Fn(&mut Inode) -> Result<()>,
    ) -> Result<Inode> {
        self.authorize(op, Action::Add, &dir.attr)?;
        self.uphold_locks(tx, op, &[Touched::Members(&dir)])?;
        let now = self.clock.now();
        let (gid, mode) = mode::inherit(&op.caller, &dir.attr, kind, mode);
        let mut inode = self.new_inode(tx, kind, mode, (op.caller.uid, gid), &dir, now)?;
        fill(&mut inode)?;
        let entry_name = if kind == NodeKind::Directory { [name, b"/"].concat() } else { name.to_vec() };
        self.add_entry(tx, &mut dir, (&entry_name, plain), &mut inode, now)?;
        effects.bucket = top::promises(&dir, inode.is_directory());
        let shown = name::shown(&entry_name, false);
        self.tell_created(tx, effects, Entry { dir: dir.attr.ino, name: &entry_name, shown: &shown }, &inode);
        Ok(inode)
    }

    /// Adds a name to a file.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`] for a directory, [`ErrorKind::TooManyLinks`], [`ErrorKind::CrossDevice`] into another bucket or
    /// quota tree, and as [`Namespace::mknod`].
    pub fn link(&self, op: &Op, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        name::check_new(name)?;
        self.change(op, |tx, effects| {
            let mut inode = tx.inode(ino)?;
            if inode.attr.kind == NodeKind::Directory {
                return Err(fail(ErrorKind::NotPermitted, "a directory has one name only"));
            }
            let mut dir = tx.dir(parent)?;
            self.authorize(op, Action::Search, &dir.attr)?;
            let plain = tx.any_entry(parent, name)?;
            if plain.is_some() {
                return Err(fail(ErrorKind::Exists, format!("'{}' exists already", name.escape_ascii())));
            }
            self.authorize(op, Action::Add, &dir.attr)?;
            stays_inside(&inode, &dir)?;
            self.uphold_locks(tx, op, &[Touched::Members(&dir)])?;
            if inode.attr.nlink >= LINK_MAX {
                return Err(fail(
                    ErrorKind::TooManyLinks,
                    format!("this file has {LINK_MAX} names, the most there may be"),
                ));
            }
            let now = self.clock.now();
            if inode.attr.nlink == 0 {
                tx.delete(key::unlinked(self.own.id, ino));
            }
            inode.attr.nlink += u32::from(!planted(Bug::LinkNotCounted));
            inode.attr.ctime = now;
            self.add_entry(tx, &mut dir, (name, plain), &mut inode, now)?;
            effects.bucket = dir.bucket;
            self.tell_linked(tx, effects, Entry { dir: dir.attr.ino, name, shown: name }, &inode);
            Ok(self.with_staged(inode.attr))
        })
    }

    /// Removes a name of anything but a directory.
    ///
    /// # Errors
    /// [`ErrorKind::IsDirectory`], [`ErrorKind::NotFound`] and those of permission.
    pub fn unlink(&self, op: &Op, parent: Ino, name: &[u8]) -> Result<()> {
        self.change(op, |tx, effects| self.unlink_in(tx, effects, op, parent, name))
    }

    /// [`Namespace::unlink`] as a part of a change.
    pub(crate) fn unlink_in(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        parent: Ino,
        name: &[u8],
    ) -> Result<()> {
        let mut dir = tx.dir(parent)?;
        self.authorize(op, Action::Search, &dir.attr)?;
        let found = tx.found(parent, name)?;
        let mut inode = tx.inode(found.dirent.ino)?;
        self.authorize(op, Action::Remove, (&dir.attr, &inode.attr))?;
        if inode.attr.kind == NodeKind::Directory {
            return Err(fail(ErrorKind::IsDirectory, format!("'{}' is a directory", name.escape_ascii())));
        }
        self.uphold_locks(tx, op, &[Touched::Members(&dir), Touched::Entry(&dir, &found.name, &inode)])?;
        self.end_locks(tx, effects, &dir, &found.name, inode.attr.ino)?;
        let now = self.clock.now();
        self.remove_entry(tx, &mut dir, &found, &mut inode, now)?;
        effects.bucket = dir.bucket;
        let before = inode.attr.change;
        self.drop_link(tx, effects, &mut inode, now)?;
        self.tell_removed(tx, effects, Entry { dir: dir.attr.ino, name: &found.name, shown: name }, &inode, before);
        // A file door does not remove an implicit directory with its last file: the directory becomes explicit.
        if dir.implicit {
            dir.implicit = false;
            self.put_inode(tx, &mut dir);
        }
        Ok(())
    }

    /// Removes an empty directory; in the root, an empty bucket.
    ///
    /// # Errors
    /// [`ErrorKind::NotEmpty`], [`ErrorKind::NotDirectory`], [`ErrorKind::NotFound`] and those of permission.
    pub fn rmdir(&self, op: &Op, parent: Ino, name: &[u8]) -> Result<()> {
        if parent == ROOT_INO {
            self.follow_out_of_bucket(name)?;
        }
        self.change(op, |tx, effects| self.rmdir_in(tx, effects, op, parent, name))
    }

    /// [`Namespace::rmdir`] as a part of a change.
    pub(crate) fn rmdir_in(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        parent: Ino,
        name: &[u8],
    ) -> Result<()> {
        let mut dir = tx.dir(parent)?;
        self.authorize(op, Action::Search, &dir.attr)?;
        if name == b"." {
            return Err(fail(ErrorKind::Invalid, "a directory cannot be removed as '.'"));
        }
        if name == b".." {
            return Err(fail(ErrorKind::NotEmpty, "a directory cannot be removed as '..'"));
        }
        let found = tx.found(parent, name)?;
        let inode = tx.inode(found.dirent.ino)?;
        self.authorize(op, Action::Remove, (&dir.attr, &inode.attr))?;
        if inode.attr.kind != NodeKind::Directory {
            return Err(fail(ErrorKind::NotDirectory, format!("'{}' is not a directory", name.escape_ascii())));
        }
        self.uphold_locks(tx, op, &[Touched::Members(&dir), Touched::Entry(&dir, &found.name, &inode)])?;
        if parent == ROOT_INO {
            self.forget_bucket(tx, name::raw(&found.name), &inode)?;
        }
        effects.bucket = top::promises(&dir, true);
        self.remove_dir(tx, effects, &mut dir, (&found.name, name), &inode)
    }

    /// Takes an empty directory and its folder marker out of `dir`.
    pub(crate) fn remove_dir(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        dir: &mut Inode,
        (entry_name, shown): (&[u8], &[u8]),
        inode: &Inode,
    ) -> Result<()> {
        let ino = inode.attr.ino;
        if tx.has_entries(ino)? {
            return Err(fail(ErrorKind::NotEmpty, "the directory is not empty"));
        }
        self.end_locks(tx, effects, dir, entry_name, ino)?;
        let now = self.clock.now();
        if let Some(marker) = tx.entry(ino, b"")? {
            let mut marker = tx.inode(marker.ino)?;
            tx.delete(key::entry(ino, b""));
            let before = marker.attr.change;
            self.drop_link(tx, effects, &mut marker, now)?;
            let at = Entry { dir: inode.attr.ino, name: b"", shown: &name::shown(b"", false) };
            self.tell_removed(tx, effects, at, &marker, before);
        }
        self.erase(tx, effects, inode)?;
        self.unlist(tx, dir, (entry_name, false), now)?;
        self.tell_removed(tx, effects, Entry { dir: dir.attr.ino, name: entry_name, shown }, inode, inode.attr.change);
        Ok(())
    }
}

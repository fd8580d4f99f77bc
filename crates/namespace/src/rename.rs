//! Rename: one commit, however much is below the renamed directory.

use strata_content::Tx;
use strata_seam::Ino;
use strata_seam::planted::{Bug, planted};

use crate::authority::Action;
use crate::bucket;
use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::following;
use crate::locks::uphold::Touched;
use crate::name;
use crate::namespace::Namespace;
use crate::records::Inode;
use crate::told::Entry;
use crate::top;
use crate::types::{Caller, NodeKind, Op, ROOT_INO, RenameMode};
use crate::view::{Found, View};

/// Deepest tree a rename checks for loops.
const DEPTH_MAX: usize = 4096;

/// What the names of the folders begin with, at the top of the tree, into which desktops move what is thrown away: `.Trash-` and the uid,
/// or `.Trash` (freedesktop.org, Trash specification 1.0).
const TRASH_PREFIX: &[u8] = b".Trash";

/// Whether a rename may lead into another bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Boundary {
    Kept,
    OpenToTrash,
}

/// Whether a directory is in a bucket that is a desktop's trash.
fn is_trash(tx: &mut Tx<'_>, dir: &Inode) -> Result<bool> {
    Ok(tx.bucket_at(dir.bucket)?.is_some_and(|bucket| bucket.name.starts_with(TRASH_PREFIX)))
}

impl Namespace {
    /// Renames the entry `from.1` of directory `from.0` to `to.1` in directory `to.0`, in one commit. `mode` says what happens to an
    /// entry that has the new name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Exists`], [`ErrorKind::NotEmpty`], [`ErrorKind::IsDirectory`],
    /// [`ErrorKind::NotDirectory`], [`ErrorKind::Loop`], [`ErrorKind::CrossDevice`] into another bucket or quota tree, and those of
    /// names and permission.
    pub fn rename(&self, op: &Op, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Result<()> {
        self.rename_within(op, from, to, (mode, Boundary::Kept)).map(|_| ())
    }

    /// Renames as [`Namespace::rename`] does, for file doors, and also into a desktop's trash in another bucket (a folder at the top
    /// whose name begins with `.Trash`). Desktops do not copy where a rename is refused; they offer to delete for good.
    ///
    /// The inode stays the same and belongs to the trash's bucket from then on. The content of a folder is assigned to that bucket in
    /// later commits ([`Namespace::follow_step`]). If a file has several names, the renamed one becomes a separate file. A folder at the
    /// top becomes an ordinary folder in the trash and stops being a bucket.
    ///
    /// # Errors
    /// Those of [`Namespace::rename`].
    pub fn rename_or_trash(&self, op: &Op, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Result<()> {
        if self.rename_within(op, from, to, (mode, Boundary::OpenToTrash))? {
            self.begin_following();
        }
        Ok(())
    }

    /// Whether it led into a desktop's trash from another bucket.
    fn rename_within(
        &self,
        op: &Op,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        (mode, boundary): (RenameMode, Boundary),
    ) -> Result<bool> {
        if planted(Bug::RenameInTwoCommits) {
            let found = self.lookup(op, from.0, from.1)?;
            if self.link(op, found.ino, to.0, to.1).is_ok() {
                return self.unlink(op, from.0, from.1).map(|()| false);
            }
        }
        // Only a rename that replaces a bucket waits; one to a free name at the top does not.
        if to.0 == ROOT_INO {
            self.follow_out_of_bucket(to.1)?;
        }
        self.seal_before_rename(op, from, to);
        self.change(op, |tx, effects| {
            let mut source_dir = tx.dir(from.0)?;
            let target_dir = tx.dir(to.0)?;
            self.authorize(op, Action::Search, &source_dir.attr)?;
            self.authorize(op, Action::Search, &target_dir.attr)?;
            if matches!(from.1, b"." | b"..") || matches!(to.1, b"." | b"..") {
                return Err(fail(ErrorKind::Invalid, "'.' and '..' cannot be renamed"));
            }
            let outside = stays_inside(&source_dir, &target_dir).err();
            let thrown_away = match &outside {
                Some(_) => {
                    boundary == Boundary::OpenToTrash && mode != RenameMode::Exchange && is_trash(tx, &target_dir)?
                }
                None => false,
            };
            if let Some(outside) = outside.filter(|_| !thrown_away) {
                return Err(outside);
            }
            let source = tx.found(from.0, from.1)?;
            let mut inode = tx.inode(source.dirent.ino)?;
            let bucket_goes = thrown_away && from.0 == ROOT_INO && inode.is_directory();
            if bucket_goes {
                bucket::refuse_uploads(tx, inode.attr.ino)?;
            }
            self.authorize(op, Action::Remove, (&source_dir.attr, &inode.attr))?;
            let target = tx.find(to.0, to.1)?;
            if mode == RenameMode::NoReplace && target.is_some() {
                return Err(fail(ErrorKind::Exists, format!("'{}' exists already", to.1.escape_ascii())));
            }
            let directory = inode.attr.kind == NodeKind::Directory;
            if directory && from.0 != to.0 {
                self.authorize(op, Action::MoveDirectory, &inode.attr)?;
                refuse_loop(tx, inode.attr.ino, to.0)?;
            }
            effects.bucket = top::promises(&source_dir, directory);
            if thrown_away {
                effects.relaxed = Some(tx.is_relaxed(inode.bucket)? && tx.is_relaxed(target_dir.bucket)?);
            }
            let now = self.clock.now();
            let from_names = [Touched::Members(&source_dir), Touched::Entry(&source_dir, &source.name, &inode)];
            self.uphold_locks(tx, op, &from_names)?;
            self.uphold_locks(tx, op, &[Touched::Members(&target_dir)])?;

            if mode == RenameMode::Exchange {
                let target = target
                    .ok_or_else(|| fail(ErrorKind::NotFound, format!("there is no '{}'", to.1.escape_ascii())))?;
                if target.dirent.ino == source.dirent.ino {
                    // Both names lead to the same file, and stay.
                    return Ok(false);
                }
                let mut other = tx.inode(target.dirent.ino)?;
                self.authorize(op, Action::Remove, (&target_dir.attr, &other.attr))?;
                effects.bucket = top::promises(&source_dir, directory || other.is_directory());
                if other.attr.kind == NodeKind::Directory && from.0 != to.0 {
                    refuse_loop(tx, other.attr.ino, from.0)?;
                }
                self.uphold_locks(tx, op, &[Touched::Entry(&target_dir, &target.name, &other)])?;
                self.end_locks(tx, effects, &source_dir, &source.name, inode.attr.ino)?;
                self.end_locks(tx, effects, &target_dir, &target.name, other.attr.ino)?;
                self.remove_entry(tx, &mut source_dir, &source, &mut inode, now)?;
                let mut target_dir = tx.dir(to.0)?;
                self.remove_entry(tx, &mut target_dir, &target, &mut other, now)?;
                self.place(tx, to, &mut inode, now)?;
                self.place(tx, from, &mut other, now)?;
                for (inode, at) in [(&inode, to), (&other, from)] {
                    if at.0 == ROOT_INO && inode.is_directory() {
                        bucket::rename(tx, inode.attr.ino, at.1)?;
                    }
                }
                self.tell_moved(tx, effects, (&source_dir, &source.name, from.1), (&target_dir, to.1, true), &inode);
                self.tell_moved(tx, effects, (&target_dir, &target.name, to.1), (&source_dir, from.1, true), &other);
                return Ok(false);
            }

            if let Some(target) = &target {
                if target.dirent.ino == source.dirent.ino {
                    return Ok(false);
                }
                self.make_way(tx, effects, op, to, target, directory)?;
            } else {
                self.authorize(op, Action::Add, &target_dir.attr)?;
            }
            if target.is_none() || !matches!(name::parse(to.1), name::Named::Entry(_) | name::Named::Hashed { .. }) {
                name::check_new(to.1)?;
            }
            // Read again: removing the target may have written the same directory.
            let mut source_dir = tx.dir(from.0)?;
            self.end_locks(tx, effects, &source_dir, &source.name, inode.attr.ino)?;
            self.remove_entry(tx, &mut source_dir, &source, &mut inode, now)?;
            if source_dir.implicit {
                source_dir.implicit = false;
                self.put_inode(tx, &mut source_dir);
            }
            let before = inode.attr.change;
            // A move into the trash has two events, each with a change number of its own.
            inode.attr.change += u64::from(thrown_away);
            self.place(tx, to, &mut inode, now)?;
            if bucket_goes {
                following::let_go_of_bucket(tx, inode.attr.ino);
            }
            if thrown_away {
                // So a reader of one bucket's events sees the inode arrive or leave.
                let came = Entry { dir: to.0, name: &entry_name(to.1, &inode), shown: to.1 };
                let mut arrived = inode.clone();
                arrived.attr.change = before + 1;
                self.tell_linked(tx, effects, came, &arrived);
                let gone = Entry { dir: from.0, name: &source.name, shown: from.1 };
                self.tell_removed(tx, effects, gone, &inode, before);
                effects.moved |= directory;
                return Ok(true);
            }
            if to.0 == ROOT_INO && directory {
                bucket::rename(tx, inode.attr.ino, to.1)?;
            }
            self.tell_moved(tx, effects, (&source_dir, &source.name, from.1), (&target_dir, to.1, false), &inode);
            Ok(false)
        })
    }

    /// What was written to a file that is about to take the name of another goes into the log before the rename: after a crash
    /// the name leads to all of it, or to the old file. What cannot be stored now stays staged and does not keep the rename
    /// from being made.
    fn seal_before_rename(&self, op: &Op, from: (Ino, &[u8]), to: (Ino, &[u8])) {
        if !self.opens.any_staged() {
            return;
        }
        // Looked up as the superuser: the change checks the caller's permission.
        let looked = Op::new(Caller::root(op.caller.door));
        let mut snap = self.snap(&looked);
        let replaces = snap.find(to.0, to.1).is_ok_and(|found| found.is_some());
        let found = if replaces { snap.find(from.0, from.1).ok().flatten() } else { None };
        drop(snap);
        if let Some(found) = found
            && let Err(error) = self.seal_if_dirty(&looked, found.dirent.ino)
        {
            tracing::debug!(ino = %found.dirent.ino, %error, "what was written to a file is not stored before it is renamed");
        }
    }

    /// Removes the target of a rename if its kind allows.
    fn make_way(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        to: (Ino, &[u8]),
        target: &Found,
        directory: bool,
    ) -> Result<()> {
        let mut dir = tx.dir(to.0)?;
        let mut old = tx.inode(target.dirent.ino)?;
        self.authorize(op, Action::Remove, (&dir.attr, &old.attr))?;
        self.uphold_locks(tx, op, &[Touched::Entry(&dir, &target.name, &old)])?;
        match (directory, old.attr.kind == NodeKind::Directory) {
            (true, false) => Err(fail(ErrorKind::NotDirectory, "a directory cannot replace something else")),
            (false, true) => Err(fail(ErrorKind::IsDirectory, "only a directory can replace a directory")),
            (true, true) => {
                if to.0 == ROOT_INO {
                    self.forget_bucket(tx, name::raw(&target.name), &old)?;
                }
                self.remove_dir(tx, effects, &mut dir, (&target.name, to.1), &old)
            }
            (false, false) => {
                self.end_locks(tx, effects, &dir, &target.name, old.attr.ino)?;
                let now = self.clock.now();
                let before = old.attr.change;
                self.remove_entry(tx, &mut dir, target, &mut old, now)?;
                self.drop_link(tx, effects, &mut old, now)?;
                self.tell_removed(
                    tx,
                    effects,
                    Entry { dir: dir.attr.ino, name: &target.name, shown: to.1 },
                    &old,
                    before,
                );
                Ok(())
            }
        }
    }

    /// Tells that an inode went from one name, with how file doors show it, to another.
    fn tell_moved(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        (dir, name, shown): (&Inode, &[u8], &[u8]),
        (to, to_shown, exchange): (&Inode, &[u8], bool),
        inode: &Inode,
    ) {
        let new = entry_name(to_shown, inode);
        let to = Entry { dir: to.attr.ino, name: &new, shown: to_shown };
        self.tell_renamed(tx, effects, Entry { dir: dir.attr.ino, name, shown }, (to, exchange), inode);
    }

    /// Enters an inode under a name.
    fn place(&self, tx: &mut Tx<'_>, at: (Ino, &[u8]), inode: &mut Inode, now: strata_seam::Timestamp) -> Result<()> {
        let mut dir = tx.dir(at.0)?;
        let entry_name = entry_name(at.1, inode);
        if inode.is_directory() {
            // A directory that a user moved stays, even when it is empty.
            inode.implicit = false;
        }
        inode.attr.ctime = now;
        following::bring(self, tx, &dir, inode)?;
        let plain = tx.any_entry(at.0, name::raw(&entry_name))?;
        self.add_entry(tx, &mut dir, (&entry_name, plain), inode, now)
    }
}

/// The entry name of an inode that is called so.
fn entry_name(name: &[u8], inode: &Inode) -> Vec<u8> {
    if inode.is_directory() { [name, b"/"].concat() } else { name.to_vec() }
}

/// A directory must not move below itself.
fn refuse_loop(tx: &mut Tx<'_>, moved: Ino, into: Ino) -> Result<()> {
    let mut at = into;
    for _ in 0..DEPTH_MAX {
        if at == moved {
            return Err(fail(ErrorKind::Loop, "a directory cannot be moved into itself"));
        }
        if at == ROOT_INO {
            return Ok(());
        }
        at = tx.dir(at)?.parent;
    }
    Err(fail(ErrorKind::Loop, "the tree is too deep"))
}

/// A bucket is a boundary like a file system of its own, and so is a quota tree: no inode goes from one directory to the other
/// across it.
///
/// # Errors
/// [`ErrorKind::CrossDevice`].
pub(crate) fn stays_inside(one: &Inode, other: &Inode) -> Result<()> {
    if one.bucket != other.bucket {
        return Err(fail(
            ErrorKind::CrossDevice,
            "source and target are in different buckets, each like a file system of its own; copy, and remove the source",
        ));
    }
    if one.tree != other.tree {
        return Err(fail(
            ErrorKind::CrossDevice,
            "source and target are in different quota trees; copy, and remove the source",
        ));
    }
    Ok(())
}

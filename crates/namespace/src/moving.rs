//! Moving a tree into another bucket, for doors whose protocol does it in one request.
//!
//! A bucket is a boundary that no inode crosses, so what is moved is copied by reference and then removed where it was. Nothing is
//! removed before the destination is whole, and of the source no content that was written since it was copied.

use std::collections::HashMap;

use strata_seam::Ino;

use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::namespace::Namespace;
use crate::records::Inode;
use crate::types::{Attr, Change, Door, NodeKind, Op, RenameMode, SetAttr, SetTime};
use crate::view::View;

/// What the names begin with under which a tree is put together before it takes its place.
pub const MOVING_PREFIX: &str = ".strata-moving-";

/// What the names of the folders begin with, at the top of the tree, into which desktops move what is thrown away: `.Trash-` and the uid,
/// or `.Trash` (freedesktop.org, Trash specification 1.0).
const TRASH_PREFIX: &[u8] = b".Trash";

impl Namespace {
    /// [`Namespace::rename`] for file doors, where also a desktop's trash at the top of the tree takes what comes from another bucket: a
    /// copy by reference takes its place there, and the source is removed, as [`Namespace::move_across`] does it. Desktops
    /// do not copy where a rename is refused; they offer to delete for good.
    ///
    /// # Errors
    /// Those of [`Namespace::rename`]; into a trash those of [`Namespace::move_across`] instead of [`ErrorKind::CrossDevice`].
    pub fn rename_or_trash(&self, op: &Op, from: (Ino, &[u8]), to: (Ino, &[u8]), mode: RenameMode) -> Result<()> {
        let refused = match self.rename(op, from, to, mode) {
            Err(error) if error.kind == ErrorKind::CrossDevice && mode != RenameMode::Exchange => error,
            done => return done,
        };
        if !self.is_in_trash(op, to.0)? {
            return Err(refused);
        }
        let source = self.lookup(op, from.0, from.1)?;
        match self.move_across(op, from, to, false) {
            // What is there already is not what is thrown away.
            Err(error) if error.kind == ErrorKind::PreconditionFailed => return Err(refused),
            moved => moved?,
        };
        // The kernel of whoever renamed takes the name for one of the inode that it has renamed.
        let entry = Change::Entry { parent: to.0, name: to.1.to_vec(), old: Some(source.ino) };
        self.feed.publish(Door::Admin, vec![entry]);
        Ok(())
    }

    /// Whether a directory is in a bucket that is a desktop's trash.
    fn is_in_trash(&self, op: &Op, dir: Ino) -> Result<bool> {
        let mut snap = self.snap(op);
        let bucket = snap.dir(dir)?.bucket;
        Ok(snap.bucket_at(bucket)?.is_some_and(|bucket| bucket.name.starts_with(TRASH_PREFIX)))
    }

    /// Moves a file or a tree into another bucket, by reference: no data moves. What is at the destination is replaced in one step
    /// when the copy is whole. The copy has content, times, modes, attributes and properties of the source, and belongs to the
    /// caller; names that led to one file lead to one each. Returns whether something was replaced.
    ///
    /// # Errors
    /// [`ErrorKind::PreconditionFailed`] where there is something and not `overwrite`, [`ErrorKind::Busy`] if something was changed
    /// or made in the source meanwhile (the destination is whole then, and the rest of the source stays), and those of names and
    /// permission.
    pub fn move_across(&self, op: &Op, from: (Ino, &[u8]), to: (Ino, &[u8]), overwrite: bool) -> Result<bool> {
        op.read_newest();
        let source = self.lookup(op, from.0, from.1)?;
        let target = match self.lookup(op, to.0, to.1) {
            Ok(_) if !overwrite => return Err(fail(ErrorKind::PreconditionFailed, "the target exists")),
            Ok(target) => Some(target),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let _claims = (self.claim(op, from.0, from.1, true)?, self.claim(op, to.0, to.1, true)?);
        // Nobody else's, of this session or an earlier one: what is there under it may be removed.
        let beside = format!("{MOVING_PREFIX}{:x}-{:x}", self.store.session().0, self.store.unique()).into_bytes();
        let mut copies = HashMap::new();
        let mut copied = |source: &Attr, content, copy| {
            copies.insert(source.ino, content);
            self.make_alike(op, source, copy)
        };
        if let Err(error) = self.copy_entry(op, &source, (to.0, &beside), true, 0, &mut copied) {
            self.remove_rest(op, to.0, &beside);
            return Err(error);
        }
        // A file replaces a file in one step; anything else changes places with what is there.
        let swap = target
            .as_ref()
            .is_some_and(|target| target.kind == NodeKind::Directory || source.kind == NodeKind::Directory);
        let mode = match &target {
            None => RenameMode::NoReplace,
            Some(_) if swap => RenameMode::Exchange,
            Some(_) => RenameMode::Replace,
        };
        if let Err(error) = self.rename(op, (to.0, &beside), to, mode) {
            self.remove_rest(op, to.0, &beside);
            return Err(error);
        }
        if swap {
            self.remove_tree(op, to.0, &beside)?;
        }
        let may = |inode: &Inode| match (inode.attr.kind, copies.get(&inode.attr.ino)) {
            (NodeKind::Directory, _) => Ok(()),
            (NodeKind::File, Some(content)) if *content == inode.version && !self.opens.has_staged(inode.attr.ino) => {
                Ok(())
            }
            (kind, Some(_)) if kind != NodeKind::File => Ok(()),
            _ => Err(fail(
                ErrorKind::Busy,
                "the source was changed while it was moved; the destination is whole, and what is left of the source stays",
            )),
        };
        self.remove_tree_told(op, from.0, from.1, &mut |_| true, &may)?;
        Ok(target.is_some())
    }

    /// Gives a copy the attributes of what it is of.
    fn make_alike(&self, op: &Op, source: &Attr, copy: Ino) -> Result<()> {
        self.copy_records(op, key::TABLE_XATTR, source.ino, copy)?;
        let alike = SetAttr {
            mode: (source.kind != NodeKind::Symlink).then_some(source.mode),
            mtime: Some(SetTime::At(source.mtime)),
            atime: Some(SetTime::At(source.atime)),
            ..SetAttr::default()
        };
        self.setattr(op, copy, &alike).map(drop)
    }

    /// Removes a copy that was not completed.
    fn remove_rest(&self, op: &Op, parent: Ino, name: &[u8]) {
        match self.remove_tree(op, parent, name) {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => {
                let name = name.escape_ascii();
                tracing::warn!(%name, %error, "a copy that was begun to move a tree could not be removed; remove it by hand");
            }
        }
    }
}

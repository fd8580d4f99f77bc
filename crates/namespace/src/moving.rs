//! Moving a tree into another bucket, and replacing something by a copy, for doors whose protocol does it in one request.
//!
//! A bucket is a boundary that no inode crosses, so a tree is copied by reference and then removed where it was. Nothing is removed before
//! the destination is whole. Content of the source that was written since it was copied is not removed.

use std::collections::HashMap;

use strata_seam::Ino;

use crate::authority::Action;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::key;
use crate::namespace::Namespace;
use crate::records::Inode;
use crate::trees::NewName;
use crate::types::{Attr, NodeKind, Op, ROOT_INO, RenameMode, SetAttr, SetTime};

/// The bits of a mode by which a program runs as its owner or its group.
const SET_ID: u32 = 0o6000;
/// Entries read at once.
const LISTED: usize = 256;
/// Names of unfinished copies begin with this: a tree that is moved into another bucket, or replaces something, is copied under such a name and
/// then renamed to its destination. One that a crash
/// left can be removed.
pub const MOVING_PREFIX: &str = ".strata-moving-";

impl Namespace {
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
        // A caller that may not remove all of the source gets no copy either.
        self.check_removal(op, from.0, from.1)?;
        let target = match self.lookup(op, to.0, to.1) {
            Ok(_) if !overwrite => return Err(fail(ErrorKind::PreconditionFailed, "the target exists")),
            Ok(target) => Some(target),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if target.is_some() {
            self.check_removal(op, to.0, to.1)?;
        }
        let _claims = (self.claim(op, from.0, from.1, true)?, self.claim(op, to.0, to.1, true)?);
        let beside = self.name_beside();
        let mut copies = HashMap::new();
        let mut copied = |source: &Attr, content, copy| {
            copies.insert(source.ino, content);
            self.make_alike(op, source, copy)
        };
        if let Err(error) = self.copy_entry(op, &source, (to.0, NewName::Given(&beside)), true, 0, &mut copied) {
            self.remove_rest(op, to.0, &beside);
            return Err(error);
        }
        // A file replaces a file in one step; otherwise the copy and the target are exchanged.
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
            self.remove_replaced(op, to.0, &beside)?;
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

    /// Checks whether the caller may remove the entry and everything below it, and changes nothing. For operations that remove it at the
    /// end; what changes meanwhile is checked again then.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`] and its like, with the path below the name; [`ErrorKind::NotFound`].
    pub fn check_removal(&self, op: &Op, parent: Ino, name: &[u8]) -> Result<()> {
        let (dir, top) = (self.getattr(op, parent)?, self.lookup(op, parent, name)?);
        self.authorize(op, Action::Remove, (&dir, &top))?;
        let mut dirs = vec![(top, name.to_vec())];
        while let Some((dir, path)) = dirs.pop().filter(|(dir, _)| dir.kind == NodeKind::Directory) {
            let mut after = Vec::new();
            let at = |error: Error, path: &[u8]| fail(error.kind, format!("{}: {}", path.escape_ascii(), error.what));
            loop {
                let page = self.readdir(op, dir.ino, &after, LISTED).map_err(|error| at(error, &path))?;
                for entry in page.entries {
                    let below = [&path[..], b"/", &entry.name].concat();
                    let may = self.authorize(op, Action::Remove, (&dir, &entry.attr));
                    may.map_err(|error| at(error, &below))?;
                    after = entry.cursor;
                    if entry.attr.kind == NodeKind::Directory {
                        dirs.push((entry.attr, below));
                    }
                }
                if page.end {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Replaces what is at `to` by a copy that `copy` makes under the name that it is given: beside it first, so that whatever fails leaves what
    /// was there. Then both change places, and what is replaced is removed.
    pub(crate) fn replace_by_copy(&self, op: &Op, to: (Ino, &[u8]), copy: &dyn Fn(&[u8]) -> Result<()>) -> Result<()> {
        // A caller that may not remove all of the target replaces nothing.
        self.check_removal(op, to.0, to.1)?;
        let beside = self.name_beside();
        let at_top = to.0 == ROOT_INO;
        let ready = copy(&beside).and_then(|()| match at_top {
            // A folder and a file at the top are in different buckets and cannot be exchanged.
            true => self.remove_tree(op, to.0, to.1),
            false => self.rename(op, (to.0, &beside), to, RenameMode::Exchange),
        });
        if let Err(error) = ready {
            self.remove_rest(op, to.0, &beside);
            return Err(error);
        }
        match at_top {
            true => self.rename(op, (to.0, &beside), to, RenameMode::NoReplace).map_err(|error| {
                let what = format!(
                    "{}; what it was to replace is gone, and the copy is '{}'",
                    error.what,
                    beside.escape_ascii()
                );
                fail(error.kind, what)
            }),
            false => self.remove_replaced(op, to.0, &beside),
        }
    }

    /// Removes what a copy has replaced, which has the name `beside` now.
    fn remove_replaced(&self, op: &Op, parent: Ino, beside: &[u8]) -> Result<()> {
        self.remove_tree(op, parent, beside).map_err(|error| {
            let beside = beside.escape_ascii();
            let what =
                format!("{}; the destination is whole, and what it replaced is still there as '{beside}'", error.what);
            fail(error.kind, what)
        })
    }

    /// Gives a copy the attributes of its source.
    fn make_alike(&self, op: &Op, source: &Attr, copy: Ino) -> Result<()> {
        // With a new owner, the copy must not keep set-id bits or attributes that grant rights.
        let stays = (source.uid, source.gid) == (op.caller.uid, op.caller.gid);
        let goes = |name: &[u8]| stays || name.starts_with(b"user.");
        self.copy_records(op, key::TABLE_XATTR, source.ino, copy, goes)?;
        let mode = if stays { source.mode } else { source.mode & !SET_ID };
        let alike = SetAttr {
            mode: (source.kind != NodeKind::Symlink).then_some(mode),
            mtime: Some(SetTime::At(source.mtime)),
            atime: Some(SetTime::At(source.atime)),
            ..SetAttr::default()
        };
        self.setattr(op, copy, &alike).map(drop)
    }

    /// A name for an unfinished copy. Nobody else's, of this session or an earlier one: what is there under it may be removed.
    fn name_beside(&self) -> Vec<u8> {
        format!("{MOVING_PREFIX}{:x}-{:x}", self.store.session().0, self.store.unique()).into_bytes()
    }

    /// Removes a copy that was not completed.
    fn remove_rest(&self, op: &Op, parent: Ino, name: &[u8]) {
        match self.remove_tree(op, parent, name) {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => {
                let name = name.escape_ascii();
                tracing::warn!(%name, %error, "a copy that was not completed could not be removed; remove it by hand");
            }
        }
    }
}

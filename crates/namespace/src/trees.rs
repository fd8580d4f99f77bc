//! Whole trees: removing and copying, for doors whose protocol does it in one request.

use strata_seam::Ino;

use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::name;
use crate::namespace::Namespace;
use crate::object::{NewContent, etag};
use crate::permission;
use crate::record::Bucket;
use crate::types::{Access, Condition, NodeKind, Op, ROOT_INO, dir_mode};
use crate::view::View;

/// Deepest tree followed.
const DEPTH_MAX: usize = 1024;
/// Entries taken up per step.
const STEP: usize = 256;
/// Names removed in one commit: what it holds the writer's lock for stays below a few milliseconds.
const TOGETHER: usize = 64;

impl Namespace {
    /// Removes an entry and everything below it: many commits for a large tree, each complete in itself, so that a
    /// failure in the middle leaves a smaller tree.
    ///
    /// # Errors
    /// As [`Namespace::unlink`] and [`Namespace::rmdir`].
    pub fn remove_tree(&self, op: &Op, parent: Ino, name: &[u8]) -> Result<()> {
        op.read_newest();
        let attr = self.lookup(op, parent, name)?;
        if attr.kind != NodeKind::Directory {
            return self.unlink(op, parent, name);
        }
        self.empty_dir(op, attr.ino, 0)?;
        self.rmdir(op, parent, name)
    }

    fn empty_dir(&self, op: &Op, dir: Ino, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(fail(ErrorKind::Loop, format!("a tree deeper than {DEPTH_MAX} levels")));
        }
        loop {
            // Goes on behind what it has removed, which the index may still have to step over, and looks once more from the
            // start for what was made meanwhile.
            let (mut cursor, mut found) = (Vec::new(), false);
            loop {
                let page = self.readdir(op, dir, &cursor, STEP)?;
                found |= !page.entries.is_empty();
                let (dirs, files): (Vec<_>, Vec<_>) =
                    page.entries.iter().partition(|entry| entry.attr.kind == NodeKind::Directory);
                for entry in dirs {
                    self.empty_dir(op, entry.attr.ino, depth + 1)?;
                    self.rmdir(op, dir, &entry.name)?;
                }
                let names: Vec<&[u8]> = files.iter().map(|entry| &entry.name[..]).collect();
                names.chunks(TOGETHER).try_for_each(|names| self.unlink_some(op, dir, names))?;
                match page.entries.last() {
                    Some(last) if !page.end => cursor.clone_from(&last.cursor),
                    _ => break,
                }
            }
            if !found {
                return Ok(());
            }
        }
    }

    /// Removes some names in one commit, or, where that is refused, one after the other up to the one that is the reason.
    fn unlink_some(&self, op: &Op, dir: Ino, names: &[&[u8]]) -> Result<()> {
        let together =
            self.change(op, |tx, effects| names.iter().try_for_each(|name| self.unlink_in(tx, effects, op, dir, name)));
        if together.is_ok() {
            return Ok(());
        }
        names.iter().try_for_each(|name| self.unlink(op, dir, name))
    }

    /// Copies a file or (with `deep`) a tree by reference: no data moves. An existing target is replaced when
    /// `overwrite`. Returns whether something was replaced. A file is one commit; a tree one per entry, in order, so
    /// that a failure in the middle leaves a partial copy and the source untouched.
    ///
    /// # Errors
    /// [`ErrorKind::PreconditionFailed`] without `overwrite`, [`ErrorKind::Loop`] into itself, and those of names and
    /// permission.
    pub fn copy_tree(
        &self,
        op: &Op,
        from: (Ino, &[u8]),
        bucket: &str,
        to: (Ino, &[u8]),
        deep: bool,
        overwrite: bool,
    ) -> Result<bool> {
        op.read_newest();
        let bucket = self.snap(op).bucket(bucket.as_bytes())?;
        let source = self.lookup(op, from.0, from.1)?;
        let mut at = to.0;
        while at != ROOT_INO {
            if at == source.ino {
                return Err(fail(ErrorKind::Loop, "a directory cannot be copied into itself"));
            }
            at = self.parent(op, at)?.ino;
        }
        let replaced = match self.lookup(op, to.0, to.1) {
            Ok(target) if target.ino == source.ino => {
                return Err(fail(ErrorKind::NotPermitted, "source and target are the same"));
            }
            Ok(_) if !overwrite => return Err(fail(ErrorKind::PreconditionFailed, "the target exists")),
            Ok(target) => {
                // A file over a file is replaced in one commit; anything else has to go first.
                if target.kind == NodeKind::Directory || source.kind == NodeKind::Directory {
                    self.remove_tree(op, to.0, to.1)?;
                }
                true
            }
            Err(error) if error.kind == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        self.copy_entry(op, &source, &bucket, to, deep, 0)?;
        Ok(replaced)
    }

    fn copy_entry(
        &self,
        op: &Op,
        source: &crate::types::Attr,
        bucket: &Bucket,
        to: (Ino, &[u8]),
        deep: bool,
        depth: usize,
    ) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(fail(ErrorKind::Loop, format!("a tree deeper than {DEPTH_MAX} levels")));
        }
        match source.kind {
            NodeKind::Directory => {
                let made = self.mkdir(op, to.0, to.1, dir_mode(bucket.mode))?;
                self.copy_properties(op, source.ino, made.ino)?;
                if !deep {
                    return Ok(());
                }
                let mut cursor = Vec::new();
                loop {
                    let page = self.readdir(op, source.ino, &cursor, STEP)?;
                    for entry in &page.entries {
                        self.copy_entry(op, &entry.attr, bucket, (made.ino, &entry.name), deep, depth + 1)?;
                    }
                    match page.entries.last() {
                        Some(last) if !page.end => cursor.clone_from(&last.cursor),
                        _ => return Ok(()),
                    }
                }
            }
            NodeKind::File => self.copy_file(op, source.ino, bucket, to),
            NodeKind::Symlink => {
                let target = self.readlink(op, source.ino)?;
                self.symlink(op, to.0, to.1, &target).map(|_| ())
            }
            kind => {
                let node = crate::types::NewNode { kind, mode: source.mode, rdev: source.rdev };
                self.mknod(op, to.0, to.1, node).map(|_| ())
            }
        }
    }

    fn copy_file(&self, op: &Op, source: Ino, bucket: &Bucket, to: (Ino, &[u8])) -> Result<()> {
        self.seal_if_dirty(op, source)?;
        self.seal_named(op, to.0, to.1)?;
        let made = self.change(op, |tx, effects| {
            let inode = tx.inode(source)?;
            permission::require(&op.caller, &inode.attr, Access { read: true, ..Access::default() })?;
            let dir = tx.dir(to.0)?;
            permission::search(&op.caller, &dir.attr)?;
            if to.0 == ROOT_INO {
                return Err(fail(ErrorKind::NotPermitted, "the root holds buckets only"));
            }
            let entry_name = match tx.find(to.0, to.1)? {
                Some(found) => found.name,
                None => {
                    // Unusual names of S3 keys are copied under their alias' real name.
                    match name::parse(to.1) {
                        name::Named::Entry(entry_name) => entry_name,
                        _ => {
                            name::check_new(to.1)?;
                            to.1.to_vec()
                        }
                    }
                }
            };
            effects.relaxed = dir.relaxed;
            let new = NewContent {
                content: self.store.content(inode.items.clone())?,
                etag: Some(etag(&inode)),
                meta: inode.meta.clone(),
                parts: inode.parts.clone(),
                allocated: inode.attr.allocated,
            };
            let made = self.put_in(tx, effects, op, dir, &entry_name, &new, &Condition::default(), bucket)?;
            Ok(made.attr.ino)
        })?;
        self.copy_properties(op, source, made)
    }

    /// Dead properties go with a copy (RFC 4918, 9.8.2).
    fn copy_properties(&self, op: &Op, from: Ino, to: Ino) -> Result<()> {
        let any = self.store.range(
            &key::under(key::TABLE_PROPERTY, from, &[]),
            &key::behind(key::TABLE_PROPERTY, from),
            1,
        )?;
        if any.is_empty() {
            return Ok(());
        }
        self.change(op, |tx, _| {
            let all =
                tx.records(&key::under(key::TABLE_PROPERTY, from, &[]), &key::behind(key::TABLE_PROPERTY, from), 1024)?;
            for (key, value) in all {
                tx.put(key::under(key::TABLE_PROPERTY, to, &key[9..]), value);
            }
            Ok(())
        })
    }
}

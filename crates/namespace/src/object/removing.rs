//! Removing objects, one or many.

use strata_content::Tx;

use super::{DELETE_STEP, Place, check};
use crate::authority::Action;
use crate::effects::Effects;
use crate::error::{ErrorKind, Result};
use crate::locks::uphold::Touched;
use crate::name;
use crate::namespace::Namespace;
use crate::told::Entry;
use crate::top;
use crate::types::{Condition, NodeKind, Op};
use crate::view::{Found, View};

impl Namespace {
    /// Removes an object. What is not there is removed already: `false`.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`], [`ErrorKind::PreconditionFailed`], [`ErrorKind::AccessDenied`].
    pub fn delete_object(&self, op: &Op, bucket: &str, key: &[u8], cond: &Condition) -> Result<bool> {
        self.change(op, |tx, effects| self.delete_at(tx, effects, op, bucket, key, cond))
    }

    /// Removes objects, many per commit; one result per key.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`] and those of the ledger; single keys fail in their own result.
    pub fn delete_objects(&self, op: &Op, bucket: &str, keys: &[Vec<u8>]) -> Result<Vec<Result<bool>>> {
        let mut results = Vec::with_capacity(keys.len());
        let mut left = keys;
        let mut step = DELETE_STEP;
        while !left.is_empty() {
            let (now, later) = left.split_at(step.min(left.len()));
            match self.delete_some(op, bucket, now) {
                Ok(removed) => results.extend(removed),
                // The removals do not fit in one commit; nothing was changed.
                Err(error) if error.kind == ErrorKind::TooLarge && now.len() > 1 => {
                    step = now.len() / 2;
                    continue;
                }
                Err(error) => return Err(error),
            }
            left = later;
        }
        Ok(results)
    }

    pub(super) fn delete_some(&self, op: &Op, bucket: &str, keys: &[Vec<u8>]) -> Result<Vec<Result<bool>>> {
        let cond = Condition::default();
        self.change(op, |tx, effects| {
            effects.within(&self.bucket_in(tx, bucket)?);
            Ok(keys.iter().map(|key| self.delete_at(tx, effects, op, bucket, key, &cond)).collect())
        })
    }

    pub(super) fn delete_at(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        bucket: &str,
        key: &[u8],
        cond: &Condition,
    ) -> Result<bool> {
        let record = self.bucket_in(tx, bucket)?;
        effects.within(&record);
        top::refuse_folders(record.root, key)?;
        let Some(Place { mut dir, path, name }) = self.find_place(tx, op, bucket, key)? else {
            check(cond, None)?;
            return Ok(false);
        };
        let now = self.clock.now();
        let dirent = tx.entry(dir.attr.ino, &name)?.filter(|dirent| dirent.kind == NodeKind::File);
        let Some(dirent) = dirent else {
            check(cond, None)?;
            if name.is_empty() && !dir.implicit && !path.is_empty() {
                self.authorize(op, Action::UnmarkFolder, &dir.attr)?;
                self.uphold_pruning(tx, op, (&dir, true), 0, &path)?;
                dir.implicit = true;
                self.put_inode(tx, &mut dir);
                let left = dir.clone();
                if !self.prune(tx, effects, dir, &path, None)? {
                    // The directory stays because it is not empty, and is no object any more.
                    self.tell_attributes(tx, effects, &left);
                }
                return Ok(true);
            }
            return Ok(false);
        };
        let mut inode = tx.inode(dirent.ino)?;
        check(cond, Some(&inode))?;
        self.authorize(op, Action::Remove, (&dir.attr, &inode.attr))?;
        self.uphold_locks(tx, op, &[Touched::Members(&dir), Touched::Entry(&dir, &name, &inode)])?;
        self.uphold_pruning(tx, op, (&dir, dir.implicit), 1, &path)?;
        self.end_locks(tx, effects, &dir, &name, inode.attr.ino)?;
        let found = Found { name, dirent };
        self.remove_entry(tx, &mut dir, &found, &mut inode, now)?;
        let before = inode.attr.change;
        self.drop_link(tx, effects, &mut inode, now)?;
        let shown = name::shown(&found.name, dirent.shadowed);
        let at = Entry { dir: dir.attr.ino, name: &found.name, shown: &shown };
        self.tell_removed(tx, effects, at, &inode, before);
        let with = effects.told.len().checked_sub(1);
        self.prune(tx, effects, dir, &path, with)?;
        Ok(true)
    }
}

//! The content of a folder that was moved into another bucket (a desktop's trash) is given to that bucket in later commits.
//!
//! A rename moves a folder in one commit, whatever is in it. If the target is in another bucket, that commit changes the bucket of the folder
//! alone, and adds a row for the folder. Afterwards each directory that has a row is processed step by step: its entries get its bucket, and
//! those that are directories get rows in the same commit. So the work that is left is recorded in the store, and the next opening continues it.
//!
//! Invariant: everything in a directory belongs to the directory's bucket, or the directory has a row. This holds in every commit, so renames
//! and new files in between need not wait. Until an inode has followed, the rules of the bucket that it comes from apply to it.
//!
//! Two callers ask whether anything is still to follow. While something is, locks are looked up by the place where an inode is, not by the bucket
//! in its record ([`any`]). And a bucket is not removed while an inode elsewhere has it in its record ([`refuse_while_left`]). The guard of the
//! first answer is the count of rows, that of the second the bucket's count of inodes.

pub(crate) mod state;

use std::sync::atomic::Ordering;

use strata_content::{Cell, Tx};
use strata_seam::Ino;
use strata_seam::planted::{Bug, planted};

use crate::belong::{Taken, belongs, bucket_for, take_over_alone};
use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::name;
use crate::namespace::Namespace;
use crate::records::Inode;
use crate::told::Entry;
use crate::types::{Caller, NodeKind, Op, STORE};
use crate::usage::UsageOf;
use crate::view::{View, decode_dirent};
use state::Following;

/// Entries given to a bucket in one commit; in this crate's tests few, so that small trees take many.
const STEP: usize = if cfg!(test) { 2 } else { 64 };
/// Steps that the operation does itself, which made the row: enough for most folders that are thrown away.
const STEPS_AT_ONCE: usize = 4;

/// Within a change: has the inode, which is about to be entered into `dir`, belong there, or leaves a row that says what is left to do.
pub(crate) fn bring(ns: &Namespace, tx: &mut Tx<'_>, dir: &Inode, inode: &mut Inode) -> Result<()> {
    if belongs(dir, inode) {
        return Ok(());
    }
    if !inode.is_directory() && inode.attr.nlink > 1 {
        // Its other names may be in other buckets.
        return leave_row(ns, tx, dir.attr.ino);
    }
    (inode.bucket, inode.tree) = (bucket_for(dir, inode.attr.ino, inode.attr.kind), dir.tree);
    if inode.is_directory() && !planted(Bug::FollowingForgotten) { leave_row(ns, tx, inode.attr.ino) } else { Ok(()) }
}

/// Within a change: the directory `root`, which was a bucket, is a folder elsewhere. The record of the bucket is removed once nothing belongs to
/// it any more, since its rules apply until then.
pub(crate) fn let_go_of_bucket(tx: &mut Tx<'_>, root: Ino) {
    tx.put(key::leaving(root), Vec::new());
}

/// Whether anything may belong to another bucket than it lies in.
///
/// # Errors
/// Reading the index.
pub(crate) fn any(view: &mut impl View) -> Result<bool> {
    Ok(view.cell(key::KEY_FOLLOWING)?.is_some_and(|rows| rows.count > 0))
}

/// Within a change that removes a bucket with nothing in it: refuses it while something elsewhere belongs to the bucket and has its rules from it.
///
/// # Errors
/// [`ErrorKind::Busy`].
pub(crate) fn refuse_while_left(tx: &mut Tx<'_>, bucket: Ino) -> Result<()> {
    // The count includes unlinked inodes that are still open.
    let is_root_alone = |inodes: Option<Cell>| inodes.is_none_or(|inodes| inodes.count <= 1);
    if !any(tx)? || is_root_alone(tx.cell(&UsageOf::Bucket(bucket).key(false))?) {
        return Ok(());
    }
    Err(fail(
        ErrorKind::Busy,
        "a folder that was moved from this bucket into the trash is still being given to the bucket of the trash; nothing was changed; try again in a moment",
    ))
}

/// Each row has a number that no row has had before, so that a worker at the directory starts again.
fn leave_row(ns: &Namespace, tx: &mut Tx<'_>, dir: Ino) -> Result<()> {
    let row = key::following(dir);
    if tx.record(&row)?.is_none() {
        tx.tally(key::KEY_FOLLOWING, 1);
    }
    let turn = ns.numbers.draw(tx)?;
    tx.put(row, turn.to_be_bytes().to_vec());
    Ok(())
}

fn remove_row(tx: &mut Tx<'_>, dir: Ino) {
    tx.tally(key::KEY_FOLLOWING, -1);
    tx.delete(key::following(dir));
}

impl Namespace {
    /// Does the next step of what has to follow folders into their bucket; returns how many entries it looked at, 0 once there is nothing left.
    ///
    /// # Errors
    /// Those of the store; what was done stays, and the next step goes on.
    pub fn follow_step(&self) -> Result<u64> {
        if !self.has_to_follow()? {
            self.forget_left_buckets()?;
            return Ok(0);
        }
        let mut at = self.following.lock();
        let Some((row_key, row)) = self.row_at(&at)? else { return Ok(0) };
        let dir = Ino(u64::from_be_bytes(row_key[1..].first_chunk().copied().unwrap_or_default()));
        if at.dir != Some(dir) || at.row != row {
            *at = Following { dir: Some(dir), row, from: key::entry(dir, &[]) };
        }
        let page = self.store.range(&at.from, &key::behind(key::TABLE_ENTRY, dir), STEP)?;
        let names: Vec<Vec<u8>> = page.iter().map(|(key, _)| key[9..].to_vec()).collect();
        // A name of a file may become a file of its own: staged bytes must be sealed by then to be part of the copy.
        let op = Op::new(Caller::root(&STORE));
        for (_, entry) in &page {
            let dirent = decode_dirent(dir, &entry.value)?;
            if dirent.kind == NodeKind::File && self.opens.has_staged(dirent.ino) {
                self.seal_if_dirty(&op, dirent.ino)?;
            }
        }
        // Each entry may need a number, for a copy or for a row.
        self.numbers.have_at_hand(&self.store, STEP as u64)?;
        let last = page.len() < STEP;
        self.change(&op, |tx, effects| self.follow(tx, effects, dir, &names, last.then_some(&at.row)))?;
        match page.last() {
            Some((key, _)) if !last => at.from = [&key[..], &[0]].concat(),
            _ => *at = Following::default(),
        }
        Ok(page.len().max(1) as u64)
    }

    /// Whether there is anything to do.
    ///
    /// # Errors
    /// Reading the index.
    pub fn has_to_follow(&self) -> Result<bool> {
        Ok(self.store.get(key::KEY_FOLLOWING)?.is_some_and(|entry| Cell::from_value(&entry.value).count > 0))
    }

    /// Does all of it.
    ///
    /// # Errors
    /// As for [`Namespace::follow_step`].
    pub fn follow_all(&self) -> Result<()> {
        while self.follow_step()? > 0 {}
        Ok(())
    }

    /// Has everything follow that was moved out of a bucket which is about to be removed. What is on its way from elsewhere is waited for only where
    /// something of this bucket is, too; a bucket that has something in it waits for nothing.
    pub(crate) fn follow_out_of(&self, bucket: Ino) -> Result<()> {
        if self.snap(&Op::new(Caller::root(&STORE))).first_entry(bucket)?.is_some() {
            return Ok(());
        }
        while self.usage(UsageOf::Bucket(bucket))?.inodes > 1 && self.follow_step()? > 0 {}
        Ok(())
    }

    /// Removes the records of buckets that went into the trash, where nothing belongs to them any more: neither what followed nor what
    /// somebody has open of them.
    fn forget_left_buckets(&self) -> Result<()> {
        let end = key::prefix_end(key::KEY_LEAVING).unwrap_or_default();
        for (mark, _) in self.store.range(key::KEY_LEAVING, &end, STEP)? {
            let Some(root) = key::left(&mark) else { continue };
            if self.usage(UsageOf::Bucket(root))?.inodes > 0 {
                continue;
            }
            let op = Op::new(Caller::root(&STORE));
            self.change(&op, |tx, _| {
                let inodes = tx.cell(&UsageOf::Bucket(root).key(false))?.map_or(0, |cell| cell.count);
                if inodes == 0 {
                    tx.delete(key::bucket(root));
                    tx.delete(mark.clone());
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Does the first steps for an operation that has left a row. What fails here is tried again in the background. Where sessions share the store
    /// all steps are left to their workers, one of which may be processing the row.
    pub(crate) fn begin_following(&self) {
        if self.is_shared() {
            return;
        }
        for _ in 0..STEPS_AT_ONCE {
            match self.follow_step() {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => return tracing::debug!(%error, "what is in a folder of the trash follows it later"),
            }
        }
    }

    /// The row of the directory that the steps are at, or else the first one.
    fn row_at(&self, at: &Following) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        if let Some(dir) = at.dir
            && let Some(row) = self.store.get(&key::following(dir))?
        {
            return Ok(Some((key::following(dir), row.value)));
        }
        let first = self.store.range(&[key::TABLE_FOLLOWING], &[key::TABLE_FOLLOWING + 1], 1)?;
        Ok(first.into_iter().next().map(|(key, entry)| (key, entry.value)))
    }

    /// Gives these entries to the bucket of their directory. `ends`: they are the last ones, and the directory's row goes, if it still says
    /// this.
    fn follow(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        dir: Ino,
        names: &[Vec<u8>],
        ends: Option<&Vec<u8>>,
    ) -> Result<()> {
        let Some(row) = tx.record(&key::following(dir))? else { return Ok(()) };
        let inode = tx.find_inode(dir)?.filter(|inode| inode.is_directory());
        let Some(inode) = inode else {
            // The directory was removed, with everything in it.
            remove_row(tx, dir);
            return Ok(());
        };
        effects.bucket = inode.bucket;
        for entry_name in names {
            self.follow_entry(tx, effects, &inode, entry_name)?;
        }
        if ends.is_some_and(|said| *said == row || planted(Bug::ChangedRowRemoved)) {
            remove_row(tx, dir);
        }
        Ok(())
    }

    fn follow_entry(&self, tx: &mut Tx<'_>, effects: &mut Effects, dir: &Inode, entry_name: &[u8]) -> Result<()> {
        let Some(dirent) = tx.entry(dir.attr.ino, entry_name)? else { return Ok(()) };
        let Some(before) = tx.find_inode(dirent.ino)? else { return Ok(()) };
        if belongs(dir, &before) {
            return Ok(());
        }
        if self.opens.get(dirent.ino).is_some_and(|file| file.dirty.load(Ordering::Acquire)) && before.attr.nlink > 1 {
            return Err(fail(ErrorKind::Busy, "a file of several names is being written; it follows its folder later"));
        }
        match take_over_alone(self, tx, dir, entry_name)? {
            Taken::Copied(copy) => {
                let shown = name::shown(entry_name, dirent.shadowed);
                let at = || Entry { dir: dir.attr.ino, name: entry_name, shown: &shown };
                let left = tx.inode(dirent.ino)?;
                self.tell_removed(tx, effects, at(), &left, before.attr.change);
                let copy = tx.inode(copy)?;
                self.tell_linked(tx, effects, at(), &copy);
                self.lead_locks(tx, dir, entry_name, copy.attr.ino)?;
            }
            _ if before.is_directory() => leave_row(self, tx, dirent.ino)?,
            _ => {}
        }
        Ok(())
    }
}

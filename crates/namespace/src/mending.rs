//! Writes that repairs may make and other callers may not: single records, without a check of permission.

use strata_content::{Content, DedupDomain, Tx};
use strata_seam::Ino;

use crate::belong::{self, Taken};
use crate::domain::dedup_domain;
use crate::error::Result;
use crate::names;
use crate::namespace::Namespace;
use crate::numbers;
use crate::records::{Bucket, Dirent, Inode, LockCount};
use crate::types::NodeKind;
use crate::view::View;

/// The steps of which repairs consist. Each but [`Mending::ready`], [`Mending::take_over_below`] and [`Mending::told`] is part of a
/// change that the caller makes. They check no permission, and the caller keeps the invariants.
#[derive(Clone, Copy)]
pub struct Mending<'a>(&'a Namespace);

impl Namespace {
    /// The steps for repairs, for a store that nobody else uses.
    #[must_use]
    pub fn mending(&self) -> Mending<'_> {
        Mending(self)
    }
}

impl Mending<'_> {
    /// Sees to it that the next change may draw numbers for new inodes.
    ///
    /// # Errors
    /// Those of the store.
    pub fn ready(&self) -> Result<()> {
        self.0.numbers.have_at_hand(&self.0.store, numbers::AT_HAND)
    }

    /// A new inode for the directory `dir`, to be filled and written.
    ///
    /// # Errors
    /// There is no number left; see [`Mending::ready`].
    pub fn new_inode(
        &self,
        tx: &mut Tx<'_>,
        kind: NodeKind,
        mode: u32,
        owner: (u32, u32),
        dir: &Inode,
    ) -> Result<Inode> {
        self.0.new_inode(tx, kind, mode, owner, dir, self.0.now())
    }

    /// Writes an inode; its change number goes up, and the counters of usage follow.
    pub fn put_inode(&self, tx: &mut Tx<'_>, inode: &mut Inode) {
        self.0.put_inode(tx, inode);
    }

    /// Gives an inode content, under the next version number; `allocated` is what of it is no hole.
    ///
    /// # Errors
    /// Those of counting the references.
    pub fn set_content(&self, tx: &mut Tx<'_>, inode: &mut Inode, content: &Content, allocated: u64) -> Result<()> {
        self.0.set_content(tx, inode, content, allocated)
    }

    /// Adds an entry to `dir` and writes the inode, which has the name from now on. `plain` is the present entry of the plain
    /// name.
    ///
    /// # Errors
    /// The name of something other than a directory is taken by such a thing.
    pub fn add_entry(
        &self,
        tx: &mut Tx<'_>,
        dir: &mut Inode,
        (entry_name, plain): (&[u8], Option<Dirent>),
        inode: &mut Inode,
    ) -> Result<()> {
        self.0.add_entry(tx, dir, (entry_name, plain), inode, self.0.now())
    }

    /// Removes an entry from `dir` that no inode knows; `shadowed` as the entry says.
    ///
    /// # Errors
    /// Reading the index.
    pub fn unlist(&self, tx: &mut Tx<'_>, dir: &mut Inode, entry: (&[u8], bool)) -> Result<()> {
        self.0.unlist(tx, dir, entry, self.0.now())
    }

    /// A name leads to the inode from now on. The caller writes it.
    pub fn add_name(&self, tx: &mut Tx<'_>, inode: &mut Inode, parent: Ino, entry_name: &[u8]) {
        names::add(tx, inode, parent, entry_name);
    }

    /// If an inode's record has no name, puts one of its other names (rows of hard links) there. The caller writes the record.
    ///
    /// # Errors
    /// Reading the index.
    pub fn adopt(&self, tx: &mut Tx<'_>, inode: &mut Inode) -> Result<()> {
        names::adopt(tx, inode)
    }

    /// A name no longer leads to the inode. The caller writes it.
    pub fn forget_name(&self, tx: &mut Tx<'_>, inode: &mut Inode, parent: Ino, entry_name: &[u8]) {
        names::remove(tx, inode, parent, entry_name);
    }

    /// Makes the entry lead to an inode of the bucket and the quota tree of `dir`: to the same inode, which changes its bucket, or to a
    /// copy by reference if it has names in other buckets.
    ///
    /// # Errors
    /// Those of the store.
    pub fn take_over(&self, tx: &mut Tx<'_>, dir: &Inode, entry_name: &[u8]) -> Result<Taken> {
        belong::take_over(self.0, tx, dir, entry_name)
    }

    /// Does [`Mending::take_over`] for every entry below a directory, in many commits. Returns how many entries it changed.
    ///
    /// # Errors
    /// Those of the store; what was done stays, and the rest is done by calling again.
    pub fn take_over_below(&self, top: Ino) -> Result<u64> {
        let mut changed = 0;
        belong::take_over_below(self.0, top, &mut |_, _| {
            changed += 1;
            Ok(())
        })?;
        Ok(changed)
    }

    /// Writes the record of a bucket.
    pub fn put_bucket(&self, tx: &mut Tx<'_>, record: &Bucket) {
        record.put(tx);
    }

    /// Has the record of a bucket say that there are so many locks of WebDAV.
    ///
    /// # Errors
    /// Reading the index; there is no number left, see [`Mending::ready`].
    pub fn set_lock_count(&self, tx: &mut Tx<'_>, root: Ino, count: u64) -> Result<()> {
        let Some(mut bucket) = tx.bucket_at(root)? else { return Ok(()) };
        bucket.locks = match count {
            0 => LockCount::default(),
            count => LockCount { count, last: self.0.numbers.draw(tx)? },
        };
        bucket.put(tx);
        Ok(())
    }

    /// Makes the bucket of the files at the top of the tree where it is missing.
    ///
    /// # Errors
    /// Reading the index.
    pub fn put_top(&self, tx: &mut Tx<'_>) -> Result<()> {
        self.0.put_top(tx)
    }

    /// The record of the bucket of the files at the top with its default rules.
    #[must_use]
    pub fn fresh_top(&self, root: &Inode) -> Bucket {
        self.0.fresh_top(root)
    }

    /// The dedup domain of the content of a bucket.
    #[must_use]
    pub fn dedup_domain(&self, bucket: Ino) -> DedupDomain {
        dedup_domain(bucket)
    }

    /// Writes an event which says that the store was repaired. Single changes of a repair have no events.
    ///
    /// # Errors
    /// Those of the commit.
    pub fn told(&self) -> Result<()> {
        self.0.tell_repaired()
    }
}

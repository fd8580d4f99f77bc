//! The number of WebDAV locks in a bucket, kept in the bucket's record.
//!
//! The record is the guard of the bucket's set of locks: granting and ending a lock write it, and every change in the bucket reads it, because
//! it relies on there being no lock. So a change that was computed before a grant is refused at its commit and computed again. A session that
//! is alone has the same counts in memory ([`super::held`]) and does not read the record; where several share the store, only the record counts.
//!
//! A lock on the root of the tree covers every bucket. It is counted in the record of the bucket at the top. Where sessions share the store,
//! changes in all buckets therefore read that record too.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use strata_content::Tx;
use strata_seam::Ino;
use strata_seam::planted::{Bug, planted};

use super::held::Turn;
use super::place::Place;
use super::table;
use crate::error::{Error, ErrorKind, Result};
use crate::following;
use crate::key;
use crate::namespace::Namespace;
use crate::records::LockCount;
use crate::times;
use crate::types::ROOT_INO;
use crate::view::View;

/// The bucket whose record counts what is on this place.
fn counting(place: &Place) -> Ino {
    if place.is_root() { ROOT_INO } else { place.bucket }
}

/// One lock less is on this place.
///
/// # Errors
/// Reading the index.
pub(super) fn count_ended(tx: &mut Tx<'_>, place: &Place) -> Result<()> {
    // A bucket that is removed takes its count with it.
    let Some(mut bucket) = tx.bucket_at(counting(place))? else { return Ok(()) };
    bucket.locks.count = bucket.locks.count.saturating_sub(1);
    if bucket.locks.count == 0 {
        bucket.locks = LockCount::default();
    }
    bucket.put(tx);
    Ok(())
}

/// The bucket in an inode's record, after a check that a lock may cover the inode.
pub(super) struct Near {
    bucket: Ino,
}

impl Near {
    /// Whether a lock may cover this place of the inode whose record has that bucket.
    pub(super) fn concerns(&self, ns: &Namespace, view: &mut impl View, place: &Place) -> Result<bool> {
        Ok(place.is_root() || place.bucket == self.bucket || ns.locks_in(view, place.bucket)?)
    }
}

impl Namespace {
    /// One lock more is on this place.
    pub(super) fn count_granted(&self, tx: &mut Tx<'_>, place: &Place) -> Result<()> {
        let Some(mut bucket) = tx.bucket_at(counting(place))? else { return Ok(()) };
        bucket.locks = LockCount { count: bucket.locks.count + 1, last: self.numbers.draw(tx)? };
        if !planted(Bug::GrantNotCounted) {
            bucket.put(tx);
        }
        Ok(())
    }

    /// Whether a lock may cover something in a bucket.
    pub(super) fn locks_in(&self, view: &mut impl View, bucket: Ino) -> Result<bool> {
        if !self.is_shared() || planted(Bug::LocksOfOthersIgnored) {
            return Ok(self.locks.held.concerns(bucket));
        }
        // Both are read even if the first suffices: the change relies on both.
        let own = view.bucket_at(bucket)?.is_some_and(|bucket| bucket.locks.count > 0);
        let of_top = view.bucket_at(ROOT_INO)?.is_some_and(|bucket| bucket.locks.count > 0);
        Ok(own || of_top)
    }

    /// Whether a lock may cover an inode whose record has this bucket; `None` if not. An inode that has still to follow a folder is covered by locks
    /// on the place where it is: while there may be such inodes, that place has to be checked.
    pub(super) fn locks_near(&self, view: &mut impl View, bucket: Ino) -> Result<Option<Near>> {
        let sure = self.locks_in(view, bucket)?;
        let elsewhere = !planted(Bug::LocksByTheBucketAlone) && following::any(view)?;
        Ok((sure || elsewhere).then_some(Near { bucket }))
    }

    /// Whether a lock may be in the way of one on this place.
    pub(super) fn locks_concern(&self, tx: &mut Tx<'_>, place: &Place) -> Result<bool> {
        if !self.is_shared() {
            return Ok(self.locks.held.count() > 0);
        }
        if !place.is_root() {
            return self.locks_in(tx, place.bucket);
        }
        // A lock on the root covers every bucket, including those that other sessions make meanwhile.
        let (from, end) = (vec![key::TABLE_BUCKET], vec![key::TABLE_BUCKET + 1]);
        for (key, _) in tx.members(&times::key_of(ROOT_INO), &from, &end, usize::MAX >> 1)? {
            tx.record(&key)?;
        }
        Ok(true)
    }

    /// How many locks there are, and how many of them a user has. Where sessions share the store each row is looked at.
    pub(super) fn locks_counted(&self, tx: &mut Tx<'_>, principal: &str) -> Result<(usize, usize)> {
        let held = &self.locks.held;
        if !self.is_shared() {
            return Ok((held.count(), held.of_user(principal)));
        }
        let (mut all, mut of_user) = (0, 0);
        table::within(tx, held, &Place::ROOT, &mut |row| {
            all += 1;
            of_user += usize::from(row.lock.principal == principal);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((all, of_user))
    }

    /// When the store is opened: has the records say what there is, where an earlier version granted the locks.
    pub(super) fn recount_locks(&self, present: &[Turn]) -> Result<()> {
        let mut counts: BTreeMap<Ino, u64> = BTreeMap::new();
        for turn in present {
            if let Turn::Granted(place, ..) = turn {
                *counts.entry(counting(place)).or_default() += 1;
            }
        }
        if counts.is_empty() || self.is_outdated() || self.store.read_only().is_some() {
            return Ok(());
        }
        self.numbers.have_at_hand(&self.store, counts.len() as u64)?;
        let recounted = self.store.transact_as_removal(|tx| {
            for (root, count) in &counts {
                let Some(mut bucket) = tx.bucket_at(*root)?.filter(|bucket| bucket.locks.count != *count) else {
                    continue;
                };
                bucket.locks = LockCount { count: *count, last: self.numbers.draw(tx)? };
                bucket.put(tx);
            }
            Ok::<_, Error>(())
        });
        match recounted {
            // A session that is alone upholds the locks all the same: it has them in memory.
            Err(error) if matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::NoSpace) => Ok(()),
            recounted => recounted.map(drop),
        }
    }
}

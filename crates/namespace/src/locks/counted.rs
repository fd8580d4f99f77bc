//! How many locks of WebDAV there are in a bucket, kept in its record.
//!
//! That nothing is locked is a set without members. The record is the row that stands for it: grants and ends write it, and every change in
//! the bucket reads it. So a change that was computed before a grant is refused by whoever commits it, and computed anew. One session alone
//! has the same in memory ([`super::held`]) and asks the record nothing; where several share the store, the record is all there is.
//!
//! A lock on the root of the tree covers every bucket and is counted with the files at the top, whose record changes of all buckets read
//! for its sake, where sessions share the store.

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

/// There is one lock less on this place.
///
/// # Errors
/// Reading the index.
pub(super) fn count_ended(tx: &mut Tx<'_>, place: &Place) -> Result<()> {
    // A bucket that goes takes the count with it.
    let Some(mut bucket) = tx.bucket_at(counting(place))? else { return Ok(()) };
    bucket.locks.count = bucket.locks.count.saturating_sub(1);
    if bucket.locks.count == 0 {
        bucket.locks = LockCount::default();
    }
    bucket.put(tx);
    Ok(())
}

/// A bucket that something says, of which was asked whether there are locks in it.
pub(super) struct Near {
    bucket: Ino,
}

impl Near {
    /// Whether one may cover this place, which what says the bucket has.
    pub(super) fn concerns(&self, ns: &Namespace, view: &mut impl View, place: &Place) -> Result<bool> {
        Ok(place.is_root() || place.bucket == self.bucket || ns.locks_in(view, place.bucket)?)
    }
}

impl Namespace {
    /// There is one lock more on this place.
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
        // Both are read also where the first says enough: the change relies on what either says.
        let own = view.bucket_at(bucket)?.is_some_and(|bucket| bucket.locks.count > 0);
        let of_top = view.bucket_at(ROOT_INO)?.is_some_and(|bucket| bucket.locks.count > 0);
        Ok(own || of_top)
    }

    /// Whether a lock may cover something that says this bucket; `None` if not. What lies elsewhere, since it has still to follow a folder, is covered
    /// by locks where it lies: while there may be any such, one has to look there.
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
        // Every bucket is below, those included that others make meanwhile.
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
            // They bind whoever is alone all the same.
            Err(error) if matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::NoSpace) => Ok(()),
            recounted => recounted.map(drop),
        }
    }
}

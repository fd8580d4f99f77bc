//! Counters that are derived from records, compared with the records at one and the same moment: inodes, usage, locks of WebDAV
//! in a bucket, and directories whose content has still to follow them.
//!
//! Two sums are kept of the keys that were passed: one of the counters, one of the records that they count. Every commit is watched, and
//! what it changes of the passed keys changes both sums. A page is read without the writer's lock. Then, under the lock, what commits have
//! changed of the page meanwhile is read again, and the page counts as passed. Once all tables are passed, both sums are those of now. At
//! rest the same is done, and nothing changes meanwhile.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use strata_content::{Batch, Cell, Mutation, Store};
use strata_namespace::checking::{View, counted_in};
use strata_namespace::records::{Bucket, Inode, key};
use strata_namespace::{Error, Namespace, Result, UsageOf};
use strata_seam::Ino;

use super::finding::Finding;
use super::report::{Found, Teller};
use super::tree::{STEP, number, table};

/// Records that commits change while a page is read, at most; beyond, nothing is claimed.
const TOUCHED_MAX: usize = 1 << 20;
/// Tables with counters, or with what is counted, in their order.
const TABLES: [u8; 5] = [key::TABLE_BUCKET, key::TABLE_INODE, key::TABLE_LOCK, key::TABLE_USAGE, key::TABLE_FOLLOWING];
/// Counters that are no table's, in their order, behind all those tables.
const CELLS: [&[u8]; 2] = [key::KEY_FOLLOWING, key::KEY_INODES];

/// What is counted, in the order in which it is reported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Counter {
    Inodes,
    /// Bytes, or inodes, of something.
    Usage(UsageOf, bool),
    /// Locks of WebDAV in the bucket with this root directory.
    Locks(Ino),
    /// Directories whose content has still to be given to their bucket.
    Following,
}

type Sums = HashMap<Counter, i64>;

/// Compares the counters with what they count; `false` if it was told to stop.
pub(super) fn counters(ns: &Namespace, found: &mut Found, teller: &mut Teller<'_>) -> Result<bool> {
    teller.now("the counters");
    let sums = Arc::new(Mutex::new(Passing::default()));
    let watch = ns.store().watch({
        let (sums, store) = (Arc::clone(&sums), Arc::clone(ns.store()));
        Arc::new(move |batch| sums.lock().note(&store, batch))
    });
    let cells = (CELLS[0].to_vec(), [CELLS[CELLS.len() - 1], &[0]].concat());
    for (mut from, end) in TABLES.map(table).into_iter().chain([cells]) {
        loop {
            let page = ns.store().range(&from, &end, STEP)?;
            let upto = match page.last() {
                Some((last, _)) if page.len() == STEP => [&last[..], &[0]].concat(),
                _ => end.clone(),
            };
            let read = page.len() as u64;
            let page: Vec<_> = page.into_iter().map(|(key, entry)| (key, entry.value)).collect();
            pass(ns, &sums, &page, (&from, &upto))?;
            if !teller.step(read) {
                return Ok(false);
            }
            if upto == end {
                break;
            }
            from = upto;
        }
    }
    drop(watch);
    let sums = std::mem::take(&mut *sums.lock());
    compare(ns, sums, found)?;
    Ok(true)
}

/// Reports what differs, as far as it is known.
fn compare(ns: &Namespace, sums: Passing, found: &mut Found) -> Result<()> {
    let Passing { exist, counted, unread, lost, .. } = sums;
    if lost || unread.usage {
        // What an unreadable record adds is not known: sums that depend on it are not compared, and the report says so.
        found.report.unsettled += 1;
    }
    if lost {
        return Ok(());
    }
    let all: BTreeSet<Counter> = exist.keys().chain(counted.keys()).copied().chain([Counter::Inodes]).collect();
    for counter in all {
        let of_both = |sums: &Sums| sums.get(&counter).copied().unwrap_or(0);
        let (counted, exist) = (of_both(&counted), of_both(&exist));
        match counter {
            // The root of the tree is an inode that is not counted.
            Counter::Inodes if counted + 1 != exist => {
                let of = |count: i64| u64::try_from(count).unwrap_or(0);
                found.put(Finding::Tally { counted: of(counted + 1), exist: of(exist) });
            }
            Counter::Usage(of, bytes) if counted != exist && !unread.usage => {
                found.put(Finding::Usage { of, bytes, counted, exist });
            }
            // If the bucket is gone, nobody looks for locks in it, and they end by themselves.
            Counter::Locks(bucket)
                if counted != exist
                    && !unread.buckets.contains(&bucket)
                    && ns.store().get(&key::bucket(bucket))?.is_some() =>
            {
                found.put(Finding::LockCount { bucket, counted, exist });
            }
            Counter::Following if counted != exist => found.put(Finding::FollowingCount { counted, exist }),
            _ => {}
        }
    }
    Ok(())
}

/// What could not be read, so that what it adds up to is not known.
#[derive(Default)]
struct Unread {
    /// An inode, or the key of a counter of usage.
    usage: bool,
    /// The records of these buckets.
    buckets: HashSet<Ino>,
}

/// The sums so far.
#[derive(Default)]
struct Passing {
    exist: Sums,
    counted: Sums,
    /// Keys below this one are in the sums.
    passed: Vec<u8>,
    /// What commits changed of what is not passed, since the page before was.
    touched: HashSet<Vec<u8>>,
    unread: Unread,
    /// Too much was changed at once, or what was changed could not be read.
    lost: bool,
}

/// Adds a page to the sums, which has the records of all keys in `from .. upto` as they were when it was read.
fn pass(
    ns: &Namespace,
    sums: &Mutex<Passing>,
    page: &[(Vec<u8>, Vec<u8>)],
    (from, upto): (&[u8], &[u8]),
) -> Result<()> {
    let mut added = Passing::default();
    page.iter().for_each(|(key, value)| added.add(key, Some(value), 1));
    ns.store().transact(true, |tx| {
        let mut sums = sums.lock();
        if &sums.passed[..] >= upto {
            // The change is computed once more; the page was added already.
            return Ok(());
        }
        for (key, value) in page {
            if sums.touched.contains(key) {
                added.add(key, Some(value), -1);
            }
        }
        let touched = std::mem::take(&mut sums.touched);
        for key in touched.iter().filter(|key| (from..upto).contains(&&key[..])) {
            let now = tx.record(key)?;
            added.add(key, now.as_deref(), 1);
        }
        merge(&mut sums.exist, &added.exist);
        merge(&mut sums.counted, &added.counted);
        sums.unread.usage |= added.unread.usage;
        sums.unread.buckets.extend(&added.unread.buckets);
        sums.passed = upto.to_vec();
        Ok::<_, Error>(())
    })?;
    Ok(())
}

fn merge(sums: &mut Sums, more: &Sums) {
    more.iter().for_each(|(counter, more)| *sums.entry(*counter).or_default() += more);
}

/// What a cell counts, by its key.
fn of_cell(key: &[u8]) -> Option<Counter> {
    match key.first() {
        Some(&key::TABLE_USAGE) => UsageOf::of_key(key).map(|(of, bytes)| Counter::Usage(of, bytes)),
        _ if key == key::KEY_INODES => Some(Counter::Inodes),
        _ if key == key::KEY_FOLLOWING => Some(Counter::Following),
        _ => None,
    }
}

fn is_of_interest(key: &[u8]) -> bool {
    key.first().is_some_and(|table| TABLES.contains(table)) || CELLS.contains(&key)
}

impl Passing {
    /// Adds what a record holds, or with `sign` -1 takes it away.
    fn add(&mut self, key: &[u8], value: Option<&[u8]>, sign: i64) {
        let (Some(value), Some(table)) = (value, key.first()) else { return };
        match *table {
            key::TABLE_BUCKET => {
                let Some(root) = number(&key[1..]) else { return };
                match Bucket::decode(root, value) {
                    Ok(bucket) if bucket.locks.count > 0 => {
                        let count = i64::try_from(bucket.locks.count).unwrap_or(i64::MAX);
                        *self.counted.entry(Counter::Locks(root)).or_default() += sign * count;
                    }
                    Ok(_) => {}
                    Err(_) => _ = self.unread.buckets.insert(root),
                }
            }
            key::TABLE_LOCK => {
                if let Some(bucket) = counted_in(key) {
                    *self.exist.entry(Counter::Locks(bucket)).or_default() += sign;
                }
            }
            key::TABLE_FOLLOWING => *self.exist.entry(Counter::Following).or_default() += sign,
            key::TABLE_INODE => self.inode(key, value, sign),
            _ => match of_cell(key) {
                Some(counter) => *self.counted.entry(counter).or_default() += sign * Cell::from_value(value).count,
                None => self.unread.usage |= *table == key::TABLE_USAGE,
            },
        }
    }

    fn inode(&mut self, key: &[u8], value: &[u8], sign: i64) {
        *self.exist.entry(Counter::Inodes).or_default() += sign;
        let inode = number(&key[1..]).filter(|_| key.len() == 9).and_then(|ino| Inode::decode(ino, value).ok());
        let Some(inode) = inode else {
            self.unread.usage = true;
            return;
        };
        for of in inode.counts().counters() {
            *self.exist.entry(Counter::Usage(of, false)).or_default() += sign;
            *self.exist.entry(Counter::Usage(of, true)).or_default() += sign * inode.attr.allocated.cast_signed();
        }
    }

    /// Notes a commit. Under the writer's lock, before the commit shows: what is in the store is as it was, and the change
    /// has just read it.
    fn note(&mut self, store: &Store, batch: &Batch) {
        for mutation in &batch.0 {
            let key = mutation.key();
            if !is_of_interest(key) {
                continue;
            }
            if key >= &self.passed[..] {
                self.lost |= self.touched.len() >= TOUCHED_MAX;
                if !self.lost {
                    self.touched.insert(key.to_vec());
                }
                continue;
            }
            match mutation {
                Mutation::Count { delta, .. } => match of_cell(key) {
                    Some(counter) => *self.counted.entry(counter).or_default() += delta,
                    None => self.unread.usage |= key.first() == Some(&key::TABLE_USAGE),
                },
                Mutation::Put { value, .. } => {
                    self.replace(store, key);
                    self.add(key, Some(value), 1);
                }
                Mutation::Delete { .. } => self.replace(store, key),
                Mutation::SetTail { .. } => {}
            }
        }
    }

    /// Takes away what is in the store, which goes.
    fn replace(&mut self, store: &Store, key: &[u8]) {
        match store.get(key) {
            Ok(before) => self.add(key, before.map(|before| before.value).as_deref(), -1),
            Err(_) => self.lost = true,
        }
    }
}

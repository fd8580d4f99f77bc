//! The counters of usage beside writers: what they say, and what the inodes add up to, at one and the same moment.
//!
//! Two sums are kept, of the inodes and of the counters that were passed. Every commit is watched, and changes both sums as it
//! changes what was passed. A page is read without the lock of all changes; under it, what commits have changed of the page meanwhile is
//! read again, and the page counts as passed. Once both tables are passed, both sums are those of now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use strata_content::{Batch, Cell, Mutation, Store};
use strata_namespace::checking::View;
use strata_namespace::records::{Inode, key};
use strata_namespace::{Error, Namespace, Result, UsageOf};

use super::finding::Finding;
use super::report::{Found, Teller};
use super::tree::{STEP, number, table};

/// Records that commits change while a page is read, at most; beyond, nothing is claimed.
const TOUCHED_MAX: usize = 1 << 20;

/// What a counter is of, and whether it counts bytes.
type Counter = (UsageOf, bool);
type Sums = HashMap<Counter, i64>;

/// Compares the counters with what the inodes add up to, while others write; `false` if it was told to stop.
pub(super) fn beside_writers(ns: &Namespace, found: &mut Found, teller: &mut Teller<'_>) -> Result<bool> {
    teller.now("the counters of usage");
    let sums = Arc::new(Mutex::new(Passing::default()));
    let watch = ns.store().watch({
        let (sums, store) = (Arc::clone(&sums), Arc::clone(ns.store()));
        Arc::new(move |batch| sums.lock().note(&store, batch))
    });
    for which in [key::TABLE_INODE, key::TABLE_USAGE] {
        let (mut from, end) = table(which);
        loop {
            let page = ns.store().range(&from, &end, STEP)?;
            let upto = match page.last() {
                Some((last, _)) if page.len() == STEP => [&last[..], &[0]].concat(),
                _ => end.clone(),
            };
            pass(
                ns,
                &sums,
                &page.into_iter().map(|(key, entry)| (key, entry.value)).collect::<Vec<_>>(),
                (&from, &upto),
            )?;
            if !teller.step(STEP as u64) {
                return Ok(false);
            }
            if upto == end {
                break;
            }
            from = upto;
        }
    }
    drop(watch);
    let Passing { exist, counted, unknown, .. } = std::mem::take(&mut *sums.lock());
    if unknown {
        // What an inode adds up to that cannot be read is not known; nothing is claimed, and the report says so.
        found.report.unsettled += 1;
        return Ok(true);
    }
    let all: HashSet<Counter> = exist.keys().chain(counted.keys()).copied().collect();
    for (of, bytes) in all {
        let of_both = |sums: &Sums| sums.get(&(of, bytes)).copied().unwrap_or(0);
        let (counted, exist) = (of_both(&counted), of_both(&exist));
        if counted != exist {
            found.put(Finding::Usage { of, bytes, counted, exist });
        }
    }
    Ok(true)
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
    /// Something could not be read, or too much was changed at once.
    unknown: bool,
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
            // It is computed once more.
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
        sums.unknown |= added.unknown;
        sums.passed = upto.to_vec();
        Ok::<_, Error>(())
    })?;
    Ok(())
}

fn merge(sums: &mut Sums, more: &Sums) {
    more.iter().for_each(|(counter, more)| *sums.entry(*counter).or_default() += more);
}

impl Passing {
    /// Adds what a record holds, or with `sign` -1 takes it away.
    fn add(&mut self, key: &[u8], value: Option<&[u8]>, sign: i64) {
        let Some(value) = value else { return };
        if key.first() == Some(&key::TABLE_USAGE) {
            match UsageOf::of_key(key) {
                Some(counter) => *self.counted.entry(counter).or_default() += sign * Cell::from_value(value).count,
                None => self.unknown = true,
            }
            return;
        }
        let inode = number(&key[1..]).filter(|_| key.len() == 9).and_then(|ino| Inode::decode(ino, value).ok());
        let Some(inode) = inode else {
            self.unknown = true;
            return;
        };
        for of in inode.counts().counters() {
            *self.exist.entry((of, false)).or_default() += sign;
            *self.exist.entry((of, true)).or_default() += sign * inode.attr.allocated.cast_signed();
        }
    }

    /// A commit goes by. Under the lock of all changes, before it shows: what is in the store is as it was, and has just been read
    /// by whoever changes it.
    fn note(&mut self, store: &Store, batch: &Batch) {
        for mutation in &batch.0 {
            let key = mutation.key();
            let of_interest = matches!(key.first(), Some(&(key::TABLE_INODE | key::TABLE_USAGE)));
            if !of_interest {
                continue;
            }
            if key >= &self.passed[..] {
                self.unknown |= self.touched.len() >= TOUCHED_MAX;
                if !self.unknown {
                    self.touched.insert(key.to_vec());
                }
                continue;
            }
            match mutation {
                Mutation::Count { delta, .. } => match UsageOf::of_key(key) {
                    Some(counter) => *self.counted.entry(counter).or_default() += delta,
                    None => self.unknown = true,
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
            Err(_) => self.unknown = true,
        }
    }
}

//! Bringing the records of a store that an earlier version wrote into the format of this one, when it is opened.
//!
//! Until format 3 a bucket's record was found by its name alone and an inode did not know its bucket; until format 4 an inode did
//! not know its names. Now every inode names the root directory of its bucket, the bucket's record has that directory as its
//! key, and a path is found from any inode. So every inode of such a store is written once more, in many commits.
//!
//! With format 5 places of chunks have a tag and blocks may say a dedup domain. What was written before is of the common domain and
//! lies in the ledger, and reads as before, so no record of format 4 is written anew.
//!
//! In any case the superblocks are marked first, on every disk that takes writes, so that an earlier version refuses the store from
//! then on, whatever becomes of the rest. Then a commit says that the records are of the new format. What a crash leaves
//! undone is done by the next opening.

pub(crate) mod report;

use std::collections::HashMap;

use strata_chunk::wire::{Decoder, Encoder};
use strata_content::{Feature, Store};
use strata_seam::Ino;
use strata_seam::planted::{Bug, planted};

use crate::belong::{Taken, below, take_over_below};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::format::{RECORD_FORMAT, mark_format};
use crate::key;
use crate::namespace::Namespace;
use crate::records::Inode;
use crate::types::{NodeKind, ROOT_INO};
use crate::view::{damaged, decode_dirent, old_bucket};

pub use report::UpgradeReport;

/// From this format on inodes know their buckets and names: no inode is written anew.
const FORMAT_OF_NAMES: u64 = 4;

/// Records read at once.
const STEP: usize = 1000;
/// Buckets moved in one commit.
const TOGETHER: usize = 64;
/// Names after which progress is logged.
const TOLD_EVERY: u64 = 1 << 17;
/// Names after which the log is synced; in this crate's tests few.
const SYNCED_EVERY: u64 = if cfg!(test) { 1 } else { 1 << 14 };

/// The format that the records have to be upgraded from; `None` where they are of this version's.
///
/// # Errors
/// [`ErrorKind::NotSupported`] for records of a later version, and those of reading the index.
pub(crate) fn needed(store: &Store) -> Result<Option<u64>> {
    let number = |key: &[u8]| -> Result<Option<u64>> {
        let Some(entry) = store.get(key)? else { return Ok(None) };
        let number = Decoder::new(&entry.value).uvarint();
        number.map(Some).map_err(|_| damaged("the format of the records".to_owned()))
    };
    let Some(format) = number(key::KEY_FORMAT)? else { return Ok(None) };
    if !(1..=RECORD_FORMAT).contains(&format) {
        return Err(fail(
            ErrorKind::NotSupported,
            "the records were written by a newer version; nothing was changed; use that version",
        ));
    }
    // An upgrade that was cut off goes on from the format at which it began, even if an earlier version began it.
    let begun = number(key::KEY_UPGRADE)?;
    Ok(begun.or((format < RECORD_FORMAT).then_some(format)))
}

/// The mark that the superblocks of a store have from the beginning of its upgrade to [`RECORD_FORMAT`] on, or since it was made. It shows
/// before an opening whether the opening will upgrade the store. A later format needs a mark of its own, which replaces this one here.
pub const FORMAT_MARK: Feature = Feature::Domains;

/// What opening a store with these records would do to them; `None` where they are of this version's format. Changes nothing.
///
/// # Errors
/// Reading the store.
pub fn upgrade_planned(store: &Store) -> Result<Option<UpgradeReport>> {
    needed(store)?.map(|from| planned(store, from)).transpose()
}

fn planned(store: &Store, from_format: u64) -> Result<UpgradeReport> {
    let mut report = UpgradeReport { from: from_format, ..UpgradeReport::default() };
    if from_format >= FORMAT_OF_NAMES {
        return Ok(report);
    }
    // Files with several names, and the bucket in which the walk finds each first. That bucket keeps the file.
    let mut linked: HashMap<Ino, Ino> = HashMap::new();
    // The order of `take_over_below`, in which the last directory found is the next.
    let mut dirs = vec![(ROOT_INO, Ino(0), Vec::new())];
    while let Some((dir, bucket, path)) = dirs.pop() {
        let (mut from, end) = (key::entry(dir, &[]), key::behind(key::TABLE_ENTRY, dir));
        loop {
            let page = store.range(&from, &end, STEP)?;
            let Some((last, _)) = page.last() else { break };
            from.clone_from(last);
            from.push(0);
            for (key, entry) in &page {
                let dirent = decode_dirent(dir, &entry.value)?;
                if dirent.stands_in(&key[9..]) {
                    continue;
                }
                let within = if dir == ROOT_INO { dirent.ino } else { bucket };
                report.names += 1;
                // Since format 3, records of buckets are where they belong.
                report.buckets += u64::from(dir == ROOT_INO && from_format < 3);
                if dirent.kind == NodeKind::Directory {
                    dirs.push((dirent.ino, within, below(&path, &key[9..])));
                    continue;
                }
                let record = store.get(&key::inode(dirent.ino))?;
                let inode = record.and_then(|record| Inode::decode(dirent.ino, &record.value).ok());
                if inode.is_some_and(|inode| inode.attr.nlink > 1)
                    && *linked.entry(dirent.ino).or_insert(within) != within
                {
                    report.note(&below(&path, &key[9..]));
                }
            }
        }
    }
    Ok(report)
}

impl Namespace {
    /// Upgrades records of the format `from`; goes on where an upgrade was begun and not ended.
    ///
    /// # Errors
    /// Those of the store, which is then partly upgraded; opening it again goes on.
    pub(crate) fn upgrade(&self, from: u64) -> Result<UpgradeReport> {
        let mut report = UpgradeReport { from, ..UpgradeReport::default() };
        if !planted(Bug::MarkTooLate) {
            self.mark_store()?;
        }
        if from >= FORMAT_OF_NAMES {
            self.store.transact_as_removal(|tx| {
                mark_format(tx);
                Ok::<_, Error>(())
            })?;
            if planted(Bug::MarkTooLate) {
                self.sync_log()?;
                self.mark_store()?;
            }
            // A store of this format may lack the bucket at the top, too.
            self.make_top()?;
            self.sync_log()?;
            return Ok(report);
        }
        self.store.transact_as_removal(|tx| {
            mark_format(tx);
            let mut format = Encoder::new();
            format.uvarint(from);
            tx.put(key::KEY_UPGRADE, format.finish());
            // The root of the tree is in the bucket at the top, which has no files yet and was not counted so far.
            self.put_top(tx)
        })?;
        report.buckets = self.move_buckets()?;
        take_over_below(self, ROOT_INO, &mut |what, path| {
            report.names += 1;
            if report.names.is_multiple_of(TOLD_EVERY) {
                tracing::info!(names = report.names, "records are being upgraded");
            }
            if let Taken::Copied(_) = what {
                report.note(path);
            }
            // So a crash takes back no more than these names.
            if report.names.is_multiple_of(SYNCED_EVERY) { self.sync_log() } else { Ok(()) }
        })?;
        // These rows identify copies while some of their names may still have to be assigned.
        let end = key::prefix_end(key::KEY_COPIES).unwrap_or_default();
        loop {
            let page = self.store.range(key::KEY_COPIES, &end, STEP)?;
            let last = page.len() < STEP;
            self.store.transact_as_removal(|tx| {
                page.iter().for_each(|(key, _)| tx.delete(key.clone()));
                if last {
                    tx.delete(key::KEY_UPGRADE.to_vec());
                }
                Ok::<_, Error>(())
            })?;
            if last {
                break;
            }
        }
        self.sync_log()?;
        Ok(report)
    }

    /// Has the superblocks say what the records of this format may hold, if they do not: before any such record is written.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`] where nothing can be written.
    pub(crate) fn mark_store(&self) -> Result<()> {
        Ok(self.store.mark(FORMAT_MARK)?)
    }

    /// Makes what was done so far durable, and room in memory for more: nobody else drains the index yet.
    fn sync_log(&self) -> Result<()> {
        Ok(self.store.sync_and_drain(self.clock.monotonic_nanos())?)
    }

    /// Moves the records of buckets from the table by name; returns how many it moved.
    fn move_buckets(&self) -> Result<u64> {
        let mut moved = 0;
        loop {
            let page = self.store.range(&[key::TABLE_BUCKET_BY_NAME], &[key::TABLE_BUCKET_BY_NAME + 1], TOGETHER)?;
            if page.is_empty() {
                return Ok(moved);
            }
            self.store.transact_as_removal(|tx| {
                for (key, entry) in &page {
                    old_bucket(key, &entry.value)?.put(tx);
                    tx.delete(key.clone());
                }
                Ok::<_, Error>(())
            })?;
            moved += page.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests;

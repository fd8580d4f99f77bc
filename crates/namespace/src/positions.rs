//! Positions in directories as numbers of 63 bits, for doors whose protocol has numbers where the name space has cursors:
//! READDIR cookies, and what `telldir` tells.
//!
//! The lower [`HASH_BITS`] of a number are a keyed hash of the cursor of the entry behind which the position lies; the key
//! keeps anybody from making names that share it on purpose. So a position holds for every reader and after a restart,
//! whatever else is added to or removed from the directory. The upper bits only say where to look: which *part* of the
//! directory, about [`PART_LEN`] entries in order, the entry lies in. The way back leads over the pages lately listed,
//! which are kept, and then through that part; where the parts are not known any more, through the whole directory.
//!
//! A position behind an entry that has been removed since holds as long as its page is kept.
//!
//! Two entries of one part share a number with a probability of one in ten million. Invariant BOUND: `bytes_max`; pages
//! least lately used go first, and the parts of a directory with its last page.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use strata_seam::Ino;

use crate::error::Result;
use crate::key;
use crate::namespace::Namespace;
use crate::types::Op;
use crate::view::View;

/// Numbers up to here are the door's own, for `.` and `..`.
pub const RESERVED: u64 = 2;
/// Bits of a number that are hash.
const HASH_BITS: u32 = 43;
const HASH_MASK: u64 = (1 << HASH_BITS) - 1;
/// Bits that name a part.
const PART_MAX: u64 = (1 << (63 - HASH_BITS)) - 1;
/// Entries of a part, before parts are joined.
const PART_LEN: u64 = 1024;
/// Parts remembered of one directory; beyond, neighbours are joined.
const PARTS_MAX: usize = if cfg!(test) { 64 } else { 4096 };
/// Pages kept of one directory, so that looking a number up stays within a few microseconds.
const PAGES_PER_DIRECTORY_MAX: usize = 64;
/// What a page costs beside its cursors, bytes.
const PAGE_OVERHEAD: usize = 160;
/// What an entry of a page, or a part, costs beside its cursor, bytes.
const ENTRY_OVERHEAD: usize = 32;
/// Names read at once while a position is searched.
const SCAN_STEP: usize = 1024;

/// Gives numbers to positions, and finds the cursors of those given out.
pub struct Positions {
    key: [u8; 32],
    bytes_max: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Pages by the time of their last use, oldest first.
    by_use: BTreeMap<u64, Page>,
    directories: HashMap<Ino, Directory>,
    clock: u64,
    bytes: usize,
}

#[derive(Default)]
struct Directory {
    /// Keys into `by_use`, oldest first.
    pages: Vec<u64>,
    parts: Parts,
}

/// The cursors of some consecutive entries, in one allocation.
#[derive(Default)]
pub struct Page {
    directory: Ino,
    /// Number and the end of its cursor in `cursors`.
    entries: Vec<(u64, usize)>,
    cursors: Vec<u8>,
}

/// Where the parts of a directory begin.
#[derive(Default)]
struct Parts {
    /// The part's number and the cursor behind which it begins, both ascending. Part 0 begins with the directory.
    starts: Vec<(u64, Vec<u8>)>,
    /// How many times neighbours were joined.
    joined: u32,
    /// The last entry listed so far, and how many lie between it and the last start.
    frontier: Vec<u8>,
    since: u64,
    bytes: usize,
}

impl Parts {
    fn of(&self, cursor: &[u8]) -> u64 {
        let before = self.starts.partition_point(|(_, start)| start[..] < *cursor);
        before.checked_sub(1).map_or(0, |at| self.starts[at].0)
    }

    /// Where to begin looking for an entry of `part`.
    fn start(&self, part: u64) -> Option<&[u8]> {
        let upto = self.starts.partition_point(|(number, _)| *number <= part);
        upto.checked_sub(1).map(|at| &self.starts[at].1[..])
    }

    /// An entry was listed; those behind the frontier are counted into parts.
    fn note(&mut self, cursor: &[u8]) {
        if *cursor <= self.frontier[..] {
            return;
        }
        self.frontier.clear();
        self.frontier.extend_from_slice(cursor);
        self.since += 1;
        if self.since < PART_LEN << self.joined {
            return;
        }
        self.since = 0;
        let last = self.starts.last().map_or(0, |(number, _)| *number);
        let number = (last >> self.joined).saturating_add(1) << self.joined;
        self.starts.push((number.min(PART_MAX), cursor.to_vec()));
        self.bytes += cursor.len() + ENTRY_OVERHEAD;
        if self.starts.len() > PARTS_MAX {
            self.joined += 1;
            let joined = self.joined;
            self.starts.retain(|(number, _)| number % (1 << joined) == 0);
            self.bytes = self.starts.iter().map(|(_, start)| start.len() + ENTRY_OVERHEAD).sum();
        }
    }
}

impl Page {
    /// A page of `directory`, to be filled in order.
    #[must_use]
    pub fn new(directory: Ino) -> Self {
        Self { directory, ..Self::default() }
    }

    /// Adds an entry with its number.
    pub fn push(&mut self, number: u64, cursor: &[u8]) {
        self.cursors.extend_from_slice(cursor);
        self.entries.push((number, self.cursors.len()));
    }

    fn cursor(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.entries[before].1);
        &self.cursors[start..self.entries[at].1]
    }

    fn find(&self, number: u64) -> Option<&[u8]> {
        let at = self.entries.iter().position(|(other, _)| *other == number)?;
        Some(self.cursor(at))
    }

    fn bytes(&self) -> usize {
        PAGE_OVERHEAD + self.entries.len() * ENTRY_OVERHEAD + self.cursors.len()
    }
}

impl Positions {
    /// Numbers made with `key`; at most `bytes_max` are spent on finding their way back.
    #[must_use]
    pub fn new(key: [u8; 32], bytes_max: usize) -> Self {
        Self { key, bytes_max, known: Mutex::default() }
    }

    fn hash(&self, cursor: &[u8]) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *blake3::keyed_hash(&self.key, cursor).as_bytes();
        let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]) & HASH_MASK;
        if hash <= RESERVED { hash + RESERVED + 1 } else { hash }
    }

    /// The number of the position behind the entry with this cursor; never a reserved one.
    #[must_use]
    pub fn of(&self, directory: Ino, cursor: &[u8]) -> u64 {
        let part = self.known.lock().directories.get(&directory).map_or(0, |known| known.parts.of(cursor));
        part << HASH_BITS | self.hash(cursor)
    }

    /// Changes with the key, and only then do numbers lose their meaning.
    #[must_use]
    pub fn verifier(&self) -> [u8; 8] {
        self.hash(b"verifier").to_be_bytes()
    }

    /// Keeps a page that was just listed.
    pub fn keep(&self, page: Page) {
        if page.entries.is_empty() || page.bytes() > self.bytes_max {
            return;
        }
        let mut known = self.known.lock();
        if let Some(directory) = known.directories.get(&page.directory) {
            // A directory listed again and again gives the same page again: replace it.
            let same = |key: &&u64| {
                known.by_use.get(*key).is_some_and(|kept| {
                    kept.entries.first().map(|entry| entry.0) == page.entries.first().map(|entry| entry.0)
                })
            };
            let found = directory.pages.iter().find(same).copied();
            let oldest = (directory.pages.len() >= PAGES_PER_DIRECTORY_MAX).then(|| directory.pages[0]);
            if let Some(key) = found.or(oldest) {
                // The parts stay: this is not the directory's last page.
                known.remove(key, true);
            }
        }
        known.insert(page);
        while known.bytes > self.bytes_max {
            let Some(oldest) = known.by_use.keys().next().copied() else { break };
            known.remove(oldest, false);
        }
    }

    /// Whether [`Self::find`] would find `number`, or it needs no cursor.
    #[must_use]
    pub fn knows(&self, directory: Ino, number: u64) -> bool {
        number <= RESERVED || self.find(directory, number).is_some()
    }

    /// The cursor behind `number` in `directory`, if it is among the pages kept.
    #[must_use]
    pub fn find(&self, directory: Ino, number: u64) -> Option<Vec<u8>> {
        let mut known = self.known.lock();
        let pages = &known.directories.get(&directory)?.pages;
        let (key, cursor) = pages.iter().rev().find_map(|key| {
            let cursor = known.by_use.get(key)?.find(number)?;
            Some((*key, cursor.to_vec()))
        })?;
        // Used again, it is the youngest.
        if let Some(page) = known.remove(key, true) {
            known.insert(page);
        }
        Some(cursor)
    }

    /// Where to begin looking for `number`; `None` for the beginning of the directory.
    fn start(&self, directory: Ino, number: u64) -> Option<Vec<u8>> {
        let known = self.known.lock();
        known.directories.get(&directory)?.parts.start(number >> HASH_BITS).map(<[u8]>::to_vec)
    }
}

impl Known {
    fn insert(&mut self, page: Page) {
        self.clock += 1;
        let directory = self.directories.entry(page.directory).or_default();
        directory.pages.push(self.clock);
        let before = directory.parts.bytes;
        (0..page.entries.len()).for_each(|at| directory.parts.note(page.cursor(at)));
        self.bytes = self.bytes - before + directory.parts.bytes + page.bytes();
        self.by_use.insert(self.clock, page);
    }

    fn remove(&mut self, key: u64, more_follow: bool) -> Option<Page> {
        let page = self.by_use.remove(&key)?;
        self.bytes -= page.bytes();
        if let Some(directory) = self.directories.get_mut(&page.directory) {
            directory.pages.retain(|other| *other != key);
            if directory.pages.is_empty() && !more_follow {
                self.bytes -= directory.parts.bytes;
                self.directories.remove(&page.directory);
            }
        }
        Some(page)
    }
}

impl Namespace {
    /// The cursor behind the position that `positions` calls `number`, found by going through the directory; `None` if
    /// there is no such entry. Reads names only, a bounded number at a time, and checks no permission.
    ///
    /// # Errors
    /// Reading the index.
    pub fn find_position(&self, op: &Op, dir: Ino, positions: &Positions, number: u64) -> Result<Option<Vec<u8>>> {
        let mut snap = self.snap(op);
        let (first, behind) = (key::entry(dir, &[]), key::behind(key::TABLE_ENTRY, dir));
        // The cursor is a zero byte and the entry name; see `readdir`.
        let start = positions.start(dir, number).and_then(|cursor| Some(key::entry(dir, cursor.get(1..)?)));
        let ranges = match start {
            Some(start) => [(start.clone(), behind), (first, start)],
            None => [(first, behind.clone()), (behind.clone(), behind)],
        };
        for (mut from, end) in ranges {
            while from < end {
                let records = snap.records(&from, &end, SCAN_STEP)?;
                for (key, _) in &records {
                    let cursor = [&[0], &key[9..]].concat();
                    if positions.hash(&cursor) == number & HASH_MASK {
                        return Ok(Some(cursor));
                    }
                }
                let Some((last, _)) = records.last().filter(|_| records.len() == SCAN_STEP) else { break };
                from.clone_from(last);
                from.push(0);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
#[path = "positions/tests.rs"]
mod tests;

//! Positions in directories as numbers of 63 bits, for doors whose protocol has numbers where the name space has cursors:
//! READDIR cookies, and the values of `telldir`.
//!
//! The lower [`HASH_BITS`] of a number are a keyed hash of the cursor of the entry behind which the position lies; the key
//! keeps anybody from making names with equal hashes on purpose. So a position holds for every reader and after a restart,
//! whatever else is added to or removed from the directory. The upper bits only say where to look: which *part* of the
//! directory, about [`PART_LEN`] entries in order, the entry lies in. A number is looked up in the pages listed lately, which
//! are kept, and then in that part; if the parts are not known any more, in the whole directory.
//!
//! A position behind an entry that has been removed since holds as long as the page that returned it is kept. Each entry
//! is in one page: listing a directory again never evicts what another reader was given.
//!
//! Two entries of one part share a number with a probability of one in ten million. Invariant BOUND: `bytes_max`; the least
//! recently used pages are evicted first, and the parts of a directory with its last page.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use strata_seam::Ino;

use crate::error::Result;
use crate::key;
use crate::namespace::Namespace;
use crate::types::Op;
use crate::view::View;

/// Numbers up to this one are left to doors, for `.` and `..`.
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
/// What a page costs beside its cursors, bytes.
const PAGE_OVERHEAD: usize = 160;
/// What an entry of a page costs beside its cursor, bytes: with its place in the table that finds it.
const ENTRY_OVERHEAD: usize = 80;
/// What a part costs beside its cursor, bytes.
const PART_OVERHEAD: usize = 32;
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
    /// Pages by their number, each with the time of its last use.
    pages: HashMap<u64, (u64, Page)>,
    /// Numbers of pages by the time of their last use, oldest first.
    by_use: BTreeMap<u64, u64>,
    /// Where the entries of all pages are: the number of the page, and the place in it.
    entries: HashMap<(Ino, u64), (u64, usize)>,
    directories: HashMap<Ino, Directory>,
    /// Rises with every use, and names pages.
    clock: u64,
    bytes: usize,
}

#[derive(Default)]
struct Directory {
    /// How many pages are kept of it.
    pages: usize,
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
        self.bytes += cursor.len() + PART_OVERHEAD;
        if self.starts.len() > PARTS_MAX {
            self.joined += 1;
            let joined = self.joined;
            self.starts.retain(|(number, _)| number % (1 << joined) == 0);
            self.bytes = self.starts.iter().map(|(_, start)| start.len() + PART_OVERHEAD).sum();
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

    fn bytes(&self) -> usize {
        PAGE_OVERHEAD + self.entries.len() * ENTRY_OVERHEAD + self.cursors.len()
    }
}

impl Positions {
    /// Numbers derived with `key`. At most `bytes_max` of memory remember which number belongs to which entry.
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

    /// A value that changes exactly when the key does; numbers that were given out under another key mean nothing.
    #[must_use]
    pub fn verifier(&self) -> [u8; 8] {
        self.hash(b"verifier").to_be_bytes()
    }

    /// Keeps a page that was just listed: those of its entries that are not kept yet as a page of their own.
    pub fn keep(&self, page: Page) {
        if page.entries.is_empty() || page.bytes() > self.bytes_max {
            return;
        }
        let mut known = self.known.lock();
        let (mut fresh, mut used) = (Page::new(page.directory), None);
        for (at, (number, _)) in page.entries.iter().enumerate() {
            match known.entries.get(&(page.directory, *number)).map(|(kept, _)| *kept) {
                None => fresh.push(*number, page.cursor(at)),
                // Neighbours are mostly in one page.
                Some(kept) if used == Some(kept) => {}
                Some(kept) => {
                    known.use_again(kept);
                    used = Some(kept);
                }
            }
        }
        known.insert(fresh);
        known.note(&page);
        while known.bytes > self.bytes_max && known.remove_oldest() {}
    }

    /// The cursor behind `number` in `directory`, if it is among the pages kept.
    #[must_use]
    pub fn find(&self, directory: Ino, number: u64) -> Option<Vec<u8>> {
        let mut known = self.known.lock();
        let (page, at) = *known.entries.get(&(directory, number))?;
        known.use_again(page);
        Some(known.pages.get(&page)?.1.cursor(at).to_vec())
    }

    /// Where to begin looking for `number`; `None` for the beginning of the directory.
    fn start(&self, directory: Ino, number: u64) -> Option<Vec<u8>> {
        let known = self.known.lock();
        known.directories.get(&directory)?.parts.start(number >> HASH_BITS).map(<[u8]>::to_vec)
    }
}

impl Known {
    fn insert(&mut self, mut page: Page) {
        if page.entries.is_empty() {
            return;
        }
        page.entries.shrink_to_fit();
        page.cursors.shrink_to_fit();
        self.clock += 1;
        for (at, (number, _)) in page.entries.iter().enumerate() {
            self.entries.insert((page.directory, *number), (self.clock, at));
        }
        self.directories.entry(page.directory).or_default().pages += 1;
        self.bytes += page.bytes();
        self.by_use.insert(self.clock, self.clock);
        self.pages.insert(self.clock, (self.clock, page));
    }

    /// Makes a page the youngest.
    fn use_again(&mut self, number: u64) {
        let Some((used, _)) = self.pages.get_mut(&number) else { return };
        self.clock += 1;
        self.by_use.remove(used);
        self.by_use.insert(self.clock, number);
        *used = self.clock;
    }

    /// Counts the entries of a page that was told into the parts of its directory.
    fn note(&mut self, page: &Page) {
        let Some(directory) = self.directories.get_mut(&page.directory) else { return };
        let before = directory.parts.bytes;
        (0..page.entries.len()).for_each(|at| directory.parts.note(page.cursor(at)));
        self.bytes = self.bytes - before + directory.parts.bytes;
    }

    /// False where there is none.
    fn remove_oldest(&mut self) -> bool {
        let Some((_, number)) = self.by_use.pop_first() else { return false };
        let Some((_, page)) = self.pages.remove(&number) else { return false };
        self.bytes -= page.bytes();
        for (number, _) in &page.entries {
            self.entries.remove(&(page.directory, *number));
        }
        if let Some(directory) = self.directories.get_mut(&page.directory) {
            directory.pages -= 1;
            if directory.pages == 0 {
                self.bytes -= directory.parts.bytes;
                self.directories.remove(&page.directory);
            }
        }
        true
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
        // The cursor is a zero byte and the entry name, as `readdir` returns it.
        let start = positions.start(dir, number).and_then(|cursor| Some(key::entry(dir, cursor.get(1..)?)));
        let ranges = match start {
            Some(start) => [(start.clone(), behind), (first, start)],
            None => [(first, behind.clone()), (behind.clone(), behind)],
        };
        for (mut from, end) in ranges {
            while from < end {
                let records = snap.entries(&from, &end, SCAN_STEP)?;
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

//! Directory cookies: the 64-bit positions of READDIR for the name space's byte-string cursors.
//!
//! A cookie is a keyed hash of the entry's cursor, 63 bits (clients keep cookies in signed integers), so it is the same
//! in every listing, at every client and after a restart, whatever else was added to or removed from the directory.
//! The way back from hash to cursor is a bounded cache of the pages lately listed; what fell out of it is found again
//! by going through the directory. Two entries of one directory share a cookie with probability n^2 / 2^64 (five in a
//! million for ten million entries); the key keeps anybody from making such names on purpose.
//!
//! Invariant: the cache holds at most `bytes_max`; pages least lately used go first.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use strata_seam::Ino;

/// The cookie of `.`.
pub(crate) const COOKIE_DOT: u64 = 1;
/// The cookie of `..`.
pub(crate) const COOKIE_DOT_DOT: u64 = 2;
/// Pages kept of one directory, so that looking a cookie up stays within a few microseconds.
const PAGES_PER_DIRECTORY_MAX: usize = 64;
/// What a page costs beside its cursors, bytes.
const PAGE_OVERHEAD: usize = 160;
/// What an entry costs beside its cursor, bytes.
const ENTRY_OVERHEAD: usize = 16;

/// Makes cookies, and finds the cursors of those lately given out.
pub(crate) struct Cookies {
    key: [u8; 32],
    bytes_max: usize,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    /// Pages by the time of their last use, oldest first.
    by_use: BTreeMap<u64, Page>,
    /// Keys into `by_use`, oldest first.
    by_directory: HashMap<Ino, Vec<u64>>,
    clock: u64,
    bytes: usize,
}

/// The cursors of some consecutive entries, in one allocation.
#[derive(Default)]
pub(crate) struct Page {
    directory: Ino,
    /// Cookie and the end of its cursor in `cursors`.
    entries: Vec<(u64, usize)>,
    cursors: Vec<u8>,
}

impl Page {
    pub(crate) fn new(directory: Ino) -> Self {
        Self { directory, ..Self::default() }
    }

    pub(crate) fn push(&mut self, cookie: u64, cursor: &[u8]) {
        self.cursors.extend_from_slice(cursor);
        self.entries.push((cookie, self.cursors.len()));
    }

    fn find(&self, cookie: u64) -> Option<&[u8]> {
        let at = self.entries.iter().position(|(other, _)| *other == cookie)?;
        let start = at.checked_sub(1).map_or(0, |before| self.entries[before].1);
        Some(&self.cursors[start..self.entries[at].1])
    }

    fn bytes(&self) -> usize {
        PAGE_OVERHEAD + self.entries.len() * ENTRY_OVERHEAD + self.cursors.len()
    }
}

impl Cookies {
    pub(crate) fn new(secret: &[u8; 32], bytes_max: usize) -> Self {
        let key = blake3::derive_key("strata nfs directory cookie v1", secret);
        Self { key, bytes_max, pages: Mutex::default() }
    }

    /// The cookie of the entry with this cursor; never one of the reserved ones.
    pub(crate) fn of(&self, cursor: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(&self.key, cursor);
        let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
        let cookie = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
        if cookie <= COOKIE_DOT_DOT { cookie + 3 } else { cookie }
    }

    /// The verifier of all cookies: it changes with the key, and only then do cookies lose their meaning.
    pub(crate) fn verifier(&self) -> [u8; 8] {
        self.of(b"verifier").to_be_bytes()
    }

    /// Keeps a page that was just listed.
    pub(crate) fn keep(&self, page: Page) {
        if page.entries.is_empty() || page.bytes() > self.bytes_max {
            return;
        }
        let mut pages = self.pages.lock();
        if let Some(keys) = pages.by_directory.get(&page.directory) {
            // A directory listed again and again gives the same page again: replace it.
            let same = |key: &&u64| {
                pages.by_use.get(*key).is_some_and(|kept| {
                    kept.entries.first().map(|entry| entry.0) == page.entries.first().map(|entry| entry.0)
                })
            };
            let found = keys.iter().find(same).copied();
            let oldest = (keys.len() >= PAGES_PER_DIRECTORY_MAX).then(|| keys[0]);
            if let Some(key) = found.or(oldest) {
                pages.remove(key);
            }
        }
        pages.insert(page);
        while pages.bytes > self.bytes_max {
            let Some(oldest) = pages.by_use.keys().next().copied() else {
                break;
            };
            pages.remove(oldest);
        }
    }

    /// Whether [`Self::find`] would find `cookie`, or it needs no cursor.
    pub(crate) fn knows(&self, directory: Ino, cookie: u64) -> bool {
        cookie <= COOKIE_DOT_DOT || self.find(directory, cookie).is_some()
    }

    /// The cursor behind `cookie` in `directory`, if it is still known.
    pub(crate) fn find(&self, directory: Ino, cookie: u64) -> Option<Vec<u8>> {
        let mut pages = self.pages.lock();
        let keys = pages.by_directory.get(&directory)?;
        let (key, cursor) = keys.iter().rev().find_map(|key| {
            let cursor = pages.by_use.get(key)?.find(cookie)?;
            Some((*key, cursor.to_vec()))
        })?;
        if let Some(page) = pages.remove(key) {
            pages.insert(page);
        }
        Some(cursor)
    }
}

impl Pages {
    fn insert(&mut self, page: Page) {
        self.clock += 1;
        self.bytes += page.bytes();
        self.by_directory.entry(page.directory).or_default().push(self.clock);
        self.by_use.insert(self.clock, page);
    }

    fn remove(&mut self, key: u64) -> Option<Page> {
        let page = self.by_use.remove(&key)?;
        self.bytes -= page.bytes();
        if let Some(keys) = self.by_directory.get_mut(&page.directory) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_directory.remove(&page.directory);
            }
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests;

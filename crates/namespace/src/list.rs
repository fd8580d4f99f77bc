//! Listing keys: a walk of the tree in the order of its entries, which is the order of S3's keys.
//!
//! **Invariant BOUND**: a page holds at most [`PAGE_BYTES_MAX`] of keys and one key more, and ends early where the next would not
//! fit; a walk keeps one path, and entries read ahead for [`BUFFERED_LEVELS_MAX`] of the directories it is in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use strata_seam::Ino;

use crate::authority::Action;
use crate::error::Result;
use crate::key;
use crate::name;
use crate::namespace::Namespace;
use crate::opens::OpenFile;
use crate::records::{Dirent, Inode};
use crate::top;
use crate::types::{ListPage, ListQuery, NodeKind, ObjectInfo, Op};
use crate::view::{View, decode_dirent};

/// Most keys and prefixes of one page.
pub const LIST_LIMIT_MAX: usize = 1000;
/// Deepest nesting a key of 1024 bytes can have, and one for the bucket.
const DEPTH_MAX: usize = 1026;
/// Longest path that is listed, in bytes. File doors can make paths that are longer than any key may be, by changing into one directory
/// after the other. A client names a path in the target of its next request, with up to three bytes for one, and targets end at 64 KiB.
pub const LISTED_LEN_MAX: usize = 16 << 10;
/// Entries read at once.
const STEP: usize = 256;
/// Inodes read at once.
const INODES_AT_ONCE: usize = 128;
/// Where the entry name begins in the key of an entry: behind the table and the directory.
const ENTRY_NAME_AT: usize = 9;
/// Bytes of the keys of one page: a thousand keys of a quarter of the longest that S3 knows.
const PAGE_BYTES_MAX: usize = 256 << 10;
/// Directories on the way down whose entries stay in memory: those above are read again from where the walk is.
const BUFFERED_LEVELS_MAX: usize = 8;

/// A directory being walked.
struct Level {
    ino: Ino,
    /// Length of its key, ending in `/`, which the walk's path begins with; 0 for the bucket.
    path_len: usize,
    from: Vec<u8>,
    end: Vec<u8>,
    page: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
    last: bool,
    /// Inodes of entries ahead, in their order.
    inodes: VecDeque<(Ino, Option<Inode>)>,
}

/// One result.
enum Hit {
    Object(Vec<u8>, Box<ObjectInfo>),
    Prefix(Vec<u8>),
}

impl Hit {
    fn key(&self) -> &[u8] {
        match self {
            Self::Object(key, _) | Self::Prefix(key) => key,
        }
    }
}

/// Results of a walk.
#[derive(Default)]
struct Hits {
    list: Vec<Hit>,
    /// Bytes of the keys of all hits.
    bytes: usize,
}

impl Hits {
    fn push(&mut self, hit: Hit) {
        self.bytes += hit.key().len();
        self.list.push(hit);
    }

    /// Whether there is one more than a page of `limit` may have.
    fn overflow(&self, limit: usize) -> bool {
        self.list.len() > limit || (self.bytes > PAGE_BYTES_MAX && self.list.len() > 1)
    }
}

impl Level {
    /// Starts in directory `ino`, whose key is `path`, at entries that begin with `start` and can lead behind `after`.
    fn new(ino: Ino, path: &[u8], start: &[u8], after: Option<&[u8]>) -> Self {
        let mut from = key::entry(ino, start);
        if let Some(rest) = after.and_then(|after| after.strip_prefix(path)) {
            let behind = match rest.iter().position(|byte| *byte == b'/') {
                // The key lies below this directory entry, which has to be entered.
                Some(at) => key::entry(ino, &rest[..=at]),
                None => [&key::entry(ino, rest)[..], &[0]].concat(),
            };
            from = from.max(behind);
        }
        let end = if start.is_empty() {
            key::behind(key::TABLE_ENTRY, ino)
        } else {
            key::prefix_end(&key::entry(ino, start)).unwrap_or_else(|| key::behind(key::TABLE_ENTRY, ino))
        };
        Self {
            ino,
            path_len: path.len(),
            from,
            end,
            page: Vec::new().into_iter(),
            last: false,
            inodes: VecDeque::new(),
        }
    }

    fn next(&mut self, view: &mut impl View) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        loop {
            if let Some(record) = self.page.next() {
                return Ok(Some(record));
            }
            if self.last || self.from >= self.end {
                return Ok(None);
            }
            let page = view.entries(&self.from, &self.end, STEP)?;
            self.last = page.len() < STEP;
            if let Some((key, _)) = page.last() {
                self.from.clone_from(key);
                self.from.push(0);
            }
            self.page = page.into_iter();
        }
    }

    /// The inode of the entry at hand; where it was replaced since, that of the entry as it is now. Read together with those of the
    /// entries behind it, up to `most`, that will be asked for as `wanted` says of their names.
    fn inode(
        &mut self,
        view: &mut impl View,
        (entry_name, dirent): (&[u8], Dirent),
        most: usize,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<(Dirent, Inode)>> {
        while self.inodes.front().is_some_and(|(ino, _)| *ino != dirent.ino) {
            self.inodes.pop_front();
        }
        if self.inodes.is_empty() {
            let mut inos = vec![dirent.ino];
            for (_, value) in self.page.as_slice().iter().filter(|(key, _)| wanted(&key[ENTRY_NAME_AT..])) {
                if inos.len() >= most {
                    break;
                }
                let dirent = decode_dirent(self.ino, value)?;
                if matches!(dirent.kind, NodeKind::File | NodeKind::Directory) {
                    inos.push(dirent.ino);
                }
            }
            let found = view.find_inodes(&inos)?;
            self.inodes = inos.into_iter().zip(found).collect();
        }
        match self.inodes.pop_front() {
            Some((_, Some(inode))) => Ok(Some((dirent, inode))),
            _ => view.entry_inode(self.ino, entry_name),
        }
    }

    /// Lets go of the entries read ahead; they are read again from there.
    fn forget(&mut self) {
        self.inodes = VecDeque::new();
        if let Some((key, _)) = self.page.next() {
            self.from = key;
            self.last = false;
            self.page = Vec::new().into_iter();
        }
    }

    /// Skips to entries that are not below `prefix` (a key).
    fn skip(&mut self, prefix: &[u8]) {
        let Some(rest) = prefix.get(self.path_len..) else { return };
        let Some(end) = key::prefix_end(&key::entry(self.ino, rest)) else { return };
        // The entries behind the prefix have mostly been read already.
        while self.page.as_slice().first().is_some_and(|(key, _)| *key < end) {
            self.page.next();
        }
        if self.page.len() == 0 && end > self.from {
            self.from = end;
        }
    }
}

impl Namespace {
    /// Lists the keys of a bucket in byte order, with common prefixes rolled up: at most [`LIST_LIMIT_MAX`] results, and fewer where keys
    /// are long. Only [`ListPage::next`] says whether there are more. A directory that was made explicitly appears as the key `dir/`.
    /// Symbolic links and devices are no objects. Directories that the caller may not read are left out, and so are paths longer than
    /// [`LISTED_LEN_MAX`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoSuchBucket`], [`crate::ErrorKind::AccessDenied`] on the bucket itself.
    pub fn list(&self, op: &Op, bucket: &str, query: &ListQuery) -> Result<ListPage> {
        let limit = query.limit.min(LIST_LIMIT_MAX);
        if limit == 0 {
            let (_, root) = self.open_bucket(&mut self.snap(op), op, bucket)?;
            self.authorize(op, Action::List, &root.attr)?;
            return Ok(ListPage::default());
        }
        let stored = self.opens.stored.moment();
        // One hit more than the limit shows that there are more.
        let hits = self.walk(op, bucket, query, limit)?;
        let more = hits.overflow(limit);
        let mut hits = hits.list;
        let next = if more {
            hits.pop();
            hits.last().map(|hit| hit.key().to_vec())
        } else {
            None
        };
        let mut page = ListPage { next, ..ListPage::default() };
        for hit in hits {
            match hit {
                Hit::Object(key, info) => page.objects.push((key, self.sealed(op, stored, *info))),
                Hit::Prefix(prefix) => page.prefixes.push(prefix),
            }
        }
        Ok(page)
    }

    /// A listed object as [`Namespace::head_object`] returns it: bytes written to it become content first, so that size and
    /// tag are of the same bytes, which the caller can wait for. If that fails, the object is returned as it was found; callers
    /// who do not wait get it so in any case. `stored` is the moment before it was read.
    fn sealed(&self, op: &Op, stored: u64, info: ObjectInfo) -> ObjectInfo {
        let dirty = |file: Arc<OpenFile>| file.dirty.load(Ordering::Acquire);
        let is_staged = || self.opens.any_staged() && self.opens.get(info.attr.ino).is_some_and(dirty);
        if !op.waits() || !(is_staged() || self.opens.stored.was_since(stored, info.attr.ino)) {
            return info;
        }
        self.object_info(op, info.attr.ino).unwrap_or(info)
    }

    /// The results of a page of `limit`, and one more if there is one.
    fn walk(&self, op: &Op, bucket: &str, query: &ListQuery, limit: usize) -> Result<Hits> {
        let mut snap = self.snap(op);
        let (record, root) = self.open_bucket(&mut snap, op, bucket)?;
        snap.bucket = record.root;
        self.authorize(op, Action::List, &root.attr)?;
        let prefix = &query.prefix[..];
        let after = query.after.as_deref();
        let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());

        // Down to the directory that the prefix names.
        let cut = prefix.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        if top::reaches_below(record.root, prefix) {
            return Ok(Hits::default());
        }
        let (mut at, mut path) = (root, Vec::new());
        for part in prefix[..cut].split_inclusive(|byte| *byte == b'/') {
            let Some((_, dir)) = snap.entry_inode(at.attr.ino, part)? else { return Ok(Hits::default()) };
            self.authorize(op, Action::Search, &dir.attr)?;
            path.extend_from_slice(part);
            at = dir;
        }
        let mut hits = Hits::default();
        if cut > 0 && cut == prefix.len() {
            self.marker(&mut snap, &at, &path, after, &mut hits)?;
        }
        let mut levels = vec![Level::new(at.attr.ino, &path, &prefix[cut..], after)];
        loop {
            let depth = levels.len();
            let Some(level) = levels.last_mut() else { break };
            if hits.overflow(limit) {
                break;
            }
            path.truncate(level.path_len);
            let Some((record_key, value)) = level.next(&mut snap)? else {
                levels.pop();
                continue;
            };
            let entry_name = &record_key[ENTRY_NAME_AT..];
            let directory = name::is_dir(entry_name);
            if directory && record.is_top() {
                // A folder at the top is a bucket of its own.
                continue;
            }
            // The next turn of the loop truncates the path again.
            path.extend_from_slice(entry_name);
            let full = &path[..];
            if full.len() > LISTED_LEN_MAX {
                continue;
            }
            let dirent = decode_dirent(level.ino, &value)?;
            let most = (limit + 1).saturating_sub(hits.list.len()).clamp(1, INODES_AT_ONCE);
            let above = &path[..level.path_len];
            let wanted = |name: &[u8]| match delimiter {
                Some(delimiter) => common_prefix(&[above, name].concat(), prefix.len(), delimiter).is_none(),
                None => true,
            };
            if let Some(common) = delimiter.and_then(|delimiter| common_prefix(full, prefix.len(), delimiter)) {
                let common = common.to_vec();
                level.skip(&common);
                if self.shows_prefix(op, bucket, &common, after, hits.list.last())? {
                    hits.push(Hit::Prefix(common));
                }
                continue;
            }
            if directory {
                if after.is_some_and(|after| !after.starts_with(full) && *full < *after) || depth >= DEPTH_MAX {
                    continue;
                }
                let found = level.inode(&mut snap, (entry_name, dirent), most, wanted)?;
                let Some((_, dir)) = found else { continue };
                if !self.may(op, Action::List, &dir.attr) {
                    continue;
                }
                self.marker(&mut snap, &dir, full, after, &mut hits)?;
                levels.push(Level::new(dir.attr.ino, full, b"", after));
                if let Some(above) = levels.len().checked_sub(BUFFERED_LEVELS_MAX + 1) {
                    levels[above].forget();
                }
            } else if dirent.kind == NodeKind::File && after.is_none_or(|after| *full > *after) {
                let found = level.inode(&mut snap, (entry_name, dirent), most, wanted)?;
                let Some((dirent, inode)) = found else { continue };
                if dirent.kind != NodeKind::File {
                    continue;
                }
                hits.push(Hit::Object(full.to_vec(), Box::new(self.info(inode))));
            }
        }
        Ok(hits)
    }

    /// Adds the object `dir/` for a directory that somebody made and that has no object of that name.
    fn marker(
        &self,
        view: &mut impl View,
        dir: &crate::records::Inode,
        path: &[u8],
        after: Option<&[u8]>,
        hits: &mut Hits,
    ) -> Result<()> {
        let wanted = !dir.implicit && !path.is_empty() && after.is_none_or(|after| *path > *after);
        if wanted && view.entry(dir.attr.ino, b"")?.is_none() {
            let mut shown = dir.clone();
            view.complete(&mut shown)?;
            hits.push(Hit::Object(path.to_vec(), Box::new(self.info(shown))));
        }
        Ok(())
    }

    /// Whether a common prefix belongs on this page: not twice, and only with a key behind `after` below it.
    fn shows_prefix(
        &self,
        op: &Op,
        bucket: &str,
        common: &[u8],
        after: Option<&[u8]>,
        last: Option<&Hit>,
    ) -> Result<bool> {
        if matches!(last, Some(Hit::Prefix(shown)) if shown == common) {
            return Ok(false);
        }
        match after {
            Some(after) if after == common => Ok(false),
            Some(after) if after.starts_with(common) => {
                let below =
                    ListQuery { prefix: common.to_vec(), delimiter: None, after: Some(after.to_vec()), limit: 1 };
                Ok(!self.walk(op, bucket, &below, 0)?.list.is_empty())
            }
            Some(after) => Ok(common > after),
            None => Ok(true),
        }
    }
}

/// The part of a key up to and including the first delimiter behind the prefix.
fn common_prefix<'a>(full: &'a [u8], prefix_len: usize, delimiter: &[u8]) -> Option<&'a [u8]> {
    let rest = full.get(prefix_len..)?;
    let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(&full[..prefix_len + at + delimiter.len()])
}

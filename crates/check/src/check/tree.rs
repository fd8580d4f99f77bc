//! The tree as predicates: inodes, entries, buckets, uploads and what hangs on inodes, a window of inodes at a time.
//!
//! Memory: 48 bytes per inode of the window. Each window walks all entries once, so a store of a million inodes takes one
//! walk and one of a hundred million a hundred.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use strata_content::Store;
use strata_seam::Ino;

use super::finding::Finding;
use super::report::{Found, Teller};
use strata_namespace::checking::{is_dir, locked, raw};
use strata_namespace::records::{Bucket, Dirent, Inode, Part, Upload, Version, key};
use strata_namespace::{NodeKind, ROOT_INO, Result};

/// Records read per step.
pub(super) const STEP: usize = 1024;
/// Deepest tree followed upwards; the doors' limits on paths are far below.
const DEPTH_MAX: usize = 1 << 16;

/// The inodes that a pass looks at.
#[derive(Clone, Debug)]
pub(super) enum Inodes {
    /// From the first up to, and without, the second.
    Between(u64, Option<u64>),
    /// These.
    These(Arc<HashSet<Ino>>),
}

impl Inodes {
    fn holds(&self, ino: Ino) -> bool {
        match self {
            Self::Between(from, to) => *from <= ino.0 && to.is_none_or(|to| ino.0 < to),
            Self::These(inodes) => inodes.contains(&ino),
        }
    }

    /// What does not belong to an inode is looked at in the first pass.
    fn is_first(&self) -> bool {
        matches!(self, Self::Between(0, _))
    }
}

/// What is remembered of an inode.
struct Seen {
    bucket: Ino,
    tree: u32,
    kind: NodeKind,
    nlink: u32,
    parent: Ino,
    names: u32,
    subdirs: u32,
    /// The sum of the names in the inode's record, less those of the entries that lead to it.
    unmet: u64,
}

/// The number of a name in such a sum.
fn sum_of(parent: Ino, entry_name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (parent.0, entry_name).hash(&mut hasher);
    hasher.finish()
}

/// Reads all records of a table in steps; `false` if it was told to stop.
pub(super) fn each(
    store: &Store,
    (from, to): (Vec<u8>, Vec<u8>),
    teller: &mut Teller<'_>,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<bool> {
    let mut from = from;
    loop {
        let page = store.range(&from, &to, STEP)?;
        let Some((last, _)) = page.last() else { return Ok(true) };
        from.clone_from(last);
        from.push(0);
        for (key, entry) in &page {
            visit(key, &entry.value)?;
        }
        if !teller.step(page.len() as u64) {
            return Ok(false);
        }
    }
}

pub(super) fn table(table: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![table], vec![table + 1])
}

/// One pass over the tree.
pub(super) struct TreePass<'a> {
    store: &'a Store,
    inodes: Inodes,
    seen: HashMap<Ino, Seen>,
}

impl<'a> TreePass<'a> {
    pub(super) fn new(store: &'a Store, inodes: Inodes) -> Self {
        Self { store, inodes, seen: HashMap::new() }
    }

    /// Looks at everything of these inodes; `None` if it was told to stop. Returns where the next window begins, if there
    /// is one.
    pub(super) fn run(
        mut self,
        at_once: usize,
        found: &mut Found,
        teller: &mut Teller<'_>,
    ) -> Result<Option<Option<u64>>> {
        teller.now("inodes");
        if !self.load(at_once, found, teller)? {
            return Ok(None);
        }
        teller.now("directory entries");
        if !self.entries(found, teller)? {
            return Ok(None);
        }
        self.links(found)?;
        Ok(Some(match self.inodes {
            Inodes::Between(_, next) => next,
            Inodes::These(_) => None,
        }))
    }

    fn load(&mut self, at_once: usize, found: &mut Found, teller: &mut Teller<'_>) -> Result<bool> {
        match self.inodes.clone() {
            Inodes::These(inodes) => {
                for ino in inodes.iter() {
                    if let Some(entry) = self.store.get(&key::inode(*ino))? {
                        self.inode(&key::inode(*ino), &entry.value, found);
                    }
                    let rows = (key::under(key::TABLE_NAME, *ino, &[]), key::behind(key::TABLE_NAME, *ino));
                    if !self.rows(rows, teller)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Inodes::Between(first, _) => {
                let mut from = key::inode(Ino(first));
                loop {
                    let page = self.store.range(&from, &[key::TABLE_INODE + 1], STEP)?;
                    let Some((last, _)) = page.last() else {
                        return self
                            .rows((key::under(key::TABLE_NAME, Ino(first), &[]), vec![key::TABLE_NAME + 1]), teller);
                    };
                    from.clone_from(last);
                    from.push(0);
                    page.iter().for_each(|(key, entry)| self.inode(key, &entry.value, found));
                    found.report.inodes += page.len() as u64;
                    if !teller.step(page.len() as u64) {
                        return Ok(false);
                    }
                    if self.seen.len() >= at_once {
                        let next = number(&from[1..]).map_or(u64::MAX, |ino| ino.0 + 1);
                        self.inodes = Inodes::Between(first, Some(next));
                        let rows =
                            (key::under(key::TABLE_NAME, Ino(first), &[]), key::under(key::TABLE_NAME, Ino(next), &[]));
                        return self.rows(rows, teller);
                    }
                }
            }
        }
    }

    /// Has the inodes know the names that are in these rows.
    fn rows(&mut self, range: (Vec<u8>, Vec<u8>), teller: &mut Teller<'_>) -> Result<bool> {
        let store = self.store;
        each(store, range, teller, |key, _| {
            if let (Some(ino), Some((parent, entry_name))) = (number(&key[1..]), key::of_name(key))
                && let Some(seen) = self.seen.get_mut(&ino)
            {
                seen.unmet = seen.unmet.wrapping_add(sum_of(parent, entry_name));
            }
            Ok(())
        })
    }

    fn inode(&mut self, key: &[u8], value: &[u8], found: &mut Found) {
        let inode = number(&key[1..]).filter(|_| key.len() == 9).map(|ino| Inode::decode(ino, value));
        let Some(Ok(inode)) = inode else { return found.put(Finding::Record { key: key.to_vec() }) };
        let (ino, size) = (inode.attr.ino, inode.attr.size);
        let len = strata_content::items_len(&inode.items);
        if inode.attr.kind == NodeKind::File && len != size {
            found.put(Finding::Size { ino, size, len });
        }
        found.report.logical_bytes += len;
        let seen = Seen {
            bucket: inode.bucket,
            tree: inode.tree,
            kind: inode.attr.kind,
            nlink: inode.attr.nlink,
            parent: inode.parent,
            names: 0,
            subdirs: 0,
            unmet: if inode.is_named() { sum_of(inode.parent, &inode.name) } else { 0 },
        };
        self.seen.insert(ino, seen);
    }

    fn entries(&mut self, found: &mut Found, teller: &mut Teller<'_>) -> Result<bool> {
        let first = self.inodes.is_first();
        let store = self.store;
        let mut dir = (Ino(0), (Ino(0), 0));
        each(store, table(key::TABLE_ENTRY), teller, |key, value| {
            let (Some(parent), Ok(dirent)) = (number(&key[1..]), Dirent::decode(value)) else {
                if first {
                    found.put(Finding::Record { key: key.to_vec() });
                }
                return Ok(());
            };
            let stands_in = dirent.stands_in(&key[9..]);
            found.report.entries += u64::from(first && !stands_in);
            if stands_in {
                return self.placeholder(parent, &key[9..], dirent, found);
            }
            if dir.0 != parent {
                let record = store.get(&key::inode(parent))?;
                let inode = record.and_then(|record| Inode::decode(parent, &record.value).ok());
                dir = (parent, inode.map_or((Ino(0), 0), |inode| (inode.bucket, inode.tree)));
            }
            self.entry(dir, &key[9..], dirent, found)
        })
    }

    /// A placeholder leads to the directory of its name.
    fn placeholder(&self, parent: Ino, name: &[u8], dirent: Dirent, found: &mut Found) -> Result<()> {
        if self.inodes.holds(parent) {
            let directory = self.store.get(&key::entry(parent, &[name, b"/"].concat()))?;
            let leads = directory.and_then(|directory| Dirent::decode(&directory.value).ok()).map(|dir| dir.ino);
            if leads != Some(dirent.ino) {
                found.put(Finding::Shadow { parent, name: name.to_vec() });
            }
        }
        Ok(())
    }

    /// `within` is the bucket and the quota tree of the directory; no bucket where there is no such directory.
    fn entry(
        &mut self,
        (parent, within): (Ino, (Ino, u32)),
        name: &[u8],
        dirent: Dirent,
        found: &mut Found,
    ) -> Result<()> {
        let directory = is_dir(name);
        let ino = dirent.ino;
        if self.inodes.holds(parent) {
            match self.seen.get_mut(&parent) {
                Some(dir) if dir.kind == NodeKind::Directory => dir.subdirs += u32::from(directory),
                _ => found.put(Finding::NoDirectory { parent, name: name.to_vec(), ino }),
            }
            if parent == ROOT_INO && directory && self.store.get(&key::bucket(ino))?.is_none() {
                found.put(Finding::Stray { name: name.to_vec() });
            }
            let beside = || self.store.get(&key::entry(parent, &[name, b"/"].concat()));
            let plain = || self.store.get(&key::entry(parent, raw(name)));
            let wrong = if directory { plain()?.is_none() } else { beside()?.is_some() != dirent.shadowed };
            if wrong {
                found.put(Finding::Shadow { parent, name: raw(name).to_vec() });
            }
        }
        if self.inodes.holds(ino) {
            match self.seen.get_mut(&ino) {
                Some(seen) => {
                    seen.names += 1;
                    seen.unmet = seen.unmet.wrapping_sub(sum_of(parent, name));
                    let (bucket, tree) = match (parent == ROOT_INO, directory) {
                        (true, true) => (ino, seen.tree),
                        (true, false) => (within.0, seen.tree),
                        (false, _) => within,
                    };
                    let elsewhere = (seen.bucket, seen.tree) != (bucket, tree) && bucket != Ino(0);
                    // The content of a folder that was moved into the trash follows it in later commits.
                    if elsewhere && self.store.get(&key::following(parent))?.is_none() {
                        found.put(Finding::Elsewhere { parent, name: name.to_vec(), ino });
                    }
                    if seen.kind != dirent.kind || directory != (seen.kind == NodeKind::Directory) {
                        found.put(Finding::Kind { parent, name: name.to_vec(), ino });
                    } else if directory && seen.parent != parent {
                        // Once its parent is set right, the inode also has this name: a second finding is not needed.
                        seen.unmet = 0;
                        found.put(Finding::Parent { ino, parent, named: seen.parent });
                    }
                }
                None => found.put(Finding::Dangling { parent, name: name.to_vec(), ino }),
            }
        }
        Ok(())
    }

    fn links(&self, found: &mut Found) -> Result<()> {
        let open = unlinked(self.store)?;
        let mut reached = HashSet::from([ROOT_INO]);
        let mut inodes: Vec<(&Ino, &Seen)> = self.seen.iter().collect();
        inodes.sort_by_key(|(ino, _)| **ino);
        for (&ino, seen) in inodes {
            let directory = seen.kind == NodeKind::Directory;
            let exist = if directory { 2 + seen.subdirs } else { seen.names };
            if seen.nlink != exist {
                found.put(Finding::Links { ino, counted: seen.nlink, exist });
            }
            if directory && seen.names > 1 {
                found.put(Finding::ManyNames { ino, names: seen.names });
            }
            if ino == ROOT_INO {
                continue;
            }
            let once = !directory || seen.names == 1;
            if seen.names > 0 && once && seen.unmet != 0 {
                found.put(Finding::Names { ino });
            }
            if seen.names == 0 {
                if !open.contains(&ino) {
                    found.put(Finding::NoName { ino });
                }
            } else if directory && !self.reaches_root(ino, &mut reached)? {
                found.put(Finding::Unreached { ino });
            }
        }
        Ok(())
    }

    /// Whether the directory hangs below the root, or below something that is reported on its own account.
    fn reaches_root(&self, ino: Ino, reached: &mut HashSet<Ino>) -> Result<bool> {
        let mut path = vec![ino];
        let mut at = ino;
        while !reached.contains(&at) {
            let parent = match self.seen.get(&at) {
                Some(seen) => Some(seen.parent),
                None => parent_of(self.store, at)?,
            };
            let Some(parent) = parent else { break };
            if path.contains(&parent) || path.len() > DEPTH_MAX {
                // What hangs below a cycle is not reported beside the cycle itself.
                return Ok(parent != ino);
            }
            path.push(parent);
            at = parent;
        }
        reached.extend(path);
        Ok(true)
    }
}

/// The inodes without a name that some session has open.
fn unlinked(store: &Store) -> Result<HashSet<Ino>> {
    let (mut from, mut open) = (vec![key::TABLE_UNLINKED], HashSet::new());
    loop {
        let page = store.range(&from, &[key::TABLE_UNLINKED + 1], STEP)?;
        let Some((last, _)) = page.last() else { return Ok(open) };
        from.clone_from(last);
        from.push(0);
        open.extend(page.iter().filter_map(|(key, _)| key::unlinked_ino(key)));
    }
}

/// The parent that a directory names; `None` where there is no such directory.
pub(super) fn parent_of(store: &Store, ino: Ino) -> Result<Option<Ino>> {
    let Some(entry) = store.get(&key::inode(ino))? else { return Ok(None) };
    let inode = Inode::decode(ino, &entry.value).ok();
    Ok(inode.filter(|inode| inode.attr.kind == NodeKind::Directory).map(|inode| inode.parent))
}

/// Whether the record of the bucket of the files at the top is there, and the root in that bucket.
pub(super) fn top_is_whole(record: Option<&[u8]>, root: Option<&[u8]>) -> bool {
    let named_nothing = |record| Bucket::decode(ROOT_INO, record).is_ok_and(|bucket| bucket.name.is_empty());
    // A root that is lost or cannot be read has a finding of its own.
    let in_it = |root| Inode::decode(ROOT_INO, root).map_or(true, |root| root.bucket == ROOT_INO);
    record.is_some_and(named_nothing) && root.is_none_or(in_it)
}

/// Buckets, uploads, parts, versions, attributes and properties: what is not counted, only looked at.
pub(super) fn others(store: &Store, found: &mut Found, teller: &mut Teller<'_>) -> Result<bool> {
    teller.now("buckets, uploads and attributes");
    let mut going = each(store, table(key::TABLE_BUCKET), teller, |key, value| {
        let Some(root) = number(&key[1..]).filter(|_| key.len() == 9) else {
            found.put(Finding::Record { key: key.to_vec() });
            return Ok(());
        };
        if root == ROOT_INO {
            return Ok(());
        }
        let entry = match Bucket::decode(root, value) {
            Ok(bucket) => store.get(&key::entry(ROOT_INO, &[&bucket.name[..], b"/"].concat()))?,
            Err(_) => None,
        };
        let leads = entry.and_then(|entry| Dirent::decode(&entry.value).ok()).map(|dirent| dirent.ino);
        // The record of a bucket that was moved into the trash as a folder stays until nothing belongs to it any more.
        if leads != Some(root) && store.get(&key::leaving(root))?.is_none() {
            found.put(Finding::Bucket { root });
        }
        Ok(())
    })?;
    let (top, root) = (store.get(&key::bucket(ROOT_INO))?, store.get(&key::inode(ROOT_INO))?);
    if !top_is_whole(top.as_ref().map(|entry| &entry.value[..]), root.as_ref().map(|entry| &entry.value[..])) {
        found.put(Finding::Bucket { root: ROOT_INO });
    }
    let leaving = (key::KEY_LEAVING.to_vec(), key::prefix_end(key::KEY_LEAVING).unwrap_or_default());
    going = going
        && each(store, leaving, teller, |key, _| {
            if let Some(root) = key::left(key)
                && store.get(&key::bucket(root))?.is_none()
            {
                found.put(Finding::Leaving { root });
            }
            Ok(())
        })?;
    let mut uploads = HashSet::new();
    going = going
        && each(store, table(key::TABLE_UPLOAD), teller, |key, value| {
            let id = key.last_chunk::<8>().map(|id| u64::from_be_bytes(*id));
            match (id, Upload::decode(value)) {
                (Some(id), Ok(_)) => _ = uploads.insert(id),
                _ => found.put(Finding::Record { key: key.to_vec() }),
            }
            Ok(())
        })?;
    going = going
        && each(store, table(key::TABLE_PART), teller, |key, value| {
            let (upload, part) = (number(&key[1..]), key.last_chunk::<4>().map(|part| u32::from_be_bytes(*part)));
            match (upload, part, Part::decode(value)) {
                (Some(Ino(upload)), Some(part), Ok(_)) if !uploads.contains(&upload) => {
                    found.put(Finding::Part { upload, part });
                }
                (Some(_), Some(_), Ok(_)) => {}
                _ => found.put(Finding::Record { key: key.to_vec() }),
            }
            Ok(())
        })?;
    going = going
        && each(store, table(key::TABLE_LOCK), teller, |key, value| {
            match locked(key, value) {
                Ok(Some(ino)) if store.get(&key::inode(ino))?.is_none() => {
                    found.put(Finding::Leftover { ino, key: key.to_vec() });
                }
                Ok(_) => {}
                Err(_) => found.put(Finding::Record { key: key.to_vec() }),
            }
            Ok(())
        })?;
    for of_inodes in [
        key::TABLE_VERSION,
        key::TABLE_XATTR,
        key::TABLE_PROPERTY,
        key::TABLE_TIMES,
        key::TABLE_NAME,
        key::TABLE_HOLD,
        key::TABLE_ADDED,
    ] {
        let mut last = None;
        going = going
            && each(store, table(of_inodes), teller, |key, value| {
                let well_formed = of_inodes != key::TABLE_NAME || key::of_name(key).is_some();
                let Some(ino) = number(&key[1..]).filter(|_| well_formed) else {
                    found.put(Finding::Record { key: key.to_vec() });
                    return Ok(());
                };
                if of_inodes == key::TABLE_VERSION && Version::decode(value).is_err() {
                    found.put(Finding::Record { key: key.to_vec() });
                }
                if last != Some(ino) {
                    last = Some(ino);
                    let of_upload = of_inodes == key::TABLE_ADDED && uploads.contains(&ino.0);
                    let inode = if of_upload { None } else { store.get(&key::inode(ino))? };
                    if !of_upload && inode.is_none() {
                        found.put(Finding::Leftover { ino, key: key.to_vec() });
                    }
                    let inode = inode.and_then(|inode| Inode::decode(ino, &inode.value).ok());
                    if inode.is_some_and(|mut inode| inode.beside.of(of_inodes).is_some_and(|has| !*has)) {
                        found.put(Finding::Beside { ino, key: key.to_vec() });
                    }
                }
                Ok(())
            })?;
    }
    Ok(going)
}

pub(crate) fn number(key: &[u8]) -> Option<Ino> {
    key.first_chunk::<8>().map(|bytes| Ino(u64::from_be_bytes(*bytes)))
}

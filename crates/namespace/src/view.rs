//! Reading records, in the same way inside a change and outside of one.

use strata_content::{Cell, ContentError, Tx};
use strata_seam::Ino;

use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::name::{self, Named};
use crate::records::{Bucket, Dirent, Inode};
use crate::times;
use crate::types::{NodeKind, ROOT_INO};

/// Entries read per step when a directory is scanned for an alias.
const SCAN_STEP: usize = 256;

/// An entry that was found: its entry name and where it leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its entry name.
    pub name: Vec<u8>,
    /// Where it leads.
    pub dirent: Dirent,
}

/// Access to records.
pub trait View {
    /// The record at a key.
    ///
    /// # Errors
    /// Reading the index; this holds for every call below.
    fn record(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// The records at `keys`, in their order: records needed together are read together.
    fn records_at(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        keys.iter().map(|key| self.record(key)).collect()
    }
    /// Up to `limit` records with keys in `from .. to`, in order.
    fn records(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// Members of a set, for a change that relies on there being no others: `guard` is the cell to which every addition to the set
    /// adds. The change writes or removes it.
    fn members(&mut self, guard: &[u8], from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let _ = guard;
        self.records(from, to, limit)
    }

    /// The inode, if it exists.
    fn find_inode(&mut self, ino: Ino) -> Result<Option<Inode>> {
        self.record(&key::inode(ino))?.map(|bytes| decode_inode(ino, &bytes)).transpose()
    }

    /// The inodes that exist of these, in their order, read together.
    fn find_inodes(&mut self, inos: &[Ino]) -> Result<Vec<Option<Inode>>> {
        let keys: Vec<Vec<u8>> = inos.iter().map(|ino| key::inode(*ino)).collect();
        let records = inos.iter().zip(self.records_at(&keys)?);
        records.map(|(ino, bytes)| bytes.map(|bytes| decode_inode(*ino, &bytes)).transpose()).collect()
    }

    /// A cell: what is only added to.
    fn cell(&mut self, key: &[u8]) -> Result<Option<Cell>>;

    /// The inode as it is shown: the times of a directory are those of now, and its change number counts every change. To be
    /// looked at, never to be written.
    fn shown(&mut self, ino: Ino) -> Result<Inode> {
        let mut inode = self.inode(ino)?;
        self.complete(&mut inode)?;
        Ok(inode)
    }

    /// The inodes that exist of these, in their order, as they are shown; see [`View::shown`].
    fn shown_together(&mut self, inos: &[Ino]) -> Result<Vec<Option<Inode>>> {
        let mut inodes = self.find_inodes(inos)?;
        let keys: Vec<Vec<u8>> = inodes.iter().flatten().filter_map(|inode| times::key_for(&inode.attr)).collect();
        if keys.is_empty() {
            return Ok(inodes);
        }
        let directories = inodes.iter_mut().flatten().filter(|inode| times::key_for(&inode.attr).is_some());
        for (directory, cell) in directories.zip(self.records_at(&keys)?) {
            if let Some(cell) = cell {
                times::complete(&mut directory.attr, &Cell::from_value(&cell));
            }
        }
        Ok(inodes)
    }

    /// Has an inode that was read be as it is shown; see [`View::shown`].
    fn complete(&mut self, inode: &mut Inode) -> Result<()> {
        if let Some(cell) = self.times(inode)? {
            times::complete(&mut inode.attr, &cell);
        }
        Ok(())
    }

    /// What is kept of a directory's times apart from its record; `None` for anything else.
    fn times(&mut self, inode: &Inode) -> Result<Option<Cell>> {
        times::key_for(&inode.attr).map_or(Ok(None), |key| self.cell(&key))
    }

    /// The inode; a missing one is [`ErrorKind::Stale`], since a caller that has its number once had the inode.
    fn inode(&mut self, ino: Ino) -> Result<Inode> {
        self.find_inode(ino)?.ok_or_else(gone)
    }

    /// The inode of a directory.
    fn dir(&mut self, ino: Ino) -> Result<Inode> {
        let inode = self.inode(ino)?;
        if inode.attr.kind != crate::types::NodeKind::Directory {
            return Err(fail(ErrorKind::NotDirectory, "this is no directory"));
        }
        Ok(inode)
    }

    /// The bucket whose folder has this name.
    fn folder(&mut self, name: &[u8]) -> Result<Option<Bucket>> {
        match self.entry(ROOT_INO, &[name, b"/"].concat())? {
            Some(dirent) => self.bucket_called(name, dirent.ino),
            None => Ok(None),
        }
    }

    /// The record of the bucket with this name and root directory, also where it was not upgraded.
    fn bucket_called(&mut self, name: &[u8], root: Ino) -> Result<Option<Bucket>> {
        if let Some(bucket) = self.bucket_at(root)? {
            return Ok(Some(bucket));
        }
        let key = key::plain(key::TABLE_BUCKET_BY_NAME, name);
        self.record(&key)?.map(|record| old_bucket(&key, &record)).transpose()
    }

    /// The record of the bucket with this root directory.
    fn bucket_at(&mut self, root: Ino) -> Result<Option<Bucket>> {
        let Some(bytes) = self.record(&key::bucket(root))? else { return Ok(None) };
        Bucket::decode(root, &bytes).map(Some).map_err(|_| damaged(format!("the bucket of directory {root}")))
    }

    /// The rules an inode is under: its bucket's.
    fn rules(&mut self, inode: &Inode) -> Result<Bucket> {
        let missing = || damaged(format!("the bucket of inode {}", inode.attr.ino));
        self.bucket_at(inode.bucket)?.ok_or_else(missing)
    }

    /// Whether what happens in a bucket needs not be durable before it is confirmed. What is in no bucket is strict.
    fn is_relaxed(&mut self, root: Ino) -> Result<bool> {
        Ok(root != Ino(0) && self.bucket_at(root)?.is_some_and(|bucket| bucket.relaxed))
    }

    /// The entry of exactly this entry name; a placeholder is none.
    fn entry(&mut self, parent: Ino, entry_name: &[u8]) -> Result<Option<Dirent>> {
        Ok(self.any_entry(parent, entry_name)?.filter(|dirent| !dirent.stands_in(entry_name)))
    }

    /// Up to `limit` entries of directories with keys in `from .. to`, placeholders left out: fewer where there are no more.
    fn entries(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut from = from.to_vec();
        loop {
            let wanted = limit - found.len();
            let page = self.records(&from, to, wanted)?;
            let last = (page.len() == wanted).then(|| page.last().map(|(key, _)| [&key[..], &[0]].concat())).flatten();
            let is_entry = |(key, value): &(Vec<u8>, Vec<u8>)| !Dirent::is_placeholder(&key[9..], value);
            found.extend(page.into_iter().filter(is_entry));
            match last {
                Some(next) if found.len() < limit => from = next,
                _ => return Ok(found),
            }
        }
    }

    /// Whether directories have placeholders: not where records of an earlier version could not be upgraded.
    fn has_placeholders(&self) -> bool;

    /// The entry of this name, which may also be a placeholder.
    fn any_entry(&mut self, parent: Ino, entry_name: &[u8]) -> Result<Option<Dirent>> {
        match self.record(&key::entry(parent, entry_name))? {
            Some(bytes) => Ok(Some(decode_dirent(parent, &bytes)?)),
            None => Ok(None),
        }
    }

    /// The entry of exactly this entry name and its inode. Outside of a change somebody may replace the entry, and erase
    /// the inode it led to, between the two reads; the name then leads to another inode and was there all the time.
    fn entry_inode(&mut self, parent: Ino, entry_name: &[u8]) -> Result<Option<(Dirent, Inode)>> {
        let mut before = None;
        loop {
            let Some(dirent) = self.entry(parent, entry_name)? else { return Ok(None) };
            if let Some(inode) = self.find_inode(dirent.ino)? {
                return Ok(Some((dirent, inode)));
            }
            if before.replace(dirent.ino) == Some(dirent.ino) {
                return Ok(None);
            }
        }
    }

    /// One step of a walk by entry names: the inode of the entry in `parent`, and with it what its entry `below` is, for the next
    /// step, which takes it as `known`. Inode and entry are read together, so that a walk of n names takes n + 1 trips and not 2 n.
    fn step(
        &mut self,
        parent: Ino,
        entry_name: &[u8],
        known: Option<Dirent>,
        below: Option<&[u8]>,
    ) -> Result<Option<(Inode, Option<Dirent>)>> {
        let dirent = match known {
            Some(dirent) => Some(dirent),
            None => self.entry(parent, entry_name)?,
        };
        let Some(dirent) = dirent else { return Ok(None) };
        let mut keys = vec![key::inode(dirent.ino)];
        keys.extend(below.map(|below| key::entry(dirent.ino, below)));
        let mut read = self.records_at(&keys)?.into_iter().map(Option::unwrap_or_default);
        let (inode, entry) = (read.next().unwrap_or_default(), read.next().unwrap_or_default());
        if inode.is_empty() {
            // The entry was replaced since it was read, or is gone.
            return Ok(self.entry_inode(parent, entry_name)?.map(|(_, inode)| (inode, None)));
        }
        let inode = decode_inode(dirent.ino, &inode)?;
        let entry = (!entry.is_empty()).then(|| decode_dirent(dirent.ino, &entry)).transpose()?;
        Ok(Some((inode, entry.filter(|entry| below.is_some_and(|below| !entry.stands_in(below))))))
    }

    /// What a file door means by `name`.
    fn find(&mut self, parent: Ino, name: &[u8]) -> Result<Option<Found>> {
        match name::parse(name) {
            Named::Plain => {
                let dir = || [name, b"/"].concat();
                match self.any_entry(parent, name)? {
                    Some(dirent) if dirent.stands_in(name) => return Ok(Some(Found { name: dir(), dirent })),
                    Some(dirent) if !dirent.shadowed => return Ok(Some(Found { name: name.to_vec(), dirent })),
                    None if self.has_placeholders() => return Ok(None),
                    _ => {}
                }
                Ok(self.entry(parent, &dir())?.map(|dirent| Found { name: dir(), dirent }))
            }
            Named::Entry(entry_name) => {
                let Some(dirent) = self.entry(parent, &entry_name)? else { return Ok(None) };
                let known_so = name::shown(&entry_name, dirent.shadowed) == name;
                Ok(known_so.then_some(Found { name: entry_name, dirent }))
            }
            Named::Hashed { start, hash, dir } => {
                let mut from = key::entry(parent, &start);
                let end = key::prefix_end(&from).unwrap_or_else(|| key::behind(key::TABLE_ENTRY, parent));
                loop {
                    let page = self.entries(&from, &end, SCAN_STEP)?;
                    for (key, value) in &page {
                        let entry_name = &key[9..];
                        if name::is_dir(entry_name) == dir && name::hash(name::raw(entry_name)) == hash {
                            let dirent = decode_dirent(parent, value)?;
                            return Ok(Some(Found { name: entry_name.to_vec(), dirent }));
                        }
                    }
                    let Some((last, _)) = page.last().filter(|_| page.len() == SCAN_STEP) else { return Ok(None) };
                    from.clone_from(last);
                    from.push(0);
                }
            }
        }
    }

    /// The entry that a file door calls `name`; an error if there is none.
    fn found(&mut self, parent: Ino, name: &[u8]) -> Result<Found> {
        self.find(parent, name)?
            .ok_or_else(|| fail(ErrorKind::NotFound, format!("there is no '{}' here", name.escape_ascii())))
    }

    /// Whether the directory has entries a file door sees; the empty marker `dir/` that S3 clients put is none.
    fn has_entries(&mut self, dir: Ino) -> Result<bool> {
        Ok(self.first_entry(dir)?.is_some())
    }

    /// The first entry that a file door sees, under the name shown there, and its kind.
    fn first_entry(&mut self, dir: Ino) -> Result<Option<(Vec<u8>, NodeKind)>> {
        for (key, value) in
            self.members(&times::key_of(dir), &key::entry(dir, &[]), &key::behind(key::TABLE_ENTRY, dir), 2)?
        {
            let dirent = decode_dirent(dir, &value)?;
            if key.len() > 9 || !self.inode(dirent.ino)?.is_marker() {
                return Ok(Some((name::shown(&key[9..], dirent.shadowed), dirent.kind)));
            }
        }
        Ok(None)
    }
}

impl Inode {
    /// Whether, under the empty name, it is only the mark by which S3 clients keep a folder.
    pub(crate) fn is_marker(&self) -> bool {
        self.attr.size == 0 && self.attr.nlink == 1
    }
}

fn decode_inode(ino: Ino, bytes: &[u8]) -> Result<Inode> {
    Inode::decode(ino, bytes).map_err(|_| damaged(format!("inode {ino}")))
}

pub(crate) fn decode_dirent(parent: Ino, bytes: &[u8]) -> Result<Dirent> {
    Dirent::decode(bytes).map_err(|_| damaged(format!("an entry of directory {parent}")))
}

/// Reads a record of the table by name.
pub(crate) fn old_bucket(key: &[u8], value: &[u8]) -> Result<Bucket> {
    let name = &key[1..];
    Bucket::decode_by_name(name.to_vec(), value).map_err(|_| damaged(format!("bucket {}", name.escape_ascii())))
}

pub(crate) fn damaged(what: String) -> crate::Error {
    ContentError::Record { what }.into()
}

pub(crate) fn gone() -> crate::Error {
    fail(ErrorKind::Stale, "what was asked for no longer exists")
}

impl View for Tx<'_> {
    fn record(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.get(key)?)
    }

    fn cell(&mut self, key: &[u8]) -> Result<Option<Cell>> {
        Ok(Tx::cell(self, key)?)
    }

    // Changes are made only to upgraded records.
    fn has_placeholders(&self) -> bool {
        true
    }

    fn records(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self.range(from, to, limit)?)
    }

    fn members(&mut self, guard: &[u8], from: &[u8], to: &[u8], limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Tx::members(self, guard, from, to, limit)?)
    }
}

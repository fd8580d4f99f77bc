//! Reading the tree: names, attributes, directories.

use strata_seam::Ino;

use crate::authority::{Action, Permit, READ, Reach, Resource};
use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::name;
use crate::names;
use crate::namespace::Namespace;
use crate::records::{Dirent, Inode};
use crate::snap::Snap;
use crate::top;
use crate::types::{Attr, DirEntry, DirPage, NodeKind, Op, StoreSpace};
use crate::view::{View, decode_dirent};

/// Most entries of one page of a directory, whatever was asked.
const PAGE_MAX: usize = 4096;
/// Entries of a page whose inodes are read at once.
const LISTED_AT_ONCE: usize = 128;

impl Namespace {
    /// The path of an inode from the root, `bucket/key`, by one of its names. A directory's path ends with `/`, the root's is empty.
    /// `None` if the inode has no name any more.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Stale`] for an inode that is gone, and reading the index.
    pub fn path_of(&self, op: &Op, ino: Ino) -> Result<Option<Vec<u8>>> {
        let mut snap = self.snap(op);
        let inode = snap.inode(ino)?;
        snap.bucket = inode.bucket;
        let Some(names::Path { bucket, key }) = names::path(&mut snap, &inode)? else { return Ok(None) };
        // A bucket's name is that of its root directory; the root of the tree has none.
        let name = snap.dir(bucket)?.name;
        Ok(Some([name, key].concat()))
    }

    /// What `name` in directory `parent` leads to; `.` and `..` are understood.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotDirectory`], [`ErrorKind::AccessDenied`], [`ErrorKind::Stale`].
    pub fn lookup(&self, op: &Op, parent: Ino, name: &[u8]) -> Result<Attr> {
        let mut snap = self.snap(op);
        let dir = snap.dir(parent)?;
        if !matches!(name, b"." | b"..") {
            return self.child(op, &mut snap, &dir.attr, name);
        }
        self.authorize(op, Action::Search, &dir.attr)?;
        self.attr_by(&mut snap, if name == b"." { parent } else { dir.parent })
    }

    /// As [`Namespace::lookup`], in a directory whose attributes the caller has just read. They are used for the check of permission and
    /// not read again: for one step of a walk.
    ///
    /// # Errors
    /// As [`Namespace::lookup`].
    pub fn lookup_in(&self, op: &Op, dir: &Attr, name: &[u8]) -> Result<Attr> {
        if matches!(name, b"." | b"..") {
            return self.lookup(op, dir.ino, name);
        }
        if dir.kind != NodeKind::Directory {
            return Err(fail(ErrorKind::NotDirectory, "this is no directory"));
        }
        self.child(op, &mut self.snap(op), dir, name)
    }

    fn child(&self, op: &Op, snap: &mut Snap<'_>, dir: &Attr, name: &[u8]) -> Result<Attr> {
        self.authorize(op, Action::Search, dir)?;
        if name.len() > crate::types::NAME_LEN_MAX {
            return Err(fail(ErrorKind::NameTooLong, format!("a name of {} bytes", name.len())));
        }
        let mut before = None;
        loop {
            let ino = snap.found(dir.ino, name)?.dirent.ino;
            match self.attr_by(snap, ino) {
                // The entry was replaced between the two reads: the name leads elsewhere by now.
                Err(error) if error.kind == ErrorKind::Stale && before.replace(ino) != Some(ino) => {}
                attr => return attr,
            }
        }
    }

    fn attr_by(&self, snap: &mut Snap<'_>, ino: Ino) -> Result<Attr> {
        self.attr_of_one_moment(ino, || {
            let inode = snap.shown(ino)?;
            snap.bucket = inode.bucket;
            Ok(inode.attr)
        })
    }

    /// The directory that holds a directory (the root's is itself).
    ///
    /// # Errors
    /// [`ErrorKind::NotDirectory`], [`ErrorKind::Stale`].
    pub fn parent(&self, op: &Op, dir: Ino) -> Result<Attr> {
        let mut snap = self.snap(op);
        let parent = snap.dir(dir)?.parent;
        snap.dir(parent)?;
        let attr = snap.shown(parent)?.attr;
        self.authorize(op, Action::ReadAttributes, &attr)?;
        Ok(attr)
    }

    /// Walks `/`-separated names from the root; the empty path is the root. Symbolic links are not followed.
    ///
    /// # Errors
    /// As [`Namespace::lookup`].
    pub fn resolve(&self, op: &Op, path: &[u8]) -> Result<Attr> {
        let mut attr = self.getattr(op, crate::types::ROOT_INO)?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            attr = self.lookup_in(op, &attr, name)?;
        }
        Ok(attr)
    }

    /// Attributes of an inode, staged writes included.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`].
    pub fn getattr(&self, op: &Op, ino: Ino) -> Result<Attr> {
        let attr = self.attr_by(&mut self.snap(op), ino)?;
        self.authorize(op, Action::ReadAttributes, &attr)?;
        Ok(attr)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for anything else.
    pub fn readlink(&self, op: &Op, ino: Ino) -> Result<Vec<u8>> {
        let inode = self.inode_alone(op, ino)?;
        self.authorize(op, Action::ReadAttributes, &inode.attr)?;
        if inode.attr.kind != NodeKind::Symlink {
            return Err(fail(ErrorKind::Invalid, "this is no symbolic link"));
        }
        Ok(inode.target)
    }

    /// Checks the permission to list a directory. The permit that it returns stays valid if the mode changes later, as that of opendir(3)
    /// does.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`], [`ErrorKind::NotDirectory`], [`ErrorKind::Stale`].
    pub fn open_dir(&self, op: &Op, dir: Ino) -> Result<Permit> {
        let inode = self.snap(op).dir(dir)?;
        self.authorize(op, Action::List, &inode.attr)
    }

    /// Up to `limit` entries with attributes, after the one with the cursor `after` (empty: from the start). `dir` is a permit from
    /// [`Namespace::open_dir`], or an inode for which permission is checked now ([`Reach`]).
    ///
    /// # Errors
    /// [`ErrorKind::NotDirectory`], [`ErrorKind::AccessDenied`], [`ErrorKind::Stale`].
    pub fn readdir(&self, op: &Op, dir: impl Into<Reach>, after: &[u8], limit: usize) -> Result<DirPage> {
        let reach = dir.into();
        let dir = reach.ino();
        let mut snap = self.snap(op);
        let inode = snap.dir(dir)?;
        // A listing of the top shows folders, which are as durable as in a strict bucket, whatever the bucket of the files there promises.
        snap.bucket = top::promises(&inode, true);
        match reach {
            Reach::Now(_) => self.authorize(op, Action::List, &inode.attr)?,
            Reach::By(_) => self.reach(op, reach, READ)?,
        };
        let limit = limit.clamp(1, PAGE_MAX);
        // The cursor is a zero byte and the entry name, so that it is never empty.
        let mut from = match after.split_first() {
            Some((0, entry_name)) => [&key::entry(dir, entry_name)[..], &[0]].concat(),
            Some(_) => return Err(fail(ErrorKind::Invalid, "a directory cursor that was never given out")),
            None => key::entry(dir, &[]),
        };
        let end = key::behind(key::TABLE_ENTRY, dir);
        let mut page = DirPage::default();
        while page.entries.len() < limit {
            let wanted = limit - page.entries.len();
            let records = snap.entries(&from, &end, wanted)?;
            page.end = records.len() < wanted;
            let Some((last, _)) = records.last() else { break };
            from.clone_from(last);
            from.push(0);
            for records in records.chunks(LISTED_AT_ONCE) {
                self.listed_together(&mut snap, dir, records, &mut page)?;
            }
            if page.end {
                break;
            }
        }
        Ok(page)
    }

    /// Adds entries that were listed to a page. Their inodes are read together, and what is kept apart from those of directories.
    fn listed_together(
        &self,
        snap: &mut Snap<'_>,
        dir: Ino,
        records: &[(Vec<u8>, Vec<u8>)],
        page: &mut DirPage,
    ) -> Result<()> {
        let stored = self.opens.stored.moment();
        let dirents: Vec<Dirent> = records.iter().map(|(_, value)| decode_dirent(dir, value)).collect::<Result<_>>()?;
        let inos: Vec<Ino> = dirents.iter().map(|dirent| dirent.ino).collect();
        let inodes = snap.shown_together(&inos)?;
        for (((key, _), dirent), inode) in records.iter().zip(dirents).zip(inodes) {
            let entry_name = &key[9..];
            // An inode that was read before its staged bytes became content does not show these bytes.
            let is_of_now = |inode: &Inode| {
                self.opens.get(inode.attr.ino).is_none() && !self.opens.stored.was_since(stored, inode.attr.ino)
            };
            let found = match inode.filter(is_of_now) {
                Some(inode) if entry_name.is_empty() && inode.is_marker() => None,
                Some(inode) => Some((dirent, inode.attr)),
                None => self.listed(snap, dir, entry_name, dirent)?,
            };
            let Some((dirent, attr)) = found else { continue };
            let cursor = [&[0], entry_name].concat();
            page.entries.push(DirEntry { name: name::shown(entry_name, dirent.shadowed), attr, cursor });
        }
        Ok(())
    }

    /// The attributes of an entry that was listed; where it was replaced since, those of what it leads to now. `None` if
    /// it is gone, or only the mark of a folder.
    fn listed(
        &self,
        snap: &mut Snap<'_>,
        dir: Ino,
        entry_name: &[u8],
        mut dirent: Dirent,
    ) -> Result<Option<(Dirent, Attr)>> {
        loop {
            let mut marker = false;
            let attr = self.attr_of_one_moment(dirent.ino, || {
                let inode = snap.shown(dirent.ino)?;
                marker = entry_name.is_empty() && inode.is_marker();
                Ok(inode.attr)
            });
            match attr {
                Ok(_) if marker => return Ok(None),
                Ok(attr) => return Ok(Some((dirent, attr))),
                Err(error) if error.kind == ErrorKind::Stale => match snap.entry(dir, entry_name)? {
                    Some(now) if now.ino != dirent.ino => dirent = now,
                    _ => return Ok(None),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Totals of the file systems below, parity taken off, and of inodes.
    ///
    /// # Errors
    /// Those of the disks.
    pub fn space(&self, op: &Op) -> Result<StoreSpace> {
        self.authorize(op, Action::ReadSpace, Resource::Store)?;
        let space = self.store.space();
        let counted =
            self.store.get(key::KEY_INODES)?.map_or(0, |entry| strata_content::Cell::from_value(&entry.value).count);
        let inodes = u64::try_from(counted).unwrap_or(0).saturating_add(1);
        Ok(StoreSpace { total: space.total, free: space.free, inodes })
    }
}

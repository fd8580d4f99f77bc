//! Writing the tree, below the operations: inodes and entries within a change. Keeps link counts, times of
//! directories, the marks of shadowed objects, and implicit directories.

use strata_content::Tx;
use strata_seam::planted::{Bug, planted};
use strata_seam::{Ino, Timestamp};

use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::name;
use crate::namespace::Namespace;
use crate::records::{Dirent, Inode, Version};
use crate::told::Entry;
use crate::types::{NodeKind, ROOT_INO};
use crate::view::{Found, View};
use crate::{belong, names, times, usage};

impl Namespace {
    /// Writes an inode; its change number goes up, above the numbers given out for writes that are not stored yet.
    pub(crate) fn put_inode(&self, tx: &mut Tx<'_>, inode: &mut Inode) {
        inode.attr.change = self.opens.staged_change(inode.attr.ino).max(inode.attr.change) + 1;
        let counts = Some(inode.counts());
        usage::recount(tx, inode.counted, counts);
        inode.counted = counts;
        tx.put(key::inode(inode.attr.ino), inode.encode());
    }

    /// Adds an entry to `dir`, and writes the inode it leads to, which has the name from now on. The record of `dir` is written
    /// if it counts a directory more. `plain` is the present entry of the plain name ([`View::any_entry`]).
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if the name of something other than a directory is taken by such a thing.
    pub(crate) fn add_entry(
        &self,
        tx: &mut Tx<'_>,
        dir: &mut Inode,
        (entry_name, plain): (&[u8], Option<Dirent>),
        inode: &mut Inode,
        now: Timestamp,
    ) -> Result<()> {
        let parent = dir.attr.ino;
        names::add(tx, inode, parent, entry_name);
        self.put_inode(tx, inode);
        times::touch(tx, dir, now);
        let mut dirent = Dirent { ino: inode.attr.ino, kind: inode.attr.kind, shadowed: false };
        if name::is_dir(entry_name) {
            dir.attr.nlink += 1;
            self.put_inode(tx, dir);
            // The mark does not change how an object with the empty name is shown: it has an alias in any case.
            let beside = match plain.filter(|plain| !plain.stands_in(name::raw(entry_name))) {
                Some(object) => Dirent { shadowed: true, ..object },
                None => Dirent::placeholder(inode.attr.ino),
            };
            if beside.shadowed || !planted(Bug::PlaceholderForgotten) {
                tx.put(key::entry(parent, name::raw(entry_name)), beside.encode());
            }
        } else {
            dirent.shadowed = match plain {
                Some(beside) if beside.stands_in(entry_name) => true,
                // An exchange gives a file the name of a directory; an object may already have that name.
                Some(_) => {
                    let name = entry_name.escape_ascii();
                    return Err(fail(
                        ErrorKind::Exists,
                        format!("an object '{name}' is there beside the directory; nothing was changed; move it first"),
                    ));
                }
                None => false,
            };
        }
        tx.put(key::entry(parent, entry_name), dirent.encode());
        Ok(())
    }

    /// Removes an entry from `dir`, as [`Namespace::add_entry`] adds one, and the name from the inode it led to, which the caller
    /// writes or gives another.
    pub(crate) fn remove_entry(
        &self,
        tx: &mut Tx<'_>,
        dir: &mut Inode,
        Found { name: entry_name, dirent }: &Found,
        inode: &mut Inode,
        now: Timestamp,
    ) -> Result<()> {
        names::remove(tx, inode, dir.attr.ino, entry_name);
        self.unlist(tx, dir, (entry_name, dirent.shadowed), now)
    }

    /// Removes an entry from `dir` of which the inode is gone, or goes in the same change; `shadowed` as the entry says.
    pub(crate) fn unlist(
        &self,
        tx: &mut Tx<'_>,
        dir: &mut Inode,
        (entry_name, shadowed): (&[u8], bool),
        now: Timestamp,
    ) -> Result<()> {
        let parent = dir.attr.ino;
        times::touch(tx, dir, now);
        if name::is_dir(entry_name) {
            tx.delete(key::entry(parent, entry_name));
            dir.attr.nlink = dir.attr.nlink.saturating_sub(1);
            self.put_inode(tx, dir);
            let plain = key::entry(parent, name::raw(entry_name));
            match tx.entry(parent, name::raw(entry_name))? {
                Some(object) => tx.put(plain, Dirent { shadowed: false, ..object }.encode()),
                None => tx.delete(plain),
            }
            return Ok(());
        }
        let directory = if shadowed { tx.entry(parent, &[entry_name, b"/"].concat())? } else { None };
        match directory {
            Some(directory) => tx.put(key::entry(parent, entry_name), Dirent::placeholder(directory.ino).encode()),
            None => tx.delete(key::entry(parent, entry_name)),
        }
        Ok(())
    }

    /// Removes a link. The last one releases content and attributes, or, while the file is open, keeps them until it is
    /// closed.
    pub(crate) fn drop_link(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        inode: &mut Inode,
        now: Timestamp,
    ) -> Result<()> {
        inode.attr.nlink = inode.attr.nlink.saturating_sub(1);
        inode.attr.ctime = now;
        if inode.attr.nlink == 0 {
            inode.unname();
        } else {
            names::adopt(tx, inode)?;
        }
        let file = inode.attr.kind != NodeKind::Directory;
        if file && (inode.attr.nlink > 0 || self.mark_unlinked(tx, inode.attr.ino)?) {
            self.put_inode(tx, inode);
        } else {
            self.erase(tx, effects, inode)?;
        }
        Ok(())
    }

    /// Removes everything an inode has. Attributes and properties are bounded per inode by the doors' limits.
    pub(crate) fn erase(&self, tx: &mut Tx<'_>, effects: &mut Effects, inode: &Inode) -> Result<()> {
        let ino = inode.attr.ino;
        self.remember_if_referred(effects, inode);
        self.end_holds(tx, effects, ino)?;
        tx.release(&inode.items)?;
        tx.delete(key::inode(ino));
        if inode.attr.kind == NodeKind::Directory {
            times::forget(tx, ino);
        }
        usage::recount(tx, inode.counted, None);
        tx.tally(key::KEY_INODES, -1);
        let mut beside = inode.beside;
        for table in [key::TABLE_XATTR, key::TABLE_PROPERTY, key::TABLE_VERSION] {
            if !beside.of(table).is_some_and(|may_have| *may_have) {
                continue;
            }
            for (key, value) in tx.records(&key::under(table, ino, &[]), &key::behind(table, ino), usize::MAX >> 1)? {
                if table == key::TABLE_VERSION {
                    let version = Version::decode(&value)
                        .map_err(|_| crate::view::damaged(format!("a version of inode {ino}")))?;
                    tx.release(&version.items)?;
                }
                tx.delete(key);
            }
        }
        Ok(())
    }

    /// After an entry of `dir` went, the telling of that number `with` it: removes `dir` and its ancestors as long as they are implicit
    /// and empty. Whether any went.
    pub(crate) fn prune(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        mut dir: Inode,
        path: &[Vec<u8>],
        mut with: Option<usize>,
    ) -> Result<bool> {
        let now = self.clock.now();
        let mut gone = false;
        for entry_name in path.iter().rev() {
            let ino = dir.attr.ino;
            let (from, to) = (key::entry(ino, &[]), key::behind(key::TABLE_ENTRY, ino));
            let empty = tx.members(&times::key_of(ino), &from, &to, 1)?.is_empty();
            if ino == ROOT_INO || !dir.implicit || !empty {
                break;
            }
            let mut parent = tx.dir(dir.parent)?;
            self.end_locks(tx, effects, &parent, entry_name, ino)?;
            self.erase(tx, effects, &dir)?;
            self.unlist(tx, &mut parent, (entry_name, false), now)?;
            let at = Entry { dir: parent.attr.ino, name: entry_name, shown: &name::shown(entry_name, false) };
            self.tell_went_along(tx, effects, at, &dir, &mut with);
            (dir, gone) = (parent, true);
        }
        Ok(gone)
    }

    /// Gives the inode new content; the old one is kept as a version where the bucket keeps them.
    pub(crate) fn replace_content(&self, tx: &mut Tx<'_>, inode: &mut Inode, versioned: bool) -> Result<()> {
        if versioned && inode.version != 0 {
            let old = Version {
                tag: inode.tag.take(),
                mtime: inode.attr.mtime,
                size: inode.attr.size,
                items: std::mem::take(&mut inode.items),
                meta: std::mem::take(&mut inode.meta),
            };
            // Descending, so that the newest comes first.
            let key = key::under(key::TABLE_VERSION, inode.attr.ino, &(!inode.version).to_be_bytes());
            tx.put(key, old.encode());
            inode.beside.versions = true;
        } else {
            let old = std::mem::take(&mut inode.items);
            tx.release(&old)?;
        }
        inode.tag = None;
        inode.meta = crate::types::ObjectMeta::default();
        inode.parts.clear();
        Ok(())
    }

    /// Puts new content under the next version number, sizes included.
    pub(crate) fn set_content(
        &self,
        tx: &mut Tx<'_>,
        inode: &mut Inode,
        content: &strata_content::Content,
        allocated: u64,
    ) -> Result<()> {
        inode.attr.size = content.len();
        inode.attr.allocated = allocated;
        inode.items = tx.attach(content)?;
        inode.version += 1;
        Ok(())
    }

    /// An inode number for a new inode, with the record ready to be filled.
    pub(crate) fn new_inode(
        &self,
        tx: &mut Tx<'_>,
        kind: NodeKind,
        mode: u32,
        owner: (u32, u32),
        dir: &Inode,
        now: Timestamp,
    ) -> Result<Inode> {
        let ino = Ino(self.numbers.draw(tx)?);
        tx.tally(key::KEY_INODES, 1);
        let mut inode = Inode::new(ino, kind, mode, owner, now);
        inode.bucket = belong::bucket_for(dir, ino, kind);
        inode.tree = dir.tree;
        if kind == NodeKind::Directory {
            inode.parent = dir.attr.ino;
        }
        Ok(inode)
    }
}

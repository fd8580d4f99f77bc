//! Removing and copying whole trees, for doors whose protocol does that in one request.

use strata_content::Tx;
use strata_seam::Ino;

use crate::authority::{Action, Resource};
use crate::domain::dedup_domain;
use crate::effects::Effects;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::event::Made;
use crate::key;
use crate::name;
use crate::namespace::Namespace;
use crate::object::{NewContent, tag};
use crate::records::Inode;
use crate::types::{Attr, Condition, DirEntry, NodeKind, Op, ROOT_INO, dir_mode};
use crate::view::{View, decode_dirent};

/// Deepest tree followed.
const DEPTH_MAX: usize = 1024;
/// Entries taken up per step.
const STEP: usize = 256;
/// Names removed in one commit: what it holds the writer's lock for stays below a few milliseconds.
const TOGETHER: usize = 16;
/// Entries counted per step.
const COUNT_STEP: usize = 1000;

/// Bytes of an entry's key before its name: the table and the directory.
const PREFIX_LEN: usize = 9;

/// What a copy is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NewName<'a> {
    /// As a caller gives it, who may give no name that looks like an alias.
    Given(&'a [u8]),
    /// As it is in keys, whatever it is: the name of something in the source.
    OfKey(&'a [u8]),
}

/// A tree that is being removed.
struct Removal<'a> {
    /// The directory it is in, and its name there.
    at: (Ino, &'a [u8]),
    /// Its root.
    top: Ino,
    /// Names removed below it so far.
    removed: u64,
    /// Told of them after each step; says whether to go on.
    told: &'a mut dyn FnMut(u64) -> bool,
    /// Whether a file may be removed as it is.
    may: &'a dyn Fn(&Inode) -> Result<()>,
}

/// How a name is removed within a change: that of a directory, or of anything else.
type RemoveIn = fn(&Namespace, &mut Tx<'_>, &mut Effects, &Op, Ino, &[u8]) -> Result<()>;

impl Removal<'_> {
    /// Refuses a step with [`ErrorKind::Stale`] where the tree has lost its name, or this directory was moved out of it since it
    /// was read: what is elsewhere now stays.
    fn uphold(&self, tx: &mut Tx<'_>, dir: Ino) -> Result<()> {
        let (parent, name) = self.at;
        if tx.find(parent, name)?.is_none_or(|found| found.dirent.ino != self.top) {
            return Err(fail(ErrorKind::Stale, "somebody else has renamed or removed the tree meanwhile"));
        }
        let mut at = dir;
        for _ in 0..=DEPTH_MAX {
            if at == self.top {
                return Ok(());
            }
            if at == ROOT_INO {
                break;
            }
            at = tx.dir(at)?.parent;
        }
        Err(fail(ErrorKind::Stale, "somebody else has moved this directory out of the tree meanwhile"))
    }
}

impl Namespace {
    /// Removes an entry and everything below it: many commits for a large tree, each complete in itself, so that a
    /// failure in the middle leaves a smaller tree. What somebody else moves elsewhere meanwhile stays.
    ///
    /// # Errors
    /// As [`Namespace::unlink`] and [`Namespace::rmdir`].
    pub fn remove_tree(&self, op: &Op, parent: Ino, name: &[u8]) -> Result<()> {
        self.remove_tree_told(op, parent, name, &mut |_| true, &|_| Ok(())).map(drop)
    }

    /// Removes an entry and everything below it, as [`Namespace::remove_tree`] does. `told` is called after each step with the number of
    /// names removed below it, and returns whether to go on. `may` refuses what has to stay. Returns whether the tree is gone.
    pub(crate) fn remove_tree_told(
        &self,
        op: &Op,
        parent: Ino,
        name: &[u8],
        told: &mut dyn FnMut(u64) -> bool,
        may: &dyn Fn(&Inode) -> Result<()>,
    ) -> Result<bool> {
        op.read_newest();
        let attr = self.lookup(op, parent, name)?;
        if attr.kind != NodeKind::Directory {
            self.change(op, |tx, effects| {
                let found = tx.found(parent, name)?;
                may(&tx.inode(found.dirent.ino)?)?;
                self.unlink_in(tx, effects, op, parent, name)
            })?;
            return Ok(true);
        }
        let _claim = self.claim(op, parent, name, true)?;
        let mut removal = Removal { at: (parent, name), top: attr.ino, removed: 0, told, may };
        let removed = self.empty_dir(op, &mut removal, attr.ino, 0).and_then(|empty| {
            if empty {
                if parent == ROOT_INO {
                    self.follow_out_of(attr.ino)?;
                }
                self.change(op, |tx, effects| {
                    removal.uphold(tx, removal.top)?;
                    self.rmdir_in(tx, effects, op, parent, name)
                })?;
            }
            Ok(empty)
        });
        removed.map_err(|error| match error.kind {
            ErrorKind::Stale => fail(
                ErrorKind::NotFound,
                format!(
                    "'{}' was renamed or removed by somebody else meanwhile; what is left of it stays",
                    name.escape_ascii()
                ),
            ),
            _ => error,
        })
    }

    /// Whether it is empty now; `false` if it was not to go on.
    fn empty_dir(&self, op: &Op, removal: &mut Removal<'_>, dir: Ino, depth: usize) -> Result<bool> {
        if depth > DEPTH_MAX {
            return Err(fail(ErrorKind::Loop, format!("a tree deeper than {DEPTH_MAX} levels")));
        }
        loop {
            // Each pass goes on behind the entries it has removed, which the index may still have to step over. Another pass looks for
            // entries that were made meanwhile.
            let (mut cursor, before) = (Vec::new(), removal.removed);
            loop {
                let page = self.readdir(op, dir, &cursor, STEP)?;
                let (dirs, files): (Vec<_>, Vec<_>) =
                    page.entries.iter().partition(|entry| entry.attr.kind == NodeKind::Directory);
                for entry in dirs {
                    match self.empty_dir(op, removal, entry.attr.ino, depth + 1) {
                        Ok(true) => {}
                        // The directory is gone or elsewhere. So is its name, or it leads to another directory by now.
                        Err(error) if error.kind == ErrorKind::Stale => {}
                        ended => return ended,
                    }
                    if !self.remove_some(op, removal, dir, &[&entry.name], Self::rmdir_in)? {
                        return Ok(false);
                    }
                }
                let names: Vec<&[u8]> = files.iter().map(|entry| &entry.name[..]).collect();
                for names in names.chunks(TOGETHER) {
                    if !self.remove_some(op, removal, dir, names, Self::unlink_in)? {
                        return Ok(false);
                    }
                }
                match page.entries.last() {
                    Some(last) if !page.end => cursor.clone_from(&last.cursor),
                    _ => break,
                }
            }
            if removal.removed == before {
                return Ok(true);
            }
        }
    }

    /// Removes some names in one commit, or, if that is refused, one after the other up to the one that is the reason. Names
    /// that others have removed since do not count. Returns whether to go on.
    fn remove_some(
        &self,
        op: &Op,
        removal: &mut Removal<'_>,
        dir: Ino,
        names: &[&[u8]],
        remove_in: RemoveIn,
    ) -> Result<bool> {
        let step = |removal: &Removal<'_>, names: &[&[u8]]| {
            self.change_ahead(op, |tx, effects| {
                removal.uphold(tx, dir)?;
                names.iter().try_for_each(|name| {
                    let found = tx.found(dir, name)?;
                    (removal.may)(&tx.inode(found.dirent.ino)?)?;
                    remove_in(self, tx, effects, op, dir, name)
                })
            })
        };
        if step(removal, names).is_ok() {
            removal.removed += names.len() as u64;
        } else {
            for name in names {
                match step(removal, &[name]) {
                    Ok(()) => removal.removed += 1,
                    Err(error) if error.kind == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok((removal.told)(removal.removed))
    }

    /// Counts the names below a directory. Reads every entry there, and few inodes. `told` is called now and then with the count so far
    /// and returns whether to go on; if not, the result is `None`.
    ///
    /// # Errors
    /// Reading the index.
    pub fn count_below(&self, op: &Op, dir: Ino, told: &mut dyn FnMut(u64) -> bool) -> Result<Option<u64>> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        let (mut dirs, mut count) = (vec![dir], 0);
        while let Some(dir) = dirs.pop() {
            let mut from = key::entry(dir, &[]);
            loop {
                let mut snap = self.snap(op);
                let page = snap.entries(&from, &key::behind(key::TABLE_ENTRY, dir), COUNT_STEP)?;
                for (key, value) in &page {
                    let dirent = decode_dirent(dir, value)?;
                    if dirent.kind == NodeKind::Directory {
                        dirs.push(dirent.ino);
                    }
                    // The empty name is mostly the marker of a folder, which is removed with it.
                    let named = key.len() > PREFIX_LEN;
                    count += u64::from(named || snap.find_inode(dirent.ino)?.is_some_and(|inode| !inode.is_marker()));
                }
                drop(snap);
                if !told(count) {
                    return Ok(None);
                }
                match page.last() {
                    Some((last, _)) if page.len() == COUNT_STEP => {
                        from.clone_from(last);
                        from.push(0);
                    }
                    _ => break,
                }
            }
        }
        Ok(Some(count))
    }

    /// Copies a file or (with `deep`) a tree by reference: no data moves. An existing target is replaced when
    /// `overwrite`, once the copy is whole: in one step, at the top in two. Returns whether something was replaced. A file is
    /// one commit; a tree one per entry, in order. A failure in the middle leaves a partial copy where there was nothing, else what was there; the source is untouched.
    ///
    /// # Errors
    /// [`ErrorKind::PreconditionFailed`] without `overwrite`, [`ErrorKind::Loop`] into itself, and those of names and
    /// permission.
    pub fn copy_tree(
        &self,
        op: &Op,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        deep: bool,
        overwrite: bool,
    ) -> Result<bool> {
        op.read_newest();
        let source = self.lookup(op, from.0, from.1)?;
        let mut at = to.0;
        while at != ROOT_INO {
            if at == source.ino {
                return Err(fail(ErrorKind::Loop, "a directory cannot be copied into itself"));
            }
            at = self.parent(op, at)?.ino;
        }
        let target = match self.lookup(op, to.0, to.1) {
            Ok(target) => Some(target),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // Replacing a file by a file is one commit.
        let is_tree = |attr: &Attr| attr.kind == NodeKind::Directory;
        let steps = is_tree(&source) || target.as_ref().is_some_and(is_tree);
        let _claim = if steps { Some(self.claim(op, to.0, to.1, true)?) } else { None };
        let target = match target {
            Some(target) if target.ino == source.ino => {
                return Err(fail(ErrorKind::NotPermitted, "source and target are the same"));
            }
            Some(_) if !overwrite => return Err(fail(ErrorKind::PreconditionFailed, "the target exists")),
            target => target,
        };
        // Checked before anything is removed: if the source may not be read, the target stays as it is.
        if steps {
            match source.kind {
                NodeKind::Directory if deep => self.refuse_unreadable(op, &source, 0)?,
                NodeKind::File => drop(self.authorize(op, Action::Read, &source)?),
                _ => {}
            }
        }
        let copy = |name: &[u8]| {
            self.copy_entry(op, &source, (to.0, NewName::Given(name)), deep, 0, &mut |_, _, _| Ok(())).map(drop)
        };
        match target {
            Some(_) if steps => self.replace_by_copy(op, to, &copy)?,
            _ => copy(to.1)?,
        }
        Ok(target.is_some())
    }

    /// Refuses to copy a tree of which the caller may not read all.
    fn refuse_unreadable(&self, op: &Op, source: &Attr, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(fail(ErrorKind::Loop, format!("a tree deeper than {DEPTH_MAX} levels")));
        }
        let (mut cursor, mut more) = (Vec::new(), true);
        while more {
            let page = self.readdir(op, source.ino, &cursor, STEP)?;
            for DirEntry { name, attr, .. } in &page.entries {
                let readable = match attr.kind {
                    NodeKind::Directory => self.refuse_unreadable(op, attr, depth + 1),
                    NodeKind::File => self.authorize(op, Action::Read, attr).map(drop),
                    _ => Ok(()),
                };
                match readable {
                    // Removed since it was listed.
                    Err(error) if error.kind == ErrorKind::Stale => {}
                    Err(Error { kind: kind @ ErrorKind::AccessDenied, what, .. }) if depth == 0 => {
                        let what = format!("below '{}': {what}; nothing was copied or removed", name.escape_ascii());
                        return Err(fail(kind, what));
                    }
                    readable => readable?,
                }
            }
            more = !page.end;
            if let Some(last) = page.entries.last() {
                cursor.clone_from(&last.cursor);
            }
        }
        Ok(())
    }

    /// `copied` is called for everything that is whole, with its source, the number of the source's content, and the copy.
    pub(crate) fn copy_entry(
        &self,
        op: &Op,
        source: &Attr,
        to: (Ino, NewName<'_>),
        deep: bool,
        depth: usize,
        copied: &mut dyn FnMut(&Attr, u64, Ino) -> Result<()>,
    ) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(fail(ErrorKind::Loop, format!("a tree deeper than {DEPTH_MAX} levels")));
        }
        let plain = match to.1 {
            NewName::Given(name) | NewName::OfKey(name) => name,
        };
        let made = match source.kind {
            NodeKind::Directory => {
                let mode = {
                    let mut snap = self.snap(op);
                    let dir = snap.dir(to.0)?;
                    dir_mode(snap.rules(&dir)?.mode)
                };
                let made = match to.1 {
                    NewName::Given(name) => self.mkdir(op, to.0, name, mode)?.ino,
                    NewName::OfKey(name) => self.mkdir_of_key(op, to.0, name, source.ino, mode)?,
                };
                self.copy_records(op, key::TABLE_PROPERTY, source.ino, made, |_| true)?;
                let (mut cursor, mut more) = (Vec::new(), deep);
                while more {
                    let page = self.readdir(op, source.ino, &cursor, STEP)?;
                    for entry in &page.entries {
                        let name = self.name_in_keys(op, source.ino, entry)?;
                        let name = name.as_deref().map_or(NewName::Given(&entry.name), NewName::OfKey);
                        self.copy_entry(op, &entry.attr, (made, name), deep, depth + 1, copied)?;
                    }
                    more = !page.end;
                    if let Some(last) = page.entries.last() {
                        cursor.clone_from(&last.cursor);
                    }
                }
                made
            }
            NodeKind::File => {
                self.seal_if_dirty(op, source.ino)?;
                // `copied` gets the state before the copy was made: a change of the source meanwhile shows as a difference.
                let source = self.inode_alone(op, source.ino)?;
                let made = self.copy_file(op, source.attr.ino, to)?;
                return copied(&source.attr, source.version, made);
            }
            NodeKind::Symlink => {
                let target = self.readlink(op, source.ino)?;
                self.symlink(op, to.0, plain, &target)?.ino
            }
            kind => {
                let node = crate::types::NewNode { kind, mode: source.mode, rdev: source.rdev };
                self.mknod(op, to.0, plain, node)?.ino
            }
        };
        copied(source, 0, made)
    }

    /// The name that an entry has in keys, where file doors see it under another: part of a key that no file can be called, or a
    /// directory or an object that stands beside one of the same name.
    fn name_in_keys(&self, op: &Op, dir: Ino, entry: &DirEntry) -> Result<Option<Vec<u8>>> {
        let mut snap = self.snap(op);
        let shown = &entry.name;
        if shown.starts_with(name::ALIAS_PREFIX) {
            return Ok(snap.find(dir, shown)?.map(|found| name::raw(&found.name).to_vec()));
        }
        // A directory beside an object is shown by its own name, and its copy is put beside the object's copy.
        let is_beside = entry.attr.kind == NodeKind::Directory
            && snap.any_entry(dir, shown)?.is_some_and(|plain| !plain.stands_in(shown));
        Ok(is_beside.then(|| shown.clone()))
    }

    /// Makes the copy of a directory whose name in keys may be one that no file door gives; it vanishes with its last object where that one
    /// does.
    fn mkdir_of_key(&self, op: &Op, parent: Ino, name: &[u8], of: Ino, mode: u32) -> Result<Ino> {
        let implicit = self.inode_alone(op, of)?.implicit;
        self.change(op, |tx, effects| {
            let made = self.make_of_key(tx, effects, op, parent, name, mode, |inode| {
                inode.implicit = implicit;
                Ok(())
            })?;
            Ok(made.attr.ino)
        })
    }

    fn copy_file(&self, op: &Op, source: Ino, to: (Ino, NewName<'_>)) -> Result<Ino> {
        if let NewName::Given(name) = to.1 {
            self.seal_named(op, to.0, name)?;
        }
        let made = self.change(op, |tx, effects| {
            let inode = tx.inode(source)?;
            self.authorize(op, Action::Read, &inode.attr)?;
            let dir = tx.dir(to.0)?;
            self.authorize(op, Action::Search, &dir.attr)?;
            let entry_name = match to.1 {
                NewName::OfKey(name) => name.to_vec(),
                NewName::Given(given) => match tx.find(to.0, given)? {
                    Some(found) => found.name,
                    // An alias that leads nowhere means the object of that name.
                    None => match name::parse(given) {
                        name::Named::Entry(entry_name) => entry_name,
                        _ => {
                            name::check_new(given)?;
                            given.to_vec()
                        }
                    },
                },
            };
            let new = NewContent {
                content: self.store.content(dedup_domain(dir.bucket), inode.items.clone())?,
                tag: Some(tag(&inode)),
                meta: inode.meta.clone(),
                parts: inode.parts.clone(),
                allocated: inode.attr.allocated,
                made: Made::Copy,
            };
            let bucket = tx.rules(&dir)?;
            effects.within(&bucket);
            let made = self.put_in(tx, effects, op, dir, &entry_name, &new, &Condition::default(), &bucket)?;
            Ok(made.attr.ino)
        })?;
        self.copy_records(op, key::TABLE_PROPERTY, source, made, |_| true)?;
        Ok(made)
    }

    /// Gives an inode what another has in a table and goes along by its name: dead properties, which go with every copy (RFC 4918,
    /// 9.8.2), or attributes.
    pub(crate) fn copy_records(
        &self,
        op: &Op,
        table: u8,
        from: Ino,
        to: Ino,
        goes: impl Fn(&[u8]) -> bool,
    ) -> Result<()> {
        let (first, end) = (key::under(table, from, &[]), key::behind(table, from));
        if self.store.range(&first, &end, 1)?.is_empty() {
            return Ok(());
        }
        self.change(op, |tx, _| {
            for (key, value) in tx.records(&first, &end, 1024)?.into_iter().filter(|(key, _)| goes(&key[9..])) {
                tx.put(key::under(table, to, &key[9..]), value);
            }
            let mut inode = tx.inode(to)?;
            if let Some(has) = inode.beside.of(table) {
                *has = true;
                self.put_inode(tx, &mut inode);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;

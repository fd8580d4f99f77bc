//! Objects by bucket and key, as S3 sees them; also replacing a file's whole content, as WebDAV does.

pub(crate) mod tag;

mod removing;

use strata_content::{Content, Hold, Reader, Tx};
use strata_seam::Ino;
use strata_seam::planted::{Bug, planted};

use crate::authority::Action;
use crate::domain::dedup_domain;
use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::event::Made;
use crate::locks::uphold::Touched;
use crate::mode;
use crate::name;
use crate::namespace::Namespace;
use crate::records::{Bucket, Inode};
use crate::told::Entry;
use crate::top;
use crate::types::{Condition, ContentTag, NodeKind, ObjectInfo, ObjectMeta, Op, dir_mode};
use crate::view::View;

pub(crate) use tag::{check, tag};

/// Objects removed in one commit, where that is not too much for it.
const DELETE_STEP: usize = 128;
/// What is left of the mode of an object that is private.
const PRIVATE: u32 = 0o7700;

/// Where a key leads.
pub(crate) struct Place {
    pub(crate) dir: Inode,
    /// Entry names of the directories from the bucket down.
    pub(crate) path: Vec<Vec<u8>>,
    /// Entry name of the object.
    pub(crate) name: Vec<u8>,
}

impl Namespace {
    /// The object as it is shown; a directory stands for its marker.
    pub(crate) fn info(&self, inode: Inode) -> ObjectInfo {
        self.info_of(inode, true)
    }

    /// The object as [`Namespace::info`] shows it; without its staged bytes unless `staged`.
    fn info_of(&self, inode: Inode, staged: bool) -> ObjectInfo {
        if inode.attr.kind == NodeKind::Directory {
            let attr = crate::types::Attr { size: 0, ..inode.attr };
            let (meta, parts) = (ObjectMeta::default(), Vec::new());
            return ObjectInfo { attr, tag: ContentTag::Nothing, meta, version: inode.version, parts };
        }
        let tag = tag(&inode);
        let attr = if staged { self.with_staged(inode.attr) } else { inode.attr };
        ObjectInfo { attr, tag, meta: inode.meta, version: inode.version, parts: inode.parts }
    }

    /// Walks a key's directories; `None` if one of them does not exist.
    pub(crate) fn find_place(&self, view: &mut impl View, op: &Op, bucket: &str, key: &[u8]) -> Result<Option<Place>> {
        let (record, mut dir) = self.open_bucket(view, op, bucket)?;
        let (dirs, name) = name::split_key(key)?;
        if top::reaches_below(record.root, key) {
            return Ok(None);
        }
        let path: Vec<Vec<u8>> = dirs.iter().map(|part| [part, &b"/"[..]].concat()).collect();
        let mut ahead = None;
        for (depth, entry_name) in path.iter().enumerate() {
            let below = path.get(depth + 1).map(|name| &name[..]);
            let Some((next, behind)) = view.step(dir.attr.ino, entry_name, ahead.take(), below)? else {
                return Ok(None);
            };
            (dir, ahead) = (next, behind);
            self.authorize(op, Action::Search, &dir.attr)?;
        }
        Ok(Some(Place { dir, path, name: name.to_vec() }))
    }

    /// The inode a key leads to, if it is an object.
    pub(crate) fn find_object(&self, view: &mut impl View, op: &Op, bucket: &str, key: &[u8]) -> Result<Inode> {
        let missing = || fail(ErrorKind::NotFound, format!("there is no object '{}'", key.escape_ascii()));
        let place = self.find_place(view, op, bucket, key)?.ok_or_else(missing)?;
        if let Some((dirent, inode)) = view.entry_inode(place.dir.attr.ino, &place.name)?
            && dirent.kind == NodeKind::File
        {
            return Ok(inode);
        }
        // A directory that was made explicitly is the object `dir/`.
        if place.name.is_empty() && !place.dir.implicit && !place.path.is_empty() {
            return Ok(place.dir);
        }
        Err(missing())
    }

    /// Creates or replaces an object. Replacing keeps inode, owner and mode. One commit.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`], [`ErrorKind::PreconditionFailed`], [`ErrorKind::AccessDenied`], [`ErrorKind::Exists`]
    /// where something that is no object has the name or is in the path, and those of names.
    #[allow(clippy::too_many_arguments, reason = "what a PUT consists of")]
    pub fn put_object(
        &self,
        op: &Op,
        bucket: &str,
        key: &[u8],
        content: Content,
        tag: Option<ContentTag>,
        meta: ObjectMeta,
        cond: &Condition,
    ) -> Result<ObjectInfo> {
        let allocated = self.store.allocated_of(&content)?;
        let new = NewContent { content, tag, meta, parts: Vec::new(), allocated, made: Made::Put };
        self.seal_before_replacing(op, bucket, key)?;
        self.change(op, |tx, effects| self.put_at(tx, effects, op, bucket, key, &new, cond))
    }

    /// Seals what is staged of the file that is about to get new content: what was written before is replaced with it,
    /// and would lie over the new content otherwise.
    pub(crate) fn seal_before_replacing(&self, op: &Op, bucket: &str, key: &[u8]) -> Result<()> {
        if !self.opens.any_staged() {
            return Ok(());
        }
        // Looked up as the superuser: the change checks the caller's permission.
        let looked = Op::new(crate::types::Caller::root(op.caller.door));
        let found = self.find_object(&mut self.snap(&looked), &looked, bucket, key).map(|inode| inode.attr.ino);
        found.map_or(Ok(()), |ino| self.seal_if_dirty(op, ino))
    }

    /// Seals what is staged of the file with this name in this directory, before it gets new content.
    pub(crate) fn seal_named(&self, op: &Op, parent: Ino, name: &[u8]) -> Result<()> {
        if !self.opens.any_staged() {
            return Ok(());
        }
        let looked = Op::new(crate::types::Caller::root(op.caller.door));
        let found = self.snap(&looked).find(parent, name)?;
        found.map_or(Ok(()), |found| self.seal_if_dirty(op, found.dirent.ino))
    }

    #[allow(clippy::too_many_arguments, reason = "what a PUT consists of")]
    pub(crate) fn put_at(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        bucket: &str,
        key: &[u8],
        new: &NewContent,
        cond: &Condition,
    ) -> Result<ObjectInfo> {
        let (record, mut dir) = self.open_bucket(tx, op, bucket)?;
        effects.within(&record);
        top::refuse_folders(record.root, key)?;
        let (dirs, name) = name::split_key(key)?;
        for part in dirs {
            dir = self.enter_or_make(tx, effects, op, dir, part, &record)?;
            self.authorize(op, Action::Search, &dir.attr)?;
        }
        let inode = self.put_in(tx, effects, op, dir, name, new, cond, &record)?;
        Ok(self.info(inode))
    }

    fn enter_or_make(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        mut dir: Inode,
        part: &[u8],
        bucket: &Bucket,
    ) -> Result<Inode> {
        let entry_name = [part, b"/"].concat();
        if let Some(dirent) = tx.entry(dir.attr.ino, &entry_name)? {
            return tx.dir(dirent.ino);
        }
        let plain = tx.any_entry(dir.attr.ino, part)?;
        if let Some(dirent) = plain.filter(|plain| !plain.stands_in(part)) {
            keep_hidden(part, dirent.kind)?;
            // File doors show the object under another name from then on, so it moves away from its lock.
            let beside = tx.inode(dirent.ino)?;
            self.uphold_locks(tx, op, &[Touched::Entry(&dir, part, &beside)])?;
        }
        self.authorize(op, Action::Add, &dir.attr)?;
        self.uphold_locks(tx, op, &[Touched::Members(&dir)])?;
        let now = self.clock.now();
        let (gid, mode) = mode::inherit(&op.caller, &dir.attr, NodeKind::Directory, dir_mode(bucket.mode));
        let mut made = self.new_inode(tx, NodeKind::Directory, mode, (op.caller.uid, gid), &dir, now)?;
        made.implicit = true;
        self.add_entry(tx, &mut dir, (&entry_name, plain), &mut made, now)?;
        let at = Entry { dir: dir.attr.ino, name: &entry_name, shown: &name::shown(&entry_name, false) };
        self.tell_made_on_the_way(tx, effects, at, &made);
        Ok(made)
    }

    /// Creates or replaces the entry `entry_name` of `dir` by content.
    #[allow(clippy::too_many_arguments, reason = "what a PUT consists of")]
    pub(crate) fn put_in(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        mut dir: Inode,
        entry_name: &[u8],
        new: &NewContent,
        cond: &Condition,
        bucket: &Bucket,
    ) -> Result<Inode> {
        let parent = dir.attr.ino;
        let now = self.clock.now();
        let plain = tx.any_entry(parent, entry_name)?;
        let present = match plain.filter(|plain| !plain.stands_in(entry_name)) {
            Some(dirent) => Some(tx.inode(dirent.ino)?),
            None => None,
        };
        if let Some(inode) = &present {
            keep_hidden(entry_name, inode.attr.kind)?;
        }
        if !planted(Bug::ConditionUnchecked) {
            check(cond, present.as_ref().filter(|inode| inode.attr.kind == NodeKind::File))?;
        }
        // There is a directory of this name too, or the entry is a placeholder for one.
        let shown = name::shown(entry_name, plain.is_some_and(|plain| plain.shadowed || plain.stands_in(entry_name)));
        match present {
            Some(mut inode) if inode.attr.kind == NodeKind::File => {
                self.authorize(op, Action::Write, &inode.attr)?;
                self.uphold_locks(tx, op, &[Touched::Node(&inode)])?;
                // The name leads to other bytes then: open files that keep the old bytes and new look-ups must lead to different inodes.
                let parts = self.keep_pinned(tx, effects, &inode)?;
                if !planted(Bug::OverwriteKeepsOld) {
                    self.replace_content(tx, &mut inode, bucket.versioned)?;
                }
                self.fill(tx, &mut inode, new)?;
                (inode.attr.mtime, inode.attr.ctime) = (now, now);
                mode::drop_set_id(&op.caller, &mut inode);
                if op.is_private() && inode.attr.mode & !PRIVATE != 0 {
                    // The permission to write a file does not include deciding who may read it.
                    self.authorize(op, Action::SetMode, &inode.attr)?;
                    inode.attr.mode &= PRIVATE;
                }
                self.put_inode(tx, &mut inode);
                let at = Entry { dir: dir.attr.ino, name: entry_name, shown: &shown };
                self.tell_replaced(tx, effects, at, &inode, (new.made, parts));
                Ok(inode)
            }
            _ => {
                self.authorize(op, Action::Add, &dir.attr)?;
                self.uphold_locks(tx, op, &[Touched::Members(&dir)])?;
                let mode = if op.is_private() { bucket.mode & PRIVATE } else { bucket.mode };
                let (gid, mode) = mode::inherit(&op.caller, &dir.attr, NodeKind::File, mode);
                let mut inode = self.new_inode(tx, NodeKind::File, mode, (op.caller.uid, gid), &dir, now)?;
                self.fill(tx, &mut inode, new)?;
                self.add_entry(tx, &mut dir, (entry_name, plain), &mut inode, now)?;
                self.tell_put(
                    tx,
                    effects,
                    Entry { dir: dir.attr.ino, name: entry_name, shown: &shown },
                    &inode,
                    new.made,
                );
                Ok(inode)
            }
        }
    }

    fn fill(&self, tx: &mut Tx<'_>, inode: &mut Inode, new: &NewContent) -> Result<()> {
        self.set_content(tx, inode, &new.content, new.allocated)?;
        inode.tag.clone_from(&new.tag);
        inode.meta.clone_from(&new.meta);
        inode.parts.clone_from(&new.parts);
        Ok(())
    }

    /// Creates or replaces the file `name` in `parent`, which is in `bucket`, with finished content, keeping inode, owner and
    /// mode of a replaced one (WebDAV PUT). Returns the object and whether it was created.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`], [`ErrorKind::IsDirectory`], [`ErrorKind::PreconditionFailed`], and those of names and
    /// permission.
    #[allow(clippy::too_many_arguments, reason = "what a PUT consists of")]
    pub fn put_file(
        &self,
        op: &Op,
        parent: Ino,
        name: &[u8],
        content: Content,
        tag: Option<ContentTag>,
        meta: ObjectMeta,
        cond: &Condition,
    ) -> Result<(ObjectInfo, bool)> {
        let allocated = self.store.allocated_of(&content)?;
        let new = NewContent { content, tag, meta, parts: Vec::new(), allocated, made: Made::Put };
        self.seal_named(op, parent, name)?;
        self.change(op, |tx, effects| {
            let dir = tx.dir(parent)?;
            self.authorize(op, Action::Search, &dir.attr)?;
            let found = tx.find(parent, name)?;
            let entry_name = match &found {
                Some(found) if found.dirent.kind == NodeKind::Directory => {
                    return Err(fail(ErrorKind::IsDirectory, format!("'{}' is a directory", name.escape_ascii())));
                }
                Some(found) => found.name.clone(),
                None => {
                    name::check_new(name)?;
                    name.to_vec()
                }
            };
            let bucket = tx.rules(&dir)?;
            effects.within(&bucket);
            let inode = self.put_in(tx, effects, op, dir, &entry_name, &new, cond, &bucket)?;
            Ok((self.info(inode), found.is_none()))
        })
    }

    /// The object at an inode with a reader pinned to its present content; staged writes are sealed first, and left out
    /// where they cannot be stored now.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`], [`ErrorKind::IsDirectory`], [`ErrorKind::Stale`].
    pub fn open_object(&self, op: &Op, ino: Ino) -> Result<(ObjectInfo, Reader)> {
        let sealed = self.seal_for_reading(op, ino)?;
        let hold = Hold::begin(&self.store);
        let mut snap = self.snap(op);
        let inode = snap.inode(ino)?;
        snap.bucket = inode.bucket;
        self.authorize(op, Action::Read, &inode.attr)?;
        match inode.attr.kind {
            NodeKind::File => {}
            NodeKind::Directory => return Err(fail(ErrorKind::IsDirectory, "this is a directory")),
            _ => return Err(fail(ErrorKind::NotSupported, "this is no regular file")),
        }
        let reader = hold.read_slowly(&inode.items);
        Ok((self.info_of(inode, sealed), reader))
    }

    /// Tag, metadata and version of a file, without a reader.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`].
    pub fn object_info(&self, op: &Op, ino: Ino) -> Result<ObjectInfo> {
        let sealed = self.seal_for_reading(op, ino)?;
        let mut snap = self.snap(op);
        let inode = snap.shown(ino)?;
        snap.bucket = inode.bucket;
        self.authorize(op, Action::ReadAttributes, &inode.attr)?;
        Ok(self.info_of(inode, sealed))
    }

    /// An object's attributes and metadata.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NoSuchBucket`], [`ErrorKind::AccessDenied`].
    pub fn head_object(&self, op: &Op, bucket: &str, key: &[u8]) -> Result<ObjectInfo> {
        Ok(self.get_object(op, bucket, key)?.0)
    }

    /// An object and a reader pinned to its present version.
    ///
    /// # Errors
    /// As [`Namespace::head_object`].
    pub fn get_object(&self, op: &Op, bucket: &str, key: &[u8]) -> Result<(ObjectInfo, Reader)> {
        let stored = self.opens.stored.moment();
        let mut hold = Hold::begin(&self.store);
        let mut inode = self.readable(op, bucket, key)?;
        let mut sealed = true;
        let file = self.opens.get(inode.attr.ino);
        let dirty = file.is_some_and(|file| file.dirty.load(std::sync::atomic::Ordering::Acquire));
        // If staged bytes were sealed since the inode was read, its content is newer, although nothing is staged any more.
        if dirty || self.opens.stored.was_since(stored, inode.attr.ino) {
            sealed = !dirty || self.seal_for_reading(op, inode.attr.ino)?;
            hold = Hold::begin(&self.store);
            inode = self.readable(op, bucket, key)?;
        }
        let reader = hold.read_slowly(&inode.items);
        Ok((self.info_of(inode, sealed), reader))
    }

    fn readable(&self, op: &Op, bucket: &str, key: &[u8]) -> Result<Inode> {
        let mut snap = self.snap(op);
        let mut inode = self.find_object(&mut snap, op, bucket, key)?;
        snap.complete(&mut inode)?;
        snap.bucket = inode.bucket;
        self.authorize(op, Action::Read, &inode.attr)?;
        Ok(inode)
    }

    /// Copies an object by reference: no data moves. `meta`: `None` copies the source's; checksums are always the source's.
    /// `from_cond` guards the source, `to_cond` what is replaced.
    ///
    /// # Errors
    /// As [`Namespace::get_object`] and [`Namespace::put_object`].
    pub fn copy_object(
        &self,
        op: &Op,
        from: (&str, &[u8]),
        from_cond: &Condition,
        to: (&str, &[u8]),
        to_cond: &Condition,
        meta: Option<ObjectMeta>,
    ) -> Result<ObjectInfo> {
        // Seals the staged bytes of the source.
        self.get_object(op, from.0, from.1)?;
        self.seal_before_replacing(op, to.0, to.1)?;
        self.change(op, |tx, effects| {
            let inode = self.find_object(tx, op, from.0, from.1)?;
            self.authorize(op, Action::Read, &inode.attr)?;
            check(from_cond, Some(&inode))?;
            let bucket = self.bucket_in(tx, to.0)?.root;
            let new = NewContent {
                content: self.store.content(dedup_domain(bucket), inode.items.clone())?,
                tag: Some(tag(&inode)),
                // Checksums are those of this content, even if the source has changed since the look-up.
                meta: match &meta {
                    Some(meta) => ObjectMeta { checksums: inode.meta.checksums.clone(), ..meta.clone() },
                    None => inode.meta.clone(),
                },
                // Parts belong to the tag, which may contain their number.
                parts: inode.parts.clone(),
                allocated: inode.attr.allocated,
                made: Made::Copy,
            };
            self.put_at(tx, effects, op, to.0, to.1, &new, to_cond)
        })
    }

    /// Starts taking in content for a bucket.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`].
    pub fn ingest(&self, op: &Op, bucket: &str) -> Result<strata_content::Ingest> {
        let mut snap = self.snap(op);
        let bucket = self.bucket_in(&mut snap, bucket)?;
        snap.bucket = bucket.root;
        Ok(self.store.ingest(dedup_domain(bucket.root), bucket.relaxed))
    }

    /// Begins to take in content for a file in this directory, in the dedup domain of its bucket.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`], [`ErrorKind::NotDirectory`].
    pub fn ingest_in(&self, op: &Op, dir: Ino) -> Result<strata_content::Ingest> {
        let mut snap = self.snap(op);
        let dir = snap.dir(dir)?;
        snap.bucket = dir.bucket;
        Ok(self.store.ingest(dedup_domain(dir.bucket), snap.rules(&dir)?.relaxed))
    }
}

/// Keeps what has a name and no object: a symbolic link, a FIFO, a socket, a device. Neither an object nor its directories
/// replace one, for any caller and under any condition.
fn keep_hidden(name: &[u8], kind: NodeKind) -> Result<()> {
    if kind.has_object() {
        return Ok(());
    }
    let (name, words) = (name.escape_ascii(), kind.words());
    Err(fail(
        ErrorKind::Exists,
        format!(
            "'{name}' is {words}, made at a file door; no object can have its name or lie below it; nothing was changed; rename or remove it at the mount or NFS"
        ),
    ))
}

/// Content about to be put somewhere.
pub(crate) struct NewContent {
    pub(crate) content: Content,
    pub(crate) tag: Option<ContentTag>,
    pub(crate) meta: ObjectMeta,
    pub(crate) parts: Vec<u64>,
    pub(crate) allocated: u64,
    /// How it came.
    pub(crate) made: Made,
}

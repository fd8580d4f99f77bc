//! Buckets: directories at the root with a record of their own, and the root itself, whose bucket has the files there (`top.rs`).
//!
//! A bucket's mode is that of the objects which S3 and WebDAV make in it; file doors bring the modes of what they make.

use strata_content::Tx;
use strata_seam::Ino;

use crate::authority::{Action, Resource};
use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::following;
use crate::key;
use crate::locks::uphold::Touched;
use crate::name;
use crate::namespace::Namespace;
use crate::records::{Bucket, Inode, LockCount};
use crate::top;
use crate::types::{BucketInfo, Caller, Durability, NodeKind, Op, ROOT_INO, STORE, dir_mode};
use crate::view::{View, damaged, decode_dirent};

/// Mode of the objects in a new bucket: only their owner reads and writes them.
pub const OBJECT_MODE_DEFAULT: u32 = 0o600;

/// Uploads read at once.
const UPLOADS_STEP: usize = 1000;

/// What is in a bucket and so prevents its removal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketUse {
    /// The first thing in it and what it is, in words.
    pub first: Option<String>,
    /// Unfinished uploads to it.
    pub uploads: u64,
}

/// The keys of the uploads to a bucket.
fn uploads_of(root: Ino) -> (Vec<u8>, Vec<u8>) {
    (key::under(key::TABLE_UPLOAD, root, &[]), key::behind(key::TABLE_UPLOAD, root))
}

/// Refuses to move a bucket somewhere else as a folder while uploads into it are unfinished: they would have nowhere to go.
///
/// # Errors
/// [`ErrorKind::CrossDevice`].
pub(crate) fn refuse_uploads(tx: &mut Tx<'_>, root: Ino) -> Result<()> {
    let (from, end) = uploads_of(root);
    let added = key::added(root.0);
    if tx.members(&added, &from, &end, 1)?.is_empty() {
        tx.delete(added);
        return Ok(());
    }
    Err(fail(
        ErrorKind::CrossDevice,
        "uploads into this bucket are unfinished, so it does not go into the trash; nothing was changed; complete or abort them",
    ))
}

fn first_in_words((name, kind): &(Vec<u8>, NodeKind)) -> String {
    let hint = if kind.has_object() { "" } else { ", which no object shows; remove it at the mount or NFS" };
    format!("'{}', {}{hint}", name.escape_ascii(), kind.words())
}

/// Has the record say what the bucket is called now.
pub(crate) fn rename(tx: &mut Tx<'_>, root: Ino, name: &[u8]) -> Result<()> {
    let Some(mut bucket) = tx.bucket_at(root)? else { return Err(damaged(format!("the bucket of directory {root}"))) };
    bucket.name = name.to_vec();
    bucket.put(tx);
    Ok(())
}

/// Checks whether `mode` can be the mode of objects in a bucket.
///
/// # Errors
/// It cannot; the text says which modes can.
pub fn check_object_mode(mode: u32) -> Result<(), String> {
    let known = |digit: u32| matches!(digit, 0 | 4 | 6);
    if mode >> 6 == 6 && known(mode >> 3 & 7) && known(mode & 7) {
        return Ok(());
    }
    Err(format!(
        "{mode:o} cannot be the mode of objects: use 6 for the owner, then 0, 4 or 6 for group and others, as in 640"
    ))
}

impl Namespace {
    /// Creates a bucket with a name that S3 allows. `durability`: `None` takes the store's default. It belongs to the caller.
    ///
    /// # Errors
    /// [`ErrorKind::BucketExists`], also for what S3 calls the files at the top, [`ErrorKind::InvalidName`], [`ErrorKind::AccessDenied`].
    pub fn create_bucket(&self, op: &Op, name: &str, durability: Option<Durability>) -> Result<BucketInfo> {
        name::check_bucket(name.as_bytes())?;
        if name == self.top_name() {
            let what = format!("bucket '{name}' exists already: it has the files at the top of the tree");
            return Err(fail(ErrorKind::BucketExists, what));
        }
        self.create_bucket_of_mode(op, name.as_bytes(), durability, OBJECT_MODE_DEFAULT)
    }

    /// Creates a bucket whose folder has any name that file doors allow. `mode` is that of the objects which S3 and WebDAV make in it;
    /// the bucket is never visible without it. It belongs to the caller.
    ///
    /// # Errors
    /// [`ErrorKind::BucketExists`], [`ErrorKind::InvalidName`], [`ErrorKind::NameTooLong`], [`ErrorKind::AccessDenied`];
    /// [`ErrorKind::Invalid`] for what is no mode of objects.
    pub fn create_bucket_of_mode(
        &self,
        op: &Op,
        name: &[u8],
        durability: Option<Durability>,
        mode: u32,
    ) -> Result<BucketInfo> {
        name::check_new(name)?;
        check_object_mode(mode).map_err(|what| fail(ErrorKind::Invalid, what))?;
        self.change(op, |tx, effects| {
            if let Some(taken) = tx.any_entry(ROOT_INO, name)? {
                let what = if taken.stands_in(name) { "bucket" } else { "a file at the top called" };
                return Err(fail(ErrorKind::BucketExists, format!("{what} '{}' exists already", name.escape_ascii())));
            }
            let relaxed = durability.unwrap_or(self.durability) == Durability::Relaxed;
            let modes = (dir_mode(mode), mode);
            let (_, bucket) = self.make_bucket(tx, effects, op, name, modes, relaxed)?;
            self.bucket_info(op, tx, &bucket)
        })
    }

    /// The directory and the record of a new bucket, with their modes.
    pub(crate) fn make_bucket(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        name: &[u8],
        (mode, of_objects): (u32, u32),
        relaxed: bool,
    ) -> Result<(Inode, Bucket)> {
        let root = self.make(tx, effects, op, ROOT_INO, name, NodeKind::Directory, mode, |_| Ok(()))?;
        let name = name.to_vec();
        let (root_ino, created, uid) = (root.attr.ino, root.attr.btime, op.caller.uid);
        let bucket = Bucket {
            root: root_ino,
            name,
            created,
            uid,
            relaxed,
            versioned: false,
            mode: of_objects,
            locks: LockCount::default(),
        };
        bucket.put(tx);
        Ok((root, bucket))
    }

    /// Removes an empty bucket; its unfinished uploads are aborted.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`], [`ErrorKind::NotEmpty`], [`ErrorKind::AccessDenied`]; [`ErrorKind::NotPermitted`] for the bucket of
    /// the files at the top.
    pub fn delete_bucket(&self, op: &Op, name: &str) -> Result<()> {
        if let Ok(bucket) = self.bucket_in(&mut self.snap(&Op::new(Caller::root(&STORE))), name) {
            self.follow_out_of(bucket.root)?;
        }
        self.change(op, |tx, effects| {
            let bucket = self.bucket_in(tx, name)?;
            top::refuse_top(&bucket)?;
            let mut root = tx.dir(ROOT_INO)?;
            let inode = tx.dir(bucket.root)?;
            self.authorize(op, Action::Remove, (&root.attr, &inode.attr))?;
            let entry_name = [&bucket.name[..], b"/"].concat();
            self.uphold_locks(tx, op, &[Touched::Members(&root), Touched::Entry(&root, &entry_name, &inode)])?;
            self.forget_bucket(tx, &bucket.name, &inode)?;
            self.remove_dir(tx, effects, &mut root, (&entry_name, &name::shown(&entry_name, false)), &inode)
        })
    }

    /// Before a folder at the top is removed, or replaced: has follow what was moved out of it ([`Namespace::follow_out_of`]).
    pub(crate) fn follow_out_of_bucket(&self, folder: &[u8]) -> Result<()> {
        let looked = Op::new(Caller::root(&STORE));
        let found = self.snap(&looked).find(ROOT_INO, folder)?.filter(|found| found.dirent.kind == NodeKind::Directory);
        found.map_or(Ok(()), |found| self.follow_out_of(found.dirent.ino))
    }

    /// Removes the record of a bucket that is about to be removed, and its uploads.
    pub(crate) fn forget_bucket(&self, tx: &mut Tx<'_>, name: &[u8], root: &Inode) -> Result<()> {
        if let Some(first) = tx.first_entry(root.attr.ino)? {
            let (name, first) = (name.escape_ascii(), first_in_words(&first));
            return Err(fail(ErrorKind::NotEmpty, format!("bucket '{name}' is not empty: it holds {first}")));
        }
        // Inodes that were moved out of the bucket may still have to follow; until then its rules apply to them.
        following::refuse_while_left(tx, root.attr.ino)?;
        let uploads = uploads_of(root.attr.ino);
        let added = key::added(root.attr.ino.0);
        for (key, _) in tx.members(&added, &uploads.0, &uploads.1, usize::MAX >> 1)? {
            self.erase_upload(tx, &key)?;
        }
        tx.delete(added);
        tx.delete(key::bucket(root.attr.ino));
        Ok(())
    }

    /// What is in a bucket, as far as it is in the way of removing it. Reads the first entry and every unfinished upload.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`]; [`ErrorKind::NotPermitted`] for the bucket of the files at the top.
    pub fn bucket_use(&self, op: &Op, name: &str) -> Result<BucketUse> {
        let mut snap = self.snap(op);
        let bucket = self.bucket_in(&mut snap, name)?;
        self.authorize(op, Action::ReadBucket, &bucket)?;
        top::refuse_top(&bucket)?;
        snap.bucket = bucket.root;
        let first = snap.first_entry(bucket.root)?.map(|first| first_in_words(&first));
        let (mut from, end) = uploads_of(bucket.root);
        let mut uploads = 0;
        loop {
            let page = snap.records(&from, &end, UPLOADS_STEP)?;
            uploads += page.len() as u64;
            match page.last() {
                Some((last, _)) if page.len() == UPLOADS_STEP => {
                    from.clone_from(last);
                    from.push(0);
                }
                _ => return Ok(BucketUse { first, uploads }),
            }
        }
    }

    /// Removes a bucket with everything in it: first its unfinished uploads, then its tree as [`Namespace::remove_tree`] does. That takes
    /// many commits; if it is cut off, a smaller bucket is left. `told` is called after each commit with the numbers of names and of
    /// uploads removed so far, and returns whether to go on. Returns whether the bucket is gone.
    ///
    /// Other names (hard links) of its files stay, as does what was moved out of it meanwhile. If the bucket is renamed meanwhile, what
    /// is left of it stays.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`], [`ErrorKind::NotFound`] if it lost its name meanwhile, [`ErrorKind::NotEmpty`] where
    /// somebody goes on making things in it, [`ErrorKind::AccessDenied`]; [`ErrorKind::NotPermitted`] for the bucket of the files at
    /// the top.
    pub fn remove_bucket(&self, op: &Op, name: &str, told: &mut dyn FnMut(u64, u64) -> bool) -> Result<bool> {
        op.read_newest();
        let found = self.bucket_in(&mut self.snap(op), name)?;
        top::refuse_top(&found)?;
        let (root, folder) = (found.root, found.name);
        let _claim = self.claim(op, ROOT_INO, &folder, true)?;
        let (from, end) = uploads_of(root);
        let mut uploads = 0;
        loop {
            let page = self.snap(op).records(&from, &end, UPLOADS_STEP)?;
            if page.is_empty() {
                break;
            }
            for (key, _) in &page {
                self.change(op, |tx, effects| {
                    let bucket = self.bucket_in(tx, name)?;
                    self.authorize(op, Action::Remove, (&tx.dir(ROOT_INO)?.attr, &tx.dir(bucket.root)?.attr))?;
                    effects.within(&bucket);
                    if bucket.root != root {
                        return Err(fail(ErrorKind::NotFound, format!("bucket '{name}' is another one by now")));
                    }
                    // Another request may have completed or aborted the upload meanwhile.
                    self.erase_upload(tx, key)
                })?;
                uploads += 1;
                if !told(0, uploads) {
                    return Ok(false);
                }
            }
        }
        self.remove_tree_told(op, ROOT_INO, &folder, &mut |names| told(names, uploads), &|_| Ok(()))
    }

    /// The bucket with this name at S3.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`].
    pub fn bucket(&self, op: &Op, name: &str) -> Result<BucketInfo> {
        let mut snap = self.snap(op);
        let bucket = self.bucket_in(&mut snap, name)?;
        snap.bucket = bucket.root;
        self.bucket_info(op, &mut snap, &bucket)
    }

    /// All buckets, ordered by their names at S3. The bucket of the files at the top is among them if it has a file or an unfinished
    /// upload.
    ///
    /// # Errors
    /// Reading the index.
    pub fn buckets(&self, op: &Op) -> Result<Vec<BucketInfo>> {
        self.authorize(op, Action::ListBuckets, Resource::Store)?;
        let mut snap = self.snap(op);
        let mut from = key::entry(ROOT_INO, &[]);
        let mut all: Vec<Bucket> = Vec::new();
        loop {
            let page = snap.entries(&from, &key::behind(key::TABLE_ENTRY, ROOT_INO), 1000)?;
            let Some((last, _)) = page.last() else { break };
            from.clone_from(last);
            from.push(0);
            for (key, value) in page.iter().filter(|(key, _)| name::is_dir(key)) {
                let (name, root) = (name::raw(&key[9..]), decode_dirent(ROOT_INO, value)?.ino);
                // A folder that was removed since the page was read is no bucket any more.
                all.extend(snap.bucket_called(name, root)?);
            }
        }
        if self.top_is_used(&mut snap)? {
            all.extend(snap.bucket_at(ROOT_INO)?);
        }
        let mut all = all.iter().map(|bucket| self.bucket_info(op, &mut snap, bucket)).collect::<Result<Vec<_>>>()?;
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// Sets whether earlier versions of the objects of this bucket are kept from now on. Versions that are kept already stay.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`], [`ErrorKind::NotPermitted`].
    pub fn set_versioned(&self, op: &Op, name: &str, versioned: bool) -> Result<()> {
        self.change(op, |tx, effects| {
            let mut bucket = self.bucket_in(tx, name)?;
            let root = tx.dir(bucket.root)?;
            self.authorize(op, Action::SetBucket, &root.attr)?;
            bucket.versioned = versioned;
            bucket.put(tx);
            self.tell_bucket_changed(tx, effects, &root);
            Ok(())
        })
    }

    /// Sets the mode of the objects that S3 and WebDAV make in this bucket from now on, and the mode of its directory that goes with it
    /// ([`BucketInfo::dir_mode`]). Existing objects keep their mode.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a mode by which the owner could not read and write, or others write what they cannot read;
    /// [`ErrorKind::NoSuchBucket`], [`ErrorKind::NotPermitted`].
    pub fn set_bucket_mode(&self, op: &Op, name: &str, mode: u32) -> Result<BucketInfo> {
        self.set_bucket(op, name, Some(mode), None)
    }

    /// Sets the mode of a bucket, as [`Namespace::set_bucket_mode`] does, and its durability, in one commit. `None` leaves a value as it
    /// is. A change of the durability waits until everything before it is durable.
    ///
    /// # Errors
    /// As [`Namespace::set_bucket_mode`].
    pub fn set_bucket(
        &self,
        op: &Op,
        name: &str,
        mode: Option<u32>,
        durability: Option<Durability>,
    ) -> Result<BucketInfo> {
        if let Some(mode) = mode {
            check_object_mode(mode).map_err(|what| fail(ErrorKind::Invalid, what))?;
        }
        self.change(op, |tx, effects| {
            let mut bucket = self.bucket_in(tx, name)?;
            let mut root = tx.dir(bucket.root)?;
            self.authorize(op, Action::SetBucket, &root.attr)?;
            match durability {
                // `effects` names no bucket, so the change is committed as in a strict one.
                Some(durability) => bucket.relaxed = durability == Durability::Relaxed,
                None => effects.within(&bucket),
            }
            bucket.mode = mode.unwrap_or(bucket.mode);
            bucket.put(tx);
            // The mode of the bucket at the top does not change the mode of the root of the tree.
            if let Some(mode) = mode.filter(|_| !bucket.is_top()) {
                root.attr.mode = root.attr.mode & 0o7000 | dir_mode(mode);
                root.attr.ctime = self.clock.now();
                self.put_inode(tx, &mut root);
            }
            self.tell_bucket_changed(tx, effects, &root);
            self.bucket_info(op, tx, &bucket)
        })
    }

    /// The bucket an S3 request means, readable by the caller.
    pub(crate) fn open_bucket(&self, view: &mut impl View, op: &Op, name: &str) -> Result<(Bucket, Inode)> {
        let bucket = self.bucket_in(view, name)?;
        let root: Inode = view.dir(bucket.root)?;
        debug_assert_eq!(root.parent, Ino(ROOT_INO.0));
        self.authorize(op, Action::Search, &root.attr)?;
        Ok((bucket, root))
    }
}

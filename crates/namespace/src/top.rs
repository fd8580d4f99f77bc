//! The top of the tree. Its folders are the buckets, with any names. Its files are in a bucket of their own.
//!
//! That built-in bucket has the root of the tree as its root directory. At S3 it has one name, which is a setting. If a folder has that
//! name, the name means the folder, and the built-in bucket has an alias. Folders are not part of the built-in bucket.

use strata_content::Tx;
use strata_seam::Ino;

use crate::authority::Action;
use crate::bucket;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::key;
use crate::namespace::Namespace;
use crate::records::{Bucket, Inode, LockCount};
use crate::s3_name;
use crate::types::{BucketInfo, Durability, Op, ROOT_INO};
use crate::view::View;

/// The name at S3 of the bucket of the files at the top, unless the setting `top-bucket` gives another.
pub const TOP_NAME_DEFAULT: &str = "top";

/// The refusal when the bucket of the files at the top is asked for anything in a folder.
const NO_FOLDERS: &str = "this bucket holds the files at the top of the tree alone, so its keys have no `/`; what is in a folder there is \
                          an object of the folder's own bucket";

impl Namespace {
    /// Sets the name at S3 of the bucket of the files at the top. To be called once, before the doors open; returns `false`, and changes
    /// nothing, if it was called before.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] for what S3 takes for no bucket's name.
    pub fn name_top(&self, name: &str) -> Result<bool> {
        crate::name::check_bucket(name.as_bytes())?;
        Ok(self.top_name.set(name.to_owned()).is_ok())
    }

    pub(crate) fn top_name(&self) -> &str {
        self.top_name.get().map_or(TOP_NAME_DEFAULT, String::as_str)
    }

    /// The bucket of the files at the top.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`] in a store that could not be upgraded.
    pub fn top(&self, op: &Op) -> Result<BucketInfo> {
        let mut snap = self.snap(op);
        let found = snap.bucket_at(ROOT_INO)?.ok_or_else(|| missing(self.top_name().as_bytes()))?;
        snap.bucket = ROOT_INO;
        self.bucket_info(op, &mut snap, &found)
    }

    /// What S3 calls a bucket now.
    pub(crate) fn s3_name(&self, view: &mut (impl View + ?Sized), bucket: &Bucket) -> Result<String> {
        if bucket.root != ROOT_INO {
            return Ok(s3_name::of(&bucket.name, bucket.root));
        }
        let name = self.top_name();
        let taken = view.entry(ROOT_INO, &[name.as_bytes(), b"/"].concat())?.is_some();
        Ok(if taken { s3_name::alias(name.as_bytes(), ROOT_INO) } else { name.to_owned() })
    }

    pub(crate) fn bucket_info(&self, op: &Op, view: &mut (impl View + ?Sized), bucket: &Bucket) -> Result<BucketInfo> {
        self.authorize(op, Action::ReadBucket, bucket)?;
        let name = self.s3_name(view, bucket)?;
        Ok(bucket.info(name))
    }

    /// The bucket that S3 calls so.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`].
    pub(crate) fn bucket_in(&self, view: &mut (impl View + ?Sized), name: &str) -> Result<Bucket> {
        let found = if s3_name::is_plain(name.as_bytes()) {
            match view.folder(name.as_bytes())? {
                None if name == self.top_name() => view.bucket_at(ROOT_INO)?,
                found => found,
            }
        } else {
            match s3_name::ino_of(name) {
                Some(root) => view.bucket_at(root)?,
                None => None,
            }
        };
        match found {
            Some(bucket) if self.s3_name(view, &bucket)? == name => Ok(bucket),
            _ => Err(missing(name.as_bytes())),
        }
    }

    /// The bucket that a person means by `name`: the one whose folder has this name, or the one that has it at S3.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`]; [`ErrorKind::Invalid`] if these are two buckets.
    pub fn bucket_called(&self, op: &Op, name: &[u8]) -> Result<BucketInfo> {
        let mut snap = self.snap(op);
        let folder = snap.folder(name)?;
        let of_s3 = match std::str::from_utf8(name).map(|name| self.bucket_in(&mut snap, name)) {
            Ok(Ok(bucket)) => Some(bucket),
            Ok(Err(error)) if error.kind != ErrorKind::NoSuchBucket => return Err(error),
            _ => None,
        };
        let found = match (folder, of_s3) {
            (Some(folder), Some(of_s3)) if folder.root != of_s3.root => {
                let what = format!(
                    "'{}' is the name of one bucket's folder and of another bucket at S3; give the name at S3 of the one that is meant, which `strata bucket list` shows",
                    name.escape_ascii()
                );
                return Err(fail(ErrorKind::Invalid, what));
            }
            (Some(found), _) | (None, Some(found)) => found,
            (None, None) => return Err(missing(name)),
        };
        snap.bucket = found.root;
        self.bucket_info(op, &mut snap, &found)
    }

    /// The bucket whose folder at the top has this name.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`].
    pub fn bucket_of_folder(&self, op: &Op, name: &[u8]) -> Result<BucketInfo> {
        let mut snap = self.snap(op);
        let bucket = snap.folder(name)?.ok_or_else(|| missing(name))?;
        snap.bucket = bucket.root;
        self.bucket_info(op, &mut snap, &bucket)
    }

    /// The bucket to which new entries of this directory belong. For the root of the tree, that of the files there.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`], [`ErrorKind::NotDirectory`].
    pub fn bucket_of(&self, op: &Op, dir: Ino) -> Result<BucketInfo> {
        let mut snap = self.snap(op);
        let dir = snap.dir(dir)?;
        let bucket = snap.rules(&dir)?;
        snap.bucket = bucket.root;
        self.bucket_info(op, &mut snap, &bucket)
    }

    /// Whether there is any file at the top, or an upload to one.
    pub(crate) fn top_is_used(&self, view: &mut impl View) -> Result<bool> {
        let uploads = (key::under(key::TABLE_UPLOAD, ROOT_INO, &[]), key::behind(key::TABLE_UPLOAD, ROOT_INO));
        if !view.records(&uploads.0, &uploads.1, 1)?.is_empty() {
            return Ok(true);
        }
        let (mut from, end) = (key::entry(ROOT_INO, &[]), key::behind(key::TABLE_ENTRY, ROOT_INO));
        loop {
            let page = view.entries(&from, &end, 256)?;
            if page.iter().any(|(key, _)| !crate::name::is_dir(key)) {
                return Ok(true);
            }
            let Some((last, _)) = page.last() else { return Ok(false) };
            from.clone_from(last);
            from.push(0);
        }
    }

    /// Makes the record of the bucket of the files at the top, and has the root be in it, where a store has none.
    ///
    /// # Errors
    /// Those of the store; nothing is changed then.
    pub(crate) fn make_top(&self) -> Result<()> {
        let root = self.store.get(&key::inode(ROOT_INO))?;
        let root = root.and_then(|record| Inode::decode(ROOT_INO, &record.value).ok());
        // A root that is lost or cannot be read is left to a repair.
        let Some(root) = root else { return Ok(()) };
        if root.bucket == ROOT_INO && self.store.get(&key::bucket(ROOT_INO))?.is_some() {
            return Ok(());
        }
        self.store.transact_as_removal(|tx| self.put_top(tx))?;
        Ok(())
    }

    /// Makes the bucket of the files at the top if it is missing, as a part of a change.
    pub(crate) fn put_top(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let mut root = tx.dir(ROOT_INO)?;
        if tx.record(&key::bucket(ROOT_INO))?.is_none() {
            self.fresh_top(&root).put(tx);
        }
        if root.bucket != ROOT_INO || root.counted.is_none() {
            root.bucket = ROOT_INO;
            self.put_inode(tx, &mut root);
        }
        Ok(())
    }

    pub(crate) fn fresh_top(&self, root: &Inode) -> Bucket {
        Bucket {
            root: ROOT_INO,
            name: Vec::new(),
            created: root.attr.btime,
            uid: root.attr.uid,
            relaxed: self.durability == Durability::Relaxed,
            versioned: false,
            mode: bucket::OBJECT_MODE_DEFAULT,
            locks: LockCount::default(),
        }
    }
}

impl Bucket {
    /// Whether it is that of the files at the top.
    pub(crate) fn is_top(&self) -> bool {
        self.root == ROOT_INO
    }
}

/// Refuses what is in no folder to be removed or renamed as one.
pub(crate) fn refuse_top(bucket: &Bucket) -> Result<()> {
    if bucket.is_top() {
        return Err(fail(
            ErrorKind::NotPermitted,
            "the bucket of the files at the top of the tree is built in; it cannot be removed or renamed; nothing was changed; the setting `top-bucket` changes its name at S3",
        ));
    }
    Ok(())
}

/// Refuses to put a key below a folder into the bucket of the files at the top.
pub(crate) fn refuse_folders(bucket: Ino, key: &[u8]) -> Result<()> {
    if reaches_below(bucket, key) {
        return Err(fail(ErrorKind::Invalid, format!("{NO_FOLDERS}; nothing was changed")));
    }
    Ok(())
}

/// Whether a key of this bucket leads below a folder at the top, where the bucket has nothing.
pub(crate) fn reaches_below(bucket: Ino, key: &[u8]) -> bool {
    bucket == ROOT_INO && key.contains(&b'/')
}

/// What a change of a directory's entries promises is what this bucket does: the root directory's own in the case of a folder at the
/// top, and no relaxed one's.
pub(crate) fn promises(dir: &Inode, directory: bool) -> Ino {
    if dir.attr.ino == ROOT_INO && directory { Ino(0) } else { dir.bucket }
}

fn missing(name: &[u8]) -> Error {
    fail(ErrorKind::NoSuchBucket, format!("there is no bucket '{}'", name.escape_ascii()))
}

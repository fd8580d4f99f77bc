//! What a change reports: one list, from which both the events in its commit and the notifications for the mount's kernel are made.
//! So no change can report one and forget the other.
//!
//! An event says where something is by bucket and key. The path of a directory is kept in memory once it was looked up
//! ([`crate::paths::Paths`]), so that a change in a directory in use looks up nothing.

use std::sync::Arc;

use strata_content::Tx;
use strata_seam::Ino;
use strata_seam::planted::{Bug, planted};

use crate::effects::Effects;
use crate::error::Result;
use crate::event::{Before, EVENT_KEY_LEN_MAX, Made, What};
use crate::format::mark_format;
use crate::key;
use crate::name;
use crate::namespace::Namespace;
use crate::paths::DirPath;
use crate::records::Inode;
use crate::s3_name;
use crate::told::{Entry, Telling};
use crate::types::{Caller, Op, ROOT_INO, STORE};
use crate::view::{View, damaged};

/// Deepest tree that is followed upwards for a path.
const DEPTH_MAX: usize = 1 << 16;

impl Namespace {
    /// Something new has a name.
    pub(crate) fn tell_created(&self, tx: &mut Tx<'_>, effects: &mut Effects, at: Entry<'_>, inode: &Inode) {
        let what = if at.dir == ROOT_INO && inode.is_directory() { What::BucketMade } else { What::Created };
        self.tell(tx, effects, what, at, inode);
    }

    /// As [`Namespace::tell_created`], for a directory that a key makes on its way; it is part of the event of that key.
    pub(crate) fn tell_made_on_the_way(&self, tx: &mut Tx<'_>, effects: &mut Effects, at: Entry<'_>, inode: &Inode) {
        effects.dirs_made += 1;
        let told = self.tell(tx, effects, What::Created, at, inode);
        // An object of that name is shown under another name from now on.
        (told.unwritten, told.beside) = (true, true);
    }

    /// An inode has one more name.
    pub(crate) fn tell_linked(&self, tx: &mut Tx<'_>, effects: &mut Effects, at: Entry<'_>, inode: &Inode) {
        self.tell(tx, effects, What::Linked, at, inode);
    }

    /// A file was made with its content.
    pub(crate) fn tell_put(&self, tx: &mut Tx<'_>, effects: &mut Effects, at: Entry<'_>, inode: &Inode, made: Made) {
        let dirs = std::mem::take(&mut effects.dirs_made);
        self.tell(tx, effects, What::Content { made, new: true, dirs }, at, inode);
    }

    /// Reports content that replaced another; `parts`: those who have the old content open stay on it, so that the name
    /// leads to another inode.
    pub(crate) fn tell_replaced(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        at: Entry<'_>,
        inode: &Inode,
        (made, parts): (Made, bool),
    ) {
        self.tell(tx, effects, What::Content { made, new: false, dirs: 0 }, at, inode).parts = parts;
    }

    /// Reports new content, under one of the inode's names. `quiet`: those who were told of the write see nothing more.
    pub(crate) fn tell_content_of(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        inode: &Inode,
        made: Made,
        quiet: bool,
    ) {
        self.tell_of(tx, effects, What::Content { made, new: false, dirs: 0 }, inode).quiet = quiet;
    }

    /// Attributes of an inode changed.
    pub(crate) fn tell_attributes(&self, tx: &mut Tx<'_>, effects: &mut Effects, inode: &Inode) {
        self.tell_of(tx, effects, What::Attributes, inode);
    }

    /// The rules of a bucket changed, by its root directory.
    pub(crate) fn tell_bucket_changed(&self, tx: &mut Tx<'_>, effects: &mut Effects, root: &Inode) {
        self.tell_of(tx, effects, What::BucketChanged, root);
    }

    /// A name is gone; its directory is still there. `inode` is as the removal left it, and its change number was `before`.
    pub(crate) fn tell_removed(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        at: Entry<'_>,
        inode: &Inode,
        before: u64,
    ) {
        let last = inode.is_directory() || inode.attr.nlink == 0;
        let of_bucket = at.dir == ROOT_INO && inode.is_directory();
        let what = if of_bucket { What::BucketRemoved } else { What::Removed { last, dirs: 0 } };
        let told = self.tell(tx, effects, what, at, inode);
        // An erased inode is not written again: this is its last change number.
        told.event.change = inode.attr.change.max(before + 1);
        told.beside = name::is_dir(at.name);
    }

    /// A directory that only keys had made went with the last of them: part of what was told last, if that is `with` it.
    pub(crate) fn tell_went_along(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        at: Entry<'_>,
        dir: &Inode,
        with: &mut Option<usize>,
    ) {
        self.tell_removed(tx, effects, at, dir, dir.attr.change);
        let last = effects.told.len().saturating_sub(1);
        match *with {
            None => *with = Some(last),
            Some(with) => {
                if let What::Removed { dirs, .. } = &mut effects.told[with].event.what {
                    *dirs += 1;
                }
                effects.told[last].unwritten = true;
            }
        }
    }

    /// A name became another.
    pub(crate) fn tell_renamed(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        from: Entry<'_>,
        (to, exchange): (Entry<'_>, bool),
        inode: &Inode,
    ) {
        effects.moved |= inode.is_directory();
        let (bucket, key) = self.place_of(tx, from, inode.attr.ino);
        // The bucket differs if the inode is a bucket itself, or if one of the directories is in the trash and has not followed there.
        let (now, _) = self.place_of(tx, to, inode.attr.ino);
        let bucket = (bucket != now).then_some(bucket);
        let before = Before { parent: from.dir, bucket, key };
        self.tell(tx, effects, What::Renamed { from: before, exchange }, to, inode).shown_before = from.shown.to_vec();
    }

    /// The store was repaired, by changes that are not told one by one.
    ///
    /// # Errors
    /// Those of the commit.
    pub(crate) fn tell_repaired(&self) -> Result<()> {
        self.paths.forget();
        let op = Op::new(Caller::root(&STORE));
        self.change(&op, |tx, effects| {
            let root = tx.inode(ROOT_INO)?;
            // The commit writes this row, which need not be read.
            mark_format(tx);
            effects.tell(Telling::new(What::Repaired, &root, Ino(0), (Arc::from(""), None), &[]));
            Ok(())
        })
    }

    /// Under the name in the inode's record.
    fn tell_of<'e>(&self, tx: &mut Tx<'_>, effects: &'e mut Effects, what: What, inode: &Inode) -> &'e mut Telling {
        if inode.is_named() {
            let at = Entry { dir: inode.parent, name: &inode.name, shown: name::raw(&inode.name) };
            return self.tell(tx, effects, what, at, inode);
        }
        let (bucket, key) = match (inode.attr.ino, inode.bucket, &what) {
            // For the root of the tree, only changes of the rules for its files concern S3.
            (ROOT_INO, _, What::BucketChanged) => (self.top_called(tx), Some(Vec::new())),
            (ROOT_INO, ..) | (_, Ino(0), _) => (Arc::from(""), None),
            (_, ROOT_INO, _) => (self.top_called(tx), None),
            (_, bucket, _) => (self.dir_path(tx, bucket).bucket, None),
        };
        effects.tell(Telling::new(what, inode, Ino(0), (bucket, key), &[]))
    }

    fn tell<'e>(
        &self,
        tx: &mut Tx<'_>,
        effects: &'e mut Effects,
        what: What,
        at: Entry<'_>,
        inode: &Inode,
    ) -> &'e mut Telling {
        let place = self.place_of(tx, at, inode.attr.ino);
        effects.tell(Telling::new(what, inode, at.dir, place, at.shown))
    }

    /// What S3 calls the bucket of the files at the top, as far as anybody has to know.
    fn top_called(&self, tx: &mut Tx<'_>) -> Arc<str> {
        let name = self.top_name();
        let taken = self.told_record(tx, &key::entry(ROOT_INO, &[name.as_bytes(), b"/"].concat()));
        if matches!(taken, Ok(None)) { Arc::from(name) } else { s3_name::alias(name.as_bytes(), ROOT_INO).into() }
    }

    /// Bucket, as S3 calls it, and key of an entry that leads to this inode.
    fn place_of(&self, tx: &mut Tx<'_>, at: Entry<'_>, ino: Ino) -> (Arc<str>, Option<Vec<u8>>) {
        if at.dir == ROOT_INO {
            return match name::is_dir(at.name) {
                true => (s3_name::of(name::raw(at.name), ino).into(), Some(Vec::new())),
                false => (self.top_called(tx), Some(at.name.to_vec())),
            };
        }
        let DirPath { bucket, key } = self.dir_path(tx, at.dir);
        let key = key.map(|key| [&key[..], at.name].concat()).filter(|key| key.len() <= EVENT_KEY_LEN_MAX);
        (bucket, key)
    }

    /// Where a directory is. Damage above it does not keep anybody from changes in it: these are then reported without a path.
    fn dir_path(&self, tx: &mut Tx<'_>, dir: Ino) -> DirPath {
        let mut below = Vec::new();
        let mut at = dir;
        let mut path = loop {
            if let Some(known) = self.paths.known(at) {
                break known;
            }
            let found = if below.len() < DEPTH_MAX { self.dir_told(tx, at) } else { Ok(None) };
            match found {
                Ok(Some(inode)) if inode.parent == ROOT_INO => {
                    let bucket = s3_name::of(name::raw(&inode.name), at).into();
                    let root = DirPath { bucket, key: Some(Arc::from([])) };
                    self.paths.keep(at, &root);
                    break root;
                }
                Ok(Some(inode)) => {
                    below.push((at, inode.name));
                    at = inode.parent;
                }
                nowhere => {
                    tracing::warn!(%dir, error = ?nowhere.err(), "events are told without a path: the directories above cannot be read");
                    return DirPath { bucket: Arc::from(""), key: None };
                }
            }
        };
        for (ino, name) in below.into_iter().rev() {
            let key = path.key.filter(|key| key.len() + name.len() <= EVENT_KEY_LEN_MAX);
            path.key = key.map(|key| [&key[..], &name].concat().into());
            self.paths.keep(ino, &path);
        }
        path
    }

    /// A record that is read only for the report. In one session the order of changes is the order of their reports. Where several share the
    /// store, a change must be computed again if what it reports has changed.
    fn told_record(&self, tx: &mut Tx<'_>, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if self.is_shared() { tx.record(key) } else { Ok(tx.peek(key)?) }
    }

    fn dir_told(&self, tx: &mut Tx<'_>, ino: Ino) -> Result<Option<Inode>> {
        let record = self.told_record(tx, &key::inode(ino))?;
        record.map(|record| Inode::decode(ino, &record).map_err(|_| damaged(format!("inode {ino}")))).transpose()
    }

    /// Writes what a change reports into its commit.
    pub(crate) fn write_events(&self, tx: &mut Tx<'_>, effects: &mut Effects, op: &Op, relaxed: bool) {
        if effects.told.is_empty() {
            return;
        }
        let at = self.clock.now();
        for told in effects.told.iter_mut().filter(|told| !told.unwritten) {
            let event = told.encode(op, at, relaxed);
            if planted(Bug::EventForgotten) && matches!(told.event.what, What::Removed { .. }) {
                continue;
            }
            if planted(Bug::EventDoubled) {
                tx.tell(event.clone());
            }
            tx.tell(event);
        }
    }
}

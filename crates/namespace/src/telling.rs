//! What a change tells of itself: one list, from which both the events in its commit and what the mount's kernel is told are made.
//! So no change can tell the one and forget the other.
//!
//! An event says where something is by bucket and key. The path of a directory is kept in memory once it was looked up
//! ([`Paths`]), so that a change in a directory in use looks up nothing.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_content::Tx;
use strata_seam::planted::{Bug, planted};
use strata_seam::{Ino, Timestamp};

use crate::effects::Effects;
use crate::error::Result;
use crate::event::{Before, EVENT_KEY_LEN_MAX, Event, Made, What};
use crate::key;
use crate::name;
use crate::namespace::{Namespace, mark_format};
use crate::object;
use crate::records::Inode;
use crate::s3_name;
use crate::types::{Caller, Change, Door, NodeKind, Op, ROOT_INO};
use crate::view::{View, damaged};

/// Bytes that kept paths may take, and what one takes beside its key.
const PATHS_BYTES_MAX: usize = 2 << 20;
const PATH_BYTES: usize = 96;
/// Deepest tree that is followed upwards for a path.
const DEPTH_MAX: usize = 1 << 16;

/// Where a directory is.
#[derive(Clone, Debug)]
pub(crate) struct DirPath {
    /// What S3 calls its bucket.
    bucket: Arc<str>,
    /// What the keys in it begin with; `None` where that is too long, or cannot be told.
    key: Option<Arc<[u8]>>,
}

/// Paths of directories. Used within changes alone, and forgotten before one shows that gives a directory another. Where several
/// sessions share the store none is kept: another one's rename would not be known.
pub(crate) struct Paths {
    kept: Option<Mutex<KnownPaths>>,
}

#[derive(Default)]
struct KnownPaths {
    of: HashMap<Ino, DirPath>,
    bytes: usize,
}

impl Paths {
    /// A directory is about to have another path, and everything below it.
    pub(crate) fn forget(&self) {
        if let Some(kept) = &self.kept {
            *kept.lock() = KnownPaths::default();
        }
    }

    pub(crate) fn of(shared: bool) -> Self {
        Self { kept: (!shared || planted(Bug::PathsOfOthersKept)).then(Mutex::default) }
    }

    fn known(&self, dir: Ino) -> Option<DirPath> {
        self.kept.as_ref()?.lock().of.get(&dir).cloned()
    }

    fn keep(&self, dir: Ino, path: &DirPath) {
        let Some(kept) = &self.kept else { return };
        let mut known = kept.lock();
        if known.bytes > PATHS_BYTES_MAX {
            // Those in use come back.
            *known = KnownPaths::default();
        }
        known.bytes += PATH_BYTES + path.key.as_ref().map_or(0, |key| key.len());
        known.of.insert(dir, path.clone());
    }
}

/// An entry: the directory it is in, its name there, and how file doors show it.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) dir: Ino,
    pub(crate) name: &'a [u8],
    pub(crate) shown: &'a [u8],
}

/// An event with what only this process needs of it.
pub(crate) struct Telling {
    event: Event,
    /// How file doors show the name, and the one before where it was renamed.
    shown: Vec<u8>,
    shown_before: Vec<u8>,
    /// An object of the same name stands beside the directory: it is seen under another name from now on.
    beside: bool,
    /// Who has the content open stays on what it was, so that the name leads to something else.
    parts: bool,
    /// Nobody sees anything by it that was not told when it was written.
    quiet: bool,
    /// It is part of another event: the kernel alone is told.
    unwritten: bool,
}

impl Telling {
    /// The bytes for the commit.
    pub(crate) fn encode(&mut self, op: &Op, at: Timestamp, relaxed: bool) -> Vec<u8> {
        let Event { uid, user, door, at: when, relaxed: soon, .. } = &mut self.event;
        (*uid, *door, *when, *soon) = (op.caller.uid, op.caller.door, at, relaxed);
        user.clone_from(&op.caller.user);
        self.event.encode()
    }

    /// What the mount's kernel is told.
    pub(crate) fn changes(self, changes: &mut Vec<Change>) {
        let Self { event: Event { what, ino, parent, .. }, shown, shown_before, beside, parts, quiet, .. } = self;
        let mut entry =
            |parent: Ino, name: Vec<u8>, old: Option<Ino>| changes.push(Change::Entry { parent, name, old });
        let mut attrs = Vec::new();
        match what {
            What::Created | What::Content { new: true, .. } | What::BucketMade => {
                if beside {
                    entry(parent, name::shown(&shown, true), None);
                }
                entry(parent, shown, None);
                attrs.push(parent);
            }
            What::Content { new: false, .. } => {
                if parts {
                    entry(parent, shown, Some(ino));
                }
                match what {
                    // The pages were told of when they were written.
                    What::Content { made: Made::Write, .. } if quiet => {}
                    What::Content { made: Made::Write, .. } => attrs.push(ino),
                    _ => changes.push(Change::Content(ino)),
                }
            }
            What::Linked => {
                entry(parent, shown, None);
                attrs.extend([parent, ino]);
            }
            What::Removed { .. } | What::BucketRemoved => {
                if beside {
                    entry(parent, name::shown(&shown, true), None);
                }
                entry(parent, shown, Some(ino));
                attrs.push(parent);
                if matches!(what, What::Removed { last: false, .. }) {
                    attrs.push(ino);
                }
            }
            What::Renamed { from, .. } => {
                entry(from.parent, shown_before, Some(ino));
                entry(parent, shown, None);
                attrs.extend([from.parent, parent, ino]);
            }
            What::Attributes | What::BucketChanged => attrs.push(ino),
            What::Repaired => changes.push(Change::Overflow),
        }
        changes.extend(attrs.into_iter().map(Change::Attr));
    }
}

impl Namespace {
    /// Something new has a name.
    pub(crate) fn tell_created(&self, tx: &mut Tx<'_>, effects: &mut Effects, at: Entry<'_>, inode: &Inode) {
        let what = if at.dir == ROOT_INO && inode.is_directory() { What::BucketMade } else { What::Created };
        self.tell(tx, effects, what, at, inode);
    }

    /// The same of a directory that a key makes on its way; it is part of the event of that key.
    pub(crate) fn tell_made_on_the_way(&self, tx: &mut Tx<'_>, effects: &mut Effects, at: Entry<'_>, inode: &Inode) {
        effects.dirs_made += 1;
        let told = self.tell(tx, effects, What::Created, at, inode);
        // What was an object of that name is seen under another name from now on.
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

    /// The same of content that took the place of another; `parts` says that who has the old one open stays on it, so that the name
    /// leads to something else.
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

    /// The same, under one of the names it has. `quiet`: who was told of the write sees nothing more.
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
        // What is erased is written no more, and this is its last change.
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
        let bucket = (from.dir == ROOT_INO && inode.is_directory()).then_some(bucket);
        let before = Before { parent: from.dir, bucket, key };
        self.tell(tx, effects, What::Renamed { from: before, exchange }, to, inode).shown_before = from.shown.to_vec();
    }

    /// The store was repaired, by changes that are not told one by one.
    ///
    /// # Errors
    /// Those of the commit.
    pub(crate) fn tell_repaired(&self) -> Result<()> {
        self.paths.forget();
        let op = Op::new(Caller::root(Door::Admin));
        self.change(&op, |tx, effects| {
            let root = tx.inode(ROOT_INO)?;
            // Of which nothing has to be read but that it is there.
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
            // Of the root of the tree only the rules of its files are S3's matter.
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

    /// Where a directory is. What is damaged above it keeps nobody from changing what is in it: it is then told without a path.
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

    /// A record for what is told alone. Of one session the order of changes is the order of what they tell. Where several share the store,
    /// a change must be computed anew if what it tells is not so any more.
    fn told_record(&self, tx: &mut Tx<'_>, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if self.is_shared() { tx.record(key) } else { Ok(tx.peek(key)?) }
    }

    fn dir_told(&self, tx: &mut Tx<'_>, ino: Ino) -> Result<Option<Inode>> {
        let record = self.told_record(tx, &key::inode(ino))?;
        record.map(|record| Inode::decode(ino, &record).map_err(|_| damaged(format!("inode {ino}")))).transpose()
    }

    /// Writes what a change told of itself into its commit.
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

impl Telling {
    fn new(what: What, inode: &Inode, parent: Ino, (bucket, key): (Arc<str>, Option<Vec<u8>>), shown: &[u8]) -> Self {
        let names_content = matches!(what, What::Content { .. } | What::Linked | What::Renamed { .. });
        let etag = (names_content && inode.attr.kind == NodeKind::File).then(|| object::etag(inode));
        let event = Event {
            what,
            ino: inode.attr.ino,
            kind: inode.attr.kind,
            parent,
            bucket,
            key,
            change: inode.attr.change,
            version: inode.version,
            size: inode.attr.size,
            etag,
            uid: 0,
            user: None,
            door: Door::Admin,
            at: Timestamp(0),
            relaxed: false,
        };
        let (beside, parts, quiet, unwritten) = (false, false, false, false);
        Self { event, shown: shown.to_vec(), shown_before: Vec::new(), beside, parts, quiet, unwritten }
    }
}

//! A request: its caller, and what its answer depends on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use strata_seam::{Ino, Lsn};

use super::LockRecord;
use super::guard::Guard;
use super::{Attr, Door};
use crate::authority::operations::Operation;

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Arc<[u32]>,
    /// Where the request came in.
    pub door: &'static Door,
    /// Passes every mode check. Where callers are uids, 0 does; where they are users, an administrator does, whatever the uid, and
    /// still owns what they make.
    pub superuser: bool,
    /// The user's name, where the door knows one.
    pub user: Option<Arc<str>>,
    /// May make buckets, which are the folders at the top, and files there. Counts where callers are users. Where they are uids, the
    /// name space looks the right up by the uid; for a uid that it does not know, the mode of the root decides.
    pub may_make_buckets: bool,
}

impl Caller {
    /// An ordinary caller of a file door; uid 0 is the superuser.
    #[must_use]
    pub fn new(uid: u32, gid: u32, groups: Arc<[u32]>, door: &'static Door) -> Self {
        Self { uid, gid, groups, door, superuser: uid == 0, user: None, may_make_buckets: uid == 0 }
    }
    /// The superuser at `door`.
    #[must_use]
    pub fn root(door: &'static Door) -> Self {
        Self::new(0, 0, Arc::from([]), door)
    }
    /// Whether `gid` is among the caller's groups.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// Who submits tokens.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Holder {
    /// The user's name.
    pub(crate) principal: String,
    pub(crate) tokens: Vec<String>,
}

impl Holder {
    pub(crate) fn holds(&self, lock: &LockRecord) -> bool {
        lock.principal == self.principal && self.tokens.contains(&lock.token)
    }
}

/// One request of a caller. It collects how far the log must have come before the answer may leave (invariants ACK, SEEN).
///
/// Every call of the name space records here what it committed and which commits, not yet durable, it read. A door whose answers must not
/// be taken back passes the operation to [`crate::Namespace::settle`] before it replies.
#[derive(Debug)]
pub struct Op {
    /// Who asks.
    pub caller: Caller,
    lsn: AtomicU64,
    strict: AtomicBool,
    private: AtomicBool,
    newest: AtomicBool,
    published: AtomicBool,
    watched: Mutex<Vec<Watched>>,
    pub(crate) guard: Mutex<Option<Guard>>,
    /// Set only in the few requests that submit lock tokens.
    holder: OnceLock<Box<Holder>>,
    /// What the door calls it, and what it may ask the authority for.
    operation: Option<&'static Operation>,
}

/// An inode that an operation watches, and how its changes so far found and left it.
#[derive(Debug)]
struct Watched {
    ino: Ino,
    seen: Option<(Attr, Attr)>,
    /// Whether each change found the inode as the one before had left it.
    alone: bool,
}

impl Op {
    /// A request of `caller`.
    #[must_use]
    pub fn new(caller: Caller) -> Self {
        Self {
            caller,
            lsn: AtomicU64::new(0),
            strict: AtomicBool::new(false),
            private: AtomicBool::new(false),
            newest: AtomicBool::new(false),
            published: AtomicBool::new(false),
            watched: Mutex::default(),
            guard: Mutex::default(),
            holder: OnceLock::new(),
            operation: None,
        }
    }
    /// A request of `caller` for this operation, which is a row of the table of the caller's door. Builds with debug assertions panic if
    /// the request asks the authority for an action that the row does not list.
    #[must_use]
    pub fn of(caller: Caller, operation: &'static Operation) -> Self {
        debug_assert!(
            caller.door.operations.iter().any(|row| std::ptr::eq(row, operation)),
            "{operation:?} is no row of the door {}",
            caller.door.name,
        );
        Self { operation: Some(operation), ..Self::new(caller) }
    }
    /// The operation of the door that this is; `None` for work that no client asked for.
    #[must_use]
    pub fn operation(&self) -> Option<&'static Operation> {
        self.operation
    }
    /// Sets the user as whom the request takes and passes WebDAV locks, and the lock tokens that it submitted. Only the first call
    /// counts.
    pub fn submit(&self, principal: &str, tokens: Vec<String>) {
        self.holder.get_or_init(|| Box::new(Holder { principal: principal.to_owned(), tokens }));
    }
    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.holder.get().map(Box::as_ref)
    }
    /// The operation changed something that other doors are told of.
    pub(crate) fn note_published(&self) {
        self.published.store(true, Ordering::Release);
    }

    pub(crate) fn has_published(&self) -> bool {
        self.published.load(Ordering::Acquire)
    }
    /// The highest sequence number this request depends on; zero if none.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        Lsn(self.lsn.load(Ordering::Acquire))
    }
    /// Whether anything it depends on belongs to a `strict` bucket.
    #[must_use]
    pub fn strict(&self) -> bool {
        self.strict.load(Ordering::Acquire)
    }
    /// Makes the objects that this request puts readable by their owner alone, whatever the mode of their bucket.
    pub fn keep_private(&self) {
        self.private.store(true, Ordering::Relaxed);
    }
    pub(crate) fn is_private(&self) -> bool {
        self.private.load(Ordering::Relaxed)
    }
    /// Whether its answer waits until what it shows is durable ([`Door::settles`]).
    pub(crate) fn waits(&self) -> bool {
        self.caller.door.settles
    }
    /// From now on it reads what is there now, also where nothing can be written: it walks a tree and changes what it finds, and
    /// its answer waits for these changes, or is an error.
    pub(crate) fn read_newest(&self) {
        self.newest.store(true, Ordering::Relaxed);
    }
    /// Whether it is shown the last written state while nothing can be written.
    pub(crate) fn reads_written(&self) -> bool {
        self.waits() && !self.newest.load(Ordering::Relaxed)
    }
    /// From now on changes of this operation record the attributes of the inode before and after, in the same commit as the change.
    /// [`Op::watched`] returns them.
    pub fn watch(&self, ino: Ino) {
        self.watched.lock().push(Watched { ino, seen: None, alone: true });
    }
    /// Attributes of a watched inode before the first and after the last change of this operation. `None` if nothing
    /// was changed, the inode is gone, or somebody else changed it between two changes of this operation.
    #[must_use]
    pub fn watched(&self, ino: Ino) -> Option<(Attr, Attr)> {
        let watched = self.watched.lock();
        watched.iter().find(|watched| watched.ino == ino && watched.alone)?.seen.clone()
    }
    /// The watched inodes.
    pub(crate) fn watching(&self) -> Vec<Ino> {
        self.watched.lock().iter().map(|watched| watched.ino).collect()
    }
    /// Notes how a change found and left a watched inode.
    pub(crate) fn note_watched(&self, ino: Ino, found: Option<Attr>, left: Option<Attr>) {
        for watched in self.watched.lock().iter_mut().filter(|watched| watched.ino == ino) {
            watched.seen = match (watched.seen.take(), &found, &left) {
                (None, Some(found), Some(left)) => Some((found.clone(), left.clone())),
                (Some((first, last)), Some(found), Some(left)) => {
                    watched.alone &= last == *found;
                    Some((first, left.clone()))
                }
                _ => {
                    watched.alone = false;
                    None
                }
            };
        }
    }
    pub(crate) fn note(&self, lsn: Lsn, strict: bool) {
        self.lsn.fetch_max(lsn.0, Ordering::AcqRel);
        if strict {
            self.strict.store(true, Ordering::Release);
        }
    }
}

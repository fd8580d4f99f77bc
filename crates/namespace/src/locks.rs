//! Locks: WebDAV's and those of processes, in one place.
//!
//! A WebDAV lock is a row of the store, under the place that is locked. It binds every door: a change calls [`Namespace::uphold_locks`]
//! itself, so no lock can be granted between the check and the commit. Changes of whole trees take many commits; they claim what they
//! touch, and no lock is granted there until the claim is dropped.
//!
//! Byte-range and whole-file locks belong to processes. They end with the session that serves the process ([`hold`]); [`range`] has the rules.
//!
//! Invariants: a lock is granted only while no conflicting lock is held. What is removed or renamed has no locks after that commit. Once a
//! lock is granted, no change that was accepted later without its token shows in what the lock covers.

mod counted;
mod ending;
pub(crate) mod held;
mod hold;
pub(crate) mod hold_counts;
mod holders;
pub(crate) mod memory;
pub(crate) mod place;
mod range;
mod table;
pub(crate) mod uphold;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use strata_content::{DedupDomain, Tx};
use strata_seam::{Ino, Timestamp};

use crate::authority::{Action, Resource};
use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::event::Made;
use crate::namespace::Namespace;
use crate::object::NewContent;
use crate::records::{Inode, decode_lock, encode_lock};
use crate::types::{Condition, Holder, LockRecord, ObjectMeta, Op, ROOT_INO};
use crate::view::{View, damaged};

pub(crate) use held::Turn;
pub use hold::{HOLDS_PER_FILE_MAX, HOLDS_PER_FILE_PER_CLIENT_MAX};
pub use memory::Claim;
pub(crate) use place::Place;
pub use range::{HeldRange, HoldOwner, RangeKind, RangeSpace};
use table::Row;
pub use uphold::Touch;
use uphold::Touched;

/// Most locks of WebDAV at a time.
pub const LOCKS_MAX: usize = 10_000;
/// Most locks one user may have.
pub const LOCKS_PER_USER_MAX: usize = 4_096;
/// Longest description of an owner that is kept, in bytes.
pub const LOCK_OWNER_LEN_MAX: usize = 4_096;
/// Longest time a lock lives without a refresh, and what it gets when it asks for none or for ever, in seconds.
pub const LOCK_SECS_MAX: u64 = 3_600;

/// Locks swept in one commit.
const SWEPT_TOGETHER: usize = 64;

/// A lock that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewLock {
    /// A token nobody has used before (a URN).
    pub token: String,
    /// The path by which it was asked for, from the root of the name space. A caller that the lock keeps off is told this path.
    pub path: Vec<u8>,
    /// Whether it covers everything below.
    pub deep: bool,
    /// Whether others may hold a shared lock too.
    pub shared: bool,
    /// XML by which the client describes itself, kept as it came.
    pub owner_xml: Vec<u8>,
    /// How long it is to last, at most [`LOCK_SECS_MAX`]; that if it is not said.
    pub seconds: Option<u64>,
}

fn end_of(now: Timestamp, seconds: Option<u64>) -> Timestamp {
    let seconds = seconds.map_or(LOCK_SECS_MAX, |asked| asked.clamp(1, LOCK_SECS_MAX));
    Timestamp::from_parts(now.secs().saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)), now.nanos())
}

impl Namespace {
    /// Grants a lock on what is called `at.1` in the directory `at.0`, or on the root of the tree (`None`), to the user whose tokens
    /// the operation submits ([`Op::submit`]). Where nothing has the name, an empty file is made in the same commit; the answer says
    /// whether it was. What others write without the token is refused from the moment this returns; what was accepted before is in
    /// the file, also if it is not stored yet.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] where a lock is in the way, or a change of the tree is going on; [`ErrorKind::NoSpace`] at a limit;
    /// [`ErrorKind::Invalid`] for an owner element that is too long; those of permission, since only who may change something may
    /// lock it.
    pub fn lock(&self, op: &Op, at: Option<(Ino, &[u8])>, wanted: &NewLock) -> Result<(LockRecord, bool)> {
        let Some(Holder { principal, .. }) = op.holder() else {
            return Err(fail(ErrorKind::Invalid, "a lock is granted to a user, and the request has none"));
        };
        if wanted.owner_xml.len() > LOCK_OWNER_LEN_MAX {
            let what =
                format!("the lock's owner element is longer than {LOCK_OWNER_LEN_MAX} bytes; nothing was locked");
            return Err(fail(ErrorKind::Invalid, what));
        }
        // Locks that have ended do not count.
        self.sweep_locks()?;
        // Content without chunks fits every dedup domain.
        let empty = self.store.content(DedupDomain::COMMON, Vec::new())?;
        let new = NewContent {
            content: empty,
            tag: None,
            meta: ObjectMeta::default(),
            parts: Vec::new(),
            allocated: 0,
            made: Made::Put,
        };
        let granted = self.change(op, |tx, effects| {
            let now = self.clock.now();
            let (inode, place, made) = self.lockable(tx, effects, op, at, &new)?;
            effects.bucket = inode.bucket;
            self.refuse_conflict(tx, &place, wanted, now)?;
            let (all, of_user) = self.locks_counted(tx, principal)?;
            if all >= LOCKS_MAX || of_user >= LOCKS_PER_USER_MAX {
                let what = format!(
                    "there are at most {LOCKS_MAX} locks and {LOCKS_PER_USER_MAX} per user; unlock something and try again"
                );
                return Err(fail(ErrorKind::NoSpace, what));
            }
            let lock = LockRecord {
                token: wanted.token.clone(),
                path: wanted.path.clone(),
                ino: Some(inode.attr.ino),
                deep: wanted.deep,
                shared: wanted.shared,
                principal: principal.clone(),
                owner_xml: wanted.owner_xml.clone(),
                expires: Some(end_of(now, wanted.seconds)),
            };
            let key = table::key_of(&place, &lock.token);
            if tx.record(&key)?.is_some() {
                return Err(fail(ErrorKind::Exists, "this token is in use; draw another"));
            }
            tx.put(key, encode_lock(&lock));
            self.count_granted(tx, &place)?;
            effects.locks.push(Turn::Granted(place, principal.clone(), lock.expires));
            Ok((lock, made))
        })?;
        self.opens.wait_for_writes();
        Ok(granted)
    }

    /// What is to be locked, made if it is not there, and where it is.
    fn lockable(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        op: &Op,
        at: Option<(Ino, &[u8])>,
        new: &NewContent,
    ) -> Result<(Inode, Place, bool)> {
        let Some((parent, name)) = at else {
            let root = tx.dir(ROOT_INO)?;
            self.authorize(op, Action::LockRoot, &root.attr)?;
            return Ok((root, Place::ROOT, false));
        };
        let dir = tx.dir(parent)?;
        self.authorize(op, Action::Search, &dir.attr)?;
        if let Some(found) = tx.find(parent, name)? {
            let inode = tx.inode(found.dirent.ino)?;
            self.authorize(op, Action::Lock, &inode.attr)?;
            let place = place::of_dir(tx, &dir)?.entry(&found.name, inode.attr.ino);
            return Ok((inode, place, false));
        }
        crate::name::check_new(name)?;
        let bucket = tx.rules(&dir)?;
        let place = place::of_dir(tx, &dir)?.entry(name, Ino(0));
        let absent = Condition { absent: true, ..Condition::default() };
        let inode = self.put_in(tx, effects, op, dir, name, new, &absent, &bucket)?;
        Ok((inode, place, true))
    }

    /// Refuses a lock that another one, or a change in progress, is in the way of.
    fn refuse_conflict(&self, tx: &mut Tx<'_>, place: &Place, wanted: &NewLock, now: Timestamp) -> Result<()> {
        if self.locks.is_claimed(place, wanted.deep) {
            return Err(fail(
                ErrorKind::Locked,
                "it is being changed by another request; nothing was locked; try again",
            ));
        }
        if !self.locks_concern(tx, place)? {
            return Ok(());
        }
        let in_the_way = |row: &Row| !(row.lock.shared && wanted.shared) && uphold::stands(&row.lock, now);
        let mut found = table::covering(tx, &self.locks.held, place)?.into_iter().find(in_the_way);
        if found.is_none() && wanted.deep {
            table::within(tx, &self.locks.held, place, &mut |row| {
                if in_the_way(&row) {
                    found = Some(row);
                    return Ok(ControlFlow::Break(()));
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        found.map_or(Ok(()), |row| Err(uphold::refused(&row.lock, now)))
    }

    /// Gives a lock that covers an inode, of the user whose tokens the operation submits, a new end.
    ///
    /// # Errors
    /// [`ErrorKind::PreconditionFailed`] if there is no such lock.
    pub fn refresh_lock(&self, op: &Op, ino: Ino, token: &str, seconds: Option<u64>) -> Result<LockRecord> {
        self.change(op, |tx, effects| {
            let inode = tx.inode(ino)?;
            effects.bucket = inode.bucket;
            let mine = |lock: &LockRecord| op.holder().is_some_and(|holder| holder.principal == lock.principal);
            let row = self.covering_with(tx, &inode, token)?.filter(|row| mine(&row.lock));
            let Some(Row { place, mut lock }) = row else {
                return Err(fail(
                    ErrorKind::PreconditionFailed,
                    "no lock of yours with this token covers it; nothing was refreshed",
                ));
            };
            lock.expires = Some(end_of(self.clock.now(), seconds));
            tx.put(table::key_of(&place, token), encode_lock(&lock));
            effects.locks.push(Turn::Renewed(lock.expires));
            Ok(lock)
        })
    }

    /// Ends a lock that covers an inode: one's own, or as an administrator anybody's.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none with this token, [`ErrorKind::NotPermitted`] if it is somebody else's.
    pub fn unlock(&self, op: &Op, ino: Ino, token: &str) -> Result<()> {
        self.change(op, |tx, effects| {
            let inode = tx.inode(ino)?;
            effects.bucket = inode.bucket;
            let Some(row) = self.covering_with(tx, &inode, token)? else {
                return Err(fail(ErrorKind::NotFound, "no lock with this token covers it; nothing was unlocked"));
            };
            let mine = op.holder().is_some_and(|holder| holder.principal == row.lock.principal);
            self.authorize(op, Action::Unlock, Resource::Lock { own: mine })?;
            end(tx, effects, row)?;
            Ok(())
        })
    }

    /// The lock with this token among those that cover an inode.
    fn covering_with(&self, view: &mut impl View, inode: &Inode, token: &str) -> Result<Option<Row>> {
        let now = self.clock.now();
        let mut found = self.covering_rows(view, inode)?.into_iter();
        Ok(found.find(|row| row.lock.token == token && uphold::stands(&row.lock, now)))
    }

    fn covering_rows(&self, view: &mut impl View, inode: &Inode) -> Result<Vec<Row>> {
        let mut found: Vec<Row> = Vec::new();
        let Some(asked) = self.locks_near(view, inode.bucket)? else { return Ok(found) };
        for place in place::all_of(view, inode)? {
            if !asked.concerns(self, view, &place)? {
                continue;
            }
            for row in table::covering(view, &self.locks.held, &place)? {
                if !found.contains(&row) {
                    found.push(row);
                }
            }
        }
        Ok(found)
    }

    /// Locks that cover an inode, outermost first. Costs one load where there is none in the store.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`], and reading the index.
    pub fn locks_on(&self, op: &Op, ino: Ino) -> Result<Vec<LockRecord>> {
        if !self.locks.held.any() {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        let mut snap = self.snap(op);
        let inode = snap.inode(ino)?;
        snap.bucket = inode.bucket;
        let found = self.covering_rows(&mut snap, &inode)?.into_iter().map(|row| row.lock);
        Ok(found.filter(|lock| uphold::stands(lock, now)).collect())
    }

    /// How many locks there are, those included that ended by themselves a moment ago. Reads a counter; zero where sessions share the
    /// store, whose locks are in the rows alone.
    #[must_use]
    pub fn locks_held(&self) -> usize {
        self.locks.held.count()
    }

    /// All locks that stand, in order of their places.
    ///
    /// # Errors
    /// Reading the index.
    pub fn locks(&self, op: &Op) -> Result<Vec<LockRecord>> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        let now = self.clock.now();
        let mut all = Vec::new();
        table::within(&mut self.snap(op), &self.locks.held, &Place::ROOT, &mut |row| {
            all.extend(Some(row.lock).filter(|lock| uphold::stands(lock, now)));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    /// Ends the lock with this token, whosever it is: what an administrator does.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::NotPermitted`] for anybody else.
    pub fn break_lock(&self, op: &Op, token: &str) -> Result<LockRecord> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        self.change(op, |tx, effects| {
            let mut found = None;
            table::within(tx, &self.locks.held, &Place::ROOT, &mut |row| {
                if row.lock.token == token {
                    found = Some(row);
                    return Ok(ControlFlow::Break(()));
                }
                Ok(ControlFlow::Continue(()))
            })?;
            let row = found.ok_or_else(|| fail(ErrorKind::NotFound, "there is no lock with this token"))?;
            let lock = row.lock.clone();
            effects.bucket = row.place.bucket;
            end(tx, effects, row)?;
            Ok(lock)
        })
    }

    /// For a change in many commits of what has this name, and of everything below: refuses the change now if a lock forbids it, and keeps locks
    /// from being granted there until the claim is dropped. Claims do not exclude each other.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`]; then nothing is claimed.
    pub fn keep_unlocked(&self, op: &Op, parent: Ino, name: &[u8]) -> Result<Claim> {
        self.claim(op, parent, name, false)
    }

    /// As [`Namespace::keep_unlocked`]; with `members`, the directory gets or loses the name.
    ///
    /// # Errors
    /// As [`Namespace::keep_unlocked`].
    pub(crate) fn claim(&self, op: &Op, parent: Ino, name: &[u8], members: bool) -> Result<Claim> {
        let number = self.locks.next_claim.fetch_add(1, Ordering::Relaxed);
        self.change(op, |tx, effects| {
            let dir = tx.dir(parent)?;
            let found = tx.find(parent, name)?;
            let inode = match &found {
                Some(found) => Some(tx.inode(found.dirent.ino)?),
                None => None,
            };
            if members {
                self.uphold_locks(tx, op, &[Touched::Members(&dir)])?;
            }
            let above = place::of_dir(tx, &dir)?;
            let places = match (&found, &inode) {
                (Some(found), Some(inode)) => {
                    self.uphold_locks(tx, op, &[Touched::Entry(&dir, &found.name, inode)])?;
                    vec![above.entry(&found.name, inode.attr.ino)]
                }
                // In the root, a name that leads nowhere cannot be locked.
                _ if above.is_root() => Vec::new(),
                // The name leads nowhere yet: a file and a directory of that name are both claimed.
                _ => vec![above.entry(name, Ino(0)), above.entry(&[name, b"/"].concat(), Ino(0))],
            };
            effects.bucket = dir.bucket;
            effects.claim = Some((number, places));
            Ok(())
        })?;
        Ok(Claim { claims: Arc::clone(&self.locks.claims), number })
    }
}

/// The inode that a row of a lock says is locked; rows of earlier versions may say none.
///
/// # Errors
/// The row is damaged.
pub fn locked(key: &[u8], value: &[u8]) -> Result<Option<Ino>> {
    if table::is_by_token(key) {
        return decode_lock(String::new(), value).map(|_| None).map_err(|_| damaged("a lock".to_owned()));
    }
    Ok(table::row(key, value)?.lock.ino)
}

/// The bucket whose record counts the lock of this row; none of a row that an earlier version wrote, or whose key is damaged.
#[must_use]
pub fn counted_in(key: &[u8]) -> Option<Ino> {
    let bucket = key.get(1..9).filter(|_| !table::is_by_token(key))?;
    Some(match u64::from_be_bytes(bucket.try_into().ok()?) {
        // Locks on the root of the tree are counted with the files there.
        0 => ROOT_INO,
        root => Ino(root),
    })
}

/// Within a change: there is one lock less.
fn end(tx: &mut Tx<'_>, effects: &mut Effects, Row { place, lock }: Row) -> Result<()> {
    tx.delete(table::key_of(&place, &lock.token));
    counted::count_ended(tx, &place)?;
    effects.locks.push(Turn::Ended(place, lock.principal));
    Ok(())
}

#[cfg(test)]
mod tests;

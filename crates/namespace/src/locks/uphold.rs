//! Which lock forbids which change: the rules of RFC 4918 sections 6 and 7, checked within the change.
//!
//! A lock binds every caller that has not submitted its token as the user to whom it was granted, at every door alike. While there is no
//! lock at all, the check of a change costs one load.

use std::ops::ControlFlow;

use strata_content::Tx;
use strata_seam::{Ino, Timestamp};

use super::counted;
use super::held::Turn;
use super::place::{self, Place};
use super::table::{self, Row};
use crate::effects::Effects;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::following;
use crate::key;
use crate::name;
use crate::namespace::Namespace;
use crate::records::Inode;
use crate::types::{LockRecord, Op, ROOT_INO};
use crate::view::View;

/// What a change would touch, for those who ask beforehand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Touch {
    /// Content, attributes or properties of an inode.
    Node(Ino),
    /// Which members a directory has.
    Members(Ino),
    /// A name in a directory, with everything below what it leads to. Nothing if it leads nowhere.
    Entry(Ino, Vec<u8>),
}

/// What a change touches.
#[derive(Clone, Copy)]
pub(crate) enum Touched<'a> {
    /// Content, attributes or properties of an inode, by whichever of its names.
    Node(&'a Inode),
    /// Which members a directory has.
    Members(&'a Inode),
    /// A name, by its directory and its entry there, with the inode it leads to and everything below.
    Entry(&'a Inode, &'a [u8], &'a Inode),
}

/// Whether it has not ended by itself.
pub(super) fn stands(lock: &LockRecord, now: Timestamp) -> bool {
    lock.expires.is_none_or(|end| end > now)
}

/// Of the locks that cover something, the one that forbids its change: every exclusive one must be held, and of shared ones any.
fn forbidding<'a>(covering: &'a [Row], holds: &dyn Fn(&LockRecord) -> bool, now: Timestamp) -> Option<&'a LockRecord> {
    let standing = || covering.iter().map(|row| &row.lock).filter(|lock| stands(lock, now));
    let exclusive = standing().find(|lock| !lock.shared && !holds(lock));
    exclusive.or_else(|| if standing().any(holds) { None } else { standing().find(|lock| lock.shared) })
}

/// The lock below a place (or on it) that keeps it from going: of those on one resource one must be held, if it is exclusive the one.
struct Below<'a> {
    holds: &'a dyn Fn(&LockRecord) -> bool,
    now: Timestamp,
    /// For the resource that is being looked at: its place, whether one of its locks is held, and the first of them.
    at: Option<(Place, bool, LockRecord)>,
}

impl Below<'_> {
    /// The lock that forbids, if the resource before is done with and has one.
    fn take(&mut self, row: Row) -> Option<LockRecord> {
        if !stands(&row.lock, self.now) {
            return None;
        }
        let held = (self.holds)(&row.lock);
        match &mut self.at {
            Some((place, any, _)) if *place == row.place => {
                *any |= held;
                None
            }
            _ => {
                let done = self.at.replace((row.place, held, row.lock));
                done.and_then(Self::verdict)
            }
        }
    }

    fn end(mut self) -> Option<LockRecord> {
        self.at.take().and_then(Self::verdict)
    }

    fn verdict((_, held, first): (Place, bool, LockRecord)) -> Option<LockRecord> {
        (!held).then_some(first)
    }
}

impl Namespace {
    /// Refuses what a lock forbids that the operation has not submitted the token of; one load where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] with the lock that is in the way; reading the index.
    pub(crate) fn uphold_locks(&self, view: &mut impl View, op: &Op, touched: &[Touched<'_>]) -> Result<()> {
        // An operator's own commands ignore locks, as they ignore mode bits. The store's workers store what was accepted before.
        if !self.locks.held.any() || !op.caller.door.heeds_locks {
            return Ok(());
        }
        touched.iter().try_for_each(|touched| self.uphold_lock(view, op, *touched))
    }

    fn uphold_lock(&self, view: &mut impl View, op: &Op, touched: Touched<'_>) -> Result<()> {
        let now = self.clock.now();
        let holder = op.holder();
        let holds = |lock: &LockRecord| holder.is_some_and(|holder| holder.holds(lock));
        let concerned = match touched {
            Touched::Node(inode) | Touched::Members(inode) | Touched::Entry(_, _, inode) => inode.bucket,
        };
        let Some(asked) = self.locks_near(view, concerned)? else { return Ok(()) };
        let places = match touched {
            Touched::Node(inode) => place::all_of(view, inode)?,
            Touched::Members(dir) => vec![place::of_dir(view, dir)?],
            Touched::Entry(dir, entry_name, inode) => {
                vec![place::of_dir(view, dir)?.entry(entry_name, inode.attr.ino)]
            }
        };
        for place in &places {
            if !asked.concerns(self, view, place)? {
                continue;
            }
            let covering = table::covering(view, &self.locks.held, place)?;
            if let Some(lock) = forbidding(&covering, &holds, now) {
                return Err(refused(lock, now));
            }
            if !matches!(touched, Touched::Entry(..)) {
                continue;
            }
            let mut below = Below { holds: &holds, now, at: None };
            let mut found = None;
            table::within(view, &self.locks.held, place, &mut |row| {
                // Locks on the place itself have been checked already.
                found = if row.place == *place { None } else { below.take(row) };
                Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if let Some(lock) = found.or_else(|| below.end()) {
                return Err(refused(&lock, now));
            }
        }
        Ok(())
    }

    /// Refuses what a change would refuse because of a lock, so that a door can refuse before it takes in a body. The check
    /// of the change itself decides.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`], [`ErrorKind::Stale`], and reading the index.
    pub fn check_locks(&self, op: &Op, touches: &[Touch]) -> Result<()> {
        if !self.locks.held.any() {
            return Ok(());
        }
        let mut snap = self.snap(op);
        for touch in touches {
            match touch {
                Touch::Node(ino) => {
                    let inode = snap.inode(*ino)?;
                    self.uphold_locks(&mut snap, op, &[Touched::Node(&inode)])?;
                }
                Touch::Members(ino) => {
                    let dir = snap.dir(*ino)?;
                    self.uphold_locks(&mut snap, op, &[Touched::Members(&dir)])?;
                }
                Touch::Entry(parent, name) => {
                    let Some(found) = snap.find(*parent, name)? else { continue };
                    let dir = snap.dir(*parent)?;
                    let inode = snap.inode(found.dirent.ino)?;
                    self.uphold_locks(&mut snap, op, &[Touched::Entry(&dir, &found.name, &inode)])?;
                }
            }
        }
        Ok(())
    }

    /// As [`Namespace::check_locks`], for an object that is about to be put. Anything else in its way is reported by the change.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`], and reading the index.
    pub fn check_locks_of_object(&self, op: &Op, bucket: &str, key: &[u8]) -> Result<()> {
        if !self.locks.held.any() {
            return Ok(());
        }
        let mut snap = self.snap(op);
        let Ok(Some(place)) = self.find_place(&mut snap, op, bucket, key) else { return Ok(()) };
        match snap.entry_inode(place.dir.attr.ino, &place.name)? {
            Some((_, inode)) => self.uphold_locks(&mut snap, op, &[Touched::Node(&inode)]),
            None => self.uphold_locks(&mut snap, op, &[Touched::Members(&place.dir)]),
        }
    }

    /// Refuses the removal of `going` entries of a directory, at `path` below its bucket, if it and directories above it vanish with
    /// them ([`Namespace::prune`]) and a lock forbids that.
    pub(crate) fn uphold_pruning(
        &self,
        tx: &mut Tx<'_>,
        op: &Op,
        (dir, mut implicit): (&Inode, bool),
        mut going: usize,
        path: &[Vec<u8>],
    ) -> Result<()> {
        if !self.locks.held.any() {
            return Ok(());
        }
        let mut dir = dir.clone();
        for entry_name in path.iter().rev() {
            let ino = dir.attr.ino;
            let entries = tx.entries(&key::entry(ino, &[]), &key::behind(key::TABLE_ENTRY, ino), going + 1)?;
            if !implicit || entries.len() > going {
                break;
            }
            let parent = tx.dir(dir.parent)?;
            self.uphold_locks(tx, op, &[Touched::Members(&parent), Touched::Entry(&parent, entry_name, &dir)])?;
            (implicit, going, dir) = (parent.implicit, 1, parent);
        }
        Ok(())
    }

    /// Ends the locks on an entry that is going, and below it: locks do not move (RFC 4918 section 7.5).
    pub(crate) fn end_locks(
        &self,
        tx: &mut Tx<'_>,
        effects: &mut Effects,
        dir: &Inode,
        entry_name: &[u8],
        ino: Ino,
    ) -> Result<()> {
        // The marker of a folder has the place of the folder, which stays.
        if !self.locks.held.any() || entry_name.is_empty() {
            return Ok(());
        }
        // While something still follows a folder, a directory may be in another bucket than its record says.
        let elsewhere = following::any(tx)?;
        if !elsewhere && !self.locks.held.within(dir.bucket) && !self.locks.held.within(ino) {
            return Ok(());
        }
        // A folder at the top is its own bucket.
        let at_top = dir.attr.ino == ROOT_INO && name::is_dir(entry_name);
        let place = if elsewhere { Some(place::of_dir(tx, dir)?.entry(entry_name, ino)) } else { None };
        let bucket = match &place {
            _ if at_top => ino,
            Some(place) => place.bucket,
            None => dir.bucket,
        };
        // A bucket that is being removed has no record any more within this change, and may have locks.
        if self.is_shared() && tx.bucket_at(bucket)?.is_some_and(|bucket| bucket.locks.count == 0) {
            return Ok(());
        }
        let place = match place {
            Some(place) => place,
            None => place::of_dir(tx, dir)?.entry(entry_name, ino),
        };
        let mut gone = Vec::new();
        table::within(tx, &self.locks.held, &place, &mut |row| {
            gone.push((row.place, row.lock.token, row.lock.principal));
            Ok(ControlFlow::Continue(()))
        })?;
        for (place, token, principal) in gone {
            tx.delete(table::key_of(&place, &token));
            counted::count_ended(tx, &place)?;
            effects.locks.push(Turn::Ended(place, principal));
        }
        Ok(())
    }
}

/// How long it lasts yet, in words.
fn lasting(lock: &LockRecord, now: Timestamp) -> String {
    match lock.expires {
        Some(end) => format!("for {} more seconds unless it is refreshed", (end.secs() - now.secs()).max(1)),
        None => "without an end".to_owned(),
    }
}

/// What is said where a lock forbids something.
pub(super) fn refused(lock: &LockRecord, now: Timestamp) -> Error {
    let path = lock.path.escape_ascii();
    let (who, lasting) = (&lock.principal, lasting(lock, now));
    let below = if lock.deep { " with everything below it" } else { "" };
    let what = format!(
        "'{path}'{below} is locked over WebDAV by {who}, {lasting}; nothing was changed; have it unlocked there, wait, \
         or have an administrator run `strata locks break`"
    );
    Error { lock: Some(lock.path.clone()), ..fail(ErrorKind::Locked, what) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Holder;

    const NOW: Timestamp = Timestamp(1_000);

    fn lock(place: &str, token: &str, shared: bool) -> Row {
        let lock = LockRecord {
            token: token.into(),
            path: place.into(),
            ino: None,
            deep: true,
            shared,
            principal: "alice".into(),
            owner_xml: vec![],
            expires: Some(Timestamp(2_000)),
        };
        Row { place: Place { bucket: Ino(7), key: place.into() }, lock }
    }

    fn forbids(covering: &[Row], principal: &str, tokens: &[&str]) -> bool {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        let holder = Holder { principal: principal.into(), tokens };
        forbidding(covering, &|lock| holder.holds(lock), NOW).is_some()
    }

    fn keeps(below: &[Row], tokens: &[&str]) -> bool {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        let holder = Holder { principal: "alice".into(), tokens };
        let mut walk = Below { holds: &|lock| holder.holds(lock), now: NOW, at: None };
        below.iter().any(|row| walk.take(row.clone()).is_some()) || walk.end().is_some()
    }

    #[test]
    fn what_is_locked_changes_only_with_its_token_in_its_owners_hand() {
        let locks = [lock("f", "t", false)];
        assert!(forbids(&locks, "alice", &[]));
        assert!(forbids(&locks, "bob", &["t"]));
        assert!(!forbids(&locks, "alice", &["t"]));
    }

    #[test]
    fn of_several_shared_locks_one_held_is_enough_and_an_exclusive_one_is_needed_itself() {
        let mut other = lock("f", "o", true);
        other.lock.principal = "bob".into();
        let shared = [lock("f", "t", true), other];
        assert!(forbids(&shared, "alice", &[]));
        assert!(!forbids(&shared, "alice", &["t"]));
        assert!(!keeps(&shared, &["t"]));
        let nested = [lock("d/", "outer", false), lock("d/f", "inner", true)];
        assert!(forbids(&nested, "alice", &["inner"]));
        assert!(forbids(&[lock("d/", "s", true), lock("d/f", "x", false)], "alice", &["s"]));
    }

    #[test]
    fn a_tree_goes_only_with_a_token_of_every_resource_below_it() {
        let locks = [lock("d/x", "x", false), lock("d/y", "y", true), lock("d/y", "z", true)];
        assert!(keeps(&locks, &["x"]));
        assert!(keeps(&locks, &["z"]));
        assert!(!keeps(&locks, &["x", "z"]));
        assert!(!keeps(&[], &[]));
    }

    #[test]
    fn an_ended_lock_is_in_nobodys_way() {
        let mut old = lock("f", "t", false);
        old.lock.expires = Some(NOW);
        assert!(!forbids(&[old.clone()], "bob", &[]));
        assert!(!keeps(&[old], &[]));
    }
}

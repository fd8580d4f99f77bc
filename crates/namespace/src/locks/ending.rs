//! Locks that end by themselves, and those that an earlier version or an earlier session left.

use std::ops::ControlFlow;

use strata_content::Tx;
use strata_seam::{Ino, Timestamp};

use super::held::Turn;
use super::place::Place;
use super::table::Row;
use super::{SWEPT_TOGETHER, end, end_of, place, table, uphold};
use crate::effects::Effects;
use crate::error::{ErrorKind, Result};
use crate::key;
use crate::namespace::Namespace;
use crate::records::{Inode, decode_lock, encode_lock};
use crate::types::{Caller, Op, ROOT_INO, STORE};
use crate::view::{View, damaged};

impl Namespace {
    /// Reads what is locked, when the store is opened, and gives the rows of an earlier version the keys of this one.
    ///
    /// # Errors
    /// Reading the index, and damaged rows.
    pub(crate) fn load_locks(&self) -> Result<()> {
        let mut by_token = Vec::new();
        let mut turns = Vec::new();
        let (mut from, end) = (vec![key::TABLE_LOCK], [key::TABLE_LOCK + 1]);
        loop {
            let page = self.store.range(&from, &end, SWEPT_TOGETHER)?;
            let Some((last, _)) = page.last() else { break };
            from.clone_from(last);
            from.push(0);
            for (key, entry) in page {
                if table::is_by_token(&key) {
                    by_token.push(key);
                } else {
                    let Row { place, lock } = table::row(&key, &entry.value)?;
                    turns.push(Turn::Granted(place, lock.principal, lock.expires));
                }
            }
        }
        self.recount_locks(&turns)?;
        self.locks.held.take(turns);
        if !self.is_outdated() && self.store.read_only().is_none() {
            self.end_holds_of_the_past()?;
        }
        if by_token.is_empty() || self.is_outdated() {
            return Ok(());
        }
        let count = by_token.len();
        let op = Op::new(Caller::root(&STORE));
        for keys in by_token.chunks(SWEPT_TOGETHER) {
            let moved =
                self.change(&op, |tx, effects| keys.iter().try_for_each(|key| self.move_lock(tx, effects, key)));
            match moved {
                // A store that takes no writes can still be read.
                Err(error) if matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::NoSpace) => {
                    tracing::warn!(%error, "locks of an earlier version cannot be brought over now and bind nobody");
                    return Ok(());
                }
                moved => moved?,
            }
        }
        tracing::info!(count, "locks of an earlier version bind every door now");
        Ok(())
    }

    /// Gives a row of an earlier version its place and an end. One that has ended, or whose path leads to something else, goes.
    pub(super) fn move_lock(&self, tx: &mut Tx<'_>, effects: &mut Effects, key: &[u8]) -> Result<()> {
        let Some(value) = tx.record(key)? else { return Ok(()) };
        tx.delete(key);
        let token = String::from_utf8_lossy(&key[1..]).into_owned();
        let mut lock = decode_lock(token, &value).map_err(|_| damaged("a lock".to_owned()))?;
        let now = self.clock.now();
        if !uphold::stands(&lock, now) {
            return Ok(());
        }
        // From now on the lock binds every door, which its owner did not ask for; so it lasts no longer than a new one.
        let longest = end_of(now, None);
        lock.expires = Some(lock.expires.map_or(longest, |end| end.min(longest)));
        let (mut place, mut ino) = (Place::ROOT, ROOT_INO);
        for name in lock.path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let Some(found) = tx.find(ino, name)? else { return Ok(()) };
            ino = found.dirent.ino;
            place = place.entry(&found.name, ino);
        }
        if lock.ino.is_some_and(|locked| locked != ino) {
            return Ok(());
        }
        lock.ino = Some(ino);
        tx.put(table::key_of(&place, &lock.token), encode_lock(&lock));
        self.count_granted(tx, &place)?;
        effects.locks.push(Turn::Granted(place, lock.principal, lock.expires));
        Ok(())
    }

    /// Within a change: a name now leads to a copy of the inode it led to. Records that in the locks on the name.
    pub(crate) fn lead_locks(&self, tx: &mut Tx<'_>, dir: &Inode, entry_name: &[u8], to: Ino) -> Result<()> {
        if !self.locks.held.any() {
            return Ok(());
        }
        let place = place::of_dir(tx, dir)?.entry(entry_name, to);
        if !self.locks_in(tx, place.bucket)? {
            return Ok(());
        }
        let on_it = table::covering(tx, &self.locks.held, &place)?.into_iter().filter(|row| row.place == place);
        for Row { mut lock, .. } in on_it {
            lock.ino = Some(to);
            tx.put(table::key_of(&place, &lock.token), encode_lock(&lock));
        }
        Ok(())
    }

    /// Removes locks that have ended by themselves; called by a worker about once a second. Returns how many.
    ///
    /// # Errors
    /// Those of the store; they bind nobody all the same.
    pub(crate) fn sweep_locks(&self) -> Result<usize> {
        let now = self.clock.now();
        if !self.locks.held.begin_sweep(now) {
            return Ok(0);
        }
        let swept = self.sweep_ended(now);
        if swept.is_err() {
            // The next sweep tries again.
            self.locks.held.note_end(Some(now));
        }
        match swept {
            // Ended locks bind nobody even if their rows stay; that nothing can be written is reported elsewhere.
            Err(error) if matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::NoSpace) => {
                tracing::debug!(%error, "locks that have ended cannot be forgotten now");
                Ok(0)
            }
            swept => swept,
        }
    }

    pub(super) fn sweep_ended(&self, now: Timestamp) -> Result<usize> {
        let op = Op::new(Caller::root(&STORE));
        let (mut ended, mut first) = (Vec::new(), None);
        table::within(&mut self.snap(&op), &self.locks.held, &Place::ROOT, &mut |Row { place, lock }| {
            match lock.expires {
                Some(_) if !uphold::stands(&lock, now) => ended.push(table::key_of(&place, &lock.token)),
                Some(end) => first = Some(first.map_or(end, |first: Timestamp| first.min(end))),
                None => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for keys in ended.chunks(SWEPT_TOGETHER) {
            self.change(&op, |tx, effects| {
                for key in keys {
                    let Some(value) = tx.record(key)? else { continue };
                    let row = table::row(key, &value)?;
                    // The lock may have been refreshed since.
                    if !uphold::stands(&row.lock, now) {
                        end(tx, effects, row)?;
                    }
                }
                Ok(())
            })?;
        }
        self.locks.held.note_end(first);
        Ok(ended.len())
    }
}

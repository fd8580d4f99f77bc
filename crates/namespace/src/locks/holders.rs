//! Locks of processes by client: look-ups and operations on all locks of one client.

use std::sync::Arc;

use strata_seam::Ino;

use super::hold::{ROWS_STEP, edit, read_row};
use super::range::{HeldRange, HoldOwner, RangeSpace, Ranges};
use crate::authority::{Action, READ, Resource, WRITE};
use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::namespace::Namespace;
use crate::types::{Access, Attr, DoorNumber, NodeKind, Op};
use crate::view::View;

impl Namespace {
    /// Has `told` called with every file on which a lock of a process was released, made smaller, or ended: somebody may wait for
    /// that. It is called under the writer's lock, shortly before others see the change; it must be quick and change nothing.
    /// There is one such listener; a new one replaces the previous one.
    pub fn tell_of_ended_holds(&self, told: impl Fn(Ino) + Send + Sync + 'static) {
        *self.locks.holds.told.lock() = Some(Arc::new(told));
    }

    /// How many locks the processes of a client hold. Reads a counter.
    #[must_use]
    pub fn holds_of(&self, door: DoorNumber, client: u64) -> usize {
        let count = self.locks.holds.by_client.lock().get(&(door, client)).copied();
        count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
    }

    /// How many locks processes hold in all. Adds up the counters of the clients.
    #[must_use]
    pub fn holds_held(&self) -> usize {
        usize::try_from(self.locks.holds.by_client.lock().values().sum::<i64>()).unwrap_or(0)
    }

    /// The attributes of a file whose locks a process may ask for: it may read the file, or write it.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`], [`ErrorKind::Invalid`] for what is no file, [`ErrorKind::Stale`].
    pub fn permit_hold(&self, op: &Op, ino: Ino) -> Result<Attr> {
        let attr = self.inode_alone(op, ino)?.attr;
        if attr.kind != NodeKind::File {
            return Err(fail(ErrorKind::Invalid, "only files have locks of processes"));
        }
        let may = |asked: Access| self.permit_of(op, &attr, asked);
        may(READ).or_else(|_| may(WRITE))?;
        Ok(attr)
    }

    /// All that processes hold, of whatever session, by file.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`] but for administrators; reading the index.
    pub fn all_holds(&self, op: &Op) -> Result<Vec<(Ino, HeldRange)>> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        let now = self.clock.now();
        let mut all = Vec::new();
        self.each_row(op, |ino, mut ranges| {
            ranges.expire(now);
            all.extend(ranges.0.into_iter().map(|held| (ino, held)));
        })?;
        Ok(all)
    }

    /// Ends all that a client holds, whose processes are gone. Returns how many locks those were.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`] but for administrators; those of the store.
    pub fn release_client(&self, op: &Op, door: DoorNumber, client: u64) -> Result<usize> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        if self.holds_of(door, client) == 0 {
            return Ok(0);
        }
        let mut files = Vec::new();
        let is_of = |held: &HeldRange| (held.owner.door, held.owner.client) == (door, client);
        self.each_row(op, |ino, ranges| files.extend(ranges.0.iter().any(is_of).then_some(ino)))?;
        self.end_where(op, files, is_of)
    }

    /// Ends what one owner holds on a file, without notice to the owner: what an administrator does. Returns how many locks those were.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`] for all but administrators; those of the store.
    pub fn break_holds(&self, op: &Op, ino: Ino, owner: &HoldOwner, space: RangeSpace) -> Result<usize> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        self.end_where(op, vec![ino], |held| held.owner.is_same(owner) && held.space == space)
    }

    fn end_where(&self, op: &Op, mut files: Vec<Ino>, ends: impl Fn(&HeldRange) -> bool) -> Result<usize> {
        files.dedup();
        let session = self.own.id;
        let mut ended = 0;
        for ino in files {
            ended += self.change(op, |tx, effects| {
                let mut count = 0;
                edit(tx, effects, session, ino, |ranges| {
                    let before = ranges.0.len();
                    ranges.0.retain(|held| !ends(held));
                    count = before - ranges.0.len();
                })?;
                Ok(count)
            })?;
        }
        Ok(ended)
    }

    /// Reads all rows, each with its file.
    fn each_row(&self, op: &Op, mut each: impl FnMut(Ino, Ranges)) -> Result<()> {
        let mut snap = self.snap(op);
        let (mut from, end) = (vec![key::TABLE_HOLD], [key::TABLE_HOLD + 1]);
        loop {
            let page = snap.records(&from, &end, ROWS_STEP)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from.clone_from(last);
            from.push(0);
            for (key, value) in &page {
                let Some(ino) = key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes) else {
                    continue;
                };
                read_row(Ino(ino), Some(value.clone()))?.into_values().for_each(|ranges| each(Ino(ino), ranges));
            }
        }
    }
}

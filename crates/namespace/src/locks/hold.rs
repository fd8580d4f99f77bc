//! Where the locks of processes are kept: a row per file and session.
//!
//! What a process holds ends with the session that serves it, so the rows of a session go when the store is opened the next time,
//! and nobody waits for them to be durable. Others see them in the same commit order as everything else.

use std::ops::Range;

use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_content::Tx;
use strata_seam::{Ino, SessionId, Timestamp};

use super::holders::HoldTurn;
use super::range::{HeldRange, HoldOwner, RangeKind, RangeSpace, Ranges};
use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::namespace::Namespace;
use crate::types::{DoorNumber, Op};
use crate::view::{View, damaged};

/// Most locks that the processes of one session hold on one file.
pub const HOLDS_PER_FILE_MAX: usize = 1_024;

/// Sessions whose rows are read at once.
pub(super) const SESSIONS_STEP: usize = 64;
const FORMAT: u8 = 1;

/// The door of a row. Rows have the first three numbers in another order than events do, which are the doors' own.
fn door(byte: u8) -> Result<DoorNumber, WireError> {
    DoorNumber::read(reordered(byte, [2, 3, 1])).ok_or(WireError::Invalid("a lock of no door"))
}

fn door_byte(door: DoorNumber) -> u8 {
    reordered(door.get(), [3, 1, 2])
}

fn reordered(number: u8, first: [u8; 3]) -> u8 {
    match number {
        1..=3 => first[usize::from(number) - 1],
        _ => number,
    }
}

fn encode(ranges: &Ranges) -> Vec<u8> {
    let mut out = Encoder::with_capacity(2 + ranges.0.len() * 24);
    out.u8(FORMAT).uvarint(ranges.0.len() as u64);
    for HeldRange { owner, space, kind, range, lease } in &ranges.0 {
        out.u8(door_byte(owner.door)).uvarint(owner.client).uvarint(owner.owner).uvarint(u64::from(owner.pid));
        out.u8(*space as u8).u8(*kind as u8).uvarint(range.start).uvarint(range.end);
        match lease {
            Some(end) => out.u8(1).ivarint(end.0),
            None => out.u8(0),
        };
    }
    out.finish()
}

fn decode(bytes: &[u8]) -> Result<Ranges, WireError> {
    let mut input = Decoder::new(bytes);
    input.version("locks of processes", FORMAT)?;
    let mut ranges = Vec::new();
    for _ in 0..input.length(HOLDS_PER_FILE_MAX)? {
        let owner = HoldOwner {
            door: door(input.u8()?)?,
            client: input.uvarint()?,
            owner: input.uvarint()?,
            pid: input.uvarint32()?,
        };
        let space = match input.u8()? {
            1 => RangeSpace::Bytes,
            2 => RangeSpace::Whole,
            _ => return Err(WireError::Invalid("an unknown kind of lock")),
        };
        let kind = match input.u8()? {
            1 => RangeKind::Read,
            2 => RangeKind::Write,
            _ => return Err(WireError::Invalid("a lock that is neither for reading nor for writing")),
        };
        let range = input.uvarint()?..input.uvarint()?;
        if range.is_empty() {
            return Err(WireError::Invalid("a lock on no byte"));
        }
        let lease = match input.u8()? {
            0 => None,
            1 => Some(Timestamp(input.ivarint()?)),
            _ => return Err(WireError::Invalid("a flag that is neither 0 nor 1")),
        };
        ranges.push(HeldRange { owner, space, kind, range, lease });
    }
    input.finish()?;
    Ok(Ranges(ranges))
}

fn key_of(ino: Ino, session: SessionId) -> Vec<u8> {
    key::under(key::TABLE_HOLD, ino, &session.0.to_be_bytes())
}

pub(super) fn read(ino: Ino, value: &[u8]) -> Result<Ranges> {
    decode(value).map_err(|_| damaged(format!("the locks of processes on inode {ino}")))
}

/// A lock of processes of any session that is in the way of this one.
fn in_the_way(
    view: &mut impl View,
    own: SessionId,
    ino: Ino,
    wanted: &HeldRange,
    now: Timestamp,
) -> Result<Option<HeldRange>> {
    let (mut from, end) = (key::under(key::TABLE_HOLD, ino, &[]), key::behind(key::TABLE_HOLD, ino));
    loop {
        let page = view.records(&from, &end, SESSIONS_STEP)?;
        for (key, value) in &page {
            let own = key[9..] == own.0.to_be_bytes();
            if let Some(found) = read(ino, value)?.in_the_way(wanted, own, now) {
                return Ok(Some(found.clone()));
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == SESSIONS_STEP => {
                from.clone_from(last);
                from.push(0);
            }
            _ => return Ok(None),
        }
    }
}

impl Namespace {
    /// The lock of another process that keeps this one from being set, if one does (`F_GETLK`).
    ///
    /// # Errors
    /// [`ErrorKind::Stale`], [`ErrorKind::Invalid`] for an empty range, and reading the index.
    pub fn test_hold(&self, op: &Op, ino: Ino, wanted: &HeldRange) -> Result<Option<HeldRange>> {
        check(&wanted.range)?;
        let mut snap = self.snap(op);
        snap.bucket = snap.inode(ino)?.bucket;
        in_the_way(&mut snap, self.store.session(), ino, wanted, self.clock.now())
    }

    /// Sets a lock of a process of this session on a file, in place of what the process had there, unless another one is in the way;
    /// that is the answer then, and nothing is set. Its lease counts for all that the process has on this file.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`], [`ErrorKind::Invalid`] for an empty range, [`ErrorKind::NoSpace`] above [`HOLDS_PER_FILE_MAX`].
    pub fn set_hold(&self, op: &Op, ino: Ino, wanted: &HeldRange) -> Result<Option<HeldRange>> {
        check(&wanted.range)?;
        let session = self.store.session();
        self.change(op, |tx, effects| {
            let now = self.clock.now();
            tx.inode(ino)?;
            if let Some(other) = in_the_way(tx, session, ino, wanted, now)? {
                return Ok(Some(other));
            }
            edit(tx, effects, session, ino, |ranges| {
                ranges.expire(now);
                ranges.set(wanted.clone());
            })?;
            Ok(None)
        })
    }

    /// Takes bytes out of what a process of this session holds.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an empty range; [`ErrorKind::NoSpace`] where that would make one lock more than
    /// [`HOLDS_PER_FILE_MAX`].
    pub fn release_hold(
        &self,
        op: &Op,
        ino: Ino,
        owner: &HoldOwner,
        space: RangeSpace,
        range: &Range<u64>,
    ) -> Result<()> {
        check(range)?;
        let session = self.store.session();
        self.change(op, |tx, effects| edit(tx, effects, session, ino, |ranges| ranges.unset(owner, space, range)))
    }

    /// All that holds on a file, of whatever session.
    ///
    /// # Errors
    /// Reading the index.
    pub fn holds(&self, op: &Op, ino: Ino) -> Result<Vec<HeldRange>> {
        let now = self.clock.now();
        let (from, end) = (key::under(key::TABLE_HOLD, ino, &[]), key::behind(key::TABLE_HOLD, ino));
        let mut all = Vec::new();
        for (_, value) in self.snap(op).records(&from, &end, usize::MAX >> 1)? {
            let mut ranges = read(ino, &value)?;
            ranges.expire(now);
            all.extend(ranges.0);
        }
        Ok(all)
    }

    /// Ends what processes held on an inode that is gone.
    pub(crate) fn end_holds(&self, tx: &mut Tx<'_>, effects: &mut Effects, ino: Ino) -> Result<()> {
        if self.locks.holds.is_empty() {
            return Ok(());
        }
        let (from, end) = (key::under(key::TABLE_HOLD, ino, &[]), key::behind(key::TABLE_HOLD, ino));
        for (key, value) in tx.records(&from, &end, usize::MAX >> 1)? {
            tx.delete(key);
            effects.holds.push(HoldTurn::of(ino, &read(ino, &value)?, &Ranges::default()));
        }
        Ok(())
    }

    /// When the store is opened: the processes of earlier sessions are gone, and hold nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn end_holds_of_the_past(&self) -> Result<()> {
        loop {
            let found = self.store.range(&[key::TABLE_HOLD], &[key::TABLE_HOLD + 1], SESSIONS_STEP)?;
            if found.is_empty() {
                return Ok(());
            }
            self.store.transact_as_removal(|tx| {
                found.iter().for_each(|(key, _)| tx.delete(key.clone()));
                Ok::<_, crate::Error>(())
            })?;
        }
    }
}

fn check(range: &Range<u64>) -> Result<()> {
    if range.is_empty() { Err(fail(ErrorKind::Invalid, "a lock on no byte")) } else { Ok(()) }
}

/// Changes what the processes of a session hold on a file.
pub(super) fn edit(
    tx: &mut Tx<'_>,
    effects: &mut Effects,
    session: SessionId,
    ino: Ino,
    change: impl FnOnce(&mut Ranges),
) -> Result<()> {
    // It ends with the session: nobody waits for it to be durable.
    effects.relaxed = Some(true);
    let key = key_of(ino, session);
    let before = tx.record(&key)?;
    let found = before.as_deref().map_or_else(|| Ok(Ranges::default()), |value| read(ino, value))?;
    let mut ranges = found.clone();
    change(&mut ranges);
    if ranges == found {
        return Ok(());
    }
    if ranges.0.len() > HOLDS_PER_FILE_MAX {
        let what = format!("processes hold {HOLDS_PER_FILE_MAX} locks on this file, the most there may be");
        return Err(fail(ErrorKind::NoSpace, what));
    }
    effects.holds.push(HoldTurn::of(ino, &found, &ranges));
    if ranges.0.is_empty() {
        tx.delete(key);
    } else {
        tx.put(key, encode(&ranges));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_door_has_the_byte_in_a_row_that_it_always_had() {
        let bytes: Vec<u8> = (1..=6).map(|number| door_byte(DoorNumber::new(number))).collect();
        assert_eq!(bytes, [3, 1, 2, 4, 5, 6], "S3, the mount, NFS, WebDAV, the store, another");
        assert!(door(0).is_err() && door(16).is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(
            all in proptest::collection::vec((0u8..15, any::<u64>(), any::<u64>(), any::<u32>(), any::<bool>(), any::<bool>(), 0..u64::MAX, any::<Option<i64>>()), 0..20)
        ) {
            let ranges = Ranges(all.into_iter().map(|(at, client, owner, pid, whole, write, start, lease)| HeldRange {
                owner: HoldOwner { door: door(at + 1).unwrap(), client, owner, pid },
                space: if whole { RangeSpace::Whole } else { RangeSpace::Bytes },
                kind: if write { RangeKind::Write } else { RangeKind::Read },
                range: start..u64::MAX,
                lease: lease.map(Timestamp),
            }).collect());
            prop_assert_eq!(decode(&encode(&ranges)).unwrap(), ranges);
        }

        #[test]
        fn no_bytes_whatever_make_reading_panic(bytes: Vec<u8>) {
            drop(decode(&bytes));
        }
    }
}

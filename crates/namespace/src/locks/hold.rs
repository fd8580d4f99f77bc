//! The records of locks of processes: one row per file, with the locks of all sessions. A session that sets a lock relies on there being no
//! conflicting one; it therefore writes the row that every other session would have to write.
//!
//! What a process holds ends with the session that serves it. The rows of a session are therefore removed at the next opening of the store,
//! and nobody waits for them to be durable. Other sessions see them in the same commit order as everything else.

use std::collections::HashMap;
use std::ops::Range;

use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_content::Tx;
use strata_seam::planted::{Bug, planted};
use strata_seam::{Ino, SessionId, Timestamp};

use super::hold_counts::{Client, HoldTurn};
use super::range::{Held, HeldRange, HoldOwner, RangeKind, RangeSpace, Ranges};
use crate::effects::Effects;
use crate::error::{ErrorKind, Result, fail};
use crate::key;
use crate::namespace::Namespace;
use crate::types::{Caller, DoorNumber, Op, STORE};
use crate::view::{View, damaged};

/// Most locks that the processes of one session hold on one file: each lock and unlock writes the file's row anew, of about 30 bytes
/// a lock.
pub const HOLDS_PER_FILE_MAX: usize = 4 * HOLDS_PER_FILE_PER_CLIENT_MAX;
/// Most of them that one client of a door has. Four clients fit with all that they may have, so none keeps the others out.
pub const HOLDS_PER_FILE_PER_CLIENT_MAX: usize = 1_024;

/// Rows read at once.
pub(super) const ROWS_STEP: usize = 64;
/// Sessions with locks on one file; the shared engine has fewer.
const SESSIONS_MAX: usize = 1_024;
const FORMAT: u8 = 2;

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

fn encode(held: &Held) -> Vec<u8> {
    let count: usize = held.values().map(|ranges| ranges.0.len()).sum();
    let mut out = Encoder::with_capacity(2 + held.len() * 4 + count * 24);
    out.u8(FORMAT).uvarint(held.len() as u64);
    for (session, ranges) in held {
        out.uvarint(u64::from(*session)).uvarint(ranges.0.len() as u64);
        encode_ranges(&mut out, ranges);
    }
    out.finish()
}

fn encode_ranges(out: &mut Encoder, ranges: &Ranges) {
    for HeldRange { owner, space, kind, range, lease } in &ranges.0 {
        out.u8(door_byte(owner.door)).uvarint(owner.client).uvarint(owner.owner).uvarint(u64::from(owner.pid));
        out.u8(*space as u8).u8(*kind as u8).uvarint(range.start).uvarint(range.end);
        match lease {
            Some(end) => out.u8(1).ivarint(end.0),
            None => out.u8(0),
        };
    }
}

fn decode(bytes: &[u8]) -> Result<Held, WireError> {
    let mut input = Decoder::new(bytes);
    input.version("locks of processes", FORMAT)?;
    let mut held = Held::new();
    for _ in 0..input.length(SESSIONS_MAX)? {
        let session = input.uvarint32()?;
        if held.last_key_value().is_some_and(|(last, _)| *last >= session) {
            return Err(WireError::Invalid("sessions out of order"));
        }
        held.insert(session, decode_ranges(&mut input)?);
    }
    input.finish()?;
    Ok(held)
}

fn decode_ranges(input: &mut Decoder<'_>) -> Result<Ranges, WireError> {
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
    Ok(Ranges(ranges))
}

fn key_of(ino: Ino) -> Vec<u8> {
    key::under(key::TABLE_HOLD, ino, &[])
}

fn read(view: &mut impl View, ino: Ino) -> Result<Held> {
    let row = view.record(&key_of(ino))?;
    read_row(ino, row)
}

/// As [`read`], within a change that writes the row.
fn read_to_change(tx: &mut Tx<'_>, ino: Ino) -> Result<Held> {
    if planted(Bug::HoldUnguarded) {
        return read_row(ino, tx.peek(&key_of(ino))?);
    }
    read(tx, ino)
}

pub(super) fn read_row(ino: Ino, row: Option<Vec<u8>>) -> Result<Held> {
    let read = row.map(|row| decode(&row).map_err(|_| damaged(format!("the locks of processes on inode {ino}"))));
    read.transpose().map(Option::unwrap_or_default)
}

/// A lock of processes of any session that is in the way of this one.
fn in_the_way(held: &Held, own: SessionId, wanted: &HeldRange, now: Timestamp) -> Option<HeldRange> {
    held.iter().find_map(|(session, ranges)| ranges.in_the_way(wanted, *session == own.0, now)).cloned()
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
        Ok(in_the_way(&read(&mut snap, ino)?, self.own.id, wanted, self.clock.now()))
    }

    /// Sets a lock of a process of this session on a file, in place of what the process had there, unless another one is in the way;
    /// that is the answer then, and nothing is set. Its lease counts for all that the process has on this file.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`], [`ErrorKind::Invalid`] for an empty range, [`ErrorKind::NoSpace`] above [`HOLDS_PER_FILE_MAX`] and
    /// [`HOLDS_PER_FILE_PER_CLIENT_MAX`]: nothing is changed then.
    pub fn set_hold(&self, op: &Op, ino: Ino, wanted: &HeldRange) -> Result<Option<HeldRange>> {
        check(&wanted.range)?;
        let session = self.own.id;
        self.change(op, |tx, effects| {
            let now = self.clock.now();
            tx.inode(ino)?;
            if let Some(other) = in_the_way(&read_to_change(tx, ino)?, session, wanted, now) {
                return Ok(Some(other));
            }
            edit(tx, effects, session, ino, |ranges| {
                ranges.expire(now);
                ranges.set(wanted.clone());
            })?;
            Ok(None)
        })
    }

    /// Removes bytes from what a process of this session holds.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an empty range; [`ErrorKind::NoSpace`] if that would make two locks of one, and there may be no
    /// more ([`HOLDS_PER_FILE_MAX`], [`HOLDS_PER_FILE_PER_CLIENT_MAX`]): nothing is released then.
    pub fn release_hold(
        &self,
        op: &Op,
        ino: Ino,
        owner: &HoldOwner,
        space: RangeSpace,
        range: &Range<u64>,
    ) -> Result<()> {
        check(range)?;
        let session = self.own.id;
        self.change(op, |tx, effects| edit(tx, effects, session, ino, |ranges| ranges.unset(owner, space, range)))
    }

    /// All that holds on a file, of whatever session.
    ///
    /// # Errors
    /// Reading the index.
    pub fn holds(&self, op: &Op, ino: Ino) -> Result<Vec<HeldRange>> {
        let now = self.clock.now();
        let mut all = Vec::new();
        for mut ranges in read(&mut self.snap(op), ino)?.into_values() {
            ranges.expire(now);
            all.extend(ranges.0);
        }
        Ok(all)
    }

    /// Ends what processes held on an inode that is gone.
    pub(crate) fn end_holds(&self, tx: &mut Tx<'_>, effects: &mut Effects, ino: Ino) -> Result<()> {
        // The counts in memory cover this session alone.
        if !self.is_shared() && self.locks.holds.is_empty() {
            return Ok(());
        }
        let held = read(tx, ino)?;
        if !held.is_empty() || self.is_shared() {
            // Deleted even if nothing is held: its absence is relied upon.
            tx.delete(key_of(ino));
            effects.holds.push(HoldTurn::of_file(ino, &held, &Held::new()));
        }
        Ok(())
    }

    /// The processes of a session that is gone hold nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn end_holds_of(&self, gone: SessionId) -> Result<()> {
        let op = Op::new(Caller::root(&STORE));
        let mut from = vec![key::TABLE_HOLD];
        loop {
            let page = self.store.range(&from, &[key::TABLE_HOLD + 1], ROWS_STEP)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from.clone_from(last);
            from.push(0);
            for (key, _) in page {
                let ino = key.get(1..9).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes);
                let ino = Ino(ino.ok_or_else(|| damaged("the locks of processes".to_owned()))?);
                self.change(&op, |tx, effects| edit(tx, effects, gone, ino, |ranges| ranges.0.clear()))?;
            }
        }
    }

    /// When the store is opened: the processes of earlier sessions are gone, and hold nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn end_holds_of_the_past(&self) -> Result<()> {
        loop {
            let found = self.store.range(&[key::TABLE_HOLD], &[key::TABLE_HOLD + 1], ROWS_STEP)?;
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

/// Refuses a change by which a file has more locks than it may, or a client more of them than its share. What makes no client have
/// more is never refused.
fn refuse_too_many(had: &Ranges, ranges: &Ranges) -> Result<()> {
    // Below the smaller limit, neither limit is reached.
    if ranges.0.len() <= HOLDS_PER_FILE_PER_CLIENT_MAX || ranges.0.len() <= had.0.len() {
        return Ok(());
    }
    if ranges.0.len() > HOLDS_PER_FILE_MAX {
        let what = format!(
            "processes hold {HOLDS_PER_FILE_MAX} locks on this file, the most there may be; nothing was changed"
        );
        return Err(fail(ErrorKind::NoSpace, what));
    }
    let counted = |ranges: &Ranges| {
        let mut by_client: HashMap<Client, usize> = HashMap::new();
        ranges.0.iter().for_each(|held| *by_client.entry((held.owner.door, held.owner.client)).or_default() += 1);
        by_client
    };
    let before = counted(had);
    let grew = |client: &Client, count: usize| count > before.get(client).copied().unwrap_or(0);
    if counted(ranges).iter().any(|(client, count)| *count > HOLDS_PER_FILE_PER_CLIENT_MAX && grew(client, *count)) {
        let what = format!(
            "this client has {HOLDS_PER_FILE_PER_CLIENT_MAX} locks on this file, the most that one may have; nothing was changed"
        );
        return Err(fail(ErrorKind::NoSpace, what));
    }
    Ok(())
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
    // Such a lock ends with the session, so nobody waits for it to be durable.
    effects.relaxed = Some(true);
    let mut held = read_to_change(tx, ino)?;
    let before = held.clone();
    let mut ranges = held.remove(&session.0).unwrap_or_default();
    let had = ranges.clone();
    change(&mut ranges);
    if ranges == had {
        return Ok(());
    }
    refuse_too_many(&had, &ranges)?;
    if !ranges.0.is_empty() {
        held.insert(session.0, ranges);
    }
    let turn = HoldTurn::of_file(ino, &before, &held);
    if held.is_empty() {
        tx.delete(key_of(ino));
    } else {
        tx.put(key_of(ino), encode(&held));
    }
    effects.holds.push(turn);
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

    #[test]
    fn a_file_has_room_for_four_clients_with_all_they_may_have_and_one_more_finds_none() {
        let nth = |client: u64, number: usize| HeldRange {
            owner: HoldOwner { door: DoorNumber::new(1), client, owner: 1, pid: 1 },
            space: RangeSpace::Bytes,
            kind: RangeKind::Read,
            range: number as u64 * 2..number as u64 * 2 + 1,
            lease: None,
        };
        let of = |clients: u64| (0..clients).flat_map(|of| (0..HOLDS_PER_FILE_PER_CLIENT_MAX).map(move |n| nth(of, n)));
        let with = |clients, more: &[HeldRange]| Ranges(of(clients).chain(more.iter().cloned()).collect());
        let refused = |had: &Ranges, ranges: &Ranges| refuse_too_many(had, ranges).is_err();
        let (three, four) = (with(3, &[]), with(4, &[]));
        // The last lock that the fourth client may have, then one lock too many for each limit.
        let mut last = four.clone();
        let fourth = last.0.pop().unwrap();
        assert!(!refused(&last, &four) && fourth.owner.client == 3);
        assert!(refused(&three, &with(3, &[nth(0, 5_000)])), "a client's share");
        assert!(refused(&four, &with(4, &[nth(4, 0)])), "the file's");
        // A client that has too many, however that came about, can release some. Others are not refused because of it.
        let over = with(1, &[nth(0, 5_000), nth(0, 5_001)]);
        assert!(!refused(&over, &with(1, &[nth(0, 5_000)])));
        assert!(!refused(&over, &with(1, &[nth(0, 5_000), nth(0, 5_001), nth(7, 0)])));
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
            let held = Held::from([(3, ranges.clone()), (7, ranges)]);
            prop_assert_eq!(decode(&encode(&held)).unwrap(), held);
        }

        #[test]
        fn no_bytes_whatever_make_reading_panic(bytes: Vec<u8>) {
            drop(decode(&bytes));
        }
    }
}

//! How much more fits on the sets, and who may have it.
//!
//! **Invariant ROOM**: what gives room back can always be written. Of what a set still takes, data leaves as much as the
//! mover needs in the worst case: one segment's content anew, and two whole checkpoints ([`Ledger::keep_room`]), the second
//! of which frees that segment when a crash cut the first one off; and before these what removals may have
//! ([`reserve_segments`](crate::Options::reserve_segments)). Removals go on into the mover's part where nobody makes room,
//! and never into the checkpoints': these alone free what is wholly dead. The mover begins nothing that does not fit
//! ([`Ledger::room`]). Of disks of a few segments half is kept at most, and then only emptier segments can be moved.
//!
//! What a program writes to a file waits in memory, and its write and close are answered before: so room for it is promised
//! first ([`Ledger::promise`]), or the write is refused. What is promised is nobody else's.
//!
//! Bytes here are those of payload. A segment counts for a stripe less than it has, since one that does not fit into its
//! end goes to the next. What is queued is charged before it is written, so nobody overdraws by being quick.

use std::collections::BTreeMap;

use strata_seam::DiskSpace;
use strata_seam::planted::{Bug, planted};

use crate::api::Purpose;
use crate::error::{LedgerError, Result};
use crate::ledger::Ledger;
use crate::queue::Stuck;
use crate::set::Set;
use crate::shared::Shared;
use crate::sync::atomic::Ordering;
use crate::writer::Writer;

/// Counted for a set none of whose disks tells its room: creating a file will tell.
const UNTOLD_SEGMENTS: u64 = 1 << 20;

/// What [`Ledger::room`] tells, in bytes of payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RoomLeft {
    /// What fits in all.
    pub left: u64,
    /// Of it, what data may have.
    pub spare: u64,
}

/// What still fits, as it was measured last, less what was written since.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    /// In the segment being written.
    pub(crate) rest: u64,
    /// In further segments of its set.
    here: u64,
    /// In those of other sets, and what of it data may have.
    elsewhere: u64,
    elsewhere_spare: u64,
    /// Kept back from data on the set being written ...
    kept: u64,
    /// ... of it, what removals leave to the mover ...
    movers: u64,
    /// ... and what they leave in any case.
    floor: u64,
}

impl Room {
    pub(crate) fn left(&self) -> u64 {
        (self.rest + self.here).saturating_add(self.elsewhere)
    }

    fn spare(&self) -> u64 {
        (self.rest + self.here).saturating_sub(self.kept).saturating_add(self.elsewhere_spare)
    }

    /// Whether room can be made for another segment.
    pub(crate) fn has_segment(&self) -> bool {
        self.here > 0 || self.elsewhere > 0
    }

    /// Whether data is refused while `queued` bytes wait to be written and an append may have `append_max`.
    pub(crate) fn is_full(&self, queued: u64, append_max: u64) -> bool {
        self.spare() < charged(queued) + append_max
    }

    /// Whether removals take what the mover needs, of which a round under way wrote `moved`.
    pub(crate) fn is_tight(&self, moved: u64) -> bool {
        self.spare() == 0 && self.left() + charged(moved) < self.movers
    }

    /// Whether an append of `len` bytes may be queued behind `queued` others.
    pub(crate) fn admits(&self, purpose: Purpose, queued: u64, len: u64, append_max: u64) -> bool {
        match purpose {
            Purpose::Data => !self.is_full(queued, append_max),
            // Where what is kept back has grown since, what is left to removals stands in.
            Purpose::Promised => self.left() >= self.movers + charged(queued + len),
            Purpose::Removal if planted(Bug::RemovalsTakeTheLast) => true,
            Purpose::Removal => self.floor == 0 || self.left() >= self.floor + charged(queued + len),
            Purpose::Mover => true,
        }
    }
}

/// What bytes of payload take beside their headers.
fn charged(bytes: u64) -> u64 {
    bytes + bytes / 8
}

impl Shared {
    /// Segments that data leaves free on a set.
    pub(crate) fn reserve_on(&self, set: &Set) -> u32 {
        let (kept, ..) = self.kept_on(set);
        u32::try_from(kept.div_ceil(self.usable(set).max(1))).unwrap_or(u32::MAX)
    }

    /// Bytes of a set that are kept from data, those of them that are the mover's, and those for its checkpoints alone.
    fn kept_on(&self, set: &Set) -> (u64, u64, u64) {
        let Some(for_removals) = self.options.reserve_segments.checked_sub(1) else { return (0, 0, 0) };
        if planted(Bug::RoomNotKept) {
            return (0, 0, 0);
        }
        // One that a crash cuts off is written anew.
        let checkpoint = charged(2 * self.keep.load(Ordering::Acquire));
        let movers = charged(set.segment_capacity()).saturating_add(checkpoint);
        (movers.saturating_add(self.usable(set).saturating_mul(for_removals.into())), movers, checkpoint)
    }

    /// Bytes of a segment that can be counted on: all but a stripe that does not fit into its end.
    fn usable(&self, set: &Set) -> u64 {
        self.usable_of(set, set.segment_capacity())
    }

    fn usable_of(&self, set: &Set, bytes: u64) -> u64 {
        bytes - u64::from(self.options.payload_max(set.geometry)).min(bytes / 2)
    }

    /// What is left of the segment being written.
    pub(crate) fn rest(&self, writer: &Writer) -> u64 {
        let set = &writer.set;
        let sectors = set.segment_sectors().saturating_sub(writer.sector);
        self.usable_of(set, crate::layout::byte_of(sectors) * set.data_shards() as u64)
    }

    /// Asks the disks again. One that is full where the others have plenty is set aside by it.
    pub(crate) fn measure(&self, writer: &Writer) -> Room {
        let mut sets = self.sets.all();
        sets.retain(|set| self.may_take(set));
        for set in &sets {
            // Whether the set is full shows below.
            drop(set.check_room(u64::from(self.reserve_on(set)) + 1));
        }
        let mut volumes: BTreeMap<u64, (DiskSpace, u64)> = BTreeMap::new();
        let mut spaces = Vec::new();
        for (number, set) in sets.iter().enumerate() {
            for member in set.members.iter().filter(|member| member.writable()) {
                if let Ok(space) = member.disk().and_then(|disk| disk.space()) {
                    let (least, disks) = volumes.entry(space.volume).or_insert((space, 0));
                    least.free = space.free.min(least.free);
                    *disks += 1;
                    spaces.push((number, space.volume));
                }
            }
        }
        let made = writer.ahead.as_ref().and_then(|(_, set)| set.clone()).or_else(|| self.prepare.made());
        let mut room = Room::default();
        for (number, set) in sets.iter().enumerate() {
            let least = |of: fn(&DiskSpace) -> u64| {
                let on_set = spaces.iter().filter(|(of, _)| *of == number);
                let on_set = on_set.filter_map(|(_, volume)| volumes.get(volume));
                let segments = on_set.map(|(space, disks)| of(space) / (disks * set.segment_len)).min();
                segments.unwrap_or(UNTOLD_SEGMENTS)
            };
            let ahead = u64::from(made.as_ref().is_some_and(|made| made.id == set.id));
            let usable = self.usable(set);
            let left = usable.saturating_mul(least(|space| space.free) + ahead);
            let (kept, movers, floor) = self.kept_on(set);
            // Disks of a few segments are not there for these alone.
            let kept = kept.min(usable.saturating_mul(least(|space| space.total)) / 2);
            let (movers, floor) = (movers.min(kept), floor.min(kept / 2));
            if set.id == writer.set.id {
                room.rest = self.rest(writer);
                (room.here, room.kept, room.movers, room.floor) = (left, kept, movers, floor);
            } else {
                room.elsewhere = room.elsewhere.saturating_add(left);
                room.elsewhere_spare = room.elsewhere_spare.saturating_add(left.saturating_sub(kept));
            }
        }
        let mut queue = self.queue.lock();
        queue.room = room;
        if room.has_segment() {
            queue.stuck.take_if(|stuck| *stuck == Stuck::Full);
        }
        room
    }
}

impl Ledger {
    /// Says how many bytes a whole checkpoint may take: so many are kept back in every set beside
    /// [`reserve_segments`](crate::Options::reserve_segments).
    pub fn keep_room(&self, bytes: u64) {
        self.shared.keep.store(bytes, Ordering::Release);
    }

    /// How much more fits. Asks every disk.
    #[must_use]
    pub fn room(&self) -> RoomLeft {
        let room = self.shared.measure(&self.shared.writer.lock());
        let queue = self.shared.queue.lock();
        let queued = charged(queue.bytes as u64);
        // An append is let in only where the longest would be.
        let spare = room.spare().saturating_sub(charged(queue.taken()) + queue.append_len_max as u64);
        RoomLeft { left: room.left().saturating_sub(queued), spare }
    }

    /// Keeps room for bytes that are to be appended later, as [`Purpose::Promised`].
    ///
    /// # Errors
    /// [`LedgerError::Full`], [`LedgerError::QuorumLost`], [`LedgerError::Closed`]; nothing is promised then.
    pub fn promise(&self, bytes: u64) -> Result<()> {
        let shared = &self.shared;
        let mut measured = false;
        loop {
            let mut queue = shared.queue.lock();
            if let Some(halt) = queue.halt {
                return Err(halt.error());
            }
            if !queue.room.is_full(queue.taken() + bytes, queue.append_len_max as u64) {
                queue.promised += bytes;
                return Ok(());
            }
            drop(queue);
            if measured {
                return Err(LedgerError::Full);
            }
            measured = true;
            shared.measure(&shared.writer.lock());
        }
    }

    /// Of bytes that were promised room, `before`, there are `now` left: some were appended or given up, or need more than
    /// was thought.
    pub fn keep_promised(&self, before: u64, now: u64) {
        let mut queue = self.shared.queue.lock();
        queue.promised = (queue.promised + now).saturating_sub(before);
    }

    /// Whether appends with data are refused for lack of room, by what was measured last.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.queue.lock().is_full()
    }

    /// Whether removals take what the mover needs to make room: they had better wait for it where it is at work.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        let queue = self.shared.queue.lock();
        queue.room.is_tight(queue.moved)
    }

    /// Says that a round of the mover begins: what it writes from here on is its own.
    pub fn begin_round(&self) {
        self.shared.queue.lock().moved = 0;
    }
}

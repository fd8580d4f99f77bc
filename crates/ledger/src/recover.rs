//! Opening the log: walk the headers, replay what is proven durable, verify and mend the tail, find the end.
//!
//! A stripe is *proven* when a later header (or a superblock) says that everything up to its last number was durable
//! when that was written. A proven stripe that cannot be read is damage and refuses the opening: acknowledged data is
//! never cut off in silence. What is not proven is the *tail*: there every byte of every frame is checked, a stripe with
//! enough valid frames is kept and its other frames are written again, and at the first without the log ends.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use strata_seam::planted::{Bug, planted};
use strata_seam::{Lsn, Position, SegmentId, WriteMode};

use crate::api::Replayed;
use crate::checkpoint::start_is_gone;
use crate::error::{LedgerError, Result};
use crate::frame::StripeHead;
use crate::history::History;
use crate::layout;
use crate::meta;
use crate::set::Set;
use crate::sets::{Homes, find_homes};
use crate::walk::{Stripe, Walker, describe};

/// How far past a break the segment after it is searched for proof that more was durable, in sectors (4 MiB).
const NEXT_SEGMENT_SCAN: u32 = 1024;

/// Where the log ends.
pub(crate) struct Recovered {
    pub(crate) end: Position,
    /// Where the segments lie.
    pub(crate) homes: Homes,
    /// Segments of which stripes were kept that nothing proves to have been durable. Nothing may be written behind them
    /// but where they were mended.
    pub(crate) tail: BTreeSet<SegmentId>,
}

/// What a replay is told.
pub(crate) type Replay<'a> = &'a mut dyn FnMut(Replayed) -> Result<()>;

struct Recovery<'a> {
    sets: &'a [Arc<Set>],
    /// A walker for each of them.
    walkers: Vec<Walker<'a>>,
    homes: &'a Homes,
    /// What the superblocks say to have been durable.
    told_durable: Lsn,
    from: Option<Position>,
    replay: Replay<'a>,
    /// Whether stripes at the cursor are wanted by the caller.
    reached: bool,
    cursor: Cursor,
    /// Stripes found but not yet proven durable, in order.
    tail: VecDeque<(StripeHead, bool)>,
    proven: Lsn,
}

#[derive(Clone, Copy)]
struct Cursor {
    segment: SegmentId,
    sector: u32,
    /// First number expected here; unknown at the start of a segment that is not the first.
    expected: Option<Lsn>,
}

/// Replays the log from `from` on and returns its end. With `mend` the tail is made durable and its frames are healed, on
/// the sets that take writes.
pub(crate) fn recover(
    sets: &[Arc<Set>],
    history: &History,
    from: Option<Position>,
    mend: bool,
    replay: Replay<'_>,
) -> Result<Recovered> {
    let (homes, silent) = find_homes(sets, history);
    sets.iter().zip(silent).try_for_each(|(set, silent)| check_answers(set, silent))?;
    let cursor = match from {
        None => {
            let segment = homes.keys().next().copied().unwrap_or_default();
            if segment.0 > 0 {
                return Err(start_is_gone(segment));
            }
            Cursor { segment, sector: 0, expected: Some(Lsn(1)) }
        }
        Some(position) => {
            let expected = (position.offset == 0).then_some(position.next_lsn);
            Cursor { segment: position.segment, sector: 0, expected }
        }
    };
    let told_durable = sets.iter().map(|set| set.supers.lock().newest.durable_lsn).max().unwrap_or_default();
    let mut recovery = Recovery {
        sets,
        walkers: sets.iter().map(|set| Walker::new(set, history)).collect(),
        homes: &homes,
        told_durable,
        from,
        replay,
        reached: from.is_none(),
        cursor,
        tail: VecDeque::new(),
        proven: told_durable,
    };
    recovery.walk()?;
    recovery.check_end()?;
    let (end, tail) = recovery.finish_tail(mend)?;
    Ok(Recovered { end, homes, tail })
}

impl Recovery<'_> {
    /// The set that a segment lies on, by its place in the list. One that no set has files of can be asked of any.
    fn home(&self, segment: SegmentId) -> usize {
        let home = self.homes.get(&segment);
        home.and_then(|home| self.sets.iter().position(|set| set.id == home.id)).unwrap_or(0)
    }

    fn set_of(&self, segment: SegmentId) -> &Set {
        &self.sets[self.home(segment)]
    }

    fn stripe_at(&mut self, segment: SegmentId, sector: u32, expected: Option<Lsn>) -> Option<(Stripe, bool)> {
        let home = self.home(segment);
        self.walkers[home].stripe_at(segment, sector, expected)
    }

    /// Tells the walkers where the log goes on behind the segment that is walked.
    fn enter(&mut self, segment: SegmentId) {
        let next = SegmentId(segment.0.wrapping_add(1));
        let next_on = self.homes.get(&next).map(|set| &**set);
        let home = self.home(segment);
        self.walkers[home].enter(segment, next_on);
    }

    fn forget_silence(&mut self) {
        self.walkers.iter_mut().for_each(|walker| walker.silent = 0);
    }

    /// Refuses where a disk that was asked since the last [`Recovery::forget_silence`] did not answer, and too few did.
    fn check_answers(&self) -> Result<()> {
        self.sets.iter().zip(&self.walkers).try_for_each(|(set, walker)| check_answers(set, walker.silent))
    }

    /// Walks forward as far as stripes can be found.
    fn walk(&mut self) -> Result<()> {
        loop {
            self.check_reached();
            self.forget_silence();
            self.enter(self.cursor.segment);
            if let Some((stripe, true)) = self.stripe_at(self.cursor.segment, self.cursor.sector, self.cursor.expected)
            {
                self.take(&stripe)?;
                continue;
            }
            if self.enter_next_segment() {
                continue;
            }
            if !self.jump_to_start() {
                return Ok(());
            }
        }
    }

    fn check_reached(&mut self) {
        if let Some(from) = self.from
            && !self.reached
        {
            let Cursor { segment, sector, expected } = self.cursor;
            self.reached =
                segment == from.segment && layout::byte_of(sector) == from.offset && expected == Some(from.next_lsn);
        }
    }

    fn take(&mut self, stripe: &Stripe) -> Result<()> {
        let head = &stripe.head;
        self.proven = self.proven.max(head.durable_lsn);
        self.tail.push_back((*head, self.reached));
        self.cursor.sector = head.end_sector();
        self.cursor.expected = Some(head.last_lsn.next());
        while let Some((head, wanted)) = self.tail.front().copied()
            && head.last_lsn <= self.proven
        {
            self.tail.pop_front();
            if wanted {
                self.deliver(&head)?;
            }
        }
        Ok(())
    }

    /// Whether the log goes on at the start of the next segment.
    fn enter_next_segment(&mut self) -> bool {
        let next = SegmentId(self.cursor.segment.0.wrapping_add(1));
        if self.cursor.expected.is_none() || self.cursor.sector == 0 || !self.homes.contains_key(&next) {
            return false;
        }
        let goes_on = matches!(self.stripe_at(next, 0, self.cursor.expected), Some((_, true)));
        if goes_on {
            (self.cursor.segment, self.cursor.sector) = (next, 0);
        }
        goes_on
    }

    /// Damage before the position asked for does not matter if that position is known to be good.
    fn jump_to_start(&mut self) -> bool {
        let Some(from) = self.from.filter(|_| !self.reached) else {
            return false;
        };
        let Ok(sector) = u32::try_from(from.offset / layout::byte_of(1)) else {
            return false;
        };
        let known = from.next_lsn.0 <= self.told_durable.0.saturating_add(1)
            || matches!(self.stripe_at(from.segment, sector, Some(from.next_lsn)), Some((_, true)));
        if known {
            self.cursor = Cursor { segment: from.segment, sector, expected: Some(from.next_lsn) };
            self.tail.clear();
            self.reached = true;
        }
        known
    }

    /// Refuses where the walk broke off before the end of what was acknowledged.
    fn check_end(&mut self) -> Result<()> {
        let Cursor { segment, sector, expected } = self.cursor;
        self.check_answers()?;
        if let Some(from) = self.from
            && !self.reached
        {
            return Err(beyond(from));
        }
        let expected = expected.unwrap_or(Lsn(1));
        self.cursor.expected = Some(expected);
        while self.proven < expected
            && let Some(proof) = self.find_proof(segment, sector)
        {
            self.proven = proof;
        }
        if self.proven < expected || planted(Bug::TruncatedInsteadOfRefused) {
            return Ok(());
        }
        let what = match self.stripe_at(segment, sector, Some(expected)) {
            Some((stripe, _)) => describe(&stripe, self.set_of(segment).data_shards()),
            None => "no valid frame is left of it".to_owned(),
        };
        Err(self.lost(segment, sector, expected, &what))
    }

    /// The error for a stripe that was acknowledged and cannot be read.
    fn lost(&self, segment: SegmentId, sector: u32, lsn: Lsn, what: &str) -> LedgerError {
        let what = format!("a stripe is unreadable although everything up to {} was acknowledged: {what}", self.proven);
        LedgerError::corrupt(segment, sector, lsn, what)
    }

    /// What a frame behind the break proves to have been durable, if that is more than is known. A frame left over from
    /// a truncated tail proves nothing new: what it says was durable was so, hence lies before any truncation.
    fn find_proof(&self, segment: SegmentId, sector: u32) -> Option<Lsn> {
        let sectors = |segment| self.set_of(segment).segment_sectors();
        let scan = |segment, from, to, test: &dyn Fn(&StripeHead) -> bool| {
            self.walkers[self.home(segment)].scan(segment, from, to, test)
        };
        let test = |head: &StripeHead| head.durable_lsn > self.proven;
        let here = scan(segment, sector, sectors(segment), &test);
        let later = || {
            self.homes.range(SegmentId(segment.0.saturating_add(1))..).find_map(|(later, _)| {
                let to = if later.0 == segment.0 + 1 { NEXT_SEGMENT_SCAN.min(sectors(*later)) } else { 1 };
                scan(*later, 0, to, &test)
            })
        };
        here.or_else(later).map(|head| head.durable_lsn)
    }

    /// Checks the unproven stripes byte by byte, keeps and mends what is whole, ends the log at the first that is not.
    fn finish_tail(&mut self, mend: bool) -> Result<(Position, BTreeSet<SegmentId>)> {
        let mut end = self.cursor;
        let mut touched = BTreeSet::new();
        for (head, wanted) in std::mem::take(&mut self.tail) {
            if !self.keep(&head, mend)? {
                if head.last_lsn <= self.proven {
                    return Err(self.lost(
                        head.segment,
                        head.sector,
                        head.first_lsn,
                        "too few of its frames are whole",
                    ));
                }
                end = cut(&head);
                break;
            }
            touched.insert(head.segment);
            if wanted {
                self.deliver(&head)?;
            }
        }
        let expected = end.expected.unwrap_or(Lsn(1));
        let end = Position { segment: end.segment, offset: layout::byte_of(end.sector), next_lsn: expected };
        if let Some(from) = self.from
            && expected < from.next_lsn
        {
            return Err(beyond(from));
        }
        if mend && !planted(Bug::TailNotSynced) {
            self.sync(&touched)?;
        }
        Ok((end, touched))
    }

    /// Whether a stripe of the tail can be kept; its other frames are then written again.
    fn keep(&mut self, head: &StripeHead, mend: bool) -> Result<bool> {
        self.forget_silence();
        let found = self.stripe_at(head.segment, head.sector, Some(head.first_lsn));
        let Some((stripe, _)) = found.filter(|(stripe, _)| stripe.head == *head) else {
            self.check_answers()?;
            return Ok(false);
        };
        let home = self.home(head.segment);
        let set = &self.sets[home];
        let loaded = set.load(&stripe);
        if planted(Bug::TailUnchecked) {
            return Ok(true);
        }
        if loaded.valid() < set.data_shards() {
            check_answers(set, self.walkers[home].silent | loaded.silent)?;
            return Ok(false);
        }
        let also = if planted(Bug::TailPartlyRewritten) { 0 } else { u32::MAX };
        let mend = mend && !set.is_halted() && !planted(Bug::TailNotMended);
        Ok(!mend || set.heal(&stripe, &loaded, also, WriteMode::Buffered).is_some())
    }

    /// Valid frames may have been read from memory only: a process may have died before its sync, or the sync may have
    /// failed. After a failed one the operating system shows what it did not write and takes it for written, so that
    /// another sync proves nothing (fsyncgate); the frames were written again for that reason.
    fn sync(&self, touched: &BTreeSet<SegmentId>) -> Result<()> {
        for segment in touched {
            let set = self.set_of(*segment);
            for member in set.members.iter().filter(|member| member.writable() && !set.is_halted()) {
                if let Err(error) = member.file(*segment).and_then(|file| file.sync()) {
                    member.blame(&error)?;
                }
            }
        }
        Ok(())
    }

    /// Hands the appends of a stripe to the caller.
    fn deliver(&mut self, head: &StripeHead) -> Result<()> {
        let corrupt = |what: &str| LedgerError::corrupt(head.segment, head.sector, head.first_lsn, what);
        let bytes = self
            .set_of(head.segment)
            .read(&head.meta_location())
            .map_err(|_| corrupt("the description of a stripe cannot be read or rebuilt"))?;
        let appends =
            meta::decode(head, &bytes).ok_or_else(|| corrupt("the description of a stripe contradicts itself"))?;
        if planted(Bug::ReplayOutOfOrder) {
            return appends.into_iter().rev().try_for_each(&mut *self.replay);
        }
        appends.into_iter().try_for_each(&mut *self.replay)
    }
}

/// Whether the log may be said to end where too few frames are found. What was acknowledged lies on every disk that
/// took part, so that many of those that can be read lack it only if it never was, or if more is broken than parity
/// covers; but a disk that does not answer lacks nothing for sure.
pub(crate) fn check_answers(set: &Set, silent: u32) -> Result<()> {
    let active = set.supers.lock().newest.active;
    let (present, needed) = ((active & !silent).count_ones() as usize, set.data_shards());
    if present >= needed || planted(Bug::SilenceTakenForAbsence) {
        return Ok(());
    }
    let silent = set.members.iter().enumerate().filter(|(index, _)| silent >> index & 1 == 1);
    let labels: Vec<String> = silent.map(|(_, member)| member.label().to_string()).collect();
    Err(LedgerError::TooFewDisks { present, needed, what: format!("{} could not be read", labels.join(", ")) })
}

fn cut(head: &StripeHead) -> Cursor {
    Cursor { segment: head.segment, sector: head.sector, expected: Some(head.first_lsn) }
}

fn beyond(from: Position) -> LedgerError {
    LedgerError::Inconsistent {
        what: format!(
            "the log does not reach the position asked for (segment {}, byte {}, sequence number {}); replay from an \
             earlier one",
            from.segment, from.offset, from.next_lsn
        ),
    }
}

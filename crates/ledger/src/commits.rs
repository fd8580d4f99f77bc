//! Reading the log in order while it goes on being written: what readers of its commits go by.
//!
//! A reader asks by number. Where numbers lie is not written down anywhere: segments are in the order of numbers, and the first
//! stripe of each says which it begins with. What was given back is not there any more, and what cannot be read is not skipped
//! in silence: both are a [`LogGap`], which says where the log goes on. Disks that do not answer prove neither ([`LogStop`]).
//!
//! Nothing is locked while the disks are read: only what is written by now is looked at, and that does not change.

use strata_seam::{Lsn, SegmentId, SetId};

use crate::api::Replayed;
use crate::error::LedgerError;
use crate::history::History;
use crate::ledger::Ledger;
use crate::meta;
use crate::recover::check_answers;
use crate::set::Set;
use crate::walk::Walker;

/// Where a reader of the log is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogPlace {
    next: Lsn,
    /// Where the stripe of `next` lies and the number it begins with, if that is known: what was read last ended there.
    at: Option<(SegmentId, u32, Lsn)>,
}

impl LogPlace {
    /// In front of the append of this number, which need not be there yet.
    #[must_use]
    pub fn before(next: Lsn) -> Self {
        Self { next: next.max(Lsn(1)), at: None }
    }

    /// The next number to be read.
    #[must_use]
    pub fn next(&self) -> Lsn {
        self.next
    }

    /// Passes over everything below a number.
    pub fn skip_to(&mut self, next: Lsn) {
        if next > self.next {
            *self = Self::before(next);
        }
    }
}

/// Numbers of the log that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogGap {
    /// The first of them.
    pub from: Lsn,
    /// The first behind them that can be read, or that is still to be written.
    pub until: Lsn,
    /// Whether they are lost to damage; otherwise they were given back.
    pub damaged: bool,
}

/// Why a reader of the log was not given more.
#[derive(Debug)]
pub enum LogStop {
    /// What comes next is not there.
    Gap(LogGap),
    /// So many disks do not answer that it cannot be told whether it is; nothing is said about the log by that. Trying again tells.
    Silent(LedgerError),
}

/// How far one segment led.
enum Walked {
    /// To what was asked for, or to where the reader wants no more.
    Enough,
    /// To its end; the log goes on at the start of this one.
    Next(SegmentId),
    /// To what is not there, with a bit per disk that could not be asked.
    Gap(LogGap, u32),
}

impl Ledger {
    /// Reads on from `place` up to the append numbered `upto`, or as far as is written: `each` gets every append in order, and
    /// ends the reading behind one by `false`. At a gap `place` is in front of it, and [`LogPlace::skip_to`] passes over it.
    ///
    /// Cost: a header per stripe and disk, and the description of each stripe; at a place that is not known also the first
    /// headers of some segments, and the headers of one.
    ///
    /// # Errors
    /// [`LogStop`], with everything before it read.
    pub fn read_log(
        &self,
        place: &mut LogPlace,
        upto: Lsn,
        each: &mut dyn FnMut(Replayed) -> bool,
    ) -> Result<(), LogStop> {
        let upto = upto.min(self.written());
        if place.next > upto {
            return Ok(());
        }
        let history = self.shared.history.lock().clone();
        let known = place.at.map(|(segment, sector, first)| (segment, sector, Some(first)));
        let Some(mut from) = known.or_else(|| Some((self.holding_in(place.next, &history)?, 0, None))) else {
            return Err(self.proven(self.gap(place.next, upto, &history), None));
        };
        loop {
            match self.read_segment(from, place, upto, &history, each) {
                Walked::Enough => return Ok(()),
                Walked::Next(segment) => from = (segment, 0, None),
                Walked::Gap(gap, silent) => {
                    place.at = None;
                    let set = self.shared.sets.of(from.0).map(|set| set.id);
                    return Err(self.proven(gap, set.map(|set| (set, silent))));
                }
            }
        }
    }

    /// A gap, if enough disks answer to say that it is one: what could not be asked is not gone. Of a set some disks could not be
    /// asked on the way.
    fn proven(&self, gap: LogGap, on_the_way: Option<(SetId, u32)>) -> LogStop {
        for set in self.shared.sets.all() {
            let silent = on_the_way.filter(|(id, _)| *id == set.id).map_or(0, |(_, silent)| silent);
            if let Err(error) = check_answers(&set, set.listed().1 | silent) {
                return LogStop::Silent(error);
            }
        }
        LogStop::Gap(gap)
    }

    /// The segment in which the append of this number lies or, where that was given back, the last one before it; `None` if there
    /// is none before it. Reads the first headers of some segments.
    #[must_use]
    pub fn holding(&self, lsn: Lsn) -> Option<SegmentId> {
        let history = self.shared.history.lock().clone();
        self.holding_in(lsn, &history)
    }

    fn holding_in(&self, lsn: Lsn, history: &History) -> Option<SegmentId> {
        let segments = self.segments();
        // One whose first stripe cannot be told counts as too late: beginning too early costs time alone.
        let late =
            segments.partition_point(|segment| self.first_of(*segment, history).is_some_and(|first| first <= lsn));
        Some(segments[late.checked_sub(1)?])
    }

    /// The number that a segment begins with.
    fn first_of(&self, segment: SegmentId, history: &History) -> Option<Lsn> {
        let set = self.shared.sets.of(segment)?;
        let (stripe, _) = self.walker(&set, segment, history).stripe_at(segment, 0, None)?;
        Some(stripe.head.first_lsn)
    }

    fn walker<'a>(&self, set: &'a Set, segment: SegmentId, history: &'a History) -> Walker<'a> {
        let mut walker = Walker::new(set, history);
        walker.enter(segment, self.shared.sets.of(SegmentId(segment.0.saturating_add(1))).as_deref());
        walker
    }

    /// Reads on within one segment, at a sector where the append of the number given is expected, if any.
    fn read_segment(
        &self,
        (segment, mut sector, mut expected): (SegmentId, u32, Option<Lsn>),
        place: &mut LogPlace,
        upto: Lsn,
        history: &History,
        each: &mut dyn FnMut(Replayed) -> bool,
    ) -> Walked {
        let Some(set) = self.shared.sets.of(segment) else {
            return Walked::Gap(self.gap(place.next, upto, history), 0);
        };
        let mut walker = self.walker(&set, segment, history);
        loop {
            let Some((stripe, _)) = walker.stripe_at(segment, sector, expected) else {
                let next = self.behind(segment, history);
                if let Some((next, first)) = next
                    && first <= place.next
                {
                    return Walked::Next(next);
                }
                let found = walker.scan(segment, sector, set.segment_sectors(), |head| {
                    let behind = expected.is_none_or(|lsn| head.first_lsn >= lsn);
                    behind && head.first_lsn <= upto && walker.admits(head)
                });
                match found {
                    // What is missing before it is not wanted.
                    Some(head) if head.first_lsn <= place.next => {
                        (sector, expected) = (head.sector, Some(head.first_lsn));
                        continue;
                    }
                    Some(head) => return Walked::Gap(self.damage(segment, place.next, head.first_lsn), walker.silent),
                    None => {
                        // What is still listed and cannot be read was not given back.
                        let listed = self.segments();
                        let there = |number| listed.binary_search(&SegmentId(number)).is_ok();
                        let ends = next.is_none_or(|(next, _)| (segment.0..next.0).all(there));
                        let gap = self.gap(place.next, upto, history);
                        return Walked::Gap(LogGap { damaged: ends && there(segment.0), ..gap }, walker.silent);
                    }
                }
            };
            let head = stripe.head;
            if head.first_lsn > place.next {
                return Walked::Gap(self.gap(place.next, upto, history), walker.silent);
            }
            if head.last_lsn >= place.next {
                let appends = set.read(&head.meta_location()).ok();
                let Some(appends) = appends.and_then(|bytes| meta::decode(&head, &bytes)) else {
                    return Walked::Gap(self.damage(segment, place.next, head.last_lsn.next()), walker.silent);
                };
                let wanted = place.next;
                for append in appends.into_iter().filter(|append| append.lsn >= wanted) {
                    if append.lsn > upto {
                        return Walked::Enough;
                    }
                    place.next = append.lsn.next();
                    place.at = Some(match append.lsn == head.last_lsn {
                        true => (segment, head.end_sector(), place.next),
                        false => (segment, sector, head.first_lsn),
                    });
                    if !each(append) {
                        return Walked::Enough;
                    }
                }
                if place.next > upto {
                    return Walked::Enough;
                }
            }
            sector = head.end_sector();
            expected = Some(head.last_lsn.next());
        }
    }

    /// The first segment behind this one that has a stripe, and the number it begins with.
    fn behind(&self, segment: SegmentId, history: &History) -> Option<(SegmentId, Lsn)> {
        let later = self.segments().into_iter().filter(|later| *later > segment);
        later.into_iter().find_map(|later| Some((later, self.first_of(later, history)?)))
    }

    fn lists(&self, segment: SegmentId) -> bool {
        self.segments().binary_search(&segment).is_ok()
    }

    /// What cannot be read within a segment, unless that is just being given back.
    fn damage(&self, segment: SegmentId, from: Lsn, until: Lsn) -> LogGap {
        LogGap { from, until, damaged: self.lists(segment) }
    }

    /// What was given back from this number on: up to the first number behind it that a segment begins with.
    fn gap(&self, from: Lsn, upto: Lsn, history: &History) -> LogGap {
        let segments = self.segments();
        let first = segments.iter().filter_map(|segment| self.first_of(*segment, history)).find(|first| *first > from);
        LogGap { from, until: first.unwrap_or(upto.next()), damaged: false }
    }
}

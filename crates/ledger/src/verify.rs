//! Reading every byte of every frame: `verify` reports what is not as it should be, `heal` also writes it anew.
//!
//! Works on a log that goes on being written: it looks at what was written when it began. A disk that came back or was
//! replaced is healed the same way as rot: it lacks frames, and they are rebuilt from the others.

use strata_seam::planted::{Bug, planted};
use strata_seam::{Lsn, SegmentId};

use crate::error::Result;
use crate::layout;
use crate::ledger::Ledger;
use crate::shared::Shared;
use crate::walk::{Stripe, Walker};
use crate::whole::{FrameState, Rewrite};

/// Unreadable places named in a report; further ones are only counted.
pub const UNREADABLE_NAMED_MAX: usize = 1000;

/// The frames of one disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DiskFrames {
    /// The disk's label.
    pub label: String,
    /// Valid in every byte.
    pub good: u64,
    /// There, but damaged.
    pub damaged: u64,
    /// Not there.
    pub missing: u64,
    /// Damaged or missing ones written anew.
    pub healed: u64,
}

/// A place where something acknowledged cannot be read or rebuilt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// Segment file.
    pub segment: SegmentId,
    /// Byte offset within it.
    pub offset: u64,
    /// First sequence number expected there; 0 where it is not known.
    pub lsn: Lsn,
}

/// What a pass over the log found. `stripes * disks` is the sum of `good`, `damaged` and `missing`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Segments looked at.
    pub segments: u64,
    /// Stripes found.
    pub stripes: u64,
    /// By place in the set.
    pub disks: Vec<DiskFrames>,
    /// Places that cannot be read or rebuilt: all of them.
    pub unreadable_count: u64,
    /// The first of them, at most [`UNREADABLE_NAMED_MAX`].
    pub unreadable: Vec<Unreadable>,
}

impl Report {
    /// Whether every frame of every stripe is valid, or has been made so.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.unreadable_count == 0 && self.disks.iter().all(|disk| disk.damaged + disk.missing == disk.healed)
    }
}

struct Pass<'a> {
    shared: &'a Shared,
    heal: bool,
    report: Report,
    /// Segment, sector and number behind the last stripe to look at.
    end: (SegmentId, u32, Lsn),
}

impl Ledger {
    /// Reads every byte of every frame and reports what is damaged, missing or lost. Changes nothing. `progress` is told
    /// after each stripe and may end the pass early by returning false.
    ///
    /// # Errors
    /// None for damage: that is the report's matter.
    pub fn verify(&self, progress: &mut dyn FnMut(&Report) -> bool) -> Result<Report> {
        Pass::new(&self.shared, false).run(progress)
    }

    /// As [`verify`](Self::verify), and writes damaged and missing frames anew on every disk that takes writes. After a
    /// pass that left nothing to do, the superblocks say that the disks are complete again.
    ///
    /// # Errors
    /// [`LedgerError::QuorumLost`](crate::LedgerError::QuorumLost) in a set that is read-only.
    pub fn heal(&self, progress: &mut dyn FnMut(&Report) -> bool) -> Result<Report> {
        self.shared.set.check_quorum()?;
        let writable = self.shared.set.mask(crate::member::Member::writable);
        let mut ended = false;
        let report = Pass::new(&self.shared, true).run(&mut |report| {
            let go_on = progress(report);
            ended |= !go_on;
            go_on
        })?;
        if !ended && report.unreadable_count == 0 {
            let healed = report.disks.iter().enumerate().filter(|(_, disk)| disk.damaged + disk.missing == disk.healed);
            let healed = healed.fold(0, |mask, (index, _)| mask | 1 << index) & writable;
            let writer = self.shared.writer.lock();
            self.shared.supers.lock().store(&self.shared.set, |superblock| superblock.whole |= healed)?;
            drop(writer);
        }
        Ok(report)
    }
}

impl<'a> Pass<'a> {
    fn new(shared: &'a Shared, heal: bool) -> Self {
        let label =
            |member: &crate::member::Member| DiskFrames { label: member.label.clone(), ..DiskFrames::default() };
        let report = Report { disks: shared.set.members.iter().map(label).collect(), ..Report::default() };
        let writer = shared.writer.lock();
        let end = (writer.segment, writer.sector, shared.written().next());
        Self { shared, heal, report, end }
    }

    fn run(mut self, progress: &mut dyn FnMut(&Report) -> bool) -> Result<Report> {
        let (shared, end) = (self.shared, self.end);
        let set = &shared.set;
        let history = shared.supers.lock().newest.history.clone();
        let mut walker = Walker::new(set, &history);
        let mut expected = Some(Lsn(1));
        let mut following = SegmentId(0);
        for segment in set.segments().0.into_iter().filter(|segment| *segment <= end.0) {
            self.report.segments += 1;
            if segment != following {
                // Segments before were given back.
                expected = None;
            }
            following = SegmentId(segment.0.saturating_add(1));
            let mut sector = 0;
            let limit = if segment == end.0 { end.1 } else { set.segment_sectors() };
            while sector < limit {
                let found = walker.stripe_at(segment, sector, expected);
                let next = match found {
                    Some((stripe, _)) => Some(stripe),
                    None => walker
                        .scan(segment, sector, limit, |head| {
                            history.admits(head.epoch, head.opening, head.first_lsn)
                                && expected.is_none_or(|lsn| head.first_lsn >= lsn)
                                && head.last_lsn < end.2
                        })
                        .and_then(|head| walker.stripe_at(segment, head.sector, Some(head.first_lsn)))
                        .map(|(stripe, _)| stripe),
                };
                let Some(stripe) = next else { break };
                // A number skipped is a stripe lost, here or at the end of the segment before.
                if expected.is_some_and(|lsn| lsn < stripe.head.first_lsn)
                    || (expected.is_none() && sector < stripe.head.sector)
                {
                    self.lost(segment, sector, expected.unwrap_or_default());
                }
                self.stripe(&stripe);
                sector = stripe.head.end_sector();
                expected = Some(stripe.head.last_lsn.next());
                if !progress(&self.report) {
                    return Ok(self.report);
                }
            }
        }
        if let Some(lsn) = expected.filter(|lsn| *lsn < end.2) {
            self.lost(end.0, end.1, lsn);
        }
        Ok(self.report)
    }

    fn lost(&mut self, segment: SegmentId, sector: u32, lsn: Lsn) {
        self.report.unreadable_count += 1;
        if self.report.unreadable.len() < UNREADABLE_NAMED_MAX {
            self.report.unreadable.push(Unreadable { segment, offset: layout::byte_of(sector), lsn });
        }
    }

    fn stripe(&mut self, stripe: &Stripe) {
        let set = &self.shared.set;
        self.report.stripes += 1;
        let loaded = set.load(stripe);
        let states = set.frame_states(stripe, &loaded);
        for (disk, state) in self.report.disks.iter_mut().zip(&states) {
            match state {
                FrameState::Good => disk.good += 1,
                FrameState::Damaged => disk.damaged += 1,
                FrameState::Missing => disk.missing += 1,
            }
        }
        if loaded.valid() < set.data_shards() {
            self.lost(stripe.head.segment, stripe.head.sector, stripe.head.first_lsn);
        } else if self.heal
            && loaded.valid() < set.disks()
            && !(planted(Bug::HealMissesDamage) && stripe.present() == set.disks())
        {
            match set.heal(stripe, &loaded, Rewrite::Damaged) {
                Some(written) => written.into_iter().for_each(|disk| self.report.disks[disk].healed += 1),
                None => self.lost(stripe.head.segment, stripe.head.sector, stripe.head.first_lsn),
            }
        }
    }
}

//! Passes over the log: reading every byte of every frame, and writing anew what is not as it should be.
//!
//! A pass works on a log that goes on being written: it looks at what was written when it began, holds no lock while it
//! reads, and so holds up no append. It never truncates and never gives anything up: what cannot be rebuilt stays as it
//! is and is named.
//!
//! A repairing pass begins with the superblocks: a disk whose own word is lost would be no disk of the set at the next
//! opening, whatever else is on it.
//!
//! A disk that came back or was replaced is healed the same way as rot: it lacks frames, and they are rebuilt from the
//! others. One thing is particular to it: what it was given and failed to sync may be shown by the operating system
//! without being on the medium, so between the number up to which it is known to be sound and the one from which it
//! takes part again, valid frames are written anew as well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use strata_seam::planted::{Bug, planted};
use strata_seam::{Lsn, Position, SegmentId, WriteMode};

use crate::error::Result;
use crate::history::History;
use crate::layout;
use crate::ledger::Ledger;
use crate::report::{DiskFrames, PassOptions, Progress, Report, StripeProof, UNREADABLE_NAMED_MAX, Unreadable};
use crate::set::Set;
use crate::shared::Shared;
use crate::walk::{Stripe, Walker};
use crate::whole::FrameState;

/// Stripes after which a repairing pass writes down how far the disks it heals are sound: what an interruption costs.
const NOTE_EVERY: u64 = 4096;

/// Told after each stripe; false ends the pass.
type Tell<'t> = &'t mut dyn FnMut(&Progress<'_>) -> bool;

/// A disk that lacks frames and takes part, as it was when the pass began.
struct Lagging {
    set: Arc<Set>,
    disk: usize,
    /// How often its taking part had changed: if it changes again, what this pass found says nothing any more.
    changes: u64,
    /// Up to here it was sound before.
    sound: Lsn,
    /// From here on it took every stripe.
    joined: Lsn,
    /// Up to here this pass found or made it sound, without a gap.
    reached: Lsn,
    /// Whether there is no gap so far.
    unbroken: bool,
}

struct Pass<'a> {
    shared: &'a Shared,
    /// The sets of the store when it began; a set that joins later is looked at by the next pass.
    sets: Vec<Arc<Set>>,
    repair: bool,
    report: Report,
    lagging: Vec<Lagging>,
    /// Segment, sector and number behind the last stripe to look at.
    end: (SegmentId, u32, Lsn),
    /// Bytes of the stripe at hand, over all disks.
    read: u64,
    started: u64,
    done_bytes: u64,
    total_bytes: u64,
}

impl Ledger {
    /// Reads every byte of every frame and reports what is damaged, missing or lost. Changes nothing. `progress` is told
    /// after each stripe and may end the pass by returning false.
    ///
    /// # Errors
    /// None for damage: that is the report's matter.
    pub fn verify(&self, options: &PassOptions, progress: &mut dyn FnMut(&Progress<'_>) -> bool) -> Result<Report> {
        let from = options.from;
        Pass::new(&self.shared, false).run(options, from, progress)
    }

    /// As [`verify`](Self::verify), and writes damaged and missing frames anew on every disk that takes writes.
    ///
    /// # Errors
    /// [`LedgerError::QuorumLost`](crate::LedgerError::QuorumLost) in a store that is read-only. Of several sets those that
    /// take writes are repaired.
    pub fn scrub(&self, options: &PassOptions, progress: &mut dyn FnMut(&Progress<'_>) -> bool) -> Result<Report> {
        self.shared.begin_repair()?;
        let from = options.from;
        Pass::new(&self.shared, true).run(options, from, progress)
    }

    /// As [`scrub`](Self::scrub), beginning where the disks that lack frames begin to lack them, or with the whole log
    /// where none is known to. The superblocks are told how far it came, so that another heal goes on from there, and at
    /// the end that the disks are whole again. The report is the proof: stripes by the number of their valid frames.
    ///
    /// # Errors
    /// As for [`scrub`](Self::scrub).
    pub fn heal(&self, options: &PassOptions, progress: &mut dyn FnMut(&Progress<'_>) -> bool) -> Result<Report> {
        self.shared.begin_repair()?;
        let pass = Pass::new(&self.shared, true);
        let from = options.from.or_else(|| pass.first_lack());
        pass.run(options, from, progress)
    }
}

impl Shared {
    /// Before disks are repaired: what the writer has open must be what a pass finds by name, else what is written behind the pass
    /// would be on no disk.
    fn begin_repair(&self) -> Result<()> {
        self.check_quorum()?;
        let mut writer = self.writer.lock();
        if !writer.set.is_halted() && writer.has_files() && !planted(Bug::WrittenFilesNotAsked) {
            self.sync_files(&mut writer)?;
        }
        Ok(())
    }

    /// Refuses where no set takes writes.
    fn check_quorum(&self) -> Result<()> {
        let sets = self.sets.all();
        if sets.iter().any(|set| set.check_quorum().is_ok()) { Ok(()) } else { sets[0].check_quorum() }
    }
}

/// The disks of which frames up to `lsn` prove nothing: those that are gone, since what is read of them is read through what was
/// open of them; and to a repairing pass those that were set aside before all up to `lsn` was durable on them, since what they
/// show may be in the operating system's memory alone.
fn unproven_aside(set: &Set, lsn: Lsn, repair: bool) -> u32 {
    let supers = set.supers.lock();
    let aside = set.members.iter().enumerate().filter(|(disk, member)| {
        let unsynced = !member.writable() && supers.newest.whole >> disk & 1 == 0 && lsn > supers.newest.sound[*disk];
        repair && unsynced || member.is_gone()
    });
    aside.fold(0, |mask, (disk, _)| mask | 1 << disk)
}

impl<'a> Pass<'a> {
    fn new(shared: &'a Shared, repair: bool) -> Self {
        let sets = shared.sets.all();
        let members = sets.iter().flat_map(|set| &set.members);
        let disks = members.map(|member| DiskFrames { label: member.label().to_string(), ..Default::default() });
        let most = shared.most_disks();
        let report = Report { disks: disks.collect(), by_present: vec![0; most + 1], ..Report::default() };
        let writer = shared.writer.lock();
        let end = (writer.segment, writer.sector, shared.written().next());
        let mut lagging = Vec::new();
        for set in sets.iter().filter(|_| repair) {
            let supers = set.supers.lock();
            for (disk, member) in set.members.iter().enumerate() {
                if member.writable() && supers.newest.whole >> disk & 1 == 0 {
                    lagging.push(Lagging {
                        set: Arc::clone(set),
                        disk,
                        changes: member.changes(),
                        sound: supers.newest.sound[disk],
                        joined: member.joined(),
                        reached: Lsn(0),
                        unbroken: false,
                    });
                }
            }
        }
        drop(writer);
        let now = shared.clock.monotonic_nanos();
        Self { shared, sets, repair, report, lagging, end, read: 0, started: now, done_bytes: 0, total_bytes: 0 }
    }

    fn history(&self) -> History {
        self.shared.history.lock().clone()
    }

    /// The segments of the log, of one set or of all.
    fn segments(&self, of: Option<&Arc<Set>>) -> Vec<SegmentId> {
        let mut segments = BTreeSet::new();
        for set in self.sets.iter().filter(|set| of.is_none_or(|of| of.id == set.id)) {
            let whole = set.supers.lock().newest.whole;
            segments.extend(set.segments(whole).0.into_iter().filter(|segment| self.home(*segment) == self.index(set)));
        }
        segments.into_iter().filter(|segment| *segment <= self.end.0).collect()
    }

    fn index(&self, set: &Set) -> usize {
        self.sets.iter().position(|other| other.id == set.id).unwrap_or(0)
    }

    /// The set that a segment lies on, by its place in the list.
    fn home(&self, segment: SegmentId) -> usize {
        self.shared.sets.of(segment).map_or(0, |set| self.index(&set))
    }

    /// The first segment that a disk which lacks frames may lack something of: segments are in the order of numbers, so
    /// the first stripe of each tells. `None` for the whole log.
    fn first_lack(&self) -> Option<Position> {
        let history = self.history();
        let first_of = |set: &Arc<Set>| {
            let lagging = self.lagging.iter().filter(|lagging| lagging.set.id == set.id);
            let Some(sound) = lagging.map(|lagging| lagging.sound).min() else { return Some(None) };
            let segments = self.segments(Some(set));
            let first_lsn = |segment: SegmentId| {
                let mut walker = Walker::new(set, &history);
                walker.stripe_at(segment, 0, None).map(|(stripe, _)| stripe.head.first_lsn)
            };
            // A segment whose first stripe cannot be told counts as too late: beginning too early costs time alone.
            let late = segments.partition_point(|segment| first_lsn(*segment).is_some_and(|lsn| lsn <= sound.next()));
            let segment = *segments.get(late.checked_sub(1)?).filter(|_| sound.0 > 0)?;
            Some(Some(Position { segment, offset: 0, next_lsn: first_lsn(segment)? }))
        };
        // The whole log where that holds for any of the sets.
        let firsts: Vec<Option<Position>> = self.sets.iter().map(first_of).collect::<Option<_>>()?;
        firsts.into_iter().flatten().min_by_key(|position| position.segment)
    }

    /// Bytes of the log in `segments` from a place on, over all disks.
    fn bytes_of(&self, segments: &[SegmentId], sector: u32) -> u64 {
        let bytes = |segment: &SegmentId, from: u32| {
            let disks = self.sets[self.home(*segment)].disks() as u64;
            layout::byte_of(self.limit(*segment).saturating_sub(from)) * disks
        };
        let all: u64 = segments.iter().map(|segment| bytes(segment, 0)).sum();
        let before = segments.first().map_or(0, |first| bytes(first, 0) - bytes(first, sector));
        all - before
    }

    /// Where to stop in a segment.
    fn limit(&self, segment: SegmentId) -> u32 {
        if segment == self.end.0 { self.end.1 } else { self.sets[self.home(segment)].segment_sectors() }
    }

    fn run(mut self, options: &PassOptions, from: Option<Position>, tell: Tell<'_>) -> Result<Report> {
        options.pace.begin(&*self.shared.clock);
        if self.repair {
            let writer = self.shared.writer.lock();
            for set in self.sets.iter().filter(|set| set.is_open()) {
                self.report.superblocks += set.supers.lock().mend(set, self.shared.durable())?;
            }
            drop(writer);
        }
        let history = self.history();
        let sets = self.sets.clone();
        let mut walkers: Vec<Walker<'_>> = sets.iter().map(|set| Walker::new(set, &history)).collect();
        let mut segments = self.segments(None);
        let (mut expected, mut sector, mut following) = (Some(Lsn(1)), 0, SegmentId(0));
        if let Some(from) = from {
            segments.retain(|segment| *segment >= from.segment);
            following = from.segment;
            (expected, sector) =
                (Some(from.next_lsn), u32::try_from(from.offset / layout::byte_of(1)).unwrap_or(u32::MAX));
        }
        for lagging in &mut self.lagging {
            lagging.unbroken = expected.is_none_or(|lsn| lsn <= lagging.sound.next());
        }
        if segments.first() != Some(&following) {
            sector = 0;
        }
        self.total_bytes = self.bytes_of(&segments, sector);
        for (index, segment) in segments.iter().copied().enumerate() {
            self.report.segments += 1;
            if segment != following {
                // Segments before were given back.
                expected = None;
                sector = 0;
            }
            following = SegmentId(segment.0.saturating_add(1));
            let limit = self.limit(segment);
            let home = self.home(segment);
            // What is proved is what the next opening finds by these names: a file that was removed is still read through what is
            // open of it.
            if !planted(Bug::RemovedFileTrusted) {
                sets[home].members.iter().for_each(|member| member.forget(segment));
            }
            let next_on = self.shared.sets.of(following);
            let walker = &mut walkers[home];
            walker.enter(segment, next_on.as_deref());
            while sector < limit {
                let found = walker.stripe_at(segment, sector, expected);
                let next = match found {
                    Some((stripe, _)) => Some(stripe),
                    None => walker
                        .scan(segment, sector, limit, |head| {
                            walker.admits(head)
                                && expected.is_none_or(|lsn| head.first_lsn >= lsn)
                                && head.last_lsn < self.end.2
                        })
                        .and_then(|head| walker.stripe_at(segment, head.sector, Some(head.first_lsn)))
                        .map(|(stripe, _)| stripe),
                };
                let Some(stripe) = next else { break };
                // A number skipped is a stripe lost, here or at the end of the segment before.
                if expected.is_some_and(|lsn| lsn < stripe.head.first_lsn)
                    || (expected.is_none() && sector < stripe.head.sector)
                {
                    self.lost(segment, sector, expected.unwrap_or_default(), stripe.head.first_lsn);
                }
                let Some(proof) = self.stripe(home, &stripe) else { break };
                sector = stripe.head.end_sector();
                expected = Some(stripe.head.last_lsn.next());
                self.report.next =
                    Position { segment, offset: layout::byte_of(sector), next_lsn: stripe.head.last_lsn.next() };
                self.done_bytes = self.total_bytes - self.bytes_of(&segments[index..], sector).min(self.total_bytes);
                if !self.tell(proof, options, tell) {
                    self.note()?;
                    return Ok(self.report);
                }
            }
            sector = 0;
            if !self.is_listed(segment) {
                expected = None;
            }
        }
        if let Some(lsn) = expected.filter(|lsn| *lsn < self.end.2) {
            self.lost(self.end.0, self.end.1, lsn, self.end.2);
        }
        self.report.finished = true;
        self.report.next = Position { segment: self.end.0, offset: layout::byte_of(self.end.1), next_lsn: self.end.2 };
        self.note()?;
        Ok(self.report)
    }

    /// Tells where the pass is, keeps its pace and writes down from time to time how far it came.
    fn tell(&mut self, stripe: StripeProof, options: &PassOptions, tell: Tell<'_>) -> bool {
        if self.repair && self.report.stripes.is_multiple_of(NOTE_EVERY) && self.note().is_err() {
            // The quorum is gone: there is nobody to heal.
            return false;
        }
        let go_on = options.pace.pay(&*self.shared.clock, std::mem::take(&mut self.read), &|| false);
        let elapsed = Duration::from_nanos(self.shared.clock.monotonic_nanos().saturating_sub(self.started));
        let (done_bytes, total_bytes) = (self.done_bytes, self.total_bytes);
        tell(&Progress { report: &self.report, stripe, done_bytes, total_bytes, elapsed })
            && go_on
            && !options.pace.is_stopped()
    }

    /// Whether any disk still has a file of the segment: it may have been given back while it was read. Where it is just being
    /// given back, some disks have it no more: that is waited for.
    fn is_listed(&self, segment: SegmentId) -> bool {
        let set = &self.sets[self.home(segment)];
        let _freeing = set.freeing.read();
        set.members
            .iter()
            .any(|member| member.disk().is_ok_and(|disk| disk.open(&layout::segment_name(segment)).is_ok()))
    }

    fn lost(&mut self, segment: SegmentId, sector: u32, lsn: Lsn, until: Lsn) {
        if !self.is_listed(segment) {
            return;
        }
        // What a missing disk may still have is not lost for the others; what nobody has is no lack of theirs.
        for lagging in &mut self.lagging {
            lagging.unbroken &= lagging.set.members.iter().all(crate::member::Member::present);
        }
        self.report.unreadable_count += 1;
        if self.report.unreadable.len() < UNREADABLE_NAMED_MAX {
            self.report.unreadable.push(Unreadable { segment, offset: layout::byte_of(sector), lsn, until });
        }
    }

    /// Looks at one stripe; `None` where its segment was given back meanwhile.
    fn stripe(&mut self, home: usize, stripe: &Stripe) -> Option<StripeProof> {
        let set = Arc::clone(&self.sets[home]);
        let head = &stripe.head;
        self.read += layout::frame_len(head.shard_len) * set.disks() as u64;
        let loaded = set.load(stripe);
        let mut states = set.frame_states(stripe, &loaded);
        let present = loaded.valid();
        let (mut lost, mut written) = (present < set.data_shards(), 0);
        let ours = |lagging: &&Lagging| lagging.set.id == set.id;
        let doubted = (self.lagging.iter().filter(ours))
            .filter(|lagging| head.last_lsn > lagging.sound && head.first_lsn < lagging.joined);
        let mut doubted = doubted.fold(0, |mask, lagging| mask | 1_u32 << lagging.disk);
        if planted(Bug::DoubtedFramesTrusted) {
            doubted = 0;
        }
        let missed = planted(Bug::HealMissesDamage) && stripe.present() == set.disks();
        if !lost && self.repair && set.is_open() && (present < set.disks() || doubted != 0) && !missed {
            match set.heal(stripe, &loaded, doubted, WriteMode::Durable) {
                Some(healed) => written = healed,
                None => lost = true,
            }
        }
        doubted |= unproven_aside(&set, head.last_lsn, self.repair);
        for (_, state) in states.iter_mut().enumerate().filter(|(disk, _)| (doubted & !written) >> disk & 1 == 1) {
            *state = FrameState::Missing;
        }
        let sound =
            (0..set.disks()).filter(|disk| written >> disk & 1 == 1 || states[*disk] == FrameState::Good).count();
        if sound < set.disks() && !self.is_listed(head.segment) {
            return None;
        }
        self.report.stripes += 1;
        let base: usize = self.sets[..home].iter().map(|set| set.disks()).sum();
        for (index, (disk, state)) in self.report.disks[base..].iter_mut().zip(&states).enumerate() {
            let anew = written >> index & 1;
            match state {
                FrameState::Good => {
                    disk.good += 1;
                    disk.renewed += u64::from(anew);
                }
                FrameState::Damaged => disk.damaged += 1,
                FrameState::Missing => disk.missing += 1,
            }
            if *state != FrameState::Good {
                disk.healed += u64::from(anew);
            }
        }
        if lost {
            self.lost(head.segment, head.sector, head.first_lsn, head.last_lsn.next());
        }
        for lagging in self.lagging.iter_mut().filter(|lagging| lagging.set.id == set.id) {
            let anew = written >> lagging.disk & 1 == 1;
            let trusted = doubted >> lagging.disk & 1 == 0;
            lagging.unbroken &= anew || lost || (states[lagging.disk] == FrameState::Good && trusted);
            if lagging.unbroken {
                lagging.reached = head.last_lsn;
            }
        }
        let lacking = set.disks() - sound.min(set.disks());
        let last = self.report.by_present.len() - 1;
        self.report.by_present[last - lacking] += 1;
        Some(StripeProof {
            segment: head.segment,
            offset: layout::byte_of(head.sector),
            first_lsn: head.first_lsn,
            last_lsn: head.last_lsn,
            present: sound as u8,
            expected: set.disks() as u8,
            readable: !lost,
        })
    }

    /// Writes down how far the disks that lacked frames are sound now, and after a whole pass that they lack nothing.
    fn note(&mut self) -> Result<()> {
        let writer = self.shared.writer.lock();
        for set in self.sets.iter().filter(|set| set.is_open()) {
            self.note_in(set)?;
        }
        drop(writer);
        Ok(())
    }

    /// The same in the superblocks of one set.
    fn note_in(&self, set: &Set) -> Result<()> {
        let finished = self.report.finished;
        let mut supers = set.supers.lock();
        let unchanged = |lagging: &&Lagging| {
            let member = &set.members[lagging.disk];
            member.writable() && member.changes() == lagging.changes
        };
        let ours: Vec<&Lagging> =
            self.lagging.iter().filter(|lagging| lagging.set.id == set.id).filter(unchanged).collect();
        let risen: Vec<(usize, Lsn)> = (ours.iter())
            .filter(|lagging| lagging.reached > supers.newest.sound[lagging.disk])
            .map(|lagging| (lagging.disk, lagging.reached))
            .collect();
        let proved = |lagging: &&&Lagging| (finished && lagging.unbroken) || planted(Bug::HealClaimsTooMuch);
        let whole = ours.iter().filter(proved);
        let whole = whole.fold(0, |mask, lagging| mask | 1_u32 << lagging.disk);
        if risen.is_empty() && whole == 0 {
            return Ok(());
        }
        supers.store(set, self.shared.durable(), |superblock| {
            risen.iter().for_each(|(disk, sound)| superblock.sound[*disk] = *sound);
            superblock.whole |= whole;
        })
    }
}

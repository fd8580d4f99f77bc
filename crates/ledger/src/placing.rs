//! Going on to the next segment, and choosing the set it is made on: the one with the largest share of its room free, of
//! those that take writes and are not being drained.
//!
//! Invariants: before the first stripe of a segment, everything before it is synced, so what is not proven to be durable
//! always lies in the newest segment alone, on one set. A stripe that was not taken, but may lie on some disks, is written
//! in another segment under the same numbers only as a new opening of the store, which all sets that take writes were told
//! of before: what lies of it where it was tried first is disowned by the history, as after a truncation.

use std::sync::Arc;

use strata_seam::planted::{Bug, planted};
use strata_seam::{Epoch, Lsn, SegmentId};

use crate::error::{LedgerError, Result};
use crate::history::{History, Opening};
use crate::identify::codec;
use crate::queue::Halt;
use crate::set::Set;
use crate::shared::Shared;
use crate::stripe::Frames;
use crate::superblock::Superblock;
use crate::writer::{Attempt, Writer};

/// Stripes up to this many sectors per frame on average make a segment of small commits, worth filling with zeros.
const SMALL_SECTORS: u64 = 16;

impl Shared {
    /// Disks of the set that has the most.
    pub(crate) fn most_disks(&self) -> usize {
        self.sets.all().iter().map(|set| set.disks()).max().unwrap_or(0)
    }

    /// Whether new segments may be made on the set.
    pub(crate) fn may_take(&self, set: &Set) -> bool {
        set.is_open() && (self.sets.roster().is_active(set.id) || planted(Bug::DrainingSetWritten))
    }

    /// The sets that a segment may be made on, the one to be preferred first.
    fn candidates(&self) -> Vec<Arc<Set>> {
        let mut sets = self.sets.all();
        sets.retain(|set| self.may_take(set));
        if sets.len() > 1 {
            // Of sets that share their disks' file systems, as in a trial set-up, the one that holds less comes first.
            sets.sort_by_cached_key(|set| {
                let held = self.sets.segments_on(set.id).len() as u64 * set.segment_len * set.data_shards() as u64;
                (std::cmp::Reverse(set.free_share()), held)
            });
        }
        sets
    }

    /// Makes a segment on the best set that has room for it and, with `sparing`, then still what is kept back.
    ///
    /// # Errors
    /// [`LedgerError::Full`] where some set takes writes and none has room, [`LedgerError::QuorumLost`] where none does.
    pub(crate) fn make_segment(&self, segment: SegmentId, zeroed: bool, sparing: bool) -> Result<Arc<Set>> {
        let first = self.sets.first();
        let mut refused = LedgerError::QuorumLost { answered: first.writable(), needed: first.write_quorum() };
        for set in self.candidates() {
            let reserve = if sparing { self.reserve_on(&set) } else { 0 };
            match set.create_segment(segment, zeroed, reserve) {
                Ok(()) => {
                    if let Some(before) = self.sets.settle(segment, &set) {
                        // Made ahead and never written. Where it cannot be removed, it is told by having no frame.
                        before.drop_files(segment);
                    }
                    return Ok(set);
                }
                Err(error @ LedgerError::QuorumLost { .. }) if !matches!(refused, LedgerError::Full) => refused = error,
                Err(LedgerError::QuorumLost { .. }) => {}
                Err(LedgerError::Full) => refused = LedgerError::Full,
                Err(other) => return Err(other),
            }
        }
        Err(refused)
    }

    /// Goes on where an opening found the end of the log: there, if that set takes writes, else on another.
    pub(crate) fn go_on(&self, writer: &mut Writer) -> Result<()> {
        if self.may_take(&writer.set) {
            match writer.open_files() {
                Err(LedgerError::QuorumLost { .. }) => writer.set.halt(),
                Ok(()) => {
                    self.sets.settle(writer.segment, &writer.set);
                    return Ok(());
                }
                other => return other,
            }
        }
        self.roll(writer)
    }

    /// Goes on to the next segment, as a new opening where something of a stripe may be left in this one. A segment that
    /// nothing was written to is not left behind: it is made anew under its number.
    pub(crate) fn roll(&self, writer: &mut Writer) -> Result<()> {
        let elsewhere = || self.candidates().first().is_some_and(|set| set.id != writer.set.id);
        let left_out = planted(Bug::RollWithoutSync) || (planted(Bug::SetChangedWithoutSync) && elsewhere());
        if writer.unsynced && !left_out {
            self.sync(writer)?;
        }
        if writer.attempt != Attempt::None && !planted(Bug::CutStripeForgotten) {
            self.disown_attempt(writer)?;
        }
        let number = writer.segment.0.checked_add(u32::from(writer.sector > 0)).ok_or(LedgerError::Full)?;
        let next = SegmentId(number);
        let ahead = writer.ahead.take().filter(|(segment, _)| *segment == next).and_then(|(_, set)| set);
        let mut ready = match self.prepare.take(next) {
            Some(Ok(set)) => Some(set),
            Some(Err(_)) | None => ahead.filter(|_| !self.started()),
        };
        let before = Arc::clone(&writer.set);
        loop {
            let set = match ready.take().filter(|set| self.may_take(set)) {
                Some(set) => set,
                None => {
                    let mut made = self.make_segment(next, false, true);
                    if matches!(made, Err(LedgerError::Full)) {
                        // What was kept back is for those that are let through now: removals, and whoever makes room.
                        made = self.make_segment(next, false, false);
                    }
                    made.inspect_err(|error| self.halt_if_lost(error))?
                }
            };
            if set.id != writer.set.id {
                let geometry = set.geometry;
                writer.frames = Frames::new(codec(set.codec_id, geometry)?);
                (writer.identity.set, writer.identity.geometry) = (set.id, geometry);
                writer.set = set;
            }
            (writer.segment, writer.sector, writer.stripes) = (next, 0, 0);
            let opened = writer.open_files().and_then(|()| {
                // Each disk then says itself up to where it has everything, at most a segment behind: what is healed when
                // it was away, and by what an older image of it is told from it.
                let durable = self.durable();
                self.tell(&writer.set, |superblock| superblock.durable_lsn = durable)
            });
            match opened {
                Err(error @ LedgerError::QuorumLost { .. }) => {
                    writer.set.halt();
                    if self.candidates().is_empty() {
                        self.halt_if_lost(&error);
                        return Err(error);
                    }
                }
                other => {
                    other?;
                    break;
                }
            }
        }
        self.measure(writer);
        if before.id != writer.set.id && before.is_open() {
            // The same for the disks that are not written for a while. It may cost that set its quorum, not this one.
            let durable = self.durable();
            if let Err(error) = self.tell(&before, |superblock| superblock.durable_lsn = durable) {
                before.halt_over(&error);
            }
        }
        Ok(())
    }

    fn halt_if_lost(&self, error: &LedgerError) {
        if let LedgerError::QuorumLost { answered, needed } = *error {
            self.halt(Halt::QuorumLost { answered, needed });
        }
    }

    /// The set being written did not take the stripe that begins with `first`: goes on with another set, if there is one
    /// and nothing that is only written there was told of. False where there is none.
    ///
    /// # Errors
    /// [`LedgerError::Full`] where the others have no room, [`LedgerError::Exhausted`].
    pub(crate) fn go_elsewhere(&self, writer: &mut Writer, first: Lsn) -> Result<bool> {
        if self.queue.lock().halt.is_some() || writer.unsynced || self.durable().next() != first {
            return Ok(false);
        }
        writer.set.halt();
        if self.candidates().is_empty() {
            return Ok(false);
        }
        self.roll(writer)?;
        Ok(true)
    }

    /// Begins an opening behind what is written. Where that is cut off, it is tried again before anything else is written.
    fn disown_attempt(&self, writer: &mut Writer) -> Result<()> {
        writer.attempt = Attempt::Disowned;
        let (epoch, opening) = (writer.identity.epoch.0, writer.identity.opening);
        let first_lsn = self.written().next();
        let next = Opening { epoch: Epoch(epoch + 1), opening: another_name(opening, epoch), first_lsn };
        let mut history = self.history.lock().clone();
        history.push(next);
        if !planted(Bug::OpeningNotStored) {
            self.tell_of_opening(&history)?;
        }
        *self.history.lock() = history;
        (writer.identity.epoch, writer.identity.opening) = (next.epoch, next.opening);
        writer.attempt = Attempt::None;
        Ok(())
    }

    /// As an opening tells of itself: all sets that there is one, then all that it appends.
    fn tell_of_opening(&self, history: &History) -> Result<()> {
        let durable = self.durable();
        for appending in [false, true] {
            for set in self.sets.all().into_iter().filter(|set| set.is_open()) {
                let told = self.tell(&set, |superblock| {
                    superblock.durable_lsn = durable;
                    superblock.history = history.clone();
                    superblock.appending = appending;
                });
                match told {
                    Err(error @ LedgerError::Exhausted { .. }) => return Err(error),
                    Err(_) => set.halt(),
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    /// Changes the superblocks of a set.
    ///
    /// # Errors
    /// [`LedgerError::QuorumLost`] where too few of its disks take that.
    pub(crate) fn tell(&self, set: &Set, change: impl FnOnce(&mut Superblock)) -> Result<()> {
        set.supers.lock().store(set, self.durable(), change)
    }

    /// Changes the superblocks of every set that takes writes. One that loses its quorum by it takes none from then on;
    /// the store is read-only when none is left, or that one was being written.
    ///
    /// # Errors
    /// [`LedgerError::QuorumLost`] where none took it, [`LedgerError::Exhausted`] where some were not told for now.
    pub(crate) fn tell_all(&self, change: impl Fn(&mut Superblock)) -> Result<()> {
        let mut result = Ok(());
        let mut told = false;
        for set in self.sets.all().into_iter().filter(|set| !set.is_halted()) {
            match self.tell(&set, &change) {
                Ok(()) => told = true,
                Err(error @ LedgerError::Exhausted { .. }) => return Err(error),
                Err(error) => {
                    set.halt();
                    result = Err(error);
                }
            }
        }
        if told {
            return Ok(());
        }
        let first = self.sets.first();
        let lost = LedgerError::QuorumLost { answered: first.writable(), needed: first.write_quorum() };
        let lost = result.err().unwrap_or(lost);
        self.halt_if_lost(&lost);
        Err(lost)
    }

    /// Has the next segment made once half of this one is used.
    pub(crate) fn look_ahead(&self, writer: &mut Writer) {
        let next = SegmentId(writer.segment.0.saturating_add(1));
        let asked = writer.ahead.as_ref().is_some_and(|(segment, _)| *segment == next);
        if writer.sector < writer.set.segment_sectors() / 2 || asked {
            return;
        }
        writer.ahead = Some((next, None));
        if self.started() {
            let small = u64::from(writer.sector) / writer.stripes.max(1) <= SMALL_SECTORS;
            self.prepare.ask(next, small && self.options.zero_ahead);
        } else {
            let made = self.make_segment(next, false, true);
            // A lack of room or of disks shows when the segment is needed.
            writer.ahead = Some((next, made.ok()));
        }
        self.measure(writer);
    }
}

impl Set {
    /// Thousandths of the room of its fullest disk that are free; disks that do not tell are passed over.
    fn free_share(&self) -> u64 {
        let writable = self.members.iter().filter(|member| member.writable());
        let spaces = writable.filter_map(|member| member.disk().and_then(|disk| disk.space()).ok());
        spaces.map(|space| space.free.saturating_mul(1000) / space.total.max(1)).min().unwrap_or(0)
    }

    /// Removes the files of a segment that nothing was written to. One that stays does no harm.
    pub(crate) fn drop_files(&self, segment: SegmentId) {
        let freeing = self.freeing.write();
        for member in self.members.iter().filter(|member| member.present()) {
            if let Err(error) = member.remove(segment, false) {
                tracing::debug!(%error, %segment, "an empty segment file stays");
            }
        }
        drop(freeing);
    }
}

/// The name of an opening made of another: as unlikely to be that of a third as one drawn at random (the finalizer of
/// splitmix64, a permutation).
pub(crate) fn another_name(opening: u64, epoch: u64) -> u64 {
    let mut name = opening.wrapping_add(epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    name = (name ^ (name >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    name = (name ^ (name >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    name ^ (name >> 31)
}

//! Taking disks back while the set is being written: one that failed and was looked after, one that vanished and
//! returned, an empty one in place of one that is lost.
//!
//! Invariants: a disk is known by its superblock, never by where it was found. It takes part from a point at which all
//! before is durable, and the superblocks say so before a stripe is written to it. What it lacks from before keeps it
//! out of `whole` until a heal has written it; what was given back while it was away it gives up first.

use std::sync::Arc;

use strata_seam::planted::{Bug, planted};
use strata_seam::{Disk, DiskErrorKind, DiskIndex, Lsn};

use crate::error::{LedgerError, Result};
use crate::identify::{Found, Stranger, StrangerKind, adopt, apart, is_alike, is_apart, is_removed, look};
use crate::ledger::Ledger;
use crate::member::Why;
use crate::meter::{FLOOR_NANOS, RATIO, median};
use crate::queue::Halt;
use crate::set::Set;
use crate::shared::Shared;
use crate::superblock::Superblock;
use crate::writer::Writer;

/// Name of the file by which a disk that is set aside is tried.
const PROBE_FILE: &str = "probe";
/// Bytes of it.
const PROBE_LEN: usize = 4096;
/// Segments of room at which a disk that was full is taken back.
const ROOM_SEGMENTS: u64 = 4;
/// Tries in a row that must be quick before a slow disk is taken back.
const QUICK_TRIES: u32 = 3;

/// What became of a disk that was handed in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rejoined {
    /// Its place in the store: the disks of its sets one after the other.
    pub place: DiskIndex,
    /// Whether it takes writes from now on; in a set that is read-only it is read alone.
    pub written: bool,
}

impl Ledger {
    /// Takes a disk of this set back, on the running set: one that had been set aside, had vanished, or was missing when
    /// the set was opened. It is known by its superblock, whatever place it was found in. From the next stripe on it is
    /// written; what it lacks is written by [`heal`](Self::heal), and until then its state is
    /// [`Stale`](crate::DiskState::Stale).
    ///
    /// Waits for the stripe being written and syncs, then writes a superblock to every disk.
    ///
    /// # Errors
    /// [`LedgerError::ForeignDisk`] for a blank disk, one of another set, one whose place is taken;
    /// [`LedgerError::Inconsistent`] for one that was written while this set was away; [`LedgerError::NewerFormat`];
    /// [`LedgerError::Disk`] where it fails again. The set goes on as before.
    pub fn rejoin(&self, disk: Arc<dyn Disk>) -> Result<Rejoined> {
        let foreign = |what: String| LedgerError::ForeignDisk { disk: disk.label().to_owned(), what };
        let Found::Formatted(own, slot) = look(&*disk)? else {
            return Err(foreign("is blank; name the place it shall take".to_owned()));
        };
        if is_removed(&*disk)? {
            return Err(foreign(StrangerKind::Removed.to_string()));
        }
        let mut writer = self.shared.writer.lock();
        let place = usize::from(own.index.0);
        let Some(set) = self.shared.sets.by_id(own.set) else {
            let roster = self.shared.sets.roster();
            return Err(foreign(if own.roster().store == roster.store {
                StrangerKind::Unlisted(own.set).to_string()
            } else {
                format!("belongs to set {}, not to {}", own.set, roster.store)
            }));
        };
        let sound = {
            let supers = set.supers.lock();
            let newest = &supers.newest;
            if !is_alike(&own, newest) {
                return Err(foreign("its superblock describes the set differently from the others".to_owned()));
            }
            // The set runs: no disk of it can have been told of a later opening, unless elsewhere.
            if is_apart(&own, newest) || own.rank() > newest.rank() {
                return Err(apart(&*disk, newest.set));
            }
            // It may be as it was left or have older content: nobody knows better what it holds than itself.
            let known = match (newest.whole >> place & 1 == 1, newest.active >> place & 1 == 1) {
                (true, true) => self.shared.durable(),
                (true, false) => newest.durable_lsn,
                (false, _) => newest.sound[place],
            };
            known.min(own.own_sound())
        };
        self.shared.take_in(&mut writer, (&set, place), disk, (slot, sound))
    }

    /// Gives an empty disk a place whose disk is missing or was set aside. Otherwise as [`rejoin`](Self::rejoin).
    ///
    /// # Errors
    /// [`LedgerError::ForeignDisk`] where the disk is not empty or the place is taken, [`LedgerError::Setting`] for a
    /// place that the set does not have, and the disk's own.
    pub fn replace_disk(&self, place: DiskIndex, disk: Arc<dyn Disk>) -> Result<Rejoined> {
        let foreign = |what: String| LedgerError::ForeignDisk { disk: disk.label().to_owned(), what };
        let Some((set, index)) = self.shared.sets.disk_at(usize::from(place.0)) else {
            let what = format!("the set has the places 0 to {}", self.shared.sets.disks() - 1);
            return Err(LedgerError::Setting { name: "place", what });
        };
        if let Found::Formatted(own, _) = look(&*disk)?
            && !own.is_unmade()
        {
            return Err(foreign(format!("is not empty: it holds place {} of set {}", own.index, own.set)));
        }
        let mut writer = self.shared.writer.lock();
        self.shared.check_place(&set, index, &disk)?;
        let newest = set.supers.lock().newest.clone();
        if !adopt(&*disk, &newest, index)? {
            return Err(foreign("is not empty: it has segments, but no superblock".to_owned()));
        }
        self.shared.take_in(&mut writer, (&set, index), disk, (0, Lsn(0)))
    }

    /// Looks after the disks that are set aside for a reason that may pass: takes back one that was slow and is quick
    /// again, that was full and has room, that was read-only and takes changes. To be called every few seconds by
    /// whoever keeps house; does nothing, and costs nothing, while no such disk is set aside. Returns the places taken
    /// back: heal then.
    ///
    /// Also notices disks that went while nothing was written, and looks again whether a full store has room.
    ///
    /// One that failed or is gone is not tried: somebody who knows the disk hands it in by [`rejoin`](Self::rejoin).
    ///
    /// # Errors
    /// None for a disk that stays aside; [`LedgerError::QuorumLost`] and the like for the set.
    pub fn tend(&self) -> Result<Vec<DiskIndex>> {
        self.shared.notice_gone();
        let mut back = Vec::new();
        let sets = self.shared.sets.all();
        let members = sets.iter().flat_map(|set| set.members.iter().enumerate().map(move |at| (set, at)));
        for (set, (place, member)) in members {
            let (Some(aside), Ok(disk)) = (member.aside(), member.disk()) else { continue };
            let ready = match aside.why {
                Why::Failed | Why::Gone => false,
                Why::Full => {
                    let wanted = ROOM_SEGMENTS.saturating_mul(set.segment_len);
                    disk.space().is_ok_and(|space| space.free >= wanted)
                }
                Why::ReadOnly => self.shared.try_write(&*disk).is_some(),
                Why::Slow => self.shared.is_quick_again(set, place, &*disk),
            };
            if !ready {
                continue;
            }
            match self.rejoin(disk) {
                Ok(joined) if joined.written => back.push(joined.place),
                Ok(_) => {}
                Err(error @ (LedgerError::QuorumLost { .. } | LedgerError::Closed)) => return Err(error),
                Err(error) => tracing::warn!(
                    disk = &*member.label(),
                    error = &error as &dyn std::error::Error,
                    "disk could not be taken back; it will be tried again"
                ),
            }
        }
        let mut writer = self.shared.writer.lock();
        let full = self.shared.queue.lock().is_full();
        if full {
            self.shared.measure(&writer);
        }
        // What kept the store from being opened anew may have passed.
        if let Err(error) = self.shared.reopen(&mut writer) {
            tracing::debug!(error = &error as &dyn std::error::Error, "the store does not take writes again yet");
        }
        Ok(back)
    }
}

impl Shared {
    /// Sets disks aside that answer that they are gone, as the next stripe would.
    fn notice_gone(&self) {
        for set in &self.sets.all() {
            for (place, member) in set.members.iter().enumerate().filter(|(_, member)| member.writable()) {
                let Err(gone) = member.disk().and_then(|disk| disk.space()) else { continue };
                if gone.kind != DiskErrorKind::Gone {
                    continue;
                }
                let mut writer = self.writer.lock();
                member.fail(&gone);
                if set.is_halted() {
                    continue;
                }
                writer.leave(set, place);
                let durable = self.durable();
                match self.tell(set, |superblock| superblock.durable_lsn = durable) {
                    Ok(()) | Err(LedgerError::Exhausted { .. }) => {}
                    Err(error) => {
                        set.halt();
                        if let LedgerError::QuorumLost { answered, needed } = error
                            && !self.sets.all().iter().any(|set| set.is_open())
                        {
                            self.halt(Halt::QuorumLost { answered, needed });
                        }
                    }
                }
            }
        }
    }

    /// Refuses where a disk that takes writes is in the place, or the disk is there under another handle.
    fn check_place(&self, set: &Set, place: usize, disk: &Arc<dyn Disk>) -> Result<()> {
        let member = &set.members[place];
        if member.writable() {
            let what = format!("place {place} of the set is taken by {}, which is in order", member.label());
            return Err(LedgerError::ForeignDisk { disk: disk.label().to_owned(), what });
        }
        Ok(())
    }

    /// Puts a disk into its place and lets it take part. `from` is the slot of its newest superblock, and up to where it
    /// holds everything.
    fn take_in(
        &self,
        writer: &mut Writer,
        at: (&Arc<Set>, usize),
        disk: Arc<dyn Disk>,
        from: (usize, Lsn),
    ) -> Result<Rejoined> {
        let (set, place) = at;
        self.check_place(set, place, &disk)?;
        let (slot, sound) = from;
        // At most 12 sets of 20 disks.
        let index = DiskIndex((self.sets.base_of(set.id) + place) as u8);
        let member = &set.members[place];
        let label = disk.label().to_owned();
        let halted = set.is_halted() || self.queue.lock().halt.is_some();
        if !halted {
            // Nothing that waits for a sync may be missing on a disk that is said to take part.
            self.sync(writer)?;
        }
        member.put_in(disk);
        self.strangers.lock().retain(|stranger: &Stranger| stranger.label != label);
        if halted {
            // Enough of them, and the store opens again with what they say.
            member.admit();
            let written = self.reopen(writer).unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "the store does not take writes again yet");
                false
            });
            return Ok(Rejoined { place: index, written });
        }
        // A disk that cannot do even this fails below, and else keeps some room until the next opening.
        if let Err(error) = member.remove_given_back(&set.freeing.write()) {
            tracing::warn!(disk = label, %error, "segments that were given back while the disk was away stay on it");
        }
        let durable = self.durable();
        let stored = writer.join(set, place).map_err(LedgerError::from).and_then(|()| {
            member.join_at(durable.next());
            member.admit();
            let mut supers = set.supers.lock();
            supers.put_in(place, slot);
            supers.newest.whole &= !(1 << place);
            if planted(Bug::ReturnedDiskTrusted) {
                supers.newest.whole |= 1 << place;
            }
            supers.newest.sound[place] = if planted(Bug::ReturnedDiskSoundTooFar) { durable } else { sound };
            supers.store(set, durable, |superblock: &mut Superblock| superblock.durable_lsn = durable)
        });
        match stored {
            Ok(()) if member.writable() => {}
            Ok(()) => {
                writer.leave(set, place);
                let what = member.aside().map(|aside| aside.what).unwrap_or_default();
                return Err(LedgerError::ForeignDisk { disk: label, what: format!("failed again: {what}") });
            }
            // It keeps its place as far as it came; the next look goes on.
            Err(error @ LedgerError::Exhausted { .. }) => return Err(error),
            Err(LedgerError::Disk(error)) if error.kind == DiskErrorKind::Exhausted => return Err(error.into()),
            Err(LedgerError::Disk(error)) => {
                member.give_up(&error);
                return Err(error.into());
            }
            Err(error) => {
                set.halt();
                if let LedgerError::QuorumLost { answered, needed } = error
                    && !self.sets.all().iter().any(|set| set.is_open())
                {
                    self.halt(Halt::QuorumLost { answered, needed });
                }
                return Err(error);
            }
        }
        tracing::info!(disk = label, place, from = durable.next().0, "disk takes part again; heal the set");
        Ok(Rejoined { place: index, written: true })
    }

    /// What a small durable change takes on a disk, in nanoseconds; `None` where it fails.
    fn try_write(&self, disk: &dyn Disk) -> Option<u64> {
        let started = self.clock.monotonic_nanos();
        let tried = disk.replace(PROBE_FILE, &[0; PROBE_LEN]).and_then(|()| disk.remove(PROBE_FILE));
        tried.ok().map(|()| self.clock.monotonic_nanos().saturating_sub(started))
    }

    fn is_quick_again(&self, set: &Set, place: usize, disk: &dyn Disk) -> bool {
        let others = set.members.iter().enumerate().filter(|(index, member)| *index != place && member.writable());
        let others = others.filter_map(|(_, member)| member.disk().ok());
        let usual = median(others.filter_map(|other| self.try_write(&*other)).collect());
        (0..QUICK_TRIES).all(|_| {
            let nanos = self.try_write(disk);
            nanos.is_some_and(|nanos| nanos <= FLOOR_NANOS.max(usual.unwrap_or(0).saturating_mul(RATIO / 2)))
        })
    }
}

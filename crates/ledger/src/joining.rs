//! Sets that join the store, are emptied, and leave it.
//!
//! What makes a set one of the store is the list in the superblocks (`roster.rs`). Invariants: a set is formatted on all of
//! its disks before any other set is told of it, and nothing is written to it before one of them was; a set is taken off
//! the list only when no segment of the log lies on it, and its disks are wiped only after one of the sets that stay was
//! told. So a crash leaves a set that is in the store or one that is not, and in neither case anything that is needed lies
//! outside of it.

use std::sync::Arc;

use strata_seam::planted::{Bug, planted};
use strata_seam::{Disk, DiskIndex, Entropy, SegmentId, SetId};

use crate::api::Geometry;
use crate::error::{LedgerError, Result};
use crate::identify::{Found, check_empty, look};
use crate::layout;
use crate::ledger::{Ledger, append_limit, check_count, write_new};
use crate::options::Options;
use crate::queue::Halt;
use crate::roster::{Roster, SETS_MAX, SetState};
use crate::set::Set;
use crate::superblock::{FILE, Superblock};
use crate::supers::Supers;
use crate::writer::Writer;

impl Ledger {
    /// Makes a set of blank disks, in the order of their places, and takes it into the running store. Its number is
    /// returned. From the next segment on it is written like the others. Waits for what is queued to be written.
    ///
    /// A disk that an earlier try left behind counts as blank.
    ///
    /// # Errors
    /// [`LedgerError::Setting`], [`LedgerError::ForeignDisk`] where a disk belongs to a set, [`LedgerError::Inconsistent`]
    /// where it holds segments without saying of which: nothing was changed then. [`LedgerError::QuorumLost`] or
    /// [`LedgerError::Exhausted`] where no set of the store could be told: the next opening takes the set in or leaves it
    /// out, so keep its disks until then, or add the same again.
    pub fn add_set(&self, disks: &[Arc<dyn Disk>], geometry: Geometry, entropy: &dyn Entropy) -> Result<u16> {
        let shared = &self.shared;
        let mut writer = self.lock_for_change()?;
        let roster = shared.sets.roster();
        if roster.entries.len() >= SETS_MAX {
            let what = format!("a store has at most {SETS_MAX} sets; drain one first");
            return Err(LedgerError::Setting { name: "sets", what });
        }
        let first = shared.sets.first();
        let options = Options { segment_len: first.segment_len, ..shared.options.clone() };
        options.check(geometry)?;
        let count = check_count(disks, geometry)?;
        self.check_blank(disks, &roster)?;
        let mut id = [0; 16];
        entropy.fill(&mut id);
        let (id, number) = (SetId(id), roster.next_number);
        let all = (1_u32 << count) - 1;
        let known = first.supers.lock().newest.clone();
        let (checkpoint_version, checkpoint) = crate::checkpoint::newest(&self.shared.sets.all());
        let mut superblock = Superblock {
            features: crate::features::known(&self.shared.sets.all()),
            ro_compat: 0,
            index: DiskIndex(0),
            geometry,
            set: id,
            created: shared.clock.now(),
            segment_len: options.segment_len,
            generation: 1,
            durable_lsn: shared.durable(),
            active: all,
            whole: all,
            checkpoint,
            appending: true,
            history: shared.history.lock().clone(),
            sound: Default::default(),
            roster: Some(roster.with(id, SetState::Joining)),
            checkpoint_version,
            ..known
        };
        if planted(Bug::JoinToldTooEarly) {
            self.tell_roster(&roster.with(id, SetState::Active), None)?;
        }
        write_new(disks, &mut superblock)?;
        let places = disks.iter().map(|disk| Some(Arc::clone(disk))).collect();
        let set = Set::new(number, places, Supers::of_new(superblock), &options, &shared.clock)?;
        // What was accepted for stripes of the other sets may not fit into those of this one: it goes before.
        let mut sets = shared.sets.all();
        let limit = append_limit(&sets, &options);
        let set = Arc::new(set);
        sets.push(Arc::clone(&set));
        shared.queue.lock().append_len_max = append_limit(&sets, &options);
        let drained = std::iter::repeat_with(|| shared.pump(&mut writer)).find(|pumped| !matches!(pumped, Ok(true)));
        let next = roster.with(id, SetState::Active);
        let told = drained.unwrap_or(Ok(false)).and_then(|_| match planted(Bug::JoinNotTold) {
            true => Ok(()),
            false => self.tell_roster(&next, None),
        });
        if let Err(error) = told {
            shared.queue.lock().append_len_max = limit;
            return Err(error);
        }
        let from = shared.written().next();
        set.members.iter().for_each(|member| member.join_at(from));
        if !planted(Bug::JoinNotTold) && shared.tell(&set, |superblock| superblock.roster = Some(next.clone())).is_err()
        {
            set.halt();
        }
        shared.sets.join(set, next);
        if shared.started()
            && let Err(error) = writer.workers.grow(shared.most_disks(), &shared.clock)
        {
            tracing::warn!(%error, "disks of the new set are written by the writer's own thread");
        }
        tracing::info!(set = %id, number, "a set joined the store");
        Ok(number)
    }

    /// Has nothing more written to a set, so that it can be emptied, or takes that back. What it holds is still read. The
    /// segment being written goes on elsewhere.
    ///
    /// # Errors
    /// [`LedgerError::Setting`] for a number the store does not have and for the last set that takes writes,
    /// [`LedgerError::Full`] where the others have no room at all, [`LedgerError::QuorumLost`], [`LedgerError::Closed`].
    pub fn set_draining(&self, number: u16, draining: bool) -> Result<()> {
        let shared = &self.shared;
        let mut writer = self.lock_for_change()?;
        let set = self.numbered(number)?;
        let roster = shared.sets.roster();
        let state = if draining { SetState::Draining } else { SetState::Active };
        if roster.get(set.id).is_none_or(|entry| entry.state != state) {
            if draining && !shared.sets.all().iter().any(|other| other.id != set.id && shared.may_take(other)) {
                let what = format!("set {number} is the only one that takes writes; add another set first");
                return Err(LedgerError::Setting { name: "set", what });
            }
            let next = roster.with_state(set.id, state);
            self.tell_roster(&next, None)?;
            shared.sets.set_roster(next);
        }
        if draining { self.move_off(&mut writer, &set) } else { Ok(()) }
    }

    /// Takes a set that was emptied out of the store, and wipes its disks. Returns the labels of disks that are here and
    /// could not be wiped.
    ///
    /// # Errors
    /// [`LedgerError::Setting`] where it is not being drained, [`LedgerError::Inconsistent`] where segments lie on it,
    /// [`LedgerError::QuorumLost`], [`LedgerError::Closed`].
    pub fn release_set(&self, number: u16) -> Result<Vec<String>> {
        let shared = &self.shared;
        let mut writer = self.lock_for_change()?;
        let set = self.numbered(number)?;
        let roster = shared.sets.roster();
        if roster.get(set.id).is_none_or(|entry| entry.state != SetState::Draining) {
            let what = format!("set {number} takes writes; drain it first");
            return Err(LedgerError::Setting { name: "set", what });
        }
        self.move_off(&mut writer, &set)?;
        let left = self.segments_on(number);
        if !left.is_empty() {
            return Err(LedgerError::Inconsistent { what: format!("{} segments lie on set {number}", left.len()) });
        }
        let next = roster.without(set.id);
        if planted(Bug::WipedBeforeTold) {
            set.wipe();
        }
        if !planted(Bug::LeaveNotTold) {
            self.tell_roster(&next, Some(set.id))?;
        }
        shared.sets.leave(set.id, next);
        shared.queue.lock().append_len_max = append_limit(&shared.sets.all(), &shared.options);
        tracing::info!(set = %set.id, number, "a set left the store");
        drop(writer);
        Ok(set.wipe())
    }

    /// The segments that lie on a set. One that is still being written, and one made ahead, are among them.
    #[must_use]
    pub fn segments_on(&self, number: u16) -> Vec<SegmentId> {
        if planted(Bug::SetTakenForEmpty) {
            return Vec::new();
        }
        self.shared.sets.by_number(number).map(|set| self.shared.sets.segments_on(set.id)).unwrap_or_default()
    }

    /// The number of the set that a segment lies on.
    #[must_use]
    pub fn set_of(&self, segment: SegmentId) -> Option<u16> {
        self.shared.sets.of(segment).map(|set| set.number)
    }

    fn numbered(&self, number: u16) -> Result<Arc<Set>> {
        self.shared.sets.by_number(number).ok_or_else(|| {
            let numbers: Vec<String> = self.shared.sets.all().iter().map(|set| set.number.to_string()).collect();
            let what = format!("the store has no set {number}, it has {}", numbers.join(", "));
            LedgerError::Setting { name: "set", what }
        })
    }

    /// The writer's lock, so that nothing is acknowledged while the list of sets changes.
    pub(crate) fn lock_for_change(&self) -> Result<parking_lot::MutexGuard<'_, Writer>> {
        let writer = self.shared.writer.lock();
        let queue = self.shared.queue.lock();
        match queue.halt {
            Some(halt) => Err(halt.error()),
            None if queue.closing => Err(LedgerError::Closed),
            None => Ok(writer),
        }
    }

    /// Has neither the segment being written nor the one made ahead on `set`.
    fn move_off(&self, writer: &mut Writer, set: &Arc<Set>) -> Result<()> {
        let shared = &self.shared;
        if writer.set.id == set.id {
            return shared.roll(writer);
        }
        let ahead = SegmentId(writer.segment.0.saturating_add(1));
        if shared.sets.segments_on(set.id).contains(&ahead) {
            drop(shared.prepare.take(ahead));
            writer.ahead = None;
            set.drop_files(ahead);
            shared.sets.forget(|segment| segment == ahead);
        }
        Ok(())
    }

    /// Tells the sets that take writes, but `leaving`, of a new list.
    ///
    /// # Errors
    /// [`LedgerError::QuorumLost`] where none took it. One is enough: a store is opened with all of its sets, and the
    /// newest list counts.
    fn tell_roster(&self, next: &Roster, leaving: Option<SetId>) -> Result<()> {
        let shared = &self.shared;
        let (mut told, mut lost) = (false, None);
        for set in shared.sets.all().into_iter().filter(|set| set.is_open() && Some(set.id) != leaving) {
            match shared.tell(&set, |superblock| superblock.roster = Some(next.clone())) {
                Ok(()) => told = true,
                Err(error) => {
                    set.halt_over(&error);
                    lost = Some(error);
                }
            }
        }
        if let Some(LedgerError::QuorumLost { answered, needed }) = lost
            && !shared.sets.all().iter().any(|set| set.is_open())
        {
            shared.halt(Halt::QuorumLost { answered, needed });
        }
        if told {
            return Ok(());
        }
        // Some disks may hold this list and hand it on: another must not have its version.
        let roster = shared.sets.roster();
        shared.sets.set_roster(Roster { version: next.version, ..roster });
        Err(lost.unwrap_or(LedgerError::QuorumLost { answered: 0, needed: 1 }))
    }

    /// Refuses disks that hold something, but for those of a set that was to join this store and did not.
    fn check_blank(&self, disks: &[Arc<dyn Disk>], roster: &Roster) -> Result<()> {
        for (index, disk) in disks.iter().enumerate() {
            let foreign = |what: String| LedgerError::ForeignDisk { disk: disk.label().to_owned(), what };
            if disks[..index].iter().any(|other| other.label() == disk.label()) {
                return Err(foreign("is given twice".to_owned()));
            }
            if let Found::Formatted(found, _) = look(&**disk)?
                && !found.is_unmade()
            {
                let own = found.roster();
                let left_behind = own.store == roster.store
                    && roster.get(found.set).is_none()
                    && own.get(found.set).is_some_and(|entry| entry.state == SetState::Joining);
                if !left_behind {
                    return Err(foreign(format!("already holds a disk of set {}", found.set)));
                }
            }
            check_empty(&**disk)?;
        }
        Ok(())
    }
}

impl Set {
    /// Removes every file of the log and the superblock from the disks that are here. Returns the labels of those where
    /// that failed.
    fn wipe(&self) -> Vec<String> {
        let mut left = Vec::new();
        for member in self.members.iter().filter(|member| member.present()) {
            let wiped = member.disk().and_then(|disk| {
                for file in disk.list()? {
                    if layout::parse_segment_name(&file.name).is_some() {
                        disk.remove(&file.name)?;
                    }
                }
                disk.remove(FILE)
            });
            if let Err(error) = wiped {
                tracing::warn!(disk = &*member.label(), %error, "a disk of the set that left could not be wiped");
                left.push(member.label().to_string());
            }
        }
        left
    }
}

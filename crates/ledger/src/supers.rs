//! The superblocks of one running set: what all of them say, and how that is changed on every disk.
//!
//! Invariant: a change is begun only when all disks that take writes have the one before, and a rest below the write quorum
//! is never written down (`docs/format/superblock.md`).

use strata_seam::planted::{Bug, planted};
use strata_seam::{AlignedBuf, DiskIndex, Lsn, WriteMode};

use crate::error::Result;
use crate::member::Member;
use crate::set::Set;
use crate::superblock::{FILE, SLOT_LEN, Slot, Superblock};

/// The superblock state of the set and where its next change goes on each disk.
pub(crate) struct Supers {
    pub(crate) newest: Superblock,
    /// By disk: the slot that does not hold this disk's newest state.
    next_slot: Vec<usize>,
    /// A change that a crash kept from some disks, as the others hold it, and a bit for each of those disks. They are
    /// told before the next change: more than one behind, a disk would look like an older image of itself.
    unheard: Option<(Box<Superblock>, u32)>,
}

impl Supers {
    /// What an opening found: the state that counts, the slot that comes next on each disk, and what a crash kept from some.
    pub(crate) fn new(newest: Superblock, next_slot: Vec<usize>, unheard: Option<(Box<Superblock>, u32)>) -> Self {
        Self { newest, next_slot, unheard }
    }

    /// Those of a set just made, whose first slots hold `newest`.
    pub(crate) fn of_new(newest: Superblock) -> Self {
        let next_slot = vec![1; newest.disks()];
        Self { newest, next_slot, unheard: None }
    }

    /// Notes which slot holds the newest superblock of the disk that was put into a place.
    pub(crate) fn put_in(&mut self, disk: usize, slot: usize) {
        self.next_slot[disk] = 1 - slot;
    }

    /// Writes a changed state to every disk that takes writes. A disk that fails is set aside and the others are told,
    /// so on success all disks still writable agree on who takes part.
    ///
    /// A rest below the write quorum is never written down: it can acknowledge nothing, so the disks it would exclude
    /// lack nothing, and the next opening would refuse a set that is all there.
    ///
    /// `sound` is up to where the disks that are dropped by this hold everything.
    ///
    /// # Errors
    /// [`LedgerError::QuorumLost`](crate::LedgerError::QuorumLost) when too few are left; the disks then say what was last agreed on, or what the first
    /// of them were told in that attempt: that at least a write quorum takes part. [`LedgerError::Exhausted`](crate::LedgerError::Exhausted): some disks
    /// were not told; [`is_behind`](Self::is_behind) says so until they are.
    pub(crate) fn store(&mut self, set: &Set, sound: Lsn, change: impl FnOnce(&mut Superblock)) -> Result<()> {
        if let Some((mut told, behind)) = self.unheard.take() {
            for (index, member) in set.members.iter().enumerate().filter(|(index, _)| behind >> index & 1 == 1) {
                if let Err(error) = self.tell(index, member, &mut told)
                    && let Err(exhausted) = member.blame(&error)
                {
                    self.unheard = Some((told, behind));
                    return Err(exhausted);
                }
            }
        }
        change(&mut self.newest);
        loop {
            set.check_quorum()?;
            let active = set.mask(Member::writable);
            let dropped = self.newest.active & self.newest.whole & !active;
            for index in (0..set.disks()).filter(|index| dropped >> index & 1 == 1) {
                self.newest.sound[index] = sound;
            }
            self.newest.active = active;
            self.newest.whole &= self.newest.active;
            self.newest.generation += 1;
            let (mut agreed, mut exhausted, mut behind) = (true, None, 0);
            let mut state = self.newest.clone();
            for (index, member) in set.members.iter().enumerate().filter(|(_, member)| member.writable()) {
                if let Err(error) = self.tell(index, member, &mut state) {
                    match member.blame(&error) {
                        Ok(()) => agreed = false,
                        Err(error) => (exhausted, behind) = (Some(error), behind | 1 << index),
                    }
                }
            }
            if let Some(exhausted) = exhausted {
                // Those that were not told are told before anything else is.
                self.unheard = Some((Box::new(state), behind));
                return Err(exhausted);
            }
            if agreed {
                return Ok(());
            }
        }
    }

    /// Whether a disk that takes part was not told of the last change: nothing may be acknowledged before it is.
    pub(crate) fn is_behind(&self) -> bool {
        self.unheard.is_some()
    }

    /// Reads what every disk that takes writes says of itself, and says it anew where one does not say what it was told
    /// last. Returns how many did not.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    pub(crate) fn mend(&mut self, set: &Set, durable: Lsn) -> Result<u64> {
        let says = |index: usize, member: &Member| -> std::result::Result<bool, strata_seam::DiskError> {
            let mut bytes = vec![0; SLOT_LEN];
            let offset = ((1 - self.next_slot[index]) * SLOT_LEN) as u64;
            member.disk()?.open(FILE)?.read_at(offset, &mut bytes)?;
            let told = self.newest.generation;
            Ok(matches!(Superblock::decode(&bytes), Slot::Valid(found) if found.generation == told))
        };
        let written = set.members.iter().enumerate().filter(|(_, member)| member.writable());
        let damaged = written.filter(|(index, member)| !says(*index, member).unwrap_or(false)).count();
        if damaged > 0 {
            tracing::warn!(disks = damaged, "disks do not say any more which they are: they are told again");
            self.store(set, durable, |_| ())?;
        }
        Ok(damaged as u64)
    }

    /// Writes `state` to one disk, over the older of its two.
    fn tell(
        &mut self,
        index: usize,
        member: &Member,
        state: &mut Superblock,
    ) -> std::result::Result<(), strata_seam::DiskError> {
        state.index = DiskIndex(index as u8);
        let mut slot = AlignedBuf::zeroed(SLOT_LEN);
        state.encode(&mut slot);
        let offset = (self.next_slot[index] * SLOT_LEN) as u64;
        let mode = if planted(Bug::SuperblockNotSynced) { WriteMode::Buffered } else { WriteMode::Durable };
        member.disk()?.open(FILE)?.write_at(offset, &slot, mode)?;
        if !planted(Bug::SuperblockSameSlot) {
            self.next_slot[index] = 1 - self.next_slot[index];
        }
        Ok(())
    }
}

//! The superblock of a disk: who it is, what set it belongs to, and how that set was opened so far.
//!
//! A file of two 4 KiB slots. A change is written to the slot that does not hold this disk's newest state, so a torn
//! write leaves the state before. `docs/format/superblock.md` is the page that goes with it.

use strata_erasure::CodecId;
use strata_seam::planted::{Bug, planted};
use strata_seam::{DiskIndex, Epoch, Lsn, SetId, Timestamp};

use crate::api::Geometry;
use crate::history::{ENTRIES_MAX, History, Opening};
use crate::roster::{Roster, RosterEntry, SETS_MAX, SetState};
use crate::wire::{array, crc32c, get_u16, get_u32, get_u64, put, put_u16, put_u32, put_u64};

/// Name of the file.
pub(crate) const FILE: &str = "superblock";
/// Bytes of a slot; two of them make the file.
pub(crate) const SLOT_LEN: usize = 4096;
/// The first 8 bytes of sha256("strata superblock v1.0").
pub(crate) const MAGIC: [u8; 8] = [0x3c, 0x5c, 0xa0, 0x00, 0x4b, 0x92, 0x62, 0xed];
/// Most disks a set can have.
pub(crate) const DISKS_MAX: usize = 20;
/// Incompatible feature: there is a checkpoint, so the start of the log may be gone, and blocks of the log may be pieces of it.
/// Whoever does not know would replay a part of the log and take it for everything.
const INCOMPAT_CHECKPOINT: u32 = 1;
/// Incompatible feature: the store has, or had, more sets than this one. Whoever does not know would take a part of the log
/// for the whole.
const INCOMPAT_SETS: u32 = 2;
/// Incompatible feature: [`Feature::Domains`].
const INCOMPAT_DOMAINS: u32 = 4;
/// Those that are only marks, which no other field stands for.
const INCOMPAT_MARKS: u32 = INCOMPAT_DOMAINS;
/// Features without which a set must not even be read.
const INCOMPAT_KNOWN: u32 = INCOMPAT_CHECKPOINT | INCOMPAT_SETS | INCOMPAT_MARKS;

/// What a store may hold by what is above the log, so that a version which does not know it must not read the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Feature {
    /// Blocks say the dedup domain of their chunks where it is not the common one, and places of chunks have a tag that says in which
    /// tier they are. A store that was made by this version has it from the start.
    Domains,
}

impl Feature {
    pub(crate) const fn bit(self) -> u32 {
        match self {
            Self::Domains => INCOMPAT_DOMAINS,
        }
    }
}

/// The marks of a store that this version makes.
pub(crate) const FEATURES_OF_NEW: u32 = INCOMPAT_DOMAINS;
/// Features without which a set must not be written; this version knows none.
const RO_COMPAT_KNOWN: u32 = 0;

mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const INCOMPAT: usize = 8;
    pub(super) const RO_COMPAT: usize = 12;
    pub(super) const COMPAT: usize = 16;
    pub(super) const CODEC: usize = 20;
    pub(super) const INDEX: usize = 21;
    pub(super) const DATA: usize = 22;
    pub(super) const PARITY: usize = 23;
    pub(super) const SET: usize = 24;
    pub(super) const CREATED: usize = 40;
    pub(super) const SEGMENT_LEN: usize = 48;
    pub(super) const GENERATION: usize = 56;
    pub(super) const DURABLE_LSN: usize = 64;
    pub(super) const ACTIVE: usize = 72;
    pub(super) const WHOLE: usize = 76;
    pub(super) const CHECKPOINT: usize = 80;
    pub(super) const CHECKPOINT_LEN: usize = 128;
    pub(super) const HISTORY_COUNT: usize = 208;
    pub(super) const APPENDING: usize = 210;
    pub(super) const HISTORY: usize = 256;
    pub(super) const HISTORY_ENTRY_LEN: usize = 24;
    pub(super) const SOUND: usize = HISTORY + HISTORY_ENTRY_LEN * super::ENTRIES_MAX;
    // The rest is zero unless `INCOMPAT_SETS` is set.
    pub(super) const STORE: usize = 3488;
    pub(super) const ROSTER_VERSION: usize = 3504;
    pub(super) const CHECKPOINT_VERSION: usize = 3512;
    pub(super) const NEXT_NUMBER: usize = 3520;
    pub(super) const SETS_COUNT: usize = 3522;
    pub(super) const SETS: usize = 3528;
    pub(super) const SETS_ENTRY_LEN: usize = 24;
    pub(super) const CRC: usize = super::SLOT_LEN - 4;
}
const _: () = assert!(at::CHECKPOINT + at::CHECKPOINT_LEN == at::HISTORY_COUNT);
const _: () = assert!(at::SOUND == 3328 && at::SOUND + 8 * DISKS_MAX == at::STORE);
const _: () = assert!(at::SETS + at::SETS_ENTRY_LEN * SETS_MAX <= at::CRC);

/// The state in one slot. Everything but `index` is alike on all disks of the same generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Superblock {
    /// Bits of features ([`Feature`]) that the store has.
    pub(crate) features: u32,
    pub(crate) ro_compat: u32,
    pub(crate) compat: u32,
    pub(crate) codec: u8,
    pub(crate) index: DiskIndex,
    pub(crate) geometry: Geometry,
    pub(crate) set: SetId,
    pub(crate) created: Timestamp,
    pub(crate) segment_len: u64,
    /// Counts the changes of the set's superblocks; the highest valid one counts.
    pub(crate) generation: u64,
    /// Everything up to here was durable when this was written.
    pub(crate) durable_lsn: Lsn,
    /// Bit per disk: takes part in writing. Cleared, durably, before anything is acknowledged that it lacks.
    pub(crate) active: u32,
    /// Bit per disk: holds a frame of every stripe, as far as is known.
    pub(crate) whole: u32,
    /// Root of the checkpoint; all zero until there is one.
    pub(crate) checkpoint: [u8; at::CHECKPOINT_LEN],
    /// Whether the newest opening was completed: all disks were told of it before any was told this. So an opening that
    /// was interrupted never passes for one that wrote, or that told anybody what it found.
    pub(crate) appending: bool,
    pub(crate) history: History,
    /// By disk, of those that are not `whole`: everything up to this number was synced on it, or made good since. What
    /// it shows of later stripes may never have reached its medium.
    pub(crate) sound: [Lsn; DISKS_MAX],
    /// The sets of the store; `None` while it never had another than this.
    pub(crate) roster: Option<Roster>,
    /// Counts the checkpoints of a store of several sets: the highest tells which of their roots is the newest.
    pub(crate) checkpoint_version: u64,
}

/// What a slot holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Slot {
    /// Nothing that proves itself.
    Blank,
    /// A superblock of a version that knows more; the bits are those not known here.
    Newer(u32),
    /// A superblock.
    Valid(Box<Superblock>),
}

impl Superblock {
    /// The slot's 4096 bytes.
    pub(crate) fn encode(&self, slot: &mut [u8]) {
        let slot = &mut slot[..SLOT_LEN];
        slot.fill(0);
        put(slot, at::MAGIC, &MAGIC);
        let checkpoint = self.checkpoint.iter().any(|byte| *byte != 0);
        let sets = if self.roster.is_some() { INCOMPAT_SETS } else { 0 };
        let checkpoint = if checkpoint { INCOMPAT_CHECKPOINT } else { 0 };
        put_u32(slot, at::INCOMPAT, self.features | sets | checkpoint);
        put_u32(slot, at::RO_COMPAT, self.ro_compat);
        put_u32(slot, at::COMPAT, self.compat);
        slot[at::CODEC] = self.codec;
        slot[at::INDEX] = self.index.0;
        slot[at::DATA] = self.geometry.data_shards;
        slot[at::PARITY] = self.geometry.parity_shards;
        put(slot, at::SET, &self.set.0);
        put(slot, at::CREATED, &self.created.0.to_le_bytes());
        put_u64(slot, at::SEGMENT_LEN, self.segment_len);
        put_u64(slot, at::GENERATION, self.generation);
        put_u64(slot, at::DURABLE_LSN, self.durable_lsn.0);
        put_u32(slot, at::ACTIVE, self.active);
        put_u32(slot, at::WHOLE, self.whole);
        put(slot, at::CHECKPOINT, &self.checkpoint);
        let entries = self.history.entries();
        put_u16(slot, at::HISTORY_COUNT, entries.len() as u16);
        slot[at::APPENDING] = u8::from(self.appending);
        for (index, entry) in entries.iter().enumerate() {
            let start = at::HISTORY + at::HISTORY_ENTRY_LEN * index;
            put_u64(slot, start, entry.epoch.0);
            put_u64(slot, start + 8, entry.opening);
            put_u64(slot, start + 16, entry.first_lsn.0);
        }
        for (index, sound) in self.sound.iter().enumerate() {
            put_u64(slot, at::SOUND + 8 * index, sound.0);
        }
        if let Some(roster) = &self.roster {
            put_roster(slot, roster);
            put_u64(slot, at::CHECKPOINT_VERSION, self.checkpoint_version);
        }
        let crc = crc32c(&slot[..at::CRC]);
        put_u32(slot, at::CRC, crc);
    }

    /// Reads a slot.
    pub(crate) fn decode(slot: &[u8]) -> Slot {
        let proven = slot.len() >= SLOT_LEN
            && (get_u32(slot, at::CRC) == crc32c(&slot[..at::CRC]) || planted(Bug::SuperblockUnchecked));
        if !proven || slot[..MAGIC.len()] != MAGIC {
            return Slot::Blank;
        }
        let incompat = get_u32(slot, at::INCOMPAT);
        let unknown = incompat & !INCOMPAT_KNOWN;
        if unknown != 0 {
            return Slot::Newer(unknown);
        }
        let geometry = Geometry { data_shards: slot[at::DATA], parity_shards: slot[at::PARITY] };
        let (index, codec) = (DiskIndex(slot[at::INDEX]), slot[at::CODEC]);
        let count = usize::from(get_u16(slot, at::HISTORY_COUNT));
        let sound = (1..=16).contains(&geometry.data_shards)
            && geometry.parity_shards <= 4
            && index.0 < geometry.data_shards + geometry.parity_shards
            && CodecId::from_stored(codec).is_some()
            && count <= ENTRIES_MAX;
        if !sound {
            return Slot::Blank;
        }
        let entries = (0..count).map(|index| {
            let start = at::HISTORY + at::HISTORY_ENTRY_LEN * index;
            Opening {
                epoch: Epoch(get_u64(slot, start)),
                opening: get_u64(slot, start + 8),
                first_lsn: Lsn(get_u64(slot, start + 16)),
            }
        });
        let Some(history) = History::from_stored(entries.collect()) else {
            return Slot::Blank;
        };
        let set = SetId(array(slot, at::SET));
        let (roster, checkpoint_version) = if incompat & INCOMPAT_SETS == 0 {
            (None, 0)
        } else {
            let roster = get_roster(slot).filter(|roster| roster.get(set).is_some());
            if roster.is_none() {
                return Slot::Blank;
            }
            (roster, get_u64(slot, at::CHECKPOINT_VERSION))
        };
        Slot::Valid(Box::new(Self {
            features: incompat & INCOMPAT_MARKS,
            ro_compat: get_u32(slot, at::RO_COMPAT),
            compat: get_u32(slot, at::COMPAT),
            codec,
            index,
            geometry,
            set,
            created: Timestamp(i64::from_le_bytes(array(slot, at::CREATED))),
            segment_len: get_u64(slot, at::SEGMENT_LEN),
            generation: get_u64(slot, at::GENERATION),
            durable_lsn: Lsn(get_u64(slot, at::DURABLE_LSN)),
            active: get_u32(slot, at::ACTIVE),
            whole: get_u32(slot, at::WHOLE),
            checkpoint: array(slot, at::CHECKPOINT),
            appending: slot[at::APPENDING] != 0,
            history,
            sound: std::array::from_fn(|index| Lsn(get_u64(slot, at::SOUND + 8 * index))),
            roster,
            checkpoint_version,
        }))
    }

    /// Up to where the disk with this superblock held everything when it was written, by its own word.
    pub(crate) fn own_sound(&self) -> Lsn {
        let index = usize::from(self.index.0);
        if self.whole >> index & 1 == 1 { self.durable_lsn } else { self.sound[index].min(self.durable_lsn) }
    }

    /// Whether this disk was told of a set that is being made, and not yet that all of its disks were. Where every disk says
    /// so, there is no set. A disk that takes the place of another begins with generation 0 as well, and is not `whole`.
    pub(crate) fn is_unmade(&self) -> bool {
        self.generation == 0 && self.history.last().is_none() && self.whole >> self.index.0 & 1 == 1
    }

    /// The sets of the store, as this superblock has them.
    pub(crate) fn roster(&self) -> Roster {
        self.roster.clone().unwrap_or_else(|| Roster::alone(self.set))
    }

    /// Orders superblocks of a set: the highest describes it.
    pub(crate) fn rank(&self) -> (Epoch, bool, u64) {
        (self.history.last().map_or(Epoch(0), |last| last.epoch), self.appending, self.generation)
    }

    /// Feature bits that forbid writing with this version.
    pub(crate) fn unknown_ro_compat(&self) -> u32 {
        self.ro_compat & !RO_COMPAT_KNOWN
    }

    /// Disks of the set.
    pub(crate) fn disks(&self) -> usize {
        usize::from(self.geometry.data_shards) + usize::from(self.geometry.parity_shards)
    }
}

fn put_roster(slot: &mut [u8], roster: &Roster) {
    put(slot, at::STORE, &roster.store.0);
    put_u64(slot, at::ROSTER_VERSION, roster.version);
    put_u16(slot, at::NEXT_NUMBER, roster.next_number);
    put_u16(slot, at::SETS_COUNT, roster.entries.len() as u16);
    for (index, entry) in roster.entries.iter().enumerate() {
        let start = at::SETS + at::SETS_ENTRY_LEN * index;
        put(slot, start, &entry.set.0);
        put_u16(slot, start + 16, entry.number);
        slot[start + 18] = entry.state.stored();
    }
}

/// `None` where it contradicts itself.
fn get_roster(slot: &[u8]) -> Option<Roster> {
    let count = usize::from(get_u16(slot, at::SETS_COUNT));
    if count > SETS_MAX {
        return None;
    }
    let entries = (0..count).map(|index| {
        let start = at::SETS + at::SETS_ENTRY_LEN * index;
        let state = SetState::from_stored(slot[start + 18])?;
        Some(RosterEntry { set: SetId(array(slot, start)), number: get_u16(slot, start + 16), state })
    });
    let roster = Roster {
        store: SetId(array(slot, at::STORE)),
        version: get_u64(slot, at::ROSTER_VERSION),
        next_number: get_u16(slot, at::NEXT_NUMBER),
        entries: entries.collect::<Option<_>>()?,
    };
    roster.is_sound().then_some(roster)
}

#[cfg(test)]
mod tests;

//! Who are these disks? Superblocks say which set a disk belongs to and which place it has there; the order in which
//! disks are given does not matter.

use std::sync::Arc;

use parking_lot::Mutex;
use strata_erasure::{Codec, CodecId};
use strata_seam::planted::{Bug, planted};
use strata_seam::{AlignedBuf, Disk, DiskErrorKind, WriteMode};

use crate::error::{LedgerError, Result};
use crate::history::History;
use crate::member::Member;
use crate::options::Options;
use crate::set::Set;
use crate::superblock::{FILE, SLOT_LEN, Slot, Superblock};

/// A set put together from its disks.
pub(crate) struct Identified {
    pub(crate) set: Set,
    pub(crate) supers: Supers,
}

/// The superblock state of the set and where its next change goes on each disk.
pub(crate) struct Supers {
    pub(crate) newest: Superblock,
    /// By disk: the slot that does not hold this disk's newest state.
    next_slot: Vec<usize>,
}

/// What one disk says about itself.
pub(crate) enum Found {
    /// No superblock.
    Blank,
    /// Its newest superblock and the slot that one is in.
    Formatted(Box<Superblock>, usize),
}

/// A disk with its newest superblock and the slot that one is in.
type Formatted = (Arc<dyn Disk>, Box<Superblock>, usize);

/// Reads the superblock of a disk.
pub(crate) fn look(disk: &dyn Disk) -> Result<Found> {
    let file = match disk.open(FILE) {
        Ok(file) => file,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(Found::Blank),
        Err(error) => return Err(error.into()),
    };
    let mut newest: Option<(Box<Superblock>, usize)> = None;
    for slot in 0..2 {
        let mut bytes = vec![0; SLOT_LEN];
        match file.read_at((slot * SLOT_LEN) as u64, &mut bytes) {
            Ok(()) => {}
            // The other slot may still say who this is.
            Err(error) if matches!(error.kind, DiskErrorKind::ShortRead | DiskErrorKind::Medium) => continue,
            Err(error) => return Err(error.into()),
        }
        match Superblock::decode(&bytes) {
            Slot::Blank => {}
            Slot::Newer(flags) => {
                return Err(LedgerError::NewerFormat { disk: disk.label().to_owned(), flags });
            }
            Slot::Valid(found) => {
                if newest.as_ref().is_none_or(|(known, _)| found.generation > known.generation) {
                    newest = Some((found, slot));
                }
            }
        }
    }
    Ok(newest.map_or(Found::Blank, |(superblock, slot)| Found::Formatted(superblock, slot)))
}

/// Puts the set together. Blank and unreadable disks count as missing and are named in a warning.
///
/// # Errors
/// [`LedgerError::ForeignDisk`], [`LedgerError::NewerFormat`], [`LedgerError::TooFewDisks`],
/// [`LedgerError::Inconsistent`] where the set was opened in two halves.
pub(crate) fn identify(disks: Vec<Arc<dyn Disk>>, options: &Options) -> Result<Identified> {
    let mut formatted: Vec<Formatted> = Vec::new();
    let mut blank: Vec<Arc<dyn Disk>> = Vec::new();
    let mut aside = Vec::new();
    for disk in disks {
        match look(&*disk) {
            Ok(Found::Formatted(superblock, slot)) => formatted.push((disk, superblock, slot)),
            Ok(Found::Blank) => {
                aside.push(format!("{} is blank", disk.label()));
                blank.push(disk);
            }
            Err(LedgerError::Disk(error)) => {
                tracing::warn!(
                    disk = disk.label(),
                    error = &error as &dyn std::error::Error,
                    "disk cannot be read: treated as missing"
                );
                aside.push(format!("{} cannot be read", disk.label()));
            }
            Err(other) => return Err(other),
        }
    }
    let Some((_, newest, _)) = formatted.iter().max_by_key(|(_, superblock, _)| superblock.rank()) else {
        return Err(LedgerError::TooFewDisks {
            present: 0,
            needed: 1,
            what: format!("no disk holds a superblock; {}", aside.join(", ")),
        });
    };
    let mut newest = (**newest).clone();
    let foreign = |disk: &Arc<dyn Disk>, what: String| LedgerError::ForeignDisk { disk: disk.label().to_owned(), what };
    let mut places: Vec<Option<Formatted>> = (0..newest.disks()).map(|_| None).collect();
    for (disk, superblock, slot) in formatted {
        if superblock.set != newest.set {
            return Err(foreign(&disk, format!("belongs to set {}, not to {}", superblock.set, newest.set)));
        }
        if (superblock.geometry, superblock.segment_len, superblock.codec, superblock.created)
            != (newest.geometry, newest.segment_len, newest.codec, newest.created)
        {
            return Err(foreign(&disk, "its superblock describes the set differently from the others".to_owned()));
        }
        // Two openings of one number that both wrote: the disks of each were away from the other.
        let (last, known) = (superblock.history.last(), newest.history.last());
        if superblock.appending
            && newest.appending
            && last.map(|last| last.epoch) == known.map(|known| known.epoch)
            && last != known
        {
            return Err(LedgerError::Inconsistent {
                what: format!(
                    "disk {} and others of set {} were each written while the other was away; keep the disks with the \
                     wanted content and remove the others",
                    disk.label(),
                    newest.set
                ),
            });
        }
        let place = &mut places[usize::from(superblock.index.0)];
        if let Some((other, ..)) = place {
            return Err(foreign(
                &disk,
                format!("has place {} of the set, as disk {} has", superblock.index, other.label()),
            ));
        }
        *place = Some((disk, superblock, slot));
    }
    let data = usize::from(newest.geometry.data_shards);
    // Only disks that took part in the last writes know where the log ends.
    let mut current = 0;
    for (index, place) in places.iter().enumerate() {
        let Some((_, superblock, _)) = place else { continue };
        // Every disk that took part was told of the opening before that was complete; an older image of one was not.
        let told =
            superblock.generation > 0 && (!newest.appending || superblock.history.last() == newest.history.last());
        if (told && newest.active >> index & 1 == 1) || planted(Bug::StaleDiskTrusted) {
            current += 1;
        } else {
            newest.whole &= !(1 << index);
            newest.active &= !(1 << index);
        }
    }
    if current < data {
        for (index, place) in places.iter().enumerate() {
            match place {
                None => aside.push(format!("place {index} is missing")),
                Some((disk, ..)) if newest.active >> index & 1 == 0 => {
                    aside.push(format!("{} missed the last writes", disk.label()))
                }
                Some(_) => {}
            }
        }
        return Err(LedgerError::TooFewDisks { present: current, needed: data, what: aside.join(", ") });
    }
    let codec_id = CodecId::from_stored(newest.codec).unwrap_or(CodecId::Leopard16);
    let codec = codec(codec_id, newest.geometry)?;
    let mut next_slot: Vec<usize> =
        places.iter().map(|place| place.as_ref().map_or(0, |(_, _, slot)| 1 - slot)).collect();
    let mut disks: Vec<Option<Arc<dyn Disk>>> = places.into_iter().map(|place| place.map(|(disk, ..)| disk)).collect();
    for disk in blank {
        let free = disks.iter().position(Option::is_none).filter(|_| options.adopt_blank);
        match free {
            Some(place) if adopt(&*disk, &newest, place)? => {
                tracing::warn!(disk = disk.label(), place, "empty disk takes the place of a missing one: heal the set");
                newest.whole &= !(1 << place);
                newest.active &= !(1 << place);
                next_slot[place] = 1;
                disks[place] = Some(disk);
            }
            _ => tracing::warn!(disk = disk.label(), "disk holds no superblock: treated as missing"),
        }
    }
    let member = |(index, disk)| Member::new(index, disk, options.open_files_max);
    let members = disks.into_iter().enumerate().map(member).collect();
    let set = Set {
        id: newest.set,
        geometry: newest.geometry,
        segment_len: newest.segment_len,
        codec_id,
        members,
        codec: Mutex::new(codec),
    };
    Ok(Identified { set, supers: Supers { newest, next_slot } })
}

/// Makes an empty disk one of the set that has not taken part in anything: generation 0, no history. False if there are
/// segments on it: that is not for us to overwrite.
fn adopt(disk: &dyn Disk, newest: &Superblock, place: usize) -> Result<bool> {
    if disk.list()?.iter().any(|file| crate::layout::parse_segment_name(&file.name).is_some()) {
        return Ok(false);
    }
    let index = strata_seam::DiskIndex(place as u8);
    let superblock =
        Superblock { index, generation: 0, appending: false, history: History::default(), ..newest.clone() };
    let mut slot = AlignedBuf::zeroed(SLOT_LEN);
    superblock.encode(&mut slot);
    disk.create(FILE, 2 * SLOT_LEN as u64, true)?.write_at(0, &slot, WriteMode::Durable)?;
    Ok(true)
}

/// A codec for a geometry that has been checked.
pub(crate) fn codec(id: CodecId, geometry: crate::api::Geometry) -> Result<Codec> {
    Codec::new(id, usize::from(geometry.data_shards), usize::from(geometry.parity_shards))
        .map_err(|error| LedgerError::Setting { name: "geometry", what: error.to_string() })
}

impl Supers {
    /// Writes a changed state to every disk that takes writes. A disk that fails is set aside and the others are told,
    /// so on success all disks still writable agree on who takes part.
    ///
    /// A rest below the write quorum is never written down: it can acknowledge nothing, so the disks it would exclude
    /// lack nothing, and the next opening would refuse a set that is all there.
    ///
    /// # Errors
    /// [`LedgerError::QuorumLost`] when too few are left; the disks then say what was last agreed on, or what the first
    /// of them were told in that attempt: that at least a write quorum takes part.
    pub(crate) fn store(&mut self, set: &Set, change: impl FnOnce(&mut Superblock)) -> Result<()> {
        change(&mut self.newest);
        loop {
            set.check_quorum()?;
            self.newest.active = set.mask(Member::writable);
            self.newest.whole &= self.newest.active;
            self.newest.generation += 1;
            let mut agreed = true;
            for (index, member) in set.members.iter().enumerate().filter(|(_, member)| member.writable()) {
                self.newest.index = strata_seam::DiskIndex(index as u8);
                let mut slot = AlignedBuf::zeroed(SLOT_LEN);
                self.newest.encode(&mut slot);
                let offset = (self.next_slot[index] * SLOT_LEN) as u64;
                let mode = if planted(Bug::SuperblockNotSynced) { WriteMode::Buffered } else { WriteMode::Durable };
                let written = member.disk().and_then(|disk| disk.open(FILE)?.write_at(offset, &slot, mode));
                match written {
                    Ok(()) if planted(Bug::SuperblockSameSlot) => {}
                    Ok(()) => self.next_slot[index] = 1 - self.next_slot[index],
                    Err(error) => {
                        member.fail(&error);
                        agreed = false;
                    }
                }
            }
            if agreed {
                return Ok(());
            }
        }
    }
}

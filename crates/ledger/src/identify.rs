//! Who are these disks? Superblocks say which set a disk belongs to and which place it has there; the order in which
//! disks are given does not matter.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::{Mutex, RwLock};
use strata_erasure::{Codec, CodecId};
use strata_seam::planted::{Bug, planted};
use strata_seam::{AlignedBuf, Clock, Disk, DiskErrorKind, DiskIndex, Lsn, SetId, WriteMode};

use crate::error::{LedgerError, Result};
use crate::history::History;
use crate::member::Member;
use crate::options::Options;
use crate::roster::Roster;
use crate::set::Set;
use crate::superblock::{FILE, SLOT_LEN, Slot, Superblock};
use crate::supers::Supers;

/// The sets of a store put together from their disks.
pub(crate) struct Identified {
    /// In order of joining.
    pub(crate) sets: Vec<Arc<Set>>,
    pub(crate) roster: Roster,
    /// The newest that any of them knows.
    pub(crate) history: History,
    /// Disks given that have no place in it.
    pub(crate) strangers: Vec<Stranger>,
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

fn set_of((_, superblock, _): &Formatted) -> SetId {
    superblock.set
}

/// Reads the superblock of a disk.
pub(crate) fn look(disk: &dyn Disk) -> Result<Found> {
    let file = match disk.open(FILE) {
        Ok(file) => file,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(Found::Blank),
        Err(error) => return Err(error.into()),
    };
    let mut newest: Option<(Box<Superblock>, usize)> = None;
    let mut doubt = None;
    for slot in 0..2 {
        let mut bytes = vec![0; SLOT_LEN];
        match file.read_at((slot * SLOT_LEN) as u64, &mut bytes) {
            Ok(()) => {}
            // The other slot may still say who this is.
            Err(error) if error.kind == DiskErrorKind::ShortRead => continue,
            Err(error) if error.kind == DiskErrorKind::Medium => {
                doubt = Some(error);
                continue;
            }
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
    match (newest, doubt) {
        (Some((superblock, slot)), _) => Ok(Found::Formatted(superblock, slot)),
        // What cannot be read is not blank.
        (None, Some(error)) => Err(error.into()),
        (None, None) => Ok(Found::Blank),
    }
}

/// The file on a disk that somebody took out of its set.
pub(crate) const REMOVED_FILE: &str = "removed";

/// Whether somebody took this disk out of its set.
pub(crate) fn is_removed(disk: &dyn Disk) -> Result<bool> {
    match disk.open(REMOVED_FILE) {
        Ok(_) => Ok(true),
        Err(error) if error.kind == DiskErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A disk that was given and has no place in the set: it is neither read nor written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stranger {
    /// Its label.
    pub label: String,
    /// Why it has none.
    pub kind: StrangerKind,
}

/// Why a disk has no place in the set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StrangerKind {
    /// It is empty: it may take the place of a missing one ([`replace_disk`](crate::Ledger::replace_disk)).
    Blank,
    /// It holds a disk of this other set.
    Foreign(SetId),
    /// It holds a disk of this set, which was to join the store and did not, or was emptied and taken out of it.
    Unlisted(SetId),
    /// Another disk has its place and is newer, or looks just the same: then neither is used.
    Duplicate(DiskIndex),
    /// It was taken out of its set ([`remove_disk`](crate::Ledger::remove_disk)).
    Removed,
    /// It cannot be read, as the text says.
    Unreadable(String),
}

impl fmt::Display for StrangerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("is blank"),
            Self::Foreign(set) => write!(f, "belongs to set {set}"),
            Self::Unlisted(set) => write!(
                f,
                "belongs to set {set}, which is not one of the store: it was emptied and taken out, or its joining was cut off"
            ),
            Self::Duplicate(place) => write!(f, "is an older image or a copy of the disk in place {place}"),
            Self::Removed => f.write_str("was taken out of its set; `strata disk add` takes it back"),
            Self::Unreadable(what) => write!(f, "cannot be read ({what})"),
        }
    }
}

/// What some disks hold, before any of it is believed.
#[derive(Default)]
struct Given {
    formatted: Vec<Formatted>,
    blank: Vec<Arc<dyn Disk>>,
    strangers: Vec<Stranger>,
}

impl Given {
    fn look_at(disks: Vec<Arc<dyn Disk>>) -> Result<Self> {
        let mut given = Self::default();
        for disk in disks {
            match look(&*disk) {
                Ok(Found::Formatted(superblock, slot)) => match is_removed(&*disk) {
                    Ok(false) => given.formatted.push((disk, superblock, slot)),
                    Ok(true) => given.strange(&disk, StrangerKind::Removed),
                    Err(LedgerError::Disk(error)) if error.kind == DiskErrorKind::Exhausted => return Err(error.into()),
                    Err(error) => given.strange(&disk, StrangerKind::Unreadable(error.to_string())),
                },
                Ok(Found::Blank) => given.blank.push(disk),
                Err(LedgerError::Disk(error)) if error.kind == DiskErrorKind::Exhausted => return Err(error.into()),
                Err(LedgerError::Disk(error)) => given.strange(&disk, StrangerKind::Unreadable(error.to_string())),
                Err(other) => return Err(other),
            }
        }
        let made: Vec<SetId> = given.formatted.iter().filter(|(_, found, _)| !found.is_unmade()).map(set_of).collect();
        let unmade = given.keep(|found| !found.is_unmade() || made.contains(&found.set));
        given.blank.extend(unmade.into_iter().map(|(disk, ..)| disk));
        Ok(given)
    }

    fn strange(&mut self, disk: &Arc<dyn Disk>, kind: StrangerKind) {
        tracing::warn!(disk = disk.label(), why = %kind, "disk has no place in the set: treated as missing");
        self.strangers.push(Stranger { label: disk.label().to_owned(), kind });
    }

    /// Sets the disks of all stores aside but those of the store most of them belong to.
    fn keep_one_store(&mut self) -> Result<()> {
        let stores = self.formatted.iter().map(|(disk, superblock, _)| (disk.label(), superblock.roster().store));
        let Some(store) = majority(stores)? else {
            let mut why: Vec<String> =
                self.strangers.iter().map(|stranger| format!("{} {}", stranger.label, stranger.kind)).collect();
            why.extend(self.blank.iter().map(|disk| format!("{} is blank", disk.label())));
            let what = format!("no disk holds a superblock; {}", why.join(", "));
            return Err(LedgerError::TooFewDisks { present: 0, needed: 1, what });
        };
        for (disk, found, _) in self.keep(|found| found.roster().store == store) {
            self.strange(&disk, StrangerKind::Foreign(found.set));
        }
        Ok(())
    }

    /// Keeps the disks whose superblock passes and gives the others.
    fn keep(&mut self, test: impl Fn(&Superblock) -> bool) -> Vec<Formatted> {
        let (kept, others) = std::mem::take(&mut self.formatted).into_iter().partition(|(_, found, _)| test(found));
        self.formatted = kept;
        others
    }

    /// The list of sets that counts; sets the disks of others aside.
    fn keep_listed(&mut self) -> Result<Roster> {
        let mut newest: Vec<&Superblock> = Vec::new();
        for (_, found, _) in &self.formatted {
            match newest.iter_mut().find(|other| other.set == found.set) {
                Some(other) if other.rank() < found.rank() => *other = found,
                Some(_) => {}
                None => newest.push(found),
            }
        }
        let lists = newest.iter().map(|found| (found.set, found.roster()));
        let counting = lists.filter(|(set, roster)| roster.counts_for(*set)).map(|(_, roster)| roster);
        let rank = |roster: &Roster| match planted(Bug::OldListOfSetsCounts) {
            true => u64::MAX - roster.version,
            false => roster.version,
        };
        let Some(roster) = counting.max_by_key(rank) else {
            let what = "the disks given were to join a store and none of that store is here".to_owned();
            return Err(LedgerError::TooFewDisks { present: 0, needed: 1, what });
        };
        for (disk, found, _) in self.keep(|found| roster.get(found.set).is_some()) {
            self.strange(&disk, StrangerKind::Unlisted(found.set));
        }
        Ok(roster)
    }
}

/// The store, named by its first set, that most of these disks belong to; `None` where there is no disk.
///
/// # Errors
/// [`LedgerError::ForeignDisk`] where no store has more of them than every other.
pub(crate) fn majority<'a>(disks: impl Iterator<Item = (&'a str, SetId)>) -> Result<Option<SetId>> {
    let mut sets: Vec<(SetId, usize, &str)> = Vec::new();
    for (label, set) in disks {
        match sets.iter_mut().find(|(known, ..)| *known == set) {
            Some((_, count, _)) => *count += 1,
            None => sets.push((set, 1, label)),
        }
    }
    sets.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    match sets[..] {
        [(one, count, _), (other, others, label), ..] if count == others => Err(LedgerError::ForeignDisk {
            disk: label.to_owned(),
            what: format!("belongs to set {other}, and as many of the others to set {one}"),
        }),
        _ => Ok(sets.first().map(|(set, ..)| *set)),
    }
}

/// Whether a disk of the set was written while the disks that `newest` is from were away.
pub(crate) fn is_apart(superblock: &Superblock, newest: &Superblock) -> bool {
    let Some(last) = superblock.history.last().filter(|_| superblock.appending && newest.appending) else {
        return false;
    };
    newest.history.entries().iter().any(|entry| entry.epoch == last.epoch && *entry != last)
}

/// The error for such a disk.
pub(crate) fn apart(disk: &dyn Disk, set: SetId) -> LedgerError {
    LedgerError::Inconsistent {
        what: format!(
            "disk {} and others of set {set} were each written while the other was away; keep the disks with the wanted \
             content and remove the others",
            disk.label()
        ),
    }
}

/// Whether both describe the same set alike.
pub(crate) fn is_alike(one: &Superblock, other: &Superblock) -> bool {
    let fixed = |of: &Superblock| (of.set, of.geometry, of.segment_len, of.codec, of.created);
    fixed(one) == fixed(other)
}

/// Refuses a disk that has no superblock but segments: it was one of a set, and may hold what nothing else holds.
pub(crate) fn check_empty(disk: &dyn Disk) -> Result<()> {
    if disk.list()?.iter().any(|file| crate::layout::parse_segment_name(&file.name).is_some()) {
        let what = format!(
            "disk {} holds segments but no superblock that proves itself; return the other disks of its set, or empty it if \
             it is to be used anew",
            disk.label()
        );
        return Err(LedgerError::Inconsistent { what });
    }
    Ok(())
}

/// Puts the store together. Disks that have no place in it count as missing and are named in a warning.
///
/// # Errors
/// [`LedgerError::ForeignDisk`], [`LedgerError::NewerFormat`], [`LedgerError::TooFewDisks`] also where a set of the store is
/// not here, [`LedgerError::Inconsistent`] where a set was opened in two halves.
pub(crate) fn identify(disks: Vec<Arc<dyn Disk>>, options: &Options, clock: Arc<dyn Clock>) -> Result<Identified> {
    let mut given = Given::look_at(disks)?;
    given.keep_one_store()?;
    let roster = given.keep_listed()?;
    let mut sets: Vec<Arc<Set>> = Vec::new();
    for entry in &roster.entries {
        let others = given.keep(|found| found.set == entry.set);
        let ours = std::mem::replace(&mut given.formatted, others);
        if ours.is_empty() {
            let what = format!("none of the disks of set {} of the store ({}) is here", entry.number, entry.set);
            return Err(LedgerError::TooFewDisks { present: 0, needed: 1, what });
        }
        sets.push(Arc::new(identify_one(ours, entry.number, &mut given, options, &clock)?));
    }
    for disk in std::mem::take(&mut given.blank) {
        given.strange(&disk, StrangerKind::Blank);
    }
    let history = newest_history(&sets)?;
    Ok(Identified { sets, roster, history, strangers: given.strangers })
}

/// The newest history that any of the sets knows. One that took no writes for a while does not know the last openings.
fn newest_history(sets: &[Arc<Set>]) -> Result<History> {
    let all: Vec<Superblock> = sets.iter().map(|set| set.supers.lock().newest.clone()).collect();
    let rank = |superblock: &&Superblock| {
        let (epoch, appending, _) = superblock.rank();
        (epoch, appending)
    };
    let Some(newest) = all.iter().max_by_key(rank) else { return Ok(History::default()) };
    if let Some(other) = all.iter().find(|other| is_apart(other, newest)) {
        let what = format!(
            "sets {} and {} of the store were each written while the other was away; keep the disks with the wanted content \
             and remove the others",
            newest.set, other.set
        );
        return Err(LedgerError::Inconsistent { what });
    }
    Ok(newest.history.clone())
}

/// Puts one set together from the disks that say they belong to it.
fn identify_one(
    ours: Vec<Formatted>,
    number: u16,
    given: &mut Given,
    options: &Options,
    clock: &Arc<dyn Clock>,
) -> Result<Set> {
    let Some(mut newest) = ours.iter().map(|(_, found, _)| found).max_by_key(|found| found.rank()).cloned() else {
        return Err(LedgerError::TooFewDisks { present: 0, needed: 1, what: "no disk holds a superblock".to_owned() });
    };
    let mut candidates: Vec<Vec<Formatted>> = (0..newest.disks()).map(|_| Vec::new()).collect();
    for (disk, superblock, slot) in ours {
        if !is_alike(&superblock, &newest) {
            let what = "its superblock describes the set differently from the others".to_owned();
            return Err(LedgerError::ForeignDisk { disk: disk.label().to_owned(), what });
        }
        if is_apart(&superblock, &newest) {
            return Err(apart(&*disk, newest.set));
        }
        candidates[usize::from(superblock.index.0)].push((disk, superblock, slot));
    }
    let mut places: Vec<Option<Formatted>> = Vec::new();
    for (index, mut rivals) in (0..).map(DiskIndex).zip(candidates) {
        rivals.sort_by_key(|(_, superblock, _)| std::cmp::Reverse(superblock.rank()));
        // Of two that look alike one may be a copy that was left behind since: neither is trusted.
        let tied = matches!(&rivals[..], [(_, one, _), (_, other, _), ..] if one.rank() == other.rank());
        let rest = rivals.split_off(usize::from(!tied && !rivals.is_empty()));
        rest.iter().for_each(|(disk, ..)| given.strange(disk, StrangerKind::Duplicate(index)));
        places.push(rivals.pop());
    }
    let as_told = newest.clone();
    let current = take_stock(&mut newest, &places);
    let behind = places.iter().enumerate().filter(|(index, place)| {
        newest.active >> index & 1 == 1 && place.as_ref().is_some_and(|(_, own, _)| own.generation < newest.generation)
    });
    let behind = behind.fold(0, |mask, (index, _)| mask | 1 << index);
    let unheard = (behind != 0).then_some((as_told, behind));
    let data = usize::from(newest.geometry.data_shards);
    if current < data {
        let mut aside: Vec<String> =
            given.strangers.iter().map(|stranger| format!("{} {}", stranger.label, stranger.kind)).collect();
        aside.extend(given.blank.iter().map(|disk| format!("{} {}", disk.label(), StrangerKind::Blank)));
        for (index, place) in places.iter().enumerate() {
            match place {
                None => aside.push(format!("place {index} is missing")),
                Some((disk, ..)) if newest.active >> index & 1 == 0 => {
                    aside.push(format!("{} missed the last writes", disk.label()))
                }
                Some(_) => {}
            }
        }
        let what = if number == 0 { aside.join(", ") } else { format!("set {number}: {}", aside.join(", ")) };
        return Err(LedgerError::TooFewDisks { present: current, needed: data, what });
    }
    let mut next_slot: Vec<usize> =
        places.iter().map(|place| place.as_ref().map_or(0, |(_, _, slot)| 1 - slot)).collect();
    let mut disks: Vec<Option<Arc<dyn Disk>>> = places.into_iter().map(|place| place.map(|(disk, ..)| disk)).collect();
    for disk in std::mem::take(&mut given.blank) {
        let free = disks.iter().position(Option::is_none).filter(|_| options.adopt_blank);
        match free {
            Some(place) if adopt(&*disk, &newest, place)? => {
                tracing::warn!(disk = disk.label(), place, "empty disk takes the place of a missing one: heal the set");
                newest.sound[place] = Lsn(0);
                next_slot[place] = 1;
                disks[place] = Some(disk);
            }
            _ => given.blank.push(disk),
        }
    }
    let supers = Supers::new(*newest, next_slot, unheard);
    Set::new(number, disks, supers, options, clock)
}

/// Takes the disks that are missing, or were left behind by the last writes, out of `newest`. Returns how many are left:
/// only these know where the log ends.
fn take_stock(newest: &mut Superblock, places: &[Option<Formatted>]) -> usize {
    let mut current = 0;
    for (index, place) in places.iter().enumerate() {
        let (active, whole) = (newest.active >> index & 1 == 1, newest.whole >> index & 1 == 1);
        let own = place.as_ref().map(|(_, superblock, _)| superblock);
        // Every disk that took part was told of the opening before that was complete, and of each change before the next
        // one was begun. An older image of one was not.
        // One of a set that was just made lacks nothing: nothing was written yet.
        let told = own.is_some_and(|own| {
            (own.generation > 0 || own.is_unmade())
                && own.generation + 1 >= newest.generation
                && (!newest.appending || own.history.last() == newest.history.last())
        });
        if (told && active) || (own.is_some() && planted(Bug::StaleDiskTrusted)) {
            current += 1;
            continue;
        }
        // What it held when it was last heard of, by the word of the others and by its own.
        let known = if whole { newest.durable_lsn } else { newest.sound[index] };
        newest.sound[index] = own.map_or(known, |own| known.min(own.own_sound()));
        newest.whole &= !(1 << index);
        newest.active &= !(1 << index);
    }
    current
}

/// Makes an empty disk one of the set that has not taken part in anything: generation 0, no history. False if there are
/// segments on it: that is not for us to overwrite.
pub(crate) fn adopt(disk: &dyn Disk, newest: &Superblock, place: usize) -> Result<bool> {
    if disk.list()?.iter().any(|file| crate::layout::parse_segment_name(&file.name).is_some()) {
        return Ok(false);
    }
    let index = DiskIndex(place as u8);
    let mut superblock =
        Superblock { index, generation: 0, appending: false, history: History::default(), ..newest.clone() };
    // It says itself that it holds nothing: a crash may come before the others know.
    superblock.whole &= !(1 << place);
    superblock.sound[place] = Lsn(0);
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

impl Set {
    /// A set of these disks, in order of their places, as its superblocks describe it.
    pub(crate) fn new(
        number: u16,
        disks: Vec<Option<Arc<dyn Disk>>>,
        supers: Supers,
        options: &Options,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        let newest = &supers.newest;
        let codec_id = CodecId::from_stored(newest.codec).unwrap_or(CodecId::Leopard16);
        let member = |(index, disk)| Member::new(index, disk, options.open_files_max);
        Ok(Self {
            id: newest.set,
            number,
            geometry: newest.geometry,
            segment_len: newest.segment_len,
            codec_id,
            members: disks.into_iter().enumerate().map(member).collect(),
            codec: Mutex::new(codec(codec_id, newest.geometry)?),
            clock: Arc::clone(clock),
            freeing: RwLock::default(),
            making: Mutex::new(()),
            supers: Mutex::new(supers),
            exhausted_reads: AtomicU64::new(0),
            halted: AtomicBool::new(false),
        })
    }
}

//! What an operator is told about a store and its sets.

use strata_seam::{DiskSpace, Epoch, Lsn, Position, SetId, Timestamp};

use crate::api::Geometry;
use crate::find::{StoreRoom, room_of};
use crate::identify::Stranger;
use crate::ledger::Ledger;
use crate::member::{Member, Why};
use crate::meter::DiskCounters;
use crate::roster::SetState;
use crate::set::Set;

/// How a disk takes part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DiskState {
    /// Present, written, and complete as far as is known.
    Active,
    /// Present and written, but it lacks frames: heal it.
    Stale,
    /// A write or sync failed; it is read but not written until it is taken back.
    Failed,
    /// It answers that it is gone; hand it in again when it is back.
    Gone,
    /// No room where the others have some: read but not written; taken back when it has room.
    Full,
    /// It takes no changes: read but not written; taken back when it does.
    ReadOnly,
    /// Every commit would wait for it: read but not written; taken back when it is quick.
    Slow,
    /// No disk was given for this place, or none that could be used: see [`Status::strangers`].
    Missing,
}

impl DiskState {
    /// The state in one lower-case word, for tables, metrics and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Stale => "stale",
            Self::Failed => "failed",
            Self::Gone => "gone",
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Slow => "slow",
            Self::Missing => "missing",
        }
    }

    /// Every state, for those who export a figure per state.
    pub const ALL: [Self; 8] =
        [Self::Active, Self::Stale, Self::Failed, Self::Gone, Self::Full, Self::ReadOnly, Self::Slow, Self::Missing];

    /// Whether new stripes are written to the disk.
    #[must_use]
    pub const fn is_written(self) -> bool {
        matches!(self, Self::Active | Self::Stale)
    }
}

/// One set of the store.
#[derive(Clone, Debug)]
pub struct SetStatus {
    /// What operators call it; it never changes.
    pub number: u16,
    /// Its identity.
    pub set: SetId,
    /// Its layout.
    pub geometry: Geometry,
    /// What becomes of it.
    pub state: SetState,
    /// Whether new segments are made on it: it is active and has its write quorum.
    pub is_written: bool,
    /// Whether it lost its write quorum: it takes no writes until the store is opened again.
    pub is_halted: bool,
    /// Its disks, among those of the store.
    pub disks: std::ops::Range<usize>,
    /// Segments on it.
    pub segments: u64,
    /// Bytes of a segment on each of its disks.
    pub segment_len: u64,
    /// Room for content on it.
    pub room: StoreRoom,
}

/// One disk of the store.
#[derive(Clone, Debug)]
pub struct DiskStatus {
    /// Number of its set.
    pub set: u16,
    /// Its label, or the number of its place while it is missing.
    pub label: String,
    /// How it takes part.
    pub state: DiskState,
    /// Why it is not written, in words, where it is present and is not.
    pub why: Option<String>,
    /// Whether it is so slow that reads are answered from the others, but for a probe now and then.
    pub read_around: bool,
    /// Bytes of its file system, where it answers.
    pub space: Option<DiskSpace>,
    /// Reads since the opening that failed or did not pass their check; they were answered from other disks.
    pub read_errors: u64,
    /// What it did since the opening.
    pub counters: DiskCounters,
    /// Of a disk that is not complete: everything up to this number is.
    pub sound: Option<Lsn>,
}

/// The state of a ledger.
#[derive(Clone, Debug)]
pub struct Status {
    /// The store's identity: that of its first set.
    pub set: SetId,
    /// When the first of its sets that are left was made.
    pub created: Timestamp,
    /// The layout of that set.
    pub geometry: Geometry,
    /// This opening's number; zero in a store opened read-only.
    pub epoch: Epoch,
    /// In order of joining.
    pub sets: Vec<SetStatus>,
    /// By place in the store: the disks of its sets, one set after the other.
    pub disks: Vec<DiskStatus>,
    /// Disks that were given and have no place in it: blank, foreign, copies, unreadable.
    pub strangers: Vec<Stranger>,
    /// Bytes of a segment on each disk of the first set.
    pub segment_len: u64,
    /// Segments that have a file.
    pub segments: u64,
    /// Where the next stripe goes.
    pub position: Position,
    /// Handed to the operating system.
    pub written: Lsn,
    /// Safe from power loss.
    pub durable: Lsn,
    /// Bytes of appends waiting to be written.
    pub queued_bytes: usize,
    /// Why nothing can be appended, if so.
    pub read_only: Option<String>,
    /// Whether appends with data are refused for lack of room.
    pub full: bool,
}

fn state_of(why: Why) -> DiskState {
    match why {
        Why::Failed => DiskState::Failed,
        Why::Gone => DiskState::Gone,
        Why::Full => DiskState::Full,
        Why::ReadOnly => DiskState::ReadOnly,
        Why::Slow => DiskState::Slow,
    }
}

fn disk_status(set: &Set, member: &Member, sound: Option<Lsn>) -> DiskStatus {
    let aside = member.aside();
    let state = match &aside {
        _ if !member.present() => DiskState::Missing,
        Some(aside) => state_of(aside.why),
        None if sound.is_none() => DiskState::Active,
        None => DiskState::Stale,
    };
    let counters = member.meter.counters();
    DiskStatus {
        set: set.number,
        label: member.label().to_string(),
        state,
        why: aside.map(|aside| aside.what),
        read_around: member.meter.is_around(),
        space: member.disk().and_then(|disk| disk.space()).ok(),
        read_errors: counters.read_errors + counters.checksum_failures,
        counters,
        sound,
    }
}

impl Ledger {
    /// The state of the store. Asks every disk for its files and room; not for a hot path.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let (position, epoch) = {
            let writer = shared.writer.lock();
            (writer.position(shared.written().next()), writer.epoch())
        };
        let roster = shared.sets.roster();
        let sets = shared.sets.all();
        let created = sets[0].supers.lock().newest.created;
        let (mut disks, mut shown) = (Vec::new(), Vec::new());
        for set in &sets {
            let first = disks.len();
            let (whole, sound) = {
                let supers = set.supers.lock();
                (supers.newest.whole, supers.newest.sound)
            };
            let of_set = |(index, member)| disk_status(set, member, (whole >> index & 1 == 0).then(|| sound[index]));
            disks.extend(set.members.iter().enumerate().map(of_set));
            let state = roster.get(set.id).map_or(SetState::Joining, |entry| entry.state);
            shown.push(SetStatus {
                number: set.number,
                set: set.id,
                geometry: set.geometry,
                state,
                is_written: state == SetState::Active && set.is_open(),
                is_halted: set.is_halted(),
                disks: first..disks.len(),
                segments: match sets.len() {
                    1 => set.segments(whole).0.len() as u64,
                    _ => shared.sets.segments_on(set.id).len() as u64,
                },
                segment_len: set.segment_len,
                room: StoreRoom { total: 0, free: 0 },
            });
        }
        let all: Vec<_> = disks.iter().filter_map(|disk| disk.space).collect();
        for set in &mut shown {
            let spaces: Vec<_> = disks[set.disks.clone()].iter().filter_map(|disk| disk.space).collect();
            set.room = room_of(&spaces, &all, set.geometry.data_shards);
        }
        // One that was refused may have been put in order since, or have made way for another of its label.
        let mut strangers = shared.strangers.lock().clone();
        strangers.retain(|stranger| disks.iter().all(|disk| disk.label != stranger.label || !disk.state.is_written()));
        let queue = shared.queue.lock();
        Status {
            set: roster.store,
            created,
            geometry: sets[0].geometry,
            epoch,
            disks,
            strangers,
            segment_len: sets[0].segment_len,
            segments: shown.iter().map(|set| set.segments).sum(),
            sets: shown,
            position,
            written: shared.written(),
            durable: shared.durable(),
            queued_bytes: queue.bytes,
            read_only: queue.halt.map(|halt| halt.error().to_string()),
            full: queue.is_full(),
        }
    }
}

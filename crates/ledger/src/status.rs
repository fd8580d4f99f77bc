//! What an operator is told about a set.

use strata_seam::{DiskSpace, Epoch, Lsn, Position, SetId, Timestamp};

use crate::api::Geometry;
use crate::identify::Stranger;
use crate::ledger::Ledger;
use crate::member::{Member, Why};
use crate::meter::DiskCounters;

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

/// One disk of the set.
#[derive(Clone, Debug)]
pub struct DiskStatus {
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
    /// The set's identity.
    pub set: SetId,
    /// When it was made.
    pub created: Timestamp,
    /// Its layout.
    pub geometry: Geometry,
    /// This opening's number; zero in a set opened read-only.
    pub epoch: Epoch,
    /// By place in the set.
    pub disks: Vec<DiskStatus>,
    /// Disks that were given and have no place in it: blank, foreign, copies, unreadable.
    pub strangers: Vec<Stranger>,
    /// Bytes of a segment on each disk.
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

impl Ledger {
    /// The state of the set. Asks every disk for its files and room; not for a hot path.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let (position, epoch) = {
            let writer = shared.writer.lock();
            (writer.position(shared.written().next()), writer.epoch())
        };
        let (whole, sound, created) = {
            let supers = shared.supers.lock();
            (supers.newest.whole, supers.newest.sound, supers.newest.created)
        };
        let disk = |(index, member): (usize, &Member)| {
            let (aside, complete) = (member.aside(), whole >> index & 1 == 1);
            let state = match &aside {
                _ if !member.present() => DiskState::Missing,
                Some(aside) => state_of(aside.why),
                None if complete => DiskState::Active,
                None => DiskState::Stale,
            };
            let counters = member.meter.counters();
            DiskStatus {
                label: member.label().to_string(),
                state,
                why: aside.map(|aside| aside.what),
                read_around: member.meter.is_around(),
                space: member.disk().and_then(|disk| disk.space()).ok(),
                read_errors: counters.read_errors + counters.checksum_failures,
                counters,
                sound: (!complete).then_some(sound[index]),
            }
        };
        let disks = shared.set.members.iter().enumerate().map(disk).collect();
        let segments = shared.set.segments(whole).0.len() as u64;
        let queue = shared.queue.lock();
        Status {
            set: shared.set.id,
            created,
            geometry: shared.set.geometry,
            epoch,
            disks,
            strangers: shared.strangers.lock().clone(),
            segment_len: shared.set.segment_len,
            segments,
            position,
            written: shared.written(),
            durable: shared.durable(),
            queued_bytes: queue.bytes,
            read_only: queue.halt.map(|halt| halt.error().to_string()),
            full: queue.full,
        }
    }
}

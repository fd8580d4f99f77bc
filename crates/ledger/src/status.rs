//! What an operator is told about a set.

use strata_seam::{DiskSpace, Epoch, Lsn, Position, SetId, Timestamp};

use crate::api::Geometry;
use crate::ledger::Ledger;
use crate::member::Member;

/// How a disk takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskState {
    /// Present, written, and complete as far as is known.
    Active,
    /// Present and written, but it lacks frames: heal it.
    Stale,
    /// A write or sync failed; it is read but not written until the set is opened again.
    Failed,
    /// Not there.
    Missing,
}

/// One disk of the set.
#[derive(Clone, Debug)]
pub struct DiskStatus {
    /// Its label, or the number of its place while it is missing.
    pub label: String,
    /// How it takes part.
    pub state: DiskState,
    /// Bytes of its file system, where it answers.
    pub space: Option<DiskSpace>,
    /// Reads since the opening that failed or did not pass their check; they were answered from other disks.
    pub read_errors: u64,
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

impl Ledger {
    /// The state of the set. Asks every disk for its files and room; not for a hot path.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let (position, epoch) = {
            let writer = shared.writer.lock();
            (writer.position(shared.written().next()), writer.epoch())
        };
        let (whole, created) = {
            let supers = shared.supers.lock();
            (supers.newest.whole, supers.newest.created)
        };
        let disk = |(index, member): (usize, &Member)| DiskStatus {
            label: member.label.clone(),
            state: match (member.present(), member.failed(), whole >> index & 1 == 1) {
                (false, ..) => DiskState::Missing,
                (_, true, _) => DiskState::Failed,
                (.., false) => DiskState::Stale,
                (.., true) => DiskState::Active,
            },
            space: member.disk().and_then(|disk| disk.space()).ok(),
            read_errors: member.read_errors(),
        };
        let disks = shared.set.members.iter().enumerate().map(disk).collect();
        let segments = shared.set.segments().0.len() as u64;
        let queue = shared.queue.lock();
        Status {
            set: shared.set.id,
            created,
            geometry: shared.set.geometry,
            epoch,
            disks,
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

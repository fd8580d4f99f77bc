//! The ledger's interface types. Payloads are opaque to it: what a block or a commit means is decided above.

use bytes::Bytes;
use strata_seam::{Lsn, SegmentId};

/// How many data and parity shards a stripe has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Shards that hold the payload, `1 ..= 16`.
    pub data_shards: u8,
    /// Shards that may be lost, `0 ..= 4`.
    pub parity_shards: u8,
}

/// A run of bytes to be read back by location, with the small description that is replayed instead of it.
#[derive(Clone, Debug)]
pub struct BlockRecord {
    /// Handed to the replay and to [`Sink::written`]; never read by location.
    pub directory: Bytes,
    /// Read back by [`Location`]; not touched by a replay.
    pub data: Bytes,
}

/// One append: takes one sequence number and is recovered whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// New data, in order; may be empty.
    pub blocks: Vec<BlockRecord>,
    /// The change of the index this append carries, if any.
    pub commit: Option<Bytes>,
    /// Whether the write alone will do ([`Class::Written`]): nobody is promised that it survives a power loss before
    /// the next sync. A stripe of such appends only is written without one.
    pub relaxed: bool,
}

/// What an append is for: who may have the last room of a set (invariant ROOM).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The store holds more afterwards. Refused first.
    Data,
    /// The same, of bytes that were promised room before ([`Ledger::promise`](crate::Ledger::promise)).
    Promised,
    /// It holds no more afterwards.
    Removal,
    /// Moving what is wanted out of segments that are to be freed, and the checkpoint that frees them.
    Mover,
}

/// Where a block's data lies: enough to read and verify it without another look-up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Location {
    /// Segment file, the same on every disk of the set.
    pub segment: SegmentId,
    /// Offset of the stripe's frames within the segment, in sectors of 4096 bytes.
    pub sector: u32,
    /// Length of each shard of that stripe in bytes.
    pub shard_len: u32,
    /// Offset of the data within the stripe's payload.
    pub offset: u32,
    /// Length of the data.
    pub len: u32,
    /// CRC-32C of the data, checked on every read.
    pub crc: u32,
}

/// What a durability class waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Handed to the operating system: survives the death of the process (`relaxed`).
    Written,
    /// Synced on a write quorum of disks: survives power loss (`strict`).
    Durable,
}

/// A block of a stripe that has just been written, or is being replayed.
#[derive(Clone, Debug)]
pub struct PlacedBlock {
    /// The append it came with.
    pub lsn: Lsn,
    /// As given in [`BlockRecord::directory`].
    pub directory: Bytes,
    /// Where its data lies from now on.
    pub location: Location,
}

/// One append as found in the log.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Its sequence number.
    pub lsn: Lsn,
    /// Where its stripe lies: a replay from here begins with the stripe's first append.
    pub at: strata_seam::Position,
    /// Its blocks, in the order they were given.
    pub blocks: Vec<PlacedBlock>,
    /// Its commit.
    pub commit: Option<Bytes>,
}

/// Who is told where blocks went.
pub trait Sink: Send + Sync {
    /// Called once per stripe, in order, after it was written and before anybody waiting for it is woken.
    /// `after` is the place behind the stripe. Must be quick and must not call the ledger back.
    fn written(&self, blocks: &[PlacedBlock], after: strata_seam::Position);
}

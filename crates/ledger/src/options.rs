//! Settings of a ledger: plain data, checked when a ledger is formatted or opened.

use std::time::Duration;

use crate::api::Geometry;
use crate::error::{LedgerError, Result};
use crate::layout;

/// Largest commit an append may carry, in bytes.
pub const COMMIT_LEN_MAX: usize = 512 << 10;
/// Largest shard a stripe may ever have: its frame header, with a checksum per 4 KiB, must fit into one sector.
pub const SHARD_LEN_MAX: u32 = 2 << 20;

/// How a ledger works. Only `segment_len` is written to the disks, by [`format`](crate::Ledger::format); the others may
/// change from one opening to the next.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of a segment file on each disk in bytes, a multiple of 4096. Default 64 MiB: long enough that preparing
    /// one is rare, short enough that moving one is quick.
    pub segment_len: u64,
    /// Payload of a stripe per data shard in bytes. Default 1 MiB, where the disks measured reach their full bandwidth.
    pub shard_payload_max: u32,
    /// Bytes of appends that may wait for the writer; [`append`](crate::Ledger::append) waits above. Default 16 MiB.
    pub queue_bytes_max: usize,
    /// Queued bytes at which the writer starts although nobody waits. Default 1 MiB.
    pub flush_bytes: usize,
    /// How long an append may stay queued while nobody waits for it. Default 200 ms.
    pub soon_max: Duration,
    /// Whether segments for small commits are filled with zeros ahead of time, so that a sync changes no metadata
    /// (twice the commits per second). Default on; it costs one more write of each byte.
    pub zero_ahead: bool,
    /// Open segment files kept per disk. Default 512.
    pub open_files_max: usize,
    /// Segments of room that appends with data leave free on each set: one for whoever makes room, who gets that of a
    /// checkpoint beside it, and the others for removals. Default 2; with 0 nothing is kept, not even for a checkpoint.
    pub reserve_segments: u32,
    /// Whether an empty disk takes the place of a missing one when the set is opened. It then takes part in writing at
    /// once; [`heal`](crate::Ledger::heal) gives it what it lacks. Default off: a forgotten mount looks like an empty disk.
    pub adopt_blank: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_len: 64 << 20,
            shard_payload_max: 1 << 20,
            queue_bytes_max: 16 << 20,
            flush_bytes: 1 << 20,
            soon_max: Duration::from_millis(200),
            zero_ahead: true,
            open_files_max: 512,
            reserve_segments: 2,
            adopt_blank: false,
        }
    }
}

impl Options {
    /// Checks the limits for `geometry`.
    pub(crate) fn check(&self, geometry: Geometry) -> Result<()> {
        let setting = |name, what: &str| Err(LedgerError::Setting { name, what: what.to_owned() });
        if geometry.data_shards == 0 || geometry.data_shards > 16 || geometry.parity_shards > 4 {
            return setting("geometry", "1 to 16 data shards and 0 to 4 parity shards are possible");
        }
        if self.shard_payload_max < 4096 || self.shard_payload_max > SHARD_LEN_MAX - 4096 {
            return setting("shard_payload_max", "must lie between 4 KiB and 2 MiB less 4 KiB");
        }
        if self.open_files_max < 4 {
            return setting("open_files_max", "must be at least 4");
        }
        let frame = layout::frame_len(layout::shard_len_for(self.payload_max(geometry), geometry.data_shards));
        if !self.segment_len.is_multiple_of(4096) || self.segment_len < frame || self.segment_len >= 1 << 43 {
            return setting("segment_len", "must be a multiple of 4096 and hold the largest stripe");
        }
        Ok(())
    }

    /// Most payload of one stripe, in bytes.
    pub(crate) fn payload_max(&self, geometry: Geometry) -> u32 {
        self.shard_payload_max * u32::from(geometry.data_shards)
    }
}

//! The meta area: the end of a stripe's payload, which says what the stripe holds. A replay reads it and not the data.
//!
//! ```text
//! u32 appends, then per append:
//!   u64 lsn, u32 blocks, u32 commit length (0xffff_ffff: no commit)
//!   per block: u32 offset in the payload, u32 length, u32 CRC-32C, u32 directory length, directory
//!   commit
//! ```
//! All integers are little-endian. The CRC-32C of the whole area is in every frame header of the stripe.

use bytes::Bytes;
use strata_seam::{Lsn, Position};

use crate::api::{Append, Location, PlacedBlock, Replayed};
use crate::frame::StripeHead;
use crate::layout;

/// Stands for "no commit".
const NO_COMMIT: u32 = u32::MAX;
/// Bytes of an append without its blocks and commit.
const APPEND_LEN: usize = 16;
/// Bytes of a block without its directory.
const BLOCK_LEN: usize = 16;
/// Bytes of the area before the first append.
pub(crate) const PREFIX_LEN: usize = 4;

/// Bytes that an append takes in the meta area.
pub(crate) fn append_len(append: &Append) -> usize {
    let blocks: usize = append.blocks.iter().map(|block| BLOCK_LEN + block.directory.len()).sum();
    APPEND_LEN + blocks + append.commit.as_ref().map_or(0, Bytes::len)
}

/// Writes the area append by append.
pub(crate) struct MetaWriter {
    bytes: Vec<u8>,
}

impl MetaWriter {
    /// Starts in `bytes`, whose content is thrown away and whose memory is reused. `appends` fit into 32 bits: each
    /// takes at least 16 bytes of a payload.
    pub(crate) fn new(mut bytes: Vec<u8>, appends: u32) -> Self {
        bytes.clear();
        bytes.extend_from_slice(&appends.to_le_bytes());
        Self { bytes }
    }

    /// Adds an append whose block data lies at the given places, in the order of its blocks.
    pub(crate) fn push(&mut self, lsn: Lsn, append: &Append, places: &[PlacedBlock]) {
        let mut number = |value: u32| self.bytes.extend_from_slice(&value.to_le_bytes());
        // Two halves of the little-endian 64-bit number.
        number((lsn.0 & 0xffff_ffff) as u32);
        number((lsn.0 >> 32) as u32);
        number(places.len() as u32);
        number(append.commit.as_ref().map_or(NO_COMMIT, |commit| commit.len() as u32));
        for place in places {
            let Location { offset, len, crc, .. } = place.location;
            for value in [offset, len, crc, place.directory.len() as u32] {
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
            self.bytes.extend_from_slice(&place.directory);
        }
        if let Some(commit) = &append.commit {
            self.bytes.extend_from_slice(commit);
        }
    }

    /// The area.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads the area of the stripe `head`. `None` where it contradicts itself or the header.
pub(crate) fn decode(head: &StripeHead, bytes: &Bytes) -> Option<Vec<Replayed>> {
    let at = Position { segment: head.segment, offset: layout::byte_of(head.sector), next_lsn: head.first_lsn };
    let mut rest = bytes.clone();
    let appends = take_u32(&mut rest)?;
    if u64::from(appends) != head.last_lsn.0 - head.first_lsn.0 + 1 {
        return None;
    }
    let mut replayed = Vec::new();
    for index in 0..appends {
        let lsn = Lsn(u64::from(take_u32(&mut rest)?) | u64::from(take_u32(&mut rest)?) << 32);
        if lsn.0 != head.first_lsn.0 + u64::from(index) {
            return None;
        }
        let count = take_u32(&mut rest)? as usize;
        let commit_len = take_u32(&mut rest)?;
        let mut blocks = Vec::with_capacity(count.min(rest.len() / BLOCK_LEN));
        for _ in 0..count {
            let (offset, len, crc) = (take_u32(&mut rest)?, take_u32(&mut rest)?, take_u32(&mut rest)?);
            let directory_len = take_u32(&mut rest)?;
            let directory = take(&mut rest, directory_len)?;
            if u64::from(offset) + u64::from(len) > u64::from(head.meta_offset) {
                return None;
            }
            let location =
                Location { segment: head.segment, sector: head.sector, shard_len: head.shard_len, offset, len, crc };
            blocks.push(PlacedBlock { lsn, directory, location });
        }
        let commit = if commit_len == NO_COMMIT { None } else { Some(take(&mut rest, commit_len)?) };
        replayed.push(Replayed { lsn, at, blocks, commit });
    }
    rest.is_empty().then_some(replayed)
}

fn take(rest: &mut Bytes, len: u32) -> Option<Bytes> {
    let len = len as usize;
    (rest.len() >= len).then(|| rest.split_to(len))
}

fn take_u32(rest: &mut Bytes) -> Option<u32> {
    take(rest, 4).map(|field| crate::wire::get_u32(&field, 0))
}

#[cfg(test)]
mod tests;

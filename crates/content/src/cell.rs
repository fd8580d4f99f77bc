//! The index records of this layer: chunk cells, readers of events, the queue of owners let go, and pages of unfinished ingests.
//!
//! | key | value |
//! |---|---|
//! | `C` chunk id (32) | cell: reference count, tail = [`Place`] once the chunk is in the ledger |
//! | `Y` name | how far a reader of events is: see [`crate::Cursor`] |
//! | `G` session (4) sequence (8, big-endian) | chunk id of a page whose owner is gone; holds one reference on it |
//! | `O` session (4) ingest (8) level (1) sequence (8) | chunk id of a page of an ingest not yet finished; holds one reference on it |

use strata_ledger::Location;
use strata_seam::{ChunkId, SegmentId, SessionId};

/// Table of chunk cells.
pub const TABLE_CHUNK: u8 = b'C';
/// Table of readers of events.
pub const TABLE_CURSOR: u8 = b'Y';
/// Table of pages to let go.
pub const TABLE_GARBAGE: u8 = b'G';
/// Table of pages of unfinished ingests.
pub const TABLE_ORPHAN_PAGE: u8 = b'O';

/// Key of a chunk's cell.
pub(crate) fn chunk_key(id: &ChunkId) -> [u8; 33] {
    let mut key = [TABLE_CHUNK; 33];
    key[1..].copy_from_slice(&id.0);
    key
}

/// Number of the newest session: 4 bytes, big-endian.
pub(crate) const KEY_SESSION: &[u8] = b"Ssession";

/// What begins the keys of a table that belong to a session.
pub fn of_session(table: u8, session: SessionId) -> [u8; 5] {
    let mut key = [table; 5];
    key[1..].copy_from_slice(&session.0.to_be_bytes());
    key
}

/// Key in the queue of pages to let go.
pub(crate) fn garbage_key(session: SessionId, sequence: u64) -> [u8; 13] {
    let mut key = [TABLE_GARBAGE; 13];
    key[..5].copy_from_slice(&of_session(TABLE_GARBAGE, session));
    key[5..].copy_from_slice(&sequence.to_be_bytes());
    key
}

/// Key of a page held by an unfinished ingest.
pub(crate) fn orphan_key(session: SessionId, ingest: u64, level: u8, sequence: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(22);
    key.extend_from_slice(&of_session(TABLE_ORPHAN_PAGE, session));
    key.extend_from_slice(&ingest.to_be_bytes());
    key.push(level);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

/// Where a chunk lies: its block in the ledger and its place in the decoded block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) location: Location,
    /// Codec of the block.
    pub(crate) codec: u8,
    /// Length of the decoded block.
    pub(crate) raw_len: u32,
    /// Offset of the chunk in the decoded block.
    pub(crate) offset: u32,
    /// Length of the chunk.
    pub(crate) len: u32,
}

/// Encoded length of a [`Place`]: format byte, six numbers of the location, codec, three numbers.
const PLACE_LEN: usize = 1 + 6 * 4 + 1 + 3 * 4;
const PLACE_FORMAT: u8 = 1;

impl Place {
    /// The chunk's part of its block's stored bytes.
    pub(crate) fn stored_share(&self) -> u64 {
        u64::from(self.location.len) * u64::from(self.len) / u64::from(self.raw_len.max(1))
    }

    pub(crate) fn encode(&self) -> [u8; PLACE_LEN] {
        let mut out = [0; PLACE_LEN];
        out[0] = PLACE_FORMAT;
        let location = &self.location;
        let numbers = [
            location.segment.0,
            location.sector,
            location.shard_len,
            location.offset,
            location.len,
            location.crc,
            self.raw_len,
            self.offset,
            self.len,
        ];
        for (slot, number) in out[1..].chunks_exact_mut(4).zip(numbers) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        out[PLACE_LEN - 1] = self.codec;
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != PLACE_LEN || bytes[0] != PLACE_FORMAT {
            return None;
        }
        let number = |n: usize| {
            let at = 1 + n * 4;
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let place = Self {
            location: Location {
                segment: SegmentId(number(0)),
                sector: number(1),
                shard_len: number(2),
                offset: number(3),
                len: number(4),
                crc: number(5),
            },
            codec: bytes[PLACE_LEN - 1],
            raw_len: number(6),
            offset: number(7),
            len: number(8),
        };
        (u64::from(place.offset) + u64::from(place.len) <= u64::from(place.raw_len)).then_some(place)
    }
}

/// Splits a cell's value into count and tail.
pub(crate) fn split_cell(value: &[u8]) -> Option<(i64, &[u8])> {
    let (count, tail) = value.split_first_chunk::<8>()?;
    Some((i64::from_le_bytes(*count), tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_encoding_and_one_outside_its_block_is_refused() {
        let place = Place {
            location: Location { segment: SegmentId(7), sector: 9, shard_len: 64, offset: 5, len: 100, crc: 0xdead },
            codec: 2,
            raw_len: 300,
            offset: 100,
            len: 200,
        };
        assert_eq!(Place::decode(&place.encode()), Some(place));
        assert_eq!(Place::decode(&Place { len: 201, ..place }.encode()), None);
        assert_eq!(Place::decode(&place.encode()[1..]), None);
        assert_eq!(Place::decode(&[]), None);
    }
}

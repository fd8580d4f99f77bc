//! The index records of this layer: chunk cells, readers of events, the queue of owners let go, and pages of unfinished ingests.
//!
//! | key | value |
//! |---|---|
//! | `C` chunk id (32) | cell: reference count, tail = where it lies ([`crate::place::Whereabouts`]) once the chunk is stored |
//! | `Y` name | how far a reader of events is: see [`crate::Cursor`] |
//! | `G` session (4) sequence (8, big-endian) | chunk id of a page whose owner is gone; holds one reference on it |
//! | `O` session (4) ingest (8) level (1) sequence (8) | chunk id of a page of an ingest not yet finished; holds one reference on it |

use strata_seam::{ChunkId, SessionId};

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

/// Splits a cell's value into count and tail.
pub(crate) fn split_cell(value: &[u8]) -> Option<(i64, &[u8])> {
    let (count, tail) = value.split_first_chunk::<8>()?;
    Some((i64::from_le_bytes(*count), tail))
}

//! The rows that an engine keeps for itself: a cell for each chunk, and the number of the newest session.
//!
//! | key | value |
//! |---|---|
//! | `C` chunk id (32) | cell: reference count, tail = where it lies ([`crate::Whereabouts`]) once the chunk is stored |
//! | `Ssession` | number of the newest session: 4 bytes, big-endian |

use strata_seam::ChunkId;

/// Table of chunk cells.
pub const TABLE_CHUNK: u8 = b'C';

/// Key of the number of the newest session. It is put by the first commit of each.
pub const KEY_SESSION: &[u8] = b"Ssession";

/// Key of a chunk's cell.
#[must_use]
pub fn chunk_key(id: &ChunkId) -> [u8; 33] {
    let mut key = [TABLE_CHUNK; 33];
    key[1..].copy_from_slice(&id.0);
    key
}

/// Splits a cell's value into count and tail; `None` for what is too short to be a cell.
#[must_use]
pub fn split_cell(value: &[u8]) -> Option<(i64, &[u8])> {
    let (count, tail) = value.split_first_chunk::<8>()?;
    Some((i64::from_le_bytes(*count), tail))
}

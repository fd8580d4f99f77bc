//! Keys of the records of this layer: readers of events, the queue of pages whose owners are gone, and pages of unfinished ingests. The
//! cells of chunks are the engine's (`strata_engine::TABLE_CHUNK`).
//!
//! | key | value |
//! |---|---|
//! | `Y` name | how far a reader of events is: see [`crate::Cursor`] |
//! | `G` session (4) sequence (8, big-endian) | chunk id of a page whose owner is gone; holds one reference on it |
//! | `O` session (4) ingest (8) level (1) sequence (8) | chunk id of a page of an ingest not yet finished; holds one reference on it |

use strata_seam::SessionId;

/// Table of readers of events.
pub const TABLE_CURSOR: u8 = b'Y';
/// Table of pages to release.
pub const TABLE_GARBAGE: u8 = b'G';
/// Table of pages of unfinished ingests.
pub const TABLE_ORPHAN_PAGE: u8 = b'O';

/// The prefix of all keys of a table that belong to a session.
pub fn of_session(table: u8, session: SessionId) -> [u8; 5] {
    let mut key = [table; 5];
    key[1..].copy_from_slice(&session.0.to_be_bytes());
    key
}

/// Key in the queue of pages to release.
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

//! What a process knows of the pieces of a checkpoint that it took itself. With this the next checkpoint need not read the pieces in
//! which nothing changed.
//!
//! It is in memory alone. The first checkpoint after a start therefore reads the whole index.

use strata_chunk::wire::WireError;
use strata_index::{Fingerprint, KEYS_END, Moment, Pair, decode_piece, engine_cell};
use strata_seam::SegmentId;

use crate::cell::TABLE_CHUNK;
use crate::place::Place;

/// What is known of one piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fact {
    /// Its first key; the piece reaches to the next one's.
    pub(crate) start: Box<[u8]>,
    pub(crate) sum: Fingerprint,
    pub(crate) pairs: u64,
    /// The segments in which its cells place chunks, in order.
    pub(crate) segments: Box<[SegmentId]>,
}

impl Fact {
    /// The facts of a piece as it is written.
    ///
    /// # Errors
    /// [`WireError`] where it is not a piece.
    pub(crate) fn of(piece: &[u8]) -> Result<Self, WireError> {
        let pairs = decode_piece(piece)?;
        let start = pairs.first().ok_or(WireError::Invalid("a piece of a checkpoint without a pair"))?.0.clone();
        let mut sum = Fingerprint::default();
        pairs.iter().for_each(|pair| sum.add(pair));
        let mut segments: Vec<SegmentId> = pairs.iter().filter_map(segment_of).collect();
        segments.sort_unstable();
        segments.dedup();
        Ok(Self { start: start.into(), sum, pairs: pairs.len() as u64, segments: segments.into() })
    }
}

/// Where a cell places its chunk.
fn segment_of((key, value): &Pair) -> Option<SegmentId> {
    if key[0] != TABLE_CHUNK {
        return None;
    }
    Some(Place::decode(&engine_cell(value)?.tail)?.location.segment)
}

/// The facts of all pieces of a checkpoint, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// When its dump was begun.
    pub(crate) moment: Moment,
    pub(crate) pieces: Vec<Fact>,
}

impl Facts {
    /// Where the piece of this number ends: every key before this and not before its start is its own.
    pub(crate) fn end_of(&self, number: usize) -> &[u8] {
        self.pieces.get(number + 1).map_or(KEYS_END, |next| &next.start)
    }
}

//! What the engine holds: values with a tag, and the one record about the engine itself. Format: `docs/format/index.md`.

use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_seam::{Lsn, Position, SegmentId, SetId};

use crate::engine::EngineError;
use crate::mutation::Cell;
use crate::sum::Sum;

/// Key of the record about the engine. No mutation may touch keys that start with this byte.
pub(crate) const STATUS_KEY: &[u8] = &[0];

/// Before the start of a span, the key of its record (`spans.rs`) ...
pub(crate) const SPAN_PREFIX: &[u8] = &[0, 1];
/// ... and behind all of those.
pub(crate) const SPAN_END: &[u8] = &[0, 2];
/// Key of the mark that a span was found wrong.
pub(crate) const WRONG_KEY: &[u8] = &[0, 2];

/// First key of the callers' space: everything from here is theirs.
pub(crate) const FIRST_KEY: &[u8] = &[1];

const VERSION: u8 = 2;
/// The version without spans.
const VERSION_WHOLE: u8 = 1;
const PLAIN: u8 = 0;
const CELL: u8 = 1;

/// The value of a key below the overlay, or after an overlay was put over it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stored {
    /// None.
    Absent,
    /// Set by a `Put`.
    Plain(Vec<u8>),
    /// Made by `Count` and `SetTail`. A dead cell (count 0, empty tail) reads as absent and is kept while it must say what
    /// it includes.
    Cell {
        /// Includes every change up to this number, and none above it.
        through: Lsn,
        /// Count and tail.
        cell: Cell,
    },
}

impl Stored {
    /// From the engine.
    ///
    /// # Errors
    /// [`EngineError::Damaged`].
    pub(crate) fn decode(value: Option<Vec<u8>>) -> Result<Self, EngineError> {
        let Some(mut value) = value else { return Ok(Self::Absent) };
        match value.split_first() {
            Some((&PLAIN, _)) => {
                value.remove(0);
                Ok(Self::Plain(value))
            }
            Some((&CELL, rest)) => match rest.split_first_chunk::<8>() {
                Some((through, cell)) if cell.len() >= 8 => {
                    Ok(Self::Cell { through: Lsn(u64::from_le_bytes(*through)), cell: Cell::from_value(cell) })
                }
                _ => Err(EngineError::Damaged("a cell that is too short".into())),
            },
            _ => Err(EngineError::Damaged("a value of an unknown kind".into())),
        }
    }

    /// For the engine.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        match self {
            Self::Absent => None,
            Self::Plain(value) => Some([&[PLAIN], &value[..]].concat()),
            Self::Cell { through, cell } => {
                Some([&[CELL], &through.0.to_le_bytes()[..], &cell.count.to_le_bytes()[..], &cell.tail].concat())
            }
        }
    }

    /// For a reader.
    pub(crate) fn into_value(self) -> Option<Vec<u8>> {
        match self {
            Self::Absent => None,
            Self::Plain(value) => Some(value),
            Self::Cell { cell, .. } => cell.to_value(),
        }
    }

    /// As a cell to be changed.
    pub(crate) fn into_cell(self) -> Cell {
        match self {
            Self::Absent => Cell::default(),
            Self::Plain(value) => Cell::from_value(&value),
            Self::Cell { cell, .. } => cell,
        }
    }

    /// Whether it is kept only to say what it includes.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self, Self::Cell { cell, .. } if cell.count == 0 && cell.tail.is_empty())
    }
}

/// What the engine says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Status {
    /// Whose ledger it was derived from.
    pub(crate) store: SetId,
    /// Every change up to here is in; a replay may start at the position.
    pub(crate) applied: Option<(Lsn, Position)>,
    /// Changes up to here are partly in: a drain to this bound was begun and not finished.
    pub(crate) draining: Option<Lsn>,
    /// Fingerprint of all pairs.
    pub(crate) sum: Sum,
    /// Fingerprint of the records of all spans.
    pub(crate) spans: Sum,
}

impl Status {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(VERSION).raw(&self.store.0);
        match self.applied {
            None => out.u8(0),
            Some((lsn, at)) => {
                out.u8(1).uvarint(lsn.0).uvarint(u64::from(at.segment.0)).uvarint(at.offset).uvarint(at.next_lsn.0)
            }
        };
        out.uvarint(self.draining.map_or(0, |bound| bound.0)).raw(&self.sum.0.to_le_bytes());
        out.raw(&self.spans.0.to_le_bytes());
        out.finish()
    }

    /// The record, and whether the engine has spans.
    ///
    /// # Errors
    /// [`EngineError::Damaged`].
    pub(crate) fn decode(record: &[u8]) -> Result<(Self, bool), EngineError> {
        let mut input = Decoder::new(record);
        let mut read = || {
            let has_spans = record.first() != Some(&VERSION_WHOLE);
            input.version("the index", if has_spans { VERSION } else { VERSION_WHOLE })?;
            let store = SetId(input.array()?);
            let applied = match input.u8()? {
                0 => None,
                1 => Some((
                    Lsn(input.uvarint()?),
                    Position {
                        segment: SegmentId(input.uvarint32()?),
                        offset: input.uvarint()?,
                        next_lsn: Lsn(input.uvarint()?),
                    },
                )),
                _ => return Err(WireError::Invalid("neither applied nor not")),
            };
            let draining = Some(Lsn(input.uvarint()?)).filter(|&bound| bound > Lsn(0));
            let sum = Sum(u128::from_le_bytes(input.array()?));
            let spans = Sum(if has_spans { u128::from_le_bytes(input.array()?) } else { 0 });
            input.clone().finish()?;
            Ok((Self { store, applied, draining, sum, spans }, has_spans))
        };
        read().map_err(|error: WireError| EngineError::Damaged(error.to_string()))
    }
}

//! One ordered view over the engine's pairs and both generations of the overlay, in either direction.

use std::iter::Peekable;

use strata_seam::Lsn;

use crate::engine::{EngineError, Pair};
use crate::overlay::{Change, Overlay, resolve};
use crate::stored::Stored;

/// Which way a scan goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Forward,
    Back,
}

impl Direction {
    /// Whether a scan meets `a` before `b`.
    fn before(self, a: &[u8], b: &[u8]) -> bool {
        match self {
            Self::Forward => a < b,
            Self::Back => a > b,
        }
    }
}

/// What a merge met.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// Keys with a value, in scan order, each with the highest number of its changes.
    pub(crate) live: Vec<(Vec<u8>, Vec<u8>, Lsn)>,
    /// The highest number among all changes met, those that removed something too.
    pub(crate) lsn: Lsn,
    /// Engine keys that the overlay hides for good: they need not be looked at again while the overlay keeps its changes.
    pub(crate) hidden: Vec<usize>,
}

/// Merges `engine` (in scan order, all of the engine's pairs in `[lo, hi)`) with the overlay's changes in `[lo, hi)`, up to
/// `limit` keys with a value; with `upto` as they were when that was the last change.
///
/// # Errors
/// [`EngineError::Damaged`] if an engine value cannot be read.
pub(crate) fn merge(
    engine: &[Pair],
    overlay: &Overlay,
    (lo, hi): (&[u8], &[u8]),
    limit: usize,
    direction: Direction,
    upto: Option<Lsn>,
) -> Result<Merged, EngineError> {
    let below = |key: &[u8], changes| overlay.below(key, upto, changes);
    let active = overlay.active.range(lo, hi);
    let frozen = overlay.frozen.iter().flat_map(|frozen| frozen.changes.range(lo, hi));
    match direction {
        Direction::Forward => run(engine, active.peekable(), frozen.peekable(), limit, direction, below),
        Direction::Back => run(engine, active.rev().peekable(), frozen.rev().peekable(), limit, direction, below),
    }
}

fn run<'a>(
    engine: &[Pair],
    mut active: Peekable<impl Iterator<Item = (&'a [u8], &'a Change)>>,
    mut frozen: Peekable<impl Iterator<Item = (&'a [u8], &'a Change)>>,
    limit: usize,
    direction: Direction,
    upto: impl Fn(&[u8], [Option<&'a Change>; 2]) -> [Option<&'a Change>; 2],
) -> Result<Merged, EngineError> {
    let mut merged = Merged::default();
    let mut next = 0;
    while merged.live.len() < limit {
        let heads = [
            engine.get(next).map(|(key, _)| &key[..]),
            active.peek().map(|head| head.0),
            frozen.peek().map(|head| head.0),
        ];
        let Some(key) = heads.into_iter().flatten().reduce(|a, b| if direction.before(b, a) { b } else { a }) else {
            break;
        };
        let below = match engine.get(next) {
            Some((head, value)) if head == key => Some((next, value)),
            _ => None,
        };
        let changes = [
            active.next_if(|head| head.0 == key).map(|head| head.1),
            frozen.next_if(|head| head.0 == key).map(|head| head.1),
        ];
        let changes = upto(key, changes);
        let hides = changes.iter().flatten().any(|change| change.is_absolute());
        let stored = match below {
            Some((_, value)) if !hides => Stored::decode(Some(value.clone()))?,
            _ => Stored::Absent,
        };
        let (stored, lsn) = resolve(changes, stored);
        merged.lsn = merged.lsn.max(lsn);
        let key = key.to_vec();
        if let Some((index, _)) = below {
            next += 1;
            if hides {
                merged.hidden.push(index);
            }
        }
        if let Some(value) = stored.into_value() {
            merged.live.push((key, value, lsn));
        }
    }
    Ok(merged)
}

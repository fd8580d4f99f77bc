//! Spans: runs of neighbouring keys, each with the sum over its pairs, so that a part of the engine can be verified by itself.
//!
//! All of the callers' key space is divided into spans. A span reaches from its start to the next one's; the first starts
//! before every key. Its record in the engine says what must be in it, and is replaced in the very batch that changes one
//! of its pairs. `docs/format/index.md` has the records, and why they cannot come back older than what they describe.
//!
//! This module is the bookkeeping; `verified.rs` is the engine that goes by it.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use strata_chunk::wire::{Decoder, Encoder, WireError};

use crate::engine::{EngineError, Pair};
use crate::mutation::KEY_LEN_MAX;
use crate::stored::{FIRST_KEY, SPAN_PREFIX};
use crate::sum::Sum;

/// Pairs of a new span: verifying one costs some tenths of a millisecond, and there are few enough to be kept in memory.
const PAIRS: u64 = 256;
/// Bytes of keys and values at which a new span ends, where values are long.
const BYTES: u64 = 128 << 10;
/// A span that has grown to this is divided ...
const PAIRS_MAX: u64 = 2 * PAIRS;
const BYTES_MAX: u64 = 2 * BYTES;
/// ... and one that has shrunk to this becomes part of the one before it.
const PAIRS_MIN: u64 = PAIRS / 4;

/// What some pairs come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sum: Sum,
    pub(crate) pairs: u64,
    /// Of keys and values.
    pub(crate) bytes: u64,
}

impl Tally {
    /// With this pair put in.
    #[must_use]
    pub(crate) fn with(self, key: &[u8], value: &[u8]) -> Self {
        let bytes = self.bytes.wrapping_add((key.len() + value.len()) as u64);
        Self { sum: self.sum.with(key, value), pairs: self.pairs.wrapping_add(1), bytes }
    }

    /// With this pair taken out. Taken out before it is put in, it wraps around and comes right.
    #[must_use]
    pub(crate) fn without(self, key: &[u8], value: &[u8]) -> Self {
        let bytes = self.bytes.wrapping_sub((key.len() + value.len()) as u64);
        Self { sum: self.sum.without(key, value), pairs: self.pairs.wrapping_sub(1), bytes }
    }

    /// Both together.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            sum: self.sum.and(other.sum),
            pairs: self.pairs.wrapping_add(other.pairs),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }

    /// Whether a span of it is to be divided.
    pub(crate) fn is_large(&self) -> bool {
        self.pairs > PAIRS_MAX || (self.bytes > BYTES_MAX && self.pairs > 1)
    }

    /// Whether a span of it is to become part of the one before it, which holds `before`.
    pub(crate) fn fits_behind(&self, before: &Self) -> bool {
        let both = self.and(*before);
        self.pairs <= PAIRS_MIN && both.pairs <= PAIRS && both.bytes <= BYTES
    }

    /// For the engine; a span of nothing has no record.
    pub(crate) fn record(&self) -> Option<Vec<u8>> {
        (*self != Self::default()).then(|| {
            let mut out = Encoder::new();
            out.raw(&self.sum.0.to_le_bytes()).uvarint(self.pairs).uvarint(self.bytes);
            out.finish()
        })
    }

    /// # Errors
    /// [`EngineError::Damaged`].
    pub(crate) fn decode(record: &[u8]) -> Result<Self, EngineError> {
        let mut input = Decoder::new(record);
        let mut read = || {
            let sum = Sum(u128::from_le_bytes(input.array()?));
            let (pairs, bytes) = (input.uvarint()?, input.uvarint()?);
            input.clone().finish()?;
            Ok(Self { sum, pairs, bytes })
        };
        read().map_err(|error: WireError| EngineError::Damaged(format!("the record of a span: {error}")))
    }
}

/// What is known of a span in this opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Nobody has looked.
    Unverified,
    /// It held what its record says, and has been changed only through the index since.
    Verified,
    /// It did not.
    Wrong,
}

/// One span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) tally: Tally,
    pub(crate) state: State,
    /// The number of the last write of this opening that changed it; 0 for none.
    pub(crate) changed: u64,
}

/// Where a span begins and, excluded, ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reach {
    pub(crate) start: Box<[u8]>,
    pub(crate) end: Box<[u8]>,
}

impl Reach {
    /// The first key that may lie in it.
    pub(crate) fn first(&self) -> &[u8] {
        (&*self.start).max(FIRST_KEY)
    }
}

/// All spans, by start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Spans(BTreeMap<Box<[u8]>, Span>);

impl Spans {
    /// Those of these starts and tallies; the first start is put before every key. Without any, one span of nothing.
    pub(crate) fn of(spans: impl IntoIterator<Item = (Box<[u8]>, Tally)>, state: State) -> Self {
        let mut all: BTreeMap<_, _> =
            spans.into_iter().map(|(start, tally)| (start, Span { tally, state, changed: 0 })).collect();
        if all.first_key_value().is_none_or(|(start, _)| !start.is_empty()) {
            all.insert(Box::default(), Span { tally: Tally::default(), state, changed: 0 });
        }
        Self(all)
    }

    /// What all of them come to.
    pub(crate) fn total(&self) -> Tally {
        self.0.values().fold(Tally::default(), |sum, span| sum.and(span.tally))
    }

    /// How many nobody has looked at.
    pub(crate) fn unverified(&self) -> usize {
        self.0.values().filter(|span| span.state == State::Unverified).count()
    }

    /// The start of the span that `key` lies in.
    pub(crate) fn start_of(&self, key: &[u8]) -> &[u8] {
        self.0.range::<[u8], _>((Unbounded, Included(key))).next_back().map_or(&[], |(start, _)| start)
    }

    /// The span that starts at `start`, and where it reaches.
    pub(crate) fn at(&self, start: &[u8]) -> Option<(Span, Reach)> {
        let (start, span) = self.0.get_key_value(start)?;
        let end = self.0.range::<[u8], _>((Excluded(&start[..]), Unbounded)).next().map(|(end, _)| end.clone());
        // Behind the longest key that may be.
        let end = end.unwrap_or_else(|| vec![0xff; KEY_LEN_MAX + 1].into());
        Some((*span, Reach { start: start.clone(), end }))
    }

    /// The span before the one that starts at `start`.
    pub(crate) fn before(&self, start: &[u8]) -> Option<(&[u8], Span)> {
        self.0.range::<[u8], _>((Unbounded, Excluded(start))).next_back().map(|(start, span)| (&start[..], *span))
    }

    /// The starts of those that are not verified and that keys from `lo` up to `hi` (included or not) may lie in.
    pub(crate) fn doubtful(&self, lo: &[u8], hi: &[u8]) -> Vec<Box<[u8]>> {
        let from = self.start_of(lo);
        let spans = self.0.range::<[u8], _>((Included(from), Included(hi.max(from))));
        spans.filter(|(_, span)| span.state != State::Verified).map(|(start, _)| start.clone()).collect()
    }

    /// The first unverified one that starts at `from` or behind it.
    pub(crate) fn next_unverified(&self, from: &[u8]) -> Option<Box<[u8]>> {
        let mut spans = self.0.range::<[u8], _>((Included(from), Unbounded));
        spans.find(|(_, span)| span.state == State::Unverified).map(|(start, _)| start.clone())
    }

    /// Says what is known of a span; nothing where none starts there by now.
    pub(crate) fn mark(&mut self, start: &[u8], state: State) {
        if let Some(span) = self.0.get_mut(start) {
            span.state = state;
        }
    }

    /// Makes the span at `start` hold `tally` since write `changed`; a new one is verified, since it was written just now.
    pub(crate) fn put(&mut self, start: &[u8], tally: Tally, changed: u64) {
        match self.0.get_mut(start) {
            Some(span) => (span.tally, span.changed) = (tally, changed),
            None => drop(self.0.insert(start.into(), Span { tally, state: State::Verified, changed })),
        }
    }

    /// Whether none that keys in `lo <= key < hi` may lie in was changed behind write `since`.
    pub(crate) fn is_unchanged(&self, lo: &[u8], hi: &[u8], since: u64) -> bool {
        if lo >= hi {
            return true;
        }
        let mut spans = self.0.range::<[u8], _>((Included(self.start_of(lo)), Excluded(hi)));
        spans.all(|(_, span)| span.changed <= since)
    }

    /// Whether the span that `key` lies in was not changed behind write `since`.
    pub(crate) fn is_unchanged_at(&self, key: &[u8], since: u64) -> bool {
        let span = self.0.range::<[u8], _>((Unbounded, Included(key))).next_back();
        span.is_some_and(|(_, span)| span.changed <= since)
    }

    /// Ends the span at `start`: its keys are the one's before it.
    pub(crate) fn remove(&mut self, start: &[u8]) {
        self.0.remove(start);
    }

    /// The records of all that have one.
    pub(crate) fn records(&self) -> impl Iterator<Item = Pair> + '_ {
        self.0.iter().filter_map(|(start, span)| Some((record_key(start), span.tally.record()?)))
    }
}

/// Where the record of the span that starts at `start` lies in the engine.
pub(crate) fn record_key(start: &[u8]) -> Vec<u8> {
    [SPAN_PREFIX, start].concat()
}

/// Cuts sorted pairs into spans.
#[derive(Debug)]
pub(crate) struct Cutter {
    start: Box<[u8]>,
    tally: Tally,
    done: Vec<(Box<[u8]>, Tally)>,
}

impl Cutter {
    /// The first span starts at `start`, whatever the first pair is.
    pub(crate) fn new(start: &[u8]) -> Self {
        Self { start: start.into(), tally: Tally::default(), done: Vec::new() }
    }

    /// Takes the next pair.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        let Tally { pairs, bytes, .. } = self.tally;
        if pairs >= PAIRS || (pairs > 0 && bytes + (key.len() + value.len()) as u64 > BYTES) {
            let start = std::mem::replace(&mut self.start, key.into());
            self.done.push((start, std::mem::take(&mut self.tally)));
        }
        self.tally = self.tally.with(key, value);
    }

    /// The spans, in order: at least one.
    pub(crate) fn finish(mut self) -> Vec<(Box<[u8]>, Tally)> {
        self.done.push((self.start, self.tally));
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(keys: u32) -> Spans {
        let mut cutter = Cutter::new(&[]);
        (0..keys).for_each(|n| cutter.push(&key(n), b"value"));
        Spans::of(cutter.finish(), State::Unverified)
    }

    fn key(n: u32) -> Vec<u8> {
        [b"k", &n.to_be_bytes()[..]].concat()
    }

    #[test]
    fn every_key_lies_in_one_span_and_together_they_hold_all() {
        let spans = cut(10_000);
        assert_eq!(spans.total().pairs, 10_000);
        assert_eq!(spans.start_of(b"a"), b"");
        let mut at: Box<[u8]> = Box::default();
        let mut counted = 0;
        loop {
            let (span, reach) = spans.at(&at).unwrap();
            assert!(span.tally.pairs <= PAIRS && reach.start < reach.end);
            assert_eq!(spans.start_of(reach.first()), &*reach.start);
            counted += span.tally.pairs;
            if reach.end.len() > KEY_LEN_MAX {
                break;
            }
            at = reach.end;
        }
        assert_eq!(counted, 10_000);
    }

    #[test]
    fn a_range_touches_the_spans_its_ends_lie_in_and_those_between() {
        let mut spans = cut(1000);
        let starts = spans.doubtful(&key(0), &key(999));
        assert_eq!(starts.len(), 4);
        assert_eq!(spans.doubtful(&key(300), &key(600)), starts[1..3]);
        assert_eq!(spans.doubtful(&key(255), &key(256)), starts[..2]);
        spans.mark(&starts[1], State::Verified);
        assert_eq!(spans.doubtful(&key(300), &key(600)), starts[2..3]);
        assert_eq!(spans.unverified(), 3);
    }

    #[test]
    fn long_values_make_short_spans_and_one_longer_than_a_span_is_one_by_itself() {
        let mut cutter = Cutter::new(&[]);
        let lengths = [10, 300_000, 10, 100_000, 100_000];
        lengths.iter().enumerate().for_each(|(n, len)| cutter.push(&[n as u8 + 1], &vec![0; *len]));
        let pairs: Vec<u64> = cutter.finish().iter().map(|(_, tally)| tally.pairs).collect();
        assert_eq!(pairs, [1, 1, 2, 1]);
    }

    #[test]
    fn a_record_comes_back_and_no_other_bytes_do() {
        let tally = Tally::default().with(b"key", b"value").with(b"other", b"");
        let record = tally.record().unwrap();
        assert_eq!(Tally::decode(&record).unwrap(), tally);
        assert_eq!(Tally::default().record(), None);
        assert!(Tally::decode(&record[..record.len() - 1]).is_err());
        assert!(Tally::decode(&[&record[..], &[0]].concat()).is_err());
        assert_eq!(tally.without(b"other", b""), Tally::default().with(b"key", b"value"));
    }
}

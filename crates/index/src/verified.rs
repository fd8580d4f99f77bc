//! An engine of which nothing is believed before it was verified in this opening.
//!
//! Sled checks its pages, but after damage in the middle of its log it may come back without an error and with some keys as
//! they were earlier, or gone. So the first read that touches a span, be it for a key that is there, for one that is not, or
//! for a range, reads all of the span and compares the sum. From then on the span is read directly: it changes through
//! [`Verified::write`] alone. What an opening costs therefore does not grow with what the engine holds, but for the spans'
//! records.
//!
//! Invariant TRUTH: no pair and no absence is given out but from a span that was verified since the engine was opened. A span
//! that is wrong stays wrong until the engine is set aside: every read that touches it fails, and a mark in the engine tells
//! the next opening, which builds the index anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use strata_seam::planted::{Bug, planted};

use crate::engine::{EngineError, OrderedKv, Pair, Write};
use crate::hot::{Hot, HotCounts};
use crate::mutation::KEY_LEN_MAX;
use crate::spans::{Cutter, Reach, Spans, State, Tally, record_key};
use crate::stored::{FIRST_KEY, SPAN_END, SPAN_PREFIX, STATUS_KEY, Status, WRONG_KEY};
use crate::sum::Sum;

/// Pairs read at once when a whole span, or everything, is read.
const PAGE: usize = 2048;
/// Records of spans written at once where all are.
const RECORDS: usize = 512;

/// A pair that is to be changed: its key, what the engine has and what it is to have.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

/// See the module.
pub(crate) struct Verified {
    kv: Arc<dyn OrderedKv>,
    /// Held while a span is compared with its record, and while both are changed.
    spans: RwLock<Spans>,
    /// How many spans are not known to be right; at zero nobody asks `spans` any more.
    doubtful: AtomicUsize,
    /// Writes of this opening so far.
    writes: AtomicU64,
    /// Pairs of verified spans.
    hot: Hot,
}

impl Verified {
    /// An engine that holds nothing.
    pub(crate) fn empty(kv: Arc<dyn OrderedKv>) -> Self {
        Self::over(kv, Spans::of([], State::Verified))
    }

    fn over(kv: Arc<dyn OrderedKv>, spans: Spans) -> Self {
        let doubtful = AtomicUsize::new(spans.unverified());
        Self { kv, spans: RwLock::new(spans), doubtful, writes: AtomicU64::new(0), hot: Hot::new(0) }
    }

    /// With so many bytes for pairs that are read again and again.
    #[must_use]
    pub(crate) fn with_hot(self, capacity: u64) -> Self {
        Self { hot: Hot::new(capacity), ..self }
    }

    /// How often a pair was found in memory, and how often the engine was asked.
    pub(crate) fn hot(&self) -> HotCounts {
        self.hot.counts()
    }

    /// An engine as it was left with `status`: reads the records of its spans, and compares them with it.
    ///
    /// # Errors
    /// Those of the engine; [`EngineError::Damaged`] where the records are not those that were written, or a reader found a
    /// span wrong.
    pub(crate) fn open(kv: Arc<dyn OrderedKv>, status: &Status) -> Result<Self, EngineError> {
        if let Some(what) = kv.get(WRONG_KEY)? {
            let what = String::from_utf8_lossy(&what).into_owned();
            return Err(EngineError::Damaged(format!("a read found that {what}")));
        }
        let (mut spans, mut sum, mut from) = (Vec::new(), Sum::default(), SPAN_PREFIX.to_vec());
        loop {
            let records = kv.range(&from, SPAN_END, PAGE)?;
            for (key, record) in &records {
                sum = sum.with(key, record);
                spans.push((Box::from(&key[SPAN_PREFIX.len()..]), Tally::decode(record)?));
            }
            match records.into_iter().next_back() {
                Some((last, _)) => from = [&last[..], &[0]].concat(),
                None => break,
            }
        }
        let nothing = spans.is_empty();
        let spans = Spans::of(spans, if nothing { State::Verified } else { State::Unverified });
        if sum != status.spans || spans.total().sum != status.sum {
            return Err(EngineError::Damaged("the records of its spans are not those that were written".into()));
        }
        if nothing && !kv.range(FIRST_KEY, &end(), 1)?.is_empty() {
            return Err(EngineError::Damaged("it holds keys and says that it holds none".into()));
        }
        Ok(Self::over(kv, spans))
    }

    /// An engine of version 1, which has one sum over all pairs: reads all of them, and gives it spans. A crash in between
    /// leaves an engine of version 1.
    ///
    /// # Errors
    /// Those of the engine; [`EngineError::Damaged`] where the sum is another.
    pub(crate) fn upgrade(kv: Arc<dyn OrderedKv>, status: &mut Status) -> Result<Self, EngineError> {
        let stale = kv.range(SPAN_PREFIX, SPAN_END, usize::MAX)?;
        for records in stale.chunks(RECORDS) {
            kv.write(records.iter().map(|(key, _)| (key.clone(), None)).collect())?;
        }
        let (mut cutter, mut total) = (Cutter::new(&[]), Tally::default());
        each(&*kv, FIRST_KEY, &end(), &mut |key, value| {
            total = total.with(key, value);
            cutter.push(key, value);
        })?;
        if total.sum != status.sum {
            return Err(EngineError::Damaged("keys are missing or are not as they were written".into()));
        }
        let upgraded = Self::over(kv, Spans::of(cutter.finish(), State::Verified));
        upgraded.write_records(status)?;
        tracing::info!(
            pairs = total.pairs,
            "the index was verified once more as a whole and is verified in parts from now on"
        );
        Ok(upgraded)
    }

    /// The number of the last write of this opening.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// Whether no pair in `lo <= key < hi` was changed behind write `since` of this opening. By spans: `false` may be said of
    /// a range beside which something was changed.
    pub(crate) fn is_unchanged(&self, lo: &[u8], hi: &[u8], since: u64) -> bool {
        self.spans.read().is_unchanged(lo, hi, since)
    }

    /// What all spans hold by their records.
    pub(crate) fn total(&self) -> Tally {
        self.spans.read().total()
    }

    /// Writes the records of all spans, and with the last of them `status`, which vouches for them.
    ///
    /// # Errors
    /// Those of the engine.
    fn write_records(&self, status: &mut Status) -> Result<(), EngineError> {
        let records: Vec<Pair> = self.spans.read().records().collect();
        status.spans = records.iter().fold(Sum::default(), |sum, (key, record)| sum.with(key, record));
        for records in records.chunks(RECORDS) {
            self.kv.write(records.iter().map(|(key, record)| (key.clone(), Some(record.clone()))).collect())?;
        }
        self.kv.write(vec![(STATUS_KEY.to_vec(), Some(status.encode()))])
    }

    /// The value at `key`.
    ///
    /// # Errors
    /// Those of the engine, and [`EngineError::Damaged`] where its span is wrong.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        if let Some(value) = self.hot.get(key) {
            return Ok(Some(value));
        }
        let before = self.writes();
        self.verify(key, key)?;
        let value = self.kv.get(key)?;
        // Kept only where no write is under way, which would hold the lock, and none since the engine was asked has changed the key's span.
        if let Some(value) = &value
            && self.hot.wants(key)
            && let Some(spans) = self.spans.try_read()
            && spans.is_unchanged_at(key, before)
        {
            self.hot.keep(key, value);
        }
        Ok(value)
    }

    /// As [`Verified::get`], for whoever is about to change the pair.
    ///
    /// # Errors
    /// As [`Verified::get`].
    pub(crate) fn get_to_change(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.verify(key, key)?;
        self.kv.get(key)
    }

    /// As [`OrderedKv::range`].
    ///
    /// # Errors
    /// As [`Verified::get`].
    pub(crate) fn range(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        loop {
            let pairs = self.kv.range(lo, hi, limit)?;
            // How far the answer speaks, of absences too.
            let reach = if pairs.len() == limit { pairs.last().map_or(lo, |(last, _)| last) } else { hi };
            if self.verify(lo, reach)? {
                return Ok(pairs);
            }
        }
    }

    /// As [`OrderedKv::range_back`].
    ///
    /// # Errors
    /// As [`Verified::get`].
    pub(crate) fn range_back(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError> {
        loop {
            let pairs = self.kv.range_back(lo, hi, limit)?;
            let reach = if pairs.len() == limit { pairs.last().map_or(lo, |(last, _)| last) } else { lo };
            if self.verify(reach, hi)? {
                return Ok(pairs);
            }
        }
    }

    /// Verifies the spans that keys from `lo` up to `hi` may lie in; says whether all of them were verified before.
    fn verify(&self, lo: &[u8], hi: &[u8]) -> Result<bool, EngineError> {
        if self.doubtful.load(Ordering::Acquire) == 0 || planted(Bug::SpanNotVerified) {
            return Ok(true);
        }
        let starts = self.spans.read().doubtful(lo, hi);
        for start in &starts {
            self.verify_span(start)?;
        }
        Ok(starts.is_empty())
    }

    /// Verifies the next span behind `cursor` that nobody has looked at, and moves the cursor; `false` once there is none.
    ///
    /// # Errors
    /// As [`Verified::get`]. The cursor has passed what is wrong.
    pub(crate) fn verify_next(&self, cursor: &mut Vec<u8>) -> Result<bool, EngineError> {
        if self.doubtful.load(Ordering::Acquire) == 0 {
            return Ok(false);
        }
        let next = self.spans.read().next_unverified(cursor);
        let Some(start) = next else { return Ok(false) };
        *cursor = [&start[..], &[0]].concat();
        self.verify_span(&start).map(|()| true)
    }

    fn verify_span(&self, start: &[u8]) -> Result<(), EngineError> {
        let state = {
            let spans = self.spans.read();
            // One that is not there any more became part of another by a write, which verifies first.
            let Some((span, reach)) = spans.at(start) else { return Ok(()) };
            match span.state {
                State::Verified => return Ok(()),
                State::Wrong => State::Wrong,
                State::Unverified if self.tally(&reach)? == span.tally => State::Verified,
                State::Unverified => State::Wrong,
            }
        };
        let mut spans = self.spans.write();
        let first = spans.at(start).is_some_and(|(span, _)| span.state == State::Unverified);
        spans.mark(start, state);
        if first && state == State::Verified {
            self.doubtful.fetch_sub(1, Ordering::AcqRel);
        }
        drop(spans);
        if state == State::Verified {
            return Ok(());
        }
        let what = format!("keys from {} on are missing or are not as they were written", name(start));
        if first {
            self.mark_wrong(&what);
        }
        Err(EngineError::Damaged(what))
    }

    /// Tells the next opening. Should that fail, the next opening finds out by itself, at the first read that touches it.
    fn mark_wrong(&self, what: &str) {
        let mark = vec![(WRONG_KEY.to_vec(), Some(what.as_bytes().to_vec()))];
        if let Err(error) = self.kv.write(mark).and_then(|()| self.kv.flush()) {
            tracing::error!(%error, "that the index is wrong could not be written down in it; a restart may find it once more");
        }
    }

    /// What a span really holds.
    fn tally(&self, reach: &Reach) -> Result<Tally, EngineError> {
        let mut tally = Tally::default();
        each(&*self.kv, reach.first(), &reach.end, &mut |key, value| tally = tally.with(key, value))?;
        Ok(tally)
    }

    /// Makes `changes`, whose keys were read through [`Verified::get_to_change`], and writes `status` with the sums that hold then, all
    /// in one batch; then divides spans that have become large and joins small ones, in another. Gives the status as it is.
    /// Only one caller at a time.
    ///
    /// # Errors
    /// Those of the engine; it is then of no more use in this opening.
    pub(crate) fn write(&self, changes: Vec<Change>, mut status: Status) -> Result<Status, EngineError> {
        let mut list: Vec<Write> = Vec::with_capacity(changes.len() + 16);
        let mut touched: BTreeSet<Box<[u8]>> = BTreeSet::new();
        {
            let mut spans = self.spans.write();
            let mut after = Edit::new(&spans);
            for (key, known, value) in changes {
                let start = spans.start_of(&key);
                after.change(start, |tally| {
                    let tally = known.iter().fold(tally, |tally, known| tally.without(&key, known));
                    value.iter().fold(tally, |tally, value| tally.with(&key, value))
                });
                if !planted(Bug::HotNotForgotten) {
                    self.hot.forget(&key);
                }
                if !touched.contains(start) {
                    touched.insert(start.into());
                }
                list.push((key, value));
            }
            let after = after.close(&mut status, &mut list);
            self.kv.write(list)?;
            apply(&mut spans, after, self.writes.fetch_add(1, Ordering::AcqRel) + 1);
        }
        self.tidy(touched, status)
    }

    /// Divides those of the spans that have become large and joins small ones with the one before them.
    fn tidy(&self, touched: BTreeSet<Box<[u8]>>, mut status: Status) -> Result<Status, EngineError> {
        let mut spans = self.spans.write();
        let mut edit = Edit::new(&spans);
        // From behind, so that a run of small ones joins one by one.
        for start in touched.into_iter().rev() {
            let Some((span, reach)) = spans.at(&start) else { continue };
            let tally = edit.tally(&start).unwrap_or_default();
            if tally.is_large() {
                let mut cutter = Cutter::new(&start);
                each(&*self.kv, reach.first(), &reach.end, &mut |key, value| cutter.push(key, value))?;
                let parts = cutter.finish();
                if parts.iter().fold(Tally::default(), |sum, (_, part)| sum.and(*part)) != tally {
                    return Err(EngineError::Damaged(format!("keys from {} on do not stay as written", name(&start))));
                }
                parts.into_iter().for_each(|(start, part)| edit.put(&start, Some(part)));
            } else if let Some((before, neighbour)) = spans.before(&start)
                && (span.state, neighbour.state) == (State::Verified, State::Verified)
                && tally.fits_behind(&neighbour.tally)
                && !neighbour.tally.is_large()
            {
                edit.change(before, |neighbour| neighbour.and(tally));
                edit.put(&start, None);
            }
        }
        if edit.is_empty() {
            return Ok(status);
        }
        let mut list = Vec::new();
        let changes = edit.close(&mut status, &mut list);
        self.kv.write(list)?;
        apply(&mut spans, changes, self.writes());
        Ok(status)
    }

    /// Puts pairs in that the caller has sums of; for a fresh engine that is filled.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) fn put_unseen(&self, pairs: Vec<Write>) -> Result<(), EngineError> {
        self.kv.write(pairs)
    }

    /// Says that an engine was filled with what these spans hold: their records are written, `status` last.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) fn filled(&self, cutter: Cutter, mut status: Status) -> Result<Status, EngineError> {
        *self.spans.write() = Spans::of(cutter.finish(), State::Verified);
        self.write_records(&mut status)?;
        Ok(status)
    }

    /// As [`OrderedKv::flush`].
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) fn flush(&self) -> Result<(), EngineError> {
        self.kv.flush()
    }
}

/// What spans are to hold; `None` for one that ends.
type Edits = BTreeMap<Box<[u8]>, Option<Tally>>;

/// Changes of spans in the making.
struct Edit<'a> {
    spans: &'a Spans,
    edits: Edits,
}

impl<'a> Edit<'a> {
    fn new(spans: &'a Spans) -> Self {
        Self { spans, edits: Edits::new() }
    }

    fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// What the span at `start` is to hold; `None` where none starts there.
    fn tally(&self, start: &[u8]) -> Option<Tally> {
        match self.edits.get(start) {
            Some(edited) => *edited,
            None => self.spans.at(start).map(|(span, _)| span.tally),
        }
    }

    fn put(&mut self, start: &[u8], tally: Option<Tally>) {
        self.edits.insert(start.into(), tally);
    }

    fn change(&mut self, start: &[u8], change: impl FnOnce(Tally) -> Tally) {
        if let Some(Some(tally)) = self.edits.get_mut(start) {
            *tally = change(*tally);
        } else {
            let tally = self.tally(start).unwrap_or_default();
            self.put(start, Some(change(tally)));
        }
    }

    /// Adds the records that change to `list`, and `status` behind them, with the sums that hold then.
    fn close(self, status: &mut Status, list: &mut Vec<Write>) -> Edits {
        for (start, after) in &self.edits {
            let key = record_key(start);
            let before = self.spans.at(start).map(|(span, _)| span.tally).unwrap_or_default();
            let after = after.unwrap_or_default();
            status.sum = status.sum.less(before.sum).and(after.sum);
            // A span of nothing has no record.
            if let Some(record) = before.record() {
                status.spans = status.spans.without(&key, &record);
            }
            let record = after.record();
            if let Some(record) = &record {
                status.spans = status.spans.with(&key, record);
            }
            if before.record() != record {
                list.push((key, record));
            }
        }
        list.push((STATUS_KEY.to_vec(), Some(status.encode())));
        self.edits
    }
}

fn apply(spans: &mut Spans, edits: Edits, write: u64) {
    for (start, tally) in edits {
        match tally {
            Some(tally) => spans.put(&start, tally, write),
            None => spans.remove(&start),
        }
    }
}

/// Gives every pair in `lo <= key < hi` to `take`.
fn each(kv: &dyn OrderedKv, lo: &[u8], hi: &[u8], take: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), EngineError> {
    let mut from = lo.to_vec();
    loop {
        let pairs = kv.range(&from, hi, PAGE)?;
        pairs.iter().for_each(|(key, value)| take(key, value));
        match pairs.last() {
            Some((last, _)) if pairs.len() == PAGE => from = [&last[..], &[0]].concat(),
            _ => return Ok(()),
        }
    }
}

/// Behind the longest key that may be.
fn end() -> [u8; KEY_LEN_MAX + 1] {
    [0xff; KEY_LEN_MAX + 1]
}

/// The beginning of a key as it can be read.
fn name(key: &[u8]) -> String {
    format!("\"{}\"", key.iter().take(64).flat_map(|byte| byte.escape_ascii()).map(char::from).collect::<String>())
}

#[cfg(test)]
mod tests;

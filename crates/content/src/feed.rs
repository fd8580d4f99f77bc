//! What commits tell: the events in them, in the order of the log, and how far their readers are.
//!
//! An event lies in its commit and nowhere else. So it is durable with it, none is lost or told twice by a crash, and it costs
//! its bytes alone. The newest commits are kept in memory for those who follow; what is older is read from the log.
//!
//! A *cursor* is a reader that the store knows by name: a record says up to where it has read. The mover leaves alone the
//! segments that a cursor still needs ([`Store::held_for_readers`]): it does not choose them, and that is all; what makes the
//! freeing of a segment safe knows nothing of readers. Where the limit is reached, or room is short, they are chosen like others, and the reader
//! finds a gap in the log, which says where it can go on.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_ledger::{LogPlace, LogStop};
use strata_seam::planted::{Bug, planted};
use strata_seam::{Lsn, SegmentId, Timestamp};

use crate::cell::TABLE_CURSOR;
use crate::error::{ContentError, Result};
use crate::store::Store;
use crate::tx::Tx;

/// Bytes of the newest commits kept in memory, at most.
const RECENT_BYTES_MAX: usize = 4 << 20;
/// Commits handed over between two looks at what is in memory.
const RECENT_STEP: usize = 256;
/// Most cursors there may be.
pub const CURSORS_MAX: usize = 64;
/// Longest name of a cursor in bytes.
pub const CURSOR_NAME_LEN_MAX: usize = 64;
/// Room for data, in segments, below which nothing is held back for readers: whoever writes goes first (invariant ROOM).
const ROOM_SEGMENTS: u64 = 4;
const CURSOR_FORMAT: u8 = 1;

/// The place of an event: the number of its commit, and which of its events it is, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence {
    /// The commit.
    pub lsn: Lsn,
    /// Which of its events.
    pub index: u32,
}

impl Sequence {
    /// Behind every event of this commit and of those before.
    #[must_use]
    pub fn behind(lsn: Lsn) -> Self {
        Self { lsn, index: u32::MAX }
    }
}

/// How far a reader of events is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// Who reads.
    pub name: String,
    /// It has everything up to this event.
    pub after: Sequence,
    /// When it said so.
    pub moved: Timestamp,
}

impl Cursor {
    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(24);
        out.u8(CURSOR_FORMAT).uvarint(self.after.lsn.0).uvarint(u64::from(self.after.index)).ivarint(self.moved.0);
        out.finish()
    }

    fn decode(name: String, bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        input.version("a reader of events", CURSOR_FORMAT)?;
        let after = Sequence { lsn: Lsn(input.uvarint()?), index: input.uvarint32()? };
        let cursor = Self { name, after, moved: Timestamp(input.ivarint()?) };
        input.finish()?;
        Ok(cursor)
    }
}

/// Whether a cursor may have this name: 1 to 64 letters, digits and `. _ -`.
///
/// # Errors
/// It may not; what a name is.
pub fn check_cursor_name(name: &str) -> std::result::Result<(), String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=CURSOR_NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(known) {
        return Ok(());
    }
    Err(format!(
        "'{}' is no name of a cursor: it has 1 to {CURSOR_NAME_LEN_MAX} letters, digits and . _ -",
        name.escape_default()
    ))
}

fn key_of(name: &str) -> Vec<u8> {
    [&[TABLE_CURSOR], name.as_bytes()].concat()
}

fn decode_cursor(key: &[u8], value: &[u8]) -> Result<Cursor> {
    let name = String::from_utf8_lossy(&key[1..]).into_owned();
    Cursor::decode(name, value).map_err(|_| ContentError::Record { what: "how far a reader of events is".to_owned() })
}

/// The newest commits with events.
pub(crate) struct Recent(Mutex<Kept>);

struct Kept {
    /// Every commit with events above this number is here ...
    above: Lsn,
    /// ... up to this one, the newest commit.
    last: Lsn,
    bytes: usize,
    commits: VecDeque<(Lsn, Bytes)>,
}

impl Recent {
    /// Of a store whose newest append has this number.
    pub(crate) fn behind(last: Lsn) -> Self {
        Self(Mutex::new(Kept { above: last, last, bytes: 0, commits: VecDeque::new() }))
    }

    /// A commit was accepted; its bytes, if it has events. Called in the order of numbers.
    pub(crate) fn note(&self, lsn: Lsn, commit: Option<Bytes>) {
        let mut kept = self.0.lock();
        kept.last = lsn;
        let Some(commit) = commit else { return };
        kept.bytes += commit.len();
        kept.commits.push_back((lsn, commit));
        while kept.bytes > RECENT_BYTES_MAX
            && let Some((lsn, commit)) = kept.commits.pop_front()
        {
            kept.bytes -= commit.len();
            kept.above = lsn;
        }
    }
}

impl Store {
    /// Hands over the commits that have events, from `place` on and up to `upto`, as far as they are written: `each` gets number
    /// and bytes of each (`strata_index::events_of`), and ends the reading behind one by `false`. At a gap `place` is in front of it.
    ///
    /// # Errors
    /// [`LogStop`], with everything before it read.
    pub fn read_commits(
        &self,
        place: &mut LogPlace,
        upto: Lsn,
        each: &mut dyn FnMut(Lsn, &[u8]) -> bool,
    ) -> std::result::Result<(), LogStop> {
        // One that is written and not noted yet is in neither place.
        let written = self.ledger.written();
        loop {
            let mut step = Vec::new();
            let (above, upto) = {
                let kept = self.recent.0.lock();
                let upto = upto.min(written).min(kept.last);
                if place.next() > kept.above {
                    let from = kept.commits.partition_point(|(lsn, _)| *lsn < place.next());
                    let wanted = kept.commits.range(from..).take_while(|(lsn, _)| *lsn <= upto);
                    step.extend(wanted.take(RECENT_STEP).cloned());
                }
                (kept.above, upto)
            };
            if place.next() > upto {
                return Ok(());
            }
            if place.next() > above {
                let more = step.len() == RECENT_STEP;
                for (lsn, commit) in step {
                    place.skip_to(lsn.next());
                    if !each(lsn, &commit) {
                        return Ok(());
                    }
                }
                if !more {
                    place.skip_to(upto.next());
                    return Ok(());
                }
                continue;
            }
            let mut ended = false;
            self.ledger.read_log(place, upto.min(above), &mut |append| {
                if let Some(commit) = append.commit.filter(|commit| strata_index::has_events(commit)) {
                    ended = !each(append.lsn, &commit);
                }
                !ended
            })?;
            if ended {
                return Ok(());
            }
        }
    }

    /// The number of the newest commit, of whatever process.
    #[must_use]
    pub fn newest_commit(&self) -> Lsn {
        self.recent.0.lock().last
    }

    /// All cursors, by name.
    ///
    /// # Errors
    /// Reading the index.
    pub fn cursors(&self) -> Result<Vec<Cursor>> {
        let all = self.range(&[TABLE_CURSOR], &[TABLE_CURSOR + 1], CURSORS_MAX)?;
        all.iter().map(|(key, entry)| decode_cursor(key, &entry.value)).collect()
    }

    /// The segment from which on the mover leaves all alone for the sake of cursors; `None` where nothing is held back. It is the
    /// one that the slowest cursor goes on in, but of the log no more than the newest `events_kept` bytes, and nothing where
    /// little room is left.
    ///
    /// # Errors
    /// Reading the index.
    pub fn held_for_readers(&self) -> Result<Option<SegmentId>> {
        let cursors = match self.cursors() {
            // Nobody's room is kept for what cannot be read.
            Err(error @ ContentError::Record { .. }) => {
                tracing::error!(%error, "nothing is held back for readers of events");
                return Ok(None);
            }
            cursors => cursors?,
        };
        let Some(slowest) = cursors.into_iter().map(|cursor| cursor.after).min() else { return Ok(None) };
        let capacity = self.ledger.segment_capacity().max(1);
        if planted(Bug::CursorNotHeld) || self.ledger.room().spare < ROOM_SEGMENTS * capacity {
            return Ok(None);
        }
        let whole = slowest.index == u32::MAX;
        let next = if whole { slowest.lsn.next() } else { slowest.lsn };
        let needed = self.ledger.holding(next).unwrap_or_default();
        let kept = u32::try_from(self.settings.events_kept / capacity).unwrap_or(u32::MAX);
        Ok(Some(needed.max(SegmentId(self.ledger.writing().0.saturating_sub(kept)))))
    }
}

impl Tx<'_> {
    /// The cursor of this name, if there is one.
    ///
    /// # Errors
    /// Reading the index.
    pub fn cursor(&mut self, name: &str) -> Result<Option<Cursor>> {
        let key = key_of(name);
        self.get(&key)?.map(|value| decode_cursor(&key, &value)).transpose()
    }

    /// How many cursors there are.
    ///
    /// # Errors
    /// Reading the index.
    pub fn count_cursors(&mut self) -> Result<usize> {
        Ok(self.range(&[TABLE_CURSOR], &[TABLE_CURSOR + 1], CURSORS_MAX)?.len())
    }

    /// Says how far a cursor is.
    pub fn put_cursor(&mut self, cursor: &Cursor) {
        self.put(key_of(&cursor.name), cursor.encode());
    }

    /// Forgets a cursor: nothing is held back for it any more.
    pub fn delete_cursor(&mut self, name: &str) {
        self.delete(key_of(name));
    }
}

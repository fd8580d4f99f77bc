//! Events in the log: reading them in order, and the cursors of named readers.
//!
//! An event lies in its commit and nowhere else. So it is durable with the commit, a crash neither loses nor repeats it, and it costs
//! only its bytes. The newest commits are kept in memory for readers that keep up; older ones are read from the log.
//!
//! A *cursor* is a reader that the store knows by name: a record says up to where it has read. The mover does not choose the segments
//! that a cursor still needs ([`Store::held_for_readers`]). That is the only protection; the argument why a segment may be freed does
//! not involve readers. When the limit is reached, or room is short, such segments are chosen like others. The reader then finds a gap
//! in the log, which says where it can continue.

use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_engine::{LogPlace, LogStop};
use strata_seam::{Lsn, Timestamp};

use crate::error::{ContentError, Result};
use crate::keys::TABLE_CURSOR;
use crate::store::Store;
use crate::tx::Tx;

/// Most cursors there may be.
pub const CURSORS_MAX: usize = 64;
/// Longest name of a cursor in bytes.
pub const CURSOR_NAME_LEN_MAX: usize = 64;
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
    /// The place after all events of this commit.
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
    /// The reader has everything up to this event.
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

impl Store {
    /// Hands over the commits that have events, from `place` on and up to `upto`, as far as they are written: `each` gets number
    /// and bytes of each ([`crate::events_of`]), and ends the reading behind one by `false`. At a gap `place` is in front of it.
    ///
    /// # Errors
    /// [`LogStop`], with everything before it read.
    pub fn read_commits(
        &self,
        place: &mut LogPlace,
        upto: Lsn,
        each: &mut dyn FnMut(Lsn, &[u8]) -> bool,
    ) -> std::result::Result<(), LogStop> {
        self.engine().read_commits(place, upto, each)
    }

    /// The number of the newest commit, of whatever process.
    #[must_use]
    pub fn newest_commit(&self) -> Lsn {
        self.engine().newest_commit()
    }

    /// All cursors, by name.
    ///
    /// # Errors
    /// Reading the index.
    pub fn cursors(&self) -> Result<Vec<Cursor>> {
        let all = self.range(&[TABLE_CURSOR], &[TABLE_CURSOR + 1], CURSORS_MAX)?;
        all.iter().map(|(key, entry)| decode_cursor(key, &entry.value)).collect()
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

    /// Writes how far a cursor is; makes it if there is none of its name.
    pub fn put_cursor(&mut self, cursor: &Cursor) {
        self.put(key_of(&cursor.name), cursor.encode());
    }

    /// Removes a cursor; no segments are kept for it any more.
    pub fn delete_cursor(&mut self, name: &str) {
        self.delete(key_of(name));
    }
}

//! Changes of the index, and the bytes they travel in inside a ledger commit. Format: `docs/format/batch.md`.
//!
//! Every mutation is *blind*: making it needs no read. That is what lets an apply cost microseconds and a replay run without
//! a random read per record.
//!
//! Beside its mutations a batch may carry *events*: what the layers above want to have told of it. The index passes them over; who
//! reads the log takes them out ([`events_of`]).

use strata_chunk::wire::{Decoder, Encoder, WireError};

/// Longest key in bytes.
pub const KEY_LEN_MAX: usize = 8 << 10;
/// Behind every key.
pub const KEYS_END: &[u8] = &[0xff; KEY_LEN_MAX + 1];
/// Longest value or tail in bytes. Up to 4 KiB is what the engine is good at; larger content belongs into chunks.
pub const VALUE_LEN_MAX: usize = 1 << 20;
/// Most mutations in one batch.
pub const BATCH_MUTATIONS_MAX: usize = 1 << 20;

/// Most events beside one batch.
pub const BATCH_EVENTS_MAX: usize = 1 << 16;
/// Longest event in bytes.
pub const EVENT_LEN_MAX: usize = 16 << 10;

const VERSION: u8 = 1;
/// Of a batch with events.
const VERSION_WITH_EVENTS: u8 = 2;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const COUNT: u8 = 3;
const SET_TAIL: u8 = 4;

/// One change. Keys are 1 to [`KEY_LEN_MAX`] bytes and never start with a zero byte, which is the index's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Sets a value.
    Put {
        /// Where.
        key: Vec<u8>,
        /// At most [`VALUE_LEN_MAX`] bytes.
        value: Vec<u8>,
    },
    /// Removes a value or cell, if there is one.
    Delete {
        /// Where.
        key: Vec<u8>,
    },
    /// Adds to the count of a cell (see [`Cell`]); an absent one starts with 0 and an empty tail.
    Count {
        /// Where.
        key: Vec<u8>,
        /// What to add; wraps around at the ends of 64 bits.
        delta: i64,
    },
    /// Replaces the tail of a cell and keeps its count.
    SetTail {
        /// Where.
        key: Vec<u8>,
        /// At most [`VALUE_LEN_MAX`] bytes.
        tail: Vec<u8>,
    },
}

impl Mutation {
    /// Where the change is made.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key } | Self::Count { key, .. } | Self::SetTail { key, .. } => key,
        }
    }
}

/// A value made of a count that is added to and a tail that is replaced: little-endian count, then the tail. With a count of
/// 0 and an empty tail it is absent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cell {
    /// Sum of all [`Mutation::Count`].
    pub count: i64,
    /// The last [`Mutation::SetTail`].
    pub tail: Vec<u8>,
}

impl Cell {
    /// From a value as read; a value too short to be a cell reads as an absent one.
    #[must_use]
    pub fn from_value(value: &[u8]) -> Self {
        match value.split_first_chunk::<8>() {
            Some((count, tail)) => Self { count: i64::from_le_bytes(*count), tail: tail.to_vec() },
            None => Self::default(),
        }
    }

    /// As a value; `None` if it is absent.
    #[must_use]
    pub fn to_value(&self) -> Option<Vec<u8>> {
        if self.count == 0 && self.tail.is_empty() {
            return None;
        }
        Some([&self.count.to_le_bytes()[..], &self.tail].concat())
    }
}

/// Changes that become visible and durable together, made in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch(pub Vec<Mutation>);

impl Batch {
    /// No change.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a [`Mutation::Put`].
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Mutation::Put { key: key.into(), value: value.into() });
    }

    /// Appends a [`Mutation::Delete`].
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.0.push(Mutation::Delete { key: key.into() });
    }

    /// Appends a [`Mutation::Count`].
    pub fn count(&mut self, key: impl Into<Vec<u8>>, delta: i64) {
        self.0.push(Mutation::Count { key: key.into(), delta });
    }

    /// Appends a [`Mutation::SetTail`].
    pub fn set_tail(&mut self, key: impl Into<Vec<u8>>, tail: impl Into<Vec<u8>>) {
        self.0.push(Mutation::SetTail { key: key.into(), tail: tail.into() });
    }

    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Length of [`Batch::encode`] in bytes, exact to about ten bytes per mutation from above; without a copy.
    #[must_use]
    pub fn encoded_len_max(&self) -> usize {
        12 + self.0.iter().map(|mutation| mutation.key().len() + payload_len(mutation) + 15).sum::<usize>()
    }

    /// The bytes that travel in a commit.
    ///
    /// A batch with a key or value outside the limits encodes to bytes that do not decode: [`Batch::check`] it first where
    /// its parts come from outside.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(&[])
    }

    /// The same with events, of which each is opaque here and at most [`EVENT_LEN_MAX`] bytes. Without any the bytes are those of
    /// [`Batch::encode`].
    #[must_use]
    pub fn encode_with(&self, events: &[Vec<u8>]) -> Vec<u8> {
        debug_assert_eq!(self.check(), Ok(()), "a batch that cannot be replayed");
        debug_assert!(
            events.len() <= BATCH_EVENTS_MAX && events.iter().all(|event| event.len() <= EVENT_LEN_MAX),
            "events that cannot be read back"
        );
        let of_events = events.iter().map(|event| event.len() + 3).sum::<usize>();
        let mut out = Encoder::with_capacity(self.encoded_len_max() + of_events + 3);
        if events.is_empty() {
            out.u8(VERSION);
        } else {
            // In front, so that who reads the events does not read the mutations.
            out.u8(VERSION_WITH_EVENTS).uvarint(events.len() as u64);
            for event in events {
                out.bytes(event);
            }
        }
        out.uvarint(self.0.len() as u64);
        for mutation in &self.0 {
            match mutation {
                Mutation::Put { key, value } => out.u8(PUT).bytes(key).bytes(value),
                Mutation::Delete { key } => out.u8(DELETE).bytes(key),
                Mutation::Count { key, delta } => out.u8(COUNT).bytes(key).ivarint(*delta),
                Mutation::SetTail { key, tail } => out.u8(SET_TAIL).bytes(key).bytes(tail),
            };
        }
        out.finish()
    }

    /// Reads the bytes of a commit; events beside it are passed over.
    ///
    /// # Errors
    /// [`WireError`] if they are not what this build writes.
    pub fn decode(record: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(record);
        each_event(&mut input, |_| {})?;
        let count = input.length(BATCH_MUTATIONS_MAX)?;
        // Three bytes are the shortest mutation: a count the record cannot hold must not reserve memory.
        let mut mutations = Vec::with_capacity(count.min(input.remaining() / 3));
        for _ in 0..count {
            let kind = input.u8()?;
            let key = input.bytes(KEY_LEN_MAX)?.to_vec();
            mutations.push(match kind {
                PUT => Mutation::Put { key, value: input.bytes(VALUE_LEN_MAX)?.to_vec() },
                DELETE => Mutation::Delete { key },
                COUNT => Mutation::Count { key, delta: input.ivarint()? },
                SET_TAIL => Mutation::SetTail { key, tail: input.bytes(VALUE_LEN_MAX)?.to_vec() },
                _ => return Err(WireError::Invalid("a change of the index of a kind this build does not know")),
            });
        }
        input.finish()?;
        let batch = Self(mutations);
        batch.check()?;
        Ok(batch)
    }

    /// Whether every part is within the limits.
    ///
    /// # Errors
    /// [`WireError`] names the first that is not.
    pub fn check(&self) -> Result<(), WireError> {
        limit(self.0.len(), BATCH_MUTATIONS_MAX)?;
        self.0.iter().try_for_each(|mutation| {
            if matches!(mutation.key().first(), None | Some(0)) {
                return Err(WireError::Invalid("a change of the index at an empty or reserved key"));
            }
            limit(mutation.key().len(), KEY_LEN_MAX)?;
            limit(payload_len(mutation), VALUE_LEN_MAX)
        })
    }
}

/// The events in the bytes of a commit, in order; the mutations are not looked at.
///
/// # Errors
/// [`WireError`] if they do not begin as a batch does.
pub fn events_of(record: &[u8]) -> Result<Vec<&[u8]>, WireError> {
    let mut events = Vec::new();
    each_event(&mut Decoder::new(record), |event| events.push(event))?;
    Ok(events)
}

/// Whether the bytes of a commit begin as those of a batch with events.
#[must_use]
pub fn has_events(record: &[u8]) -> bool {
    record.first() == Some(&VERSION_WITH_EVENTS)
}

/// Reads the version and the events.
fn each_event<'a>(input: &mut Decoder<'a>, mut each: impl FnMut(&'a [u8])) -> Result<(), WireError> {
    match input.u8()? {
        VERSION => return Ok(()),
        VERSION_WITH_EVENTS => {}
        found => {
            return Err(WireError::Version { what: "a batch of index changes", found, known: VERSION_WITH_EVENTS });
        }
    }
    let count = input.length(BATCH_EVENTS_MAX)?;
    if count == 0 {
        return Err(WireError::Invalid("a batch with events that has none"));
    }
    for _ in 0..count {
        each(input.bytes(EVENT_LEN_MAX)?);
    }
    Ok(())
}

fn payload_len(mutation: &Mutation) -> usize {
    match mutation {
        Mutation::Put { value, .. } => value.len(),
        Mutation::SetTail { tail, .. } => tail.len(),
        Mutation::Delete { .. } | Mutation::Count { .. } => 0,
    }
}

fn limit(len: usize, limit: usize) -> Result<(), WireError> {
    if len <= limit { Ok(()) } else { Err(WireError::TooLong { len: len as u64, limit: limit as u64 }) }
}

#[cfg(test)]
mod tests;

//! The ordered key-value index: what the ledger says, kept so that it can be looked up.
//!
//! The index is *derived*: every change comes from a ledger commit as a [`Batch`], so whatever is lost or damaged here is
//! rebuilt by replaying the ledger. It has two layers. Changes go into a bounded, ordered *overlay* in memory, where every
//! reader sees them at once; a worker drains the overlay into an *engine* (Sled, or Fjall) in large sorted batches, off the request
//! path. Readers see the overlay over the engine.
//!
//! Invariants: a reader sees all or none of a batch; the engine never holds a change that is not durable in the ledger; after
//! a crash at any moment, opening and replaying from [`Index::applied`] gives the state that replaying everything gives;
//! no panic or error of the engine gets out other than as [`IndexError`]. `docs/format/index.md` has the scheme and its
//! proof, `docs/format/batch.md` the wire format.

mod drain;
mod dump;
mod engine;
mod engines;
mod error;
mod fill;
mod fjall_engine;
mod fjall_manifest;
mod former;
mod guarded;
mod hot;
mod index;
mod memory;
mod merge;
mod mutation;
mod overlay;
mod piece;
mod set_aside;
mod sled_engine;
mod spans;
mod stored;
mod sum;
#[cfg(test)]
mod testing;
mod undo;
mod verified;

pub use drain::Drained;
pub use dump::{Dump, Fingerprint, Moment, Stamp, engine_cell};
pub use engine::{EngineError, OrderedKv, Pair, Write};
pub use engines::{EngineKind, UnknownEngine};
pub use error::IndexError;
pub use fill::FillError;
pub use fjall_engine::FjallEngine;
pub use former::{forget_former, put_back_former};
pub use hot::HotCounts;
pub use index::{Committing, Entry, Index, IndexOptions, Lookup, Opened, Page};
pub use memory::MemoryEngine;
pub use mutation::{
    BATCH_EVENTS_MAX, BATCH_MUTATIONS_MAX, Batch, Cell, EVENT_LEN_MAX, KEY_LEN_MAX, KEYS_END, Mutation, VALUE_LEN_MAX,
    events_of, has_events,
};
pub use piece::{PIECE_LEN_MAX, PieceCutter, decode_piece};
pub use sled_engine::SledEngine;

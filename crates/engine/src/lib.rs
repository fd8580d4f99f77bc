//! Layer 3: the engine, which decides in which order changes happen and keeps what they add up to.
//!
//! # What it is for
//!
//! The layers above compute *changes*. A [`Change`] is plain data: the rows that it puts and removes, the references to chunks that
//! it adds and takes away, the blocks of bytes that travel with it, its events and, if they are needed, the rows that it was computed
//! from ([`Premises`]). An [`Engine`] takes one change at a time, whole or not at all, gives it a number, and shows it to every reader
//! from then on. It says how durable a change is by now, and where the bytes of a chunk lie.
//!
//! Content and name space need nothing else of the layers below, and [`Engine`] is the list of it. It has only calls that are used
//! today: `docs/decisions/0035-one-seam-for-commits.md` says what is missing for an engine that several processes share.
//!
//! # What there is
//!
//! [`Embedded`] is the one engine: the commits are a log on the store's own disks ([`strata_ledger::Ledger`]), and what they add up
//! to is looked up in an index derived from it ([`strata_index::Index`]). One thread at a time computes and commits ([`Exclusive`]).
//!
//! | file | what it has |
//! |---|---|
//! | `engine.rs` | the seam: the trait [`Engine`] and what its calls return |
//! | `change.rs`, `premises.rs` | a change as it is handed over, and the rows it relies on |
//! | `exclusive.rs` | the guard of the single writer, and how long it is held |
//! | `embedded.rs` | the engine over a ledger and an index |
//! | `placing.rs`, `cell.rs`, `place.rs` | where blocks lie, and what is known of those that are on their way |
//! | `recent.rs`, `watch.rs` | the newest commits for readers that keep up, and observing every commit |
//! | `checkpoint.rs` | the index written down in the log, by the embedded engine alone |
//!
//! # Invariants kept here
//!
//! **PREFIX**: reading, deciding, taking a number and applying to the index are one step under [`Exclusive`]. **SEEN**: a row that is
//! read says which change it rests on, so that nobody is told what a crash could take back. **REF**: a chunk counts as stored
//! only once the log has taken it, and is readable from then on, first from memory and then from its place, without a moment in between. **TRUTH**:
//! a checkpoint is the state at one number, and its root is stored last.

mod cell;
mod change;
mod checkpoint;
mod embedded;
mod engine;
mod error;
mod exclusive;
mod place;
mod placing;
mod premises;
mod recent;
mod watch;

pub use cell::{KEY_SESSION, TABLE_CHUNK, chunk_key, split_cell};
pub use change::{COMMIT_BYTES_MAX, Change, PreparedBlock};
pub use checkpoint::{
    Checkpoint, CheckpointCounts, CheckpointReport, RestoreError, Restored, Taken, is_directory_of_checkpoint,
    is_of_checkpoint,
};
pub use embedded::Embedded;
pub use engine::{Absent, Committed, Engine};
pub use error::{EngineError, Result};
pub use exclusive::Exclusive;
pub use place::{OutOfReach, Place, Tier, Whereabouts};
pub use placing::{AppendsHeld, place_blocks};
pub use premises::Premises;
/// A row that was found: its value, and the change it was last written by, or 0 where that is long durable.
pub use strata_index::Entry;
/// The answer for one key, also where there is nothing: the value, if there is one, and the change that it was last written
/// or removed by, or 0 where that is long durable. It is what a reader waits for (invariant SEEN).
pub use strata_index::Lookup as Row;
pub use strata_index::{Batch, Cell, Mutation, Page, events_of};
pub use strata_ledger::{
    BlockRecord, Class, Feature, Location, LogGap, LogPlace, LogStop, PlacedBlock, Purpose, Settled, StoreRoom,
};
pub use watch::{Observer, Watch};

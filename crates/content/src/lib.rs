//! Layer 4: chunks, manifests and references over an engine.
//!
//! Start with [`Store`]: reading needs no lock, writing goes through [`Store::transact`]. A stream comes in through
//! [`Ingest`], becomes [`Content`], gets an owner by [`Tx::attach`], and is read back by a [`Reader`].
//!
//! The layers below are used through the commit seam (`strata_engine::Engine`). Only the mover, which works segment by segment, and
//! `store.rs`, which puts a store together, know the ledger and the index behind it.

mod ahead;
mod at_work;
mod audit;
mod below;
mod chunks;
mod collect;
mod content;
mod error;
mod feed;
mod guard;
mod ingest;
mod intake;
mod keys;
mod mover;
mod pages;
mod prepare;
mod reader;
mod refs;
mod store;
mod traffic;
mod transact;
mod tree;
mod turns;
mod tx;

pub use ahead::ReadAhead;
pub use audit::{Audit, ChunkFault, FAULTS_MAX, Scope, Tallies};
pub use content::{Content, INLINE_ITEMS_MAX};
pub use error::{ContentError, ContentErrorKind, Result};
pub use feed::{CURSOR_NAME_LEN_MAX, CURSORS_MAX, Cursor, Sequence, check_cursor_name};
#[cfg(scheduled)]
pub use guard::scheduled;
pub use ingest::Ingest;
pub use intake::{Intake, Job};
pub use keys::{TABLE_CURSOR, TABLE_GARBAGE, TABLE_ORPHAN_PAGE, of_session};
pub use mover::{Census, Choice, Host, MoverReport, MoverStatus, Phase, SegmentUse, Unpaced};
pub use prepare::Helpers;
pub use reader::{Hold, Reader};
pub use store::{CACHE_BYTES_DEFAULT, EVENTS_KEPT_DEFAULT, Store, StoreSettings, place_blocks};
pub use strata_chunk::{DedupDomain, Item, Source};
pub use strata_engine::{
    Batch, COMMIT_BYTES_MAX, Cell, Checkpoint, CheckpointCounts, CheckpointReport, Class, Feature, LogGap, LogPlace,
    LogStop, Mutation, Observer, OutOfReach, RestoreError, Restored, Settled, TABLE_CHUNK, Taken, Tier, Watch,
    events_of, is_of_checkpoint,
};
pub use traffic::TrafficCounts;
pub use transact::{Computed, Done};
pub use tree::items_len;
pub use turns::{Turn, Turns};
pub use tx::Tx;

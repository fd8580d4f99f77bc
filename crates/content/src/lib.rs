//! Layer 4: chunks, manifests and references over the ledger and the index.
//!
//! Start with [`Store`]: reading needs no lock, writing goes through [`Store::transact`]. A stream comes in through
//! [`Ingest`], becomes [`Content`], gets an owner by [`Tx::attach`], and is read back by a [`Reader`].

mod ahead;
mod audit;
mod below;
mod cell;
mod checkpoint;
mod collect;
mod error;
mod feed;
mod guard;
mod held;
mod ingest;
mod intake;
mod mover;
mod pages;
mod place;
mod premises;
mod prepare;
mod reader;
mod store;
mod traffic;
mod tree;
mod turns;
mod tx;
mod watch;

pub use ahead::ReadAhead;
pub use audit::{Audit, ChunkFault, FAULTS_MAX, Scope, Tallies};
pub use cell::{TABLE_CHUNK, TABLE_CURSOR, TABLE_GARBAGE, TABLE_ORPHAN_PAGE, of_session};
pub use checkpoint::{Checkpoint, CheckpointCounts, CheckpointReport, RestoreError, Restored, Taken, is_of_checkpoint};
pub use error::{ContentError, ContentErrorKind, Result};
pub use feed::{CURSOR_NAME_LEN_MAX, CURSORS_MAX, Cursor, Sequence, check_cursor_name};
#[cfg(scheduled)]
pub use guard::scheduled;
pub use ingest::{Content, INLINE_ITEMS_MAX, Ingest};
pub use intake::{Intake, Job};
pub use mover::{Census, Choice, Host, MoverReport, MoverStatus, Phase, SegmentUse, Unpaced};
pub use place::{OutOfReach, Tier};
pub use prepare::Helpers;
pub use reader::{Hold, Reader};
pub use store::{CACHE_BYTES_DEFAULT, EVENTS_KEPT_DEFAULT, Store, StoreSettings, place_blocks};
pub use strata_chunk::{DedupDomain, Item, Source};
pub use strata_index::{Batch, Cell, Mutation, events_of};
pub use strata_ledger::{Class, Feature, LogGap, LogPlace, LogStop, Settled};
pub use traffic::TrafficCounts;
pub use tree::items_len;
pub use turns::{Turn, Turns};
pub use tx::{COMMIT_BYTES_MAX, Computed, Done, Tx};
pub use watch::{Observer, Watch};

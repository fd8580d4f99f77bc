//! Layer 3: the commit log over an erasure set, the truth of the store.
//!
//! Appends are gathered into stripes, coded, and written to every disk of the set in lock step; an append is
//! acknowledged when a write quorum of disks has it. Reads verify every byte and rebuild what a disk does not give.
//! Opening replays the log and mends its end. Payloads are opaque.
//!
//! Where to start reading: [`Ledger`] for the interface, `frame.rs` for what lies on a disk, `writer.rs` for how it gets
//! there, `recover.rs` for how it is found again. The format is described in `docs/format/frame.md` and
//! `docs/format/superblock.md`.

mod api;
mod checkpoint;
mod commits;
mod error;
mod features;
mod find;
mod frame;
mod history;
mod identify;
mod joining;
mod judge;
mod layout;
mod ledger;
mod member;
mod meta;
mod meter;
mod opening;
mod options;
mod pass;
mod placing;
mod prepare;
mod queue;
mod reader;
mod recover;
mod refusing;
mod rejoin;
mod remove;
mod report;
mod room;
mod roster;
mod segments;
mod set;
mod sets;
mod settled;
mod shared;
mod status;
mod stripe;
mod superblock;
mod supers;
mod sync;
mod thread;
mod walk;
mod whole;
mod wire;
mod workers;
mod writer;

pub use api::{Append, BlockRecord, Class, Geometry, Location, PlacedBlock, Purpose, Replayed, Sink};
pub use checkpoint::{CHECKPOINT_ROOT_LEN, Peek};
pub use commits::{LogGap, LogPlace, LogStop};
pub use error::{LedgerError, Result};
pub use find::StoreRoom;
pub use identify::{Stranger, StrangerKind};
pub use ledger::Ledger;
pub use meter::DiskCounters;
pub use options::{COMMIT_LEN_MAX, Options, SHARD_LEN_MAX};
pub use refusing::Refusing;
pub use rejoin::Rejoined;
pub use report::{DiskFrames, PassOptions, Progress, Report, StripeProof, UNREADABLE_NAMED_MAX, Unreadable};
pub use room::RoomLeft;
pub use roster::{SETS_MAX, SetState};
pub use settled::Settled;
pub use status::{DiskState, DiskStatus, SetStatus, Status};
pub use superblock::Feature;

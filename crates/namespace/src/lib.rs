//! Layer 5: one tree of buckets, directories, files and versions; one object API and one file API over the same state.
//!
//! Start with [`Namespace`]. Reading takes a [`view`](crate::view) of the records; every change is one commit computed
//! under the single writer (`strata_content::Store::transact`). An [`Op`] is one request: who asks, and what the answer
//! depends on. [`OpenStore`] puts a whole store together.
//!
//! Files here: `key`, `name` and `record` say how things are stored; `view` reads and `entries` writes them, `effects` is what a
//! change causes beside them, `telling` what it tells of itself, as an `event` and to the mount's kernel (`changes`), and `feed` reads
//! events; `lookup`,
//! `positions`, `create`, `rename`, `setattr` are the tree; `file`, `pin`, `staging`, `extents` and `seal`
//! `reading` are open files, `stored` what of them became content lately, `removed` those that are open no longer; `object`, `list` and
//! `upload` are S3's view; `trees` and `service` serve single doors; `locks` is what somebody holds, at whatever door; `reclaim`, `drain` and `balance` drive the
//! mover; `check` holds the invariants, `repair`
//! mends what breaks them; `crew` has the threads that work by themselves.

mod authority;
mod belong;
mod bucket;
mod changes;
mod create;
mod effects;
mod entries;
mod erasing;
mod error;
mod event;
mod extents;
mod feed;
mod file;
mod guard;
mod list;
mod locks;
mod lookup;
mod mode;
mod moving;
mod name;
mod names;
mod namespace;
mod numbers;
mod object;
mod owned;

mod mending;
mod pin;
mod positions;
mod reading;
pub mod records;
mod removed;
mod rename;
#[cfg(test)]
mod rig;
mod s3_name;
mod seal;
mod service;
mod sessions;
mod setattr;
mod staging;
mod stored;
mod telling;
mod times;
mod top;
mod trees;
mod types;
mod upgrade;
mod upload;
mod usage;
mod view;

pub use authority::{Action, OPERATIONS, Operation, Permit, Reach, operation, operations_of};
pub use bucket::{BucketUse, OBJECT_MODE_DEFAULT, check_object_mode};
pub use error::{Error, ErrorKind, Result};
pub use event::{Before, EVENT_KEY_LEN_MAX, Event, EventAt, Made, What};
pub use feed::{Begin, CURSORS_MAX, EventCursor, EventGap, EventPage, EventReader, EventSequence};
pub use file::READ_LEN_MAX;
pub use file::SEALER;
pub use guard::Guard;
pub use list::{LIST_LIMIT_MAX, LISTED_LEN_MAX};
pub use locks::{
    Claim, HOLDS_PER_FILE_MAX, HeldRange, HoldOwner, LOCK_OWNER_LEN_MAX, LOCK_SECS_MAX, LOCKS_MAX, LOCKS_PER_USER_MAX,
    NewLock, RangeKind, RangeSpace, Touch,
};
pub use mending::Mending;
pub use moving::MOVING_PREFIX;
pub use name::{ALIAS_PREFIX, check_bucket, check_new as check_file_name};
pub use namespace::{Identity, Namespace, RECORD_FORMAT, Settle};
pub use pin::Pin;
pub use positions::{Page, Positions, RESERVED as POSITIONS_RESERVED};
use records::key;
pub use s3_name::ALIAS_MARK;
pub use strata_content::{
    Content, ContentError, Ingest, Intake, MoverReport, MoverStatus, Phase, ReadAhead, Reader,
    StoreSettings as ContentSettings,
};
pub use top::TOP_NAME_DEFAULT;
pub use types::*;
pub use upgrade::{UpgradeReport, upgrade_planned};
pub use upload::{PART_LEN_MIN, PART_NUMBER_MAX};
pub use usage::{Usage, UsageOf};

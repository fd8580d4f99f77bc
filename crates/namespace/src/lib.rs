//! Layer 5: one tree of buckets, directories, files and versions; one object API and one file API over the same state.
//!
//! Start with [`Namespace`]. Reading takes a `view` of the records; every change is one commit computed under the single writer
//! (`change`). An [`Op`] is one request: who asks, and what the answer depends on.
//!
//! Files here, from the bottom up; none imports one that stands above it:
//! - `types` and its children are the values that callers pass and get, `key`, `name` and [`records`] the format of what is stored; `view`
//!   reads records.
//! - State of the process beside the store: `opens`, `pin` and `staging` of open files, `remnants` of removed files that are still remembered,
//!   `paths` for events, `locks/memory`, `numbers`, and `changes` with the listeners. `effects` is what a change does to that state, `told` what
//!   a change reports, as an `event` and to the mount's kernel.
//! - `namespace` holds all of that together; `opening` opens it on a store, `snap` reads outside of a change, `change` makes a change.
//! - Operations: `authority` decides who may do what; `lookup`, `positions`, `create`, `rename`, `setattr` are the tree, `entries` writes
//!   it; `file`, `pinning`, `extents`, `seal` and `reading` are open files, `stored` lists those whose staged bytes became content lately;
//!   `object`, `list` and `upload` are the view by keys; `trees` and `service` serve single doors; `locks` has the locks of all doors;
//!   `telling` writes events and notifications, and `feed` reads events.

mod authority;
mod belong;
mod bucket;
mod change;
mod changes;
mod create;
mod domain;
mod effects;
mod entries;
mod erasing;
mod error;
mod event;
mod extents;
mod feed;
mod file;
mod following;
mod format;
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
mod opening;
mod opens;
mod owned;

mod mending;
mod paths;
mod pin;
mod pinning;
mod positions;
mod reading;
pub mod records;
mod remnants;
mod removed;
mod rename;
#[cfg(test)]
mod rig;
mod s3_name;
mod seal;
mod service;
mod sessions;
mod setattr;
mod snap;
mod staging;
mod stored;
mod telling;
mod times;
mod told;
mod top;
mod trees;
mod types;
mod upgrade;
mod upload;
mod usage;
mod view;

pub use authority::{Action, Operation, Permit, Reach};
pub use bucket::{BucketUse, OBJECT_MODE_DEFAULT, check_object_mode};
pub use error::{Error, ErrorKind, Result};
pub use event::{Before, EVENT_KEY_LEN_MAX, Event, EventAt, Made, What};
pub use feed::{Begin, CURSORS_MAX, EventCursor, EventGap, EventPage, EventReader, EventSequence};
pub use file::READ_LEN_MAX;
pub use file::SEALER;
pub use format::RECORD_FORMAT;
pub use list::{LIST_LIMIT_MAX, LISTED_LEN_MAX};
pub use locks::{
    Claim, HOLDS_PER_FILE_MAX, HOLDS_PER_FILE_PER_CLIENT_MAX, HeldRange, HoldOwner, LOCK_OWNER_LEN_MAX, LOCK_SECS_MAX,
    LOCKS_MAX, LOCKS_PER_USER_MAX, NewLock, RangeKind, RangeSpace, Touch,
};
pub use mending::Mending;
pub use moving::MOVING_PREFIX;
pub use name::{ALIAS_PREFIX, check_bucket, check_new as check_file_name};
pub use namespace::{Identity, Namespace, Settle};
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
pub use upgrade::{FORMAT_MARK, UpgradeReport, upgrade_planned};
pub use upload::{PART_LEN_MIN, PART_NUMBER_MAX};
pub use usage::{Usage, UsageOf};

/// For checks and repairs of a store: where things belong, and how names are cut. Doors have no use for it.
pub mod checking {
    pub use crate::belong::{Taken, belongs};
    pub use crate::locks::{counted_in, locked};
    pub use crate::name::{hash, is_dir, raw};
    pub use crate::view::View;
}

//! The commit seam: all calls that the layers above make on the engine.
//!
//! The trait is object safe, and each of its calls does much more than a call through a table costs.

use std::time::Duration;

use bytes::Bytes;
use strata_chunk::DedupDomain;
use strata_index::Page;
use strata_ledger::{Class, Location, LogPlace, LogStop, Purpose, Settled, StoreRoom};
use strata_seam::{ChunkId, LatencyCounts, Lsn, SessionId};

use crate::Row;
use crate::change::{Change, PreparedBlock};
use crate::error::Result;
use crate::exclusive::Exclusive;
use crate::watch::{Observer, Watch};

/// The result of an accepted change: its number. Every reader sees it now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    /// Its number: what [`Engine::wait`] and [`Engine::settled`] are asked for.
    pub lsn: Lsn,
}

/// Which of the rows that were absent when a change was computed are checked again before it is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    /// All of them.
    Any,
    /// The rows that the change itself writes: an engine that compares single rows cannot notice others.
    Written,
}

/// Rows, their changes, and the bytes of chunks. See the crate's page for the whole.
///
/// Every call is synchronous, and may come from any thread. Where one says `upto`, the answer is as of the moment when
/// that change was the last one; `None` is now. What is taken back so are changes that are not written yet, for readers of a store
/// that cannot be written ([`Engine::stalled_at`]); counts and tails of cells only where the index was opened to show them so
/// (`cells_shown` of its options).
pub trait Engine: Send + Sync {
    /// This opening of the store. Its number is taken by the first commit; no other opening ever has the same once it is.
    fn session(&self) -> SessionId;

    // Rows.

    /// The row at `key`. No lock is needed, and none is held while a disk is read.
    ///
    /// # Errors
    /// [`EngineError::Index`](crate::EngineError::Index).
    fn get(&self, key: &[u8], upto: Option<Lsn>) -> Result<Row>;

    /// The rows at `keys`, in their order, in as few trips as the engine can: what is known to be needed together is asked for together.
    /// Each is as of some moment of the call, and not all of one.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn get_many(&self, keys: &[Vec<u8>], upto: Option<Lsn>) -> Result<Vec<Row>>;

    /// Up to `limit` rows with keys in `from .. to`, in order; fewer mean that there are no more. With the highest change that the
    /// answer rests on, removals included.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn scan(&self, from: &[u8], to: &[u8], limit: usize, upto: Option<Lsn>) -> Result<Page>;

    // Changes.

    /// Waits for the single writer's lock. From here to its drop nobody else's change is accepted, so what is read in between stays so
    /// (invariant PREFIX). It is to be held for microseconds: every writer waits for it.
    fn exclusive(&self) -> Exclusive<'_>;

    /// Whether every row that `change` was computed from is unchanged. True for a change without premises.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn premises_hold(&self, held: &Exclusive<'_>, change: &Change, absent: Absent) -> Result<bool>;

    /// Takes a change, whole or not at all. `accepted` is called once, when the change has its number and cannot be refused any more, and
    /// before any reader sees it. It must take microseconds and must not call the engine. When this returns, every reader sees the
    /// change. [`Engine::settled`] says when it is durable. The change's premises are not checked here; see [`Engine::premises_hold`].
    ///
    /// # Errors
    /// [`EngineError::TooLarge`](crate::EngineError::TooLarge) above [`COMMIT_BYTES_MAX`](crate::COMMIT_BYTES_MAX), and what the
    /// ledger refuses it by. Nothing was changed then, and `accepted` was not called.
    fn commit(&self, held: &Exclusive<'_>, change: Change, accepted: &mut dyn FnMut()) -> Result<Committed>;

    /// How long the writer's lock was held since the process started: all holds, and nanoseconds of the longest.
    fn held(&self) -> (LatencyCounts, u64);

    /// Has `observer` see every commit from now on. When this returns, every earlier one is visible to readers.
    fn watch(&self, observer: Observer) -> Watch;

    // How safe changes are.

    /// Every change up to this number survives a power loss.
    fn durable(&self) -> Lsn;

    /// Every change up to this number was handed to the operating system.
    fn written(&self) -> Lsn;

    /// While nothing can be written: the number up to which everything is written. `None` while writing works.
    fn stalled_at(&self) -> Option<Lsn>;

    /// A future that resolves once every change up to `lsn` is as safe as `class` says. Dropping it takes nothing back.
    fn settled(&self, lsn: Lsn, class: Class) -> Settled;

    /// Waits on the calling thread until every change up to `lsn` is as safe as `class` says.
    ///
    /// # Errors
    /// Those of the ledger: it is then not known whether the next opening finds the changes.
    fn wait(&self, lsn: Lsn, class: Class) -> Result<()>;

    /// Makes every change so far durable.
    ///
    /// # Errors
    /// As [`Engine::wait`].
    fn sync(&self) -> Result<()>;

    // Blocks of chunks.

    /// Takes blocks ahead of the change that will refer to what is in them. They are garbage until one does.
    ///
    /// # Errors
    /// Those of the ledger; nothing was stored then.
    fn append(&self, blocks: Vec<PreparedBlock>, purpose: Purpose, relaxed: bool) -> Result<Lsn>;

    /// The dedup domain of a chunk that was appended and has no place yet. A chunk is either here or has a place in its row. To find out
    /// whether the store has a chunk, ask here first and read its row second: it gets its place before it is removed from here.
    fn on_its_way(&self, chunk: &ChunkId) -> Option<DedupDomain>;

    /// The plain bytes of a chunk that was appended and has no place yet.
    fn bytes_on_their_way(&self, chunk: &ChunkId) -> Option<Bytes>;

    /// The stored bytes of the block at a place, verified, and rebuilt where that is needed (invariant HASH).
    ///
    /// # Errors
    /// Those of the ledger, such as damage beyond repair. Never wrong bytes.
    fn block(&self, at: &Location) -> Result<Bytes>;

    /// A hint that the block at this place will be read soon, so that the disks can read it in advance.
    fn will_read(&self, at: &Location);

    // Reading commits.

    /// The number of the newest commit, of whatever process.
    fn newest_commit(&self) -> Lsn;

    /// Hands over the commits that have events, from `place` on and up to `upto`, as far as they are written: `each` gets number
    /// and bytes of each ([`events_of`](crate::events_of)), and ends the reading behind one by `false`. At a gap `place` is in front of it.
    ///
    /// # Errors
    /// [`LogStop`], with everything before it read.
    fn read_commits(
        &self,
        place: &mut LogPlace,
        upto: Lsn,
        each: &mut dyn FnMut(Lsn, &[u8]) -> bool,
    ) -> Result<(), LogStop>;

    // Room.

    /// Delays the caller, at most for this long, while too many changes are in memory (invariant BOUND). To be called before a change is
    /// computed, without any lock.
    fn wait_for_room(&self, at_most: Duration);

    /// Whether so little room is left on the disks that removals have to wait for room to be made.
    fn is_tight(&self) -> bool;

    /// Whether new data is refused for lack of room, by what was measured last.
    fn is_full(&self) -> bool;

    /// Bytes of content that the store can hold, and that there is room for.
    fn space(&self) -> StoreRoom;

    /// Reserves room for content that will be stored later; `false` if there is none.
    ///
    /// # Errors
    /// Those of the ledger but for lack of room; nothing is promised then.
    fn promise(&self, bytes: u64) -> Result<bool>;

    /// Updates a reservation made by [`Engine::promise`] from `before` to `now` bytes, because some of the content was stored or dropped,
    /// or needs more.
    fn keep_promised(&self, before: u64, now: u64);

    /// The reason why nothing can be written; `None` while writing works.
    fn read_only(&self) -> Option<String>;
}

//! What the layers above get from the engine, through the store: how durable a change is, how much room there is, the records as of
//! some change, and every commit as it happens. They have no other access to the engine. Also the calls by which an ingest hands blocks to it.

use strata_engine::{Class, Feature, Observer, Page, PreparedBlock, Purpose, Row, Settled, StoreRoom, Watch};
use strata_seam::Lsn;

use crate::error::Result;
use crate::store::Store;

impl Store {
    /// Appends blocks that no commit refers to yet; `promised` says that room for them was.
    pub(crate) fn append_blocks(&self, blocks: Vec<PreparedBlock>, relaxed: bool, promised: bool) -> Result<()> {
        let purpose = if promised { Purpose::Promised } else { Purpose::Data };
        self.engine().append(blocks, purpose, relaxed)?;
        Ok(())
    }

    /// Every change up to this number survives a power loss.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.engine().durable()
    }

    /// Every change up to this number was handed to the operating system.
    #[must_use]
    pub fn written(&self) -> Lsn {
        self.engine().written()
    }

    /// While nothing can be written: the number up to which everything is written. `None` while writing works.
    #[must_use]
    pub fn stalled_at(&self) -> Option<Lsn> {
        self.engine().stalled_at()
    }

    /// A future that resolves once every change up to `lsn` is as safe as `class` says. Dropping it takes nothing back.
    #[must_use]
    pub fn settled(&self, lsn: Lsn, class: Class) -> Settled {
        self.engine().settled(lsn, class)
    }

    /// Waits on the calling thread until every change up to `lsn` is as safe as `class` says.
    ///
    /// # Errors
    /// Those of the ledger: it is then not known whether the next opening finds the changes.
    pub fn wait(&self, lsn: Lsn, class: Class) -> Result<()> {
        Ok(self.engine().wait(lsn, class)?)
    }

    /// Makes every change so far durable.
    ///
    /// # Errors
    /// As for [`Store::wait`].
    pub fn sync(&self) -> Result<()> {
        Ok(self.engine().sync()?)
    }

    /// Makes every change so far durable and moves it from memory into the index's engine. For code that makes many changes before the
    /// background threads run, as nobody else frees that memory then.
    ///
    /// # Errors
    /// As for [`Store::wait`], and what keeps the engine from being written.
    pub fn sync_and_drain(&self, now_nanos: u64) -> Result<()> {
        Ok(self.embedded.sync_and_drain(now_nanos)?)
    }

    /// The reason why nothing can be written; `None` while writing works.
    #[must_use]
    pub fn read_only(&self) -> Option<String> {
        self.engine().read_only()
    }

    /// Whether new data is refused for lack of room, by what was measured last.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.engine().is_full()
    }

    /// Bytes of content that the store can hold, and that there is room for.
    #[must_use]
    pub fn space(&self) -> StoreRoom {
        self.engine().space()
    }

    /// Reserves room for content that will be stored later; `false` if there is none.
    ///
    /// # Errors
    /// Those of the ledger but for lack of room; nothing is promised then.
    pub fn promise(&self, bytes: u64) -> Result<bool> {
        Ok(self.engine().promise(bytes)?)
    }

    /// Updates a reservation made by [`Store::promise`] from `before` to `now` bytes, because some of the content was stored or dropped,
    /// or needs more.
    pub fn keep_promised(&self, before: u64, now: u64) {
        self.engine().keep_promised(before, now);
    }

    /// Sets the mark of a feature in the superblocks, before anything is written that needs it. Does nothing if it is set.
    ///
    /// # Errors
    /// Those of the ledger. Some disks may have the mark then, and the next opening sets it on the others.
    pub fn mark(&self, feature: Feature) -> Result<()> {
        Ok(self.embedded.mark(feature)?)
    }

    /// The record at `key`; with `upto` as it was when that was the last change.
    ///
    /// # Errors
    /// [`crate::ContentError::Index`].
    pub fn record_upto(&self, key: &[u8], upto: Option<Lsn>) -> Result<Row> {
        Ok(self.engine().get(key, upto)?)
    }

    /// The records at `keys`, in their order, each as [`Store::record_upto`] gives it: what is needed together is asked for together.
    ///
    /// # Errors
    /// [`crate::ContentError::Index`].
    pub fn records_at(&self, keys: &[Vec<u8>], upto: Option<Lsn>) -> Result<Vec<Row>> {
        Ok(self.engine().get_many(keys, upto)?)
    }

    /// Up to `limit` records with keys in `from .. to`, in order; with `upto` as they were when that was the last change.
    ///
    /// # Errors
    /// [`crate::ContentError::Index`].
    pub fn records_upto(&self, from: &[u8], to: &[u8], limit: usize, upto: Option<Lsn>) -> Result<Page> {
        Ok(self.engine().scan(from, to, limit, upto)?)
    }

    /// Lets `observer` see every commit from now on. On return, every earlier one is visible to readers.
    #[must_use]
    pub fn watch(&self, observer: Observer) -> Watch {
        self.engine().watch(observer)
    }
}

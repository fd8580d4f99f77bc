//! The embedded engine: a log on the store's own disks, an index derived from it, and one writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use strata_chunk::DedupDomain;
use strata_index::{Batch, Drained, Index, Mutation, Page};
use strata_ledger::{Class, Feature, Ledger, LedgerError, Location, LogPlace, LogStop, Purpose, Settled, StoreRoom};
use strata_seam::planted::{Bug, planted};
use strata_seam::{ChunkId, LatencyCounts, Lsn, SegmentId, SessionId};

use crate::Row;
use crate::cell::KEY_SESSION;
use crate::change::{Change, PreparedBlock, added, encode};
use crate::checkpoint::known::{CheckpointPlaces, Checkpoints};
use crate::engine::{Absent, Committed, Engine};
use crate::error::{EngineError, Result};
use crate::exclusive::{Exclusive, Writer};
use crate::placing::{Pending, Placement};
use crate::recent::Recent;
use crate::watch::{Observer, Watch, Watchers};

/// The engine over a ledger and its index; [`Engine`] says what it does. It also takes checkpoints. Two callers get the ledger and the
/// index themselves: the code that assembles a store and looks after its disks, and the mover, which works segment by segment.
pub struct Embedded {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) index: Arc<Index>,
    writer: Writer,
    /// This opening of the store, and whether a commit has taken its number.
    session: SessionId,
    session_begun: AtomicBool,
    pub(crate) pending: Arc<Mutex<Pending>>,
    /// Read while blocks are handed over ahead of a change and noted as pending; written while cells are removed.
    pub(crate) appending: RwLock<()>,
    recent: Recent,
    watchers: Arc<Watchers>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) checkpoint_places: Arc<CheckpointPlaces>,
}

impl Embedded {
    /// The engine over an opened ledger whose replay has already been applied to `index`.
    ///
    /// Registers itself as the ledger's sink, and begins a session: the number behind that of the newest one in the index.
    ///
    /// # Errors
    /// Reading the index; [`EngineError::Record`] for a number that is none.
    pub fn new(ledger: Arc<Ledger>, index: Arc<Index>) -> Result<Self> {
        let newest = match index.lookup(KEY_SESSION)?.value {
            Some(value) => <[u8; 4]>::try_from(&value[..])
                .map(u32::from_be_bytes)
                .map_err(|_| EngineError::Record { what: "the number of the newest session".to_owned() })?,
            None => 0,
        };
        let pending = Arc::new(Mutex::new(Pending::default()));
        let checkpoint_places = Arc::<CheckpointPlaces>::default();
        ledger.set_sink(Arc::new(Placement {
            index: Arc::clone(&index),
            pending: Arc::clone(&pending),
            checkpoint_places: Arc::clone(&checkpoint_places),
        }));
        let recent = Recent::behind(Lsn(ledger.next_lsn().0.saturating_sub(1)));
        Ok(Self {
            ledger,
            index,
            writer: Writer::default(),
            session: SessionId(newest.wrapping_add(1)),
            session_begun: AtomicBool::new(false),
            pending,
            appending: RwLock::new(()),
            recent,
            watchers: Arc::default(),
            checkpoints: Checkpoints::default(),
            checkpoint_places,
        })
    }

    /// The ledger below.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The index below.
    #[must_use]
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Sets the mark of a feature in the superblocks, before anything is written that needs it. Does nothing if it is set.
    ///
    /// # Errors
    /// Those of the ledger. Some disks may have the mark then, and the next opening sets it on the others.
    pub fn mark(&self, feature: Feature) -> Result<()> {
        Ok(self.ledger.mark(feature)?)
    }

    /// Makes every change so far durable and moves it from memory into the index's engine. For code that makes many changes before the
    /// background threads run, as nobody else frees that memory then.
    ///
    /// # Errors
    /// As for [`Engine::wait`], and what keeps the index from being written.
    pub fn sync_and_drain(&self, now_nanos: u64) -> Result<()> {
        self.ledger.sync()?;
        while let Drained::Batch { .. } = self.index.drain_step(now_nanos, self.durable())? {}
        Ok(())
    }

    /// Bytes of log after the newest checkpoint: what a rebuild of the index would have to replay.
    #[must_use]
    pub fn log_since_checkpoint(&self) -> u64 {
        let newest = self.checkpoints.newest.lock();
        let from = newest.as_ref().map_or(SegmentId(0), |checkpoint| checkpoint.position().segment);
        drop(newest);
        u64::from(self.ledger.writing().0.saturating_sub(from.0)) * self.ledger.segment_capacity()
    }

    /// About how many bytes the log has been written for since the store was made: segments that were freed count, parity
    /// does not. With several sets it is as exact as their segments are alike.
    #[must_use]
    pub fn log_written(&self) -> u64 {
        let status = self.ledger.status();
        let within = status.position.offset * u64::from(status.geometry.data_shards);
        u64::from(status.position.segment.0) * self.ledger.segment_capacity() + within
    }
}

impl Engine for Embedded {
    fn session(&self) -> SessionId {
        self.session
    }

    fn get(&self, key: &[u8], upto: Option<Lsn>) -> Result<Row> {
        Ok(self.index.lookup_below(key, upto)?)
    }

    fn get_many(&self, keys: &[Vec<u8>], upto: Option<Lsn>) -> Result<Vec<Row>> {
        Ok(self.index.lookup_many_below(keys, upto)?)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize, upto: Option<Lsn>) -> Result<Page> {
        Ok(self.index.scan_below(from, to, limit, upto)?)
    }

    fn exclusive(&self) -> Exclusive<'_> {
        self.writer.exclusive()
    }

    fn premises_hold(&self, held: &Exclusive<'_>, change: &Change, absent: Absent) -> Result<bool> {
        debug_assert!(held.is_of(&self.writer), "the lock is another store's");
        let Some(premises) = change.premises.as_ref().filter(|_| !planted(Bug::PremisesUnchecked)) else {
            return Ok(true);
        };
        let now = |key: &[u8]| Ok(self.index.lookup(key)?.value);
        premises.hold(now, |key| absent == Absent::Any || change.rows.contains_key(key))
    }

    fn commit(&self, held: &Exclusive<'_>, mut change: Change, accepted: &mut dyn FnMut()) -> Result<Committed> {
        debug_assert!(held.is_of(&self.writer), "the lock is another store's");
        let (relaxed, purpose, events) = (change.relaxed, change.purpose, std::mem::take(&mut change.events));
        let (mut mutations, blocks) = change.into_mutations();
        // The first commit of a session also records the session's number.
        let begins = !self.session_begun.load(Ordering::Acquire);
        if begins {
            let (key, value) = (KEY_SESSION.to_vec(), self.session.0.to_be_bytes().to_vec());
            mutations.push(Mutation::Put { key, value });
        }
        let batch = Batch(mutations);
        let encoded = encode(&batch, &events)?;
        let added = added(&batch.0);
        // The ledger may have written the commit, and report that, before it is in the index.
        let committing = self.index.begin_commit();
        let lsn = self.hand_over(blocks, Some(encoded.clone()), relaxed, purpose, added)?;
        self.recent.note(lsn, (!events.is_empty()).then_some(encoded));
        self.session_begun.fetch_or(begins, Ordering::AcqRel);
        accepted();
        self.watchers.tell(&batch);
        self.index.apply_revocable(lsn, &batch, self.ledger.written());
        drop(committing);
        Ok(Committed { lsn })
    }

    fn held(&self) -> (LatencyCounts, u64) {
        self.writer.counts()
    }

    fn watch(&self, observer: Observer) -> Watch {
        let _between_commits = self.writer.pause();
        self.watchers.add(observer)
    }

    fn durable(&self) -> Lsn {
        self.ledger.durable()
    }

    fn written(&self) -> Lsn {
        self.ledger.written()
    }

    fn stalled_at(&self) -> Option<Lsn> {
        self.ledger.stalled_at()
    }

    fn settled(&self, lsn: Lsn, class: Class) -> Settled {
        self.ledger.settled(lsn, class)
    }

    fn wait(&self, lsn: Lsn, class: Class) -> Result<()> {
        Ok(self.ledger.wait(lsn, class)?)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.ledger.sync()?)
    }

    fn append(&self, blocks: Vec<PreparedBlock>, purpose: Purpose, relaxed: bool) -> Result<Lsn> {
        let _with_pending = self.appending.read();
        self.hand_over(blocks, None, relaxed, purpose, 0)
    }

    fn on_its_way(&self, chunk: &ChunkId) -> Option<DedupDomain> {
        self.pending.lock().chunks.get(chunk).map(|(domain, _)| *domain)
    }

    fn bytes_on_their_way(&self, chunk: &ChunkId) -> Option<Bytes> {
        self.pending.lock().chunks.get(chunk).map(|(_, bytes)| bytes.clone())
    }

    fn block(&self, at: &Location) -> Result<Bytes> {
        Ok(self.ledger.read(at)?)
    }

    fn will_read(&self, at: &Location) {
        self.ledger.will_read(at);
    }

    fn newest_commit(&self) -> Lsn {
        self.recent.last()
    }

    fn read_commits(
        &self,
        place: &mut LogPlace,
        upto: Lsn,
        each: &mut dyn FnMut(Lsn, &[u8]) -> bool,
    ) -> Result<(), LogStop> {
        self.recent.read(&self.ledger, place, upto, each)
    }

    fn wait_for_room(&self, at_most: Duration) {
        if !self.index.has_room() && self.ledger.is_started() {
            let _has_room = self.index.wait_for_room(at_most);
        }
    }

    fn is_tight(&self) -> bool {
        self.ledger.is_tight() && self.ledger.is_started()
    }

    fn is_full(&self) -> bool {
        self.ledger.is_full()
    }

    fn space(&self) -> StoreRoom {
        self.ledger.space()
    }

    fn promise(&self, bytes: u64) -> Result<bool> {
        match self.ledger.promise(bytes) {
            Ok(()) => Ok(true),
            Err(LedgerError::Full) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn keep_promised(&self, before: u64, now: u64) {
        self.ledger.keep_promised(before, now);
    }

    fn read_only(&self) -> Option<String> {
        self.ledger.status().read_only
    }
}

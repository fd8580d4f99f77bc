//! Putting a store together: disks, ledger, index, content, name space, and the threads that keep them tidy.

use std::path::PathBuf;
use std::sync::Arc;

use strata_content::{ContentError, Store, StoreSettings};
use strata_index::{Drained, EngineKind, Opened};
use strata_ledger::{Geometry, Ledger, Options};
use strata_namespace::{Caller, Durability, Error, ErrorKind, Identity, Namespace, Op, Result, STORE};
use strata_seam::{Clock, Disk, Entropy, Lsn, SetId};

use crate::crew::{self, Threads};
use crate::recover::{Recovered, free_stale, recover};
use crate::runtime::Runtime;

/// From so many replayed appends on, what they add up to is drained at once and not when it has become old.
const FREEZE_REPLAYED: u64 = 1024;
/// Share of a log that is changes of the index, where it is not known: a tenth in a store of tiny objects, far less elsewhere.
const CHANGES_SHARE: u64 = 16;

/// What is needed to open a store: disks, folders and settings.
pub struct StoreConfig {
    /// The disks of the set, in any order.
    pub disks: Vec<Arc<dyn Disk>>,
    /// Layout for a new set; an existing one has its own. `None` refuses to create.
    pub create: Option<Geometry>,
    /// Folder of the index; `None` keeps it in memory (every start then replays the whole log).
    pub index_dir: Option<PathBuf>,
    /// Engine of the index; `None` for the one that the folder has, Sled where it has none.
    pub index_engine: Option<EngineKind>,
    /// Cache of the index engine in bytes; pairs of it that are read again and again get the same again.
    pub index_cache_bytes: u64,
    /// Settings of the ledger.
    pub ledger: Options,
    /// Settings of the content layer.
    pub content: StoreSettings,
    /// Owner of the root directory of a new store: uid and gid.
    pub owner: (u32, u32),
    /// Class of buckets made by those who do not choose one.
    pub durability: Durability,
    /// Whether to start the threads of a server. Without, everything happens on the calling thread (simulation), and
    /// [`OpenStore::tend`] does their steps.
    pub threads: bool,
}

/// An open store with its background threads. To be closed with [`OpenStore::close`].
pub struct OpenStore {
    runtime: Arc<Runtime>,
    threads: Threads,
    mover: Threads,
    /// If too few disks were there to write at the opening, the number of the store's next append.
    read_only_at: Option<Lsn>,
    /// How the index was found.
    pub index_opened: Opened,
    /// Appends replayed from the log.
    pub replayed: u64,
    /// Records of the index filled in from the checkpoint before that, where it was lost.
    pub restored: u64,
}

impl OpenStore {
    /// Opens a store, or creates it on blank disks. Blocks for the replay of the log behind the index.
    ///
    /// # Errors
    /// What the ledger, the index and the records say; an existing store is then as it was.
    pub fn open(config: StoreConfig, clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Result<Self> {
        let set_id = match Ledger::find(&config.disks).map_err(ContentError::from)? {
            Some(set_id) => set_id,
            None => {
                let geometry = config.create.ok_or_else(|| {
                    Error::new(
                        ErrorKind::NotFound,
                        "the disks hold no store; nothing was changed; create one or correct the paths",
                    )
                })?;
                Ledger::format(&config.disks, geometry, &config.ledger, &*clock, entropy).map_err(ContentError::from)?
            }
        };
        let recovered = recover(&config, set_id, &clock, entropy)?;
        let index = Arc::clone(&recovered.index);
        match Self::over(&config, set_id, recovered, &clock, entropy) {
            // The first reads found that the index is wrong. The next opening knows that.
            Err(error) if index.is_broken() => {
                tracing::warn!(%error, "the index is wrong; the store is opened once more");
                drop(index);
                Self::over(&config, set_id, recover(&config, set_id, &clock, entropy)?, &clock, entropy)
            }
            opened => opened,
        }
    }

    /// A store over what was recovered.
    fn over(
        config: &StoreConfig,
        set_id: SetId,
        recovered: Recovered,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self> {
        let Recovered { ledger, index, replayed, changed, of_checkpoints, restored, checkpoint } = recovered;
        let ledger = Arc::new(ledger);
        let index_opened = index.opened().clone();
        let read_only_at = ledger.status().read_only.is_some().then(|| ledger.next_lsn());
        // Replayed changes may be drained without waiting for the first new stripe.
        index.note_written(ledger.status().position);
        if replayed >= FREEZE_REPLAYED {
            // Otherwise a server that dies again and again soon after its start replays more at each start.
            index.freeze();
        }
        let store = Store::new(Arc::clone(&ledger), index, config.content)?;
        if let Some(checkpoint) = checkpoint {
            free_stale(&ledger, &checkpoint);
            store.set_checkpoint(checkpoint);
        }
        store.note_checkpoint_blocks(&of_checkpoints);
        // Changes that the engine had and the checkpoint has not were not replayed.
        let unseen = (store.log_since_checkpoint() / CHANGES_SHARE).min(store.index().found_bytes());
        store.note_changed(changed);
        store.guess_changed(unseen.saturating_sub(changed));
        if config.threads {
            ledger.start().map_err(ContentError::from)?;
        }
        let identity = Identity {
            store_id: set_id.0,
            boot_id: entropy.next_u64(),
            uid: config.owner.0,
            gid: config.owner.1,
            durability: config.durability,
        };
        let namespace = Namespace::over(store, Arc::clone(clock), identity)?;
        let runtime = Arc::new(Runtime::over(namespace));
        let (mut threads, mut mover) = (Threads::none(), Threads::none());
        if config.threads {
            threads = crew::start(&runtime)?;
            let own = Arc::clone(&runtime);
            mover.spawn("strata-mover", move |stop| own.run_mover(stop))?;
        }
        Ok(Self { runtime, threads, mover, read_only_at, index_opened, replayed, restored })
    }

    /// The name space.
    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        self.runtime.namespace()
    }

    /// The calls for operating the store, and its background workers.
    #[must_use]
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// Does one round of what the background threads do, on the calling thread. For stores that were opened without threads, as in tests.
    ///
    /// # Errors
    /// Those of sealing, collecting and draining.
    pub fn tend(&self) -> Result<()> {
        self.runtime.tend()
    }

    /// Seals open files, makes everything durable and ends the threads.
    ///
    /// # Errors
    /// What could not be made durable; the next opening replays what was. Written bytes for which full disks have no room are dropped,
    /// and the log says so.
    pub fn close(mut self) -> Result<()> {
        self.end_threads();
        let ledger = self.namespace().store().ledger();
        let accepted_nothing = self.read_only_at == Some(ledger.next_lsn()) && self.runtime.health().staged_bytes == 0;
        if accepted_nothing && ledger.status().read_only.is_some() {
            return Ok(());
        }
        let op = Op::new(Caller::root(&STORE));
        match self.namespace().sync_all(&op) {
            // The writers of these bytes got the error, or never asked. All else is closed in good order.
            Err(error) if error.kind == ErrorKind::NoSpace => {
                let bytes = self.runtime.health().staged_bytes;
                tracing::error!(bytes, %error, "written bytes that no fsync or close confirmed found no room and are lost");
            }
            synced => synced?,
        }
        self.namespace().settle_blocking(&op)?;
        let store = self.namespace().store();
        store.sync()?;
        // Moving the overlay into the engine now makes the next start quick. A failure costs only time then.
        store.index().freeze();
        loop {
            let now = self.namespace().clock().monotonic_nanos();
            match store.index().drain_step(now, store.durable()) {
                Ok(Drained::Batch { .. }) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "the index could not be brought up to date; the next start replays more");
                    break;
                }
            }
        }
        if let Err(error) = store.index().flush() {
            tracing::warn!(%error, "the index could not be flushed; the next start replays more");
        }
        Ok(store.ledger().stop().map_err(ContentError::from)?)
    }

    fn end_threads(&mut self) {
        self.mover.end(|| {});
        let helpers = Arc::clone(self.runtime.store().helpers());
        self.threads.end(|| helpers.end());
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        self.end_threads();
    }
}

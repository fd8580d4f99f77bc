//! Putting a store together: disks, ledger, index, content, name space, and the worker that keeps them tidy.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use strata_content::{ContentError, Store, StoreSettings};
use strata_index::{Drained, Opened};
use strata_ledger::{Geometry, Ledger, Options};
use strata_seam::{Clock, Disk, Entropy, Lsn, SetId};

use crate::error::{ErrorKind, Result, fail};
use crate::namespace::{Identity, Namespace};
use crate::reclaim::{MoverStop, spawn_mover};
use crate::recover::{Recovered, free_stale, recover};
use crate::types::Durability;
use strata_seam::Said;

/// How often the worker looks for something to do while there is nothing.
const WORKER_PAUSE: Duration = Duration::from_millis(200);
/// How often it looks for idle files, in nanoseconds.
const SEAL_EVERY_NANOS: u64 = 1_000_000_000;
/// From so many replayed appends on, what they add up to is drained at once and not when it has become old.
const FREEZE_REPLAYED: u64 = 1024;
/// Share of a log that is changes of the index, where it is not known: a tenth in a store of tiny objects, far less elsewhere.
const CHANGES_SHARE: u64 = 16;
/// Threads that chunk what is being written while its writer goes on.
const SEALERS: usize = 2;
/// How long one change waits for the index to catch up before the worker looks again.
const DRAIN_PAUSE: Duration = Duration::from_millis(2);

/// What a store is opened with.
pub struct StoreConfig {
    /// The disks of the set, in any order.
    pub disks: Vec<Arc<dyn Disk>>,
    /// Layout for a new set; an existing one has its own. `None` refuses to create.
    pub create: Option<Geometry>,
    /// Folder of the index; `None` keeps it in memory (every start then replays the whole log).
    pub index_dir: Option<PathBuf>,
    /// Cache of the index engine in bytes.
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
    /// [`OpenStore::tend`] does the worker's steps.
    pub threads: bool,
}

/// An open store.
pub struct OpenStore {
    namespace: Arc<Namespace>,
    worker: Option<(Arc<Stop>, Vec<JoinHandle<()>>)>,
    mover: Option<(Arc<MoverStop>, JoinHandle<()>)>,
    /// Where too few disks were there to write when it was opened, the number of its next append.
    read_only_at: Option<Lsn>,
    /// How the index was found.
    pub index_opened: Opened,
    /// Appends replayed from the log.
    pub replayed: u64,
    /// Records of the index filled in from the checkpoint before that, where it was lost.
    pub restored: u64,
}

#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl OpenStore {
    /// Opens a store, or creates it on blank disks. Blocks for the replay of the log behind the index.
    ///
    /// # Errors
    /// What the ledger, the index and the records say; an existing store is then as it was.
    pub fn open(config: StoreConfig, clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Result<Self> {
        let set_id = match Ledger::find(&config.disks)? {
            Some(set_id) => set_id,
            None => {
                let geometry = config.create.ok_or_else(|| {
                    fail(
                        ErrorKind::NotFound,
                        "the disks hold no store; nothing was changed; create one or correct the paths",
                    )
                })?;
                Ledger::format(&config.disks, geometry, &config.ledger, &*clock, entropy)?
            }
        };
        let recovered = recover(&config, set_id, &clock, entropy)?;
        let index = Arc::clone(&recovered.index);
        match Self::over(&config, set_id, recovered, &clock, entropy) {
            // What it was opened with was found wrong by the first reads, and the next opening knows.
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
        // What was replayed may be drained without waiting for the first new stripe.
        index.note_written(ledger.status().position);
        if replayed >= FREEZE_REPLAYED {
            // Else a server that dies again and again while it is young replays more at each start.
            index.freeze();
        }
        let first_number = ledger.next_lsn().0 << 20;
        let store = Store::new(Arc::clone(&ledger), index, config.content, first_number);
        if let Some(checkpoint) = checkpoint {
            free_stale(&ledger, &checkpoint);
            store.set_checkpoint(checkpoint);
        }
        store.note_checkpoint_blocks(&of_checkpoints);
        // What the engine had and the checkpoint has not was not replayed.
        let unseen = (store.log_since_checkpoint() / CHANGES_SHARE).min(store.index().found_bytes());
        store.note_changed(changed);
        store.guess_changed(unseen.saturating_sub(changed));
        if config.threads {
            ledger.start()?;
        }
        let identity = Identity {
            store_id: set_id.0,
            boot_id: entropy.next_u64(),
            uid: config.owner.0,
            gid: config.owner.1,
            durability: config.durability,
        };
        let namespace = Namespace::over(store, Arc::clone(clock), identity)?;
        let worker = config.threads.then(|| spawn_workers(&namespace)).transpose()?;
        let mover = config
            .threads
            .then(|| spawn_mover(&namespace))
            .transpose()
            .map_err(|error| fail(ErrorKind::Io, format!("thread strata-mover could not be started: {error}")))?;
        Ok(Self { namespace, worker, mover, read_only_at, index_opened, replayed, restored })
    }

    /// The name space.
    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// One round of the worker's steps, on the calling thread.
    ///
    /// # Errors
    /// Those of sealing, collecting and draining.
    pub fn tend(&self) -> Result<()> {
        tend(&self.namespace, true).map(|_| ())
    }

    /// Seals open files, makes everything durable and ends the threads.
    ///
    /// # Errors
    /// What could not be made durable; the next start replays what was. Written bytes that found no room on full disks are
    /// given up, and said so in the log.
    pub fn close(mut self) -> Result<()> {
        self.end_worker();
        let ledger = self.namespace.store().ledger();
        let accepted_nothing =
            self.read_only_at == Some(ledger.next_lsn()) && self.namespace.health().staged_bytes == 0;
        if accepted_nothing && ledger.status().read_only.is_some() {
            return Ok(());
        }
        let op = crate::Op::new(crate::Caller::root(crate::Door::Admin));
        match self.namespace.sync_all(&op) {
            // Whoever wrote it was told, or never asked. All else is closed in good order.
            Err(error) if error.kind == ErrorKind::NoSpace => {
                let bytes = self.namespace.health().staged_bytes;
                tracing::error!(bytes, %error, "written bytes that no fsync or close confirmed found no room and are lost");
            }
            synced => synced?,
        }
        self.namespace.settle_blocking(&op)?;
        let store = self.namespace.store();
        store.ledger().sync()?;
        // Moving the overlay into the engine now makes the next start quick. A failure costs only time then.
        store.index().freeze();
        loop {
            let now = self.namespace.clock.monotonic_nanos();
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
        store.ledger().stop()?;
        Ok(())
    }

    fn end_worker(&mut self) {
        if let Some((stop, thread)) = self.mover.take() {
            stop.stop();
            if thread.join().is_err() {
                tracing::error!("the mover panicked");
            }
        }
        if let Some((stop, threads)) = self.worker.take() {
            stop.asked.store(true, Ordering::Release);
            stop.wake.notify_all();
            self.namespace.store().helpers().end();
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a background thread panicked");
                }
            }
        }
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        self.end_worker();
    }
}

/// Starts the worker, the drainer, the sealers, and as many helpers as there are cores beside the one a stream is taken in on.
///
/// Changes wait for the index to be drained where memory is short, and the worker makes changes, or waits for those who do. So
/// it is another thread that drains.
fn spawn_workers(namespace: &Arc<Namespace>) -> Result<(Arc<Stop>, Vec<JoinHandle<()>>)> {
    let stop = Arc::new(Stop::default());
    let mut sealed_at = 0;
    let seal_and_collect = move |namespace: &Namespace, now: u64| {
        let seal = now.saturating_sub(sealed_at) >= SEAL_EVERY_NANOS;
        if seal {
            sealed_at = now;
        }
        let sealed = if seal { namespace.seal_idle().map(|_| ()) } else { Ok(()) };
        let collected = namespace.store().collect()?;
        sealed.map(|()| collected > 0)
    };
    let (works, drains) = ((Arc::clone(namespace), Arc::clone(&stop)), (Arc::clone(namespace), Arc::clone(&stop)));
    let mut threads = vec![
        spawn("strata-worker", worker(works.0, works.1, seal_and_collect))?,
        spawn("strata-drainer", worker(drains.0, drains.1, |namespace: &Namespace, _| drain(namespace)))?,
    ];
    for _ in 0..SEALERS {
        let (namespace, stop) = (Arc::clone(namespace), Arc::clone(&stop));
        threads.push(spawn("strata-sealer", move || namespace.run_sealer(&stop.asked))?);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 1..cores.max(2) {
        let helpers = Arc::clone(namespace.store().helpers());
        threads.push(spawn("strata-helper", move || helpers.help())?);
    }
    Ok((stop, threads))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| fail(ErrorKind::Io, format!("thread {name} could not be started: {error}")))
}

/// Does its work again and again: at once where there is more of it, else after a pause.
fn worker(
    namespace: Arc<Namespace>,
    stopped: Arc<Stop>,
    mut work: impl FnMut(&Namespace, u64) -> Result<bool>,
) -> impl FnOnce() {
    move || {
        let mut said = Said::default();
        while !stopped.asked.load(Ordering::Acquire) {
            let now = namespace.clock.monotonic_nanos();
            let pause = match work(&namespace, now) {
                Ok(true) => DRAIN_PAUSE,
                Ok(false) => WORKER_PAUSE,
                Err(error) => {
                    // Nothing is lost: what was not done stays to be done.
                    if said.is_new(&error, now) {
                        tracing::warn!(error = %error, "background work failed; it is tried again and again");
                    }
                    Duration::from_secs(1)
                }
            };
            let mut guard = stopped.lock.lock();
            if !stopped.asked.load(Ordering::Acquire) {
                stopped.wake.wait_for(&mut guard, pause);
            }
        }
    }
}

/// Seals idle files, lets unused pages go, moves changes into the index engine. `true` if there is more to do at once.
///
/// What cannot be sealed, for instance for lack of room, keeps nothing else from being done: room may come of it.
fn tend(namespace: &Namespace, seal: bool) -> Result<bool> {
    let sealed = if seal { namespace.seal_idle().map(|_| ()) } else { Ok(()) };
    let let_go = let_go(namespace);
    sealed.and(let_go)
}

fn let_go(namespace: &Namespace) -> Result<bool> {
    let collected = namespace.store().collect()?;
    Ok(drain(namespace)? || collected > 0)
}

/// Moves changes into the index engine; `true` if there is more to move at once.
fn drain(namespace: &Namespace) -> Result<bool> {
    let store = namespace.store();
    // In a relaxed store nothing becomes durable by itself; the engine may only hold what is.
    let now = namespace.clock.monotonic_nanos();
    let drained = store.index().drain_step(now, store.durable()).map_err(ContentError::Index)?;
    if let Drained::Waiting { bound } = drained {
        store.ledger().wait(bound, strata_ledger::Class::Durable)?;
        return Ok(true);
    }
    Ok(matches!(drained, Drained::Batch { .. } | Drained::Verified))
}

//! `strata serve`: from a checked configuration to open doors, and the shutdown.
//!
//! Order of the start: ports are bound and the store is locked before anything is written, so that a refused start has changed nothing.
//! The doors are announced (`doors.json`, the table, the service manager) only once each has answered a request from outside.
//!
//! Order of the end: the announcement is removed, new requests are refused, running ones get their time, the mount is removed, the
//! store is closed, the lock is dropped.
//!
//! A crash at any point only leaves out steps of the end: what was acknowledged is in the ledger (invariant ACK).

use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use strata_door_admin::Source;
use strata_mount::MountOptions;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clear::Eraser;
use crate::config::{Config, Listen};
use crate::control::ControlSocket;
use crate::disks::Disks;
use crate::doors::{Credentials, Listeners, OpenDoor, OpenDoors};
use crate::doors_file::Doors;
use crate::greeting::{greeting, say};
use crate::keeper::Keeper;
use crate::lock::StoreLock;
use crate::metrics::{CrewSource, CursorSource, DiskSource, MountSource};
use crate::mount::{self, MountedDoor};
use crate::notify::notify;
use crate::running::Running;
use crate::store::OpenStore;
use crate::trim::Trim;

/// Threads for calls that may wait for a disk. Each door bounds its requests below this; the pool is only the backstop.
const BLOCKING_THREADS_MAX: usize = 128;
/// Time for work that no longer matters once the store is closed.
const RUNTIME_END: Duration = Duration::from_secs(1);
/// Time the doors get beyond what they give their requests, to close by themselves.
const DRAIN_MARGIN: Duration = Duration::from_secs(6);
/// Exit code of a shutdown that was cut short.
const CUT_SHORT: u8 = 4;

/// Serves until told to stop.
///
/// # Errors
/// What kept the server from starting, or a door that failed while serving.
pub(crate) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads.into())
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("strata-door")
        .enable_all()
        .build()
        .context("the threads of the server cannot be started")?;
    let result = runtime.block_on(serve(config));
    runtime.shutdown_timeout(RUNTIME_END);
    result
}

async fn serve(config: &Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::watch()?;
    let data = &config.store.data;
    let listeners = match Listeners::bind(config).await {
        Ok(listeners) => listeners,
        Err(error) => {
            // Mostly the server of this very store has the address.
            if StoreLock::holder(data).is_some() {
                let data = data.clone();
                let taken = tokio::task::spawn_blocking(move || StoreLock::take(&data));
                drop(taken.await.context("taking the store's lock was interrupted")??);
            }
            return Err(error);
        }
    };
    make_private_folder(data)?;
    let taking = {
        let data = data.clone();
        tokio::task::spawn_blocking(move || StoreLock::take(&data))
    };
    let mut lock = tokio::select! {
        taken = taking => taken.context("taking the store's lock was interrupted")??,
        () = signals.next() => return Ok(leave_at_once(config)),
    };
    if let Some(path) = config.mount.clone() {
        let way = tokio::task::spawn_blocking(move || mount::prepare(&path));
        way.await.context("looking at the folder to mount on was interrupted")??;
    }
    warn_about_open_addresses(config);
    crate::descriptors::warn_if_short(config.store.disks.len(), config.connections);

    let opening = {
        let config = config.store.clone();
        tokio::task::spawn_blocking(move || {
            let store = OpenStore::open(&config, &mut lock)?;
            anyhow::Ok((crate::clear::renew_index(&config, store, &mut lock)?, lock))
        })
    };
    let (store, lock) = tokio::select! {
        opened = opening => opened.context("opening the store was interrupted")??,
        () = signals.next() => return Ok(leave_at_once(config)),
    };
    crate::buckets::warn_of_hidden_top(store.namespace())?;
    let disks = Arc::new(Disks::new(lock, data));
    let keeper = Keeper::new(store.runtime(), config.scrub, config.store.disks.clone(), Arc::clone(&disks));
    let keeping = keeper.start()?;
    let eraser = Eraser::start(store.runtime())?;
    let trim = Trim::start(store.runtime().crew(), config.store.memory.total.0)?;
    let served = serve_store(config, listeners, &store, (&keeper, &disks), &mut signals).await;
    Doors::withdraw(data);
    keeper.stop();
    let erased = tokio::task::spawn_blocking(move || eraser.stop());
    let kept = tokio::task::spawn_blocking(move || keeping.join()).await.context("the keeper was interrupted")?;
    if kept.is_err() {
        tracing::error!("the keeper's thread panicked");
    }
    erased.await.context("the eraser was interrupted")?;
    let closed = tokio::task::spawn_blocking(move || store.close()).await.context("closing the store was interrupted");
    drop((disks, trim));
    let code = served?;
    if let Err(error) = closed? {
        tracing::error!(error = format!("{error:#}"), "not everything that is staged could be stored");
        return Ok(ExitCode::from(CUT_SHORT));
    }
    Ok(code)
}

/// Opens the doors, waits for the word to stop, and closes them.
async fn serve_store(
    config: &Config,
    listeners: Listeners,
    store: &OpenStore,
    (keeper, disks): (&Arc<Keeper>, &Arc<Disks>),
    signals: &mut Signals,
) -> anyhow::Result<ExitCode> {
    let credentials = Credentials::of(config, store).context("the users cannot be read")?;
    let users = Arc::clone(&credentials.users);
    let running = Arc::new(Running::new(config, store, users, Arc::clone(keeper), Arc::clone(disks)));
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    let disk_source = DiskSource { runtime: Arc::clone(store.runtime()), keeper: Arc::clone(keeper) };
    let crew_source = CrewSource(Arc::clone(store.namespace()));
    let cursor_source = CursorSource(Arc::clone(store.namespace()));
    let others: Vec<Arc<dyn Source>> = vec![Arc::new(disk_source), Arc::new(crew_source), Arc::new(cursor_source)];
    let mounted = match &config.mount {
        Some(path) => {
            let position_bytes_max = usize::try_from(config.store.memory.table).unwrap_or(usize::MAX);
            let allow_other = config.allow_other;
            let options = MountOptions { allow_other, position_bytes_max, ..MountOptions::default() };
            let mounted = MountedDoor::mount(Arc::clone(store.namespace()), path, options).await?;
            sources.push(Arc::new(MountSource(mounted.metrics())));
            Some(mounted)
        }
        None => None,
    };
    let (mut doors, mut announced) =
        OpenDoors::start(config, listeners, store, &credentials, &running, sources, others)?;
    announced.mount = mounted.as_ref().map(|mounted| crate::doors_file::Mount { path: mounted.path() });
    let control = ControlSocket::make(&config.store.data)?;
    let control = AbortOnDrop(tokio::spawn(control.serve(running.clone().answer())));
    let addresses = doors.addresses().to_vec();
    let ready = tokio::select! {
        ready = answer_all(&addresses, mounted.as_ref()) => ready,
        ended = doors.one_ended() => Err(ended),
        // The doors are open already, and somebody may be through them.
        () = signals.next() => {
            drop(control);
            ControlSocket::withdraw(&config.store.data);
            let in_time = end(config, doors, mounted, signals).await;
            return Ok(if in_time { ExitCode::SUCCESS } else { ExitCode::from(CUT_SHORT) });
        }
    };
    if let Err(error) = ready {
        end(config, doors, mounted, signals).await;
        return Err(error);
    }
    running.serves(&announced);
    announced.publish(&config.store.data)?;
    say(&greeting(config, &announced, std::io::stdout().is_terminal()));
    notify("READY=1");

    let failure = tokio::select! {
        () = signals.next() => None,
        ended = doors.one_ended() => Some(ended),
        () = unmounted(mounted.as_ref()) => {
            tracing::info!("the mount was taken away from outside; stopping");
            None
        }
    };
    notify("STOPPING=1");
    running.drains();
    drop(control);
    ControlSocket::withdraw(&config.store.data);
    Doors::withdraw(&config.store.data);
    let in_time = end(config, doors, mounted, signals).await;
    match failure {
        Some(error) => Err(error),
        None if in_time => Ok(ExitCode::SUCCESS),
        None => Ok(ExitCode::from(CUT_SHORT)),
    }
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Every open door answers.
async fn answer_all(doors: &[OpenDoor], mounted: Option<&MountedDoor>) -> anyhow::Result<()> {
    for (name, address, protocol) in doors {
        crate::ready::door(name, *address, *protocol).await?;
    }
    if let Some(mounted) = mounted.filter(|mounted| !mounted.serves()) {
        anyhow::bail!("nothing is mounted at {}", mounted.path().display());
    }
    Ok(())
}

/// Stops taking requests, gives running ones their time and takes the mount away. Whether all ended in time.
async fn end(config: &Config, mut doors: OpenDoors, mounted: Option<MountedDoor>, signals: &mut Signals) -> bool {
    doors.refuse_new();
    let draining = async {
        let unmount = async {
            match mounted {
                Some(mounted) => mounted.unmount().await,
                None => Ok(()),
            }
        };
        let ((), unmounted) = tokio::join!(doors.drained(), unmount);
        unmounted
    };
    tokio::select! {
        drained = tokio::time::timeout(config.drain + DRAIN_MARGIN, draining) => match drained {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::error!(error = format!("{error:#}"), "the mount could not be taken away cleanly"),
            Err(_) => tracing::warn!(seconds = config.drain.as_secs(), "requests still running at the deadline were cut off"),
        },
        () = signals.next() => tracing::warn!("told to stop a second time; running requests were cut off"),
    }
    if let Some(path) = &config.mount {
        mount::detach(path);
    }
    false
}

/// Ends the process from within the start: nothing has been acknowledged to anybody.
fn leave_at_once(config: &Config) -> ExitCode {
    tracing::warn!("told to stop before the doors were open");
    if let Some(path) = &config.mount {
        mount::detach(path);
    }
    ExitCode::from(CUT_SHORT)
}

/// Returns when the mount is gone without our doing; never if there is none.
async fn unmounted(mounted: Option<&MountedDoor>) {
    match mounted {
        Some(mounted) => mounted.gone().await,
        None => std::future::pending().await,
    }
}

fn make_private_folder(data: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("the store's folder {} cannot be made", data.display()))
}

fn warn_about_open_addresses(config: &Config) {
    for (door, listen) in [("s3", config.s3), ("webdav", config.webdav), ("nfs", config.nfs), ("admin", config.admin)] {
        if let Listen::At(address) = listen
            && !address.ip().is_loopback()
        {
            tracing::warn!(door, %address, "this door is open to the network and its traffic is not encrypted");
        }
    }
}

/// The signals that mean "stop".
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> anyhow::Result<Self> {
        let watch = |kind| signal(kind).context("signals cannot be watched");
        Ok(Self { terminate: watch(SignalKind::terminate())?, interrupt: watch(SignalKind::interrupt())? })
    }

    /// Returns at the next one. Cancellation safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("stopping: SIGTERM"),
            _ = self.interrupt.recv() => tracing::info!("stopping: SIGINT"),
        }
    }
}

//! Removing traces of secrets that earlier releases stored unencrypted: in the files of the index, in the log, in checkpoints.
//!
//! When users are opened, their secrets are sealed. A setting ([`CLEAR_LEFT`]) is written before that and removed at the end of all
//! this; while it is there, traces are left. A start that finds it takes a checkpoint without them, overwrites the files of the index,
//! and has the index rebuilt from that checkpoint ([`renew_index`]). Then, in the background, the segments that have traces are
//! emptied, overwritten and removed ([`Eraser`]). All of it may be cut off anywhere and is then done again.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use strata_iam::{CLEAR_LEFT, is_clear_secret};
use strata_namespace::{Caller, Namespace, Op, STORE};
use strata_runtime::Runtime;
use strata_seam::{Duty, Stop, Worker};

use crate::config::StoreConfig;
use crate::lock::StoreLock;
use crate::store::OpenStore;

/// The value of the setting once the index has no traces any more.
const IN_LOG_ONLY: &[u8] = b"log";
/// Bytes written at once over a file.
const ZEROS: usize = 1 << 16;
/// How long the eraser waits before it tries again.
const AGAIN: Duration = Duration::from_secs(60);
/// The eraser, as it is shown where there is something to do for it.
const ERASER: Duty = Duty { name: "eraser", does: "overwrites traces of clear secrets in the log", unit: "traversals" };

fn root() -> Op {
    Op::new(Caller::root(&STORE))
}

/// Opens the users once, so that their secrets are sealed, and has the index built anew if it holds traces of clear ones.
///
/// # Errors
/// The users cannot be opened, or the store not be opened again; the data is intact.
pub(crate) fn renew_index(config: &StoreConfig, store: OpenStore, lock: &mut StoreLock) -> anyhow::Result<OpenStore> {
    let (namespace, runtime) = (Arc::clone(store.namespace()), Arc::clone(store.runtime()));
    crate::user::open(&config.data, &namespace)?;
    let left = namespace.setting(&root(), CLEAR_LEFT)?;
    if left.is_none_or(|left| left == IN_LOG_ONLY) {
        return Ok(store);
    }
    tracing::info!(
        "secrets of users were stored unencrypted and are sealed now; the index is rebuilt once, to remove traces of them"
    );
    if let Err(error) = runtime.take_checkpoint() {
        tracing::warn!(%error, "no checkpoint can be taken; traces of clear secrets stay in the index until the next start");
        return Ok(store);
    }
    drop((namespace, runtime));
    store.close()?;
    erase_index(&config.data)?;
    let store = OpenStore::open(config, lock)?;
    let op = root();
    store.namespace().put_setting(&op, CLEAR_LEFT, Some(IN_LOG_ONLY))?;
    store.namespace().settle_blocking(&op)?;
    Ok(store)
}

/// Overwrites and removes the files of the index, those that were set aside too.
fn erase_index(data: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(data).with_context(|| format!("{} cannot be read", data.display()))?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "index" || name.starts_with("index.bad-") || name == "fsck.scratch" {
            overwrite(&entry.path()).with_context(|| format!("{} cannot be erased", entry.path().display()))?;
            std::fs::remove_dir_all(entry.path())
                .with_context(|| format!("{} cannot be removed", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Writes zeros over every file below a folder.
fn overwrite(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let (path, kind) = {
            let entry = entry?;
            (entry.path(), entry.file_type()?)
        };
        if kind.is_dir() {
            overwrite(&path)?;
        } else if kind.is_file() {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            let mut left = file.metadata()?.len();
            while left > 0 {
                let piece = usize::try_from(left).unwrap_or(ZEROS).min(ZEROS);
                file.write_all(&[0; ZEROS][..piece])?;
                left -= piece as u64;
            }
            file.sync_all()?;
        }
    }
    Ok(())
}

/// The thread that erases traces from the log, where there are any.
pub(crate) struct Eraser {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Eraser {
    /// Starts it if there is something to do; not while the index has traces, which its checkpoints would hand on.
    ///
    /// # Errors
    /// The store cannot be read, or takes no thread.
    pub(crate) fn start(runtime: &Arc<Runtime>) -> anyhow::Result<Self> {
        let stop = Arc::new(Stop::default());
        let left = runtime.namespace().setting(&root(), CLEAR_LEFT)?;
        let thread = match left.is_some_and(|left| left == IN_LOG_ONLY) {
            false => None,
            true => {
                let (runtime, stop) = (Arc::clone(runtime), Arc::clone(&stop));
                let pace = Arc::clone(runtime.mover_pace());
                let worker = runtime.crew().add(ERASER, Some(pace));
                let work = move || erase(&runtime, &worker, &stop);
                let named = std::thread::Builder::new().name("strata-eraser".to_owned());
                Some(named.spawn(work).context("the thread strata-eraser cannot be started")?)
            }
        };
        Ok(Self { stop, thread })
    }

    /// Ends it, done or not; a later start goes on.
    pub(crate) fn stop(mut self) {
        self.stop.ask();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that erases traces of clear secrets panicked; the next start goes on");
        }
    }
}

fn erase(runtime: &Runtime, worker: &Worker, stop: &Stop) {
    let say = |error: &strata_namespace::Error| {
        tracing::warn!(%error, "traces of unencrypted secrets cannot be erased from the log now; this is tried again");
    };
    worker.work(
        stop,
        || AGAIN,
        say,
        || {
            let _round = worker.begin(Some(1));
            let done = runtime.erase_settings(&is_clear_secret, &mut || !stop.is_asked())?;
            if forget(runtime.namespace(), done)? {
                worker.advance(1);
                tracing::info!("the secrets that an earlier release stored unencrypted have left no more traces");
                stop.ask();
            }
            Ok(AGAIN)
        },
    );
}

/// Notes that nothing is left.
fn forget(namespace: &Namespace, done: bool) -> strata_namespace::Result<bool> {
    if done {
        let op = root();
        namespace.put_setting(&op, CLEAR_LEFT, None)?;
        namespace.settle_blocking(&op)?;
    }
    Ok(done)
}

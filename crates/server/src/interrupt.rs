//! Ctrl-C for commands that end in order: they check for it between two steps. A second Ctrl-C ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use strata_seam::Stopwatch;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a process that SIGINT has ended, as shells have it.
const KILLED: i32 = 130;
/// Signals that come so soon after the first are the same: some programs that end others signal them and their group.
const SAME: Duration = Duration::from_millis(500);

/// Whether somebody wants the command to end.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT and SIGTERM end the command between two steps.
    ///
    /// # Errors
    /// Signals cannot be watched.
    pub(crate) fn watch() -> anyhow::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.context("signals cannot be watched")?;
        let (mut interrupt, mut terminate) = {
            let _within = runtime.enter();
            let watch = |kind| signal(kind).context("signals cannot be watched");
            (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?)
        };
        let told = Arc::clone(&came);
        let wait = move || {
            runtime.block_on(async move {
                let mut first: Option<Stopwatch> = None;
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    match &first {
                        Some(first) if first.elapsed() >= SAME => std::process::exit(KILLED),
                        Some(_) => {}
                        None => first = Some(Stopwatch::start()),
                    }
                    told.store(true, Ordering::Release);
                }
            });
        };
        std::thread::Builder::new()
            .name("strata-interrupt".to_owned())
            .spawn(wait)
            .context("the thread strata-interrupt cannot be started")?;
        Ok(Self(came))
    }

    /// Whether one came.
    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

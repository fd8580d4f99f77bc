//! The bridge from the threads of a runtime, which must not wait, to the synchronous core, where bytes are hashed, disks are read and locks are
//! waited for.
//!
//! There are two ways over it. [`wait`] is for calls that mostly wait and are short of work: a look-up, a commit, a read from a disk. [`toil`]
//! is for work that keeps a core busy: cutting, hashing and coding the bytes of uploads. Threads that toil have a lower priority, so that
//! small requests are served between two of their time slices, however many uploads there are.
//!
//! Calls that do not cross are below 50 us of work: calls about one entry, and bytes that are in memory or few. The tests of the crate
//! `strata-runtime` measure each of them (`inline`).
//!
//! Both count what crosses, and how long it waits for a thread ([`crossings`]).

use std::sync::LazyLock;

use strata_seam::{Latencies, LatencyCounts};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How much lower the priority of threads that toil is, in steps of nice(2). At 5 they have a third of the weight of the others.
const NICE: i32 = 5;
/// Most threads that toil. Far fewer have anything to do: streams take turns by the number of cores.
const TOILING_MAX: usize = 256;

static WAITED: LazyLock<Latencies> = LazyLock::new(Latencies::default);
static TOILED: LazyLock<Latencies> = LazyLock::new(Latencies::default);

/// Never driven: only its threads for blocking work are used.
static TOILING: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread()
        .thread_name("toil")
        .max_blocking_threads(TOILING_MAX)
        .on_thread_start(lower_priority)
        .build();
    runtime.inspect_err(|error| tracing::warn!(%error, "uploads are hashed at the priority of everything else")).ok()
});

/// A system that refuses leaves the thread as it is: slower answers beside uploads, nothing else.
fn lower_priority() {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "the priority of a thread could not be lowered");
    }
}

/// Runs a call that may block (a lock, a disk) on a thread for such calls. Dropping the handle does not stop it.
pub fn wait<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(counted(&WAITED, work))
}

/// Runs work that keeps a core busy on a thread of lower priority. Dropping the handle does not stop it.
pub fn toil<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match &*TOILING {
        Some(runtime) => runtime.spawn_blocking(counted(&TOILED, work)),
        None => wait(work),
    }
}

/// How long calls waited for a thread, since the process started: of [`wait`] and of [`toil`].
#[must_use]
pub fn crossings() -> [(&'static str, LatencyCounts); 2] {
    [("wait", WAITED.counts()), ("toil", TOILED.counts())]
}

fn counted<T>(waits: &'static Latencies, work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let handed_over = Instant::now();
    move || {
        waits.note(handed_over.elapsed());
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_toils_has_a_lower_priority_than_who_waits_and_both_are_counted() {
        let before = crossings().map(|(_, counts)| counts.count());
        let priority = || rustix::process::getpriority_process(None).expect("the priority of this thread");
        let (waits, toils) = (wait(priority).await.expect("waited"), toil(priority).await.expect("toiled"));
        assert_eq!(toils, (waits + NICE).min(19));
        let after = crossings().map(|(_, counts)| counts.count());
        assert!(after[0] > before[0] && after[1] > before[1], "{before:?} {after:?}");
    }
}

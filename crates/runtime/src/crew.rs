//! The background threads of a store, each reported as a worker of its crew: sealer, collector, follower, index and helper. The mover's
//! thread is in `mover.rs`.
//!
//! Draining the index has a thread of its own. Changes wait for it when memory is short, and the collector makes changes: if one thread
//! did both, it would wait for itself.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use strata_content::ContentError;
use strata_index::Drained;
use strata_namespace::{Error, ErrorKind, Result, SEALER};
use strata_seam::{Duty, Round, Stop, Worker};

use crate::runtime::Runtime;

const COLLECTOR: Duty = Duty { name: "collector", does: "lets go of what nobody owns any more", unit: "pages" };
const FOLLOWER: Duty =
    Duty { name: "follower", does: "gives what is in folders moved to the trash to its bucket", unit: "names" };
const INDEX: Duty = Duty { name: "index", does: "moves changes from memory into the index", unit: "keys" };
const HELPER: Duty = Duty { name: "helper", does: "compresses blocks for streams", unit: "blocks" };

/// How long a worker sleeps that had nothing to do.
const IDLE_PAUSE: Duration = Duration::from_millis(200);
/// And how long while there is more: one change that waits for the index to catch up goes in between.
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// And after something failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// How often idle files are looked for, in nanoseconds.
const SEAL_EVERY_NANOS: u64 = 1_000_000_000;
/// Threads that chunk what is being written while its writer goes on.
const SEALERS: usize = 2;

/// Threads that end together.
pub(crate) struct Threads {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(crate) fn none() -> Self {
        Self { stop: Arc::default(), threads: Vec::new() }
    }

    /// Starts one more.
    ///
    /// # Errors
    /// There is none to be had.
    pub(crate) fn spawn(&mut self, name: &str, run: impl FnOnce(&Stop) + Send + 'static) -> Result<()> {
        let stop = Arc::clone(&self.stop);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&stop));
        self.threads.push(
            thread.map_err(|error| Error::new(ErrorKind::Io, format!("thread {name} cannot be started: {error}")))?,
        );
        Ok(())
    }

    /// Ends them all, those first that `let_go` has to wake.
    pub(crate) fn end(&mut self, let_go: impl FnOnce()) {
        self.stop.ask();
        let_go();
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or("of the store").to_owned();
            if thread.join().is_err() {
                tracing::error!(thread = name, "a background thread panicked");
            }
        }
    }
}

/// Starts the collector, who also seals idle files and has what was moved with its folder follow it, the drainer of the index, the sealers, and as many helpers as there are
/// cores beside the one a stream is taken in on.
///
/// # Errors
/// There are no threads to be had.
pub(crate) fn start(runtime: &Arc<Runtime>) -> Result<Threads> {
    let mut threads = Threads::none();
    let crew = runtime.crew();
    let (sealer, helper) = (crew.add(SEALER, None), crew.add(HELPER, None));
    let (collector, index) = (crew.add(COLLECTOR, None), crew.add(INDEX, None));
    let own = Arc::clone(runtime);
    let (sealing, follower) = (Arc::clone(&sealer), crew.add(FOLLOWER, None));
    threads.spawn("strata-collector", move |stop| own.run_collector(&collector, (&sealing, &follower), stop))?;
    let own = Arc::clone(runtime);
    threads.spawn("strata-index", move |stop| own.run_drainer(&index, stop))?;
    for _ in 0..SEALERS {
        let (own, sealer) = (Arc::clone(runtime), Arc::clone(&sealer));
        threads.spawn("strata-sealer", move |stop| own.namespace().run_sealer(&sealer, stop))?;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 1..cores.max(2) {
        let (helpers, helper) = (Arc::clone(runtime.store().helpers()), Arc::clone(&helper));
        threads.spawn("strata-helper", move |_| helpers.help(&helper))?;
    }
    Ok(threads)
}

/// Works off a backlog step by step: a round goes from the first step that finds something to the first that finds nothing.
struct Backlog<'a> {
    worker: &'a Worker,
    round: Option<Round<'a>>,
}

impl<'a> Backlog<'a> {
    fn of(worker: &'a Worker) -> Self {
        Self { worker, round: None }
    }

    /// Notes a step that did so much of it, and says how long to sleep.
    fn step(&mut self, done: Result<Step>) -> Result<Duration> {
        match done {
            Ok(Step::More(more)) => {
                self.round.get_or_insert_with(|| self.worker.begin(None));
                self.worker.advance(more);
                Ok(BUSY_PAUSE)
            }
            Ok(Step::Nothing) => {
                self.round = None;
                Ok(IDLE_PAUSE)
            }
            Err(error) => {
                self.round = None;
                Err(error)
            }
        }
    }
}

/// What a step came to.
pub(crate) enum Step {
    /// So much was done, and there may be more at once.
    More(u64),
    /// There was nothing to do.
    Nothing,
}

fn again() -> Duration {
    FAILED_PAUSE
}

impl Runtime {
    fn run_collector(&self, collector: &Worker, (sealer, follower): (&Worker, &Worker), stop: &Stop) {
        let mut sealed_at = 0;
        let (mut backlog, mut following) = (Backlog::of(collector), Backlog::of(follower));
        let mut follow_from = 0;
        // A failure loses nothing: what was not done stays to be done.
        let say = |error: &Error| tracing::warn!(%error, "references without an owner cannot be released; this is tried again");
        collector.work(stop, again, say, || {
            let now = self.clock().monotonic_nanos();
            if now.saturating_sub(sealed_at) >= SEAL_EVERY_NANOS {
                sealed_at = now;
                // Bytes that cannot be sealed, for instance for lack of room, keep nothing else from being done: that may make room.
                let sealed = self.namespace().seal_idle();
                if sealer.note(&sealed, FAILED_PAUSE)
                    && let Err(error) = sealed
                {
                    tracing::warn!(%error, "written bytes of idle files cannot be stored; they stay in memory, and this is tried again");
                }
            }
            let mut pause = IDLE_PAUSE;
            if now >= follow_from {
                let followed = following.step(self.follow());
                if follower.note(&followed, FAILED_PAUSE)
                    && let Err(error) = &followed
                {
                    tracing::warn!(%error, "the content of folders in the trash cannot be given to the trash's bucket; this is tried again");
                }
                follow_from = if followed.is_err() { now + FAILED_PAUSE.as_nanos() as u64 } else { 0 };
                pause = followed.unwrap_or(IDLE_PAUSE);
            }
            Ok(backlog.step(self.let_go())?.min(pause))
        });
    }

    fn follow(&self) -> Result<Step> {
        let followed = self.namespace().follow_step()?;
        Ok(if followed > 0 { Step::More(followed) } else { Step::Nothing })
    }

    fn run_drainer(&self, worker: &Worker, stop: &Stop) {
        let mut backlog = Backlog::of(worker);
        let say = |error: &Error| tracing::warn!(%error, "the index cannot be written; this is tried again");
        worker.work(stop, again, say, || {
            let drained = self.drain_index(worker);
            backlog.step(drained)
        });
    }

    /// One round of what the threads do, on the calling thread: seals idle files, lets unused pages go, moves changes into the
    /// index.
    ///
    /// # Errors
    /// Those of sealing, collecting and draining.
    pub(crate) fn tend(&self) -> Result<()> {
        let sealed = self.namespace().seal_idle().map(|_| ());
        let rest =
            self.follow().and_then(|_| self.let_go()).and_then(|_| self.drain_index(&self.crew().add(INDEX, None)));
        sealed.and(rest.map(|_| ()))
    }

    fn let_go(&self) -> Result<Step> {
        let collected = self.store().collect()?;
        Ok(if collected > 0 { Step::More(collected as u64) } else { Step::Nothing })
    }

    /// Moves changes into the index engine.
    fn drain_index(&self, worker: &Worker) -> Result<Step> {
        let store = self.store();
        let now = self.clock().monotonic_nanos();
        Ok(match store.index().drain_step(now, store.durable()).map_err(ContentError::Index)? {
            Drained::Waiting { bound } => {
                // In a relaxed store nothing becomes durable by itself, and the engine may hold only durable changes.
                worker.waits_for("changes to be durable");
                let waited = store.wait(bound, strata_content::Class::Durable);
                worker.goes_on();
                waited?;
                Step::More(0)
            }
            Drained::Batch { keys } => Step::More(keys as u64),
            // A part of what was not read since the opening was verified, and there may be more.
            Drained::Verified => Step::More(0),
            Drained::Idle | Drained::Frozen | Drained::Done { .. } => Step::Nothing,
        })
    }
}

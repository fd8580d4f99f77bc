//! The keeper: a thread of the server that looks after the disks. It takes back disks that are well again, heals what they
//! lack, and scrubs from time to time, at a pace that leaves the disks to those who work with them.
//!
//! Invariants: one pass at a time, and a heal goes before a scrub. A scrub's place is kept in the store, so a restart goes
//! on where it was. Nothing here decides what a disk is: that is the ledger's.

#![allow(clippy::disallowed_methods, reason = "people and media wait by real time; nothing stored depends on it")]

mod looks;
pub(crate) mod messages;
mod record;
mod state;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::{Condvar, Mutex};
use strata_namespace::{Caller, Op, STORE};
use strata_runtime::{DiskState, Report, Runtime, Sets, Status};
use strata_seam::{Duty, Pace, Position, Worker};

use messages::{KeeperStatus, PassEnd, ScrubAction, ScrubPlace, ScrubRequest, ScrubStatus};
use record::{ScrubRecord, position};

use crate::config::ScrubSettings;
use crate::control::Tell;
use crate::control::messages::{Answer, Progress};
use crate::disks::Disks;
use crate::passes::messages::{Kind, PassProgress, PassSummary};
use crate::passes::{self, BEGINNING};

/// The workers that the keeper is.
const DISKS: Duty = Duty { name: "disks", does: "takes back disks that are well again", unit: "disks" };
const HEAL: Duty = Duty { name: "heal", does: "writes what disks lack", unit: "bytes" };
const SCRUB: Duty = Duty { name: "scrub", does: "reads every frame and mends damaged ones", unit: "bytes" };
/// How often disks are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long after a heal that left something undone the next one is begun by itself.
const HEAL_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// How long after a pass that could not run it is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often a scrub's place is kept: what a crash costs.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// How often progress of a pass is reported to those who watch it.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// The setting that holds the scrub's place.
const SETTING: &str = "scrub";

#[derive(Default)]
struct State {
    /// Heals asked for, and how many of those are done.
    heals_wanted: u64,
    heals_done: u64,
    /// Scrubs asked for, and how many of those are done.
    scrubs_wanted: u64,
    scrubs_done: u64,
    /// What the last heal and the last scrub ended with.
    last_heal: Option<PassEnd>,
    last_scrub: Option<PassEnd>,
    /// The pass under way.
    running: Option<PassProgress>,
    scrub: ScrubRecord,
    /// What the scrub under way found before it was interrupted.
    scrubbed: Option<Report>,
}

/// A worker that goes by a pace.
struct Paced {
    pace: Arc<Pace>,
    worker: Arc<Worker>,
}

/// The keeper of the disks of a serving process.
pub(crate) struct Keeper {
    runtime: Arc<Runtime>,
    settings: ScrubSettings,
    folders: Mutex<Vec<PathBuf>>,
    disks: Arc<Disks>,
    /// The store's folder.
    data: PathBuf,
    /// The sets and their disks at the last look.
    seen: Mutex<Option<Status>>,
    state: Mutex<State>,
    wake: Condvar,
    stopping: AtomicBool,
    looks: Arc<Worker>,
    heals: Paced,
    scrubs: Paced,
    /// Disks whose refusal was logged.
    complained: Mutex<HashSet<PathBuf>>,
}

impl Keeper {
    /// A keeper of the disks in `folders`; [`Keeper::start`] sets it to work.
    pub(crate) fn new(
        runtime: &Arc<Runtime>,
        settings: ScrubSettings,
        folders: Vec<PathBuf>,
        disks: Arc<Disks>,
    ) -> Arc<Self> {
        let crew = runtime.crew();
        let paced = |duty| {
            let pace = Arc::new(Pace::new(0));
            Paced { worker: crew.add(duty, Some(Arc::clone(&pace))), pace }
        };
        let keeper = Self {
            looks: crew.add(DISKS, None),
            heals: paced(HEAL),
            scrubs: paced(SCRUB),
            runtime: Arc::clone(runtime),
            settings,
            folders: Mutex::new(folders),
            data: disks.data().to_owned(),
            disks,
            seen: Mutex::default(),
            state: Mutex::default(),
            wake: Condvar::new(),
            stopping: AtomicBool::new(false),
            complained: Mutex::default(),
        };
        let record = keeper.load();
        keeper.scrubs.pace.set(record.pace.unwrap_or(keeper.settings.pace));
        keeper.scrubs.worker.set_paused(record.paused);
        keeper.state.lock().scrub = record;
        Arc::new(keeper)
    }

    fn of(&self, kind: Kind) -> &Paced {
        match kind {
            Kind::Heal => &self.heals,
            Kind::Scrub => &self.scrubs,
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(self: &Arc<Self>) -> anyhow::Result<std::thread::JoinHandle<()>> {
        let keeper = Arc::clone(self);
        std::thread::Builder::new()
            .name("strata-keeper".to_owned())
            .spawn(move || keeper.work())
            .context("the keeper's thread cannot be started")
    }

    /// Ends the pass under way and the thread.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let state = self.state.lock();
        if let Some(running) = &state.running {
            self.of(running.pass).pace.stop();
        }
        self.wake.notify_all();
    }

    /// Whether the server is on its way down.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Where the disks are.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        self.folders.lock().clone()
    }

    /// The disks are elsewhere from now on.
    pub(crate) fn set_folders(&self, folders: Vec<PathBuf>) {
        *self.folders.lock() = folders;
    }

    fn sets(&self) -> Sets {
        self.runtime.sets()
    }

    fn work(&self) {
        self.begin_to_count();
        let mut not_before: [Option<Instant>; 2] = [None, None];
        while !self.is_stopping() {
            self.look_after_disks();
            for (slot, kind) in [(0, Kind::Heal), (1, Kind::Scrub)] {
                let due = not_before[slot].is_none_or(|at| Instant::now() >= at);
                let Some(asked) = self.wanted(kind, due) else { continue };
                let again = match self.pass(kind, asked) {
                    Ok(true) => {
                        self.of(kind).worker.well();
                        None
                    }
                    Ok(false) => {
                        // The pass has reported it.
                        let _ = self.of(kind).worker.failed(&"some frames cannot be written anew", HEAL_AGAIN_AFTER);
                        Some(HEAL_AGAIN_AFTER)
                    }
                    Err(error) => {
                        let error = format!("{error:#}");
                        if self.of(kind).worker.failed(&error, TRY_AGAIN_AFTER) {
                            tracing::warn!(error, pass = kind.word(), "a pass over the log failed; it is tried again");
                        }
                        self.state.lock().answer(kind, asked, PassEnd::Failed { error });
                        Some(TRY_AGAIN_AFTER)
                    }
                };
                not_before[slot] = again.map(|wait| Instant::now() + wait);
                break;
            }
            let mut state = self.state.lock();
            if !self.is_stopping() && state.wanted_now().is_none() {
                self.wake.wait_for(&mut state, LOOK_EVERY);
            }
        }
    }

    /// A store that was never scrubbed is due an interval after it was first served, however often it starts in between.
    fn begin_to_count(&self) {
        let record = {
            let mut state = self.state.lock();
            if state.scrub.ended.is_some() {
                return;
            }
            state.scrub.ended = Some(self.seconds());
            state.scrub.clone()
        };
        self.keep(&record);
    }

    /// Whether a pass is to be run: with the number of the newest request for it.
    fn wanted(&self, kind: Kind, due: bool) -> Option<u64> {
        let state = self.state.lock();
        match kind {
            Kind::Heal if state.heals_wanted > state.heals_done => Some(state.heals_wanted),
            Kind::Heal => (due && self.lacks_frames()).then_some(state.heals_done),
            Kind::Scrub if state.scrub.paused => None,
            Kind::Scrub if state.scrubs_wanted > state.scrubs_done => Some(state.scrubs_wanted),
            Kind::Scrub => {
                let interval = self.settings.interval?;
                let now = self.seconds();
                let since = state.scrub.ended.unwrap_or(now);
                let begun = state.scrub.at.is_some();
                (due && (begun || now.saturating_sub(since) >= interval.as_secs())).then_some(state.scrubs_done)
            }
        }
    }

    /// Whether a disk that takes part lacks frames.
    fn lacks_frames(&self) -> bool {
        let status = self.sets().status();
        status.read_only.is_none() && status.disks.iter().any(|disk| disk.state == DiskState::Stale)
    }

    /// Runs a pass; whether it left nothing to do again soon.
    fn pass(&self, kind: Kind, asked: u64) -> anyhow::Result<bool> {
        let Paced { pace, worker } = self.of(kind);
        let from = {
            let mut state = self.state.lock();
            if kind == Kind::Scrub && state.scrub.paused {
                return Ok(true);
            }
            pace.resume();
            state.running = Some(PassProgress::beginning(kind));
            match kind {
                // A heal that was asked for must prove every object; a heal by itself does what is to be done.
                Kind::Heal => (asked > state.heals_done).then_some(BEGINNING),
                Kind::Scrub => {
                    if state.scrub.at.is_none() {
                        let ScrubRecord { ended, paused, pace, .. } = state.scrub.clone();
                        let began = Some(self.seconds());
                        state.scrub = ScrubRecord { ended, paused, pace, began, ..ScrubRecord::default() };
                    }
                    state.scrub.at.map(position)
                }
            }
        };
        let round = worker.begin(None);
        tracing::info!(pass = kind.word(), "a pass over the log begins");
        let began = Instant::now();
        let ran = self.run(kind, from);
        let ended = ran.and_then(|mut outcome| {
            let part = outcome.report.clone();
            if kind == Kind::Scrub
                && let Some(earlier) = self.state.lock().scrubbed.take()
            {
                outcome.report.add_earlier(&earlier);
            }
            let mut summary = PassSummary::of(kind, &outcome, began.elapsed());
            if kind == Kind::Heal && outcome.report.finished {
                summary.proof = Some(passes::objects(&self.runtime, &outcome, &mut || !self.is_stopping())?);
            }
            Ok((outcome, part, summary))
        });
        drop(round);
        let mut state = self.state.lock();
        state.running = None;
        let (outcome, part, summary) = ended?;
        let finished = outcome.report.finished;
        if kind == Kind::Scrub {
            state.scrub.note(&part);
            state.scrubbed = (!finished).then(|| outcome.report.clone());
            if finished {
                state.scrub.at = None;
                state.scrub.ended = Some(self.seconds());
            }
            let record = state.scrub.clone();
            drop(state);
            self.keep(&record);
            state = self.state.lock();
        }
        tracing::info!(
            pass = kind.word(),
            finished,
            stripes = outcome.report.stripes,
            degraded = outcome.report.degraded(),
            unreadable = outcome.report.unreadable_count,
            "a pass over the log ended"
        );
        for disk in outcome.report.disks.iter().filter(|disk| kind == Kind::Scrub && disk.damaged + disk.healed > 0) {
            let (damaged, missing, healed) = (disk.damaged, disk.missing, disk.healed);
            tracing::warn!(
                disk = disk.label,
                damaged,
                missing,
                healed,
                "a scrub found frames that were not as written"
            );
        }
        if finished || self.is_stopping() || (kind == Kind::Scrub && state.scrub.paused) {
            state.answer(kind, asked, PassEnd::Ended(Box::new(summary)));
        }
        self.wake.notify_all();
        // What was interrupted goes on at once; what a heal could not mend will not be there in a moment either.
        Ok(kind == Kind::Scrub || !finished || outcome.report.is_whole())
    }

    fn run(&self, kind: Kind, from: Option<Position>) -> anyhow::Result<passes::Outcome> {
        let Paced { pace, worker } = self.of(kind);
        let (mut told, mut looked, mut kept) = (Instant::now(), Instant::now(), Instant::now());
        let before = self.state.lock().scrub.clone();
        passes::run(&self.runtime.sets(), kind, from, pace, &mut |progress| {
            let now = Instant::now();
            worker.reach(progress.done_bytes, Some(progress.total_bytes));
            if now - told >= TELL_EVERY {
                told = now;
                self.state.lock().running = Some(PassProgress::of(kind, progress, pace.bytes_per_second()));
            }
            if now - looked >= LOOK_EVERY {
                looked = now;
                self.look_after_disks();
                let heal_first = || self.lacks_frames() || self.state.lock().heals_pending();
                if kind == Kind::Scrub && heal_first() {
                    return false;
                }
            }
            if kind == Kind::Scrub && now - kept >= KEEP_EVERY {
                kept = now;
                let mut record = before.clone();
                record.note(progress.report);
                let current = self.state.lock().scrub.clone();
                self.keep(&ScrubRecord { paused: current.paused, pace: current.pace, ..record });
            }
            !self.is_stopping()
        })
    }

    /// Asks for a heal of everything, and calls `progress` until it ended. Leaving the call early does not end the heal.
    ///
    /// # Errors
    /// The server stops, or the heal could not run.
    pub(crate) fn heal(&self, progress: Tell<'_>) -> anyhow::Result<PassSummary> {
        let first = self.heal_once(progress)?;
        // A disk that was set aside and taken back while the pass ran lacks what was written in between.
        let health = self.runtime.health();
        let again = first.degraded > 0 && health.disks_active == health.disks;
        if again { self.heal_once(progress) } else { Ok(first) }
    }

    fn heal_once(&self, progress: Tell<'_>) -> anyhow::Result<PassSummary> {
        let number = {
            let mut state = self.state.lock();
            state.heals_wanted += 1;
            if state.runs(Kind::Scrub) {
                self.scrubs.pace.stop();
            }
            self.wake.notify_all();
            state.heals_wanted
        };
        self.watch(Kind::Heal, progress, |state| state.heals_done >= number)
    }

    /// Lets disks be healed without anybody watching.
    pub(crate) fn heal_soon(&self) {
        self.wake.notify_all();
    }

    /// Carries out what `strata scrub` asks.
    ///
    /// # Errors
    /// As for [`Keeper::heal`].
    pub(crate) fn scrub(&self, request: ScrubRequest, progress: Tell<'_>) -> anyhow::Result<Answer> {
        let number = {
            let mut state = self.state.lock();
            if let Some(rate) = request.pace {
                state.scrub.pace = Some(rate);
                self.scrubs.pace.set(rate);
            }
            match request.action {
                ScrubAction::Pause => {
                    state.scrub.paused = true;
                    if state.runs(Kind::Scrub) {
                        self.scrubs.pace.stop();
                    }
                }
                ScrubAction::Resume => state.scrub.paused = false,
                ScrubAction::Run => {
                    state.scrub.paused = false;
                    state.scrubs_wanted += 1;
                }
            }
            self.scrubs.worker.set_paused(state.scrub.paused);
            self.wake.notify_all();
            state.scrubs_wanted
        };
        let record = self.state.lock().scrub.clone();
        self.keep(&record);
        match request.action {
            ScrubAction::Run => Ok(self.watch(Kind::Scrub, progress, |state| state.scrubs_done >= number)?.into()),
            ScrubAction::Pause | ScrubAction::Resume => Ok(self.status().scrub.into()),
        }
    }

    fn watch(&self, kind: Kind, progress: Tell<'_>, done: impl Fn(&State) -> bool) -> anyhow::Result<PassSummary> {
        loop {
            let mut state = self.state.lock();
            if done(&state) {
                let last = if kind == Kind::Heal { &state.last_heal } else { &state.last_scrub };
                return match last.clone().context("the result of the pass is not kept any more; start it again")? {
                    PassEnd::Failed { error } => Err(anyhow::anyhow!("{error}")),
                    PassEnd::Ended(summary) => Ok(*summary),
                };
            }
            anyhow::ensure!(
                !self.is_stopping(),
                "the server is stopping; the {} goes on when it runs again",
                kind.word()
            );
            self.wake.wait_for(&mut state, TELL_EVERY);
            let now = state.running.clone().filter(|running| running.pass == kind);
            drop(state);
            if let Some(now) = now {
                anyhow::ensure!(progress(Progress::Pass(now)), "the command has ended; the {} goes on", kind.word());
            }
        }
    }

    /// For `strata status`: the pass under way, the last heal, and the scrub.
    pub(crate) fn status(&self) -> KeeperStatus {
        let state = self.state.lock();
        let scrub = &state.scrub;
        let next =
            self.settings.interval.filter(|_| !scrub.paused).and_then(|every| Some(scrub.ended? + every.as_secs()));
        KeeperStatus {
            running: state.running.clone(),
            last_heal: state.last_heal.clone(),
            scrub: ScrubStatus {
                paused: scrub.paused,
                bytes_per_second_max: scrub.pace.unwrap_or(self.settings.pace),
                interval_seconds: self.settings.interval.map(|every| every.as_secs()),
                began: scrub.began,
                ended: scrub.ended.filter(|_| scrub.began.is_some() && scrub.at.is_none()),
                next,
                at: scrub.at.map(|(segment, byte, _)| ScrubPlace { segment, byte }),
                damaged: scrub.damaged,
                healed: scrub.healed,
                unreadable: scrub.unreadable,
            },
        }
    }

    fn seconds(&self) -> u64 {
        u64::try_from(self.runtime.namespace().now().0 / 1_000_000_000).unwrap_or(0)
    }

    fn load(&self) -> ScrubRecord {
        let kept = self.runtime.namespace().setting(&Op::new(Caller::root(&STORE)), SETTING);
        kept.ok().flatten().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn keep(&self, record: &ScrubRecord) {
        let kept = serde_json::to_vec(record).map_err(anyhow::Error::new).and_then(|text| {
            let op = Op::new(Caller::root(&STORE));
            self.runtime.namespace().put_setting(&op, SETTING, Some(&text)).map_err(anyhow::Error::new)
        });
        if let Err(error) = kept {
            tracing::warn!(error = format!("{error:#}"), "the scrub's place could not be kept; it may begin again");
        }
    }
}

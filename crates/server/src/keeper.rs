//! The keeper: a thread of the server that looks after the disks. It takes back disks that are well again, heals what they
//! lack, and scrubs from time to time, at a pace that leaves the disks to those who work with them.
//!
//! Invariants: one pass at a time, and a heal goes before a scrub. A scrub's place is kept in the store, so a restart goes
//! on where it was. Nothing here decides what a disk is: that is the ledger's.

#![allow(clippy::disallowed_methods, reason = "people and media wait by real time; nothing stored depends on it")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strata_disk::FileDisk;
use strata_ledger::{DiskState, DiskStatus, Ledger, Pace, Report, Status};
use strata_namespace::{Caller, Door, Namespace, Op};
use strata_seam::{Disk, Lsn, Position, SegmentId};

use crate::config::{Remembered, ScrubSettings};
use crate::control::Progress;
use crate::disks::Disks;
use crate::passes::{self, BEGINNING, Kind};

/// How often disks are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long after a heal that left something undone the next one is begun by itself.
const HEAL_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// How long after a pass that could not run it is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often a scrub's place is kept: what a crash costs.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// How often those who watch a pass are told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// The setting that holds the scrub's place.
const SETTING: &str = "scrub";

/// What `strata scrub` asks.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ScrubRequest {
    /// Bytes per second from now on, 0 for no limit; kept.
    pub(crate) pace: Option<u64>,
    /// What to do.
    pub(crate) action: ScrubAction,
}

/// What to do with the scrub.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ScrubAction {
    /// Begin, or go on where the last one was, and watch it to its end.
    Run,
    /// Stop, and do not begin by itself until resumed.
    Pause,
    /// Go on, now or when it is due.
    Resume,
}

/// What is known of the scrub across restarts. Times are seconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ScrubRecord {
    /// Where the one under way is: segment, byte, sequence number.
    at: Option<(u32, u64, u64)>,
    /// When it began.
    began: Option<u64>,
    /// When the last one came to its end, or when the first one was put off from.
    ended: Option<u64>,
    paused: bool,
    /// Bytes per second, where the operator asked for other than the setting.
    pace: Option<u64>,
    /// What the one under way, or the last one, found and mended.
    damaged: u64,
    healed: u64,
    unreadable: u64,
}

#[derive(Default)]
struct State {
    /// Heals asked for, and how many of those are done.
    heals_wanted: u64,
    heals_done: u64,
    /// Scrubs asked for, and how many of those are done.
    scrubs_wanted: u64,
    scrubs_done: u64,
    /// What the last heal and the last scrub ended with.
    last_heal: Option<Value>,
    last_scrub: Option<Value>,
    /// The pass under way.
    running: Option<(Kind, Arc<Pace>, Value)>,
    scrub: ScrubRecord,
    /// What the scrub under way found before it was interrupted.
    scrubbed: Option<Report>,
}

/// See the module.
pub(crate) struct Keeper {
    namespace: Arc<Namespace>,
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
    /// Disks whose refusal was logged.
    complained: Mutex<HashSet<PathBuf>>,
}

impl Keeper {
    /// A keeper of the disks in `folders`; [`Keeper::start`] sets it to work.
    pub(crate) fn new(
        namespace: &Arc<Namespace>,
        settings: ScrubSettings,
        folders: Vec<PathBuf>,
        disks: Arc<Disks>,
    ) -> Arc<Self> {
        let keeper = Self {
            namespace: Arc::clone(namespace),
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
        keeper.state.lock().scrub = keeper.load();
        Arc::new(keeper)
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
        if let Some((_, pace, _)) = &state.running {
            pace.stop();
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

    fn ledger(&self) -> &Arc<Ledger> {
        self.namespace.store().ledger()
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
                    Ok(true) => None,
                    Ok(false) => Some(HEAL_AGAIN_AFTER),
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), pass = kind.word(), "a pass over the log failed");
                        self.state.lock().answer(kind, asked, json!({ "error": format!("{error:#}") }));
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
        let status = self.ledger().status();
        status.read_only.is_none() && status.disks.iter().any(|disk| disk.state == DiskState::Stale)
    }

    /// Runs a pass; whether it left nothing to do again soon.
    fn pass(&self, kind: Kind, asked: u64) -> anyhow::Result<bool> {
        let (from, pace) = {
            let mut state = self.state.lock();
            let pace = Arc::new(Pace::new(match kind {
                Kind::Heal => 0,
                Kind::Scrub => state.scrub.pace.unwrap_or(self.settings.pace),
            }));
            state.running = Some((kind, Arc::clone(&pace), json!({ "pass": kind.word() })));
            let from = match kind {
                // Asked for, it is to prove every object; by itself, it does what is to be done.
                Kind::Heal => (asked > state.heals_done).then_some(BEGINNING),
                Kind::Scrub => {
                    if state.scrub.at.is_none() {
                        let ScrubRecord { ended, paused, pace, .. } = state.scrub.clone();
                        let began = Some(self.seconds());
                        state.scrub = ScrubRecord { ended, paused, pace, began, ..ScrubRecord::default() };
                    }
                    state.scrub.at.map(position)
                }
            };
            (from, pace)
        };
        tracing::info!(pass = kind.word(), "a pass over the log begins");
        let began = Instant::now();
        let ran = self.run(kind, from, &pace);
        let ended = ran.and_then(|mut outcome| {
            let part = outcome.report.clone();
            if kind == Kind::Scrub
                && let Some(earlier) = self.state.lock().scrubbed.take()
            {
                outcome.report.add_earlier(&earlier);
            }
            let mut value = passes::summary(kind, &outcome, began.elapsed());
            if kind == Kind::Heal && outcome.report.finished {
                value["proof"] = passes::objects(&self.namespace, &outcome, &mut || !self.is_stopping())?;
            }
            Ok((outcome, part, value))
        });
        let mut state = self.state.lock();
        state.running = None;
        let (outcome, part, value) = ended?;
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
            state.answer(kind, asked, value);
        }
        self.wake.notify_all();
        // What was interrupted goes on at once; what a heal could not mend will not be there in a moment either.
        Ok(kind == Kind::Scrub || !finished || outcome.report.is_whole())
    }

    fn run(&self, kind: Kind, from: Option<Position>, pace: &Arc<Pace>) -> anyhow::Result<passes::Outcome> {
        let (mut told, mut looked, mut kept) = (Instant::now(), Instant::now(), Instant::now());
        let before = self.state.lock().scrub.clone();
        passes::run(&self.namespace, kind, from, pace, &mut |progress| {
            let now = Instant::now();
            if now - told >= TELL_EVERY {
                told = now;
                let value = passes::progress(kind, progress, pace.bytes_per_second());
                if let Some(running) = &mut self.state.lock().running {
                    running.2 = value;
                }
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

    /// Forgets where the disks of sets are that have left the store since the last look.
    fn forget_released(&self) {
        let now = self.ledger().status();
        let Some(before) = self.seen.lock().replace(now.clone()) else { return };
        if before.sets.iter().all(|set| now.sets.iter().any(|other| other.set == set.set)) {
            return;
        }
        let folders = crate::sets::without_released(&before, &now, self.folders());
        let kept = Remembered::of(self.ledger(), folders.clone(), &self.data).map_err(anyhow::Error::from);
        if let Err(error) = kept.and_then(|kept| kept.save(&self.data)) {
            tracing::warn!(error = format!("{error:#}"), "the folders of a set that left could not be forgotten");
        }
        self.disks.let_go_of_unused(self.ledger(), &folders);
        self.set_folders(folders);
    }

    /// Takes back disks that are well again, and such as have returned.
    fn look_after_disks(&self) {
        self.forget_released();
        let ledger = self.ledger();
        match ledger.tend() {
            Ok(back) if !back.is_empty() => tracing::info!(places = ?back, "disks that were set aside take part again"),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the disks cannot be looked after"),
        }
        let status = ledger.status();
        if !status.disks.iter().any(|disk| matches!(disk.state, DiskState::Gone | DiskState::Missing)) {
            return;
        }
        for folder in self.folders() {
            // Asked anew each time: with a quorum that is back, several disks are.
            let is_used = |disk: &DiskStatus| {
                Path::new(&disk.label) == folder && !matches!(disk.state, DiskState::Gone | DiskState::Missing)
            };
            if ledger.status().disks.iter().any(is_used) {
                continue;
            }
            let Ok(disk) = FileDisk::open(&folder) else { continue };
            let disk: Arc<dyn Disk> = Arc::new(disk);
            // A blank one is a forgotten mount as often as a new disk: somebody has to say which.
            if !matches!(Ledger::find(std::slice::from_ref(&disk)), Ok(Some(set)) if set == status.set)
                || Ledger::is_taken_out(&*disk)
            {
                continue;
            }
            match ledger.rejoin(disk) {
                Ok(joined) => {
                    self.complained.lock().remove(&folder);
                    tracing::info!(disk = %folder.display(), place = joined.place.0, "a disk is back");
                }
                Err(error) if self.complained.lock().insert(folder.clone()) => {
                    tracing::warn!(disk = %folder.display(), %error, "a disk is back and cannot take part");
                }
                Err(_) => {}
            }
        }
    }

    /// Asks for a heal of everything, and tells `progress` until it ended. Going away does not end it.
    ///
    /// # Errors
    /// The server stops, or the heal could not run.
    pub(crate) fn heal(&self, progress: Progress<'_>) -> anyhow::Result<Value> {
        let first = self.heal_once(progress)?;
        // A disk that was set aside and taken back while the pass ran lacks what was written in between.
        let health = self.namespace.health();
        let again = first["degraded"].as_u64() > Some(0) && health.disks_active == health.disks;
        if again { self.heal_once(progress) } else { Ok(first) }
    }

    fn heal_once(&self, progress: Progress<'_>) -> anyhow::Result<Value> {
        let number = {
            let mut state = self.state.lock();
            state.heals_wanted += 1;
            if let Some((Kind::Scrub, pace, _)) = &state.running {
                pace.stop();
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
    pub(crate) fn scrub(&self, request: ScrubRequest, progress: Progress<'_>) -> anyhow::Result<Value> {
        let number = {
            let mut state = self.state.lock();
            let running = match &state.running {
                Some((Kind::Scrub, pace, _)) => Some(Arc::clone(pace)),
                _ => None,
            };
            if let Some(rate) = request.pace {
                state.scrub.pace = Some(rate);
                running.iter().for_each(|pace| pace.set(rate));
            }
            match request.action {
                ScrubAction::Pause => {
                    state.scrub.paused = true;
                    running.iter().for_each(|pace| pace.stop());
                }
                ScrubAction::Resume => state.scrub.paused = false,
                ScrubAction::Run => {
                    state.scrub.paused = false;
                    state.scrubs_wanted += 1;
                }
            }
            self.wake.notify_all();
            state.scrubs_wanted
        };
        let record = self.state.lock().scrub.clone();
        self.keep(&record);
        match request.action {
            ScrubAction::Run => self.watch(Kind::Scrub, progress, |state| state.scrubs_done >= number),
            ScrubAction::Pause | ScrubAction::Resume => Ok(self.status()["scrub"].clone()),
        }
    }

    fn watch(&self, kind: Kind, progress: Progress<'_>, done: impl Fn(&State) -> bool) -> anyhow::Result<Value> {
        loop {
            let mut state = self.state.lock();
            if done(&state) {
                let last = if kind == Kind::Heal { &state.last_heal } else { &state.last_scrub };
                let value = last.clone().unwrap_or(Value::Null);
                return match value["error"].as_str() {
                    Some(error) => Err(anyhow::anyhow!("{error}")),
                    None => Ok(value),
                };
            }
            anyhow::ensure!(
                !self.is_stopping(),
                "the server is stopping; the {} goes on when it runs again",
                kind.word()
            );
            self.wake.wait_for(&mut state, TELL_EVERY);
            let now = state.running.as_ref().filter(|running| running.0 == kind).map(|running| running.2.clone());
            drop(state);
            if let Some(now) = now {
                anyhow::ensure!(progress(now), "nobody watches any more; the {} goes on", kind.word());
            }
        }
    }

    /// For `strata status`: the pass under way, the last heal, and the scrub.
    pub(crate) fn status(&self) -> Value {
        let state = self.state.lock();
        let scrub = &state.scrub;
        let next =
            self.settings.interval.filter(|_| !scrub.paused).and_then(|every| Some(scrub.ended? + every.as_secs()));
        json!({
            "running": state.running.as_ref().map(|running| &running.2),
            "last_heal": state.last_heal,
            "scrub": {
                "paused": scrub.paused,
                "bytes_per_second_max": scrub.pace.unwrap_or(self.settings.pace),
                "interval_seconds": self.settings.interval.map(|every| every.as_secs()),
                "began": scrub.began,
                "ended": scrub.ended.filter(|_| scrub.began.is_some() && scrub.at.is_none()),
                "next": next,
                "at": scrub.at.map(|(segment, byte, _)| json!({ "segment": segment, "byte": byte })),
                "damaged": scrub.damaged,
                "healed": scrub.healed,
                "unreadable": scrub.unreadable,
            },
        })
    }

    fn seconds(&self) -> u64 {
        u64::try_from(self.namespace.now().0 / 1_000_000_000).unwrap_or(0)
    }

    fn load(&self) -> ScrubRecord {
        let kept = self.namespace.setting(&Op::new(Caller::root(Door::Admin)), SETTING);
        kept.ok().flatten().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn keep(&self, record: &ScrubRecord) {
        let kept = serde_json::to_vec(record).map_err(anyhow::Error::new).and_then(|text| {
            let op = Op::new(Caller::root(Door::Admin));
            self.namespace.put_setting(&op, SETTING, Some(&text)).map_err(anyhow::Error::new)
        });
        if let Err(error) = kept {
            tracing::warn!(error = format!("{error:#}"), "the scrub's place could not be kept; it may begin again");
        }
    }
}

impl State {
    fn heals_pending(&self) -> bool {
        self.heals_wanted > self.heals_done
    }

    fn wanted_now(&self) -> Option<Kind> {
        match self.heals_pending() {
            true => Some(Kind::Heal),
            false => (!self.scrub.paused && self.scrubs_wanted > self.scrubs_done).then_some(Kind::Scrub),
        }
    }

    fn answer(&mut self, kind: Kind, asked: u64, value: Value) {
        match kind {
            Kind::Heal => (self.heals_done, self.last_heal) = (asked, Some(value)),
            Kind::Scrub => (self.scrubs_done, self.last_scrub) = (asked, Some(value)),
        }
    }
}

impl ScrubRecord {
    /// Adds what a stretch of the pass found.
    fn note(&mut self, report: &Report) {
        self.at = Some((report.next.segment.0, report.next.offset, report.next.next_lsn.0));
        self.damaged += report.disks.iter().map(|disk| disk.damaged + disk.missing).sum::<u64>();
        self.healed += report.disks.iter().map(|disk| disk.healed).sum::<u64>();
        self.unreadable += report.unreadable_count;
    }
}

fn position((segment, offset, next_lsn): (u32, u64, u64)) -> Position {
    Position { segment: SegmentId(segment), offset, next_lsn: Lsn(next_lsn) }
}

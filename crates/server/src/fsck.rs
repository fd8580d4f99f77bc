//! `strata fsck`: checks the invariants of a store, beside the server that runs on it or at rest.
//!
//! At rest it also rebuilds the index from the log and compares it with the one on disk, reads every byte of every frame and hashes
//! every chunk. Without `--repair` it changes nothing: the disks are opened so that writes to them are forgotten, and the index is a
//! copy. With `--repair` it shows what it would do, and does it after a confirmation.
//!
//! Exit codes: 0 every invariant that is checked holds (after the repair, if one was made); 1 one does not, or the check failed; 5 the
//! check was ended before it was complete.

pub(crate) mod messages;
mod report;

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use parking_lot::Mutex;
use strata_check::{
    Affected, CheckOptions, CheckProgress, CheckReport, RepairStep, Repaired, affected_by, check, repair, repair_plan,
    unreadable_chunks,
};
use strata_namespace::Namespace;
use strata_runtime::{BroughtUp, PassOptions, Report, Runtime, TruthReport, compare_indexes};
use strata_seam::{Clock, Duty, Pace, Share, SystemClock, SystemEntropy, Worker};

use crate::bar;
use crate::config::StoreConfig;
use crate::control::messages::{Progress, Request};
use crate::control::{self, Tell};
use crate::greeting::{say, say_json};
use crate::lock::StoreLock;
use crate::passes::messages::Kind;
use crate::passes::{self, BEGINNING};
use crate::store::OpenStore;

use messages::{CheckAt, Checked, RepairShown, StepShown};
use report::plan_in_words;

/// The check beside a server, as it is shown.
const CHECK: Duty = Duty { name: "check", does: "checks the records of the store", unit: "records" };
/// What it may spend of the time while others are served.
const CHECK_SHARE: Share = Share(2);
/// Folder for the copy of the index, within the store's folder.
const SCRATCH: &str = "fsck.scratch";

/// How `strata fsck` is run.
#[derive(Clone, Copy)]
pub(crate) struct FsckOptions {
    /// Print JSON.
    pub(crate) json: bool,
    /// Beside a server, also read every chunk.
    pub(crate) contents: bool,
    /// Plan a repair, and make it.
    pub(crate) repair: bool,
    /// Without asking.
    pub(crate) yes: bool,
}

/// `strata fsck`.
///
/// # Errors
/// No store, or one so damaged that it does not open.
pub(crate) fn run(config: &StoreConfig, options: FsckOptions) -> anyhow::Result<ExitCode> {
    let bar = bar::line(options.json);
    if let Some(pid) = StoreLock::holder(&config.data) {
        ensure!(
            !options.repair,
            "a server (pid {pid}) runs on {}; a repair needs a store that no server has open; stop the server first",
            config.data.display()
        );
        let request = Request::Fsck { contents: options.contents };
        let found: Checked = control::ask_watching(&config.data, &request, &mut |far| bar::show(&bar, far))?;
        bar.finish_and_clear();
        return found.show(options.json);
    }
    let mut lock = StoreLock::of_existing(&config.data)?;
    let found = at_rest(config, &mut lock, &bar)?;
    bar.finish_and_clear();
    if !options.repair {
        return found.shown.show(options.json);
    }
    let plan = found.plan();
    let mut shown = found.shown.clone();
    shown.plan = Some(plan.iter().map(StepShown::from).collect());
    if plan.iter().all(|step| !step.changes) {
        return shown.show(options.json);
    }
    if !options.json {
        say(&shown.in_words());
        say(&plan_in_words(&plan));
    }
    if !options.yes && !confirmed(options.json)? {
        if options.json {
            return shown.show(true);
        }
        say("nothing was changed\n");
        return Ok(ExitCode::FAILURE);
    }
    let repaired = mend(config, &mut lock, found, &bar)?;
    let after = at_rest(config, &mut lock, &bar)?;
    bar.finish_and_clear();
    if options.json {
        let Repaired { done, failed, .. } = repaired;
        shown.repaired = Some(RepairShown { done, failed, after: Box::new(after.shown.clone()) });
        say_json(&shown)?;
    } else {
        repaired.done.iter().for_each(|done| say(&format!("done: {done}\n")));
        repaired.failed.iter().for_each(|failed| say(&format!("not done: {failed}\n")));
        say(&after.shown.in_words());
    }
    Ok(after.shown.code())
}

/// What the check of a store at rest found.
struct Found {
    records: CheckReport,
    affected: Vec<Affected>,
    frames: Report,
    truth: TruthReport,
    shown: Checked,
}

impl Found {
    fn plan(&self) -> Vec<RepairStep> {
        let mut plan = Vec::new();
        for wrong in of_frames(&self.frames) {
            let lost = wrong.contains("neither be read");
            let action = if lost {
                "leave it: the content concerned is named below"
            } else {
                "write them anew from the other disks"
            };
            plan.push(RepairStep { wrong, action: action.to_owned(), changes: !lost });
        }
        for wrong in self.truth.violations() {
            let action = "set the index aside and build it anew from the log".to_owned();
            plan.push(RepairStep { wrong, action, changes: true });
        }
        plan.extend(repair_plan(&self.records, &self.affected));
        plan
    }
}

/// Checks a store that nobody serves, without changing a byte of it.
fn at_rest(config: &StoreConfig, lock: &mut StoreLock, bar: &ProgressBar) -> anyhow::Result<Found> {
    let scratch = Scratch::new(&config.data)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    bar.set_message("building the index anew from the log");
    let index = config.data.join("index");
    copy_folder(&index, &scratch.path("left"))?;
    let as_left = OpenStore::to_look(config, Some(scratch.path("left")), lock)?;
    let anew = OpenStore::to_look(config, Some(scratch.path("anew")), lock)?;
    let truth = compare_with_log(&as_left, &anew, &clock, bar)
        .map_err(anyhow::Error::new)
        .context("HASH or TRUTH: the log cannot be replayed")?;
    drop((as_left, anew));
    // The index that agrees with the log is checked.
    let checked = if truth.violations().is_empty() { "left" } else { "anew" };
    let store = OpenStore::open_to_look_at(config, Some(scratch.path(checked)), lock)?;
    // One thread reads the bytes on the disks, the other checks what they mean: in parallel they use two cores.
    let (sets, namespace) = (store.sets(), store.namespace());
    let (frames, records) = std::thread::scope(|scope| {
        let frames = scope.spawn(|| sets.verify(&PassOptions::default(), &mut |_| true));
        let records = check(namespace, &CheckOptions::default(), &mut |at| {
            bar.set_message(format!("reading every frame, checking {}: {}", at.what, at.done));
            true
        });
        bar.set_message("reading every frame");
        (frames.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), records)
    });
    let (frames, records) = (frames?, records?);
    let affected = concerned(store.namespace(), &records, bar)?;
    store.close()?;
    let mut violations = of_frames(&frames);
    violations.extend(truth.violations());
    violations.extend(records.violations.iter().cloned());
    let shown = Checked::of(&records, &affected, Some((&frames, &truth)), &violations, true);
    Ok(Found { records, affected, frames, truth, shown })
}

/// Compares the index as it was left with one built from the log.
fn compare_with_log(
    as_left: &strata_runtime::StoreConfig,
    anew: &strata_runtime::StoreConfig,
    clock: &Arc<dyn Clock>,
    bar: &ProgressBar,
) -> strata_namespace::Result<TruthReport> {
    // One thread fills an index and the other reads one: in parallel they use two cores.
    let (left, built) = std::thread::scope(|scope| {
        let built = scope.spawn(|| BroughtUp::open(anew, clock, &SystemEntropy));
        let left = BroughtUp::open(as_left, clock, &SystemEntropy);
        (left, built.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    compare_indexes(&left?, &built?, &mut |records| {
        bar.set_message(format!("comparing the index with the log: {records} records"));
        true
    })
}

fn concerned(namespace: &Namespace, records: &CheckReport, bar: &ProgressBar) -> anyhow::Result<Vec<Affected>> {
    let lost = unreadable_chunks(records);
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let found = affected_by(namespace, &lost, &mut |at| {
        bar.set_message(format!("looking for the {}: {}", at.what, at.done));
        true
    })?;
    Ok(found.unwrap_or_default())
}

/// The check that may run beside a server: one at a time, and at most half of the time while others are served.
pub(crate) struct BesideWriters {
    running: Mutex<()>,
    pace: Arc<Pace>,
    worker: Arc<Worker>,
}

impl BesideWriters {
    /// Nobody checks yet.
    pub(crate) fn of(runtime: &Arc<Runtime>) -> Self {
        // The store holds its workers, and they hold their paces.
        let served = Arc::downgrade(runtime);
        let served = move || served.upgrade().map_or(0, |runtime| runtime.served());
        let pace = Arc::new(Pace::sharing(CHECK_SHARE).yielding_to(Arc::new(served)));
        let worker = runtime.crew().add(CHECK, Some(Arc::clone(&pace)));
        Self { running: Mutex::default(), pace, worker }
    }

    /// Checks; ends early where nobody waits for it any more, or `stopping` says so.
    ///
    /// # Errors
    /// One runs already; reading the index.
    pub(crate) fn check(
        &self,
        namespace: &Namespace,
        contents: bool,
        tell: Tell<'_>,
        stopping: &dyn Fn() -> bool,
    ) -> anyhow::Result<Checked> {
        let Some(_one) = self.running.try_lock() else {
            bail!("a check runs already; wait until it has ended");
        };
        let _round = self.worker.begin(None);
        let clock = SystemClock::new();
        self.pace.begin(&clock);
        let mut tick = |at: CheckProgress| {
            self.worker.reach(at.done, None);
            self.pace.pay(&clock, 0, stopping);
            !stopping() && tell(Progress::Check(CheckAt { what: at.what.to_owned(), done: at.done }))
        };
        let found = check_live(namespace, contents, &mut tick);
        self.worker.count_failure(&found);
        let (records, affected) = found?;
        Ok(Checked::of(&records, &affected, None, &records.violations, contents))
    }
}

/// The check itself, and what needs what cannot be read.
fn check_live(
    namespace: &Namespace,
    contents: bool,
    tick: &mut dyn FnMut(CheckProgress) -> bool,
) -> strata_namespace::Result<(CheckReport, Vec<Affected>)> {
    let options = CheckOptions { contents, live: true, ..CheckOptions::default() };
    let records = check(namespace, &options, tick)?;
    let lost = unreadable_chunks(&records);
    let affected = if lost.is_empty() { None } else { affected_by(namespace, &lost, tick)? };
    Ok((records, affected.unwrap_or_default()))
}

/// What is wrong with frames, with the id of the invariant that it breaks.
fn of_frames(report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    for disk in &report.disks {
        if disk.damaged > 0 {
            wrong.push(format!(
                "ACK: disk {} has {} damaged frames, so that fewer disks may be lost than promised; reads rebuild them from the others",
                disk.label, disk.damaged
            ));
        }
        if disk.missing > 0 {
            wrong.push(format!(
                "ACK: disk {} lacks {} frames, so that fewer disks may be lost than promised",
                disk.label, disk.missing
            ));
        }
    }
    for place in &report.unreadable {
        wrong.push(format!(
            "ACK: segment {} at byte {} (sequence number {}) can neither be read nor rebuilt",
            place.segment, place.offset, place.lsn
        ));
    }
    let unnamed = report.unreadable_count - report.unreadable.len() as u64;
    if unnamed > 0 {
        wrong.push(format!("ACK: {unnamed} further places can neither be read nor rebuilt"));
    }
    wrong
}

/// Carries out the plan on the store itself.
fn mend(config: &StoreConfig, lock: &mut StoreLock, found: Found, bar: &ProgressBar) -> anyhow::Result<Repaired> {
    let mut before = Vec::new();
    if !found.truth.violations().is_empty() {
        let kept = set_aside(&config.data.join("index"))?;
        before.push(format!("the index was set aside as {} and is built anew", kept.display()));
    }
    let store = OpenStore::open_to_repair(config, lock)?;
    if !of_frames(&found.frames).is_empty() {
        let pace = Arc::default();
        let healed = passes::run(&store.sets(), Kind::Heal, Some(BEGINNING), &pace, &mut |progress| {
            bar.set_message(format!("writing frames anew: {} stripes", progress.report.stripes));
            true
        })?;
        for disk in healed.report.disks.iter().filter(|disk| disk.healed > 0) {
            before.push(format!("{} frames of disk {} were written anew", disk.healed, disk.label));
        }
    }
    let mut repaired = if found.records.findings.is_empty() {
        Repaired::default()
    } else {
        repair(store.namespace(), found.records, &found.affected, true, &mut |at| {
            bar.set_message(format!("repairing; checking {}: {}", at.what, at.done));
            true
        })?
    };
    store.close()?;
    repaired.done.splice(0..0, before);
    Ok(repaired)
}

/// Moves the index away, never over another.
fn set_aside(index: &Path) -> anyhow::Result<PathBuf> {
    for n in 0..u32::MAX {
        let kept = index.with_file_name(format!("index.repaired-{n}"));
        if !kept.exists() {
            std::fs::rename(index, &kept)
                .with_context(|| format!("the index cannot be moved to {}", kept.display()))?;
            return Ok(kept);
        }
    }
    bail!("there is no free name for the index beside {}", index.display())
}

/// Asks on the terminal; where there is none, nobody said yes.
fn confirmed(json: bool) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if json || !stdin.is_terminal() {
        eprintln!("strata: nothing was changed; `--yes` carries the plan out");
        return Ok(false);
    }
    say("carry this out? [y/N] ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    /// Makes it, in place of one that a killed check left.
    fn new(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(SCRATCH);
        // The lock on the store says that nobody uses the folder.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).with_context(|| format!("the folder {} cannot be made", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Copies a folder of files; one that does not exist is an empty one.
fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to).with_context(|| format!("the folder {} cannot be made", to.display()))?;
    let entries = match std::fs::read_dir(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("{} cannot be read", from.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("{} cannot be read", from.display()))?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)
                .with_context(|| format!("{} cannot be copied to {}", entry.path().display(), target.display()))?;
        }
    }
    Ok(())
}

//! `strata fsck`: the invariants as predicates over a store, beside the server that runs on it or at rest.
//!
//! At rest it also builds the index anew from the log and compares it with the one on disk, reads every byte of every frame
//! and hashes every chunk. Without `--repair` it changes nothing: disks are opened so that writes to them are forgotten,
//! the index is a copy. With `--repair` it says what it would do, and does it once it was told to.
//!
//! Exit codes: 0 every invariant that is checked holds (after the repair, if one was made); 1 one does not, or the check failed; 5 the
//! check was ended before it was through.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use strata_ledger::{PassOptions, Report};
use strata_namespace::{
    CheckOptions, CheckReport, Namespace, RepairStep, Repaired, TruthReport, check, compare_index, repair, repair_plan,
    unreadable_chunks,
};
use strata_seam::{Clock, SystemClock, SystemEntropy};

use crate::bar;
use crate::config::StoreConfig;
use crate::control::{self, Progress, Request};
use crate::greeting::say;
use crate::lock::StoreLock;
use crate::passes::{self, BEGINNING, Kind};
use crate::store::OpenStore;

/// Pause after each step of a check beside a server, so that requests go first.
const STEP_PAUSE: Duration = Duration::from_micros(500);
/// Exit code of a check that was ended early.
const ENDED: u8 = 5;
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
            "a server (pid {pid}) runs on {}; a repair needs the store at rest; stop the server first",
            config.data.display()
        );
        let request = Request::Fsck { contents: options.contents };
        let report = control::ask_watching(&config.data, &request, &mut |progress| {
            bar.set_message(format!("checking {}: {} records", shown(&progress["what"]), progress["done"]));
        })?;
        bar.finish_and_clear();
        return show(&report, options.json);
    }
    let mut lock = StoreLock::of_existing(&config.data)?;
    let found = at_rest(config, &mut lock, &bar)?;
    bar.finish_and_clear();
    if !options.repair {
        return show(&found.value, options.json);
    }
    let plan = found.plan();
    let mut value = found.value.clone();
    value["plan"] = json!(plan.iter().map(step_value).collect::<Vec<_>>());
    if plan.iter().all(|step| !step.changes) {
        return show(&value, options.json);
    }
    if !options.json {
        say(&in_words(&value));
        say(&plan_in_words(&plan));
    }
    if !options.yes && !confirmed(options.json)? {
        if options.json {
            return show(&value, true);
        }
        say("nothing was changed\n");
        return Ok(ExitCode::FAILURE);
    }
    let repaired = mend(config, &mut lock, found, &bar)?;
    let after = at_rest(config, &mut lock, &bar)?;
    bar.finish_and_clear();
    if options.json {
        value["done"] = json!(repaired.done);
        value["failed"] = json!(repaired.failed);
        value["after"] = after.value.clone();
        say(&format!("{}\n", serde_json::to_string_pretty(&value)?));
    } else {
        repaired.done.iter().for_each(|done| say(&format!("done: {done}\n")));
        repaired.failed.iter().for_each(|failed| say(&format!("not done: {failed}\n")));
        say(&in_words(&after.value));
    }
    Ok(code(&after.value))
}

/// What the check of a store at rest found.
struct Found {
    records: CheckReport,
    affected: Vec<strata_namespace::Affected>,
    frames: Report,
    truth: TruthReport,
    value: Value,
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
    let truth = compare_index(&as_left, &anew, &clock, &SystemEntropy, &mut |records| {
        bar.set_message(format!("comparing the index with the log: {records} records"));
        true
    })
    .map_err(anyhow::Error::new)
    .context("HASH or TRUTH: the log cannot be replayed")?;
    drop((as_left, anew));
    // What the log says is what is checked.
    let checked = if truth.violations().is_empty() { "left" } else { "anew" };
    let store = OpenStore::open_to_look_at(config, Some(scratch.path(checked)), lock)?;
    // One reads what lies on the disks, the other what it means: side by side they have two cores.
    let (ledger, namespace) = (store.ledger(), store.namespace());
    let (frames, records) = std::thread::scope(|scope| {
        let frames = scope.spawn(|| ledger.verify(&PassOptions::default(), &mut |_| true));
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
    let value = report(&records, &affected, Some((&frames, &truth)), &violations, true);
    Ok(Found { records, affected, frames, truth, value })
}

fn concerned(
    namespace: &Namespace,
    records: &CheckReport,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<strata_namespace::Affected>> {
    let lost = unreadable_chunks(records);
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let found = namespace.affected_by(&lost, &mut |at| {
        bar.set_message(format!("looking for the {}: {}", at.what, at.done));
        true
    })?;
    Ok(found.unwrap_or_default())
}

/// Checks beside writers; for the server.
///
/// # Errors
/// Reading the index.
pub(crate) fn beside_writers(
    namespace: &Namespace,
    contents: bool,
    progress: Progress<'_>,
    stopping: &dyn Fn() -> bool,
) -> anyhow::Result<Value> {
    let options = CheckOptions { contents, live: true, ..CheckOptions::default() };
    let mut tick = |at: strata_namespace::CheckProgress| {
        std::thread::sleep(STEP_PAUSE);
        !stopping() && progress(json!({ "what": at.what, "done": at.done }))
    };
    let records = check(namespace, &options, &mut tick)?;
    let lost = unreadable_chunks(&records);
    let affected = if lost.is_empty() { None } else { namespace.affected_by(&lost, &mut tick)? };
    Ok(report(&records, &affected.unwrap_or_default(), None, &records.violations, contents))
}

/// The whole report.
fn report(
    records: &CheckReport,
    affected: &[strata_namespace::Affected],
    rest: Option<(&Report, &TruthReport)>,
    violations: &[String],
    contents: bool,
) -> Value {
    let at_rest = rest.is_some();
    let invariants = [
        ("TREE", true, "records of inodes, entries, buckets, uploads and attributes"),
        ("REF", true, "references counted afresh"),
        ("HASH", true, if contents { "every chunk read and hashed" } else { "manifest pages; `--contents` reads all" }),
        ("TRUTH", at_rest, "the index compared with one built from the log; only at rest"),
        ("ACK", at_rest, "every frame of every disk read; beside a server `strata scrub` does"),
        ("SEEN", false, "about answers of doors: held by tests"),
        ("PREFIX", false, "about a crash: held by tests"),
        ("ONE", false, "about doors: held by tests"),
        ("RULES", false, "about requests: held by tests"),
        ("BOUND", false, "about memory: held by tests"),
    ];
    let invariants = invariants.iter().map(|(id, checked, how)| {
        let broken = violations.iter().any(|violation| violation.starts_with(&format!("{id}:")));
        let verdict = if broken {
            "broken"
        } else if *checked && !records.ended {
            "holds"
        } else {
            "not checked"
        };
        json!({ "id": id, "verdict": verdict, "how": how })
    });
    let mut value = json!({
        "at_rest": at_rest,
        "ended": records.ended,
        "invariants": invariants.collect::<Vec<_>>(),
        "inodes": records.inodes,
        "entries": records.entries,
        "chunks": records.chunks,
        "logical_bytes": records.logical_bytes,
        "live_bytes": records.live_bytes,
        "reclaimable_chunks": records.unused_chunks,
        "reclaimable_bytes": records.unused_bytes,
        "unsettled": records.unsettled,
        "violations": violations,
        "concerned": affected.iter().map(|affected| passes::shown(affected, "unreadable")).collect::<Vec<_>>(),
    });
    if let Some((frames, truth)) = rest {
        let disks = frames.disks.iter().map(
            |disk| json!({ "disk": disk.label, "good": disk.good, "damaged": disk.damaged, "missing": disk.missing }),
        );
        value["segments"] = json!(frames.segments);
        value["stripes"] = json!(frames.stripes);
        value["disks"] = json!(disks.collect::<Vec<_>>());
        value["index"] = json!({
            "records": truth.records,
            "from_checkpoint": truth.restored,
            "replayed": truth.replayed,
            "behind": truth.behind,
            "differing": truth.differing,
            "fingerprint_on_disk": format!("{:032x}", truth.fingerprints.0),
            "fingerprint_of_log": format!("{:032x}", truth.fingerprints.1),
        });
    }
    value
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
        let healed = passes::run(store.namespace(), Kind::Heal, Some(BEGINNING), &pace, &mut |progress| {
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

fn step_value(step: &RepairStep) -> Value {
    json!({ "wrong": step.wrong, "action": step.action, "changes": step.changes })
}

fn plan_in_words(plan: &[RepairStep]) -> String {
    let mut table = crate::greeting::plain_table(&["wrong", "what would be done"]);
    for step in plan {
        table.add_row([&step.wrong, &step.action]);
    }
    format!("\n{table}\n")
}

fn show(value: &Value, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(value)?));
    } else {
        say(&in_words(value));
    }
    Ok(code(value))
}

fn code(value: &Value) -> ExitCode {
    match (value["violations"].as_array().is_some_and(Vec::is_empty), value["ended"] == true) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(ENDED),
        (true, false) => ExitCode::SUCCESS,
    }
}

fn shown(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn in_words(value: &Value) -> String {
    let mut words = match value["disks"].as_array() {
        Some(disks) => {
            format!("{} stripes in {} segments on {} disks, ", value["stripes"], value["segments"], disks.len())
        }
        None => String::new(),
    };
    words.push_str(&format!("{} inodes, {} entries, {} chunks\n", value["inodes"], value["entries"], value["chunks"]));
    if let Some(index) = value["index"].as_object() {
        words.push_str(&format!(
            "{} records of the index, fingerprint {}\n",
            index["records"],
            shown(&index["fingerprint_of_log"])
        ));
    }
    if value["reclaimable_chunks"].as_u64() > Some(0) {
        let bytes = crate::config::ByteSize(value["reclaimable_bytes"].as_u64().unwrap_or(0));
        words.push_str(&format!("{} chunks with {bytes} can be reclaimed\n", value["reclaimable_chunks"]));
    }
    for invariant in value["invariants"].as_array().into_iter().flatten() {
        let (id, verdict) = (shown(&invariant["id"]), shown(&invariant["verdict"]));
        words.push_str(&format!("{id:<7} {verdict:<12} {}\n", shown(&invariant["how"])));
    }
    let violations = value["violations"].as_array().map_or(&[][..], Vec::as_slice);
    for violation in violations {
        words.push_str(&format!("{}\n", shown(violation)));
    }
    for concerned in value["concerned"].as_array().into_iter().flatten() {
        words.push_str(&format!("{} cannot be read at {}\n", shown(&concerned["name"]), concerned["ranges"]));
    }
    if value["unsettled"].as_u64() > Some(0) {
        words.push_str(&format!("{} records changed too often to be told; check again\n", value["unsettled"]));
    }
    if value["ended"] == true {
        words.push_str("the check was ended before it was through\n");
    }
    words.push_str(&match violations.len() {
        0 if value["ended"] == true => "nothing wrong so far\n".to_owned(),
        0 => "everything that was checked holds\n".to_owned(),
        1 => "1 violation\n".to_owned(),
        count => format!("{count} violations\n"),
    });
    words
}

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    /// Makes it, in place of one that a killed check left.
    fn new(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(SCRATCH);
        // The lock on the store says that nobody uses it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_was_ended_calls_nothing_whole_and_keeps_what_it_found() {
        let ended = CheckReport { ended: true, ..CheckReport::default() };
        let violations = ["REF: a chunk is counted twice".to_owned()];
        let value = report(&ended, &[], None, &violations, true);
        let verdicts: Vec<_> =
            value["invariants"].as_array().unwrap().iter().map(|one| shown(&one["verdict"])).collect();
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == "broken").count(), 1);
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == "not checked").count(), verdicts.len() - 1);
        assert!(in_words(&value).contains("ended before it was through"));
        assert_eq!(code(&value), ExitCode::FAILURE);
        let nothing = report(&ended, &[], None, &[], true);
        assert_eq!(code(&nothing), ExitCode::from(ENDED));
        let whole = report(&CheckReport::default(), &[], None, &[], true);
        assert_eq!(code(&whole), ExitCode::SUCCESS);
        assert!(whole["invariants"].as_array().unwrap().iter().any(|one| one["verdict"] == "holds"));
    }
}

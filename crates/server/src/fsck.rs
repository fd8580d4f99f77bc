//! `strata fsck`: every invariant that can be told from a store at rest, and every byte of every frame. Changes nothing.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use strata_ledger::{PassOptions, Report};
use strata_namespace::{CheckReport, check_store};

use crate::config::StoreConfig;
use crate::greeting::say;
use crate::lock::StoreLock;
use crate::store::OpenStore;

/// How often the progress line is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// `strata fsck`. Exit code 1 if something is wrong.
///
/// # Errors
/// No store, one in use, or one so damaged that it does not open.
pub(crate) fn run(config: &StoreConfig, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(pid) = StoreLock::holder(&config.data) {
        bail!(
            "a server (pid {pid}) runs on {}; a check needs it at rest; stop the server first",
            config.data.display()
        );
    }
    let mut lock = StoreLock::of_existing(&config.data)?;
    let bar = progress(json);
    bar.set_message("replaying the log");
    let store = OpenStore::open_to_look(config, &mut lock).context("HASH or TRUTH: the log cannot be replayed")?;

    let frames = store.ledger().verify(&PassOptions::default(), &mut |progress| {
        bar.set_message(format!("reading every frame: {} stripes", progress.report.stripes));
        true
    })?;
    let records = check_store(store.namespace(), true, &mut |done| {
        bar.set_message(format!("checking every record and chunk: {done}"));
    })?;
    bar.finish_and_clear();
    store.close()?;

    let mut violations = of_frames(&frames);
    violations.extend(records.violations.iter().cloned());
    if json {
        let disks = frames.disks.iter().map(
            |disk| json!({ "disk": disk.label, "good": disk.good, "damaged": disk.damaged, "missing": disk.missing }),
        );
        let report = json!({
            "segments": frames.segments,
            "stripes": frames.stripes,
            "disks": disks.collect::<Vec<_>>(),
            "inodes": records.inodes,
            "entries": records.entries,
            "chunks": records.chunks,
            "violations": violations,
        });
        say(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    } else {
        say(&in_words(&frames, &records, &violations));
    }
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A line that says where the check is; nothing where nobody looks.
fn progress(json: bool) -> ProgressBar {
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(DRAW_EVERY);
    bar
}

/// What is wrong with frames, with the id of the invariant that it breaks.
fn of_frames(report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    for disk in &report.disks {
        if disk.damaged > 0 {
            wrong.push(format!(
                "HASH: disk {} has {} damaged frames; reads rebuild them from the others",
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

fn in_words(frames: &Report, records: &CheckReport, violations: &[String]) -> String {
    let mut words = format!(
        "{} stripes in {} segments on {} disks, {} inodes, {} entries, {} chunks\n",
        frames.stripes,
        frames.segments,
        frames.disks.len(),
        records.inodes,
        records.entries,
        records.chunks
    );
    for violation in violations {
        words.push_str(&format!("{violation}\n"));
    }
    words.push_str(&match violations.len() {
        0 => "every invariant holds\n".to_owned(),
        1 => "1 violation\n".to_owned(),
        count => format!("{count} violations\n"),
    });
    words
}

//! Passes over the log as commands and the keeper run them: what they were asked, how far they are, and the proof at the
//! end, stripe by stripe and object by object.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use strata_ledger::{Pace, PassOptions, Progress, Report};
use strata_namespace::{Affected, Namespace};
use strata_seam::{ChunkId, Lsn, Position, SegmentId};

/// Stripes that lack frames and are remembered with their place, 24 bytes each; beyond, objects are not named.
const LACKING_MAX: usize = 1 << 20;
/// Objects named in a proof; further ones are counted.
const NAMED_MAX: usize = 1000;

/// What a pass does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Writes what disks lack, beginning where they begin to lack it.
    Heal,
    /// Reads everything and repairs it.
    Scrub,
}

impl Kind {
    /// The word for tables and metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Heal => "heal",
            Self::Scrub => "scrub",
        }
    }
}

/// The beginning of the log: a heal from here proves every object.
pub(crate) const BEGINNING: Position = Position { segment: SegmentId(0), offset: 0, next_lsn: Lsn(1) };

/// A pass that ended.
pub(crate) struct Outcome {
    /// What the ledger says.
    pub(crate) report: Report,
    /// Stripes that lack frames at the end: segment and sector, with the frames present and whether it can be read.
    lacking: HashMap<(u32, u32), (u8, bool)>,
    /// More stripes lack frames than are remembered.
    more: bool,
}

/// Runs a pass. `tick` is told after each stripe and says whether to go on.
///
/// # Errors
/// The set takes no writes.
pub(crate) fn run(
    namespace: &Namespace,
    kind: Kind,
    from: Option<Position>,
    pace: &Arc<Pace>,
    tick: &mut dyn FnMut(&Progress<'_>) -> bool,
) -> anyhow::Result<Outcome> {
    let ledger = namespace.store().ledger();
    let options = PassOptions { from, pace: Arc::clone(pace) };
    let mut lacking = HashMap::new();
    let mut more = false;
    let mut each = |progress: &Progress<'_>| {
        let stripe = &progress.stripe;
        if stripe.present < stripe.expected {
            more |= lacking.len() >= LACKING_MAX;
            if !more {
                lacking.insert(place(stripe.segment, stripe.offset), (stripe.present, stripe.readable));
            }
        }
        tick(progress)
    };
    let report = match kind {
        Kind::Heal => ledger.heal(&options, &mut each)?,
        Kind::Scrub => ledger.scrub(&options, &mut each)?,
    };
    for lost in &report.unreadable {
        lacking.insert(place(lost.segment, lost.offset), (0, false));
    }
    Ok(Outcome { report, lacking, more })
}

/// Segment and sector, as locations have them.
fn place(segment: SegmentId, offset: u64) -> (u32, u32) {
    (segment.0, u32::try_from(offset / strata_seam::SECTOR_LEN as u64).unwrap_or(u32::MAX))
}

/// How far a pass is, for a progress bar, the status and the metrics.
pub(crate) fn progress(kind: Kind, progress: &Progress<'_>, pace: u64) -> Value {
    let healed: u64 = progress.report.disks.iter().map(|disk| disk.healed).sum();
    json!({
        "pass": kind.word(),
        "done_bytes": progress.done_bytes,
        "total_bytes": progress.total_bytes,
        "seconds_left": progress.remaining().map(|left| left.as_secs()),
        "stripes": progress.report.stripes,
        "healed": healed,
        "unreadable": progress.report.unreadable_count,
        "bytes_per_second_max": (pace > 0).then_some(pace),
    })
}

/// What a pass found, in numbers.
pub(crate) fn summary(kind: Kind, outcome: &Outcome, took: Duration) -> Value {
    let report = &outcome.report;
    let disks = report.disks.iter().enumerate().map(|(place, disk)| {
        json!({
            "place": place,
            "disk": disk.label,
            "good": disk.good,
            "damaged": disk.damaged,
            "missing": disk.missing,
            "healed": disk.healed,
            "renewed": disk.renewed,
        })
    });
    json!({
        "pass": kind.word(),
        "finished": report.finished,
        "seconds": took.as_secs_f64(),
        "segments": report.segments,
        "stripes": report.stripes,
        "frames_expected": report.disks.len(),
        "stripes_by_frames_present": report.by_present,
        "whole": report.by_present.last(),
        "degraded": report.degraded(),
        "unreadable": report.unreadable_count,
        "disks": disks.collect::<Vec<_>>(),
    })
}

/// The proof for every object: how many have every frame of every stripe, and which have not. `tick` says whether to go on.
///
/// # Errors
/// Reading the index.
pub(crate) fn objects(
    namespace: &Namespace,
    outcome: &Outcome,
    tick: &mut dyn FnMut() -> bool,
) -> anyhow::Result<Value> {
    let total = namespace.count_files(&mut |_| tick())?;
    let stripes: HashSet<(u32, u32)> = outcome.lacking.keys().copied().collect();
    let (mut degraded, mut lost) = (HashSet::<ChunkId>::new(), HashSet::<ChunkId>::new());
    if !stripes.is_empty() {
        for (chunk, stripe) in namespace.store().chunks_in(&stripes)? {
            let readable = outcome.lacking.get(&stripe).is_some_and(|(_, readable)| *readable);
            if readable {
                degraded.insert(chunk)
            } else {
                lost.insert(chunk)
            };
        }
    }
    let mut concerned = |chunks: &HashSet<ChunkId>| -> anyhow::Result<Vec<Affected>> {
        match chunks.is_empty() {
            true => Ok(Vec::new()),
            false => Ok(namespace.affected_by(chunks, &mut |_| tick())?.unwrap_or_default()),
        }
    };
    let (lost, degraded) = (concerned(&lost)?, concerned(&degraded)?);
    let unreadable: HashSet<_> = lost.iter().map(|affected| affected.owner).collect();
    let degraded: Vec<_> = degraded.into_iter().filter(|affected| !unreadable.contains(&affected.owner)).collect();
    let named = |list: &[Affected], state: &str| -> Vec<Value> {
        list.iter().take(NAMED_MAX).map(|affected| shown(affected, state)).collect()
    };
    let mut names = named(&lost, "unreadable");
    names.extend(named(&degraded, "degraded"));
    names.truncate(NAMED_MAX);
    let complete = outcome.report.finished && !outcome.more;
    Ok(json!({
        "objects": total,
        "whole": total.map(|total| total.saturating_sub((lost.len() + degraded.len()) as u64)),
        "degraded": degraded.len(),
        "unreadable": lost.len(),
        "names": names,
        "complete": complete,
    }))
}

/// Content that is not whole, for a report.
pub(crate) fn shown(affected: &Affected, state: &str) -> Value {
    let name = affected.path.clone().unwrap_or_else(|| format!("{:?}", affected.owner));
    let ranges: Vec<[u64; 2]> = affected.lost.iter().map(|range| [range.start, range.end]).collect();
    json!({ "name": name, "state": state, "bytes": affected.len, "ranges": ranges })
}

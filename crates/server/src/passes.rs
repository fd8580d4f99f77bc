//! Passes over the log (heal, scrub), as commands and the keeper run them: their options, their progress, and the report at the end,
//! stripe by stripe and object by object.

pub(crate) mod messages;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use strata_check::{Affected, affected_by, count_files};
use strata_runtime::{PassOptions, Progress, Report, Runtime, Sets};
use strata_seam::{ChunkId, Lsn, Pace, Position, SegmentId};

use messages::{Concerned, FramesFound, Kind, PassSummary, Proof};

/// Stripes that lack frames and are remembered with their place, 24 bytes each; beyond, objects are not named.
const LACKING_MAX: usize = 1 << 20;
/// Objects named in a proof; further ones are counted.
const NAMED_MAX: usize = 1000;

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

/// Runs a pass. `tick` is called after each stripe and returns whether to go on.
///
/// # Errors
/// The set takes no writes.
pub(crate) fn run(
    sets: &Sets,
    kind: Kind,
    from: Option<Position>,
    pace: &Arc<Pace>,
    tick: &mut dyn FnMut(&Progress<'_>) -> bool,
) -> anyhow::Result<Outcome> {
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
        Kind::Heal => sets.heal(&options, &mut each)?,
        Kind::Scrub => sets.scrub(&options, &mut each)?,
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

impl PassSummary {
    /// Without the proof.
    pub(crate) fn of(pass: Kind, outcome: &Outcome, took: Duration) -> Self {
        let report = &outcome.report;
        let disks = report.disks.iter().enumerate().map(|(place, disk)| FramesFound {
            place,
            disk: disk.label.clone(),
            good: disk.good,
            damaged: disk.damaged,
            missing: disk.missing,
            healed: disk.healed,
            renewed: disk.renewed,
        });
        Self {
            pass,
            finished: report.finished,
            seconds: took.as_secs_f64(),
            segments: report.segments,
            stripes: report.stripes,
            frames_expected: report.disks.len(),
            stripes_by_frames_present: report.by_present.clone(),
            whole: report.by_present.last().copied().unwrap_or(0),
            degraded: report.degraded(),
            unreadable: report.unreadable_count,
            disks: disks.collect(),
            proof: None,
        }
    }
}

/// The proof for every object: how many have every frame of every stripe, and which have not. `tick` says whether to go on.
///
/// # Errors
/// Reading the index.
pub(crate) fn objects(runtime: &Runtime, outcome: &Outcome, tick: &mut dyn FnMut() -> bool) -> anyhow::Result<Proof> {
    let total = count_files(runtime.namespace(), &mut |_| tick())?;
    let stripes: HashSet<(u32, u32)> = outcome.lacking.keys().copied().collect();
    let (mut degraded, mut lost) = (HashSet::<ChunkId>::new(), HashSet::<ChunkId>::new());
    if !stripes.is_empty() {
        for (chunk, stripe) in runtime.chunks_in(&stripes)? {
            // Even if a stripe cannot be rebuilt, chunks in its sound frames can still be read.
            let readable = outcome.lacking.get(&stripe).is_some_and(|(_, readable)| *readable);
            if readable || (tick() && runtime.is_readable(&chunk)?) {
                degraded.insert(chunk)
            } else {
                lost.insert(chunk)
            };
        }
    }
    let mut concerned = |chunks: &HashSet<ChunkId>| -> anyhow::Result<Vec<Affected>> {
        match chunks.is_empty() {
            true => Ok(Vec::new()),
            false => Ok(affected_by(runtime.namespace(), chunks, &mut |_| tick())?.unwrap_or_default()),
        }
    };
    let (lost, degraded) = (concerned(&lost)?, concerned(&degraded)?);
    let unreadable: HashSet<_> = lost.iter().map(|affected| affected.owner).collect();
    let degraded: Vec<_> = degraded.into_iter().filter(|affected| !unreadable.contains(&affected.owner)).collect();
    let named = |list: &[Affected], state: &str| -> Vec<Concerned> {
        list.iter().take(NAMED_MAX).map(|affected| Concerned::of(affected, state)).collect()
    };
    let mut names = named(&lost, "unreadable");
    names.extend(named(&degraded, "degraded"));
    names.truncate(NAMED_MAX);
    let complete = outcome.report.finished && !outcome.more;
    Ok(Proof {
        objects: total,
        whole: total.map(|total| total.saturating_sub((lost.len() + degraded.len()) as u64)),
        degraded: degraded.len(),
        unreadable: lost.len(),
        names,
        complete,
    })
}

//! Passes over the log as commands and the keeper run them: what they were asked, how far they are, and the proof at the
//! end, stripe by stripe and object by object.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strata_check::{Affected, affected_by, count_files};
use strata_runtime::{PassOptions, Progress, Report, Runtime, Sets};
use strata_seam::{ChunkId, Lsn, Pace, Position, SegmentId};

/// Stripes that lack frames and are remembered with their place, 24 bytes each; beyond, objects are not named.
const LACKING_MAX: usize = 1 << 20;
/// Objects named in a proof; further ones are counted.
const NAMED_MAX: usize = 1000;

/// What a pass does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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

/// How far a pass is, for a progress bar and the status.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PassProgress {
    pub(crate) pass: Kind,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) seconds_left: Option<u64>,
    pub(crate) stripes: u64,
    pub(crate) healed: u64,
    pub(crate) unreadable: u64,
    pub(crate) bytes_per_second_max: Option<u64>,
}

impl PassProgress {
    /// Of one that has only just begun.
    pub(crate) fn beginning(pass: Kind) -> Self {
        Self {
            pass,
            done_bytes: 0,
            total_bytes: 0,
            seconds_left: None,
            stripes: 0,
            healed: 0,
            unreadable: 0,
            bytes_per_second_max: None,
        }
    }

    /// Of one that goes by `pace` bytes a second, 0 for no limit.
    pub(crate) fn of(pass: Kind, progress: &Progress<'_>, pace: u64) -> Self {
        Self {
            pass,
            done_bytes: progress.done_bytes,
            total_bytes: progress.total_bytes,
            seconds_left: progress.remaining().map(|left| left.as_secs()),
            stripes: progress.report.stripes,
            healed: progress.report.disks.iter().map(|disk| disk.healed).sum(),
            unreadable: progress.report.unreadable_count,
            bytes_per_second_max: (pace > 0).then_some(pace),
        }
    }
}

/// What a pass found, in numbers.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PassSummary {
    pub(crate) pass: Kind,
    pub(crate) finished: bool,
    pub(crate) seconds: f64,
    pub(crate) segments: u64,
    pub(crate) stripes: u64,
    pub(crate) frames_expected: usize,
    pub(crate) stripes_by_frames_present: Vec<u64>,
    pub(crate) whole: u64,
    pub(crate) degraded: u64,
    pub(crate) unreadable: u64,
    pub(crate) disks: Vec<FramesFound>,
    /// After a heal that came to its end, and after any pass over a store at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<Proof>,
}

/// What a pass found on a disk, in frames.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct FramesFound {
    pub(crate) place: usize,
    pub(crate) disk: String,
    pub(crate) good: u64,
    pub(crate) damaged: u64,
    pub(crate) missing: u64,
    pub(crate) healed: u64,
    pub(crate) renewed: u64,
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

    /// Whether it came to its end, and every stripe and every object is as it should be.
    pub(crate) fn is_whole(&self) -> bool {
        let proven = |proof: &Proof| proof.degraded == 0 && proof.unreadable == 0;
        self.degraded == 0 && self.unreadable == 0 && self.finished && self.proof.as_ref().is_none_or(proven)
    }
}

/// How many objects have every frame of every stripe, and which have not.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Proof {
    /// `None` where they could not be counted to the end.
    pub(crate) objects: Option<u64>,
    pub(crate) whole: Option<u64>,
    pub(crate) degraded: usize,
    pub(crate) unreadable: usize,
    /// Those that are not whole, the first of them.
    pub(crate) names: Vec<Concerned>,
    pub(crate) complete: bool,
}

/// Content that is not whole.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Concerned {
    pub(crate) name: String,
    /// `degraded` or `unreadable`.
    pub(crate) state: String,
    pub(crate) bytes: u64,
    pub(crate) ranges: Vec<[u64; 2]>,
}

impl Concerned {
    pub(crate) fn of(affected: &Affected, state: &str) -> Self {
        Self {
            name: affected.path.clone().unwrap_or_else(|| format!("{:?}", affected.owner)),
            state: state.to_owned(),
            bytes: affected.len,
            ranges: affected.lost.iter().map(|range| [range.start, range.end]).collect(),
        }
    }

    /// The bytes concerned, as in `[[0,4096],[8192,12288]]`.
    pub(crate) fn ranges_in_words(&self) -> String {
        let ranges: Vec<String> = self.ranges.iter().map(|[from, to]| format!("[{from},{to}]")).collect();
        format!("[{}]", ranges.join(","))
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

//! How far a pass over the log is, and what it found.

use serde::{Deserialize, Serialize};
use strata_check::Affected;
use strata_runtime::Progress;

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
    /// The progress of a pass that has only just begun.
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

    /// The progress of a pass that goes by `pace` bytes a second, 0 for no limit.
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

impl PassSummary {
    /// Whether it came to its end, and every stripe and every object is as it should be.
    pub(crate) fn is_whole(&self) -> bool {
        let proven = |proof: &Proof| proof.degraded == 0 && proof.unreadable == 0;
        self.degraded == 0 && self.unreadable == 0 && self.finished && self.proof.as_ref().is_none_or(proven)
    }
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

/// How many objects have every frame of every stripe, and which have not.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Proof {
    /// `None` where they could not be counted to the end.
    pub(crate) objects: Option<u64>,
    pub(crate) whole: Option<u64>,
    pub(crate) degraded: usize,
    pub(crate) unreadable: usize,
    /// The first of those that are not whole.
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

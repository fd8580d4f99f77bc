//! What is shown of a worker: the same for every one of them, in `strata status`, in metrics and in health. Dashboards read
//! it; a field stays.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pace::Budget;

/// What a worker is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// There is nothing to do.
    Idle,
    /// A round is under way; rests that its budget asks for belong to it.
    Working,
    /// It cannot go on before something has come.
    Waiting,
    /// Somebody wants it to do nothing.
    Paused,
    /// The last round failed; it is tried again.
    Failed,
}

impl WorkerState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Working, Self::Waiting, Self::Paused, Self::Failed];

    /// The word for tables and labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Working => "working",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Failed => "failed",
        }
    }
}

/// What a worker failed by. Times are seconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The last error.
    pub what: String,
    /// When it began to fail, without having done anything right since.
    pub since: u64,
    /// When it failed last.
    pub last: u64,
    /// When it tries again, about; `None` if it does not by itself.
    pub again: Option<u64>,
}

/// How a worker is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it does, for people.
    pub does: Cow<'static, str>,
    /// What it is at ...
    pub state: WorkerState,
    /// ... and since when, in seconds since 1970.
    pub since: u64,
    /// What it waits for.
    pub waits_for: Option<String>,
    /// How far the round under way is, or how far the last one came ...
    pub cursor: u64,
    /// ... and of how much, where that is known.
    pub bound: Option<u64>,
    /// What both are counted in.
    pub unit: Cow<'static, str>,
    /// What it has done since the process started, counted in the same.
    pub handled: u64,
    /// What it may spend; `None` where it limits itself by nothing.
    pub budget: Option<Budget>,
    /// Rounds that have ended since the process started, in whatever way.
    pub rounds: u64,
    /// Rounds and looks that failed.
    pub errors: u64,
    /// What it failed by, until it does something right again.
    pub failure: Option<Failure>,
}

/// How long the rest of something takes at the speed so far; `None` before anything is known.
#[must_use]
pub fn remaining(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    let left = total.saturating_sub(done);
    let nanos = (elapsed.as_nanos() * u128::from(left)).checked_div(u128::from(done))?;
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

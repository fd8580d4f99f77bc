//! What earlier runs of a row with other seeds came to, so that a long row can be run in pieces (`--add`).
//!
//! Counts, times and violations are added up, nothing is ever dropped; what is computed from them (a rate, a percentile)
//! is computed anew.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Figure, Times, Violation};

/// One run among several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Where its random choices began.
    pub(crate) seed: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    /// The program that was driven: the first bytes of its BLAKE3 hash; empty where none was.
    pub(crate) program: String,
    /// In a row of numbered cases the first one that was not run; zero in others.
    #[serde(default)]
    pub(crate) next_case: u64,
}

/// The part of a result file that runs add to.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Earlier {
    pub(super) figures: Vec<Figure>,
    pub(super) violations: Vec<Violation>,
    pub(super) violation_count: u64,
    #[serde(default)]
    pub(super) times: BTreeMap<String, Times>,
    #[serde(default)]
    pub(super) runs: Vec<Run>,
}

impl Earlier {
    /// What is in the result file at `path`; nothing where there is none.
    ///
    /// # Errors
    /// It cannot be read, was not made to be added to, or already holds the run of `seed`; where cases are `numbered`, one
    /// of another seed.
    pub(super) fn read(path: &Path, seed: u64, numbered: bool) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            other => other.with_context(|| format!("{} cannot be read", path.display()))?,
        };
        let earlier: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is no result to add to", path.display()))?;
        ensure!(!earlier.runs.is_empty(), "{} was not made with --add; move it away first", path.display());
        if numbered {
            let alike = earlier.runs.iter().all(|run| run.seed == seed);
            ensure!(
                alike,
                "{} is of another seed than {seed}; cases are gone on with under the same one",
                path.display()
            );
            return Ok(earlier);
        }
        let known = earlier.runs.iter().any(|run| run.seed == seed);
        ensure!(!known, "{} already holds a run of seed {seed}; give another with --seed", path.display());
        Ok(earlier)
    }

    /// What the figure of this name came to before; zero for one that is computed from others.
    pub(super) fn figure(&self, name: &str) -> f64 {
        let counted = self.figures.iter().filter(|figure| figure.name == name && !figure.computed);
        counted.map(|figure| figure.value).sum()
    }
}

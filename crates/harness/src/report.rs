//! What a row found: figures, violations and the time it took; printed, and kept as one JSON file per row.
//!
//! `earlier` adds a run to what others found before; `times` holds measured times so that they can be added up.

mod earlier;
mod times;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use strata_seam::{Clock, SystemClock};

use self::earlier::Earlier;
pub(crate) use self::earlier::Run;
pub(crate) use self::times::Times;
use crate::options::Options;
use crate::row::Row;

/// Violations kept with their text; more are only counted.
const VIOLATIONS_KEPT_MAX: usize = 20;

/// One figure of a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What was counted or measured, with its unit last.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
    /// What a full run has to reach.
    pub(crate) at_least: Option<f64>,
    /// What a full run may not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<f64>,
    /// Whether it is computed from others, and so never added up over runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) computed: bool,
}

impl Figure {
    /// Whether it is what a full run has to reach.
    fn reaches_its_goal(&self) -> bool {
        self.at_least.is_none_or(|goal| self.value >= goal) && self.at_most.is_none_or(|goal| self.value <= goal)
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Violation {
    /// What was expected and what was seen.
    pub(crate) text: String,
    /// The command that shows it again.
    pub(crate) replay: Option<String>,
}

/// The result of one row.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Name of the row.
    pub(crate) row: &'static str,
    /// Number of the row.
    pub(crate) id: &'static str,
    /// What the row shows.
    pub(crate) about: &'static str,
    /// `short` or `full`.
    pub(crate) size: &'static str,
    /// Where the random choices began.
    pub(crate) seed: u64,
    /// Figures, in the order they were added.
    pub(crate) figures: Vec<Figure>,
    /// The first violations.
    pub(crate) violations: Vec<Violation>,
    /// All violations.
    pub(crate) violation_count: u64,
    /// Whether `--seconds` ended the row early.
    pub(crate) cut_short: bool,
    /// How long it took; of all runs together.
    pub(crate) seconds: f64,
    /// Measured times in milliseconds, by what took them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) times: BTreeMap<String, Times>,
    /// The runs that were added up, if any were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) runs: Vec<Run>,
    /// The program that is driven, in the words of [`Run::program`].
    #[serde(skip)]
    pub(crate) program: String,
    /// Where this run begins, in a row of numbered cases.
    #[serde(skip)]
    pub(crate) first_case: u64,
    /// The first case that was not run.
    #[serde(skip)]
    pub(crate) next_case: u64,
    #[serde(skip)]
    earlier: Earlier,
    #[serde(skip)]
    clock: SystemClock,
    #[serde(skip)]
    deadline: Option<f64>,
    /// Whether one violation is enough.
    #[serde(skip)]
    first_only: bool,
}

impl Report {
    pub(crate) fn new(row: &Row, options: &Options) -> Self {
        Self {
            row: row.name,
            id: row.id,
            about: row.about,
            size: options.size_word(),
            seed: options.seed,
            figures: Vec::new(),
            violations: Vec::new(),
            violation_count: 0,
            cut_short: false,
            seconds: 0.0,
            times: BTreeMap::new(),
            runs: Vec::new(),
            program: String::new(),
            first_case: 0,
            next_case: 0,
            earlier: Earlier::default(),
            clock: SystemClock::new(),
            deadline: options.seconds.map(|seconds| seconds as f64),
            first_only: options.plant.is_some(),
        }
    }

    /// Adds this run to what the result file in `folder` holds: one of other seeds, or of `numbered` cases of the same
    /// seed, which it then goes on with. To be called before anything is found.
    ///
    /// # Errors
    /// That file cannot be added to.
    pub(crate) fn add_to(&mut self, folder: &Path, numbered: bool) -> Result<()> {
        self.earlier = Earlier::read(&self.path(folder), self.seed, numbered)?;
        self.first_case = self.earlier.runs.last().map_or(0, |run| run.next_case);
        self.violations.clone_from(&self.earlier.violations);
        self.violation_count = self.earlier.violation_count;
        self.times.clone_from(&self.earlier.times);
        self.runs.clone_from(&self.earlier.runs);
        self.runs.push(Run { seed: self.seed, seconds: 0.0, program: String::new(), next_case: self.first_case });
        Ok(())
    }

    /// What the figure of this name came to in earlier runs.
    pub(crate) fn before(&self, name: &str) -> f64 {
        self.earlier.figure(name)
    }

    /// Seconds since the row began.
    pub(crate) fn elapsed(&self) -> f64 {
        self.clock.monotonic_nanos() as f64 / 1e9
    }

    /// Whether `--seconds` have passed; the row then ends in good order.
    pub(crate) fn out_of_time(&self) -> bool {
        (self.first_only && self.violation_count > 0)
            || self.deadline.is_some_and(|deadline| self.elapsed() >= deadline)
    }

    /// Says that the row ended before all of its cases were run.
    pub(crate) fn set_cut_short(&mut self) {
        self.cut_short = true;
    }

    /// Adds a figure.
    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64) {
        self.count(name.into(), value, None);
    }

    /// Adds a figure with what a full run has to reach.
    pub(crate) fn goal(&mut self, name: impl Into<String>, value: f64, at_least: f64) {
        self.count(name.into(), value, Some(at_least));
    }

    fn count(&mut self, name: String, value: f64, at_least: Option<f64>) {
        let value = value + self.earlier.figure(&name);
        self.figures.push(Figure { name, value, at_least, at_most: None, computed: false });
    }

    /// Adds a figure that is computed from others.
    pub(crate) fn computed(&mut self, name: impl Into<String>, value: f64, at_most: Option<f64>) {
        self.figures.push(Figure { name: name.into(), value, at_least: None, at_most, computed: true });
    }

    /// Adds measured times: their median, 99th percentile (with what it may not exceed) and the longest.
    pub(crate) fn times(&mut self, what: &str, times: &Times, p99_at_most: Option<f64>) {
        let all = self.times.entry(what.to_owned()).or_default();
        all.merge(times);
        let all = all.clone();
        for (word, share, at_most) in [("median", 0.5, None), ("p99", 0.99, p99_at_most), ("longest", 1.0, None)] {
            self.computed(format!("ms {what}, {word}"), all.at(share).round(), at_most);
        }
    }

    /// Adds a broken promise, with the arguments that show it again (`crash --case ...`). Said at once on stderr.
    pub(crate) fn violation(&mut self, text: impl Into<String>, replay: Option<String>) {
        self.violation_count += 1;
        if self.violations.len() < VIOLATIONS_KEPT_MAX {
            let replay = replay.map(|arguments| format!("cargo run --release -p strata-harness -- {arguments}"));
            let violation = Violation { text: text.into(), replay };
            eprintln!("VIOLATION in {}: {}", self.row, violation.text);
            if let Some(command) = &violation.replay {
                eprintln!("  again: {command}");
            }
            self.violations.push(violation);
        }
    }

    /// Whether every promise was kept.
    pub(crate) fn kept(&self) -> bool {
        self.violation_count == 0
    }

    /// Whether every figure is what a full run has to reach.
    pub(crate) fn goals_reached(&self) -> bool {
        self.figures.iter().all(Figure::reaches_its_goal)
    }

    /// Takes the time.
    pub(crate) fn close(&mut self) {
        self.seconds = self.elapsed();
        if let Some(run) = self.runs.last_mut() {
            run.seconds = self.seconds;
            run.program.clone_from(&self.program);
            run.next_case = self.next_case;
            self.seconds = self.runs.iter().map(|run| run.seconds).sum();
        }
    }

    /// Seconds that this run and all it is added to have taken until now.
    pub(crate) fn seconds_so_far(&self) -> f64 {
        self.elapsed() + self.runs.iter().map(|run| run.seconds).sum::<f64>()
    }

    /// One word on how it ended.
    pub(crate) fn verdict(&self) -> &'static str {
        match (self.kept(), self.goals_reached(), self.size) {
            (false, _, _) => "VIOLATED",
            (true, true, _) | (true, false, "short") => "kept",
            (true, false, _) => "kept, goal not reached",
        }
    }

    /// The figures in one line.
    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        for figure in &self.figures {
            let gap = if line.is_empty() { "" } else { ", " };
            let _ = write!(line, "{gap}{} {}", grouped(figure.value), figure.name);
            if let Some(goal) = figure.at_least.filter(|goal| figure.value < *goal) {
                let _ = write!(line, " (of {})", grouped(goal));
            }
            if let Some(goal) = figure.at_most.filter(|goal| figure.value > *goal) {
                let _ = write!(line, " (above {})", grouped(goal));
            }
        }
        line
    }

    /// Prints the result.
    pub(crate) fn show(&self) {
        println!("  {}", self.line());
        let cut = if self.cut_short { ", ended early by --seconds" } else { "" };
        println!("  {}: {} violations in {:.1} s{cut}", self.verdict(), self.violation_count, self.seconds);
    }

    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}-{}.json", self.row, self.size))
    }

    /// Writes `<row>-<size>.json` into `folder`; a result that is there stays whole until the new one is.
    pub(crate) fn write_json(&self, folder: &Path) -> Result<()> {
        let path = self.path(folder);
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let draft = path.with_extension("json.new");
        let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path));
        written.with_context(|| format!("{} takes no result", path.display()))
    }
}

/// A number with its thousands apart, and two digits after the point where it is no whole number.
pub(crate) fn grouped(value: f64) -> String {
    if value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && text != "-" {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", said.unwrap_or("without words"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0.0), "0");
        assert_eq!(grouped(4920.0), "4,920");
        assert_eq!(grouped(1_000_000.0), "1,000,000");
        assert_eq!(grouped(0.125), "0.12");
    }
}

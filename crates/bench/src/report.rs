//! Figures, and how they are shown: a table with ratios, and one JSON object per line for programs.
//!
//! A line is one thing measured on one subject. Its figure is the median of the repetitions by value, with the latencies
//! and costs of that same repetition, so that all numbers of a line belong together.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::load::Outcome;

/// What a subject is in the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// What the machine can do: the bare file system, a server that stores nothing.
    Reference,
    /// The machine's own file system.
    Machine,
    /// StrataFS.
    Ours,
    /// Somebody else's store.
    Peer,
}

/// The unit of a value, which also says what is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) enum Unit {
    /// Operations per second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// 10^6 bytes per second.
    #[serde(rename = "MB/s")]
    MegabytesPerSecond,
    /// Seconds, less is better.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds, less is better.
    #[serde(rename = "ms")]
    Milliseconds,
    /// MiB, less is better.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Bytes given per byte stored.
    #[serde(rename = "x")]
    Times,
    /// Bytes, less is better.
    #[serde(rename = "B")]
    Bytes,
    /// A number of something, less is better.
    #[serde(rename = "")]
    Count,
    /// Per cent, less is better.
    #[serde(rename = "%")]
    PerCent,
    /// MiB taken in per CPU second.
    #[serde(rename = "MiB/cpu-s")]
    PerCpuSecond,
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::PerSecond => "1/s",
            Self::MegabytesPerSecond => "MB/s",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::Times => "x",
            Self::Bytes => "B",
            Self::Count => "",
            Self::PerCent => "%",
            Self::PerCpuSecond => "MiB/cpu-s",
        }
    }

    /// How many times better `value` is than `other`.
    fn ratio(self, value: f64, other: f64) -> f64 {
        match self {
            Self::Seconds | Self::Milliseconds | Self::Mebibytes | Self::Bytes | Self::Count | Self::PerCent => {
                other / value
            }
            _ => value / other,
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// In the unit of its line.
    pub(crate) value: f64,
    /// Median latency, microseconds.
    pub(crate) p50_us: Option<f64>,
    /// 99th percentile of the latency, microseconds.
    pub(crate) p99_us: Option<f64>,
    /// CPU of the server per operation, microseconds.
    pub(crate) server_cpu_us: Option<f64>,
    /// CPU of the generator per operation, microseconds.
    pub(crate) generator_cpu_us: Option<f64>,
}

impl Figure {
    /// A bare number.
    pub(crate) fn value(value: f64) -> Self {
        Self { value, p50_us: None, p99_us: None, server_cpu_us: None, generator_cpu_us: None }
    }

    /// Costs and latencies of `outcome`, with its operations per second, its seconds, or, at `bytes` an operation, MB/s.
    pub(crate) fn of(outcome: &Outcome, unit: Unit, bytes: u64) -> Self {
        let value = match unit {
            Unit::MegabytesPerSecond => outcome.rate() * bytes as f64 / 1e6,
            Unit::Seconds => outcome.seconds,
            Unit::Milliseconds => outcome.p50_us.map_or(outcome.seconds * 1e3, |median| median / 1e3),
            _ => outcome.rate(),
        };
        let each = |seconds: f64| Some(seconds * 1e6 / outcome.operations.max(1) as f64);
        Self {
            value,
            p50_us: outcome.p50_us,
            p99_us: outcome.p99_us,
            server_cpu_us: each(outcome.server_cpu),
            generator_cpu_us: each(outcome.generator_cpu),
        }
    }
}

/// A line of the table.
#[derive(Serialize)]
struct Line {
    suite: &'static str,
    what: String,
    subject: String,
    role: Role,
    unit: Unit,
    #[serde(flatten)]
    figure: Figure,
    repetitions: usize,
    /// What the value has to stay below, where that is promised.
    below: Option<f64>,
    met: Option<bool>,
    /// How many times better than that it is.
    of_target: Option<f64>,
    of_machine: Option<f64>,
    of_reference: Option<f64>,
    of_best_peer: Option<f64>,
}

/// All figures of a run.
pub(crate) struct Report {
    header: serde_json::Value,
    lines: Vec<Line>,
    shown: usize,
}

impl Report {
    /// Without figures yet; `header` goes before the JSON lines.
    pub(crate) fn new(header: serde_json::Value) -> Self {
        Self { header, lines: Vec::new(), shown: 0 }
    }

    /// Adds what the repetitions of one measurement showed; without any, nothing.
    pub(crate) fn add(
        &mut self,
        suite: &'static str,
        what: &str,
        (subject, role): (&str, Role),
        unit: Unit,
        mut repetitions: Vec<Figure>,
    ) {
        repetitions.sort_by(|one, other| one.value.total_cmp(&other.value));
        let Some(median) = repetitions.get(repetitions.len() / 2) else {
            return;
        };
        self.lines.push(Line {
            suite,
            what: what.to_owned(),
            subject: subject.to_owned(),
            role,
            unit,
            figure: median.clone(),
            repetitions: repetitions.len(),
            below: None,
            met: None,
            of_target: None,
            of_machine: None,
            of_reference: None,
            of_best_peer: None,
        });
    }

    /// As [`Report::add`], for what is promised to stay below `below`.
    pub(crate) fn add_promised(
        &mut self,
        suite: &'static str,
        what: &str,
        who: (&str, Role),
        unit: Unit,
        repetitions: Vec<Figure>,
        below: f64,
    ) {
        self.add(suite, what, who, unit, repetitions);
        if let Some(line) = self.lines.last_mut() {
            (line.below, line.met) = (Some(below), Some(line.figure.value < below));
            line.of_target = Some(line.unit.ratio(line.figure.value, below)).filter(|ratio| ratio.is_finite());
        }
    }

    /// Fills in the ratios of every line that was not shown yet and prints them as a table.
    pub(crate) fn show(&mut self) {
        let fresh = &mut self.lines[self.shown..];
        let known: Vec<(String, Role, f64)> =
            fresh.iter().map(|line| (line.what.clone(), line.role, line.figure.value)).collect();
        for line in fresh.iter_mut() {
            let best = |role: Role| {
                let ratios = known
                    .iter()
                    .filter(|(what, of, value)| *what == line.what && *of == role && *value > 0.0)
                    .map(|(_, _, value)| line.unit.ratio(line.figure.value, *value));
                // The smallest ratio is the one against the best of them.
                ratios.min_by(f64::total_cmp)
            };
            line.of_machine = best(Role::Machine).filter(|_| line.role != Role::Machine);
            let other = !matches!(line.role, Role::Reference | Role::Machine);
            line.of_reference = best(Role::Reference).filter(|_| other);
            line.of_best_peer = best(Role::Peer).filter(|_| line.role == Role::Ours);
        }
        // By measurement in the order of their first line, subjects side by side.
        let order = |what: &str| known.iter().position(|(known, _, _)| known == what);
        fresh.sort_by_key(|line| order(&line.what));
        if !fresh.is_empty() {
            println!("{}\n", table(fresh));
        }
        self.shown = self.lines.len();
    }

    /// Writes everything that was shown as one table per suite, `words` before them.
    ///
    /// # Errors
    /// That the file could not be written.
    pub(crate) fn write_markdown(&self, path: &Path, words: &str) -> Result<()> {
        let mut text = String::from("# Figures\n");
        for line in words.lines() {
            text.push_str(&format!("\n- {line}"));
        }
        text.push('\n');
        for of_suite in self.lines[..self.shown].chunk_by(|one, other| one.suite == other.suite) {
            text.push_str(&format!("\n## {}\n\n{}\n", of_suite[0].suite, table(of_suite)));
        }
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// The small print.
    pub(crate) fn header(&self) -> &serde_json::Value {
        &self.header
    }

    /// Writes everything as JSON lines, the header first.
    ///
    /// # Errors
    /// That the file could not be written.
    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec(&self.header)?;
        text.push(b'\n');
        for line in &self.lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        let mut file = std::fs::File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(file.write_all(&text)?)
    }
}

/// Whether a promise was kept, in words.
fn kept(line: &Line) -> String {
    match (line.below, line.met) {
        (Some(below), Some(met)) => {
            let times = line.of_target.map(|ratio| format!(" (x {})", number(Some(ratio)))).unwrap_or_default();
            format!("below {}: {}{times}", number(Some(below)), if met { "met" } else { "MISSED" })
        }
        _ => String::new(),
    }
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "measured",
        "subject",
        "value",
        "unit",
        "p50 us",
        "p99 us",
        "server us/op",
        "generator us/op",
        "x file system",
        "x reference",
        "x best peer",
        "target",
    ]);
    let mut last = "";
    for line in lines {
        let figure = &line.figure;
        let what = if line.what == last { "" } else { &line.what };
        last = &line.what;
        table.add_row([
            what.to_owned(),
            line.subject.clone(),
            number(Some(figure.value)),
            line.unit.word().to_owned(),
            number(figure.p50_us),
            number(figure.p99_us),
            number(figure.server_cpu_us),
            number(figure.generator_cpu_us),
            number(line.of_machine),
            number(line.of_reference),
            number(line.of_best_peer),
            kept(line),
        ]);
    }
    table
}

/// Three significant digits and no more, nothing for nothing.
fn number(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 1.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_say_how_many_times_better_ours_is_than_the_best_of_the_others() {
        let mut report = Report::new(serde_json::json!({}));
        for (what, unit, values) in
            [("put", Unit::PerSecond, [100.0, 40.0, 20.0, 10.0]), ("untar", Unit::Seconds, [1.0, 2.0, 4.0, 8.0])]
        {
            let subjects = [Role::Reference, Role::Ours, Role::Peer, Role::Peer];
            for (role, value) in subjects.into_iter().zip(values) {
                report.add("s3", what, ("x", role), unit, vec![Figure::value(value)]);
            }
        }
        report.show();
        let ours: Vec<_> = report.lines.iter().filter(|line| line.role == Role::Ours).collect();
        assert_eq!((ours[0].of_reference, ours[0].of_best_peer), (Some(0.4), Some(2.0)));
        assert_eq!((ours[1].of_reference, ours[1].of_best_peer), (Some(0.5), Some(2.0)));
    }

    #[test]
    fn a_promise_is_met_below_its_limit_only() {
        let mut report = Report::new(serde_json::json!({}));
        for value in [0.0, 0.5, 1.0] {
            let figures = vec![Figure::value(value)];
            report.add_promised("growth", "again", ("x", Role::Ours), Unit::PerCent, figures, 1.0);
        }
        let said: Vec<String> = report.lines.iter().map(kept).collect();
        assert_eq!(said, ["below 1.00: met", "below 1.00: met (x 2.00)", "below 1.00: MISSED (x 1.00)"]);
    }

    #[test]
    fn the_markdown_has_a_table_per_suite() {
        let mut report = Report::new(serde_json::json!({}));
        for suite in ["s3", "nfs"] {
            report.add(suite, "put", ("x", Role::Ours), Unit::PerSecond, vec![Figure::value(1.0)]);
            report.show();
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        report.write_markdown(file.path(), "two cores\nmedian of 3").unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.contains("- two cores\n- median of 3\n"), "{text}");
        let (s3, nfs) = (text.find("## s3\n\n|").unwrap(), text.find("## nfs\n\n|").unwrap());
        assert!(s3 < nfs && text.matches("| put ").count() == 2, "{text}");
    }

    #[test]
    fn a_line_holds_its_median_repetition() {
        let mut report = Report::new(serde_json::json!({}));
        let values = [3.0, 1.0, 2.0].map(Figure::value).to_vec();
        report.add("s3", "put", ("x", Role::Ours), Unit::PerSecond, values);
        assert_eq!(report.lines[0].figure.value, 2.0);
    }
}

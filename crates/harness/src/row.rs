//! What a row is, the list of all of them, and how one is run.
//!
//! A row adds figures and violations to its [`Report`] and looks at [`Report::out_of_time`] between cases. It returns
//! an error only where it could not be run at all; a broken promise is a violation.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, ensure};

use crate::options::Options;
use crate::report::Report;
use crate::{outside, planted, schedules, sim};

/// One row of the reliability table.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Its number in the table, `R1` and so on.
    pub(crate) id: &'static str,
    /// What it shows, in one line.
    pub(crate) about: &'static str,
    /// Runs it.
    pub(crate) run: fn(&Options, &mut Report) -> Result<()>,
}

/// All rows, in the order of the table.
fn rows() -> impl Iterator<Item = &'static Row> {
    sim::ROWS.iter().chain(outside::ROWS).chain([&schedules::ROW, &planted::ROW])
}

/// The names of all rows.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    rows().map(|row| row.name)
}

/// The row of this name.
pub(crate) fn named(name: &str) -> Result<&'static Row> {
    rows().find(|row| row.name == name).with_context(|| format!("there is no row {name}"))
}

/// Runs a row, prints its figures and writes its result file. Returns whether every promise was kept.
///
/// A panic in the row (on this thread) is a violation like any other: the product may not panic under any fault.
pub(crate) fn run(row: &Row, options: &Options) -> Result<bool> {
    report_of(row, options).map(|report| report.kept())
}

/// Like [`run`], for the table of all rows.
pub(crate) fn report_of(row: &Row, options: &Options) -> Result<Report> {
    println!("{} {} --{} --seed {}: {}", row.id, row.name, options.size_word(), options.seed, row.about);
    let mut report = Report::new(row, options);
    if let Some(folder) = options.out.as_deref().filter(|_| options.add) {
        let numbered = sim::ROWS.iter().any(|known| known.name == row.name);
        ensure!(
            numbered || outside::SAMPLED.contains(&row.name),
            "row {} runs all of its cases at once: there is nothing to add to",
            row.name
        );
        report.add_to(folder, numbered)?;
    }
    let ended = catch_unwind(AssertUnwindSafe(|| (row.run)(options, &mut report)));
    match ended {
        Ok(ended) => ended.with_context(|| format!("row {} could not be run", row.name))?,
        Err(panic) => report.violation(crate::report::panic_text(&*panic), None),
    }
    report.close();
    report.show();
    if let Some(folder) = &options.out {
        report.write_json(folder)?;
    }
    Ok(report)
}

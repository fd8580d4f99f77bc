//! `all`: every row one after the other, and the table of what came of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};

use crate::options::Options;
use crate::report::Report;
use crate::{planted, row};

/// Seconds that a row may take in the short form, unless `--seconds` says otherwise.
const SHORT_SECONDS: u64 = 20;
/// Its name on the command line.
pub(crate) const NAME: &str = "all";

/// Runs every row, also after one that failed. Returns whether every promise was kept.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut reports = Vec::new();
    let mut kept = true;
    let mut options = options.clone();
    options.seconds = options.seconds.or(options.sized(Some(SHORT_SECONDS), None));
    let options = &options;
    for name in row::names() {
        if name == planted::ROW.name && !cfg!(feature = "planted-bugs") {
            println!("{name} is left out: built without the feature planted-bugs");
            continue;
        }
        match row::named(name).and_then(|row| row::report_of(row, options)) {
            Ok(report) => {
                kept &= report.kept();
                reports.push(report);
            }
            Err(error) => {
                kept = false;
                eprintln!("error: {error:#}");
            }
        }
    }
    let table = table(&reports);
    println!("{table}");
    if let Some(folder) = &options.out {
        write(folder, options, table, &reports)?;
    }
    Ok(kept)
}

fn cells(report: &Report) -> [String; 5] {
    let name = format!("{} `{}`", report.id, report.row);
    [name, report.about.to_owned(), report.line(), report.verdict().to_owned(), format!("{:.0} s", report.seconds)]
}

/// The table, as it is printed and as a page may hold it.
fn table(reports: &[Report]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["row", "shows", "figures", "promises", "time"]);
    for report in reports {
        table.add_row(cells(report));
    }
    table.to_string()
}

/// The table and all reports.
fn write(folder: &Path, options: &Options, table: String, reports: &[Report]) -> Result<()> {
    let stem = folder.join(format!("all-{}", options.size_word()));
    for (ending, text) in [("md", table), ("json", serde_json::to_string_pretty(reports)?)] {
        let path = stem.with_extension(ending);
        fs::write(&path, text + "\n").with_context(|| format!("{} takes no result", path.display()))?;
    }
    Ok(())
}

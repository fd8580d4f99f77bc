//! The command line, the same for every row.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::{all, row};

/// Shows, row by row, that what StrataFS acknowledged is kept and that nothing wrong is returned
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// The row of the reliability table
    #[arg(value_parser = PossibleValuesParser::new(row::names().chain([all::NAME])))]
    pub(crate) row: String,

    /// A sample that takes seconds: what every change must pass (the default)
    #[arg(long, conflicts_with = "full")]
    pub(crate) short: bool,

    /// The whole row, as a release must pass it
    #[arg(long)]
    pub(crate) full: bool,

    /// Where the row's random choices begin; printed with every result
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Stop after this many seconds and report what was reached by then
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,

    /// Threads to explore with [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Leave a result file per row in DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Add this run to the result in DIR: counts are added up, and goals are for all together. An outside row takes
    /// another seed; a simulated one the same, and goes on with the case at which it ended
    #[arg(long, requires = "out")]
    pub(crate) add: bool,

    /// Run this one case only, as printed with a violation; `log-*` runs all whose name begins so
    #[arg(long, value_name = "CASE", conflicts_with = "add")]
    pub(crate) case: Option<String>,

    /// Switch this bug on, and end at the first violation (used by row `planted`)
    #[arg(long, value_name = "BUG", hide = true)]
    pub(crate) plant: Option<String>,

    /// The program that the outside rows drive [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) strata: Option<PathBuf>,

    /// Folder for data on a real file system; emptied at the end [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

impl Options {
    /// The threads a row may use.
    pub(crate) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
    }

    /// `short` or `full`, by the size of the run.
    pub(crate) fn sized<T>(&self, short: T, full: T) -> T {
        if self.full { full } else { short }
    }

    /// As it is written on the command line.
    pub(crate) fn size_word(&self) -> &'static str {
        self.sized("short", "full")
    }
}

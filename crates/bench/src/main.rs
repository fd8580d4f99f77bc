//! `strata-bench`: one command that measures the `strata` program through its doors beside what the machine can do and,
//! with `--peers`, beside other stores. docs/benchmarks.md says what each suite measures and how to read it.
//!
//! Data stays under 30 GB in one temporary folder, which goes away at the end, also after an interruption.

mod clock;
mod content;
mod dav;
mod http;
mod load;
mod machine;
mod nfs;
mod options;
mod process;
mod reference;
mod report;
mod s3;
mod subject;
mod suite;
mod tree;
mod watchdog;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{Options, SuiteName};
use crate::report::Report;
use crate::suite::Bench;

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = if options.serve_reference { reference::serve() } else { run(options) };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: Options) -> Result<()> {
    let place = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("strata-bench-").tempdir_in(&place);
    let folder = folder.with_context(|| format!("{} takes no folder for the data", place.display()))?;
    let about = machine::describe(&options, folder.path());
    println!("{}", machine::words(&about));
    let mut bench = Bench::new(options, Report::new(about), folder.path());
    let mut terminated = signal(SignalKind::terminate())?;
    let ended = tokio::select! {
        ended = suites(&mut bench) => ended,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; what was measured so far is above")),
        _ = terminated.recv() => Err(anyhow::anyhow!("interrupted; what was measured so far is above")),
    };
    // What was measured before an interruption is shown too.
    bench.keep_figures()?;
    ended
}

/// Runs all suites that are wanted, also after one that failed.
async fn suites(bench: &mut Bench) -> Result<()> {
    let mut failed = Vec::new();
    for suite in bench.options.wanted() {
        println!("{suite:?}");
        let ended = match suite {
            SuiteName::S3 => suite::s3::run(bench).await,
            SuiteName::List => suite::list::run(bench).await,
            SuiteName::Mount => suite::mount::run(bench).await,
            SuiteName::Webdav => suite::webdav::run(bench).await,
            SuiteName::Nfs => suite::nfs::run(bench).await,
            SuiteName::Dedup => suite::dedup::run(bench).await,
            SuiteName::Growth => suite::growth::run(bench).await,
            SuiteName::Restart => suite::restart::run(bench).await,
            SuiteName::Scale => suite::scale::run(bench).await,
            SuiteName::Beside => suite::beside::run(bench).await,
            SuiteName::Lock => suite::lock::run(bench).await,
            SuiteName::Memory => suite::memory::run(bench).await,
        };
        bench.keep_figures()?;
        if let Err(error) = ended {
            eprintln!("{suite:?} failed: {error:#}");
            failed.push(suite);
        }
    }
    ensure!(failed.is_empty(), "these suites failed: {failed:?}");
    Ok(())
}

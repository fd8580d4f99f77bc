//! `strata-harness`: one command per row of the reliability table (docs/reliability.md).
//!
//! Rows below [`sim`] run the libraries over simulated disks, single-threaded and replayable from a seed; rows below
//! [`outside`] drive the real program over real file systems. Every row prints its seed and its figures, leaves a
//! result file where `--out` says, and makes the process fail when a promise was broken.

mod all;
mod cases;
mod follower;
mod options;
mod outside;
mod planted;
mod report;
mod row;
mod schedules;
mod sim;

use std::process::ExitCode;

use clap::Parser;

use crate::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    // A panic is a finding: where it came from belongs beside it, a trace of the harness does not.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let planted = options.plant.as_deref().map_or(Ok(()), planted::plant);
    let ended = if let Err(error) = planted {
        Err(error)
    } else if options.row == all::NAME {
        all::run(&options)
    } else {
        row::named(&options.row).and_then(|row| row::run(row, &options))
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

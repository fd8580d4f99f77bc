//! `strata`: one store, many doors. This file reads the command line, starts the runtime and turns results into exit codes; everything
//! else is in the modules.
//!
//! Exit codes: 0 success; 1 the command failed, `fsck` found violations, or a heal could not restore everything; 2 a flag, variable or
//! configuration file is wrong; 3 another process has the store or one of its disks; 4 shutdown was cut short, by a second signal or
//! the deadline (what was acknowledged is safe all the same); 5 a check was ended before it was complete.

mod allocator;
mod bar;
mod buckets;
mod clear;
mod cli;
mod config;
mod control;
mod descriptors;
mod disks;
mod doors;
mod doors_file;
mod foreign;
mod fsck;
mod greeting;
mod guard;
mod interrupt;
mod keeper;
mod keys;
mod lock;
mod locks;
mod metrics;
mod mount;
mod notify;
mod operation;
mod passes;
mod private;
mod process;
mod rates;
mod ready;
mod reclaim;
mod running;
mod scratch;
mod segments;
mod serve;
mod sets;
mod status;
mod store;
mod trim;
mod upgrade;
mod user;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::parse();
    private::by_default();
    cli::log_to_stderr(cli.log.as_deref());
    descriptors::raise();
    match cli::run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("strata: {error:#}");
            cli::exit_code_of(&error)
        }
    }
}

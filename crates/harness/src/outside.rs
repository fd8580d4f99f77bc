//! Rows over the real program: processes that are killed, file systems whose power is cut, stores that older versions wrote.
//!
//! `client` holds the smallest client per protocol and `door` puts them behind one interface; `model` says what may be
//! found after a crash, `worker` makes the load, `check` compares; `lane` ties them to a store and its servers.

mod check;
mod client;
mod clock;
mod door;
mod events;
mod golden;
mod kill;
mod lane;
mod model;
mod power;
mod renew;
mod rng;
mod server;
mod shared;
mod worker;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::options::Options;
use crate::row::Row;

/// The rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[kill::ROW, power::ROW, renew::ROW, events::ROW, golden::ROW];

/// The names of those that go on for as long as they are let, so that runs may be added up.
pub(crate) const SAMPLED: &[&str] = &[kill::ROW.name, power::ROW.name];

/// A folder for the stores of a row; it goes away at the end.
fn folder(options: &Options, row: &str) -> Result<TempDir> {
    let below = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix(&format!("strata-{row}-")).tempdir_in(&below);
    folder.with_context(|| format!("{} takes no folder for the stores", below.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::options::Options;
    use crate::report::Report;
    use crate::row::Row;

    /// Runs the short form of a row with the program that was built beside this test.
    fn short(row: &Row) {
        let test = std::env::current_exe().unwrap();
        let strata = test.parent().and_then(|deps| deps.parent()).unwrap().join("strata");
        if !strata.is_file() {
            eprintln!("skipped: {} is not built", strata.display());
            return;
        }
        let strata = strata.to_str().unwrap();
        let options = Options::parse_from(["strata-harness", row.name, "--seconds", "30", "--strata", strata]);
        let mut report = Report::new(row, &options);
        (row.run)(&options, &mut report).unwrap();
        assert!(report.kept(), "{:?}", report.violations);
        println!("{}", report.line());
    }

    #[test]
    fn a_server_that_is_killed_now_and_then_loses_nothing() {
        short(&super::kill::ROW);
    }

    #[test]
    fn who_follows_a_server_that_is_killed_now_and_then_knows_its_tree() {
        short(&super::events::ROW);
    }

    #[test]
    fn disks_that_are_replaced_under_a_running_server_are_whole_afterwards() {
        short(&super::renew::ROW);
    }

    mod root {
        #[test]
        fn file_systems_that_are_cut_off_now_and_then_lose_nothing_acknowledged() {
            super::short(&super::super::power::ROW);
        }
    }
}

//! Rows over the real program: processes that are killed, file systems whose power is cut, stores that older versions wrote.
//!
//! `client` holds the smallest client per protocol and `door` puts them behind one interface; `model` says what may be
//! found after a crash, `worker` makes the load, `check` compares; `lane` ties them to a store and its servers.

mod check;
mod client;
mod clock;
mod door;
mod golden;
mod kill;
mod lane;
mod model;
mod power;
mod rng;
mod server;
mod shared;
mod worker;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::options::Options;
use crate::row::Row;

/// The rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[kill::ROW, power::ROW, golden::ROW];

/// The names of those that go on for as long as they are let, so that runs may be added up.
pub(crate) const SAMPLED: &[&str] = &[kill::ROW.name, power::ROW.name];

/// A folder for the stores of a row; it goes away at the end.
fn folder(options: &Options, row: &str) -> Result<TempDir> {
    let below = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix(&format!("strata-{row}-")).tempdir_in(&below);
    folder.with_context(|| format!("{} takes no folder for the stores", below.display()))
}

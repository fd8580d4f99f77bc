//! Rows over simulated disks: no thread of the product, no wall clock, every failure replayable from what is printed.

mod corrupt;
mod crash;
mod iofail;
mod layout;
mod log;
mod loss;
mod model;
mod mover;
mod replace;
mod rig;
mod sled;
mod step;
mod swarm;
mod trouble;
mod workload;

use crate::row::Row;

/// The rows, in the order of the table.
pub(crate) const ROWS: &[Row] =
    &[loss::ROW, crash::ROW, iofail::ROW, swarm::ROW, corrupt::ROW, sled::ROW, replace::ROW];

//! Rows over simulated disks: no thread of the product, no wall clock, every failure replayable from what is printed.

mod loss;
mod rig;

use crate::row::Row;

/// The rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[loss::ROW];

//! Rows over the real program: processes that are killed, file systems whose power is cut, stores that older versions wrote.

use crate::row::Row;

/// The rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[];

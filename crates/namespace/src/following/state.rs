//! How far what follows moved folders is.

use strata_seam::Ino;

/// How far the directory is with which the steps are: kept in memory, and begun again after a restart.
#[derive(Default)]
pub(crate) struct Following {
    pub(crate) dir: Option<Ino>,
    /// What the directory's row said when its first entry was looked at.
    pub(crate) row: Vec<u8>,
    /// Where to go on.
    pub(crate) from: Vec<u8>,
}

//! What opening a store of an earlier version would change in it; for `strata upgrade --dry-run`.

use std::sync::Arc;

use strata_content::Store;
use strata_ledger::Ledger;
use strata_namespace::{FORMAT_MARK, Result, UpgradeReport, upgrade_planned};
use strata_seam::{Clock, Disk, Entropy};

use crate::assemble::StoreConfig;
use crate::recover::recover_found;

/// Whether the store on these disks has records of an earlier version, which opening it for writing upgrades. Reads the superblocks alone,
/// and changes nothing.
#[must_use]
pub fn is_of_earlier_version(disks: &[Arc<dyn Disk>]) -> bool {
    matches!(Ledger::find(disks), Ok(Some(_))) && !Ledger::is_marked(disks, FORMAT_MARK)
}

/// What opening a store would do to its records; `None` where they are of this version's format. Changes nothing of what was
/// opened with `config` but its index.
///
/// # Errors
/// What keeps the store from opening, and reading it.
pub fn upgrade_plan(
    config: &StoreConfig,
    clock: &Arc<dyn Clock>,
    entropy: &dyn Entropy,
) -> Result<Option<UpgradeReport>> {
    let recovered = recover_found(config, clock, entropy)?;
    upgrade_planned(&*Store::new(Arc::new(recovered.ledger), recovered.index, config.content)?)
}

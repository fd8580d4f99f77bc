//! Small stores on simulated disks, for the tests of this crate.

use std::sync::Arc;

use strata_content::StoreSettings;
use strata_ledger::{Geometry, Options};
use strata_seam::sim::{SimEntropy, SimWorld};
use strata_seam::{Clock, Disk};

use crate::error::Result;
use crate::types::Durability;
use crate::{OpenStore, StoreConfig};

/// A store of these disks, all of a set, `parity` of which hold parity; without threads, its index in memory.
pub(crate) fn config(disks: Vec<Arc<dyn Disk>>, parity: u8) -> StoreConfig {
    let data_shards = u8::try_from(disks.len()).expect("few disks") - parity;
    StoreConfig {
        create: Some(Geometry { data_shards, parity_shards: parity }),
        disks,
        index_dir: None,
        index_cache_bytes: 1 << 20,
        ledger: Options { segment_len: 16 << 20, ..Options::default() },
        content: StoreSettings { cache_bytes: 8 << 20, ..StoreSettings::default() },
        owner: (0, 0),
        durability: Durability::Strict,
        threads: false,
    }
}

/// The store on the one disk of a world, made where there is none.
///
/// # Errors
/// What keeps it from opening.
pub(crate) fn on_one_disk(world: &SimWorld) -> Result<OpenStore> {
    open(world, config(vec![world.disk("disk") as Arc<dyn Disk>], 0))
}

/// The store of this configuration.
///
/// # Errors
/// What keeps it from opening.
pub(crate) fn open(world: &SimWorld, config: StoreConfig) -> Result<OpenStore> {
    let clock: Arc<dyn Clock> = world.clock();
    OpenStore::open(config, clock, &SimEntropy::new(7))
}

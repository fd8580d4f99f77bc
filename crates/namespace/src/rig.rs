//! Small stores on simulated disks, for the tests of this crate.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use strata_content::StoreSettings;
use strata_index::EngineKind;
use strata_ledger::{Geometry, Options};
use strata_seam::sim::{SimEntropy, SimWorld};
use strata_seam::{Clock, Disk};

use crate::error::Result;
use crate::types::Durability;
use crate::{OpenStore, StoreConfig};

/// The engine that the variable `STRATA_INDEX_ENGINE` asks the tests to run over.
fn engine() -> Option<EngineKind> {
    std::env::var("STRATA_INDEX_ENGINE").ok().map(|word| word.parse().expect("an engine of the index"))
}

/// Where the index is: in memory, or in a fresh folder, which goes with the test, if it is to run over an engine.
fn index_dir() -> Option<PathBuf> {
    thread_local!(static FOLDERS: RefCell<Vec<tempfile::TempDir>> = const { RefCell::new(Vec::new()) });
    engine().map(|_| {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("index");
        FOLDERS.with_borrow_mut(|folders| folders.push(folder));
        dir
    })
}

/// A store of these disks, all of a set, `parity` of which hold parity; without threads, its index as [`index_dir`] says.
pub(crate) fn config(disks: Vec<Arc<dyn Disk>>, parity: u8) -> StoreConfig {
    let data_shards = u8::try_from(disks.len()).expect("few disks") - parity;
    StoreConfig {
        create: Some(Geometry { data_shards, parity_shards: parity }),
        disks,
        index_dir: index_dir(),
        index_engine: engine(),
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

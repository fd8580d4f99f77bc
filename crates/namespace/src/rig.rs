//! Small stores on simulated disks, for the tests of this crate.

mod engine;

use std::sync::Arc;

use strata_content::StoreSettings;
use strata_ledger::{Geometry, Options};
use strata_seam::sim::{SimEntropy, SimWorld};
use strata_seam::{Clock, Disk};

/// Slots of a superblock: their length, where their incompatible features are, and where their checksum (docs/format/superblock.md).
const SLOT_LEN: usize = 4096;
const INCOMPAT_AT: usize = 8;
const CRC_AT: usize = 4092;
/// Bits that releases knew whose records had format 4 or less.
const KNOWN_BEFORE: u8 = 3;

/// The valid slots of a disk's superblock, with their offsets.
fn slots(disk: &dyn Disk) -> Vec<(u64, Vec<u8>)> {
    let file = disk.open("superblock").expect("a superblock");
    let slot = |at: u64| {
        let mut slot = vec![0; SLOT_LEN];
        file.read_at(at, &mut slot).expect("read");
        (at, slot)
    };
    let valid = |(_, slot): &(u64, Vec<u8>)| slot[CRC_AT..] == crc(slot);
    [0, SLOT_LEN as u64].map(slot).into_iter().filter(valid).collect()
}

fn crc(slot: &[u8]) -> [u8; 4] {
    crc_fast::crc32_iscsi(&slot[..CRC_AT]).to_le_bytes()
}

/// Takes the marks of later releases off a disk's superblock: it is as releases before them wrote it.
pub(crate) fn unmark(disk: &dyn Disk) {
    let mut whole = vec![0; 2 * SLOT_LEN];
    for (at, mut slot) in slots(disk) {
        slot[INCOMPAT_AT] &= KNOWN_BEFORE;
        let sum = crc(&slot);
        slot[CRC_AT..].copy_from_slice(&sum);
        let at = usize::try_from(at).expect("small");
        whole[at..at + SLOT_LEN].copy_from_slice(&slot);
    }
    disk.replace("superblock", &whole).expect("replaced");
}

/// Whether a release whose records have format 4 refuses the disk: a valid slot has a bit that it does not know.
pub(crate) fn keeps_off(disk: &dyn Disk) -> bool {
    slots(disk).iter().any(|(_, slot)| slot[INCOMPAT_AT] & !KNOWN_BEFORE != 0)
}

use crate::error::Result;
use crate::types::Durability;
use crate::{OpenStore, StoreConfig};

use engine::{engine, index_dir};

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

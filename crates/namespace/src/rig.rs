//! Small stores on simulated disks, for the tests of this crate: without background workers, and with the index in memory, rebuilt from the
//! whole log at every opening.

use std::sync::Arc;

use strata_content::{Batch, ContentError, Store, StoreSettings, place_blocks};
use strata_index::{Index, IndexOptions};
use strata_ledger::{Geometry, Ledger, Options};
use strata_seam::sim::{SimEntropy, SimWorld};
use strata_seam::{Clock, Disk};

use crate::authority::{Action, Operation};
use crate::error::Result;
use crate::namespace::{Identity, Namespace};
use crate::types::{Door, DoorNumber, Durability};

/// A door of users, as S3 is one.
pub(crate) static S3: Door = Door::of_users("s3", DoorNumber::new(1), &[]);
/// Another one, as WebDAV.
pub(crate) static WEBDAV: Door = Door::of_users("webdav", DoorNumber::new(4), &[]);
/// A door of uids with a kernel behind it, as the mount.
pub(crate) static MOUNT: Door =
    Door { settles: false, keeps_pages: true, ..Door::of_uids("mount", DoorNumber::new(2), &[]) };
/// A door of uids where nothing is opened, as NFS.
pub(crate) static NFS: Door = Door {
    has_opens: false,
    ..Door::of_uids("nfs", DoorNumber::new(3), &[Operation::new("getattr", &[Action::ReadAttributes])])
};

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

/// An open store.
pub(crate) struct OpenStore {
    namespace: Arc<Namespace>,
    world: SimWorld,
}

impl OpenStore {
    /// Its name space.
    pub(crate) fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Everything is written, and the store ends.
    ///
    /// # Errors
    /// What could not be made durable.
    pub(crate) fn close(self) -> Result<()> {
        Ok(self.namespace.store().sync()?)
    }

    /// Asserts that nothing is wrong with it. A copy of the disk is looked at, after everything is written that can be.
    pub(crate) fn is_whole(&self) {
        drop(self.namespace.store().sync());
        let copy = self.world.fork();
        let config = strata_runtime::StoreConfig {
            disks: vec![copy.disk("disk") as Arc<dyn Disk>],
            create: None,
            index_dir: None,
            index_engine: None,
            index_cache_bytes: 1 << 20,
            ledger: options(),
            content: settings(),
            owner: (0, 0),
            durability: strata_runtime::Durability::Strict,
            threads: false,
        };
        let store = strata_runtime::OpenStore::open(config, copy.clock(), &SimEntropy::new(7)).expect("a store");
        let report = strata_check::check_store(store.namespace(), true, &mut |_| {}).expect("checked");
        assert_eq!(report.violations, Vec::<String>::new());
    }
}

fn settings() -> StoreSettings {
    StoreSettings { cache_bytes: 8 << 20, ..StoreSettings::default() }
}

fn options() -> Options {
    Options { segment_len: 16 << 20, ..Options::default() }
}

/// The store on the one disk of a world, made where there is none.
///
/// # Errors
/// What keeps it from opening.
pub(crate) fn on_one_disk(world: &SimWorld) -> Result<OpenStore> {
    let store = store_on(world)?;
    let identity = Identity { store_id: [7; 16], boot_id: 7, uid: 0, gid: 0, durability: Durability::Strict };
    Ok(OpenStore { namespace: Namespace::over(store, world.clock(), identity)?, world: world.clone() })
}

/// A store without its name space: none of its records is upgraded.
///
/// # Errors
/// What keeps it from opening.
pub(crate) fn store_on(world: &SimWorld) -> Result<Arc<Store>, ContentError> {
    let (clock, entropy): (Arc<dyn Clock>, _) = (world.clock(), SimEntropy::new(7));
    let disks = vec![world.disk("disk") as Arc<dyn Disk>];
    let set = match Ledger::find(&disks)? {
        Some(set) => set,
        None => {
            let geometry = Geometry { data_shards: 1, parity_shards: 0 };
            Ledger::format(&disks, geometry, &options(), &*clock, &entropy)?
        }
    };
    let index = Arc::new(Index::in_memory_with(IndexOptions {
        cells_shown: &[crate::key::TABLE_TIMES],
        ..IndexOptions::new(set)
    }));
    let ledger = Ledger::open(disks, options(), clock, &entropy, None, &mut |append| {
        index.apply(append.lsn, &place_blocks(&append.blocks).expect("blocks of this store"));
        if let Some(commit) = &append.commit {
            index.apply(append.lsn, &Batch::decode(commit).expect("a commit of this store"));
        }
        Ok(())
    })?;
    index.note_written(ledger.status().position);
    Store::new(Arc::new(ledger), index, settings())
}

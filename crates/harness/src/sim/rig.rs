//! A whole store on simulated disks, as every row opens it, and short words for what is done to it.

use std::path::PathBuf;
use std::sync::Arc;

use strata_check::check_store;
use strata_ledger::{Geometry, Options};
use strata_namespace::{Caller, ContentSettings, Door, DoorNumber, Durability, Namespace, Op, Result};
use strata_runtime::{EngineKind, OpenStore, StoreConfig};
use strata_seam::sim::{SimEntropy, SimWorld};
use strata_seam::{Clock, Disk, SegmentId};

static S3: Door = Door::of_users("s3", DoorNumber::new(1), &[]);

/// The bucket every row works in.
pub(crate) const BUCKET: &str = "bkt";
/// Beside the tree that is compared: what becomes garbage for the mover passes through it.
pub(crate) const ASIDE: &str = "aside";

/// Disks of a set by data and parity.
pub(crate) type Layout = (u8, u8);

/// What a store is made with; the world holds everything else.
#[derive(Clone, Debug)]
pub(crate) struct Rig {
    /// Data and parity disks of the set that it is made with.
    pub(crate) layout: Layout,
    /// Names of the disks that an opening is given.
    pub(crate) disks: Vec<String>,
    /// Settings of the ledger.
    pub(crate) ledger: Options,
    /// Settings of the content layer.
    pub(crate) content: ContentSettings,
    /// Class of the buckets.
    pub(crate) durability: Durability,
    /// Makes the identities that this rig draws other than those of its like.
    pub(crate) salt: u64,
    /// Folder of the index; `None` keeps it in memory.
    pub(crate) index_dir: Option<PathBuf>,
    /// Its engine, in a folder.
    pub(crate) index_engine: EngineKind,
}

impl Rig {
    /// Small segments and stripes, so that little data crosses many borders.
    pub(crate) fn small(layout: Layout) -> Self {
        let shard = (512 << 10) / u32::from(layout.0);
        let ledger = Options {
            segment_len: 640 << 10,
            shard_payload_max: shard.next_multiple_of(4096).max(64 << 10),
            ..Options::default()
        };
        Self {
            layout,
            disks: (0..usize::from(layout.0 + layout.1)).map(Self::disk_name).collect(),
            ledger,
            content: super::step::fine(0),
            durability: Durability::Strict,
            salt: 0,
            index_dir: None,
            index_engine: EngineKind::Sled,
        }
    }

    /// Number of disks of the first set.
    pub(crate) fn disk_count(&self) -> usize {
        usize::from(self.layout.0) + usize::from(self.layout.1)
    }

    /// The name in the world of a disk of the first set.
    pub(crate) fn disk_name(index: usize) -> String {
        format!("d{index:02}")
    }

    fn config(&self, world: &SimWorld) -> StoreConfig {
        let disk = |name: &String| -> Arc<dyn Disk> { world.disk(name) };
        StoreConfig {
            disks: self.disks.iter().map(disk).collect(),
            create: Some(Geometry { data_shards: self.layout.0, parity_shards: self.layout.1 }),
            index_dir: self.index_dir.clone(),
            index_engine: Some(self.index_engine),
            index_cache_bytes: 1 << 20,
            ledger: self.ledger.clone(),
            content: self.content,
            owner: (0, 0),
            durability: self.durability,
            threads: false,
        }
    }

    /// Opens the store on the world's disks, or makes it on blank ones.
    pub(crate) fn open(&self, world: &SimWorld) -> Result<OpenStore> {
        let clock: Arc<dyn Clock> = world.clock();
        OpenStore::open(self.config(world), clock, &SimEntropy::new((world.io_count() + 1) ^ self.salt << 32))
    }

    /// A new store with its buckets.
    pub(crate) fn make(&self, world: &SimWorld) -> Result<OpenStore> {
        let store = self.open(world)?;
        for bucket in [BUCKET, ASIDE] {
            store.namespace().create_bucket(&root(), bucket, None)?;
        }
        Ok(store)
    }
}

/// A request of the superuser.
pub(crate) fn root() -> Op {
    Op::new(Caller::root(&S3))
}

/// The whole of an object.
pub(crate) fn get(ns: &Namespace, key: &str) -> Result<Vec<u8>> {
    let (_, reader) = ns.get_object(&root(), BUCKET, key.as_bytes())?;
    let mut out = Vec::new();
    while (out.len() as u64) < reader.len() {
        out.extend_from_slice(&reader.read(out.len() as u64, 1 << 20)?);
    }
    Ok(out)
}

/// Every invariant of the name space and every chunk's bytes; what is wrong, or what kept the check from ending.
pub(crate) fn violations(ns: &Namespace) -> Vec<String> {
    match check_store(ns, true, &mut |_| {}) {
        Ok(report) => report.violations,
        Err(error) => vec![format!("the check could not read the store: {error:?}")],
    }
}

/// Tables that a store just opened has emptied: pages of unfinished ingests, files unlinked while open.
const TRANSIENT: [(u8, &str); 2] = [(b'O', "a page of an unfinished ingest"), (b'Q', "an unlinked file")];

/// What a start should have cleared away.
pub(crate) fn leftovers(ns: &Namespace) -> Vec<String> {
    let left = |table: u8| ns.store().range(&[table], &[table + 1], 1).map_or(true, |found| !found.is_empty());
    let found = TRANSIENT.iter().filter(|(table, _)| left(*table));
    found.map(|(_, what)| format!("{what} outlived the process that had it")).collect()
}

/// The segments that a disk has files of.
pub(crate) fn segments_of(world: &SimWorld, disk: &str) -> Vec<SegmentId> {
    let files = world.files(disk).into_iter();
    files.filter_map(|file| u32::from_str_radix(file.name.strip_prefix("seg-")?, 16).ok()).map(SegmentId).collect()
}

/// Segment files that the checkpoint says were given back, on any of the disks: an opening removes them.
pub(crate) fn given_back_and_there(ns: &Namespace, world: &SimWorld, disks: &[String]) -> Option<String> {
    let checkpoint = ns.store().checkpoint()?;
    disks.iter().find_map(|disk| {
        let stale = segments_of(world, disk)
            .into_iter()
            .find(|segment| *segment < checkpoint.position().segment && !checkpoint.kept().contains(segment))?;
        Some(format!("{disk} still has segment {stale}, which was given back"))
    })
}

/// Bytes that neither compress nor repeat.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    strata_seam::sim::SimRng::new(seed).fill(&mut bytes);
    bytes
}

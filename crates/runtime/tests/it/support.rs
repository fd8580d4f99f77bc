//! A small store on simulated disks, and short helpers for the tests.

mod engine;

use std::sync::Arc;

use strata_check::check_store;
use strata_content::StoreSettings;
use strata_ledger::{Geometry, Options};
use strata_namespace::{
    Access, Caller, Condition, Content, Door, DoorNumber, Durability, Namespace, ObjectInfo, ObjectMeta, Op, Result,
};
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::sim::{SimEntropy, SimWorld};
use strata_seam::{Clock, Disk, Ino};

pub(crate) use engine::engine;
use engine::index_dir;

pub(crate) static S3: Door = Door::of_users("s3", DoorNumber::new(1), &[]);
pub(crate) static WEBDAV: Door = Door::of_users("webdav", DoorNumber::new(4), &[]);
pub(crate) static MOUNT: Door =
    Door { settles: false, keeps_pages: true, ..Door::of_uids("mount", DoorNumber::new(2), &[]) };
pub(crate) static NFS: Door = Door { has_opens: false, ..Door::of_uids("nfs", DoorNumber::new(3), &[]) };

pub(crate) const RW: Access = Access { read: true, write: true, exec: false };

pub(crate) fn config(world: &SimWorld, data: u8, parity: u8) -> StoreConfig {
    let disks: Vec<Arc<dyn Disk>> =
        (0..data + parity).map(|n| -> Arc<dyn Disk> { world.disk(&format!("disk{n}")) }).collect();
    StoreConfig {
        disks,
        create: Some(Geometry { data_shards: data, parity_shards: parity }),
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

pub(crate) fn try_open(world: &SimWorld, data: u8, parity: u8) -> Result<OpenStore> {
    let clock: Arc<dyn Clock> = world.clock();
    OpenStore::open(config(world, data, parity), clock, &SimEntropy::new(world.io_count() + 1))
}

pub(crate) fn open(world: &SimWorld) -> OpenStore {
    try_open(world, 2, 1).expect("the store opens")
}

/// A new store with the bucket `bkt`.
pub(crate) fn store() -> (SimWorld, OpenStore) {
    let world = SimWorld::new(1);
    let store = open(&world);
    store.namespace().create_bucket(&root(), "bkt", None).expect("a bucket");
    (world, store)
}

pub(crate) fn root() -> Op {
    Op::new(Caller::root(&S3))
}

pub(crate) fn user(uid: u32) -> Op {
    Op::new(Caller::new(uid, uid, Arc::from([]), &MOUNT))
}

pub(crate) fn content(ns: &Namespace, data: &[u8]) -> Content {
    let mut ingest = ns.ingest(&root(), "bkt").expect("an ingest");
    ingest.push(data).expect("pushed");
    ingest.finish().expect("content")
}

pub(crate) fn put(ns: &Namespace, key: &str, data: &[u8]) -> ObjectInfo {
    let content = content(ns, data);
    let op = root();
    let info = ns
        .put_object(&op, "bkt", key.as_bytes(), content, None, ObjectMeta::default(), &Condition::default())
        .expect("put");
    ns.settle_blocking(&op).expect("settled");
    info
}

pub(crate) fn get(ns: &Namespace, key: &str) -> Result<Vec<u8>> {
    let (info, reader) = ns.get_object(&root(), "bkt", key.as_bytes())?;
    let mut out = Vec::new();
    while (out.len() as u64) < reader.len() {
        out.extend_from_slice(&reader.read(out.len() as u64, 1 << 20)?);
    }
    assert_eq!(info.attr.size, out.len() as u64);
    Ok(out)
}

pub(crate) fn read_file(ns: &Namespace, ino: Ino) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let step = ns.read(&root(), ino, out.len() as u64, 1 << 20).expect("read");
        if step.is_empty() {
            return out;
        }
        out.extend_from_slice(&step);
    }
}

pub(crate) fn keys(ns: &Namespace, prefix: &str, delimiter: Option<&str>) -> (Vec<String>, Vec<String>) {
    let (mut found, mut prefixes, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let query = strata_namespace::ListQuery {
            prefix: prefix.as_bytes().to_vec(),
            delimiter: delimiter.map(|delimiter| delimiter.as_bytes().to_vec()),
            after,
            limit: 3,
        };
        let page = ns.list(&root(), "bkt", &query).expect("list");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        found.extend(page.objects.into_iter().map(|(key, _)| text(key)));
        prefixes.extend(page.prefixes.into_iter().map(text));
        match page.next {
            Some(next) => after = Some(next),
            None => return (found, prefixes),
        }
    }
}

/// Bytes that neither compress nor repeat.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Every invariant holds.
pub(crate) fn sound(ns: &Namespace) {
    let report = check_store(ns, true, &mut |_| {}).expect("checked");
    assert_eq!(report.violations, Vec::<String>::new());
    let locks = ns.locks(&root()).expect("locks");
    assert!(locks.len() <= ns.locks_held());
    for lock in locks {
        let on = ns.locks_on(&root(), lock.ino.expect("an inode")).expect("its inode is there");
        assert!(on.contains(&lock), "{} binds what it is on", lock.token);
    }
}

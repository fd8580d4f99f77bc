//! What small changes cost: CPU of the one thread that makes them, and bytes of their commits.
//!
//! `cargo run --release -p strata-runtime --example change_rate -- [FOLDER] [COUNT]`: a store on one disk below FOLDER (default: the
//! temporary folder), written without a sync, 32 changes together, COUNT of each kind (default 20,000). Everything is removed at the end.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a measurement that fails says where")]

use std::path::Path;
use std::sync::Arc;

use strata_disk::FileDisk;
use strata_ledger::{Class, Geometry, Options};
use strata_namespace::{
    Access, Caller, Condition, ContentSettings, Door, DoorNumber, Durability, Namespace, ObjectMeta, Op,
};
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::{Disk, SystemClock, SystemEntropy};

static S3: Door = Door::of_users("s3", DoorNumber::new(1), &[]);
static MOUNT: Door = Door { settles: false, keeps_pages: true, ..Door::of_uids("mount", DoorNumber::new(2), &[]) };

/// Changes that are written together, as of so many clients.
const TOGETHER: u64 = 32;

fn open(folder: &Path) -> OpenStore {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(&folder.join("disk0")).unwrap());
    let config = StoreConfig {
        disks: vec![disk],
        create: Some(Geometry { data_shards: 1, parity_shards: 0 }),
        index_dir: None,
        index_engine: None,
        index_cache_bytes: 64 << 20,
        ledger: Options::default(),
        content: ContentSettings { overlay_bytes_max: 1 << 30, ..ContentSettings::default() },
        owner: (0, 0),
        durability: Durability::Relaxed,
        threads: false,
    };
    OpenStore::open(config, Arc::new(SystemClock::new()), &SystemEntropy).unwrap()
}

/// Nanoseconds that this thread has run.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Mean length of the commits in the segment that is written.
fn commits(ns: &Namespace) -> (u64, u64) {
    let ledger = ns.store().ledger();
    let segment = ledger.writing();
    ledger.begin_segment().unwrap();
    let (mut count, mut bytes) = (0, 0);
    ledger.walk_segment(segment, &mut |append| {
        if let Some(commit) = append.commit {
            count += 1;
            bytes += commit.len() as u64;
        }
    });
    (count, bytes)
}

fn measure(ns: &Namespace, what: &str, count: u64, mut change: impl FnMut(u64)) {
    ns.store().ledger().begin_segment().unwrap();
    let start = cpu();
    for number in 0..count {
        change(number);
        if number % TOGETHER == TOGETHER - 1 {
            let last = ns.store().last_commit();
            ns.store().ledger().wait(last, Class::Written).unwrap();
        }
    }
    let nanos = cpu() - start;
    let (commits, bytes) = commits(ns);
    println!(
        "{what:<28} {:>8.2} us of CPU each, {:>6.1} bytes a commit",
        nanos as f64 / count as f64 / 1e3,
        bytes as f64 / commits.max(1) as f64
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let below = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let count: u64 = arguments.next().map_or(20_000, |text| text.parse().unwrap());
    let folder = tempfile::Builder::new().prefix("changes").tempdir_in(below).unwrap();
    std::fs::create_dir(folder.path().join("disk0")).unwrap();
    let store = open(folder.path());
    let ns = store.namespace();
    let root = |door| Op::new(Caller::root(door));
    let bucket = ns.create_bucket(&root(&S3), "bucket", None).unwrap().root;
    let put = |key: String, seed: u64| {
        let op = root(&S3);
        let mut ingest = ns.ingest(&op, "bucket").unwrap();
        ingest.push(&[seed.to_le_bytes(); 512].concat()).unwrap();
        let content = ingest.finish().unwrap();
        let tag = Some(strata_namespace::ContentTag::Given("d41d8cd98f00b204e9800998ecf8427e".to_owned()));
        ns.put_object(&op, "bucket", key.as_bytes(), content, tag, ObjectMeta::default(), &Condition::default())
            .unwrap();
    };
    measure(ns, "PUT 4 KiB, new", count, |number| put(format!("2026/11/{number:08}.jpg"), number));
    measure(ns, "PUT 4 KiB, over another", count, |number| put(format!("2026/11/{number:08}.jpg"), number + count));
    let dir = ns.mkdir(&root(&MOUNT), bucket, b"dir", 0o755).unwrap().ino;
    let access = Access { read: true, write: true, exec: false };
    measure(ns, "create and close", count, |number| {
        let op = root(&MOUNT);
        let name = format!("{number:08}.jpg");
        let ino = ns.create(&op, dir, name.as_bytes(), 0o644, access, true, false).unwrap().ino;
        ns.close(&op, ino, false).unwrap();
    });
    measure(ns, "unlink", count, |number| {
        ns.unlink(&root(&MOUNT), dir, format!("{number:08}.jpg").as_bytes()).unwrap();
    });
    measure(ns, "DELETE", count, |number| {
        let key = format!("2026/11/{number:08}.jpg");
        ns.delete_object(&root(&S3), "bucket", key.as_bytes(), &Condition::default()).unwrap();
    });
}

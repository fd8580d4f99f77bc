//! The store as a whole, without threads of its own: readers, writers, pins and the mover at once.
//!
//! What is claimed: who has a file open reads what it opened, whole, whatever takes its place; what an ingest or a reader
//! relies on is not freed under it.

use std::sync::{Arc, LazyLock};

use shuttle::rand::Rng;
use shuttle::thread;
use strata_check_scheduled::check_store;
use strata_content_scheduled::StoreSettings;
use strata_ledger_scheduled::{Geometry, Options};
use strata_namespace_scheduled::{Access, Caller, Condition, Door, DoorNumber, Durability, Namespace, ObjectMeta, Op};
use strata_runtime_scheduled::Runtime;
use strata_runtime_scheduled::{OpenStore, StoreConfig};
use strata_seam::sim::{SimEntropy, SimWorld, Snapshot};
use strata_seam::{Disk, Ino};

static S3: Door = Door::of_users("s3", DoorNumber::new(1), &[]);

const BUCKET: &str = "bkt";
const KEY: &[u8] = b"f";
/// More than is kept inside a record.
const LEN: usize = 5000;

fn root() -> Op {
    Op::new(Caller::root(&S3))
}

fn open(world: &SimWorld, create: bool) -> OpenStore {
    let config = StoreConfig {
        disks: vec![world.disk("disk") as Arc<dyn Disk>],
        create: create.then_some(Geometry { data_shards: 1, parity_shards: 0 }),
        index_dir: None,
        index_engine: None,
        index_cache_bytes: 1 << 20,
        ledger: Options {
            segment_len: 512 << 10,
            shard_payload_max: 64 << 10,
            reserve_segments: 0,
            ..Options::default()
        },
        content: StoreSettings { cache_bytes: 1 << 20, ..StoreSettings::default() },
        owner: (0, 0),
        durability: Durability::Strict,
        threads: false,
    };
    OpenStore::open(config, world.clock(), &SimEntropy::new(7)).expect("a store")
}

/// A store with one object, made by an earlier process.
static MADE: LazyLock<Snapshot> = LazyLock::new(|| {
    let made = Arc::new(parking_lot::Mutex::new(None));
    let theirs = Arc::clone(&made);
    // Locks work only under the scheduler.
    let make = move || {
        let world = SimWorld::new(1);
        let store = open(&world, true);
        store.namespace().create_bucket(&root(), BUCKET, None).expect("a bucket");
        put(store.namespace(), KEY, 1);
        store.close().expect("closed");
        *theirs.lock() = Some(world.snapshot());
    };
    std::thread::scope(|scope| {
        let made = scope
            .spawn(|| shuttle::Runner::new(shuttle::scheduler::RandomScheduler::new(1), super::config()).run(make));
        made.join().expect("a store is made");
    });
    let snapshot = made.lock().take();
    snapshot.expect("it was made")
});

fn store() -> OpenStore {
    let world = SimWorld::new(1);
    world.restore(&MADE);
    open(&world, false)
}

fn bytes(number: u8) -> Vec<u8> {
    // Does not compress, so that it is told apart from its neighbours in every chunk.
    (0..LEN).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ number).collect()
}

fn put(ns: &Namespace, key: &[u8], number: u8) {
    let mut ingest = ns.ingest(&root(), BUCKET).expect("an ingest");
    ingest.push(&bytes(number)).expect("pushed");
    let content = ingest.finish().expect("content");
    ns.put_object(&root(), BUCKET, key, content, None, ObjectMeta::default(), &Condition::default()).expect("put");
}

/// Which content these bytes are; exactly one, whole.
fn number(found: &[u8]) -> u8 {
    let number = found.first().copied().unwrap_or_default();
    assert!(found == bytes(number), "{} bytes that are no content", found.len());
    number
}

fn file(ns: &Namespace) -> Ino {
    let bucket = ns.bucket(&root(), BUCKET).expect("the bucket").root;
    ns.lookup(&root(), bucket, KEY).expect("the file").ino
}

/// A file is replaced twice while two others open it, read it and let it go.
pub(super) fn pins() {
    let store = store();
    let ns = store.namespace();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let ns = Arc::clone(ns);
            thread::spawn(move || {
                let op = root();
                let ino = file(&ns);
                let opened = ns.open(&op, ino, Access { read: true, ..Access::default() }, false).expect("opened");
                let pin = ns.pin(ino);
                let whole = |pin| number(&ns.read_pinned(&root(), (pin, opened.permit), 0, 2 * LEN).expect("read"));
                let first = whole(&pin);
                let half = ns.read_pinned(&op, (&pin, opened.permit), LEN as u64 / 2, LEN).expect("read");
                assert!(half == bytes(first)[LEN / 2..], "the second half is of another content");
                assert_eq!(whole(&pin), first, "an open file changed its content");
                ns.unpin(&op, pin).expect("unpinned");
                ns.close(&op, ino, false).expect("closed");
                first
            })
        })
        .collect();
    put(ns, KEY, 2);
    put(ns, KEY, 3);
    for reader in readers {
        let seen = reader.join().expect("a reader");
        assert!((1..=3).contains(&seen));
    }
    finish(&store);
}

/// The mover takes up everything while objects with the same content come, go and are read.
pub(super) fn reclaim() {
    let store = store();
    let ns = store.namespace();
    let reader = {
        let ns = Arc::clone(ns);
        thread::spawn(move || {
            let (_, reader) = ns.get_object(&root(), BUCKET, KEY).expect("the object");
            let first = reader.read(0, LEN / 2).expect("read");
            let rest = reader.read(first.len() as u64, LEN).expect("read behind a removal and a move");
            number(&[&first[..], &rest[..]].concat());
        })
    };
    let writer = {
        let ns = Arc::clone(ns);
        thread::spawn(move || {
            // The same chunks as those that are just being let go.
            let kept = shuttle::rand::thread_rng().gen_range(1..3_u8);
            put(&ns, b"g", kept);
            let (_, reader) = ns.get_object(&root(), BUCKET, b"g").expect("the object");
            assert_eq!(number(&reader.read(0, LEN).expect("read")), kept);
        })
    };
    let mover = {
        let ns = Arc::clone(ns);
        thread::spawn(move || {
            Runtime::over(Arc::clone(&ns))
                .reclaim(std::time::Duration::from_secs(1), &mut |_| true)
                .map(drop)
                .expect("reclaimed")
        })
    };
    put(ns, KEY, 2);
    for thread in [reader, writer, mover] {
        thread.join().expect("a thread");
    }
    finish(&store);
}

/// Every invariant holds at the end, and nothing is left over.
fn finish(store: &OpenStore) {
    let checked = check_store(store.namespace(), true, &mut |_| {}).expect("checked");
    assert!(checked.violations.is_empty(), "{}", checked.violations.join("; "));
}

//! Every I/O of a workload failing, in several ways: no panic, no false acknowledgement, and what was acknowledged is
//! there at the next start.

use std::collections::BTreeMap;

use strata_namespace::{Condition, Namespace, ObjectMeta, Op, Result};
use strata_runtime::OpenStore;
use strata_seam::DiskErrorKind;
use strata_seam::sim::{Fault, FaultKind, IoOp, SimWorld, sweep_failures};

use crate::support::*;

/// What each key may hold: what was acknowledged last, and everything tried since.
type Promised = BTreeMap<&'static str, Vec<Vec<u8>>>;

fn tried(promised: &mut Promised, key: &'static str, data: &[u8], done: impl FnOnce() -> Result<()>) {
    let may = promised.entry(key).or_default();
    may.push(data.to_vec());
    if done().is_ok() {
        *may = vec![data.to_vec()];
    }
}

fn settled(ns: &Namespace, op: &Op, result: Result<()>) -> Result<()> {
    result.and_then(|()| ns.settle_blocking(op))
}

fn put_settled(ns: &Namespace, key: &str, data: &[u8]) -> Result<()> {
    let op = root();
    let mut ingest = ns.ingest(&op, "bkt")?;
    ingest.push(data)?;
    let content = ingest.finish()?;
    let put = ns.put_object(&op, "bkt", key.as_bytes(), content, None, ObjectMeta::default(), &Condition::default());
    settled(ns, &op, put.map(|_| ()))
}

fn write_settled(ns: &Namespace, at: u64, data: &[u8]) -> Result<()> {
    let op = root();
    let ino = ns.resolve(&op, b"/bkt/file")?.ino;
    ns.write(&op, ino, at, data)?;
    // A failed sync is tried again: the bytes are still there.
    let synced = ns.fsync(&op, ino);
    settled(ns, &op, synced.or_else(|_| ns.fsync(&op, ino)))
}

fn work(world: &SimWorld) -> Promised {
    let mut promised = Promised::from([("kept", vec![b"kept".to_vec()]), ("file", vec![noise(9, 1000)])]);
    let Ok(store) = try_open(world, 2, 1) else { return promised };
    let ns = store.namespace();
    let (one, two) = (noise(1, 30_000), noise(2, 300_000));
    tried(&mut promised, "one", &one, || put_settled(ns, "one", &one));
    tried(&mut promised, "kept", &two, || put_settled(ns, "kept", &two));
    // The same bytes again: they may be left out only if they are stored.
    tried(&mut promised, "again", &one, || put_settled(ns, "again", &one));
    let mut file = noise(9, 1000);
    file[500..600].copy_from_slice(&noise(3, 100));
    tried(&mut promised, "file", &file, || write_settled(ns, 500, &noise(3, 100)));
    file.extend(noise(4, 50_000));
    tried(&mut promised, "file", &file, || write_settled(ns, 1000, &noise(4, 50_000)));
    tried(&mut promised, "one", b"new", || put_settled(ns, "one", b"new"));
    promised
}

fn check(store: &OpenStore, promised: &Promised, what: &str) {
    for (key, may) in promised {
        match get(store.namespace(), key) {
            Ok(data) => assert!(may.contains(&data), "{what}: '{key}' holds {} bytes nobody wrote there", data.len()),
            // Only a value that was never acknowledged may be missing; an acknowledged first value must be the only one.
            Err(error) => assert!(
                matches!(*key, "one" | "again") && error.kind == strata_namespace::ErrorKind::NotFound,
                "{what}: '{key}': {error:?}"
            ),
        }
    }
    sound(store.namespace());
}

fn sweep(disk: Option<&str>) {
    let (world, store) = store();
    put(store.namespace(), "kept", b"kept");
    put(store.namespace(), "file", &noise(9, 1000));
    drop(store);
    world.kill_process();
    let on = |fault: Fault| disk.map_or(fault.clone(), |disk| fault.on(disk));
    let faults = [
        on(Fault::medium().of(IoOp::Write)),
        on(Fault::full()),
        on(Fault::medium().of(IoOp::Sync)),
        on(Fault::new(FaultKind::FailedSyncReverts)),
        on(Fault::new(FaultKind::ShortWrite)),
        on(Fault::new(FaultKind::Fail(DiskErrorKind::Medium)).of(IoOp::Create)),
    ];
    let runs = sweep_failures(&world, &faults, work, |world, promised, fault| {
        let broken = world.snapshot();
        for choice in 0..2 {
            world.restore(&broken);
            world.restart(choice);
            let what = format!("{fault:?}, choice {choice}");
            // Every disk is back, whatever failed: refusing the store would lose what is there.
            let store = try_open(world, 2, 1).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            check(&store, promised, &what);
            put(store.namespace(), "later", b"it takes writes again");
        }
    });
    assert!(runs > 100, "only {runs} runs: the workload does too little I/O");
}

#[test]
fn a_failure_of_any_io_of_one_disk_loses_nothing_acknowledged() {
    sweep(Some("disk1"));
}

#[test]
fn a_failure_of_any_io_of_any_disk_loses_nothing_acknowledged() {
    sweep(None);
}

#[test]
fn a_store_below_its_write_quorum_is_opened_to_be_read_though_something_is_left_to_remove() {
    let world = SimWorld::new(5);
    let store = try_open(&world, 2, 2).unwrap();
    let ns = store.namespace();
    let op = root();
    ns.create_bucket(&op, "bkt", None).unwrap();
    put(ns, "kept", b"kept");
    let bucket = ns.resolve(&op, b"/bkt").unwrap().ino;
    // Removed while open: the process dies before its last close.
    ns.create(&op, bucket, b"unlinked", 0o600, RW, true, false).unwrap();
    ns.unlink(&op, bucket, b"unlinked").unwrap();
    ns.settle_blocking(&op).unwrap();
    drop(store);
    world.kill_process();

    let mut few = config(&world, 2, 2);
    few.disks.truncate(2);
    let store = OpenStore::open(few, world.clock(), &strata_seam::sim::SimEntropy::new(7)).unwrap();
    assert_eq!(get(store.namespace(), "kept").unwrap(), b"kept");
    assert!(put_settled(store.namespace(), "new", b"new").is_err());
    drop(store);
    world.kill_process();

    let store = try_open(&world, 2, 2).unwrap();
    assert_eq!(get(store.namespace(), "kept").unwrap(), b"kept");
    sound(store.namespace());
}

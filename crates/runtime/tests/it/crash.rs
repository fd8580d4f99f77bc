//! Crashes at every I/O of small workloads, with up to `parity` disks lost on top: what was acknowledged is there,
//! nothing is half visible, every invariant holds.

use strata_namespace::{Condition, ErrorKind, ObjectMeta, RenameMode, SetAttr};
use strata_seam::sim::SimWorld;

use crate::support::*;

/// What the tree looks like: key to content.
type Tree = Vec<(String, Vec<u8>)>;

fn tree(ns: &strata_namespace::Namespace) -> Tree {
    let found = keys(ns, "", None).0;
    found
        .into_iter()
        .map(|key| {
            let data = get(ns, &key).expect("listed, so readable");
            (key, data)
        })
        .collect()
}

/// Steps of a workload; each is acknowledged when it returns.
type StepFn = fn(&strata_namespace::Namespace) -> strata_namespace::Result<()>;

fn settle(ns: &strata_namespace::Namespace, op: &strata_namespace::Op) -> strata_namespace::Result<()> {
    ns.settle_blocking(op)
}

fn try_put(ns: &strata_namespace::Namespace, key: &str, data: &[u8]) -> strata_namespace::Result<()> {
    let op = root();
    let mut ingest = ns.ingest(&op, "bkt")?;
    ingest.push(data)?;
    let content = ingest.finish()?;
    ns.put_object(&op, "bkt", key.as_bytes(), content, None, ObjectMeta::default(), &Condition::default())?;
    settle(ns, &op)
}

const STEPS: [(&str, StepFn); 8] = [
    ("put", |ns| try_put(ns, "d/one", &noise(1, 20_000))),
    ("overwrite", |ns| try_put(ns, "keep", &noise(2, 300_000))),
    ("multipart", |ns| {
        let op = root();
        let upload = ns.create_upload(&op, "bkt", b"joined", ObjectMeta::default())?;
        let mut parts = Vec::new();
        for number in 1..=2u32 {
            let mut ingest = ns.ingest(&op, "bkt")?;
            ingest.push(&vec![u8::try_from(number).expect("small"); 5 << 20])?;
            let etag = format!("{number:032x}");
            ns.put_part(&op, "bkt", b"joined", &upload.id, number, ingest.finish()?, etag.clone(), Default::default())?;
            parts.push((number, etag));
        }
        ns.complete_upload(&op, "bkt", b"joined", &upload.id, &parts, Default::default(), &Condition::default())?;
        settle(ns, &op)
    }),
    ("rename", |ns| {
        let op = root();
        let bucket = ns.resolve(&op, b"/bkt")?.ino;
        ns.rename(&op, (bucket, b"d"), (bucket, b"moved"), RenameMode::Replace)?;
        settle(ns, &op)
    }),
    ("truncate", |ns| {
        let op = root();
        let ino = ns.resolve(&op, b"/bkt/keep")?.ino;
        ns.setattr(&op, ino, &SetAttr { size: Some(100_001), ..SetAttr::default() })?;
        settle(ns, &op)
    }),
    ("write and sync", |ns| {
        let op = root();
        let ino = ns.resolve(&op, b"/bkt/keep")?.ino;
        ns.write(&op, ino, 50_000, &noise(3, 4096))?;
        ns.fsync(&op, ino)?;
        settle(ns, &op)
    }),
    ("delete", |ns| {
        let op = root();
        ns.delete_object(&op, "bkt", b"moved/one", &Condition::default())?;
        settle(ns, &op)
    }),
    ("copy", |ns| {
        let op = root();
        ns.copy_object(
            &op,
            ("bkt", b"keep"),
            &Condition::default(),
            ("bkt", b"copies/keep"),
            &Condition::default(),
            None,
        )?;
        settle(ns, &op)
    }),
];

/// The tree after each number of steps, by running them without a crash.
fn states() -> Vec<Tree> {
    let (_world, store) = prepared();
    let ns = store.namespace();
    let mut states = vec![tree(ns)];
    for (name, step) in STEPS {
        step(ns).unwrap_or_else(|error| panic!("{name}: {error}"));
        states.push(tree(ns));
    }
    states
}

fn prepared() -> (SimWorld, strata_runtime::OpenStore) {
    let (world, store) = store();
    put(store.namespace(), "keep", &noise(42, 10_000));
    (world, store)
}

#[test]
fn a_crash_at_any_io_leaves_a_prefix_that_holds_everything_acknowledged() {
    let states = states();
    let (world, store) = prepared();
    drop(store);
    world.kill_process();
    let start = world.snapshot();
    let mut crash_points = 0;
    // I/Os are numbered from one.
    let mut at = 1;
    loop {
        world.restore(&start);
        let first = world.io_count();
        world.crash_at(first + at);
        let acknowledged = match try_open(&world, 2, 1) {
            Err(_) => 0,
            Ok(store) => STEPS.iter().take_while(|(_, step)| step(store.namespace()).is_ok()).count(),
        };
        if !world.is_crashed() {
            break;
        }
        let crashed = world.snapshot();
        for choice in 0..4u64 {
            world.restore(&crashed);
            world.restart(choice);
            // One of the three disks is lost on top.
            if choice > 0 {
                world.vanish(&format!("disk{}", choice - 1));
            }
            let store = try_open(&world, 2, 1)
                .unwrap_or_else(|error| panic!("crash at {at}, choice {choice}: {error} {error:?}"));
            let found = tree(store.namespace());
            let seen = states.iter().position(|state| *state == found);
            assert!(
                seen == Some(acknowledged) || seen == Some(acknowledged + 1),
                "crash at {at}, choice {choice}: {acknowledged} steps acknowledged, state {seen:?}: {:?}",
                found.iter().map(|(key, data)| (key, data.len())).collect::<Vec<_>>()
            );
            sound(store.namespace());
        }
        crash_points += 1;
        at += 1;
    }
    assert!(crash_points > 30, "only {crash_points} crash points: the workload does too little I/O");
}

#[test]
fn losing_more_disks_than_parity_is_refused_and_says_so() {
    let (world, store) = prepared();
    drop(store);
    world.kill_process();
    world.vanish("disk0");
    world.vanish("disk1");
    let error = try_open(&world, 2, 1).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Io, "{error}");
}

#[test]
fn a_set_too_small_to_be_written_is_read_whatever_the_last_process_left_unfinished() {
    let world = SimWorld::new(3);
    let store = try_open(&world, 2, 2).unwrap();
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).unwrap();
    put(ns, "kept", b"kept");
    put(ns, "open", &noise(4, 5000));
    let ino = ns.resolve(&root(), b"/bkt/open").unwrap().ino;
    ns.open(&root(), ino, RW, false).unwrap();
    let op = root();
    ns.delete_object(&op, "bkt", b"open", &Condition::default()).unwrap();
    ns.settle_blocking(&op).unwrap();
    drop(store);
    world.restart(0);
    world.vanish("disk1");
    world.vanish("disk2");
    let store = try_open(&world, 2, 2).expect("two of 2+2 disks are enough to read");
    assert_eq!(get(store.namespace(), "kept").unwrap(), b"kept");
    drop(store);
    world.kill_process();
    world.bring_back("disk1");
    world.bring_back("disk2");
    let store = try_open(&world, 2, 2).unwrap();
    sound(store.namespace());
    let left = store.namespace().store().range(b"Q", b"R", 1).unwrap();
    assert!(left.is_empty(), "the next start that can write has removed it");
}

#[test]
fn each_opening_that_changes_something_is_a_session_of_its_own_and_ends_what_others_left() {
    let (world, store) = store();
    let ns = store.namespace();
    let first = ns.store().session();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let file = ns.create(&root(), bucket, b"f", 0o600, RW, true, false).unwrap().ino;
    ns.unlink(&root(), bucket, b"f").unwrap();
    assert!(ns.getattr(&root(), file).is_ok(), "open in this session");
    ns.store().ledger().sync().unwrap();
    drop(store);
    world.kill_process();
    let store = open(&world);
    let second = store.namespace().store().session();
    assert_eq!(second.0, first.0 + 1);
    assert_eq!(store.namespace().getattr(&root(), file).unwrap_err().kind, ErrorKind::Stale);
    sound(store.namespace());
    store.namespace().store().ledger().sync().unwrap();
    drop(store);
    world.kill_process();
    assert_eq!(open(&world).namespace().store().session().0, second.0 + 1);
}

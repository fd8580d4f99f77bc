//! What goes wrong where changes meet failures, limits and each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use strata_namespace::{
    Access, Condition, ContentSettings, ContentTag, ErrorKind, ListQuery, NewNode, NodeKind, ObjectMeta, Op, SetAttr,
    Wanted, XattrMode,
};
use strata_runtime::OpenStore;
use strata_seam::sim::{Fault, FaultKind, IoOp, SimEntropy, SimWorld};
use strata_seam::{Clock, DiskErrorKind, Ino};

use crate::support::*;

fn restarted(world: &SimWorld, store: OpenStore) -> OpenStore {
    let op = root();
    // The sync is refused if a fault stopped the ledger; what was acknowledged is safe then, too.
    let _synced = store.namespace().sync_all(&op).and_then(|()| store.namespace().settle_blocking(&op));
    drop(store);
    world.restart(0);
    open(world)
}

fn bucket(store: &OpenStore) -> Ino {
    store.namespace().resolve(&root(), b"/bkt").unwrap().ino
}

fn file() -> NewNode {
    NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 }
}

#[test]
fn numbers_are_not_given_out_twice_when_the_change_that_reserved_them_failed() {
    let (world, store) = store();
    let store = restarted(&world, store);
    let dir = bucket(&store);
    let ns = store.namespace();
    // The first change of a start reserves numbers; this one draws one and fails.
    let key = vec![b'k'; 900];
    let missing =
        ns.copy_object(&root(), ("bkt", b"missing"), &Condition::default(), ("bkt", &key), &Condition::default(), None);
    assert!(missing.is_err());
    let wrong =
        Condition { wanted: Some(Wanted::OneOf(vec![ContentTag::Given("none".to_owned())])), ..Condition::default() };
    let refused =
        ns.put_object(&root(), "bkt", b"new/directory/object", content(ns, b"x"), None, ObjectMeta::default(), &wrong);
    assert!(refused.is_err(), "directories were made, numbers drawn, and then the condition did not hold");
    let op = root();
    let before = ns.mknod(&op, dir, b"before", file()).unwrap().ino;
    ns.settle_blocking(&op).unwrap();
    drop(store);
    world.restart(0);
    let store = open(&world);
    let after = store.namespace().mknod(&root(), bucket(&store), b"after", file()).unwrap().ino;
    assert!(after > before, "{after} after {before}");
    assert_eq!(store.namespace().lookup(&root(), bucket(&store), b"before").unwrap().ino, before);
    sound(store.namespace());
}

#[test]
fn sealing_the_front_of_a_file_keeps_old_bytes_before_a_short_append() {
    let (_world, store) = store();
    let ns = store.namespace();
    let mut model = noise(7, 12_000_000);
    put(ns, "f", &model);
    let ino = ns.resolve(&root(), b"/bkt/f").unwrap().ino;
    ns.open(&root(), ino, RW, false).unwrap();
    let tail = noise(8, 10);
    ns.write(&root(), ino, model.len() as u64, &tail).unwrap();
    model.extend_from_slice(&tail);
    // Enough at the front to have it sealed.
    for at in (0..9_000_000).step_by(1_000_000) {
        let data = noise(at as u64, 1_000_000);
        ns.write(&root(), ino, at as u64, &data).unwrap();
        model[at..at + data.len()].copy_from_slice(&data);
    }
    assert!(read_file(ns, ino) == model, "before closing");
    ns.close(&root(), ino, true).unwrap();
    assert!(get(ns, "f").unwrap() == model, "after closing");
    sound(ns);
}

#[test]
fn a_put_replaces_what_was_written_and_not_yet_synced() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "d/f", b"first");
    let dir = ns.resolve(&root(), b"/bkt/d").unwrap().ino;
    let ino = ns.lookup(&root(), dir, b"f").unwrap().ino;
    let write = || {
        ns.write(&root(), ino, 0, b"written before and longer").unwrap();
    };
    write();
    put(ns, "d/f", b"put");
    assert_eq!(get(ns, "d/f").unwrap(), b"put");
    write();
    let content = content(ns, b"webdav");
    ns.put_file(&root(), dir, b"f", content, None, ObjectMeta::default(), &Condition::default()).unwrap();
    assert_eq!(get(ns, "d/f").unwrap(), b"webdav");
    put(ns, "other", b"copied");
    write();
    ns.copy_object(&root(), ("bkt", b"other"), &Condition::default(), ("bkt", b"d/f"), &Condition::default(), None)
        .unwrap();
    assert_eq!(get(ns, "d/f").unwrap(), b"copied");
    write();
    ns.copy_tree(&root(), (bucket(&store), b"other"), (dir, b"f"), true, true).unwrap();
    assert_eq!(get(ns, "d/f").unwrap(), b"copied");
    sound(ns);
}

#[test]
fn what_a_full_disk_refused_is_stored_by_the_next_attempt() {
    let (world, mut store) = store();
    put(store.namespace(), "kept", b"kept");
    let data = noise(3, 40_000);
    let mut refused = 0;
    for attempt in 0..3 {
        world.set_fault(Fault::new(FaultKind::Fail(DiskErrorKind::Full)).of(IoOp::Write));
        world.set_fault(Fault::new(FaultKind::Fail(DiskErrorKind::Full)).of(IoOp::Create));
        let ns = store.namespace();
        let tries = (0..8).filter(|n| {
            let op = root();
            let made = (|| {
                let mut ingest = ns.ingest(&op, "bkt")?;
                ingest.push(if *n == 0 { b"another" } else { &data })?;
                let content = ingest.finish()?;
                ns.put_object(&op, "bkt", b"f", content, None, ObjectMeta::default(), &Condition::default())?;
                ns.settle_blocking(&op)
            })();
            made.is_err()
        });
        refused += tries.count();
        world.clear_faults();
        let op = root();
        let again = (|| {
            let mut ingest = ns.ingest(&op, "bkt")?;
            ingest.push(&data)?;
            let content = ingest.finish()?;
            ns.put_object(&op, "bkt", b"f", content, None, ObjectMeta::default(), &Condition::default())?;
            ns.settle_blocking(&op)
        })();
        store = restarted(&world, store);
        match again {
            Ok(()) => assert!(get(store.namespace(), "f").unwrap() == data, "attempt {attempt}"),
            Err(error) => assert!(matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::NoSpace), "{error}"),
        }
        sound(store.namespace());
    }
    assert!(refused > 0);
}

#[test]
fn an_answer_that_rests_on_a_removal_or_a_refusal_waits_for_it() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "f", b"data");
    let removal = root();
    assert!(ns.delete_object(&removal, "bkt", b"f", &Condition::default()).unwrap());
    let again = root();
    assert!(!ns.delete_object(&again, "bkt", b"f", &Condition::default()).unwrap());
    assert!(again.lsn() >= removal.lsn(), "nothing is there, and stays so only when the removal is durable");
    let made = root();
    ns.mkdir(&made, bucket(&store), b"d", 0o755).unwrap();
    let refused = root();
    assert_eq!(ns.mkdir(&refused, bucket(&store), b"d", 0o755).unwrap_err().kind, ErrorKind::Exists);
    assert!(refused.lsn() >= made.lsn());
}

#[test]
fn a_thousand_long_keys_are_deleted_by_one_request() {
    let (_world, store) = store();
    let ns = store.namespace();
    let keys: Vec<String> =
        (0..1000).map(|n| format!("{:0>190}/{n:04}{}", n % 7, "x/".repeat(400))).map(|key| key + "e").collect();
    for key in &keys {
        let content = content(ns, key.as_bytes());
        ns.put_object(&root(), "bkt", key.as_bytes(), content, None, ObjectMeta::default(), &Condition::default())
            .unwrap();
    }
    let asked: Vec<Vec<u8>> = keys.iter().map(|key| key.clone().into_bytes()).collect();
    let removed = ns.delete_objects(&root(), "bkt", &asked).unwrap();
    assert_eq!(removed.len(), 1000);
    assert!(removed.into_iter().all(|removed| removed.unwrap()));
    assert_eq!(ns.list(&root(), "bkt", &ListQuery { limit: 10, ..ListQuery::default() }).unwrap().objects.len(), 0);
    sound(ns);
}

#[test]
fn a_large_upload_can_be_given_up_and_its_bucket_removed() {
    let world = SimWorld::new(3);
    let clock: Arc<dyn Clock> = world.clock();
    let mut config = config(&world, 2, 1);
    let chunks = strata_chunk::ChunkParams::new(512, 2048, 4096).unwrap();
    config.content = ContentSettings { chunks, ..config.content };
    let store = OpenStore::open(config, clock, &SimEntropy::new(1)).unwrap();
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).unwrap();
    let upload = ns.create_upload(&root(), "bkt", b"large", ObjectMeta::default()).unwrap();
    for number in 1..=40u32 {
        let part = content(ns, &noise(u64::from(number), 1 << 20));
        ns.put_part(&root(), "bkt", b"large", &upload.id, number, part, format!("{number:032x}"), BTreeMap::new())
            .unwrap();
    }
    ns.abort_upload(&root(), "bkt", b"large", &upload.id).unwrap();
    for number in 0..300u32 {
        let key = format!("u{number}");
        let upload = ns.create_upload(&root(), "bkt", key.as_bytes(), ObjectMeta::default()).unwrap();
        let part = content(ns, key.as_bytes());
        ns.put_part(&root(), "bkt", key.as_bytes(), &upload.id, 1, part, format!("{number:032x}"), BTreeMap::new())
            .unwrap();
    }
    ns.delete_bucket(&root(), "bkt").unwrap();
    while ns.store().collect().unwrap() > 0 {}
    sound(ns);
}

#[test]
fn extended_attributes_obey_mode_bits_and_have_a_limit() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "f", b"");
    let ino = ns.resolve(&root(), b"/bkt/f").unwrap().ino;
    let mode = SetAttr { mode: Some(0o600), uid: Some(1000), ..SetAttr::default() };
    ns.setattr(&root(), ino, &mode).unwrap();
    ns.set_xattr(&user(1000), ino, b"user.secret", b"s", XattrMode::Any).unwrap();
    assert_eq!(ns.get_xattr(&user(1000), ino, b"user.secret").unwrap(), b"s");
    assert_eq!(ns.get_xattr(&user(1001), ino, b"user.secret").unwrap_err().kind, ErrorKind::AccessDenied);
    let capability = ns.set_xattr(&user(1000), ino, b"security.capability", b"all", XattrMode::Any);
    assert_eq!(capability.unwrap_err().kind, ErrorKind::NotPermitted);
    for n in 1..4096 {
        ns.set_xattr(&root(), ino, format!("user.{n}").as_bytes(), b"", XattrMode::Any).unwrap();
    }
    assert_eq!(ns.set_xattr(&root(), ino, b"user.more", b"", XattrMode::Any).unwrap_err().kind, ErrorKind::NoSpace);
    assert_eq!(ns.list_xattrs(&root(), ino).unwrap().len(), 4096);
    let op: Op = root();
    assert!(ns.delete_object(&op, "bkt", b"f", &Condition::default()).unwrap());
    assert!(ns.access(&root(), bucket(&store), Access { read: true, ..Access::default() }).unwrap().read);
    sound(ns);
}

#[test]
fn a_long_file_sealed_while_it_is_written_keeps_what_lies_behind_the_last_cut() {
    let (_world, store) = store();
    let ns = store.namespace();
    let data = noise(5, 70_000_000);
    put(ns, "f", b"");
    let ino = ns.resolve(&root(), b"/bkt/f").unwrap().ino;
    ns.open(&root(), ino, RW, false).unwrap();
    for (n, step) in data.chunks(999_999).enumerate() {
        ns.write(&root(), ino, n as u64 * 999_999, step).unwrap();
    }
    assert!(read_file(ns, ino) == data, "before closing");
    ns.close(&root(), ino, true).unwrap();
    assert!(get(ns, "f").unwrap() == data, "after closing");
    sound(ns);
}

//! Locks that earlier versions and earlier sessions left.

use strata_seam::SessionId;
use strata_seam::sim::SimWorld;

use super::*;
use crate::key;
use crate::namespace::Identity;
use crate::records::{Bucket, encode_lock};
use crate::rig;
use crate::types::{Caller, Condition, Durability, ObjectMeta};

fn root() -> Op {
    Op::new(Caller::root(&rig::WEBDAV))
}

fn put(ns: &Namespace, key: &str) -> Result<()> {
    let content = ns.ingest(&root(), "bkt")?.finish()?;
    let (meta, any) = (ObjectMeta::default(), Condition::default());
    ns.put_object(&root(), "bkt", key.as_bytes(), content, None, meta, &any).map(drop)
}

#[test]
fn locks_of_an_earlier_version_get_their_place_at_the_opening_and_bind_everybody() {
    let world = SimWorld::new(1);
    let now = {
        let store = rig::on_one_disk(&world).expect("a store");
        let ns = store.namespace();
        ns.create_bucket(&root(), "bkt", None).expect("a bucket");
        for key in ["d/f", "d/g", "e", "replaced"] {
            put(ns, key).expect("put");
        }
        let now = ns.now();
        let ino = |path: &str| ns.resolve(&root(), path.as_bytes()).expect("it is there").ino;
        let later = Some(Timestamp(now.0 + 60_000_000_000));
        let rows = [
            ("urn:deep", "/bkt/d", Some(ino("/bkt/d")), None),
            ("urn:file", "/bkt/e", None, later),
            ("urn:ended", "/bkt/e", None, Some(now)),
            ("urn:elsewhere", "/bkt/replaced", Some(ino("/bkt/e")), later),
            ("urn:nothing", "/bkt/none", None, later),
            ("urn:bucket", "/gone/x", None, later),
        ];
        ns.store
            .transact(false, |tx| {
                for (token, path, ino, expires) in rows {
                    let lock = LockRecord {
                        token: token.to_owned(),
                        path: path.as_bytes().to_vec(),
                        ino,
                        deep: true,
                        shared: false,
                        principal: "ann".to_owned(),
                        owner_xml: Vec::new(),
                        expires,
                    };
                    tx.put(key::plain(key::TABLE_LOCK, token.as_bytes()), encode_lock(&lock));
                }
                Ok::<_, crate::Error>(())
            })
            .expect("written");
        store.close().expect("closed");
        now
    };
    for _ in 0..2 {
        let store = rig::on_one_disk(&world).expect("a store");
        let ns = store.namespace();
        let locks = ns.locks(&root()).expect("locks");
        let tokens: Vec<&str> = locks.iter().map(|lock| lock.token.as_str()).collect();
        assert_eq!(tokens, ["urn:deep", "urn:file"], "those that stand");
        assert_eq!(ns.locks_held(), 2);
        let end = locks[0].expires.expect("what had no end has one now");
        assert!(end.0 - now.0 <= 1_000_000_000 * (i64::try_from(LOCK_SECS_MAX).expect("small") + 10), "{end:?}");
        let all = ns.store.range(&[key::TABLE_LOCK], &[key::TABLE_LOCK + 1], 10).expect("rows");
        assert_eq!(all.len(), 2, "the others are gone");
        for key in ["d/f", "d/new", "e"] {
            assert_eq!(put(ns, key).map_err(|error| error.kind), Err(ErrorKind::Locked), "{key}");
        }
        put(ns, "replaced").expect("free");
        store.is_whole();
        store.close().expect("closed");
    }
}

#[test]
fn what_processes_of_another_session_hold_is_in_the_way_until_the_store_is_opened_again() {
    let world = SimWorld::new(1);
    let held = |owner| HeldRange {
        owner: HoldOwner { door: rig::MOUNT.number, client: 0, owner, pid: 1 },
        space: RangeSpace::Bytes,
        kind: RangeKind::Write,
        range: 0..10,
        lease: None,
    };
    let ino = {
        let store = rig::on_one_disk(&world).expect("a store");
        let ns = store.namespace();
        ns.create_bucket(&root(), "bkt", None).expect("a bucket");
        put(ns, "f").expect("put");
        let ino = ns.resolve(&root(), b"/bkt/f").expect("it is there").ino;
        assert_eq!(ns.set_hold(&root(), ino, &held(1)).expect("set"), None);
        // The same lock, as another process would set it under a session of its own.
        let identity = Identity { store_id: ns.store_id(), boot_id: 2, uid: 0, gid: 0, durability: Durability::Strict };
        let other = SessionId(ns.session().0 + 1);
        let beside = Namespace::beside(Arc::clone(&ns.store), world.clock(), identity, other).expect("one more");
        assert!(beside.set_hold(&root(), ino, &held(1)).expect("asked").is_some());
        ns.release_hold(&root(), ino, &held(1).owner, RangeSpace::Bytes, &(0..10)).expect("released");
        assert_eq!(beside.set_hold(&root(), ino, &held(1)).expect("set"), None);
        assert!(ns.test_hold(&root(), ino, &held(1)).expect("asked").is_some(), "the same number, and not the same");
        store.close().expect("closed");
        ino
    };
    let store = rig::on_one_disk(&world).expect("a store");
    assert_eq!(store.namespace().set_hold(&root(), ino, &held(2)).expect("set"), None);
    store.is_whole();
}

#[test]
fn locks_that_no_record_counts_are_counted_at_the_opening() {
    let world = SimWorld::new(1);
    let count = |ns: &Namespace, root: Ino| {
        let row = ns.store.get(&key::bucket(root)).expect("read").expect("a bucket");
        Bucket::decode(root, &row.value).expect("a bucket").locks.count
    };
    let root_of = |ns: &Namespace| ns.resolve(&root(), b"/bkt").expect("it is there").ino;
    {
        let store = rig::on_one_disk(&world).expect("a store");
        let ns = store.namespace();
        ns.create_bucket(&root(), "bkt", None).expect("a bucket");
        let op = root();
        op.submit("ann", Vec::new());
        let wanted = NewLock {
            token: "urn:uuid:1".to_owned(),
            path: b"/bkt/f".to_vec(),
            deep: false,
            shared: false,
            owner_xml: Vec::new(),
            seconds: None,
        };
        let bucket = root_of(ns);
        ns.lock(&op, Some((bucket, b"f")), &wanted).expect("granted");
        assert_eq!(count(ns, bucket), 1);
        // As an earlier version left the record when it granted the lock.
        ns.store
            .transact(false, |tx| {
                let mut record = tx.bucket_at(bucket)?.expect("a bucket");
                record.locks = Default::default();
                record.put(tx);
                Ok::<_, crate::Error>(())
            })
            .expect("written");
        store.close().expect("closed");
    }
    let store = rig::on_one_disk(&world).expect("a store");
    let ns = store.namespace();
    let bucket = root_of(ns);
    assert_eq!(count(ns, bucket), 1);
    ns.break_lock(&Op::new(Caller { user: None, ..Caller::root(&crate::types::STORE) }), "urn:uuid:1").expect("broken");
    assert_eq!(count(ns, bucket), 0);
    store.is_whole();
}

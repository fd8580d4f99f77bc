//! While nothing can be written, for lack of disks or of room: what is stored stays readable at every door, what could not
//! be stored is not shown to callers that would have to wait for it, and it is stored once that is over.

use std::sync::Arc;

use strata_namespace::{Access, Caller, Condition, Door, ErrorKind, ListQuery, Namespace, ObjectMeta, Op};
use strata_seam::sim::SimWorld;
use strata_seam::{Disk, Ino};

use crate::support::*;

fn at(door: &'static Door) -> Op {
    Op::new(Caller::root(door))
}

/// Does something at a door and waits for its answer as the door does.
fn told<T>(ns: &Namespace, door: &'static Door, ask: impl FnOnce(&Op) -> strata_namespace::Result<T>) -> T {
    let op = at(door);
    let answer = ask(&op).expect("an answer");
    ns.settle_blocking(&op).expect("an answer that need not wait");
    answer
}

fn try_put(ns: &Namespace, key: &str, data: &[u8]) -> strata_namespace::Result<()> {
    let op = root();
    let mut ingest = ns.ingest(&op, "bkt")?;
    ingest.push(data)?;
    let content = ingest.finish()?;
    let (meta, cond) = (ObjectMeta::default(), Condition::default());
    ns.put_object(&op, "bkt", key.as_bytes(), content, None, meta, &cond)?;
    ns.settle_blocking(&op)
}

/// What each door shows of the bucket: names, and the content of those that are asked for.
fn shown(ns: &Namespace) -> Vec<String> {
    let list = told(ns, &S3, |op| {
        ns.list(op, "bkt", &ListQuery { prefix: Vec::new(), delimiter: None, after: None, limit: 100 })
    });
    let keys: Vec<String> = list.objects.into_iter().map(|(key, _)| String::from_utf8(key).expect("UTF-8")).collect();
    for door in [&WEBDAV, &NFS] {
        told(ns, door, |op| ns.getattr(op, Ino(1)));
        let dir = told(ns, door, |op| ns.resolve(op, b"/bkt"));
        let page = told(ns, door, |op| ns.readdir(op, dir.ino, b"", 100));
        let names: Vec<String> =
            page.entries.into_iter().map(|entry| String::from_utf8(entry.name).expect("UTF-8")).collect();
        assert_eq!(names, keys, "{door:?} shows what S3 does");
    }
    keys
}

fn content_at(ns: &Namespace, key: &str) -> Vec<u8> {
    let (info, reader) = told(ns, &S3, |op| ns.get_object(op, "bkt", key.as_bytes()));
    assert_eq!(info.attr.size, reader.len());
    reader.read(0, 1 << 20).expect("read").to_vec()
}

fn pulled() -> (SimWorld, strata_runtime::OpenStore) {
    let world = SimWorld::new(4);
    let store = try_open(&world, 4, 2).expect("the store opens");
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    put(ns, "kept", b"old");
    put(ns, "other", &noise(1, 100_000));
    world.vanish("disk1");
    world.vanish("disk4");
    (world, store)
}

fn give_back(world: &SimWorld, ns: &Namespace) {
    for name in ["disk1", "disk4"] {
        world.bring_back(name);
        ns.store().ledger().rejoin(world.disk(name) as Arc<dyn Disk>).expect("taken back");
    }
}

#[test]
fn a_store_that_was_opened_below_its_quorum_and_resumed_is_closed_like_any_other() {
    [false, true].into_iter().for_each(resumed_and_closed);
}

fn resumed_and_closed(staged_alone: bool) {
    let (world, store) = pulled();
    drop(store);
    world.kill_process();
    let store = try_open(&world, 4, 2).expect("the store opens, to be read");
    let ns = store.namespace();
    assert!(try_put(ns, "refused", b"x").is_err());
    give_back(&world, ns);
    // Nobody waits for it: closing in good order stores it, even if it is only staged.
    let file = ns.resolve(&root(), b"/bkt/kept").expect("there").ino;
    if staged_alone {
        ns.open(&root(), file, Access { read: true, write: true, exec: false }, false).expect("opened");
        ns.write(&root(), file, 0, b"new").expect("written");
        store.close().expect("closed in good order");
        world.kill_process();
        let store = try_open(&world, 4, 2).expect("the store opens");
        assert_eq!(content_at(store.namespace(), "kept"), b"new");
        return;
    }
    let op = root();
    let mut ingest = ns.ingest(&op, "bkt").expect("an ingest");
    ingest.push(b"soon").expect("taken");
    let content = ingest.finish().expect("content");
    ns.put_object(&op, "bkt", b"late", content, None, ObjectMeta::default(), &Condition::default()).expect("put");
    store.close().expect("closed in good order");
    world.kill_process();
    let store = try_open(&world, 4, 2).expect("the store opens");
    assert_eq!(content_at(store.namespace(), "late"), b"soon");
    assert_eq!(content_at(store.namespace(), "kept"), b"old");
}

#[test]
fn below_the_write_quorum_a_refused_change_hides_nothing_and_is_made_when_the_disks_are_back() {
    let (world, store) = pulled();
    let ns = store.namespace();
    assert_eq!(try_put(ns, "kept", b"new").map_err(|error| error.kind), Err(ErrorKind::ReadOnly));
    assert_eq!(try_put(ns, "third", b"3").map_err(|error| error.kind), Err(ErrorKind::ReadOnly));
    assert_eq!(shown(ns), ["kept", "other"]);
    assert_eq!(content_at(ns, "kept"), b"old");
    assert_eq!(content_at(ns, "other"), noise(1, 100_000));
    assert_eq!(ns.head_object(&root(), "bkt", b"third").err().map(|error| error.kind), Some(ErrorKind::NotFound));
    give_back(&world, ns);
    // The first refused request was on its way when the quorum was lost: it is carried out now, as a client must expect of a
    // request that was not answered. The second one was never begun.
    assert_eq!(shown(ns), ["kept", "other"]);
    assert_eq!(content_at(ns, "kept"), b"new");
    assert_eq!(try_put(ns, "third", b"3").map_err(|error| error.kind), Ok(()));
    assert_eq!(shown(ns), ["kept", "other", "third"]);
    sound(ns);
    drop(store);
    world.kill_process();
    let store = try_open(&world, 4, 2).expect("it opens");
    assert_eq!(shown(store.namespace()), ["kept", "other", "third"]);
    assert_eq!(content_at(store.namespace(), "kept"), b"new");
}

#[test]
fn removals_and_renames_on_their_way_when_the_quorum_goes_are_not_shown_either() {
    let (world, store) = pulled();
    let ns = store.namespace();
    let dir = ns.resolve(&root(), b"/bkt").expect("the bucket").ino;
    let op = at(&NFS);
    ns.rename(&op, (dir, b"kept"), (dir, b"moved"), strata_namespace::RenameMode::Replace).expect("visible at once");
    ns.unlink(&op, dir, b"other").expect("visible at once");
    assert_eq!(ns.settle_blocking(&op).map_err(|error| error.kind), Err(ErrorKind::ReadOnly));
    assert_eq!(shown(ns), ["kept", "other"]);
    assert_eq!(content_at(ns, "other"), noise(1, 100_000));
    // The mount shows what its users did, as any local file system does before a sync.
    let local = ns.readdir(&at(&MOUNT), dir, b"", 10).expect("listed");
    assert_eq!(local.entries.iter().map(|entry| &entry.name[..]).collect::<Vec<_>>(), [b"moved"]);
    give_back(&world, ns);
    ns.settle_blocking(&op).expect("made now");
    assert_eq!(shown(ns), ["moved"]);
    sound(ns);
}

#[test]
fn a_tree_is_removed_as_it_is_now_and_not_as_it_was_last_written() {
    let world = SimWorld::new(4);
    let store = try_open(&world, 4, 2).expect("the store opens");
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    put(ns, "tree/a", b"a");
    put(ns, "tree/b", b"b");
    world.vanish("disk1");
    world.vanish("disk4");
    let bucket = ns.resolve(&root(), b"/bkt").expect("the bucket").ino;
    let tree = ns.resolve(&root(), b"/bkt/tree").expect("the folder").ino;
    let op = at(&NFS);
    ns.unlink(&op, tree, b"a").expect("visible at once");
    assert_eq!(ns.settle_blocking(&op).map_err(|error| error.kind), Err(ErrorKind::ReadOnly));
    // The tree shows `a` until its removal is written. The removal of the tree is refused for lack of disks, not because `a` is gone.
    let refused = ns.remove_tree(&at(&WEBDAV), bucket, b"tree").map_err(|error| error.kind);
    assert_eq!(refused, Err(ErrorKind::ReadOnly));
    assert_eq!(told(ns, &WEBDAV, |op| ns.readdir(op, tree, b"", 10)).entries.len(), 2);
    give_back(&world, ns);
    told(ns, &WEBDAV, |op| ns.remove_tree(op, bucket, b"tree"));
    assert!(told(ns, &WEBDAV, |op| ns.readdir(op, bucket, b"", 10)).entries.is_empty());
    sound(ns);
}

#[test]
fn what_is_staged_and_cannot_be_saved_does_not_keep_the_stored_content_from_readers() {
    for full in [false, true] {
        let world = SimWorld::new(5);
        let store = try_open(&world, 4, 2).expect("the store opens");
        let ns = store.namespace();
        ns.create_bucket(&root(), "bkt", None).expect("a bucket");
        put(ns, "file", &noise(2, 300_000));
        let ino = ns.resolve(&root(), b"/bkt/file").expect("there").ino;
        let op = at(&MOUNT);
        ns.open(&op, ino, Access { read: true, write: true, exec: false }, false).expect("opened");
        ns.write(&op, ino, 299_990, &noise(3, 200_000)).expect("staged");
        for n in 0..6 {
            let name = format!("disk{n}");
            if full {
                let used: u64 = world.files(&name).iter().map(|file| file.len).sum();
                world.set_capacity(&name, used);
            } else if n < 2 {
                world.vanish(&name);
            }
        }
        if full {
            // Until no segment has room for another object.
            let filled = (10..200).map(|seed| try_put(ns, "filler", &noise(seed, 1 << 20))).find_map(Result::err);
            assert_eq!(filled.expect("full").kind, ErrorKind::NoSpace);
        } else {
            assert!(try_put(ns, "filler", &noise(9, 1 << 20)).is_err());
        }
        assert!(ns.fsync(&op, ino).is_err(), "who syncs is told");
        let (info, reader) = told(ns, &S3, |op| ns.get_object(op, "bkt", b"file"));
        assert_eq!((info.attr.size, reader.len()), (300_000, 300_000), "full: {full}");
        assert_eq!(told(ns, &S3, |op| ns.head_object(op, "bkt", b"file")).attr.size, 300_000);
        assert_eq!(told(ns, &WEBDAV, |op| ns.object_info(op, ino)).attr.size, 300_000);
        let files = ListQuery { prefix: b"file".to_vec(), limit: 1, ..ListQuery::default() };
        let listed = told(ns, &S3, |op| ns.list(op, "bkt", &files));
        assert_eq!(listed.objects.first().map(|(_, info)| info.attr.size), Some(300_000));
        for n in 0..6 {
            let name = format!("disk{n}");
            world.set_capacity(&name, 1 << 40);
            if !full && n < 2 {
                world.bring_back(&name);
                ns.store().ledger().rejoin(world.disk(&name) as Arc<dyn Disk>).expect("taken back");
            }
        }
        ns.fsync(&op, ino).expect("saved now");
        ns.settle_blocking(&op).expect("durable");
        assert_eq!(told(ns, &S3, |op| ns.head_object(op, "bkt", b"file")).attr.size, 499_990);
        ns.close(&op, ino, true).expect("closed");
        sound(ns);
    }
}

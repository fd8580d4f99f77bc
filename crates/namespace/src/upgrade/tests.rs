//! A store of the previous format is upgraded at its next opening. After a crash at any point of that, the opening after it finishes the upgrade.

use strata_seam::sim::{Fault, IoOp, SimWorld, Submission, explore_crashes, sweep_failures};

use super::*;
use crate::records::Bucket;
use crate::rig;
use crate::rig::OpenStore;
use crate::types::{Access, Attr, Caller, Condition, Durability, ObjectMeta, Op};
use crate::usage::UsageOf;
use crate::view::View;

fn root() -> Op {
    Op::new(Caller::root(&rig::S3))
}

/// What opening the store would do to it.
fn planned(world: &SimWorld) -> Option<UpgradeReport> {
    upgrade_planned(&rig::store_on(world).expect("a store")).expect("planned")
}

fn open(world: &SimWorld) -> Result<OpenStore> {
    rig::on_one_disk(world)
}

fn attr(ns: &Namespace, path: &str) -> Attr {
    ns.resolve(&root(), path.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn read(ns: &Namespace, path: &str) -> Vec<u8> {
    let ino = attr(ns, path).ino;
    ns.read(&root(), ino, 0, 1 << 20).expect("read").to_vec()
}

/// Three buckets, `one` strict and `two` relaxed, with trees; the records then written as the format before had them. The file
/// `/one/f` has the names `/one/g`, `/two/d/f`, `/two/d/g` and `/three/f` too, with an attribute; `/two/only` has two names there.
fn store_of_before(world: &SimWorld) {
    let store = open(world).expect("a store");
    let ns = store.namespace();
    for (name, class) in [("one", Durability::Strict), ("two", Durability::Relaxed), ("three", Durability::Strict)] {
        ns.create_bucket(&root(), name, Some(class)).expect("a bucket");
    }
    for (bucket, key) in [("one", "f"), ("one", "deep/er/x"), ("two", "d/y"), ("two", "only")] {
        let mut ingest = ns.ingest(&root(), bucket).expect("an ingest");
        ingest.push(format!("{bucket}/{key}").repeat(1000).as_bytes()).expect("pushed");
        let content = ingest.finish().expect("content");
        let (meta, condition) = (ObjectMeta::default(), Condition::default());
        ns.put_object(&root(), bucket, key.as_bytes(), content, None, meta, &condition).expect("put");
    }
    ns.symlink(&root(), attr(ns, "/one").ino, b"link", b"f").expect("a link");
    let shared = attr(ns, "/one/f").ino;
    let mode = crate::types::XattrMode::Any;
    ns.set_xattr(&root(), shared, b"user.colour", b"blue", mode).expect("an attribute");
    let names = [
        (shared, "/one", "g"),
        (shared, "/two/d", "f"),
        (shared, "/two/d", "g"),
        (shared, "/three", "f"),
        (attr(ns, "/two/only").ino, "/two/d", "only"),
    ];
    let names = names.map(|(ino, dir, name)| (ino, attr(ns, dir).ino, name));
    ns.store()
        .transact(false, |tx| {
            // As `link` did before a bucket was a boundary.
            for (ino, parent, name) in names {
                let (mut inode, mut dir) = (tx.inode(ino)?, tx.dir(parent)?);
                inode.attr.nlink += 1;
                ns.add_entry(tx, &mut dir, (name.as_bytes(), None), &mut inode, ns.now())?;
            }
            Ok::<_, Error>(())
        })
        .expect("linked");
    ns.store()
        .transact(false, |tx| {
            let mut relaxed = HashMap::new();
            for (key, value) in tx.records(&[key::TABLE_BUCKET], &[key::TABLE_BUCKET + 1], 100)? {
                let bucket =
                    Bucket::decode(Ino(u64::from_be_bytes(key[1..].try_into().expect("8"))), &value).expect("it");
                relaxed.insert(bucket.root, bucket.relaxed);
                // The root of the tree was in no bucket.
                if !bucket.is_top() {
                    tx.put(key::plain(key::TABLE_BUCKET_BY_NAME, &bucket.name), bucket.encode_by_name());
                }
                tx.delete(key);
            }
            for (key, value) in tx.records(&[key::TABLE_INODE], &[key::TABLE_INODE + 1], 100)? {
                let inode =
                    Inode::decode(Ino(u64::from_be_bytes(key[1..].try_into().expect("8"))), &value).expect("it");
                let relaxed = relaxed.get(&inode.bucket).is_some_and(|relaxed| *relaxed);
                tx.put(key, inode.encode_without_bucket(relaxed));
            }
            for (key, value) in tx.records(&[key::TABLE_USAGE], &[key::TABLE_USAGE + 1], 100)? {
                tx.tally(&key, -strata_content::Cell::from_value(&value).count);
            }
            for (key, _) in tx.records(&[key::TABLE_NAME], &[key::TABLE_NAME + 1], 100)? {
                tx.delete(key);
            }
            let mut format = Encoder::new();
            format.uvarint(2);
            tx.put(key::KEY_FORMAT, format.finish());
            Ok::<_, Error>(())
        })
        .expect("as before");
    ns.store().ledger().sync().expect("synced");
    drop(store);
    rig::unmark(&*world.disk("disk"));
}

/// Everything is where it was; what had names in several buckets is one file in each.
fn is_upgraded(store: &OpenStore) {
    let ns = store.namespace();
    store.is_whole();
    assert_eq!(needed(ns.store()).expect("read"), None);
    assert!(ns.store().ledger().has(Feature::Domains));
    let buckets = ns.buckets(&root()).expect("listed");
    let classes: Vec<_> = buckets.iter().map(|bucket| (bucket.name.as_str(), bucket.durability)).collect();
    let (strict, relaxed) = (Durability::Strict, Durability::Relaxed);
    assert_eq!(classes, [("one", strict), ("three", strict), ("two", relaxed)]);
    let content = "one/f".repeat(1000).into_bytes();
    let mut inodes = Vec::new();
    for (path, nlink) in [("/one/f", 2), ("/one/g", 2), ("/two/d/f", 2), ("/two/d/g", 2), ("/three/f", 1)] {
        assert_eq!(read(ns, path), content, "{path}");
        let attr = attr(ns, path);
        assert_eq!(attr.nlink, nlink, "{path}");
        assert_eq!(ns.get_xattr(&root(), attr.ino, b"user.colour").expect(path), b"blue");
        inodes.push(attr.ino);
    }
    assert!(inodes[0] == inodes[1] && inodes[2] == inodes[3], "{inodes:?}");
    assert!(inodes[0] != inodes[2] && inodes[2] != inodes[4] && inodes[0] != inodes[4], "{inodes:?}");
    assert_eq!(attr(ns, "/two/only").ino, attr(ns, "/two/d/only").ino);
    assert_eq!(read(ns, "/one/deep/er/x"), "one/deep/er/x".repeat(1000).into_bytes());
    let bucket = |name: &str| UsageOf::Bucket(attr(ns, name).ino);
    assert_eq!(ns.usage(bucket("/three")).expect("read").inodes, 2);
    // A write in a strict bucket waits for the disks, even to a file that had names in several buckets.
    let op = root();
    ns.open(&op, inodes[4], Access { write: true, ..Access::default() }, false).expect("opened");
    ns.write(&op, inodes[4], 0, b"new").expect("written");
    ns.fsync(&op, inodes[4]).expect("synced");
    assert!(op.strict());
    ns.close(&op, inodes[4], true).expect("closed");
    assert!(read(ns, "/three/f").starts_with(b"new") && read(ns, "/one/f") == content);
}

#[test]
fn a_store_of_the_format_before_is_upgraded_when_it_is_opened_and_a_file_of_several_buckets_is_parted() {
    let world = SimWorld::new(3);
    store_of_before(&world);
    let plan = planned(&world).expect("needed");
    assert_eq!((plan.from, plan.buckets, plan.parted), (2, 3, 3));
    let plan_first = plan.first.clone();
    let mut first = plan.first.clone();
    first.sort();
    let one_of_each =
        |path: &[u8]| ["one/", "two/", "three/"].iter().filter(|name| path.starts_with(name.as_bytes())).count();
    assert!(first.iter().all(|path| one_of_each(path) == 1), "{first:?}");
    // Planning changes nothing: a second plan is the same.
    assert_eq!(planned(&world), Some(plan));
    let store = open(&world).expect("opened");
    let done = store.namespace().upgraded().expect("it was");
    assert_eq!((done.from, done.buckets, done.parted), (2, 3, 3));
    assert_eq!(done.first, plan_first, "as it was planned");
    is_upgraded(&store);
    drop(store);
    world.kill_process();
    assert_eq!(planned(&world), None);
    assert!(open(&world).is_ok());
}

/// A store of format 3 has everything but the names.
fn store_of_format_3(world: &SimWorld) {
    store_of_before(world);
    let store = open(world).expect("opened");
    store
        .namespace()
        .store()
        .transact(false, |tx| {
            for (key, value) in tx.records(&[key::TABLE_INODE], &[key::TABLE_INODE + 1], 100)? {
                let ino = Ino(u64::from_be_bytes(key[1..].try_into().expect("8")));
                tx.put(key, Inode::decode(ino, &value).expect("it").encode_without_name());
            }
            for (key, _) in tx.records(&[key::TABLE_NAME], &[key::TABLE_NAME + 1], 100)? {
                tx.delete(key);
            }
            let mut format = Encoder::new();
            format.uvarint(3);
            tx.put(key::KEY_FORMAT, format.finish());
            Ok::<_, Error>(())
        })
        .expect("as before");
    store.namespace().store().ledger().sync().expect("synced");
    drop(store);
    world.kill_process();
    rig::unmark(&*world.disk("disk"));
}

/// A store of format 4 has everything but the mark. With `begun`, the release of that format had begun to upgrade it from there.
fn store_of_format_4(world: &SimWorld, begun: Option<u64>) {
    match begun {
        Some(3) => store_of_format_3(world),
        _ => store_of_before(world),
    }
    let store = open(world).expect("opened");
    let number = |number: u64| {
        let mut format = Encoder::new();
        format.uvarint(number);
        format.finish()
    };
    store
        .namespace()
        .store()
        .transact(false, |tx| {
            tx.put(key::KEY_FORMAT, number(4));
            if let Some(begun) = begun {
                for (key, value) in tx.records(&[key::TABLE_INODE], &[key::TABLE_INODE + 1], 100)? {
                    let ino = Ino(u64::from_be_bytes(key[1..].try_into().expect("8")));
                    // Inodes with higher numbers were not reached.
                    if ino.0 > 10 {
                        tx.put(key, Inode::decode(ino, &value).expect("it").encode_without_name());
                    }
                }
                tx.put(key::KEY_UPGRADE, number(begun));
            }
            Ok::<_, Error>(())
        })
        .expect("as before");
    store.namespace().store().ledger().sync().expect("synced");
    drop(store);
    world.kill_process();
    rig::unmark(&*world.disk("disk"));
}

#[test]
fn a_store_of_format_4_is_marked_and_nothing_in_it_is_written_anew() {
    let world = SimWorld::new(3);
    store_of_format_4(&world, None);
    let plan = planned(&world).expect("needed");
    assert_eq!(plan, UpgradeReport { from: 4, ..UpgradeReport::default() });
    let store = open(&world).expect("opened");
    assert_eq!(store.namespace().upgraded(), Some(&plan));
    is_upgraded(&store);
    assert!(rig::keeps_off(&*world.disk("disk")), "a release of format 4 refuses it by its superblock");
    drop(store);
    world.kill_process();
    assert_eq!(planned(&world), None);
}

#[test]
fn the_upgrade_of_a_store_of_format_4_may_be_cut_off_anywhere_and_is_ended_by_the_next_opening() {
    let world = SimWorld::new(3);
    store_of_format_4(&world, None);
    let mut half = 0;
    let states = explore_crashes(
        &world,
        Submission::OneByOne,
        0..2,
        // A store whose upgrade was cut off before the superblocks are marked can still be read by earlier versions.
        |world| open(world).is_ok_and(|store| store.namespace().upgraded().is_some()),
        |world, upgraded, state| {
            let kept_off = rig::keeps_off(&*world.disk("disk"));
            assert!(kept_off || !upgraded, "{state:?}: it was told to be upgraded");
            half += u32::from(kept_off && !upgraded);
            is_upgraded(&open(world).expect("opened"));
            assert!(rig::keeps_off(&*world.disk("disk")));
        },
    );
    assert!(states > 10 && half > 0, "{states} states, {half} marked and not ended");
    let world = SimWorld::new(3);
    store_of_format_4(&world, None);
    let runs = every_failing_io_is_made_up_for(&world);
    assert!(runs > 20, "{runs}");
}

#[test]
fn an_upgrade_that_a_release_of_format_4_did_not_end_is_ended_from_where_it_began() {
    let world = SimWorld::new(3);
    store_of_format_4(&world, Some(3));
    let plan = planned(&world).expect("needed");
    assert!(plan.from == 3 && plan.names > 5, "{plan:?}");
    let store = open(&world).expect("opened");
    assert_eq!(store.namespace().upgraded().expect("it was").from, 3);
    is_upgraded(&store);
}

#[test]
fn a_store_of_format_4_that_takes_no_writes_is_read_and_stays_open_to_the_release_before() {
    let world = SimWorld::new(3);
    store_of_format_4(&world, None);
    world.set_read_only("disk", true);
    let store = open(&world).expect("opened");
    let ns = store.namespace();
    assert!(ns.is_outdated() && !ns.store().ledger().has(Feature::Domains));
    assert_eq!(read(ns, "/two/d/g"), "one/f".repeat(1000).into_bytes());
    assert_eq!(attr(ns, "/one/f").nlink, 2);
    assert_eq!(ns.create_bucket(&root(), "four", None).expect_err("refused").kind, ErrorKind::ReadOnly);
    store.is_whole();
    drop(store);
    world.set_read_only("disk", false);
    world.kill_process();
    assert!(!rig::keeps_off(&*world.disk("disk")));
    is_upgraded(&open(&world).expect("opened"));
}

#[test]
fn inodes_of_format_3_learn_their_names_also_where_a_crash_cuts_that_off() {
    let world = SimWorld::new(3);
    store_of_format_3(&world);
    let plan = planned(&world).expect("needed");
    assert_eq!((plan.from, plan.buckets, plan.parted), (3, 0, 0));
    let states = explore_crashes(
        &world,
        Submission::OneByOne,
        0..2,
        |world| open(world).is_ok(),
        |world, _, _| {
            let store = open(world).expect("opened");
            is_upgraded(&store);
        },
    );
    assert!(states > 15, "{states}");
    let world = SimWorld::new(3);
    store_of_format_3(&world);
    let store = open(&world).expect("opened");
    let done = store.namespace().upgraded().expect("it was");
    assert_eq!((done.from, done.buckets, done.parted, done.names), (3, 0, 0, plan.names));
    is_upgraded(&store);
}

#[test]
fn an_upgrade_that_a_crash_cuts_off_anywhere_is_ended_by_the_next_opening() {
    let world = SimWorld::new(3);
    store_of_before(&world);
    world.kill_process();
    let upgraded = |world: &SimWorld| is_upgraded(&open(world).expect("opened"));
    let states =
        explore_crashes(&world, Submission::OneByOne, 0..2, |world| open(world).is_ok(), |world, _, _| upgraded(world));
    assert!(states > 25, "{states}");
}

/// Opens the store with each of its I/Os failing, and once more. Returns how often.
fn every_failing_io_is_made_up_for(world: &SimWorld) -> u64 {
    let faults = [Fault::full(), Fault::medium().of(IoOp::Write), Fault::medium().of(IoOp::Sync)];
    sweep_failures(
        world,
        &faults,
        |world| open(world).is_ok(),
        |world, _, _| {
            world.restart(0);
            is_upgraded(&open(world).expect("opened"));
        },
    )
}

#[test]
fn an_upgrade_that_a_disk_fails_is_refused_and_ended_by_the_next_opening() {
    let world = SimWorld::new(3);
    store_of_before(&world);
    world.kill_process();
    let runs = every_failing_io_is_made_up_for(&world);
    assert!(runs > 40, "{runs}");
}

#[test]
fn a_store_of_the_format_before_that_takes_no_writes_is_read_as_it_is_and_changed_by_nobody() {
    let world = SimWorld::new(3);
    store_of_before(&world);
    world.set_read_only("disk", true);
    let store = open(&world).expect("opened");
    let ns = store.namespace();
    let names: Vec<String> = ns.buckets(&root()).expect("listed").into_iter().map(|bucket| bucket.name).collect();
    assert_eq!(names, ["one", "three", "two"]);
    assert_eq!(ns.bucket(&root(), "two").expect("it").durability, Durability::Relaxed);
    assert_eq!(read(ns, "/two/d/g"), "one/f".repeat(1000).into_bytes());
    assert_eq!(ns.get_object(&root(), "one", b"deep/er/x").expect("it").0.attr.size, 13_000);
    // The disks take writes again: a store that is not upgraded still refuses changes.
    world.set_read_only("disk", false);
    let refused = ns.create_bucket(&root(), "four", None).expect_err("refused");
    assert_eq!(refused.kind, ErrorKind::ReadOnly);
    assert!(refused.what.contains("start again"), "{refused}");
    let file = attr(ns, "/one/f").ino;
    ns.open(&root(), file, Access { read: true, ..Access::default() }, false).expect("opened");
    assert_eq!(ns.write(&root(), file, 0, b"x").expect_err("refused").kind, ErrorKind::ReadOnly);
    ns.close(&root(), file, false).expect("closed");
    drop(store);
    world.kill_process();
    is_upgraded(&open(&world).expect("opened"));
}

#[test]
fn records_of_a_later_format_are_refused_and_nothing_is_changed() {
    let world = SimWorld::new(3);
    let store = open(&world).expect("a store");
    let mut format = Encoder::new();
    format.uvarint(RECORD_FORMAT + 1);
    let format = format.finish();
    let put = |tx: &mut strata_content::Tx<'_>| {
        tx.put(key::KEY_FORMAT, format.clone());
        Ok::<_, Error>(())
    };
    store.namespace().store().transact(false, put).expect("put");
    store.namespace().store().ledger().sync().expect("synced");
    drop(store);
    let refused = open(&world).err().expect("refused");
    assert_eq!(refused.kind, ErrorKind::NotSupported);
    assert!(refused.what.contains("newer version; nothing was changed"), "{refused}");
}

#[test]
fn a_store_of_this_format_without_a_bucket_for_the_files_at_the_top_gets_it_once() {
    let world = SimWorld::new(3);
    store_of_before(&world);
    let store = open(&world).expect("opened");
    let ns = store.namespace();
    ns.store()
        .transact(false, |tx| {
            tx.delete(key::bucket(ROOT_INO));
            let mut top = tx.dir(ROOT_INO)?;
            top.bucket = Ino(0);
            ns.put_inode(tx, &mut top);
            Ok::<_, Error>(())
        })
        .expect("as before");
    ns.store().ledger().sync().expect("synced");
    drop(store);
    world.kill_process();
    let store = open(&world).expect("opened");
    assert!(store.namespace().upgraded().is_none(), "nothing else is done again");
    is_upgraded(&store);
    store.namespace().store().ledger().sync().expect("synced");
    let before = store.namespace().store().ledger().next_lsn();
    drop(store);
    let store = open(&world).expect("opened");
    // Every opening makes these commits.
    assert!(store.namespace().store().ledger().next_lsn().0 <= before.0 + 2);
    assert!(store.namespace().top(&root()).expect("it").is_top());
}

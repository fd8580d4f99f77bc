//! Files and directories: the POSIX side, and how it works together with the object side.

use strata_namespace::{Access, Durability, ErrorKind, NewNode, NodeKind, RenameMode, SetAttr, XattrMode};

use crate::support::*;

#[test]
fn what_is_written_through_a_file_is_read_by_s3_at_once() {
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let dir = ns.mkdir(&root(), bucket, b"d", 0o755).unwrap().ino;
    let file = ns.create(&root(), dir, b"f", 0o644, RW, true, false).unwrap().ino;
    let data = noise(4, 2_500_000);
    for (n, part) in data.chunks(100_000).enumerate() {
        ns.write(&root(), file, n as u64 * 100_000, part).unwrap();
    }
    assert_eq!(ns.getattr(&root(), file).unwrap().size, 2_500_000);
    assert!(read_file(ns, file) == data, "read through the staging");
    assert!(get(ns, "d/f").unwrap() == data, "read by key while open");
    ns.write(&root(), file, 1000, b"changed").unwrap();
    ns.close(&root(), file, true).unwrap();
    let mut changed = data.clone();
    changed[1000..1007].copy_from_slice(b"changed");
    assert!(get(ns, "d/f").unwrap() == changed);
    assert_eq!(keys(ns, "", None).0, ["d/", "d/f"]);
    sound(ns);
}

#[test]
fn a_synced_write_survives_the_death_of_the_process_and_an_unsynced_one_may_not() {
    let (world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let file = ns.create(&root(), bucket, b"f", 0o644, RW, true, false).unwrap().ino;
    ns.write(&root(), file, 0, &noise(1, 400_000)).unwrap();
    ns.write(&root(), file, 200_000, b"synced").unwrap();
    let op = root();
    ns.fsync(&op, file).unwrap();
    ns.settle_blocking(&op).unwrap();
    ns.write(&root(), file, 200_000, b"LOST!!").unwrap();
    drop(store);
    world.restart(0);
    let store = open(&world);
    let mut expected = noise(1, 400_000);
    expected[200_000..200_006].copy_from_slice(b"synced");
    assert!(get(store.namespace(), "f").unwrap() == expected);
    sound(store.namespace());
}

/// Everything committed so far is durable, then the power goes.
fn power_cut(world: &strata_seam::sim::SimWorld, store: strata_runtime::OpenStore) -> strata_runtime::OpenStore {
    let op = root();
    let top = store.namespace().resolve(&op, b"/bkt").unwrap().ino;
    store.namespace().mkdir(&op, top, b"last", 0o755).unwrap();
    store.namespace().settle_blocking(&op).unwrap();
    drop(store);
    world.restart(0);
    open(world)
}

#[test]
fn a_file_that_is_written_without_a_pause_is_stored_after_five_seconds() {
    let (world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let file = ns.create(&root(), bucket, b"log", 0o644, RW, true, false).unwrap().ino;
    let mut sealed = Vec::new();
    for _ in 0..25 {
        ns.append(&root(), file, b"line\n").unwrap();
        world.clock().advance(400_000_000);
        sealed.push(ns.seal_idle().unwrap());
    }
    // Stored after every five seconds or so, which are 13 lines.
    assert_eq!(sealed.iter().sum::<usize>(), 1, "{sealed:?}");
    let store = power_cut(&world, store);
    assert_eq!(get(store.namespace(), "log").unwrap(), b"line\n".repeat(13));
    sound(store.namespace());
}

#[test]
fn a_name_that_a_file_takes_by_rename_leads_to_all_of_it_after_a_crash() {
    for mode in [RenameMode::Replace, RenameMode::Exchange] {
        let (world, store) = store();
        let ns = store.namespace();
        let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
        put(ns, "f", b"old");
        let file = ns.create(&root(), bucket, b"f.new", 0o644, RW, true, false).unwrap().ino;
        ns.write(&root(), file, 0, &noise(1, 300_000)).unwrap();
        ns.rename(&root(), (bucket, b"f.new"), (bucket, b"f"), mode).unwrap();
        let store = power_cut(&world, store);
        assert!(get(store.namespace(), "f").unwrap() == noise(1, 300_000), "{mode:?}");
        sound(store.namespace());
    }
}

#[test]
fn small_syncs_put_ranges_in_place_and_closing_chunks_them_again() {
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let mut data = noise(8, 1_000_000);
    put(ns, "f", &data);
    let file = ns.lookup(&root(), bucket, b"f").unwrap().ino;
    ns.open(&root(), file, RW, false).unwrap();
    for n in 0..20u64 {
        let at = n * 47_000;
        ns.write(&root(), file, at, &noise(n + 100, 4096)).unwrap();
        data[usize::try_from(at).unwrap()..][..4096].copy_from_slice(&noise(n + 100, 4096));
        ns.fsync(&root(), file).unwrap();
        assert!(read_file(ns, file) == data);
    }
    ns.close(&root(), file, true).unwrap();
    assert!(get(ns, "f").unwrap() == data);
    put(ns, "same", &data);
    sound(ns);
}

#[test]
fn one_byte_in_the_middle_costs_a_few_chunks() {
    let (_world, store) = store();
    let ns = store.namespace();
    let mut data = noise(77, 8_000_000);
    put(ns, "a", &data);
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let file = ns.lookup(&root(), bucket, b"a").unwrap().ino;
    let before = ns.store().ledger().status().position;
    ns.open(&root(), file, RW, false).unwrap();
    ns.write(&root(), file, 4_000_000, b"!").unwrap();
    ns.close(&root(), file, true).unwrap();
    ns.store().ledger().sync().unwrap();
    let after = ns.store().ledger().status().position;
    data[4_000_000] = b'!';
    assert!(get(ns, "a").unwrap() == data);
    assert_eq!(before.segment, after.segment);
    assert!(after.offset - before.offset < 512 << 10, "{before:?} {after:?}");
}

#[test]
fn holes_truncation_and_extension_read_as_zeros() {
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let file = ns.create(&root(), bucket, b"f", 0o644, RW, true, false).unwrap().ino;
    ns.write(&root(), file, 3_000_000, b"end").unwrap();
    let mut model = vec![0; 3_000_003];
    model[3_000_000..].copy_from_slice(b"end");
    assert!(read_file(ns, file) == model);
    ns.fsync(&root(), file).unwrap();
    assert_eq!(ns.seek(&root(), file, 0, true).unwrap(), Some(3_000_000));
    assert_eq!(ns.seek(&root(), file, 0, false).unwrap(), Some(0));
    let size = |size| SetAttr { size: Some(size), ..SetAttr::default() };
    ns.setattr(&root(), file, &size(3_000_001)).unwrap();
    ns.setattr(&root(), file, &size(3_000_010)).unwrap();
    model.truncate(3_000_001);
    model.resize(3_000_010, 0);
    assert!(read_file(ns, file) == model);
    ns.fallocate(&root(), file, 2_999_990, 11, true, false).unwrap();
    model[2_999_990..3_000_001].fill(0);
    assert!(read_file(ns, file) == model);
    assert!(ns.getattr(&root(), file).unwrap().allocated < 1 << 20);
    ns.close(&root(), file, true).unwrap();
    sound(ns);
}

#[test]
fn written_bytes_are_allocated_data_before_and_after_they_are_stored() {
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let file = ns.create(&root(), bucket, b"f", 0o644, RW, true, false).unwrap().ino;
    let told = || {
        let listed = ns.readdir(&root(), bucket, b"", 10).unwrap().entries.remove(0).attr;
        assert_eq!(listed, ns.getattr(&root(), file).unwrap());
        listed.allocated
    };
    let at = 1 << 20;
    ns.write(&root(), file, at, &noise(1, 5000)).unwrap();
    for stored in [false, true] {
        assert_eq!(told(), 5000, "stored: {stored}");
        assert_eq!(ns.seek(&root(), file, 0, true).unwrap(), Some(at));
        assert_eq!(ns.seek(&root(), file, 0, false).unwrap(), Some(0));
        assert_eq!(ns.seek(&root(), file, at + 17, false).unwrap(), Some(at + 5000), "the end is a hole");
        assert_eq!(ns.seek(&root(), file, at + 5000, true).unwrap(), None);
        ns.fsync(&root(), file).unwrap();
    }
    ns.write(&root(), file, at + 2500, &noise(2, 5000)).unwrap();
    ns.write(&root(), file, 10, &noise(3, 90)).unwrap();
    for stored in [false, true] {
        assert_eq!(told(), 7590, "stored: {stored}");
        assert_eq!(ns.seek(&root(), file, 0, true).unwrap(), Some(10));
        assert_eq!(ns.seek(&root(), file, 10, false).unwrap(), Some(100));
        assert_eq!(ns.seek(&root(), file, 100, true).unwrap(), Some(at));
        ns.close(&root(), file, true).unwrap();
        ns.open(&root(), file, RW, false).unwrap();
    }
    // If bytes turn out to be a hole only when they are stored, that is reported again, also to the door that wrote them.
    let changes = ns.changes(64, Some(&S3));
    ns.write(&root(), file, 2 * at, &vec![0; 3 << 20]).unwrap();
    assert_eq!(told(), 7590 + (3 << 20));
    ns.fsync(&root(), file).unwrap();
    assert!(told() < 1 << 20);
    assert!(changes.try_iter().any(|change| change == strata_namespace::Change::Attr(file)));
    ns.close(&root(), file, true).unwrap();
    sound(ns);
}

#[test]
fn allocated_size_and_seeks_agree_with_a_model_at_every_moment() {
    const LEN: usize = 400;
    const UNIT: usize = 1000;
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let file = ns.create(&root(), bucket, b"f", 0o644, RW, true, false).unwrap().ino;
    let mut model: Vec<bool> = Vec::new();
    let mut numbers = noise(5, 3000).into_iter().map(usize::from);
    let mut next = |below: usize| (numbers.next().unwrap() * 256 + numbers.next().unwrap()) % below;
    for step in 0..250 {
        match next(12) {
            0 => ns.fsync(&root(), file).unwrap(),
            1 => {
                ns.close(&root(), file, true).unwrap();
                ns.open(&root(), file, RW, false).unwrap();
            }
            2 => {
                let len = next(LEN);
                let size = SetAttr { size: Some((len * UNIT) as u64), ..SetAttr::default() };
                ns.setattr(&root(), file, &size).unwrap();
                model.resize(len, false);
            }
            _ => {
                let (at, len) = (next(LEN), 1 + next(9));
                ns.write(&root(), file, (at * UNIT) as u64, &noise(step, len * UNIT)).unwrap();
                model.resize(model.len().max(at + len), false);
                model[at..at + len].fill(true);
            }
        }
        let data = model.iter().filter(|data| **data).count() * UNIT;
        assert_eq!(ns.getattr(&root(), file).unwrap().allocated, data as u64, "step {step}");
        let from = next(LEN);
        for wanted in [true, false] {
            let found = model.iter().skip(from).position(|data| *data == wanted).map(|after| from + after);
            let expected = if from < model.len() && !wanted { found.or(Some(model.len())) } else { found };
            let expected = expected.map(|at| (at * UNIT) as u64);
            assert_eq!(ns.seek(&root(), file, (from * UNIT) as u64, wanted).unwrap(), expected, "step {step}");
        }
    }
    ns.close(&root(), file, true).unwrap();
    sound(ns);
}

#[test]
fn an_unlinked_file_lives_until_it_is_closed() {
    let (world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let file = ns.create(&root(), bucket, b"f", 0o644, RW, true, false).unwrap().ino;
    ns.write(&root(), file, 0, b"still here").unwrap();
    ns.unlink(&root(), bucket, b"f").unwrap();
    assert_eq!(read_file(ns, file), b"still here");
    sound(ns);
    ns.close(&root(), file, true).unwrap();
    assert_eq!(ns.getattr(&root(), file).unwrap_err().kind, ErrorKind::Stale);
    sound(ns);

    let file = ns.create(&root(), bucket, b"g", 0o644, RW, true, false).unwrap().ino;
    ns.unlink(&root(), bucket, b"g").unwrap();
    ns.store().ledger().sync().unwrap();
    drop(store);
    world.kill_process();
    let store = open(&world);
    assert_eq!(store.namespace().getattr(&root(), file).unwrap_err().kind, ErrorKind::Stale);
    sound(store.namespace());
}

#[test]
fn rename_replaces_swaps_and_refuses_as_posix_says() {
    let (_world, store) = store();
    let ns = store.namespace();
    let op = root();
    let bucket = ns.resolve(&op, b"/bkt").unwrap().ino;
    put(ns, "a/x", b"1");
    put(ns, "b/y", b"2");
    let (a, b) = (ns.lookup(&op, bucket, b"a").unwrap().ino, ns.lookup(&op, bucket, b"b").unwrap().ino);
    let replace = RenameMode::Replace;
    assert_eq!(ns.rename(&op, (bucket, b"a"), (bucket, b"b"), replace).unwrap_err().kind, ErrorKind::NotEmpty);
    assert_eq!(ns.rename(&op, (bucket, b"a"), (a, b"in"), replace).unwrap_err().kind, ErrorKind::Loop);
    assert_eq!(ns.rename(&op, (a, b"x"), (bucket, b"b"), replace).unwrap_err().kind, ErrorKind::IsDirectory);
    assert_eq!(ns.rename(&op, (a, b"x"), (b, b"y"), RenameMode::NoReplace).unwrap_err().kind, ErrorKind::Exists);
    ns.rename(&op, (a, b"x"), (b, b"y"), RenameMode::Exchange).unwrap();
    assert_eq!((get(ns, "a/x").unwrap(), get(ns, "b/y").unwrap()), (b"2".to_vec(), b"1".to_vec()));
    ns.rename(&op, (a, b"x"), (b, b"y"), replace).unwrap();
    assert_eq!(get(ns, "b/y").unwrap(), b"2");
    ns.rename(&op, (bucket, b"b"), (bucket, b"a"), replace).unwrap();
    assert_eq!(get(ns, "a/y").unwrap(), b"2");
    assert_eq!(keys(ns, "", None).0, ["a/", "a/y"]);
    sound(ns);
}

#[test]
fn hard_links_share_content_and_count() {
    let (_world, store) = store();
    let ns = store.namespace();
    let op = root();
    let bucket = ns.resolve(&op, b"/bkt").unwrap().ino;
    put(ns, "a", b"shared");
    let ino = ns.lookup(&op, bucket, b"a").unwrap().ino;
    assert_eq!(ns.link(&op, ino, bucket, b"b").unwrap().nlink, 2);
    put(ns, "a", b"changed by key");
    assert_eq!(get(ns, "b").unwrap(), b"changed by key");
    ns.unlink(&op, bucket, b"a").unwrap();
    assert_eq!(ns.getattr(&op, ino).unwrap().nlink, 1);
    sound(ns);
}

#[test]
fn mode_bits_sticky_directories_and_ownership_are_enforced() {
    let (_world, store) = store();
    let ns = store.namespace();
    let op = root();
    let bucket = ns.resolve(&op, b"/bkt").unwrap().ino;
    let alice = user(1000);
    let bob = user(1001);
    let denied = ns.mkdir(&alice, bucket, b"d", 0o755).unwrap_err();
    assert_eq!(denied.kind, ErrorKind::AccessDenied);
    let set = |mode| SetAttr { mode: Some(mode), ..SetAttr::default() };
    ns.setattr(&op, bucket, &set(0o1777)).unwrap();
    let file = ns.create(&alice, bucket, b"f", 0o600, RW, true, false).unwrap();
    assert_eq!((file.uid, file.gid), (1000, 1000));
    ns.close(&alice, file.ino, false).unwrap();
    assert_eq!(ns.open(&bob, file.ino, RW, false).unwrap_err().kind, ErrorKind::AccessDenied);
    assert_eq!(ns.unlink(&bob, bucket, b"f").unwrap_err().kind, ErrorKind::NotPermitted);
    assert_eq!(ns.setattr(&bob, file.ino, &set(0o777)).unwrap_err().kind, ErrorKind::NotPermitted);
    let give = SetAttr { uid: Some(1001), ..SetAttr::default() };
    assert_eq!(ns.setattr(&alice, file.ino, &give).unwrap_err().kind, ErrorKind::NotPermitted);
    ns.setattr(&op, file.ino, &give).unwrap();
    assert!(ns.open(&bob, file.ino, RW, false).is_ok());
    ns.close(&bob, file.ino, false).unwrap();
    let asked = Access { read: true, write: true, exec: true };
    assert_eq!(ns.access(&alice, file.ino, asked).unwrap(), Access::default());
    sound(ns);
}

#[test]
fn special_nodes_links_and_attributes_keep_what_they_were_given() {
    let (world, store) = store();
    let ns = store.namespace();
    let op = root();
    let bucket = ns.resolve(&op, b"/bkt").unwrap().ino;
    let link = ns.symlink(&op, bucket, b"l", b"../some where").unwrap();
    let device = NewNode { kind: NodeKind::CharDevice, mode: 0o600, rdev: 0x105 };
    let device = ns.mknod(&op, bucket, b"null", device).unwrap();
    ns.set_xattr(&op, link.ino, b"trusted.t", b"v", XattrMode::Any).unwrap();
    assert_eq!(ns.set_xattr(&op, link.ino, b"trusted.t", b"v", XattrMode::Create).unwrap_err().kind, ErrorKind::Exists);
    ns.store().ledger().sync().unwrap();
    drop(store);
    world.restart(3);
    let store = open(&world);
    let ns = store.namespace();
    assert_eq!(ns.readlink(&op, link.ino).unwrap(), b"../some where");
    assert_eq!(ns.getattr(&op, device.ino).unwrap().rdev, 0x105);
    assert_eq!(ns.get_xattr(&op, link.ino, b"trusted.t").unwrap(), b"v");
    assert_eq!(ns.list_xattrs(&op, link.ino).unwrap(), [b"trusted.t".to_vec()]);
    assert!(keys(ns, "", None).0.is_empty(), "neither is an object");
    sound(ns);
}

#[test]
fn a_directory_reads_in_pages_and_its_cursors_stay_valid() {
    let (_world, store) = store();
    let ns = store.namespace();
    let op = root();
    let bucket = ns.resolve(&op, b"/bkt").unwrap().ino;
    for n in 0..25 {
        put(ns, &format!("f{n:02}"), b"");
    }
    let mut cursor = Vec::new();
    let mut names = Vec::new();
    loop {
        let page = ns.readdir(&op, bucket, &cursor, 4).unwrap();
        for entry in &page.entries {
            names.push(String::from_utf8(entry.name.clone()).unwrap());
            if entry.name == b"f10" {
                ns.unlink(&op, bucket, b"f10").unwrap();
            }
        }
        match page.entries.last() {
            Some(last) => cursor.clone_from(&last.cursor),
            None => break,
        }
    }
    assert_eq!(names.len(), 25);
    assert_eq!(names, {
        let mut sorted = names.clone();
        sorted.sort();
        sorted
    });
}

#[test]
fn trees_are_copied_without_data_and_removed_whole() {
    let (_world, store) = store();
    let ns = store.namespace();
    let op = root();
    let bucket = ns.resolve(&op, b"/bkt").unwrap().ino;
    let data = noise(6, 600_000);
    put(ns, "t/a", &data);
    put(ns, "t/u/b", b"b");
    assert!(!ns.copy_tree(&op, (bucket, b"t"), (bucket, b"v"), true, false).unwrap());
    assert!(get(ns, "v/a").unwrap() == data);
    assert_eq!(
        ns.copy_tree(&op, (bucket, b"t"), (bucket, b"v"), true, false).unwrap_err().kind,
        ErrorKind::PreconditionFailed
    );
    let t = ns.lookup(&op, bucket, b"t").unwrap().ino;
    assert_eq!(ns.copy_tree(&op, (bucket, b"t"), (t, b"w"), true, true).unwrap_err().kind, ErrorKind::Loop);
    ns.remove_tree(&op, bucket, b"t").unwrap();
    assert!(get(ns, "v/u/b").is_ok());
    assert!(get(ns, "t/a").is_err());
    sound(ns);
}

#[test]
fn a_copy_that_may_not_read_everything_leaves_its_target_as_it_is() {
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let open = |path: &[u8], mode| {
        let set = SetAttr { mode: Some(mode), ..SetAttr::default() };
        ns.setattr(&root(), ns.resolve(&root(), path).unwrap().ino, &set).unwrap();
    };
    put(ns, "t/a", b"free");
    put(ns, "t/u/b", b"closed");
    put(ns, "v/kept", b"kept");
    put(ns, "f", b"closed");
    for path in [&b"/bkt"[..], b"/bkt/t", b"/bkt/t/u", b"/bkt/v"] {
        open(path, 0o777);
    }
    open(b"/bkt/t/a", 0o644);
    for (name, over) in [(&b"t"[..], &b"v"[..]), (b"t", b"new"), (b"f", b"v")] {
        let refused = ns.copy_tree(&user(8), (bucket, name), (bucket, over), true, true).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::AccessDenied, "{refused:?}");
        assert_eq!(get(ns, "v/kept").unwrap(), b"kept");
        assert!(ns.lookup(&root(), bucket, b"new").is_err());
    }
    open(b"/bkt/t/u/b", 0o644);
    assert!(ns.copy_tree(&user(8), (bucket, b"t"), (bucket, b"v"), true, true).unwrap());
    assert_eq!((get(ns, "v/u/b").unwrap(), get(ns, "v/kept").is_err()), (b"closed".to_vec(), true));
    sound(ns);
}

#[test]
fn ranges_are_copied_by_reference() {
    let (_world, store) = store();
    let ns = store.namespace();
    let op = root();
    let bucket = ns.resolve(&op, b"/bkt").unwrap().ino;
    let data = noise(61, 900_000);
    put(ns, "from", &data);
    put(ns, "to", b"0123456789");
    let (from, to) = (ns.lookup(&op, bucket, b"from").unwrap().ino, ns.lookup(&op, bucket, b"to").unwrap().ino);
    assert_eq!(ns.copy_range(&op, (from, 100_000), (to, 5), 1 << 40).unwrap(), 800_000);
    assert!(get(ns, "to").unwrap() == [&b"01234"[..], &data[100_000..]].concat());
    sound(ns);
}

#[test]
fn a_store_closed_in_order_has_nothing_to_replay_at_the_next_start() {
    let world = strata_seam::sim::SimWorld::new(2);
    let dir = tempfile::tempdir().unwrap();
    let start = |world: &strata_seam::sim::SimWorld| {
        let config = strata_runtime::StoreConfig { index_dir: Some(dir.path().join("index")), ..config(world, 2, 1) };
        strata_runtime::OpenStore::open(config, world.clock(), &strata_seam::sim::SimEntropy::new(3)).unwrap()
    };
    let store = start(&world);
    store.namespace().create_bucket(&root(), "bkt", None).unwrap();
    put(store.namespace(), "k", b"value");
    drop(store);
    world.kill_process();
    // The process died before the index was brought up to date: this start replays, and its close catches up.
    let store = start(&world);
    assert!(store.replayed > 0);
    store.close().unwrap();
    let store = start(&world);
    assert_eq!(store.replayed, 0);
    assert_eq!(get(store.namespace(), "k").unwrap(), b"value");
    sound(store.namespace());
}

#[test]
fn a_store_killed_young_again_and_again_does_not_replay_the_same_every_time() {
    let world = strata_seam::sim::SimWorld::new(2);
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let config = strata_runtime::StoreConfig { index_dir: Some(dir.path().join("index")), ..config(&world, 2, 1) };
        strata_runtime::OpenStore::open(config, world.clock(), &strata_seam::sim::SimEntropy::new(3)).unwrap()
    };
    let store = start();
    store.namespace().create_bucket(&root(), "bkt", None).unwrap();
    for number in 0..2000 {
        put(store.namespace(), &format!("k{number}"), b"");
    }
    drop(store);
    world.kill_process();
    let store = start();
    assert!(store.replayed >= 2000);
    for _ in 0..50 {
        store.tend().unwrap();
    }
    drop(store);
    world.kill_process();
    let store = start();
    assert!(store.replayed < 100, "{} replayed again", store.replayed);
    assert_eq!(get(store.namespace(), "k1999").unwrap(), b"");
    sound(store.namespace());
}

#[test]
fn buckets_that_change_places_do_so_at_every_door() {
    let (_world, store) = store();
    let ns = store.namespace();
    let op = root();
    ns.create_bucket(&op, "other", None).unwrap();
    put(ns, "k", b"of bkt");
    let root_dir = strata_namespace::ROOT_INO;
    ns.rename(&op, (root_dir, b"bkt"), (root_dir, b"other"), RenameMode::Exchange).unwrap();
    assert!(ns.get_object(&op, "other", b"k").is_ok());
    assert!(ns.resolve(&op, b"/other/k").is_ok());
    sound(ns);
}

#[test]
fn a_sync_in_a_relaxed_bucket_waits_for_the_write_alone_and_elsewhere_for_the_disks() {
    let (_world, store) = store();
    let ns = store.namespace();
    for (bucket, durability) in [("loose", Durability::Relaxed), ("tight", Durability::Strict)] {
        ns.create_bucket(&root(), bucket, Some(durability)).unwrap();
        let top = ns.bucket(&root(), bucket).unwrap().root;
        let file = ns.create(&root(), top, b"f", 0o644, RW, true, false).unwrap().ino;
        ns.write(&root(), file, 0, &noise(1, 100_000)).unwrap();
        // The commits that made the bucket are promised strictly, so they are settled first.
        let op = root();
        ns.fsync(&op, file).unwrap();
        ns.settle_blocking(&op).unwrap();
        for n in 0..5_u64 {
            ns.write(&root(), file, n * 9000, b"small").unwrap();
            let op = root();
            ns.fsync(&op, file).unwrap();
            ns.settle_blocking(&op).unwrap();
            let (written, durable) = (ns.store().ledger().written(), ns.store().durable());
            assert!(written >= ns.store().last_commit(), "round {n}: what was synced is on its way no longer");
            assert_eq!(durable >= ns.store().last_commit(), durability == Durability::Strict, "round {n}");
        }
        ns.setattr(&root(), file, &SetAttr { size: Some(50_000), ..SetAttr::default() }).unwrap();
        assert_eq!(ns.getattr(&root(), file).unwrap().size, 50_000);
        ns.close(&root(), file, true).unwrap();
    }
    sound(ns);
}

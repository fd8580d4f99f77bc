//! A bucket is a boundary like a file system of its own: names, usage, and what is moved across.

use std::sync::Arc;

use strata_namespace::{
    Durability, ErrorKind, MOVING_PREFIX, Namespace, ROOT_INO, RenameMode, SetAttr, SetTime, Usage, UsageOf, XattrMode,
};
use strata_seam::sim::{SimWorld, Submission, explore_crashes};
use strata_seam::{Ino, Timestamp};

use crate::support::*;

/// The store with the buckets `bkt` and `other`, and their directories.
fn two_buckets() -> (SimWorld, strata_runtime::OpenStore, Ino, Ino) {
    let (world, store) = store();
    let ns = store.namespace();
    ns.create_bucket(&root(), "other", Some(Durability::Relaxed)).unwrap();
    let (one, two) = (ino(ns, "/bkt"), ino(ns, "/other"));
    (world, store, one, two)
}

fn ino(ns: &Namespace, path: &str) -> Ino {
    ns.resolve(&root(), path.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}")).ino
}

fn entries_of(ns: &Namespace, dir: Ino) -> usize {
    ns.readdir(&root(), dir, &[], 100).unwrap().entries.len()
}

fn is_there(ns: &Namespace, path: &str) -> bool {
    ns.resolve(&root(), path.as_bytes()).is_ok()
}

#[test]
fn no_inode_is_renamed_or_linked_across_buckets_in_any_way() {
    let (_world, store, one, two) = two_buckets();
    let ns = store.namespace();
    put(ns, "f", b"f");
    put(ns, "d/g", b"g");
    ns.mkdir(&root(), two, b"e", 0o755).unwrap();
    let refused =
        |result: Result<(), strata_namespace::Error>| assert_eq!(result.unwrap_err().kind, ErrorKind::CrossDevice);
    for mode in [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange] {
        refused(ns.rename(&root(), (one, b"f"), (two, b"f"), mode));
        refused(ns.rename(&root(), (one, b"d"), (ino(ns, "/other/e"), b"d"), mode));
        // A bucket is not moved into another, nor does anything become one by being moved.
        refused(ns.rename(&root(), (ROOT_INO, b"bkt"), (two, b"bkt"), mode));
        refused(ns.rename(&root(), (one, b"d"), (ROOT_INO, b"deep"), mode));
    }
    refused(ns.link(&root(), ino(ns, "/bkt/f"), two, b"f").map(drop));
    refused(ns.link(&root(), ino(ns, "/bkt/f"), ROOT_INO, b"fff").map(drop));
    ns.rename(&root(), (one, b"f"), (ino(ns, "/bkt/d"), b"f"), RenameMode::NoReplace).unwrap();
    assert!(is_there(ns, "/bkt/d/f") && is_there(ns, "/bkt/d/g") && !is_there(ns, "/other/f"));
    sound(ns);
}

#[test]
fn a_renamed_bucket_keeps_its_rules_and_its_inodes() {
    let (_world, store, _, two) = two_buckets();
    let ns = store.namespace();
    let file = ns.create(&root(), two, b"f", 0o644, RW, true, false).unwrap().ino;
    ns.rename(&root(), (ROOT_INO, b"other"), (ROOT_INO, b"another"), RenameMode::NoReplace).unwrap();
    let bucket = ns.bucket(&root(), "another").unwrap();
    assert_eq!((bucket.root, bucket.durability, &*bucket.name), (two, Durability::Relaxed, "another"));
    assert_eq!(ns.bucket(&root(), "other").unwrap_err().kind, ErrorKind::NoSuchBucket);
    ns.rename(&root(), (ROOT_INO, b"another"), (ROOT_INO, b"bkt"), RenameMode::Exchange).unwrap();
    assert_eq!(ns.bucket(&root(), "bkt").unwrap().durability, Durability::Relaxed);
    assert_eq!(ns.bucket(&root(), "another").unwrap().durability, Durability::Strict);
    let names: Vec<String> = ns.buckets(&root()).unwrap().into_iter().map(|bucket| bucket.name).collect();
    assert_eq!(names, ["another", "bkt"]);
    // Reached by the inode alone, as from a handle.
    let op = root();
    ns.write(&op, file, 0, b"x").unwrap();
    ns.fsync(&op, file).unwrap();
    assert!(!op.strict());
    ns.close(&op, file, true).unwrap();
    sound(ns);
}

#[test]
fn usage_is_counted_by_bucket_and_owner_through_everything_that_changes_it() {
    let (_world, store, one, two) = two_buckets();
    let ns = store.namespace();
    let used = |of| {
        let Usage { bytes, inodes } = ns.usage(of).unwrap();
        (bytes, inodes)
    };
    let (first, second) = (UsageOf::Bucket(one), UsageOf::Bucket(two));
    assert_eq!((used(first), used(second)), ((0, 1), (0, 1)), "its directory");
    put(ns, "d/f", &noise(1, 100_000));
    assert_eq!(used(first), (100_000, 3));
    put(ns, "d/f", &noise(2, 30_000));
    assert_eq!(used(first), (30_000, 3));
    let file = ino(ns, "/bkt/d/f");
    ns.link(&root(), file, one, b"g").unwrap();
    assert_eq!(used(first), (30_000, 3), "a second name is no second file");
    let owner = used(UsageOf::Owner(4242));
    ns.setattr(&root(), file, &SetAttr { uid: Some(4242), ..SetAttr::default() }).unwrap();
    assert_eq!((owner, used(UsageOf::Owner(4242))), ((0, 0), (30_000, 1)));
    // Holes take nothing.
    ns.setattr(&root(), file, &SetAttr { size: Some(1 << 30), ..SetAttr::default() }).unwrap();
    assert_eq!(used(first), (30_000, 3));
    ns.copy_tree(&root(), (one, b"d"), (two, b"d"), true, false).unwrap();
    assert_eq!((used(first), used(second)), ((30_000, 3), (30_000, 3)), "each is counted by itself");
    ns.remove_tree(&root(), one, b"d").unwrap();
    assert_eq!(used(first), (30_000, 2));
    ns.unlink(&root(), one, b"g").unwrap();
    assert_eq!((used(first), used(UsageOf::Owner(4242))), ((0, 1), (0, 0)));
    ns.remove_bucket(&root(), "other", &mut |_, _| true).unwrap();
    assert_eq!(used(second), (0, 0));
    sound(ns);
}

#[test]
fn a_file_goes_into_a_desktops_trash_from_another_bucket_and_is_counted_there() {
    let (world, store, one, _) = two_buckets();
    let ns = store.namespace();
    let trash = ns.mkdir(&root(), ROOT_INO, b".Trash-0", 0o700).unwrap().ino;
    put(ns, "f", &noise(1, 50_000));
    put(ns, "d/f", b"in a folder");
    let file = ino(ns, "/bkt/f");
    ns.setattr(&root(), file, &SetAttr { uid: Some(7), mode: Some(0o4755), ..SetAttr::default() }).unwrap();
    let used = |of| ns.usage(UsageOf::Bucket(of)).unwrap().bytes;
    let throw = |from: (Ino, &[u8]), to: &[u8], mode| ns.rename_or_trash(&root(), from, (trash, to), mode);
    let outside = |refused: Result<(), strata_namespace::Error>| refused.unwrap_err().kind == ErrorKind::CrossDevice;
    assert!(outside(ns.rename(&root(), (one, b"f"), (trash, b"f"), RenameMode::Replace)), "by doors that know a MOVE");
    assert!(outside(throw((one, b"f"), b"f", RenameMode::Exchange)));
    let mut events = ns.events(strata_namespace::Begin::Now);
    throw((one, b"f"), b"g", RenameMode::Replace).unwrap();
    ns.settle_blocking(&root()).unwrap();
    let kept = ns.resolve(&root(), b"/.Trash-0/g").unwrap();
    assert_eq!((kept.ino, kept.uid, kept.mode), (file, 7, 0o4755), "the file that it was");
    assert_eq!((used(trash), used(one)), (50_000, 11));
    store.namespace().store().sync().unwrap();
    let told = events.next_page(10).unwrap().events;
    let told: Vec<_> =
        told.iter().map(|told| (&*told.event.bucket, told.event.key.as_deref().unwrap_or_default())).collect();
    let at_s3 = ns.bucket_of_folder(&root(), b".Trash-0").unwrap().name;
    assert_eq!(told, [(&*at_s3, &b"g"[..]), ("bkt", &b"f"[..])]);
    // A file in the trash is replaced as by any rename, and nothing comes back out of the trash.
    put(ns, "f", b"newer");
    throw((one, b"f"), b"g", RenameMode::Replace).unwrap();
    assert_eq!(used(trash), 5);
    assert!(outside(ns.rename_or_trash(&root(), (trash, b"g"), (one, b"f"), RenameMode::Replace)));
    sound(ns);
    store.close().unwrap();
    world.kill_process();
    sound(open(&world).namespace());
}

#[test]
fn who_may_not_remove_the_source_of_a_move_across_gets_no_copy_of_it() {
    let (_world, store, one, two) = two_buckets();
    let ns = store.namespace();
    put(ns, "d/f", b"not theirs");
    for (dir, mode) in [(one, 0o755), (two, 0o777)] {
        ns.setattr(&root(), dir, &SetAttr { mode: Some(mode), ..SetAttr::default() }).unwrap();
    }
    ns.setattr(&root(), ino(ns, "/bkt/d/f"), &SetAttr { mode: Some(0o644), ..SetAttr::default() }).unwrap();
    let refused = ns.move_across(&user(7), (one, b"d"), (two, b"d"), false).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::AccessDenied);
    assert!(is_there(ns, "/bkt/d/f") && !is_there(ns, "/other/d"));
    // The removal is also refused if only something deep inside has to stay.
    put(ns, "own/deep/f", b"not theirs");
    let whose = |path: &str, uid, mode| {
        let attr = SetAttr { uid: Some(uid), mode: Some(mode), ..SetAttr::default() };
        ns.setattr(&root(), ino(ns, path), &attr).unwrap();
    };
    whose("/bkt/own", 7, 0o755);
    whose("/bkt/own/deep/f", 0, 0o644);
    whose("/bkt", 0, 0o777);
    let refused = ns.move_across(&user(7), (one, b"own"), (two, b"own"), false).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::AccessDenied);
    assert_eq!((entries_of(ns, two), is_there(ns, "/bkt/own/deep/f")), (0, true));
    whose("/bkt/own/deep", 7, 0o755);
    ns.move_across(&user(7), (one, b"own"), (two, b"own"), false).unwrap();
    assert!(is_there(ns, "/other/own/deep/f") && !is_there(ns, "/bkt/own"));
    sound(ns);
}

#[test]
fn what_is_moved_across_by_somebody_else_than_its_owner_runs_as_nobody() {
    let (_world, store, one, two) = two_buckets();
    let ns = store.namespace();
    put(ns, "su", b"program");
    let file = ino(ns, "/bkt/su");
    ns.set_xattr(&root(), file, b"security.capability", b"all", XattrMode::Any).unwrap();
    ns.set_xattr(&root(), file, b"user.colour", b"blue", XattrMode::Any).unwrap();
    ns.setattr(&root(), file, &SetAttr { uid: Some(1000), gid: Some(1000), ..SetAttr::default() }).unwrap();
    ns.setattr(&root(), file, &SetAttr { mode: Some(0o6755), ..SetAttr::default() }).unwrap();
    ns.move_across(&root(), (one, b"su"), (two, b"su"), false).unwrap();
    let moved = ns.resolve(&root(), b"/other/su").unwrap();
    assert_eq!((moved.uid, moved.mode), (0, 0o755));
    assert_eq!(ns.get_xattr(&root(), moved.ino, b"user.colour").unwrap(), b"blue");
    assert!(ns.get_xattr(&root(), moved.ino, b"security.capability").is_err());
}

#[test]
fn a_tree_that_is_moved_across_is_whole_with_everything_it_had_and_gone_where_it_was() {
    let (_world, store, one, two) = two_buckets();
    let ns = store.namespace();
    let deep = "d/e/".to_owned() + &"x/".repeat(20) + "leaf";
    for key in ["d/f", "d/a/", "d/.~strata~o~q", &deep] {
        put(ns, key, key.repeat(1000).as_bytes());
    }
    let dir = ino(ns, "/bkt/d");
    ns.symlink(&root(), dir, b"link", b"f").unwrap();
    let file = ino(ns, "/bkt/d/f");
    ns.set_xattr(&root(), file, b"user.colour", b"blue", XattrMode::Any).unwrap();
    ns.set_property(&root(), dir, "urn:x", "p", Some(b"<x/>")).unwrap();
    let times = SetAttr { mtime: Some(SetTime::At(Timestamp(7_000_000_000))), mode: Some(0o640), ..SetAttr::default() };
    ns.setattr(&root(), file, &times).unwrap();
    ns.setattr(&root(), dir, &SetAttr { mode: Some(0o2750), ..times }).unwrap();
    let before = ns.store().ledger().next_lsn();
    assert!(!ns.move_across(&root(), (one, b"d"), (two, b"moved"), false).unwrap());
    assert!(ns.store().ledger().next_lsn().0 - before.0 < 400, "no content is written again");
    assert!(!is_there(ns, "/bkt/d"));
    let moved = ns.resolve(&root(), b"/other/moved").unwrap();
    let leaf = ns.resolve(&root(), b"/other/moved/f").unwrap();
    for attr in [&moved, &leaf] {
        assert_eq!(attr.mtime, Timestamp(7_000_000_000));
    }
    assert_eq!((moved.mode & 0o7777, leaf.mode & 0o7777), (0o2750, 0o640));
    assert_eq!(read_file(ns, leaf.ino), "d/f".repeat(1000).as_bytes());
    assert_eq!(ns.get_xattr(&root(), leaf.ino, b"user.colour").unwrap(), b"blue");
    let properties = ns.properties(&root(), moved.ino).unwrap();
    assert_eq!(properties, [("urn:x".to_owned(), "p".to_owned(), b"<x/>".to_vec())]);
    assert!(is_there(ns, &format!("/other/moved/{}", deep.trim_start_matches("d/"))));
    sound(ns);
}

#[test]
fn what_is_at_the_destination_gives_way_in_one_step_and_only_where_it_may() {
    let (_world, store, one, two) = two_buckets();
    let ns = store.namespace();
    for (name, key) in [("file", "a"), ("dir", "b/x"), ("new", "c"), ("tree", "t/y")] {
        put(ns, key, name.as_bytes());
    }
    let at = |name: &str| ns.mkdir(&root(), two, name.as_bytes(), 0o755).unwrap().ino;
    at("dir");
    ns.mkdir(&root(), ino(ns, "/other/dir"), b"below", 0o755).unwrap();
    let refused = ns.move_across(&root(), (one, b"a"), (two, b"dir"), false);
    assert_eq!(refused.unwrap_err().kind, ErrorKind::PreconditionFailed);
    assert!(is_there(ns, "/other/dir/below") && is_there(ns, "/bkt/a"));
    assert!(ns.move_across(&root(), (one, b"a"), (two, b"dir"), true).unwrap(), "a file over a tree");
    assert_eq!(read_file(ns, ino(ns, "/other/dir")), b"file");
    assert!(ns.move_across(&root(), (one, b"b"), (two, b"dir"), true).unwrap(), "a tree over a file");
    assert_eq!(read_file(ns, ino(ns, "/other/dir/x")), b"dir");
    assert!(ns.move_across(&root(), (one, b"t"), (two, b"dir"), true).unwrap(), "a tree over a tree");
    assert!(is_there(ns, "/other/dir/y") && !is_there(ns, "/other/dir/x"));
    assert!(!ns.move_across(&root(), (one, b"c"), (two, b"new"), true).unwrap());
    for dir in [one, two] {
        let page = ns.readdir(&root(), dir, &[], 100).unwrap();
        let rest: Vec<_> =
            page.entries.iter().filter(|entry| entry.name.starts_with(MOVING_PREFIX.as_bytes())).collect();
        assert!(rest.is_empty(), "{rest:?}");
    }
    sound(ns);
}

#[test]
fn names_of_one_file_in_a_tree_that_is_moved_across_lead_to_one_each() {
    let (_world, store, one, two) = two_buckets();
    let ns = store.namespace();
    put(ns, "d/f", b"f");
    let (dir, file) = (ino(ns, "/bkt/d"), ino(ns, "/bkt/d/f"));
    for name in [b"g", b"h"] {
        ns.link(&root(), file, dir, name).unwrap();
    }
    ns.link(&root(), file, one, b"outside").unwrap();
    ns.move_across(&root(), (one, b"d"), (two, b"d"), false).unwrap();
    for name in ["f", "g", "h"] {
        let moved = ns.resolve(&root(), format!("/other/d/{name}").as_bytes()).unwrap();
        assert_eq!((moved.nlink, read_file(ns, moved.ino)), (1, b"f".to_vec()));
    }
    assert!(!is_there(ns, "/bkt/d"));
    assert_eq!(ns.resolve(&root(), b"/bkt/outside").unwrap().nlink, 1);
    sound(ns);
}

#[test]
fn what_changes_in_the_source_while_it_is_moved_stays_there() {
    let (_world, store, one, two) = two_buckets();
    let ns = store.namespace();
    for number in 0..50 {
        put(ns, &format!("d/{number}"), b"old");
    }
    let watched = ino(ns, "/bkt/d/7");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (moved, changed) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0_u32;
            while !stop.load(std::sync::atomic::Ordering::Acquire) {
                let bytes = format!("new {written}");
                let done = ns.write(&root(), watched, 0, bytes.as_bytes()).and_then(|_| ns.fsync(&root(), watched));
                if done.is_err() {
                    break;
                }
                written += 1;
            }
            written
        });
        let moved = ns.move_across(&root(), (one, b"d"), (two, b"d"), false);
        stop.store(true, std::sync::atomic::Ordering::Release);
        (moved, writer.join().unwrap())
    });
    // Whichever came first: the last bytes that a sync confirmed are in one of the two.
    let last = if changed == 0 { b"old".to_vec() } else { format!("new {}", changed - 1).into_bytes() };
    match moved {
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::Busy, "{error}");
            assert_eq!(read_file(ns, ino(ns, "/bkt/d/7")), last);
        }
        Ok(_) => assert_eq!(read_file(ns, ino(ns, "/other/d/7")), last),
    }
    assert!((0..50).all(|number| is_there(ns, &format!("/other/d/{number}"))), "the destination is whole");
    sound(ns);
}

#[test]
fn a_crash_at_any_io_of_a_move_across_leaves_every_file_somewhere_and_the_destination_old_or_whole() {
    let (world, store, one, two) = two_buckets();
    let ns = store.namespace();
    let names = ["a", "b/c", "b/d", "e/"].map(|name| (name, name.repeat(5000).into_bytes()));
    names.iter().for_each(|(name, data)| drop(put(ns, &format!("d/{name}"), data)));
    let old = ns.mkdir(&root(), two, b"d", 0o755).unwrap().ino;
    ns.mkdir(&root(), old, b"old", 0o755).unwrap();
    ns.store().ledger().sync().unwrap();
    drop(store);
    world.kill_process();
    let work = |world: &SimWorld| {
        let Ok(store) = try_open(world, 2, 1) else { return false };
        let ns = store.namespace();
        // Each commit is a stripe of its own, so that the power can go between any two.
        let ledger = Arc::clone(ns.store().ledger());
        let _synced = ns.store().watch(Arc::new(move |_| drop(ledger.sync())));
        let op = root();
        ns.move_across(&op, (one, b"d"), (two, b"d"), true).and_then(|_| ns.settle_blocking(&op)).is_ok()
    };
    let mut seen = [false; 3];
    let states = explore_crashes(&world, Submission::DisksInParallel, 0..2, work, |world, moved, state| {
        let store = open(world);
        let ns = store.namespace();
        let has = |dir: &str, (name, data): &(&str, Vec<u8>)| {
            let bucket = if dir == "/bkt/d" { "bkt" } else { "other" };
            let found = ns.get_object(&root(), bucket, format!("d/{name}").as_bytes());
            found.is_ok_and(|(_, reader)| reader.read(0, data.len() + 1).unwrap() == data[..])
        };
        assert!(names.iter().all(|file| has("/bkt/d", file) || has("/other/d", file)), "{state:?}");
        let whole = names.iter().all(|file| has("/other/d", file));
        assert_ne!(whole, is_there(ns, "/other/d/old"), "{state:?}: the destination is the old tree or the new one");
        let rest = is_there(ns, "/bkt/d");
        assert!(!*moved || (whole && !rest), "{state:?}");
        seen[usize::from(whole) + usize::from(whole && !rest)] = true;
        sound(ns);
    });
    assert!(states > 60 && seen == [true; 3], "{states} states, {seen:?}");
}

//! A folder that a desktop throws away is moved into the trash's bucket in one commit, and its content follows.

use std::sync::Arc;

use strata_namespace::{
    Begin, ErrorKind, Namespace, NewLock, ObjectMeta, Op, ROOT_INO, RenameMode, Result, SetAttr, UsageOf, What,
};
use strata_runtime::OpenStore;
use strata_seam::Ino;
use strata_seam::sim::{SimWorld, Submission, explore_crashes};

use crate::support::*;

/// More than the rename itself brings along.
const MANY: usize = 700;

fn ino(ns: &Namespace, path: &str) -> Ino {
    ns.resolve(&root(), path.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}")).ino
}

fn is_there(ns: &Namespace, path: &str) -> bool {
    ns.resolve(&root(), path.as_bytes()).is_ok()
}

/// The store with the folder of a trash, and the directory of the bucket `bkt`.
fn with_trash() -> (SimWorld, OpenStore, Ino, Ino) {
    let (world, store) = store();
    let ns = store.namespace();
    let trash = ns.mkdir(&root(), ROOT_INO, b".Trash-0", 0o700).unwrap().ino;
    let one = ino(ns, "/bkt");
    (world, store, one, trash)
}

/// A folder with many files beside each other, and some below each other.
fn fill(ns: &Namespace) {
    for n in 0..MANY {
        put(ns, &format!("d/wide/{n:03}"), format!("content {n}").as_bytes());
    }
    for key in ["d/f", "d/e/f", "d/e/e/f", "d/e/e/e/f"] {
        put(ns, key, &noise(key.len() as u64, 20_000));
    }
}

fn throw(ns: &Namespace, from: (Ino, &[u8]), trash: Ino) -> Result<()> {
    ns.rename_or_trash(&root(), from, (trash, from.1), RenameMode::Replace)
}

/// Bytes and inodes that count for a bucket.
fn used(ns: &Namespace, bucket: Ino) -> (u64, u64) {
    let usage = ns.usage(UsageOf::Bucket(bucket)).unwrap();
    (usage.bytes, usage.inodes)
}

#[test]
fn a_folder_is_in_the_trash_at_once_and_what_is_in_it_follows_into_its_bucket() {
    let (_world, store, one, trash) = with_trash();
    let ns = store.namespace();
    fill(ns);
    let before = used(ns, one);
    let file = ns.resolve(&root(), b"/bkt/d/e/e/f").unwrap();
    throw(ns, (one, b"d"), trash).unwrap();
    assert!(!is_there(ns, "/bkt/d"));
    let (bytes, inodes) = used(ns, one);
    assert!(inodes > 1, "it takes many changes, and the rename waits for a few");
    assert_eq!((bytes + used(ns, trash).0, inodes + used(ns, trash).1), (before.0, before.1 + 1));
    sound(ns);
    let now = ns.resolve(&root(), b"/.Trash-0/d/e/e/f").unwrap();
    assert_eq!((now.ino, now.size, now.mtime, now.ctime), (file.ino, file.size, file.mtime, file.ctime), "as it was");
    ns.follow_all().unwrap();
    assert_eq!((used(ns, one), used(ns, trash)), ((0, 1), (before.0, before.1)));
    assert_eq!(ns.follow_step().unwrap(), 0);
    sound(ns);
    let page = ns.readdir(&root(), ino(ns, "/.Trash-0/d/wide"), &[], 4096).unwrap();
    assert_eq!(page.entries.len(), MANY);
    // It is now a folder of that bucket like any other.
    ns.rename(&root(), (ino(ns, "/.Trash-0/d"), b"wide"), (trash, b"wide"), RenameMode::NoReplace).unwrap();
    ns.remove_tree(&root(), trash, b"d").unwrap();
    ns.remove_tree(&root(), trash, b"wide").unwrap();
    assert_eq!(used(ns, trash), (0, 1));
    sound(ns);
}

#[test]
fn whatever_is_done_in_the_folder_meanwhile_everything_belongs_where_it_lies_in_the_end() {
    let (_world, store, one, trash) = with_trash();
    let ns = store.namespace();
    fill(ns);
    put(ns, "stays/f", b"f");
    throw(ns, (one, b"d"), trash).unwrap();
    let (d, wide) = (ino(ns, "/.Trash-0/d"), ino(ns, "/.Trash-0/d/wide"));
    let last = format!("{:03}", MANY - 1);
    // New files beside those that have not followed; a file that has not followed moves into a folder that has, and out of the folder.
    for n in 0..3 {
        ns.create(&root(), wide, format!("{n}-new").as_bytes(), 0o644, RW, true, false).unwrap();
    }
    ns.rename(&root(), (wide, last.as_bytes()), (d, b"moved"), RenameMode::NoReplace).unwrap();
    ns.rename(&root(), (d, b"e"), (trash, b"e"), RenameMode::NoReplace).unwrap();
    ns.rename(&root(), (d, b"wide"), (trash, b"wide"), RenameMode::NoReplace).unwrap();
    let put_back = ns.rename(&root(), (d, b"moved"), (one, b"back"), RenameMode::NoReplace);
    assert_eq!(put_back.unwrap_err().kind, ErrorKind::CrossDevice);
    sound(ns);
    // The folder is removed while its content is still following.
    ns.remove_tree(&root(), trash, b"d").unwrap();
    sound(ns);
    ns.follow_all().unwrap();
    sound(ns);
    assert_eq!(used(ns, one).1, 3, "the bucket's directory, and what stayed");
    assert_eq!(ns.readdir(&root(), wide, &[], 4096).unwrap().entries.len(), MANY + 2);
    assert_eq!(ns.follow_step().unwrap(), 0);
}

#[test]
fn a_folder_that_is_thrown_from_one_trash_into_another_is_brought_there() {
    let (_world, store, one, trash) = with_trash();
    let ns = store.namespace();
    fill(ns);
    let other = ns.mkdir(&root(), ROOT_INO, b".Trash-7", 0o700).unwrap().ino;
    let all = used(ns, one);
    throw(ns, (one, b"d"), trash).unwrap();
    throw(ns, (trash, b"d"), other).unwrap();
    sound(ns);
    ns.follow_all().unwrap();
    assert_eq!((used(ns, one), used(ns, trash), used(ns, other)), ((0, 1), (0, 1), all));
    sound(ns);
}

#[test]
fn of_a_file_of_several_names_those_in_the_trash_become_files_of_their_own() {
    let (_world, store, one, trash) = with_trash();
    let ns = store.namespace();
    put(ns, "d/f", b"first");
    put(ns, "d/inside", b"twice inside");
    let (d, f) = (ino(ns, "/bkt/d"), ino(ns, "/bkt/d/f"));
    ns.link(&root(), f, one, b"outside").unwrap();
    ns.link(&root(), f, d, b"g").unwrap();
    ns.link(&root(), ino(ns, "/bkt/d/inside"), d, b"inside2").unwrap();
    // Bytes that were written and not stored come along.
    ns.open(&root(), f, RW, false).unwrap();
    ns.write(&root(), f, 0, b"FIRST").unwrap();
    throw(ns, (one, b"d"), trash).unwrap();
    ns.follow_all().unwrap();
    sound(ns);
    for (path, content) in
        [("f", &b"FIRST"[..]), ("g", b"FIRST"), ("inside", b"twice inside"), ("inside2", b"twice inside")]
    {
        let attr = ns.resolve(&root(), format!("/.Trash-0/d/{path}").as_bytes()).unwrap();
        assert_eq!((&*read_file(ns, attr.ino), attr.nlink), (content, 1), "{path}");
    }
    // A program that has it open has the file that is left where it was.
    ns.write(&root(), f, 0, b"LATER").unwrap();
    ns.close(&root(), f, true).unwrap();
    assert_eq!((ino(ns, "/bkt/outside"), &*read_file(ns, f)), (f, &b"LATER"[..]));
    assert_eq!(ns.getattr(&root(), f).unwrap().nlink, 1);
    // One of several names can be thrown away likewise.
    ns.link(&root(), f, one, b"again").unwrap();
    throw(ns, (one, b"again"), trash).unwrap();
    let thrown = ns.resolve(&root(), b"/.Trash-0/again").unwrap();
    assert!(thrown.ino != f && thrown.nlink == 1 && is_there(ns, "/bkt/outside") && !is_there(ns, "/bkt/again"));
    sound(ns);
}

/// Ann, with this token.
fn ann(token: &str) -> Op {
    let ann = root();
    ann.submit("ann", vec![token.to_owned()]);
    ann
}

fn lock(ns: &Namespace, dir: Ino, name: &[u8], token: &str) -> Result<()> {
    let wanted = NewLock {
        token: token.to_owned(),
        path: name.to_vec(),
        deep: true,
        shared: false,
        owner_xml: Vec::new(),
        seconds: None,
    };
    ns.lock(&ann(token), Some((dir, name)), &wanted).map(drop)
}

#[test]
fn a_bucket_goes_only_once_everything_that_was_moved_out_of_it_has_followed_and_others_go_at_once() {
    let (_world, store, one, trash) = with_trash();
    let ns = store.namespace();
    fill(ns);
    let other = ns.mkdir(&root(), ROOT_INO, b"other", 0o700).unwrap().ino;
    let third = ns.mkdir(&root(), ROOT_INO, b"third", 0o700).unwrap().ino;
    ns.create_bucket(&root(), "tree", None).unwrap();
    let below = ns.mkdir(&root(), ino(ns, "/tree"), b"below", 0o700).unwrap().ino;
    ns.mkdir(&root(), below, b"more", 0o700).unwrap();
    throw(ns, (one, b"d"), trash).unwrap();
    let on_its_way = used(ns, one).1;
    assert!(on_its_way > 1);
    // Nothing follows out of these: they are removed, replaced, and emptied first.
    ns.rmdir(&root(), ROOT_INO, b"other").unwrap();
    ns.rename(&root(), (ROOT_INO, b"third"), (ROOT_INO, b"fourth"), RenameMode::NoReplace).unwrap();
    ns.mkdir(&root(), ROOT_INO, b"fifth", 0o700).unwrap();
    ns.rename(&root(), (ROOT_INO, b"fourth"), (ROOT_INO, b"fifth"), RenameMode::Replace).unwrap();
    ns.remove_tree(&root(), ROOT_INO, b"tree").unwrap();
    assert_eq!(ns.delete_bucket(&root(), "tree").unwrap_err().kind, ErrorKind::NoSuchBucket);
    assert_eq!((used(ns, one).1, used(ns, other).1, used(ns, third).1), (on_its_way, 0, 1), "nothing was waited for");
    sound(ns);
    // Content of this one still follows: all of it follows first.
    ns.rmdir(&root(), ROOT_INO, b"bkt").unwrap();
    assert_eq!((used(ns, one), ns.follow_step().unwrap()), ((0, 0), 0));
    sound(ns);
    assert_eq!(read_file(ns, ino(ns, "/.Trash-0/d/wide/001")), b"content 1");
}

#[test]
fn a_lock_is_granted_at_once_and_binds_what_has_not_followed_by_the_place_where_it_lies() {
    let (_world, store, one, trash) = with_trash();
    let ns = store.namespace();
    fill(ns);
    put(ns, "stays", b"f");
    throw(ns, (one, b"d"), trash).unwrap();
    let on_its_way = used(ns, one).1;
    // A caller that has the inode of a file whose record names another bucket than the one it is in.
    let deep = ino(ns, "/.Trash-0/d/e/e/e/f");
    let refused = |done: Result<()>| assert_eq!(done.unwrap_err().kind, ErrorKind::Locked);
    lock(ns, trash, b"d", "urn:uuid:1").unwrap();
    assert!(on_its_way > 2 && used(ns, one).1 == on_its_way, "nothing was waited for");
    let (below, above) = (ino(ns, "/.Trash-0/d/e/e/e"), ino(ns, "/.Trash-0/d/e/e"));
    for _ in 0..2 {
        refused(ns.write(&root(), deep, 0, b"x").map(drop));
        refused(ns.unlink(&root(), below, b"f"));
        refused(ns.rename(&root(), (above, b"e"), (above, b"g"), RenameMode::Replace));
        refused(ns.mkdir(&root(), below, b"new", 0o700).map(drop));
        assert_eq!(ns.locks_on(&root(), deep).unwrap().len(), 1);
        // A file whose record names the bucket that it is in is not locked.
        ns.write(&root(), ino(ns, "/bkt/stays"), 0, b"x").unwrap();
        ns.follow_all().unwrap();
    }
    ns.unlock(&ann("urn:uuid:1"), deep, "urn:uuid:1").unwrap();
    ns.unlink(&root(), below, b"f").unwrap();
    sound(ns);
}

#[test]
fn a_folder_on_its_way_that_is_moved_into_a_locked_one_is_bound_with_all_its_content() {
    let (_world, store, one, trash) = with_trash();
    let ns = store.namespace();
    fill(ns);
    ns.mkdir(&root(), trash, b"locked", 0o700).unwrap();
    lock(ns, trash, b"locked", "urn:uuid:1").unwrap();
    throw(ns, (one, b"d"), trash).unwrap();
    let deep = ino(ns, "/.Trash-0/d/e/e/e/f");
    let before = used(ns, one).1;
    let into = ino(ns, "/.Trash-0/locked");
    ns.rename(&ann("urn:uuid:1"), (trash, b"d"), (into, b"d"), RenameMode::Replace).unwrap();
    assert!(before > 1 && used(ns, one).1 == before, "it has not followed");
    assert_eq!(ns.write(&root(), deep, 0, b"x").unwrap_err().kind, ErrorKind::Locked);
    ns.write(&ann("urn:uuid:1"), deep, 0, b"x").unwrap();
    sound(ns);
}

#[test]
fn a_lock_on_a_name_that_becomes_a_file_of_its_own_is_on_that_file_then() {
    let (_world, store, one, trash) = with_trash();
    let ns = store.namespace();
    // So deep that it has not followed when it is locked.
    put(ns, "d/1/2/3/4/5/6/f", b"twice");
    let (f, dir) = (ino(ns, "/bkt/d/1/2/3/4/5/6/f"), ino(ns, "/bkt/d/1/2/3/4/5/6"));
    ns.link(&root(), f, one, b"outside").unwrap();
    throw(ns, (one, b"d"), trash).unwrap();
    lock(ns, dir, b"f", "urn:uuid:1").unwrap();
    assert_eq!(ino(ns, "/.Trash-0/d/1/2/3/4/5/6/f"), f, "not yet");
    assert_eq!(ns.write(&root(), f, 0, b"T").unwrap_err().kind, ErrorKind::Locked, "by any of its names");
    ns.follow_all().unwrap();
    let copy = ino(ns, "/.Trash-0/d/1/2/3/4/5/6/f");
    let held = ns.locks(&root()).unwrap();
    assert!(copy != f && held.len() == 1 && held[0].ino == Some(copy), "{held:?}");
    assert_eq!(ns.write(&root(), copy, 0, b"T").unwrap_err().kind, ErrorKind::Locked);
    ns.write(&root(), f, 0, b"T").unwrap();
    ns.unlink(&root(), one, b"outside").unwrap();
    sound(ns);
    ns.unlock(&ann("urn:uuid:1"), copy, "urn:uuid:1").unwrap();
    assert_eq!(read_file(ns, copy), b"twice");
    sound(ns);
}

#[test]
fn a_folder_at_the_top_is_a_folder_of_the_trash_then_and_its_bucket_ends_when_everything_has_followed() {
    let (world, store, one, trash) = with_trash();
    let ns = store.namespace();
    fill(ns);
    let open = ino(ns, "/bkt/d/f");
    ns.open(&root(), open, RW, false).unwrap();
    ns.unlink(&root(), ino(ns, "/bkt/d"), b"f").unwrap();
    let upload = ns.create_upload(&root(), "bkt", b"up", ObjectMeta::default()).unwrap();
    assert_eq!(throw(ns, (ROOT_INO, b"bkt"), trash).unwrap_err().kind, ErrorKind::CrossDevice, "an upload into it");
    ns.abort_upload(&root(), "bkt", b"up", &upload.id).unwrap();
    throw(ns, (ROOT_INO, b"bkt"), trash).unwrap();
    assert_eq!(ns.bucket(&root(), "bkt").unwrap_err().kind, ErrorKind::NoSuchBucket);
    assert!(is_there(ns, "/.Trash-0/bkt/d/e/f") && used(ns, one).1 > 1);
    sound(ns);
    ns.follow_all().unwrap();
    sound(ns);
    // An open file without a name keeps the rules of its bucket.
    assert_eq!(used(ns, one).1, 1);
    ns.write(&root(), open, 0, b"still written").unwrap();
    ns.fsync(&root(), open).unwrap();
    ns.close(&root(), open, true).unwrap();
    ns.follow_step().unwrap();
    assert_eq!(used(ns, one), (0, 0));
    assert!(ns.store().get(&strata_namespace::records::key::bucket(one)).unwrap().is_none());
    // Another bucket of that name is another one.
    ns.create_bucket(&root(), "bkt", None).unwrap();
    put(ns, "d/f", b"new");
    sound(ns);
    store.close().unwrap();
    world.kill_process();
    let store = self::open(&world);
    sound(store.namespace());
    assert_eq!(read_file(store.namespace(), ino(store.namespace(), "/.Trash-0/bkt/d/wide/003")), b"content 3");
}

#[test]
fn what_is_thrown_away_is_told_as_a_name_that_came_and_one_that_went_a_folder_with_its_slash() {
    let (_world, store, one, trash) = with_trash();
    let ns = store.namespace();
    put(ns, "d/f", b"f");
    put(ns, "f", b"f");
    let mut reader = ns.events(Begin::Now);
    throw(ns, (one, b"d"), trash).unwrap();
    throw(ns, (one, b"f"), trash).unwrap();
    throw(ns, (ROOT_INO, b"bkt"), trash).unwrap();
    ns.commit_nothing().unwrap();
    let events = reader.next_page(100).unwrap().events;
    let told: Vec<_> = events
        .iter()
        .map(|told| {
            let key = told.event.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned());
            (told.event.what.word(), told.event.bucket.starts_with("bkt"), key.unwrap_or_default())
        })
        .collect();
    let expected = [
        ("linked", false, "d/"),
        ("removed", true, "d/"),
        ("linked", false, "f"),
        ("removed", true, "f"),
        ("linked", false, "bkt/"),
        ("bucket-removed", true, ""),
    ];
    assert_eq!(told, expected.map(|(what, of_bkt, key)| (what, of_bkt, key.to_owned())));
    let of_file: Vec<u64> = events[2..4].iter().map(|told| told.event.change).collect();
    assert!(
        of_file[0] < of_file[1] && of_file[1] == ns.resolve(&root(), b"/.Trash-0/f").unwrap().change,
        "{of_file:?}"
    );
}

#[test]
fn a_rename_into_a_folder_that_has_not_followed_is_told_with_both_buckets() {
    let (_world, store, one, trash) = with_trash();
    let ns = store.namespace();
    put(ns, "d/1/2/3/4/5/6/f", b"f");
    put(ns, "late", b"late");
    throw(ns, (one, b"d"), trash).unwrap();
    let mut reader = ns.events(Begin::Now);
    let deep = ino(ns, "/.Trash-0/d/1/2/3/4/5/6");
    ns.rename(&root(), (one, b"late"), (deep, b"late"), RenameMode::NoReplace).unwrap();
    ns.commit_nothing().unwrap();
    let told = reader.next_page(10).unwrap().events.swap_remove(0).event;
    let What::Renamed { from, .. } = &told.what else { panic!("{told:?}") };
    assert_eq!((from.bucket.as_deref(), from.key.as_deref()), (Some("bkt"), Some(&b"late"[..])));
    assert!(told.bucket.starts_with("trash-0") && told.key.as_deref() == Some(b"d/1/2/3/4/5/6/late"), "{told:?}");
    ns.follow_all().unwrap();
    assert_eq!(read_file(ns, ino(ns, "/.Trash-0/d/1/2/3/4/5/6/late")), b"late");
    sound(ns);
}

#[test]
fn nothing_is_exchanged_with_a_trash_or_comes_out_of_one() {
    let (_world, store, one, trash) = with_trash();
    let ns = store.namespace();
    put(ns, "d/f", b"f");
    let refused = |done: Result<()>| assert_eq!(done.unwrap_err().kind, ErrorKind::CrossDevice);
    let swap = ns.rename_or_trash(&root(), (one, b"d"), (trash, b"d"), RenameMode::Exchange);
    refused(swap);
    throw(ns, (one, b"d"), trash).unwrap();
    refused(ns.rename_or_trash(&root(), (trash, b"d"), (one, b"d"), RenameMode::Replace));
    // The rights of a rename suffice, whatever is in the folder.
    put(ns, "locked/f", b"f");
    ns.setattr(&root(), ino(ns, "/bkt/locked/f"), &SetAttr { mode: Some(0), ..SetAttr::default() }).unwrap();
    ns.setattr(&root(), trash, &SetAttr { mode: Some(0o777), ..SetAttr::default() }).unwrap();
    let by_stranger = ns.rename_or_trash(&user(7), (one, b"locked"), (trash, b"l"), RenameMode::Replace);
    assert_eq!(by_stranger.unwrap_err().kind, ErrorKind::AccessDenied);
    sound(ns);
}

#[test]
fn a_crash_at_any_moment_leaves_the_folder_whole_in_one_place_and_the_next_opening_goes_on() {
    let (world, store, _, _) = with_trash();
    let ns = store.namespace();
    for n in 0..70 {
        put(ns, &format!("d/e/{n:03}"), format!("content {n}").as_bytes());
    }
    ns.store().sync().unwrap();
    drop(store);
    world.kill_process();
    let life = |world: &SimWorld| -> Result<()> {
        let store = try_open(world, 2, 1)?;
        let ns = store.namespace();
        let ledger = Arc::clone(ns.store().ledger());
        let _synced = ns.store().watch(Arc::new(move |_| drop(ledger.sync())));
        throw(ns, (ino(ns, "/bkt"), b"d"), ino(ns, "/.Trash-0"))?;
        ns.follow_all()?;
        ns.settle_blocking(&root())
    };
    let mut seen = std::collections::BTreeSet::new();
    let states = explore_crashes(&world, Submission::DisksInParallel, 0..2, life, |world, _, state| {
        let store = open(world);
        let ns = store.namespace();
        sound(ns);
        let (one, trash) = (ino(ns, "/bkt"), ino(ns, "/.Trash-0"));
        let gone = !is_there(ns, "/bkt/d");
        assert_eq!(is_there(ns, "/.Trash-0/d/e/069"), gone, "{state:?}");
        seen.insert((gone, used(ns, one).1));
        ns.follow_all().unwrap();
        assert_eq!(used(ns, if gone { trash } else { one }).1, 73, "{state:?}");
        sound(ns);
    });
    assert!(states > 20 && seen.len() >= 4, "{states} states, {seen:?}");
}

//! What the authority permits, what it refuses, and what its table says.

use std::collections::BTreeSet;
use std::sync::Arc;

use strata_seam::sim::SimWorld;

use super::*;
use crate::rig::{self, OpenStore};
use crate::types::Opened;

const RW: Access = Access { read: true, write: true, exec: false };

fn at(door: Door, uid: u32) -> Op {
    Op::new(Caller::new(uid, uid, Arc::from([]), door))
}

/// A store with a file of uid 7 and this mode, and the file opened by its owner.
fn with_file(mode: u32) -> (OpenStore, Opened) {
    let store = rig::on_one_disk(&SimWorld::new(1)).expect("a store");
    let ns = store.namespace();
    let root = at(Door::Mount, 0);
    let bucket = ns.mkdir(&root, ROOT_INO, b"bkt", 0o777).expect("a bucket");
    let owner = at(Door::Mount, 7);
    let file = ns.create(&owner, bucket.ino, b"file", mode, RW, true, false).expect("a file");
    ns.write(&owner, file.permit, 0, b"content").expect("written");
    (store, file)
}

fn kind<T: std::fmt::Debug>(refused: Result<T>) -> ErrorKind {
    refused.expect_err("refused").kind
}

#[test]
fn every_operation_has_one_row_and_no_action_twice() {
    let mut seen = BTreeSet::new();
    for row in OPERATIONS {
        assert!(seen.insert((format!("{:?}", row.door), row.name)), "{row:?} is there twice");
        let actions: BTreeSet<_> = row.actions.iter().collect();
        assert_eq!(actions.len(), row.actions.len(), "{row:?}");
        assert!(std::ptr::eq(operation(row.door, row.name), row));
    }
}

#[test]
fn every_action_is_one_of_some_operation() {
    let used: BTreeSet<_> = OPERATIONS.iter().flat_map(|row| row.actions).copied().collect();
    assert_eq!(used, Action::ALL.iter().copied().collect());
}

#[test]
fn what_an_open_permits_stays_permitted_when_the_mode_changes_and_no_more_than_that() {
    let (store, file) = with_file(0o666);
    let ns = store.namespace();
    let (owner, other) = (at(Door::Mount, 7), at(Door::Mount, 8));
    let reads = ns.open(&other, file.ino, READ, false).expect("for reading").permit;
    let writes = ns.open(&other, file.ino, WRITE, false).expect("for writing").permit;
    let mode = crate::types::SetAttr { mode: Some(0o600), ..Default::default() };
    ns.setattr(&owner, file.ino, &mode).expect("chmod");
    assert_eq!(ns.read(&other, reads, 0, 7).expect("read"), "content");
    ns.write(&other, writes, 0, b"C").expect("written");
    assert_eq!(kind(ns.write(&other, reads, 0, b"x")), ErrorKind::AccessDenied);
    assert_eq!(kind(ns.append(&other, reads, b"x")), ErrorKind::AccessDenied);
    assert_eq!(kind(ns.fallocate(&other, reads, 0, 1, true, false)), ErrorKind::AccessDenied);
    assert_eq!(kind(ns.read(&other, writes, 0, 7)), ErrorKind::AccessDenied);
    assert_eq!(kind(ns.read_cached(&other, writes, 0, 7)), ErrorKind::AccessDenied);
    assert_eq!(kind(ns.copy_range(&other, (writes, 0), (writes, 64), 1)), ErrorKind::AccessDenied);
    // Who has opened nothing is judged by the mode of now.
    assert_eq!(kind(ns.read(&other, file.ino, 0, 7)), ErrorKind::AccessDenied);
    assert_eq!(kind(ns.write(&other, file.ino, 0, b"x")), ErrorKind::AccessDenied);
    assert_eq!(ns.read(&owner, file.ino, 0, 7).expect("the owner"), "Content");
}

#[test]
fn an_open_directory_is_listed_whatever_becomes_of_its_mode() {
    let (store, _) = with_file(0o600);
    let (ns, owner) = (store.namespace(), at(Door::Mount, 7));
    let bucket = ns.resolve(&owner, b"bkt").expect("the bucket").ino;
    let dir = ns.mkdir(&owner, bucket, b"dir", 0o700).expect("a directory").ino;
    ns.mknod(&owner, dir, b"in it", crate::types::NewNode { kind: NodeKind::File, mode: 0o600, rdev: 0 })
        .expect("a file");
    let open = ns.open_dir(&owner, dir).expect("opened");
    assert_eq!(kind(ns.open_dir(&at(Door::Mount, 8), dir)), ErrorKind::AccessDenied);
    let mode = crate::types::SetAttr { mode: Some(0), ..Default::default() };
    ns.setattr(&owner, dir, &mode).expect("chmod");
    assert_eq!(ns.readdir(&owner, open, b"", 10).expect("listed").entries.len(), 1);
    assert_eq!(kind(ns.readdir(&owner, dir, b"", 10)), ErrorKind::AccessDenied);
    assert_eq!(kind(ns.open_dir(&owner, dir)), ErrorKind::AccessDenied);
}

#[test]
fn who_may_write_an_object_does_not_say_for_whom_it_is() {
    let (store, file) = with_file(0o666);
    let (ns, other) = (store.namespace(), at(Door::S3, 8));
    let put = |op: &Op| {
        let content = ns.ingest(op, "bkt").and_then(|ingest| Ok(ingest.finish()?)).expect("nothing taken in");
        ns.put_object(op, "bkt", b"file", content, None, Default::default(), &Default::default())
    };
    let private = |uid| {
        let op = at(Door::S3, uid);
        op.keep_private();
        op
    };
    assert_eq!(kind(put(&private(8))), ErrorKind::NotPermitted);
    let found = ns.getattr(&other, file.ino).expect("attributes");
    assert_eq!((found.mode, found.size), (0o666, 7), "nothing was changed");
    put(&other).expect("the content is free");
    put(&private(7)).expect("its owner");
    assert_eq!(ns.getattr(&other, file.ino).expect("attributes").mode, 0o600);
}

#[test]
fn a_page_of_nothing_is_listed_by_who_may_list() {
    let (store, _) = with_file(0o600);
    let ns = store.namespace();
    let closed = crate::types::SetAttr { mode: Some(0o711), ..Default::default() };
    let bucket = ns.resolve(&at(Door::Mount, 0), b"bkt").expect("the bucket").ino;
    ns.setattr(&at(Door::Mount, 0), bucket, &closed).expect("chmod");
    let stranger = at(Door::S3, 8);
    for limit in [0, 1] {
        let query = crate::types::ListQuery { limit, ..Default::default() };
        assert_eq!(kind(ns.list(&stranger, "bkt", &query)), ErrorKind::AccessDenied, "{limit}");
        assert_eq!(kind(ns.uploads(&stranger, "bkt", b"", None, limit)), ErrorKind::AccessDenied, "{limit}");
    }
}

#[test]
fn a_permit_is_for_the_pin_of_its_own_file_alone() {
    let (store, file) = with_file(0o600);
    let ns = store.namespace();
    let owner = at(Door::Mount, 7);
    let parent = ns.resolve(&owner, b"bkt").expect("the bucket").ino;
    let other = ns.create(&owner, parent, b"other", 0o600, RW, true, false).expect("another file");
    let pin = ns.pin(file.ino);
    assert_eq!(ns.read_pinned(&owner, (&pin, file.permit), 0, 7).expect("read"), "content");
    assert_eq!(kind(ns.read_pinned(&owner, (&pin, other.permit), 0, 7)), ErrorKind::AccessDenied);
}

#[test]
fn without_an_open_the_owner_may_and_leave_to_execute_is_leave_to_read() {
    let (store, file) = with_file(0o001);
    let ns = store.namespace();
    let (owner, other) = (at(Door::Nfs, 7), at(Door::Nfs, 8));
    assert_eq!(ns.read(&owner, file.ino, 0, 7).expect("the owner reads"), "content");
    ns.write(&owner, file.ino, 0, b"C").expect("the owner writes");
    assert_eq!(ns.read(&other, file.ino, 0, 7).expect("who may execute reads"), "Content");
    assert_eq!(kind(ns.write(&other, file.ino, 0, b"x")), ErrorKind::AccessDenied);
    // At a door with opens the mode of now decides.
    assert_eq!(kind(ns.read(&at(Door::Mount, 7), file.ino, 0, 7)), ErrorKind::AccessDenied);
    assert_eq!(kind(ns.open_object(&at(Door::WebDav, 8), file.ino).map(drop)), ErrorKind::AccessDenied);
    // Whose program it is has it read by being permitted to run it.
    let runs = Access { exec: true, ..Access::default() };
    let permit = ns.open(&at(Door::Mount, 8), file.ino, runs, false).expect("to run it").permit;
    assert_eq!(ns.read(&at(Door::Mount, 8), permit, 0, 7).expect("its pages"), "Content");
}

#[test]
fn pages_are_the_mounts_alone() {
    let (store, file) = with_file(0o600);
    let ns = store.namespace();
    let pages = ns.permit_pages(&at(Door::Mount, 8), file.ino).expect("the kernel has judged");
    assert_eq!(pages.access(), RW);
    for door in [Door::S3, Door::WebDav, Door::Nfs, Door::Admin] {
        assert_eq!(kind(ns.permit_pages(&at(door, 8), file.ino)), ErrorKind::NotPermitted, "{door:?}");
    }
}

#[test]
fn cutting_a_file_is_writing_it() {
    let (store, file) = with_file(0o644);
    let ns = store.namespace();
    assert_eq!(kind(ns.open(&at(Door::Mount, 8), file.ino, READ, true)), ErrorKind::AccessDenied);
    assert_eq!(ns.getattr(&at(Door::Mount, 8), file.ino).expect("attributes").size, 7);
    assert_eq!(ns.open(&at(Door::Mount, 7), file.ino, READ, true).expect("its owner").size, 0);
}

#[test]
fn what_is_the_stores_own_is_the_administrators() {
    let (store, _) = with_file(0o600);
    let (ns, nobody) = (store.namespace(), at(Door::S3, 7));
    assert_eq!(kind(ns.setting(&nobody, "users/a")), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.settings(&nobody, "users/")), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.put_setting(&nobody, "users/a", None)), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.locks(&nobody)), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.break_lock(&nobody, "token")), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.forget_cursor(&nobody, "reader")), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.owned_by(&nobody, 7, 1)), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.administer(&nobody)), ErrorKind::NotPermitted);
    ns.administer(&at(Door::Admin, 0)).expect("the administrator");
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "its row of the table of operations does not say so")]
fn an_operation_that_does_what_its_row_does_not_say_is_noticed() {
    let (store, file) = with_file(0o644);
    let op = Op::of(Caller::root(Door::Nfs), operation(Door::Nfs, "getattr"));
    drop(store.namespace().read(&op, file.ino, 0, 7));
}

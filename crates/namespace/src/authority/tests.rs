//! What the authority permits, and what it refuses.

use std::sync::Arc;

use strata_seam::sim::SimWorld;

use super::*;
use crate::rig::{self, MOUNT, NFS, OpenStore, S3, WEBDAV};
use crate::types::{Door, Opened};

const RW: Access = Access { read: true, write: true, exec: false };

fn at(door: &'static Door, uid: u32) -> Op {
    Op::new(Caller::new(uid, uid, Arc::from([]), door))
}

/// A store with a file of uid 7 and this mode, and the file opened by its owner.
fn with_file(mode: u32) -> (OpenStore, Opened) {
    let store = rig::on_one_disk(&SimWorld::new(1)).expect("a store");
    let ns = store.namespace();
    let root = at(&MOUNT, 0);
    let bucket = ns.mkdir(&root, ROOT_INO, b"bkt", 0o777).expect("a bucket");
    let owner = at(&MOUNT, 7);
    let file = ns.create(&owner, bucket.ino, b"file", mode, RW, true, false).expect("a file");
    ns.write(&owner, file.permit, 0, b"content").expect("written");
    (store, file)
}

fn kind<T: std::fmt::Debug>(refused: Result<T>) -> ErrorKind {
    refused.expect_err("refused").kind
}

#[test]
fn what_an_open_permits_stays_permitted_when_the_mode_changes_and_no_more_than_that() {
    let (store, file) = with_file(0o666);
    let ns = store.namespace();
    let (owner, other) = (at(&MOUNT, 7), at(&MOUNT, 8));
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
    // A caller without an open file is checked against the present mode.
    assert_eq!(kind(ns.read(&other, file.ino, 0, 7)), ErrorKind::AccessDenied);
    assert_eq!(kind(ns.write(&other, file.ino, 0, b"x")), ErrorKind::AccessDenied);
    assert_eq!(ns.read(&owner, file.ino, 0, 7).expect("the owner"), "Content");
}

#[test]
fn an_open_directory_is_listed_whatever_becomes_of_its_mode() {
    let (store, _) = with_file(0o600);
    let (ns, owner) = (store.namespace(), at(&MOUNT, 7));
    let bucket = ns.resolve(&owner, b"bkt").expect("the bucket").ino;
    let dir = ns.mkdir(&owner, bucket, b"dir", 0o700).expect("a directory").ino;
    ns.mknod(&owner, dir, b"in it", crate::types::NewNode { kind: NodeKind::File, mode: 0o600, rdev: 0 })
        .expect("a file");
    let open = ns.open_dir(&owner, dir).expect("opened");
    assert_eq!(kind(ns.open_dir(&at(&MOUNT, 8), dir)), ErrorKind::AccessDenied);
    let mode = crate::types::SetAttr { mode: Some(0), ..Default::default() };
    ns.setattr(&owner, dir, &mode).expect("chmod");
    assert_eq!(ns.readdir(&owner, open, b"", 10).expect("listed").entries.len(), 1);
    assert_eq!(kind(ns.readdir(&owner, dir, b"", 10)), ErrorKind::AccessDenied);
    assert_eq!(kind(ns.open_dir(&owner, dir)), ErrorKind::AccessDenied);
}

#[test]
fn who_may_write_an_object_does_not_say_for_whom_it_is() {
    let (store, file) = with_file(0o666);
    let (ns, other) = (store.namespace(), at(&S3, 8));
    let put = |op: &Op| {
        let content = ns.ingest(op, "bkt").and_then(|ingest| Ok(ingest.finish()?)).expect("nothing taken in");
        ns.put_object(op, "bkt", b"file", content, None, Default::default(), &Default::default())
    };
    let private = |uid| {
        let op = at(&S3, uid);
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
    let bucket = ns.resolve(&at(&MOUNT, 0), b"bkt").expect("the bucket").ino;
    ns.setattr(&at(&MOUNT, 0), bucket, &closed).expect("chmod");
    let stranger = at(&S3, 8);
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
    let owner = at(&MOUNT, 7);
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
    let (owner, other) = (at(&NFS, 7), at(&NFS, 8));
    assert_eq!(ns.read(&owner, file.ino, 0, 7).expect("the owner reads"), "content");
    ns.write(&owner, file.ino, 0, b"C").expect("the owner writes");
    assert_eq!(ns.read(&other, file.ino, 0, 7).expect("who may execute reads"), "Content");
    assert_eq!(kind(ns.write(&other, file.ino, 0, b"x")), ErrorKind::AccessDenied);
    // At a door with opens, the present mode decides.
    assert_eq!(kind(ns.read(&at(&MOUNT, 7), file.ino, 0, 7)), ErrorKind::AccessDenied);
    assert_eq!(kind(ns.open_object(&at(&WEBDAV, 8), file.ino).map(drop)), ErrorKind::AccessDenied);
    // The permission to run a program includes reading its pages.
    let runs = Access { exec: true, ..Access::default() };
    let permit = ns.open(&at(&MOUNT, 8), file.ino, runs, false).expect("to run it").permit;
    assert_eq!(ns.read(&at(&MOUNT, 8), permit, 0, 7).expect("its pages"), "Content");
}

#[test]
fn pages_are_the_mounts_alone() {
    let (store, file) = with_file(0o600);
    let ns = store.namespace();
    let pages = ns.permit_pages(&at(&MOUNT, 8), file.ino).expect("the kernel has judged");
    assert_eq!(pages.access(), RW);
    for door in [&S3, &WEBDAV, &NFS, &STORE] {
        assert_eq!(kind(ns.permit_pages(&at(door, 8), file.ino)), ErrorKind::NotPermitted, "{door:?}");
    }
}

#[test]
fn cutting_a_file_is_writing_it() {
    let (store, file) = with_file(0o644);
    let ns = store.namespace();
    assert_eq!(kind(ns.open(&at(&MOUNT, 8), file.ino, READ, true)), ErrorKind::AccessDenied);
    assert_eq!(ns.getattr(&at(&MOUNT, 8), file.ino).expect("attributes").size, 7);
    assert_eq!(ns.open(&at(&MOUNT, 7), file.ino, READ, true).expect("its owner").size, 0);
}

#[test]
fn what_is_the_stores_own_is_the_administrators() {
    let (store, _) = with_file(0o600);
    let (ns, nobody) = (store.namespace(), at(&S3, 7));
    assert_eq!(kind(ns.setting(&nobody, "users/a")), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.settings(&nobody, "users/")), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.put_setting(&nobody, "users/a", None)), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.locks(&nobody)), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.break_lock(&nobody, "token")), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.forget_cursor(&nobody, "reader")), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.owned_by(&nobody, 7, 1)), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.administer(&nobody)), ErrorKind::NotPermitted);
    ns.administer(&at(&STORE, 0)).expect("the administrator");
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "its row of the table of operations does not say so")]
fn an_operation_that_does_what_its_row_does_not_say_is_noticed() {
    let (store, file) = with_file(0o644);
    let op = Op::of(Caller::root(&NFS), NFS.operation("getattr"));
    drop(store.namespace().read(&op, file.ino, 0, 7));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is no row of the door s3")]
fn an_operation_of_another_door_is_noticed() {
    drop(Op::of(Caller::root(&S3), NFS.operation("getattr")));
}

#[test]
#[should_panic(expected = "of the door s3 has no row for getattr")]
fn an_operation_without_a_row_is_not_served() {
    let _ = S3.operation("getattr");
}

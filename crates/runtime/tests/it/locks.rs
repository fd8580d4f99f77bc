//! Page "Locks": which callers a lock of WebDAV binds, at every door; when it ends; and what it outlives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use strata_namespace::{
    Access, Caller, Condition, ErrorKind, LOCKS_MAX, LOCKS_PER_USER_MAX, LockRecord, Namespace, NewLock, NewNode,
    NodeKind, ObjectMeta, Op, ROOT_INO, RenameMode, Result, STORE, SetAttr, Touch, XattrMode,
};
use strata_seam::Ino;
use strata_seam::sim::SimWorld;

use crate::support::*;

const SECOND: u64 = 1_000_000_000;

/// A request of an administrator called so, who submits these tokens.
fn holder(principal: &str, tokens: &[&str]) -> Op {
    let op = Op::new(Caller::root(&WEBDAV));
    op.submit(principal, tokens.iter().map(|token| (*token).to_owned()).collect());
    op
}

fn wanted(path: &str, token: &str, deep: bool) -> NewLock {
    NewLock {
        token: token.to_owned(),
        path: path.as_bytes().to_vec(),
        deep,
        shared: false,
        owner_xml: b"<owner/>".to_vec(),
        seconds: None,
    }
}

fn parent_of(ns: &Namespace, path: &str) -> (Ino, Vec<u8>) {
    let (parent, name) = path.rsplit_once('/').expect("a path");
    (ns.resolve(&root(), parent.as_bytes()).expect("a parent").ino, name.as_bytes().to_vec())
}

fn try_lock(ns: &Namespace, op: &Op, wanted: &NewLock) -> Result<(LockRecord, bool)> {
    let (parent, name) = parent_of(ns, std::str::from_utf8(&wanted.path).expect("text"));
    ns.lock(op, Some((parent, &name)), wanted)
}

/// Has ann lock a path, and returns the token.
#[track_caller]
fn lock(ns: &Namespace, path: &str, deep: bool) -> String {
    let token = format!("urn:uuid:{}{path}", ns.locks_held());
    let op = holder("ann", &[]);
    try_lock(ns, &op, &wanted(path, &token, deep)).expect("granted");
    ns.settle_blocking(&op).expect("settled");
    token
}

fn ino(ns: &Namespace, path: &str) -> Ino {
    ns.resolve(&root(), path.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}")).ino
}

fn is_locked<T>(result: Result<T>) -> bool {
    matches!(result, Err(error) if error.kind == ErrorKind::Locked)
}

/// `/bkt/d/f`, `/bkt/d/g` and `/bkt/e/x`, with a second name of the first at `/bkt/linked`.
fn tree() -> (SimWorld, strata_runtime::OpenStore) {
    let (world, store) = store();
    let ns = store.namespace();
    for key in ["d/f", "d/g", "e/x"] {
        put(ns, key, b"before");
    }
    ns.link(&root(), ino(ns, "/bkt/d/f"), ino(ns, "/bkt"), b"linked").unwrap();
    (world, store)
}

type Act = fn(&Namespace, &Op) -> Result<()>;

fn put_as(ns: &Namespace, op: &Op, key: &str) -> Result<()> {
    let (content, meta) = (content(ns, b"after"), ObjectMeta::default());
    ns.put_object(op, "bkt", key.as_bytes(), content, None, meta, &Condition::default()).map(drop)
}

/// What changes the file `d/f` itself, by whichever name.
const CHANGES: [(&str, Act); 15] = [
    ("write", |ns, op| ns.write(op, ino(ns, "/bkt/d/f"), 0, b"x").map(drop)),
    ("append", |ns, op| ns.append(op, ino(ns, "/bkt/d/f"), b"x").map(drop)),
    ("open for writing", |ns, op| {
        let ino = ino(ns, "/bkt/d/f");
        ns.open(op, ino, RW, false)?;
        ns.close(op, ino, false)
    }),
    ("truncate", |ns, op| {
        ns.setattr(op, ino(ns, "/bkt/d/f"), &SetAttr { size: Some(1), ..SetAttr::default() }).map(drop)
    }),
    ("chmod", |ns, op| {
        ns.setattr(op, ino(ns, "/bkt/d/f"), &SetAttr { mode: Some(0o600), ..SetAttr::default() }).map(drop)
    }),
    ("punch a hole", |ns, op| ns.fallocate(op, ino(ns, "/bkt/d/f"), 0, 2, true, false)),
    ("extend", |ns, op| ns.fallocate(op, ino(ns, "/bkt/d/f"), 0, 100, false, true)),
    ("copy a range into it", |ns, op| {
        ns.copy_range(op, (ino(ns, "/bkt/e/x"), 0), (ino(ns, "/bkt/d/f"), 0), 3).map(drop)
    }),
    ("set an attribute", |ns, op| ns.set_xattr(op, ino(ns, "/bkt/d/f"), b"user.a", b"1", XattrMode::Any)),
    ("set a property", |ns, op| ns.set_property(op, ino(ns, "/bkt/d/f"), "urn:x", "p", Some(b"1"))),
    ("PUT at S3", |ns, op| put_as(ns, op, "d/f")),
    ("PUT by another name", |ns, op| put_as(ns, op, "linked")),
    ("PUT at WebDAV", |ns, op| {
        let (content, meta) = (content(ns, b"after"), ObjectMeta::default());
        ns.put_file(op, ino(ns, "/bkt/d"), b"f", content, None, meta, &Condition::default()).map(drop)
    }),
    ("copy over it at S3", |ns, op| {
        let any = Condition::default();
        ns.copy_object(op, ("bkt", b"e/x"), &any, ("bkt", b"d/f"), &any, None).map(drop)
    }),
    ("copy over it at WebDAV", |ns, op| {
        ns.copy_tree(op, (ino(ns, "/bkt/e"), b"x"), (ino(ns, "/bkt/d"), b"f"), true, true).map(drop)
    }),
];

/// What takes the name `d/f` away.
const REMOVALS: [(&str, Act); 9] = [
    ("unlink", |ns, op| ns.unlink(op, ino(ns, "/bkt/d"), b"f")),
    ("DELETE at S3", |ns, op| ns.delete_object(op, "bkt", b"d/f", &Condition::default()).map(drop)),
    ("delete many at S3", |ns, op| {
        ns.delete_objects(op, "bkt", &[b"d/f".to_vec()])?.into_iter().try_for_each(|one| one.map(drop))
    }),
    ("rename", |ns, op| ns.rename(op, (ino(ns, "/bkt/d"), b"f"), (ino(ns, "/bkt/e"), b"f"), RenameMode::Replace)),
    ("rename over it", |ns, op| {
        ns.rename(op, (ino(ns, "/bkt/e"), b"x"), (ino(ns, "/bkt/d"), b"f"), RenameMode::Replace)
    }),
    ("exchange", |ns, op| ns.rename(op, (ino(ns, "/bkt/e"), b"x"), (ino(ns, "/bkt/d"), b"f"), RenameMode::Exchange)),
    ("remove the tree", |ns, op| ns.remove_tree(op, ino(ns, "/bkt"), b"d")),
    ("rename the tree", |ns, op| {
        let bucket = ino(ns, "/bkt");
        ns.rename(op, (bucket, b"d"), (bucket, b"moved"), RenameMode::Replace)
    }),
    ("rename over the tree", |ns, op| {
        let bucket = ino(ns, "/bkt");
        ns.rename(op, (bucket, b"e"), (bucket, b"d"), RenameMode::Exchange)
    }),
];

/// What adds a member to `d`.
const ADDITIONS: [(&str, Act); 7] = [
    ("create", |ns, op| {
        let made = ns.create(op, ino(ns, "/bkt/d"), b"new", 0o644, RW, true, false)?;
        ns.close(op, made.ino, false)
    }),
    ("mkdir", |ns, op| ns.mkdir(op, ino(ns, "/bkt/d"), b"new", 0o755).map(drop)),
    ("symlink", |ns, op| ns.symlink(op, ino(ns, "/bkt/d"), b"new", b"target").map(drop)),
    ("mknod", |ns, op| {
        let node = NewNode { kind: NodeKind::Fifo, mode: 0o600, rdev: 0 };
        ns.mknod(op, ino(ns, "/bkt/d"), b"new", node).map(drop)
    }),
    ("link", |ns, op| ns.link(op, ino(ns, "/bkt/e/x"), ino(ns, "/bkt/d"), b"new").map(drop)),
    ("PUT at S3", |ns, op| put_as(ns, op, "d/new")),
    ("PUT further below at S3", |ns, op| put_as(ns, op, "d/sub/new")),
];

/// Carries each out against a lock, as somebody without its token, then as its holder.
#[track_caller]
fn binds(path: &str, deep: bool, acts: &[(&str, Act)]) {
    for (what, act) in acts {
        let (_world, store) = tree();
        let ns = store.namespace();
        let token = lock(ns, path, deep);
        let error = act(ns, &root()).expect_err(what);
        assert_eq!(error.kind, ErrorKind::Locked, "{what}: {error}");
        assert_eq!(error.lock.as_deref(), Some(path.as_bytes()), "{what}");
        assert!(is_locked(act(ns, &holder("bob", &[&token]))), "{what}: a token helps only the user it was given to");
        assert!(is_locked(act(ns, &holder("ann", &["urn:uuid:another"]))), "{what}");
        assert_eq!((get(ns, "d/f").unwrap(), get(ns, "linked").unwrap()), (b"before".to_vec(), b"before".to_vec()));
        act(ns, &holder("ann", &[&token])).unwrap_or_else(|error| panic!("{what}, by its holder: {error}"));
        sound(ns);
    }
}

/// Carries each out beside a lock that is none of its business.
#[track_caller]
fn leaves_alone(path: &str, deep: bool, acts: &[(&str, Act)]) {
    for (what, act) in acts {
        let (_world, store) = tree();
        let ns = store.namespace();
        lock(ns, path, deep);
        act(ns, &root()).unwrap_or_else(|error| panic!("{what}: {error}"));
        sound(ns);
    }
}

#[test]
fn a_locked_file_is_neither_changed_nor_taken_away_without_the_token() {
    binds("/bkt/d/f", false, &CHANGES);
    binds("/bkt/d/f", false, &REMOVALS);
    leaves_alone("/bkt/d/f", false, &ADDITIONS);
}

#[test]
fn a_lock_without_a_limit_of_depth_covers_what_is_and_comes_below() {
    for path in ["/bkt/d", "/bkt"] {
        binds(path, true, &CHANGES);
        binds(path, true, &REMOVALS);
        binds(path, true, &ADDITIONS);
    }
}

#[test]
fn a_lock_of_a_directory_alone_keeps_its_members_and_not_what_is_in_them() {
    let by_its_names: Vec<_> = REMOVALS.into_iter().take(6).collect();
    binds("/bkt/d", false, &by_its_names);
    binds("/bkt/d", false, &ADDITIONS);
    leaves_alone("/bkt/d", false, &CHANGES);
}

#[test]
fn a_lock_elsewhere_is_in_nobodys_way() {
    for acts in [&CHANGES[..], &REMOVALS[6..8], &ADDITIONS[..]] {
        leaves_alone("/bkt/e", false, acts);
        leaves_alone("/bkt/d/g2", false, &acts[..0]);
    }
}

#[test]
fn a_lock_of_the_root_covers_every_bucket_and_is_an_administrators() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let ordinary = Op::new(Caller::new(7, 7, Arc::from([]), &WEBDAV));
    ordinary.submit("bob", Vec::new());
    assert_eq!(ns.lock(&ordinary, None, &wanted("/", "t", true)).unwrap_err().kind, ErrorKind::NotPermitted);
    ns.lock(&holder("ann", &[]), None, &wanted("/", "t", true)).unwrap();
    assert!(is_locked(put_as(ns, &root(), "d/f")));
    assert!(is_locked(ns.mkdir(&root(), ROOT_INO, b"another", 0o755)));
    assert!(is_locked(ns.delete_bucket(&root(), "bkt")));
    ns.unlock(&holder("ann", &[]), ROOT_INO, "t").unwrap();
    put_as(ns, &root(), "d/f").unwrap();
}

#[test]
fn a_directory_that_vanishes_with_its_last_object_keeps_that_object_while_it_is_locked() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "a/b/c", b"x");
    // A lock without depth on the directory above: that directory would lose the member `b`.
    let token = lock(ns, "/bkt/a", false);
    let delete = |op: &Op| ns.delete_objects(op, "bkt", &[b"a/b/c".to_vec(), b"none".to_vec()]).unwrap();
    let answers = delete(&root());
    assert!(matches!(&answers[0], Err(error) if error.kind == ErrorKind::Locked));
    assert!(matches!(answers[1], Ok(false)), "others of the same request are removed");
    assert_eq!(get(ns, "a/b/c").unwrap(), b"x");
    sound(ns);
    put(ns, "a/b/more", b"y");
    assert!(matches!(delete(&root())[0], Ok(true)), "b stays");
    assert!(is_locked(ns.delete_object(&root(), "bkt", b"a/b/more", &Condition::default())));
    ns.delete_object(&holder("ann", &[&token]), "bkt", b"a/b/more", &Condition::default()).unwrap();
    assert_eq!(ns.locks_held(), 0, "the directory went, and its lock with it");
    sound(ns);
}

#[test]
fn a_key_below_a_locked_object_is_refused_since_it_would_take_the_object_its_name() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let token = lock(ns, "/bkt/d/f", false);
    assert!(is_locked(put_as(ns, &root(), "d/f/below")));
    assert_eq!(ino(ns, "/bkt/linked"), ino(ns, "/bkt/d/f"), "the file is where it was");
    put_as(ns, &holder("ann", &[&token]), "d/f/below").expect("its holder may");
    sound(ns);
}

#[test]
fn locks_end_with_what_they_are_on_and_do_not_move() {
    let ends: [(&str, Act); 3] = [REMOVALS[0], REMOVALS[1], REMOVALS[3]];
    for (what, act) in ends {
        let (_world, store) = tree();
        let ns = store.namespace();
        let token = lock(ns, "/bkt/d/f", false);
        act(ns, &holder("ann", &[&token])).unwrap();
        assert_eq!(ns.locks(&root()).unwrap(), [], "{what}");
        assert_eq!(ns.locks_held(), 0, "{what}");
        put_as(ns, &root(), "d/f").unwrap();
    }
    // Locks on a whole tree, and on what it is exchanged with.
    for (what, act) in &REMOVALS[6..] {
        let (_world, store) = tree();
        let ns = store.namespace();
        let tokens = [lock(ns, "/bkt/d/f", false), lock(ns, "/bkt/d/g", false), lock(ns, "/bkt/e/x", false)];
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        assert!(is_locked(act(ns, &holder("ann", &tokens[..1]))), "{what}: every lock below counts");
        act(ns, &holder("ann", &tokens)).unwrap();
        let left = usize::from(*what != "rename over the tree");
        assert_eq!(ns.locks(&root()).unwrap().len(), left, "{what}");
        assert_eq!(ns.locks_held(), left, "{what}");
    }
}

#[test]
fn new_content_leaves_the_lock_in_place() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let token = lock(ns, "/bkt/d/f", false);
    put_as(ns, &holder("ann", &[&token]), "d/f").unwrap();
    assert!(is_locked(put_as(ns, &root(), "d/f")));
    assert_eq!(ns.locks_on(&root(), ino(ns, "/bkt/d/f")).unwrap()[0].token, token);
}

#[test]
fn a_lock_of_a_name_that_leads_nowhere_makes_an_empty_file_in_the_same_commit() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let before = ns.store().last_commit();
    let (made, is_new) = try_lock(ns, &holder("ann", &[]), &wanted("/bkt/d/new", "t", false)).unwrap();
    assert!(is_new);
    assert_eq!(ns.store().last_commit().0, before.0 + 1, "one commit");
    assert_eq!(get(ns, "d/new").unwrap(), b"");
    assert_eq!(made.ino, Some(ino(ns, "/bkt/d/new")));
    assert!(is_locked(put_as(ns, &root(), "d/new")));
    // No lock is granted in a directory whose members somebody else has locked.
    lock(ns, "/bkt/e", false);
    let refused = try_lock(ns, &holder("bob", &[]), &wanted("/bkt/e/new", "u", false));
    assert!(is_locked(refused));
    assert!(get(ns, "e/new").is_err(), "refused, so not made");
}

#[test]
fn conflicting_locks_are_not_granted_and_shared_ones_live_together() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let shared = |path: &str, token: &str| NewLock { shared: true, ..wanted(path, token, true) };
    let (ann, bob) = (holder("ann", &[]), holder("bob", &[]));
    try_lock(ns, &ann, &shared("/bkt/d", "a")).unwrap();
    try_lock(ns, &bob, &shared("/bkt/d", "b")).unwrap();
    try_lock(ns, &bob, &shared("/bkt/d/f", "c")).unwrap();
    for (path, deep) in [("/bkt/d", false), ("/bkt/d/f", false), ("/bkt/d/g", false), ("/bkt", true)] {
        assert!(is_locked(try_lock(ns, &ann, &wanted(path, "x", deep))), "{path}");
    }
    // A lock above it without depth, or beside it, does not conflict.
    try_lock(ns, &ann, &wanted("/bkt", "y", false)).unwrap();
    try_lock(ns, &ann, &wanted("/bkt/e", "z", true)).unwrap();
    // One shared lock is enough.
    put_as(ns, &holder("bob", &["b"]), "d/g").unwrap();
    assert!(is_locked(put_as(ns, &root(), "d/g")));
}

#[test]
fn a_file_of_several_names_is_locked_by_all_of_them() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let (_, elsewhere) = (lock(ns, "/bkt/e", true), ns.resolve(&root(), b"/bkt/linked").unwrap().ino);
    ns.write(&root(), elsewhere, 0, b"x").unwrap();
    ns.link(&holder("ann", &["urn:uuid:0/bkt/e"]), elsewhere, ino(ns, "/bkt/e"), b"third").unwrap();
    assert!(is_locked(ns.write(&root(), elsewhere, 0, b"y")), "one of its names is in a locked directory");
    // Other names of the file may be removed: the locked place stays.
    ns.unlink(&root(), ino(ns, "/bkt"), b"linked").unwrap();
    assert!(is_locked(ns.unlink(&root(), ino(ns, "/bkt/e"), b"third")));
}

#[test]
fn what_was_written_before_a_lock_was_taken_is_stored_and_what_comes_after_is_refused() {
    let (world, store) = tree();
    let ns = store.namespace();
    let mount = || Op::new(Caller::root(&MOUNT));
    let file = ino(ns, "/bkt/d/f");
    ns.open(&mount(), file, RW, false).unwrap();
    ns.write(&mount(), file, 0, b"staged").unwrap();
    let token = lock(ns, "/bkt/d/f", false);
    assert!(is_locked(ns.write(&mount(), file, 0, b"too late")));
    assert_eq!(get(ns, "d/f").unwrap(), b"staged", "whoever locks it sees what was written before");
    let sync = mount();
    ns.fsync(&sync, file).unwrap();
    ns.settle_blocking(&sync).unwrap();
    ns.close(&mount(), file, true).unwrap();
    assert!(is_locked(ns.open(&mount(), file, RW, false)));
    ns.open(&mount(), file, Access { read: true, ..Access::default() }, false).unwrap();
    ns.close(&mount(), file, false).unwrap();
    drop(store);
    world.restart(3);
    let store = open(&world);
    assert_eq!(get(store.namespace(), "d/f").unwrap(), b"staged");
    ns_write_as_holder(store.namespace(), &token);
}

fn ns_write_as_holder(ns: &Namespace, token: &str) {
    let file = ino(ns, "/bkt/d/f");
    assert!(is_locked(ns.write(&root(), file, 0, b"x")), "the lock is there after a crash");
    ns.write(&holder("ann", &[token]), file, 0, b"x").unwrap();
}

#[test]
fn a_lock_lasts_so_long_and_is_refreshed_by_its_holder_alone() {
    let (world, store) = tree();
    let ns = store.namespace();
    let short = NewLock { seconds: Some(10), ..wanted("/bkt/d/f", "t", false) };
    try_lock(ns, &holder("ann", &[]), &short).unwrap();
    let file = ino(ns, "/bkt/d/f");
    world.clock().advance(8 * SECOND);
    for op in [holder("bob", &["t"]), root()] {
        assert_eq!(ns.refresh_lock(&op, file, "t", Some(10)).unwrap_err().kind, ErrorKind::PreconditionFailed);
    }
    ns.refresh_lock(&holder("ann", &["t"]), file, "t", Some(10)).unwrap();
    world.clock().advance(8 * SECOND);
    assert!(is_locked(ns.write(&root(), file, 0, b"x")));
    store.tend().unwrap();
    assert_eq!(ns.locks_held(), 1);
    world.clock().advance(3 * SECOND);
    ns.write(&root(), file, 0, b"x").unwrap();
    assert_eq!(
        ns.refresh_lock(&holder("ann", &["t"]), file, "t", None).unwrap_err().kind,
        ErrorKind::PreconditionFailed
    );
    store.tend().unwrap();
    assert_eq!(ns.locks_held(), 0, "what has ended is forgotten");
    sound(ns);
}

#[test]
fn an_ended_lock_is_forgotten_also_where_others_end_later() {
    let (world, store) = tree();
    let ns = store.namespace();
    for (path, seconds) in [("/bkt/d/f", 5), ("/bkt/d/g", 20), ("/bkt/e/x", 10)] {
        let lock = NewLock { seconds: Some(seconds), ..wanted(path, path, false) };
        try_lock(ns, &holder("ann", &[]), &lock).unwrap();
    }
    for left in [2, 1, 1, 0] {
        world.clock().advance(6 * SECOND);
        store.tend().unwrap();
        assert_eq!(ns.locks_held(), left);
    }
}

#[test]
fn who_unlocks_is_its_holder_or_an_administrator() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let token = lock(ns, "/bkt/d", true);
    let file = ino(ns, "/bkt/d/f");
    let other = Op::new(Caller::new(7, 7, Arc::from([]), &WEBDAV));
    other.submit("bob", Vec::new());
    assert_eq!(ns.unlock(&other, file, &token).unwrap_err().kind, ErrorKind::NotPermitted);
    assert_eq!(ns.unlock(&other, file, "another").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(ns.break_lock(&other, &token).unwrap_err().kind, ErrorKind::NotPermitted);
    assert_eq!(ns.unlock(&holder("ann", &[]), ino(ns, "/bkt/e"), &token).unwrap_err().kind, ErrorKind::NotFound);
    ns.unlock(&holder("ann", &[]), file, &token).unwrap();
    put_as(ns, &root(), "d/f").unwrap();
    let token = lock(ns, "/bkt/d", true);
    let admin = Op::new(Caller::root(&STORE));
    assert_eq!(ns.break_lock(&admin, &token).unwrap().path, b"/bkt/d");
    assert_eq!(ns.break_lock(&admin, &token).unwrap_err().kind, ErrorKind::NotFound);
    put_as(ns, &root(), "d/f").unwrap();
}

#[test]
fn who_may_not_change_something_may_not_lock_it() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let other = Op::new(Caller::new(7, 7, Arc::from([]), &WEBDAV));
    other.submit("bob", Vec::new());
    for path in ["/bkt/d/f", "/bkt/d", "/bkt/d/new"] {
        let refused = try_lock(ns, &other, &wanted(path, "t", false)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::AccessDenied, "{path}");
    }
    assert_eq!(try_lock(ns, &root(), &wanted("/bkt/d/f", "t", false)).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn an_operators_own_commands_pass_locks_which_end_with_what_they_are_on() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let admin = Op::new(Caller::root(&STORE));
    lock(ns, "/bkt/d/f", false);
    ns.rename(&admin, (ROOT_INO, b"bkt"), (ROOT_INO, b"renamed"), RenameMode::NoReplace).unwrap();
    assert_eq!((ns.locks_held(), ns.locks(&root()).unwrap().len()), (0, 0));
    lock(ns, "/renamed/d", true);
    assert!(ns.remove_bucket(&admin, "renamed", &mut |_, _| true).unwrap());
    assert_eq!(ns.locks_held(), 0);
    sound(ns);
}

#[test]
fn locks_are_found_again_when_the_store_is_opened_and_bind_as_before() {
    let (world, store) = tree();
    let token = lock(store.namespace(), "/bkt/d", true);
    let before = store.namespace().locks(&root()).unwrap();
    for choices in 0..4 {
        // A power cut; then an end in good order.
        world.restart(choices);
        let store = open(&world);
        let ns = store.namespace();
        assert_eq!(ns.locks(&root()).unwrap(), before);
        assert!(is_locked(ns.write(&root(), ino(ns, "/bkt/linked"), 0, b"x")));
        assert!(is_locked(put_as(ns, &root(), "d/new")));
        put_as(ns, &holder("ann", &[&token]), "d/g").unwrap();
        store.close().unwrap();
        let store = open(&world);
        assert_eq!(store.namespace().locks_held(), 1);
        sound(store.namespace());
    }
}

#[test]
fn there_are_so_many_locks_and_no_more_and_each_is_found() {
    let (world, store) = tree();
    let ns = store.namespace();
    let dir = ns.mkdir(&root(), ino(ns, "/bkt"), b"many", 0o755).unwrap().ino;
    let grant = |user: &str, number: usize| {
        let wanted = wanted(&format!("/bkt/many/{number}"), &format!("urn:{number}"), false);
        try_lock(ns, &holder(user, &[]), &wanted).map(drop).map_err(|error| error.kind)
    };
    for number in 0..LOCKS_PER_USER_MAX {
        grant("ann", number).unwrap();
    }
    assert_eq!(grant("ann", LOCKS_MAX), Err(ErrorKind::NoSpace));
    for number in LOCKS_PER_USER_MAX..LOCKS_MAX {
        grant(if number % 2 == 0 { "bob" } else { "eve" }, number).unwrap();
    }
    assert_eq!(grant("dan", LOCKS_MAX), Err(ErrorKind::NoSpace));
    assert!(ns.lookup(&root(), dir, b"10000").is_err(), "what was refused was not made");
    assert_eq!(ns.locks(&root()).unwrap().len(), LOCKS_MAX);
    assert!(is_locked(ns.unlink(&root(), dir, b"9999")));
    assert!(is_locked(ns.rename(&root(), (ino(ns, "/bkt"), b"many"), (ino(ns, "/bkt"), b"x"), RenameMode::Replace)));
    put_as(ns, &root(), "d/f").unwrap();
    let tokens: Vec<String> = (0..LOCKS_MAX).map(|number| format!("urn:{number}")).collect();
    let all: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let mine = holder("ann", &all);
    ns.unlink(&mine, dir, b"7").unwrap();
    assert!(is_locked(ns.unlink(&mine, dir, b"9999")), "that is bob's or eve's");
    assert_eq!(grant("dan", LOCKS_MAX), Ok(()));
    assert_eq!(grant("dan", LOCKS_MAX + 1), Err(ErrorKind::NoSpace));
    // A lock that has ended by itself does not count, even before anybody tidies up.
    world.clock().advance(3_601 * SECOND);
    assert_eq!(grant("dan", LOCKS_MAX + 1), Ok(()));
    assert_eq!(ns.locks_held(), 1);
}

#[test]
fn deep_and_strange_places_are_locked_like_others() {
    let (_world, store) = store();
    let ns = store.namespace();
    let deep = format!("{}f", "d/".repeat(400));
    // Names that file doors show by an alias, bytes that are no text, a zero byte, empty names, and neighbours of all of them.
    let keys: Vec<Vec<u8>> = vec![
        deep.into_bytes(),
        b"a//b".to_vec(),
        b"./x".to_vec(),
        b"nul\0l/x".to_vec(),
        b"\xff\xfe/x".to_vec(),
        b"both".to_vec(),
        b"both/x".to_vec(),
        [&[b'y'; 300][..], b"/x"].concat(),
    ];
    for key in &keys {
        let content = content(ns, b"x");
        ns.put_object(&root(), "bkt", key, content, None, ObjectMeta::default(), &Condition::default()).unwrap();
    }
    for key in &keys {
        let shown = key.escape_ascii().to_string();
        let file = ns.head_object(&root(), "bkt", key).unwrap().attr.ino;
        let (dir, name) = door_path(ns, key);
        let token = format!("urn:{shown}");
        let lock = NewLock { path: b"/bkt/somewhere".to_vec(), ..wanted("", &token, false) };
        ns.lock(&holder("ann", &[]), Some((dir, &name)), &lock).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert!(is_locked(ns.write(&root(), file, 0, b"y")), "{shown}");
        assert!(is_locked(ns.delete_object(&root(), "bkt", key, &Condition::default())), "{shown}");
        for other in keys.iter().filter(|other| *other != key) {
            let other = ns.head_object(&root(), "bkt", other).unwrap().attr.ino;
            ns.write(&root(), other, 0, b"z").unwrap_or_else(|error| panic!("beside {shown}: {error}"));
        }
        ns.unlock(&holder("ann", &[]), file, &token).unwrap();
        ns.write(&root(), file, 0, b"y").unwrap();
    }
    sound(ns);
}

/// The directory and the name by which file doors know an object.
fn door_path(ns: &Namespace, key: &[u8]) -> (Ino, Vec<u8>) {
    let wanted = ns.head_object(&root(), "bkt", key).expect("an object").attr.ino;
    let mut dirs = vec![ino(ns, "/bkt")];
    while let Some(dir) = dirs.pop() {
        for entry in ns.readdir(&root(), dir, &[], 1000).expect("a directory").entries {
            if entry.attr.ino == wanted {
                return (dir, entry.name);
            }
            if entry.attr.kind == NodeKind::Directory {
                dirs.push(entry.attr.ino);
            }
        }
    }
    panic!("no door shows {}", key.escape_ascii());
}

#[test]
fn nobody_locks_what_is_being_changed_in_many_steps_until_that_is_over() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let bucket = ino(ns, "/bkt");
    let op = holder("ann", &[]);
    let claim = ns.keep_unlocked(&op, bucket, b"d").unwrap();
    for (path, deep) in [("/bkt/d", false), ("/bkt/d/f", false), ("/bkt/d/new", false), ("/bkt", true)] {
        let refused = try_lock(ns, &op, &wanted(path, "t", deep)).unwrap_err();
        assert_eq!((refused.kind, refused.lock), (ErrorKind::Locked, None), "{path}");
    }
    assert!(ns.lookup(&root(), ino(ns, "/bkt/d"), b"new").is_err());
    try_lock(ns, &op, &wanted("/bkt", "u", false)).unwrap();
    try_lock(ns, &op, &wanted("/bkt/e", "v", true)).unwrap();
    drop(claim);
    try_lock(ns, &op, &wanted("/bkt/d", "t", true)).unwrap();
    assert!(is_locked(ns.keep_unlocked(&root(), bucket, b"d")));
}

#[test]
fn who_asks_beforehand_is_told_what_the_change_would_be() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let (dir, file) = (ino(ns, "/bkt/d"), ino(ns, "/bkt/d/f"));
    let entry = || Touch::Entry(dir, b"f".to_vec());
    let token = lock(ns, "/bkt/d/f", false);
    let check = |op: &Op, touch: Touch| is_locked(ns.check_locks(op, &[touch]));
    assert!(check(&root(), Touch::Node(file)) && check(&root(), entry()));
    assert!(!check(&root(), Touch::Members(dir)) && !check(&root(), Touch::Entry(dir, b"none".to_vec())));
    assert!(!check(&holder("ann", &[&token]), Touch::Node(file)));
    assert!(is_locked(ns.check_locks_of_object(&root(), "bkt", b"d/f")));
    for key in [&b"d/new"[..], b"x/y/new"] {
        ns.check_locks_of_object(&root(), "bkt", key).unwrap();
    }
    lock(ns, "/bkt/e", true);
    assert!(is_locked(ns.check_locks_of_object(&root(), "bkt", b"e/new")));
}

/// Writers go on while somebody takes the lock again and again. Whoever judged a write before the lock was there has staged it
/// before LOCK is answered, and nobody writes after that.
#[test]
fn no_write_without_the_token_shows_after_the_lock_was_granted_however_many_write() {
    let (_world, store) = tree();
    let ns = store.namespace();
    let file = ino(ns, "/bkt/d/f");
    let stop = AtomicBool::new(false);
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for writer in 0..4u8 {
            let (stop, refused) = (&stop, &refused);
            scope.spawn(move || {
                let op = Op::new(Caller::root(&MOUNT));
                for number in 0u64.. {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    let text = [&number.to_be_bytes()[..], &[writer; 200]].concat();
                    match ns.write(&op, file, u64::from(writer) * 300, &text) {
                        Err(error) if error.kind == ErrorKind::Locked => _ = refused.fetch_add(1, Ordering::AcqRel),
                        written => drop(written.expect("written")),
                    }
                }
            });
        }
        for round in 0..300 {
            // Locks on the file, and on what is above it.
            let (path, deep) = if round % 2 == 0 { ("/bkt/d/f", false) } else { ("/bkt/d", true) };
            let token = lock(ns, path, deep);
            let before = read_file(ns, file);
            let refused_before = refused.load(Ordering::Acquire);
            while refused.load(Ordering::Acquire) < refused_before + 4 {
                std::thread::yield_now();
            }
            assert_eq!(read_file(ns, file), before, "round {round}");
            ns.unlock(&holder("ann", &[]), file, &token).expect("unlocked");
        }
        stop.store(true, Ordering::Release);
    });
    sound(ns);
}

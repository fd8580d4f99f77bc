//! Every inode knows its names, after whatever operation.

use proptest::prelude::*;
use strata_seam::sim::SimWorld;

use super::*;
use crate::namespace::Namespace;
use crate::rig;
use crate::types::{Caller, Condition, NewNode, NodeKind, ObjectMeta, Op, RenameMode};

fn root() -> Op {
    Op::new(Caller::root(&rig::MOUNT))
}

fn ino(ns: &Namespace, path: &str) -> Ino {
    ns.resolve(&root(), path.as_bytes()).unwrap_or_else(|error| panic!("{path}: {error}")).ino
}

fn key(ns: &Namespace, ino: Ino) -> Option<String> {
    let op = root();
    let mut snap = ns.snap(&op);
    let inode = snap.inode(ino).expect("an inode");
    path(&mut snap, &inode).expect("a path").map(|path| String::from_utf8(path.key).expect("text"))
}

fn file(ns: &Namespace, dir: Ino, name: &str) -> Ino {
    let node = NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 };
    ns.mknod(&root(), dir, name.as_bytes(), node).expect("made").ino
}

#[test]
fn a_path_is_found_from_an_inode_also_after_renames_of_what_is_above_it() {
    let world = SimWorld::new(1);
    let store = rig::on_one_disk(&world).expect("a store");
    let ns = store.namespace();
    let bucket = ns.create_bucket(&root(), "bkt", None).expect("a bucket").root;
    let content = ns.ingest(&root(), "bkt").expect("an ingest").finish().expect("content");
    let (meta, condition) = (ObjectMeta::default(), Condition::default());
    ns.put_object(&root(), "bkt", b"a/b/c", content, None, meta, &condition).expect("put");
    let (b, c) = (ino(ns, "/bkt/a/b"), ino(ns, "/bkt/a/b/c"));
    assert_eq!(key(ns, bucket).as_deref(), Some(""));
    assert_eq!(key(ns, b).as_deref(), Some("a/b/"));
    assert_eq!(key(ns, c).as_deref(), Some("a/b/c"));
    assert_eq!(ns.path_of(&root(), c).expect("read").as_deref(), Some(&b"bkt/a/b/c"[..]));
    assert_eq!(ns.path_of(&root(), ROOT_INO).expect("read").as_deref(), Some(&b""[..]));
    ns.rename(&root(), (bucket, b"a"), (bucket, b"z"), RenameMode::Replace).expect("renamed");
    assert_eq!(key(ns, c).as_deref(), Some("z/b/c"));
    ns.rename(&root(), (b, b"c"), (bucket, b"top"), RenameMode::Replace).expect("moved");
    assert_eq!(key(ns, c).as_deref(), Some("top"));
    let other = file(ns, b, "other");
    ns.rename(&root(), (b, b"other"), (bucket, b"top"), RenameMode::Exchange).expect("exchanged");
    assert_eq!((key(ns, other).as_deref(), key(ns, c).as_deref()), (Some("top"), Some("z/b/other")));
    store.is_whole();
}

#[test]
fn a_file_of_several_names_has_a_path_until_the_last_is_removed() {
    let world = SimWorld::new(1);
    let store = rig::on_one_disk(&world).expect("a store");
    let ns = store.namespace();
    let bucket = ns.create_bucket(&root(), "bkt", None).expect("a bucket").root;
    let dir = ns.mkdir(&root(), bucket, b"d", 0o755).expect("made").ino;
    let linked = file(ns, bucket, "one");
    ns.link(&root(), linked, dir, b"two").expect("linked");
    ns.link(&root(), linked, bucket, b"three").expect("linked");
    assert_eq!(key(ns, linked).as_deref(), Some("one"));
    ns.rename(&root(), (bucket, b"one"), (bucket, b"three"), RenameMode::Exchange).expect("nothing to do");
    store.is_whole();
    ns.unlink(&root(), bucket, b"one").expect("removed");
    store.is_whole();
    let rest = key(ns, linked).expect("a name");
    assert!(["d/two", "three"].contains(&rest.as_str()), "{rest}");
    ns.rename(&root(), (dir, b"two"), (bucket, b"four"), RenameMode::Replace).expect("moved");
    ns.unlink(&root(), bucket, b"three").expect("removed");
    assert_eq!(key(ns, linked).as_deref(), Some("four"));
    store.is_whole();
    ns.open(&root(), linked, crate::types::Access::default(), false).expect("opened");
    ns.unlink(&root(), bucket, b"four").expect("removed");
    assert_eq!(key(ns, linked), None, "it is open, and nowhere");
    store.is_whole();
}

#[test]
fn an_exchange_that_would_take_the_name_of_an_object_beside_a_directory_is_refused() {
    let world = SimWorld::new(1);
    let store = rig::on_one_disk(&world).expect("a store");
    let ns = store.namespace();
    let bucket = ns.create_bucket(&root(), "bkt", None).expect("a bucket").root;
    for key in ["a", "a/b", "f"] {
        let content = ns.ingest(&root(), "bkt").expect("an ingest").finish().expect("content");
        let (meta, condition) = (ObjectMeta::default(), Condition::default());
        ns.put_object(&root(), "bkt", key.as_bytes(), content, None, meta, &condition).expect("put");
    }
    for (from, to) in [(&b"f"[..], &b"a"[..]), (b"a", b"f")] {
        let refused = ns.rename(&root(), (bucket, from), (bucket, to), RenameMode::Exchange).expect_err("refused");
        assert_eq!(refused.kind, crate::ErrorKind::Exists, "{refused}");
    }
    for key in ["a", "a/b", "f"] {
        ns.head_object(&root(), "bkt", key.as_bytes()).expect("it is there");
    }
    store.is_whole();
}

/// One step: what, which of the names, and which other.
type Step = (u8, u8, u8);

/// Makes, links, renames, exchanges and removes among a few names in two directories; refusals are as good as anything.
fn take(ns: &Namespace, dirs: [Ino; 2], (what, from, to): Step) {
    let place = |number: u8| (dirs[usize::from(number % 2)], [b'a' + number / 2 % 4]);
    let ((from_dir, from), (to_dir, to)) = (place(from), place(to));
    let op = root();
    let _refused = match what % 7 {
        0 => ns.mknod(&op, to_dir, &to, NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 }).map(|_| ()),
        1 => ns.lookup(&op, from_dir, &from).and_then(|found| ns.link(&op, found.ino, to_dir, &to)).map(|_| ()),
        2 => ns.rename(&op, (from_dir, &from), (to_dir, &to), RenameMode::Replace),
        3 => ns.rename(&op, (from_dir, &from), (to_dir, &to), RenameMode::Exchange),
        4 => ns.unlink(&op, to_dir, &to),
        5 => ns.mkdir(&op, to_dir, &to, 0o755).map(|_| ()),
        _ => ns.rmdir(&op, to_dir, &to),
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn after_any_steps_every_inode_knows_exactly_the_names_that_lead_to_it(
        steps in proptest::collection::vec(any::<Step>(), 1..60)
    ) {
        let world = SimWorld::new(1);
        let store = rig::on_one_disk(&world).expect("a store");
        let ns = store.namespace();
        let bucket = ns.create_bucket(&root(), "bkt", None).expect("a bucket").root;
        let dir = ns.mkdir(&root(), bucket, b"dir", 0o755).expect("made").ino;
        for step in steps {
            take(ns, [bucket, dir], step);
        }
        store.is_whole();
    }
}

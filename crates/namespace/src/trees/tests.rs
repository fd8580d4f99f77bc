//! Removing a tree while another operation moves parts of it elsewhere.

use strata_seam::sim::SimWorld;

use super::*;
use crate::rig;
use crate::types::{Caller, Condition, ObjectMeta, RenameMode};

fn root() -> Op {
    Op::new(Caller::root(&rig::WEBDAV))
}

fn put(ns: &Namespace, key: &str) {
    let content = ns.ingest(&root(), "bkt").expect("an ingest").finish().expect("content");
    let (meta, condition) = (ObjectMeta::default(), Condition::default());
    ns.put_object(&root(), "bkt", key.as_bytes(), content, None, meta, &condition).expect("put");
}

#[test]
fn what_is_moved_out_of_a_tree_while_it_is_removed_stays() {
    let world = SimWorld::new(1);
    let store = rig::on_one_disk(&world).expect("a store");
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    for number in 0..200 {
        put(ns, &format!("tree/dir/sub/{number}"));
    }
    put(ns, "tree/z");
    let (bucket, tree) = (ns.bucket(&root(), "bkt").expect("it").root, ns.resolve(&root(), b"/bkt/tree").expect("it"));
    let mut moved = None;
    let mut told = |names| {
        moved.get_or_insert_with(|| {
            ns.rename(&root(), (tree.ino, b"dir"), (bucket, b"dir"), RenameMode::NoReplace).expect("moved");
            names
        });
        true
    };
    assert!(ns.remove_tree_told(&root(), bucket, b"tree", &mut told, &|_| Ok(())).expect("removed"));
    let sub = ns.resolve(&root(), b"/bkt/dir/sub").expect("it").ino;
    let left = ns.count_below(&root(), sub, &mut |_| true).expect("counted").expect("all");
    assert_eq!(left, 200 - moved.expect("told"), "only the first step has removed anything of it");
    store.is_whole();
}

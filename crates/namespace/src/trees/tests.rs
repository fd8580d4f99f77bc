//! Removing a tree beside somebody who moves parts of it elsewhere.

use std::sync::Arc;

use strata_content::StoreSettings;
use strata_ledger::{Geometry, Options};
use strata_seam::sim::{SimEntropy, SimWorld};
use strata_seam::{Clock, Disk};

use super::*;
use crate::check::check_store;
use crate::types::{Caller, Condition, Door, Durability, ObjectMeta, RenameMode};
use crate::{OpenStore, StoreConfig};

fn root() -> Op {
    Op::new(Caller::root(Door::WebDav))
}

fn put(ns: &Namespace, key: &str) {
    let content = ns.ingest(&root(), "bkt").expect("an ingest").finish().expect("content");
    let (meta, condition) = (ObjectMeta::default(), Condition::default());
    ns.put_object(&root(), "bkt", key.as_bytes(), content, None, meta, &condition).expect("put");
}

#[test]
fn what_is_moved_out_of_a_tree_while_it_is_removed_stays() {
    let world = SimWorld::new(1);
    let config = StoreConfig {
        disks: vec![world.disk("disk") as Arc<dyn Disk>],
        create: Some(Geometry { data_shards: 1, parity_shards: 0 }),
        index_dir: None,
        index_cache_bytes: 1 << 20,
        ledger: Options { segment_len: 16 << 20, ..Options::default() },
        content: StoreSettings { cache_bytes: 8 << 20, ..StoreSettings::default() },
        owner: (0, 0),
        durability: Durability::Strict,
        threads: false,
    };
    let clock: Arc<dyn Clock> = world.clock();
    let store = OpenStore::open(config, clock, &SimEntropy::new(7)).expect("a store");
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
    assert_eq!(check_store(ns, true, &mut |_| {}).expect("checked").violations, Vec::<String>::new());
}

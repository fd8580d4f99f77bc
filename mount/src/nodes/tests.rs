//! What the table of the kernel's inodes promises.

use super::*;

/// The attributes of a file with these times and sizes.
pub(crate) fn file(ino: u64, mtime: i64, size: u64) -> Attr {
    let t = Timestamp(mtime);
    Attr {
        ino: Ino(ino),
        kind: NodeKind::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        nlink: 1,
        rdev: 0,
        size,
        allocated: size,
        atime: t,
        mtime: t,
        ctime: t,
        btime: t,
        change: 0,
    }
}

/// A store in memory with one file, which is open.
struct Store {
    store: strata_runtime::OpenStore,
    ino: Ino,
}

impl Store {
    fn new() -> Self {
        use strata_namespace::{Access, Durability};
        use strata_runtime::{ContentSettings, OpenStore, StoreConfig};
        let world = strata_seam::sim::SimWorld::new(1);
        let config = StoreConfig {
            disks: vec![world.disk("disk")],
            create: Some(strata_ledger::Geometry { data_shards: 1, parity_shards: 0 }),
            index_dir: None,
            index_engine: None,
            index_cache_bytes: 1 << 20,
            ledger: strata_ledger::Options { segment_len: 16 << 20, ..strata_ledger::Options::default() },
            content: ContentSettings::default(),
            owner: (0, 0),
            durability: Durability::Strict,
            threads: false,
        };
        let store = OpenStore::open(config, world.clock(), &strata_seam::sim::SimEntropy::new(1)).expect("opens");
        store.namespace().create_bucket(&op(), "bkt", None).expect("a bucket");
        let mut made = Self { store, ino: Ino(0) };
        made.put(b"first");
        let ns = made.store.namespace();
        made.ino = ns.resolve(&op(), b"/bkt/file").expect("there").ino;
        ns.open(&op(), made.ino, Access { read: true, ..Access::default() }, false).expect("opened");
        made
    }

    fn put(&self, data: &[u8]) {
        let ns = self.store.namespace();
        let mut ingest = ns.ingest(&op(), "bkt").expect("an ingest");
        ingest.push(data).expect("pushed");
        let (content, meta) = (ingest.finish().expect("content"), strata_namespace::ObjectMeta::default());
        let cond = strata_namespace::Condition::default();
        ns.put_object(&op(), "bkt", b"file", content, None, meta, &cond).expect("stored");
    }

    fn pin(&self) -> Arc<Pin> {
        self.store.namespace().pin(self.ino)
    }

    fn attr(&self) -> Attr {
        self.store.namespace().getattr(&op(), self.ino).expect("there")
    }
}

fn op() -> strata_namespace::Op {
    strata_namespace::Op::new(strata_namespace::Caller::root(&strata_namespace::STORE))
}

/// A lookup that nothing overtook.
fn enter(nodes: &Nodes, attr: Attr) -> Shown {
    nodes.enter(attr, nodes.moments.now())
}

fn admitted(keep_cache: bool, attr_stale: bool) -> Admission {
    Admission::Admitted { keep_cache, attr_stale }
}

#[test]
fn an_inode_is_known_until_every_lookup_is_forgotten() {
    let nodes = Nodes::new();
    (0..3).for_each(|_| assert_eq!(enter(&nodes, file(70, 1, 1)).number, 70));
    nodes.forget(70, 2);
    assert!(nodes.knows(70));
    nodes.forget(70, 1);
    assert!(!nodes.knows(70));
    nodes.forget(70, 5);
}

#[test]
fn the_root_is_never_forgotten() {
    let nodes = Nodes::new();
    nodes.forget(ROOT_INO.0, u64::MAX);
    assert_eq!(nodes.all(), [ROOT_INO.0]);
}

#[test]
fn pages_are_kept_from_one_open_to_the_next_while_the_content_is_the_same() {
    let (store, nodes) = (Store::new(), Nodes::new());
    enter(&nodes, store.attr());
    let node = nodes.get(store.ino.0).expect("known");
    let pin = store.pin();
    assert_eq!(node.admit(&store.attr(), &pin, false), admitted(false, false), "nothing is known of its pages");
    assert_eq!(node.admit(&store.attr(), &pin, false), admitted(true, false));
    let grown = file(store.ino.0, i64::MAX, 100);
    assert_eq!(node.admit(&grown, &pin, false), admitted(false, true), "written elsewhere");
    assert_eq!(node.admit(&grown, &pin, false), admitted(true, false));
    let own = file(store.ino.0, i64::MAX, 200);
    node.wrote(Some(validator(&grown)), &own);
    assert_eq!(node.admit(&own, &pin, false), admitted(true, false), "our own writes leave the pages good");
    node.stale();
    node.wrote(Some(validator(&own)), &own);
    assert_eq!(node.admit(&own, &pin, false), admitted(false, false), "which hides no foreign change before them");
}

#[test]
fn a_file_replaced_while_it_is_open_gets_another_number_until_both_are_forgotten() {
    let (store, nodes) = (Store::new(), Nodes::new());
    let old = enter(&nodes, store.attr());
    let node = nodes.get(old.number).expect("known");
    let pin = store.pin();
    assert_eq!(node.admit(&store.attr(), &pin, false), admitted(false, false));
    assert_eq!(enter(&nodes, store.attr()).number, old.number);
    store.put(b"second, and longer");
    assert!(node.is_past() && node.kept() == pin.kept() && pin.kept().is_some());
    let new = enter(&nodes, store.attr());
    assert_ne!(new.number, old.number);
    assert_eq!((ino_of(new.number), new.attr.size), (store.ino, 18));
    assert_eq!(enter(&nodes, store.attr()).number, new.number);
    assert_eq!(nodes.siblings(new.number), [old.number]);
    assert_eq!(node.admit(&store.attr(), &store.pin(), false), Admission::Refused);
    let kept = store.store.namespace().getattr(&op(), pin.source()).expect("kept");
    let shown = node.show(store.attr(), Some(&kept));
    assert_eq!((shown.attr.size, shown.lasting), (5, false), "the old inode keeps the old size");
    drop(pin);
    assert!(node.is_past(), "and is not used again after the last close");
    nodes.forget(new.number, 2);
    assert!(!nodes.knows(new.number) && nodes.siblings(old.number).is_empty());
    let third = enter(&nodes, store.attr()).number;
    assert!(third != old.number && third != new.number);
    nodes.forget(old.number, 2);
    nodes.forget(third, 1);
    assert_eq!(enter(&nodes, store.attr()).number, store.ino.0, "nothing is left of it in the kernel");
}

#[test]
fn our_own_change_to_a_content_the_kernel_was_not_told_of_does_not_make_its_pages_good() {
    let (store, nodes) = (Store::new(), Nodes::new());
    enter(&nodes, store.attr());
    let (node, pin) = (nodes.get(store.ino.0).expect("known"), store.pin());
    node.admit(&store.attr(), &pin, false);
    let (foreign, own) = (file(store.ino.0, i64::MAX - 1, 5), file(store.ino.0, i64::MAX, 5));
    node.wrote(Some(validator(&foreign)), &own);
    assert_eq!(node.admit(&own, &pin, false), admitted(false, false));
}

#[test]
fn an_inode_nobody_has_open_is_used_again_only_for_the_content_the_kernel_has() {
    let nodes = Nodes::new();
    enter(&nodes, file(9, 1, 10));
    assert_eq!(enter(&nodes, file(9, 1, 10)).number, 9);
    nodes.get(9).expect("known").wrote(Some((Timestamp(1), 10)), &file(9, 2, 3));
    assert_eq!(enter(&nodes, file(9, 2, 3)).number, 9, "changed by a program of this mount, as the kernel knows");
    assert_ne!(enter(&nodes, file(9, 3, 4)).number, 9, "changed elsewhere");
    enter(&nodes, file(8, 1, 10));
    let node = nodes.get(8).expect("known");
    assert_eq!(node.show(file(8, 2, 10), None).attr.mtime, Timestamp(2), "a stat is answered at once");
    assert!(node.is_past(), "the next open goes elsewhere");
}

#[test]
fn growth_at_another_door_is_shown_to_who_has_the_file_open_once_the_pages_are_dropped() {
    let (store, nodes) = (Store::new(), Nodes::new());
    enter(&nodes, store.attr());
    let (node, pin) = (nodes.get(store.ino.0).expect("known"), store.pin());
    assert_eq!(node.admit(&store.attr(), &pin, false), admitted(false, false));
    let grown = file(store.ino.0, i64::MAX, 50);
    let held = node.show(grown.clone(), None);
    assert_eq!((held.attr.size, held.lasting), (5, false));
    node.dropped_at(50);
    let shown = node.show(grown.clone(), None);
    assert_eq!((shown.attr.size, shown.lasting), (50, true));
    drop(pin);
    assert_eq!(node.show(file(store.ino.0, i64::MAX, 90), None).attr.size, 90, "nobody has it open");
}

//! Each kind of damage is made by a raw commit, exactly so; the plan names it, the repair mends it, the check afterwards is
//! clean, and every byte that could be read before can be read afterwards.

use std::sync::Arc;

use strata_ledger::{Geometry, Options};
use strata_runtime::{ContentSettings, Durability, OpenStore, StoreConfig};
use strata_seam::Disk;
use strata_seam::sim::{SimEntropy, SimWorld};

use super::*;
use crate::check::{affected_by, check_store};
use strata_content::{Content, Item, Source, Tx};
use strata_namespace::checking::View;
use strata_namespace::records::{Bucket, Dirent, Inode, LockCount, Part};
use strata_namespace::{Caller, Condition, Door, DoorNumber, NodeKind, ObjectMeta, Op, ROOT_INO};
use strata_seam::Ino;

mod counters;

static S3: Door = Door::of_users("s3", DoorNumber::new(1), &[]);
static MOUNT: Door = Door { settles: false, keeps_pages: true, ..Door::of_uids("mount", DoorNumber::new(2), &[]) };

struct Bench {
    _world: SimWorld,
    store: OpenStore,
}

fn root() -> Op {
    Op::new(Caller::root(&S3))
}

impl Bench {
    /// `bkt/a`, `bkt/dir/b` with content of their own, and an empty directory `bkt/dir/sub`.
    fn new() -> Self {
        let world = SimWorld::new(1);
        let disks = (0..3).map(|n| -> Arc<dyn Disk> { world.disk(&format!("disk{n}")) }).collect();
        let config = StoreConfig {
            disks,
            create: Some(Geometry { data_shards: 2, parity_shards: 1 }),
            index_dir: None,
            index_engine: None,
            index_cache_bytes: 1 << 20,
            ledger: Options { segment_len: 16 << 20, ..Options::default() },
            content: ContentSettings { cache_bytes: 8 << 20, ..ContentSettings::default() },
            owner: (0, 0),
            durability: Durability::Strict,
            threads: false,
        };
        let store = OpenStore::open(config, world.clock(), &SimEntropy::new(7)).expect("a store");
        let bench = Self { _world: world, store };
        bench.ns().create_bucket(&root(), "bkt", None).expect("a bucket");
        bench.put("a", 1);
        bench.put("dir/b", 2);
        let dir = bench.ino("dir");
        bench.ns().mkdir(&root(), dir, b"sub", 0o755).expect("a directory");
        assert_eq!(check_store(bench.ns(), true, &mut |_| {}).expect("checked").violations, Vec::<String>::new());
        bench
    }

    fn ns(&self) -> &Arc<Namespace> {
        self.store.namespace()
    }

    fn content(&self, bytes: &[u8]) -> Content {
        let mut ingest = self.ns().ingest(&root(), "bkt").expect("an ingest");
        ingest.push(bytes).expect("pushed");
        ingest.finish().expect("content")
    }

    fn put(&self, key: &str, seed: u64) {
        let content = self.content(&noise(seed));
        let (op, meta, condition) = (root(), ObjectMeta::default(), Condition::default());
        self.ns().put_object(&op, "bkt", key.as_bytes(), content, None, meta, &condition).expect("put");
        self.ns().settle_blocking(&op).expect("settled");
    }

    fn bucket_root(&self) -> Ino {
        self.ns().bucket(&root(), "bkt").expect("the bucket").root
    }

    fn at(&self, from: Ino, path: &str) -> Ino {
        path.split('/').fold(from, |dir, name| self.ns().lookup(&root(), dir, name.as_bytes()).expect("found").ino)
    }

    fn ino(&self, path: &str) -> Ino {
        self.at(self.bucket_root(), path)
    }

    fn read(&self, ino: Ino) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let step = self.ns().read(&root(), ino, out.len() as u64, 1 << 20).expect("read");
            if step.is_empty() {
                return out;
            }
            out.extend_from_slice(&step);
        }
    }

    fn inode(&self, ino: Ino) -> Inode {
        let record = self.ns().store().get(&key::inode(ino)).expect("read").expect("an inode");
        Inode::decode(ino, &record.value).expect("decodes")
    }

    fn damage(&self, make: impl Fn(&mut Tx<'_>)) {
        self.ns()
            .store()
            .transact(false, |tx| {
                make(tx);
                Ok::<_, strata_namespace::Error>(())
            })
            .expect("damaged");
    }

    fn damage_inode(&self, ino: Ino, make: impl FnOnce(&mut Inode)) {
        let mut inode = self.inode(ino);
        make(&mut inode);
        self.damage(|tx| tx.put(key::inode(ino), inode.encode()));
    }

    /// The plan names the damage and says what will be done; a repair mends all of it.
    fn mended(&self, wrong: &str, action: &str) -> Repaired {
        let (repaired, plan) = self.repaired();
        let step = plan.iter().find(|step| step.wrong.contains(wrong));
        let step = step.unwrap_or_else(|| panic!("no `{wrong}` in {plan:#?}"));
        assert!(step.action.contains(action) && step.changes, "{step:?}");
        assert_eq!(repaired.left.violations, Vec::<String>::new(), "{repaired:#?}");
        assert_eq!(repaired.failed, Vec::<String>::new());
        repaired
    }

    fn repaired(&self) -> (Repaired, Vec<RepairStep>) {
        let report = check_store(self.ns(), true, &mut |_| {}).expect("checked");
        let affected =
            affected_by(self.ns(), &unreadable_chunks(&report), &mut |_| true).expect("searched").expect("all");
        let before = self.ns().store().last_commit();
        let plan = repair_plan(&report, &affected);
        assert_eq!(self.ns().store().last_commit(), before, "a plan changes nothing");
        (repair(self.ns(), report, &affected, true, &mut |_| true).expect("repaired"), plan)
    }

    fn lost(&self) -> Vec<String> {
        let Ok(bucket) = self.ns().bucket_called(&root(), LOST_AND_FOUND.as_bytes()) else { return Vec::new() };
        let page = self.ns().readdir(&root(), bucket.root, &[], 100).expect("listed");
        let names = page.entries.into_iter().map(|entry| String::from_utf8(entry.name).expect("UTF-8"));
        names.filter(|name| !name.starts_with("repair-")).collect()
    }

    fn in_lost(&self, path: &str) -> Ino {
        self.at(self.ns().bucket_called(&root(), LOST_AND_FOUND.as_bytes()).expect("lost+found").root, path)
    }

    fn all_is_readable(&self) {
        assert!(self.read(self.ino("a")) == noise(1));
        assert!(self.read(self.ino("dir/b")) == noise(2));
    }
}

fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).take(50_000).flatten().collect()
}

fn first_chunk(inode: &Inode) -> ChunkId {
    let id = inode.items.iter().find_map(|item| match item.source {
        Source::Chunk { id, .. } => Some(id),
        _ => None,
    });
    id.expect("a chunk")
}

#[test]
fn wrong_counts_of_references_are_set_right() {
    for off in [-1, 1, 5] {
        let bench = Bench::new();
        let id = first_chunk(&bench.inode(bench.ino("a")));
        bench.damage(|tx| tx.correct_count(id, off));
        bench.mended(&format!("chunk {id} counts {} references, 1 exist", 1 + off), "set the count to 1");
        bench.all_is_readable();
        assert!(bench.lost().is_empty());
    }
}

#[test]
fn a_part_of_an_unfinished_upload_that_cannot_be_read_is_named_by_bucket_and_key() {
    let bench = Bench::new();
    let upload = bench.ns().create_upload(&root(), "bkt", b"deep/down\0here", ObjectMeta::default()).expect("begun").id;
    let content = bench.content(&noise(7));
    let lost = content.items().iter().find_map(|item| match item.source {
        Source::Chunk { id, .. } => Some(id),
        _ => None,
    });
    let (key, etag) = (b"deep/down\0here", "0".repeat(32));
    bench.ns().put_part(&root(), "bkt", key, &upload, 3, content, etag, Default::default()).expect("stored");
    let lost = lost.into_iter().collect();
    let affected = affected_by(bench.ns(), &lost, &mut |_| true).expect("searched").expect("all");
    let names: Vec<_> = affected.iter().map(described).collect();
    assert_eq!(names, [format!("bkt/deep/down\0here (part 3 of the unfinished upload {upload})")]);
}

#[test]
fn an_entry_with_nothing_behind_it_goes_and_its_neighbours_stay() {
    let bench = Bench::new();
    let dir = bench.ino("dir");
    let dirent = Dirent { ino: Ino(999_999), kind: NodeKind::File, shadowed: false };
    bench.damage(|tx| tx.put(key::entry(dir, b"ghost"), dirent.encode()));
    bench.mended("entry 'ghost'", "remove the entry");
    bench.all_is_readable();
}

#[test]
fn a_file_without_a_name_gets_one_in_lost_and_found() {
    let bench = Bench::new();
    let (dir, ino) = (bench.ino("dir"), bench.ino("dir/b"));
    bench.damage(|tx| tx.delete(key::entry(dir, b"b")));
    bench.mended(&format!("inode {ino} has no name"), &format!("lost+found/{ino}"));
    assert_eq!(bench.lost(), [ino.to_string()]);
    assert!(bench.read(bench.in_lost(&ino.to_string())) == noise(2));
}

#[test]
fn a_directory_without_a_name_keeps_what_is_in_it() {
    let bench = Bench::new();
    let (top, ino) = (bench.bucket_root(), bench.ino("dir"));
    bench.damage(|tx| tx.delete(key::entry(top, b"dir/")));
    bench.mended(&format!("inode {ino} has no name"), "lost+found");
    assert!(bench.read(bench.in_lost(&format!("{ino}/b"))) == noise(2));
}

#[test]
fn entries_whose_directory_is_gone_get_one_with_their_names() {
    let bench = Bench::new();
    let (top, ino) = (bench.bucket_root(), bench.ino("dir"));
    bench.damage(|tx| {
        tx.delete(key::entry(top, b"dir/"));
        tx.delete(key::inode(ino));
    });
    bench.mended(&format!("entry 'b' is in inode {ino}"), &format!("lost+found/{ino}"));
    assert!(bench.read(bench.in_lost(&format!("{ino}/b"))) == noise(2));
    bench.in_lost(&format!("{ino}/sub"));
}

#[test]
fn an_entry_below_a_file_moves_to_lost_and_found_with_its_name() {
    let bench = Bench::new();
    let (a, dir, b) = (bench.ino("a"), bench.ino("dir"), bench.ino("dir/b"));
    bench.damage(|tx| {
        tx.delete(key::entry(dir, b"b"));
        tx.put(key::entry(a, b"b"), Dirent { ino: b, kind: NodeKind::File, shadowed: false }.encode());
    });
    bench.mended(&format!("entry 'b' is in inode {a}"), "lost+found");
    assert_eq!(bench.lost(), [format!("{b}-b")]);
    assert!(bench.read(bench.in_lost(&format!("{b}-b"))) == noise(2));
}

#[test]
fn wrong_counts_of_links_are_set_right_on_files_and_directories() {
    let bench = Bench::new();
    let (a, dir) = (bench.ino("a"), bench.ino("dir"));
    bench.damage_inode(a, |inode| inode.attr.nlink = 7);
    bench.damage_inode(dir, |inode| inode.attr.nlink = 2);
    bench.mended(&format!("inode {a} counts 7 links, 1 exist"), "set the count to 1");
    assert_eq!(bench.inode(dir).attr.nlink, 3);
    bench.all_is_readable();
}

#[test]
fn a_wrong_size_becomes_the_length_of_the_content() {
    for size in [0, 10, 1 << 40] {
        let bench = Bench::new();
        let a = bench.ino("a");
        bench.damage_inode(a, |inode| inode.attr.size = size);
        bench.mended(&format!("inode {a} has size {size}"), "set the size");
        bench.all_is_readable();
    }
}

#[test]
fn a_wrong_count_of_inodes_is_set_right() {
    for off in [-3, 4] {
        let bench = Bench::new();
        bench.damage(|tx| tx.tally(key::KEY_INODES, off));
        bench.mended("inodes are counted", "set the counter");
        bench.all_is_readable();
    }
}

#[test]
fn a_wrong_kind_and_a_wrong_mark_are_set_right() {
    let bench = Bench::new();
    let (top, a) = (bench.bucket_root(), bench.ino("a"));
    bench.damage(|tx| tx.put(key::entry(top, b"a"), Dirent { ino: a, kind: NodeKind::Fifo, shadowed: false }.encode()));
    bench.mended("says another kind", "set the entry's kind");
    bench.damage(|tx| tx.put(key::entry(top, b"a"), Dirent { ino: a, kind: NodeKind::File, shadowed: true }.encode()));
    bench.mended("do not agree", "set the mark");
    bench.all_is_readable();
}

#[test]
fn a_file_under_a_directorys_name_moves_to_lost_and_found() {
    let bench = Bench::new();
    let (top, a) = (bench.bucket_root(), bench.ino("a"));
    bench.damage(|tx| {
        tx.delete(key::entry(top, b"a"));
        tx.put(key::entry(top, b"a/"), Dirent { ino: a, kind: NodeKind::File, shadowed: false }.encode());
    });
    bench.mended("says another kind", "lost+found");
    assert!(bench.read(bench.in_lost(&format!("{a}-a"))) == noise(1));
}

#[test]
fn a_directory_that_names_another_parent_names_its_own_again() {
    let bench = Bench::new();
    let dir = bench.ino("dir");
    bench.damage_inode(dir, |inode| inode.parent = ROOT_INO);
    bench.mended(&format!("directory {dir} is in"), "let it name");
    assert_eq!(bench.inode(dir).parent, bench.bucket_root());
    bench.all_is_readable();
}

#[test]
fn a_file_that_does_not_know_its_names_learns_those_that_lead_to_it() {
    let bench = Bench::new();
    let (a, dir) = (bench.ino("a"), bench.ino("dir"));
    bench.ns().link(&root(), a, dir, b"second").expect("linked");
    bench.damage_inode(a, |inode| inode.name = b"other".to_vec());
    bench.mended(&format!("inode {a} does not know its names"), "know the names that lead to it");
    bench.damage(|tx| tx.delete(key::name(a, dir, b"second")));
    bench.mended(&format!("inode {a} does not know its names"), "know the names that lead to it");
    bench.damage(|tx| tx.put(key::name(a, dir, b"third"), Vec::new()));
    bench.mended(&format!("inode {a} does not know its names"), "know the names that lead to it");
    assert_eq!(bench.inode(a).attr.nlink, 2);
    bench.all_is_readable();
}

#[test]
fn a_directory_without_its_placeholder_gets_one_and_a_placeholder_without_its_directory_goes() {
    let bench = Bench::new();
    let (top, dir) = (bench.bucket_root(), bench.ino("dir"));
    bench.damage(|tx| tx.delete(key::entry(top, b"dir")));
    bench.mended("entry 'dir' of", "set the mark");
    bench.damage(|tx| tx.put(key::entry(top, b"nothing"), Dirent::placeholder(dir).encode()));
    bench.mended("entry 'nothing' of", "set the mark");
    bench.damage(|tx| tx.put(key::entry(top, b"dir"), Dirent::placeholder(Ino(900)).encode()));
    bench.mended("entry 'dir' of", "set the mark");
    bench.all_is_readable();
}

#[test]
fn an_inode_that_does_not_say_that_it_has_attributes_says_so_again() {
    let bench = Bench::new();
    let a = bench.ino("a");
    let mode = strata_namespace::XattrMode::Any;
    bench.ns().set_xattr(&root(), a, b"user.note", b"remember", mode).expect("set");
    bench.damage_inode(a, |inode| inode.beside.attributes = false);
    bench.mended(&format!("inode {a} does not say that there are records"), "have it say so");
    assert_eq!(bench.ns().get_xattr(&root(), a, b"user.note").expect("read"), b"remember");
}

#[test]
fn a_name_of_an_inode_that_is_gone_is_removed() {
    let bench = Bench::new();
    let dir = bench.ino("dir");
    bench.damage(|tx| tx.put(key::name(Ino(900), dir, b"third"), Vec::new()));
    bench.mended("inode 900", "remove it");
    assert_eq!(bench.lost(), Vec::<String>::new());
}

#[test]
fn a_directory_with_two_names_keeps_the_one_it_knows() {
    let bench = Bench::new();
    let (sub, dir) = (bench.ino("dir/sub"), bench.ino("dir"));
    bench.damage(|tx| {
        tx.put(key::entry(sub, b"again/"), Dirent { ino: dir, kind: NodeKind::Directory, shadowed: false }.encode());
    });
    bench.mended(&format!("directory {dir} has 2 names"), "keep the name");
    bench.all_is_readable();
}

#[test]
fn a_ring_of_directories_is_cut_and_hung_below_lost_and_found() {
    let bench = Bench::new();
    let (top, dir, sub) = (bench.bucket_root(), bench.ino("dir"), bench.ino("dir/sub"));
    bench.damage(|tx| {
        tx.delete(key::entry(top, b"dir/"));
        tx.put(key::entry(sub, b"dir/"), Dirent { ino: dir, kind: NodeKind::Directory, shadowed: false }.encode());
    });
    bench.damage_inode(dir, |inode| inode.parent = sub);
    bench.mended(&format!("directory {dir} is not reached"), "lost+found");
    let lost = bench.lost();
    let found = lost.iter().any(|name| {
        let top = bench.in_lost(name);
        let below = |path: &str| {
            path.split('/').try_fold(top, |dir, name| Some(bench.ns().lookup(&root(), dir, name.as_bytes()).ok()?.ino))
        };
        ["b", "dir/b"].into_iter().filter_map(below).any(|ino| bench.read(ino) == noise(2))
    });
    assert!(found, "{lost:?}");
}

#[test]
fn bucket_records_and_the_roots_entries_are_made_to_agree() {
    type Damage = fn(&mut Tx<'_>, Ino);
    let cases: [(&str, Damage); 4] = [
        ("is no bucket", |tx, root| tx.delete(key::bucket(root))),
        ("the root's entry disagree", |tx, _| tx.delete(key::entry(ROOT_INO, b"bkt/"))),
        ("the root's entry disagree", |tx, root| tx.put(key::bucket(root), b"rubbish".to_vec())),
        ("the root's entry disagree", |tx, root| {
            let bucket = Bucket {
                root,
                name: b"another".to_vec(),
                created: strata_seam::Timestamp(0),
                uid: 0,
                relaxed: false,
                versioned: false,
                mode: 0o600,
                locks: LockCount::default(),
            };
            tx.put(key::bucket(root), bucket.encode());
        }),
    ];
    for (wrong, damage) in cases {
        let bench = Bench::new();
        let top = bench.bucket_root();
        bench.damage(|tx| damage(tx, top));
        bench.mended(wrong, "");
        assert_eq!(bench.bucket_root(), top);
        bench.all_is_readable();
    }
}

#[test]
fn the_bucket_of_the_files_at_the_top_is_mended_with_its_record_and_its_root() {
    type Damage = fn(&mut Tx<'_>);
    let cases: [Damage; 4] = [
        |tx| tx.delete(key::bucket(ROOT_INO)),
        |tx| tx.put(key::bucket(ROOT_INO), b"rubbish".to_vec()),
        |tx| {
            let mut bucket = tx.bucket_at(ROOT_INO).expect("read").expect("it");
            bucket.name = b"named".to_vec();
            tx.put(key::bucket(ROOT_INO), bucket.encode());
        },
        |tx| {
            let mut top = tx.dir(ROOT_INO).expect("it");
            top.bucket = Ino(0);
            tx.put(key::inode(ROOT_INO), top.encode());
        },
    ];
    for damage in cases {
        let bench = Bench::new();
        let node = strata_namespace::NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 };
        let file = bench.ns().mknod(&root(), ROOT_INO, b"loose", node).expect("made").ino;
        bench.damage(damage);
        bench.mended("the root's entry disagree", "make record and entry agree");
        assert_eq!(bench.ns().head_object(&root(), "top", b"loose").expect("it").attr.ino, file);
        bench.all_is_readable();
        assert!(bench.lost().is_empty());
    }
}

#[test]
fn what_is_lost_goes_to_no_folder_that_somebody_else_can_look_into() {
    let bench = Bench::new();
    let nosy = Op::new(Caller { superuser: true, ..Caller::new(4711, 4711, [].into(), &MOUNT) });
    let taken = bench.ns().mkdir(&nosy, ROOT_INO, LOST_AND_FOUND.as_bytes(), 0o777).expect("made").ino;
    bench.damage(|tx| tx.delete(key::entry(bench.ino("dir"), b"b")));
    let repaired = bench.mended("has no name", "give it the name");
    assert!(repaired.done.iter().any(|done| done.contains("lost+found~1/")), "{repaired:#?}");
    assert!(bench.ns().readdir(&root(), taken, &[], 10).expect("listed").entries.is_empty());
    let kept = bench.ns().bucket_called(&root(), b"lost+found~1").expect("it");
    assert_eq!(bench.ns().getattr(&root(), kept.root).expect("it").mode & 0o777, 0o700);
}

#[test]
fn an_inode_that_says_it_is_in_another_bucket_is_given_to_its_directorys_with_everything_below_it() {
    let bench = Bench::new();
    bench.ns().create_bucket(&root(), "other", None).expect("a bucket");
    let (dir, other) = (bench.ino("dir"), bench.ns().bucket(&root(), "other").expect("it").root);
    bench.damage_inode(dir, |inode| inode.bucket = other);
    bench.mended(&format!("inode {dir}, which is of another bucket"), "to the bucket of its directory");
    bench.all_is_readable();

    // A file with names in both buckets becomes two.
    let (a, top) = (bench.ino("a"), bench.bucket_root());
    bench.damage(|tx| {
        let mut inode = tx.inode(a).expect("it");
        inode.attr.nlink = 2;
        tx.put(key::inode(a), inode.encode());
        tx.put(key::entry(other, b"a"), Dirent { ino: a, kind: NodeKind::File, shadowed: false }.encode());
    });
    bench.mended(&format!("'a' of directory {other} is inode {a}"), "a copy by reference");
    let copy = bench.at(other, "a");
    assert!(copy != a && bench.at(top, "a") == a);
    assert_eq!((bench.read(copy), bench.inode(a).attr.nlink), (noise(1), 1));
}

#[test]
fn counters_of_usage_are_set_to_what_there_is() {
    let bench = Bench::new();
    let of = strata_namespace::UsageOf::Bucket(bench.bucket_root());
    let before = bench.ns().usage(of).expect("read");
    bench.damage(|tx| {
        tx.tally(&of.key(true), -77);
        tx.tally(&of.key(false), 3);
        tx.tally(&strata_namespace::UsageOf::Owner(99).key(false), 1);
    });
    bench.mended("inodes of the owner 99 are counted as 1, 0 exist", "set the counter to 0");
    assert_eq!(bench.ns().usage(of).expect("read"), before);
}

#[test]
fn a_part_whose_upload_is_gone_becomes_a_file() {
    let bench = Bench::new();
    let content = bench.content(&noise(3));
    bench
        .ns()
        .store()
        .transact(false, |tx| {
            let items = tx.attach(&content)?;
            let part = Part {
                size: 400_000,
                tag: "e".into(),
                modified: strata_seam::Timestamp(0),
                checksums: Default::default(),
                items,
            };
            tx.put(key::under(key::TABLE_PART, Ino(77), &5_u32.to_be_bytes()), part.encode());
            Ok::<_, strata_namespace::Error>(())
        })
        .expect("damaged");
    bench.mended("part 5 belongs to upload 77", "upload-77-part-5");
    assert!(bench.read(bench.in_lost("upload-77-part-5")) == noise(3));
}

#[test]
fn attributes_of_an_inode_that_is_gone_get_a_file_to_hang_on() {
    let bench = Bench::new();
    bench.damage(|tx| tx.put(key::under(key::TABLE_XATTR, Ino(55), b"user.note"), b"remember".to_vec()));
    bench.mended("belongs to inode 55", "lost+found/55");
    let ino = bench.in_lost("55");
    assert_eq!(ino, Ino(55));
    assert_eq!(bench.ns().get_xattr(&root(), ino, b"user.note").expect("kept"), b"remember");
}

#[test]
fn an_entry_that_does_not_decode_is_kept_as_bytes_and_what_it_led_to_is_found() {
    let bench = Bench::new();
    let (top, a) = (bench.bucket_root(), bench.ino("a"));
    bench.damage(|tx| tx.put(key::entry(top, b"a"), b"\xff\xffrubbish".to_vec()));
    bench.mended("does not decode", "keep its bytes");
    assert!(bench.read(bench.in_lost(&a.to_string())) == noise(1));
    let kept = bench.lost().into_iter().find(|name| name.starts_with("entry-")).expect("the bytes");
    assert!(bench.read(bench.in_lost(&kept)).ends_with(b"rubbish"));
}

#[test]
fn an_inode_that_does_not_decode_stays_and_nothing_it_may_refer_to_is_let_go() {
    let bench = Bench::new();
    let a = bench.ino("a");
    let sound = bench.inode(a);
    bench.damage(|tx| tx.put(key::inode(a), b"\xff".to_vec()));
    let (repaired, plan) = bench.repaired();
    assert!(plan.iter().any(|step| step.wrong.contains("does not decode") && !step.changes), "{plan:#?}");
    assert!(plan.iter().any(|step| step.wrong.contains("REF") && !step.changes), "{plan:#?}");
    assert!(repaired.left.violations.iter().all(|left| !left.contains("has no cell")));
    // The record comes back, as from an older copy: everything is there.
    bench.damage(|tx| tx.put(key::inode(a), sound.encode()));
    let bytes = bench.ns().store().chunk(&first_chunk(&sound)).expect("still there");
    assert!(noise(1).starts_with(&bytes));
    assert!(bench.ns().store().references(&first_chunk(&sound)).expect("counted") > 0);
}

#[test]
fn of_a_file_with_a_lost_chunk_the_rest_is_kept_and_the_original_stays() {
    let bench = Bench::new();
    let a = bench.ino("a");
    let before = bench.inode(a);
    let gone = ChunkId([0x5a; 32]);
    // The second extent leads to a chunk that the store has not got.
    let mut damaged = before.clone();
    let at = damaged.items[0].len;
    let lost = damaged.items[1].len;
    let Source::Chunk { id, .. } = damaged.items[1].source else { panic!("a chunk") };
    damaged.items[1] = Item::chunk(gone, u32::try_from(lost).expect("short"));
    bench.damage(|tx| {
        tx.put(key::inode(a), damaged.encode());
        tx.correct_count(id, -1);
        tx.correct_count(gone, 1);
    });
    let (repaired, plan) = bench.repaired();
    let copy = format!("{a}-a.readable");
    assert!(plan.iter().any(|step| step.action.contains(&copy) && step.wrong.contains("bkt/a")), "{plan:#?}");
    assert!(
        repaired.done.iter().any(|done| done.contains(&format!("lost bytes: {at}-{}", at + lost))),
        "{repaired:#?}"
    );
    // Only what cannot be mended is still reported.
    assert_eq!(repaired.left.violations, [format!("HASH: chunk {gone} is referred to and its bytes are nowhere")]);
    assert_eq!(bench.inode(a).items, damaged.items);
    let mut expected = noise(1);
    let (from, to) = (usize::try_from(at).expect("short"), usize::try_from(at + lost).expect("short"));
    expected[from..to].fill(0);
    assert!(bench.read(bench.in_lost(&copy)) == expected);
    assert!(bench.read(bench.ino("dir/b")) == noise(2));
    // A second repair adds nothing.
    let (again, _) = bench.repaired();
    assert_eq!(again.done, Vec::<String>::new());
}

#[test]
fn a_sound_store_needs_no_repair_and_is_not_touched_by_one() {
    let bench = Bench::new();
    let before = bench.ns().store().last_commit();
    let (repaired, plan) = bench.repaired();
    assert!(plan.is_empty() && repaired.done.is_empty() && repaired.failed.is_empty());
    assert_eq!(bench.ns().store().last_commit(), before);
}

//! Counters of locks and of what follows folders into the trash. While one is wrong, permitted operations are refused.

use strata_namespace::{Access, ErrorKind, NewLock, RenameMode, UsageOf};

use super::*;
use crate::check::CheckOptions;

const RW: Access = Access { read: true, write: true, exec: false };

impl Bench {
    fn ann(&self, token: &str) -> Op {
        let ann = root();
        ann.submit("ann", vec![token.to_owned()]);
        ann
    }

    fn lock(&self, path: &str, token: &str) -> Ino {
        let wanted = NewLock {
            token: token.to_owned(),
            path: format!("/bkt/{path}").into_bytes(),
            deep: true,
            shared: false,
            owner_xml: Vec::new(),
            seconds: None,
        };
        let at = (self.bucket_root(), path.as_bytes());
        self.ns().lock(&self.ann(token), Some(at), &wanted).expect("locked").0.ino.expect("of an inode")
    }

    fn counted(&self) -> u64 {
        self.bucket_record().locks.count
    }

    fn bucket_record(&self) -> Bucket {
        let root = self.bucket_root();
        let record = self.ns().store().get(&key::bucket(root)).expect("read").expect("a record");
        Bucket::decode(root, &record.value).expect("decodes")
    }

    fn count_locks(&self, count: LockCount) {
        let record = Bucket { locks: count, ..self.bucket_record() };
        self.damage(|tx| tx.put(key::bucket(record.root), record.encode()));
    }

    /// A folder in the bucket whose content takes more steps to follow it than its rename does.
    fn deep(&self) -> Ino {
        self.put("deep/1/2/3/4/5/6/7/f", 3);
        self.ns().mkdir(&root(), ROOT_INO, b".Trash-0", 0o700).expect("a trash").ino
    }

    fn throw(&self, from: (Ino, &[u8]), trash: Ino) {
        self.ns().rename_or_trash(&root(), from, (trash, from.1), RenameMode::Replace).expect("thrown away");
    }

    fn small(&self, key: &str) {
        let (content, meta, condition) = (self.content(b"small"), ObjectMeta::default(), Condition::default());
        self.ns().put_object(&root(), "bkt", key.as_bytes(), content, None, meta, &condition).expect("put");
    }

    fn beside_writers(&self) -> Vec<String> {
        let options = CheckOptions { live: true, ..CheckOptions::default() };
        check(self.ns(), &options, &mut |_| true).expect("checked").violations
    }

    fn used(&self, bucket: Ino) -> u64 {
        self.ns().usage(UsageOf::Bucket(bucket)).expect("read").inodes
    }
}

#[test]
fn a_wrong_count_of_locks_is_set_to_what_there_is() {
    let bench = Bench::new();
    let a = bench.lock("a", "urn:uuid:1");
    for count in [LockCount { count: 7, last: 9 }, LockCount::default()] {
        bench.count_locks(count);
        let wrong = format!("bucket {} counts {} WebDAV locks, 1 exist", bench.bucket_root(), count.count);
        assert_eq!(bench.beside_writers(), [format!("TREE: {wrong}")]);
        bench.mended(&wrong, "set the counter to 1");
        assert_eq!(bench.counted(), 1);
    }
    assert!(bench.bucket_record().locks.last > 9, "a number that was never used");
    bench.ns().unlock(&bench.ann("urn:uuid:1"), a, "urn:uuid:1").expect("unlocked");
    assert_eq!(bench.counted(), 0);
    bench.count_locks(LockCount { count: 2, last: 9 });
    bench.mended("counts 2 WebDAV locks, 0 exist", "set the counter to 0");
    assert_eq!(bench.bucket_record().locks, LockCount::default());
    bench.lock("a", "urn:uuid:2");
    bench.all_is_readable();
}

#[test]
fn a_bucket_is_removed_again_once_nothing_is_said_to_follow_that_does_not() {
    let bench = Bench::new();
    bench.ns().create_bucket(&root(), "goes", None).expect("a bucket");
    let goes = bench.ns().bucket(&root(), "goes").expect("it").root;
    let open = bench.ns().create(&root(), goes, b"open", 0o600, RW, true, false).expect("made").attr.ino;
    bench.ns().unlink(&root(), goes, b"open").expect("unlinked");
    bench.damage(|tx| tx.tally(key::KEY_FOLLOWING, 2));
    let refused = bench.ns().rmdir(&root(), ROOT_INO, b"goes").expect_err("something is said to follow");
    assert_eq!(refused.kind, ErrorKind::Busy);
    assert_eq!(bench.beside_writers().len(), 1);
    bench.mended("2 directories are counted whose content has still to follow", "set the counter to 0");
    bench.ns().rmdir(&root(), ROOT_INO, b"goes").expect("removed");
    bench.lock("a", "urn:uuid:1");
    bench.ns().close(&root(), open, false).expect("closed");
    bench.all_is_readable();
}

#[test]
fn what_has_to_follow_and_is_not_counted_follows_again() {
    let bench = Bench::new();
    let (trash, bkt) = (bench.deep(), bench.bucket_root());
    let all = bench.used(bkt);
    bench.throw((bkt, b"deep"), trash);
    let rows = bench.ns().store().range(&[key::TABLE_FOLLOWING], &[key::TABLE_FOLLOWING + 1], 9).expect("read").len();
    assert!(rows > 0 && bench.beside_writers().is_empty(), "it is on its way, and nothing is wrong");
    bench.damage(|tx| tx.tally(key::KEY_FOLLOWING, -(rows as i64)));
    assert_eq!(bench.ns().follow_step().expect("nothing to do"), 0);
    bench.mended("0 directories are counted whose content has still to follow", "set the counter to 1");
    bench.ns().follow_all().expect("followed");
    assert_eq!((bench.used(bkt), bench.used(trash)), (all - 9, 10));
    assert_eq!(check_store(bench.ns(), true, &mut |_| {}).expect("checked").violations, Vec::<String>::new());
    bench.all_is_readable();
}

#[test]
fn the_mark_of_a_bucket_that_goes_is_removed_where_there_is_none_or_leads_to_a_record_again() {
    let bench = Bench::new();
    bench.damage(|tx| tx.put(key::leaving(Ino(900)), Vec::new()));
    assert_eq!(bench.beside_writers().len(), 1);
    bench.mended("directory 900 is marked as a bucket that went into the trash", "remove the mark");
    let (trash, bkt) = (bench.deep(), bench.bucket_root());
    let all = bench.used(bkt);
    bench.throw((ROOT_INO, b"bkt"), trash);
    assert!(bench.used(bkt) > 0, "something is on its way");
    bench.damage(|tx| tx.delete(key::bucket(bkt)));
    bench.mended(&format!("directory {bkt} is marked as a bucket that went into the trash"), "make it a record");
    bench.ns().follow_all().expect("followed");
    bench.ns().follow_step().expect("nothing left");
    assert_eq!((bench.used(bkt), bench.used(trash)), (0, all + 1));
    assert!(bench.ns().store().get(&key::bucket(bkt)).expect("read").is_none());
    assert_eq!(check_store(bench.ns(), true, &mut |_| {}).expect("checked").violations, Vec::<String>::new());
    assert!(bench.read(bench.at(trash, "bkt/deep/1/2/3/4/5/6/7/f")) == noise(3));
}

#[test]
fn beside_locks_that_come_and_go_and_folders_on_their_way_no_counter_is_said_to_be_wrong() {
    let bench = Bench::new();
    let (trash, bkt) = (bench.deep(), bench.bucket_root());
    let (mut turn, mut steps) = (0, 0);
    let options = CheckOptions { live: true, contents: false, at_once: 3 };
    for _ in 0..4 {
        // One operation runs between any two steps of the check.
        let report = check(bench.ns(), &options, &mut |_| {
            let token = format!("urn:uuid:{}", turn / 6);
            match turn % 6 {
                0 => _ = bench.lock("a", &token),
                1 => bench.small(&format!("many/{turn}/x/y/z/w/v/f")),
                2 => bench.throw((bkt, b"many"), trash),
                3 => steps += bench.ns().follow_step().expect("followed"),
                4 => bench.ns().unlock(&bench.ann(&token), bench.ino("a"), &token).expect("unlocked"),
                _ => bench.ns().remove_tree(&root(), trash, b"many").expect("removed"),
            }
            turn += 1;
            true
        });
        assert_eq!(report.expect("checked").violations, Vec::<String>::new());
    }
    assert!(turn > 30 && steps > 5, "{turn} things were done, {steps} entries followed");
    assert_eq!(check_store(bench.ns(), true, &mut |_| {}).expect("checked").violations, Vec::<String>::new());
}

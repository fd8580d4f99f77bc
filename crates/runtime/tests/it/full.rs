//! A full store: whatever it was filled and emptied by, removals go on, the mover ends what it begins, and room that was
//! freed can be written again.

use std::collections::BTreeMap;
use std::time::Duration;

use strata_content::{Choice, MoverReport, Unpaced};
use strata_ledger::{Geometry, LedgerError, Options};
use strata_namespace::{
    Access, Condition, ContentSettings, ErrorKind, Namespace, NewNode, NodeKind, ObjectMeta, Phase, SetAttr, XattrMode,
};
use strata_runtime::{OpenStore, SpaceWatch, StoreConfig};
use strata_seam::Disk;
use strata_seam::sim::{SimEntropy, SimRng, SimWorld};

use crate::support::*;

const SEGMENT: u64 = 1 << 20;
/// Bytes of an object.
const OBJECT: usize = 60_000;

/// A store on small disks, and what is in it: the seed of each object.
struct Full {
    world: SimWorld,
    store: Option<OpenStore>,
    objects: BTreeMap<String, u64>,
    watch: SpaceWatch,
    next: u64,
    disks: usize,
    /// Whether content is cut so finely that the index becomes large.
    fine: bool,
    /// Bytes of each disk.
    capacity: u64,
    /// Where the index is, unless it is in memory and gone with every server.
    index: Option<tempfile::TempDir>,
}

impl Full {
    /// Over disks with room for so many segments, and a bit.
    fn new(data: u8, parity: u8, segments: u64) -> Self {
        Self::cut(data, parity, segments, false)
    }

    fn cut(data: u8, parity: u8, segments: u64, fine: bool) -> Self {
        Self::made(data, parity, segments, fine, None)
    }

    fn made(data: u8, parity: u8, segments: u64, fine: bool, index: Option<tempfile::TempDir>) -> Self {
        let world = SimWorld::new(1);
        let disks = usize::from(data + parity);
        let mut full = Self {
            world,
            store: None,
            objects: BTreeMap::new(),
            watch: SpaceWatch::default(),
            next: 0,
            disks,
            fine,
            capacity: 0,
            index,
        };
        full.open(Some((data, parity)));
        full.ns().create_bucket(&root(), "bkt", None).expect("a bucket");
        full.capacity = segments * SEGMENT + 8192 + 12_345 * segments;
        full.give(full.capacity);
        full
    }

    /// Each disk has so many bytes.
    fn give(&self, capacity: u64) {
        (0..self.disks).for_each(|disk| self.world.set_capacity(&format!("disk{disk}"), capacity));
    }

    /// Something else than this store takes what is free, and the store has seen it.
    fn take_all(&self) {
        self.give(0);
        assert_eq!(self.ns().store().ledger().room().spare, 0);
    }

    fn open(&mut self, layout: Option<(u8, u8)>) {
        self.store = None;
        self.world.kill_process();
        let disk = |number: usize| -> std::sync::Arc<dyn Disk> { self.world.disk(&format!("disk{number}")) };
        let sample = config(&self.world, 2, 1);
        let chunks = match self.fine {
            true => strata_chunk::ChunkParams::new(128, 512, 2048).expect("sizes within their limits"),
            false => sample.content.chunks,
        };
        let config = StoreConfig {
            disks: (0..self.disks).map(disk).collect(),
            create: layout.map(|(data_shards, parity_shards)| Geometry { data_shards, parity_shards }),
            ledger: Options { segment_len: SEGMENT, shard_payload_max: 256 << 10, ..Options::default() },
            content: ContentSettings { mover_rate: 0, chunks, ..sample.content },
            index_dir: self.index.as_ref().map(|folder| folder.path().join("index")),
            ..sample
        };
        let entropy = SimEntropy::new(self.world.io_count() + 1);
        self.store = Some(OpenStore::open(config, self.world.clock(), &entropy).expect("the store opens"));
    }

    fn runtime(&self) -> &strata_runtime::Runtime {
        self.store.as_ref().expect("open").runtime()
    }

    fn ns(&self) -> &std::sync::Arc<Namespace> {
        self.store.as_ref().expect("open").namespace()
    }

    /// One object, or that there is no room. Anything else is wrong.
    fn put(&mut self) -> bool {
        self.next += 1;
        let (key, seed) = (format!("k{}", self.next), self.next);
        let stored = (|| {
            let op = root();
            let mut ingest = self.ns().ingest(&op, "bkt")?;
            ingest.push(&noise(seed, OBJECT))?;
            let content = ingest.finish()?;
            let (meta, always) = (ObjectMeta::default(), Condition::default());
            self.ns().put_object(&op, "bkt", key.as_bytes(), content, None, meta, &always)?;
            self.ns().settle_blocking(&op)
        })();
        match stored {
            Ok(()) => {
                self.objects.insert(key, seed);
                true
            }
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::NoSpace, "{error:?}");
                false
            }
        }
    }

    /// How many objects went in until there was no room.
    fn fill(&mut self) -> u64 {
        let mut count = 0;
        while self.put() {
            count += 1;
        }
        count
    }

    /// Deletes, one durable answer after the other, while the mover looks now and then; none may be refused.
    fn delete(&mut self, goes: impl Fn(u64) -> bool) -> u64 {
        let gone: Vec<_> = self.objects.iter().filter(|(_, seed)| goes(**seed)).map(|(key, _)| key.clone()).collect();
        for (number, key) in gone.iter().enumerate() {
            if number % 40 == 39 {
                self.look();
            }
            let op = root();
            let deleted = self.ns().delete_object(&op, "bkt", key.as_bytes(), &Condition::default());
            deleted.and_then(|_| self.ns().settle_blocking(&op)).expect("a full store takes removals");
            self.objects.remove(key);
        }
        gone.len() as u64
    }

    /// A second later, the mover looks.
    fn look(&mut self) {
        self.world.clock().advance(1_000_000_000);
        let mut watch = std::mem::take(&mut self.watch);
        self.runtime().give_back_if_due(&mut watch).expect("the mover ends what it begins");
        self.watch = watch;
        // Changes wait for a mover that is at work.
        assert_eq!(self.ns().store().mover_status().phase, Phase::Idle);
    }

    fn reclaim(&self) {
        self.runtime().reclaim(Duration::ZERO, &mut |_| true).expect("the mover ends what it begins");
    }

    fn check(&self) {
        for (key, seed) in &self.objects {
            assert!(get(self.ns(), key).expect("there") == noise(*seed, OBJECT), "{key}");
        }
        sound(self.ns());
    }
}

#[test]
fn a_full_store_can_be_emptied_and_filled_again_and_again() {
    for (data, parity, segments) in [(2, 1, 12), (2, 1, 19), (4, 2, 14), (1, 1, 16)] {
        let mut full = Full::new(data, parity, segments);
        let mut rng = SimRng::new(u64::from(data) + segments);
        for cycle in 0..8 {
            let what = format!("{data}+{parity}, {segments} segments, cycle {cycle}");
            full.fill();
            let median = full.objects.values().sum::<u64>() / full.objects.len().max(1) as u64;
            let salt = rng.next_u64() | 1;
            let gone = full.delete(|seed| match cycle % 4 {
                0 => seed % 2 == 0,
                1 => seed <= median,
                2 => seed.wrapping_mul(salt) >> 33 & 1 == 0,
                _ => seed % 8 != 1,
            });
            assert!(gone > 10, "{what}: {gone}");
            full.reclaim();
            if cycle % 3 == 1 {
                full.open(None);
            }
            let again = (0..gone).take_while(|_| full.put()).count() as u64;
            assert!(again * 10 >= gone * 6, "{what}: {again} of {gone} could be written again");
        }
        full.check();
    }
}

#[test]
fn a_store_whose_checkpoints_are_longer_than_a_segment_can_be_emptied() {
    for segments in [24, 40] {
        let mut full = Full::cut(2, 1, segments, true);
        full.fill();
        let store = full.ns().store();
        assert!(store.checkpoint_room() > store.ledger().segment_capacity(), "{}", store.checkpoint_room());
        for _ in 0..3 {
            let gone = full.delete(|seed| seed % 2 == 0);
            full.reclaim();
            let again = full.fill();
            assert!(again * 3 >= gone, "{segments} segments: {gone} objects deleted, then {again} fitted");
        }
        full.check();
    }
}

#[test]
fn a_reclaim_of_several_rounds_also_frees_the_segments_of_its_own_checkpoints() {
    let mut full = Full::cut(2, 1, 31, true);
    full.fill();
    full.delete(|seed| seed % 2 == 0);
    let report = full.runtime().reclaim(Duration::ZERO, &mut |_| true).expect("the mover ends what it begins");
    assert!(report.checkpoints > 3, "{report:?}");
    let store = full.ns().store();
    let census = store.census(&mut Unpaced, &MoverReport::default()).expect("counted").expect("not called off");
    let dead = census.segments.iter().filter(|segment| segment.live == 0).map(|segment| segment.capacity).sum::<u64>();
    // Segments that the last checkpoint has made worthless, and the ends of two segments that it lay in.
    let most = store.checkpoint_room() + 2 * store.ledger().segment_capacity();
    assert!(dead <= most, "{dead} of nothing, a checkpoint takes {}: {report:?}", store.checkpoint_room());
    full.check();
}

#[test]
fn a_full_store_that_is_opened_again_takes_removals_although_it_never_took_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut full = Full::made(1, 0, 24, false, Some(folder));
    full.fill();
    for _ in 0..3 {
        full.store.take().expect("open").close().expect("closed");
        full.open(None);
        assert!(full.ns().store().checkpoint().is_none(), "or nothing had to be guessed");
        full.fill();
        full.delete(|seed| seed % 100 == 0);
    }
    full.delete(|_| true);
    (0..4).for_each(|_| full.look());
    assert!(full.fill() > 300, "{} came back", full.objects.len());
}

#[test]
fn what_was_removed_of_the_segment_being_written_comes_back_too() {
    for (segments, on_demand) in [(12, false), (13, true), (15, false), (17, true)] {
        let mut full = Full::new(2, 1, segments);
        full.fill();
        // The newest objects, which lie in that segment: about two thirds of it.
        let from = full.next - 24;
        let gone = full.delete(|seed| seed > from);
        assert!(gone >= 20, "{gone}");
        if on_demand {
            full.reclaim();
        } else {
            (0..4).for_each(|_| full.look());
        }
        let again = full.fill();
        assert!(again * 2 > gone, "{segments} segments: {gone} objects were removed, then {again} fitted");
        full.check();
    }
}

#[test]
fn what_was_removed_of_an_almost_full_store_comes_back_before_a_write_is_refused() {
    let mut full = Full::new(2, 1, 14);
    let spare = |full: &Full| full.ns().store().ledger().room().spare;
    let segment = full.ns().store().ledger().segment_capacity();
    while spare(&full) >= segment / 8 {
        assert!(full.put());
    }
    let (before, newest) = (spare(&full), full.next);
    assert!(!full.ns().store().ledger().is_full());
    let removed = full.delete(|seed| seed + 16 >= newest) * OBJECT as u64;
    for _ in 0..5 {
        full.look();
    }
    let back = spare(&full).saturating_sub(before);
    assert!(back > removed / 2, "{back} of {removed} bytes");
    full.check();
}

#[test]
fn a_round_that_begins_in_a_store_not_quite_full_ends() {
    for left in 0..12 {
        let mut full = Full::new(2, 1, 14);
        let all = full.fill();
        full.delete(|_| true);
        full.reclaim();
        full.reclaim();
        for _ in 0..all - left * 4 {
            full.put();
        }
        full.delete(|seed| seed % 2 == 0);
        let ns = full.ns();
        let reclaimed =
            ns.store().reclaim(Choice::All, &mut strata_content::Unpaced).expect("the mover ends what it begins");
        assert!(reclaimed.segments_freed > 0, "{left}: {reclaimed:?}");
        assert!(full.put(), "{left}");
        full.check();
    }
}

#[test]
fn removals_without_end_leave_the_mover_its_room() {
    let mut full = Full::new(2, 1, 14);
    full.fill();
    let ino = full.ns().resolve(&root(), b"/bkt").expect("there").ino;
    let touch = |full: &Full, n: u32| {
        let op = root();
        let set = SetAttr { mode: Some(0o700 + n % 8), ..SetAttr::default() };
        full.ns().setattr(&op, ino, &set).and_then(|_| full.ns().settle_blocking(&op))
    };
    for round in 0..3 {
        let mut passed = 0;
        while passed < 5000 {
            match touch(&full, passed) {
                Ok(()) => passed += 1,
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::NoSpace);
                    break;
                }
            }
        }
        assert!((50..5000).contains(&passed), "{passed} changes passed in round {round}");
        // All that is left is room for a checkpoint, and that is enough.
        full.reclaim();
        touch(&full, 0).expect("there is room again");
    }
    full.delete(|seed| seed % 2 == 0);
    full.reclaim();
    assert!(full.put());
    full.check();
}

#[test]
fn what_makes_a_full_store_larger_is_refused_and_what_does_not_passes() {
    let mut full = Full::new(2, 1, 12);
    full.put();
    let ns = std::sync::Arc::clone(full.ns());
    let op = root();
    let dir = ns.resolve(&op, b"/bkt").expect("there").ino;
    let made = |name: &[u8]| ns.mknod(&op, dir, name, NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 });
    let file = made(b"file").expect("made").ino;
    let written = made(b"written").expect("made").ino;
    made(b"old").expect("made");
    ns.write(&op, written, 0, &noise(3, 100_000)).expect("in memory");
    full.fill();
    assert!(ns.store().ledger().is_full());
    let refused = |done: strata_namespace::Result<()>| assert_eq!(done.expect_err("refused").kind, ErrorKind::NoSpace);
    refused(made(b"more").map(drop));
    refused(ns.set_xattr(&op, file, b"user.long", &[7; 4000], XattrMode::Any));
    refused(ns.fallocate(&op, file, 0, 5 << 30, false, true));
    refused(ns.fallocate(&op, file, 0, 999 << 40, false, false));
    ns.rename(&op, (dir, b"file"), (dir, b"a-longer-name"), strata_namespace::RenameMode::Replace)
        .expect("no more records");
    refused(ns.write(&op, file, 0, &noise(4, 100_000)).map(drop));
    refused(ns.append(&op, file, &noise(4, 100_000)).map(drop));
    assert_eq!(ns.getattr(&op, file).expect("there").size, 0, "a refused write writes nothing");
    ns.rename(&op, (dir, b"written"), (dir, b"old"), strata_namespace::RenameMode::Replace)
        .expect("what was written before has its room");
    assert!(read_file(&ns, written) == noise(3, 100_000));
    ns.unlink(&op, dir, b"old").expect("removed");
    ns.setattr(&op, file, &SetAttr { mode: Some(0o600), ..SetAttr::default() }).expect("no more bytes");
    ns.unlink(&op, dir, b"a-longer-name").expect("removed");
}

#[test]
fn a_file_whose_bytes_find_no_room_can_be_cut_short() {
    let mut full = Full::new(2, 1, 12);
    let ns = std::sync::Arc::clone(full.ns());
    let op = root();
    let dir = ns.resolve(&op, b"/bkt").expect("there").ino;
    let file = ns.mknod(&op, dir, b"log", NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 }).expect("made").ino;
    let all = Access { read: true, write: true, exec: false };
    ns.open(&op, file, all, false).expect("opened");
    ns.write(&op, file, 0, &noise(1, 50_000)).expect("written");
    ns.fsync(&op, file).expect("synced");
    let more = noise(2, 5_000_000);
    ns.write(&op, file, 40_000, &more).expect("staged, and promised room");
    full.fill();
    // A process other than this store takes that room.
    full.take_all();
    assert_eq!(ns.fsync(&op, file).expect_err("no room").kind, ErrorKind::NoSpace);
    ns.setattr(&op, file, &SetAttr { size: Some(45_000), ..SetAttr::default() }).expect("cut");
    let mut wanted = noise(1, 50_000);
    wanted.truncate(40_000);
    wanted.extend_from_slice(&more[..5000]);
    assert!(read_file(&ns, file) == wanted);
    assert_eq!(ns.getattr(&op, file).expect("there").size, 45_000);
    ns.setattr(&op, file, &SetAttr { size: Some(0), ..SetAttr::default() }).expect("cut");
    assert_eq!(read_file(&ns, file), b"");
    ns.fsync(&op, file).expect("nothing is left to be stored");
    ns.close(&op, file, true).expect("closed");
    assert_eq!(ns.staged_bytes(), 0);
    // A store whose last writes find no room is closed in good order.
    full.give(full.capacity);
    ns.open(&op, file, all, false).expect("opened");
    ns.write(&op, file, 0, &noise(2, 10_000)).expect("staged");
    full.take_all();
    drop(ns);
    full.store.take().expect("open").close().expect("closed");
}

#[test]
fn what_is_told_to_be_free_can_be_written() {
    for segments in [10, 13, 20] {
        let mut full = Full::new(2, 1, segments);
        while full.put() {
            let free = full.ns().space(&root()).expect("told").free;
            if free < 3 * SEGMENT && free as usize > 2 * OBJECT {
                let count = free / (OBJECT as u64 + 12_000);
                for n in 0..count {
                    assert!(full.put(), "{free} bytes were free, and {n} objects fitted of {count}");
                }
            }
        }
        assert!(full.ns().space(&root()).expect("told").free < 4 * SEGMENT);
    }
}

#[test]
fn a_crash_at_any_io_of_a_reclaim_of_a_full_store_leaves_one_that_can_be_emptied() {
    let mut full = Full::new(2, 1, 12);
    full.fill();
    let odd: Vec<_> = full.objects.keys().filter(|key| !key.ends_with(['0', '2', '4', '6', '8'])).cloned().collect();
    for key in odd.iter().take(60) {
        full.ns().delete_object(&root(), "bkt", key.as_bytes(), &Condition::default()).expect("deleted");
        full.objects.remove(key);
    }
    full.ns().store().ledger().sync().expect("synced");
    full.store = None;
    full.world.kill_process();
    let start = full.world.snapshot();
    let mut at = 1;
    loop {
        full.world.restore(&start);
        full.open(None);
        full.world.crash_at(full.world.io_count() + at);
        drop(full.runtime().reclaim(Duration::ZERO, &mut |_| true));
        let crashed = full.world.is_crashed();
        full.store = None;
        full.world.restart(at);
        full.open(None);
        // However often it is cut off, it comes no nearer to the end of its room than one round.
        full.reclaim();
        assert!(full.put(), "crash at {at}");
        let last = format!("k{}", full.next);
        if at % 20 == 1 || !crashed {
            full.check();
        }
        full.objects.remove(&last);
        if !crashed {
            break;
        }
        at += 7;
    }
    assert!(at > 60, "{at} I/Os");
}

#[test]
fn what_is_written_over_again_and_again_takes_a_stated_share_of_the_disks() {
    let mut full = Full::new(2, 1, 200);
    let capacity = full.ns().store().ledger().segment_capacity();
    let live = 40;
    let mut most = 0;
    for _ in 0..live {
        full.put();
    }
    for round in 0..800 {
        let oldest = full.next + 1 - live;
        full.put();
        full.delete(|seed| seed == oldest);
        full.look();
        let segments = full.ns().store().ledger().segments().len() as u64;
        if round > 100 {
            most = most.max(segments * capacity);
        }
    }
    let live = live * OBJECT as u64;
    // Segments that are more than 60 % referenced stay; a tenth and a segment of garbage is not worth a round; one segment is being
    // written and one made ahead; and what comes between two looks.
    let bound = (live * 100 / 60) * 110 / 100 + 3 * capacity + 2 * OBJECT as u64;
    assert!(most <= bound, "{most} bytes of segments for {live} live, {bound} are allowed");
    full.check();
}

#[test]
fn two_full_sets_can_be_emptied() {
    let mut full = Full::new(2, 1, 10);
    let more: Vec<std::sync::Arc<dyn Disk>> = (3..7)
        .map(|number| -> std::sync::Arc<dyn Disk> {
            let name = format!("disk{number}");
            let disk = full.world.disk(&name);
            full.world.set_capacity(&name, 9 * SEGMENT);
            disk
        })
        .collect();
    let geometry = Geometry { data_shards: 2, parity_shards: 2 };
    full.ns().store().ledger().add_set(&more, geometry, &SimEntropy::new(9)).expect("added");
    full.disks = 7;
    for cycle in 0..4 {
        full.fill();
        let gone = full.delete(|seed| seed % 2 == cycle % 2);
        full.reclaim();
        full.open(None);
        let again = (0..gone).take_while(|_| full.put()).count() as u64;
        assert!(again * 2 >= gone, "cycle {cycle}: {again} of {gone} could be written again");
    }
    full.check();
}

/// The mover says so where nothing can be done, instead of beginning.
#[test]
fn a_store_without_even_the_room_that_is_kept_back_says_so_and_goes_on_with_more() {
    let mut full = Full::new(2, 1, 14);
    full.fill();
    full.delete(|seed| seed % 2 == 0);
    // Another process took the reserved room.
    let used =
        |full: &Full, disk: usize| full.world.files(&format!("disk{disk}")).iter().map(|file| file.len).sum::<u64>();
    let before: Vec<u64> = (0..3).map(|disk| used(&full, disk)).collect();
    for (disk, used) in before.iter().enumerate() {
        full.world.set_capacity(&format!("disk{disk}"), *used);
    }
    for _ in 0..20 {
        if let Err(error) = full.runtime().reclaim(Duration::ZERO, &mut |_| true) {
            assert_eq!(error.kind, ErrorKind::NoSpace, "{error:?}");
        }
    }
    assert!(
        !matches!(full.ns().store().ledger().sync(), Err(LedgerError::Full)),
        "nothing was begun that does not fit"
    );
    for (disk, used) in before.iter().enumerate() {
        full.world.set_capacity(&format!("disk{disk}"), used + 4 * SEGMENT);
    }
    full.reclaim();
    assert!(full.put());
    full.check();
}

//! Events: each says what happened, once and in order, whatever the process or the power does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strata_content::StoreSettings;
use strata_namespace::{
    Begin, Caller, Condition, ContentTag, Durability, ErrorKind, EventAt, EventGap, EventReader, EventSequence, Made,
    Namespace, NewNode, NodeKind, ObjectMeta, Op, ROOT_INO, RenameMode, SetAttr, What, XattrMode,
};
use strata_runtime::{OpenStore, Runtime};
use strata_seam::sim::{SimEntropy, SimRng, SimWorld};
use strata_seam::{Clock, Ino, Lsn};

use crate::support::*;

/// What a follower knows of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Node {
    ino: Ino,
    kind: NodeKind,
    size: u64,
}

/// The tree as it is known from events alone, by path from the root; directories end with `/`.
#[derive(Clone, Default)]
pub(crate) struct Replica {
    nodes: BTreeMap<String, Node>,
    /// Change number and version of each inode, as told last.
    told: BTreeMap<Ino, (u64, u64)>,
    last: Option<EventSequence>,
    /// What was taken away by the first half of an exchange.
    aside: Vec<(String, Node)>,
}

impl Replica {
    pub(crate) fn follow(&mut self, events: &[EventAt]) {
        events.iter().for_each(|told| self.apply(told));
    }

    fn apply(&mut self, EventAt { sequence, event }: &EventAt) {
        assert!(self.last.is_none_or(|last| last < *sequence), "{sequence:?} behind {:?}", self.last);
        self.last = Some(*sequence);
        let text = |key: &Option<Vec<u8>>| String::from_utf8(key.clone().expect("a name")).expect("UTF-8");
        let path = || format!("{}/{}", event.bucket, text(&event.key));
        let (change, version) = self.told.get(&event.ino).copied().unwrap_or_default();
        if event.kind != NodeKind::Directory && event.what != What::Repaired {
            let known = self.told.contains_key(&event.ino);
            assert!(!known || event.change > change, "{event:?} behind change {change}");
            let more = u64::from(matches!(event.what, What::Content { .. }));
            assert!(!known || event.version == version + more, "{event:?} behind version {version}");
        }
        self.told.insert(event.ino, (event.change, event.version));
        let node = Node { ino: known_by(event.kind, event.ino), kind: event.kind, size: event.size };
        match &event.what {
            What::Created | What::Content { new: true, .. } | What::Linked | What::BucketMade => {
                assert_eq!(self.nodes.insert(path(), node), None, "{event:?}: the name was taken");
                if let What::Content { dirs, .. } = event.what {
                    for dir in self.above(&path(), dirs) {
                        let made = Node { ino: Ino(0), kind: NodeKind::Directory, size: 0 };
                        assert_eq!(self.nodes.insert(dir, made), None, "{event:?}: a directory was there");
                    }
                }
            }
            What::Content { new: false, .. } => {
                for known in self.nodes.values_mut().filter(|known| known.ino == event.ino) {
                    known.size = event.size;
                }
            }
            What::Removed { last, dirs } => {
                assert_eq!(self.nodes.remove(&path()).map(|node| node.ino), Some(node.ino), "{event:?}");
                let left = self.nodes.values().any(|other| other.ino == node.ino);
                assert!(event.kind == NodeKind::Directory || *last != left, "{event:?}");
                for dir in self.above(&path(), *dirs) {
                    assert!(self.nodes.remove(&dir).is_some(), "{event:?}: {dir} was not there");
                }
            }
            What::BucketRemoved => {
                assert!(self.nodes.remove(&path()).is_some(), "{event:?}");
                let below = format!("{}/", event.bucket);
                assert!(!self.nodes.keys().any(|path| path.starts_with(&below)), "{event:?}: not empty");
            }
            What::Renamed { from, exchange } => {
                let old = format!("{}/{}", from.bucket.as_deref().unwrap_or(&event.bucket), text(&from.key));
                let mut moved = std::mem::take(&mut self.aside);
                if moved.is_empty() {
                    moved = self.take(&old, event.kind);
                }
                if *exchange {
                    let there = path();
                    let there = there.trim_end_matches('/');
                    let mut aside = self.take(there, NodeKind::File);
                    aside.extend(self.take(&format!("{there}/"), NodeKind::Directory));
                    self.aside = aside;
                }
                assert_eq!(moved.first().map(|(_, node)| node.ino), Some(node.ino), "{event:?}");
                for (was, node) in moved {
                    let now = was.replacen(&old, &path(), 1);
                    assert_eq!(self.nodes.insert(now, node), None, "{event:?}: the name was taken");
                }
            }
            What::Attributes | What::BucketChanged | What::Repaired => {}
        }
    }

    /// So many of the directories above a path, the nearest first.
    fn above(&self, path: &str, count: u32) -> Vec<String> {
        let mut dirs = Vec::new();
        let mut at = path.trim_end_matches('/');
        for _ in 0..count {
            at = at.rsplit_once('/').expect("a directory above").0;
            dirs.push(format!("{at}/"));
        }
        dirs
    }

    /// Takes what is at a path away, and of a directory all below.
    fn take(&mut self, path: &str, kind: NodeKind) -> Vec<(String, Node)> {
        let ours = |other: &str| other == path || (kind == NodeKind::Directory && other.starts_with(path));
        let taken: Vec<_> =
            self.nodes.iter().filter(|(other, _)| ours(other)).map(|(at, node)| (at.clone(), node.clone())).collect();
        for (path, _) in &taken {
            self.nodes.remove(path);
        }
        taken
    }

    /// Holds it against the tree.
    pub(crate) fn check(&self, ns: &Namespace) {
        assert!(self.aside.is_empty());
        let mut there = BTreeMap::new();
        walk(ns, ROOT_INO, "", &mut there);
        assert_eq!(self.nodes, there);
    }
}

/// Directories that a key makes have no event that would tell their number.
fn known_by(kind: NodeKind, ino: Ino) -> Ino {
    if kind == NodeKind::Directory { Ino(0) } else { ino }
}

fn walk(ns: &Namespace, dir: Ino, path: &str, there: &mut BTreeMap<String, Node>) {
    let page = ns.readdir(&root(), dir, &[], 1000).expect("read");
    assert!(page.end);
    for entry in page.entries {
        let name = String::from_utf8(entry.name).expect("UTF-8");
        // An object beside a directory of its name.
        let name = name.strip_prefix(".~strata~o~").unwrap_or(&name);
        let slash = if entry.attr.kind == NodeKind::Directory { "/" } else { "" };
        let path = format!("{path}{name}{slash}");
        // The size of a directory is not compared.
        let node =
            Node { ino: known_by(entry.attr.kind, entry.attr.ino), kind: entry.attr.kind, size: entry.attr.size };
        if entry.attr.kind == NodeKind::Directory {
            walk(ns, entry.attr.ino, &path, there);
        }
        there.insert(path, node);
    }
}

pub(crate) fn read(reader: &mut EventReader) -> Vec<EventAt> {
    let mut all = Vec::new();
    loop {
        let page = reader.next_page(5).expect("read");
        assert_eq!(page.gap, None);
        if page.events.is_empty() {
            return all;
        }
        all.extend(page.events);
    }
}

/// Everything that is in the log.
pub(crate) fn all(ns: &Arc<Namespace>) -> Vec<EventAt> {
    read(&mut ns.events(Begin::Start))
}

fn sync(ns: &Namespace) {
    ns.store().ledger().sync().expect("synced");
}

/// Something random, through some door; what is refused changes nothing.
fn act(ns: &Namespace, rng: &mut SimRng) {
    let doors = [&S3, &MOUNT, &NFS, &WEBDAV];
    let op = &Op::new(Caller::root(doors[rng.below(4) as usize]));
    let mut name = |of: &[&str]| of[rng.below(of.len() as u64) as usize].to_owned();
    let (bucket, other) = (name(&["bkt", "two"]), name(&["bkt", "two"]));
    let (key, to) = (name(&["a", "b", "d/a", "d/e/f", "x/y"]), name(&["a", "b", "d/a", "d/e/f", "x/y"]));
    let (dir, file, target) =
        (name(&["", "/d", "/d/e", "/x", "/m"]), name(&["a", "b", "f", "d", "e"]), name(&["a", "b", "y", "e", "m"]));
    let dir_ino = ns.resolve(op, format!("/{bucket}{dir}").as_bytes()).map(|attr| attr.ino);
    let to_dir = name(&["", "/d", "/x"]);
    let to_ino = ns.resolve(op, format!("/{other}{to_dir}").as_bytes()).map(|attr| attr.ino);
    let len = rng.below(3000) as usize;
    let cond = Condition::default();
    let content = || content(ns, &noise(len as u64, len));
    let (Ok(dir), Ok(to_dir)) = (dir_ino, to_ino) else {
        for name in [&bucket, &other] {
            drop(ns.create_bucket(op, name, None));
        }
        // Makes a directory on its way, as often as not.
        drop(ns.put_object(op, &bucket, key.as_bytes(), content(), None, ObjectMeta::default(), &cond));
        if let Ok(root) = ns.resolve(op, format!("/{other}").as_bytes()) {
            drop(ns.mkdir(op, root.ino, [&b"d"[..], b"x", b"m"][rng.below(3) as usize], 0o755));
        }
        return;
    };
    let (file, target) = (file.as_bytes(), target.as_bytes());
    let found = ns.lookup(op, dir, file).map(|attr| attr.ino);
    let mode = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange][rng.below(3) as usize];
    match rng.below(24) {
        0..5 => drop(ns.put_object(op, &bucket, key.as_bytes(), content(), None, ObjectMeta::default(), &cond)),
        5 => drop(ns.put_file(
            op,
            dir,
            file,
            content(),
            Some(ContentTag::Given("0".repeat(32))),
            ObjectMeta::default(),
            &cond,
        )),
        6 => drop(ns.copy_object(op, (&bucket, key.as_bytes()), &cond, (&other, to.as_bytes()), &cond, None)),
        7..9 => drop(ns.delete_object(op, &bucket, key.as_bytes(), &cond)),
        9 => drop(ns.delete_objects(op, &bucket, &[key.into_bytes(), to.into_bytes()])),
        10 => drop(ns.mkdir(op, dir, file, 0o755)),
        11 => drop(ns.rmdir(op, dir, file)),
        12..14 => {
            if let Ok(attr) = ns.create(op, dir, file, 0o644, RW, false, rng.one_in(2)) {
                // A FIFO is opened and not written.
                let wrote = ns.write(op, attr.ino, rng.below(2000), &noise(3, len));
                assert!(wrote.is_ok() || attr.kind != NodeKind::File);
                if rng.one_in(2) {
                    ns.fsync(op, attr.ino).expect("synced");
                }
                ns.close(op, attr.ino, true).expect("closed");
            }
        }
        14 => drop(found.and_then(|ino| ns.link(op, ino, to_dir, target))),
        15 => drop(ns.unlink(op, dir, file)),
        16..19 => drop(ns.rename(op, (dir, file), (to_dir, target), mode)),
        19 => {
            let size = rng.below(5000);
            drop(found.and_then(|ino| ns.setattr(op, ino, &SetAttr { size: Some(size), ..SetAttr::default() })));
        }
        20 => drop(found.and_then(|ino| ns.setattr(op, ino, &SetAttr { mode: Some(0o600), ..SetAttr::default() }))),
        21 => drop(found.and_then(|ino| ns.set_xattr(op, ino, b"user.x", file, XattrMode::Any))),
        22 => match rng.below(4) {
            0 => drop(ns.delete_bucket(op, &bucket)),
            1 => drop(ns.set_versioned(op, &bucket, rng.one_in(2))),
            2 => drop(ns.rename(op, (ROOT_INO, b"bkt"), (ROOT_INO, b"two"), mode)),
            _ => drop(ns.remove_tree(op, dir, file)),
        },
        _ => {
            let node = NewNode { kind: NodeKind::Fifo, mode: 0o600, rdev: 0 };
            drop(ns.mknod(op, dir, file, node).and_then(|_| ns.symlink(op, to_dir, target, b"elsewhere")));
        }
    }
}

#[test]
fn whoever_follows_the_events_knows_the_tree() {
    for seed in 1..31 {
        let (world, mut store) = store();
        let mut rng = SimRng::new(seed);
        let mut replica = Replica::default();
        let mut reader = store.namespace().events(Begin::Start);
        let mut told = Vec::new();
        for step in 0..200 {
            act(store.namespace(), &mut rng);
            if step % 10 == 9 {
                sync(store.namespace());
                let events = read(&mut reader);
                replica.follow(&events);
                told.extend(events);
                replica.check(store.namespace());
            }
            if step % 67 == 66 {
                let after = reader.after();
                drop(reader);
                drop(store);
                world.kill_process();
                store = open(&world);
                reader = store.namespace().events(Begin::Behind(after));
            }
        }
        sound(store.namespace());
        assert_eq!(all(store.namespace()), told, "what is on the disks is what was told from memory");
        assert!(told.len() > 80, "{} events", told.len());
    }
}

#[test]
fn an_event_says_what_was_done_to_which_key_by_whom_through_which_door() {
    let (_world, store) = store();
    let ns = store.namespace();
    let mut reader = ns.events(Begin::Now);
    let ada = Op::new(Caller { user: Some("ada".into()), superuser: true, ..Caller::new(1000, 1000, [].into(), &S3) });
    let content = content(ns, b"hello");
    let tag = ContentTag::Given("5d41402abc4b2a76b9719d911017c592".to_owned());
    ns.put_object(&ada, "bkt", b"d/hello", content, Some(tag.clone()), ObjectMeta::default(), &Condition::default())
        .unwrap();
    let file = ns.resolve(&root(), b"/bkt/d/hello").unwrap();
    let nfs = Op::new(Caller { superuser: true, ..Caller::new(7, 7, [].into(), &NFS) });
    ns.write(&nfs, file.ino, 5, b" you").unwrap();
    // Whichever door stores the bytes, the event is the writer's.
    assert_eq!(get(ns, "d/hello").unwrap(), b"hello you");
    let dir = ns.resolve(&root(), b"/bkt/d").unwrap();
    ns.rename(&nfs, (dir.ino, b"hello"), (dir.ino, b"bye"), RenameMode::Replace).unwrap();
    ns.delete_object(&ada, "bkt", b"d/bye", &Condition::default()).unwrap();
    sync(ns);
    let events = read(&mut reader);
    let brief: Vec<_> = events
        .iter()
        .map(|told| &told.event)
        .map(|event| {
            let key = String::from_utf8(event.key.clone().unwrap()).unwrap();
            (event.what.clone(), key, event.uid, event.user.as_deref(), event.door, event.version, event.size)
        })
        .collect();
    let renamed = &events[2].event.what;
    let What::Renamed { from, exchange: false } = renamed else { panic!("{renamed:?}") };
    assert_eq!((from.parent, from.key.as_deref(), &from.bucket), (dir.ino, Some(&b"d/hello"[..]), &None));
    let text = |text: &str| text.to_owned();
    assert_eq!(
        brief,
        [
            (
                What::Content { made: Made::Put, new: true, dirs: 1 },
                text("d/hello"),
                1000,
                Some("ada"),
                S3.number,
                1,
                5
            ),
            (What::Content { made: Made::Write, new: false, dirs: 0 }, text("d/hello"), 7, None, NFS.number, 2, 9),
            (renamed.clone(), text("d/bye"), 7, None, NFS.number, 2, 9),
            (What::Removed { last: true, dirs: 0 }, text("d/bye"), 1000, Some("ada"), S3.number, 2, 9),
        ]
    );
    assert_eq!(events[0].event.tag, Some(tag));
    assert!(events.iter().all(|told| &*told.event.bucket == "bkt" && !told.event.relaxed));
}

#[test]
fn what_is_durable_is_told_and_of_a_relaxed_bucket_what_is_written() {
    let (world, store) = store();
    let ns = store.namespace();
    ns.create_bucket(&root(), "quick", Some(Durability::Relaxed)).unwrap();
    sync(ns);
    let mut reader = ns.events(Begin::Now);
    let try_put = |bucket: &str, key: &str| {
        let mut ingest = ns.ingest(&root(), bucket).unwrap();
        ingest.push(key.as_bytes()).unwrap();
        let op = root();
        ns.put_object(
            &op,
            bucket,
            key.as_bytes(),
            ingest.finish().unwrap(),
            None,
            ObjectMeta::default(),
            &Condition::default(),
        )
        .unwrap();
        op
    };
    let names = |events: Vec<EventAt>| -> Vec<String> {
        events.into_iter().map(|told| String::from_utf8(told.event.key.unwrap()).unwrap()).collect()
    };
    let quick = try_put("quick", "one");
    assert!(read(&mut reader).is_empty(), "what is not written is not told");
    ns.settle_blocking(&quick).unwrap();
    assert!(ns.store().durable() < quick.lsn(), "written, not synced");
    assert_eq!(names(read(&mut reader)), ["one"]);
    let strict = try_put("bkt", "two");
    let quick = try_put("quick", "three");
    ns.store().ledger().wait(quick.lsn(), strata_ledger::Class::Written).unwrap();
    if ns.store().durable() < strict.lsn() {
        assert!(read(&mut reader).is_empty(), "a strict one that may be taken back holds up what comes behind it");
    }
    sync(ns);
    assert_eq!(names(read(&mut reader)), ["two", "three"]);
    drop(reader);
    drop(store);
    world.kill_process();
    assert_eq!(names(all(open(&world).namespace())).len(), 5);
}

/// As [`act`], until something was committed; each is acknowledged when it returns.
fn acknowledged(ns: &Namespace, rng: &mut SimRng) -> bool {
    act(ns, rng);
    ns.store().ledger().sync().is_ok()
}

#[test]
fn a_crash_at_any_io_loses_no_event_and_tells_none_of_what_did_not_happen() {
    const STEPS: usize = 12;
    for seed in [3, 8] {
        let (world, store) = store();
        let mut rng = SimRng::new(seed);
        for _ in 0..30 {
            act(store.namespace(), &mut rng);
        }
        sync(store.namespace());
        let before = all(store.namespace());
        drop(store);
        world.kill_process();
        let start = world.snapshot();
        let mut at = 1;
        loop {
            world.restore(&start);
            world.crash_at(world.io_count() + at);
            let mut told = before.clone();
            if let Ok(store) = try_open(&world, 2, 1) {
                let mut reader = store.namespace().events(Begin::Behind(before[before.len() - 1].sequence));
                let mut rng = SimRng::new(seed + 100);
                for _ in 0..STEPS {
                    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        acknowledged(store.namespace(), &mut rng)
                    }));
                    // Steps that could not be done any more: the disks are gone.
                    if !done.unwrap_or(false) {
                        break;
                    }
                    // The disks may be gone by now; what cannot be read is not checked.
                    match reader.next_page(usize::MAX) {
                        Ok(page) => told.extend(page.events),
                        Err(_) => break,
                    }
                }
            }
            if !world.is_crashed() {
                assert!(at > 40, "only {at} moments");
                break;
            }
            let crashed = world.snapshot();
            for choice in 0..3 {
                world.restore(&crashed);
                world.restart(choice);
                let store = try_open(&world, 2, 1).expect("opens");
                let found = all(store.namespace());
                assert_eq!(found[..told.len()], told[..], "crash at {at}, choice {choice}: what was told stays");
                let mut replica = Replica::default();
                replica.follow(&found);
                replica.check(store.namespace());
                let more: BTreeSet<Lsn> = found[told.len()..].iter().map(|told| told.sequence.lsn).collect();
                assert!(more.len() <= 4, "crash at {at}, choice {choice}: {more:?} were not acknowledged");
            }
            at += 1 + at / 30;
        }
    }
}

/// A store of small segments, with so many bytes of log kept for readers.
fn small(world: &SimWorld, events_kept: u64) -> OpenStore {
    let mut config = config(world, 1, 0);
    config.ledger.segment_len = 1 << 20;
    config.ledger.shard_payload_max = 256 << 10;
    config.content = StoreSettings { events_kept, ..config.content };
    let clock: Arc<dyn Clock> = world.clock();
    let store = OpenStore::open(config, clock, &SimEntropy::new(world.io_count() + 1)).expect("opens");
    match store.namespace().create_bucket(&root(), "bkt", None) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind, ErrorKind::BucketExists),
    }
    store
}

/// Puts `count` objects of 100 kB, each over the one before, and gives back what is garbage by that.
fn churn(ns: &Arc<Namespace>, from: usize, count: usize) {
    for number in from..from + count {
        put(ns, &format!("k{}", number % 3), &noise(number as u64, 100_000));
    }
    Runtime::over(Arc::clone(ns)).reclaim(Duration::ZERO, &mut |_| true).expect("reclaimed");
}

#[test]
fn what_a_cursor_still_needs_is_held_back_and_given_back_when_it_has_passed() {
    let world = SimWorld::new(5);
    let store = small(&world, 1 << 30);
    let ns = store.namespace();
    churn(ns, 0, 40);
    let free = ns.store().ledger().segments().len();
    assert!(free < 5, "without a cursor what is garbage goes: {free} segments");
    let op = root();
    let mut reader = ns.events_by_cursor(&op, "slow", Begin::Now).unwrap();
    let first = reader.after();
    for round in 0..4 {
        churn(ns, 40 * (round + 1), 40);
    }
    let held = ns.store().ledger().segments().len();
    assert!(held > free + 10, "{held} segments are held");
    // The process that reads and the one that serves may both die: nothing is missing, and nothing that was confirmed comes again.
    let half: Vec<EventAt> = reader.next_page(80).unwrap().events;
    let op = root();
    ns.move_cursor(&op, "slow", half[half.len() - 1].sequence).unwrap();
    ns.move_cursor(&op, "slow", first).unwrap();
    ns.settle_blocking(&op).unwrap();
    drop(reader);
    drop(store);
    world.restart(1);
    let store = small(&world, 1 << 30);
    let ns = store.namespace();
    let mut reader = ns.events_by_cursor(&root(), "slow", Begin::Now).unwrap();
    let rest = read(&mut reader);
    let versions: Vec<u64> = half.iter().chain(&rest).map(|told| told.event.version).collect();
    assert_eq!(versions.len(), 160);
    assert!(versions.windows(4).all(|pair| pair[3] == pair[0] + 1), "{versions:?}");
    ns.move_cursor(&root(), "slow", reader.after()).unwrap();
    churn(ns, 200, 3);
    assert!(ns.store().ledger().segments().len() < free + 5, "{}", ns.store().ledger().segments().len());
    sound(ns);
}

#[test]
fn a_reader_that_falls_behind_the_limit_is_told_where_it_can_go_on() {
    let world = SimWorld::new(6);
    let store = small(&world, 6 << 20);
    let ns = store.namespace();
    let mut reader = ns.events_by_cursor(&root(), "late", Begin::Now).unwrap();
    let after = reader.after();
    for round in 0..6 {
        churn(ns, 40 * round, 40);
    }
    let segments = ns.store().ledger().segments().len();
    assert!((6..14).contains(&segments), "{segments} segments of 1 MiB for a limit of 6");
    // The newest events are still in the memory of this process; the next process has only the log.
    drop(reader);
    drop(store);
    world.restart(0);
    let store = small(&world, 6 << 20);
    let ns = store.namespace();
    reader = ns.events_by_cursor(&root(), "late", Begin::Now).unwrap();
    let page = reader.next_page(100).unwrap();
    let Some(EventGap { after: from, until, damaged: false }) = page.gap else { panic!("{page:?}") };
    assert_eq!(from, after);
    assert!(page.events.is_empty() && until > after && reader.after() == until);
    let rest = read(&mut reader);
    assert!(rest.len() > 20 && rest.len() < 240, "{}", rest.len());
    assert!(rest.iter().all(|told| told.sequence > until));
    assert_eq!(rest[rest.len() - 1].event.version, 80);
    // From the start of what is kept there is no gap.
    assert!(all(ns).len() >= rest.len());
    // Without readers no segments are held.
    assert!(ns.forget_cursor(&root(), "late").unwrap() && !ns.forget_cursor(&root(), "late").unwrap());
    churn(ns, 240, 3);
    assert!(ns.store().ledger().segments().len() < 6);
    sound(ns);
}

#[test]
fn cursors_have_names_and_there_are_only_so_many() {
    let (_world, store) = store();
    let ns = store.namespace();
    for name in ["", "a b", "ä", "x/y", &"n".repeat(65)] {
        assert_eq!(
            ns.move_cursor(&root(), name, EventSequence::default()).unwrap_err().kind,
            ErrorKind::Invalid,
            "{name}"
        );
    }
    for number in 0..strata_namespace::CURSORS_MAX {
        ns.move_cursor(&root(), &format!("c{number}"), EventSequence::behind(Lsn(number as u64))).unwrap();
    }
    assert_eq!(ns.move_cursor(&root(), "more", EventSequence::default()).unwrap_err().kind, ErrorKind::Busy);
    ns.move_cursor(&root(), "c3", EventSequence::behind(Lsn(99))).unwrap();
    let cursors = ns.cursors().unwrap();
    assert_eq!(cursors.len(), strata_namespace::CURSORS_MAX);
    assert_eq!(cursors.iter().find(|cursor| cursor.name == "c3").unwrap().after, EventSequence::behind(Lsn(99)));
}

#[test]
fn what_is_not_in_memory_any_more_is_read_from_the_log_without_a_seam() {
    let (_world, store) = store();
    let ns = store.namespace();
    let mut follower = ns.events(Begin::Start);
    let mut told = Vec::new();
    // Names of directories that make commits large.
    for number in 0..3000 {
        let key = format!("{}/{number}", "n".repeat(900 + number % 7));
        ns.put_object(
            &root(),
            "bkt",
            key.as_bytes(),
            content(ns, b""),
            None,
            ObjectMeta::default(),
            &Condition::default(),
        )
        .unwrap();
        if number % 50 == 0 {
            sync(ns);
            told.extend(read(&mut follower));
        }
    }
    sync(ns);
    told.extend(read(&mut follower));
    assert_eq!(told.len(), 1 + 3000);
    assert_eq!(all(ns), told);
    for at in [1, 500, 2000, 2999] {
        let behind = &told[at..];
        assert_eq!(read(&mut ns.events(Begin::Behind(told[at - 1].sequence))), behind, "behind {at}");
    }
}

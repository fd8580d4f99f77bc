//! Many threads on real files, with the threads of a server: each thread has its own files, all share directories,
//! a name and a reader of everything.

#![allow(clippy::disallowed_methods, reason = "how long to press is no behaviour under test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strata_check::{CheckOptions, check};
use strata_namespace::{Condition, Content, ListQuery, Namespace, ObjectMeta, RenameMode, SetAttr};
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::sim::SimRng;
use strata_seam::{Disk, Ino, SystemClock, SystemEntropy};

use crate::support::*;

const WRITERS: u64 = 4;
const FILES: u64 = 3;

pub(crate) fn open_files(folder: &std::path::Path, threads: bool) -> OpenStore {
    let disks = (0..3).map(|n| -> Arc<dyn Disk> {
        let path = folder.join(format!("disk{n}"));
        std::fs::create_dir_all(&path).expect("a folder");
        Arc::new(strata_disk::FileDisk::open_buffered(&path).expect("a disk"))
    });
    let world = strata_seam::sim::SimWorld::new(1);
    let config =
        StoreConfig { disks: disks.collect(), index_dir: Some(folder.join("index")), threads, ..config(&world, 2, 1) };
    OpenStore::open(config, Arc::new(SystemClock::new()), &SystemEntropy).expect("the store opens")
}

fn made(ns: &Namespace, data: &[u8]) -> Content {
    content(ns, data)
}

fn put_at(ns: &Namespace, key: &str, data: &[u8]) {
    let op = root();
    ns.put_object(&op, "bkt", key.as_bytes(), made(ns, data), None, ObjectMeta::default(), &Condition::default())
        .expect("put");
}

/// One thread's work: changes of its own files, each checked at once. Returns what they hold.
fn writer(ns: &Namespace, number: u64, until: Instant) -> BTreeMap<String, Vec<u8>> {
    let mut rng = SimRng::new(number);
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let dir = |n: u64| format!("shared{n}");
    let ino = |key: &str| -> Ino { ns.resolve(&root(), format!("/bkt/{key}").as_bytes()).expect("own file").ino };
    while Instant::now() < until {
        let name = format!("t{number}-{}", rng.below(FILES));
        let key = format!("{}/{name}", dir(rng.below(2)));
        let seed = rng.next_u64();
        let len = usize::try_from(if rng.one_in(8) { seed % 3_000_000 } else { seed % 20_000 }).expect("small");
        let Some(data) = files.get_mut(&key) else {
            put_at(ns, &key, &noise(seed, len));
            files.insert(key, noise(seed, len));
            continue;
        };
        let what = rng.below(9);
        match what {
            0 => {
                put_at(ns, &key, &noise(seed, len));
                *data = noise(seed, len);
            }
            1..=3 => {
                let (ino, at) = (ino(&key), usize::try_from(rng.below(data.len() as u64 + 1000)).expect("small"));
                ns.open(&root(), ino, RW, false).expect("open");
                for (n, step) in noise(seed, len).chunks(100_000).enumerate() {
                    ns.write(&root(), ino, (at + n * 100_000) as u64, step).expect("write");
                }
                if len > 0 {
                    data.resize(data.len().max(at + len), 0);
                    data[at..at + len].copy_from_slice(&noise(seed, len));
                }
                if rng.one_in(2) {
                    let op = root();
                    ns.fsync(&op, ino).and_then(|()| ns.settle_blocking(&op)).expect("sync");
                }
                assert!(read_file(ns, ino) == *data, "{key} before its close");
                ns.close(&root(), ino, true).expect("close");
            }
            4 => {
                let len = usize::try_from(rng.below(data.len() as u64 + 100)).expect("small");
                let set = SetAttr { size: Some(len as u64), ..SetAttr::default() };
                ns.setattr(&root(), ino(&key), &set).expect("truncate");
                data.resize(len, 0);
            }
            5 => {
                // Written without an open file, as over NFS; then replaced, removed or left to the sealers.
                let ino = ino(&key);
                ns.write(&root(), ino, 0, b"unsynced").expect("write");
                data.resize(data.len().max(8), 0);
                data[..8].copy_from_slice(b"unsynced");
            }
            6 => {
                let op = root();
                assert!(ns.delete_object(&op, "bkt", key.as_bytes(), &Condition::default()).expect("delete"));
                assert!(get(ns, &key).is_err());
                files.remove(&key);
                continue;
            }
            7 => {
                let to = format!("{}/{name}", dir(rng.below(2)));
                let at = |key: &str| ns.resolve(&root(), format!("/bkt/{}", &key[..7]).as_bytes()).expect("shared").ino;
                ns.rename(&root(), (at(&key), name.as_bytes()), (at(&to), name.as_bytes()), RenameMode::Replace)
                    .expect("rename");
                let data = files.remove(&key).expect("known");
                files.insert(to.clone(), data);
                assert!(get(ns, &to).expect("moved") == files[&to]);
                continue;
            }
            _ => {}
        }
        let found = get(ns, &key).expect("own object");
        assert!(found == files[&key], "{key} after {what}: {}", difference(&found, &files[&key]));
    }
    files
}

/// Where two contents differ first, in words.
fn difference(found: &[u8], expected: &[u8]) -> String {
    let at = found.iter().zip(expected).position(|(found, expected)| found != expected);
    let last = found.iter().zip(expected).rposition(|(found, expected)| found != expected);
    let zeros = at.zip(last).is_some_and(|(at, last)| found[at..=last].iter().all(|byte| *byte == 0));
    format!("{} of {} bytes, different from {at:?} to {last:?}, zeros there: {zeros}", found.len(), expected.len())
}

/// Lists and reads everything, writes a name all share, tends.
fn onlooker(ns: &Namespace, stop: &AtomicBool) {
    let mut n = 0u64;
    while !stop.load(Ordering::Acquire) {
        n += 1;
        let page = ns.list(&root(), "bkt", &ListQuery { limit: 1000, ..ListQuery::default() }).expect("list");
        for (key, info) in page.objects {
            if let Ok((_, reader)) = ns.get_object(&root(), "bkt", &key) {
                let read = reader.read(0, 1 << 20).expect("a pinned version reads");
                assert_eq!(read.len() as u64, reader.len().min(1 << 20));
            }
            assert!(info.attr.ino.0 > 1);
        }
        put_at(ns, "common", &vec![u8::try_from(n % 251).expect("small"); 50_000]);
        let common = get(ns, "common").expect("common");
        assert!(common.iter().all(|byte| *byte == common[0]), "two puts never mix");
        ns.delete_object(&root(), "bkt", b"gone/and/back", &Condition::default()).expect("delete");
        put_at(ns, "gone/and/back", b"x");
    }
}

#[test]
fn many_threads_find_what_they_left_and_a_restart_finds_it_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_files(folder.path(), true);
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    let bucket = ns.resolve(&root(), b"/bkt").expect("it").ino;
    for n in 0..2 {
        ns.mkdir(&root(), bucket, format!("shared{n}").as_bytes(), 0o755).expect("a directory");
    }
    let stop = AtomicBool::new(false);
    let until = Instant::now() + Duration::from_secs(4);
    let left: BTreeMap<String, Vec<u8>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || writer(ns, n, until))).collect();
        let looking = scope.spawn(|| onlooker(ns, &stop));
        let left = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>();
        stop.store(true, Ordering::Release);
        looking.join().expect("the onlooker");
        left.into_iter().flat_map(|files| files.expect("a writer")).collect()
    });
    // The predicates hold for a store at rest: nothing is staged that a sealer could take up, and no page has to be released.
    ns.sync_all(&root()).expect("sealed");
    while ns.store().collect().expect("collected") > 0 {}
    sound(ns);
    store.close().expect("closed");
    let store = open_files(folder.path(), false);
    for (key, data) in &left {
        assert!(get(store.namespace(), key).expect("there after the restart") == *data, "{key}");
    }
    sound(store.namespace());
}

#[test]
fn writes_and_changes_by_reference_to_one_file_do_not_undo_each_other() {
    const REGION: usize = 100_000;
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_files(folder.path(), true);
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    put_at(ns, "both", &noise(1, 6 * REGION));
    let ino = ns.resolve(&root(), b"/bkt/both").expect("it").ino;
    let until = Instant::now() + Duration::from_secs(2);
    let holds = |at: usize, data: &[u8]| {
        let read = ns.read(&root(), ino, at as u64, data.len()).expect("read");
        assert!(read == data, "the region at {at} changed by nobody");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seed in (2..).take_while(|_| Instant::now() < until) {
                let data = noise(seed, REGION);
                ns.write(&root(), ino, 0, &data).expect("write");
                holds(0, &data);
                ns.fsync(&root(), ino).expect("sync");
                holds(0, &data);
            }
        });
        scope.spawn(|| {
            for seed in (1_000_000..).take_while(|_| Instant::now() < until) {
                let data = noise(seed, REGION);
                put_at(ns, "source", &data);
                let source = ns.resolve(&root(), b"/bkt/source").expect("it").ino;
                let at = 4 * REGION;
                assert_eq!(
                    ns.copy_range(&root(), (source, 0), (ino, at as u64), REGION as u64).expect("copied"),
                    REGION as u64
                );
                holds(at, &data);
                std::thread::sleep(Duration::from_millis(2));
                holds(at, &data);
            }
        });
    });
    ns.sync_all(&root()).expect("sealed");
    while ns.store().collect().expect("collected") > 0 {}
    sound(ns);
    store.close().expect("closed");
}

#[test]
fn a_check_beside_writers_finds_what_is_wrong_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_files(folder.path(), true);
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    let bucket = ns.resolve(&root(), b"/bkt").expect("it").ino;
    for n in 0..2 {
        ns.mkdir(&root(), bucket, format!("shared{n}").as_bytes(), 0o755).expect("a directory");
    }
    put_at(ns, "still", &noise(77, 100_000));
    let (_, still) = ns.get_object(&root(), "bkt", b"still").expect("it");
    let strata_content::Source::Chunk { id, .. } = still.items()[0].source else { panic!("a chunk") };
    let stop = AtomicBool::new(false);
    let until = Instant::now() + Duration::from_secs(5);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || writer(ns, n, until))).collect();
        let looking = scope.spawn(|| onlooker(ns, &stop));
        let (mut checks, mut alarms) = (0, Vec::new());
        while Instant::now() < until && alarms.is_empty() {
            // Checked in windows of a few inodes and chunks as well as all at once.
            let options = CheckOptions { contents: checks % 4 == 3, live: true, at_once: [1 << 20, 5][checks % 2] };
            let report = check(ns, &options, &mut |_| true).expect("checked");
            alarms = report.violations;
            checks += 1;
        }
        ns.store()
            .transact(false, |tx| {
                tx.correct_count(id, 3);
                tx.tally(b"Sinodes", -2);
                tx.tally(&strata_namespace::UsageOf::Bucket(bucket).key(true), 7);
                Ok::<_, strata_namespace::ContentError>(())
            })
            .expect("damaged");
        stop.store(true, Ordering::Release);
        looking.join().expect("the onlooker");
        drop(writers);
        assert_eq!(alarms, Vec::<String>::new());
        assert!(checks > 3, "{checks} checks");
    });
    let options = CheckOptions { contents: false, live: true, ..CheckOptions::default() };
    let report = check(ns, &options, &mut |_| true).expect("checked");
    assert_eq!(report.violations.len(), 3, "{:?}", report.violations);
    assert!(report.violations[0].ends_with("exist") && report.violations[0].starts_with("TREE"));
    let of_bucket = format!("TREE: bytes of the bucket in directory {bucket} are counted as ");
    assert!(report.violations[1].starts_with(&of_bucket), "{:?}", report.violations);
    assert_eq!(report.violations[2], format!("REF: chunk {id} counts 4 references, 1 exist"));
    assert!(check(ns, &options, &mut |_| false).expect("ended").ended);
    assert_eq!(report.unsettled, 0);

    let unreadable = [&strata_namespace::UsageOf::Bucket(bucket).key(true)[..], b"?"].concat();
    ns.store()
        .transact(false, |tx| {
            tx.tally(&unreadable, 1);
            Ok::<_, strata_namespace::ContentError>(())
        })
        .expect("damaged");
    let report = check(ns, &options, &mut |_| true).expect("checked");
    assert_eq!(report.unsettled, 1, "the counters could not be compared, which is not a clean answer");
    drop(store);
}

#[test]
fn what_was_written_to_a_file_is_in_its_object_while_others_store_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_files(folder.path(), true);
    let ns = store.namespace();
    ns.create_bucket(&root(), "bkt", None).expect("a bucket");
    put_at(ns, "key", &noise(1, 5000));
    let ino = ns.resolve(&root(), b"/bkt/key").expect("it").ino;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    ns.fsync(&root(), ino).expect("stored");
                }
            });
        }
        let until = Instant::now() + Duration::from_secs(2);
        let wrong = (1_u64..).take_while(|_| Instant::now() < until).find_map(|n| {
            ns.write(&root(), ino, 0, &n.to_le_bytes()).expect("written");
            let found = get(ns, "key").expect("the object");
            let opened = ns.open(&root(), ino, RW, false).expect("opened");
            ns.close(&root(), ino, false).expect("closed");
            let told = found.len() as u64 == opened.size;
            (!told || found[..8] != n.to_le_bytes()).then(|| format!("write {n} of {:?}, {opened:?}", &found[..8]))
        });
        stop.store(true, Ordering::Release);
        assert_eq!(wrong, None);
    });
}

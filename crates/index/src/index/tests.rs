//! An engine on a real folder (`testing::engine`): what it holds survives, and whatever is done to its files ends in the truth or in an honest
//! rebuild, never in a panic.

use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use strata_seam::{Lsn, SetId};

use super::*;
use crate::testing::{Ledger, Record, check, drain_all, engine, options, position};
use crate::{Drained, Mutation};

/// Appends with puts, deletes, counts and tails over `keys` keys of every table.
fn ledger(keys: u64) -> Ledger {
    let key = |n: u64| [&[b'a' + (n % 12) as u8][..], &(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes()].concat();
    let record = |n: u64| {
        let mut record = Record::default();
        record.commit.put(key(n), [0x5a; 40]);
        record.commit.count(key(n + keys), 3);
        record.tails.set_tail(key(n + keys), n.to_le_bytes());
        if n.is_multiple_of(5) {
            record.commit.delete(key(n / 2));
            record.commit.0.push(Mutation::Count { key: key(n / 2 + keys), delta: -1 });
        }
        record
    };
    Ledger((0..keys).map(record).collect())
}

/// A folder with an index that has the first `drained` appends, closed.
fn filled(dir: &Path, ledger: &Ledger, drained: usize) {
    let index = Index::open(dir, options(512)).unwrap();
    let part = Ledger(ledger.0[..drained].to_vec());
    part.replay(&index, true);
    drain_all(&index, part.last());
    drain_all(&index, part.last());
    assert_eq!(index.applied().unwrap().0, part.last());
    index.flush().unwrap();
}

/// What a server does at its start, and when the index breaks: replay, and read everything.
fn recover(dir: &Path, ledger: &Ledger) -> Opened {
    let index = Index::open(dir, options(512)).unwrap();
    assert!(index.engine_reach() <= ledger.last());
    ledger.replay(&index, false);
    let model = ledger.model(usize::MAX);
    let read = index.range(&[1], &[0xff], usize::MAX);
    if read.is_ok() {
        check(&index, &model);
        return index.opened().clone();
    }
    assert!(index.is_broken());
    let index = Index::open_fresh(dir, options(512), "a read failed").unwrap();
    ledger.replay(&index, false);
    check(&index, &model);
    index.opened().clone()
}

/// The file with most of what an engine holds.
fn database(dir: &Path) -> std::path::PathBuf {
    let all = files(dir).into_iter();
    all.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn what_was_drained_is_there_after_a_restart_and_the_rest_comes_from_the_ledger() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("index");
    let ledger = ledger(1000);
    filled(&dir, &ledger, 700);
    let index = Index::open(&dir, options(512)).unwrap();
    assert_eq!(index.opened(), &Opened::Resumed);
    assert_eq!(index.applied(), Some((Lsn(700), position(701))));
    check(&index, &Ledger(ledger.0[..700].to_vec()).model(usize::MAX));
    drop(index);
    assert_eq!(recover(&dir, &ledger), Opened::Resumed);
}

#[test]
fn an_index_that_was_deleted_is_built_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("index");
    let ledger = ledger(300);
    filled(&dir, &ledger, 300);
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(recover(&dir, &ledger), Opened::Fresh);
}

#[test]
fn an_index_of_another_store_is_set_aside() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("index");
    filled(&dir, &ledger(300), 300);
    let other = IndexOptions { store: SetId([8; 16]), ..options(512) };
    let index = Index::open(&dir, other).unwrap();
    assert!(matches!(index.opened(), Opened::SetAside { kept: Some(_), .. }));
    assert_eq!(index.applied(), None);
    check(&index, &crate::testing::Model::new());
}

#[test]
fn an_index_of_another_engine_is_kept_until_the_new_one_is_there_and_can_be_put_back() {
    for (from, to) in [(EngineKind::Sled, EngineKind::Fjall), (EngineKind::Fjall, EngineKind::Sled)] {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("index");
        let ledger = ledger(300);
        let of = |engine| IndexOptions { engine, ..options(512) };
        let index = Index::open(&dir, of(Some(from))).unwrap();
        ledger.replay(&index, true);
        drain_all(&index, ledger.last());
        drop(index);
        assert_eq!(EngineKind::of(&dir), Some(from));
        // Whoever says nothing takes the one that is there.
        assert_eq!(Index::open(&dir, of(None)).unwrap().opened(), &Opened::Resumed);

        let index = Index::open(&dir, of(Some(to))).unwrap();
        assert_eq!((index.opened(), index.applied()), (&Opened::Exchanged { former: from }, None));
        ledger.replay(&index, true);
        check(&index, &ledger.model(usize::MAX));
        drop(index);
        assert_eq!((EngineKind::of(&dir), fs::read_dir(&parent).unwrap().count()), (Some(to), 2));
        // Had the rebuild failed:
        assert_eq!(crate::put_back_former(&dir).unwrap(), Some(from));
        let index = Index::open(&dir, of(None)).unwrap();
        assert_eq!((index.opened(), index.applied().unwrap().0), (&Opened::Resumed, ledger.last()));
        check(&index, &ledger.model(usize::MAX));
        drop(index);

        let index = Index::open(&dir, of(Some(to))).unwrap();
        ledger.replay(&index, true);
        drain_all(&index, ledger.last());
        crate::forget_former(&dir);
        drop(index);
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 1);
        assert_eq!(Index::open(&dir, of(None)).unwrap().opened(), &Opened::Resumed);
    }
}

#[test]
fn an_index_whose_engine_failed_is_not_believed_by_the_next_opening_however_sound_it_looks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    let options = options(512);
    let index = Index::open(&path, options.clone()).unwrap();
    let cause =
        EngineError::Failed { engine: engine().word(), operation: "read a key", message: "a page is torn".into() };
    drop(index.engine_failed(cause));
    assert!(index.is_broken());
    drop(index);
    let again = Index::open(&path, options.clone()).unwrap();
    match again.opened() {
        Opened::SetAside { why, kept: Some(_) } => assert!(why.contains("a page is torn"), "{why}"),
        opened => panic!("{opened:?}"),
    }
    assert!(!again.is_broken());
    drop(again);
    assert_eq!(*Index::open(&path, options).unwrap().opened(), Opened::Fresh, "the new one is believed");
    assert!(!path.join("failed").exists());
}

#[test]
fn garbage_in_place_of_the_database_or_its_folder_is_set_aside() {
    for garbage in [&b"garbage"[..], &[0; 100_000], &[0xff; 100_000]] {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("index");
        let ledger = ledger(300);
        filled(&dir, &ledger, 300);
        fs::write(database(&dir), garbage).unwrap();
        recover(&dir, &ledger);

        remove(&dir).unwrap();
        fs::write(&dir, garbage).unwrap();
        assert!(matches!(recover(&dir, &ledger), Opened::SetAside { kept: Some(_), .. }));
    }
}

#[test]
fn a_database_cut_off_anywhere_is_read_right_or_built_again() {
    let ledger = ledger(2000);
    for eighths in 0..8 {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("index");
        filled(&dir, &ledger, 2000);
        let file = fs::OpenOptions::new().write(true).open(database(&dir)).unwrap();
        file.set_len(file.metadata().unwrap().len() * eighths / 8 + eighths * 7).unwrap();
        recover(&dir, &ledger);
    }
}

#[test]
fn a_database_with_flipped_bits_is_read_right_or_built_again() {
    let ledger = ledger(2000);
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("index");
    filled(&dir, &ledger, 2000);
    let good: Vec<_> = files(&dir).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    for seed in 0..16_usize {
        remove(&dir).unwrap();
        for (path, bytes) in &good {
            let mut bytes = bytes.clone();
            for flip in 0..1 + seed % 3 {
                // A stride without a common factor with the length of pages and segments.
                let at = (seed * 977_231 + flip * 7_919_017) % (bytes.len().max(1) * 8);
                if let Some(byte) = bytes.get_mut(at / 8) {
                    *byte ^= 1 << (at % 8);
                }
            }
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        recover(&dir, &ledger);
    }
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn an_index_that_another_one_has_open_is_not_touched() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("index");
    let first = Index::open(&dir, options(512)).unwrap();
    assert!(matches!(Index::open(&dir, options(512)), Err(IndexError::Open { .. })));
    assert_eq!(fs::read_dir(&parent).unwrap().count(), 1);
    drop(first);
}

#[test]
fn reserved_and_empty_keys_read_as_absent_and_empty_ranges_as_empty() {
    let index = Index::in_memory();
    assert_eq!(index.get(&[]).unwrap(), None);
    assert_eq!(index.get(&[0]).unwrap(), None);
    assert_eq!(index.range(b"b", b"a", 10).unwrap(), []);
    assert_eq!(index.range(b"a", b"b", 0).unwrap(), []);
}

#[test]
fn a_removal_that_is_not_durable_shows_its_number() {
    let index = Index::in_memory();
    let mut batch = Batch::new();
    batch.delete("k");
    index.apply(Lsn(9), &batch);
    assert_eq!(index.lookup(b"k").unwrap(), Lookup { value: None, lsn: Lsn(9) });
    assert_eq!(index.scan(b"a", b"z", 10).unwrap(), Page { entries: vec![], lsn: Lsn(9) });
    assert_eq!(index.scan(b"l", b"z", 10).unwrap().lsn, Lsn(0));
}

#[test]
fn a_scan_goes_on_behind_any_number_of_removals() {
    let index = Index::in_memory();
    index.note_written(position(1));
    let mut fill = Batch::new();
    (0..10_000_u32).for_each(|n| fill.put([b"k", &n.to_be_bytes()[..]].concat(), "v"));
    index.apply(Lsn(1), &fill);
    index.note_written(position(2));
    drain_all(&index, Lsn(1));
    let mut clear = Batch::new();
    (1..9_999_u32).for_each(|n| clear.delete([b"k", &n.to_be_bytes()[..]].concat()));
    index.apply(Lsn(2), &clear);
    let keys = |page: Page| page.entries.into_iter().map(|(key, _)| key[1..].to_vec()).collect::<Vec<_>>();
    let (first, last) = (0_u32.to_be_bytes().to_vec(), 9_999_u32.to_be_bytes().to_vec());
    assert_eq!(keys(index.scan(b"k", b"l", 2).unwrap()), [first.clone(), last.clone()]);
    assert_eq!(keys(index.scan_back(b"k", b"l", 5).unwrap()), [last, first]);
}

/// Set for the process that is to be killed: the folder of its index.
const VICTIM_DIR: &str = "STRATA_INDEX_VICTIM_DIR";
const VICTIM_APPENDS: usize = 20_000;

/// No test: what the next one runs in a process of its own and kills.
#[test]
#[ignore = "the process that the next test kills"]
fn victim() {
    let dir = std::env::var_os(VICTIM_DIR).expect("only the test that kills it runs it");
    let ledger = ledger(VICTIM_APPENDS as u64);
    let index = Index::open(Path::new(&dir), options(64)).unwrap();
    let done = index.applied().map_or(0, |(lsn, _)| lsn.0);
    // Past the test harness, which would keep the lines to itself.
    let say = |word: &str, part: usize| writeln!(std::io::stdout(), "{word} {part}").unwrap();
    // Many small drains in many batches, each on disk before the next, so that most moments lie within one.
    for part in (usize::try_from(done).unwrap()..=VICTIM_APPENDS).step_by(250) {
        say("draining", part);
        Ledger(ledger.0[..part].to_vec()).replay(&index, true);
        index.freeze();
        while matches!(index.drain_step(0, Lsn(part as u64)).unwrap(), Drained::Batch { .. } | Drained::Done { .. }) {
            index.flush().unwrap();
            say("batch", part);
        }
        index.flush().unwrap();
        say("flushed", part);
    }
    loop {
        std::thread::park();
    }
}

#[test]
fn an_index_whose_process_is_killed_in_the_middle_of_a_drain_is_read_right_or_built_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("index");
    let ledger = ledger(VICTIM_APPENDS as u64);
    // Whatever the function and its module are called, without the crate's name.
    let name = std::any::type_name_of_val(&victim).split_once("::").unwrap().1;
    for (drains, batches) in [(3, 2), (1, 5), (8, 1)] {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", name])
            .env(VICTIM_DIR, &dir)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let (mut begun, mut within, mut flushed) = (0, 0, 0);
        for line in lines {
            match line.split_once(' ') {
                Some(("draining", _)) => (begun, within) = (begun + 1, 0),
                Some(("batch", _)) => within += 1,
                Some(("flushed", part)) => flushed = part.parse().unwrap(),
                _ => {}
            }
            if begun > drains && within >= batches {
                break;
            }
        }
        // It has begun one drain more than it was let finish, and put some batches of it on disk.
        process.kill().unwrap();
        assert_eq!(process.wait().unwrap().signal(), Some(9), "it was at work until it was killed");
        assert!(begun > drains && flushed < VICTIM_APPENDS as u64, "{begun} drains, {flushed} flushed");
        let index = Index::open(&dir, options(512)).unwrap();
        if *index.opened() == Opened::Resumed {
            let applied = index.applied().map_or(0, |(lsn, _)| lsn.0);
            assert!(applied >= flushed, "{flushed} were flushed, {applied} are there");
        }
        drop(index);
        recover(&dir, &ledger);
    }
}

/// The largest resident set of this process so far, in bytes.
fn resident_max() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn an_index_is_filled_from_a_checkpoint_in_memory_that_does_not_grow_with_it() {
    const PAIRS: u64 = 120_000;
    const GROWTH_MAX: u64 = 96 << 20;
    let pair = |n: u64| {
        let key = [b"a", &n.to_be_bytes()[..], blake3::hash(&n.to_le_bytes()).as_bytes()].concat();
        (key, [&[1][..], &[0x5a; 250]].concat())
    };
    let mut sum = crate::Fingerprint::default();
    (0..PAIRS).for_each(|n| sum.add(&pair(n)));
    let stamp = crate::Stamp { applied: Lsn(5), position: position(6), sum: sum.sum() };
    let dir = tempfile::tempdir().unwrap();
    let options = IndexOptions { cache_capacity: 4 << 20, ..options(512) };
    let index = Index::open(&dir.path().join("index"), options).unwrap();
    let before = resident_max();
    let mut next = 0;
    let mut run = || {
        let from = next;
        next = (next + 1000).min(PAIRS);
        Ok::<_, std::convert::Infallible>((from..next).map(pair).collect())
    };
    assert_eq!(index.fill(&stamp, &mut run).unwrap(), PAIRS);
    let growth = resident_max() - before;
    assert!(growth < GROWTH_MAX, "{} MiB more were resident", growth >> 20);
}

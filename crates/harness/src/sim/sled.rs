//! Rows `sled` and `fjall`, one for each engine of the index: its folder is wiped, cut, flipped, copied in the middle of its work or put back from earlier. The next
//! start shows the same tree and holds the same records as one that rebuilds everything from the log. Or the engine is made to come
//! back with a record gone, old or of another key and all else in order, as it may after damage: then no read gives anything
//! but what was stored, absences among it, or an error; and the start behind that error is right again.
//!
//! Engines work on real files, so these rows do too; the disks of the set stay simulated.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use strata_index::OrderedKv;
use strata_runtime::{EngineKind, OpenStore};
use strata_seam::sim::{SimRng, SimWorld};
use strata_seam::{Clock, SystemClock};

use super::model::{Model, difference, seen};
use super::mover::reclaim;
use super::rig::{Rig, root, violations};
use super::step::Step;
use crate::cases::{self, Tally};
use crate::options::Options;
use crate::report::Report;
use crate::row::Row;

/// The row of the default engine.
pub(crate) const ROW: Row = Row {
    name: "sled",
    id: "R9",
    about: "the index's files lost, cut, flipped or old: rebuilt to the same state",
    run: |options, report| run(EngineKind::Sled, options, report),
};

/// The row of the other one.
pub(crate) const FJALL: Row = Row {
    name: "fjall",
    id: "R9",
    about: "the same of an index that Fjall holds",
    run: |options, report| run(EngineKind::Fjall, options, report),
};

/// Damages per store that is made.
const BATCH: u64 = 20;
/// Objects put in each round of a large store.
const MANY: u64 = 200;
/// Reads before everything is read.
const PROBES: u64 = 12;

fn run(engine: EngineKind, options: &Options, report: &mut Report) -> Result<()> {
    // In memory where there is such a place: what is tested is the engine's reading, not the medium.
    let place = options.dir.clone().or_else(|| Some(PathBuf::from("/dev/shm")).filter(|place| place.is_dir()));
    let folder =
        tempfile::Builder::new().prefix("strata-harness-").tempdir_in(place.unwrap_or_else(std::env::temp_dir));
    let folder = folder.context("there is no folder for the index")?;
    let name = |number: u64| format!("batch-{number}");
    let tally = cases::run(options, report, options.sized(4, 500), name, |number, tally| {
        let dir = folder.path().join(number.to_string());
        if let Err(wrong) = batch(engine, &dir, options.seed.wrapping_add(number), tally) {
            tally.broken(format!("batch {number}: {wrong}"));
        }
        drop(fs::remove_dir_all(&dir));
    });
    report.goal("damaged indexes", tally.of("damaged"), 10_000.0);
    report.figure("set aside or wiped", tally.of("rebuilt"));
    report.figure("resumed", tally.of("resumed"));
    report.figure("found wrong by a read", tally.of("told"));
    report.figure("stores whose log begins at a checkpoint", tally.of("reclaimed"));
    report.figure("records rebuilt", tally.of("entries"));
    report.computed("records/s rebuilt", tally.of("entries") / (tally.of("nanos") / 1e9).max(1e-9), None);
    Ok(())
}

/// Keys and values, in order.
type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Every record of the index.
fn records(store: &OpenStore) -> Result<Records, String> {
    let (mut from, mut all) = (vec![1], Records::new());
    loop {
        let page = store.namespace().store().range(&from, &[0xff; 64], 500).map_err(|error| format!("{error:?}"))?;
        let Some((last, _)) = page.last() else { return Ok(all) };
        from = [&last[..], &[0]].concat();
        all.extend(page.into_iter().map(|(key, entry)| (key, entry.value)));
    }
}

/// Reads single records, keys that are not there and short ranges from all over: each is as it must be, or an error tells
/// that the index is wrong. Says whether one did.
fn probe(store: &OpenStore, expected: &Records, rng: &mut SimRng) -> Result<bool, String> {
    let content = store.namespace().store();
    let mut failed = false;
    for _ in 0..PROBES {
        let at = rng.below(expected.len() as u64) as usize;
        let (key, value) = &expected[at];
        let page = &expected[at..expected.len().min(at + 3)];
        let behind = [&key[..], &[0]].concat();
        let is_known = expected.get(at + 1).is_some_and(|(next, _)| *next == behind);
        let read = match rng.below(3) {
            0 => content.get(key).map(|found| found.is_some_and(|entry| entry.value == *value)),
            1 => content.get(&behind).map(|found| found.is_some() == is_known),
            _ => content.range(key, &[0xff; 64], page.len()).map(|found| {
                let found: Vec<_> = found.into_iter().map(|(key, entry)| (key, entry.value)).collect();
                found == page
            }),
        };
        match read {
            Ok(true) => {}
            Ok(false) => {
                return Err(format!("a read at {:?} gave what was never stored", key.escape_ascii().to_string()));
            }
            Err(_) if content.index().is_broken() => failed = true,
            Err(error) => return Err(format!("a read failed and the index is not said to be wrong: {error:?}")),
        }
    }
    Ok(failed)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?
        } else {
            fs::copy(entry.path(), &target).map(drop)?
        }
    }
    Ok(())
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() { files(&entry.path(), found) } else { found.push(entry.path()) }
    }
    found.sort();
}

/// Moves some of the changes into the engine, as the worker does.
fn drain(store: &OpenStore, steps: u64) -> Result<(), String> {
    let store = store.namespace().store();
    store.ledger().sync().map_err(|error| format!("{error:?}"))?;
    store.index().freeze();
    for _ in 0..steps {
        store.index().drain_step(0, store.durable()).map_err(|error| format!("draining: {error:?}"))?;
    }
    Ok(())
}

fn batch(engine: EngineKind, dir: &Path, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut rng = SimRng::new(seed);
    let io = |error: std::io::Error| format!("the folder: {error}");
    let world = SimWorld::new(seed);
    let live = dir.join("index");
    let rig = Rig { index_dir: Some(live.clone()), index_engine: engine, ..Rig::small((2, 1)) };
    let mut model = Model::default();
    let store = rig.make(&world).map_err(|error| format!("{error:?}"))?;
    let mut copies = Vec::new();
    for round in 0..4 {
        // In some there are so many that the index has several spans, of which a read verifies one.
        let many = if seed.is_multiple_of(5) { MANY } else { 0 };
        for number in 0..12 + many {
            let step = match number.checked_sub(12) {
                Some(number) => Step::Put(format!("many/{round}-{number}"), number),
                None => Step::any(&mut rng),
            };
            let op = root();
            let done = step.apply(store.namespace(), &op);
            if done.is_ok() != model.apply(&step) {
                return Err(format!("{step:?}: {done:?}"));
            }
        }
        // In some, the log's start is given back, and a lost index rests on the checkpoint.
        if round == 2 && !seed.is_multiple_of(3) {
            reclaim(store.namespace(), &mut |_| true, &mut || false).map_err(|error| format!("{error:?}"))?;
            tally.count("reclaimed", 1);
        }
        // A copy in the middle of a drain: what a crash of the process may leave, or somebody's backup.
        drain(&store, rng.below(4))?;
        store.namespace().store().index().flush().map_err(|error| format!("{error:?}"))?;
        let kept = dir.join(format!("copy-{round}"));
        copy(&live, &kept).map_err(io)?;
        copies.push(kept);
    }
    store.namespace().store().ledger().sync().map_err(|error| format!("{error:?}"))?;
    drop(store);
    world.kill_process();
    copies.push(foreign(engine, dir, seed).map_err(|error| format!("{error:?}"))?);
    // What a start without any index comes to is what every other must come to.
    let start = world.snapshot();
    fs::remove_dir_all(&live).map_err(io)?;
    let store = rig.open(&world).map_err(|error| format!("without an index it does not open: {error:?}"))?;
    let found = seen(store.namespace()).map_err(|error| format!("{error:?}"))?;
    if found != model.seen() {
        return Err(format!("rebuilt without an index: {}", difference(&found, &model.seen())));
    }
    let expected = records(&store)?;
    drop(store);
    for number in 0..BATCH {
        world.restore(&start);
        drop(fs::remove_dir_all(&live));
        let source = &copies[rng.below(copies.len() as u64) as usize];
        copy(source, &live).map_err(io)?;
        let what = match number % 4 {
            0 => replace_record(engine, &live, &copies, &mut rng)?,
            _ => damage(&live, &mut rng).map_err(io)?,
        };
        tally.count("damaged", 1);
        let clock = SystemClock::new();
        let mut store = rig.open(&world).map_err(|error| format!("{what}: it does not open: {error:?}"))?;
        let wrong = |error: String| format!("{what}: {error}");
        let mut failed = probe(&store, &expected, &mut rng).map_err(wrong)?;
        failed |= records(&store).is_err();
        if failed {
            tally.count("told", 1);
            drop(store);
            world.kill_process();
            store = rig.open(&world).map_err(|error| format!("{what}: it does not open again: {error:?}"))?;
            if store.index_opened == strata_index::Opened::Resumed {
                return Err(format!("{what}: what a read found wrong is used again"));
            }
        }
        if store.index_opened == strata_index::Opened::Resumed {
            tally.count("resumed", 1);
        } else {
            tally.count("rebuilt", 1);
            tally.count("entries", expected.len() as u64);
            tally.count("nanos", clock.monotonic_nanos());
        }
        let found = records(&store).map_err(wrong)?;
        if found != expected {
            let text = format!("{what}: {} records instead of {}, or others", found.len(), expected.len());
            return Err(violations(store.namespace()).first().map_or(text.clone(), |wrong| format!("{text}: {wrong}")));
        }
        drop(store);
        world.kill_process();
    }
    Ok(())
}

/// The index of another store.
fn foreign(engine: EngineKind, dir: &Path, seed: u64) -> strata_namespace::Result<PathBuf> {
    let live = dir.join("foreign");
    let rig = Rig { index_dir: Some(live.clone()), index_engine: engine, salt: 1, ..Rig::small((2, 1)) };
    let store = rig.make(&SimWorld::new(seed ^ 1))?;
    for n in 0..12 {
        Step::Put(format!("f{n}"), n).apply(store.namespace(), &root())?;
    }
    store.close()?;
    Ok(live)
}

/// Has the engine hold a record that is gone, another one's, or what an earlier copy had, with its own files in order.
fn replace_record(kind: EngineKind, dir: &Path, copies: &[PathBuf], rng: &mut SimRng) -> Result<String, String> {
    let open = |dir: &Path| kind.open(dir, 1 << 20).map_err(|error| format!("{kind}: {error}"));
    let all = |engine: &dyn OrderedKv| {
        engine.range(&[1], &[0xff; 64], usize::MAX).map_err(|error| format!("{kind}: {error}"))
    };
    let engine = open(dir)?;
    let pairs = all(&*engine)?;
    if pairs.is_empty() {
        return Ok("nothing, of an engine without a record".to_owned());
    }
    let at = |rng: &mut SimRng, len: usize| rng.below(len as u64) as usize;
    let key = pairs[at(rng, pairs.len())].0.clone();
    let (what, value) = match rng.below(3) {
        0 => ("gone", None),
        1 => ("another one's", Some(pairs[at(rng, pairs.len())].1.clone())),
        _ => {
            // A copy of that, as an engine does not open what it has open elsewhere.
            let earlier = dir.with_extension("earlier");
            drop(fs::remove_dir_all(&earlier));
            copy(&copies[0], &earlier).map_err(|error| error.to_string())?;
            let of_earlier = open(&earlier)?.get(&key).map_err(|error| format!("{kind}: {error}"))?;
            ("as it was earlier", of_earlier)
        }
    };
    let write = engine.write(vec![(key.clone(), value)]).and_then(|()| engine.flush());
    write.map_err(|error| format!("{kind}: {error}"))?;
    Ok(format!("the record at \"{}\" {what}", key.escape_ascii()))
}

/// One damage; what it was.
fn damage(dir: &Path, rng: &mut SimRng) -> std::io::Result<String> {
    let mut all = Vec::new();
    files(dir, &mut all);
    let Some(file) = all.get(rng.below(all.len() as u64) as usize).cloned() else {
        return Ok("an empty folder".into());
    };
    let mut bytes = fs::read(&file)?;
    let name = file.strip_prefix(dir).unwrap_or(&file).display().to_string();
    let at = |rng: &mut SimRng, len: usize| rng.below(len.max(1) as u64) as usize;
    Ok(match rng.below(8) {
        0 => {
            fs::remove_dir_all(dir)?;
            "wiped".to_owned()
        }
        1 => {
            fs::remove_file(&file)?;
            format!("{name} removed")
        }
        2 => {
            let len = at(rng, bytes.len());
            fs::write(&file, &bytes[..len])?;
            format!("{name} cut to {len} bytes")
        }
        3 | 4 if !bytes.is_empty() => {
            let flips = 1 + rng.below(8);
            // Most of a file is empty; what is written lies in front.
            let reach = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
            for _ in 0..flips {
                let place = at(rng, reach);
                bytes[place] ^= 1 << rng.below(8);
            }
            fs::write(&file, &bytes)?;
            format!("{flips} bits of {name} flipped")
        }
        5 if !bytes.is_empty() => {
            let from = at(rng, bytes.len());
            let to = (from + 4096).min(bytes.len());
            bytes[from..to].fill(0);
            fs::write(&file, &bytes)?;
            format!("{name} zeroed from {from}")
        }
        6 => {
            fs::write(&file, b"something else")?;
            format!("{name} overwritten")
        }
        _ => "an earlier copy".to_owned(),
    })
}

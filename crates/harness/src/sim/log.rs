//! The ledger alone under power cuts and failing I/O: appends of all sizes and classes, waits, syncs and rolls over tiny segments.
//!
//! Row `iofail` lets every I/O of the same workloads fail.
//!
//! Far more states a second than a whole store gives, with a check to the point: what is replayed is a prefix of what was
//! appended, byte for byte, with everything acknowledged in it. In half of the workloads the process is killed before and
//! whoever reads the log then was told it; and lost disks come back after others went on without them.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use strata_ledger::{
    Append, BlockRecord, Class, DiskState, Geometry, Ledger, LedgerError, Options, PassOptions, Replayed,
};
use strata_seam::sim::{Fault, IoOp, SimEntropy, SimRng, SimWorld, Submission, explore_crashes, sweep_failures};
use strata_seam::{Disk, Lsn};

use super::crash::lost_disks;
use super::rig::{Layout, Rig};
use crate::cases::Tally;

/// The layouts of the ledger alone.
const LAYOUTS: [Layout; 6] = [(2, 1), (1, 1), (2, 2), (4, 2), (3, 2), (6, 3)];
/// Appends of a workload.
const APPENDS: u64 = 12;

fn open(layout: Layout, world: &SimWorld) -> strata_ledger::Result<(Ledger, Vec<Replayed>)> {
    let disk = |index| -> Arc<dyn Disk> { world.disk(&Rig::disk_name(index)) };
    let disks: Vec<_> = (0..usize::from(layout.0 + layout.1)).map(disk).collect();
    let options = options();
    if Ledger::find(&disks)?.is_none() {
        let geometry = Geometry { data_shards: layout.0, parity_shards: layout.1 };
        Ledger::format(&disks, geometry, &options, &*world.clock(), &SimEntropy::new(world.io_count()))?;
    }
    let mut replayed = Vec::new();
    let entropy = SimEntropy::new(world.io_count());
    let ledger = Ledger::open(disks, options, world.clock(), &entropy, None, &mut |append| {
        replayed.push(append);
        Ok(())
    })?;
    Ok((ledger, replayed))
}

pub(crate) fn options() -> Options {
    Options { segment_len: 32 << 10, shard_payload_max: 8 << 10, queue_bytes_max: 32 << 10, ..Options::default() }
}

/// Append `number` of the workload `seed`: can be told from every other.
pub(crate) fn sample(seed: u64, number: u64) -> Append {
    let mut rng = SimRng::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
    let blocks = (0..rng.below(3)).map(|block| {
        let mut data = vec![0; rng.below(3500) as usize];
        rng.fill(&mut data);
        BlockRecord { directory: Bytes::from(format!("{number}/{block}")), data: Bytes::from(data) }
    });
    let blocks = blocks.collect();
    let commit = Some(Bytes::from(format!("commit {number} of {seed}")));
    Append { blocks, commit, relaxed: rng.one_in(2) }
}

/// Appends and waits until done or until the ledger fails; the last number known to be durable. `settle` says whether it
/// may end by a sync.
fn work(ledger: &Ledger, seed: u64, from: u64, settle: bool) -> Lsn {
    let mut rng = SimRng::new(seed ^ from << 40);
    let mut durable = Lsn(0);
    for number in from..from + APPENDS {
        let Ok(lsn) = ledger.append(sample(seed, number)) else { break };
        let wait = |class| ledger.wait(lsn, class).is_ok();
        let known = match rng.below(6) {
            0 | 1 => wait(Class::Durable),
            2 | 3 => {
                wait(Class::Written);
                false
            }
            // What was written first and is wanted durable only then needs a sync of its own.
            4 => wait(Class::Written) && wait(Class::Durable),
            _ => false,
        };
        if known {
            durable = lsn;
        }
        durable = durable.max(ledger.durable());
    }
    if settle && rng.one_in(2) && ledger.sync().is_ok() {
        durable = ledger.durable();
    }
    durable
}

/// A ledger with a few appends, at rest; how many.
fn prepared(layout: Layout, seed: u64) -> (SimWorld, u64) {
    let world = SimWorld::new(seed);
    let (ledger, _) = open(layout, &world).expect("blank disks take a ledger");
    let base = 1 + seed % 6;
    for number in 1..=base {
        ledger.append(sample(seed, number)).expect("a healthy ledger takes an append");
    }
    ledger.sync().expect("and syncs it");
    drop(ledger);
    world.kill_process();
    (world, base)
}

fn layout_of(seed: u64) -> Layout {
    LAYOUTS[(seed % LAYOUTS.len() as u64) as usize]
}

/// Lets every I/O of one workload fail in the ways of `faults`, on the disk `bad` or on all. What was acknowledged is
/// kept, what the next process showed stays, and a disk that failed, was taken back and healed carries what it says.
pub(crate) fn fail(seed: u64, faults: &[Fault], one_disk: bool, tally: &mut Tally) {
    let layout = layout_of(seed);
    let (world, base) = prepared(layout, seed);
    let disks = usize::from(layout.0 + layout.1);
    let bad = one_disk.then(|| Rig::disk_name((seed / 7) as usize % disks));
    let on_bad = |fault: &Fault| bad.iter().fold(fault.clone(), |fault, bad| fault.on(bad));
    let faults: Vec<Fault> = faults.iter().map(on_bad).collect();
    let run = |world: &SimWorld| match open(layout, world) {
        Err(_) => (Lsn(base), false),
        Ok((ledger, _)) => {
            let durable = work(&ledger, seed, base + 1, true).max(Lsn(base));
            (durable, bad.as_ref().is_some_and(|bad| taken_back(&ledger, world, bad)))
        }
    };
    let mut number = 0_u64;
    let runs = sweep_failures(&world, &faults, run, |world, (durable, relied), fault| {
        number += 1;
        tally.count("disks taken back and relied on", u64::from(*relied));
        let checked = after_failure(layout, world, seed, (*durable, number % 3));
        let checked = checked.and_then(|()| {
            let Some(bad) = bad.as_ref().filter(|_| *relied) else { return Ok(()) };
            // Healed, it may stand in for any others.
            let others = (0..disks).map(Rig::disk_name).filter(|disk| disk != bad);
            others.take(usize::from(layout.1)).for_each(|disk| world.vanish(&disk));
            check(layout, world, &|number| sample(seed, number), *durable).map(|_| ())
        });
        match checked {
            Err(wrong) if bad.is_none() && wrong.contains("TooFewDisks") => tally.count("refused", 1),
            Err(wrong) => tally.broken(format!("ledger {layout:?}, {durable} durable, {fault:?}: {wrong}")),
            Ok(()) => tally.count("opened", 1),
        }
    });
    tally.count("runs", runs);
}

/// Hands the disk that was set aside in again and heals it; whether it says to hold everything now.
fn taken_back(ledger: &Ledger, world: &SimWorld, bad: &str) -> bool {
    let status = ledger.status();
    let aside = status.disks.iter().any(|disk| disk.label == bad && !disk.state.is_written());
    aside
        && status.read_only.is_none()
        && ledger.rejoin(world.disk(bad)).is_ok_and(|joined| joined.written)
        && ledger.heal(&PassOptions::default(), &mut |_| true).is_ok_and(|report| report.is_whole())
}

/// What a failure left: after the loss of everything that was not synced, or also after another process showed it before.
fn after_failure(layout: Layout, world: &SimWorld, seed: u64, (durable, how): (Lsn, u64)) -> Result<(), String> {
    let expected = |number| sample(seed, number);
    let mut told = None;
    if how == 1 {
        world.kill_process();
        if let Ok((ledger, replayed)) = open(layout, world)
            && ledger.status().read_only.is_none()
        {
            told = Some(Lsn(replayed.len() as u64));
        }
    }
    world.restart(if how == 2 { seed | 2 } else { 0 });
    let end = check(layout, world, &expected, durable.max(told.unwrap_or_default()))?;
    match told {
        Some(told) if told != end => Err(format!("the log ended at {told}, and ends at {end} after another power cut")),
        _ => Ok(()),
    }
}

/// Explores one workload. Of some seeds it begins with blank disks, so that the set itself is being made when the power goes.
pub(crate) fn explore(seed: u64, choices: u64, distinct: &Mutex<HashSet<u64>>, tally: &mut Tally) {
    let layout = layout_of(seed);
    let makes = seed % 5 == 4;
    let (world, base) = if makes { (SimWorld::new(seed), 0) } else { prepared(layout, seed) };
    let start = world.snapshot();
    let mut done: HashSet<(u64, Lsn)> = HashSet::new();
    let run = |world: &SimWorld| match open(layout, world) {
        Err(_) => Lsn(base),
        Ok((ledger, _)) if seed.is_multiple_of(2) => work(&ledger, seed, base + 1, true).max(Lsn(base)),
        Ok((ledger, _)) => {
            let durable = work(&ledger, seed, base + 1, false).max(Lsn(base));
            drop(ledger);
            if world.is_crashed() {
                return durable;
            }
            // Nothing of what the operating system has is lost, and the next process takes it for what it is.
            world.kill_process();
            // A set that takes no writes decides nothing: what it shows may be less later.
            match open(layout, world) {
                Ok((ledger, replayed)) if ledger.status().read_only.is_none() => {
                    durable.max(Lsn(replayed.len() as u64))
                }
                _ => durable,
            }
        }
    };
    let cuts = explore_crashes(&world, Submission::DisksInParallel, 0..choices, run, |world, durable, state| {
        // A set that lost disks before it was made is none.
        let lost = if makes { Vec::new() } else { lost_disks(layout, &state) };
        tally.count("cuts while a set is made or young", u64::from(makes));
        lost.iter().for_each(|disk| world.vanish(disk));
        let hash = world.change_hash(&start);
        if !done.insert((hash, *durable)) {
            return;
        }
        distinct.lock().insert(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        tally.count("lost", u64::from(!lost.is_empty()));
        let silent = match lost.is_empty() && state.choices % 4 == 0 {
            true => silence(layout, world, (seed, state.io), *durable, tally),
            false => Ok(()),
        };
        let checked = silent.and_then(|()| check(layout, world, &|number| sample(seed, number), *durable));
        let checked = checked.and_then(|end| {
            if state.choices % 2 == 0 {
                let more = state.choices / 2 % 3;
                return if lost.is_empty() { Ok(()) } else { go_on(layout, world, (seed, end), more, &lost, tally) };
            }
            tally.count("again", 1);
            world.restart(state.choices.wrapping_mul(3));
            let again = check(layout, world, &|number| sample(seed, number), end)?;
            if again == end { Ok(()) } else { Err(format!("recovering again ends at {again}, not at {end}")) }
        });
        if let Err(wrong) = checked {
            tally.broken(format!("ledger {layout:?}, {durable} durable, {state:?}, without {lost:?}: {wrong}"));
        }
    });
    tally.count("cuts", cuts);
}

/// While the log is read for the first time after the cut, more disks than parity covers cannot read what they have:
/// nothing follows from that.
fn silence(
    layout: Layout,
    world: &SimWorld,
    (seed, io): (u64, u64),
    durable: Lsn,
    tally: &mut Tally,
) -> Result<(), String> {
    let disks = u64::from(layout.0 + layout.1);
    let silent = (0..=u64::from(layout.1)).map(|disk| Rig::disk_name(((disk + seed + io) % disks) as usize));
    for disk in silent {
        for file in world.files(&disk).into_iter().filter(|file| file.name.starts_with("seg-")) {
            world.set_fault(Fault::medium().of(IoOp::Read).on(&disk).file(&file.name));
        }
    }
    tally.count("silence", 1);
    let opened = open(layout, world);
    world.clear_faults();
    world.kill_process();
    match opened {
        Ok((_, replayed)) if (replayed.len() as u64) < durable.0 => {
            Err(format!("disks that cannot be read make the log end at {}", replayed.len()))
        }
        _ => Ok(()),
    }
}

/// The set goes on without the lost disks and takes `more` appends, they come back, and what they say of the time before counts no more.
fn go_on(
    layout: Layout,
    world: &SimWorld,
    (seed, end): (u64, Lsn),
    more: u64,
    lost: &[String],
    tally: &mut Tally,
) -> Result<(), String> {
    world.kill_process();
    let (ledger, _) = open(layout, world).map_err(|error| format!("it does not open again: {error:?}"))?;
    if ledger.status().read_only.is_some() {
        return Ok(());
    }
    tally.count("returned", 1);
    let mark = seed ^ 0xa5a5_0000;
    for number in end.0 + 1..=end.0 + more {
        let append = Append { relaxed: false, ..sample(mark, number) };
        let taken = ledger.append(append).and_then(|lsn| ledger.wait(lsn, Class::Durable));
        taken.map_err(|error| format!("it takes no append without {lost:?}: {error:?}"))?;
    }
    drop(ledger);
    world.restart(seed % 3);
    lost.iter().for_each(|disk| world.bring_back(disk));
    // Of those that went on, so many are lost now that the others are too few without them: they cannot stand in.
    let before = world.snapshot();
    let others = (0..usize::from(layout.0 + layout.1)).map(Rig::disk_name).filter(|disk| !lost.contains(disk));
    others.take(usize::from(layout.1) + 1 - lost.len()).for_each(|disk| world.vanish(&disk));
    // With one data shard nobody would be left who knows of what they missed.
    if layout.0 > 1 {
        match open(layout, world) {
            Ok((_, replayed)) if replayed.len() as u64 == end.0 + more => {}
            Ok((_, replayed)) => {
                return Err(format!("{lost:?} stand in for others: the log ends at {}", replayed.len()));
            }
            Err(LedgerError::TooFewDisks { .. }) => {}
            Err(error) => return Err(format!("disks are away, and it says {error:?}")),
        }
    }
    world.restore(&before);
    let expected = |number| if number <= end.0 { sample(seed, number) } else { sample(mark, number) };
    let least = Lsn(end.0 + more);
    let found = check(layout, world, &expected, least).map_err(|wrong| format!("with {lost:?} back: {wrong}"))?;
    if found == least { Ok(()) } else { Err(format!("with {lost:?} back the log ends at {found}")) }
}

/// Opens what a crash left and compares; the last number there.
fn check(layout: Layout, world: &SimWorld, expected: &dyn Fn(u64) -> Append, least: Lsn) -> Result<Lsn, String> {
    let (ledger, replayed) = open(layout, world).map_err(|error| format!("it does not open: {error:?}"))?;
    let missing = ledger.status().disks.iter().any(|disk| disk.state == DiskState::Missing);
    for (number, append) in (1..).zip(&replayed) {
        let expected = expected(number);
        if append.lsn != Lsn(number) || append.commit != expected.commit || append.blocks.len() != expected.blocks.len()
        {
            return Err(format!("append {number} is replayed as {} {:?}", append.lsn, append.commit));
        }
        // What was there long before is rebuilt over and over in row `loss`; here the end of the log matters.
        if missing && number + 6 < least.0 && !number.is_multiple_of(4) {
            continue;
        }
        for (placed, block) in append.blocks.iter().zip(&expected.blocks) {
            match ledger.read(&placed.location) {
                Ok(data) if data == block.data && placed.directory == block.directory => {}
                Ok(_) => return Err(format!("a block of append {number} reads as other bytes")),
                Err(error) => return Err(format!("a block of append {number} cannot be read: {error:?}")),
            }
        }
    }
    let last = Lsn(replayed.len() as u64);
    if last < least {
        return Err(format!("{least} was acknowledged, {last} is the last one there"));
    }
    Ok(last)
}

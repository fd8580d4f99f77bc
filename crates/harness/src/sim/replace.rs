//! Row `replace`: disks are replaced by blank ones, return with old content, change places, and fail in the middle of the
//! heal of another. Nothing is lost, and every heal ends with every frame in its place.

use std::sync::Arc;

use anyhow::Result;
use strata_ledger::{DiskState, PassOptions};
use strata_runtime::OpenStore;
use strata_seam::sim::{DiskImage, SimRng, SimWorld};
use strata_seam::{Clock, DiskIndex, SystemClock};

use super::model::{Possible, seen};
use super::rig::{Layout, Rig, violations};
use super::step::Step;
use super::workload::{Workload, run as run_step};
use crate::cases::{self, Tally};
use crate::options::Options;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "replace",
    id: "R10",
    about: "disks replaced, stale, swapped, and failing while another is healed",
    run,
};

const LAYOUTS: [Layout; 6] = [(2, 1), (2, 2), (4, 2), (3, 2), (6, 3), (1, 1)];

/// What is counted besides.
const FIGURES: [&str; 7] = [
    "disks replaced",
    "stale disks",
    "disks swapped",
    "disks taken back by a running set",
    "heals called off",
    "second failures mid-heal",
    "frames healed",
];

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let name = |number: u64| format!("run-{number}");
    let tally = cases::run(options, report, options.sized(60, 1000), name, |number, tally| {
        if let Err(wrong) = one(options.seed.wrapping_add(number), tally) {
            tally.broken(format!("run {number}: {wrong}"));
        }
    });
    report.goal("runs", tally.of("runs"), 1000.0);
    for what in FIGURES {
        report.figure(what, tally.of(what));
    }
    let mib = tally.of("bytes healed") / f64::from(1 << 20);
    report.figure("MiB healed", mib);
    let rate = mib / (tally.of("heal nanos") / 1e9).max(1e-9);
    report.computed("MiB/s healed per thread, small frames", rate, None);
    Ok(())
}

fn one(seed: u64, tally: &mut Tally) -> Result<(), String> {
    tally.count("runs", 1);
    let mut rng = SimRng::new(seed);
    let layout = LAYOUTS[rng.below(LAYOUTS.len() as u64) as usize];
    let mut workload = Workload::new(layout, seed, Vec::new());
    workload.rig.content = super::step::fine(4 << 20);
    workload.rig.ledger.adopt_blank = true;
    let (rig, world) = (&workload.rig, &workload.world);
    let mut possible = Possible::known(workload.model.clone());
    let disks = rig.disk_count();
    let parity = usize::from(layout.1);
    for _ in 0..3 {
        let image: Vec<DiskImage> = (0..disks).map(|disk| world.disk_image(&Rig::disk_name(disk))).collect();
        let mut store = open(rig, world)?;
        work(&store, &mut rng, &mut possible)?;
        drop(store);
        world.kill_process();
        // Up to parity disks are struck, at least one of them now, the others perhaps while it is healed.
        let mut bad: Vec<usize> = Vec::new();
        while bad.len() < 1 + rng.below(parity as u64) as usize {
            let disk = rng.below(disks as u64) as usize;
            if !bad.contains(&disk) {
                bad.push(disk);
            }
        }
        let first = Rig::disk_name(bad[0]);
        match rng.below(3) {
            0 => {
                tally.count("disks replaced", 1);
                world.bring_back_with(&first, &DiskImage::default());
            }
            1 => {
                tally.count("stale disks", 1);
                world.bring_back_with(&first, &image[bad[0]]);
            }
            _ => {
                // Cables mixed up: every disk says which it is, so the order does not matter.
                tally.count("disks swapped", 2);
                let other = Rig::disk_name((bad[0] + 1 + rng.below(disks as u64 - 1) as usize) % disks);
                world.swap(&first, &other);
            }
        }
        store = open(rig, world)?;
        check(&store, &mut possible, true)?;
        complete_is_complete(&store)?;
        work(&store, &mut rng, &mut possible)?;
        if rng.one_in(2) {
            store = back_while_running(store, rig, world, &first, &mut rng, &mut possible, tally)?;
        }
        if rng.one_in(3) {
            // Called off in the middle, a heal claims no more than it did.
            tally.count("heals called off", 1);
            let (mut stripes, at) = (0, 1 + rng.below(12));
            let called_off = store.namespace().store().ledger().heal(&PassOptions::default(), &mut |_| {
                stripes += 1;
                stripes < at
            });
            called_off.map_err(|error| format!("it cannot be healed: {error:?}"))?;
            complete_is_complete(&store)?;
        }
        if bad.len() > 1 && rng.one_in(2) {
            tally.count("second failures mid-heal", 1);
            let mut stripes = 0;
            let at = 1 + rng.below(8);
            let second = Rig::disk_name(bad[1]);
            drop(store.namespace().store().ledger().heal(&PassOptions::default(), &mut |_| {
                stripes += 1;
                if stripes == at {
                    world.vanish(&second);
                }
                true
            }));
            world.vanish(&second);
            check(&store, &mut possible, false)?;
            drop(store);
            world.kill_process();
            world.bring_back_with(&second, &DiskImage::default());
            store = open(rig, world)?;
        }
        heal(&store, tally)?;
        check(&store, &mut possible, false)?;
        drop(store);
        world.kill_process();
        // Whole again: any parity disks may now be away.
        let before = world.snapshot();
        let away = rng.below(disks as u64) as usize;
        (0..parity).for_each(|n| world.vanish(&Rig::disk_name((away + n) % disks)));
        let store = open(rig, world)?;
        check(&store, &mut possible, true)?;
        drop(store);
        world.restore(&before);
    }
    Ok(())
}

fn open(rig: &Rig, world: &SimWorld) -> Result<OpenStore, String> {
    rig.open(world).map_err(|error| format!("it does not open: {error:?}"))
}

/// A disk that counts as complete lacks nothing.
fn complete_is_complete(store: &OpenStore) -> Result<(), String> {
    let ledger = store.namespace().store().ledger();
    let found = ledger
        .verify(&PassOptions::default(), &mut |_| true)
        .map_err(|error| format!("it cannot be verified: {error:?}"))?;
    for (disk, frames) in ledger.status().disks.iter().zip(&found.disks) {
        if disk.state == DiskState::Active && frames.damaged + frames.missing > 0 {
            return Err(format!("{} counts as complete and lacks frames: {frames:?}", disk.label));
        }
    }
    Ok(())
}

/// The disk is pulled from the running set, some is written, and it or an empty one is taken in.
fn back_while_running(
    store: OpenStore,
    rig: &Rig,
    world: &SimWorld,
    disk: &str,
    rng: &mut SimRng,
    possible: &mut Possible,
    tally: &mut Tally,
) -> Result<OpenStore, String> {
    let ledger = Arc::clone(store.namespace().store().ledger());
    let place = ledger.status().disks.iter().position(|known| known.label == disk);
    world.vanish(disk);
    for _ in 0..2 + rng.below(4) {
        let step = Step::Put(format!("while-away-{}", rng.below(3)), rng.below(1 << 20));
        let answer = run_step(&store, &step);
        possible.note(&step, &answer, answer.is_ok())?;
    }
    let away = place.filter(|place| ledger.status().disks[*place].state == DiskState::Gone);
    let blank = away.is_some() && rng.one_in(2);
    world.bring_back(disk);
    if blank {
        world.bring_back_with(disk, &DiskImage::default());
    }
    let taken = match away {
        Some(place) if blank => {
            ledger.replace_disk(DiskIndex(place as u8), world.disk(disk)).map(|joined| joined.written)
        }
        Some(_) => ledger.rejoin(world.disk(disk)).map(|joined| joined.written),
        // Nobody noticed: as after any start.
        None => Ok(false),
    };
    if !taken.map_err(|error| format!("{disk} is not taken back: {error:?}"))? {
        drop(store);
        world.kill_process();
        let store = open(rig, world)?;
        check(&store, possible, true)?;
        return Ok(store);
    }
    tally.count("disks taken back by a running set", 1);
    check(&store, possible, false)?;
    complete_is_complete(&store)?;
    // The power goes, and what is said of that disk must be so.
    drop(store);
    world.restart(rng.below(3));
    let store = open(rig, world)?;
    check(&store, possible, true)?;
    complete_is_complete(&store)?;
    Ok(store)
}

fn work(store: &OpenStore, rng: &mut SimRng, possible: &mut Possible) -> Result<(), String> {
    for _ in 0..rng.below(6) {
        let step = Step::any(rng);
        let answer = run_step(store, &step);
        possible.note(&step, &answer, answer.is_ok())?;
    }
    Ok(())
}

fn check(store: &OpenStore, possible: &mut Possible, started: bool) -> Result<(), String> {
    let found = seen(store.namespace()).map_err(|error| format!("it cannot be read: {error:?}"))?;
    if started {
        possible.check_after_crash(&found)?
    } else {
        possible.check_now(&found)?
    }
    violations(store.namespace()).into_iter().next().map_or(Ok(()), Err)
}

/// Heals, scrubs, and counts.
fn heal(store: &OpenStore, tally: &mut Tally) -> Result<(), String> {
    let ledger = store.namespace().store().ledger();
    let clock = SystemClock::new();
    let report = ledger
        .heal(&PassOptions::default(), &mut |_| true)
        .map_err(|error| format!("it cannot be healed: {error:?}"))?;
    let nanos = clock.monotonic_nanos();
    if !report.is_whole() {
        return Err(format!("a heal leaves {report:?}"));
    }
    let healed: u64 = report.disks.iter().map(|disk| disk.healed).sum();
    tally.count("frames healed", healed);
    if healed > 0 {
        tally.count("heal nanos", nanos);
        let position = ledger.status().position;
        tally.count("bytes healed", position.offset * healed / report.stripes.max(1));
    }
    let scrub = ledger
        .verify(&PassOptions::default(), &mut |_| true)
        .map_err(|error| format!("it cannot be scrubbed: {error:?}"))?;
    if scrub.unreadable_count > 0 || scrub.disks.iter().any(|disk| disk.damaged + disk.missing > 0) {
        return Err(format!("a scrub after the heal finds {scrub:?}"));
    }
    Ok(())
}

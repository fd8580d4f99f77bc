//! Row `crash`: the power goes at every I/O of every small workload, any part of what was not synced survives, and disks
//! are lost on top. What was acknowledged is there, nothing is half there, and recovering again changes nothing.
//!
//! The upper half runs whole stores (what a client sees), the lower half the ledger alone (many more states).

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Result;
use parking_lot::Mutex;
use strata_seam::sim::{CrashState, SimRng, SimWorld, Submission, explore_crashes};
use strata_seam::{Clock, SystemClock};

use super::model::{Seen, difference, seen};
use super::rig::{Layout, Rig, leftovers, violations};
use super::workload::{Workload, run as run_step, sequences};
use super::{log, states, step::Step, upgrade};
use crate::cases::{self, Tally};
use crate::options::Options;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "crash",
    id: "R2",
    about: "power cuts at every I/O, with reordered, torn and lost writes and lost disks",
    run,
};

/// The layouts of whole stores.
const LAYOUTS: [Layout; 5] = [(2, 1), (4, 2), (1, 1), (3, 2), (2, 2)];
/// The longest a recovery may take, in seconds.
const RECOVERY_SECONDS_MAX: f64 = 5.0;

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let stores = sequences(options.seed, options.sized(12, usize::MAX), options.sized(3, 900));
    let logs = options.sized(24, 1200);
    let choices = options.sized(6, 16);
    let kinds = super::workload::kinds().len();
    // Both kinds from the start, so that a run that is cut short has some of each.
    let (store_count, count) = (stores.len() as u64, stores.len() as u64 + logs);
    // Behind them, so that each of the others keeps its number.
    let upgrades = options.sized(1, 2 * LAYOUTS.len() as u64);
    let store_of = |number: u64| {
        let store = number * store_count / count;
        ((number + 1) * store_count / count > store).then_some(store)
    };
    let name = |number: u64| match store_of(number) {
        _ if number >= count => format!("upgrade-{}", number - count),
        Some(store) => format!("store-{store}"),
        None => format!("log-{number}"),
    };
    let before = states::read(options, report)?;
    let known = before.each_ref().map(HashSet::len);
    let distinct = before.map(Mutex::new);
    let tally = cases::run(options, report, count + upgrades, name, |number, tally| match store_of(number) {
        _ if number >= count => {
            let layout = LAYOUTS[(number - count) as usize % LAYOUTS.len()];
            upgrade::explore(layout, options.seed.wrapping_add(number), choices.min(4), tally);
        }
        Some(store) => {
            let layout = LAYOUTS[(store % LAYOUTS.len() as u64) as usize];
            explore_store(layout, options.seed, &stores[store as usize], choices, store, &distinct[0], tally);
        }
        None => log::explore(options.seed.wrapping_add(number), choices, &distinct[1], tally),
    });
    let distinct = distinct.map(Mutex::into_inner);
    states::write(options, report, &distinct)?;
    let [stores, logs] = [0, 1].map(|kind| (distinct[kind].len() - known[kind]) as f64);
    report.goal("distinct states", stores + logs, 1_000_000.0);
    report.figure("of whole stores", stores);
    report.figure("of the ledger alone", logs);
    report.figure("power cuts", tally.of("cuts"));
    report.computed("kinds of operation", kinds as f64, None);
    report.figure("disks lost on top", tally.of("lost"));
    report.figure("upgrades cut off", tally.of("upgrades cut"));
    report.figure("recoveries repeated", tally.of("again"));
    report.figure("lost disks that came back after others went on", tally.of("returned"));
    report.figure("recoveries cut", tally.of("recut"));
    report.figure("recoveries with more disks silent than parity covers", tally.of("silence"));
    Ok(())
}

/// Names of the disks that a state loses on top of the crash: up to parity, drawn by the state itself.
pub(super) fn lost_disks((data, parity): Layout, state: &CrashState) -> Vec<String> {
    let mut rng = SimRng::new(state.io.wrapping_mul(31).wrapping_add(state.choices));
    let count = if rng.one_in(2) { rng.below(u64::from(parity) + 1) } else { 0 };
    let mut lost: Vec<usize> = Vec::new();
    while (lost.len() as u64) < count {
        let disk = rng.below(u64::from(data + parity)) as usize;
        if !lost.contains(&disk) {
            lost.push(disk);
        }
    }
    lost.into_iter().map(Rig::disk_name).collect()
}

fn explore_store(
    layout: Layout,
    seed: u64,
    steps: &[Step],
    choices: u64,
    number: u64,
    distinct: &Mutex<HashSet<u64>>,
    tally: &mut Tally,
) {
    let mut workload = Workload::new(layout, seed, steps.to_vec());
    // The same blocks are read for the tree and for the invariants; rebuilding one costs more than all else here.
    workload.rig.content = super::step::fine(4 << 20);
    let states = match workload.states() {
        Ok(states) => states,
        Err(wrong) => return tally.broken(wrong),
    };
    let Workload { rig, world, start, .. } = &workload;
    world.restore(start);
    let mut done: HashSet<(u64, usize)> = HashSet::new();
    let work = |world: &SimWorld| match rig.open(world) {
        Err(_) => 0,
        Ok(store) => {
            let mut acknowledged = 0;
            for step in steps {
                // A step that is refused for a reason is as good as done; one that met the crash is not.
                drop(run_step(&store, step));
                if world.is_crashed() {
                    break;
                }
                acknowledged += 1;
            }
            acknowledged
        }
    };
    let cuts = explore_crashes(world, Submission::DisksInParallel, 0..choices, work, |world, acknowledged, state| {
        let lost = lost_disks(layout, &state);
        lost.iter().for_each(|disk| world.vanish(disk));
        let hash = world.change_hash(start);
        if !done.insert((hash, *acknowledged)) {
            return;
        }
        distinct.lock().insert(with(hash, layout));
        tally.count("lost", u64::from(!lost.is_empty()));
        let allowed = &states[*acknowledged..states.len().min(*acknowledged + 2)];
        if let Err(wrong) = check(rig, world, allowed, state, tally) {
            tally.broken(format!(
                "{layout:?} {steps:?} (sequence {number}), {acknowledged} acknowledged, {state:?}, without {lost:?}: {wrong}"
            ));
        }
    });
    tally.count("cuts", cuts);
}

fn with(hash: u64, layout: Layout) -> u64 {
    let mut hasher = DefaultHasher::new();
    (hash, layout).hash(&mut hasher);
    hasher.finish()
}

/// Opens what the crash left and checks that it is one of the allowed states, and stays so.
fn check(rig: &Rig, world: &SimWorld, allowed: &[Seen], state: CrashState, tally: &mut Tally) -> Result<(), String> {
    // Some recoveries meet a crash of their own first; whatever that leaves must do as well.
    if state.choices % 4 == 3 {
        tally.count("recut", 1);
        let mut rng = SimRng::new(state.io ^ state.choices << 32);
        let from = world.io_count();
        world.crash_at(from + 1 + rng.below(80));
        drop(rig.open(world));
        world.restart(rng.next_u64());
    }
    let clock = SystemClock::new();
    let store = rig.open(world).map_err(|error| format!("it does not open: {error:?}"))?;
    let seconds = clock.monotonic_nanos() as f64 / 1e9;
    if seconds > RECOVERY_SECONDS_MAX {
        return Err(format!("recovery took {seconds:.1} s"));
    }
    let found = seen(store.namespace()).map_err(|error| format!("it cannot be read: {error:?}"))?;
    if !allowed.contains(&found) {
        return Err(format!("the tree is none of those allowed: {}", difference(&found, &allowed[0])));
    }
    let mut wrong = violations(store.namespace());
    if store.namespace().store().ledger().status().read_only.is_none() {
        wrong.extend(leftovers(store.namespace()));
    }
    if let Some(first) = wrong.first() {
        return Err(format!("{} invariants are broken: {first}", wrong.len()));
    }
    drop(store);
    if state.choices % 2 == 1 {
        // Whoever read this state was told it: another cut may not take it back.
        tally.count("again", 1);
        world.restart(state.choices.wrapping_mul(7));
        let store = rig.open(world).map_err(|error| format!("it does not open again: {error:?}"))?;
        let again = seen(store.namespace()).map_err(|error| format!("it cannot be read again: {error:?}"))?;
        if again != found {
            return Err(format!("a second recovery shows another tree: {}", difference(&again, &found)));
        }
        // And it takes writes, unless too few disks are left for that.
        let step = Step::Put("later".to_owned(), 3);
        if store.namespace().store().ledger().status().read_only.is_none() {
            run_step(&store, &step).map_err(|error| format!("it takes no writes: {error:?}"))?;
        }
    }
    Ok(())
}

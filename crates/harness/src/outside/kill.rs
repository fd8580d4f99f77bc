//! R5: the real program is killed, thousands of times, under load through every door, on the same data.
//!
//! One cycle: start a server (and now and then kill it while it starts), look through everything that clients were told,
//! put it under load for a few milliseconds to a second, often with a checkpoint, the mover or a heal under way, SIGKILL; now
//! and then check the resting store with fsck, take its index away, or take away or damage as many of its disks as it
//! has parity. Some servers live long enough for the index to be drained, and are killed about then. Several stores run side
//! by side; some servers find no descriptors for a while (`starve.rs`); all but one store are made anew now and then, so that they stay small. One in six lies on small disks, and is filled and
//! emptied instead (`full.rs`).

mod disturb;
mod full;
mod starve;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;

use crate::options::Options;
use crate::outside::check::{self, Trouble};
use crate::outside::kill::disturb::{Disturber, Done};
use crate::outside::lane::Lane;
use crate::outside::rng::Rng;
use crate::outside::server::{Place, can_mount, fingerprint, program};
use crate::outside::worker::Tally;
use crate::report::{Report, Times};
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "kill",
    id: "R5",
    about: "SIGKILL of the real program under load through all doors: nothing acknowledged is lost, nothing is half there",
    run,
};

const KILLS_SHORT: u64 = 25;
const KILLS_FULL: u64 = 10_000;
/// What a restart may take for 99 of 100, milliseconds.
const RESTART_P99_MS: f64 = 2000.0;
/// The row goes on with another store after a violation, until so many stores lie there to be looked at.
const STORES_KEPT_MAX: usize = 3;
/// Clients per store: one at home at each door.
const WORKERS: usize = 4;
/// Longest time under load.
const LOAD_MS_MAX: u64 = 1000;
/// Milliseconds that a server lives that is to be killed while it drains its index, which begins ten seconds after the first
/// change of a replay.
const DRAIN_MS: Range<u64> = 9_500..12_000;
/// What may be under way when a server is killed.
const BESIDE: [&str; 3] = ["reclaim", "heal", "scrub"];
/// A store is made anew after so many kills or bytes, whichever comes first ...
const KILLS_PER_STORE: u64 = 300;
const STORE_BYTES_MAX: u64 = 1 << 30;
/// ... and the one that grows, after these bytes.
const GROWING_BYTES_MAX: u64 = 4 << 30;
/// The case of stores on small disks alone.
const FULL: &str = "full";
/// One store in so many lies on small disks and is filled.
const FULL_ONE_IN: usize = 6;
/// One server in so many is starved of descriptors before it is killed.
const STARVED_ONE_IN: u64 = 12;
/// Disks and parity of the stores, in turn.
const LAYOUTS: [(usize, usize); 4] = [(3, 1), (6, 2), (1, 0), (4, 2)];

/// What all stores count together.
#[derive(Debug, Default)]
struct Counts {
    kills: AtomicU64,
    kills_at_start: AtomicU64,
    stores: AtomicU64,
    checks: AtomicU64,
    restarts: Mutex<Times>,
    /// Those that had to rebuild the index.
    rebuilds: Mutex<Times>,
    done: Mutex<BTreeMap<&'static str, u64>>,
    tally: Tally,
}

impl Counts {
    fn done(&self, what: &'static str) {
        *self.done.lock().entry(what).or_default() += 1;
    }
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let program = program(options)?;
    let folder = super::folder(options, "kill")?;
    report.program = fingerprint(&program)?;
    let goal = options.sized(KILLS_SHORT, KILLS_FULL);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count that was once a u64")]
    let to_do = goal.saturating_sub(report.before("kills") as u64);
    let only_full = options.case.as_deref() == Some(FULL);
    let mount = can_mount();
    if !mount {
        println!("  without the drive: it needs root and /dev/fuse");
    }
    let lanes = options.threads().min(to_do as usize).clamp(1, 4);
    let counts = Counts::default();
    let stop = AtomicBool::new(false);
    let violations = Mutex::new(Vec::new());
    let mut rng = Rng::new(options.seed);
    let clock = &*report;
    std::thread::scope(|scope| -> Result<()> {
        let running: Vec<_> = (0..lanes)
            .map(|lane| {
                let rng = rng.fork(lane as u64);
                let (program, folder) = (&program, folder.path().join(format!("lane{lane}")));
                let (counts, stop, violations) = (&counts, &stop, &violations);
                scope.spawn(move || {
                    let mut number = lane;
                    let mut rng = rng;
                    let finished = || {
                        stop.load(Ordering::Relaxed)
                            || counts.kills.load(Ordering::Relaxed) >= to_do
                            || clock.out_of_time()
                    };
                    while !finished() {
                        // The first store of the first lane is the one that grows.
                        let grows = number == 0 && options.full;
                        let (disks, parity) = LAYOUTS[number % LAYOUTS.len()];
                        number += lanes;
                        let place = Place::new(program, folder.join(format!("store{number}")), disks, parity, mount);
                        let ended = if mount && (only_full || number == 2 * lanes - 1 || number % FULL_ONE_IN == 1) {
                            full_store(&place, rng.fork(1), counts)
                        } else {
                            one_store(&place, rng.fork(1), grows, counts, &finished)
                        };
                        place.unmount();
                        match ended {
                            Ok(()) => drop(fs::remove_dir_all(&place.folder)),
                            Err(trouble) => {
                                let mut violations = violations.lock();
                                violations.push((trouble, place.folder.clone()));
                                stop.fetch_or(violations.len() >= STORES_KEPT_MAX, Ordering::Relaxed);
                            }
                        }
                    }
                })
            })
            .collect();
        for lane in running {
            lane.join().map_err(|panic| anyhow::anyhow!(crate::report::panic_text(&*panic)))?;
        }
        Ok(())
    })?;
    let violations = violations.into_inner();
    if !violations.is_empty() {
        println!("  the stores are kept below {}", folder.keep().display());
    }
    for (trouble, place) in violations {
        let told = match trouble {
            Trouble::Violation(told) | Trouble::Lost(told) => told,
        };
        report.violation(format!("{told} (kept: {})", place.display()), None);
    }
    figures(&counts, goal, report);
    Ok(())
}

fn figures(counts: &Counts, goal: u64, report: &mut Report) {
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
    let kills = of(&counts.kills);
    if kills + report.before("kills") < goal as f64 {
        report.set_cut_short();
    }
    report.goal("kills", kills, goal as f64);
    report.figure("of them while starting", of(&counts.kills_at_start));
    report.figure("stores", of(&counts.stores));
    report.figure("changes acknowledged", of(&counts.tally.acknowledged));
    report.figure("changes under way at a kill", of(&counts.tally.under_way));
    report.figure("reads compared under load", of(&counts.tally.reads));
    report.figure("requests repeated at the drive", of(&counts.tally.repeated));
    report.figure("checks by fsck", of(&counts.checks));
    for (what, count) in &*counts.done.lock() {
        report.figure(*what, *count as f64);
    }
    report.times("from start to all doors", &counts.restarts.lock(), Some(RESTART_P99_MS));
    report.times("the same with the index rebuilt", &counts.rebuilds.lock(), None);
    let kills = kills + report.before("kills");
    report.computed("kills per second", kills / report.seconds_so_far(), None);
}

/// A store that is filled and emptied.
fn full_store(place: &Place, rng: Rng, counts: &Counts) -> Result<(), Trouble> {
    let kills = full::one(place, rng)?;
    counts.kills.fetch_add(kills, Ordering::Relaxed);
    counts.stores.fetch_add(1, Ordering::Relaxed);
    counts.done("stores filled and emptied");
    Ok(())
}

/// Works on one store until it is large or all is done.
fn one_store(
    place: &Place,
    mut rng: Rng,
    grows: bool,
    counts: &Counts,
    finished: &dyn Fn() -> bool,
) -> Result<(), Trouble> {
    let lost = |error: anyhow::Error| Trouble::Lost(format!("{error:#}"));
    let mut disturber = Disturber::new(place, &mut rng);
    let mut lane = Lane::new(place.clone(), WORKERS, rng.fork(2));
    lane.make().map_err(lost)?;
    counts.stores.fetch_add(1, Ordering::Relaxed);
    let mut kills = 0;
    while !finished() {
        if rng.one_in(10) {
            let mut server = place.spawn().map_err(lost)?;
            std::thread::sleep(Duration::from_millis(rng.magnitude(128)));
            server.kill();
            counts.kills_at_start.fetch_add(1, Ordering::Relaxed);
            counts.kills.fetch_add(1, Ordering::Relaxed);
        }
        let (mut server, doors, took) = lane.start()?;
        let times = if disturber.index_gone { &counts.rebuilds } else { &counts.restarts };
        times.lock().add(took.as_secs_f64() * 1e3);
        let read_only = place.disks.len() - disturber.away().len() < place.write_quorum();
        lane.check(&doors, read_only).map_err(|trouble| match trouble {
            Trouble::Lost(told) => Trouble::Violation(format!("the server went away: {told}: {}", server.last_words())),
            violation => violation,
        })?;
        if rng.one_in(60) {
            std::thread::sleep(Duration::from_millis(rng.within(DRAIN_MS)));
            counts.done("servers that lived to drain their index");
        }
        if !read_only && rng.one_in(STARVED_ONE_IN) {
            starve::one(&mut lane, (&mut server, &doors), &mut rng, &counts.tally).map_err(
                |trouble| match trouble {
                    Trouble::Lost(told) => {
                        Trouble::Violation(format!("the server went away: {told}: {}", server.last_words()))
                    }
                    violation => violation,
                },
            )?;
            counts.done("servers starved of descriptors");
        }
        let time = Duration::from_millis(2 + rng.magnitude(LOAD_MS_MAX));
        let command = if rng.one_in(6) { rng.choose(&BESIDE) } else { None };
        let beside = command.map(|command| place.beside(command)).transpose().map_err(lost)?;
        lane.load(&mut server, &doors, (time, read_only), &counts.tally, |server, _| {
            server.kill();
            Ok(())
        })?;
        drop(server);
        if let Some(beside) = beside {
            beside.ends().map_err(|error| Trouble::Violation(error.to_string()))?;
            counts.done("kills with a checkpoint, the mover, a heal or a scrub under way");
        }
        kills += 1;
        counts.kills.fetch_add(1, Ordering::Relaxed);
        if rng.one_in(25) && disturber.away().is_empty() {
            place.unmount();
            check::fsck(place, &disturber.touched)?;
            counts.checks.fetch_add(1, Ordering::Relaxed);
        }
        let done = disturber.disturb(place, &mut rng);
        for done in done.context("the store cannot be disturbed").map_err(lost)? {
            let what = match done {
                Done::IndexRemoved => "times the index was removed",
                Done::IndexDamaged => "times the index was damaged",
                Done::SegmentsRemoved => "disks that lost segments",
                Done::SegmentDamaged => "disks with a damaged segment",
                Done::DiskAway => "disks away for a cycle",
            };
            counts.done(what);
        }
        let bytes = bytes_below(&place.data());
        if bytes > GROWING_BYTES_MAX || (!grows && (kills >= KILLS_PER_STORE || bytes > STORE_BYTES_MAX)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Bytes of all files below a folder; what cannot be looked at counts nothing.
fn bytes_below(folder: &Path) -> u64 {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => bytes += found.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

//! R6: the power of real file systems is cut under the real program, thousands of times.
//!
//! The disks of a store are folders on ext4 or XFS, mounted through loop devices: all on one file system, which is cut
//! off as a whole together with the index; or one file system per disk, cut off all together or one alone while the server goes
//! on. Then the server is killed, everything is unmounted and mounted again (journal recovery), a server is started, and
//! every client's acknowledgements are held against what it finds.

mod medium;
mod shutdown;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;

use crate::options::Options;
use crate::outside::check::{self, Trouble};
use crate::outside::lane::Lane;
use crate::outside::power::medium::{Kind, Medium};
use crate::outside::rng::Rng;
use crate::outside::server::{Place, fingerprint, program};
use crate::outside::worker::Tally;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "power",
    id: "R6",
    about: "power cuts of real ext4 and XFS under the real program: nothing acknowledged is lost, nothing is half there",
    run,
};

const CUTS_SHORT: u64 = 10;
const CUTS_FULL: u64 = 2000;
/// Clients per store.
const WORKERS: usize = 3;
/// Longest time under load before a cut.
const LOAD_MS_MAX: u64 = 400;
/// Longest time that a server goes on without one of its disks.
const DEGRADED_MS_MAX: u64 = 200;
/// The row goes on with another store after a violation, until so many lie there to be looked at.
const STORES_KEPT_MAX: usize = 3;
/// A store is made anew when a file system is so full, or after so many cuts.
const USED_MAX: f64 = 0.6;
const CUTS_PER_STORE: u64 = 150;

/// What the file systems are to the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Arrangement {
    /// Everything, the index included, is on one.
    One,
    /// Each disk is on its own.
    Each,
}

#[derive(Debug, Default)]
struct Counts {
    cuts: AtomicU64,
    cuts_alone: AtomicU64,
    stores: AtomicU64,
    tally: Tally,
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let program = program(options)?;
    report.program = fingerprint(&program)?;
    let goal = options.sized(CUTS_SHORT, CUTS_FULL);
    // In memory where there is room: what is tried lies above the block device, and syncs are then quick.
    let memory = Path::new("/dev/shm");
    let placed = options.dir.is_none() && memory.is_dir();
    let options =
        &Options { dir: if placed { Some(memory.to_owned()) } else { options.dir.clone() }, ..options.clone() };
    let folder = super::folder(options, "power")?;
    let stop = AtomicBool::new(false);
    let violations = Mutex::new(Vec::new());
    let mut rng = Rng::new(options.seed);
    let mut tried = Vec::new();
    let wanted = |kind: &Kind| options.case.as_deref().is_none_or(|case| case == kind.word());
    for kind in [Kind::Ext4, Kind::Xfs].into_iter().filter(wanted) {
        match kind.missing() {
            None => tried.push((kind, Counts::default(), rng.fork(kind as u64))),
            Some(why) => println!("  {} is skipped: {why}", kind.word()),
        }
    }
    let clock = &*report;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count that was once a u64")]
    let to_do = |kind: Kind| goal.saturating_sub(clock.before(&figure_of(kind)) as u64);
    std::thread::scope(|scope| {
        for (kind, counts, rng) in &tried {
            let (program, folder) = (&program, folder.path().join(kind.word()));
            let (stop, violations) = (&stop, &violations);
            scope.spawn(move || {
                let mut rng = rng.clone();
                let cuts = || counts.cuts.load(Ordering::Relaxed);
                let finished = || stop.load(Ordering::Relaxed) || cuts() >= to_do(*kind) || clock.out_of_time();
                while !finished() {
                    let number = counts.stores.fetch_add(1, Ordering::Relaxed);
                    // A short run shows both.
                    let arrangement = if number.is_multiple_of(2) { Arrangement::One } else { Arrangement::Each };
                    let most = if goal == CUTS_SHORT { CUTS_SHORT / 2 } else { CUTS_PER_STORE };
                    let place = Place::new(program, folder.join(format!("store{number}")), 3, 1, false);
                    let kept = place.folder.clone();
                    match one_store(*kind, arrangement, place, &mut rng, (counts, most, &finished)) {
                        Ok(()) => drop(fs::remove_dir_all(&kept)),
                        Err(trouble) => {
                            let mut violations = violations.lock();
                            violations.push((*kind, arrangement, trouble, kept));
                            stop.fetch_or(violations.len() >= STORES_KEPT_MAX, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let violations = violations.into_inner();
    if !violations.is_empty() {
        println!("  the file systems are kept below {}", folder.keep().display());
    }
    for (kind, arrangement, trouble, kept) in violations {
        let told = match trouble {
            Trouble::Violation(told) | Trouble::Lost(told) => told,
        };
        report.violation(format!("{} {arrangement:?}: {told} (kept: {})", kind.word(), kept.display()), None);
    }
    for (kind, counts, _) in &tried {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        if of(&counts.cuts) + report.before(&figure_of(*kind)) < goal as f64 {
            report.set_cut_short();
        }
        let word = kind.word();
        report.goal(figure_of(*kind), of(&counts.cuts), goal as f64);
        report.figure(format!("of them of one disk of {word} alone"), of(&counts.cuts_alone));
        report.figure(format!("changes acknowledged on {word}"), of(&counts.tally.acknowledged));
        report.figure(format!("changes under way at a cut of {word}"), of(&counts.tally.under_way));
        if *kind == Kind::Xfs {
            report.figure("replies that came while xfs was being cut off", of(&counts.tally.late));
        }
    }
    Ok(())
}

fn figure_of(kind: Kind) -> String {
    format!("cuts of {}", kind.word())
}

/// Cuts the power of one store until its file systems are full or all is done.
fn one_store(
    kind: Kind,
    arrangement: Arrangement,
    mut place: Place,
    rng: &mut Rng,
    (counts, most, finished): (&Counts, u64, &dyn Fn() -> bool),
) -> Result<(), Trouble> {
    let lost = |error: anyhow::Error| Trouble::Lost(format!("{error:#}"));
    fs::create_dir_all(&place.folder).map_err(|error| Trouble::Lost(error.to_string()))?;
    let image = |name: &str| place.folder.join(format!("{name}.image"));
    let mut media = Vec::new();
    match arrangement {
        Arrangement::One => media.push(Medium::make(kind, image("all"), place.data()).map_err(lost)?),
        Arrangement::Each => {
            let mut disks: Vec<PathBuf> = Vec::new();
            for disk in 0..place.disks.len() {
                let at = place.folder.join(format!("fs{disk}"));
                let disk_folder = at.join("disk");
                let medium = Medium::make(kind, image(&format!("fs{disk}")), at).map_err(lost)?;
                // Made by whoever owns the machine, long before the first cut.
                let made = fs::create_dir(&disk_folder).and_then(|()| fs::File::open(&medium.at)?.sync_all());
                made.map_err(|error| Trouble::Lost(error.to_string()))?;
                media.push(medium);
                disks.push(disk_folder);
            }
            place.disks = disks;
        }
    }
    let mut lane = Lane::new(place.clone(), WORKERS, rng.fork(1));
    lane.make().map_err(lost)?;
    for cut in 0..most {
        if finished() {
            break;
        }
        let (mut server, doors, _) = lane.start()?;
        lane.check(&doors, false).map_err(|trouble| match trouble {
            Trouble::Lost(told) => Trouble::Violation(format!("the server went away: {told}: {}", server.last_words())),
            violation => violation,
        })?;
        let time = Duration::from_millis(2 + rng.magnitude(LOAD_MS_MAX));
        let alone = arrangement == Arrangement::Each && rng.one_in(3);
        let first = rng.index(media.len());
        let degraded = Duration::from_millis(rng.magnitude(DEGRADED_MS_MAX));
        let linger = Duration::from_millis(rng.magnitude(8));
        // A power cut stops the processor, too. It must where XFS is cut off, which lets synchronous writes under way come
        // back as done although they are lost (docs/decisions/0017-segments-on-xfs.md): one disk may do that to a server,
        // not all of them at once. Elsewhere what a server says about dead disks is held against it.
        let void = !alone && kind == Kind::Xfs;
        let frozen = void || (!alone && rng.one_in(2));
        lane.load(&mut server, &doors, (time, true), &counts.tally, |server, nothing_counts| {
            let count = if alone { 1 } else { media.len() };
            nothing_counts.store(void, Ordering::SeqCst);
            if frozen {
                server.freeze().map_err(lost)?;
            }
            for at in 0..count {
                media[(first + at) % media.len()].cut().map_err(lost)?;
            }
            std::thread::sleep(if alone { degraded } else { linger });
            let died = alone && !server.runs();
            server.kill();
            if died {
                return Err(Trouble::Violation(format!("died with one disk of three: {}", server.last_words())));
            }
            Ok(())
        })?;
        drop(server);
        counts.cuts.fetch_add(1, Ordering::Relaxed);
        counts.cuts_alone.fetch_add(u64::from(alone), Ordering::Relaxed);
        for medium in &mut media {
            medium.unmount().and_then(|()| medium.mount()).map_err(lost)?;
        }
        // Disks that were cut off at different moments miss different frames.
        if rng.one_in(20) || cut + 1 == most {
            let missing: Vec<usize> = match arrangement {
                Arrangement::One => Vec::new(),
                Arrangement::Each => (0..place.disks.len()).collect(),
            };
            check::fsck(&place, &missing)?;
        }
        let used = media.iter().map(Medium::used).collect::<Result<Vec<f64>>>().map_err(lost)?;
        if used.into_iter().any(|used| used > USED_MAX) {
            break;
        }
    }
    Ok(())
}

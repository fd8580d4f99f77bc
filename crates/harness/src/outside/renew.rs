//! R10 on real folders: disks of the real program are emptied under load and replaced, come back as they were long ago,
//! change places, and are lost while another is being replaced.
//!
//! One run: a store with some megabytes in it, one such trouble within its parity, a heal that ends with the proof for
//! every object, and then, to see that the proof was true, as many of the *other* disks taken away as there is parity,
//! and everything read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::options::Options;
use crate::outside::check::Trouble;
use crate::outside::client::Failure;
use crate::outside::clock::Moment;
use crate::outside::door::{BUCKET, Clients};
use crate::outside::lane::Lane;
use crate::outside::rng::Rng;
use crate::outside::server::{Doors, Place, Server, fingerprint, program};
use crate::outside::worker::Tally;
use crate::report::{Report, Times};
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "renew",
    id: "R10",
    about: "disks of the real program replaced, stale, swapped, and failing while another is replaced",
    run,
};

const RUNS_SHORT: u64 = 4;
const RUNS_FULL: u64 = 50;
/// Disks and parity of the stores, in turn.
const LAYOUTS: [(usize, usize); 3] = [(6, 2), (3, 1), (5, 2)];
const WORKERS: usize = 3;
/// Time under load before and behind the trouble.
const LOAD: Duration = Duration::from_millis(250);
/// Objects that are written once and only read afterwards, and the bytes of each.
const OBJECTS: u64 = 24;
const OBJECT_LEN: usize = 1 << 20;
/// How long a server may take to see that a disk is gone.
const NOTICE_PATIENCE: Duration = Duration::from_secs(60);

/// What happens to the disks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// One is emptied under load, and replaced by a new one.
    Replaced,
    /// One comes back with the content of an earlier time.
    Stale,
    /// Two change places.
    Swapped,
    /// One is emptied and replaced, and another is emptied meanwhile; with one parity as [`Kind::Replaced`].
    SecondFailure,
}

const KINDS: [Kind; 4] = [Kind::Replaced, Kind::Stale, Kind::Swapped, Kind::SecondFailure];

#[derive(Debug, Default)]
struct Counts {
    kinds: [u64; KINDS.len()],
    seconds: Times,
    /// By all heals together, in frames, bytes of disks and seconds.
    frames: u64,
    bytes: u64,
    total_seconds: f64,
    tally: Tally,
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let program = program(options)?;
    report.program = fingerprint(&program)?;
    let folder = super::folder(options, "renew")?;
    let goal = options.sized(RUNS_SHORT, RUNS_FULL);
    let mut counts = Counts::default();
    let mut rng = Rng::new(options.seed);
    let mut runs = 0;
    while runs < goal && !report.out_of_time() {
        let (disks, parity) = LAYOUTS[runs as usize % LAYOUTS.len()];
        let kind = KINDS[runs as usize % KINDS.len()];
        let place = Place::new(&program, folder.path().join(format!("store{runs}")), disks, parity, false);
        let kept = place.folder.clone();
        let ended = one_run(kind, place, rng.fork(runs), &mut counts);
        runs += 1;
        match ended {
            Ok(()) => drop(fs::remove_dir_all(&kept)),
            Err(Trouble::Violation(told) | Trouble::Lost(told)) => {
                println!("  the store is kept below {}", folder.keep().display());
                report.violation(format!("{kind:?}: {told} (kept: {})", kept.display()), None);
                break;
            }
        }
    }
    if runs < goal {
        report.set_cut_short();
    }
    report.goal("runs", runs as f64, goal as f64);
    for (kind, count) in KINDS.iter().zip(counts.kinds) {
        report.figure(format!("{kind:?}"), count as f64);
    }
    report.figure("changes acknowledged", counts.tally.acknowledged.into_inner() as f64);
    report.figure("frames in the proofs", counts.frames as f64);
    report.times("from the command to the proof", &counts.seconds, None);
    let mib = counts.bytes as f64 / f64::from(1 << 20);
    report.computed("MiB of disk looked through per second of heal", mib / counts.total_seconds.max(1e-9), None);
    Ok(())
}

/// The content of the object `number`: noise, other for each store.
fn content(place: &Place, number: u64) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(place.folder.as_os_str().as_encoded_bytes()).update(&number.to_le_bytes());
    let mut bytes = vec![0; OBJECT_LEN];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn key(number: u64) -> String {
    format!("/{BUCKET}/large/{number}")
}

fn io_failed(error: io::Error) -> Trouble {
    Trouble::Lost(error.to_string())
}

/// A store through one trouble.
fn one_run(kind: Kind, mut place: Place, mut rng: Rng, counts: &mut Counts) -> Result<(), Trouble> {
    let kind = if place.parity < 2 && kind == Kind::SecondFailure { Kind::Replaced } else { kind };
    counts.kinds[kind as usize] += 1;
    let lost = |error: anyhow::Error| Trouble::Lost(format!("{error:#}"));
    let mut lane = Lane::new(place.clone(), WORKERS, rng.fork(1));
    lane.make().map_err(lost)?;
    let (mut server, mut doors, _) = lane.start()?;
    let mut clients = Clients::new(&doors)?;
    for number in 0..OBJECTS {
        clients.s3.send(("PUT", &key(number), ""), &[], &content(&place, number))?;
    }
    drop(clients);
    let load = |lane: &mut Lane, server: &mut _, doors: &Doors, refuse: bool| {
        lane.load(server, doors, (LOAD, refuse), &counts.tally, |_, _| Ok(()))
    };
    load(&mut lane, &mut server, &doors, false)?;
    let first = rng.index(place.disks.len());
    let other = (first + 1 + rng.index(place.disks.len() - 1)) % place.disks.len();
    let mut struck = vec![first];
    let healed = match kind {
        Kind::Replaced => {
            empty(&place.disks[first]).map_err(io_failed)?;
            replace(&mut lane, (&mut server, &doors), first, &counts.tally, true)?
        }
        Kind::SecondFailure => {
            empty(&place.disks[first]).map_err(io_failed)?;
            struck.push(other);
            // A heal of so little takes a moment: the other is emptied before it, in it, or right behind.
            let folder = place.disks[other].clone();
            let wait = Duration::from_millis(rng.magnitude(300));
            let meanwhile = std::thread::spawn(move || {
                std::thread::sleep(wait);
                empty(&folder)
            });
            let ended = replace(&mut lane, (&mut server, &doors), first, &counts.tally, false);
            meanwhile.join().map_err(|panic| Trouble::Lost(crate::report::panic_text(&*panic)))?.map_err(io_failed)?;
            ended?;
            // It shows what it took, and takes more as soon as enough disks were handed in.
            lane.check(&doors, true)?;
            replace(&mut lane, (&mut server, &doors), other, &counts.tally, true)?
        }
        Kind::Stale | Kind::Swapped => {
            server.kill();
            let aside = place.folder.join("aside");
            if kind == Kind::Stale {
                copy(&place.disks[first], &aside).map_err(io_failed)?;
                (server, doors, _) = lane.start()?;
                lane.check(&doors, false)?;
                load(&mut lane, &mut server, &doors, false)?;
                server.kill();
                fs::remove_dir_all(&place.disks[first]).map_err(io_failed)?;
            } else {
                fs::rename(&place.disks[first], &aside).map_err(io_failed)?;
                fs::rename(&place.disks[other], &place.disks[first]).map_err(io_failed)?;
            }
            let back = if kind == Kind::Stale { first } else { other };
            fs::rename(&aside, &place.disks[back]).map_err(io_failed)?;
            (server, doors, _) = lane.start()?;
            lane.check(&doors, false)?;
            load(&mut lane, &mut server, &doors, false)?;
            proof(&place, &["heal", "--json"])?.map_err(Trouble::Violation)?
        }
    };
    place.disks.clone_from(&lane.place.disks);
    // Some of it the server has healed by itself before it was asked for the proof.
    let frames = |disk: &Value| ["good", "healed"].iter().filter_map(|state| disk[*state].as_u64()).sum::<u64>();
    counts.frames += healed.said["disks"].as_array().into_iter().flatten().map(frames).sum::<u64>();
    counts.bytes += place.disks.iter().map(|disk| bytes_of(disk)).sum::<u64>();
    counts.seconds.add(healed.took.as_secs_f64() * 1e3);
    counts.total_seconds += healed.took.as_secs_f64();
    look(&place, &mut lane, &doors)?;
    load(&mut lane, &mut server, &doors, false)?;
    server.kill();
    // The disks that were healed carry the store now.
    let others: Vec<usize> = (0..place.disks.len()).filter(|disk| !struck.contains(disk)).take(place.parity).collect();
    let away = |disk: usize| place.folder.join(format!("away{disk}"));
    for disk in &others {
        fs::rename(&place.disks[*disk], away(*disk)).map_err(io_failed)?;
    }
    let (mut server, doors, _) = lane.start()?;
    let undecided = place.disks.len() - others.len() < place.write_quorum();
    lane.check(&doors, undecided)?;
    objects(&place, &doors)?;
    server.kill();
    Ok(())
}

/// Looks through everything.
fn look(place: &Place, lane: &mut Lane, doors: &Doors) -> Result<(), Trouble> {
    lane.check(doors, false)?;
    objects(place, doors)
}

/// Reads the objects that were written once.
fn objects(place: &Place, doors: &Doors) -> Result<(), Trouble> {
    let mut clients = Clients::new(doors)?;
    for number in 0..OBJECTS {
        let key = key(number);
        match clients.s3.send(("GET", &key, ""), &[], b"") {
            Ok(answer) if answer.body == content(place, number) => {}
            Ok(answer) => {
                let len = answer.body.len();
                return Err(Trouble::Violation(format!("{key} reads as {len} other bytes")));
            }
            Err(Failure::Refused { code, said }) => {
                return Err(Trouble::Violation(format!("{key} cannot be read: {code} {said}")));
            }
            Err(lost) => return Err(lost.into()),
        }
    }
    Ok(())
}

/// A heal that came to its end.
struct Healed {
    said: Value,
    took: Duration,
}

/// Puts a new folder in the place of a disk that was emptied, under load until the server has noticed. With `whole` it must
/// end with the proof that everything is.
fn replace(
    lane: &mut Lane,
    (server, doors): (&mut Server, &Doors),
    disk: usize,
    tally: &Tally,
    whole: bool,
) -> Result<Healed, Trouble> {
    // A new disk is somewhere else: the server may have made files in the old folder before it knew.
    let folder = lane.place.folder.join("data").join(format!("new{disk}"));
    let place = lane.place.clone();
    lane.place.disks[disk].clone_from(&folder);
    let asked = ["disk", "replace", &disk.to_string(), &folder.to_string_lossy(), "--json"];
    let begun = Moment::now();
    loop {
        let ended = proof(&place, &asked)?;
        match ended {
            Ok(healed) => return Ok(healed),
            // As far as anybody knows: nothing was written to it since.
            Err(told) if told.contains("is in order and was left alone") && begun.elapsed() < NOTICE_PATIENCE => {
                lane.load(server, doors, (LOAD, !whole), tally, |_, _| Ok(()))?;
            }
            Err(told) if whole => return Err(Trouble::Violation(told)),
            Err(_) => return Ok(Healed { said: Value::Null, took: Duration::ZERO }),
        }
    }
}

/// Runs a command that ends with the proof; what it says of the heal, or why not everything is whole.
fn proof(place: &Place, arguments: &[&str]) -> Result<Result<Healed, String>, Trouble> {
    let begun = Moment::now();
    let ended = place.ask(arguments).map_err(io_failed)?;
    let took = begun.elapsed();
    if ended.status.success() {
        return Ok(Ok(Healed { said: serde_json::from_slice(&ended.stdout).unwrap_or(Value::Null), took }));
    }
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    Ok(Err(format!("strata {}: {}: {err} {out}", arguments.join(" "), ended.status)))
}

/// Everything on a disk is gone; the folder stays, as a mount point would.
fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        match fs::remove_file(entry?.path()) {
            // The server may have removed it, or made another meanwhile.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for file in files(from)? {
        if let Some(name) = file.file_name() {
            fs::copy(&file, to.join(name))?;
        }
    }
    Ok(())
}

fn bytes_of(folder: &Path) -> u64 {
    let files = files(folder).unwrap_or_default();
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|found| found.len()).sum()
}

//! R17: who follows a real server by `strata watch --cursor` knows its tree, however often the server and the reader are killed.
//!
//! One cycle: start a server, look through what clients were told, let the reader catch up and hold what it knows against what S3 lists; then load
//! through every door, with a reader beside it or without, with a reclaim under way now and then; then SIGKILL, of the reader
//! too, or of the reader first. A change is told once: the store says with which one the reader has confirmed, none up to that comes again, and those
//! behind it come again the same.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::follower::{Follower, Sequence, Told, sequence};
use crate::options::Options;
use crate::outside::check::Trouble;
use crate::outside::client::s3::S3;
use crate::outside::door::BUCKET;
use crate::outside::lane::Lane;
use crate::outside::rng::Rng;
use crate::outside::server::{Doors, Place, can_mount, fingerprint, program};
use crate::outside::worker::Tally;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "events",
    id: "R17",
    about: "SIGKILL of the real program and its reader under load through all doors: each change is told once, in order, and none that did not happen",
    run,
};

const KILLS_SHORT: u64 = 12;
const KILLS_FULL: u64 = 1000;
const WORKERS: usize = 4;
/// Longest time under load, milliseconds.
const LOAD_MS_MAX: u64 = 800;
/// Cycles of one store, and its layouts in turn.
const KILLS_PER_STORE: u64 = 60;
const LAYOUTS: [(usize, usize); 3] = [(3, 1), (1, 0), (6, 2)];
/// The reader's name.
const CURSOR: &str = "follower";

/// What is counted.
#[derive(Default)]
struct Counts {
    kills: u64,
    stores: u64,
    events: u64,
    again: u64,
    beside: u64,
    reclaims: u64,
    compared: u64,
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let program = program(options)?;
    let folder = super::folder(options, "events")?;
    report.program = fingerprint(&program)?;
    let goal = options.sized(KILLS_SHORT, KILLS_FULL);
    let mut rng = Rng::new(options.seed);
    let (mut counts, tally) = (Counts::default(), Tally::default());
    let mut number = 0;
    while counts.kills < goal && !report.out_of_time() && report.kept() {
        let (disks, parity) = LAYOUTS[number % LAYOUTS.len()];
        number += 1;
        let place = Place::new(&program, folder.path().join(format!("store{number}")), disks, parity, can_mount());
        let ended = one_store(&place, rng.fork(number as u64), &mut counts, &tally, &|counts: &Counts| {
            counts.kills >= goal || report.out_of_time()
        });
        place.unmount();
        match ended {
            Ok(()) => drop(std::fs::remove_dir_all(&place.folder)),
            Err(Trouble::Violation(told) | Trouble::Lost(told)) => {
                report.violation(format!("{told} (seed {}, store {number})", options.seed), None);
            }
        }
    }
    let acknowledged = tally.acknowledged.load(std::sync::atomic::Ordering::Relaxed);
    if counts.kills < goal {
        report.set_cut_short();
    }
    report.goal("kills", counts.kills as f64, goal as f64);
    report.figure("stores", counts.stores as f64);
    report.figure("changes acknowledged", acknowledged as f64);
    report.figure("events followed", counts.events as f64);
    report.figure("told again, unconfirmed", counts.again as f64);
    report.figure("kills with the reader under way", counts.beside as f64);
    report.figure("reclaims beside a reader that was behind", counts.reclaims as f64);
    report.figure("trees compared", counts.compared as f64);
    Ok(())
}

/// What the reader keeps, in a file say, beside what the store keeps of it.
#[derive(Default)]
struct Kept {
    follower: Follower,
    /// Told, and not known to be confirmed.
    recent: BTreeMap<Sequence, Told>,
}

impl Kept {
    /// Takes what a reader printed that went on behind `confirmed`.
    fn take(&mut self, lines: &[String], confirmed: Sequence, counts: &mut Counts) -> Result<(), String> {
        for line in lines {
            let told = Told::parse(line)?;
            if told.sequence <= confirmed {
                return Err(format!("told again of what was confirmed up to {confirmed:?}: {told:?}"));
            }
            if self.follower.last.is_some_and(|last| told.sequence <= last) {
                if self.recent.get(&told.sequence) != Some(&told) {
                    return Err(format!("told otherwise the second time: {told:?}"));
                }
                counts.again += 1;
                continue;
            }
            self.follower.follow(&told)?;
            counts.events += 1;
            self.recent.insert(told.sequence, told);
        }
        Ok(())
    }
}

/// Everything that `strata watch` prints until it ends or is ended.
struct Watching {
    child: Child,
    lines: std::thread::JoinHandle<Vec<String>>,
}

impl Watching {
    fn begin(place: &Place) -> Result<Self> {
        let mut command = place.command(&["watch", "--json", "--cursor", CURSOR, "--from", "start"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let Some(stdout) = child.stdout.take() else { anyhow::bail!("a pipe was asked for") };
        let lines = std::thread::spawn(move || {
            // What was cut off in the midst of a line was not told.
            let mut lines = Vec::new();
            let mut reader = BufReader::new(stdout);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|len| len > 0) && line.ends_with('\n') {
                lines.push(line.trim_end().to_owned());
                line.clear();
            }
            lines
        });
        Ok(Self { child, lines })
    }

    /// Kills it, if it is not gone, and gives what it printed.
    fn end(mut self) -> Result<Vec<String>, String> {
        // It may have ended with its server.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.lines.join().map_err(|panic| crate::report::panic_text(&*panic))
    }
}

/// Up to where the reader has confirmed, as the store has it.
fn confirmed(place: &Place) -> Result<Option<Sequence>, Trouble> {
    let lost = |error: String| Trouble::Lost(error);
    let output = place.ask(&["watch", "--list", "--json"]).map_err(|error| lost(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let readers: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| lost(format!("{error}: {said}")))?;
    let ours = readers.as_array().into_iter().flatten().find(|reader| reader["name"] == CURSOR);
    Ok(ours.and_then(|reader| sequence(reader["after"].as_str()?)))
}

/// Lets the reader catch up with a server that nobody changes anything in.
fn catch_up(place: &Place, kept: &mut Kept, counts: &mut Counts) -> Result<(), Trouble> {
    let before = confirmed(place)?.unwrap_or_default();
    // What is confirmed is not told again, so nobody has to remember it.
    kept.recent = kept.recent.split_off(&before);
    let arguments = ["watch", "--json", "--cursor", CURSOR, "--from", "start", "--once"];
    let output = place.ask(&arguments).map_err(|error| Trouble::Lost(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Trouble::Violation(format!("strata watch: {said}")));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    kept.take(&lines, before, counts).map_err(Trouble::Violation)
}

/// What the follower knows against what S3 lists.
fn compare(doors: &Doors, follower: &Follower) -> Result<(), Trouble> {
    let listed = S3::new(doors).list(BUCKET, "")?;
    let there: BTreeMap<&str, (u64, Option<&str>)> = listed
        .iter()
        .filter(|object| !object.key.ends_with('/'))
        .map(|object| (object.key.as_str(), (object.size, Some(object.etag.as_str()))))
        .collect();
    let known: BTreeMap<&str, (u64, Option<&str>)> =
        follower.files(BUCKET).map(|(path, node)| (path, (node.size, node.etag.as_deref()))).collect();
    for path in there.keys().chain(known.keys()) {
        let (is, told) = (there.get(path), known.get(path));
        // An empty file that was made at a file door has no content that an event would tell of.
        let alike = is.map(|is| is.0) == told.map(|told| told.0)
            && (is.map(|is| is.1) == told.map(|told| told.1) || told.is_some_and(|told| told.1.is_none()));
        if !alike {
            return Err(Trouble::Violation(format!("{path}: listed as {is:?}, told as {told:?}")));
        }
    }
    Ok(())
}

fn one_store(
    place: &Place,
    mut rng: Rng,
    counts: &mut Counts,
    tally: &Tally,
    finished: &dyn Fn(&Counts) -> bool,
) -> Result<(), Trouble> {
    let lost = |error: anyhow::Error| Trouble::Lost(format!("{error:#}"));
    let mut lane = Lane::new(place.clone(), WORKERS, rng.fork(2));
    lane.make().map_err(lost)?;
    counts.stores += 1;
    let mut kept = Kept::default();
    for _ in 0..KILLS_PER_STORE {
        if finished(counts) {
            break;
        }
        let (mut server, doors, _) = lane.start()?;
        lane.check(&doors, false)?;
        if confirmed(place)?.is_none() {
            // From now on it is known, and nothing is given back that it has not read.
            catch_up(place, &mut kept, counts)?;
        }
        if rng.one_in(3) {
            // Behind, and all that is garbage given back: what it needs is not.
            let output = place.ask(&["reclaim", "--wait"]).map_err(|error| Trouble::Lost(error.to_string()))?;
            if !output.status.success() {
                return Err(Trouble::Violation(String::from_utf8_lossy(&output.stderr).into_owned()));
            }
            counts.reclaims += 1;
        }
        if !rng.one_in(4) {
            catch_up(place, &mut kept, counts)?;
            compare(&doors, &kept.follower)?;
            counts.compared += 1;
        }
        let before = confirmed(place)?.unwrap_or_default();
        kept.recent = kept.recent.split_off(&before);
        let watching = rng.one_in(2).then(|| Watching::begin(place)).transpose().map_err(lost)?;
        let beside = rng.one_in(4).then(|| place.beside("reclaim")).transpose().map_err(lost)?;
        let time = Duration::from_millis(2 + rng.magnitude(LOAD_MS_MAX));
        let reader_first = rng.one_in(2);
        let mut watching = watching;
        let mut printed = None;
        lane.load(&mut server, &doors, (time, false), tally, |server, _| {
            if reader_first {
                printed = watching.take().map(Watching::end).transpose().map_err(Trouble::Violation)?;
            }
            server.kill();
            Ok(())
        })?;
        drop(server);
        drop(beside);
        if let Some(watching) = watching {
            printed = Some(watching.end().map_err(Trouble::Violation)?);
        }
        if let Some(lines) = printed {
            counts.beside += 1;
            kept.take(&lines, before, counts).map_err(Trouble::Violation)?;
        }
        counts.kills += 1;
        place.unmount();
    }
    Ok(())
}

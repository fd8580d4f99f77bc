//! Row `feed`: who follows the events of a store knows its tree, whatever the power does. A reader with a cursor goes on behind
//! every crash: it is told of each change once, of none that did not happen, and nothing that it needs is given back.

use anyhow::Result;
use strata_namespace::{Begin, EventReader, NodeKind, Op, ROOT_INO};
use strata_runtime::OpenStore;
use strata_seam::Ino;
use strata_seam::sim::{SimRng, SimWorld};

use super::rig::{BUCKET, Layout, Rig, root};
use super::step::Step;
use crate::cases::{self, Tally};
use crate::follower::{Follower, Told};
use crate::options::Options;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "feed",
    id: "R18",
    about: "events over power cuts at any I/O and reclaims: a follower with a cursor knows the tree, and is told nothing twice",
    run,
};

const LAYOUTS: [Layout; 4] = [(1, 0), (2, 1), (4, 2), (1, 1)];
/// The reader's name.
const NAME: &str = "follower";
/// Lives of a store, and steps of each at most.
const LIVES: u64 = 8;
const STEPS: u64 = 12;
/// I/Os of a life, within which the power goes.
const IOS: u64 = 150;

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let count = options.sized(60, 20_000);
    let tally = cases::run(
        options,
        report,
        count,
        |number| format!("store-{number}"),
        |number, tally| {
            let mut rng = SimRng::new(options.seed.wrapping_mul(1_000_003).wrapping_add(number));
            if let Err(wrong) = follow_one(LAYOUTS[(number % LAYOUTS.len() as u64) as usize], &mut rng, tally) {
                tally.broken(wrong);
            }
        },
    );
    report.goal("stores followed", tally.of("stores"), 20_000.0);
    report.figure("events", tally.of("events"));
    report.figure("power cuts", tally.of("cuts"));
    report.figure("starts after which some were told again, unconfirmed", tally.of("again"));
    report.figure("segments given back beside the reader", tally.of("freed"));
    Ok(())
}

/// What a reader has, outside of the store it reads.
#[derive(Default)]
struct Reader {
    follower: Follower,
    /// Up to where it has confirmed, durably.
    confirmed: Option<(u64, u32)>,
    /// What it was told behind that.
    unconfirmed: Vec<Told>,
}

impl Reader {
    /// Reads to the end for now; `Ok(false)` where the disks do not answer any more.
    fn read(&mut self, reader: &mut EventReader, tally: &mut Tally) -> Result<bool, String> {
        loop {
            let Ok(page) = reader.next_page(7) else { return Ok(false) };
            if let Some(gap) = page.gap {
                return Err(format!("the reader with a cursor missed something: {gap:?}"));
            }
            if page.events.is_empty() {
                return Ok(true);
            }
            for told in page.events.iter().map(Told::of) {
                if self.confirmed.is_some_and(|confirmed| told.sequence <= confirmed) {
                    return Err(format!("told again of what was confirmed: {told:?}"));
                }
                if self.follower.last.is_some_and(|last| told.sequence <= last) {
                    // What was not confirmed comes again, the same.
                    if !self.unconfirmed.contains(&told) {
                        return Err(format!("told otherwise the second time: {told:?}"));
                    }
                    tally.count("repeated", 1);
                    continue;
                }
                self.follower.follow(&told)?;
                self.unconfirmed.push(told);
                tally.count("events", 1);
            }
        }
    }

    /// Confirms everything; whether that is durable is known when it returns.
    fn confirm(&mut self, store: &OpenStore, reader: &EventReader) -> bool {
        let op = root();
        let ns = store.namespace();
        let done = ns.move_cursor(&op, NAME, reader.after()).and_then(|()| ns.settle_blocking(&op)).is_ok();
        if done {
            self.confirmed = self.follower.last;
            self.unconfirmed.clear();
        }
        done
    }
}

fn follow_one(layout: Layout, rng: &mut SimRng, tally: &mut Tally) -> Result<(), String> {
    let mut rig = Rig::small(layout);
    rig.content.events_kept = 1 << 30;
    let world = SimWorld::new(rng.next_u64());
    let fail = |what: &str, error: strata_namespace::Error| format!("{what}: {error:?}");
    let store = rig.make(&world).map_err(|error| fail("blank disks take a store", error))?;
    let op = root();
    let begun = store.namespace().events_by_cursor(&op, NAME, Begin::Start);
    drop(begun.map_err(|error| fail("a cursor", error))?);
    store.namespace().settle_blocking(&op).map_err(|error| fail("a cursor", error))?;
    drop(store);
    world.kill_process();
    let mut reader = Reader::default();
    for life in 0..LIVES {
        let cut = rng.one_in(2);
        if cut {
            world.crash_at(world.io_count() + 1 + rng.below(IOS));
        }
        // The power may go while it opens.
        if let Ok(store) = rig.open(&world) {
            live(&store, &world, &mut reader, rng, tally)?;
        }
        world.restart(rng.next_u64());
        tally.count("cuts", u64::from(cut));
        let store = rig.open(&world).map_err(|error| fail(&format!("no opening after life {life}"), error))?;
        let mut events = cursor(&store)?;
        let before = tally.of("repeated");
        if !reader.read(&mut events, tally)? {
            return Err("the log of a whole store cannot be read".to_owned());
        }
        tally.count("again", u64::from(tally.of("repeated") > before));
        held_against(&store, &reader.follower)?;
        if rng.one_in(2) {
            reader.confirm(&store, &events);
        }
        drop(events);
        drop(store);
        world.kill_process();
    }
    tally.count("stores", 1);
    Ok(())
}

/// The reader by its cursor.
fn cursor(store: &OpenStore) -> Result<EventReader, String> {
    let reader = store.namespace().events_by_cursor(&root(), NAME, Begin::Now);
    reader.map_err(|error| format!("the cursor: {error:?}"))
}

/// Some steps, with a reader beside them now and then.
fn live(
    store: &OpenStore,
    world: &SimWorld,
    reader: &mut Reader,
    rng: &mut SimRng,
    tally: &mut Tally,
) -> Result<(), String> {
    let Ok(mut events) = cursor(store) else { return Ok(()) };
    for _ in 0..rng.below(STEPS) + 1 {
        let segments = || store.namespace().store().ledger().segments().len() as u64;
        let before = segments();
        drop(super::workload::run(store, &Step::any(rng)));
        if world.is_crashed() {
            return Ok(());
        }
        tally.count("freed", before.saturating_sub(segments()));
        if rng.one_in(3) && reader.read(&mut events, tally)? && rng.one_in(3) {
            reader.confirm(store, &events);
        }
    }
    Ok(())
}

/// What the follower knows against what a file door shows.
fn held_against(store: &OpenStore, follower: &Follower) -> Result<(), String> {
    let ns = store.namespace();
    let op: Op = root();
    let mut there: Vec<(String, Option<u64>)> = Vec::new();
    let mut left: Vec<(Ino, String)> = Vec::new();
    let bad = |error: strata_namespace::Error| format!("the tree cannot be read: {error:?}");
    let buckets = ns.readdir(&op, ROOT_INO, &[], 1000).map_err(bad)?;
    left.extend(
        buckets
            .entries
            .iter()
            .filter(|entry| entry.name == BUCKET.as_bytes())
            .map(|entry| (entry.attr.ino, String::new())),
    );
    while let Some((dir, path)) = left.pop() {
        for entry in ns.readdir(&op, dir, &[], 1000).map_err(bad)?.entries {
            let name = format!("{path}{}", String::from_utf8_lossy(&entry.name));
            if entry.attr.kind == NodeKind::Directory {
                left.push((entry.attr.ino, format!("{name}/")));
                there.push((format!("{name}/"), None));
            } else {
                there.push((name, Some(entry.attr.size)));
            }
        }
    }
    there.sort();
    let files: std::collections::BTreeMap<&str, u64> =
        follower.files(BUCKET).map(|(path, node)| (path, node.size)).collect();
    let known: Vec<(String, Option<u64>)> =
        follower.paths(BUCKET).map(|path| (path.to_owned(), files.get(path).copied())).collect();
    if known == there {
        return Ok(());
    }
    let odd =
        known.iter().find(|name| !there.contains(name)).or_else(|| there.iter().find(|name| !known.contains(name)));
    Err(format!("the events tell of another tree than there is, first at {odd:?}"))
}

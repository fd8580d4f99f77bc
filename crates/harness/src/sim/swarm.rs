//! Row `swarm`: whole stores, each with its own layout, settings, mix of calls and mix of troubles, run for simulated months.
//!
//! One thread, one seed, one store: steps of every door, disks that rot, lie, vanish, return with old content, fill up or
//! fail, power cuts, killed processes, a clock that jumps, heals and scrubs. One store in three has several sets in its
//! life: they join, are emptied and leave, and are made equally full in between. At most `parity` disks of each set are in
//! trouble until a heal has made the store whole; that is the promise's border and is kept by the generator, not by the
//! checks. The tree is compared with a model after every start and every heal, and every invariant is checked at the end.

mod crowd;
mod deeds;
mod mend;

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Result;
use strata_ledger::DiskState;
use strata_namespace::{Durability, Namespace, Op};
use strata_runtime::OpenStore;
use strata_seam::Timestamp;
use strata_seam::sim::{Fault, SimRng, SimWorld, Snapshot, When};

use super::model::{Model, Possible, listed_alike, seen, seen_by};
use super::rig::{Layout, Rig, given_back_and_there, leftovers, root, violations};
use super::sets::{Sets, View, misplaced};
use super::step::{Step, fine};
use super::trouble::Trouble;
use crate::cases::{self, Tally};
use crate::options::Options;
use crate::report::Report as RowReport;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "swarm",
    id: "R4",
    about: "simulated stores with random layouts, calls, disk faults, crashes and heals",
    run,
};

const LAYOUTS: [Layout; 9] = [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2), (4, 2), (1, 2), (6, 3), (8, 4)];
/// One seed in so many runs twice and must end alike.
const TWICE: u64 = 100;
/// One step in so many fills a store whose disks are all well.
const CROWD_ONE_IN: u64 = 400;
/// One step in so many is done to the sets, where there may be several.
const DEED_ONE_IN: u64 = 6;
/// A bucket beside the tree that is compared, where there may be several sets: what is put there is only written, so that
/// the log goes from set to set with something to be synced.
const RELAXED: &str = "relaxed";
/// One step in so many finds the process without descriptors or memory.
const EXHAUSTED_ONE_IN: u64 = 16;
/// What is counted besides.
const FIGURES: [&str; 19] = [
    "steps",
    "power cuts",
    "killed processes",
    "disk faults",
    "heals",
    "disks taken back",
    "disks replaced",
    "reclaims",
    "stores filled and emptied",
    "clock steps",
    "checks",
    "stores of several sets",
    "sets added",
    "sets released",
    "drains cut off",
    "rebalances",
    "times without descriptors",
    "quorums back while running",
    "looks at a store that cannot write",
];
/// Nanoseconds of a year.
const YEAR: f64 = 365.25 * 86_400.0 * 1e9;
/// Failures of a disk per year: a hundred times an annual failure rate of 1.5 %.
const FAILURES_A_YEAR: f64 = 1.5;

fn run(options: &Options, report: &mut RowReport) -> Result<()> {
    let count = options.sized(200, 20_000);
    let name = |number: u64| format!("seed-{}", options.seed.wrapping_add(number));
    let tally = cases::run(options, report, count, name, |number, tally| {
        let seed = options.seed.wrapping_add(number);
        let hash = one(seed, options.case.is_some(), tally);
        if number.is_multiple_of(TWICE) && hash.is_some() {
            tally.count("twice", 1);
            if one(seed, false, &mut Tally::default()) != hash {
                tally.broken(format!("seed {seed} run twice ends in two different ways"));
            }
        }
    });
    report.goal("seeds", tally.of("seeds"), 20_000.0);
    report.goal("simulated disk-set years", tally.of("days") / 365.25, 1000.0);
    report.figure("seeds run twice", tally.of("twice"));
    for what in FIGURES {
        report.figure(what, tally.of(what));
    }
    Ok(())
}

/// A run of one seed; the hash of everything that happened, `None` after a violation.
fn one(seed: u64, told: bool, tally: &mut Tally) -> Option<u64> {
    let mut swarm = Swarm::new(seed);
    let ended = swarm.live(tally);
    tally.count("seeds", 1);
    tally.count("days", (swarm.nanos / YEAR * 365.25) as u64);
    match ended {
        Ok(()) => Some(swarm.events.finish() ^ swarm.world.change_hash(&swarm.blank)),
        Err(wrong) => {
            if told {
                swarm.trail.iter().for_each(|what| eprintln!("  {what}"));
            }
            tally.broken(format!("seed {seed}, {:?}, after {}: {wrong}", swarm.rig.layout, swarm.last()));
            None
        }
    }
}

struct Swarm {
    rng: SimRng,
    /// Decides when it is filled, and how.
    crowd: SimRng,
    rig: Rig,
    world: SimWorld,
    sets: Sets,
    blank: Snapshot,
    possible: Possible,
    /// The store was opened with too few disks to decide what is there: nothing it says makes that durable.
    undecided: bool,
    trouble: Trouble,
    /// Of eight answers, how many are waited for.
    settle_of_8: u64,
    /// Simulated time that passed.
    nanos: f64,
    events: DefaultHasher,
    /// Everything that was done.
    trail: Vec<String>,
}

impl Swarm {
    fn new(seed: u64) -> Self {
        let mut rng = SimRng::new(seed);
        let layout = LAYOUTS[rng.below(LAYOUTS.len() as u64) as usize];
        let mut rig = Rig::small(layout);
        rig.ledger.segment_len += rng.below(3) << 19;
        rig.ledger.zero_ahead = rng.one_in(2);
        rig.content = fine(if rng.one_in(2) { 1 << 20 } else { 0 });
        rig.durability = Durability::Strict;
        let world = SimWorld::new(seed);
        let sets = Sets::new(seed, layout);
        if sets.are_several() {
            // A block of content must fit into a stripe of a set of one data disk.
            rig.ledger.shard_payload_max = 512 << 10;
        }
        Self {
            trouble: Trouble::new(sets.struck(), rng.next_u64()),
            sets,
            settle_of_8: 2 + rng.below(7),
            crowd: SimRng::new(seed ^ 0xF111),
            rng,
            rig,
            blank: world.snapshot(),
            world,
            possible: Possible::known(Model::default()),
            undecided: false,
            nanos: 0.0,
            events: DefaultHasher::new(),
            trail: vec!["the start".to_owned()],
        }
    }

    /// All of it: a few episodes of trouble, each between two times of health.
    fn live(&mut self, tally: &mut Tally) -> Result<(), String> {
        let mut store = Some(self.rig.make(&self.world).map_err(|error| format!("it cannot be made: {error:?}"))?);
        let op = root();
        if let Some(store) = &store {
            let ns = store.namespace();
            let mut made = Ok(());
            if self.sets.are_several() {
                made = ns.create_bucket(&op, RELAXED, Some(Durability::Relaxed)).map(|_| ());
            }
            let made = made.and_then(|()| ns.sync_all(&op)).and_then(|()| ns.settle_blocking(&op));
            made.and_then(|()| Ok(ns.store().ledger().sync().map_err(strata_content::ContentError::from)?))
                .map_err(|error| format!("it cannot be synced: {error:?}"))?;
            self.sets.settle(&ns.store().ledger().status(), View::Opened)?;
        }
        tally.count("stores of several sets", u64::from(self.sets.are_several()));
        for _ in 0..2 + self.rng.below(4) {
            self.pass_time(tally);
            for _ in 0..6 + self.rng.below(20) {
                match self.rng.below(24) {
                    0 => store = Some(self.crash(store.take(), tally)?),
                    1 => store = Some(self.restart(store.take(), tally)?),
                    2..=4 => {
                        let what = self.trouble.strike(&self.world, &mut self.rng);
                        self.now(what);
                        tally.count("disk faults", 1);
                        if self.trouble.needs_reopening() {
                            store = Some(self.restart(store.take(), tally)?);
                        }
                    }
                    _ if self.sets.are_several() && self.sets.rng.one_in(DEED_ONE_IN) => {
                        store = self.deed_between(store.take(), tally)?;
                    }
                    _ if !self.trouble.is_on() && self.crowd.one_in(CROWD_ONE_IN) => {
                        store = Some(self.fill(store.take(), tally)?);
                    }
                    _ => {
                        if let Some(store) = &store {
                            self.step(store, tally)?;
                        }
                    }
                }
            }
            store = Some(self.heal(store.take(), tally)?);
        }
        let mut store = store.ok_or("the store is gone")?;
        if self.sets.is_draining() {
            store = self.end_drain(store, tally)?;
        }
        self.check(&store, tally)
    }

    fn now(&mut self, what: String) {
        what.hash(&mut self.events);
        self.trail.push(what);
    }

    fn last(&self) -> &str {
        self.trail.last().map_or("", String::as_str)
    }

    /// Failures are rare: months lie between two episodes. The clock may also be set.
    fn pass_time(&mut self, tally: &mut Tally) {
        let uniform = (self.rng.below(1 << 30) + 1) as f64 / f64::from(1 << 30);
        let mean = YEAR / (FAILURES_A_YEAR * self.sets.disks().len() as f64);
        let nanos = -uniform.ln() * mean;
        self.nanos += nanos;
        self.world.clock().advance(nanos as u64);
        if self.rng.one_in(3) {
            tally.count("clock steps", 1);
            // Anywhere between 1970 and 2100: no order rests on it.
            self.world.clock().set_wall(Timestamp::from_parts(self.rng.below(4_102_444_800) as i64, 0));
        }
    }

    fn step(&mut self, store: &OpenStore, tally: &mut Tally) -> Result<(), String> {
        let step = Step::any(&mut self.rng);
        self.world.clock().advance(self.rng.below(3_000_000_000));
        tally.count("steps", 1);
        tally.count("reclaims", u64::from(matches!(step, Step::Reclaim | Step::PutAcross(..))));
        self.now(format!("{step:?}"));
        let exhausted = self.rng.one_in(EXHAUSTED_ONE_IN);
        if exhausted {
            tally.count("times without descriptors", 1);
            let calls = 1 + self.rng.below(12);
            self.world.set_fault(Fault::exhausted().when(When::Next(calls)));
        }
        let ns = store.namespace();
        let op = root();
        let mut answer = step.apply(ns, &op);
        let waits = self.rng.below(8) < self.settle_of_8;
        let mut durable = false;
        if waits && answer.is_ok() {
            answer = ns.settle_blocking(&op);
            durable = answer.is_ok() && self.settles_all(ns, &op);
        }
        (answer.is_ok(), waits).hash(&mut self.events);
        self.world.end_exhaustion();
        self.look_while_stalled(store, tally)?;
        if exhausted {
            // As the writer does by itself a moment later. Whether it can, the next step shows.
            drop(ns.store().ledger().pump());
        }
        if exhausted && !self.trouble.is_on() {
            self.nobody_is_blamed(store)?;
        }
        if let Err(error) = &answer
            && !exhausted
            && !self.trouble.is_on()
            && self.possible.is_known()
            && self.possible.allows(&step)
        {
            return Err(format!("refused in good health: {error:?}"));
        }
        self.possible.note(&step, &answer, durable)?;
        if answer.is_err() && !self.possible.is_known() {
            self.compare(store)?;
        }
        if self.rng.one_in(12) {
            drop(store.tend());
            // A disk that was slow, full or read-only and is not any more is taken back.
            let back = ns.store().ledger().tend().map_or(0, |back| back.len() as u64);
            tally.count("disks taken back", back);
        }
        Ok(())
    }

    /// Whatever could not be written: a door whose answers wait for durability reads the whole tree, and waits for nothing.
    fn look_while_stalled(&self, store: &OpenStore, tally: &mut Tally) -> Result<(), String> {
        let ns = store.namespace();
        // What cannot be read at all is not a question of waiting.
        if ns.store().ledger().stalled_at().is_none() || seen(ns).is_err() {
            return Ok(());
        }
        tally.count("looks at a store that cannot write", 1);
        let op = root();
        let found = seen_by(ns, &op).and_then(|_| ns.settle_blocking(&op));
        found.map_err(|error| format!("a store that cannot write does not show what is stored: {error:?}"))
    }

    /// A lack of descriptors sets no disk aside.
    fn nobody_is_blamed(&self, store: &OpenStore) -> Result<(), String> {
        let disks = store.namespace().store().ledger().status().disks;
        match disks.into_iter().find(|disk| disk.state != DiskState::Active) {
            None => Ok(()),
            Some(disk) => {
                Err(format!("{} is {} because the process had no descriptors", disk.label, disk.state.word()))
            }
        }
    }

    /// Whether with this answer all before it is durable: what an answer rests on is, and a step that changed nothing may
    /// rest on less.
    fn settles_all(&self, ns: &Namespace, op: &Op) -> bool {
        op.lsn() == ns.store().last_commit() && !self.undecided
    }

    /// What the store shows is what it must show.
    fn compare(&mut self, store: &OpenStore) -> Result<(), String> {
        let found = seen(store.namespace()).map_err(|error| format!("it cannot be read: {error:?}"))?;
        self.possible.check_now(&found)
    }

    fn check(&mut self, store: &OpenStore, tally: &mut Tally) -> Result<(), String> {
        tally.count("checks", 1);
        let found = seen(store.namespace()).map_err(|error| format!("it cannot be read: {error:?}"))?;
        self.possible.check_now(&found)?;
        if !listed_alike(store.namespace(), &found).map_err(|error| format!("it cannot be listed: {error:?}"))? {
            return Err("the S3 door lists other keys than the tree has".to_owned());
        }
        let wrong = violations(store.namespace());
        wrong.into_iter().next().map_or(Ok(()), Err)
    }

    /// Opens what is there; the promise is that it opens.
    fn open(&mut self, crashed: bool, tally: &mut Tally) -> Result<OpenStore, String> {
        self.rig.disks = self.sets.offered();
        let store = self.rig.open(&self.world).map_err(|error| format!("it does not open: {error:?}"))?;
        let found = seen(store.namespace()).map_err(|error| format!("it cannot be read: {error:?}"))?;
        let status = store.namespace().store().ledger().status();
        let (read_only, troubled) = (status.read_only.is_some(), self.trouble.is_on());
        if read_only {
            // Too few disks to decide anything: what a crash left of changes that nobody was promised may be on others.
            self.possible.check_undecided(&found)?;
        } else {
            self.possible.check_after_crash(&found)?;
        }
        self.undecided = read_only;
        if read_only && !troubled {
            return Err("it opens read-only although every disk is well".to_owned());
        }
        if !read_only && !troubled {
            let (ns, disks) = (store.namespace(), &self.rig.disks);
            let left = leftovers(ns).into_iter().next().or_else(|| given_back_and_there(ns, &self.world, disks));
            let left = left.or_else(|| misplaced(ns.store().ledger(), &status, &self.world));
            if let Some(first) = left {
                return Err(first);
            }
        }
        (crashed, read_only).hash(&mut self.events);
        let left = self.settle_sets(&status, if read_only { View::Undecided } else { View::Opened }, tally)?;
        self.check(&store, tally)?;
        if left {
            // It left before a crash: without its disks the store is what it was.
            drop(store);
            self.world.kill_process();
            return self.open(false, tally);
        }
        Ok(store)
    }

    /// The power goes during one of the next steps.
    fn crash(&mut self, store: Option<OpenStore>, tally: &mut Tally) -> Result<OpenStore, String> {
        tally.count("power cuts", 1);
        // A reclaim alone is hundreds of I/Os.
        let within = if self.rng.one_in(3) { 400 } else { 40 };
        let at = self.world.io_count() + 1 + self.rng.below(within);
        let width = 1 + self.rng.below(self.sets.narrowest());
        let deeds = self.sets.are_several() && self.sets.rng.one_in(2);
        if deeds {
            // What is done to the sets is done one disk after the other, and is more.
            self.world.crash_at(at + self.sets.rng.below(600));
        } else {
            self.world.crash_during(at, width);
        }
        if let Some(store) = store {
            for _ in 0..8 {
                if deeds && self.sets.rng.one_in(2) {
                    self.deed(&store, true, tally)?;
                    if self.world.is_crashed() {
                        break;
                    }
                    continue;
                }
                let step = Step::any(&mut self.rng);
                let op = root();
                let applied = step.apply(store.namespace(), &op);
                let waits = self.rng.one_in(2);
                let answer =
                    if waits { applied.and_then(|()| store.namespace().settle_blocking(&op)) } else { applied };
                let durable = waits && answer.is_ok() && self.settles_all(store.namespace(), &op);
                self.now(format!("a power cut around {step:?}"));
                answer.is_ok().hash(&mut self.events);
                self.possible.note(&step, &answer, durable)?;
                if self.world.is_crashed() {
                    break;
                }
            }
        }
        tally.count("drains cut off", u64::from(self.sets.is_draining()));
        self.rig.disks = self.sets.offered();
        self.world.restart(self.rng.next_u64());
        if self.rng.one_in(3) {
            // Recovery meets a cut of its own.
            self.world.crash_at(self.world.io_count() + 1 + self.rng.below(60));
            drop(self.rig.open(&self.world));
            self.world.restart(self.rng.next_u64());
        }
        self.open(true, tally)
    }

    /// The process ends, in good order or not, and starts again.
    fn restart(&mut self, store: Option<OpenStore>, tally: &mut Tally) -> Result<OpenStore, String> {
        tally.count("killed processes", 1);
        tally.count("drains cut off", u64::from(self.sets.is_draining()));
        self.now(format!("a restart after {}", self.last()));
        match store {
            Some(store) if self.rng.one_in(2) => {
                let read_only = store.namespace().store().ledger().status().read_only.is_some();
                if store.close().is_ok() && !read_only {
                    self.possible.all_durable();
                }
            }
            other => drop(other),
        }
        self.world.kill_process();
        self.trouble.reopened(&self.world);
        self.open(false, tally)
    }
}

//! Row `corrupt`: every field of every structure on the disks is damaged, in every way, on up to parity disks at once.
//! Nothing wrong is read, every invariant holds, and a heal puts back what was there, byte for byte.

use std::collections::BTreeSet;

use anyhow::Result;
use strata_ledger::{DiskState, PassOptions};
use strata_seam::sim::{DiskImage, SimRng, SimWorld};

use super::layout::{Target, WHOLE_FRAME, frames, superblock};
use super::model::{Seen, difference, seen};
use super::mover::reclaim;
use super::rig::{Layout, Rig, violations};
use super::workload::{Workload, kinds, run as run_step};
use crate::cases::{self, Tally};
use crate::options::Options;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "corrupt",
    id: "R8",
    about: "every field of every structure damaged, on up to parity disks and on more",
    run,
};

const LAYOUTS: [Layout; 5] = [(2, 1), (2, 2), (4, 2), (1, 1), (3, 2)];
/// Cases per batch: a store is made once for all of them.
const BATCH: usize = 400;

/// What is done to a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Damage {
    Flip,
    Zero,
    /// What another place of the same structure holds.
    Stale,
    /// Exchanged with another place.
    Swap,
    /// The file ends there.
    Truncate,
}

const DAMAGES: [Damage; 5] = [Damage::Flip, Damage::Zero, Damage::Stale, Damage::Swap, Damage::Truncate];

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let batches = options.sized(5, 560);
    let name = |number: u64| format!("batch-{number}");
    let tally = cases::run(options, report, batches, name, |number, tally| {
        let mut batch =
            Batch::new(options.seed.wrapping_add(number), LAYOUTS[(number % LAYOUTS.len() as u64) as usize]);
        for case in 0..BATCH.min(options.sized(120, BATCH)) {
            batch.case(case, tally);
        }
    });
    report.goal("corruptions", tally.of("corruptions"), 200_000.0);
    report.figure("places damaged", tally.of("places"));
    report.figure("put back byte for byte", tally.of("repaired"));
    report.figure("disks replaced because nothing said which they are, or their files were cut", tally.of("replaced"));
    report.figure("beyond parity: answered by name", tally.of("beyond"));
    report.figure("beyond parity: still readable", tally.of("spared"));
    Ok(())
}

struct Batch {
    workload: Workload,
    expected: Seen,
    rng: SimRng,
    /// By disk: its structures.
    structures: Vec<Vec<Vec<Target>>>,
}

impl Batch {
    fn new(seed: u64, layout: Layout) -> Self {
        let mut rng = SimRng::new(seed);
        let all = kinds();
        let steps = (0..3).map(|_| all[rng.below(all.len() as u64) as usize].clone()).collect();
        let mut workload = Workload::new(layout, seed, steps);
        let world = &workload.world;
        let store = workload.rig.open(world).expect("the base opens");
        let mut model = workload.model.clone();
        for step in &workload.steps {
            let done = run_step(&store, step);
            assert_eq!(done.is_ok(), model.apply(step), "{step:?} without any failure: {done:?}");
        }
        if seed.is_multiple_of(2) {
            // The log's start is given back: what the checkpoint's blocks say is the only word on it.
            reclaim(store.namespace(), &mut |_| true, &mut || false).expect("a healthy store reclaims");
        }
        drop(store);
        world.kill_process();
        // Opened once more: the last stripes are then known to be acknowledged, and are not mended but healed.
        drop(workload.rig.open(world).expect("it opens"));
        world.restart(1);
        let structures = (0..workload.rig.disk_count()).map(|disk| {
            let mut all = frames(world, &Rig::disk_name(disk));
            all.push(superblock());
            all
        });
        let structures = structures.collect();
        workload.start = world.snapshot();
        Self { expected: model.seen(), workload, rng, structures }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    /// Damages one place on some disks and looks at what comes of it.
    fn case(&mut self, case: usize, tally: &mut Tally) {
        let world = self.workload.world.clone();
        world.restore(&self.workload.start);
        let disks = self.workload.rig.disk_count();
        let parity = usize::from(self.workload.rig.layout.1);
        let beyond = case % 8 == 7;
        let count = if beyond { parity + 1 } else { 1 + self.below(parity) };
        // Structures, fields and damages are gone through in turn, disks by chance.
        let structure = case % self.structures[0].len();
        let damage = DAMAGES[(case / 3) % DAMAGES.len()];
        let mut chosen = BTreeSet::new();
        while chosen.len() < count {
            chosen.insert(self.below(disks));
        }
        let mut hit: Vec<(usize, Target, Vec<u8>)> = Vec::new();
        // Of more than parity covers, one may also be away.
        let away = if beyond && count > 1 && self.rng.one_in(3) { chosen.pop_first() } else { None };
        for disk in chosen {
            let fields = &self.structures[disk][structure.min(self.structures[disk].len() - 1)];
            // A small field is as likely as a large one.
            let target = fields[(case / 2 + self.rng.below(3) as usize) % fields.len()].clone();
            if let Some(before) = self.damage(&world, disk, &target, damage) {
                hit.push((disk, target, before));
            }
        }
        if hit.is_empty() {
            return;
        }
        let beyond = beyond && hit.len() + usize::from(away.is_some()) > parity;
        if let Some(disk) = away.filter(|_| beyond) {
            world.vanish(&Rig::disk_name(disk));
        }
        tally.count("corruptions", 1);
        tally.count("places", hit.len() as u64);
        let checked =
            if beyond { self.check_beyond(&world, &hit, tally) } else { self.check(&world, &hit, damage, tally) };
        if let Err(wrong) = checked {
            let places =
                hit.iter().map(|(disk, target, _)| format!("disk {disk} {} at {}", target.what, target.offset));
            let places = places.collect::<Vec<_>>().join(", ");
            tally.broken(format!("{:?} case {case}, {damage:?} of {places}: {wrong}", self.workload.rig.layout));
        }
    }

    /// Does the damage; what was there before, if it is any.
    fn damage(&mut self, world: &SimWorld, disk: usize, target: &Target, damage: Damage) -> Option<Vec<u8>> {
        let name = Rig::disk_name(disk);
        let file = world.peek(&name, &target.file)?;
        let whole = target.what == WHOLE_FRAME && target.len <= 64 << 10;
        let len = if whole { target.len as usize } else { (target.len as usize).min(4096) };
        // Anywhere in a long place.
        let from = target.offset as usize + self.below(target.len as usize - len + 1);
        let before = file[from..from + len].to_vec();
        let other = {
            // A frame changes places with another of its length, anything else with what lies some sectors apart.
            let alike = self.structures[disk].iter().filter_map(|fields| fields.first());
            let alike = alike.filter(|other| other.what == WHOLE_FRAME && other.len == target.len);
            let alike: Vec<usize> = alike
                .filter(|other| whole && other.file == target.file && other.offset != target.offset)
                .map(|other| other.offset as usize)
                .collect();
            let shift = 4096 * (1 + self.below(8));
            let place = match alike.len() {
                0 if from >= shift => from - shift,
                0 => (from + shift).min(file.len() - len),
                count => alike[self.below(count)],
            };
            (place, file[place..place + len].to_vec())
        };
        match damage {
            Damage::Flip => {
                let bit = self.below(len * 8);
                world.flip_bit(&name, &target.file, (from + bit / 8) as u64, (bit % 8) as u8);
            }
            Damage::Zero => {
                world.poke(&name, &target.file, from as u64, &vec![0; len]);
            }
            Damage::Stale => {
                world.poke(&name, &target.file, from as u64, &other.1);
            }
            Damage::Swap => {
                world.poke(&name, &target.file, from as u64, &other.1);
                world.poke(&name, &target.file, other.0 as u64, &before);
            }
            Damage::Truncate => {
                world.truncate(&name, &target.file, from as u64);
            }
        }
        (world.peek(&name, &target.file)? != file).then_some(file)
    }

    /// Within parity: nothing is wrong, and a heal puts everything back.
    fn check(
        &mut self,
        world: &SimWorld,
        hit: &[(usize, Target, Vec<u8>)],
        damage: Damage,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let rig = &mut self.workload.rig;
        let open = |rig: &Rig| rig.open(world).map_err(|error| format!("it does not open: {error:?}"));
        let mut store = open(rig)?;
        let found = seen(store.namespace()).map_err(|error| format!("it cannot be read: {error:?}"))?;
        if found != self.expected {
            return Err(format!("wrong bytes: {}", difference(&found, &self.expected)));
        }
        if let Some(first) = violations(store.namespace()).first() {
            return Err(first.clone());
        }
        let labels = |state: &dyn Fn(DiskState) -> bool| {
            let disks = store.namespace().store().ledger().status().disks;
            disks.into_iter().filter(|disk| state(disk.state)).map(|disk| disk.label).collect::<Vec<_>>()
        };
        let used = labels(&|state| state != DiskState::Missing);
        let mut replaced: Vec<String> = hit.iter().map(|(disk, ..)| Rig::disk_name(*disk)).collect();
        replaced.retain(|name| damage == Damage::Truncate || !used.contains(name));
        if !replaced.is_empty() {
            // No longer a disk of the set, or one whose files ended early: the operator puts an empty one in its place.
            tally.count("replaced", replaced.len() as u64);
            drop(store);
            world.kill_process();
            replaced.iter().for_each(|name| world.bring_back_with(name, &DiskImage::default()));
            rig.ledger.adopt_blank = true;
            let opened = open(rig);
            rig.ledger.adopt_blank = false;
            store = opened?;
        }
        let ledger = store.namespace().store().ledger();
        let report = ledger
            .heal(&PassOptions::default(), &mut |_| true)
            .map_err(|error| format!("it cannot be healed: {error:?}"))?;
        if !report.is_whole() {
            return Err(format!("a heal leaves {report:?}"));
        }
        let scrub = ledger
            .verify(&PassOptions::default(), &mut |_| true)
            .map_err(|error| format!("it cannot be scrubbed: {error:?}"))?;
        if scrub.unreadable_count > 0 || scrub.disks.iter().any(|disk| disk.damaged + disk.missing > 0) {
            return Err(format!("a scrub after the heal finds {scrub:?}"));
        }
        for (disk, target, before) in hit.iter().filter(|(_, target, _)| target.file != "superblock") {
            let name = Rig::disk_name(*disk);
            let range = target.offset as usize..(target.offset + target.len) as usize;
            let now = world.peek(&name, &target.file).unwrap_or_default();
            if !replaced.is_empty() {
                // The places of replaced disks may have been exchanged: the scrub above has seen every frame.
                break;
            }
            if now.get(range.clone()) != before.get(range) {
                return Err(format!("{} is valid again but not what it was", target.what));
            }
            tally.count("repaired", 1);
        }
        Ok(())
    }

    /// Beyond parity: what cannot be had is refused, what can be is right.
    fn check_beyond(
        &mut self,
        world: &SimWorld,
        hit: &[(usize, Target, Vec<u8>)],
        tally: &mut Tally,
    ) -> Result<(), String> {
        let store = match self.workload.rig.open(world) {
            Ok(store) => store,
            Err(error) if names_the_loss(&format!("{error:?}")) => {
                tally.count("beyond", 1);
                return Ok(());
            }
            Err(error) => {
                return Err(format!("beyond parity ({} places) it does not say what is lost: {error:?}", hit.len()));
            }
        };
        let ns = store.namespace();
        let mut lost = 0;
        for (path, file) in &self.expected {
            let Some((data, _)) = file else { continue };
            match super::rig::get(ns, path) {
                Ok(found) if found == *data => {}
                Ok(_) => return Err(format!("beyond parity '{path}' reads as other bytes")),
                Err(error) if names_the_loss(&format!("{error:?}")) => lost += 1,
                Err(error) => return Err(format!("beyond parity '{path}': {error:?}")),
            }
        }
        tally.count(if lost > 0 { "beyond" } else { "spared" }, 1);
        Ok(())
    }
}

/// Whether an error says that data is lost or disks are missing, and which.
pub(crate) fn names_the_loss(error: &str) -> bool {
    ["Corrupt", "TooFewDisks", "ForeignDisk", "MissingChunk", "Inconsistent", "NewerFormat", "QuorumLost", "Gone"]
        .iter()
        .any(|name| error.contains(name))
}

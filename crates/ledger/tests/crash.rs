//! Crashes: at every I/O of a workload, with arbitrary survivors among what was not synced, with disks lost on top, and
//! again while recovering. What was acknowledged is there, and what is there is a prefix of what was appended.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use strata_ledger::{Class, Ledger, Options};
use strata_seam::Lsn;
use strata_seam::sim::{SimRng, Snapshot};
use support::{Model, Rig};

fn tiny() -> Options {
    Options { segment_len: 64 << 10, shard_payload_max: 8 << 10, queue_bytes_max: 32 << 10, ..support::small() }
}

/// What a run was told before it ended.
#[derive(Clone, Default)]
struct Run {
    model: Model,
    durable: Lsn,
    written: Lsn,
}

impl Run {
    /// Appends and waits at random until done or until the ledger fails.
    fn work(&mut self, ledger: &Ledger, rng: &mut SimRng, count: u64) {
        for _ in 0..count {
            let tag = rng.next_u64();
            let mut append = support::sample(rng, tag, 2500);
            append.relaxed = rng.one_in(2);
            let Ok(lsn) = self.model.append(ledger, append) else {
                return;
            };
            let class = match rng.below(6) {
                0 | 1 => Class::Durable,
                2 | 3 => Class::Written,
                _ => continue,
            };
            if ledger.wait(lsn, class).is_err() {
                return;
            }
            self.written = self.written.max(lsn);
            self.durable = self.durable.max(ledger.durable());
        }
        if ledger.sync().is_ok() {
            self.durable = ledger.durable();
        }
    }

    /// Opens what a crash left and compares.
    fn recover(&mut self, rig: &mut Rig, least: Lsn) -> Ledger {
        let (ledger, replayed) = rig.open();
        self.model.check_prefix(&replayed, least, Some(&ledger));
        assert_eq!(ledger.next_lsn().0, replayed.len() as u64 + 1);
        // With too few disks to write the end of the log is not decided: what is not acknowledged may yet come back.
        if ledger.status().read_only.is_none() {
            self.model.cut(ledger.next_lsn());
            (self.durable, self.written) = (ledger.durable(), ledger.durable());
        }
        ledger
    }
}

/// Runs the workload that all crashes are taken from.
fn workload(rig: &mut Rig, run: &mut Run, seed: u64) {
    let Ok((ledger, _)) = rig.try_open() else { return };
    run.work(&ledger, &mut SimRng::new(seed), 40);
    drop(ledger.stop());
}

struct Sweep {
    rig: Rig,
    start: Snapshot,
    seed: u64,
    prepared: Run,
}

impl Sweep {
    fn new(data: u8, parity: u8, seed: u64) -> Self {
        let mut rig = Rig::new(data, parity, tiny());
        let mut prepared = Run::default();
        let (ledger, _) = rig.open();
        prepared.work(&ledger, &mut SimRng::new(seed ^ 1), 10);
        drop(ledger);
        rig.world.kill_process();
        let start = rig.world.snapshot();
        Self { rig, start, seed, prepared }
    }

    /// I/Os of the workload: from the first to the last one.
    fn ios(&mut self) -> std::ops::RangeInclusive<u64> {
        self.rig.world.restore(&self.start);
        let first = self.rig.world.io_count() + 1;
        workload(&mut self.rig, &mut self.prepared.clone(), self.seed);
        first..=self.rig.world.io_count()
    }

    /// Crashes at `io`, restarts with `choices`, checks, goes on, crashes and checks again.
    fn crash(&mut self, io: u64, width: u64, choices: u64, rng: &mut SimRng) {
        let rig = &mut self.rig;
        rig.world.restore(&self.start);
        rig.world.crash_during(io, width);
        let mut run = self.prepared.clone();
        workload(rig, &mut run, self.seed);
        rig.world.restart(choices);
        // A crash while recovering changes nothing of what follows.
        if rng.one_in(2) {
            rig.world.crash_at(rig.world.io_count() + 1 + rng.below(60));
            drop(rig.try_open());
            rig.world.restart(rng.next_u64());
        }
        // Up to `parity` disks are lost on top.
        let mut lost = Vec::new();
        for _ in 0..rng.below(u64::from(rig.geometry.parity_shards) + 1) {
            let name = rig.names[rng.below(rig.names.len() as u64) as usize].clone();
            rig.world.vanish(&name);
            lost.push(name);
        }
        let durable = run.durable;
        let ledger = run.recover(rig, durable);
        run.work(&ledger, rng, 8);
        drop(ledger);
        // The lost disks come back as they were; the power goes once more.
        rig.world.restart(rng.next_u64());
        lost.iter().for_each(|name| rig.world.bring_back(name));
        let durable = run.durable;
        run.recover(rig, durable);
    }
}

fn sweep(data: u8, parity: u8, step: u64) {
    let mut sweep = Sweep::new(data, parity, u64::from(data) * 10 + u64::from(parity));
    let ios = sweep.ios();
    assert!(*ios.end() - *ios.start() > 50);
    let mut rng = SimRng::new(u64::from(data));
    for io in ios.step_by(step as usize) {
        for choices in [0, 1, rng.next_u64() | 2, rng.next_u64() | 2] {
            let width = 1 + rng.below(u64::from(data + parity));
            sweep.crash(io, width, choices, &mut rng);
        }
    }
}

#[test]
fn crashes_of_one_disk_alone() {
    sweep(1, 0, 1);
}
#[test]
fn crashes_of_a_mirror() {
    sweep(1, 1, 1);
}
#[test]
fn crashes_of_two_and_one() {
    sweep(2, 1, 1);
}
#[test]
fn crashes_of_two_and_two() {
    sweep(2, 2, 2);
}
#[test]
fn crashes_of_four_and_two() {
    sweep(4, 2, 3);
}

#[test]
fn what_was_written_survives_the_death_of_the_process() {
    for (data, parity) in [(1, 0), (2, 1), (4, 2)] {
        let mut sweep = Sweep::new(data, parity, 99);
        for io in sweep.ios().step_by(3) {
            let rig = &mut sweep.rig;
            rig.world.restore(&sweep.start);
            let mut run = sweep.prepared.clone();
            rig.world.crash_at(io);
            workload(rig, &mut run, sweep.seed);
            // Choice 1 keeps everything that was written.
            rig.world.restart(1);
            let written = run.written;
            run.recover(rig, written);
        }
    }
}

#[test]
fn what_an_opening_found_is_durable_from_then_on() {
    for (data, parity) in [(1, 0), (2, 1), (4, 2)] {
        let mut rig = Rig::new(data, parity, tiny());
        let (ledger, _) = rig.open();
        let mut run = Run::default();
        let mut rng = SimRng::new(3);
        for tag in 0..30 {
            let mut append = support::sample(&mut rng, tag, 2500);
            append.relaxed = true;
            let lsn = run.model.append(&ledger, append).unwrap();
            ledger.wait(lsn, Class::Written).unwrap();
        }
        assert!(ledger.durable() < Lsn(30), "the end is in the operating system's memory alone");
        drop(ledger);
        rig.world.kill_process();
        let ledger = run.recover(&mut rig, Lsn(30));
        assert_eq!(ledger.durable(), Lsn(30));
        drop(ledger);
        rig.world.restart(0);
        run.recover(&mut rig, Lsn(30));
    }
}

//! A store over several sets: one log that goes from set to set, sets that join, lose their quorum and are missing, and a
//! crash at every I/O of all that.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use strata_ledger::{Class, Geometry, Ledger, LedgerError, Options, PassOptions, SetState, StrangerKind};
use strata_seam::sim::{Fault, IoOp, SimEntropy, SimRng, When};
use strata_seam::{Disk, Lsn};
use support::{Model, Rig};

fn tiny() -> Options {
    Options { segment_len: 64 << 10, shard_payload_max: 20 << 10, queue_bytes_max: 48 << 10, ..support::small() }
}

fn names(prefix: &str, layout: (u8, u8)) -> Vec<String> {
    (0..layout.0 + layout.1).map(|index| format!("{prefix}{index:02}")).collect()
}

fn geometry((data_shards, parity_shards): (u8, u8)) -> Geometry {
    Geometry { data_shards, parity_shards }
}

/// Adds a set of new disks and has them given at the next opening.
fn add(rig: &mut Rig, ledger: &Ledger, prefix: &str, layout: (u8, u8)) -> Result<u16, LedgerError> {
    let names = names(prefix, layout);
    let disks: Vec<Arc<dyn Disk>> = names.iter().map(|name| rig.world.disk(name) as Arc<dyn Disk>).collect();
    names.into_iter().filter(|name| !rig.names.contains(name)).collect::<Vec<_>>().into_iter().for_each(|name| {
        rig.names.push(name);
    });
    ledger.add_set(&disks, geometry(layout), &SimEntropy::new(prefix.bytes().map(u64::from).sum()))
}

fn sets_written(ledger: &Ledger) -> BTreeSet<u16> {
    ledger.segments().into_iter().filter_map(|segment| ledger.set_of(segment)).collect()
}

#[test]
fn one_log_goes_over_sets_of_several_layouts() {
    for (first, second) in [((1, 0), (1, 0)), ((2, 1), (4, 2)), ((4, 2), (1, 1)), ((2, 2), (3, 2))] {
        let mut rig = Rig::new(first.0, first.1, tiny());
        let (ledger, _) = rig.open();
        let (mut model, mut rng) = (Model::default(), SimRng::new(5));
        model.fill(&ledger, &mut rng, 30);
        assert_eq!(add(&mut rig, &ledger, "e", second).unwrap(), 1);
        let before = ledger.append_len_max();
        model.fill(&ledger, &mut rng, 120);
        assert_eq!(sets_written(&ledger), [0, 1].into(), "both sets hold segments");
        let (ledger, replayed) = rig.reopen(ledger);
        model.check_prefix(&replayed, Lsn(150), Some(&ledger));
        assert_eq!(ledger.append_len_max(), before, "an append fits into a stripe of every set");
        model.fill(&ledger, &mut rng, 30);
        let report = ledger.scrub(&PassOptions::default(), &mut |_| true).unwrap();
        assert!(report.is_whole() && report.finished && report.degraded() == 0, "{report:?}");
        ledger.stop().unwrap();
        let (ledger, replayed) = rig.reopen(ledger);
        model.check_prefix(&replayed, Lsn(180), Some(&ledger));
        let status = ledger.status();
        assert_eq!(
            status.sets.iter().map(|set| (set.number, set.state)).collect::<Vec<_>>(),
            [(0, SetState::Active), (1, SetState::Active)]
        );
        assert_eq!(status.disks.len(), rig.names.len());
    }
}

#[test]
fn every_set_may_lose_as_many_disks_as_its_parity_at_once_and_is_healed() {
    let mut rig = Rig::new(2, 1, tiny());
    let (ledger, _) = rig.open();
    let (mut model, mut rng) = (Model::default(), SimRng::new(6));
    add(&mut rig, &ledger, "e", (3, 2)).unwrap();
    add(&mut rig, &ledger, "f", (1, 1)).unwrap();
    model.fill(&ledger, &mut rng, 150);
    assert_eq!(sets_written(&ledger), [0, 1, 2].into());
    drop(ledger);
    let lost = ["d01", "e00", "e04", "f01"];
    lost.iter().for_each(|name| rig.world.vanish(name));
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(150), Some(&ledger));
    // Set 1 has fewer disks than its quorum: the others are written.
    let written: Vec<bool> = ledger.status().sets.iter().map(|set| set.is_written).collect();
    assert_eq!((ledger.status().read_only, written), (None, vec![true, false, true]));
    model.fill(&ledger, &mut rng, 60);
    drop(ledger);
    rig.world.kill_process();
    lost.iter().for_each(|name| rig.world.bring_back(name));
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(210), Some(&ledger));
    assert!(ledger.status().sets.iter().all(|set| set.is_written));
    let report = ledger.heal(&PassOptions::default(), &mut |_| true).unwrap();
    assert!(report.is_whole(), "{report:?}");
    // Now the others may go.
    model.fill(&ledger, &mut rng, 20);
    drop(ledger);
    ["d00", "e01", "e02", "f00"].iter().for_each(|name| rig.world.vanish(name));
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(230), Some(&ledger));
}

#[test]
fn a_set_that_loses_its_quorum_in_the_midst_of_a_stripe_is_passed_over() {
    let mut halted = 0;
    for seed in 0..12 {
        let mut rig = Rig::new(1, 1, tiny());
        let (ledger, _) = rig.open();
        let (mut model, mut rng) = (Model::default(), SimRng::new(seed));
        add(&mut rig, &ledger, "e", (2, 2)).unwrap();
        model.fill(&ledger, &mut rng, 10 + seed * 4);
        // The set being written goes, disk by disk, under the next writes; a stripe may be on some of its disks.
        let on = ledger.set_of(ledger.writing()).unwrap();
        let disks = if on == 0 { vec!["d00", "d01"] } else { vec!["e00", "e01"] };
        for (nth, name) in disks.iter().enumerate() {
            rig.world.vanish(name);
            let tag = rng.next_u64();
            let lsn = model.append(&ledger, support::sample(&mut rng, tag, 6000)).unwrap();
            ledger.wait(lsn, Class::Durable).unwrap_or_else(|error| panic!("seed {seed}, disk {nth}: {error}"));
        }
        assert_ne!(ledger.set_of(ledger.writing()), Some(on));
        let last = model.append(&ledger, support::sample(&mut rng, 1, 6000)).unwrap();
        ledger.wait(last, Class::Durable).unwrap();
        halted += usize::from(ledger.status().sets[usize::from(on)].is_halted);
        drop(ledger);
        // Its disks come back with what they had; the power was lost on top.
        rig.world.restart(rng.next_u64());
        disks.iter().for_each(|name| rig.world.bring_back(name));
        let (ledger, replayed) = rig.open();
        model.check_prefix(&replayed, last, Some(&ledger));
        assert_eq!(ledger.next_lsn(), last.next());
        assert!(ledger.status().sets.iter().all(|set| set.is_written), "it is written again");
        model.fill(&ledger, &mut rng, 40);
        let (ledger, replayed) = rig.reopen(ledger);
        model.check_prefix(&replayed, Lsn(last.0 + 40), Some(&ledger));
    }
    assert!(halted > 6, "in {halted} of 12 runs the set lost its quorum while it was written");
}

#[test]
fn a_store_without_one_of_its_sets_is_refused_by_its_number_and_nothing_is_changed() {
    let mut rig = Rig::new(2, 1, tiny());
    let (ledger, _) = rig.open();
    let (mut model, mut rng) = (Model::default(), SimRng::new(8));
    add(&mut rig, &ledger, "e", (2, 1)).unwrap();
    model.fill(&ledger, &mut rng, 60);
    ledger.stop().unwrap();
    drop(ledger);
    for part in [0..3, 3..6] {
        let disks = rig.names[part.clone()].iter().map(|name| rig.world.disk(name) as Arc<dyn Disk>).collect();
        let error = rig.open_on(disks, None, &mut |_| Ok(())).err().unwrap();
        let number = if part.start == 0 { 1 } else { 0 };
        assert!(matches!(error, LedgerError::TooFewDisks { .. }), "{error}");
        assert!(error.to_string().contains(&format!("set {number} of the store")), "{error}");
    }
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(60), Some(&ledger));
}

#[test]
fn disks_that_hold_something_do_not_join() {
    let mut rig = Rig::new(1, 1, tiny());
    let (ledger, _) = rig.open();
    let used: Vec<Arc<dyn Disk>> = rig.disks();
    let again = ledger.add_set(&used, geometry((1, 1)), &SimEntropy::new(5));
    assert!(matches!(again, Err(LedgerError::ForeignDisk { .. })), "{again:?}");
    let one = rig.world.disk("x") as Arc<dyn Disk>;
    let twice = ledger.add_set(&[Arc::clone(&one), Arc::clone(&one)], geometry((1, 1)), &SimEntropy::new(5));
    assert!(matches!(twice, Err(LedgerError::ForeignDisk { .. })), "{twice:?}");
    let few = ledger.add_set(&[one], geometry((1, 1)), &SimEntropy::new(5));
    assert!(matches!(few, Err(LedgerError::Setting { .. })), "{few:?}");
    assert_eq!(ledger.status().sets.len(), 1);
}

#[test]
fn the_last_set_that_takes_writes_is_not_drained_and_an_empty_one_leaves() {
    let mut rig = Rig::new(1, 1, tiny());
    let (ledger, _) = rig.open();
    let (mut model, mut rng) = (Model::default(), SimRng::new(9));
    assert!(matches!(ledger.set_draining(0, true), Err(LedgerError::Setting { .. })));
    assert!(matches!(ledger.set_draining(7, true), Err(LedgerError::Setting { .. })));
    add(&mut rig, &ledger, "e", (2, 1)).unwrap();
    // Nothing was written to it yet, or a segment made ahead at most.
    ledger.set_draining(1, true).unwrap();
    model.fill(&ledger, &mut rng, 60);
    assert_eq!(sets_written(&ledger), [0].into());
    assert!(matches!(ledger.set_draining(0, true), Err(LedgerError::Setting { .. })));
    assert!(matches!(ledger.release_set(0), Err(LedgerError::Setting { .. })));
    let (ledger, _) = rig.reopen(ledger);
    assert_eq!(ledger.status().sets[1].state, SetState::Draining);
    assert_eq!(ledger.release_set(1).unwrap(), Vec::<String>::new());
    for name in ["e00", "e01", "e02"] {
        assert_eq!(rig.world.disk(name).list().unwrap(), [], "{name}");
    }
    model.fill(&ledger, &mut rng, 20);
    drop(ledger);
    rig.names.truncate(2);
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(80), Some(&ledger));
    // Its number is not given out again.
    assert_eq!(add(&mut rig, &ledger, "f", (1, 0)).unwrap(), 2);
    // A set that holds segments does not leave.
    model.fill(&ledger, &mut rng, 60);
    ledger.set_draining(2, true).unwrap();
    assert!(matches!(ledger.release_set(2), Err(LedgerError::Inconsistent { .. })));
}

/// Adds a set, appends over both, and drains the second as far as the ledger alone can.
fn workload(rig: &mut Rig, model: &mut Model, seed: u64) -> (Lsn, bool) {
    let mut rng = SimRng::new(seed);
    let Ok((ledger, _)) = rig.try_open() else { return (Lsn(0), false) };
    let mut durable = ledger.durable();
    let mut append = |model: &mut Model, count: u64| {
        for _ in 0..count {
            let tag = rng.next_u64();
            let mut append = support::sample(&mut rng, tag, 2500);
            append.relaxed = rng.one_in(3);
            let Ok(lsn) = model.append(&ledger, append) else { return false };
            if rng.one_in(3) && ledger.wait(lsn, Class::Durable).is_err() {
                return false;
            }
            durable = durable.max(ledger.durable());
        }
        true
    };
    let mut added = false;
    if append(model, 6) {
        added = add(rig, &ledger, "e", (1, 1)).is_ok();
        if added && append(model, 30) && ledger.set_draining(0, true).is_ok() && append(model, 10) {
            drop(ledger.set_draining(0, false));
            append(model, 12);
        }
    }
    if ledger.sync().is_ok() {
        durable = ledger.durable();
    }
    drop(ledger.stop());
    (durable, added)
}

#[test]
fn a_crash_at_any_moment_leaves_a_set_in_the_store_or_outside_and_loses_nothing() {
    for layout in [(1, 0), (2, 1)] {
        let mut rig = Rig::new(layout.0, layout.1, tiny());
        names("e", (1, 1)).into_iter().for_each(|name| rig.names.push(name));
        let (ledger, _) = rig.open();
        let mut prepared = Model::default();
        prepared.fill(&ledger, &mut SimRng::new(4), 4);
        drop(ledger);
        rig.world.kill_process();
        let start = rig.world.snapshot();
        let first = rig.world.io_count() + 1;
        workload(&mut rig, &mut prepared.clone(), 11);
        let last = rig.world.io_count();
        assert!(last - first > 100);
        let mut rng = SimRng::new(3);
        let (mut inside, mut outside) = (0, 0);
        for io in first..=last {
            for choices in [0, 1, rng.next_u64() | 2] {
                rig.world.restore(&start);
                rig.world.crash_during(io, 1 + rng.below(3));
                let mut model = prepared.clone();
                let (durable, added) = workload(&mut rig, &mut model, 11);
                rig.world.restart(choices);
                if rng.one_in(3) {
                    rig.world.crash_at(rig.world.io_count() + 1 + rng.below(60));
                    drop(rig.try_open());
                    rig.world.restart(rng.next_u64());
                }
                let (ledger, replayed) = rig.try_open().unwrap_or_else(|error| panic!("I/O {io}, {choices}: {error}"));
                model.check_prefix(&replayed, durable, Some(&ledger));
                model.cut(ledger.next_lsn());
                let sets = ledger.status().sets.len();
                assert!(sets == 2 || !added, "a set that joined stays");
                if sets == 1 {
                    outside += 1;
                    let unlisted =
                        |kind: &StrangerKind| matches!(kind, StrangerKind::Unlisted(_) | StrangerKind::Blank);
                    assert!(ledger.status().strangers.iter().all(|stranger| unlisted(&stranger.kind)));
                    // Its disks may be used for another try at once.
                    add(&mut rig, &ledger, "e", (1, 1)).unwrap();
                } else {
                    inside += 1;
                }
                model.fill(&ledger, &mut rng, 25);
                let end = ledger.next_lsn();
                drop(ledger);
                rig.world.restart(rng.next_u64());
                let (ledger, replayed) = rig.open();
                model.check_prefix(&replayed, Lsn(end.0 - 1), Some(&ledger));
                assert_eq!(ledger.status().sets.len(), 2);
            }
        }
        assert!(inside > 100 && outside > 10, "{inside} inside, {outside} outside");
    }
}

/// Appends, takes disks away from the set that is being written, so that it loses its quorum, and goes on.
fn lose_a_set(rig: &mut Rig, model: &mut Model, seed: u64, relaxed: bool) -> (Lsn, Vec<&'static str>) {
    let mut rng = SimRng::new(seed);
    let Ok((ledger, _)) = rig.try_open() else { return (Lsn(0), Vec::new()) };
    let mut durable = ledger.durable();
    let mut gone = Vec::new();
    for nth in 0..40 {
        if nth == 12 {
            gone = if ledger.set_of(ledger.writing()) == Some(0) { vec!["d00", "d01"] } else { vec!["e01", "e02"] };
            gone.iter().for_each(|name| rig.world.vanish(name));
        }
        let tag = rng.next_u64();
        let mut append = support::sample(&mut rng, tag, 2500);
        append.relaxed = relaxed && rng.one_in(2);
        let Ok(lsn) = model.append(&ledger, append) else { break };
        let class = if relaxed && rng.one_in(2) { Class::Written } else { Class::Durable };
        if rng.one_in(2) && ledger.wait(lsn, class).is_err() {
            break;
        }
        durable = durable.max(ledger.durable());
    }
    drop(ledger.stop());
    (durable.max(ledger.durable()), gone)
}

/// The other sets are told of a new opening before one of them takes what the first did not. A server that runs out of
/// descriptors in the midst of that tells them all of it later, before anything else is written.
#[test]
fn a_server_out_of_descriptors_while_a_set_loses_its_quorum_loses_nothing() {
    let run = |rig: &mut Rig, model: &mut Model| -> Option<(Lsn, u64)> {
        let (ledger, _) = rig.try_open().ok()?;
        let (mut rng, mut refused) = (SimRng::new(31), 0);
        let gone = if ledger.set_of(ledger.writing()) == Some(0) { ["d00", "d01"] } else { ["e01", "e02"] };
        for nth in 0..16 {
            if nth == 3 {
                gone.iter().for_each(|name| rig.world.vanish(name));
            }
            let append = support::sample(&mut rng, nth, 2500);
            let written = model.append(&ledger, append).and_then(|lsn| ledger.wait(lsn, Class::Durable));
            match written {
                Ok(()) => {}
                Err(LedgerError::Exhausted { .. }) => refused += 1,
                Err(error) => panic!("append {nth}: {error}"),
            }
        }
        rig.world.clear_faults();
        let last = model.append(&ledger, support::sample(&mut rng, 99, 100)).unwrap();
        ledger.wait(last, Class::Durable).unwrap();
        drop(ledger);
        Some((last, refused))
    };
    for (first, layout) in [(0, (2, 2)), (1, (1, 2))] {
        let mut rig = Rig::new(2, 2, tiny());
        let (ledger, _) = rig.open();
        let (mut prepared, mut rng) = (Model::default(), SimRng::new(21));
        add(&mut rig, &ledger, "e", layout).unwrap();
        prepared.fill(&ledger, &mut rng, 10);
        while ledger.set_of(ledger.writing()) != Some(first) {
            prepared.fill(&ledger, &mut rng, 1);
        }
        drop(ledger);
        rig.world.kill_process();
        let start = rig.world.snapshot();
        let from = rig.world.io_count() + 1;
        run(&mut rig, &mut prepared.clone());
        let (to, mut refusals) = (rig.world.io_count(), 0);
        for io in from..=to {
            for calls in [1, 3] {
                rig.world.restore(&start);
                rig.names.iter().for_each(|name| rig.world.bring_back(name));
                let mut model = prepared.clone();
                for at in io..io + calls {
                    rig.world.set_fault(Fault::exhausted().when(When::At(at)));
                }
                // An opening may be refused.
                let Some((last, refused)) = run(&mut rig, &mut model) else { continue };
                refusals += refused;
                rig.world.restart(io);
                let (ledger, replayed) = rig.try_open().unwrap_or_else(|error| panic!("I/O {io}, {calls}: {error}"));
                model.check_prefix(&replayed, last, Some(&ledger));
            }
        }
        assert!(refusals > 10, "{refusals} refusals");
    }
}

#[test]
fn a_set_whose_joining_was_cut_off_for_lack_of_descriptors_joins_when_it_is_added_again() {
    let mut rig = Rig::new(2, 1, tiny());
    let (ledger, _) = rig.open();
    let (mut model, mut rng) = (Model::default(), SimRng::new(3));
    add(&mut rig, &ledger, "e", (1, 2)).unwrap();
    model.fill(&ledger, &mut rng, 9);
    drop(ledger);
    rig.world.kill_process();
    let start = rig.world.snapshot();
    let given = rig.names.clone();
    let whole = |rig: &mut Rig, fault: Option<Fault>, again: bool| {
        rig.world.restore(&start);
        rig.names.clone_from(&given);
        let (ledger, _) = rig.open();
        fault.into_iter().for_each(|fault| rig.world.set_fault(fault));
        let from = rig.world.io_count() + 1;
        let mut joined = add(rig, &ledger, "f", (2, 2));
        let to = rig.world.io_count();
        rig.world.clear_faults();
        if again && joined.is_err() {
            joined = add(rig, &ledger, "f", (2, 2));
            assert!(joined.is_ok(), "{joined:?}");
        }
        (ledger, joined.is_ok(), from..=to)
    };
    let (_, _, calls) = whole(&mut rig, None, false);
    let mut refused = 0;
    for (io, again) in calls.flat_map(|io| [(io, false), (io, true)]) {
        for when in [When::At(io), When::From(io)] {
            let (ledger, joined, _) = whole(&mut rig, Some(Fault::exhausted().when(when)), again);
            refused += usize::from(!joined);
            let mut model = model.clone();
            model.fill(&ledger, &mut rng, 6);
            let sets = ledger.status().sets.len();
            drop(ledger);
            rig.world.restart(io);
            let (ledger, replayed) = rig.try_open().unwrap_or_else(|error| panic!("I/O {io}, {again}: {error}"));
            model.check_prefix(&replayed, Lsn(model.appends.len() as u64), Some(&ledger));
            let now = ledger.status().sets.len();
            assert!(now == 3 || !joined && now == sets, "I/O {io}, {again}: {sets} sets, then {now}");
        }
    }
    assert!(refused > 5, "{refused} refused");
}

/// What some disks took of a stripe is of no account once that stripe is written on another set.
#[test]
fn a_stripe_that_was_cut_off_for_lack_of_descriptors_is_written_on_the_set_that_takes_over() {
    let mut cut = 0;
    for seed in 0..40 {
        let mut rig = Rig::new(2, 1, tiny());
        let (ledger, _) = rig.open();
        let (mut model, mut rng) = (Model::default(), SimRng::new(seed));
        add(&mut rig, &ledger, "e", (1, 2)).unwrap();
        model.fill(&ledger, &mut rng, 5 + seed);
        let on = ledger.set_of(ledger.writing()).unwrap();
        let slow = if on == 0 { "d01" } else { "e01" };
        rig.world.set_fault(Fault::exhausted().on(slow).of(IoOp::Write));
        let lsn = model.append(&ledger, support::sample(&mut rng, 1, 5000)).unwrap();
        if ledger.wait(lsn, Class::Durable).is_ok() {
            // There was no room for it, so that it went to the other set.
            continue;
        }
        cut += 1;
        rig.world.clear_faults();
        ledger.set_draining(on, true).unwrap();
        ledger.wait(lsn, Class::Durable).unwrap();
        assert_ne!(ledger.set_of(ledger.writing()), Some(on));
        let last = model.append(&ledger, support::sample(&mut rng, 2, 5000)).unwrap();
        ledger.wait(last, Class::Durable).unwrap();
        drop(ledger);
        rig.world.restart(seed);
        let (ledger, replayed) = rig.try_open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        model.check_prefix(&replayed, last, Some(&ledger));
    }
    assert!(cut > 30, "{cut} of 40 stripes were cut off");
}

#[test]
fn a_crash_while_a_set_loses_its_quorum_and_another_takes_over_loses_nothing() {
    for (first, relaxed) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut rig = Rig::new(2, 2, tiny());
        let (ledger, _) = rig.open();
        let (mut prepared, mut rng) = (Model::default(), SimRng::new(21));
        add(&mut rig, &ledger, "e", (2, 2)).unwrap();
        prepared.fill(&ledger, &mut rng, 10);
        while ledger.set_of(ledger.writing()) != Some(first) {
            prepared.fill(&ledger, &mut rng, 1);
        }
        drop(ledger);
        rig.world.kill_process();
        let start = rig.world.snapshot();
        let from = rig.world.io_count() + 1;
        let (durable, gone) = lose_a_set(&mut rig, &mut prepared.clone(), 31, relaxed);
        // Where stripes were only written, nothing can stand in for them, and the store stops.
        assert!(gone.len() == 2 && (relaxed || durable.0 >= prepared.appends.len() as u64 + 40), "all was taken");
        let to = rig.world.io_count();
        for io in (from..=to).step_by(5) {
            for choices in [0, 1, rng.next_u64() | 2] {
                rig.world.restore(&start);
                rig.names.iter().for_each(|name| rig.world.bring_back(name));
                rig.world.crash_during(io, 1 + rng.below(4));
                let mut model = prepared.clone();
                let (durable, gone) = lose_a_set(&mut rig, &mut model, 31, relaxed);
                rig.world.restart(choices);
                // The disks may stay away for an opening or two: there are still enough of them to read.
                for _ in 0..rng.below(3) {
                    let (ledger, replayed) = rig.try_open().unwrap_or_else(|error| panic!("I/O {io}: {error}"));
                    model.check_prefix(&replayed, durable, Some(&ledger));
                    drop(ledger);
                    rig.world.restart(rng.next_u64());
                }
                gone.iter().for_each(|name| rig.world.bring_back(name));
                let (ledger, replayed) = rig.try_open().unwrap_or_else(|error| panic!("I/O {io}, {choices}: {error}"));
                model.check_prefix(&replayed, durable, Some(&ledger));
                assert_eq!(ledger.status().read_only, None);
                model.cut(ledger.next_lsn());
                model.fill(&ledger, &mut rng, 20);
                let report = ledger.heal(&PassOptions::default(), &mut |_| true).unwrap();
                assert!(report.is_whole(), "I/O {io}: {report:?}");
                let end = ledger.next_lsn();
                drop(ledger);
                rig.world.restart(rng.next_u64());
                let (ledger, replayed) = rig.open();
                model.check_prefix(&replayed, Lsn(end.0 - 1), Some(&ledger));
            }
        }
    }
}

#[test]
fn what_only_the_operating_system_has_of_a_set_below_its_quorum_is_told_of_as_durable_to_nobody() {
    let mut rig = Rig::new(2, 2, tiny());
    let (ledger, _) = rig.open();
    let (mut model, mut rng) = (Model::default(), SimRng::new(12));
    add(&mut rig, &ledger, "e", (1, 1)).unwrap();
    model.fill(&ledger, &mut rng, 20);
    while ledger.set_of(ledger.writing()) != Some(0) {
        model.fill(&ledger, &mut rng, 1);
    }
    let durable = ledger.durable();
    let mut append = support::sample(&mut rng, 5, 300);
    append.relaxed = true;
    let written = model.append(&ledger, append).unwrap();
    ledger.wait(written, Class::Written).unwrap();
    assert!(ledger.durable() < written);
    drop(ledger);
    // The process dies, two disks are not there at the next start, and then the power goes.
    rig.world.kill_process();
    ["d01", "d02"].iter().for_each(|name| rig.world.vanish(name));
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, durable, Some(&ledger));
    drop(ledger.sync());
    drop(ledger);
    rig.world.restart(0);
    ["d01", "d02"].iter().for_each(|name| rig.world.bring_back(name));
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, durable, Some(&ledger));
    assert_eq!(ledger.status().read_only, None);
}

#[test]
fn a_segment_that_was_made_on_one_set_and_written_on_another_lies_where_it_was_written() {
    for on in [0, 1] {
        let mut rig = Rig::new(2, 2, tiny());
        let (ledger, _) = rig.open();
        let (mut model, mut rng) = (Model::default(), SimRng::new(13));
        add(&mut rig, &ledger, "e", (2, 2)).unwrap();
        // The segment being written is empty, and lies on the set that then loses its quorum.
        loop {
            model.fill(&ledger, &mut rng, 1);
            ledger.begin_segment().unwrap();
            if ledger.set_of(ledger.writing()) == Some(on) {
                break;
            }
        }
        let (number, gone) = (ledger.writing(), if on == 0 { ["d00", "d01"] } else { ["e00", "e01"] });
        gone.iter().for_each(|name| rig.world.vanish(name));
        model.fill(&ledger, &mut rng, 5);
        assert_eq!(ledger.set_of(number), Some(1 - on), "it was made anew elsewhere");
        let end = ledger.next_lsn();
        drop(ledger);
        rig.world.kill_process();
        gone.iter().for_each(|name| rig.world.bring_back(name));
        for name in gone {
            let file = format!("seg-{:08x}", number.0);
            assert!(
                rig.world.files(name).iter().any(|found| found.name == file),
                "{name} still has a file of that number"
            );
        }
        let (ledger, replayed) = rig.open();
        model.check_prefix(&replayed, Lsn(end.0 - 1), Some(&ledger));
        assert_eq!(ledger.set_of(number), Some(1 - on));
        model.fill(&ledger, &mut rng, 20);
        let (ledger, replayed) = rig.reopen(ledger);
        model.check_prefix(&replayed, Lsn(end.0 + 19), Some(&ledger));
    }
}

//! A store over several sets: a set is added, another emptied and removed, with a crash at any moment of it; and what
//! every object reads afterwards, from the disks that are left alone.

use std::sync::Arc;
use std::time::Duration;

use strata_content::{Host, MoverReport, Unpaced};
use strata_ledger::{Geometry, SetState};
use strata_namespace::Result;
use strata_runtime::{DrainStep, OpenStore, StoreConfig};
use strata_seam::sim::{SimEntropy, SimWorld};
use strata_seam::{Disk, WorkerState};

use crate::checkpoint::{filled, objects, small};
use crate::support::*;

const OLD: [&str; 3] = ["disk0", "disk1", "disk2"];
const NEW: [&str; 4] = ["e0", "e1", "e2", "e3"];

fn disks(world: &SimWorld, names: &[&str]) -> Vec<Arc<dyn Disk>> {
    names.iter().map(|name| -> Arc<dyn Disk> { world.disk(name) }).collect()
}

fn try_open_on(world: &SimWorld, names: &[&str]) -> Result<OpenStore> {
    let config = StoreConfig { disks: disks(world, names), create: None, ..small(world) };
    OpenStore::open(config, world.clock(), &SimEntropy::new(world.io_count() + 1))
}

fn try_open_all(world: &SimWorld) -> Result<OpenStore> {
    try_open_on(world, &[&OLD[..], &NEW[..]].concat())
}

/// Adds a set of another layout, 2+2 beside 2+1.
fn add(world: &SimWorld, store: &OpenStore) -> u16 {
    let geometry = Geometry { data_shards: 2, parity_shards: 2 };
    let ledger = store.namespace().store().ledger();
    ledger.add_set(&disks(world, &NEW), geometry, &SimEntropy::new(9)).expect("added")
}

/// Steps until the set has left; its disks are then blank. Why not, if not.
fn try_drain(store: &OpenStore, number: u16) -> Result<(), String> {
    store.runtime().begin_drain(number).map_err(|error| error.to_string())?;
    for _ in 0..20 {
        match store.runtime().drain_step(number, &mut Unpaced).map_err(|error| error.to_string())? {
            DrainStep::Released(unwiped) if unwiped.is_empty() => return Ok(()),
            DrainStep::More => {}
            other => return Err(format!("{other:?}")),
        }
    }
    Err(format!("{:?} is left after many steps", store.runtime().drain_status()))
}

fn drain(store: &OpenStore, number: u16) {
    try_drain(store, number).expect("drained");
}

fn states(store: &OpenStore) -> Vec<(u16, SetState)> {
    let status = store.namespace().store().ledger().status();
    status.sets.iter().map(|set| (set.number, set.state)).collect()
}

#[test]
fn the_layout_is_changed_by_adding_a_set_and_draining_the_old_one_whose_disks_are_then_not_needed() {
    let (world, store) = filled(60);
    let wanted = objects(store.namespace());
    assert_eq!(add(&world, &store), 1);
    put(store.namespace(), "behind", &noise(500, 300_000));
    drain(&store, 0);
    assert_eq!(states(&store), [(1, SetState::Active)]);
    assert!(store.runtime().draining().is_none());
    for disk in disks(&world, &OLD) {
        assert_eq!(disk.list().expect("listed"), [], "{}", disk.label());
    }
    assert!(objects(store.namespace()).iter().filter(|(key, _)| key != "behind").eq(&wanted));
    sound(store.namespace());
    drop(store);
    world.kill_process();
    OLD.iter().for_each(|name| world.vanish(name));
    // Any two of the new disks may be lost, too.
    for lost in [["e0", "e1"], ["e2", "e3"]] {
        let world = world.fork();
        lost.iter().for_each(|name| world.vanish(name));
        let store = try_open_on(&world, &NEW).expect("the store opens without the old set");
        assert_eq!(store.namespace().store().ledger().geometry(), Geometry { data_shards: 2, parity_shards: 2 });
        assert!(objects(store.namespace()).iter().filter(|(key, _)| key != "behind").eq(&wanted));
        assert!(get(store.namespace(), "behind").expect("there") == noise(500, 300_000));
    }
    let store = try_open_on(&world, &NEW).expect("the store opens");
    put(store.namespace(), "more", &noise(501, 10_000));
    sound(store.namespace());
}

#[test]
fn a_drain_goes_on_after_a_crash_at_any_moment_and_loses_nothing() {
    let (world, store) = filled(24);
    let wanted = objects(store.namespace());
    add(&world, &store);
    put(store.namespace(), "behind", &noise(500, 100_000));
    drop(store);
    world.kill_process();
    let start = world.snapshot();
    let store = try_open_all(&world).expect("the store opens");
    let first = world.io_count() + 1;
    drain(&store, 0);
    let last = world.io_count();
    drop(store);
    assert!(last > first + 200, "{} I/Os", last - first);
    let (mut gone, mut going) = (0, 0);
    // A crash at every I/O. Of what was not synced nothing survives, all of it, or some.
    let points =
        (first..=last).flat_map(|io| [0, 1, io.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 2].map(|choice| (io, choice)));
    for (nth, (io, choice)) in points.enumerate() {
        world.restore(&start);
        let store = try_open_all(&world).expect("the store opens");
        world.crash_during(io, 1 + nth as u64 % 4);
        // The drain fails somewhere, or ended just before.
        drop(try_drain(&store, 0));
        drop(store);
        world.restart(choice);
        let store = try_open_all(&world).unwrap_or_else(|error| panic!("I/O {io}: {error}"));
        match states(&store)[..] {
            [(1, SetState::Active)] => gone += 1,
            [(0, _), (1, SetState::Active)] => {
                going += 1;
                try_drain(&store, 0).unwrap_or_else(|error| panic!("I/O {io}: {error}"));
            }
            ref other => panic!("{other:?}"),
        }
        assert!(objects(store.namespace()).iter().filter(|(key, _)| key != "behind").eq(&wanted), "I/O {io}");
        drop(store);
        world.restart(0);
        OLD.iter().for_each(|name| world.vanish(name));
        let store = try_open_on(&world, &NEW).unwrap_or_else(|error| panic!("I/O {io}: {error}"));
        assert!(objects(store.namespace()).iter().filter(|(key, _)| key != "behind").eq(&wanted), "I/O {io}");
        assert!(get(store.namespace(), "behind").expect("there") == noise(500, 100_000));
        sound(store.namespace());
        OLD.iter().for_each(|name| world.bring_back(name));
    }
    assert!(gone > 30 && going > 600, "{gone} had left, {going} had not");
}

/// Ends the work after so many calls.
struct Ending(u64);

impl Host for Ending {
    fn pace(&mut self, _bytes: u64, _report: &MoverReport) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
    fn wait(&mut self, _holders: usize, _report: &MoverReport) -> bool {
        false
    }
}

#[test]
fn a_drain_tells_what_is_left_can_be_taken_back_and_goes_on() {
    let (world, store) = filled(40);
    let ns = store.namespace();
    assert!(store.runtime().begin_drain(0).is_err(), "the last set that takes writes");
    add(&world, &store);
    store.runtime().begin_drain(0).expect("begun");
    let status = store.runtime().drain_status().expect("under way");
    assert!(status.number == 0 && status.left > 0 && status.total == status.left && status.remaining().is_none());
    assert_eq!(store.runtime().drain_step(0, &mut Ending(3)).expect("ended"), DrainStep::Ended);
    store.runtime().cancel_drain(0).expect("taken back");
    assert_eq!(store.runtime().drain_status(), None);
    assert_eq!(states(&store), [(0, SetState::Active), (1, SetState::Active)]);
    put(ns, "x", &noise(3, 100_000));
    drop(store);
    world.kill_process();
    let store = try_open_all(&world).expect("the store opens");
    let wanted = objects(store.namespace());
    // The new set may be drained as well.
    drain(&store, 1);
    assert_eq!(states(&store), [(0, SetState::Active)]);
    let worker = |name: &str| {
        let crew = store.namespace().crew().status();
        crew.into_iter().find(|worker| worker.name == name).expect("a worker of that name")
    };
    let drained = worker("drain");
    assert_eq!((Some(drained.cursor), drained.state), (drained.bound, WorkerState::Idle));
    assert!(drained.cursor > 0 && drained.rounds > 0 && worker("reclaim").rounds >= drained.rounds - 1, "{drained:?}");
    drop(store);
    world.kill_process();
    let store = try_open_on(&world, &OLD).expect("the store opens");
    assert!(objects(store.namespace()) == wanted);
    sound(store.namespace());
}

#[test]
fn a_full_store_is_spread_over_a_set_that_joins_until_both_are_about_equally_full() {
    let (world, store) = filled(120);
    let ns = store.namespace();
    let wanted = objects(ns);
    assert_eq!(store.runtime().imbalance(), None, "one set is as full as all");
    let used: u64 = world.files("disk0").iter().map(|file| file.len).sum();
    OLD.iter().chain(&NEW).for_each(|name| world.set_capacity(name, used + (4 << 20)));
    add(&world, &store);
    let apart = store.runtime().imbalance().expect("the new one is empty");
    assert_eq!(apart.from, 0);
    let before = ns.store().ledger().segments_on(0).len();
    let report = store.runtime().rebalance(Duration::ZERO, &mut |_, _| true).expect("moved");
    assert!(report.bytes_moved > 0 && report.segments_freed > 0, "{report:?}");
    let (left, moved) = (ns.store().ledger().segments_on(0).len(), ns.store().ledger().segments_on(1).len());
    assert!(left < before && moved > 0, "{before} segments, then {left} and {moved}");
    let after = store.runtime().imbalance().map_or(0, |apart| apart.surplus);
    assert!(after < apart.surplus / 2, "{} bytes too many before, {after} after", apart.surplus);
    assert!(objects(ns) == wanted);
    sound(ns);
    drop(store);
    world.kill_process();
    assert!(objects(try_open_all(&world).expect("the store opens").namespace()) == wanted);
}

//! What is done to the sets of a simulated store beside the steps of its clients: one joins, one is emptied until it leaves,
//! or goes on after it was cut off, or takes writes again, and all are made equally full.
//!
//! In good health nothing of that may be refused; with disks in trouble or a power cut on its way anything may, and then
//! only what the store says afterwards is compared with what it may say.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use strata_content::{Host, MoverReport, Unpaced};
use strata_ledger::{Geometry, LedgerError, SetState, Status};
use strata_namespace::{Condition, ErrorKind, ObjectMeta};
use strata_runtime::{DrainStep, OpenStore};
use strata_seam::Disk;
use strata_seam::sim::{SimEntropy, SimRng};

use super::{LAYOUTS, RELAXED, Swarm};
use crate::cases::Tally;
use crate::sim::rig::{noise, root};
use crate::sim::sets::View;
use crate::sim::trouble::CAPACITY;

/// Steps within which a set of a healthy store must be empty.
const DRAIN_STEPS_MAX: u64 = 40;
/// Segments of room on every disk while sets are made equally full, beside all that the store holds: none of them is set
/// aside as full, and what they hold weighs.
const ROOM_SEGMENTS: u64 = 14;

/// Most bytes of a relaxed put: few enough for its stripes to stay in the operating system's memory.
const POURED_MAX: u64 = 60_000;

/// Ends the work after so many calls, and waits for nobody.
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

fn status(store: &OpenStore) -> Status {
    store.namespace().store().ledger().status()
}

fn draining(status: &Status) -> Vec<u16> {
    status.sets.iter().filter(|set| set.state == SetState::Draining).map(|set| set.number).collect()
}

impl Swarm {
    /// A deed between two steps. When a set left by it, often a start without its disks.
    pub(super) fn deed_between(
        &mut self,
        store: Option<OpenStore>,
        tally: &mut Tally,
    ) -> Result<Option<OpenStore>, String> {
        let Some(running) = &store else { return Ok(store) };
        let left = self.deed(running, false, tally)?;
        if self.sets.rng.one_in(2) {
            self.compare(running)?;
        }
        if left && self.sets.rng.one_in(2) {
            return self.restart(store, tally).map(Some);
        }
        Ok(store)
    }

    /// Does something to the sets, whatever comes of it; with `cut` the power is about to go. Whether a set left.
    pub(super) fn deed(&mut self, store: &OpenStore, cut: bool, tally: &mut Tally) -> Result<bool, String> {
        let well = !cut && !self.trouble.is_on();
        let before = status(store);
        let (several, emptied) = (before.sets.len() > 1, draining(&before));
        if self.sets.rng.one_in(2) {
            self.pour(store, well)?;
        }
        let last = store.namespace().store().last_commit();
        match self.sets.rng.below(8) {
            0 if several => self.rebalance(store, well, tally)?,
            1 if !emptied.is_empty() => self.cancel_drain(store, emptied[0], well)?,
            2 | 3 if self.sets.may_add() => self.add(store, well)?,
            _ if several => self.drain(store, &before, well, tally)?,
            _ => self.add(store, well)?,
        }
        if !self.undecided && store.namespace().store().ledger().durable() >= last {
            self.possible.commits_durable();
        }
        if self.world.is_crashed() {
            return Ok(false);
        }
        let view = if self.undecided { View::Undecided } else { View::Running };
        self.settle_sets(&status(store), view, tally)
    }

    /// Compares the sets of the store with those that it may have. Whether one left.
    pub(super) fn settle_sets(&mut self, status: &Status, view: View, tally: &mut Tally) -> Result<bool, String> {
        let settled = self.sets.settle(status, view)?;
        tally.count("sets added", settled.joined);
        tally.count("sets released", settled.left);
        (settled.joined, settled.left).hash(&mut self.events);
        if !settled.gone.is_empty() {
            self.trouble.leave(&settled.gone);
            self.rig.disks = self.sets.offered();
        }
        let own = self.sets.disks();
        match status.strangers.iter().find(|stranger| own.contains(&stranger.label)) {
            Some(stranger) if view == View::Opened && !self.trouble.is_on() => {
                Err(format!("{}, which is well, {}", stranger.label, stranger.kind))
            }
            _ => Ok(settled.left > 0),
        }
    }

    /// Some puts that are written and not synced. None of them is looked at; what comes behind them is.
    fn pour(&mut self, store: &OpenStore, well: bool) -> Result<(), String> {
        let (ns, op) = (store.namespace(), root());
        let (puts, seed) = (1 + self.sets.rng.below(3), self.sets.rng.next_u64());
        self.now(format!("{puts} relaxed puts"));
        let put = |number: u64| -> strata_namespace::Result<()> {
            let mut rng = SimRng::new(seed.wrapping_add(number));
            let mut ingest = ns.ingest(&op, RELAXED)?;
            ingest.push(&noise(rng.next_u64(), 1 + rng.below(POURED_MAX) as usize))?;
            let (content, key) = (ingest.finish()?, format!("poured-{}", rng.below(4)));
            ns.put_object(&op, RELAXED, key.as_bytes(), content, None, ObjectMeta::default(), &Condition::default())?;
            ns.settle_blocking(&op)
        };
        let poured = (0..puts).try_for_each(put);
        poured.is_ok().hash(&mut self.events);
        match poured {
            Err(error) if well => Err(format!("refused in good health: {error:?}")),
            _ => Ok(()),
        }
    }

    fn add(&mut self, store: &OpenStore, well: bool) -> Result<(), String> {
        let (layout, struck, outside) = self.sets.ask(&LAYOUTS);
        let names = struck.1.clone();
        if outside {
            // What befell it in an earlier try is over.
            names.iter().for_each(|disk| {
                self.world.set_read_only(disk, false);
                self.world.set_capacity(disk, CAPACITY);
                self.world.bring_back(disk);
            });
        }
        self.trouble.joins(struck);
        self.now(format!("a set of {layout:?} is added: {}", names.join(" ")));
        let disks: Vec<Arc<dyn Disk>> = names.iter().map(|name| -> Arc<dyn Disk> { self.world.disk(name) }).collect();
        let geometry = Geometry { data_shards: layout.0, parity_shards: layout.1 };
        let entropy = SimEntropy::new(self.sets.rng.next_u64());
        let added = store.namespace().store().ledger().add_set(&disks, geometry, &entropy);
        added.is_ok().hash(&mut self.events);
        match added {
            Ok(number) if status(store).sets.iter().any(|set| set.number == number) => {}
            Ok(number) => return Err(format!("set {number} was added and is not there")),
            Err(error) if well => return Err(format!("a healthy store takes no other set: {error:?}")),
            Err(LedgerError::QuorumLost { .. } | LedgerError::Closed) => self.sets.unsure = true,
            Err(_) if outside && !self.world.is_crashed() => {
                self.sets.refused();
                self.trouble.leave(&names);
            }
            Err(_) => self.sets.unsure = true,
        }
        self.rig.disks = self.sets.offered();
        Ok(())
    }

    fn cancel_drain(&mut self, store: &OpenStore, number: u16, well: bool) -> Result<(), String> {
        self.now(format!("set {number} takes writes again"));
        match store.runtime().cancel_drain(number) {
            Ok(()) => {}
            Err(error) if well => return Err(format!("a drain cannot be taken back in good health: {error:?}")),
            Err(_) => self.sets.unsure = true,
        }
        Ok(())
    }

    /// Some steps of emptying a set: one that it was begun with, mostly.
    fn drain(&mut self, store: &OpenStore, before: &Status, well: bool, tally: &mut Tally) -> Result<(), String> {
        let emptied = draining(before);
        let begun = !emptied.is_empty() && !self.sets.rng.one_in(6);
        let among = if begun { emptied } else { before.sets.iter().map(|set| set.number).collect() };
        let number = among[self.sets.rng.below(among.len() as u64) as usize];
        self.now(format!("set {number} is emptied"));
        self.sets.note_draining(number);
        if let Err(error) = store.runtime().begin_drain(number) {
            let others = before.sets.iter().any(|set| set.number != number && set.is_written);
            if well && (others || error.kind != ErrorKind::Invalid) {
                return Err(format!("a drain cannot begin in good health: {error:?}"));
            }
            self.sets.unsure |= error.kind != ErrorKind::Invalid;
            return Ok(());
        }
        for _ in 0..1 + self.sets.rng.below(3) {
            let mut ending = Ending(1 + self.sets.rng.below(30));
            let host: &mut dyn Host = if self.sets.rng.one_in(2) { &mut ending } else { &mut Unpaced };
            let step = store.runtime().drain_step(number, host);
            step.is_ok().hash(&mut self.events);
            match step {
                Ok(DrainStep::Released(unwiped)) => return self.check_left(before, number, well, &unwiped),
                Ok(DrainStep::Ended) => {
                    tally.count("drains cut off", 1);
                    break;
                }
                Ok(DrainStep::More) => {}
                Ok(DrainStep::Stuck(why)) => self.now(format!("it is stuck: {why}")),
                Err(error) if well => return Err(format!("a set cannot be emptied in good health: {error:?}")),
                Err(_) => {
                    self.sets.unsure = true;
                    break;
                }
            }
            if self.world.is_crashed() {
                break;
            }
        }
        Ok(())
    }

    /// The disks of a set that left are blank, but for those of which that is said.
    fn check_left(&mut self, before: &Status, number: u16, well: bool, unwiped: &[String]) -> Result<(), String> {
        let disks = before.disks.iter().filter(|disk| disk.set == number).map(|disk| &disk.label);
        let kept = |disk: &&String| self.world.files(disk).iter().any(|file| file.name != "probe");
        match disks.filter(|disk| !unwiped.contains(disk)).find(kept) {
            Some(disk) if well => Err(format!("{disk} of set {number}, which left, is not blank")),
            _ if well && !unwiped.is_empty() => Err(format!("{unwiped:?}, which are well, could not be wiped")),
            _ => Ok(()),
        }
    }

    /// The sets that are being emptied leave; the store is all there without them.
    pub(super) fn end_drain(&mut self, store: OpenStore, tally: &mut Tally) -> Result<OpenStore, String> {
        let mut left = draining(&status(&store));
        for _ in 0..DRAIN_STEPS_MAX {
            let Some(number) = left.first().copied() else { break };
            let step = store.runtime().drain_step(number, &mut Unpaced);
            let step = step.map_err(|error| format!("a set cannot be emptied in good health: {error:?}"))?;
            self.now(format!("at last, set {number}: {step:?}"));
            left = draining(&status(&store));
        }
        if !left.is_empty() {
            return Err(format!("set {left:?} is not empty after {DRAIN_STEPS_MAX} steps in good health"));
        }
        self.settle_sets(&status(&store), View::Running, tally)?;
        self.restart(Some(store), tally)
    }

    /// Disks of which what they hold is a good part are made equally full.
    fn rebalance(&mut self, store: &OpenStore, well: bool, tally: &mut Tally) -> Result<(), String> {
        self.now("the sets are made equally full".to_owned());
        let disks: Vec<String> = self.sets.disks().into_iter().filter(|disk| !self.trouble.may_strike(disk)).collect();
        let used = |disk: &String| self.world.files(disk).iter().map(|file| file.len).sum::<u64>();
        // Room for all there is: one that were full beside a struck one of its set would be one too many.
        let room = self.sets.disks().iter().map(used).sum::<u64>() + ROOM_SEGMENTS * self.rig.ledger.segment_len;
        disks.iter().for_each(|disk| self.world.set_capacity(disk, room));
        let moved = store.runtime().rebalance(Duration::ZERO, &mut |_, _| true);
        disks.iter().for_each(|disk| self.world.set_capacity(disk, CAPACITY));
        moved.is_ok().hash(&mut self.events);
        match moved {
            Ok(report) => tally.count("rebalances", u64::from(report.bytes_moved > 0)),
            Err(error) if well && error.kind != ErrorKind::NoSpace => {
                return Err(format!("sets cannot be made equally full in good health: {error:?}"));
            }
            Err(_) => {}
        }
        Ok(())
    }
}

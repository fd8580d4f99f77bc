//! A simulated store that is filled until it refuses, and emptied; sometimes the power goes in the midst of it.

use strata_ledger::{DiskState, PassOptions, SetState};
use strata_runtime::OpenStore;

use super::Swarm;
use crate::cases::Tally;
use crate::sim::full::fill_and_empty;
use crate::sim::trouble::CAPACITY;

/// I/Os within which the power goes.
const CUT_WITHIN: u64 = 20_000;
/// An I/O that no run comes to.
const NEVER: u64 = 1 << 60;

impl Swarm {
    /// In good health alone; not while a set is emptied, which the others then may have no room for.
    pub(super) fn fill(&mut self, store: Option<OpenStore>, tally: &mut Tally) -> Result<OpenStore, String> {
        let store = store.ok_or("the store is gone")?;
        let status = store.namespace().store().ledger().status();
        if self.undecided || status.read_only.is_some() || status.sets.iter().any(|set| set.state != SetState::Active) {
            return Ok(store);
        }
        let cut = self.crowd.one_in(3);
        self.now(format!("the store is filled and emptied{}", if cut { ", and the power may go" } else { "" }));
        tally.count("stores filled and emptied", 1);
        let disks = self.sets.disks();
        let last = store.namespace().store().last_commit();
        if cut {
            self.world.crash_at(self.world.io_count() + 1 + self.crowd.below(CUT_WITHIN));
        }
        let filled = fill_and_empty(&store, &self.world, (&disks, self.rig.ledger.segment_len), &mut self.crowd);
        if store.namespace().store().ledger().durable() >= last {
            self.possible.commits_durable();
        }
        let store = if self.world.is_crashed() {
            tally.count("power cuts", 1);
            drop(store);
            self.world.restart(self.crowd.next_u64());
            let store = self.open(true, tally)?;
            // Wherever it was cut off, it can go on.
            let reclaimed = store.runtime().reclaim(std::time::Duration::ZERO, &mut |_| true);
            reclaimed.map_err(|error| format!("the mover of a full store that was cut off cannot go on: {error:?}"))?;
            store
        } else {
            filled?;
            self.world.crash_at(NEVER);
            store
        };
        disks.iter().for_each(|disk| self.world.set_capacity(disk, CAPACITY));
        let ledger = store.namespace().store().ledger();
        ledger.tend().map_err(|error| format!("disks with room are not taken back: {error:?}"))?;
        if ledger.status().disks.iter().any(|disk| disk.state != DiskState::Active) {
            // One that was fuller than the others was full before them.
            let healed = ledger.heal(&PassOptions::default(), &mut |_| true);
            healed.map_err(|error| format!("a disk that was full cannot be healed: {error:?}"))?;
        }
        Ok(store)
    }
}

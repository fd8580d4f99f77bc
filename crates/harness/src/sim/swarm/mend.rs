//! Mending a simulated store: every troubled disk is mended or replaced, with the store running or stopped, and what was
//! lacking is healed. After that every frame is in its place, and others may fail.

use std::sync::Arc;

use strata_ledger::{DiskState, Ledger, PassOptions, Progress, Report};
use strata_runtime::OpenStore;
use strata_seam::DiskIndex;
use strata_seam::sim::DiskImage;

use super::Swarm;
use crate::cases::Tally;
use crate::sim::sets::{misplaced, unnamed};

/// Places and labels of the disks that are not written.
fn aside(ledger: &Ledger) -> Vec<(usize, String)> {
    let disks = ledger.status().disks.into_iter().enumerate();
    disks.filter(|(_, disk)| !disk.state.is_written()).map(|(place, disk)| (place, disk.label)).collect()
}

fn heal(store: &OpenStore) -> Result<Report, String> {
    let healed = store.namespace().store().ledger().heal(&PassOptions::default(), &mut |_| true);
    healed.map_err(|error| format!("it cannot be healed: {error:?}"))
}

/// Reads every frame, and with `repair` writes anew what is not as it should be.
fn scrub(store: &OpenStore, repair: bool) -> Result<Report, String> {
    let (ledger, options, on) =
        (store.namespace().store().ledger(), PassOptions::default(), &mut |_: &Progress<'_>| true);
    let report = if repair { ledger.scrub(&options, on) } else { ledger.verify(&options, on) };
    report.map_err(|error| format!("it cannot be scrubbed: {error:?}"))
}

/// What ails the disks, in words.
fn states(ledger: &Ledger) -> String {
    let disks = ledger.status().disks.into_iter();
    let said = disks.map(|disk| format!("{} is {} {}", disk.label, disk.state.word(), disk.why.unwrap_or_default()));
    said.collect::<Vec<_>>().join(", ")
}

impl Swarm {
    /// The disks that the store has no use for: the place of a disk in the set is not always that in the list.
    fn missing(&self, store: &OpenStore) -> Vec<String> {
        let disks = store.namespace().store().ledger().status().disks;
        let used = |name: &String| disks.iter().any(|disk| disk.label == *name && disk.state != DiskState::Missing);
        self.sets.disks().into_iter().filter(|name| !used(name)).collect()
    }

    /// The troubled disks are mended or replaced, and the set is healed: from here on any others may fail.
    pub(super) fn heal(&mut self, store: Option<OpenStore>, tally: &mut Tally) -> Result<OpenStore, String> {
        self.now(format!("healing after {}", self.last()));
        let running = match store {
            Some(store) if self.rng.one_in(2) => self.mend_running(store, tally),
            other => {
                drop(other);
                None
            }
        };
        let mut store = match running {
            Some(store) => store,
            None => self.mend_stopped(tally)?,
        };
        tally.count("heals", 1);
        // It begins with the files that are open: where they are dead on many disks, the store takes no writes before these are
        // taken back.
        let first = heal(&store);
        let report = match self.take_back_all(&mut store, tally)? {
            Some(taken) => taken,
            None => first?,
        };
        if !report.is_whole() {
            let states = states(store.namespace().store().ledger());
            return Err(format!("a heal with every disk in place leaves {report:?}; {states}"));
        }
        if self.trouble.was_silent() {
            // A heal does what is known to be lacking; what nobody could know of is a scrub's.
            let first = scrub(&store, true);
            let report = match self.take_back_all(&mut store, tally)? {
                Some(_) => scrub(&store, true)?,
                None => first?,
            };
            if !report.is_whole() {
                let states = states(store.namespace().store().ledger());
                return Err(format!("a scrub with every disk in place leaves {report:?}; {states}"));
            }
        }
        let ledger = store.namespace().store().ledger();
        let found = scrub(&store, false)?;
        let bad: u64 = found.disks.iter().map(|disk| disk.damaged + disk.missing).sum();
        if bad + found.unreadable_count > 0 {
            return Err(format!("a scrub after the heal finds {found:?}; {}", states(ledger)));
        }
        let status = ledger.status();
        if let Some(disk) = status.disks.iter().find(|disk| disk.state != DiskState::Active) {
            return Err(format!("after the heal {} is {}", disk.label, disk.state.word()));
        }
        if let Some(set) = status.sets.iter().find(|set| set.is_halted) {
            return Err(format!("after the heal set {} takes no writes", set.number));
        }
        let wrong = misplaced(ledger, &status, &self.world).or_else(|| unnamed(ledger, &status, &self.world));
        if let Some(wrong) = wrong {
            return Err(format!("after the heal {wrong}"));
        }
        self.sets.note_places(&status);
        self.trouble.healed(self.sets.struck());
        self.check(&store, tally)?;
        Ok(store)
    }

    /// Has the disks take part that were set aside meanwhile, and heals again; `None` where there are none. That an open file
    /// is from before its disk was pulled shows when it is used.
    fn take_back_all(&mut self, store: &mut OpenStore, tally: &mut Tally) -> Result<Option<Report>, String> {
        if aside(store.namespace().store().ledger()).is_empty() {
            return Ok(None);
        }
        if !self.take_back(store.namespace().store().ledger(), &[], tally) {
            *store = self.mend_stopped(tally)?;
        }
        heal(store).map(Some)
    }

    /// Mends the disks under the running store, which takes each of them back; `None` where it has to be stopped for that.
    fn mend_running(&mut self, store: OpenStore, tally: &mut Tally) -> Option<OpenStore> {
        let ledger = Arc::clone(store.namespace().store().ledger());
        let out: Vec<String> = aside(&ledger).into_iter().map(|(_, label)| label).collect();
        let blank = self.trouble.mend(&self.world, &mut self.rng, Some(&out));
        let lost = |ledger: &Ledger| {
            let status = ledger.status();
            status.read_only.is_some() || status.sets.iter().any(|set| set.is_halted)
        };
        let was_lost = lost(&ledger);
        if !self.take_back(&ledger, &blank, tally) || lost(&ledger) {
            return None;
        }
        tally.count("quorums back while running", u64::from(was_lost));
        Some(store)
    }

    /// Hands every disk that was set aside in again; whether all of them take part now.
    fn take_back(&self, ledger: &Ledger, blank: &[String], tally: &mut Tally) -> bool {
        let disks = self.sets.disks();
        let known = |label: &String| disks.contains(label);
        let taken = aside(ledger).into_iter().filter(|(place, label)| {
            let joined = if blank.contains(label) {
                ledger.replace_disk(DiskIndex(*place as u8), self.world.disk(label))
            } else if known(label) {
                ledger.rejoin(self.world.disk(label))
            } else {
                // Never seen by this process: a start finds which disk is the one.
                return false;
            };
            tally.count("disks taken back", u64::from(joined.is_ok()));
            // Else nothing on it says which it is, or the set takes no changes any more.
            joined.is_ok()
        });
        // Below its quorum a set takes them in and is written once there are enough.
        drop((taken.count(), ledger.tend()));
        aside(ledger).is_empty()
    }

    /// Mends them while nothing runs, and starts again.
    fn mend_stopped(&mut self, tally: &mut Tally) -> Result<OpenStore, String> {
        self.world.kill_process();
        // While it is open which sets there are, an empty disk might be taken for one of a set that it is not of.
        let none: &[String] = &[];
        let blank = self.trouble.mend(&self.world, &mut self.rng, self.sets.unsure.then_some(none));
        self.rig.ledger.adopt_blank = !blank.is_empty();
        let mut store = self.open(false, tally)?;
        let missing = self.missing(&store);
        if !missing.is_empty() {
            // Nothing on such a disk says any more which it is: the operator puts an empty one in its place.
            tally.count("disks replaced", missing.len() as u64);
            drop(store);
            self.world.kill_process();
            let blank = DiskImage::default();
            missing.iter().for_each(|disk| self.world.bring_back_with(disk, &blank));
            self.rig.ledger.adopt_blank = true;
            store = self.open(false, tally)?;
        }
        self.rig.ledger.adopt_blank = false;
        Ok(store)
    }
}

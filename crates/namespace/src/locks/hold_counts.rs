//! Counters in memory of the locks of processes.
//!
//! The rows are the truth. The counters are kept by the effects of changes under the writer's lock. They start at zero, because the rows of
//! earlier sessions are removed when the store is opened.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use strata_seam::Ino;

use super::range::{Held, HeldRange, Ranges};
use crate::types::DoorNumber;

/// A client of a door.
pub(crate) type Client = (DoorNumber, u64);
/// The listener that is called with each file on which a lock was released.
pub(crate) type Told = Arc<dyn Fn(Ino) + Send + Sync>;

/// What a change does to what processes hold on one file.
#[derive(Debug)]
pub(crate) struct HoldTurn {
    pub(crate) ino: Ino,
    /// Rows more than before.
    pub(crate) rows: i64,
    /// Locks more than before, by client.
    pub(crate) locks: HashMap<Client, i64>,
    /// Whether something was released that others may wait for.
    pub(crate) freed: bool,
}

impl HoldTurn {
    /// From what was held on a file, by session, to what is held.
    pub(super) fn of_file(ino: Ino, before: &Held, after: &Held) -> Self {
        let mut locks: HashMap<Client, i64> = HashMap::new();
        for (held, change) in [(before, -1), (after, 1)] {
            for HeldRange { owner, .. } in held.values().flat_map(|ranges| &ranges.0) {
                *locks.entry((owner.door, owner.client)).or_default() += change;
            }
        }
        locks.retain(|_, change| *change != 0);
        // A hash set: nothing under the writer's lock may take the square of the number of locks.
        let left: HashSet<(u32, &HeldRange)> =
            after.iter().flat_map(|(session, ranges)| ranges.0.iter().map(move |held| (*session, held))).collect();
        let is_freed =
            |(session, ranges): (&u32, &Ranges)| ranges.0.iter().any(|held| !left.contains(&(*session, held)));
        Self {
            ino,
            rows: i64::from(!after.is_empty()) - i64::from(!before.is_empty()),
            locks,
            freed: before.iter().any(is_freed),
        }
    }
}

/// What is known in memory of the locks of processes.
#[derive(Default)]
pub(crate) struct Holders {
    pub(crate) rows: AtomicI64,
    pub(crate) by_client: Mutex<HashMap<Client, i64>>,
    pub(crate) told: Mutex<Option<Told>>,
}

impl Holders {
    /// Whether there is none at all. Reads a counter.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.load(Ordering::Acquire) == 0
    }

    /// Under the writer's lock.
    pub(crate) fn take(&self, turns: Vec<HoldTurn>) {
        if turns.is_empty() {
            return;
        }
        let mut by_client = self.by_client.lock();
        let told = self.told.lock().clone();
        for turn in turns {
            self.rows.fetch_add(turn.rows, Ordering::AcqRel);
            for (client, change) in turn.locks {
                let count = by_client.entry(client).or_default();
                *count += change;
                if *count <= 0 {
                    by_client.remove(&client);
                }
            }
            if let (true, Some(told)) = (turn.freed, &told) {
                told(turn.ino);
            }
        }
    }
}

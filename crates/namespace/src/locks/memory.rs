//! What the name space keeps in memory about locks, and about changes that keep some from being granted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::held::Held;
use super::hold_counts::Holders;
use super::place::Place;

/// What the name space has in memory of locks. All of it can be read from the store, but for the claims of changes in progress.
#[derive(Default)]
pub(crate) struct Locks {
    pub(crate) held: Held,
    pub(crate) claims: Arc<Mutex<Claims>>,
    pub(crate) next_claim: AtomicU64,
    /// Locks of processes.
    pub(crate) holds: Holders,
}

/// What is being changed in many commits, by a number of its own; as many as requests in progress.
pub(crate) type Claims = BTreeMap<u64, Vec<Place>>;

/// Keeps locks from being granted where a change of many commits is going on. Dropping it ends that.
pub struct Claim {
    pub(crate) claims: Arc<Mutex<Claims>>,
    pub(crate) number: u64,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.number);
    }
}

impl Locks {
    /// `shared`: other sessions grant some, too.
    pub(crate) fn of(shared: bool) -> Self {
        Self { held: Held::of(shared), ..Self::default() }
    }

    /// From the moment a change was accepted in which nothing forbade the larger one. Under the writer's lock.
    pub(crate) fn claim(&self, number: u64, places: Vec<Place>) {
        self.claims.lock().insert(number, places);
    }

    /// Whether a lock would come between a change that is going on and its end.
    pub(crate) fn is_claimed(&self, place: &Place, deep: bool) -> bool {
        let claims = self.claims.lock();
        claims.values().flatten().any(|claimed| claimed.covers(place) || deep && place.covers(claimed))
    }
}

//! Counts in memory of the WebDAV locks in the store; they save look-ups of locks that do not exist.
//!
//! Filled when the store is opened, and kept up by the effects of changes under the writer's lock. The rows are the truth: these counts
//! only say where to look.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use strata_seam::{Ino, Timestamp};

use super::place::Place;

/// What a change does to the locks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// A lock was granted on the place, to the user; it ends at the time.
    Granted(Place, String, Option<Timestamp>),
    /// A lock ends at this time instead.
    Renewed(Option<Timestamp>),
    /// A lock of the user on the place has ended.
    Ended(Place, String),
}

/// What is known of all of them.
#[derive(Default)]
pub(crate) struct Held {
    /// Other sessions grant locks too: nothing is known here, and the rows are read ([`super::counted`]).
    others: bool,
    count: AtomicUsize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    buckets: HashMap<Ino, usize>,
    users: HashMap<String, usize>,
    /// By a hash of the place: two places with one hash cost a look-up.
    places: HashMap<u64, usize>,
    /// No lock ends before this time.
    first_end: Option<Timestamp>,
}

fn hash(place: &Place) -> u64 {
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    hasher.finish()
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn less<K: Eq + Hash>(map: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = map.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            map.remove(&key);
        }
    }
}

impl Held {
    pub(crate) fn of(shared: bool) -> Self {
        Self { others: shared, ..Self::default() }
    }

    /// Whether there may be any.
    pub(crate) fn any(&self) -> bool {
        self.others || self.count() > 0
    }

    /// How many there are, ended ones included that were not swept yet.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// How many of them a user has.
    pub(crate) fn of_user(&self, principal: &str) -> usize {
        self.counts.lock().users.get(principal).copied().unwrap_or(0)
    }

    /// Whether there may be one in a bucket, or on the root of the tree, which is above them all.
    pub(crate) fn concerns(&self, bucket: Ino) -> bool {
        self.count() > 0 && {
            let counts = self.counts.lock();
            counts.buckets.contains_key(&bucket) || counts.buckets.contains_key(&Ino(0))
        }
    }

    /// Whether there may be one in this bucket itself; the root of the tree has them all.
    pub(crate) fn within(&self, bucket: Ino) -> bool {
        self.others || self.count() > 0 && (bucket == Ino(0) || self.counts.lock().buckets.contains_key(&bucket))
    }

    /// Whether there may be one on exactly this place.
    pub(crate) fn at(&self, place: &Place) -> bool {
        self.others || self.counts.lock().places.contains_key(&hash(place))
    }

    /// Whether a lock may have ended by now. If so, the caller looks at all of them, and notes when the first of the others ends.
    pub(crate) fn begin_sweep(&self, now: Timestamp) -> bool {
        if self.others {
            return true;
        }
        if self.count() == 0 {
            return false;
        }
        let first = &mut self.counts.lock().first_end;
        let due = first.is_some_and(|end| end <= now);
        if due {
            *first = None;
        }
        due
    }

    /// Notes that a lock ends at this time, and none that is known before it.
    pub(crate) fn note_end(&self, end: Option<Timestamp>) {
        let first = &mut self.counts.lock().first_end;
        *first = earlier(*first, end);
    }

    /// Under the writer's lock.
    pub(crate) fn take(&self, turns: Vec<Turn>) {
        if turns.is_empty() || self.others {
            return;
        }
        let mut counts = self.counts.lock();
        for turn in turns {
            match turn {
                Turn::Granted(place, principal, end) => {
                    *counts.places.entry(hash(&place)).or_default() += 1;
                    *counts.buckets.entry(place.bucket).or_default() += 1;
                    *counts.users.entry(principal).or_default() += 1;
                    counts.first_end = earlier(counts.first_end, end);
                    self.count.fetch_add(1, Ordering::AcqRel);
                }
                Turn::Renewed(end) => counts.first_end = earlier(counts.first_end, end),
                Turn::Ended(place, principal) => {
                    less(&mut counts.places, hash(&place));
                    less(&mut counts.buckets, place.bucket);
                    less(&mut counts.users, principal);
                    self.count.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
    }
}

//! The erasure sets of a store, and which of them each segment lies on.
//!
//! There is one log: one sequence of numbers, one sequence of segments. Each segment lies on one set, so a location needs to
//! say no more than its segment. Where a segment lies is not written down anywhere: it lies where its files are. Files of
//! one number on two sets are told apart by the first frame: a segment that was made ahead and then made elsewhere has none,
//! and one that was truncated has one that the history disowns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;
use strata_seam::{SegmentId, SetId};

use crate::history::History;
use crate::roster::Roster;
use crate::set::Set;
use crate::walk::Walker;

/// See the module.
pub(crate) struct Sets {
    state: RwLock<State>,
}

struct State {
    /// In order of joining; never empty.
    sets: Vec<Arc<Set>>,
    homes: Homes,
    roster: Roster,
}

/// The set that each segment lies on.
pub(crate) type Homes = BTreeMap<SegmentId, Arc<Set>>;

impl Sets {
    pub(crate) fn new(sets: Vec<Arc<Set>>, homes: Homes, roster: Roster) -> Self {
        Self { state: RwLock::new(State { sets, homes, roster }) }
    }

    /// Puts others in the place of all of them.
    pub(crate) fn replace(&self, sets: Vec<Arc<Set>>, homes: Homes, roster: Roster) {
        *self.state.write() = State { sets, homes, roster };
    }

    /// In order of joining.
    pub(crate) fn all(&self) -> Vec<Arc<Set>> {
        self.state.read().sets.clone()
    }

    /// The one that joined first of those that are left.
    pub(crate) fn first(&self) -> Arc<Set> {
        Arc::clone(&self.state.read().sets[0])
    }

    pub(crate) fn by_id(&self, id: SetId) -> Option<Arc<Set>> {
        self.state.read().sets.iter().find(|set| set.id == id).cloned()
    }

    pub(crate) fn by_number(&self, number: u16) -> Option<Arc<Set>> {
        self.state.read().sets.iter().find(|set| set.number == number).cloned()
    }

    /// The set that a segment lies on. In a store of one set nothing else is possible.
    pub(crate) fn of(&self, segment: SegmentId) -> Option<Arc<Set>> {
        let state = self.state.read();
        match &state.sets[..] {
            [only] => Some(Arc::clone(only)),
            _ => state.homes.get(&segment).cloned(),
        }
    }

    /// Notes that a segment lies on `set` from now on. Returns the set that had files of that number before.
    pub(crate) fn settle(&self, segment: SegmentId, set: &Arc<Set>) -> Option<Arc<Set>> {
        let before = self.state.write().homes.insert(segment, Arc::clone(set));
        before.filter(|before| before.id != set.id)
    }

    /// Notes that segments were given back.
    pub(crate) fn forget(&self, gone: impl Fn(SegmentId) -> bool) {
        self.state.write().homes.retain(|segment, _| !gone(*segment));
    }

    /// The segments on a set, the one being written and one made ahead included.
    pub(crate) fn segments_on(&self, set: SetId) -> Vec<SegmentId> {
        let state = self.state.read();
        state.homes.iter().filter(|(_, home)| home.id == set).map(|(segment, _)| *segment).collect()
    }

    pub(crate) fn roster(&self) -> Roster {
        self.state.read().roster.clone()
    }

    pub(crate) fn set_roster(&self, roster: Roster) {
        self.state.write().roster = roster;
    }

    /// Takes a set in.
    pub(crate) fn join(&self, set: Arc<Set>, roster: Roster) {
        let mut state = self.state.write();
        state.sets.push(set);
        state.roster = roster;
    }

    /// Lets a set go, with what is known of its segments.
    pub(crate) fn leave(&self, set: SetId, roster: Roster) {
        let mut state = self.state.write();
        state.homes.retain(|_, home| home.id != set);
        state.sets.retain(|other| other.id != set);
        state.roster = roster;
    }

    /// Disks of the whole store.
    pub(crate) fn disks(&self) -> usize {
        self.state.read().sets.iter().map(|set| set.disks()).sum()
    }

    /// The disk at a place of the whole store: its set and its place there.
    pub(crate) fn disk_at(&self, place: usize) -> Option<(Arc<Set>, usize)> {
        let mut left = place;
        for set in &self.state.read().sets {
            if left < set.disks() {
                return Some((Arc::clone(set), left));
            }
            left -= set.disks();
        }
        None
    }

    /// The place in the whole store of the first disk of a set.
    pub(crate) fn base_of(&self, set: SetId) -> usize {
        self.state.read().sets.iter().take_while(|other| other.id != set).map(|other| other.disks()).sum()
    }
}

/// Where the segments of the log lie, and per set a bit per disk that could not be asked.
pub(crate) fn find_homes(sets: &[Arc<Set>], history: &History) -> (Homes, Vec<u32>) {
    let listed: Vec<(BTreeSet<SegmentId>, u32)> = sets
        .iter()
        .map(|set| {
            let whole = set.supers.lock().newest.whole;
            set.segments(whole)
        })
        .collect();
    let mut homes = Homes::new();
    let mut twice = BTreeSet::new();
    for (set, (segments, _)) in sets.iter().zip(&listed) {
        for segment in segments {
            if homes.insert(*segment, Arc::clone(set)).is_some() {
                twice.insert(*segment);
            }
        }
    }
    for segment in twice {
        let candidates = sets.iter().zip(&listed).filter(|(_, (segments, _))| segments.contains(&segment));
        let written = candidates.filter_map(|(set, _)| {
            let (stripe, _) = Walker::new(set, history).stripe_at(segment, 0, None)?;
            Some((stripe.head.epoch, set))
        });
        if let Some((_, set)) = written.max_by_key(|(epoch, _)| *epoch) {
            homes.insert(segment, Arc::clone(set));
        }
    }
    (homes, listed.into_iter().map(|(_, silent)| silent).collect())
}

//! The sets of a store: which there are, and what becomes of each.
//!
//! Every superblock of every set holds the list, once there was a second set. The list of the highest version counts among
//! those that name the set they were found in. So a set takes part from the moment the first of the others was told of it,
//! and no longer from the moment one of the others was told of its end; whoever was not told yet is told by the next
//! opening, and before that nothing further is changed. `docs/format/superblock.md` has the argument.

use strata_seam::SetId;

/// Most sets of a store: with the most disks a set can have, a disk's place in the whole store still fits into a byte.
pub const SETS_MAX: usize = 12;

/// What becomes of a set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SetState {
    /// New segments are made on it.
    Active,
    /// Nothing new is written to it; what it holds is moved to the others.
    Draining,
    /// It was made for the store, and none of the others has been told. Only its own superblocks ever say so.
    Joining,
}

impl SetState {
    /// The state in one lower-case word, for tables, metrics and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Joining => "joining",
        }
    }

    pub(crate) const fn stored(self) -> u8 {
        match self {
            Self::Active => 1,
            Self::Draining => 2,
            Self::Joining => 3,
        }
    }

    pub(crate) const fn from_stored(stored: u8) -> Option<Self> {
        match stored {
            1 => Some(Self::Active),
            2 => Some(Self::Draining),
            3 => Some(Self::Joining),
            _ => None,
        }
    }
}

/// One set of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RosterEntry {
    pub(crate) set: SetId,
    /// What operators call it; never given to another.
    pub(crate) number: u16,
    pub(crate) state: SetState,
}

/// The list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Roster {
    /// Identity of the store: that of its first set, also when that set is gone.
    pub(crate) store: SetId,
    /// Counts the changes of the list; 0 is that of a store that only ever had one set, which is written nowhere.
    pub(crate) version: u64,
    /// Number of the next set that joins.
    pub(crate) next_number: u16,
    /// In order of joining.
    pub(crate) entries: Vec<RosterEntry>,
}

impl Roster {
    /// The list of a store that has only this set.
    pub(crate) fn alone(set: SetId) -> Self {
        let entries = vec![RosterEntry { set, number: 0, state: SetState::Active }];
        Self { store: set, version: 0, next_number: 1, entries }
    }

    /// The list once another set has joined.
    pub(crate) fn with(&self, set: SetId, state: SetState) -> Self {
        let mut next = self.next();
        next.entries.push(RosterEntry { set, number: self.next_number, state });
        next.next_number = self.next_number.saturating_add(1);
        next
    }

    /// The list with a set in another state.
    pub(crate) fn with_state(&self, set: SetId, state: SetState) -> Self {
        let mut next = self.next();
        next.entries.iter_mut().filter(|entry| entry.set == set).for_each(|entry| entry.state = state);
        next
    }

    /// The list without a set.
    pub(crate) fn without(&self, set: SetId) -> Self {
        let mut next = self.next();
        next.entries.retain(|entry| entry.set != set);
        next
    }

    fn next(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }

    pub(crate) fn get(&self, set: SetId) -> Option<&RosterEntry> {
        self.entries.iter().find(|entry| entry.set == set)
    }

    /// Whether new segments may be made on the set.
    pub(crate) fn is_active(&self, set: SetId) -> bool {
        self.get(set).is_some_and(|entry| entry.state == SetState::Active)
    }

    /// Whether this list, found in a superblock of `set`, may be the one that counts: its set takes part in it.
    pub(crate) fn counts_for(&self, set: SetId) -> bool {
        self.get(set).is_some_and(|entry| entry.state != SetState::Joining)
    }

    /// Whether it agrees with itself.
    pub(crate) fn is_sound(&self) -> bool {
        let distinct = |nth: usize, entry: &RosterEntry| {
            self.entries[..nth].iter().all(|other| other.set != entry.set && other.number != entry.number)
        };
        self.version > 0
            && (1..=SETS_MAX).contains(&self.entries.len())
            && self
                .entries
                .iter()
                .enumerate()
                .all(|(nth, entry)| distinct(nth, entry) && entry.number < self.next_number)
    }
}

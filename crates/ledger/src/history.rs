//! Which opening of a set may have written which sequence numbers.
//!
//! Each opening that appends is an epoch with a random name and the first sequence number it may give out. A frame left
//! over from before a truncation carries the epoch of its writer, and a later epoch that begins at or below its number
//! disowns it; so does a frame written by half of a set while the other half was opened elsewhere.

use strata_seam::planted::{Bug, planted};
use strata_seam::{Epoch, Lsn};

/// Openings remembered; of older ones only the order of epochs is checked.
pub(crate) const ENTRIES_MAX: usize = 128;

/// One opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Opening {
    pub(crate) epoch: Epoch,
    /// Drawn at random, so that two openings apart from each other never look alike.
    pub(crate) opening: u64,
    /// First sequence number this opening could write.
    pub(crate) first_lsn: Lsn,
}

/// Openings, oldest first; epochs and first numbers strictly rise.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct History {
    entries: Vec<Opening>,
}

impl History {
    /// From a superblock; `None` unless epochs and numbers rise.
    pub(crate) fn from_stored(entries: Vec<Opening>) -> Option<Self> {
        let rising =
            entries.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].first_lsn < pair[1].first_lsn);
        rising.then_some(Self { entries })
    }

    pub(crate) fn entries(&self) -> &[Opening] {
        &self.entries
    }

    /// The newest opening.
    pub(crate) fn last(&self) -> Option<Opening> {
        self.entries.last().copied()
    }

    /// Adds an opening. Those that could not write anything before it began are forgotten: no number is theirs.
    pub(crate) fn push(&mut self, opening: Opening) {
        self.entries.retain(|entry| entry.first_lsn < opening.first_lsn);
        if self.entries.len() == ENTRIES_MAX {
            self.entries.remove(0);
        }
        self.entries.push(opening);
    }

    /// Whether a frame of this opening and first number belongs to the log.
    pub(crate) fn admits(&self, epoch: Epoch, opening: u64, first_lsn: Lsn) -> bool {
        match self.entries.iter().rev().find(|entry| entry.first_lsn <= first_lsn) {
            _ if planted(Bug::HistoryIgnored) => true,
            Some(entry) => entry.epoch == epoch && entry.opening == opening,
            None => self.entries.first().is_none_or(|oldest| epoch < oldest.epoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(epoch: u64, first_lsn: u64) -> Opening {
        Opening { epoch: Epoch(epoch), opening: epoch * 1000, first_lsn: Lsn(first_lsn) }
    }
    fn admits(history: &History, epoch: u64, lsn: u64) -> bool {
        history.admits(Epoch(epoch), epoch * 1000, Lsn(lsn))
    }

    #[test]
    fn a_number_belongs_to_the_opening_that_could_write_it_last() {
        let mut history = History::default();
        history.push(opening(1, 1));
        history.push(opening(2, 10));
        assert!(admits(&history, 1, 9) && admits(&history, 2, 10));
        // Left over from before the truncation at 10, or written by an opening nobody remembers.
        assert!(!admits(&history, 1, 10) && !admits(&history, 2, 9) && !history.admits(Epoch(2), 7, Lsn(11)));
        // The second opening wrote nothing; the third takes its numbers over.
        history.push(opening(3, 10));
        assert!(!admits(&history, 2, 10) && admits(&history, 3, 10) && admits(&history, 1, 9));
    }

    #[test]
    fn openings_older_than_the_memory_are_told_by_their_order() {
        let mut history = History::default();
        (1..=ENTRIES_MAX as u64 + 5).for_each(|epoch| history.push(opening(epoch, epoch * 10)));
        assert_eq!(history.entries().len(), ENTRIES_MAX);
        assert!(admits(&history, 3, 35) && !admits(&history, 50, 35));
        assert!(admits(&history, 50, 505) && !admits(&history, 49, 505));
    }
}

//! Which files had staged bytes sealed a moment ago.
//!
//! A reader first reads the inode and then looks for staged bytes. If it finds none, its inode may be out of date: the bytes may have
//! been sealed in between. This record tells the reader so, and the reader reads the inode again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use strata_seam::Ino;

/// As many are remembered as become content while a page of a list is read.
const LATELY: usize = 256;

/// The files whose staged bytes became content lately, and how often that has happened.
#[derive(Default)]
pub(crate) struct Stored {
    /// How often.
    count: AtomicU64,
    /// The last of them.
    lately: Mutex<VecDeque<Ino>>,
}

impl Stored {
    /// A moment, for [`Stored::was_since`].
    pub(crate) fn moment(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Whether staged bytes of the file have become content, or were dropped, since that moment. May be true for too many files.
    pub(crate) fn was_since(&self, moment: u64, ino: Ino) -> bool {
        if self.moment() == moment {
            return false;
        }
        let lately = self.lately.lock();
        // Counted under the lock: files noted since the moment was read would push this one out of the range that is searched.
        let since = usize::try_from(self.moment() - moment).unwrap_or(usize::MAX);
        since > lately.len() || lately.iter().rev().take(since).any(|stored| *stored == ino)
    }

    /// Staged bytes of the file are content by now, or were given up. Before the file shows it.
    pub(crate) fn note(&self, ino: Ino) {
        let mut lately = self.lately.lock();
        if lately.len() >= LATELY {
            lately.pop_front();
        }
        lately.push_back(ino);
        self.count.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_since_a_moment_is_known_and_of_too_much_everything_is_assumed() {
        let stored = Stored::default();
        stored.note(Ino(1));
        let moment = stored.moment();
        assert!(!stored.was_since(moment, Ino(1)) && !stored.was_since(moment, Ino(2)));
        (3..10).for_each(|ino| stored.note(Ino(ino)));
        assert!(stored.was_since(moment, Ino(3)) && stored.was_since(moment, Ino(9)));
        assert!(!stored.was_since(moment, Ino(2)));
        (0..LATELY as u64).for_each(|_| stored.note(Ino(9)));
        assert!(stored.was_since(moment, Ino(2)), "it may have been among those that are forgotten");
        assert_eq!(stored.lately.lock().len(), LATELY);
    }
}

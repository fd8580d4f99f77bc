//! Removals beside openings: a change that removes a file checks whether it is open, and an opening at that time waits until the
//! removal is visible or was refused. So nobody opens a file that is about to be erased.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    /// Removals that asked in the change that this thread makes.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

/// Removals under way, for openings to wait for.
#[derive(Default)]
pub(crate) struct Erasing {
    /// Removals that asked, and those of them whose change shows or was refused by now.
    asked: AtomicU64,
    ended: AtomicU64,
}

/// A change that may remove files; dropping this reports its end, however it ends.
pub(crate) struct Removing<'a> {
    erasing: &'a Erasing,
    /// The removals of a change that this one interrupts, as tests have it.
    outer: u64,
}

impl Erasing {
    /// A change of this thread begins.
    pub(crate) fn begin(&self) -> Removing<'_> {
        Removing { erasing: self, outer: ASKED.take() }
    }

    /// The change asks whether a file is open.
    pub(crate) fn ask(&self) {
        ASKED.set(ASKED.get() + 1);
        self.asked.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until removals show that asked before now. Who has counted a handle before is found by all later ones.
    pub(crate) fn wait(&self) {
        let asked = self.asked.load(Ordering::SeqCst);
        while self.ended.load(Ordering::SeqCst) < asked {
            std::thread::yield_now();
        }
    }
}

impl Drop for Removing<'_> {
    fn drop(&mut self) {
        let own = ASKED.replace(self.outer);
        if own > 0 {
            self.erasing.ended.fetch_add(own, Ordering::SeqCst);
        }
    }
}

//! Rehearsals of an engine that several processes share, so that tests show that changes would be right under one.
//!
//! Such an engine refuses a change whose premises somebody else has altered, and has it computed anew. The embedded engine never
//! does. Two features stand in for it; without them nothing of this is left in the program.
//!
//! - `refuse-first` has every change computed twice and throws the first result away: a change with an effect beside its records
//!   then does something twice, and a test fails.
//! - `rehearsal` lets a test say what others do between the moment a change was computed and the moment it is committed
//!   ([`interlude`]). The change is committed as it was computed if what it read still is so as far as such an engine would see, and
//!   is computed anew otherwise. Where it would have come out differently and the engine would not have seen it, that is
//!   [`report`]ed.

/// Whether the first result of every change is thrown away.
#[must_use]
#[inline]
pub const fn refuses_first() -> bool {
    cfg!(feature = "refuse-first")
}

/// Whether tests may set interludes.
#[must_use]
#[inline]
pub const fn rehearses() -> bool {
    cfg!(feature = "rehearsal")
}

#[cfg(feature = "rehearsal")]
mod stage {
    use std::cell::RefCell;

    /// What happens in an interlude.
    pub type Interlude = Box<dyn FnOnce()>;

    thread_local! {
        static NEXT: RefCell<Option<Interlude>> = const { RefCell::new(None) };
        static REPORTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// Has the next change of this thread that is computed be interrupted by this before it is committed. What is done in it is
    /// not interrupted.
    pub fn interlude(happens: Interlude) {
        NEXT.with_borrow_mut(|next| *next = Some(happens));
    }

    /// What happens now, if something does.
    #[must_use]
    pub fn take_interlude() -> Option<Interlude> {
        NEXT.with_borrow_mut(Option::take)
    }

    /// Says that a change was committed that would have come out differently.
    pub fn report(what: String) {
        REPORTS.with_borrow_mut(|reports| reports.push(what));
    }

    /// What this thread has reported since this was asked last.
    #[must_use]
    pub fn take_reports() -> Vec<String> {
        REPORTS.with_borrow_mut(std::mem::take)
    }
}

#[cfg(feature = "rehearsal")]
pub use stage::{Interlude, interlude, report, take_interlude, take_reports};

/// As with the feature; there never is one.
#[cfg(not(feature = "rehearsal"))]
#[must_use]
#[inline]
pub const fn take_interlude() -> Option<fn()> {
    None
}

/// As with the feature; nobody reports.
#[cfg(not(feature = "rehearsal"))]
#[inline]
pub fn report(_what: String) {}

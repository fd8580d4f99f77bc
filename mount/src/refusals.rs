//! Opens that were refused so that the kernel looks the name up anew (see `nodes.rs`).
//!
//! The kernel does so once for each open. That second open may come too late as well, because the content was replaced
//! again in between, or because the file is reached without a name (`/proc/self/fd`). Refusing it would reach the
//! program, so it is served past the kernel's pages. This table remembers whose first open was refused.

use std::collections::VecDeque;

use parking_lot::Mutex;
use strata_seam::Ino;

/// Refused opens that are remembered. Beyond it the oldest is forgotten and may be refused twice, which the program sees
/// as ESTALE; threads in the middle of an open are far fewer.
const REMEMBERED_MAX: usize = 256;

/// Threads whose open of a file was refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<VecDeque<(u32, Ino)>>);

impl Refusals {
    /// Notes that an open of `ino` by thread `tid` cannot be met; answers whether it may be refused.
    pub(crate) fn may_refuse(&self, tid: u32, ino: Ino) -> bool {
        let mut known = self.0.lock();
        if let Some(at) = known.iter().position(|entry| *entry == (tid, ino)) {
            known.remove(at);
            return false;
        }
        if known.len() == REMEMBERED_MAX {
            known.pop_front();
        }
        known.push_back((tid, ino));
        true
    }

    /// Notes that the open was met.
    pub(crate) fn met(&self, tid: u32, ino: Ino) {
        let mut known = self.0.lock();
        known.retain(|entry| *entry != (tid, ino));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_is_refused_once_and_the_next_one_of_that_thread_is_met() {
        let refusals = Refusals::default();
        assert!(refusals.may_refuse(1, Ino(7)));
        assert!(refusals.may_refuse(2, Ino(7)) && refusals.may_refuse(1, Ino(8)), "others have their own");
        assert!(!refusals.may_refuse(1, Ino(7)));
        assert!(refusals.may_refuse(1, Ino(7)), "a new open");
        refusals.met(1, Ino(7));
        assert!(refusals.may_refuse(1, Ino(7)));
    }

    #[test]
    fn a_thousand_threads_are_not_remembered_for_ever() {
        let refusals = Refusals::default();
        (0..1000).for_each(|tid| assert!(refusals.may_refuse(tid, Ino(7))));
        assert_eq!(refusals.0.lock().len(), REMEMBERED_MAX);
    }
}

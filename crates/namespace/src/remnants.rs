//! Removed inodes that are still remembered; see [`crate::Namespace::remember_removed`].
//!
//! Invariant BOUND: at most [`REMEMBERED_MAX`] inodes. At most [`CONTENT_MAX`] of these have their content, each for at most
//! [`CONTENT_NANOS`], because content that is held cannot be reclaimed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use strata_content::Hold;
use strata_seam::Ino;

use crate::records::Inode;

/// Removed inodes that are remembered; beyond, the oldest is forgotten.
const REMEMBERED_MAX: usize = 16 * 1024;
/// Removed files whose content is held.
const CONTENT_MAX: usize = 1024;
/// How long it is held.
const CONTENT_NANOS: u64 = 10_000_000_000;

/// Says whether somebody refers to an inode.
pub(crate) type Refers = Arc<dyn Fn(Ino) -> bool + Send + Sync>;

/// What is remembered.
#[derive(Default)]
pub(crate) struct Removed(pub(crate) Mutex<State>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) refers: Option<Refers>,
    pub(crate) known: HashMap<Ino, Remnant>,
    /// By age, oldest first.
    pub(crate) order: BTreeMap<u64, Ino>,
    /// Until when content is held, oldest first; of inodes that are forgotten by now, too.
    pub(crate) held: VecDeque<(u64, u64, Ino)>,
    pub(crate) count: u64,
}

pub(crate) struct Remnant {
    pub(crate) number: u64,
    pub(crate) inode: Inode,
    pub(crate) hold: Option<Hold>,
}

impl State {
    pub(crate) fn forget(&mut self, ino: Ino) {
        if let Some(remnant) = self.known.remove(&ino) {
            self.order.remove(&remnant.number);
        }
    }

    pub(crate) fn keep(&mut self, inode: Inode, hold: Option<Hold>, now: u64) {
        let ino = inode.attr.ino;
        self.forget(ino);
        self.count += 1;
        self.order.insert(self.count, ino);
        if hold.is_some() {
            self.held.push_back((now + CONTENT_NANOS, self.count, ino));
        }
        self.known.insert(ino, Remnant { number: self.count, inode, hold });
        self.expire(now);
        while self.known.len() > REMEMBERED_MAX {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.known.remove(&oldest);
        }
    }

    pub(crate) fn expire(&mut self, now: u64) {
        while self.held.len() > CONTENT_MAX || self.held.front().is_some_and(|(until, _, _)| *until <= now) {
            let Some((_, number, ino)) = self.held.pop_front() else { break };
            if let Some(remnant) = self.known.get_mut(&ino).filter(|remnant| remnant.number == number) {
                remnant.hold = None;
                remnant.inode.items = Vec::new();
            }
        }
    }
}

#[cfg(test)]
#[path = "remnants/tests.rs"]
mod tests;

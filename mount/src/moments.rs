//! Whether another door changed an inode while a request was looking it up.
//!
//! A request reads attributes, enters the inode in the table of what the kernel knows (`nodes.rs`) and answers. A change of another door
//! that is processed between the first two finds no inode to invalidate, and the answer would then be old for its whole time to live. So the
//! notifying thread notes each change here before it looks into the table, and a request compares after it has entered the inode.

use std::sync::atomic::{AtomicU64, Ordering};

/// Places for inodes; two inodes that share one cost a question of the kernel at worst.
const PLACES: usize = 1024;

/// When a request began: a count of the changes told until then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(u64);

/// The last change of each inode that was told, by count.
pub(crate) struct Moments {
    count: AtomicU64,
    last: [AtomicU64; PLACES],
    last_of_all: AtomicU64,
}

impl Moments {
    pub(crate) fn new() -> Self {
        Self {
            count: AtomicU64::new(0),
            last: std::array::from_fn(|_| AtomicU64::new(0)),
            last_of_all: AtomicU64::new(0),
        }
    }

    fn place(&self, ino: u64) -> &AtomicU64 {
        // The remainder is below PLACES.
        &self.last[(ino % PLACES as u64) as usize]
    }

    /// Before a request reads what it will answer.
    pub(crate) fn now(&self) -> Moment {
        Moment(self.count.load(Ordering::SeqCst))
    }

    /// A change of an inode is about to be told. The name space has the new state already.
    pub(crate) fn note(&self, ino: u64) {
        let at = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        self.place(ino).fetch_max(at, Ordering::SeqCst);
    }

    /// Notes a change of every inode.
    pub(crate) fn note_all(&self) {
        let at = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        self.last_of_all.fetch_max(at, Ordering::SeqCst);
    }

    /// Whether a change of the inode may have been told since.
    pub(crate) fn changed_since(&self, moment: Moment, ino: u64) -> bool {
        self.place(ino).load(Ordering::SeqCst).max(self.last_of_all.load(Ordering::SeqCst)) > moment.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_for_its_inode_and_for_requests_that_began_before() {
        let moments = Moments::new();
        let before = moments.now();
        moments.note(7);
        assert!(moments.changed_since(before, 7));
        assert!(!moments.changed_since(before, 8) && !moments.changed_since(moments.now(), 7));
        let between = moments.now();
        moments.note_all();
        assert!(moments.changed_since(between, 8) && !moments.changed_since(moments.now(), 8));
    }
}

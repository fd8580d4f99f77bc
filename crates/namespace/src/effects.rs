//! Effects: what a change does in the process beside its records.
//!
//! A change may be computed more than once, so its code only collects its effects. `Namespace::enact` (in `change.rs`) carries them out
//! once, when the change was accepted and before readers see it. So nobody reads new content through a pin of the old, and nobody
//! removes a file between its creation and its first handle. A change that was not accepted has no effects.

use strata_content::Hold;
use strata_seam::Ino;

use crate::locks::held::Turn;
use crate::locks::hold_counts::HoldTurn;
use crate::locks::place::Place;
use crate::pin::{Kept, Replacing};
use crate::records::{Bucket, Inode};
use crate::told::Telling;

/// What is to happen, once, if the change is made.
#[derive(Default)]
pub(crate) struct Effects {
    /// What is reported of the change: to readers of its commit, and to the mount's kernel.
    pub(crate) told: Vec<Telling>,
    /// Directories made on the way to a key whose event is still to be written.
    pub(crate) dirs_made: u32,
    /// Whether a directory got another path.
    pub(crate) moved: bool,
    /// The bucket it happened in, by its root directory: what that promises is what the answer waits for. 0 is none, and strict.
    pub(crate) bucket: Ino,
    /// Whether that is a relaxed one, where the change has read its rules anyway.
    pub(crate) relaxed: Option<bool>,
    /// Files that are open from now on, once more each.
    pub(crate) opened: Vec<Ino>,
    /// Content that was kept for those who have it pinned.
    pub(crate) kept: Vec<Kept>,
    /// Files whose content is replaced: nobody pins them until the change shows.
    pub(crate) replacing: Vec<Replacing>,
    /// Removed inodes that somebody refers to, and their content.
    pub(crate) removed: Vec<(Inode, Option<Hold>)>,
    /// Locks that are granted and that end.
    pub(crate) locks: Vec<Turn>,
    /// Locks of processes that are set and that end.
    pub(crate) holds: Vec<HoldTurn>,
    /// What is claimed by the change of a tree that begins.
    pub(crate) claim: Option<(u64, Vec<Place>)>,
}

impl Effects {
    /// Notes what is to be told; see `telling.rs`.
    pub(crate) fn tell(&mut self, telling: Telling) -> &mut Telling {
        self.told.push(telling);
        let last = self.told.len() - 1;
        &mut self.told[last]
    }
    /// The change happened in this bucket.
    pub(crate) fn within(&mut self, bucket: &Bucket) {
        (self.bucket, self.relaxed) = (bucket.root, Some(bucket.relaxed));
    }
}

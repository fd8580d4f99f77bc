//! Pins: an open file stays on its content when another door replaces that content whole.
//!
//! A door that keeps files open asks for a [`Pin`] after the open and reads through it. While nobody replaces the
//! content, a pin changes nothing: writes in place, at whatever door, are read. When a PUT replaces the content of a
//! pinned file, the same commit moves the old content to an inode without a name, as an `unlink` of an open file would
//! have left it. From then on the pin leads to that inode. So a reader never reads parts of two contents. The old content is
//! counted like that of any other file. A crash leaves nothing behind: inodes without names are removed at the next start.
//!
//! Invariants: the pin leads to the kept content before the new content can be read. A reader that looks at the pin,
//! reads, and finds the pin unchanged has therefore read the content it meant. And no pin is made between the moment a
//! replacement has looked for pins and the moment it shows: such a pin would be meant for the old content and not lead to
//! it. A caller that asks for a pin then waits for the commit.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex, MutexGuard};
use strata_seam::Ino;

/// Keeps the readers of one open file on one content. All handles that were opened between two replacements share it;
/// each gives its share back with [`crate::Namespace::unpin`].
#[derive(Debug)]
pub struct Pin {
    pub(crate) ino: Ino,
    /// The inode without a name that has the content since it was replaced; zero before.
    pub(crate) kept: AtomicU64,
    /// Reads go to the file itself whatever happens to it.
    pub(crate) following: AtomicBool,
}

/// The pins of a file's present content: one, if anybody has it.
#[derive(Default)]
pub(crate) struct Pinned(pub(crate) Mutex<Vec<Weak<Pin>>>);

/// Files whose content is being replaced at this moment, one for each change in progress. A file can be here more than
/// once: the next change may begin while the one before it, which shows already, still settles its pins.
#[derive(Default)]
pub(crate) struct Replacements {
    pub(crate) inos: Mutex<Vec<Ino>>,
    pub(crate) ended: Condvar,
}

/// A replacement in progress, from the look for pins until it shows or has failed.
pub(crate) struct Replacing {
    pub(crate) all: Arc<Replacements>,
    pub(crate) ino: Ino,
}

impl Replacements {
    /// Notes a replacement; from here on nobody pins the file until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>, ino: Ino) -> Replacing {
        self.inos.lock().push(ino);
        Replacing { all: Arc::clone(self), ino }
    }

    /// Waits until nobody replaces the file's content. While the guard lives no replacement begins.
    ///
    /// The wait ends: a thread that replaces content holds the writer's lock and waits only for the ledger, and a change that fails or
    /// panics drops its [`Replacing`] as well. The caller holds no lock that a change takes.
    pub(crate) fn none_of(&self, ino: Ino) -> MutexGuard<'_, Vec<Ino>> {
        let mut inos = self.inos.lock();
        while inos.contains(&ino) {
            self.ended.wait(&mut inos);
        }
        inos
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        let mut inos = self.all.inos.lock();
        // Only its own entry: another change may be replacing the same file by now.
        if let Some(at) = inos.iter().position(|ino| *ino == self.ino) {
            inos.swap_remove(at);
        }
        drop(inos);
        self.all.ended.notify_all();
    }
}

impl Pin {
    /// A pin of the present content of a file.
    pub(crate) fn new(ino: Ino) -> Self {
        Self { ino, kept: AtomicU64::new(0), following: AtomicBool::new(false) }
    }

    /// The file that is pinned.
    #[must_use]
    pub fn ino(&self) -> Ino {
        self.ino
    }

    /// The inode that has the pinned content since another took its place; `None` while it is the file's own.
    #[must_use]
    pub fn kept(&self) -> Option<Ino> {
        match self.kept.load(Ordering::Acquire) {
            0 => None,
            _ if self.following.load(Ordering::Acquire) => None,
            kept => Some(Ino(kept)),
        }
    }

    /// Where the content is to be read.
    #[must_use]
    pub fn source(&self) -> Ino {
        self.kept().unwrap_or(self.ino)
    }

    /// Gives the old content up: the pin leads to the file's present content from now on. Called when its holder writes, because a writer
    /// has to read what it wrote.
    pub fn follow(&self) {
        self.following.store(true, Ordering::Release);
    }
}

/// Content that is being replaced and that somebody has pinned. None of the pins is released before the change is settled.
pub(crate) struct Kept {
    /// The inode without a name that has the content once the change shows.
    pub(crate) old: Ino,
    pub(crate) pins: Vec<Arc<Pin>>,
}

//! The queue of changes by other doors that the kernel has to be told. Pure.
//!
//! Many changes of one inode become one invalidation. The queue stays below [`PENDING_MAX`] entries: beyond that, single changes are
//! replaced by "everything".

use std::collections::{HashMap, HashSet};

use strata_namespace::Change;

/// Most inodes and names that wait at once; each costs under 200 bytes.
pub(crate) const PENDING_MAX: usize = 16 * 1024;

/// How much of an inode is stale.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Scope {
    /// Attributes only.
    Attr,
    /// Attributes and content (pages of a file, cached listing of a directory).
    Data,
}

/// What the kernel is to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Everything: the lists are then empty.
    pub(crate) all: bool,
    /// Names, each in its directory.
    pub(crate) entries: Vec<(u64, Vec<u8>)>,
    /// Inodes.
    pub(crate) inodes: Vec<(u64, Scope)>,
}

/// Changes the kernel has not been told about.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    all: bool,
    entries: HashSet<(u64, Vec<u8>)>,
    inodes: HashMap<u64, Scope>,
}

impl Pending {
    /// Adds one change.
    pub(crate) fn push(&mut self, change: Change) {
        if self.all {
            return;
        }
        match change {
            Change::Entry { parent, name, old } => {
                self.entries.insert((parent.0, name));
                // Times and listing of the directory, which the kernel does not drop when it has no such entry cached.
                self.touch(parent.0, Scope::Data);
                // Link count and change time of what the name led to.
                if let Some(old) = old {
                    self.touch(old.0, Scope::Attr);
                }
            }
            Change::Attr(ino) => self.touch(ino.0, Scope::Attr),
            Change::Content(ino) => self.touch(ino.0, Scope::Data),
            Change::Overflow => self.overflow(),
        }
        if self.entries.len() + self.inodes.len() > PENDING_MAX {
            self.overflow();
        }
    }

    /// Content of a file that this mount itself found to be out of step with the kernel's pages.
    pub(crate) fn push_data(&mut self, ino: u64) {
        if !self.all {
            self.touch(ino, Scope::Data);
        }
    }

    fn touch(&mut self, ino: u64, scope: Scope) {
        let held = self.inodes.entry(ino).or_insert(scope);
        *held = (*held).max(scope);
    }

    fn overflow(&mut self) {
        self.all = true;
        self.entries.clear();
        self.inodes.clear();
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.entries.is_empty() && self.inodes.is_empty()
    }

    /// Takes everything that waits.
    pub(crate) fn take(&mut self) -> Batch {
        let taken = std::mem::take(self);
        Batch {
            all: taken.all,
            entries: taken.entries.into_iter().collect(),
            inodes: taken.inodes.into_iter().collect(),
        }
    }
}

#[cfg(test)]
#[path = "queue/tests.rs"]
mod tests;

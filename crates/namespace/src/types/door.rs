//! What a door states of itself. The name space knows no door by its name: wherever doors differ, it goes by what they state.

use std::fmt;

use crate::authority::operations::Operation;

/// The number of a door on disk, in events and in locks of processes: 1 to 15. A number is given to one protocol and never to another,
/// since stores keep it; `docs/format/events.md` lists those that are given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DoorNumber(u8);

impl DoorNumber {
    /// The highest one: on disk there are four bits for it.
    pub const MAX: u8 = 15;

    /// The number of a door.
    ///
    /// # Panics
    /// Unless it is from 1 to [`DoorNumber::MAX`]. Of a `static` that does not compile.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        assert!(number > 0 && number <= Self::MAX, "a door has a number from 1 to 15");
        Self(number)
    }
    /// The number as it was read; `None` where no door can have it.
    pub(crate) fn read(number: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }
    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// How a door identifies its callers. This decides who may make something at the top of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Callers {
    /// Users whom the door has authenticated: the right is their own ([`super::Caller::may_make_buckets`]).
    Users,
    /// Uids that somebody else has authenticated: the right is that of the user who has the uid, if there is one.
    Uids,
    /// Administrators of the store, and its own workers: the mode of the root decides.
    Store,
}

/// What a door states of itself. The name space knows nothing else about it, and no protocol.
///
/// Two doors are the same if their numbers are.
pub struct Door {
    /// What it is called where changes are shown: one lower-case word.
    pub name: &'static str,
    /// What it is called on disk.
    pub number: DoorNumber,
    /// Who calls.
    pub callers: Callers,
    /// Whether its answers wait until what they show is durable (invariants ACK, SEEN). A door that serves programs of this machine as a
    /// local file system does not wait, and shows the state at once.
    pub settles: bool,
    /// Whether files are opened here, so that permission is judged once, at the open. Where they are not, it is judged with each call,
    /// and the owner of a file is always let through.
    pub has_opens: bool,
    /// Whether a kernel behind it keeps names, attributes and pages. It may then ask for pages without an open, and answers wait until it was
    /// told of changes ([`crate::Namespace::note_told`]).
    pub keeps_pages: bool,
    /// Whether locks of WebDAV bind its callers.
    pub heeds_locks: bool,
    /// The table of its operations: what each may ask the authority for.
    pub operations: &'static [Operation],
}

/// The store itself as a door: for its own workers, and for administration that has no row in a table.
pub static STORE: Door = Door::of_the_store(&[]);

impl Door {
    /// A door that authenticates users (S3, WebDAV). Answers wait for durability, files are opened, WebDAV locks bind its callers, and no
    /// kernel caches behind it.
    #[must_use]
    pub const fn of_users(name: &'static str, number: DoorNumber, operations: &'static [Operation]) -> Self {
        Self {
            name,
            number,
            callers: Callers::Users,
            settles: true,
            has_opens: true,
            keeps_pages: false,
            heeds_locks: true,
            operations,
        }
    }
    /// A door that knows callers by uid (NFS, the mount); otherwise as [`Door::of_users`].
    #[must_use]
    pub const fn of_uids(name: &'static str, number: DoorNumber, operations: &'static [Operation]) -> Self {
        Self { callers: Callers::Uids, ..Self::of_users(name, number, operations) }
    }
    /// The administration of the store, with the table of its commands. The same door as [`STORE`]. Commands of an operator pass WebDAV
    /// locks, as they pass mode bits.
    #[must_use]
    pub const fn of_the_store(operations: &'static [Operation]) -> Self {
        Self { callers: Callers::Store, heeds_locks: false, ..Self::of_users("store", DoorNumber::new(5), operations) }
    }
    /// The row of an operation.
    ///
    /// # Panics
    /// If there is none: an operation that the table does not know is not served.
    #[must_use]
    pub fn operation(&self, name: &str) -> &'static Operation {
        let row = self.operations.iter().find(|row| row.name == name);
        row.unwrap_or_else(|| panic!("the table of operations of the door {} has no row for {name}", self.name))
    }
    /// The rows of operations, in the order of their names.
    ///
    /// # Panics
    /// As [`Door::operation`].
    #[must_use]
    pub fn operations_of<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<&'static Operation> {
        names.into_iter().map(|name| self.operation(name)).collect()
    }
}

impl PartialEq for Door {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Door {}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

//! Commands as operations of the name space: each has a row in the table here, and asks the authority before it does anything. Also the
//! list of all doors of this build, to show a door's number by its name.

use strata_namespace::Action::*;
use strata_namespace::{Caller, Door, DoorNumber, Op, Operation};

/// The door of the administration, which is the store's own.
static ADMINISTRATION: Door = Door::of_the_store(OPERATIONS);

/// Every door of this build.
const DOORS: [&Door; 5] =
    [&strata_door_s3::DOOR, &strata_mount::DOOR, &strata_door_nfs::DOOR, &strata_door_webdav::DOOR, &ADMINISTRATION];

/// The commands that a server answers, and what each may ask the authority for.
#[rustfmt::skip]
static OPERATIONS: &[Operation] = &[
    Operation::new("status", &[ReadSpace, Administer]),
    Operation::new("reclaim", &[Administer]),
    Operation::new("user", &[Search, List, ReadAttributes, ReadBucket, ListBuckets, Administer]),
    Operation::new("keys", &[Administer]),
    Operation::new("bucket", &[Search, List, ReadAttributes, Add, Remove, ReadBucket, SetBucket, ListBuckets, Administer]),
    Operation::new("locks", &[Administer]),
    Operation::new("fsck", &[Administer]),
    Operation::new("disk", &[Administer]),
    Operation::new("set", &[Administer]),
    Operation::new("heal", &[Administer]),
    Operation::new("scrub", &[Administer]),
    Operation::new("watch", &[ReadBucket, Administer]),
];

/// A request by the command of this name.
///
/// # Panics
/// If it has no row.
pub(crate) fn op_of(command: &str) -> Op {
    op_as(Caller::root(&ADMINISTRATION), command)
}

/// A request by the command of this name on behalf of somebody.
///
/// # Panics
/// As [`op_of`].
pub(crate) fn op_as(caller: Caller, command: &str) -> Op {
    Op::of(Caller { door: &ADMINISTRATION, ..caller }, ADMINISTRATION.operation(command))
}

/// What the door with this number is called; one that this build does not know by its number.
pub(crate) fn name_of(door: DoorNumber) -> String {
    let known = DOORS.iter().find(|known| known.number == door);
    known.map_or_else(|| format!("door {}", door.get()), |known| known.name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strata_namespace::Action;

    use super::*;

    #[test]
    fn every_door_has_a_number_and_a_name_of_its_own() {
        let numbers: BTreeSet<_> = DOORS.iter().map(|door| door.number).collect();
        let names: BTreeSet<_> = DOORS.iter().map(|door| door.name).collect();
        assert_eq!((numbers.len(), names.len()), (DOORS.len(), DOORS.len()));
        assert_eq!(*DOORS[4], strata_namespace::STORE);
    }

    #[test]
    fn doors_are_called_as_they_always_were_and_others_by_their_number() {
        // The numbers of docs/format/events.md.
        let names: Vec<String> = (1..=6).map(|number| name_of(DoorNumber::new(number))).collect();
        assert_eq!(names, ["s3", "mount", "nfs", "webdav", "store", "door 6"]);
    }

    #[test]
    fn every_operation_has_one_row_and_no_action_twice() {
        for door in DOORS {
            let mut seen = BTreeSet::new();
            for row in door.operations {
                assert!(seen.insert(row.name), "{row:?} of {door:?} is there twice");
                let actions: BTreeSet<_> = row.actions.iter().collect();
                assert_eq!(actions.len(), row.actions.len(), "{row:?} of {door:?}");
                assert!(std::ptr::eq(door.operation(row.name), row));
            }
        }
    }

    #[test]
    fn every_action_is_one_of_some_operation() {
        let rows = DOORS.iter().flat_map(|door| door.operations);
        let used: BTreeSet<_> = rows.flat_map(|row| row.actions).copied().collect();
        assert_eq!(used, Action::ALL.iter().copied().collect());
    }
}

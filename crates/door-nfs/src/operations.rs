//! What this door states of itself to the name space ([`DOOR`]), and the table of its operations.

use std::sync::LazyLock;

use strata_namespace::Action::*;
use strata_namespace::{Door, DoorNumber, Operation};

use crate::metrics::PROCEDURES;

/// The door: its callers are uids, and files are not opened here.
pub static DOOR: Door = Door { has_opens: false, ..Door::of_uids("nfs", DoorNumber::new(3), OPERATIONS) };

/// The table of its operations, and what each may ask the authority for. While one of
/// [`PROCEDURES`] has no row, the door answers nothing, and its tests fail.
#[rustfmt::skip]
static OPERATIONS: &[Operation] = &[
    Operation::new("null", &[]),
    Operation::new("getattr", &[ReadAttributes]),
    Operation::new("setattr", &[ReadAttributes, Write, SetMode, SetOwner, SetTimes, Touch]),
    Operation::new("lookup", &[Search, ReadAttributes, ReadBucket]),
    Operation::new("access", &[ReadAttributes]),
    Operation::new("readlink", &[ReadAttributes]),
    Operation::new("read", &[ReadAttributes, Read]),
    Operation::new("write", &[ReadAttributes, Write]),
    Operation::new("create", &[Search, ReadAttributes, Write, Add, SetMode, SetOwner, SetTimes, Touch]),
    Operation::new("mkdir", &[Search, ReadAttributes, Add, SetMode, SetOwner, SetTimes, Touch]),
    Operation::new("symlink", &[Search, ReadAttributes, Add, SetMode, SetOwner, SetTimes, Touch]),
    Operation::new("mknod", &[Search, ReadAttributes, Add, MakeDevice, SetMode, SetOwner, SetTimes, Touch]),
    Operation::new("remove", &[Search, ReadAttributes, Remove]),
    Operation::new("rmdir", &[Search, ReadAttributes, Remove]),
    Operation::new("rename", &[Search, ReadAttributes, Add, Remove, MoveDirectory]),
    Operation::new("link", &[Search, ReadAttributes, Add]),
    Operation::new("readdir", &[Search, List, ReadAttributes, ReadBucket]),
    Operation::new("readdirplus", &[Search, List, ReadAttributes, ReadBucket]),
    Operation::new("fsstat", &[ReadAttributes, ReadSpace]),
    Operation::new("fsinfo", &[ReadAttributes]),
    Operation::new("pathconf", &[ReadAttributes]),
    Operation::new("commit", &[ReadAttributes, Write]),
    Operation::new("mnt", &[Search, ReadAttributes, ReadBucket]),
    Operation::new("nlm_test", &[ReadAttributes, Read, Write]),
    Operation::new("nlm_lock", &[ReadAttributes, Read, Write]),
    Operation::new("nlm_cancel", &[]),
    Operation::new("nlm_unlock", &[]),
    Operation::new("nlm_share", &[ReadAttributes, Read, Write]),
    Operation::new("nlm_unshare", &[]),
    Operation::new("lock clients", &[Administer]),
];

static ROWS: LazyLock<Vec<&'static Operation>> = LazyLock::new(|| DOOR.operations_of(PROCEDURES));
static LOCKS: LazyLock<Vec<&'static Operation>> = LazyLock::new(|| DOOR.operations_of(LOCK_OPERATIONS));
static LOCK_CLIENTS: LazyLock<&'static Operation> = LazyLock::new(|| DOOR.operation("lock clients"));
static MOUNT: LazyLock<&'static Operation> = LazyLock::new(|| DOOR.operation("mnt"));

/// The procedures of NLM, by what they do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LockOperation {
    Test,
    Lock,
    Cancel,
    Unlock,
    Share,
    Unshare,
}

/// The names of their rows, in that order.
const LOCK_OPERATIONS: [&str; 6] = ["nlm_test", "nlm_lock", "nlm_cancel", "nlm_unlock", "nlm_share", "nlm_unshare"];

/// The row of a procedure of NFS, by its number; of one that is not known, the row of the procedure that does nothing.
pub(crate) fn of_procedure(number: u32) -> &'static Operation {
    usize::try_from(number).ok().and_then(|number| ROWS.get(number)).unwrap_or(&ROWS[0])
}

/// The row of MNT, the procedure of the mount protocol that reaches the tree.
pub(crate) fn of_mount() -> &'static Operation {
    *MOUNT
}

/// The row of a procedure of NLM.
pub(crate) fn of_lock(operation: LockOperation) -> &'static Operation {
    LOCKS[operation as usize]
}

/// The row of keeping the list of clients that have locks, and of ending what one has that restarted.
pub(crate) fn of_lock_clients() -> &'static Operation {
    *LOCK_CLIENTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_procedure_has_a_row_of_its_own() {
        for (number, name) in PROCEDURES.iter().enumerate() {
            assert_eq!(of_procedure(number as u32).name, *name);
        }
        assert_eq!(of_mount().name, "mnt");
        assert_eq!(of_lock(LockOperation::Test).name, "nlm_test");
        assert_eq!(of_lock(LockOperation::Unshare).name, "nlm_unshare");
        assert_eq!(of_lock_clients().name, "lock clients");
        assert!(of_procedure(22).actions.is_empty());
    }
}

//! The rows of this door's procedures in the table of operations of the name space.

use std::sync::LazyLock;

use strata_namespace::{Door, Operation, operation, operations_of};

use crate::metrics::PROCEDURES;

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

static ROWS: LazyLock<Vec<&'static Operation>> = LazyLock::new(|| operations_of(Door::Nfs, PROCEDURES));
static LOCKS: LazyLock<Vec<&'static Operation>> = LazyLock::new(|| operations_of(Door::Nfs, LOCK_OPERATIONS));
static LOCK_CLIENTS: LazyLock<&'static Operation> = LazyLock::new(|| operation(Door::Nfs, "lock clients"));
static MOUNT: LazyLock<&'static Operation> = LazyLock::new(|| operation(Door::Nfs, "mnt"));

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

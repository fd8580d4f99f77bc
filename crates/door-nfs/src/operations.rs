//! The rows of this door's procedures in the table of operations of the name space.

use std::sync::LazyLock;

use strata_namespace::{Door, Operation, operation, operations_of};

use crate::metrics::PROCEDURES;

static ROWS: LazyLock<Vec<&'static Operation>> = LazyLock::new(|| operations_of(Door::Nfs, PROCEDURES));
static MOUNT: LazyLock<&'static Operation> = LazyLock::new(|| operation(Door::Nfs, "mnt"));

/// The row of a procedure of NFS, by its number; of one that is not known, the row of the procedure that does nothing.
pub(crate) fn of_procedure(number: u32) -> &'static Operation {
    usize::try_from(number).ok().and_then(|number| ROWS.get(number)).unwrap_or(&ROWS[0])
}

/// The row of MNT, the procedure of the mount protocol that reaches the tree.
pub(crate) fn of_mount() -> &'static Operation {
    *MOUNT
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
        assert!(of_procedure(22).actions.is_empty());
    }
}

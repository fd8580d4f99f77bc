//! What this door states of itself to the name space ([`DOOR`]), and the table of its operations.

use std::sync::LazyLock;

use http::Method;
use strata_namespace::Action::*;
use strata_namespace::{Door, DoorNumber, Operation};

use crate::metrics::{METHODS, number_of};

/// The door: its callers are users of the store, and it shows nothing that is not durable.
pub static DOOR: Door = Door::of_users("webdav", DoorNumber::new(4), OPERATIONS);

/// The table of its operations, and what each may ask the authority for. While one of [`METHODS`]
/// has no row, the door answers nothing, and its tests fail.
#[rustfmt::skip]
static OPERATIONS: &[Operation] = &[
    Operation::new("GET", &[Search, List, ReadAttributes, Read, ReadBucket]),
    Operation::new("HEAD", &[Search, List, ReadAttributes, Read, ReadBucket]),
    Operation::new("PUT", &[Search, ReadAttributes, Write, Add, SetTimes, ReadBucket]),
    Operation::new("PATCH", &[Search, ReadAttributes, Write, Add, ReadBucket]),
    Operation::new("DELETE", &[Search, List, ReadAttributes, Remove, ReadBucket]),
    Operation::new("MKCOL", &[Search, ReadAttributes, Add, ReadBucket]),
    Operation::new("COPY", &[Search, List, ReadAttributes, Read, Write, Add, Remove, SetMode, SetTimes, ReadProperties, WriteProperty, ReadBucket]),
    Operation::new("MOVE", &[Search, List, ReadAttributes, Read, Write, Add, Remove, MoveDirectory, SetMode, SetTimes, ReadProperties, WriteProperty, ReadBucket]),
    Operation::new("PROPFIND", &[Search, List, ReadAttributes, ReadProperties, ReadBucket, ReadSpace]),
    Operation::new("PROPPATCH", &[Search, ReadAttributes, SetMode, SetTimes, Touch, ReadProperties, WriteProperty, ReadBucket]),
    Operation::new("LOCK", &[Search, ReadAttributes, Write, Add, ReadBucket, Lock, LockRoot, Unlock]),
    Operation::new("UNLOCK", &[Search, ReadAttributes, ReadBucket, Unlock]),
    Operation::new("OPTIONS", &[Search, ReadAttributes, ReadBucket]),
    Operation::new("other", &[Search, ReadAttributes, ReadBucket]),
];

static ROWS: LazyLock<Vec<&'static Operation>> = LazyLock::new(|| DOOR.operations_of(METHODS));

/// The row of a method; those that are not served share one.
pub(crate) fn of_method(method: &Method) -> &'static Operation {
    ROWS[number_of(method)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_row_of_its_own() {
        for name in METHODS {
            let method = Method::from_bytes(name.as_bytes()).expect("a method");
            assert_eq!(of_method(&method).name, name);
        }
        assert_eq!(of_method(&Method::TRACE).name, "other");
    }
}

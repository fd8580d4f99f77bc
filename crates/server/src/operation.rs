//! Commands as operations of the name space: each has a row in its table, and asks the authority before it does anything.

use strata_namespace::{Caller, Door, Op, operation};

/// A request by the command of this name.
pub(crate) fn op_of(command: &str) -> Op {
    Op::of(Caller::root(Door::Admin), operation(Door::Admin, command))
}

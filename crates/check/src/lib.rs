//! Above the name space: whether a store is whole, and mending one that is not. What `strata fsck` runs, and the tests.
//!
//! [`check()`] has the invariants of the name space as predicates and says what breaks them; [`repair()`] mends that.

mod check;
mod repair;

pub use check::{
    AT_ONCE_DEFAULT, Affected, CheckOptions, CheckProgress, CheckReport, Finding, Owner, affected_by, check,
    check_store, count_files,
};
pub use repair::{LOST_AND_FOUND, RepairStep, Repaired, repair, repair_plan, unreadable_chunks};

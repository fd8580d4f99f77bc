//! A store whose every change is refused the first time, so that tests show that changes may be computed again.
//!
//! An engine that many processes share refuses a change whose premises somebody else has altered, and has it computed anew.
//! The embedded engine never does. With the feature `refuse-first` it computes every change twice and throws the first result
//! away: a change with an effect beside its records then does something twice, and a test fails. Without the feature the answer
//! is the constant `false` and no trace is left in the program.

/// Whether the first result of every change is thrown away.
#[must_use]
#[inline]
pub const fn refuses_first() -> bool {
    cfg!(feature = "refuse-first")
}

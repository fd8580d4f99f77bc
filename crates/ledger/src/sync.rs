//! Threads and atomics, as the whole crate imports them: the standard library's, or, where concurrency is explored schedule
//! by schedule (`crates/ledger-scheduled`), those of a scheduler that decides at each of them who goes on. The locks are
//! exchanged there as a dependency, and what comes under the name of `parking_lot` has threads and atomics, too.

#[cfg(scheduled)]
pub(crate) use parking_lot::{atomic, thread};

#[cfg(not(scheduled))]
pub(crate) use std::{sync::atomic, thread};

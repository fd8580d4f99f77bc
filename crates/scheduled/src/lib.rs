//! The locks of `parking_lot`, as far as we use them, and threads and atomics, under the Shuttle scheduler: every operation
//! on one of them is a point where the scheduler may let another thread go on.
//!
//! The crates whose concurrency is explored are compiled a second time with this crate under the name of `parking_lot`
//! (`crates/ledger-scheduled` and its like), so the very sources that the product is built from run here.
//! Memory is sequentially consistent: what weaker orderings allow is not explored.
//!
//! Time does not pass: a wait with a limit ends at once or is woken, whichever the scheduler likes.

mod condvar;
mod mutex;
mod rwlock;

pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use shuttle::sync::atomic;
pub use shuttle::thread;

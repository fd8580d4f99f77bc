//! Simulated twins of the seams: a clock that stands still, random bytes from a seed, and disks that fail on request.
//!
//! A [`SimWorld`] owns the disks, counts their I/Os and holds the fault plan; a [`SimDisk`] is one disk of it as the
//! code under test sees it. Everything is deterministic: no thread, no wall clock, one lock, ordered maps; so a seed and
//! an I/O number replay any failure.
//!
//! The faults a store must survive, and no others, are those of [`FaultKind`] and of the methods of [`SimWorld`]: a
//! crash that keeps any subset of what was not synced, torn, lost, short and misdirected writes, bit rot, stale and
//! damaged reads, failed syncs, full, slow, read-only, vanished, returning, blank and swapped disks. Left out because no
//! storage code can stand it: a disk that lies about a sync on all members of a set at once.

mod clock;
pub mod conformance;
mod disk;
mod entropy;
mod explore;
mod fault;
mod file;
mod pages;
mod state;
mod world;

#[cfg(test)]
mod tests;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use entropy::{SimEntropy, SimRng};
pub use explore::{CrashState, Submission, explore_crashes, sweep_failures};
pub use fault::{Fault, FaultKind, IoOp, IoRecord, When};
pub use state::DiskImage;
pub use world::{SimWorld, Snapshot};

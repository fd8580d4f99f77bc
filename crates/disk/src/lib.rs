//! Layer 2, files: a [`Disk`](strata_seam::Disk) over one folder of a local file system.
//!
//! The story: [`FileDisk`] names, creates and removes files; an open file (`file.rs`) keeps two descriptors, one buffered
//! and one for direct synchronous writes; `error.rs` turns error numbers into what the caller does next.
//!
//! Invariants: nothing is retried but interrupted calls and short writes; no error is hidden; a file appears under its
//! name only when it is whole and durable; nothing outside the folder is ever touched.

mod error;
mod file;
mod folder;

#[cfg(test)]
mod tests;

pub use folder::FileDisk;

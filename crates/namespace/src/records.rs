//! What the tables hold. Every record starts with a format byte; decoding is strict and never panics.
//! Byte maps: `docs/format/records.md`.
//!
//! Used by the name space itself, by checks and repairs of a store, and by tests that write records of earlier versions. Doors have no use
//! for them.

mod bucket;
mod inode;
pub mod key;
mod lock;
mod parts;
pub mod tag;
mod upload;

pub use bucket::{Bucket, LockCount};
pub use inode::{Beside, Counted, Dirent, Inode};
pub(crate) use lock::{decode_lock, encode_lock};
pub(crate) use parts::kind;
pub use upload::{Part, Upload, Version};

#[cfg(test)]
mod tests;

//! The FUSE door: the name space as a local drive.
//!
//! This crate translates the kernel's requests into calls of [`strata_namespace::Namespace`] and back; it decides
//! nothing and keeps no state that another door would have to know (invariant ONE). What it does keep is what the
//! kernel's protocol asks for: open handles, positions in directories, and which inodes the kernel has cached, so that
//! changes made through other doors can be pushed into that cache.
//!
//! - Every request is answered on the thread that read it: a wake-up on another core costs more than most requests do.
//!   Only calls that may wait for a disk (fsync, the last close of a written file) move to a small pool, and only when
//!   they would otherwise take the last free thread.
//! - The kernel caches entries, attributes and pages for long, because [`notify`](self) pushes every foreign change.
//!   The rules that keep those pushes free of deadlock are in `notify.rs`.
//! - Permissions are checked twice: by the kernel (`default_permissions`, which is also what guards cached entries) and
//!   by the name space, whose word is final.
//!
//! Types of the FUSE library appear in `handler.rs`, `attr.rs`, `errno.rs`, `notify.rs` and `session.rs` only.
//! What an application may rely on is in `docs/semantics/mount.md`.

mod attach;
mod attr;
mod blocking;
mod caller;
mod dir;
mod direct;
mod door;
mod errno;
mod error;
mod file;
mod handler;
mod metrics;
mod moments;
mod nodes;
mod notify;
mod operations;
mod options;
mod queue;
mod refusals;
mod session;
mod slots;
mod xattr;

pub use error::MountError;
pub use metrics::{MountMetrics, OpKind};
pub use operations::DOOR;
pub use options::MountOptions;
pub use session::{Mounted, mount};

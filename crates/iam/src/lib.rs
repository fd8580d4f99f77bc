//! Layer 6: the users of the doors. One set of users serves S3 (access key and secret key) and WebDAV (name and
//! secret key); what a user may touch is decided by the name space, from the uid and gid kept here.
//!
//! Invariants:
//! - Users live in the store as settings (`user/<name>`), in the same commits as everything else; the copy in memory is
//!   replaced only after the store took the change.
//! - Names and access keys are unique. Nothing is defaulted: secrets are drawn from the seam's randomness or given.
//! - In the store a secret is sealed with the master key. What earlier releases left in clear is sealed when the users are opened, and
//!   [`CLEAR_LEFT`] says that its traces are still to be erased.
//! - A secret never appears in `Debug`, in an error or in a log.

mod error;
mod record;
mod secret;
mod store;
mod user;
mod users;

pub use error::IamError;
pub use record::is_clear_secret;
pub use secret::SecretKey;
pub use user::{NewUser, User};
pub use users::{CLEAR_LEFT, Renumbered, Users};

//! Layer 7, below the doors that speak HTTP (S3, WebDAV, administration): the rules of the standard that all of them share.
//!
//! [`serve()`] handles one connection from its first byte to its last; the door answers the requests on it
//! ([`Answers`]). Beside it, pure code: dates ([`date`]), entity tags ([`etag`]), conditions ([`conditions`]) and byte ranges
//! ([`range`]), read as RFC 9110 has them, and what no head may have ([`head`]).
//!
//! The crate does not know the name space, and decides nothing about what a request may do. `strata_gate` decides which connection is
//! accepted, and which one makes room for it. Anything that is a [`Stream`] can carry a connection: here TLS has its place.

mod body;
pub mod conditions;
mod connection;
pub mod date;
pub mod etag;
pub mod head;
mod phase;
pub mod range;
mod refusal;
mod serve;

pub use body::{Received, Whole};
pub use serve::{Answers, HEADERS_MAX, Stream, Terms, Waits, serve};

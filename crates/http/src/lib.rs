//! Layer 7, below the doors that speak HTTP (S3, WebDAV, administration): what the standard says to all of them alike.
//!
//! [`serve()`] takes one connection from its first byte to its last; what the requests on it are answered with is the door's
//! ([`Answers`]). Beside it, pure code: dates ([`date`]), entity tags ([`etag`]), conditions ([`conditions`]) and byte ranges
//! ([`range`]), read as RFC 9110 has them, and what no head may have ([`head`]).
//!
//! It knows no name space, and decides nothing about what a request may do. Which connection is taken in, and who makes room for it,
//! is `strata_gate`'s. What carries a connection is anything that is a [`Stream`]: here TLS has its place.

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

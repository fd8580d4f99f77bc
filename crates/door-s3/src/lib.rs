//! Layer 7: the S3 door. Translates S3 over HTTP to the name space and back, and decides nothing itself.
//!
//! Where to start reading: [`serve`] (connections and limits), `front` (one request from the wire to an operation),
//! `auth` (who sends it), `route` (what it asks for), `request_headers` (what else it may say), `ops` (the operations),
//! `ingest` and `ops::read` (bytes in and out).
//!
//! Invariants:
//! - No operation runs for a request that was not proven to come from a user of the store (`auth::Verified`).
//! - No answer leaves before everything it tells is durable (`Operations::run` settles each operation).
//! - No request holds more than a few MiB, whatever its length; more connections and requests than configured wait or
//!   are answered with `SlowDown`.
//! - The types of the S3 library stop at this crate.

mod auth;
mod blocking;
mod body;
mod checksum;
mod chunked;
mod conditions;
mod config;
mod context;
mod document;
mod door;
mod error;
mod etag;
mod front;
mod headers;
mod host;
mod ingest;
mod keys;
mod lanes;
mod metrics;
mod operations;
mod ops;
mod post_form;
mod range;
mod reply;
mod request_headers;
mod route;
mod server;

pub use config::{S3Config, S3ConfigError};
pub use door::S3Door;
pub use metrics::{OPERATIONS, Operation, S3Metrics};
pub use operations::DOOR;
pub use server::serve;

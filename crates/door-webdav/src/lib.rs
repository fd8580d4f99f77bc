//! Layer 7, a door: WebDAV (RFC 4918, classes 1, 2 and 3) over the name space.
//!
//! It translates and never decides: permissions, locks, versions and durability are the name space's. It keeps nothing in memory
//! between requests but counters. Where to start reading: `front` admits a request and calls the code for its method; `put` is the life
//! of an upload, `get` and `body` that of a download, `props::find` and `listing` that of a directory. What clients may rely on is in
//! docs/semantics/webdav.md.
//!
//! Invariants: the path that is authorised is the path that is used (`path`); an upload changes nothing before it is whole (`upload`,
//! `put`); a download never substitutes a byte (`body`); no reply reports what a crash could take back (`front`, `listing`); every
//! queue, body and table has a named limit.

mod ask;
mod auth;
mod body;
mod conditions;
mod door;
mod error;
mod front;
mod get;
mod headers;
mod here;
mod if_header;
mod listing;
mod locking;
mod locks;
mod metrics;
mod operations;
mod path;
mod props;
mod put;
mod range;
mod range_write;
mod request_line;
mod server;
mod tree;
mod upload;
mod xml;

pub use body::{BodyError, ReplyBody};
pub use door::{DavConfig, WebDavDoor};
pub use metrics::{DavMetrics, METHODS};
pub use operations::DOOR;
pub use server::serve;

//! Proves who sends a request. All of this runs before any S3 type is built. A request that was not proven
//! never reaches an operation: operations demand a `Verified` identity.
//!
//! Signature Version 4, with its payload forms (signed, unsigned, chunked with and without signatures and trailers) and as
//! presigned query; and the older Version 2 in header and query, unless it is switched off. POST forms carry their
//! signature inside the body and are proven in [`crate::post_form`].

mod front;
mod hmac;
mod presence;
mod signing_keys;
mod sigv2;
mod sigv4;
mod timestamp;

pub(crate) use front::{Payload, REGION_HEADER, Verifier, strip_credentials};
pub(crate) use hmac::{hex_of, signatures_match};
pub(crate) use sigv4::{ChunkChain, query_pairs};

#[cfg(test)]
mod tests;

//! Layer 1: systematic erasure codes over equally long shards. Pure: no I/O, no clock, no threads.
//!
//! A code does not detect damage, it only fills in what is known to be missing: whoever calls verifies every shard by a
//! checksum of its own and passes damaged ones as missing. Codes work column by column in units of [`SHARD_UNIT`] bytes,
//! so a range of columns, cut at multiples of that unit, can be rebuilt without the rest of the shards.
//!
//! The number of a codec is part of the on-disk format ([`CodecId`]): its bytes are pinned by golden vectors.

mod codec;
mod combine;

pub use codec::{Codec, CodecId, DATA_SHARDS_MAX, ErasureError, PARITY_SHARDS_MAX, SHARD_UNIT};

//! Layer 1, pure: how content becomes chunks, blocks and manifests, as values. No I/O, no async, no clock.
//!
//! A *chunk* is a run of content cut by [`Chunker`] and named by the [`ChunkNamer`] of its [`DedupDomain`]; the unit of
//! deduplication. A *block* is a
//! run of consecutive new chunks compressed together by [`compress()`]; the unit of compression and of a ledger record,
//! described by its [`BlockDirectory`]. A *manifest* says which chunks, holes and pages make up some content: a tree of
//! [`Node`]s. [`wire`] holds the primitives all of it, and the records of the crates above, are written with.
//!
//! Everything that decodes takes its bytes from a medium: it returns an error for what it did not write, and neither
//! panics nor allocates more than the format's limits.

mod block;
mod chunker;
mod compress;
mod content;
mod domain;
mod manifest;
pub mod wire;

pub use block::{BLOCK_CHUNKS_MAX, BLOCK_RAW_MAX, BlockDirectory, BlockEntry, KeyId};
pub use chunker::{CHUNK_LEN_MAX, ChunkParams, Chunker, ChunkerId, ParamsError};
pub use compress::{Codec, CompressPolicy, DecompressError, compress, decompress};
pub use content::{chunk_id, is_zero};
pub use domain::{ChunkNamer, DedupDomain, EncryptionDomain, StorageClass};
pub use manifest::{CONTENT_LEN_MAX, DEPTH_MAX, Item, ManifestError, NODE_ITEMS_MAX, NeedsPage, Node, Placed, Source};

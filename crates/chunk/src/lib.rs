//! Layer 1, pure: how content becomes chunks, blocks and manifests, as values. No I/O, no async, no clock.

pub mod wire;

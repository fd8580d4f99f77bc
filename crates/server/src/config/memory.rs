//! The setting `memory`, and its division into parts. Each part limits one consumer of memory; with the memory of the process itself
//! they add up to the whole.

use super::error::{ConfigError, in_range};
use super::size::ByteSize;

/// Unless told otherwise.
const TOTAL_DEFAULT: ByteSize = ByteSize::mib(512);
/// Below, too little is left for the parts beside a useful cache.
const TOTAL_MIN: ByteSize = ByteSize::mib(256);
/// Decoded chunks: below, a few readers of one large object would push each other out.
const CACHE_MIN: ByteSize = ByteSize::mib(16);
/// The cache's share of the whole unless told otherwise: one in so many.
const CACHE_SHARE: u64 = 4;
/// What the process takes beside all parts: code, threads and their stacks, small tables, what the allocator keeps.
const BASE: ByteSize = ByteSize::mib(64);
/// Least for all parts beside the cache.
const REST_MIN: ByteSize = ByteSize::mib(48);
/// Room for the longest document of a request, twice.
const DOCUMENTS_MIN: u64 = 12 << 20;
/// What a request may hold beside its part of the bodies: small pieces, read buffers, an open block.
const REQUEST: u64 = 2 << 20;
/// A small table has this share of the whole: there are seven of them.
const TABLE_SHARE: u64 = 64;
const TABLE_MAX: u64 = 8 << 20;
/// Requests in work at each HTTP door.
const REQUESTS_MIN: u64 = 16;
const REQUESTS_MAX: u64 = 256;

/// The memory of the process in parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) total: ByteSize,
    /// Decoded chunks and the index's engine.
    pub(crate) cache: ByteSize,
    /// Changes that the index has not written yet.
    pub(crate) overlay: u64,
    /// Bytes written to open files that are not content yet.
    pub(crate) staging: u64,
    /// Bodies on their way in and out at the S3 and WebDAV doors, beyond a small piece each.
    pub(crate) bodies: u64,
    /// Documents at the S3 door.
    pub(crate) documents: u64,
    /// Records of the NFS door, in each direction.
    pub(crate) records: u64,
    /// Requests in work at each HTTP door.
    pub(crate) requests: u64,
    /// A small table: of the mount and of NFS, where listings go on; of NFS, the replies that may be asked for again. What the
    /// ledger queues and what a portion of the mover's round remembers have two each.
    pub(crate) table: u64,
}

impl Memory {
    /// Divides what was asked for on a machine with so much.
    ///
    /// # Errors
    /// A size that is too small or too large, named.
    pub(crate) fn divide(
        total: Option<ByteSize>,
        cache: Option<ByteSize>,
        machine: ByteSize,
    ) -> Result<Self, ConfigError> {
        if let Some(total) = total {
            in_range("memory", total, TOTAL_MIN, machine)?;
        }
        let cache = cache.unwrap_or(ByteSize(total.unwrap_or(TOTAL_DEFAULT).0 / CACHE_SHARE));
        in_range("cache-size", cache, CACHE_MIN, machine)?;
        // The index's engine takes several times its part of the cache.
        let taken = cache.0.saturating_add(cache.0 / 2).saturating_add(BASE.0);
        let total = total.unwrap_or(ByteSize(TOTAL_DEFAULT.0.max(taken.saturating_add(4 * REST_MIN.0))));
        let rest = total.0.saturating_sub(taken);
        if rest < REST_MIN.0 {
            let most = ByteSize((total.0 - BASE.0 - REST_MIN.0) / 3 * 2);
            return Err(ConfigError(format!(
                "cache-size {cache} is part of memory {total} and leaves too little of it; at most {most}"
            )));
        }
        Ok(Self {
            total,
            cache,
            overlay: rest / 4,
            staging: rest / 4,
            bodies: rest / 4,
            documents: (rest / 16).max(DOCUMENTS_MIN),
            records: rest * 3 / 32,
            requests: (rest / REQUEST).clamp(REQUESTS_MIN, REQUESTS_MAX),
            table: (total.0 / TABLE_SHARE).min(TABLE_MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: ByteSize = ByteSize::mib(8192);

    fn divided(total: Option<u64>, cache: Option<u64>) -> Result<Memory, String> {
        let mib = |size: Option<u64>| size.map(ByteSize::mib);
        Memory::divide(mib(total), mib(cache), MACHINE).map_err(|ConfigError(what)| what)
    }

    #[test]
    fn the_parts_never_come_to_more_than_the_whole() {
        for (total, cache) in [
            (None, None),
            (None, Some(16)),
            (None, Some(2048)),
            (Some(256), None),
            (Some(256), Some(16)),
            (Some(1024), Some(512)),
            (Some(8192), None),
        ] {
            let memory = divided(total, cache).unwrap();
            let Memory { cache, overlay, staging, bodies, documents, records, table, .. } = memory;
            assert!(7 * table < BASE.0, "{memory:?}");
            let parts = cache.0 * 3 / 2 + overlay + staging + bodies + documents + 2 * records + BASE.0;
            // The least room for documents may go a little beyond the smallest settings.
            assert!(parts <= memory.total.0 + DOCUMENTS_MIN, "{memory:?}");
        }
    }

    #[test]
    fn the_defaults_are_half_a_gibibyte_with_a_quarter_for_the_cache() {
        let memory = divided(None, None).unwrap();
        assert_eq!((memory.total, memory.cache), (ByteSize::mib(512), ByteSize::mib(128)));
        assert_eq!(memory.requests, 128);
        // A cache larger than the default memory is accepted, and the whole grows with it.
        assert!(divided(None, Some(1024)).unwrap().total > ByteSize::mib(1536));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        assert!(divided(Some(100), None).unwrap_err().contains("memory 100 MiB is too small; at least 256 MiB"));
        assert!(divided(Some(99_999), None).unwrap_err().contains("too large"));
        let refused = divided(Some(256), Some(200)).unwrap_err();
        assert!(refused.contains("cache-size 200 MiB is part of memory 256 MiB"), "{refused}");
        assert!(divided(Some(256), Some(96)).is_ok());
    }
}

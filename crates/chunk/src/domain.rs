//! Which chunks may be one: the dedup domain, and how it enters the name of a chunk.
//!
//! Equal bytes are stored once within a dedup domain and never across two: what is to lie in different storage classes, or to be
//! sealed with different keys, must not become one chunk. So the domain is part of what a chunk is named after. The names of the
//! common domain, which is that of everything today, are plain BLAKE3. Format: `docs/format/block.md`.

use std::fmt;

use strata_seam::ChunkId;

/// Storage class: where chunks are to lie. 0 is the only one that anything is stored in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StorageClass(pub u8);

/// Encryption domain: whose keys seal chunks. 0 is the domain of what is not sealed, which is everything today.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EncryptionDomain(pub u32);

/// The chunks that may be one if their bytes are equal: those of one storage class and one encryption domain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DedupDomain {
    /// Where they are to lie.
    pub class: StorageClass,
    /// Whose keys seal them.
    pub encryption: EncryptionDomain,
}

impl DedupDomain {
    /// Class 0, not sealed: the domain of everything that is stored today.
    pub const COMMON: Self = Self { class: StorageClass(0), encryption: EncryptionDomain(0) };

    /// A domain by its two numbers.
    #[must_use]
    pub const fn of(class: u8, encryption: u32) -> Self {
        Self { class: StorageClass(class), encryption: EncryptionDomain(encryption) }
    }

    /// Whether it is [`DedupDomain::COMMON`].
    #[must_use]
    pub fn is_common(self) -> bool {
        self == Self::COMMON
    }

    /// Class, then encryption domain in little-endian: what keys of names are derived from.
    fn bytes(self) -> [u8; 5] {
        let [a, b, c, d] = self.encryption.0.to_le_bytes();
        [self.class.0, a, b, c, d]
    }
}

impl fmt::Display for DedupDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "class {}, encryption domain {}", self.class.0, self.encryption.0)
    }
}

/// Contexts of BLAKE3's `derive_key`. They are on-disk format: another one gives other names.
const CONTEXT: &str = "strata 2026 chunk names of a dedup domain v1";
const CONTEXT_SECRET: &str = "strata 2026 chunk names of a dedup domain with a secret v1";

/// Names the chunks of one dedup domain.
#[derive(Clone)]
pub struct ChunkNamer {
    domain: DedupDomain,
    /// None in the common domain.
    key: Option<[u8; 32]>,
}

impl ChunkNamer {
    /// Of a domain whose names need no secret. Those of [`DedupDomain::COMMON`] are plain BLAKE3; else they are keyed BLAKE3 with
    /// the key that `derive_key` makes of the domain's numbers. Costs a hash of 5 bytes for any but the common one.
    #[must_use]
    pub fn new(domain: DedupDomain) -> Self {
        let key = (!domain.is_common()).then(|| blake3::derive_key(CONTEXT, &domain.bytes()));
        Self { domain, key }
    }

    /// Of a domain whose names must tell nothing to who has not its `secret`: neither which content there is nor whether another
    /// domain has it too. Keyed BLAKE3 with the key that `derive_key` makes of the domain's numbers and then the secret.
    #[must_use]
    pub fn with_secret(domain: DedupDomain, secret: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT_SECRET);
        hasher.update(&domain.bytes()).update(secret);
        Self { domain, key: Some(*hasher.finalize().as_bytes()) }
    }

    /// The domain.
    #[must_use]
    pub fn domain(&self) -> DedupDomain {
        self.domain
    }

    /// The name of the chunk with these plain bytes. About 0.2 ns a byte.
    #[must_use]
    pub fn name(&self, plain: &[u8]) -> ChunkId {
        match &self.key {
            None => crate::chunk_id(plain),
            Some(key) => ChunkId(*blake3::keyed_hash(key, plain).as_bytes()),
        }
    }
}

/// Without the key, which may be a secret.
impl fmt::Debug for ChunkNamer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkNamer").field("domain", &self.domain).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_the_golden_ones() {
        let plain = b"the same bytes in every domain";
        let secret = std::array::from_fn(|at| at as u8);
        let named = [
            ChunkNamer::new(DedupDomain::COMMON),
            ChunkNamer::new(DedupDomain::of(1, 0)),
            ChunkNamer::new(DedupDomain::of(0, 1)),
            ChunkNamer::new(DedupDomain::of(1, 0x0102_0304)),
            ChunkNamer::with_secret(DedupDomain::of(0, 1), &secret),
            ChunkNamer::with_secret(DedupDomain::of(0, 1), &[0; 32]),
        ]
        .map(|namer| namer.name(plain).to_string());
        assert_eq!(named, GOLDEN);
        assert_eq!(ChunkNamer::new(DedupDomain::COMMON).name(plain), crate::chunk_id(plain));
    }

    const GOLDEN: [&str; 6] = [
        "045565c925e51a0eab552b9f4103309e851459f9857fc25258bc0f71879fd331",
        "9b891787ed343bc1339b10d34acb29ec3efb6e4b19b255269677c4d9426f34be",
        "211855cbf3b5510570fde329725f9af5abe1fe19e939f44d788945ff117780dc",
        "633b704c1f2854dc656c6de4efa959b20ccd234c7c6a04236806f82d86e88591",
        "0147de38c0843829b6ea582be744733cf74091d18ef8bc4d2b051f44d04102c6",
        "39bb66f35e49272de9df24238000ac4bebc997d0e871faa9b4cfcd73d3518b13",
    ];

    #[test]
    fn what_is_told_of_a_namer_is_not_its_key() {
        let namer = ChunkNamer::with_secret(DedupDomain::of(2, 3), &[0x5a; 32]);
        let shown = format!("{namer:?}");
        let key = format!("{:?}", namer.key.unwrap());
        assert!(!shown.contains(&key) && !shown.contains("key"), "{shown}");
        assert!(shown.contains("StorageClass(2)"), "{shown}");
    }

    proptest! {
        #[test]
        fn equal_bytes_of_different_domains_are_different_chunks(
            plain in proptest::collection::vec(any::<u8>(), 0..100),
            domains in proptest::collection::btree_set((any::<u8>(), any::<u32>()), 1..20),
            secrets in proptest::collection::btree_set(any::<[u8; 32]>(), 1..4),
        ) {
            let domains = domains.into_iter().map(|(class, encryption)| DedupDomain::of(class, encryption));
            let mut names = BTreeSet::new();
            let mut count = 0;
            for domain in domains {
                let with_secrets = secrets.iter().map(|secret| ChunkNamer::with_secret(domain, secret));
                for namer in with_secrets.chain([ChunkNamer::new(domain)]) {
                    names.insert(namer.name(&plain));
                    count += 1;
                }
            }
            prop_assert_eq!(names.len(), count);
        }
    }
}

//! A block: consecutive new chunks compressed together, and the directory that says what is in it.
//!
//! The ledger stores both side by side: the directory is what a replay sees, the data is what is read by location.
//! Invariants, held by every directory that encodes or decodes: at least one chunk, none empty, no chunk above
//! [`CHUNK_LEN_MAX`], all of one dedup domain, and the plain length is the sum of the chunks' lengths, at most
//! [`BLOCK_RAW_MAX`].
//! Format: `docs/format/block.md`.

use bytes::Bytes;
use strata_seam::ChunkId;

use crate::chunker::CHUNK_LEN_MAX;
use crate::compress::Codec;
use crate::domain::DedupDomain;
use crate::wire::{Decoder, Encoder, WireError};

/// Longest block in plain bytes: the mover's 1 MiB blocks, and a chunk of default size that a block in the making may still
/// take so as not to end with a short one.
pub const BLOCK_RAW_MAX: usize = CHUNK_LEN_MAX + (256 << 10);

/// Most chunks in a block, so that its directory stays below 160 KiB however small they are.
pub const BLOCK_CHUNKS_MAX: usize = 4096;

/// Version of the directory of a block of the common domain that is not sealed.
const VERSION: u8 = 1;
/// Version of all others. 2 begins the directory of a block that is no block of chunks, but one of a checkpoint.
const VERSION_OF_DOMAIN: u8 = 3;

/// Number of the key that a block is sealed with; never 0. Nothing is sealed today.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyId(std::num::NonZeroU32);

impl KeyId {
    /// The key of this number; `None` for 0, which is no key.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        std::num::NonZeroU32::new(number).map(Self)
    }

    /// Its number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// One chunk of a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockEntry {
    /// Its name.
    pub id: ChunkId,
    /// Its plain length in bytes.
    pub len: u32,
}

/// What a block holds, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockDirectory {
    codec: Codec,
    domain: DedupDomain,
    key: Option<KeyId>,
    raw_len: u32,
    chunks: Vec<BlockEntry>,
}

impl BlockDirectory {
    /// Describes a block of `chunks`, all of the dedup domain `domain`, stored with `codec` and not sealed.
    ///
    /// # Errors
    /// [`WireError`] if there is none, one is empty or too long, or there are too many.
    pub fn new(codec: Codec, domain: DedupDomain, chunks: Vec<BlockEntry>) -> Result<Self, WireError> {
        if chunks.is_empty() {
            return Err(WireError::Invalid("a block without chunks"));
        }
        check_limit(chunks.len() as u64, BLOCK_CHUNKS_MAX)?;
        let mut raw_len = 0_u32;
        for chunk in &chunks {
            if chunk.len == 0 {
                return Err(WireError::Invalid("an empty chunk in a block"));
            }
            check_limit(u64::from(chunk.len), CHUNK_LEN_MAX)?;
            raw_len = raw_len.saturating_add(chunk.len);
        }
        check_limit(u64::from(raw_len), BLOCK_RAW_MAX)?;
        Ok(Self { codec, domain, key: None, raw_len, chunks })
    }

    /// The same of a block whose data are sealed with this key. Writing and opening sealed data is not this crate's.
    #[must_use]
    pub fn sealed_with(self, key: KeyId) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The dedup domain of its chunks.
    #[must_use]
    pub fn domain(&self) -> DedupDomain {
        self.domain
    }

    /// The key that its data are sealed with; `None` where they are not.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        self.key
    }

    fn is_plain(&self) -> bool {
        self.domain.is_common() && self.key.is_none()
    }

    /// How the data is stored.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Plain length of the data in bytes.
    #[must_use]
    pub fn raw_len(&self) -> u32 {
        self.raw_len
    }

    /// The chunks, in the order of their bytes.
    #[must_use]
    pub fn chunks(&self) -> &[BlockEntry] {
        &self.chunks
    }

    /// Each chunk with its offset in the plain data.
    pub fn placed(&self) -> impl Iterator<Item = (u32, BlockEntry)> + '_ {
        self.chunks.iter().scan(0, |next, &chunk| {
            let start = *next;
            *next += chunk.len;
            Some((start, chunk))
        })
    }

    /// The record.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::with_capacity(24 + self.chunks.len() * 35);
        out.u8(if self.is_plain() { VERSION } else { VERSION_OF_DOMAIN }).u8(self.codec.as_u8());
        if !self.is_plain() {
            out.u8(self.domain.class.0).uvarint(u64::from(self.domain.encryption.0));
            out.uvarint(self.key.map_or(0, |key| u64::from(key.get())));
        }
        out.uvarint(u64::from(self.raw_len)).uvarint(self.chunks.len() as u64);
        for chunk in &self.chunks {
            out.uvarint(u64::from(chunk.len)).raw(&chunk.id.0);
        }
        Bytes::from(out.finish())
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`WireError`] if it is not one this build writes.
    pub fn decode(record: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(record);
        let of_domain = record.first() == Some(&VERSION_OF_DOMAIN);
        input.version("a block directory", if of_domain { VERSION_OF_DOMAIN } else { VERSION })?;
        let codec =
            Codec::from_u8(input.u8()?).ok_or(WireError::Invalid("a block with a codec this build does not know"))?;
        let (mut domain, mut key) = (DedupDomain::COMMON, None);
        if of_domain {
            domain = DedupDomain::of(input.u8()?, input.uvarint32()?);
            key = KeyId::new(input.uvarint32()?);
            if domain.is_common() && key.is_none() {
                return Err(WireError::Invalid("a block of the common dedup domain in the form of another one"));
            }
        }
        let raw_len = input.length(BLOCK_RAW_MAX)?;
        let count = input.length(BLOCK_CHUNKS_MAX)?;
        // 33 is the shortest entry: a count the record cannot hold must not reserve memory.
        let mut chunks = Vec::with_capacity(count.min(input.remaining() / 33));
        for _ in 0..count {
            let len = input.uvarint32()?;
            chunks.push(BlockEntry { len, id: ChunkId(input.array()?) });
        }
        input.finish()?;
        let directory = Self { key, ..Self::new(codec, domain, chunks)? };
        if directory.raw_len as usize == raw_len {
            Ok(directory)
        } else {
            Err(WireError::Invalid("a block whose length is not the sum of its chunks"))
        }
    }
}

fn check_limit(len: u64, limit: usize) -> Result<(), WireError> {
    if len <= limit as u64 { Ok(()) } else { Err(WireError::TooLong { len, limit: limit as u64 }) }
}

#[cfg(test)]
mod tests;

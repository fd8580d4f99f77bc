//! The bytes of a checkpoint: root, nodes, and the directory that tells its blocks from those of chunks. Format:
//! `docs/format/checkpoint.md`.

use std::collections::BTreeSet;

use bytes::Bytes;
use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_index::Stamp;
use strata_ledger::{CHECKPOINT_ROOT_LEN, Location};
use strata_seam::{Lsn, Position, SegmentId};

/// First byte of the directory of a block that belongs to a checkpoint; those of chunks begin with 1.
pub(crate) const DIRECTORY_VERSION: u8 = 2;
const ROOT_VERSION: u8 = 1;
const NODE_VERSION: u8 = 1;
/// Entries of one node: 4096 of 70 bytes are below the least stripe's limit in any real layout.
pub(crate) const NODE_REFS_MAX: usize = 4096;
/// Ranges of segments in a node: one per segment at worst, of which there are 2^32 at most, but never so many at once.
const RANGES_MAX: usize = 1 << 20;

/// BLAKE3 of a block's plain bytes.
pub(crate) type Hash = [u8; 32];

/// A block of a checkpoint: what it must be and where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockRef {
    pub(crate) hash: Hash,
    pub(crate) location: Location,
    pub(crate) codec: u8,
    pub(crate) raw_len: u32,
}

impl BlockRef {
    fn encode(&self, out: &mut Encoder) {
        let at = &self.location;
        out.raw(&self.hash).u8(self.codec).uvarint(u64::from(self.raw_len));
        for number in [at.segment.0, at.sector, at.shard_len, at.offset, at.len, at.crc] {
            out.uvarint(u64::from(number));
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, WireError> {
        let (hash, codec, raw_len) = (input.array()?, input.u8()?, input.uvarint32()?);
        let location = Location {
            segment: SegmentId(input.uvarint32()?),
            sector: input.uvarint32()?,
            shard_len: input.uvarint32()?,
            offset: input.uvarint32()?,
            len: input.uvarint32()?,
            crc: input.uvarint32()?,
        };
        Ok(Self { hash, location, codec, raw_len })
    }
}

/// A list of blocks. The top node of a long list refers to further nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Node {
    /// 0: the blocks are pieces of the index, in order; 1: they are nodes of level 0.
    pub(crate) level: u8,
    pub(crate) refs: Vec<BlockRef>,
    /// In the top node: the segments before the checkpoint's position that are kept.
    pub(crate) kept: BTreeSet<SegmentId>,
}

impl Node {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(16 + self.refs.len() * 70);
        out.u8(NODE_VERSION).u8(self.level).uvarint(self.refs.len() as u64);
        self.refs.iter().for_each(|block| block.encode(&mut out));
        let ranges = ranges(&self.kept);
        out.uvarint(ranges.len() as u64);
        let mut behind = 0;
        for (first, count) in ranges {
            out.uvarint(u64::from(first) - behind).uvarint(count);
            behind = u64::from(first) + count;
        }
        out.finish()
    }

    /// # Errors
    /// [`WireError`] where it is not what [`Node::encode`] makes.
    pub(crate) fn decode(record: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(record);
        input.version("a list of a checkpoint", NODE_VERSION)?;
        let level = input.u8()?;
        if level > 1 {
            return Err(WireError::Invalid("a list of a checkpoint deeper than any we write"));
        }
        let count = input.length(NODE_REFS_MAX)?;
        let mut refs = Vec::with_capacity(count.min(input.remaining() / 40));
        for _ in 0..count {
            refs.push(BlockRef::decode(&mut input)?);
        }
        let mut kept = BTreeSet::new();
        let mut next = 0_u64;
        for nth in 0..input.length(RANGES_MAX)? {
            let (gap, count) = (input.uvarint()?, input.uvarint()?);
            let first = next.saturating_add(gap);
            let end = first.saturating_add(count);
            if end > u64::from(u32::MAX) || count == 0 || (nth > 0 && gap == 0) || kept.len() as u64 + count > 1 << 24 {
                return Err(WireError::Invalid("segments of a checkpoint that contradict themselves"));
            }
            kept.extend((first..end).filter_map(|number| u32::try_from(number).ok()).map(SegmentId));
            next = end;
        }
        input.finish()?;
        Ok(Self { level, refs, kept })
    }
}

/// Runs of successive numbers: first and count.
fn ranges(segments: &BTreeSet<SegmentId>) -> Vec<(u32, u64)> {
    let mut ranges: Vec<(u32, u64)> = Vec::new();
    for segment in segments {
        match ranges.last_mut() {
            Some((first, count)) if u64::from(*first) + *count == u64::from(segment.0) => *count += 1,
            _ => ranges.push((segment.0, 1)),
        }
    }
    ranges
}

/// What the superblock keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Root {
    pub(crate) stamp: Stamp,
    pub(crate) pairs: u64,
    /// The top node.
    pub(crate) top: BlockRef,
}

impl Root {
    pub(crate) fn encode(&self) -> [u8; CHECKPOINT_ROOT_LEN] {
        let Stamp { applied, position, sum } = self.stamp;
        let at = &self.top.location;
        let mut bytes = vec![ROOT_VERSION, self.top.codec, 0, 0];
        bytes.extend_from_slice(&position.segment.0.to_le_bytes());
        for number in [position.offset, position.next_lsn.0, applied.0, self.pairs] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&self.top.hash);
        for number in [at.segment.0, at.sector, at.shard_len, at.offset, at.len, at.crc, self.top.raw_len] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let mut root = [0; CHECKPOINT_ROOT_LEN];
        root[..bytes.len()].copy_from_slice(&bytes);
        root
    }

    /// # Errors
    /// [`WireError`] for another version. Its bytes are covered by the superblock's checksum.
    pub(crate) fn decode(root: &[u8; CHECKPOINT_ROOT_LEN]) -> Result<Self, WireError> {
        let mut input = Decoder::new(root);
        input.version("the root of a checkpoint", ROOT_VERSION)?;
        let codec = input.u8()?;
        let _zero: [u8; 2] = input.array()?;
        fn u32_of(input: &mut Decoder<'_>) -> Result<u32, WireError> {
            input.array().map(u32::from_le_bytes)
        }
        fn u64_of(input: &mut Decoder<'_>) -> Result<u64, WireError> {
            input.array().map(u64::from_le_bytes)
        }
        let segment = SegmentId(u32_of(&mut input)?);
        let (offset, next, applied, pairs) =
            (u64_of(&mut input)?, u64_of(&mut input)?, u64_of(&mut input)?, u64_of(&mut input)?);
        let sum = u128::from_le_bytes(input.array()?);
        let hash = input.array()?;
        let location = Location {
            segment: SegmentId(u32_of(&mut input)?),
            sector: u32_of(&mut input)?,
            shard_len: u32_of(&mut input)?,
            offset: u32_of(&mut input)?,
            len: u32_of(&mut input)?,
            crc: u32_of(&mut input)?,
        };
        let raw_len = u32_of(&mut input)?;
        let position = Position { segment, offset, next_lsn: Lsn(next) };
        Ok(Self {
            stamp: Stamp { applied: Lsn(applied), position, sum },
            pairs,
            top: BlockRef { hash, location, codec, raw_len },
        })
    }
}

/// The directory of a checkpoint's block: enough to know it by.
pub(crate) fn directory(hash: &Hash, codec: u8, raw_len: u32) -> Bytes {
    let mut out = Encoder::with_capacity(40);
    out.u8(DIRECTORY_VERSION).u8(codec).uvarint(u64::from(raw_len)).raw(hash);
    Bytes::from(out.finish())
}

/// Hash, codec and plain length from such a directory; `None` for the directory of chunks.
pub(crate) fn parse_directory(directory: &[u8]) -> Option<Result<(Hash, u8, u32), WireError>> {
    (directory.first() == Some(&DIRECTORY_VERSION)).then(|| {
        let mut input = Decoder::new(directory);
        input.u8()?;
        let (codec, raw_len, hash) = (input.u8()?, input.uvarint32()?, input.array()?);
        input.finish()?;
        Ok((hash, codec, raw_len))
    })
}

#[cfg(test)]
mod tests;

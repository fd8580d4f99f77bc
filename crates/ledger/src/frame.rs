//! The frame: what one disk holds of one stripe. Header of 128 bytes, a CRC-32C per 4 KiB piece of the shard, the
//! shard, zeros up to the next sector. `docs/format/frame.md` is the page that goes with it.
//!
//! Invariants: all frames of a stripe differ in their shard number, checksum table and shard alone; the header's
//! checksum covers header and table, the table covers the shard, so a frame proves itself.

use strata_seam::planted::{Bug, planted};
use strata_seam::{Epoch, Lsn, SegmentId, SetId};

use crate::api::{Geometry, Location};
use crate::layout::{self, PIECE_LEN};
use crate::options::SHARD_LEN_MAX;
use crate::wire::{array, crc32c, get_u32, get_u64, put, put_u32, put_u64};

/// Bytes of the fixed part of the header.
pub(crate) const HEADER_LEN: usize = 128;
/// The first 8 bytes of sha256("strata ledger frame v1.0").
pub(crate) const MAGIC: [u8; 8] = [0x67, 0x4f, 0x5d, 0x0a, 0xde, 0x35, 0x1b, 0xb3];
/// Frame features a reader must know; this version knows none.
const INCOMPAT_KNOWN: u32 = 0;

mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const INCOMPAT: usize = 8;
    pub(super) const COMPAT: usize = 12;
    pub(super) const SET: usize = 16;
    pub(super) const EPOCH: usize = 32;
    pub(super) const OPENING: usize = 40;
    pub(super) const FIRST_LSN: usize = 48;
    pub(super) const LAST_LSN: usize = 56;
    pub(super) const DURABLE_LSN: usize = 64;
    pub(super) const SEGMENT: usize = 72;
    pub(super) const SECTOR: usize = 76;
    pub(super) const PAYLOAD_LEN: usize = 80;
    pub(super) const SHARD_LEN: usize = 84;
    pub(super) const META_OFFSET: usize = 88;
    pub(super) const META_LEN: usize = 92;
    pub(super) const META_CRC: usize = 96;
    pub(super) const STRIPE_CRC: usize = 100;
    pub(super) const SHARD: usize = 104;
    pub(super) const DATA: usize = 105;
    pub(super) const PARITY: usize = 106;
    pub(super) const CODEC: usize = 107;
    // 108 to 123 are reserved: zero.
    pub(super) const HEADER_CRC: usize = 124;
}
const _: () = assert!(at::HEADER_CRC + 4 == HEADER_LEN);

/// What all frames of a stripe say alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StripeHead {
    pub(crate) set: SetId,
    /// Opening of the set that wrote it, by number and by its random name.
    pub(crate) epoch: Epoch,
    pub(crate) opening: u64,
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    /// Everything up to here was durable when this was written.
    pub(crate) durable_lsn: Lsn,
    pub(crate) segment: SegmentId,
    pub(crate) sector: u32,
    pub(crate) payload_len: u32,
    pub(crate) shard_len: u32,
    pub(crate) meta_offset: u32,
    pub(crate) meta_len: u32,
    pub(crate) meta_crc: u32,
    /// [`stripe_crc`]: tells stripes apart that are alike otherwise, and proves a rebuilt one.
    pub(crate) stripe_crc: u32,
    pub(crate) geometry: Geometry,
    pub(crate) codec: u8,
}

impl StripeHead {
    /// The meta area as a location, to be read like a block.
    pub(crate) fn meta_location(&self) -> Location {
        Location {
            segment: self.segment,
            sector: self.sector,
            shard_len: self.shard_len,
            offset: self.meta_offset,
            len: self.meta_len,
            crc: self.meta_crc,
        }
    }

    /// Sector behind the stripe.
    pub(crate) fn end_sector(&self) -> u32 {
        self.sector + layout::frame_sectors(self.shard_len)
    }
}

/// The header and table of one disk's frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FrameHead {
    pub(crate) stripe: StripeHead,
    pub(crate) shard: u8,
    /// CRC-32C of each piece of the shard.
    pub(crate) table: Vec<u32>,
}

/// The piece checksums of a shard.
pub(crate) fn table_of(shard: &[u8]) -> Vec<u32> {
    shard.chunks(PIECE_LEN as usize).map(crc32c).collect()
}

/// CRC-32C over the tables of all shards in shard order (4 bytes per piece) and then the checksum of the meta area.
pub(crate) fn stripe_crc<'a>(tables: impl Iterator<Item = &'a [u32]>, meta_crc: u32) -> u32 {
    let mut bytes = Vec::new();
    for table in tables {
        table.iter().for_each(|crc| bytes.extend_from_slice(&crc.to_le_bytes()));
    }
    bytes.extend_from_slice(&meta_crc.to_le_bytes());
    crc32c(&bytes)
}

/// Writes header and table into `frame`, which begins with `header_len` bytes for them.
pub(crate) fn encode_head(frame: &mut [u8], stripe: &StripeHead, shard: u8, table: &[u32]) {
    let header_len = layout::header_len(stripe.shard_len) as usize;
    debug_assert_eq!(table.len(), layout::pieces(stripe.shard_len) as usize);
    let head = &mut frame[..header_len];
    head.fill(0);
    put(head, at::MAGIC, &MAGIC);
    put_u32(head, at::INCOMPAT, 0);
    put_u32(head, at::COMPAT, 0);
    put(head, at::SET, &stripe.set.0);
    put_u64(head, at::EPOCH, stripe.epoch.0);
    put_u64(head, at::OPENING, stripe.opening);
    put_u64(head, at::FIRST_LSN, stripe.first_lsn.0);
    put_u64(head, at::LAST_LSN, stripe.last_lsn.0);
    put_u64(head, at::DURABLE_LSN, stripe.durable_lsn.0);
    put_u32(head, at::SEGMENT, stripe.segment.0);
    put_u32(head, at::SECTOR, stripe.sector);
    put_u32(head, at::PAYLOAD_LEN, stripe.payload_len);
    put_u32(head, at::SHARD_LEN, stripe.shard_len);
    put_u32(head, at::META_OFFSET, stripe.meta_offset);
    put_u32(head, at::META_LEN, stripe.meta_len);
    put_u32(head, at::META_CRC, stripe.meta_crc);
    put_u32(head, at::STRIPE_CRC, stripe.stripe_crc);
    head[at::SHARD] = shard;
    head[at::DATA] = stripe.geometry.data_shards;
    head[at::PARITY] = stripe.geometry.parity_shards;
    head[at::CODEC] = stripe.codec;
    for (index, crc) in table.iter().enumerate() {
        put_u32(head, HEADER_LEN + 4 * index, *crc);
    }
    let crc = head_crc(head);
    put_u32(head, at::HEADER_CRC, crc);
}

/// CRC-32C of header and table with the field of the checksum itself left out.
fn head_crc(head: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&head[..at::HEADER_CRC]);
    digest.update(&head[HEADER_LEN..]);
    // The algorithm has 32 bits.
    u32::try_from(digest.finalize()).unwrap_or(u32::MAX)
}

/// Reads a frame's header and table from the first bytes of a sector (at least [`HEADER_LEN`], at most one sector).
/// `None` for anything that does not prove itself: zeros, rot, another format.
pub(crate) fn decode_head(bytes: &[u8]) -> Option<FrameHead> {
    if bytes.len() < HEADER_LEN || bytes[..MAGIC.len()] != MAGIC {
        return None;
    }
    let shard_len = get_u32(bytes, at::SHARD_LEN);
    if shard_len == 0 || shard_len > SHARD_LEN_MAX || !shard_len.is_multiple_of(64) {
        return None;
    }
    let head = bytes.get(..layout::header_len(shard_len) as usize)?;
    let proven = get_u32(head, at::HEADER_CRC) == head_crc(head) || planted(Bug::HeaderUnchecked);
    if !proven || get_u32(head, at::INCOMPAT) & !INCOMPAT_KNOWN != 0 {
        return None;
    }
    let stripe = StripeHead {
        set: SetId(array(head, at::SET)),
        epoch: Epoch(get_u64(head, at::EPOCH)),
        opening: get_u64(head, at::OPENING),
        first_lsn: Lsn(get_u64(head, at::FIRST_LSN)),
        last_lsn: Lsn(get_u64(head, at::LAST_LSN)),
        durable_lsn: Lsn(get_u64(head, at::DURABLE_LSN)),
        segment: SegmentId(get_u32(head, at::SEGMENT)),
        sector: get_u32(head, at::SECTOR),
        payload_len: get_u32(head, at::PAYLOAD_LEN),
        shard_len,
        meta_offset: get_u32(head, at::META_OFFSET),
        meta_len: get_u32(head, at::META_LEN),
        meta_crc: get_u32(head, at::META_CRC),
        stripe_crc: get_u32(head, at::STRIPE_CRC),
        geometry: Geometry { data_shards: head[at::DATA], parity_shards: head[at::PARITY] },
        codec: head[at::CODEC],
    };
    let shard = head[at::SHARD];
    plausible(&stripe, shard).then(|| {
        let table =
            (0..layout::pieces(shard_len) as usize).map(|index| get_u32(head, HEADER_LEN + 4 * index)).collect();
        FrameHead { stripe, shard, table }
    })
}

/// Whether the fields agree with each other. The checksum has passed, so this only guards against other writers.
fn plausible(stripe: &StripeHead, shard: u8) -> bool {
    let Geometry { data_shards, parity_shards } = stripe.geometry;
    let capacity = u64::from(stripe.shard_len) * u64::from(data_shards);
    data_shards > 0
        && shard < data_shards.saturating_add(parity_shards)
        && u64::from(stripe.payload_len) <= capacity
        && u64::from(stripe.meta_offset) + u64::from(stripe.meta_len) == u64::from(stripe.payload_len)
        && stripe.first_lsn.0 > 0
        && stripe.first_lsn <= stripe.last_lsn
        && stripe.last_lsn.0 < u64::MAX
        && stripe.durable_lsn < stripe.first_lsn
        && stripe.sector.checked_add(layout::frame_sectors(stripe.shard_len)).is_some()
}

impl FrameHead {
    /// Whether the pieces from piece `first` on, as far as `bytes` reaches, pass their checks. `bytes` starts at a piece
    /// and ends at one, or at the end of the shard.
    pub(crate) fn proves(&self, first: usize, bytes: &[u8]) -> bool {
        let mut pieces = bytes.chunks(PIECE_LEN as usize).zip(self.table.iter().skip(first));
        bytes.len().div_ceil(PIECE_LEN as usize) + first <= self.table.len()
            && pieces.all(|(piece, crc)| crc32c(piece) == *crc)
    }
}

#[cfg(test)]
mod tests;

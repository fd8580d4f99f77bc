//! Laying a batch of appends out as the frames of one stripe.
//!
//! Every byte is copied once, from the append into the frame it is written from; parity is coded from the frames.

use strata_erasure::{Codec, ErasureError};
use strata_seam::planted::{Bug, planted};
use strata_seam::{AlignedBuf, Epoch, Lsn, SegmentId, SetId};

use crate::api::{Geometry, Location, PlacedBlock};
use crate::frame::{self, StripeHead};
use crate::layout;
use crate::meta::{self, MetaWriter};
use crate::queue::Queued;
use crate::wire::crc32c;

/// What a stripe is written as.
pub(crate) struct Identity {
    pub(crate) set: SetId,
    pub(crate) geometry: Geometry,
    pub(crate) epoch: Epoch,
    pub(crate) opening: u64,
}

/// Working memory of the writer: a buffer per shard and the meta area.
pub(crate) struct Frames {
    pub(crate) by_shard: Vec<AlignedBuf>,
    meta: Vec<u8>,
    codec: Codec,
}

/// A stripe ready to be written.
pub(crate) struct Laid {
    pub(crate) head: StripeHead,
    /// Bytes of each frame, from the start of its buffer.
    pub(crate) frame_len: usize,
    pub(crate) placed: Vec<PlacedBlock>,
}

impl Frames {
    pub(crate) fn new(codec: Codec) -> Self {
        let shards = codec.data_shards() + codec.parity_shards();
        Self { by_shard: vec![AlignedBuf::new(); shards], meta: Vec::new(), codec }
    }

    /// Shard length of the stripe that `batch` makes.
    pub(crate) fn shard_len(batch: &[Queued], data_shards: u8) -> u32 {
        let payload: usize = meta::PREFIX_LEN + batch.iter().map(Queued::len).sum::<usize>();
        // Bounded by the largest payload, which is far below 4 GiB.
        layout::shard_len_for(payload as u32, data_shards)
    }

    /// Lays `batch` (not empty) out at its place.
    ///
    /// # Errors
    /// Those of the codec, which cannot happen for shapes made here.
    pub(crate) fn lay_out(
        &mut self,
        batch: &[Queued],
        identity: &Identity,
        segment: SegmentId,
        sector: u32,
        durable_lsn: Lsn,
    ) -> Result<Laid, ErasureError> {
        let geometry = identity.geometry;
        let data = usize::from(geometry.data_shards);
        let shard_len = Self::shard_len(batch, geometry.data_shards);
        let frame_len = layout::frame_sectors(shard_len) as usize * strata_seam::SECTOR_LEN;
        let header_len = layout::header_len(shard_len) as usize;
        for buf in &mut self.by_shard {
            if buf.len() < frame_len {
                *buf = AlignedBuf::zeroed(frame_len);
            }
        }
        let mut area = MetaWriter::new(std::mem::take(&mut self.meta), batch.len() as u32);
        let mut placed = Vec::with_capacity(batch.iter().map(|queued| queued.append.blocks.len()).sum());
        let (bufs, coded) = self.by_shard.split_at_mut(data);
        let mut scatter = Scatter { bufs, header_len, shard_len: shard_len as usize, at: 0 };
        for queued in batch {
            let first = placed.len();
            for (block, crc) in queued.append.blocks.iter().zip(&queued.crcs) {
                let (offset, len) = (scatter.at as u32, block.data.len() as u32);
                scatter.write(&block.data);
                let offset = offset + u32::from(planted(Bug::LocationOffByOne));
                let location = Location { segment, sector, shard_len, offset, len, crc: *crc };
                placed.push(PlacedBlock { lsn: queued.lsn, directory: block.directory.clone(), location });
            }
            area.push(queued.lsn, &queued.append, &placed[first..]);
        }
        let meta = area.finish();
        let meta_offset = scatter.at as u32;
        scatter.write(&meta);
        let payload_len = scatter.at as u32;
        scatter.finish(frame_len);
        let meta_crc = crc32c(&meta);
        let meta_len = meta.len() as u32;
        self.meta = meta;

        let shard = header_len..header_len + shard_len as usize;
        let sources: Vec<&[u8]> = bufs.iter().map(|buf| &buf[shard.clone()]).collect();
        let mut targets: Vec<&mut [u8]> = coded
            .iter_mut()
            .map(|buf| {
                buf[shard.end..frame_len].fill(0);
                &mut buf[shard.clone()]
            })
            .collect();
        self.codec.encode(&sources, &mut targets)?;
        let tables: Vec<Vec<u32>> = self.by_shard.iter().map(|buf| frame::table_of(&buf[shard.clone()])).collect();
        let (first, last) =
            (batch.first().map_or(Lsn(0), |queued| queued.lsn), batch.last().map_or(Lsn(0), |queued| queued.lsn));
        let head = StripeHead {
            set: identity.set,
            epoch: identity.epoch,
            opening: identity.opening,
            first_lsn: first,
            last_lsn: last,
            durable_lsn,
            segment,
            sector,
            payload_len,
            shard_len,
            meta_offset,
            meta_len,
            meta_crc,
            stripe_crc: frame::stripe_crc(tables.iter().map(Vec::as_slice), meta_crc),
            geometry,
            codec: strata_erasure::CodecId::Leopard16.stored(),
        };
        for (shard, (buf, table)) in self.by_shard.iter_mut().zip(&tables).enumerate() {
            frame::encode_head(buf, &head, shard as u8, table);
        }
        Ok(Laid { head, frame_len, placed })
    }
}

/// Writes a payload front to back over the data shards.
struct Scatter<'a> {
    bufs: &'a mut [AlignedBuf],
    header_len: usize,
    shard_len: usize,
    /// Payload bytes written.
    at: usize,
}

impl Scatter<'_> {
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (shard, within) = (self.at / self.shard_len, self.at % self.shard_len);
            let (now, later) = bytes.split_at(bytes.len().min(self.shard_len - within));
            let start = self.header_len + within;
            self.bufs[shard][start..start + now.len()].copy_from_slice(now);
            self.at += now.len();
            bytes = later;
        }
    }

    /// Zeros what the payload leaves of the frames.
    fn finish(&mut self, frame_len: usize) {
        for (shard, buf) in self.bufs.iter_mut().enumerate() {
            let used = self.at.saturating_sub(shard * self.shard_len).min(self.shard_len);
            buf[self.header_len + used..frame_len].fill(0);
        }
    }
}

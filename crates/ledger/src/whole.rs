//! Whole stripes: loading every frame with all its checks, and writing back the frames that are damaged or missing.

use std::sync::Arc;

use strata_seam::planted::{Bug, planted};
use strata_seam::{AlignedBuf, DiskError, DiskErrorKind, DiskFile, SegmentId, WriteMode};

use crate::frame;
use crate::layout;
use crate::member::Member;
use crate::set::Set;
use crate::walk::Stripe;

/// A stripe read from all disks.
pub(crate) struct Loaded {
    /// By shard; `None` where the frame is missing or fails a check.
    shards: Vec<Option<Vec<u8>>>,
    /// A bit per disk that could not be read.
    pub(crate) silent: u32,
}

/// What became of the frames of one stripe, by disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FrameState {
    /// Valid in every byte.
    Good,
    /// There, but damaged.
    Damaged,
    /// No frame of this stripe there.
    Missing,
}

impl Loaded {
    /// Frames that are valid in every byte.
    pub(crate) fn valid(&self) -> usize {
        self.shards.iter().flatten().count()
    }
}

impl Set {
    /// Reads all frames of a stripe and checks every byte of them.
    pub(crate) fn load(&self, stripe: &Stripe) -> Loaded {
        let mut silent = 0;
        let shards = (0..self.disks()).map(|shard| self.load_shard(stripe, shard, &mut silent)).collect();
        Loaded { shards, silent }
    }

    fn load_shard(&self, stripe: &Stripe, shard: usize, silent: &mut u32) -> Option<Vec<u8>> {
        let head = stripe.frames[shard].as_ref()?;
        let at = &stripe.head;
        let disk = layout::disk_of(shard, at.segment, at.sector, self.disks());
        let member = &self.members[disk];
        let mut bytes = vec![0; at.shard_len as usize];
        let offset = layout::byte_of(at.sector) + u64::from(layout::header_len(at.shard_len));
        let read = member.file(at.segment).and_then(|file| file.read_at(offset, &mut bytes));
        if let Err(error) = &read {
            *silent |= 1 << disk;
            self.note_read_error(disk, error);
            return None;
        }
        if head.proves(0, &bytes) || planted(Bug::FrameUnchecked) {
            return Some(bytes);
        }
        member.meter.note_checksum_failure();
        None
    }

    /// The state of each disk's frame.
    pub(crate) fn frame_states(&self, stripe: &Stripe, loaded: &Loaded) -> Vec<FrameState> {
        (0..self.disks())
            .map(|disk| {
                let shard = layout::shard_on(disk, stripe.head.segment, stripe.head.sector, self.disks());
                match (&loaded.shards[shard], &stripe.frames[shard]) {
                    (Some(_), _) => FrameState::Good,
                    (None, Some(_)) => FrameState::Damaged,
                    (None, None) => FrameState::Missing,
                }
            })
            .collect()
    }

    /// Rebuilds the frames that are not valid and writes them, and of the valid ones those of the disks in `also`, on
    /// every disk that takes writes. Written durably they are read back; otherwise a sync of their files must follow.
    /// Returns a bit per disk written, or `None` where the stripe cannot be rebuilt. A disk that fails is set aside.
    pub(crate) fn heal(&self, stripe: &Stripe, loaded: &Loaded, also: u32, mode: WriteMode) -> Option<u32> {
        let slots: Vec<Option<&[u8]>> = loaded.shards.iter().map(Option::as_deref).collect();
        let rebuilt = self.codec.lock().reconstruct(&slots).ok()?;
        let mut tables: Vec<Vec<u32>> = stripe
            .frames
            .iter()
            .map(|frame| frame.as_ref().map(|frame| frame.table.clone()).unwrap_or_default())
            .collect();
        for (shard, bytes) in &rebuilt {
            tables[*shard] = frame::table_of(bytes);
        }
        if frame::stripe_crc(tables.iter().map(Vec::as_slice), stripe.head.meta_crc) != stripe.head.stripe_crc {
            return None;
        }
        let at = &stripe.head;
        let mut written = 0;
        let valid = loaded.shards.iter().enumerate().filter_map(|(shard, bytes)| Some((shard, bytes.as_deref()?)));
        let disk_of = |shard| layout::disk_of(shard, at.segment, at.sector, self.disks());
        let valid = valid.filter(|(shard, _)| also >> disk_of(*shard) & 1 == 1);
        for (shard, bytes) in rebuilt.iter().map(|(shard, bytes)| (*shard, &bytes[..])).chain(valid) {
            let disk = disk_of(shard);
            let member = &self.members[disk];
            if !member.writable() {
                continue;
            }
            let mut frame = AlignedBuf::zeroed(layout::frame_sectors(at.shard_len) as usize * strata_seam::SECTOR_LEN);
            let start = layout::header_len(at.shard_len) as usize;
            frame[start..start + bytes.len()].copy_from_slice(bytes);
            frame::encode_head(&mut frame, at, shard as u8, &tables[shard]);
            let skip = planted(Bug::HealSkipsTheWrite);
            match if skip { Ok(true) } else { self.write_frame(disk, stripe, &frame, mode) } {
                Ok(true) => written |= 1 << disk,
                Ok(false) => {}
                // Where it is not the disk's fault, the frame is missing as before.
                Err(error) => drop(member.blame(&error)),
            }
        }
        Some(written)
    }

    /// False where the frame did not arrive, or its segment was given back meanwhile.
    fn write_frame(&self, disk: usize, stripe: &Stripe, frame: &[u8], mode: WriteMode) -> Result<bool, DiskError> {
        let freeing = self.freeing.read();
        let Some(file) = self.file_for_healing(disk, stripe.head.segment)? else {
            return Ok(false);
        };
        let offset = layout::byte_of(stripe.head.sector);
        file.write_at(offset, frame, mode)?;
        drop(freeing);
        if mode == WriteMode::Buffered {
            return Ok(true);
        }
        let mut stored = AlignedBuf::zeroed(frame.len());
        file.read_at(offset, &mut stored)?;
        if *stored != *frame {
            self.members[disk].meter.note_checksum_failure();
        }
        Ok(*stored == *frame)
    }

    /// A disk's file of a segment, made where it has none and made longer where it was cut off; `None` if no other disk
    /// has one: then the segment was given back.
    fn file_for_healing(&self, disk: usize, segment: SegmentId) -> Result<Option<Arc<dyn DiskFile>>, DiskError> {
        let member = &self.members[disk];
        let sound = |file: &Arc<dyn DiskFile>| file.len() >= self.segment_len;
        match member.file(segment) {
            Ok(file) if sound(&file) => return Ok(Some(file)),
            Err(error) if error.kind != DiskErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Two passes at once must not both make it: the second would throw away what the first has put in.
        let making = self.making.lock();
        let file = match member.file(segment) {
            Ok(file) if sound(&file) => file,
            Ok(file) => {
                self.lengthen(member, segment, &*file)?;
                member.file(segment)?
            }
            Err(error) if error.kind == DiskErrorKind::NotFound => {
                let name = layout::segment_name(segment);
                let others = self.members.iter().enumerate().filter(|(index, _)| *index != disk);
                let mut others = others.filter_map(|(_, member)| member.disk().ok());
                if !others.any(|other| other.open(&name).is_ok()) {
                    return Ok(None);
                }
                member.create(segment, self.segment_len, false)?
            }
            Err(error) => return Err(error),
        };
        drop(making);
        Ok(Some(file))
    }

    /// Gives a segment file that was cut off its length again, with what is left in it.
    fn lengthen(&self, member: &Member, segment: SegmentId, file: &dyn DiskFile) -> Result<(), DiskError> {
        let len = usize::try_from(self.segment_len).unwrap_or(usize::MAX);
        let mut content = vec![0; len];
        let left = usize::try_from(file.len()).unwrap_or(0).min(len);
        for (index, piece) in content[..left].chunks_mut(strata_seam::SECTOR_LEN).enumerate() {
            // What cannot be read stays zero and is healed like the rest.
            if file.read_at((index * strata_seam::SECTOR_LEN) as u64, piece).is_err() {
                piece.fill(0);
            }
        }
        member.disk()?.replace(&layout::segment_name(segment), &content)?;
        member.forget(segment);
        Ok(())
    }
}

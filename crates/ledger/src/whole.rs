//! Whole stripes: loading every frame with all its checks, and writing back the frames that are damaged or missing.

use strata_seam::planted::{Bug, planted};
use strata_seam::{AlignedBuf, DiskError, DiskErrorKind, WriteMode};

use crate::frame;
use crate::layout;
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

/// Which frames of a stripe are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rewrite {
    /// Those that are not valid, durably.
    Damaged,
    /// All of them, into the operating system's memory: a sync of their files must follow.
    Whole,
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
        *silent |= u32::from(read.is_err()) << disk;
        let sound = read.is_ok() && (head.proves(0, &bytes) || planted(Bug::FrameUnchecked));
        if !sound {
            member.note_read_error();
        }
        sound.then_some(bytes)
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

    /// Rebuilds the frames that are not valid and writes those that `rewrite` says, on every disk that takes writes.
    /// Returns the disks written, or `None` where the stripe cannot be rebuilt. A disk that fails is set aside.
    pub(crate) fn heal(&self, stripe: &Stripe, loaded: &Loaded, rewrite: Rewrite) -> Option<Vec<usize>> {
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
        let mut written = Vec::new();
        let mode = if rewrite == Rewrite::Damaged { WriteMode::Durable } else { WriteMode::Buffered };
        let valid = loaded.shards.iter().enumerate().filter(|_| rewrite == Rewrite::Whole);
        let valid = valid.filter_map(|(shard, bytes)| Some((shard, bytes.as_deref()?)));
        for (shard, bytes) in rebuilt.iter().map(|(shard, bytes)| (*shard, &bytes[..])).chain(valid) {
            let disk = layout::disk_of(shard, at.segment, at.sector, self.disks());
            let member = &self.members[disk];
            if !member.writable() {
                continue;
            }
            let mut frame = AlignedBuf::zeroed(layout::frame_sectors(at.shard_len) as usize * strata_seam::SECTOR_LEN);
            let start = layout::header_len(at.shard_len) as usize;
            frame[start..start + bytes.len()].copy_from_slice(bytes);
            frame::encode_head(&mut frame, at, shard as u8, &tables[shard]);
            let skip = planted(Bug::HealSkipsTheWrite);
            match if skip { Ok(()) } else { self.write_frame(disk, stripe, &frame, mode) } {
                Ok(()) => written.push(disk),
                Err(error) => member.fail(&error),
            }
        }
        Some(written)
    }

    fn write_frame(&self, disk: usize, stripe: &Stripe, frame: &[u8], mode: WriteMode) -> Result<(), DiskError> {
        let member = &self.members[disk];
        let file = match member.file(stripe.head.segment) {
            Err(error) if error.kind == DiskErrorKind::NotFound => {
                member.create(stripe.head.segment, self.segment_len, false)?
            }
            other => other?,
        };
        file.write_at(layout::byte_of(stripe.head.sector), frame, mode)
    }
}

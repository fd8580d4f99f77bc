//! Finding stripes by their frame headers: what do the disks say lies at this place?
//!
//! A header counts only if it proves itself and names the set, the place it was read from and the shard its disk must
//! hold; so a misdirected write or a frame of another set is as good as nothing. Headers are read from all disks, since
//! a single one may be left over from a truncated end of the log.

use strata_seam::{DiskError, DiskErrorKind, DiskFile, Epoch, Lsn, SECTOR_LEN, SegmentId};

use crate::frame::{self, FrameHead, MAGIC, StripeHead};
use crate::history::History;
use crate::layout;
use crate::set::Set;

/// Bytes read at once where frames are small: one read then serves many headers.
const WINDOW_LEN: usize = 128 << 10;
/// Bytes read at once when looking for frames at every sector.
const SCAN_LEN: usize = 1 << 20;
/// Stripes with at most this many sectors per frame count as small.
const SMALL_SECTORS: u32 = 8;

/// The frames that some disks hold of one stripe.
#[derive(Clone, Debug)]
pub(crate) struct Stripe {
    pub(crate) head: StripeHead,
    /// By shard; `None` where no valid header was found.
    pub(crate) frames: Vec<Option<FrameHead>>,
}

impl Stripe {
    pub(crate) fn present(&self) -> usize {
        self.frames.iter().flatten().count()
    }
}

impl Set {
    /// Whether a decoded header is what `disk` must hold at this place.
    fn belongs(&self, head: &FrameHead, disk: usize, segment: SegmentId, sector: u32) -> bool {
        let stripe = &head.stripe;
        stripe.set == self.id
            && stripe.segment == segment
            && stripe.sector == sector
            && stripe.geometry == self.geometry
            && stripe.codec == self.codec_id.stored()
            && usize::from(head.shard) == layout::shard_on(disk, segment, sector, self.disks())
            && stripe.end_sector() <= self.segment_sectors()
    }

    /// The frame header of one disk at this place: none where the disk holds no valid one, an error where it cannot be
    /// told what it holds.
    fn head_at(
        &self,
        disk: usize,
        segment: SegmentId,
        sector: u32,
        window: Option<&mut Window>,
    ) -> Result<Option<FrameHead>, DiskError> {
        let read = || {
            let file = self.members[disk].file(segment)?;
            let head = match window {
                Some(window) => frame::decode_head(window.sector(&*file, segment, sector)?),
                None => {
                    let mut bytes = [0; SECTOR_LEN];
                    file.read_at(layout::byte_of(sector), &mut bytes)?;
                    frame::decode_head(&bytes)
                }
            };
            Ok(head.filter(|head| self.belongs(head, disk, segment, sector)))
        };
        match read() {
            Err(DiskError { kind: DiskErrorKind::NotFound | DiskErrorKind::ShortRead, .. }) => Ok(None),
            other => other,
        }
    }

    /// All stripes that some disk has a frame of at this place, those of the newest epoch first. The disks in `avoid`
    /// are not asked.
    pub(crate) fn stripes_at(&self, segment: SegmentId, sector: u32, avoid: u32) -> Vec<Stripe> {
        self.gather(segment, sector, |disk| {
            let asked = avoid >> disk & 1 == 0;
            let head = asked.then(|| self.head_at(disk, segment, sector, None))?;
            head.inspect_err(|error| self.note_read_error(disk, error)).ok().flatten()
        })
    }

    fn gather(
        &self,
        segment: SegmentId,
        sector: u32,
        mut head_of: impl FnMut(usize) -> Option<FrameHead>,
    ) -> Vec<Stripe> {
        let mut stripes: Vec<Stripe> = Vec::new();
        for disk in 0..self.disks() {
            let Some(head) = head_of(disk) else { continue };
            let shard = layout::shard_on(disk, segment, sector, self.disks());
            let known = stripes.iter_mut().find(|stripe| stripe.head == head.stripe);
            let stripe = match known {
                Some(stripe) => stripe,
                None => {
                    stripes.push(Stripe { head: head.stripe, frames: vec![None; self.disks()] });
                    let last = stripes.len() - 1;
                    &mut stripes[last]
                }
            };
            stripe.frames[shard] = Some(head);
        }
        stripes.sort_by_key(|stripe| std::cmp::Reverse((stripe.head.epoch, stripe.present())));
        stripes
    }
}

/// Walks over headers, place by place, with a read-ahead per disk.
pub(crate) struct Walker<'a> {
    set: &'a Set,
    history: &'a History,
    windows: Vec<Window>,
    /// A segment, and the epoch and first number of the log that its successor begins with.
    goes_on: Option<(SegmentId, Epoch, Lsn)>,
    /// A bit per disk that could not be read at some place asked for since this was last cleared.
    pub(crate) silent: u32,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(set: &'a Set, history: &'a History) -> Self {
        let windows = (0..set.disks()).map(|_| Window::default()).collect();
        Self { set, history, windows, goes_on: None, silent: 0 }
    }

    /// Says, before `segment` is walked, what the one behind it begins with, on the set that it lies on. An opening that
    /// ended the segment without writing to it may have left frames of one before it there, which it disowned; the history
    /// says so only as long as it remembers that opening, the place where that one went on says so for ever.
    pub(crate) fn enter(&mut self, segment: SegmentId, next_on: Option<&Set>) {
        if self.goes_on.is_some_and(|(known, ..)| known == segment) {
            return;
        }
        let next = SegmentId(segment.0.wrapping_add(1));
        let begins = next_on.and_then(|set| Walker::new(set, self.history).stripe_at(next, 0, None));
        // Where nothing is known, nothing is disowned: no number is above this one.
        let (epoch, lsn) =
            begins.map_or((Epoch(0), Lsn(u64::MAX)), |(stripe, _)| (stripe.head.epoch, stripe.head.first_lsn));
        self.goes_on = Some((segment, epoch, lsn));
    }

    /// Whether a later opening took this number over in the segment behind.
    fn is_disowned(&self, head: &StripeHead) -> bool {
        self.goes_on
            .is_some_and(|(segment, epoch, lsn)| head.segment == segment && head.epoch < epoch && head.first_lsn >= lsn)
    }

    /// Whether a stripe is one of the log.
    pub(crate) fn admits(&self, head: &StripeHead) -> bool {
        self.history.admits(head.epoch, head.opening, head.first_lsn) && !self.is_disowned(head)
    }

    /// The stripe of the log at this place: admitted by the history, with the expected first number if there is one,
    /// and whether it has enough frames to be read.
    pub(crate) fn stripe_at(
        &mut self,
        segment: SegmentId,
        sector: u32,
        expected: Option<Lsn>,
    ) -> Option<(Stripe, bool)> {
        if sector >= self.set.segment_sectors() {
            return None;
        }
        let (set, windows) = (self.set, &mut self.windows);
        let mut silent = 0;
        let mut stripes = set.gather(segment, sector, |disk| {
            set.head_at(disk, segment, sector, Some(&mut windows[disk])).unwrap_or_else(|error| {
                set.note_read_error(disk, &error);
                silent |= 1 << disk;
                None
            })
        });
        self.silent |= silent;
        stripes.retain(|stripe| {
            let head = &stripe.head;
            expected.is_none_or(|lsn| lsn == head.first_lsn) && self.admits(head)
        });
        let enough = stripes.iter().position(|stripe| stripe.present() >= set.data_shards());
        let found = enough.or((!stripes.is_empty()).then_some(0))?;
        let stripe = stripes.swap_remove(found);
        let small = stripe.head.end_sector() - sector <= SMALL_SECTORS;
        self.windows.iter_mut().for_each(|window| window.len = if small { WINDOW_LEN } else { SECTOR_LEN });
        Some((stripe, enough.is_some()))
    }

    /// The first place in `from .. to` of a segment where some disk has a valid frame for which `test` holds.
    pub(crate) fn scan(
        &self,
        segment: SegmentId,
        from: u32,
        to: u32,
        test: impl Fn(&StripeHead) -> bool,
    ) -> Option<StripeHead> {
        let mut first: Option<StripeHead> = None;
        let mut bytes = Vec::new();
        for disk in 0..self.set.disks() {
            let Ok(file) = self.set.members[disk].file(segment) else {
                continue;
            };
            let end = first.map_or(to, |found| found.sector);
            let mut sector = from;
            'disk: while sector < end {
                let count = (end - sector).min((SCAN_LEN / SECTOR_LEN) as u32);
                bytes.resize(count as usize * SECTOR_LEN, 0);
                if let Err(error) = file.read_at(layout::byte_of(sector), &mut bytes) {
                    self.set.note_read_error(disk, &error);
                    // Sector by sector, to get past an unreadable one.
                    bytes.fill(0);
                    for piece in bytes.chunks_mut(SECTOR_LEN).zip(0..).filter_map(|(piece, index)| {
                        file.read_at(layout::byte_of(sector + index), piece).is_err().then_some(piece)
                    }) {
                        piece.fill(0);
                    }
                }
                for (index, piece) in (0..count).zip(bytes.chunks(SECTOR_LEN)) {
                    if piece[..MAGIC.len()] != MAGIC {
                        continue;
                    }
                    let place = sector + index;
                    let head = frame::decode_head(piece).filter(|head| self.set.belongs(head, disk, segment, place));
                    if let Some(head) = head.filter(|head| test(&head.stripe)) {
                        first = Some(head.stripe);
                        break 'disk;
                    }
                }
                sector += count;
            }
        }
        first
    }
}

/// A stretch of one disk's segment file held in memory.
#[derive(Default)]
struct Window {
    segment: SegmentId,
    start: u64,
    bytes: Vec<u8>,
    /// Bytes to read next time; never less than a sector.
    len: usize,
}

impl Window {
    fn sector(&mut self, file: &dyn DiskFile, segment: SegmentId, sector: u32) -> Result<&[u8], DiskError> {
        let offset = layout::byte_of(sector);
        let held = self.segment == segment
            && offset >= self.start
            && offset + SECTOR_LEN as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            let left = usize::try_from(file.len().saturating_sub(offset)).unwrap_or(usize::MAX);
            let len = self.len.clamp(SECTOR_LEN, WINDOW_LEN).min(left).max(SECTOR_LEN);
            (self.segment, self.start) = (segment, offset);
            self.bytes.resize(len, 0);
            if file.read_at(offset, &mut self.bytes).is_err() {
                // One bad sector must not hide its neighbours.
                self.bytes.truncate(SECTOR_LEN);
                if let Err(error) = file.read_at(offset, &mut self.bytes) {
                    self.bytes.clear();
                    return Err(error);
                }
            }
        }
        // Both lie within the window, whose length is small.
        let at = (offset - self.start) as usize;
        Ok(&self.bytes[at..at + SECTOR_LEN])
    }
}

/// Orders epochs for messages.
pub(crate) fn describe(stripe: &Stripe, needed: usize) -> String {
    let Epoch(epoch) = stripe.head.epoch;
    format!("{} of the {needed} frames needed are valid (epoch {epoch})", stripe.present())
}

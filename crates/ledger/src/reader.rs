//! Reading by location, and rebuilding what a disk does not give or gives damaged.
//!
//! Invariant: nothing leaves here that did not pass the checksum of its location. The short way reads the bytes alone.
//! The long way verifies every 4 KiB piece by the tables in the frame headers, rebuilds the same columns from other
//! disks where a piece fails, and then checks the location's checksum all the same.

use std::ops::Range;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use strata_seam::Lsn;
use strata_seam::planted::{Bug, planted};

use crate::api::Location;
use crate::error::{LedgerError, Result};
use crate::layout::{self, PIECE_LEN};
use crate::options::SHARD_LEN_MAX;
use crate::set::Set;
use crate::walk::Stripe;
use crate::wire::crc32c;

impl Set {
    /// The bytes at `location`, verified.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`], and [`LedgerError::Exhausted`] where it cannot be told for lack of descriptors.
    pub(crate) fn read(&self, location: &Location) -> Result<Bytes> {
        let corrupt = |what: &str| LedgerError::corrupt(location.segment, location.sector, Lsn(0), what);
        let end = u64::from(location.offset) + u64::from(location.len);
        if location.shard_len == 0
            || location.shard_len > SHARD_LEN_MAX
            || end > u64::from(location.shard_len) * self.data_shards() as u64
        {
            return Err(corrupt("a location that no stripe can have"));
        }
        let exhausted_before = self.exhausted_reads.load(Ordering::Acquire);
        let mut bytes = vec![0; location.len as usize];
        if self.read_plain(location, &mut bytes) {
            return Ok(Bytes::from(bytes));
        }
        // Without the slow disks first, if there are any; then with all of them.
        let around = self.around();
        for avoid in [around, 0].into_iter().skip(usize::from(around == 0)) {
            for stripe in self.stripes_at(location.segment, location.sector, avoid) {
                let alike = stripe.head.shard_len == location.shard_len;
                if alike && self.read_rebuilt(location, &stripe, avoid, &mut bytes).is_some() {
                    return Ok(Bytes::from(bytes));
                }
            }
        }
        if self.exhausted_reads.load(Ordering::Acquire) != exhausted_before {
            // Disks that could not even be asked prove no damage.
            return Err(LedgerError::Exhausted { what: "reading a block".to_owned() });
        }
        Err(corrupt("a block fails its check and too few of the other disks have what it could be rebuilt from"))
    }

    /// Lets the disks bring in the bytes at `location`, as far as they are to be read from there.
    pub(crate) fn will_read(&self, location: &Location) {
        if location.shard_len == 0 {
            return;
        }
        let base = layout::byte_of(location.sector) + u64::from(layout::header_len(location.shard_len));
        for (shard, columns, _) in Self::parts(location) {
            let disk = layout::disk_of(shard, location.segment, location.sector, self.disks());
            // Locations come from the index; one that no stripe can have is refused when it is read.
            let Some(member) = self.members.get(disk).filter(|member| !member.meter.is_around()) else { return };
            if let Ok(file) = member.file(location.segment) {
                file.will_read(base + u64::from(columns.start), u64::from(columns.end - columns.start));
            }
        }
    }

    /// The parts of the location by shard: shard, columns, where they go.
    fn parts(location: &Location) -> impl Iterator<Item = (usize, Range<u32>, Range<usize>)> {
        let (shard_len, from, len) = (location.shard_len, location.offset, location.len);
        let mut done = 0;
        std::iter::from_fn(move || {
            let start = from + done;
            let within = start % shard_len;
            let take = (len - done).min(shard_len - within);
            let part = ((start / shard_len) as usize, within..within + take, done as usize..(done + take) as usize);
            done += take;
            (take > 0).then_some(part)
        })
    }

    /// Just the bytes, from the disks that should have them. False where a disk fails, is read around, or the check
    /// fails.
    fn read_plain(&self, location: &Location, bytes: &mut [u8]) -> bool {
        let base = layout::byte_of(location.sector) + u64::from(layout::header_len(location.shard_len));
        let read = Self::parts(location).all(|(shard, columns, target)| {
            let disk = layout::disk_of(shard, location.segment, location.sector, self.disks());
            let member = &self.members[disk];
            if member.meter.is_around() && !member.meter.may_read(self.clock.monotonic_nanos()) {
                return false;
            }
            let read = || member.file(location.segment)?.read_at(base + u64::from(columns.start), &mut bytes[target]);
            self.timed_read(disk, read).is_ok()
        });
        read && (crc32c(bytes) == location.crc || planted(Bug::ReadUnchecked))
    }

    fn read_rebuilt(&self, location: &Location, stripe: &Stripe, avoid: u32, bytes: &mut [u8]) -> Option<()> {
        for (shard, columns, target) in Self::parts(location) {
            let pieces = columns.start / PIECE_LEN..columns.end.div_ceil(PIECE_LEN);
            let first = pieces.start * PIECE_LEN;
            let whole = self.columns(stripe, shard, pieces, avoid)?;
            let from = (columns.start - first) as usize;
            bytes[target].copy_from_slice(whole.get(from..from + columns.len())?);
        }
        (crc32c(bytes) == location.crc).then_some(())
    }

    /// Verified pieces of a data shard, read or rebuilt without the disks in `avoid`.
    fn columns(&self, stripe: &Stripe, shard: usize, pieces: Range<u32>, avoid: u32) -> Option<Vec<u8>> {
        if let Some(bytes) = self.stored_columns(stripe, shard, pieces.clone(), avoid) {
            return Some(bytes);
        }
        if let Some(bytes) = self.rebuild_columns(stripe, shard, pieces.clone(), avoid) {
            return Some(bytes);
        }
        if pieces.len() <= 1 {
            return None;
        }
        // Different disks may be damaged in different pieces: one by one they may still be rebuilt.
        let mut whole = Vec::with_capacity(pieces.len() * PIECE_LEN as usize);
        for piece in pieces {
            let bytes = self.stored_columns(stripe, shard, piece..piece + 1, avoid);
            whole.extend(bytes.or_else(|| self.rebuild_columns(stripe, shard, piece..piece + 1, avoid))?);
        }
        Some(whole)
    }

    /// Pieces of one disk's shard if they pass their checks.
    fn stored_columns(&self, stripe: &Stripe, shard: usize, pieces: Range<u32>, avoid: u32) -> Option<Vec<u8>> {
        let head = stripe.frames[shard].as_ref()?;
        let (segment, sector, shard_len) = (stripe.head.segment, stripe.head.sector, stripe.head.shard_len);
        let disk = layout::disk_of(shard, segment, sector, self.disks());
        if avoid >> disk & 1 == 1 {
            return None;
        }
        let member = &self.members[disk];
        let start = pieces.start * PIECE_LEN;
        let len = (pieces.end * PIECE_LEN).min(shard_len).checked_sub(start)?;
        let mut bytes = vec![0; len as usize];
        let offset = layout::byte_of(sector) + u64::from(layout::header_len(shard_len) + start);
        self.timed_read(disk, || member.file(segment)?.read_at(offset, &mut bytes)).ok()?;
        if head.proves(pieces.start as usize, &bytes) || planted(Bug::RebuildUnchecked) {
            return Some(bytes);
        }
        member.meter.note_checksum_failure();
        None
    }

    fn rebuild_columns(&self, stripe: &Stripe, shard: usize, pieces: Range<u32>, avoid: u32) -> Option<Vec<u8>> {
        if stripe.present() < self.data_shards() {
            return None;
        }
        let mut found = 0;
        let slots: Vec<Option<Vec<u8>>> = (0..self.disks())
            .map(|other| {
                if other == shard || found == self.data_shards() {
                    return None;
                }
                let bytes = self.stored_columns(stripe, other, pieces.clone(), avoid);
                found += usize::from(bytes.is_some());
                bytes
            })
            .collect();
        let slots: Vec<Option<&[u8]>> = slots.iter().map(Option::as_deref).collect();
        let rebuilt = self.codec.lock().reconstruct_data(&slots).ok()?;
        let (segment, sector) = (stripe.head.segment, stripe.head.sector);
        self.members[layout::disk_of(shard, segment, sector, self.disks())].meter.note_rebuilt_read();
        rebuilt.into_iter().find_map(|(index, bytes)| (index == shard).then_some(bytes))
    }
}

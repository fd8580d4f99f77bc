//! Bytes written to a file and not yet part of its content: extents in memory, newest wins.

use std::collections::BTreeMap;
use std::ops::Range;

/// Extents grow by appending up to this many bytes; longer runs become several. Bounds what one insert may copy.
const EXTENT_MAX: usize = 4 << 20;

/// Bytes that storing an extent may take beside its own: the chunks at its ends, which are cut anew, and the pages of the
/// manifest above them.
pub(crate) const EXTENT_ROOM: u64 = 128 << 10;

/// Written ranges of one file, without overlaps.
#[derive(Default, Debug)]
pub(crate) struct Staging {
    extents: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
}

impl Staging {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Room that is promised for it: its bytes, and what has to be written anew around each extent.
    pub(crate) fn room(&self) -> u64 {
        self.bytes as u64 + self.extents.len() as u64 * EXTENT_ROOM
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// One behind the last byte written.
    pub(crate) fn end(&self) -> u64 {
        self.extents.last_key_value().map_or(0, |(start, data)| start + data.len() as u64)
    }

    /// Extents in order, neighbours not joined.
    pub(crate) fn extents(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.extents.iter().map(|(start, data)| (*start, data.as_slice()))
    }

    /// The first written range that ends behind `at`.
    pub(crate) fn next(&self, at: u64) -> Option<Range<u64>> {
        let range = |(start, data): (&u64, &Vec<u8>)| *start..*start + data.len() as u64;
        let before = self.extents.range(..=at).next_back().map(range).filter(|range| range.end > at);
        before.or_else(|| self.extents.range(at..).next().map(range))
    }

    /// Writes `data` at `offset`.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = offset + data.len() as u64;
        if let Some((start, extent)) = self.extents.range_mut(..=offset).next_back() {
            let at = offset - start;
            let extent_end = start + extent.len() as u64;
            if end <= extent_end {
                // Rewriting what is already here.
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                extent[at..at + data.len()].copy_from_slice(data);
                return;
            }
            if offset == extent_end && extent.len() + data.len() <= EXTENT_MAX {
                // Appending is the common case. Ranges in the way are cut first, so the extent is looked up again.
                let start = *start;
                self.cut(offset, end);
                if let Some(extent) = self.extents.get_mut(&start) {
                    if extent.capacity() < extent.len() + data.len() {
                        // Doubling from 64 KiB on keeps small files small and long runs cheap.
                        extent.reserve(data.len().max(extent.len()).min(EXTENT_MAX - extent.len()));
                    }
                    extent.extend_from_slice(data);
                    self.bytes += data.len();
                }
                return;
            }
        }
        self.cut(offset, end);
        self.extents.insert(offset, data.to_vec());
        self.bytes += data.len();
    }

    /// Forgets what was written in `from .. to`.
    pub(crate) fn cut(&mut self, from: u64, to: u64) {
        let overlapping: Vec<u64> = {
            let before = self.extents.range(..from).next_back();
            let first = before.filter(|(start, data)| *start + data.len() as u64 > from).map(|(start, _)| *start);
            first.into_iter().chain(self.extents.range(from..to).map(|(start, _)| *start)).collect()
        };
        for start in overlapping {
            let Some(mut data) = self.extents.remove(&start) else { continue };
            let len = data.len();
            let end = start + len as u64;
            if end > to {
                let tail = data.split_off(usize::try_from(to - start).unwrap_or(usize::MAX));
                self.extents.insert(to, tail);
            }
            if start < from {
                data.truncate(usize::try_from(from - start).unwrap_or(usize::MAX));
                self.extents.insert(start, data);
            }
            let (gone_from, gone_to) = (start.max(from), end.min(to));
            self.bytes -= usize::try_from(gone_to - gone_from).unwrap_or(0);
        }
    }

    /// Takes over what `older` has from `offset` on, except where something newer is here. Returns the bytes taken.
    pub(crate) fn write_below(&mut self, older: &Self, offset: u64) -> usize {
        let before = self.bytes;
        let newer = std::mem::take(self);
        for (start, data) in older.extents() {
            let skip = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX).min(data.len());
            self.write(start + skip as u64, &data[skip..]);
        }
        for (start, data) in newer.extents() {
            self.write(start, data);
        }
        self.bytes - before
    }

    /// Lays the written bytes over `buf`, which holds the content from `offset` on.
    pub(crate) fn overlay(&self, offset: u64, buf: &mut [u8]) {
        let end = offset + buf.len() as u64;
        let first = self.extents.range(..=offset).next_back().map_or(offset, |(start, _)| *start);
        for (start, data) in self.extents.range(first..end) {
            let data_end = start + data.len() as u64;
            let (from, to) = (offset.max(*start), end.min(data_end));
            if from < to {
                let index = |at: u64, base: u64| usize::try_from(at - base).unwrap_or(usize::MAX);
                buf[index(from, offset)..index(to, offset)]
                    .copy_from_slice(&data[index(from, *start)..index(to, *start)]);
            }
        }
    }

    /// Whether all of `from .. to` was written.
    pub(crate) fn covers(&self, from: u64, to: u64) -> bool {
        let mut at = from;
        let first = self.extents.range(..=from).next_back().map_or(from, |(start, _)| *start);
        for (start, data) in self.extents.range(first..to) {
            if *start > at {
                return false;
            }
            at = at.max(start + data.len() as u64);
        }
        at >= to
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn staged_bytes_read_like_a_plain_buffer(
            steps in proptest::collection::vec((0u64..300, proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()), 1..40)
        ) {
            let mut staging = Staging::default();
            let mut model: Vec<Option<u8>> = vec![None; 400];
            for (offset, data, cut) in steps {
                if cut {
                    staging.cut(offset, offset + data.len() as u64);
                } else {
                    staging.write(offset, &data);
                }
                for (n, byte) in data.iter().enumerate() {
                    model[usize::try_from(offset).unwrap() + n] = (!cut).then_some(*byte);
                }
                let mut read = vec![0xAA; 400];
                staging.overlay(0, &mut read);
                for (n, expected) in model.iter().enumerate() {
                    prop_assert_eq!(read[n], expected.unwrap_or(0xAA));
                    prop_assert_eq!(staging.covers(n as u64, n as u64 + 1), expected.is_some());
                    let next = staging.next(n as u64).map(|range| range.start.max(n as u64));
                    let later = model[n..].iter().position(Option::is_some).map(|after| (n + after) as u64);
                    prop_assert_eq!(next, later);
                }
                prop_assert_eq!(staging.bytes(), model.iter().flatten().count());
            }
        }
    }
}

//! Data and holes of a file, including staged bytes: for `SEEK_DATA`, `SEEK_HOLE` and the allocated size. Backup programs leave out
//! holes, so written bytes count as data from the moment of the write, not only once they are stored.

use std::ops::Range;
use std::sync::atomic::Ordering;

use strata_content::Reader;
use strata_seam::Ino;

use crate::authority::Reach;
use crate::error::Result;
use crate::namespace::Namespace;
use crate::opens::State;
use crate::records::Inode;
use crate::staging::Staging;
use crate::types::Op;

impl State {
    fn staged(&self) -> impl Iterator<Item = &Staging> {
        std::iter::once(&self.staging).chain(self.sealing.as_deref())
    }

    /// Where the file ends, given its content.
    pub(crate) fn end(&self, content: u64) -> u64 {
        self.staged().map(Staging::end).fold(content, u64::max)
    }

    /// The next data at or behind `at`.
    fn next_data(&self, reader: &Reader, at: u64) -> Result<Option<u64>> {
        let staged = self.staged().filter_map(|staging| staging.next(at)).map(|range| range.start.max(at)).min();
        if staged == Some(at) {
            return Ok(staged);
        }
        Ok(match (staged, reader.seek(at, true)?) {
            (Some(staged), Some(sealed)) => Some(staged.min(sealed)),
            (staged, sealed) => staged.or(sealed),
        })
    }

    /// The next byte at or behind `at` that is not data; behind the end of the file nothing is.
    fn next_hole(&self, reader: &Reader, mut at: u64) -> Result<u64> {
        loop {
            let inside = |range: &Range<u64>| range.start <= at;
            if let Some(range) = self.staged().filter_map(|staging| staging.next(at)).find(inside) {
                at = range.end;
                continue;
            }
            match reader.seek(at, false)? {
                Some(hole) if hole > at => at = hole,
                _ => return Ok(at),
            }
        }
    }

    /// How many bytes of `range` are not data.
    fn holes_in(&self, reader: &Reader, range: Range<u64>) -> Result<u64> {
        let (mut at, mut bytes) = (range.start, 0);
        while at < range.end {
            let hole = self.next_hole(reader, at)?.min(range.end);
            let end = self.next_data(reader, hole)?.map_or(range.end, |data| data.min(range.end));
            bytes += end - hole;
            at = end;
        }
        Ok(bytes)
    }

    /// Counts what a write of `range` will allocate; to be called before it is staged. `inode` is the file's content.
    pub(crate) fn count_write(&mut self, inode: &Inode, range: Range<u64>, reader: impl FnOnce() -> Result<Reader>) {
        if self.staging.is_empty() && self.sealing.is_none() {
            self.allocated = inode.attr.allocated;
        } else if self.counted != inode.version {
            // Another door replaced the file's content in between.
            self.allocated = inode.attr.allocated + self.staged().map(|staging| staging.bytes() as u64).sum::<u64>();
        }
        self.counted = inode.version;
        self.allocated += self.allocates(inode, range, reader);
    }

    /// A page of the manifest that cannot be read counts as a hole: a read there reports the damage.
    fn allocates(&self, inode: &Inode, range: Range<u64>, reader: impl FnOnce() -> Result<Reader>) -> u64 {
        let (attr, written) = (&inode.attr, range.end - range.start);
        if range.start >= self.end(attr.size) {
            written
        } else if attr.allocated >= attr.size && range.end <= attr.size {
            0
        } else {
            reader().and_then(|reader| self.holes_in(&reader, range)).unwrap_or(written)
        }
    }
}

impl Namespace {
    /// The offset of the next data (`data` is true) or of the next hole at or after `offset`; `None` if `offset` is at or beyond the end
    /// of the file. `file` is a permit from an open, or an inode for which permission is checked now ([`Reach`]).
    ///
    /// # Errors
    /// [`crate::ErrorKind::AccessDenied`], [`crate::ErrorKind::Stale`], [`crate::ErrorKind::Corrupt`].
    pub fn seek(&self, op: &Op, file: impl Into<Reach>, offset: u64, data: bool) -> Result<Option<u64>> {
        let ino = self.reach_any(op, file.into())?.ino();
        self.find_extent(op, ino, offset, data)
    }

    /// [`Namespace::seek`] in a file for which permission was checked.
    pub(crate) fn find_extent(&self, op: &Op, ino: Ino, offset: u64, data: bool) -> Result<Option<u64>> {
        let Some(file) = self.opens.get(ino).filter(|file| file.dirty.load(Ordering::Acquire)) else {
            return Ok(self.reader(op, ino)?.seek(offset, data)?);
        };
        let state = file.state.lock();
        let reader = self.reader(op, ino)?;
        if offset >= state.end(reader.len()) {
            Ok(None)
        } else if data {
            state.next_data(&reader, offset)
        } else {
            state.next_hole(&reader, offset).map(Some)
        }
    }

    /// After sealing, which stored content of `allocated` bytes: counts what is staged on top of it. Answers whether more
    /// or less was told before; chunks of zeros become holes only when they are stored.
    pub(crate) fn recount(&self, op: &Op, ino: Ino, state: &mut State, allocated: u64) -> bool {
        let told = std::mem::replace(&mut state.allocated, allocated);
        if !state.staging.is_empty() {
            let staging = std::mem::take(&mut state.staging);
            let inode = self.find_inode_alone(op, ino).ok().flatten();
            for (start, data) in staging.extents() {
                let range = start..start + data.len() as u64;
                state.allocated += match &inode {
                    Some(inode) => state.allocates(inode, range, || self.reader(op, ino)),
                    None => data.len() as u64,
                };
            }
            state.counted = inode.map_or(0, |inode| inode.version);
            state.staging = staging;
        }
        state.allocated != told
    }
}

//! A disk that forgets: reads come from a real disk; writes stay in memory and are gone when it is dropped.
//!
//! Opening a store repairs the end of its log and records the opening on every disk. Over this disk it can do so for a command that
//! must not change anything. Memory: 4 KiB and a little for each sector written. Opening writes a few sectors per disk, and new files
//! are sparse.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strata_seam::{Disk, DiskError, DiskErrorKind, DiskFile, DiskSpace, FileInfo, SECTOR_LEN, WriteMode};

type Sector = Box<[u8; SECTOR_LEN]>;

/// A disk over another, which it never changes.
pub(crate) struct ScratchDisk {
    below: Arc<dyn Disk>,
    /// Files opened, made or removed here; `None` is a removed one.
    files: Mutex<BTreeMap<String, Option<Arc<ScratchFile>>>>,
}

struct ScratchFile {
    disk: String,
    name: String,
    below: Option<Arc<dyn DiskFile>>,
    len: u64,
    written: Mutex<BTreeMap<u64, Sector>>,
}

impl ScratchDisk {
    /// Over `below`, with nothing written yet.
    pub(crate) fn over(below: Arc<dyn Disk>) -> Self {
        Self { below, files: Mutex::default() }
    }

    fn file(&self, name: &str, below: Option<Arc<dyn DiskFile>>, len: u64) -> Arc<ScratchFile> {
        let file =
            ScratchFile { disk: self.label().to_owned(), name: name.to_owned(), below, len, written: Mutex::default() };
        let file = Arc::new(file);
        self.files.lock().insert(name.to_owned(), Some(Arc::clone(&file)));
        file
    }
}

impl Disk for ScratchDisk {
    fn label(&self) -> &str {
        self.below.label()
    }

    fn list(&self) -> Result<Vec<FileInfo>, DiskError> {
        let mut found: BTreeMap<String, u64> =
            self.below.list()?.into_iter().map(|file| (file.name, file.len)).collect();
        for (name, file) in self.files.lock().iter() {
            match file {
                Some(file) => found.insert(name.clone(), file.len),
                None => found.remove(name),
            };
        }
        Ok(found.into_iter().map(|(name, len)| FileInfo { name, len }).collect())
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        match self.files.lock().get(name) {
            Some(Some(file)) => return Ok(Arc::clone(file) as Arc<dyn DiskFile>),
            Some(None) => {
                let (disk, what) = (self.label().to_owned(), format!("open {name}"));
                return Err(DiskError { kind: DiskErrorKind::NotFound, disk, what, source: None });
            }
            None => {}
        }
        let below = self.below.open(name)?;
        let len = below.len();
        Ok(self.file(name, Some(below), len))
    }

    fn create(&self, name: &str, len: u64, _zeroed: bool) -> Result<Arc<dyn DiskFile>, DiskError> {
        Ok(self.file(name, None, len))
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), DiskError> {
        self.file(name, None, content.len() as u64).write_at(0, content, WriteMode::Buffered)
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.files.lock().insert(name.to_owned(), None);
        Ok(())
    }

    fn space(&self) -> Result<DiskSpace, DiskError> {
        self.below.space()
    }
}

impl ScratchFile {
    /// Sectors that a range touches: number, offset within the sector, and the range of the buffer.
    fn sectors(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            (at < len).then(|| {
                let place = offset + at as u64;
                let within = usize::try_from(place % SECTOR_LEN as u64).unwrap_or(0);
                let part = at..len.min(at + SECTOR_LEN - within);
                at = part.end;
                (place / SECTOR_LEN as u64, within, part)
            })
        })
    }

    fn check_range(&self, offset: u64, len: usize) -> Result<(), DiskError> {
        if offset.checked_add(len as u64).is_some_and(|end| end <= self.len) {
            return Ok(());
        }
        let what = format!("{len} bytes at {offset} of {} with {} bytes", self.name, self.len);
        Err(DiskError { kind: DiskErrorKind::ShortRead, disk: self.disk.clone(), what, source: None })
    }

    fn read_below(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        match &self.below {
            Some(below) => below.read_at(offset, buf),
            None => {
                buf.fill(0);
                Ok(())
            }
        }
    }
}

impl DiskFile for ScratchFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.check_range(offset, buf.len())?;
        self.read_below(offset, buf)?;
        let written = self.written.lock();
        for (number, within, part) in Self::sectors(offset, buf.len()) {
            if let Some(sector) = written.get(&number) {
                let len = part.len();
                buf[part].copy_from_slice(&sector[within..within + len]);
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8], _mode: WriteMode) -> Result<(), DiskError> {
        self.check_range(offset, data.len())?;
        let mut written = self.written.lock();
        for (number, within, part) in Self::sectors(offset, data.len()) {
            let sector = match written.entry(number) {
                std::collections::btree_map::Entry::Occupied(sector) => sector.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    let mut sector: Sector = Box::new([0; SECTOR_LEN]);
                    let start = number * SECTOR_LEN as u64;
                    let len = usize::try_from((self.len - start).min(SECTOR_LEN as u64)).unwrap_or(SECTOR_LEN);
                    if part.len() < len {
                        self.read_below(start, &mut sector[..len])?;
                    }
                    place.insert(sector)
                }
            };
            sector[within..within + part.len()].copy_from_slice(&data[part]);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;

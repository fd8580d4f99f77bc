//! A disk at which a test does something of its own just before a read or a write.

use std::sync::Arc;

use strata_seam::{Disk, DiskError, DiskFile, DiskSpace, FileInfo, WriteMode};

/// What is done.
pub(crate) trait Disturb: Send + Sync {
    /// Before a file of this name is read.
    fn before_read(&self, _file: &str) {}

    /// Before it is written; an error fails the write.
    fn before_write(&self, _file: &str) -> Result<(), DiskError> {
        Ok(())
    }
}

/// The disk.
pub(crate) struct Disturbed(pub(crate) Arc<dyn Disk>, pub(crate) Arc<dyn Disturb>);

struct DisturbedFile {
    file: Arc<dyn DiskFile>,
    name: String,
    disturb: Arc<dyn Disturb>,
}

impl Disturbed {
    fn around(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(DisturbedFile { file, name: name.to_owned(), disturb: Arc::clone(&self.1) })
    }
}

impl Disk for Disturbed {
    fn label(&self) -> &str {
        self.0.label()
    }
    fn list(&self) -> Result<Vec<FileInfo>, DiskError> {
        self.0.list()
    }
    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        Ok(self.around(name, self.0.open(name)?))
    }
    fn create(&self, name: &str, len: u64, zeroed: bool) -> Result<Arc<dyn DiskFile>, DiskError> {
        Ok(self.around(name, self.0.create(name, len, zeroed)?))
    }
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), DiskError> {
        self.0.replace(name, content)
    }
    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.0.remove(name)
    }
    fn space(&self) -> Result<DiskSpace, DiskError> {
        self.0.space()
    }
}

impl DiskFile for DisturbedFile {
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.disturb.before_read(&self.name);
        self.file.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8], mode: WriteMode) -> Result<(), DiskError> {
        self.disturb.before_write(&self.name)?;
        self.file.write_at(offset, data, mode)
    }
    fn sync(&self) -> Result<(), DiskError> {
        self.file.sync()
    }
}

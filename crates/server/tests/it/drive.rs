//! The local drive: plain files.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A mounted name space.
pub(crate) struct Drive(pub(crate) PathBuf);

impl Drive {
    /// `/bucket/dir/file` on this drive.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// Writes a whole file and makes it durable.
    pub(crate) fn put(&self, path: &str, data: &[u8]) -> std::io::Result<()> {
        let mut file = std::fs::File::create(self.at(path))?;
        file.write_all(data)?;
        file.sync_all()
    }

    /// Writes into a file.
    pub(crate) fn write_at(path: &Path, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let mut file = std::fs::File::options().write(true).open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(data)?;
        file.sync_all()
    }
}

//! The local drive: plain files, made durable with fsync.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use super::{Failure, Reply};
use crate::outside::server::Doors;

/// A mounted name space.
#[derive(Debug)]
pub(crate) struct Drive(PathBuf);

/// What a dead mount answers: the request may have been carried out or not.
fn lost(error: io::Error) -> Failure {
    use rustix::io::Errno;
    let errno = error.raw_os_error().unwrap_or_default();
    let gone = [Errno::NOTCONN, Errno::CONNABORTED, Errno::IO, Errno::INTR];
    if errno == 0 || gone.iter().any(|gone| gone.raw_os_error() == errno) {
        return Failure::Lost(error);
    }
    Failure::Refused { code: errno.unsigned_abs(), said: error.to_string() }
}

impl Drive {
    /// The drive of a server, if it has one.
    pub(crate) fn new(doors: &Doors) -> Option<Self> {
        doors.has("mount").then(|| Self(doors.text("mount", "path").into()))
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn sync_parent(&self, path: &str) -> io::Result<()> {
        let path = self.at(path);
        File::open(path.parent().unwrap_or(&path))?.sync_all()
    }

    /// The whole file.
    pub(crate) fn read(&self, path: &str) -> Reply<Vec<u8>> {
        fs::read(self.at(path)).map_err(lost)
    }

    /// Permission bits and length.
    pub(crate) fn stat(&self, path: &str) -> Reply<(u32, u64)> {
        fs::metadata(self.at(path)).map(|found| (found.mode() & 0o7777, found.len())).map_err(lost)
    }

    /// Number of the inode at `path`, and the length if it is a file.
    pub(crate) fn identity(&self, path: &str) -> Reply<(u64, Option<u64>)> {
        fs::symlink_metadata(self.at(path))
            .map(|found| (found.ino(), found.is_file().then_some(found.len())))
            .map_err(lost)
    }

    /// Names below `path`, at any depth, directories with a `/` behind, without `path` itself.
    pub(crate) fn walk(&self, path: &str) -> Reply<Vec<String>> {
        let root = self.at(path);
        let mut folders = vec![root.clone()];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).map_err(lost)? {
                let entry = entry.map_err(lost)?;
                let path = entry.path();
                let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
                if entry.file_type().map_err(lost)?.is_dir() {
                    folders.push(path);
                    found.push(name + "/");
                } else {
                    found.push(name);
                }
            }
        }
        Ok(found)
    }

    /// Creates or empties a file, writes it and makes it durable.
    pub(crate) fn put(&self, path: &str, data: &[u8]) -> Reply<()> {
        let write = || {
            let mut file = File::create(self.at(path))?;
            file.write_all(data)?;
            file.sync_all()
        };
        write().map_err(lost)
    }

    /// Writes into a file and makes it durable; by appending where that means the same.
    pub(crate) fn write_at(&self, path: &str, offset: u64, data: &[u8]) -> Reply<()> {
        let write = || {
            let path = self.at(path);
            if fs::metadata(&path)?.len() == offset {
                let mut file = File::options().append(true).open(path)?;
                file.write_all(data)?;
                return file.sync_data();
            }
            let file = File::options().write(true).open(path)?;
            file.write_all_at(data, offset)?;
            file.sync_data()
        };
        write().map_err(lost)
    }

    /// Sets the length and makes it durable.
    pub(crate) fn truncate(&self, path: &str, len: u64) -> Reply<()> {
        let cut = || {
            let file = File::options().write(true).open(self.at(path))?;
            file.set_len(len)?;
            file.sync_all()
        };
        cut().map_err(lost)
    }

    /// Sets the permission bits: durable soon.
    pub(crate) fn chmod(&self, path: &str, mode: u32) -> Reply<()> {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).map_err(lost)
    }

    /// Renames: durable soon.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Reply<()> {
        fs::rename(self.at(from), self.at(to)).map_err(lost)
    }

    /// Removes a file: durable soon.
    pub(crate) fn remove(&self, path: &str) -> Reply<()> {
        fs::remove_file(self.at(path)).map_err(lost)
    }

    /// Makes a directory: durable soon.
    pub(crate) fn mkdir(&self, path: &str) -> Reply<()> {
        fs::create_dir(self.at(path)).map_err(lost)
    }

    /// Removes an empty directory: durable soon.
    pub(crate) fn rmdir(&self, path: &str) -> Reply<()> {
        fs::remove_dir(self.at(path)).map_err(lost)
    }

    /// Makes what happened in the directory of `path` durable.
    pub(crate) fn sync_directory(&self, path: &str) -> Reply<()> {
        self.sync_parent(path).map_err(lost)
    }
}

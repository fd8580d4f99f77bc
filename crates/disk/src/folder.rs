//! A disk as a folder: listing, creating, replacing and removing files.
//!
//! Everything goes through a descriptor of the folder, never through its path: when the disk is unmounted, what appears
//! under the path is the mount point on another file system, and must not be written to. A disk that returns is opened
//! anew.
//!
//! New content is prepared under a name with a `~`, which no file of a disk may have, and renamed when it is durable.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use strata_seam::{
    AlignedBuf, Disk, DiskError, DiskErrorKind, DiskFile, DiskSpace, FileInfo, SECTOR_LEN, is_file_name,
};

use crate::error::failed;
use crate::file::{OpenFile, write_all};

/// Bytes per write when a new file is filled with zeros: large enough for full bandwidth, small enough for one request.
const ZERO_PIECE_LEN: usize = 1 << 20;

/// The mark of a name under preparation.
const PREPARED: char = '~';

/// What a disk and its open files share.
pub(crate) struct Folder {
    pub(crate) label: String,
    path: PathBuf,
    fd: OwnedFd,
    /// Cleared when the file system refuses direct I/O, so that it is asked, and logged, once.
    direct: AtomicBool,
    /// Makes names under preparation unique.
    prepared: AtomicU64,
}

impl Folder {
    /// Opens a file of the folder; symbolic links are refused.
    pub(crate) fn open_at(&self, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode))
    }

    /// Opens a file for direct I/O; `None` where the file system does not offer it.
    pub(crate) fn open_direct(&self, name: &str, flags: OFlags) -> Result<Option<OwnedFd>, Errno> {
        if !self.direct.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match self.open_at(name, flags | OFlags::DIRECT, Mode::empty()) {
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                if self.direct.swap(false, Ordering::Relaxed) {
                    tracing::debug!(disk = %self.label, "no direct i/o on this file system, durable writes go through its cache");
                }
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Fails when the folder itself was removed: its open files would swallow writes without a trace.
    pub(crate) fn check_linked(&self) -> Result<(), Errno> {
        if rustix::fs::fstat(&self.fd)?.st_nlink == 0 { Err(Errno::NODEV) } else { Ok(()) }
    }

    /// The folder itself.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Fails when something else, or nothing, is at the folder's path: it was moved away or unmounted lazily, and whoever
    /// looks for it at the next start does not find it.
    fn check_place(&self) -> Result<(), Errno> {
        self.check_linked()?;
        let ours = rustix::fs::fstat(&self.fd)?;
        match retry_on_intr(|| rustix::fs::stat(&self.path)) {
            Ok(found) if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino) => Ok(()),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Err(Errno::NODEV),
            // That cannot be told.
            Err(_) => Ok(()),
        }
    }

    fn sync_names(&self) -> Result<(), Errno> {
        retry_on_intr(|| rustix::fs::fsync(&self.fd))
    }

    fn unlink(&self, name: &str) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::NOENT) => self.check_linked(),
            other => other,
        }
    }

    /// Regular files with what `wanted` makes of their names.
    fn files<R>(&self, wanted: impl Fn(&str) -> Option<R>) -> Result<Vec<(R, u64)>, Errno> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let Some(file) = entry.file_name().to_str().ok().and_then(&wanted) else {
                continue;
            };
            match rustix::fs::statat(&self.fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    found.push((file, u64::try_from(stat.st_size).unwrap_or(0)));
                }
                Ok(_) | Err(Errno::NOENT) => {} // not ours, or removed since it was listed
                Err(errno) => return Err(errno),
            }
        }
        self.check_linked()?;
        Ok(found)
    }

    /// Fills a new file by `fill`, makes it durable and gives it its name.
    fn prepare(&self, name: &str, fill: impl FnOnce(&OwnedFd, &str) -> Result<(), Errno>) -> Result<(), Errno> {
        let draft = format!("{name}{PREPARED}{}", self.prepared.fetch_add(1, Ordering::Relaxed));
        let named = self
            .open_at(&draft, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC, Mode::RUSR | Mode::WUSR)
            .and_then(|file| {
                fill(&file, &draft)?;
                retry_on_intr(|| rustix::fs::fsync(&file))
            })
            .and_then(|()| rustix::fs::renameat(&self.fd, &draft, &self.fd, name));
        if named.is_err() {
            // the failure is already being reported; what cannot be removed is swept at the next opening
            let _ = rustix::fs::unlinkat(&self.fd, &draft, AtFlags::empty());
        }
        named.and_then(|()| self.sync_names())
    }

    fn reserve(file: &OwnedFd, len: u64) -> Result<(), Errno> {
        if len == 0 {
            return Ok(());
        }
        match retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => retry_on_intr(|| rustix::fs::ftruncate(file, len)),
            other => other,
        }
    }

    /// Writes zeros over the whole file, so that no later write has to convert a reserved extent into a written one,
    /// which would cost a journal commit in the write's way.
    fn zero(&self, file: &OwnedFd, draft: &str, len: u64) -> Result<(), Errno> {
        let zeros = AlignedBuf::zeroed(ZERO_PIECE_LEN);
        let direct = self.open_direct(draft, OFlags::RDWR)?;
        let mut offset = 0;
        while offset < len {
            let piece = &zeros[..usize::try_from(len - offset).unwrap_or(usize::MAX).min(ZERO_PIECE_LEN)];
            match &direct {
                Some(fd) if piece.len().is_multiple_of(SECTOR_LEN) => match write_all(fd, offset, piece) {
                    Err(Errno::INVAL) => write_all(file, offset, piece)?,
                    other => other?,
                },
                _ => write_all(file, offset, piece)?,
            }
            offset += piece.len() as u64;
        }
        Ok(())
    }
}

/// A [`Disk`] over one folder, usually the root of a disk's own file system.
///
/// Files of other kinds and names in the folder are neither listed nor touched.
pub struct FileDisk {
    folder: Arc<Folder>,
}

impl FileDisk {
    /// The disk in `path`, which must be a folder. Removes what an interrupted preparation left, so only one process may
    /// have the disk open for writing; the caller's lock sees to that.
    ///
    /// # Errors
    /// [`DiskErrorKind::Gone`] where there is no such folder: it is never created, since a missing one usually means a
    /// missing mount. Otherwise the general ones.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        Self::open_with(path, true)
    }

    /// Like [`FileDisk::open`], but never asks for direct I/O: for file systems that offer it and do it badly.
    ///
    /// # Errors
    /// As for [`FileDisk::open`].
    pub fn open_buffered(path: &Path) -> Result<Self, DiskError> {
        Self::open_with(path, false)
    }

    fn open_with(path: &Path, direct: bool) -> Result<Self, DiskError> {
        let label = path.display().to_string();
        let fail = |errno| failed(&label, "open".to_owned(), errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).map_err(fail)?;
        let (direct, prepared) = (AtomicBool::new(direct), AtomicU64::new(0));
        let folder = Folder { label: label.clone(), path: path.to_owned(), fd, direct, prepared };
        let is_draft = |name: &str| {
            let (file, number) = name.rsplit_once(PREPARED)?;
            (is_file_name(file) && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.to_owned())
        };
        for (draft, _) in folder.files(is_draft).map_err(fail)? {
            match folder.unlink(&draft) {
                Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => break, // a read-only disk can still be read
                other => other.map_err(fail)?,
            }
        }
        Ok(Self { folder: Arc::new(folder) })
    }

    #[cfg(test)]
    pub(crate) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// Runs one operation, with its name and file in the error.
    fn run<R>(&self, what: &str, name: Option<&str>, act: impl FnOnce() -> Result<R, Errno>) -> Result<R, DiskError> {
        let fail = |errno| {
            let what = name.map_or_else(|| what.to_owned(), |name| format!("{what} {name}"));
            failed(&self.folder.label, what, errno)
        };
        if name.is_some_and(|name| !is_file_name(name)) {
            return Err(DiskError { kind: DiskErrorKind::NotFound, ..fail(Errno::INVAL) });
        }
        act().map_err(fail)
    }
}

impl Disk for FileDisk {
    fn label(&self) -> &str {
        &self.folder.label
    }

    fn list(&self) -> Result<Vec<FileInfo>, DiskError> {
        let found = self.run("list", None, || self.folder.files(|name| is_file_name(name).then(|| name.to_owned())))?;
        let mut files: Vec<_> = found.into_iter().map(|(name, len)| FileInfo { name, len }).collect();
        files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(files)
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        match self.run("open", Some(name), || OpenFile::open(&self.folder, name)) {
            Ok(file) => Ok(Arc::new(file)),
            // the file is missing, or the whole folder
            Err(error) if error.kind == DiskErrorKind::Gone && self.folder.check_linked().is_ok() => {
                Err(DiskError { kind: DiskErrorKind::NotFound, ..error })
            }
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str, len: u64, zeroed: bool) -> Result<Arc<dyn DiskFile>, DiskError> {
        let folder = &self.folder;
        self.run("create", Some(name), || {
            folder.unlink(name)?; // first, since the new file may need the old one's room
            folder.prepare(name, |file, draft| {
                Folder::reserve(file, len)?;
                if zeroed { folder.zero(file, draft, len) } else { Ok(()) }
            })?;
            OpenFile::open(folder, name)
        })
        .map(|file| Arc::new(file) as Arc<dyn DiskFile>)
    }

    /// When only the last step fails, syncing the folder, the new content is already visible, though not yet certain to
    /// survive a power cut.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), DiskError> {
        self.run("replace", Some(name), || self.folder.prepare(name, |file, _| write_all(file, 0, content)))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.run("remove", Some(name), || self.folder.unlink(name).and_then(|()| self.folder.sync_names()))
    }

    fn space(&self) -> Result<DiskSpace, DiskError> {
        let (stat, volume) = self.run("space", None, || {
            self.folder.check_place()?;
            Ok((rustix::fs::fstatvfs(&self.folder.fd)?, rustix::fs::fstat(&self.folder.fd)?.st_dev))
        })?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(DiskSpace { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail), volume })
    }
}

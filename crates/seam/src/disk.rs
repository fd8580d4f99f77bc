//! The seam for disks: a flat folder of named files, read and written at offsets.
//!
//! All calls are synchronous. What is durable is stated per call; everything else may vanish, in any subset, when the
//! power goes. A disk never retries and never hides an error.

use std::fmt;
use std::sync::Arc;

/// Smallest unit a disk writes atomically as far as we dare to assume nothing: offsets and lengths of direct writes
/// are multiples of this many bytes.
pub const SECTOR_LEN: usize = 4096;

/// How far a write must get before the call returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteMode {
    /// In the operating system's memory: survives the death of the process, not of the power.
    Buffered,
    /// On the medium: data, and what is needed to read it back. `offset` and length must be multiples of
    /// [`SECTOR_LEN`], and the buffer's address as well where the disk is asked for direct I/O.
    Durable,
}

/// What went wrong, by what the caller does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskErrorKind {
    /// No file of this name.
    NotFound,
    /// No room: free some, or use another disk.
    Full,
    /// The medium failed: treat the disk as suspect.
    Medium,
    /// The disk is gone or was set aside.
    Gone,
    /// Mounted or set read-only.
    ReadOnly,
    /// The file ends before the requested range does.
    ShortRead,
    /// The process is out of something that it needs for the call: descriptors, memory. The disk is not to blame, nothing
    /// was changed that another try would not change anew, and it may succeed. Never the answer of a sync.
    Exhausted,
}

/// An error of one disk.
#[derive(Debug, thiserror::Error)]
#[error("disk {disk}: {what}: {kind}")]
pub struct DiskError {
    /// What to do next.
    pub kind: DiskErrorKind,
    /// The disk's label, usually its path.
    pub disk: String,
    /// Operation and file.
    pub what: String,
    /// The operating system's error, where there is one.
    #[source]
    pub source: Option<std::io::Error>,
}

impl fmt::Display for DiskErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no such file",
            Self::Full => "no space left",
            Self::Medium => "the medium failed",
            Self::Gone => "the disk is gone",
            Self::ReadOnly => "the disk is read-only",
            Self::ShortRead => "the file ends too early",
            Self::Exhausted => "the server is out of descriptors or memory",
        })
    }
}

/// A file as listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileInfo {
    /// Its name, relative to the disk.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// Bytes on the disk's file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskSpace {
    /// All of them.
    pub total: u64,
    /// Those an unprivileged writer may still use.
    pub free: u64,
    /// Which file system it is: disks that share one share its room.
    pub volume: u64,
}

/// One disk of an erasure set.
pub trait Disk: Send + Sync {
    /// What to call this disk in errors and tables, usually its path.
    fn label(&self) -> &str;

    /// All files, in order of name.
    ///
    /// # Errors
    /// [`DiskErrorKind::Gone`] or [`DiskErrorKind::Medium`].
    fn list(&self) -> Result<Vec<FileInfo>, DiskError>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`DiskErrorKind::NotFound`] and the general ones.
    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Creates `name` with `len` bytes that read as zero, replacing a file of that name. With `zeroed` the bytes are
    /// really written, so that a later durable write changes no metadata; otherwise they are only reserved. The file
    /// and its name are durable on return.
    ///
    /// # Errors
    /// [`DiskErrorKind::Full`] and the general ones; a partial file may then remain and is replaced by the next try.
    fn create(&self, name: &str, len: u64, zeroed: bool) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Replaces the whole content of a small file, atomically and durably.
    ///
    /// # Errors
    /// The general ones; the old content is then intact.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), DiskError>;

    /// Removes a file, durably. Removing what is not there succeeds.
    ///
    /// # Errors
    /// The general ones.
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// Room on the file system below.
    ///
    /// # Errors
    /// The general ones.
    fn space(&self) -> Result<DiskSpace, DiskError>;
}

/// An open file of a [`Disk`]. Reads and writes at different offsets may run concurrently.
pub trait DiskFile: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether the file holds no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// [`DiskErrorKind::ShortRead`] when the file ends before `offset + buf.len()`, and the general ones.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError>;

    /// Says that a range will be read soon, so that the device can begin to bring it in. Waits for nothing and promises
    /// nothing; reads of what was never announced are as good.
    fn will_read(&self, _offset: u64, _len: u64) {}

    /// Writes all of `data` at `offset`, within the file's length.
    ///
    /// # Errors
    /// The general ones; what the range holds afterwards is then unknown.
    fn write_at(&self, offset: u64, data: &[u8], mode: WriteMode) -> Result<(), DiskError>;

    /// Makes every earlier buffered write of this file durable.
    ///
    /// # Errors
    /// The general ones; buffered data must then be taken as lost, and trying again proves nothing.
    fn sync(&self) -> Result<(), DiskError>;
}

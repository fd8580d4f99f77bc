//! What can go wrong in the name space, by what the caller does next. Each door maps these kinds exhaustively.

use strata_content::{ContentError, ContentErrorKind};

/// Shorthand for results of the name space.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kinds of failure. Doors translate each one; a new kind must not quietly become EIO.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// No such entry, inode, version or part.
    NotFound,
    /// No such bucket.
    NoSuchBucket,
    /// No such multipart upload.
    NoSuchUpload,
    /// No such extended attribute.
    NoAttribute,
    /// The name is taken.
    Exists,
    /// The bucket name is taken.
    BucketExists,
    /// A directory was needed.
    NotDirectory,
    /// Something other than a directory was needed.
    IsDirectory,
    /// The directory or bucket still has entries.
    NotEmpty,
    /// Mode bits, ownership or policy refuse (EACCES).
    AccessDenied,
    /// The operation is refused whatever the mode bits (EPERM).
    NotPermitted,
    /// A name component is too long for this door.
    NameTooLong,
    /// A name, key or bucket name that cannot be held.
    InvalidName,
    /// An argument makes no sense.
    Invalid,
    /// The operation is not offered for this kind of inode, or for content that is kept as this is.
    NotSupported,
    /// A file or part would be larger than allowed.
    TooLarge,
    /// A part other than the last is below the minimum.
    PartTooSmall,
    /// A listed part was not uploaded or has another tag.
    InvalidPart,
    /// Parts are not in ascending order.
    InvalidPartOrder,
    /// A range outside the content.
    InvalidRange,
    /// A condition (If-Match and the like) does not hold.
    PreconditionFailed,
    /// The body ended early or went on too long, or its checksum differs.
    BadBody,
    /// The handle's inode is gone (ESTALE).
    Stale,
    /// A lock of somebody else is in the way.
    Locked,
    /// Too many links to one inode.
    TooManyLinks,
    /// A rename or link would lead into another bucket or quota tree (EXDEV).
    CrossDevice,
    /// A rename would make a directory its own ancestor.
    Loop,
    /// No room on the disks.
    NoSpace,
    /// Over a limit for concurrent work; try again.
    Busy,
    /// The set takes no writes: its write quorum is lost or a disk failed in doubt.
    ReadOnly,
    /// Stored bytes fail their check and cannot be rebuilt.
    Corrupt,
    /// The machinery below failed in another way.
    Io,
}

/// An error of the name space.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// What to do next.
    pub kind: ErrorKind,
    /// What happened, in words for a person.
    pub what: String,
    /// The layer below's error.
    #[source]
    pub source: Option<Box<ContentError>>,
    /// For [`ErrorKind::Locked`], the path of the lock in the way, as it was locked. `None` if that is no lock.
    pub lock: Option<Vec<u8>>,
}

impl From<ContentError> for Error {
    fn from(error: ContentError) -> Self {
        let kind = match error.kind() {
            ContentErrorKind::NoSpace => ErrorKind::NoSpace,
            ContentErrorKind::ReadOnly => ErrorKind::ReadOnly,
            ContentErrorKind::Corrupt => ErrorKind::Corrupt,
            ContentErrorKind::TooLarge => ErrorKind::TooLarge,
            // The source of the copy was deleted or replaced meanwhile.
            ContentErrorKind::Gone => ErrorKind::Stale,
            ContentErrorKind::NotSupported => ErrorKind::NotSupported,
            ContentErrorKind::Busy => ErrorKind::Busy,
            ContentErrorKind::Io => ErrorKind::Io,
        };
        let what = match kind {
            ErrorKind::NoSpace => "the disks are full; nothing was changed; delete something or add room",
            ErrorKind::ReadOnly => {
                "the store takes no writes: too few disks answer; what was acknowledged is safe and readable"
            }
            ErrorKind::Corrupt => {
                "stored bytes failed their check and could not be rebuilt; nothing wrong was returned"
            }
            ErrorKind::Busy => "the server is out of descriptors or memory; what was acknowledged is safe; try again",
            ErrorKind::NotSupported => {
                "this version cannot do it with content that is kept as this is; nothing was changed"
            }
            ErrorKind::TooLarge => "the change is larger than one commit can be; nothing was changed",
            _ => "the store below failed",
        };
        Self { kind, what: what.to_owned(), source: Some(Box::new(error)), lock: None }
    }
}

impl Error {
    /// An error of this kind with a sentence about it.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), source: None, lock: None }
    }
}

/// Shorthand used across the name space: `Err(fail(kind, what))`.
pub(crate) fn fail(kind: ErrorKind, what: impl Into<String>) -> Error {
    Error::new(kind, what)
}

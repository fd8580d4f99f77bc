//! Errors of the name space as NFS status codes, and what a failed procedure answers.

use nfsserve::nfs::nfsstat3;
use strata_namespace::{Error, ErrorKind};
use tracing::warn;

use crate::handle::HandleError;

/// A procedure's failure: the status its reply carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fail(pub(crate) nfsstat3);

impl From<Error> for Fail {
    /// This is where the door handles an error of the name space: those that need a person's attention are logged.
    fn from(error: Error) -> Self {
        match error.kind {
            ErrorKind::Corrupt | ErrorKind::Io => warn!(kind = ?error.kind, error = %error, "nfs request failed"),
            _ => tracing::debug!(kind = ?error.kind, error = %error, "nfs request refused"),
        }
        Self(status_of(error.kind))
    }
}

impl From<HandleError> for Fail {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Bad => Self(nfsstat3::NFS3ERR_BADHANDLE),
            HandleError::OtherStore => Self(nfsstat3::NFS3ERR_STALE),
        }
    }
}

impl Fail {
    /// A missing inode behind a valid handle is a stale handle, not a missing name.
    pub(crate) fn of_inode(error: Error) -> Self {
        match error.kind {
            ErrorKind::NotFound => Self(nfsstat3::NFS3ERR_STALE),
            _ => Self::from(error),
        }
    }
}

/// The status for each kind. Kinds that only the object view can produce are mapped to what a client survives best.
pub(crate) fn status_of(kind: ErrorKind) -> nfsstat3 {
    match kind {
        ErrorKind::NotFound | ErrorKind::NoSuchBucket | ErrorKind::NoSuchUpload => nfsstat3::NFS3ERR_NOENT,
        ErrorKind::Exists | ErrorKind::BucketExists => nfsstat3::NFS3ERR_EXIST,
        ErrorKind::NotDirectory => nfsstat3::NFS3ERR_NOTDIR,
        ErrorKind::IsDirectory => nfsstat3::NFS3ERR_ISDIR,
        ErrorKind::NotEmpty => nfsstat3::NFS3ERR_NOTEMPTY,
        ErrorKind::AccessDenied => nfsstat3::NFS3ERR_ACCES,
        ErrorKind::NotPermitted => nfsstat3::NFS3ERR_PERM,
        ErrorKind::NameTooLong => nfsstat3::NFS3ERR_NAMETOOLONG,
        ErrorKind::InvalidName
        | ErrorKind::Invalid
        | ErrorKind::NoAttribute
        | ErrorKind::InvalidRange
        | ErrorKind::PartTooSmall
        | ErrorKind::InvalidPart
        | ErrorKind::InvalidPartOrder
        | ErrorKind::Loop => nfsstat3::NFS3ERR_INVAL,
        ErrorKind::NotSupported => nfsstat3::NFS3ERR_NOTSUPP,
        ErrorKind::TooLarge => nfsstat3::NFS3ERR_FBIG,
        ErrorKind::PreconditionFailed => nfsstat3::NFS3ERR_SERVERFAULT,
        ErrorKind::Stale => nfsstat3::NFS3ERR_STALE,
        // Not JUKEBOX: a WebDAV lock may be held for hours, and a client told to wait would hang for as long.
        ErrorKind::Locked => nfsstat3::NFS3ERR_ACCES,
        ErrorKind::TooManyLinks => nfsstat3::NFS3ERR_MLINK,
        ErrorKind::CrossDevice => nfsstat3::NFS3ERR_XDEV,
        ErrorKind::NoSpace => nfsstat3::NFS3ERR_NOSPC,
        ErrorKind::Busy => nfsstat3::NFS3ERR_JUKEBOX,
        ErrorKind::ReadOnly => nfsstat3::NFS3ERR_ROFS,
        ErrorKind::BadBody | ErrorKind::Corrupt | ErrorKind::Io => nfsstat3::NFS3ERR_IO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overloaded_store_asks_the_client_to_come_again() {
        assert!(matches!(status_of(ErrorKind::Busy), nfsstat3::NFS3ERR_JUKEBOX));
    }

    #[test]
    fn a_missing_inode_is_stale_but_a_missing_name_is_not() {
        let missing = || Error::new(ErrorKind::NotFound, "gone");
        assert!(matches!(Fail::of_inode(missing()).0, nfsstat3::NFS3ERR_STALE));
        assert!(matches!(Fail::from(missing()).0, nfsstat3::NFS3ERR_NOENT));
    }
}

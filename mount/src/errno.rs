//! Kinds of failure to errno values. Exhaustive on purpose: a new kind must not quietly become EIO.

use strata_namespace::{Error, ErrorKind};

/// The errno a program sees for a failure of the name space.
pub(crate) const fn errno_of(kind: ErrorKind) -> i32 {
    match kind {
        ErrorKind::NotFound | ErrorKind::NoSuchBucket | ErrorKind::NoSuchUpload => libc::ENOENT,
        ErrorKind::NoAttribute => libc::ENODATA,
        ErrorKind::Exists | ErrorKind::BucketExists => libc::EEXIST,
        ErrorKind::NotDirectory => libc::ENOTDIR,
        ErrorKind::IsDirectory => libc::EISDIR,
        ErrorKind::NotEmpty => libc::ENOTEMPTY,
        ErrorKind::AccessDenied => libc::EACCES,
        ErrorKind::NotPermitted => libc::EPERM,
        ErrorKind::NameTooLong => libc::ENAMETOOLONG,
        // EINVAL is what rename(2) says for a directory moved below itself, and what Linux file systems say for a name
        // they cannot hold.
        ErrorKind::InvalidName
        | ErrorKind::Invalid
        | ErrorKind::Loop
        | ErrorKind::InvalidRange
        | ErrorKind::PartTooSmall
        | ErrorKind::InvalidPart
        | ErrorKind::InvalidPartOrder => libc::EINVAL,
        ErrorKind::NotSupported => libc::EOPNOTSUPP,
        ErrorKind::TooLarge => libc::EFBIG,
        // A lock of another door is in the way. EAGAIN would make programs that retry writes spin.
        ErrorKind::Locked | ErrorKind::PreconditionFailed => libc::EBUSY,
        ErrorKind::Stale => libc::ESTALE,
        ErrorKind::TooManyLinks => libc::EMLINK,
        ErrorKind::CrossDevice => libc::EXDEV,
        ErrorKind::NoSpace => libc::ENOSPC,
        ErrorKind::Busy => libc::EAGAIN,
        ErrorKind::ReadOnly => libc::EROFS,
        ErrorKind::BadBody | ErrorKind::Corrupt | ErrorKind::Io => libc::EIO,
    }
}

/// What a request fails with: a plain errno, so that a handler can also refuse on its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal(pub(crate) i32);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let errno = errno_of(error.kind);
        if errno == libc::EIO {
            // The program gets only EIO; the operator gets the sentence and its cause.
            tracing::error!(kind = ?error.kind, cause = ?error.source, "{error}");
        } else {
            tracing::debug!(kind = ?error.kind, "{error}");
        }
        Self(errno)
    }
}

impl From<Refusal> for fuser::Errno {
    fn from(refusal: Refusal) -> Self {
        fuser::Errno::from_i32(refusal.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_name_bucket_or_upload_is_enoent() {
        for kind in [ErrorKind::NotFound, ErrorKind::NoSuchBucket, ErrorKind::NoSuchUpload] {
            assert_eq!(errno_of(kind), libc::ENOENT);
        }
    }

    #[test]
    fn kinds_that_programs_tell_apart_have_their_own_errno() {
        let distinct = [
            ErrorKind::NotFound,
            ErrorKind::NoAttribute,
            ErrorKind::Exists,
            ErrorKind::NotDirectory,
            ErrorKind::IsDirectory,
            ErrorKind::NotEmpty,
            ErrorKind::AccessDenied,
            ErrorKind::NotPermitted,
            ErrorKind::NameTooLong,
            ErrorKind::Invalid,
            ErrorKind::NotSupported,
            ErrorKind::TooLarge,
            ErrorKind::Locked,
            ErrorKind::Stale,
            ErrorKind::TooManyLinks,
            ErrorKind::CrossDevice,
            ErrorKind::NoSpace,
            ErrorKind::Busy,
            ErrorKind::ReadOnly,
            ErrorKind::Corrupt,
        ];
        let seen: std::collections::HashSet<_> = distinct.iter().map(|&k| errno_of(k)).collect();
        assert_eq!(seen.len(), distinct.len());
    }

    #[test]
    fn only_damage_and_failing_machinery_is_eio() {
        for kind in [ErrorKind::BadBody, ErrorKind::Corrupt, ErrorKind::Io] {
            assert_eq!(errno_of(kind), libc::EIO);
        }
        for kind in [ErrorKind::ReadOnly, ErrorKind::NoSpace, ErrorKind::Busy] {
            assert_ne!(errno_of(kind), libc::EIO);
        }
    }
}

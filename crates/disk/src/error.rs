//! From error numbers to [`DiskErrorKind`]s.

use rustix::io::Errno;
use strata_seam::{DiskError, DiskErrorKind};

/// What the caller should do about `errno`.
pub(crate) fn kind_of(errno: Errno) -> DiskErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => DiskErrorKind::Full,
        // a folder that lost its write permission is treated as what it is in effect
        Errno::ROFS | Errno::ACCESS | Errno::PERM => DiskErrorKind::ReadOnly,
        Errno::NODEV
        | Errno::NXIO
        | Errno::STALE
        | Errno::NOENT
        | Errno::NOTDIR
        | Errno::NOMEDIUM
        | Errno::NOTCONN
        | Errno::SHUTDOWN => DiskErrorKind::Gone,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::NOBUFS => DiskErrorKind::Exhausted,
        _ => DiskErrorKind::Medium,
    }
}

/// The result of a sync. What failed in one is taken as lost whatever the number says: a shortage of memory may have hit
/// the writing back of what was buffered, and the next sync would not tell.
pub(crate) fn synced(result: Result<(), Errno>) -> Result<(), Errno> {
    result.map_err(|errno| if kind_of(errno) == DiskErrorKind::Exhausted { Errno::IO } else { errno })
}

/// The error of operation `what` on the disk labelled `disk`.
pub(crate) fn failed(disk: &str, what: String, errno: Errno) -> DiskError {
    DiskError { kind: kind_of(errno), disk: disk.to_owned(), what, source: Some(errno.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_map_to_what_the_caller_does_next() {
        for (errno, kind) in [
            (Errno::NOSPC, DiskErrorKind::Full),
            (Errno::DQUOT, DiskErrorKind::Full),
            (Errno::ROFS, DiskErrorKind::ReadOnly),
            (Errno::NODEV, DiskErrorKind::Gone),
            (Errno::NXIO, DiskErrorKind::Gone),
            (Errno::STALE, DiskErrorKind::Gone),
            (Errno::IO, DiskErrorKind::Medium),
            (Errno::UCLEAN, DiskErrorKind::Medium),
            (Errno::INVAL, DiskErrorKind::Medium),
            (Errno::MFILE, DiskErrorKind::Exhausted),
            (Errno::NFILE, DiskErrorKind::Exhausted),
            (Errno::NOMEM, DiskErrorKind::Exhausted),
            (Errno::AGAIN, DiskErrorKind::Exhausted),
        ] {
            assert_eq!(kind_of(errno), kind, "{errno}");
        }
    }

    #[test]
    fn the_text_names_disk_file_and_state_and_the_cause_stays_behind_it() {
        let error = failed("/disks/0", "write seg-1 at 4096, 8192 bytes".to_owned(), Errno::NOSPC);
        assert_eq!(error.to_string(), "disk /disks/0: write seg-1 at 4096, 8192 bytes: no space left");
        assert_eq!(error.source.and_then(|cause| cause.raw_os_error()), Some(Errno::NOSPC.raw_os_error()));
    }
}

//! Why a mount could not be made or ended.

use std::io;
use std::path::PathBuf;

/// A failure to mount or unmount. Requests inside a mount answer errno values instead.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// `/dev/fuse` does not exist.
    #[error(
        "no /dev/fuse on this machine; nothing was mounted; load the kernel module with `modprobe fuse`, or give the container the device"
    )]
    NoFuse,
    /// This process may not mount.
    #[error(
        "not allowed to mount at {at}; nothing was mounted; run as root, or install fusermount3 and own the directory"
    )]
    NotAllowed {
        /// The mount point.
        at: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Other users cannot be let in.
    #[error(
        "not allowed to let other users into a mount at {at}; nothing was mounted; set `user_allow_other` in /etc/fuse.conf or mount without `allow_other`"
    )]
    OthersNotAllowed {
        /// The mount point.
        at: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The mount point is a file.
    #[error("{at} is not a directory; nothing was mounted; give the path of a directory")]
    NotDirectory {
        /// The mount point.
        at: PathBuf,
    },
    /// Something is mounted there.
    #[error(
        "{at} is a mount point already ({kind}); it was left as it is; unmount it first or choose another directory"
    )]
    AlreadyMounted {
        /// The mount point.
        at: PathBuf,
        /// The type of the file system that is there.
        kind: String,
    },
    /// A mount left behind by a dead process could not be removed.
    #[error("a dead mount lies at {at} and cannot be removed; run `umount -l` on it, then try again")]
    Dead {
        /// The mount point.
        at: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The mount point could not be created or looked at.
    #[error("cannot prepare the mount point {at}; nothing was mounted")]
    Prepare {
        /// The mount point.
        at: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the mount.
    #[error("the kernel refused to mount at {at}; nothing is mounted")]
    Mount {
        /// The mount point.
        at: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel and this program did not come to terms.
    #[error("the FUSE handshake at {at} failed; nothing is mounted")]
    Handshake {
        /// The mount point.
        at: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The mount could not be removed.
    #[error("cannot unmount {at}; it is still there, everything written is kept; stop its users and run `umount`")]
    Unmount {
        /// The mount point.
        at: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The threads that serve the mount ended with an error.
    #[error("serving {at} ended with an error; everything acknowledged is kept; mount again")]
    Serve {
        /// The mount point.
        at: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

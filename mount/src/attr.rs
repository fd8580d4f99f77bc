//! Attributes, times and flags between the kernel's form and the name space's. Pure functions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use strata_namespace::{Access, Attr, NodeKind, SetTime};
use strata_seam::{Ino, Timestamp};

use crate::nodes::ino_of;

/// What `st_blksize` says: the unit in which buffered programs (`cp`, `cat`) read and write, in bytes. 128 KiB keeps
/// the number of requests low without making small copies allocate megabytes.
pub(crate) const BLOCK_LEN: u32 = 128 * 1024;

/// `__FMODE_EXEC` of the kernel: the open comes from `execve`, which asks for execute instead of read permission.
const FMODE_EXEC: i32 = 0x20;

/// Set-user-id.
const SUID: u32 = 0o4000;
/// Set-group-id.
const SGID: u32 = 0o2000;
/// Execute for the group; without it set-group-id means mandatory locking of old and is left alone.
const GROUP_EXEC: u32 = 0o010;

/// The kernel's form of attributes.
pub(crate) fn to_fuse(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.allocated.div_ceil(512),
        atime: attr.atime.to_system_time(),
        mtime: attr.mtime.to_system_time(),
        ctime: attr.ctime.to_system_time(),
        crtime: attr.btime.to_system_time(),
        kind: kind_to_fuse(attr.kind),
        // Twelve bits; the mask makes the narrowing exact.
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: rdev_to_fuse(attr.rdev),
        blksize: BLOCK_LEN,
        flags: 0,
    }
}

/// The reply to a lookup that found nothing: inode zero tells the kernel to remember the absence.
pub(crate) fn negative() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_LEN,
        flags: 0,
    }
}

/// The kernel's word for a kind of node.
pub(crate) fn kind_to_fuse(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Directory => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
        NodeKind::CharDevice => FileType::CharDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
    }
}

/// What `mknod` is to create, from the type bits of a mode; `None` for types it cannot create.
pub(crate) fn kind_of_mode(mode: u32) -> Option<NodeKind> {
    match mode & libc::S_IFMT {
        0 | libc::S_IFREG => Some(NodeKind::File),
        libc::S_IFIFO => Some(NodeKind::Fifo),
        libc::S_IFSOCK => Some(NodeKind::Socket),
        libc::S_IFCHR => Some(NodeKind::CharDevice),
        libc::S_IFBLK => Some(NodeKind::BlockDevice),
        _ => None,
    }
}

/// A device number as the kernel packs it in 32 bits: 12 bits of major, 20 of minor. The C library's 64-bit form, which
/// the name space keeps, has the same low 32 bits; devices beyond that range cannot be shown by FUSE and appear as 0.
fn rdev_to_fuse(rdev: u64) -> u32 {
    u32::try_from(rdev).unwrap_or(0)
}

/// The file behind a number of the kernel.
pub(crate) fn ino(number: INodeNo) -> Ino {
    ino_of(number.0)
}

/// A time sent by the kernel.
///
/// The FUSE library mirrors the nanoseconds of times before 1970 (it computes `-(seconds) - nanoseconds` where the
/// kernel means `-(seconds) + nanoseconds`); taking the duration apart gives back what the kernel sent.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let (secs, nanos) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (signed(after), after.subsec_nanos()),
        Err(before) => (-signed(before.duration()), before.duration().subsec_nanos()),
    };
    Timestamp::from_parts(secs, nanos)
}

fn signed(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// A time to set.
pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(at) => SetTime::At(timestamp(at)),
    }
}

/// What an `open` asks for. An open for execution asks for execute permission only, as `execve` does.
pub(crate) fn access_of_open(flags: i32) -> Access {
    if flags & FMODE_EXEC != 0 {
        return Access { exec: true, ..Access::default() };
    }
    match flags & libc::O_ACCMODE {
        libc::O_RDONLY => Access { read: true, ..Access::default() },
        libc::O_WRONLY => Access { write: true, ..Access::default() },
        // O_RDWR, and the undocumented 3 that Linux treats alike in permission checks.
        _ => Access { read: true, write: true, exec: false },
    }
}

/// What `access(2)` asks for.
pub(crate) fn access_of_mask(mask: i32) -> Access {
    Access { read: mask & libc::R_OK != 0, write: mask & libc::W_OK != 0, exec: mask & libc::X_OK != 0 }
}

/// Whether every write through this handle must be durable before it returns.
pub(crate) fn is_sync(flags: i32) -> bool {
    flags & (libc::O_SYNC | libc::O_DSYNC) != 0
}

/// The mode after a write or truncation by somebody without privilege, or after a change of owner; `None` if it stays.
pub(crate) fn without_set_id(mode: u32) -> Option<u32> {
    let mut cleared = mode & !SUID;
    if mode & (SGID | GROUP_EXEC) == SGID | GROUP_EXEC {
        cleared &= !SGID;
    }
    (cleared != mode).then_some(cleared & 0o7777)
}

#[cfg(test)]
#[path = "attr/tests.rs"]
mod tests;

//! What this door asks of the kernel at the start, and answers in the kernel's terms.

use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileType, FopenFlags, INodeNo, InitFlags, KernelConfig, ReplyAttr, ReplyEmpty, ReplyStatfs,
    ReplyXattr, Request,
};
use strata_namespace::NAME_LEN_MAX;
use strata_namespace::StoreSpace;

use super::STATFS_UNIT;
use crate::attr::to_fuse;
use crate::caller::Identity;
use crate::file::Opened;
use crate::metrics::OpKind;
use crate::nodes::Shown;
use crate::options::{MountOptions, WRITE_LEN_MAX};
use crate::xattr::Answer;

/// A file as an entry reply describes it, and how long its attributes may be answered from a cache. The library takes the
/// kernel's inode from the number in the attributes. If that differs from the file's, the attributes are void at once and the kernel
/// asks for those with the file's own number.
pub(super) fn entry_of(shown: &Shown, options: &MountOptions, ttl: Duration) -> (FileAttr, Duration) {
    let own = shown.number == shown.attr.ino.0;
    let (attr, ttl) = attr_of(shown, options, ttl);
    (FileAttr { ino: INodeNo(shown.number), ..attr }, if own { ttl } else { Duration::ZERO })
}

/// A file's attributes, and how long they may be answered from a cache. A kernel that gathers writes may have bytes of a
/// file that seems to have none; one block keeps programs from taking all of it for a hole.
pub(super) fn attr_of(shown: &Shown, options: &MountOptions, ttl: Duration) -> (FileAttr, Duration) {
    let attr = to_fuse(&shown.attr);
    if options.writeback && attr.kind == FileType::RegularFile && attr.blocks == 0 {
        return (FileAttr { blocks: 1, ..attr }, Duration::ZERO);
    }
    (attr, lasting(shown, ttl))
}

pub(super) fn lasting(shown: &Shown, ttl: Duration) -> Duration {
    if shown.lasting { ttl } else { Duration::ZERO }
}

pub(super) fn open_flags(opened: &Opened) -> FopenFlags {
    let mut flags = FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
    flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep_cache);
    flags.set(FopenFlags::FOPEN_DIRECT_IO, opened.direct);
    flags
}

pub(super) fn reply_attr(reply: ReplyAttr, outcome: Result<Shown, Errno>, options: &MountOptions) {
    match outcome {
        Ok(shown) => {
            let (attr, ttl) = attr_of(&shown, options, options.attr_ttl);
            reply.attr(&ttl, &attr);
        }
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn identity(req: &Request, kind: OpKind) -> Identity {
    Identity { uid: req.uid(), gid: req.gid(), pid: req.pid(), kind }
}

pub(super) fn reply_empty(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn reply_xattr(reply: ReplyXattr, outcome: Result<Answer, Errno>) {
    match outcome {
        Ok(Answer::Size(size)) => reply.size(size),
        Ok(Answer::Bytes(bytes)) => reply.data(&bytes),
        Err(errno) => reply.error(errno),
    }
}

/// Agrees with the kernel on what it may do.
pub(super) fn ask_for(config: &mut KernelConfig, options: &MountOptions) {
    let mut wanted = InitFlags::FUSE_ASYNC_READ
        | InitFlags::FUSE_ASYNC_DIO
        | InitFlags::FUSE_ATOMIC_O_TRUNC
        | InitFlags::FUSE_DO_READDIRPLUS
        | InitFlags::FUSE_READDIRPLUS_AUTO
        | InitFlags::FUSE_PARALLEL_DIROPS
        | InitFlags::FUSE_CACHE_SYMLINKS
        | InitFlags::FUSE_EXPORT_SUPPORT
        // Pages are dropped when this side says so, not whenever a size or time looks new (our own writes change both).
        | InitFlags::FUSE_EXPLICIT_INVAL_DATA
        // Saves a getxattr request before every write; set-id bits are then cleared on this side.
        | InitFlags::FUSE_HANDLE_KILLPRIV_V2;
    if options.writeback {
        wanted |= InitFlags::FUSE_WRITEBACK_CACHE;
    }
    for flag in wanted.iter() {
        if config.add_capabilities(flag).is_err() {
            tracing::debug!(?flag, "the kernel does not offer this");
        }
    }
    // Each refusal names the nearest value the kernel takes.
    if let Err(nearest) = config.set_max_write(WRITE_LEN_MAX) {
        let _ = config.set_max_write(nearest);
    }
    if let Err(nearest) = config.set_max_readahead(WRITE_LEN_MAX) {
        let _ = config.set_max_readahead(nearest);
    }
    if let Err(nearest) = config.set_max_background(options.background_max) {
        let _ = config.set_max_background(nearest);
    }
}

/// How full the store is.
pub(super) fn reply_space(reply: ReplyStatfs, space: &StoreSpace) {
    let (blocks, free) = (space.total / STATFS_UNIT, space.free / STATFS_UNIT);
    // Inodes are not allotted; each new one needs at least a block somewhere.
    let unit = STATFS_UNIT as u32;
    reply.statfs(blocks, free, free, space.inodes.saturating_add(free), free, unit, NAME_LEN_MAX as u32, unit);
}

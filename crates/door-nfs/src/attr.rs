//! Attributes between the name space and the wire.

use nfsserve::nfs::{
    fattr3, ftype3, nfsstat3, nfstime3, post_op_attr, pre_op_attr, sattr3, set_atime, set_gid3, set_mode3, set_mtime,
    set_size3, set_uid3, specdata3, wcc_attr, wcc_data,
};
use strata_namespace::{Attr, FILE_LEN_MAX, NodeKind, SetAttr, SetTime};
use strata_seam::Timestamp;

use crate::status::Fail;

/// A time on the wire: 32 unsigned bits of seconds since 1970. Times outside (before 1970, after 2106) are shown as the
/// nearest end rather than as a wrong year.
pub(crate) fn wire_time(time: Timestamp) -> nfstime3 {
    match u32::try_from(time.secs()) {
        Ok(seconds) => nfstime3 { seconds, nseconds: time.nanos() },
        Err(_) if time.0 < 0 => nfstime3 { seconds: 0, nseconds: 0 },
        Err(_) => nfstime3 { seconds: u32::MAX, nseconds: 0 },
    }
}

fn time_of(time: nfstime3) -> Result<Timestamp, Fail> {
    if time.nseconds >= 1_000_000_000 {
        return Err(Fail(nfsstat3::NFS3ERR_INVAL));
    }
    Ok(Timestamp::from_parts(i64::from(time.seconds), time.nseconds))
}

/// Whether two times on the wire are the same.
pub(crate) fn same_time(left: nfstime3, right: nfstime3) -> bool {
    left.seconds == right.seconds && left.nseconds == right.nseconds
}

/// Major and minor number of a device, from the encoding of Linux' `dev_t`.
fn wire_device(rdev: u64) -> specdata3 {
    let major = ((rdev >> 8) & 0xfff) | ((rdev >> 32) & 0xffff_f000);
    let minor = (rdev & 0xff) | ((rdev >> 12) & 0xffff_ff00);
    // Both are masked to 32 bits above.
    specdata3 { specdata1: u32::try_from(major).unwrap_or(0), specdata2: u32::try_from(minor).unwrap_or(0) }
}

/// The inverse of [`wire_device`].
pub(crate) fn device_of(device: specdata3) -> u64 {
    let (major, minor) = (u64::from(device.specdata1), u64::from(device.specdata2));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32)
}

/// Attributes as GETATTR shows them.
pub(crate) fn wire_attr(attr: &Attr, fsid: u64) -> fattr3 {
    fattr3 {
        ftype: match attr.kind {
            NodeKind::File => ftype3::NF3REG,
            NodeKind::Directory => ftype3::NF3DIR,
            NodeKind::Symlink => ftype3::NF3LNK,
            NodeKind::Fifo => ftype3::NF3FIFO,
            NodeKind::Socket => ftype3::NF3SOCK,
            NodeKind::CharDevice => ftype3::NF3CHR,
            NodeKind::BlockDevice => ftype3::NF3BLK,
        },
        mode: attr.mode & 0o7777,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        size: attr.size,
        used: attr.allocated,
        rdev: wire_device(attr.rdev),
        fsid,
        fileid: attr.ino.0,
        atime: wire_time(attr.atime),
        mtime: wire_time(attr.mtime),
        ctime: wire_time(attr.ctime),
    }
}

/// Optional attributes behind an operation.
pub(crate) fn post_op(attr: Option<&Attr>, fsid: u64) -> post_op_attr {
    attr.map_or(post_op_attr::Void, |attr| post_op_attr::attributes(wire_attr(attr, fsid)))
}

/// Attributes before and after an operation.
///
/// A client takes `before` as the promise that nobody else changed the inode in between, and keeps its cache on the
/// strength of it. Only what is known to be of the very moment of the change may be passed; else `None`, and the client
/// looks again.
pub(crate) fn wcc(before: Option<&Attr>, after: Option<&Attr>, fsid: u64) -> wcc_data {
    wcc_data {
        before: before.map_or(pre_op_attr::Void, |attr| {
            pre_op_attr::attributes(wcc_attr {
                size: attr.size,
                mtime: wire_time(attr.mtime),
                ctime: wire_time(attr.ctime),
            })
        }),
        after: post_op(after, fsid),
    }
}

/// Whether two states of an inode are the same to a client's cache.
pub(crate) fn same_to_caches(left: &Attr, right: &Attr) -> bool {
    (left.size, left.mtime, left.ctime) == (right.size, right.mtime, right.ctime)
}

/// A change of attributes as asked for by a client.
///
/// # Errors
/// NFS3ERR_INVAL for a time with too many nanoseconds, NFS3ERR_FBIG for a size no file can have.
pub(crate) fn set_attr(wire: &sattr3) -> Result<SetAttr, Fail> {
    let size = match wire.size {
        set_size3::Void => None,
        set_size3::size(size) if size > FILE_LEN_MAX => return Err(Fail(nfsstat3::NFS3ERR_FBIG)),
        set_size3::size(size) => Some(size),
    };
    Ok(SetAttr {
        mode: match wire.mode {
            set_mode3::Void => None,
            set_mode3::mode(mode) => Some(mode & 0o7777),
        },
        uid: match wire.uid {
            set_uid3::Void => None,
            set_uid3::uid(uid) => Some(uid),
        },
        gid: match wire.gid {
            set_gid3::Void => None,
            set_gid3::gid(gid) => Some(gid),
        },
        size,
        atime: match wire.atime {
            set_atime::DONT_CHANGE => None,
            set_atime::SET_TO_SERVER_TIME => Some(SetTime::Now),
            set_atime::SET_TO_CLIENT_TIME(time) => Some(SetTime::At(time_of(time)?)),
        },
        mtime: match wire.mtime {
            set_mtime::DONT_CHANGE => None,
            set_mtime::SET_TO_SERVER_TIME => Some(SetTime::Now),
            set_mtime::SET_TO_CLIENT_TIME(time) => Some(SetTime::At(time_of(time)?)),
        },
        permit: None,
    })
}

/// The two times that hold the verifier of an exclusive CREATE until the client sets real ones, as Linux' server does.
/// So the durable inode records which request created it, and a retried CREATE is recognised after a crash.
pub(crate) fn verifier_times(verifier: [u8; 8]) -> (Timestamp, Timestamp) {
    let [a, b, c, d, e, f, g, h] = verifier;
    let seconds = |bytes| Timestamp::from_parts(i64::from(u32::from_be_bytes(bytes)), 0);
    (seconds([a, b, c, d]), seconds([e, f, g, h]))
}

/// Whether `attr` is a file that an exclusive CREATE with `verifier` made and nobody used since.
pub(crate) fn made_by(attr: &Attr, verifier: [u8; 8]) -> bool {
    let (mtime, atime) = verifier_times(verifier);
    attr.kind == NodeKind::File && attr.size == 0 && attr.mtime == mtime && attr.atime == atime
}

#[cfg(test)]
mod tests;

//! Arithmetic of mode bits: what is inherited, and what a write or a change of owner clears. Whether a mode permits something is
//! decided in [`crate::authority`].

use crate::records::Inode;
use crate::types::{Access, Attr, Caller, NodeKind};

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
/// In a directory with this bit, an entry is for its owner alone to remove.
pub(crate) const STICKY: u32 = 0o1000;

/// The three bits of the mode that are for this caller: the owner's, the group's or everybody's.
pub(crate) fn bits_for(caller: &Caller, attr: &Attr) -> Access {
    let shift = if caller.uid == attr.uid {
        6
    } else if caller.in_group(attr.gid) {
        3
    } else {
        0
    };
    let bits = attr.mode >> shift;
    Access { read: bits & 4 != 0, write: bits & 2 != 0, exec: bits & 1 != 0 }
}

/// Group and mode of something new in `dir`: a set-gid directory passes its group on, and to directories the bit too.
pub(crate) fn inherit(caller: &Caller, dir: &Attr, kind: NodeKind, mode: u32) -> (u32, u32) {
    let mode = mode & 0o7777;
    if dir.mode & SET_GID == 0 {
        return (caller.gid, mode);
    }
    let mode = match kind {
        NodeKind::Directory => mode | SET_GID,
        _ if !caller.superuser && !caller.in_group(dir.gid) => mode & !SET_GID,
        _ => mode,
    };
    (dir.gid, mode)
}

/// Whether a write by this caller takes set-id bits.
pub(crate) fn loses_set_id(caller: &Caller, attr: &Attr) -> bool {
    !caller.superuser && attr.mode & (SET_UID | SET_GID) != 0
}

/// After a write by anybody but the superuser, set-id bits go.
pub(crate) fn drop_set_id(caller: &Caller, inode: &mut Inode) {
    if loses_set_id(caller, &inode.attr) {
        clear_set_id(inode);
    }
}

/// Takes the set-id bits of a file; set-gid without group execution means something else and stays.
pub(crate) fn clear_set_id(inode: &mut Inode) {
    if inode.attr.kind == NodeKind::File {
        inode.attr.mode &= !SET_UID;
        if inode.attr.mode & 0o010 != 0 {
            inode.attr.mode &= !SET_GID;
        }
    }
}

/// The mode as chmod may set it: a file's set-gid bit goes when its group is not the caller's.
pub(crate) fn chmod(caller: &Caller, attr: &Attr, mode: u32) -> u32 {
    let mode = mode & 0o7777;
    if !caller.superuser && attr.kind != NodeKind::Directory && !caller.in_group(attr.gid) {
        mode & !SET_GID
    } else {
        mode
    }
}

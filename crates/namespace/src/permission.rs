//! Who may do what: mode bits, ownership, sticky bit. The same at every door (invariant RULES).

use crate::error::{ErrorKind, Result, fail};
use crate::record::Inode;
use crate::types::{Access, Attr, Caller, NodeKind};

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

/// What the mode bits give the caller.
pub(crate) fn granted(caller: &Caller, attr: &Attr) -> Access {
    if caller.superuser {
        let exec = attr.kind == NodeKind::Directory || attr.mode & 0o111 != 0;
        return Access { read: true, write: true, exec };
    }
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

/// Refuses unless all asked permissions are granted.
pub(crate) fn require(caller: &Caller, attr: &Attr, asked: Access) -> Result<()> {
    let have = granted(caller, attr);
    if (asked.read && !have.read) || (asked.write && !have.write) || (asked.exec && !have.exec) {
        return Err(fail(
            ErrorKind::AccessDenied,
            format!(
                "uid {} has no right to this; it belongs to uid {}, with mode {:o}",
                caller.uid, attr.uid, attr.mode
            ),
        ));
    }
    Ok(())
}

/// Passing through a directory.
pub(crate) fn search(caller: &Caller, dir: &Attr) -> Result<()> {
    require(caller, dir, Access { exec: true, ..Access::default() })
}

/// Adding or removing entries, but for the top of the tree: [`crate::Namespace::may_add`].
pub(crate) fn change_entries(caller: &Caller, dir: &Attr) -> Result<()> {
    require(caller, dir, Access { write: true, exec: true, read: false })
}

/// Removing or renaming this entry, but for the top of the tree ([`crate::Namespace::may_remove`]): in a sticky directory only its owner, the directory's, or the superuser.
pub(crate) fn remove_entry(caller: &Caller, dir: &Attr, inode: &Attr) -> Result<()> {
    change_entries(caller, dir)?;
    if dir.mode & STICKY != 0 && !caller.superuser && caller.uid != dir.uid && caller.uid != inode.uid {
        return Err(fail(ErrorKind::NotPermitted, "the directory is sticky and the entry belongs to somebody else"));
    }
    Ok(())
}

/// Only the owner and the superuser.
pub(crate) fn own(caller: &Caller, attr: &Attr) -> Result<()> {
    if caller.superuser || caller.uid == attr.uid {
        return Ok(());
    }
    Err(fail(
        ErrorKind::NotPermitted,
        format!("only its owner may do this, which is uid {}, not uid {}", attr.uid, caller.uid),
    ))
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

/// After a write or change of owner by anybody but the superuser, set-id bits go.
pub(crate) fn drop_set_id(caller: &Caller, inode: &mut Inode) {
    if !caller.superuser {
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

//! Who may do what: the one place that decides (invariant RULES).
//!
//! An operation asks [`Namespace::authorize`] when it has read an inode, and goes on with the permit that it gets. It asks with an
//! [`Action`] and a [`Resource`]. The answer follows from mode bits, ownership, the sticky bit, administrators, and the right of a user
//! to make buckets. It is the same at every door, with one exception for protocols that do not open files (see [`reads_without_open`]).

mod action;
pub(crate) mod operations;
pub(crate) mod permit;
mod resource;

use std::collections::HashMap;

use strata_seam::Ino;

use crate::error::{Error, ErrorKind, Result, fail};
use crate::mode::{self, STICKY};
use crate::namespace::Namespace;
use crate::types::{Access, Attr, Caller, Callers, Change, NodeKind, Op, ROOT_INO, STORE};

pub use action::Action;
pub use operations::Operation;
pub use permit::{Permit, Reach};
pub(crate) use resource::Resource;

pub(crate) const READ: Access = Access { read: true, write: false, exec: false };
pub(crate) const WRITE: Access = Access { read: false, write: true, exec: false };
const SEARCH: Access = Access { read: false, write: false, exec: true };

impl Namespace {
    /// Refuses what the caller of an operation may not do. What it returns permits reading content after [`Action::Read`] and
    /// [`Action::Execute`], listing after [`Action::List`], writing content after [`Action::Write`], reading and writing it after
    /// [`Action::KeepPages`], and nothing after any other action.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`] where the mode or a missing right forbids it, [`ErrorKind::NotPermitted`] where it is the owner's or the
    /// administrator's alone, [`ErrorKind::NoAttribute`] for attributes that are hidden from the caller.
    pub(crate) fn authorize<'a>(&self, op: &Op, action: Action, of: impl Into<Resource<'a>>) -> Result<Permit> {
        let of = of.into();
        debug_assert!(
            op.operation().is_none_or(|operation| operation.actions.contains(&action)),
            "{:?} of the door {} does {action:?}, and its row of the table of operations does not say so",
            op.operation(),
            op.caller.door.name,
        );
        self.decide(&op.caller, action, of)?;
        let access = Access {
            read: matches!(action, Action::Read | Action::List | Action::Execute | Action::KeepPages),
            write: matches!(action, Action::Write | Action::KeepPages),
            exec: false,
        };
        Ok(Permit { ino: of.ino(), access })
    }

    /// [`Namespace::authorize`] where a refusal is no error.
    pub(crate) fn may<'a>(&self, op: &Op, action: Action, of: impl Into<Resource<'a>>) -> bool {
        self.authorize(op, action, of).is_ok()
    }

    /// Permission to read and write the content of a file, as far as `asked` says. It is checked once, now, and holds for as long as the
    /// caller keeps it. For doors without opens (NFS), which ask with every call.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`], [`ErrorKind::Stale`].
    pub fn permit(&self, op: &Op, ino: Ino, asked: Access) -> Result<Permit> {
        self.permit_of(op, &self.inode_alone(op, ino)?.attr, asked)
    }

    /// The permission of [`Namespace::permit`] for an inode that was read already.
    pub(crate) fn permit_of(&self, op: &Op, attr: &Attr, asked: Access) -> Result<Permit> {
        let mut permit = Permit { ino: attr.ino, access: Access::default() };
        if asked.read {
            permit.access.read = self.authorize(op, Action::Read, attr)?.access.read;
        }
        if asked.write {
            permit.access.write = self.authorize(op, Action::Write, attr)?.access.write;
        }
        if asked.exec {
            permit.access.read = self.authorize(op, Action::Execute, attr)?.access.read;
        }
        Ok(permit)
    }

    /// Permission for the mount's kernel to read and write the pages that it keeps of a file, where no open handle permits it. The kernel
    /// reads a page before it writes a part of it, and may write one after the handle was closed.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`] at any other door, [`ErrorKind::Stale`].
    pub fn permit_pages(&self, op: &Op, ino: Ino) -> Result<Permit> {
        self.authorize(op, Action::KeepPages, &self.inode_alone(op, ino)?.attr)
    }

    /// The permit by which content is reached; refused where it is for something else than what is `asked`.
    pub(crate) fn reach(&self, op: &Op, reach: Reach, asked: Access) -> Result<Permit> {
        match reach {
            Reach::Now(ino) => self.permit(op, ino, asked),
            Reach::By(permit) if asked.read && !permit.access.read => Err(opened_otherwise("reading")),
            Reach::By(permit) if asked.write && !permit.access.write => Err(opened_otherwise("writing")),
            Reach::By(permit) => Ok(permit),
        }
    }

    /// The permit for a call that needs the right to read or the right to write, whichever the caller has.
    pub(crate) fn reach_any(&self, op: &Op, reach: Reach) -> Result<Permit> {
        match reach {
            Reach::Now(ino) => self.permit(op, ino, READ),
            Reach::By(permit) => Ok(permit),
        }
    }

    /// The creator of a file may use the new handle for what it was opened for, whatever the file's mode.
    pub(crate) fn permit_of_made(&self, op: &Op, made: &Attr, asked: Access) -> Permit {
        debug_assert_eq!(made.uid, op.caller.uid, "a file belongs to who makes it");
        Permit { ino: made.ino, access: Access { exec: false, ..asked } }
    }

    fn decide(&self, caller: &Caller, action: Action, of: Resource<'_>) -> Result<()> {
        match (action, of) {
            // Everybody may do these.
            (
                Action::ReadAttributes
                | Action::ReadProperties
                | Action::ReadBucket
                | Action::ListBuckets
                | Action::ReadSpace,
                _,
            ) => Ok(()),
            (Action::Search | Action::Execute, Resource::Inode(attr)) => self.decide_by_mode(caller, attr, SEARCH),
            (Action::List | Action::ReadXattr, Resource::Inode(attr)) => self.decide_by_mode(caller, attr, READ),
            (Action::Read, Resource::Inode(attr)) if reads_without_open(caller, attr) => Ok(()),
            (Action::Read, Resource::Inode(attr)) => self.decide_by_mode(caller, attr, READ),
            (Action::Write, Resource::Inode(attr)) if owns_without_open(caller, attr) => Ok(()),
            (
                Action::Write | Action::MoveDirectory | Action::WriteXattr | Action::WriteProperty | Action::Lock,
                Resource::Inode(attr),
            ) => self.decide_by_mode(caller, attr, WRITE),
            (Action::KeepPages, Resource::Inode(_)) if caller.door.keeps_pages => Ok(()),
            (Action::Add, Resource::Inode(dir)) => self.decide_add(caller, dir),
            (Action::Remove, Resource::Entry { dir, leads_to }) => self.decide_remove(caller, dir, leads_to),
            (
                Action::SetMode
                | Action::SetTimes
                | Action::SetBucket
                | Action::UnmarkFolder
                | Action::WriteSystemXattr,
                Resource::Inode(attr),
            ) => own(caller, attr),
            (Action::Touch, Resource::Inode(attr)) if own(caller, attr).is_ok() => Ok(()),
            (Action::Touch, Resource::Inode(attr)) => self.decide_by_mode(caller, attr, WRITE),
            (Action::SetOwner, Resource::Ownership { inode, uid, gid }) => give(caller, inode, uid, gid),
            (Action::UseUpload, Resource::Of { uid }) if caller.superuser || caller.uid == uid => Ok(()),
            (Action::UseUpload, _) => Err(fail(ErrorKind::AccessDenied, "the upload belongs to somebody else")),
            (Action::Unlock, Resource::Lock { own }) if own || caller.superuser => Ok(()),
            (Action::Unlock, _) => {
                Err(fail(ErrorKind::NotPermitted, "the lock belongs to another user; it is still held"))
            }
            (
                Action::MakeDevice
                | Action::ReadTrustedXattr
                | Action::WriteTrustedXattr
                | Action::LockRoot
                | Action::Administer,
                _,
            ) if caller.superuser => Ok(()),
            (Action::MakeDevice, _) => Err(fail(ErrorKind::NotPermitted, "only the superuser makes device nodes")),
            (Action::ReadTrustedXattr, _) => Err(fail(ErrorKind::NoAttribute, "no attribute of this name")),
            (Action::WriteTrustedXattr, _) => {
                Err(fail(ErrorKind::NotPermitted, "attributes of the system are the superuser's"))
            }
            (Action::LockRoot, _) => {
                Err(fail(ErrorKind::NotPermitted, "only an administrator may lock the root; nothing was locked"))
            }
            (Action::Administer, _) => {
                Err(fail(ErrorKind::NotPermitted, "only an administrator may do this; nothing was changed"))
            }
            (Action::KeepPages, _) => Err(fail(ErrorKind::NotPermitted, "only the mount's kernel keeps pages")),
            // No operation asks for such a pair; it is refused.
            (action, of) => Err(fail(ErrorKind::NotPermitted, format!("{action:?} cannot be done to {of:?}"))),
        }
    }

    /// What the mode bits say, and at the top the right of a user to make something there.
    fn granted(&self, caller: &Caller, attr: &Attr) -> Access {
        let granted = by_mode(caller, attr);
        match (attr.ino == ROOT_INO).then(|| self.right_at_top(caller)).flatten() {
            None => granted,
            Some(write) => Access { write, ..granted },
        }
    }

    fn decide_by_mode(&self, caller: &Caller, attr: &Attr, asked: Access) -> Result<()> {
        let have = by_mode(caller, attr);
        if (asked.read && !have.read) || (asked.write && !have.write) || (asked.exec && !have.exec) {
            let (uid, owner, mode) = (caller.uid, attr.uid, attr.mode);
            let what = format!("uid {uid} has no right to this; it belongs to uid {owner}, with mode {mode:o}");
            return Err(fail(ErrorKind::AccessDenied, what));
        }
        Ok(())
    }

    /// Adding an entry: by the mode of the directory, at the top by a right of the user.
    fn decide_add(&self, caller: &Caller, dir: &Attr) -> Result<()> {
        match (dir.ino == ROOT_INO).then(|| self.right_at_top(caller)).flatten() {
            None => self.decide_by_mode(caller, dir, Access { write: true, exec: true, read: false }),
            Some(true) => Ok(()),
            Some(false) => Err(fail(
                ErrorKind::AccessDenied,
                "this user may make nothing at the top of the tree, no folder (which is a bucket) and no file; an administrator gives the \
                 right with `strata user set NAME --may-make-buckets=true`",
            )),
        }
    }

    /// Removing, renaming or replacing an entry. In a sticky directory that is for the entry's owner, the directory's, or the superuser;
    /// at the top, who is known as a user does it with what is theirs.
    fn decide_remove(&self, caller: &Caller, dir: &Attr, leads_to: &Attr) -> Result<()> {
        if (dir.ino == ROOT_INO).then(|| self.right_at_top(caller)).flatten().is_some() {
            return own(caller, leads_to);
        }
        self.decide_by_mode(caller, dir, Access { write: true, exec: true, read: false })?;
        let owns = caller.superuser || caller.uid == dir.uid || caller.uid == leads_to.uid;
        if dir.mode & STICKY != 0 && !owns {
            return Err(fail(
                ErrorKind::NotPermitted,
                "the directory is sticky and the entry belongs to somebody else",
            ));
        }
        Ok(())
    }

    /// Whether the caller may make something at the top by a right of their own; `None` if the store does not know the caller.
    fn right_at_top(&self, caller: &Caller) -> Option<bool> {
        if caller.superuser {
            return Some(true);
        }
        match caller.door.callers {
            Callers::Users => Some(caller.may_make_buckets),
            Callers::Uids => self.rights.read().get(&caller.uid).copied(),
            Callers::Store => None,
        }
    }

    /// Says which users of the store may make buckets, by uid; called whenever users change. Doors that know a caller only by the uid
    /// (the mount, NFS) use it. For a uid that is not in the map, the mode of the root directory decides what may be made at the top.
    pub fn set_rights(&self, may_make_buckets: HashMap<u32, bool>) {
        let before = std::mem::replace(&mut *self.rights.write(), may_make_buckets);
        if before != *self.rights.read() {
            // The attributes of the root that the mount's kernel caches depend on these rights.
            self.feed.publish(&STORE, vec![Change::Attr(ROOT_INO)]);
        }
    }

    /// The mode of an inode for a kernel that checks the mode before it asks the store. If some user may make buckets, the root is shown
    /// as writable for everybody who may search it; the calls of the name space ([`Namespace::mkdir`] and others) then refuse who may
    /// not.
    #[must_use]
    pub fn mode_for_kernel(&self, attr: &Attr) -> u32 {
        let judged_by_mode = |uid: u32| uid == 0 || uid == attr.uid && attr.mode & 0o200 != 0;
        let by_right = || self.rights.read().iter().any(|(uid, may)| *may && !judged_by_mode(*uid));
        if attr.ino == ROOT_INO && by_right() { attr.mode | (attr.mode & 0o111) << 1 } else { attr.mode }
    }

    /// Checks that the caller may give commands for the store as a whole, those that a server answers on its control socket.
    ///
    /// # Errors
    /// [`ErrorKind::NotPermitted`].
    pub fn administer(&self, op: &Op) -> Result<()> {
        self.authorize(op, Action::Administer, Resource::Store).map(drop)
    }

    /// Which of the asked permissions the caller has, by access(2): what the mode says, and at the top the user's rights.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`].
    pub fn access(&self, op: &Op, ino: Ino, asked: Access) -> Result<Access> {
        let attr = self.inode_alone(op, ino)?.attr;
        self.authorize(op, Action::ReadAttributes, &attr)?;
        let have = self.granted(&op.caller, &attr);
        Ok(Access { read: asked.read && have.read, write: asked.write && have.write, exec: asked.exec && have.exec })
    }

    /// Whether the caller may give this inode to this owner and group.
    #[must_use]
    pub fn may_give(&self, op: &Op, attr: &Attr, uid: u32, gid: u32) -> bool {
        self.may(op, Action::SetOwner, Resource::Ownership { inode: attr, uid, gid })
    }

    /// Checks whether the caller may remove or rename the entry with attributes `attr` from the directory with attributes `dir`. Changes
    /// nothing; for doors that have to know before they begin.
    ///
    /// # Errors
    /// [`ErrorKind::AccessDenied`], [`ErrorKind::NotPermitted`].
    pub fn may_take_out(&self, op: &Op, dir: &Attr, attr: &Attr) -> Result<()> {
        self.authorize(op, Action::Search, dir)?;
        self.authorize(op, Action::Remove, (dir, attr))?;
        Ok(())
    }
}

/// What the mode bits give the caller.
fn by_mode(caller: &Caller, attr: &Attr) -> Access {
    if caller.superuser {
        let exec = attr.kind == NodeKind::Directory || attr.mode & 0o111 != 0;
        return Access { read: true, write: true, exec };
    }
    mode::bits_for(caller, attr)
}

/// Whether a client of a protocol without an open may read a file: it checks permission when a file is opened, the server with each
/// request, and in between the mode may have changed. So the owner always may, and leave to execute is leave to read, as a program
/// that is run is read page by page. Other NFS servers do the same.
fn reads_without_open(caller: &Caller, attr: &Attr) -> bool {
    let executes = || attr.kind == NodeKind::File && by_mode(caller, attr).exec;
    owns_without_open(caller, attr) || !caller.door.has_opens && executes()
}

/// Whether the caller may write a file as its owner, whatever its mode: at doors without opens.
fn owns_without_open(caller: &Caller, attr: &Attr) -> bool {
    !caller.door.has_opens && attr.kind != NodeKind::Directory && caller.uid == attr.uid
}

/// Only the owner and the superuser.
fn own(caller: &Caller, attr: &Attr) -> Result<()> {
    if caller.superuser || caller.uid == attr.uid {
        return Ok(());
    }
    let (owner, uid) = (attr.uid, caller.uid);
    Err(fail(ErrorKind::NotPermitted, format!("only its owner may do this, which is uid {owner}, not uid {uid}")))
}

/// The superuser gives to anybody, the owner to groups that the owner is in.
fn give(caller: &Caller, inode: &Attr, uid: u32, gid: u32) -> Result<()> {
    let to_own_group = || uid == inode.uid && (gid == inode.gid || caller.in_group(gid));
    if caller.superuser || (caller.uid == inode.uid && to_own_group()) {
        return Ok(());
    }
    Err(fail(ErrorKind::NotPermitted, format!("uid {} may not give this away", caller.uid)))
}

fn opened_otherwise(what: &str) -> Error {
    fail(ErrorKind::AccessDenied, format!("the file was not opened for {what}; nothing was changed"))
}

#[cfg(test)]
#[path = "authority/tests.rs"]
mod tests;

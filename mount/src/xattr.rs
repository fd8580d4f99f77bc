//! Extended attributes: which names are held, who sees them, and the size protocol.
//!
//! `user.` and `security.` are held for everybody the kernel lets in, `trusted.` for root. ACLs
//! (`system.posix_acl_*`) are refused with EOPNOTSUPP: mode bits are what every door shares.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use strata_namespace::{XATTR_LEN_MAX, XattrMode};
use strata_seam::Ino;

use crate::caller::Identity;
use crate::door::MountDoor;
use crate::errno::Refusal;

/// How a value or list is answered.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Its length in bytes.
    Size(u32),
    /// The bytes.
    Bytes(Vec<u8>),
}

/// Applies the size protocol: a room of zero asks for the length, a room too small is ERANGE.
pub(crate) fn answer(bytes: Vec<u8>, room: u32) -> Result<Answer, Refusal> {
    let len = u32::try_from(bytes.len()).map_err(|_| Refusal(libc::E2BIG))?;
    match room {
        0 => Ok(Answer::Size(len)),
        room if room < len => Err(Refusal(libc::ERANGE)),
        _ => Ok(Answer::Bytes(bytes)),
    }
}

/// Whether a name is of a kind that is held, for this caller.
pub(crate) fn is_held(name: &[u8], uid: u32) -> bool {
    let known = |prefix: &[u8]| name.len() > prefix.len() && name.starts_with(prefix);
    known(b"user.") || known(b"security.") || (uid == 0 && known(b"trusted."))
}

/// What the flags of `setxattr` ask; `None` for flags that make no sense.
pub(crate) fn mode(flags: i32) -> Option<XattrMode> {
    match flags {
        0 => Some(XattrMode::Any),
        libc::XATTR_CREATE => Some(XattrMode::Create),
        libc::XATTR_REPLACE => Some(XattrMode::Replace),
        _ => None,
    }
}

/// The names as `listxattr` gives them: each ended by a NUL.
pub(crate) fn join(names: &[Vec<u8>], uid: u32) -> Vec<u8> {
    let mut list = Vec::with_capacity(names.iter().map(|name| name.len() + 1).sum());
    for name in names.iter().filter(|name| is_held(name, uid)) {
        list.extend_from_slice(name);
        list.push(0);
    }
    list
}

impl MountDoor {
    fn held<'a>(&self, who: Identity, name: &'a OsStr) -> Result<&'a [u8], Refusal> {
        if is_held(name.as_bytes(), who.uid) { Ok(name.as_bytes()) } else { Err(Refusal(libc::EOPNOTSUPP)) }
    }

    pub(crate) fn get_xattr(&self, who: Identity, ino: Ino, name: &OsStr, room: u32) -> Result<Answer, Refusal> {
        let name = self.held(who, name)?;
        answer(self.callers.run(&self.ns, who, |op| self.ns.get_xattr(op, ino, name))?, room)
    }

    pub(crate) fn set_xattr(
        &self,
        who: Identity,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<(), Refusal> {
        let name = self.held(who, name)?;
        let mode = mode(flags).ok_or(Refusal(libc::EINVAL))?;
        if value.len() > XATTR_LEN_MAX {
            return Err(Refusal(libc::E2BIG));
        }
        Ok(self.callers.run(&self.ns, who, |op| self.ns.set_xattr(op, ino, name, value, mode))?)
    }

    pub(crate) fn list_xattrs(&self, who: Identity, ino: Ino, room: u32) -> Result<Answer, Refusal> {
        let names = self.callers.run(&self.ns, who, |op| self.ns.list_xattrs(op, ino))?;
        answer(join(&names, who.uid), room)
    }

    pub(crate) fn remove_xattr(&self, who: Identity, ino: Ino, name: &OsStr) -> Result<(), Refusal> {
        let name = self.held(who, name)?;
        Ok(self.callers.run(&self.ns, who, |op| self.ns.remove_xattr(op, ino, name))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_of_zero_asks_for_the_size_and_a_small_one_is_refused() {
        assert_eq!(answer(vec![1, 2, 3], 0), Ok(Answer::Size(3)));
        assert_eq!(answer(vec![1, 2, 3], 2), Err(Refusal(libc::ERANGE)));
        assert_eq!(answer(vec![1, 2, 3], 3), Ok(Answer::Bytes(vec![1, 2, 3])));
        assert_eq!(answer(vec![], 0), Ok(Answer::Size(0)));
    }

    #[test]
    fn trusted_names_exist_for_root_only_and_acls_for_nobody() {
        for (name, root, other) in [
            ("user.a", true, true),
            ("security.capability", true, true),
            ("trusted.overlay", true, false),
            ("system.posix_acl_access", false, false),
            ("user.", false, false),
            ("a", false, false),
        ] {
            assert_eq!((is_held(name.as_bytes(), 0), is_held(name.as_bytes(), 7)), (root, other), "{name}");
        }
    }

    #[test]
    fn a_list_ends_every_name_with_nul_and_leaves_hidden_ones_out() {
        let names = [b"user.a".to_vec(), b"trusted.b".to_vec()];
        assert_eq!(join(&names, 0), b"user.a\0trusted.b\0");
        assert_eq!(join(&names, 5), b"user.a\0");
    }

    #[test]
    fn create_and_replace_together_make_no_sense() {
        assert_eq!(mode(libc::XATTR_CREATE), Some(XattrMode::Create));
        assert_eq!(mode(libc::XATTR_REPLACE), Some(XattrMode::Replace));
        assert_eq!(mode(libc::XATTR_CREATE | libc::XATTR_REPLACE), None);
    }
}

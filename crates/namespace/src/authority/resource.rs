//! The resources about which the authority can be asked.

use strata_seam::Ino;

use crate::records::Bucket;
use crate::types::Attr;

/// What an action is done to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource<'a> {
    /// The store as a whole.
    Store,
    /// An inode.
    Inode(&'a Attr),
    /// An entry of a directory, and what it leads to.
    Entry { dir: &'a Attr, leads_to: &'a Attr },
    /// An inode, and the owner and group it is to get.
    Ownership { inode: &'a Attr, uid: u32, gid: u32 },
    /// A bucket.
    Bucket(&'a Bucket),
    /// What was begun under this uid: an upload.
    Of { uid: u32 },
    /// A lock, and whether the operation submits it as its holder.
    Lock { own: bool },
}

impl Resource<'_> {
    /// The inode that a permit for it is about; 0 for what is none.
    pub(super) fn ino(&self) -> Ino {
        match self {
            Self::Inode(attr) | Self::Entry { leads_to: attr, .. } | Self::Ownership { inode: attr, .. } => attr.ino,
            Self::Bucket(bucket) => bucket.root,
            Self::Store | Self::Of { .. } | Self::Lock { .. } => Ino(0),
        }
    }
}

impl<'a> From<&'a Attr> for Resource<'a> {
    fn from(attr: &'a Attr) -> Self {
        Self::Inode(attr)
    }
}

impl<'a> From<&'a Bucket> for Resource<'a> {
    fn from(bucket: &'a Bucket) -> Self {
        Self::Bucket(bucket)
    }
}

impl<'a> From<(&'a Attr, &'a Attr)> for Resource<'a> {
    fn from((dir, leads_to): (&'a Attr, &'a Attr)) -> Self {
        Self::Entry { dir, leads_to }
    }
}

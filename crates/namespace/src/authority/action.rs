//! What can be asked of the authority, and of what.

use strata_seam::Ino;

use crate::records::Bucket;
use crate::types::{Access, Attr};

/// What somebody wants to do. Every operation of every door is made of these (see [`crate::OPERATIONS`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Action {
    /// Pass through a directory to what it holds.
    Search,
    /// List the names in a directory.
    List,
    /// Read attributes, metadata, the target of a symbolic link, or the names of extended attributes.
    ReadAttributes,
    /// Read the content of a file.
    Read,
    /// Write, truncate or replace the content of a file.
    Write,
    /// Run a file, which reads it.
    Execute,
    /// Fill and store the pages of the mount's kernel, which gives them to nobody but as the open of a file permitted.
    KeepPages,
    /// Add an entry to a directory; at the top of the tree that is a bucket or a file of the built-in bucket.
    Add,
    /// Remove, rename or replace an entry of a directory.
    Remove,
    /// Move a directory to another parent.
    MoveDirectory,
    /// Make a device node.
    MakeDevice,
    /// Change the mode.
    SetMode,
    /// Change owner and group.
    SetOwner,
    /// Set times to given ones.
    SetTimes,
    /// Set times to now.
    Touch,
    /// Read an extended attribute of the `user.` class.
    ReadXattr,
    /// Read an extended attribute of the `trusted.` class.
    ReadTrustedXattr,
    /// Write or remove an extended attribute of the `user.` class.
    WriteXattr,
    /// Write or remove an extended attribute of the `system.` class, access control lists among them.
    WriteSystemXattr,
    /// Write or remove an extended attribute of the `trusted.` or `security.` class.
    WriteTrustedXattr,
    /// Read the dead properties of WebDAV.
    ReadProperties,
    /// Write or remove a dead property of WebDAV.
    WriteProperty,
    /// Have a directory that an S3 client made be no object any more.
    UnmarkFolder,
    /// Read the properties of a bucket, and that it exists.
    ReadBucket,
    /// Change the properties of a bucket.
    SetBucket,
    /// List the buckets.
    ListBuckets,
    /// Read, fill, complete or abort a multipart upload.
    UseUpload,
    /// Lock a file or directory.
    Lock,
    /// Lock the whole tree.
    LockRoot,
    /// Refresh or end a lock.
    Unlock,
    /// Read how much room there is.
    ReadSpace,
    /// Change or read what is the store's own: settings, users, locks of others, cursors of events.
    Administer,
}

impl Action {
    /// Every action.
    pub const ALL: &[Self] = &[
        Self::Search,
        Self::List,
        Self::ReadAttributes,
        Self::Read,
        Self::Write,
        Self::Execute,
        Self::KeepPages,
        Self::Add,
        Self::Remove,
        Self::MoveDirectory,
        Self::MakeDevice,
        Self::SetMode,
        Self::SetOwner,
        Self::SetTimes,
        Self::Touch,
        Self::ReadXattr,
        Self::ReadTrustedXattr,
        Self::WriteXattr,
        Self::WriteSystemXattr,
        Self::WriteTrustedXattr,
        Self::ReadProperties,
        Self::WriteProperty,
        Self::UnmarkFolder,
        Self::ReadBucket,
        Self::SetBucket,
        Self::ListBuckets,
        Self::UseUpload,
        Self::Lock,
        Self::LockRoot,
        Self::Unlock,
        Self::ReadSpace,
        Self::Administer,
    ];
}

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

/// What the authority permitted: reading, writing or both, of one inode. Nobody but the authority makes one, and no content is read
/// or written without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permit {
    pub(super) ino: Ino,
    pub(super) access: Access,
}

impl Permit {
    /// The inode it is about.
    #[must_use]
    pub fn ino(self) -> Ino {
        self.ino
    }

    /// What it permits.
    #[must_use]
    pub fn access(self) -> Access {
        self.access
    }
}

/// By what right an operation reaches the content of a file: by a permit that it got when it opened the file, or by asking now.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// Asked for with this very call, of the inode with this number.
    Now(Ino),
    /// Permitted before.
    By(Permit),
}

impl Reach {
    /// The inode it is about.
    #[must_use]
    pub fn ino(self) -> Ino {
        match self {
            Self::Now(ino) => ino,
            Self::By(permit) => permit.ino,
        }
    }
}

impl From<Ino> for Reach {
    fn from(ino: Ino) -> Self {
        Self::Now(ino)
    }
}

impl From<Permit> for Reach {
    fn from(permit: Permit) -> Self {
        Self::By(permit)
    }
}

//! The actions for which the authority can be asked.

/// One thing that a caller wants to do with one inode or with the store, as the authority is asked. Each operation of a door lists those
/// it may need ([`crate::Operation`]).
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
    /// All actions, for tables and tests.
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

//! Every operation of every door, and the actions it may ask the authority for.

use super::Action::{self, *};
use crate::types::Door;

/// An operation as its door calls it: an S3 operation, a WebDAV method, an NFS procedure, a FUSE request, or a command that a server
/// answers.
#[derive(PartialEq, Eq, Debug)]
pub struct Operation {
    /// The door.
    pub door: Door,
    /// Its name there.
    pub name: &'static str,
    /// What it is made of: the authority is asked for these and for nothing else.
    pub actions: &'static [Action],
}

const fn row(door: Door, name: &'static str, actions: &'static [Action]) -> Operation {
    Operation { door, name, actions }
}

/// The row of an operation.
///
/// # Panics
/// If there is none: an operation that the table does not know is not served.
#[must_use]
pub fn operation(door: Door, name: &str) -> &'static Operation {
    let known = |row: &&Operation| row.door == door && row.name == name;
    OPERATIONS.iter().find(known).unwrap_or_else(|| panic!("the table of operations has no row for {door:?} {name}"))
}

/// The rows of a door's operations, in the order of their names.
///
/// # Panics
/// As [`operation`].
#[must_use]
pub fn operations_of<'n>(door: Door, names: impl IntoIterator<Item = &'n str>) -> Vec<&'static Operation> {
    names.into_iter().map(|name| operation(door, name)).collect()
}

/// The table. While an operation of a door has no row, the door answers nothing, and its tests fail.
#[rustfmt::skip]
pub static OPERATIONS: &[Operation] = &[
    row(Door::S3, "Other", &[]),
    row(Door::S3, "AbortMultipartUpload", &[Search, ReadBucket, UseUpload]),
    row(Door::S3, "CompleteMultipartUpload", &[Search, Read, Write, Add, SetMode, ReadBucket, UseUpload]),
    row(Door::S3, "CopyObject", &[Search, Read, Write, Add, SetMode, ReadBucket]),
    row(Door::S3, "CreateBucket", &[Search, Add, ReadBucket]),
    row(Door::S3, "CreateMultipartUpload", &[Search, Add, ReadBucket]),
    row(Door::S3, "DeleteBucket", &[Remove, ReadBucket]),
    row(Door::S3, "DeleteObject", &[Search, Remove, UnmarkFolder, ReadBucket]),
    row(Door::S3, "DeleteObjects", &[Search, Remove, UnmarkFolder, ReadBucket]),
    row(Door::S3, "GetBucketAccelerateConfiguration", &[ReadBucket]),
    row(Door::S3, "GetBucketAcl", &[ReadBucket]),
    row(Door::S3, "GetBucketAnalyticsConfiguration", &[ReadBucket]),
    row(Door::S3, "GetBucketCors", &[ReadBucket]),
    row(Door::S3, "GetBucketEncryption", &[ReadBucket]),
    row(Door::S3, "GetBucketIntelligentTieringConfiguration", &[ReadBucket]),
    row(Door::S3, "GetBucketInventoryConfiguration", &[ReadBucket]),
    row(Door::S3, "GetBucketLifecycleConfiguration", &[ReadBucket]),
    row(Door::S3, "GetBucketLocation", &[ReadBucket]),
    row(Door::S3, "GetBucketLogging", &[ReadBucket]),
    row(Door::S3, "GetBucketMetadataTableConfiguration", &[ReadBucket]),
    row(Door::S3, "GetBucketMetricsConfiguration", &[ReadBucket]),
    row(Door::S3, "GetBucketNotificationConfiguration", &[ReadBucket]),
    row(Door::S3, "GetBucketOwnershipControls", &[ReadBucket]),
    row(Door::S3, "GetBucketPolicy", &[ReadBucket]),
    row(Door::S3, "GetBucketPolicyStatus", &[ReadBucket]),
    row(Door::S3, "GetBucketReplication", &[ReadBucket]),
    row(Door::S3, "GetBucketRequestPayment", &[ReadBucket]),
    row(Door::S3, "GetBucketTagging", &[ReadBucket]),
    row(Door::S3, "GetBucketVersioning", &[ReadBucket]),
    row(Door::S3, "GetBucketWebsite", &[ReadBucket]),
    row(Door::S3, "GetObject", &[Search, Read, ReadBucket]),
    row(Door::S3, "GetObjectAcl", &[Search, Read, ReadBucket]),
    row(Door::S3, "GetObjectAttributes", &[Search, Read, ReadBucket]),
    row(Door::S3, "GetObjectLegalHold", &[Search, Read, ReadBucket]),
    row(Door::S3, "GetObjectLockConfiguration", &[ReadBucket]),
    row(Door::S3, "GetObjectRetention", &[Search, Read, ReadBucket]),
    row(Door::S3, "GetObjectTagging", &[Search, Read, ReadBucket]),
    row(Door::S3, "GetPublicAccessBlock", &[ReadBucket]),
    row(Door::S3, "HeadBucket", &[ReadBucket]),
    row(Door::S3, "HeadObject", &[Search, Read, ReadBucket]),
    row(Door::S3, "ListBucketAnalyticsConfigurations", &[ReadBucket]),
    row(Door::S3, "ListBucketIntelligentTieringConfigurations", &[ReadBucket]),
    row(Door::S3, "ListBucketInventoryConfigurations", &[ReadBucket]),
    row(Door::S3, "ListBucketMetricsConfigurations", &[ReadBucket]),
    row(Door::S3, "ListBuckets", &[ReadBucket, ListBuckets]),
    row(Door::S3, "ListMultipartUploads", &[Search, List, ReadBucket]),
    row(Door::S3, "ListObjectVersions", &[Search, List, ReadAttributes, ReadBucket]),
    row(Door::S3, "ListObjects", &[Search, List, ReadAttributes, ReadBucket]),
    row(Door::S3, "ListObjectsV2", &[Search, List, ReadAttributes, ReadBucket]),
    row(Door::S3, "ListParts", &[Search, ReadBucket, UseUpload]),
    row(Door::S3, "PostObject", &[Search, Write, Add, SetMode, ReadBucket]),
    row(Door::S3, "PutObject", &[Search, Write, Add, SetMode, ReadBucket]),
    row(Door::S3, "UploadPart", &[Search, ReadBucket, UseUpload]),
    row(Door::S3, "UploadPartCopy", &[Search, Read, ReadBucket, UseUpload]),
    row(Door::WebDav, "GET", &[Search, List, ReadAttributes, Read, ReadBucket]),
    row(Door::WebDav, "HEAD", &[Search, List, ReadAttributes, Read, ReadBucket]),
    row(Door::WebDav, "PUT", &[Search, ReadAttributes, Write, Add, SetTimes, ReadBucket]),
    row(Door::WebDav, "PATCH", &[Search, ReadAttributes, Write, Add, ReadBucket]),
    row(Door::WebDav, "DELETE", &[Search, List, ReadAttributes, Remove, ReadBucket]),
    row(Door::WebDav, "MKCOL", &[Search, ReadAttributes, Add, ReadBucket]),
    row(Door::WebDav, "COPY", &[Search, List, ReadAttributes, Read, Write, Add, Remove, SetMode, SetTimes, ReadProperties, WriteProperty, ReadBucket]),
    row(Door::WebDav, "MOVE", &[Search, List, ReadAttributes, Read, Write, Add, Remove, MoveDirectory, SetMode, SetTimes, ReadProperties, WriteProperty, ReadBucket]),
    row(Door::WebDav, "PROPFIND", &[Search, List, ReadAttributes, ReadProperties, ReadBucket, ReadSpace]),
    row(Door::WebDav, "PROPPATCH", &[Search, ReadAttributes, SetMode, SetTimes, Touch, ReadProperties, WriteProperty, ReadBucket]),
    row(Door::WebDav, "LOCK", &[Search, ReadAttributes, Write, Add, ReadBucket, Lock, LockRoot, Unlock]),
    row(Door::WebDav, "UNLOCK", &[Search, ReadAttributes, ReadBucket, Unlock]),
    row(Door::WebDav, "OPTIONS", &[Search, ReadAttributes, ReadBucket]),
    row(Door::WebDav, "other", &[Search, ReadAttributes, ReadBucket]),
    row(Door::Nfs, "null", &[]),
    row(Door::Nfs, "getattr", &[ReadAttributes]),
    row(Door::Nfs, "setattr", &[ReadAttributes, Write, SetMode, SetOwner, SetTimes, Touch]),
    row(Door::Nfs, "lookup", &[Search, ReadAttributes, ReadBucket]),
    row(Door::Nfs, "access", &[ReadAttributes]),
    row(Door::Nfs, "readlink", &[ReadAttributes]),
    row(Door::Nfs, "read", &[ReadAttributes, Read]),
    row(Door::Nfs, "write", &[ReadAttributes, Write]),
    row(Door::Nfs, "create", &[Search, ReadAttributes, Write, Add, SetMode, SetOwner, SetTimes, Touch]),
    row(Door::Nfs, "mkdir", &[Search, ReadAttributes, Add, SetMode, SetOwner, SetTimes, Touch]),
    row(Door::Nfs, "symlink", &[Search, ReadAttributes, Add, SetMode, SetOwner, SetTimes, Touch]),
    row(Door::Nfs, "mknod", &[Search, ReadAttributes, Add, MakeDevice, SetMode, SetOwner, SetTimes, Touch]),
    row(Door::Nfs, "remove", &[Search, ReadAttributes, Remove]),
    row(Door::Nfs, "rmdir", &[Search, ReadAttributes, Remove]),
    row(Door::Nfs, "rename", &[Search, ReadAttributes, Add, Remove, MoveDirectory]),
    row(Door::Nfs, "link", &[Search, ReadAttributes, Add]),
    row(Door::Nfs, "readdir", &[Search, List, ReadAttributes, ReadBucket]),
    row(Door::Nfs, "readdirplus", &[Search, List, ReadAttributes, ReadBucket]),
    row(Door::Nfs, "fsstat", &[ReadAttributes, ReadSpace]),
    row(Door::Nfs, "fsinfo", &[ReadAttributes]),
    row(Door::Nfs, "pathconf", &[ReadAttributes]),
    row(Door::Nfs, "commit", &[ReadAttributes, Write]),
    row(Door::Nfs, "mnt", &[Search, ReadAttributes, ReadBucket]),
    row(Door::Nfs, "nlm_test", &[ReadAttributes, Read, Write]),
    row(Door::Nfs, "nlm_lock", &[ReadAttributes, Read, Write]),
    row(Door::Nfs, "nlm_cancel", &[]),
    row(Door::Nfs, "nlm_unlock", &[]),
    row(Door::Nfs, "nlm_share", &[ReadAttributes, Read, Write]),
    row(Door::Nfs, "nlm_unshare", &[]),
    row(Door::Nfs, "lock clients", &[Administer]),
    row(Door::Mount, "lookup", &[Search, ReadAttributes]),
    row(Door::Mount, "getattr", &[ReadAttributes]),
    row(Door::Mount, "setattr", &[ReadAttributes, Write, SetMode, SetOwner, SetTimes, Touch]),
    row(Door::Mount, "readlink", &[ReadAttributes]),
    row(Door::Mount, "mknod", &[Search, ReadAttributes, Add, MakeDevice]),
    row(Door::Mount, "mkdir", &[Search, ReadAttributes, Add]),
    row(Door::Mount, "unlink", &[Search, ReadAttributes, Remove]),
    row(Door::Mount, "rmdir", &[Search, ReadAttributes, Remove]),
    row(Door::Mount, "symlink", &[Search, ReadAttributes, Add]),
    row(Door::Mount, "rename", &[Search, ReadAttributes, Add, Remove, MoveDirectory]),
    row(Door::Mount, "link", &[Search, ReadAttributes, Add]),
    row(Door::Mount, "open", &[ReadAttributes, Read, Write, Execute]),
    row(Door::Mount, "create", &[Search, ReadAttributes, Read, Write, Add]),
    row(Door::Mount, "read", &[ReadAttributes, KeepPages]),
    row(Door::Mount, "write", &[ReadAttributes, KeepPages]),
    row(Door::Mount, "release", &[ReadAttributes]),
    row(Door::Mount, "fsync", &[ReadAttributes]),
    row(Door::Mount, "opendir", &[List]),
    row(Door::Mount, "readdir", &[Search, List, ReadAttributes]),
    row(Door::Mount, "readdirplus", &[Search, List, ReadAttributes]),
    row(Door::Mount, "statfs", &[ReadSpace]),
    row(Door::Mount, "xattr", &[ReadAttributes, ReadXattr, ReadTrustedXattr, WriteXattr, WriteSystemXattr, WriteTrustedXattr]),
    row(Door::Mount, "access", &[ReadAttributes]),
    row(Door::Mount, "fallocate", &[ReadAttributes]),
    row(Door::Mount, "lseek", &[ReadAttributes]),
    row(Door::Mount, "copy_file_range", &[ReadAttributes]),
    row(Door::Admin, "status", &[ReadSpace, Administer]),
    row(Door::Admin, "reclaim", &[Administer]),
    row(Door::Admin, "user", &[Search, List, ReadAttributes, ReadBucket, ListBuckets, Administer]),
    row(Door::Admin, "keys", &[Administer]),
    row(Door::Admin, "bucket", &[Search, List, ReadAttributes, Add, Remove, ReadBucket, SetBucket, ListBuckets, Administer]),
    row(Door::Admin, "locks", &[Administer]),
    row(Door::Admin, "fsck", &[Administer]),
    row(Door::Admin, "disk", &[Administer]),
    row(Door::Admin, "set", &[Administer]),
    row(Door::Admin, "heal", &[Administer]),
    row(Door::Admin, "scrub", &[Administer]),
    row(Door::Admin, "watch", &[ReadBucket, Administer]),
];

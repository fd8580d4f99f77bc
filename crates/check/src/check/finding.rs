//! What can be wrong with the records of a store: one value per kind of damage, with what a repair needs to know.

use strata_content::ChunkFault;
use strata_seam::{ChunkId, Ino};

use strata_namespace::UsageOf;
use strata_namespace::records::key;

/// One thing that is wrong. Its text begins with the id of the invariant that it breaks (`docs/invariants.md`).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Finding {
    /// A record has a malformed key or does not decode.
    #[error("TREE: the record {} of {} does not decode", .key.escape_ascii(), table(.key))]
    Record {
        /// Its key.
        key: Vec<u8>,
    },
    /// A file's size is not the length of its content.
    #[error("TREE: inode {ino} has size {size} but content of {len} bytes")]
    Size {
        /// The file.
        ino: Ino,
        /// What its attributes say.
        size: u64,
        /// What its content has.
        len: u64,
    },
    /// An entry leads to an inode that does not exist.
    #[error("TREE: entry '{}' of {parent} leads to inode {ino}, which is gone", shown(.name))]
    Dangling {
        /// The directory.
        parent: Ino,
        /// The entry name.
        name: Vec<u8>,
        /// Where it leads.
        ino: Ino,
    },
    /// An entry lies in an inode that does not exist or is no directory.
    #[error("TREE: entry '{}' is in inode {parent}, which is no directory", shown(.name))]
    NoDirectory {
        /// What it lies in.
        parent: Ino,
        /// The entry name.
        name: Vec<u8>,
        /// Where it leads.
        ino: Ino,
    },
    /// An entry says another kind than its inode.
    #[error("TREE: entry '{}' of {parent} says another kind than inode {ino}", shown(.name))]
    Kind {
        /// The directory.
        parent: Ino,
        /// The entry name.
        name: Vec<u8>,
        /// Where it leads.
        ino: Ino,
    },
    /// An object's mark for a directory of the same name is wrong, or a directory's placeholder is missing, or one leads elsewhere.
    #[error("TREE: entry '{}' of {parent} and the directory of that name do not agree", shown(.name))]
    Shadow {
        /// The directory.
        parent: Ino,
        /// The entry name.
        name: Vec<u8>,
    },
    /// A directory names another parent than the one that it is in.
    #[error("TREE: directory {ino} is in {parent} but names {named}")]
    Parent {
        /// The directory.
        ino: Ino,
        /// Where its entry is.
        parent: Ino,
        /// What its record says.
        named: Ino,
    },
    /// An inode's record does not say that a table has records of it, where nobody would look.
    #[error("TREE: inode {ino} does not say that there are records of it in {}", table(.key))]
    Beside {
        /// The inode.
        ino: Ino,
        /// The first of the records.
        key: Vec<u8>,
    },
    /// An inode does not know the names that lead to it, or knows others.
    #[error("TREE: inode {ino} does not know its names")]
    Names {
        /// The inode.
        ino: Ino,
    },
    /// A directory has several names.
    #[error("TREE: directory {ino} has {names} names")]
    ManyNames {
        /// The directory.
        ino: Ino,
        /// How many.
        names: u32,
    },
    /// An inode has no name and is not marked as open.
    #[error("TREE: inode {ino} has no name")]
    NoName {
        /// The inode.
        ino: Ino,
    },
    /// A directory does not hang below the root.
    #[error("TREE: directory {ino} is not reached from the root")]
    Unreached {
        /// The directory.
        ino: Ino,
    },
    /// An inode counts another number of links than exist.
    #[error("TREE: inode {ino} counts {counted} links, {exist} exist")]
    Links {
        /// The inode.
        ino: Ino,
        /// What its attributes say.
        counted: u32,
        /// What there is.
        exist: u32,
    },
    /// A bucket's record and the root's entry of its name disagree.
    #[error("TREE: the record of the bucket in directory {root} and the root's entry disagree")]
    Bucket {
        /// Its root directory.
        root: Ino,
    },
    /// An inode says that it is in another bucket, or another quota tree, than the directory it is in.
    #[error("TREE: '{}' of directory {parent} is inode {ino}, which is of another bucket or quota tree", shown(.name))]
    Elsewhere {
        /// The directory.
        parent: Ino,
        /// The entry name.
        name: Vec<u8>,
        /// The inode.
        ino: Ino,
    },
    /// A counter of usage is wrong.
    #[error("TREE: {} of {of} are counted as {counted}, {exist} exist", if *.bytes { "bytes" } else { "inodes" })]
    Usage {
        /// What it is of.
        of: UsageOf,
        /// Bytes, or inodes.
        bytes: bool,
        /// What the counter says.
        counted: i64,
        /// What there is.
        exist: i64,
    },
    /// The root has an entry that is no bucket.
    #[error("TREE: the root's entry '{}' is no bucket", shown(.name))]
    Stray {
        /// The entry name.
        name: Vec<u8>,
    },
    /// A part belongs to an upload that does not exist.
    #[error("TREE: part {part} belongs to upload {upload}, which is gone")]
    Part {
        /// The upload.
        upload: u64,
        /// The part's number.
        part: u32,
    },
    /// An earlier version, attribute or property belongs to an inode that does not exist.
    #[error("TREE: the record {} of {} belongs to inode {ino}, which is gone", .key.escape_ascii(), table(.key))]
    Leftover {
        /// The inode.
        ino: Ino,
        /// The record's key.
        key: Vec<u8>,
    },
    /// The count of inodes is wrong.
    #[error("TREE: {counted} inodes are counted, {exist} exist")]
    Tally {
        /// What the counter says.
        counted: u64,
        /// What there is.
        exist: u64,
    },
    /// A bucket's record says another number of WebDAV locks than there are.
    #[error("TREE: bucket {bucket} counts {counted} WebDAV locks, {exist} exist")]
    LockCount {
        /// The bucket, by its root directory.
        bucket: Ino,
        /// What its record says.
        counted: i64,
        /// What there is.
        exist: i64,
    },
    /// The count of directories whose content has still to follow them into their bucket is wrong.
    #[error(
        "TREE: {counted} directories are counted whose content has still to follow into their bucket, {exist} exist"
    )]
    FollowingCount {
        /// What the counter says.
        counted: i64,
        /// What there is.
        exist: i64,
    },
    /// A directory is marked as a bucket that went into the trash, and there is no record of that bucket.
    #[error("TREE: directory {root} is marked as a bucket that went into the trash, whose record is gone")]
    Leaving {
        /// The directory.
        root: Ino,
    },
    /// Something is wrong with a chunk.
    #[error(transparent)]
    Chunk(#[from] ChunkFault),
}

impl Finding {
    /// The id of the invariant that is broken.
    #[must_use]
    pub fn invariant(&self) -> &'static str {
        match self {
            Self::Chunk(ChunkFault::Missing { .. } | ChunkFault::Unreadable { .. } | ChunkFault::OutOfReach { .. }) => {
                "HASH"
            }
            Self::Chunk(ChunkFault::Count { .. } | ChunkFault::Record { .. }) => "REF",
            _ => "TREE",
        }
    }

    /// The chunk whose bytes cannot be had, if it is about that.
    #[must_use]
    pub fn unreadable(&self) -> Option<ChunkId> {
        match self {
            Self::Chunk(fault @ (ChunkFault::Missing { .. } | ChunkFault::Unreadable { .. })) => fault.chunk(),
            _ => None,
        }
    }
}

fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

fn table(key: &[u8]) -> &'static str {
    match key.first() {
        Some(&key::TABLE_BUCKET) => "the buckets",
        Some(&key::TABLE_ENTRY) => "the directory entries",
        Some(&key::TABLE_INODE) => "the inodes",
        Some(&key::TABLE_PART) => "the parts of uploads",
        Some(&key::TABLE_UPLOAD) => "the uploads",
        Some(&key::TABLE_VERSION) => "the earlier versions",
        Some(&key::TABLE_XATTR) => "the attributes",
        Some(&key::TABLE_PROPERTY) => "the properties",
        Some(&key::TABLE_NAME) => "the names of inodes",
        Some(&key::TABLE_LOCK) => "the locks",
        Some(&key::TABLE_HOLD) => "the locks of processes",
        Some(&key::TABLE_USAGE) => "the counters of usage",
        Some(&key::TABLE_TIMES) => "the times of directories",
        _ => "the store",
    }
}

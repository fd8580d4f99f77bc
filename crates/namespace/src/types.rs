//! The values that callers pass to the name space and get back. No wire type of any door appears here.

pub(crate) mod access;
mod door;
pub(crate) mod guard;
mod op;

use std::collections::BTreeMap;

use strata_seam::{Ino, Timestamp};

use crate::authority::permit::Permit;

pub use access::Access;
pub use door::{Callers, Door, DoorNumber, STORE};
pub use guard::Guard;
pub(crate) use op::Holder;
pub use op::{Caller, Op};

/// The inode of the root directory, whose entries are the buckets.
pub const ROOT_INO: Ino = Ino(1);

/// Longest name component at file doors, in bytes.
pub const NAME_LEN_MAX: usize = 255;
/// Longest S3 key in bytes.
pub const KEY_LEN_MAX: usize = 1024;
/// Longest symbolic link target in bytes.
pub const SYMLINK_LEN_MAX: usize = 4095;
/// Longest extended attribute value in bytes.
pub const XATTR_LEN_MAX: usize = 64 * 1024;
/// Most hard links one inode may have.
pub const LINK_MAX: u32 = 65_000;
/// Largest file in bytes (2^60).
pub const FILE_LEN_MAX: u64 = 1 << 60;

/// What an inode is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum NodeKind {
    /// A regular file, which is also an S3 object.
    File = 1,
    /// A directory.
    Directory = 2,
    /// A symbolic link.
    Symlink = 3,
    /// A named pipe.
    Fifo = 4,
    /// A socket.
    Socket = 5,
    /// A character device.
    CharDevice = 6,
    /// A block device.
    BlockDevice = 7,
}

impl NodeKind {
    /// What it is called in error texts, with its article.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::CharDevice => "a character device",
            Self::BlockDevice => "a block device",
        }
    }

    /// Whether S3 and WebDAV show it: they know only files and directories.
    #[must_use]
    pub fn has_object(self) -> bool {
        matches!(self, Self::File | Self::Directory)
    }
}

/// Attributes of an inode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits, set-id and sticky (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Link count.
    pub nlink: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Bytes of content; of the target for a symbolic link.
    pub size: u64,
    /// Bytes allocated, holes left out.
    pub allocated: u64,
    /// Last access (kept at modification time unless set).
    pub atime: Timestamp,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
    /// Grows with every change of content or attributes: validator for caches.
    pub change: u64,
}

/// The result of opening a file: its attributes then, and the permit by which it is read and written until it is closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Its attributes at the time.
    pub attr: Attr,
    /// What it was opened for.
    pub permit: Permit,
}

impl std::ops::Deref for Opened {
    type Target = Attr;

    fn deref(&self) -> &Attr {
        &self.attr
    }
}

/// A change of attributes; `None` leaves a field alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// New permission bits.
    pub mode: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// Truncate or extend.
    pub size: Option<u64>,
    /// New access time.
    pub atime: Option<SetTime>,
    /// New modification time.
    pub mtime: Option<SetTime>,
    /// The caller holds the file open for writing by this permit, so `size` needs no write permission now.
    pub permit: Option<Permit>,
}

/// A time to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetTime {
    /// The store's clock (allowed to any writer).
    Now,
    /// A given time (allowed to the owner).
    At(Timestamp),
}

/// An entry of a directory as file doors see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// Name at file doors: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`.
    pub name: Vec<u8>,
    /// Its inode's attributes.
    pub attr: Attr,
    /// Pass to the next call to continue behind this entry. Opaque, at most 1100 bytes, stable across restarts.
    pub cursor: Vec<u8>,
}

/// A page of a directory.
#[derive(Clone, Debug, Default)]
pub struct DirPage {
    /// Entries in order, without `.` and `..`.
    pub entries: Vec<DirEntry>,
    /// Whether the directory ends here.
    pub end: bool,
}

/// How a rename treats an existing target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RenameMode {
    /// Replace it (an empty directory by a directory).
    #[default]
    Replace,
    /// Refuse with [`crate::ErrorKind::Exists`].
    NoReplace,
    /// Swap the two.
    Exchange,
}

/// What a set of an extended attribute expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum XattrMode {
    /// Create or replace.
    #[default]
    Any,
    /// Must not exist.
    Create,
    /// Must exist.
    Replace,
}

/// A node to create.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewNode {
    /// What to create; symbolic links have their own call.
    pub kind: NodeKind,
    /// Permission bits, umask already applied.
    pub mode: u32,
    /// Device number for devices.
    pub rdev: u64,
}

/// Properties of an object that doors store with its content. The name space keeps them and does not interpret them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ObjectMeta {
    /// How the content is to be served: what it is, in which language, how it is encoded. The names are the doors', which share them.
    pub system: BTreeMap<String, String>,
    /// What users say of it.
    pub user: BTreeMap<String, String>,
    /// Checksums sent by the client and verified by the door: algorithm (`crc32c`, `sha256`, ...) to base64 value.
    pub checksums: BTreeMap<String, String>,
}

/// An object as seen by S3 and WebDAV.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectInfo {
    /// Its inode's attributes.
    pub attr: Attr,
    /// Distinguishes its content from any other. A directory, which is shown as an empty object, has the tag of empty content.
    pub tag: ContentTag,
    /// What else is known of it.
    pub meta: ObjectMeta,
    /// Version id, unique for the life of the store.
    pub version: u64,
    /// Sizes of the parts, in order, if uploaded in parts.
    pub parts: Vec<u64>,
}

/// Conditions checked in the same commit as the change they guard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Condition {
    /// Nothing may be there.
    pub absent: bool,
    /// What must be there; `None` asks nothing.
    pub wanted: Option<Wanted>,
    /// What is there may have none of these tags.
    pub unwanted: Vec<ContentTag>,
}

/// What a condition wants to be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Any object.
    Anything,
    /// An object whose content has one of these tags; without tags, no object will do.
    OneOf(Vec<ContentTag>),
}

/// A value that differs between two contents of a file, compared for equality alone. Doors show it in their own form, HTTP as an ETag.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ContentTag {
    /// The tag of content without a byte with which no tag came.
    #[default]
    Nothing,
    /// The tag of content with which no tag came: a hash of its manifest. It changes whenever the content does, and may change if the same
    /// bytes are cut otherwise.
    Derived([u8; 16]),
    /// The tag that came with the content; its meaning is known to whoever gave it. A text that [`crate::records::tag::read`] takes for
    /// one of the other kinds is of that kind.
    Given(String),
}

/// What an acknowledgement of a change in a bucket waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// Acknowledged when synced on a write quorum: survives power loss.
    #[default]
    Strict,
    /// Acknowledged when written: survives the death of the process, not power loss.
    Relaxed,
}

/// A bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketInfo {
    /// What S3 calls it.
    pub name: String,
    /// The name of its folder at the top of the tree, which may be any bytes; empty for the bucket of the files there.
    pub folder: Vec<u8>,
    /// Its root directory.
    pub root: Ino,
    /// When it was created.
    pub created: Timestamp,
    /// Its owner's uid.
    pub uid: u32,
    /// Its durability class.
    pub durability: Durability,
    /// Mode of the objects that S3 and WebDAV make in it.
    pub mode: u32,
}

impl BucketInfo {
    /// Whether it is that of the files at the top.
    #[must_use]
    pub fn is_top(&self) -> bool {
        self.root == ROOT_INO
    }
    /// Mode of the directories that S3 and WebDAV make in it.
    #[must_use]
    pub fn dir_mode(&self) -> u32 {
        dir_mode(self.mode)
    }
}

/// The mode of directories beside files of this mode: whoever may read may search.
pub(crate) fn dir_mode(file_mode: u32) -> u32 {
    file_mode | (file_mode & 0o444) >> 2
}

/// What to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListQuery {
    /// Only keys that start with this.
    pub prefix: Vec<u8>,
    /// Keys with this after the prefix are rolled up into a common prefix.
    pub delimiter: Option<Vec<u8>>,
    /// Only keys (and common prefixes) behind this one.
    pub after: Option<Vec<u8>>,
    /// At most this many keys and prefixes together.
    pub limit: usize,
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// Keys with their objects, in byte order.
    pub objects: Vec<(Vec<u8>, ObjectInfo)>,
    /// Common prefixes, in byte order.
    pub prefixes: Vec<Vec<u8>>,
    /// Pass as `after` to continue; `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// A multipart upload in progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadInfo {
    /// Its id, as given to the client.
    pub id: String,
    /// The key it will become.
    pub key: Vec<u8>,
    /// Who began it.
    pub uid: u32,
    /// When it was begun.
    pub created: Timestamp,
    /// What its object will have.
    pub meta: ObjectMeta,
}

/// An uploaded part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartInfo {
    /// `1 ..= 10000`.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// Its tag, as the door gave it.
    pub tag: String,
    /// When it was stored.
    pub modified: Timestamp,
    /// Checksums verified by the door.
    pub checksums: BTreeMap<String, String>,
}

/// Space and inodes of the whole store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreSpace {
    /// Bytes of content the set can hold (parity taken off).
    pub total: u64,
    /// Bytes of content still free.
    pub free: u64,
    /// Inodes in use.
    pub inodes: u64,
}

/// A change that caches outside of the store have to know: the kernel's, at the mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// An entry was added, replaced or removed.
    Entry {
        /// The directory.
        parent: Ino,
        /// The name at file doors.
        name: Vec<u8>,
        /// The inode that the name led to before, if any.
        old: Option<Ino>,
    },
    /// Attributes of an inode changed.
    Attr(Ino),
    /// Content (and with it attributes) of an inode changed.
    Content(Ino),
    /// Changes were lost because nobody fetched them in time: forget everything cached.
    Overflow,
}

/// The tag and checksums of an object that is made of uploaded parts, as its door computed them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Whole {
    /// Its tag: what the door makes of those of the parts.
    pub tag: ContentTag,
    /// Its checksums by algorithm.
    pub checksums: BTreeMap<String, String>,
}

/// A lock of WebDAV, kept in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockRecord {
    /// Lock token (a URN).
    pub token: String,
    /// Path from the root of the name space, `/bucket/dir/file`, percent-decoded bytes.
    pub path: Vec<u8>,
    /// The inode it was taken on; `None` in locks of older stores.
    pub ino: Option<Ino>,
    /// Whether it covers everything below.
    pub deep: bool,
    /// Whether others may hold a shared lock too.
    pub shared: bool,
    /// The user name of its owner.
    pub principal: String,
    /// XML the client sent to describe itself, stored as it came (at most 4 KiB).
    pub owner_xml: Vec<u8>,
    /// When it ends; `None` for never.
    pub expires: Option<Timestamp>,
}

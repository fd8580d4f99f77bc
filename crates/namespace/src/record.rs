//! What the tables hold. Every record starts with a format byte; decoding is strict and never panics.
//! Byte maps: `docs/format/records.md`.

use std::collections::BTreeMap;

use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_chunk::{Item, Node};
use strata_seam::{Ino, Timestamp};

use crate::key;
use crate::name;
use crate::types::{Attr, BucketInfo, Durability, LockRecord, NodeKind, ObjectMeta};

const FORMAT: u8 = 1;
/// Bounds for decoding; what the doors let in is smaller.
const TEXT_MAX: usize = 64 << 10;
const NODE_BYTES_MAX: usize = 64 << 10;
const ENTRIES_MAX: usize = 16 << 10;

/// A directory entry: where the name leads.
///
/// An entry name is a name, and for a directory the name and `/`. A directory has an entry of the plain name too: that of the
/// object of the same name, which is then *shadowed*, or a *placeholder*, which says directory and leads there. So whoever makes
/// anything called so writes one and the same key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dirent {
    pub(crate) ino: Ino,
    pub(crate) kind: NodeKind,
    /// An object beside which stands a directory of the same name.
    pub(crate) shadowed: bool,
}

impl Dirent {
    /// The placeholder of a directory.
    pub(crate) fn placeholder(ino: Ino) -> Self {
        Self { ino, kind: NodeKind::Directory, shadowed: false }
    }

    /// Whether the entry of this name is a placeholder.
    pub(crate) fn stands_in(&self, entry_name: &[u8]) -> bool {
        self.kind == NodeKind::Directory && !name::is_dir(entry_name)
    }

    /// Whether a record under this entry name is one, without decoding it.
    pub(crate) fn is_placeholder(entry_name: &[u8], record: &[u8]) -> bool {
        record.get(1) == Some(&(NodeKind::Directory as u8)) && !name::is_dir(entry_name)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(12);
        out.u8(FORMAT).u8(self.kind as u8).u8(u8::from(self.shadowed)).uvarint(self.ino.0);
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        input.version("a directory entry", FORMAT)?;
        let kind = kind(input.u8()?)?;
        let shadowed = flag(input.u8()?)?;
        let ino = Ino(input.uvarint()?);
        input.finish()?;
        Ok(Self { ino, kind, shadowed })
    }
}

/// An inode with its present version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inode {
    pub(crate) attr: Attr,
    /// The directory that has its name, and of several names one; 0 where it has none.
    pub(crate) parent: Ino,
    /// The name of its entry there.
    pub(crate) name: Vec<u8>,
    /// Directories: made by an S3 key only; vanishes with its last entry.
    pub(crate) implicit: bool,
    /// The root directory of the bucket it is in, where the bucket's record is found; 0 in a record of format 1.
    pub(crate) bucket: Ino,
    /// The quota tree it is in; 0 is none.
    pub(crate) tree: u32,
    /// Which tables beside its own may have records of it.
    pub(crate) beside: Beside,
    /// What the counters of usage have of it; `None` for an inode that is new to them.
    pub(crate) counted: Option<Counted>,
    /// Given by the client's MD5; otherwise derived from the manifest.
    pub(crate) etag: Option<String>,
    /// Number of the present content.
    pub(crate) version: u64,
    /// The content.
    pub(crate) items: Vec<Item>,
    /// Symbolic links: the target.
    pub(crate) target: Vec<u8>,
    pub(crate) meta: ObjectMeta,
    pub(crate) parts: Vec<u64>,
}

/// Which tables have records of an inode, or had: nobody looks into a table that does not. Who puts a record there says so in the inode's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Beside {
    /// Extended attributes.
    pub(crate) attributes: bool,
    /// Dead properties.
    pub(crate) properties: bool,
    /// Earlier versions.
    pub(crate) versions: bool,
}

impl Beside {
    /// Of records of earlier formats, which do not say.
    pub(crate) const UNKNOWN: Self = Self { attributes: true, properties: true, versions: true };

    /// What says that a table may have records; `None` for a table that is always looked into.
    pub(crate) fn of(&mut self, table: u8) -> Option<&mut bool> {
        match table {
            key::TABLE_XATTR => Some(&mut self.attributes),
            key::TABLE_PROPERTY => Some(&mut self.properties),
            key::TABLE_VERSION => Some(&mut self.versions),
            _ => None,
        }
    }
}

/// What an inode adds to the counters of usage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counted {
    pub(crate) bucket: Ino,
    pub(crate) tree: u32,
    pub(crate) uid: u32,
    /// Bytes of content that are not holes.
    pub(crate) bytes: u64,
}

/// Format of an inode that knows its bucket and its quota tree. Before, it said itself whether it was in a relaxed bucket.
const FORMAT_WITH_BUCKET: u8 = 2;
/// Format of an inode that knows its name. Before, directories knew the directory they were in, and nothing else did.
const FORMAT_WITH_NAME: u8 = 3;

const HAS_ETAG: u8 = 1;
const IMPLICIT: u8 = 2;
/// Of format 1 alone: it is in a relaxed bucket.
const RELAXED: u8 = 4;
const HAS_OBJECT: u8 = 8;
const HAS_ATTRIBUTES: u8 = 16;
const HAS_PROPERTIES: u8 = 32;
const HAS_VERSIONS: u8 = 64;

impl Inode {
    /// What it adds to the counters of usage as it is now.
    pub(crate) fn counts(&self) -> Counted {
        Counted { bucket: self.bucket, tree: self.tree, uid: self.attr.uid, bytes: self.attr.allocated }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.attr.kind == NodeKind::Directory
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        self.encode_as(FORMAT_WITH_NAME, 0)
    }

    /// As format 2 had it.
    #[cfg(test)]
    pub(crate) fn encode_without_name(&self) -> Vec<u8> {
        self.as_before_names().encode_as(FORMAT_WITH_BUCKET, 0)
    }

    #[cfg(test)]
    fn as_before_names(&self) -> Self {
        let parent = if self.is_directory() { self.parent } else { Ino(0) };
        Self { parent, name: Vec::new(), ..self.clone() }
    }

    /// As format 1 had it.
    #[cfg(test)]
    pub(crate) fn encode_without_bucket(&self, relaxed: bool) -> Vec<u8> {
        self.as_before_names().encode_as(FORMAT, if relaxed { RELAXED } else { 0 })
    }

    fn encode_as(&self, format: u8, more_flags: u8) -> Vec<u8> {
        let attr = &self.attr;
        let mut out = Encoder::with_capacity(128 + self.items.len() * 40);
        let has_object = self.meta != ObjectMeta::default() || !self.parts.is_empty();
        let flags = [(self.etag.is_some(), HAS_ETAG), (self.implicit, IMPLICIT), (has_object, HAS_OBJECT)];
        let Beside { attributes, properties, versions } = self.beside;
        let beside = [(attributes, HAS_ATTRIBUTES), (properties, HAS_PROPERTIES), (versions, HAS_VERSIONS)];
        let beside = beside.into_iter().filter(|_| format >= FORMAT_WITH_NAME);
        let flags: u8 = flags.into_iter().chain(beside).filter(|(on, _)| *on).map(|(_, bit)| bit).sum();
        out.u8(format).u8(attr.kind as u8).u8(flags | more_flags);
        out.uvarint(u64::from(attr.mode)).uvarint(u64::from(attr.uid)).uvarint(u64::from(attr.gid));
        out.uvarint(u64::from(attr.nlink)).uvarint(attr.rdev).uvarint(attr.size).uvarint(attr.allocated);
        out.ivarint(attr.mtime.0);
        for time in [attr.atime, attr.ctime, attr.btime] {
            out.ivarint(time.0.wrapping_sub(attr.mtime.0));
        }
        out.uvarint(attr.change).uvarint(self.parent.0).uvarint(self.version);
        if format >= FORMAT_WITH_BUCKET {
            out.uvarint(self.bucket.0).uvarint(u64::from(self.tree));
        }
        if format >= FORMAT_WITH_NAME {
            out.bytes(&self.name);
        }
        if let Some(etag) = &self.etag {
            out.bytes(etag.as_bytes());
        }
        out.bytes(&self.target);
        encode_items(&mut out, &self.items);
        if has_object {
            for map in [&self.meta.system, &self.meta.user, &self.meta.checksums] {
                encode_map(&mut out, map);
            }
            out.uvarint(self.parts.len() as u64);
            for part in &self.parts {
                out.uvarint(*part);
            }
        }
        out.finish()
    }

    pub(crate) fn decode(ino: Ino, bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        let format = input.u8()?;
        if !(FORMAT..=FORMAT_WITH_NAME).contains(&format) {
            return Err(WireError::Version { what: "an inode", found: format, known: FORMAT_WITH_NAME });
        }
        let with_bucket = format >= FORMAT_WITH_BUCKET;
        let kind = kind(input.u8()?)?;
        let flags = input.u8()?;
        let of_format = match format {
            FORMAT => RELAXED,
            FORMAT_WITH_BUCKET => 0,
            _ => HAS_ATTRIBUTES | HAS_PROPERTIES | HAS_VERSIONS,
        };
        let known = HAS_ETAG | IMPLICIT | HAS_OBJECT | of_format;
        if flags & !known != 0 {
            return Err(WireError::Invalid("unknown flags of an inode"));
        }
        let (mode, uid, gid, nlink) = (input.uvarint32()?, input.uvarint32()?, input.uvarint32()?, input.uvarint32()?);
        let (rdev, size, allocated) = (input.uvarint()?, input.uvarint()?, input.uvarint()?);
        let mtime = input.ivarint()?;
        let mut other = || -> Result<Timestamp, WireError> { Ok(Timestamp(input.ivarint()?.wrapping_add(mtime))) };
        let (atime, ctime, btime) = (other()?, other()?, other()?);
        let (change, parent, version) = (input.uvarint()?, Ino(input.uvarint()?), input.uvarint()?);
        let (bucket, tree) = if with_bucket { (Ino(input.uvarint()?), input.uvarint32()?) } else { (Ino(0), 0) };
        let name = if format >= FORMAT_WITH_NAME { input.bytes(TEXT_MAX)?.to_vec() } else { Vec::new() };
        let etag = if flags & HAS_ETAG != 0 { Some(text(&mut input)?) } else { None };
        let target = input.bytes(TEXT_MAX)?.to_vec();
        let items = decode_items(&mut input)?;
        let (mut meta, mut parts) = (ObjectMeta::default(), Vec::new());
        if flags & HAS_OBJECT != 0 {
            meta = ObjectMeta {
                system: decode_map(&mut input)?,
                user: decode_map(&mut input)?,
                checksums: decode_map(&mut input)?,
            };
            for _ in 0..input.length(ENTRIES_MAX)? {
                parts.push(input.uvarint()?);
            }
        }
        input.finish()?;
        let beside = Beside {
            attributes: flags & HAS_ATTRIBUTES != 0,
            properties: flags & HAS_PROPERTIES != 0,
            versions: flags & HAS_VERSIONS != 0,
        };
        let beside = if format < FORMAT_WITH_NAME { Beside::UNKNOWN } else { beside };
        let mtime = Timestamp(mtime);
        let attr = Attr { ino, kind, mode, uid, gid, nlink, rdev, size, allocated, atime, mtime, ctime, btime, change };
        let mut inode = Self {
            attr,
            parent,
            name,
            implicit: flags & IMPLICIT != 0,
            bucket,
            tree,
            beside,
            counted: None,
            etag,
            version,
            items,
            target,
            meta,
            parts,
        };
        inode.counted = with_bucket.then(|| inode.counts());
        Ok(inode)
    }
}

/// A bucket and its rules. Its key is its root directory, so that it is found from any inode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bucket {
    pub(crate) root: Ino,
    /// The name of its root directory in the root of the tree: any bytes. Empty for the bucket of the files there, whose root
    /// directory is the root itself.
    pub(crate) name: Vec<u8>,
    pub(crate) created: Timestamp,
    pub(crate) uid: u32,
    pub(crate) relaxed: bool,
    /// Earlier versions are kept.
    pub(crate) versioned: bool,
    /// Mode of the objects that S3 and WebDAV make in it.
    pub(crate) mode: u32,
}

/// Format of an upload that may be private, and of a bucket, in the table by name of old, with a mode of its own. Before there
/// was such a choice everything was open to readers.
const FORMAT_WITH_MODE: u8 = 2;
const MODE_BEFORE: u32 = 0o644;
/// Format of a bucket whose key is its root directory.
const FORMAT_BY_ROOT: u8 = 3;

/// Whether a record is of the second of the two formats its kind has.
fn second_format(input: &mut Decoder<'_>, what: &'static str) -> Result<bool, WireError> {
    match input.u8()? {
        FORMAT => Ok(false),
        FORMAT_WITH_MODE => Ok(true),
        found => Err(WireError::Version { what, found, known: FORMAT_WITH_MODE }),
    }
}

impl Bucket {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(64);
        out.u8(FORMAT_BY_ROOT).bytes(&self.name).ivarint(self.created.0).uvarint(u64::from(self.uid));
        out.u8(u8::from(self.relaxed)).u8(u8::from(self.versioned)).uvarint(u64::from(self.mode));
        out.finish()
    }

    pub(crate) fn decode(root: Ino, bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        input.version("a bucket", FORMAT_BY_ROOT)?;
        let name = input.bytes(TEXT_MAX)?.to_vec();
        let bucket = Self {
            root,
            name,
            created: Timestamp(input.ivarint()?),
            uid: input.uvarint32()?,
            relaxed: flag(input.u8()?)?,
            versioned: flag(input.u8()?)?,
            mode: input.uvarint32()?,
        };
        input.finish()?;
        Ok(bucket)
    }

    /// As [`Bucket::decode_by_name`] reads it.
    #[cfg(test)]
    pub(crate) fn encode_by_name(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(FORMAT_WITH_MODE).uvarint(self.root.0).ivarint(self.created.0).uvarint(u64::from(self.uid));
        out.u8(u8::from(self.relaxed)).u8(u8::from(self.versioned)).uvarint(u64::from(self.mode));
        out.finish()
    }

    /// Reads a record of the table by name, which stores had before inodes knew their bucket.
    pub(crate) fn decode_by_name(name: Vec<u8>, bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        let with_mode = second_format(&mut input, "a bucket")?;
        let bucket = Self {
            root: Ino(input.uvarint()?),
            name,
            created: Timestamp(input.ivarint()?),
            uid: input.uvarint32()?,
            relaxed: flag(input.u8()?)?,
            versioned: flag(input.u8()?)?,
            mode: if with_mode { input.uvarint32()? } else { MODE_BEFORE },
        };
        input.finish()?;
        Ok(bucket)
    }

    /// What is told of it; `name` is what S3 calls it.
    pub(crate) fn info(&self, name: String) -> BucketInfo {
        let durability = if self.relaxed { Durability::Relaxed } else { Durability::Strict };
        let Self { root, created, uid, mode, .. } = *self;
        BucketInfo { name, folder: self.name.clone(), root, created, uid, durability, mode }
    }
}

/// A multipart upload; bucket, key and id are in its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Upload {
    pub(crate) created: Timestamp,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The object is for its owner alone.
    pub(crate) private: bool,
    pub(crate) meta: ObjectMeta,
}

impl Upload {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(64);
        out.u8(FORMAT_WITH_MODE).ivarint(self.created.0).uvarint(u64::from(self.uid)).uvarint(u64::from(self.gid));
        out.u8(u8::from(self.private));
        for map in [&self.meta.system, &self.meta.user, &self.meta.checksums] {
            encode_map(&mut out, map);
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        let with_mode = second_format(&mut input, "an upload")?;
        let upload = Self {
            created: Timestamp(input.ivarint()?),
            uid: input.uvarint32()?,
            gid: input.uvarint32()?,
            private: with_mode && flag(input.u8()?)?,
            meta: ObjectMeta {
                system: decode_map(&mut input)?,
                user: decode_map(&mut input)?,
                checksums: decode_map(&mut input)?,
            },
        };
        input.finish()?;
        Ok(upload)
    }
}

/// A part of an upload; upload and number are in its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) modified: Timestamp,
    pub(crate) checksums: BTreeMap<String, String>,
    pub(crate) items: Vec<Item>,
}

impl Part {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(96 + self.items.len() * 40);
        out.u8(FORMAT).uvarint(self.size).bytes(self.etag.as_bytes()).ivarint(self.modified.0);
        encode_map(&mut out, &self.checksums);
        encode_items(&mut out, &self.items);
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        input.version("a part", FORMAT)?;
        let part = Self {
            size: input.uvarint()?,
            etag: text(&mut input)?,
            modified: Timestamp(input.ivarint()?),
            checksums: decode_map(&mut input)?,
            items: decode_items(&mut input)?,
        };
        input.finish()?;
        Ok(part)
    }
}

/// An earlier version of an inode's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub(crate) etag: Option<String>,
    pub(crate) mtime: Timestamp,
    pub(crate) size: u64,
    pub(crate) items: Vec<Item>,
    pub(crate) meta: ObjectMeta,
}

impl Version {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(96 + self.items.len() * 40);
        out.u8(FORMAT).bytes(self.etag.as_deref().unwrap_or_default().as_bytes());
        out.ivarint(self.mtime.0).uvarint(self.size);
        encode_items(&mut out, &self.items);
        for map in [&self.meta.system, &self.meta.user, &self.meta.checksums] {
            encode_map(&mut out, map);
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        input.version("a version", FORMAT)?;
        let version = Self {
            etag: Some(text(&mut input)?).filter(|etag| !etag.is_empty()),
            mtime: Timestamp(input.ivarint()?),
            size: input.uvarint()?,
            items: decode_items(&mut input)?,
            meta: ObjectMeta {
                system: decode_map(&mut input)?,
                user: decode_map(&mut input)?,
                checksums: decode_map(&mut input)?,
            },
        };
        input.finish()?;
        Ok(version)
    }
}

/// A WebDAV lock; the token is the key.
pub(crate) fn encode_lock(lock: &LockRecord) -> Vec<u8> {
    let mut out = Encoder::with_capacity(128);
    out.u8(FORMAT).bytes(&lock.path).u8(u8::from(lock.deep)).u8(u8::from(lock.shared));
    out.bytes(lock.principal.as_bytes()).bytes(&lock.owner_xml);
    match lock.expires {
        Some(expires) => out.u8(1).ivarint(expires.0),
        None => out.u8(0),
    };
    if let Some(ino) = lock.ino {
        out.uvarint(ino.0);
    }
    out.finish()
}

pub(crate) fn decode_lock(token: String, bytes: &[u8]) -> Result<LockRecord, WireError> {
    let mut input = Decoder::new(bytes);
    input.version("a lock", FORMAT)?;
    let path = input.bytes(TEXT_MAX)?.to_vec();
    let (deep, shared) = (flag(input.u8()?)?, flag(input.u8()?)?);
    let principal = text(&mut input)?;
    let owner_xml = input.bytes(TEXT_MAX)?.to_vec();
    let expires = if flag(input.u8()?)? { Some(Timestamp(input.ivarint()?)) } else { None };
    // Written last and left out where there is none: older records lack it.
    let ino = if input.remaining() == 0 { None } else { Some(Ino(input.uvarint()?)) };
    input.finish()?;
    Ok(LockRecord { token, path, ino, deep, shared, principal, owner_xml, expires })
}

fn encode_items(out: &mut Encoder, items: &[Item]) {
    if items.is_empty() {
        out.bytes(&[]);
        return;
    }
    let node: Node = items.iter().copied().collect();
    // Losing a manifest silently would lose content, so a broken promise of the layer below stops the process.
    out.bytes(&node.encode().expect("the content layer keeps records within INLINE_ITEMS_MAX items"));
}

fn decode_items(input: &mut Decoder<'_>) -> Result<Vec<Item>, WireError> {
    let bytes = input.bytes(NODE_BYTES_MAX)?;
    if bytes.is_empty() { Ok(Vec::new()) } else { Ok(Node::decode(bytes)?.into_items()) }
}

fn encode_map(out: &mut Encoder, map: &BTreeMap<String, String>) {
    out.uvarint(map.len() as u64);
    for (name, value) in map {
        out.bytes(name.as_bytes()).bytes(value.as_bytes());
    }
}

fn decode_map(input: &mut Decoder<'_>) -> Result<BTreeMap<String, String>, WireError> {
    let mut map = BTreeMap::new();
    for _ in 0..input.length(ENTRIES_MAX)? {
        map.insert(text(input)?, text(input)?);
    }
    Ok(map)
}

fn text(input: &mut Decoder<'_>) -> Result<String, WireError> {
    String::from_utf8(input.bytes(TEXT_MAX)?.to_vec()).map_err(|_| WireError::Invalid("text that is not UTF-8"))
}

fn flag(byte: u8) -> Result<bool, WireError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::Invalid("a flag that is neither 0 nor 1")),
    }
}

pub(crate) fn kind(byte: u8) -> Result<NodeKind, WireError> {
    Ok(match byte {
        1 => NodeKind::File,
        2 => NodeKind::Directory,
        3 => NodeKind::Symlink,
        4 => NodeKind::Fifo,
        5 => NodeKind::Socket,
        6 => NodeKind::CharDevice,
        7 => NodeKind::BlockDevice,
        _ => return Err(WireError::Invalid("an unknown kind of inode")),
    })
}

#[cfg(test)]
mod tests;

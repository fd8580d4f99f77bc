//! Directory entries, and the inodes that they lead to.

use strata_chunk::Item;
use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_seam::{Ino, Timestamp};

use super::parts::{
    ENTRIES_MAX, FORMAT, TEXT_MAX, decode_items, decode_map, encode_items, encode_map, flag, kind, text,
};
use super::{key, tag};
use crate::name;
use crate::types::{Attr, ContentTag, NodeKind, ObjectMeta};

/// A directory entry: where the name leads.
///
/// An entry name is a name, and for a directory the name and `/`. A directory has an entry of the plain name too: that of the
/// object of the same name, which is then *shadowed*, or a *placeholder*, which marks the directory and leads there. So all changes
/// that make something of that name write one and the same key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dirent {
    /// Where the name leads.
    pub ino: Ino,
    /// What that is.
    pub kind: NodeKind,
    /// An object beside which stands a directory of the same name.
    pub shadowed: bool,
}

impl Dirent {
    /// The placeholder of a directory.
    pub fn placeholder(ino: Ino) -> Self {
        Self { ino, kind: NodeKind::Directory, shadowed: false }
    }

    /// Whether the entry of this name is a placeholder.
    pub fn stands_in(&self, entry_name: &[u8]) -> bool {
        self.kind == NodeKind::Directory && !name::is_dir(entry_name)
    }

    /// Whether a record under this entry name is one, without decoding it.
    pub fn is_placeholder(entry_name: &[u8], record: &[u8]) -> bool {
        record.get(1) == Some(&(NodeKind::Directory as u8)) && !name::is_dir(entry_name)
    }

    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(12);
        out.u8(FORMAT).u8(self.kind as u8).u8(u8::from(self.shadowed)).uvarint(self.ino.0);
        out.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The bytes are no such record.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
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
pub struct Inode {
    /// Its attributes. Of a directory the times and the change number are kept apart; see [`crate::checking::View::shown`].
    pub attr: Attr,
    /// The directory that has its name, and of several names one; 0 where it has none.
    pub parent: Ino,
    /// The name of its entry there.
    pub name: Vec<u8>,
    /// Directories: made by an S3 key only; vanishes with its last entry.
    pub implicit: bool,
    /// The root directory of the bucket it is in, where the bucket's record is found; 0 in a record of format 1.
    pub bucket: Ino,
    /// The quota tree it is in; 0 is none.
    pub tree: u32,
    /// Which tables beside its own may have records of it.
    pub beside: Beside,
    /// What the counters of usage have of it; `None` for an inode that is new to them.
    pub counted: Option<Counted>,
    /// The tag, where one came with the content; otherwise it follows from the manifest.
    pub tag: Option<ContentTag>,
    /// Number of the present content.
    pub version: u64,
    /// The content.
    pub items: Vec<Item>,
    /// Symbolic links: the target.
    pub target: Vec<u8>,
    /// Objects: what their clients gave with them.
    pub meta: ObjectMeta,
    /// Objects made of parts: the length of each.
    pub parts: Vec<u64>,
}

/// Which tables have, or had, records of an inode: other tables are not read. A change that puts a record there notes the table in the inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Beside {
    /// Extended attributes.
    pub attributes: bool,
    /// Dead properties.
    pub properties: bool,
    /// Earlier versions.
    pub versions: bool,
}

impl Beside {
    /// For records of earlier formats, which do not have this.
    pub const UNKNOWN: Self = Self { attributes: true, properties: true, versions: true };

    /// What says that a table may have records; `None` for a table that is always looked into.
    pub fn of(&mut self, table: u8) -> Option<&mut bool> {
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
pub struct Counted {
    /// The bucket's root directory.
    pub bucket: Ino,
    /// The quota tree; 0 is none.
    pub tree: u32,
    /// The owner.
    pub uid: u32,
    /// Bytes of content that are not holes.
    pub bytes: u64,
}

/// Format of an inode that knows its bucket and its quota tree. Before, it said itself whether it was in a relaxed bucket.
const FORMAT_WITH_BUCKET: u8 = 2;
/// Format of an inode that knows its name. Before, directories knew the directory they were in, and nothing else did.
const FORMAT_WITH_NAME: u8 = 3;

const HAS_TAG: u8 = 1;
const IMPLICIT: u8 = 2;
/// Of format 1 alone: it is in a relaxed bucket.
const RELAXED: u8 = 4;
const HAS_OBJECT: u8 = 8;
const HAS_ATTRIBUTES: u8 = 16;
const HAS_PROPERTIES: u8 = 32;
const HAS_VERSIONS: u8 = 64;

impl Inode {
    /// An inode without content and name, in no bucket yet.
    #[must_use]
    pub fn new(ino: Ino, kind: NodeKind, mode: u32, owner: (u32, u32), now: Timestamp) -> Self {
        let directory = kind == NodeKind::Directory;
        Self {
            attr: Attr {
                ino,
                kind,
                mode,
                uid: owner.0,
                gid: owner.1,
                nlink: if directory { 2 } else { 1 },
                rdev: 0,
                size: 0,
                allocated: 0,
                atime: now,
                mtime: now,
                ctime: now,
                btime: now,
                change: 0,
            },
            parent: Ino(0),
            name: Vec::new(),
            implicit: false,
            bucket: Ino(0),
            tree: 0,
            beside: Beside::default(),
            counted: None,
            tag: None,
            version: 0,
            items: Vec::new(),
            target: Vec::new(),
            meta: ObjectMeta::default(),
            parts: Vec::new(),
        }
    }

    /// What it adds to the counters of usage as it is now.
    pub fn counts(&self) -> Counted {
        Counted { bucket: self.bucket, tree: self.tree, uid: self.attr.uid, bytes: self.attr.allocated }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.attr.kind == NodeKind::Directory
    }

    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(FORMAT_WITH_NAME, 0)
    }

    /// As format 2 had it, for tests of upgrades.
    pub fn encode_without_name(&self) -> Vec<u8> {
        self.as_before_names().encode_as(FORMAT_WITH_BUCKET, 0)
    }

    fn as_before_names(&self) -> Self {
        let parent = if self.is_directory() { self.parent } else { Ino(0) };
        Self { parent, name: Vec::new(), ..self.clone() }
    }

    /// As format 1 had it, for tests of upgrades.
    pub fn encode_without_bucket(&self, relaxed: bool) -> Vec<u8> {
        self.as_before_names().encode_as(FORMAT, if relaxed { RELAXED } else { 0 })
    }

    fn encode_as(&self, format: u8, more_flags: u8) -> Vec<u8> {
        let attr = &self.attr;
        let mut out = Encoder::with_capacity(128 + self.items.len() * 40);
        let has_object = self.meta != ObjectMeta::default() || !self.parts.is_empty();
        let flags = [(self.tag.is_some(), HAS_TAG), (self.implicit, IMPLICIT), (has_object, HAS_OBJECT)];
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
        if let Some(tag) = &self.tag {
            out.bytes(tag::written(tag).as_bytes());
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

    /// Reads the record of the inode with this number.
    ///
    /// # Errors
    /// The bytes are no such record.
    pub fn decode(ino: Ino, bytes: &[u8]) -> Result<Self, WireError> {
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
        let known = HAS_TAG | IMPLICIT | HAS_OBJECT | of_format;
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
        let tag = if flags & HAS_TAG != 0 { Some(tag::read(text(&mut input)?)) } else { None };
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
            tag,
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

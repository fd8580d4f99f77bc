//! Buckets and their rules.

use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_content::Tx;
use strata_seam::{Ino, Timestamp};

use super::parts::{FORMAT_WITH_MODE, TEXT_MAX, flag, second_format};

use crate::types::{BucketInfo, Durability};

/// A bucket and its rules. Its key is its root directory, so that it is found from any inode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// Its root directory.
    pub root: Ino,
    /// The name of its root directory in the root of the tree: any bytes. Empty for the bucket of the files there, whose root
    /// directory is the root itself.
    pub name: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
    /// Its owner.
    pub uid: u32,
    /// What happens in it needs not be durable before it is confirmed.
    pub relaxed: bool,
    /// Earlier versions are kept.
    pub versioned: bool,
    /// Mode of the objects that S3 and WebDAV make in it.
    pub mode: u32,
    /// The locks of WebDAV on what is in it; those on the root of the tree are with the files there.
    pub locks: LockCount,
}

/// How many locks there are in a bucket. Every change there reads the record, so a commit notices a change that was computed before a lock
/// was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LockCount {
    /// So many, those included that ended by themselves and were not swept yet.
    pub count: u64,
    /// A number of the last that was granted, never used before; zero where there are none. So two records are the same only if the
    /// locks are.
    pub last: u64,
}

pub(super) const MODE_BEFORE: u32 = 0o644;
/// Format of a bucket whose key is its root directory.
const FORMAT_BY_ROOT: u8 = 3;
/// The format of a record that has the count of WebDAV locks, which is written while there are some.
const FORMAT_WITH_LOCKS: u8 = 4;

impl Bucket {
    /// Writes the record.
    pub(crate) fn put(&self, tx: &mut Tx<'_>) {
        tx.put(super::key::bucket(self.root), self.encode());
    }
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(64);
        let locked = self.locks != LockCount::default();
        out.u8(if locked { FORMAT_WITH_LOCKS } else { FORMAT_BY_ROOT });
        out.bytes(&self.name).ivarint(self.created.0).uvarint(u64::from(self.uid));
        out.u8(u8::from(self.relaxed)).u8(u8::from(self.versioned)).uvarint(u64::from(self.mode));
        if locked {
            out.uvarint(self.locks.count).uvarint(self.locks.last);
        }
        out.finish()
    }

    /// Reads the record of the bucket with this root directory.
    ///
    /// # Errors
    /// The bytes are no such record.
    pub fn decode(root: Ino, bytes: &[u8]) -> Result<Self, WireError> {
        let mut input = Decoder::new(bytes);
        let locked = bytes.first() == Some(&FORMAT_WITH_LOCKS);
        input.version("a bucket", if locked { FORMAT_WITH_LOCKS } else { FORMAT_BY_ROOT })?;
        let name = input.bytes(TEXT_MAX)?.to_vec();
        let mut bucket = Self {
            root,
            name,
            created: Timestamp(input.ivarint()?),
            uid: input.uvarint32()?,
            relaxed: flag(input.u8()?)?,
            versioned: flag(input.u8()?)?,
            mode: input.uvarint32()?,
            locks: LockCount::default(),
        };
        if locked {
            bucket.locks = LockCount { count: input.uvarint()?, last: input.uvarint()? };
            if bucket.locks == LockCount::default() {
                return Err(WireError::Invalid("a count of no locks"));
            }
        }
        input.finish()?;
        Ok(bucket)
    }

    /// As [`Bucket::decode_by_name`] reads it, for tests of upgrades.
    pub fn encode_by_name(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.u8(FORMAT_WITH_MODE).uvarint(self.root.0).ivarint(self.created.0).uvarint(u64::from(self.uid));
        out.u8(u8::from(self.relaxed)).u8(u8::from(self.versioned)).uvarint(u64::from(self.mode));
        out.finish()
    }

    /// Reads a record of the table by name, which stores had before inodes knew their bucket.
    pub fn decode_by_name(name: Vec<u8>, bytes: &[u8]) -> Result<Self, WireError> {
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
            locks: LockCount::default(),
        };
        input.finish()?;
        Ok(bucket)
    }

    /// What callers see of the bucket; `name` is its name at S3.
    pub(crate) fn info(&self, name: String) -> BucketInfo {
        let durability = if self.relaxed { Durability::Relaxed } else { Durability::Strict };
        let Self { root, created, uid, mode, .. } = *self;
        BucketInfo { name, folder: self.name.clone(), root, created, uid, durability, mode }
    }
}

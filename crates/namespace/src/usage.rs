//! Counters of usage: bytes and inodes by bucket, by quota tree and by owner.
//!
//! They are only ever added to, so a change reads none of them. The record of an inode says what the inode has added; a change that
//! writes the record again first takes that out ([`Counted`]).

use strata_content::{Cell, Tx};
use strata_seam::Ino;

use crate::error::Result;
use crate::key;
use crate::namespace::Namespace;
use crate::records::Counted;

/// What a counter of usage belongs to: a bucket, a quota tree or an owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum UsageOf {
    /// The bucket with this root directory.
    Bucket(Ino),
    /// The quota tree with this number, from 1 on.
    Tree(u32),
    /// The owner with this uid.
    Owner(u32),
}

impl std::fmt::Display for UsageOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bucket(root) => write!(f, "the bucket in directory {root}"),
            Self::Tree(tree) => write!(f, "quota tree {tree}"),
            Self::Owner(uid) => write!(f, "the owner {uid}"),
        }
    }
}

/// Bytes and inodes in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Bytes of stored content, holes left out, each file counted by itself however much it shares with others.
    pub bytes: u64,
    /// Files, directories and other inodes.
    pub inodes: u64,
}

impl UsageOf {
    /// The key of its counter of bytes, or of inodes.
    pub fn key(self, bytes: bool) -> Vec<u8> {
        let (table, number) = match self {
            Self::Bucket(root) => (b'b', root.0),
            Self::Tree(tree) => (b't', u64::from(tree)),
            Self::Owner(uid) => (b'o', u64::from(uid)),
        };
        let mut key = Vec::with_capacity(11);
        key.extend_from_slice(&[key::TABLE_USAGE, table]);
        key.extend_from_slice(&number.to_be_bytes());
        key.push(if bytes { b'b' } else { b'i' });
        key
    }

    /// What a key of the table counts: of what, and whether bytes.
    pub fn of_key(key: &[u8]) -> Option<(Self, bool)> {
        let number = u64::from_be_bytes(*key.get(2..10)?.first_chunk()?);
        let of = match key.get(1)? {
            b'b' => Self::Bucket(Ino(number)),
            b't' => Self::Tree(u32::try_from(number).ok()?),
            b'o' => Self::Owner(u32::try_from(number).ok()?),
            _ => return None,
        };
        match key.get(10..)? {
            [b'b'] => Some((of, true)),
            [b'i'] => Some((of, false)),
            _ => None,
        }
    }
}

impl Counted {
    /// The counters it is in.
    pub fn counters(&self) -> impl Iterator<Item = UsageOf> + use<> {
        // The root of the tree is in no bucket.
        let bucket = (self.bucket != Ino(0)).then_some(UsageOf::Bucket(self.bucket));
        let tree = (self.tree != 0).then_some(UsageOf::Tree(self.tree));
        bucket.into_iter().chain(tree).chain([UsageOf::Owner(self.uid)])
    }
}

/// Has the counters hold `now` of an inode where they held `before`.
pub(crate) fn recount(tx: &mut Tx<'_>, before: Option<Counted>, now: Option<Counted>) {
    if before == now {
        return;
    }
    if let (Some(before), Some(now)) = (before, now)
        && before == (Counted { bytes: before.bytes, ..now })
    {
        let more = signed(now.bytes) - signed(before.bytes);
        return now.counters().for_each(|of| tx.tally(&of.key(true), more));
    }
    for (counted, sign) in [(before, -1), (now, 1)] {
        let Some(counted) = counted else { continue };
        for of in counted.counters() {
            tx.tally(&of.key(false), sign);
            if counted.bytes > 0 {
                tx.tally(&of.key(true), sign * signed(counted.bytes));
            }
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Namespace {
    /// What is used of this kind, as of now.
    ///
    /// # Errors
    /// Reading the index.
    pub fn usage(&self, of: UsageOf) -> Result<Usage> {
        let read = |bytes| -> Result<u64> {
            let counted = self.store.get(&of.key(bytes))?.map_or(0, |entry| Cell::from_value(&entry.value).count);
            Ok(u64::try_from(counted).unwrap_or(0))
        };
        Ok(Usage { bytes: read(true)?, inodes: read(false)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_counter_tells_what_it_counts() {
        for of in [UsageOf::Bucket(Ino(7)), UsageOf::Tree(8), UsageOf::Owner(u32::MAX)] {
            assert_eq!(UsageOf::of_key(&of.key(true)), Some((of, true)));
            assert_eq!(UsageOf::of_key(&of.key(false)), Some((of, false)));
        }
        assert_eq!(UsageOf::of_key(b"Nx00000000b"), None);
        assert_eq!(UsageOf::of_key(b"N"), None);
    }
}

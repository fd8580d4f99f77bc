//! Identifiers as newtypes. All integers are stored big-endian where their order matters, little-endian elsewhere.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number!(
    /// Log sequence number: the place of one append in the total order of a ledger. Starts at 1; 0 is "before all".
    Lsn(u64)
);
number!(
    /// Number of a segment file. Never used twice within one set, also when the file itself is recycled.
    SegmentId(u32)
);
number!(
    /// Count of the openings of an erasure set: a frame of an older epoch never replaces one of a newer.
    Epoch(u64)
);
number!(
    /// Slot of a disk within its erasure set, `0 .. data_shards + parity_shards`.
    DiskIndex(u8)
);
number!(
    /// Inode number: stays for the life of a file, across overwrites and restarts.
    Ino(u64)
);

impl Lsn {
    /// The next number in order.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Identity of an erasure set, drawn at random when the set is created and written on each of its disks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub [u8; 16]);

/// One opening of a store by one process. What a process has under way is kept under its session, so that another one knows whose it
/// is; sessions of a store are numbered from 1 and never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u32);

/// Name of a chunk: BLAKE3 of its plain content (32 bytes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; 32]);

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}
impl fmt::Debug for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}
impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}
impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0[..6], f)
    }
}

/// A place in a ledger between two stripes: everything before it has lower sequence numbers than `next_lsn`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Position {
    /// Segment the next stripe is expected in.
    pub segment: SegmentId,
    /// Byte offset of the next stripe's frames within that segment.
    pub offset: u64,
    /// First sequence number of the next stripe.
    pub next_lsn: Lsn,
}

//! What lies where on a disk, read off the pages in docs/format by hand and not by the ledger's code: a second witness.

use strata_seam::sim::SimWorld;

/// Length of a sector.
const SECTOR: usize = 4096;
/// The first bytes of a frame.
const MAGIC: [u8; 8] = [0x67, 0x4f, 0x5d, 0x0a, 0xde, 0x35, 0x1b, 0xb3];

/// Name of a frame in all its length.
pub(crate) const WHOLE_FRAME: &str = "whole frame";

/// A place on a disk that means something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// Which structure, and which field of it.
    pub(crate) what: &'static str,
    /// The file.
    pub(crate) file: String,
    /// First byte.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) len: u64,
}

/// Fields of a superblock's slot.
const SUPERBLOCK: [(&str, u64, u64); 19] = [
    ("superblock magic", 0, 8),
    ("superblock incompat", 8, 4),
    ("superblock ro_compat", 12, 4),
    ("superblock compat", 16, 4),
    ("superblock codec", 20, 1),
    ("superblock index", 21, 1),
    ("superblock layout", 22, 2),
    ("superblock set", 24, 16),
    ("superblock created", 40, 8),
    ("superblock segment_len", 48, 8),
    ("superblock generation", 56, 8),
    ("superblock durable_lsn", 64, 8),
    ("superblock active and whole", 72, 8),
    ("superblock checkpoint", 80, 128),
    ("superblock history_count", 208, 2),
    ("superblock appending", 210, 1),
    ("superblock history", 256, 96),
    ("superblock sound", 3328, 96),
    ("superblock checksum", 4092, 4),
];

/// Fields of a frame's header.
const HEADER: [(&str, u64, u64); 22] = [
    ("frame magic", 0, 8),
    ("frame incompat", 8, 4),
    ("frame compat", 12, 4),
    ("frame set", 16, 16),
    ("frame epoch", 32, 8),
    ("frame opening", 40, 8),
    ("frame first_lsn", 48, 8),
    ("frame last_lsn", 56, 8),
    ("frame durable_lsn", 64, 8),
    ("frame segment", 72, 4),
    ("frame sector", 76, 4),
    ("frame payload_len", 80, 4),
    ("frame shard_len", 84, 4),
    ("frame meta_offset", 88, 4),
    ("frame meta_len", 92, 4),
    ("frame meta_crc", 96, 4),
    ("frame stripe_crc", 100, 4),
    ("frame shard", 104, 1),
    ("frame geometry", 105, 2),
    ("frame codec", 107, 1),
    ("frame reserved", 108, 16),
    ("frame header_crc", 124, 4),
];

/// Everything in both slots of the superblock.
pub(crate) fn superblock() -> Vec<Target> {
    let field = |slot: u64| {
        SUPERBLOCK.iter().map(move |(what, offset, len)| Target {
            what,
            file: "superblock".to_owned(),
            offset: slot * SECTOR as u64 + offset,
            len: *len,
        })
    };
    (0..2).flat_map(field).collect()
}

/// The frames of a disk, each as its fields, table and the parts of its shard.
pub(crate) fn frames(world: &SimWorld, disk: &str) -> Vec<Vec<Target>> {
    let mut all = Vec::new();
    for file in world.files(disk).into_iter().filter(|file| file.name.starts_with("seg-")) {
        let bytes = world.peek(disk, &file.name).unwrap_or_default();
        let mut at = 0;
        while at + SECTOR <= bytes.len() {
            if bytes[at..at + 8] != MAGIC {
                at += SECTOR;
                continue;
            }
            let (targets, len) = frame(&file.name, &bytes, at);
            all.push(targets);
            at += len;
        }
    }
    all
}

fn frame(file: &str, bytes: &[u8], at: usize) -> (Vec<Target>, usize) {
    let number = |offset: usize| {
        let field = &bytes[at + offset..at + offset + 4];
        u64::from(u32::from_le_bytes([field[0], field[1], field[2], field[3]]))
    };
    let (payload_len, shard_len, meta_offset) = (number(80), number(84), number(88));
    let (shard, data) = (u64::from(bytes[at + 104]), u64::from(bytes[at + 105]));
    let table_len = 4 * shard_len.div_ceil(4096);
    let head = 128 + table_len.next_multiple_of(64);
    let target = |what, offset: u64, len| Target { what, file: file.to_owned(), offset: at as u64 + offset, len };
    let whole_len = (head + shard_len).next_multiple_of(SECTOR as u64);
    let mut targets = vec![target(WHOLE_FRAME, 0, whole_len)];
    targets.extend(HEADER.iter().map(|(what, offset, len)| target(what, *offset, *len)));
    targets.push(target("frame table", 128, table_len));
    if shard >= data {
        targets.push(target("parity", head, shard_len));
    } else {
        // The payload's bytes of this shard: data, then the description, then zeros.
        let start = shard * shard_len;
        let within = |byte: u64| byte.clamp(start, start + shard_len) - start;
        let parts = [
            ("block", 0, within(meta_offset)),
            ("description", within(meta_offset), within(payload_len)),
            ("zeros behind the payload", within(payload_len), shard_len),
        ];
        for (what, from, to) in parts {
            if from < to {
                targets.push(target(what, head + from, to - from));
            }
        }
    }
    (targets, whole_len as usize)
}

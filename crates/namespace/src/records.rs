//! What the tables hold. Every record starts with a format byte; decoding is strict and never panics.
//! Byte maps: `docs/format/records.md`.
//!
//! For the name space itself, for whoever checks and repairs a store, and for tests that write what earlier versions wrote. Doors have
//! no use for them.

mod bucket;
mod inode;
pub mod key;
mod lock;
mod upload;

use std::collections::BTreeMap;

use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_chunk::{Item, Node};

pub use bucket::{Bucket, LockCount};
pub use inode::{Beside, Counted, Dirent, Inode};
pub(crate) use lock::{decode_lock, encode_lock};
pub use upload::{Part, Upload, Version};

pub use crate::belong::{Taken, belongs};
pub use crate::locks::locked;
pub use crate::name::{hash, is_dir, raw};
use crate::types::NodeKind;
pub use crate::view::View;

const FORMAT: u8 = 1;
/// Bounds for decoding; what the doors let in is smaller.
const TEXT_MAX: usize = 64 << 10;
const NODE_BYTES_MAX: usize = 64 << 10;
const ENTRIES_MAX: usize = 16 << 10;
/// Format of an upload that may be private, and of a bucket, in the table by name of old, with a mode of its own. Before there
/// was such a choice everything was open to readers.
const FORMAT_WITH_MODE: u8 = 2;

/// Whether a record is of the second of the two formats its kind has.
fn second_format(input: &mut Decoder<'_>, what: &'static str) -> Result<bool, WireError> {
    match input.u8()? {
        FORMAT => Ok(false),
        FORMAT_WITH_MODE => Ok(true),
        found => Err(WireError::Version { what, found, known: FORMAT_WITH_MODE }),
    }
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

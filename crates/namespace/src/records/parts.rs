//! Fields that several kinds of records share.

use std::collections::BTreeMap;

use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_chunk::{Item, Node};

use crate::types::NodeKind;

pub(super) const FORMAT: u8 = 1;
/// Bounds for decoding; what the doors let in is smaller.
pub(super) const TEXT_MAX: usize = 64 << 10;
pub(super) const NODE_BYTES_MAX: usize = 64 << 10;
pub(super) const ENTRIES_MAX: usize = 16 << 10;
/// Format of an upload that may be private, and of a bucket, in the table by name of old, with a mode of its own. Before there
/// was such a choice everything was open to readers.
pub(super) const FORMAT_WITH_MODE: u8 = 2;

/// Whether a record is of the second of the two formats its kind has.
pub(super) fn second_format(input: &mut Decoder<'_>, what: &'static str) -> Result<bool, WireError> {
    match input.u8()? {
        FORMAT => Ok(false),
        FORMAT_WITH_MODE => Ok(true),
        found => Err(WireError::Version { what, found, known: FORMAT_WITH_MODE }),
    }
}

pub(super) fn encode_items(out: &mut Encoder, items: &[Item]) {
    if items.is_empty() {
        out.bytes(&[]);
        return;
    }
    let node: Node = items.iter().copied().collect();
    // Losing a manifest silently would lose content, so a broken promise of the layer below stops the process.
    out.bytes(&node.encode().expect("the content layer keeps records within INLINE_ITEMS_MAX items"));
}

pub(super) fn decode_items(input: &mut Decoder<'_>) -> Result<Vec<Item>, WireError> {
    let bytes = input.bytes(NODE_BYTES_MAX)?;
    if bytes.is_empty() { Ok(Vec::new()) } else { Ok(Node::decode(bytes)?.into_items()) }
}

pub(super) fn encode_map(out: &mut Encoder, map: &BTreeMap<String, String>) {
    out.uvarint(map.len() as u64);
    for (name, value) in map {
        out.bytes(name.as_bytes()).bytes(value.as_bytes());
    }
}

pub(super) fn decode_map(input: &mut Decoder<'_>) -> Result<BTreeMap<String, String>, WireError> {
    let mut map = BTreeMap::new();
    for _ in 0..input.length(ENTRIES_MAX)? {
        map.insert(text(input)?, text(input)?);
    }
    Ok(map)
}

pub(super) fn text(input: &mut Decoder<'_>) -> Result<String, WireError> {
    String::from_utf8(input.bytes(TEXT_MAX)?.to_vec()).map_err(|_| WireError::Invalid("text that is not UTF-8"))
}

pub(super) fn flag(byte: u8) -> Result<bool, WireError> {
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

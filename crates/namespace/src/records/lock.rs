//! Locks of WebDAV.

use strata_chunk::wire::{Decoder, Encoder, WireError};
use strata_seam::{Ino, Timestamp};

use super::parts::{FORMAT, TEXT_MAX, flag, text};

use crate::types::LockRecord;

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
    // The inode is the last field and optional: older records lack it.
    let ino = if input.remaining() == 0 { None } else { Some(Ino(input.uvarint()?)) };
    input.finish()?;
    Ok(LockRecord { token, path, ino, deep, shared, principal, owner_xml, expires })
}

//! The primitives of signatures, and the only comparison signatures go through.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// HMAC-SHA256 of `data`.
pub(super) fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length; were that to change, the empty tag of the fallback would match nothing.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// HMAC-SHA1 of `data`, for Signature Version 2.
pub(super) fn hmac_sha1(key: &[u8], data: &[u8]) -> [u8; 20] {
    // As in `hmac_sha256`: HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key) else {
        return [0; 20];
    };
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// SHA-256 in lower-case hex.
pub(crate) fn hex_sha256(data: &[u8]) -> String {
    hex_of(&Sha256::digest(data))
}

/// Lower-case hex: several times as fast as by single characters, which counts where each request needs it a few times.
pub(crate) fn hex_of(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    String::from_utf8(digits.collect()).unwrap_or_default()
}

/// Compares signatures without telling by its time how much of them agrees.
pub(crate) fn signatures_match(ours: &str, theirs: &str) -> bool {
    ours.as_bytes().ct_eq(theirs.as_bytes()).into()
}

//! Compression of a block: as one piece, with a cheap look first so that bytes which do not shrink cost little.
//!
//! Compression never fails: whatever does not work or does not pay is stored raw. Decompression writes at most the length
//! its caller recorded, whatever the stored bytes claim. Contexts are kept per thread, since allocating them costs more
//! than a small block.

use std::borrow::Cow;
use std::cell::RefCell;

use crate::block::BLOCK_RAW_MAX;

/// How a block's bytes are stored. The number is part of the format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One LZ4 block, no frame.
    Lz4 = 1,
    /// One Zstandard frame.
    Zstd = 2,
}

impl Codec {
    /// From the number in a record; `None` if this build does not know it.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The number in a record.
    #[must_use]
    pub fn as_u8(self) -> u8 {
        self as u8
    }
}

/// What to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompressPolicy {
    /// [`Codec::Raw`] tries nothing.
    pub codec: Codec,
    /// Zstandard's level, -7 to 19; LZ4 has none.
    pub zstd_level: i32,
}

impl CompressPolicy {
    /// Zstandard level -1: as fast as LZ4 here and denser (2.7 against 2.3 on mixed data); LZ4 decompresses 2.2 times faster.
    pub const HOT: Self = Self { codec: Codec::Zstd, zstd_level: -1 };
    /// Zstandard level 3, for what the mover rewrites.
    pub const COLD: Self = Self { codec: Codec::Zstd, zstd_level: 3 };
    /// LZ4.
    pub const LZ4: Self = Self { codec: Codec::Lz4, zstd_level: 0 };
    /// No compression.
    pub const RAW: Self = Self { codec: Codec::Raw, zstd_level: 0 };
}

impl Default for CompressPolicy {
    fn default() -> Self {
        Self::HOT
    }
}

/// Stored bytes that are not what [`compress`] makes. With a checksum that held, this is a bug or a forged record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecompressError {
    /// The recorded length is above what a block may have.
    #[error("a block of {0} bytes is above the limit of {BLOCK_RAW_MAX}; its record is damaged")]
    TooLong(usize),
    /// The codec refused the bytes, or gave another length than recorded.
    #[error(
        "a block stored with {codec:?} does not decompress to its {raw_len} bytes; it is damaged, heal it from parity"
    )]
    Damaged {
        /// As recorded.
        codec: Codec,
        /// As recorded.
        raw_len: usize,
    },
}

/// Blocks up to this many bytes are compressed without a look first: the look would cost as much.
const SAMPLE_ABOVE: usize = 8 << 10;
/// The look compresses this many pieces, from the start, the middle and the end, since files begin with headers.
const SAMPLES: usize = 3;
/// Length of each piece in bytes: enough for LZ4 to find text-like repetition.
const SAMPLE_LEN: usize = 3 << 10;
/// A sample that keeps more than this many per cent is taken as incompressible.
const SAMPLE_KEEPS_PERCENT: usize = 92;
/// A compressed block must not be above this many per cent of the plain one, or reading it is not worth the decoding.
const STORED_PERCENT_MAX: usize = 94;

thread_local! {
    static ZSTD_IN: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
    static ZSTD_OUT: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses one block as `policy` says, or gives it back as it is where that does not pay.
///
/// Cost: about 0.6 ns a byte for what looks incompressible at first sight, 1.7 ns a byte for what is compressed.
#[must_use]
pub fn compress(raw: &[u8], policy: CompressPolicy) -> (Codec, Cow<'_, [u8]>) {
    let stored = match policy.codec {
        Codec::Raw => None,
        _ if !looks_compressible(raw) => None,
        Codec::Lz4 => lz4(raw),
        Codec::Zstd => zstd(raw, policy.zstd_level),
    };
    match stored {
        Some(stored) if stored.len() * 100 <= raw.len() * STORED_PERCENT_MAX => (policy.codec, Cow::Owned(stored)),
        _ => (Codec::Raw, Cow::Borrowed(raw)),
    }
}

/// Replaces the content of `out` by the plain bytes of a block.
///
/// # Errors
/// [`DecompressError`]; `out` then holds nothing of use, and never more than `raw_len` bytes.
pub fn decompress(codec: Codec, stored: &[u8], raw_len: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    out.clear();
    if raw_len > BLOCK_RAW_MAX {
        return Err(DecompressError::TooLong(raw_len));
    }
    let written = match codec {
        Codec::Raw => {
            if stored.len() == raw_len {
                out.extend_from_slice(stored);
            }
            Some(stored.len())
        }
        Codec::Lz4 => {
            out.resize(raw_len, 0);
            lz4_flex::block::decompress_into(stored, out).ok()
        }
        Codec::Zstd => {
            out.reserve_exact(raw_len);
            unzstd(stored, raw_len, out)
        }
    };
    if written == Some(raw_len) { Ok(()) } else { Err(DecompressError::Damaged { codec, raw_len }) }
}

fn looks_compressible(raw: &[u8]) -> bool {
    if raw.len() <= SAMPLE_ABOVE {
        return true;
    }
    let last = raw.len() - SAMPLE_LEN;
    let mut out = [0; lz4_flex::block::get_maximum_output_size(SAMPLE_LEN)];
    let kept: usize = (0..SAMPLES)
        .map(|index| last * index / (SAMPLES - 1))
        .map(|start| &raw[start..start + SAMPLE_LEN])
        .map(|sample| lz4_flex::block::compress_into(sample, &mut out).unwrap_or(SAMPLE_LEN))
        .sum();
    kept * 100 <= SAMPLES * SAMPLE_LEN * SAMPLE_KEEPS_PERCENT
}

fn lz4(raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; lz4_flex::block::get_maximum_output_size(raw.len())];
    let len = lz4_flex::block::compress_into(raw, &mut out).ok()?;
    out.truncate(len);
    out.shrink_to_fit();
    Some(out)
}

fn zstd(raw: &[u8], level: i32) -> Option<Vec<u8>> {
    ZSTD_IN.with_borrow_mut(|slot| {
        let (known, context) = match slot {
            Some(context) => context,
            None => slot.insert((level, zstd::bulk::Compressor::new(level).ok()?)),
        };
        if *known != level {
            context.set_compression_level(level).ok()?;
            *known = level;
        }
        let mut stored = context.compress(raw).ok()?;
        stored.shrink_to_fit();
        Some(stored)
    })
}

/// Into the spare capacity of `out`, which bounds it. A context that failed once is dropped, not reused.
fn unzstd(stored: &[u8], raw_len: usize, out: &mut Vec<u8>) -> Option<usize> {
    ZSTD_OUT.with_borrow_mut(|slot| {
        let mut context = match slot.take() {
            Some(context) => context,
            None => zstd::bulk::Decompressor::new().ok()?,
        };
        // The vector may have more room than asked for from an earlier use: the slice is what bounds the output.
        out.resize(raw_len, 0);
        let written = context.decompress_to_buffer(stored, out.as_mut_slice()).ok()?;
        *slot = Some(context);
        Some(written)
    })
}

#[cfg(test)]
mod tests;

//! A byte buffer whose first byte lies at a multiple of [`SECTOR_LEN`], as direct I/O wants it.
//!
//! Invariant: `raw` is never reallocated in place. It is allocated with [`SECTOR_LEN`]` - 1` spare bytes, `start` is the
//! first aligned byte in it, and growing makes a new buffer; so the address stays aligned without any unsafe code.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::SECTOR_LEN;

/// A growable byte buffer at an address that is a multiple of [`SECTOR_LEN`].
///
/// Dereferences to `[u8]`. Its allocation is kept when it shrinks, so that one buffer can serve frame after frame.
pub struct AlignedBuf {
    raw: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// An empty buffer that holds no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { raw: Vec::new(), start: 0, len: 0 }
    }

    /// An empty buffer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        if capacity == 0 {
            return Self::new();
        }
        let raw = vec![0; capacity + (SECTOR_LEN - 1)];
        let start = raw.as_ptr().addr().wrapping_neg() % SECTOR_LEN;
        Self { raw, start, len: 0 }
    }

    /// `len` zero bytes. Large ones cost no memory until they are touched.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let mut buf = Self::with_capacity(len);
        buf.len = len;
        buf
    }

    /// Bytes that fit without a new allocation.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.raw.len().saturating_sub(SECTOR_LEN - 1)
    }

    /// Throws the content away and makes it `len` zero bytes, in the same memory where that is large enough.
    pub fn resize_zeroed(&mut self, len: usize) {
        if len > self.capacity() {
            *self = Self::zeroed(len);
        } else {
            self.len = len;
            self.fill(0);
        }
    }

    /// Appends `bytes`; moves the content to a buffer at least twice as large when they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let len = self.len + bytes.len();
        if len > self.capacity() {
            let mut larger = Self::with_capacity(len.max(self.capacity() * 2));
            larger.len = self.len;
            larger.copy_from_slice(self);
            *self = larger;
        }
        let old = std::mem::replace(&mut self.len, len);
        self[old..].copy_from_slice(bytes);
    }

    /// Appends zero bytes up to the next multiple of [`SECTOR_LEN`].
    pub fn pad_to_sector(&mut self) {
        const ZEROS: [u8; SECTOR_LEN] = [0; SECTOR_LEN];
        let missing = self.len.wrapping_neg() % SECTOR_LEN;
        self.extend_from_slice(&ZEROS[..missing]);
    }

    /// Keeps the first `len` bytes; does nothing when there are no more than that.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Empties the buffer and keeps its memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl Default for AlignedBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.raw[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.raw[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for AlignedBuf {
    fn from(bytes: &[u8]) -> Self {
        let mut buf = Self::with_capacity(bytes.len());
        buf.extend_from_slice(bytes);
        buf
    }
}

impl Clone for AlignedBuf {
    /// Copies the bytes; a derived clone would copy `start` too, which is right for the old address alone.
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf").field("len", &self.len).field("capacity", &self.capacity()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_aligned(buf: &AlignedBuf) {
        assert_eq!(buf.as_ptr().addr() % SECTOR_LEN, 0);
    }

    #[test]
    fn every_buffer_starts_at_a_sector_address_and_reads_zero() {
        for len in [1, 511, 4096, 4097, 1 << 20] {
            let buf = AlignedBuf::zeroed(len);
            check_aligned(&buf);
            assert_eq!(buf.len(), len);
            assert!(buf.iter().all(|byte| *byte == 0));
        }
        assert!(AlignedBuf::zeroed(0).is_empty());
    }

    #[test]
    fn growing_and_cloning_keep_content_and_alignment() {
        let mut buf = AlignedBuf::new();
        for round in 0..200_u8 {
            buf.extend_from_slice(&[round; 333]);
            check_aligned(&buf);
        }
        let copy = buf.clone();
        check_aligned(&copy);
        assert_eq!(&*copy, &*buf);
        assert!(
            copy.chunks(333).enumerate().all(|(round, piece)| piece.iter().all(|byte| usize::from(*byte) == round))
        );
    }

    #[test]
    fn a_reused_buffer_forgets_its_old_bytes_and_keeps_its_memory() {
        let mut buf = AlignedBuf::from(&[7; 9000][..]);
        let address = buf.as_ptr().addr();
        buf.resize_zeroed(5000);
        assert_eq!(buf.as_ptr().addr(), address);
        assert_eq!(&*buf, &[0; 5000]);
    }

    #[test]
    fn padding_ends_at_a_sector_and_adds_zeros_only() {
        let mut buf = AlignedBuf::from(&[7; 4097][..]);
        buf.pad_to_sector();
        assert_eq!(buf.len(), 8192);
        assert!(buf[4097..].iter().all(|byte| *byte == 0));
        buf.pad_to_sector();
        assert_eq!(buf.len(), 8192);
    }
}

//! XDR (RFC 4506) over bytes from the network: a decoder that borrows and never trusts a length, and an encoder.
//!
//! Invariant: decoding allocates nothing that depends on a length field; variable-length items are slices of the
//! received record. `nfsserve`'s own `Vec<u8>` decoder resizes to whatever 32-bit length arrives, so its types are
//! decoded through [`Decoder::fixed_type`] only where they hold no variable-length member.

use bytes::{Buf, Bytes};
use nfsserve::xdr::XDR;

/// Why arguments could not be decoded. The reply is GARBAGE_ARGS whichever it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum XdrError {
    /// The record ends before the item does.
    #[error("the arguments end inside an item")]
    Short,
    /// A length above what the protocol allows for the item.
    #[error("an item is longer than its limit of {limit} bytes")]
    TooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// A discriminant outside its enumeration.
    #[error("an enumeration has an unknown value")]
    BadValue,
}

/// Bytes that bring `len` to a multiple of four.
pub(crate) const fn padding(len: usize) -> usize {
    (4 - len % 4) % 4
}

/// Takes items off the front of a record.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    rest: Bytes,
}

impl Decoder {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn u32(&mut self) -> Result<u32, XdrError> {
        self.rest.try_get_u32().map_err(|_| XdrError::Short)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, XdrError> {
        self.rest.try_get_u64().map_err(|_| XdrError::Short)
    }

    /// A boolean; any word but 0 and 1 is refused.
    pub(crate) fn bool(&mut self) -> Result<bool, XdrError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(XdrError::BadValue),
        }
    }

    /// Bytes of a length the protocol fixes.
    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], XdrError> {
        let (head, _) = self.rest.split_first_chunk::<N>().ok_or(XdrError::Short)?;
        let bytes = *head;
        self.rest.advance(N);
        self.skip(padding(N))?;
        Ok(bytes)
    }

    /// Variable-length bytes of at most `limit`, without copying.
    pub(crate) fn opaque(&mut self, limit: usize) -> Result<Bytes, XdrError> {
        let len = usize::try_from(self.u32()?).map_err(|_| XdrError::TooLong { limit })?;
        if len > limit {
            return Err(XdrError::TooLong { limit });
        }
        if len > self.rest.len() {
            return Err(XdrError::Short);
        }
        let bytes = self.rest.split_to(len);
        self.skip(padding(len))?;
        Ok(bytes)
    }

    /// One of `nfsserve`'s types that holds no variable-length member.
    pub(crate) fn fixed_type<T: XDR + Default>(&mut self) -> Result<T, XdrError> {
        let mut reader: &[u8] = &self.rest;
        let mut value = T::default();
        value.deserialize(&mut reader).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => XdrError::Short,
            _ => XdrError::BadValue,
        })?;
        let left = reader.len();
        self.rest.advance(self.rest.len() - left);
        Ok(value)
    }

    /// What was not decoded yet.
    pub(crate) fn rest(&self) -> &Bytes {
        &self.rest
    }

    fn skip(&mut self, len: usize) -> Result<(), XdrError> {
        if len > self.rest.len() {
            return Err(XdrError::Short);
        }
        self.rest.advance(len);
        Ok(())
    }
}

/// Appends items to a buffer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoder {
    buf: Vec<u8>,
}

impl Encoder {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { buf: Vec::with_capacity(capacity) }
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.buf.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.buf.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// Bytes of fixed length, padded.
    pub(crate) fn fixed(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
        self.buf.extend_from_slice(&[0; 3][..padding(bytes.len())]);
    }

    /// Length, bytes, padding. Everything encoded this way is below 64 KiB.
    pub(crate) fn opaque(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.fixed(bytes);
    }

    /// A length or count word; saturates, which no caller reaches.
    pub(crate) fn length(&mut self, len: usize) {
        self.u32(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// One of `nfsserve`'s types.
    pub(crate) fn item<T: XDR>(&mut self, value: &T) {
        // The only error a serialiser can return is its writer's, and a vector's writer returns none.
        let written = value.serialize(&mut self.buf);
        debug_assert!(written.is_ok(), "a vector refused bytes");
    }

    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    /// Takes back everything behind the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
    }

    /// Overwrites the word at `at`, which must have been written.
    pub(crate) fn patch_u32(&mut self, at: usize, value: u32) {
        self.buf[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.buf
    }
}

#[cfg(test)]
mod tests;

//! XDR, RFC 4506: as much as NFS needs.

use std::io::{self, ErrorKind};

/// Writes values one behind the other.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Bytes with their length, padded to words.
    pub(crate) fn bytes(self, value: &[u8]) -> Self {
        let mut this = self.u32(value.len() as u32);
        this.0.extend_from_slice(value);
        this.0.resize(this.0.len().next_multiple_of(4), 0);
        this
    }
}

/// Reads them back.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn u32(&mut self) -> io::Result<u32> {
        let taken = self.take(4)?;
        Ok(taken.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    pub(crate) fn u64(&mut self) -> io::Result<u64> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    pub(crate) fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len.next_multiple_of(4)).map(|padded| &padded[..len])
    }

    /// Attributes that may be left out.
    pub(crate) fn skip_attributes(&mut self) -> io::Result<()> {
        if self.u32()? == 1 {
            self.take(84)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_missing_is_an_error() {
        let written = Writer::default().bytes(b"abcde").u32(7).u64(1 << 40);
        let mut reader = Reader(&written.0);
        assert_eq!(reader.bytes().unwrap(), b"abcde");
        assert_eq!((reader.u32().unwrap(), reader.u64().unwrap()), (7, 1 << 40));
        assert!(reader.u32().is_err());
    }
}

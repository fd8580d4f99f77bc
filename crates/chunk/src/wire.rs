//! The few primitives every record of the store is written with: bytes, variable-length integers, bounded strings.
//!
//! Invariants: a decoder never allocates, never panics, and never reads past its input whatever the bytes are; a number
//! has exactly one encoding (over-long ones are refused), so equal records are equal bytes; [`Decoder::finish`] refuses
//! what follows the last field. `docs/format/block.md` describes the primitives, every other format page refers to it.

/// Longest encoding of a variable-length integer: 64 bits in groups of seven.
pub const UVARINT_LEN_MAX: usize = 10;

/// The bytes are not what the encoder writes: damaged, cut off, or of another version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// A field reaches past the last byte.
    #[error("the record ends in the middle of a field; it is cut off or damaged and nothing of it was used")]
    CutOff,
    /// A number does not fit its type, or is not in its one shortest form.
    #[error("a number of the record is too large or not in its shortest form; the record is damaged")]
    BadNumber,
    /// A length or count is above what the format allows.
    #[error("a length of {len} is above the format's limit of {limit}; the record is damaged")]
    TooLong {
        /// What the record says.
        len: u64,
        /// What the format allows.
        limit: u64,
    },
    /// Bytes follow the last field.
    #[error("{0} bytes follow the end of the record; it is damaged or of a later version")]
    Trailing(usize),
    /// The version byte is none this build can read.
    #[error(
        "{what} has version {found}, this build reads version {known}; use the build that wrote it, or a later one"
    )]
    Version {
        /// Kind of record.
        what: &'static str,
        /// Its version byte.
        found: u8,
        /// The version this build reads.
        known: u8,
    },
    /// A field has a value the format gives no meaning to.
    #[error("{0}; the record is damaged")]
    Invalid(&'static str),
}

/// Writes fields one after another into a buffer of its own.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty record with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.out.push(value);
        self
    }

    /// An unsigned number, 1 to [`UVARINT_LEN_MAX`] bytes: seven bits a byte, low ones first, top bit set on all but the last.
    pub fn uvarint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
        self
    }

    /// A signed number: zigzag (0, -1, 1, -2 ... become 0, 1, 2, 3 ...), then as [`Encoder::uvarint`].
    pub fn ivarint(&mut self, value: i64) -> &mut Self {
        self.uvarint((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned())
    }

    /// A length as [`Encoder::uvarint`], then the bytes.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.uvarint(value.len() as u64);
        self.raw(value)
    }

    /// Bytes whose number the reader knows.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.out.extend_from_slice(value);
        self
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// What was written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.out
    }

    /// The finished record.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Reads fields one after another; borrows its input.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// One byte.
    ///
    /// # Errors
    /// [`WireError::CutOff`] at the end.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        let (&first, rest) = self.rest.split_first().ok_or(WireError::CutOff)?;
        self.rest = rest;
        Ok(first)
    }

    /// See [`Encoder::uvarint`].
    ///
    /// # Errors
    /// [`WireError::CutOff`]; [`WireError::BadNumber`] above 64 bits or if a shorter form exists.
    pub fn uvarint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for index in 0..UVARINT_LEN_MAX {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds bit 63 alone.
            if index == UVARINT_LEN_MAX - 1 && bits > 1 {
                return Err(WireError::BadNumber);
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                // A last byte of zero adds nothing: the number has a shorter form.
                return if byte == 0 && index > 0 { Err(WireError::BadNumber) } else { Ok(value) };
            }
        }
        Err(WireError::BadNumber)
    }

    /// An [`Decoder::uvarint`] that must fit 32 bits.
    ///
    /// # Errors
    /// Those of [`Decoder::uvarint`]; [`WireError::BadNumber`] above 32 bits.
    pub fn uvarint32(&mut self) -> Result<u32, WireError> {
        u32::try_from(self.uvarint()?).map_err(|_| WireError::BadNumber)
    }

    /// A count or length that must not be above `limit`.
    ///
    /// # Errors
    /// Those of [`Decoder::uvarint`]; [`WireError::TooLong`].
    pub fn length(&mut self, limit: usize) -> Result<usize, WireError> {
        let len = self.uvarint()?;
        usize::try_from(len).ok().filter(|&fits| fits <= limit).ok_or(WireError::TooLong { len, limit: limit as u64 })
    }

    /// See [`Encoder::ivarint`].
    ///
    /// # Errors
    /// Those of [`Decoder::uvarint`].
    pub fn ivarint(&mut self) -> Result<i64, WireError> {
        let zigzag = self.uvarint()?;
        Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()))
    }

    /// See [`Encoder::bytes`]; at most `max_len` of them.
    ///
    /// # Errors
    /// [`WireError::CutOff`], [`WireError::BadNumber`], [`WireError::TooLong`].
    pub fn bytes(&mut self, max_len: usize) -> Result<&'a [u8], WireError> {
        let len = self.length(max_len)?;
        self.raw(len)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`WireError::CutOff`] if there are fewer.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes, as an array.
    ///
    /// # Errors
    /// [`WireError::CutOff`] if there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::CutOff)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A version byte that must be `known`.
    ///
    /// # Errors
    /// [`WireError::CutOff`]; [`WireError::Version`] if it is another.
    pub fn version(&mut self, what: &'static str, known: u8) -> Result<(), WireError> {
        let found = self.u8()?;
        if found == known { Ok(()) } else { Err(WireError::Version { what, found, known }) }
    }

    /// All that is left, for a last field without a length.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Ends the record.
    ///
    /// # Errors
    /// [`WireError::Trailing`] if bytes are left.
    pub fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.rest.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_field_reads_back_as_it_was_written(
            byte: u8, unsigned: u64, signed: i64, string in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut out = Encoder::new();
            out.u8(byte).uvarint(unsigned).ivarint(signed).bytes(&string).raw(&string);
            let record = out.finish();
            let mut input = Decoder::new(&record);
            prop_assert_eq!(input.u8()?, byte);
            prop_assert_eq!(input.uvarint()?, unsigned);
            prop_assert_eq!(input.ivarint()?, signed);
            prop_assert_eq!(input.bytes(300)?, &string[..]);
            prop_assert_eq!(input.raw(string.len())?, &string[..]);
            input.finish()?;
        }

        #[test]
        fn a_number_that_decodes_encodes_to_the_very_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut input = Decoder::new(&bytes);
            if let Ok(value) = input.uvarint() {
                let mut out = Encoder::new();
                out.uvarint(value);
                prop_assert_eq!(out.as_slice(), &bytes[..bytes.len() - input.remaining()]);
            }
        }
    }

    #[test]
    fn numbers_have_the_bytes_the_format_page_gives() {
        for (value, bytes) in [(0_u64, &[0][..]), (127, &[0x7f]), (128, &[0x80, 1]), (16_384, &[0x80, 0x80, 1])] {
            let mut out = Encoder::new();
            out.uvarint(value);
            assert_eq!(out.as_slice(), bytes);
        }
        for (value, byte) in [(0_i64, 0_u8), (-1, 1), (1, 2), (-2, 3), (-64, 127)] {
            let mut out = Encoder::new();
            out.ivarint(value);
            assert_eq!(out.as_slice(), [byte]);
        }
    }

    #[test]
    fn an_overlong_or_oversized_number_is_refused() {
        for bytes in [&[0x80, 0x00][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], &[0xff; 11]] {
            assert_eq!(Decoder::new(bytes).uvarint(), Err(WireError::BadNumber));
        }
        assert_eq!(Decoder::new(&[0x80]).uvarint(), Err(WireError::CutOff));
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_anything_is_read() {
        assert_eq!(Decoder::new(&[9, 1]).bytes(8), Err(WireError::TooLong { len: 9, limit: 8 }));
    }

    #[test]
    fn bytes_behind_the_last_field_are_refused() {
        let mut input = Decoder::new(&[1, 2, 3]);
        assert_eq!(input.u8(), Ok(1));
        assert_eq!(input.finish(), Err(WireError::Trailing(2)));
    }
}

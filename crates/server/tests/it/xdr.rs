//! XDR, RFC 4506: as much as NFS needs.

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
        let mut this = self.u32(u32::try_from(value.len()).unwrap());
        this.0.extend_from_slice(value);
        this.0.resize(this.0.len().next_multiple_of(4), 0);
        this
    }
}

/// Reads them back.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let len = self.u32() as usize;
        &self.take(len.next_multiple_of(4))[..len]
    }

    pub(crate) fn skip(&mut self, len: usize) {
        self.take(len);
    }
}

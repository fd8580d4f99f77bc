//! The MD5 that an S3 ETag is. Long bodies compute it together: `lanes`.

use crate::lanes::State;

/// Computes the ETag of content sent in one piece, on the calling thread.
pub(crate) struct Etag(State);

impl Etag {
    pub(crate) fn new() -> Self {
        Self(State::new())
    }
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
    pub(crate) fn finish(self) -> [u8; 16] {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_is_the_md5_of_the_content() {
        let mut etag = Etag::new();
        etag.update(b"123");
        etag.update(b"456789");
        assert_eq!(hex::encode(etag.finish()), "25f9e794323b453885f5181f1b624d0b");
    }
}

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

/// `MD5(MD5(part 1) ... MD5(part n))-n`, which is the ETag of an object of parts with these ETags; `None` where one is no MD5.
pub(crate) fn of_parts<'a>(etags: impl ExactSizeIterator<Item = &'a str>) -> Option<String> {
    let count = etags.len();
    let mut all = Etag::new();
    for etag in etags {
        all.update(&<[u8; 16]>::try_from(hex::decode(etag).ok()?).ok()?);
    }
    Some(format!("{}-{count}", hex::encode(all.finish())))
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

    #[test]
    fn the_etag_of_parts_is_the_md5_of_theirs_and_how_many_there_are() {
        let part = "25f9e794323b453885f5181f1b624d0b";
        // As `printf 25f9e794323b453885f5181f1b624d0b25f9e794323b453885f5181f1b624d0b | xxd -r -p | md5sum` says.
        assert_eq!(of_parts([part, part].into_iter()).as_deref(), Some("4f2908c19b573e50b194e208c928de17-2"));
        for wrong in [
            "",
            "25f9e794323b453885f5181f1b624d0",
            "25f9e794323b453885f5181f1b624d0g",
            "25f9e794323b453885f5181f1b624d0b-1",
        ] {
            assert_eq!(of_parts([part, wrong].into_iter()), None, "{wrong}");
        }
    }
}

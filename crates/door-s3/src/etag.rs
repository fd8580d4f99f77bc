//! The MD5 that an S3 ETag is, and how ETags are written. Long bodies compute it together: `lanes`.

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

/// An ETag as it stands in a header.
pub(crate) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// What a client sent for an ETag, without quotes and weakness.
pub(crate) fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("W/").unwrap_or(text);
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
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
    fn quotes_and_weakness_are_taken_off() {
        for text in ["abc", "\"abc\"", "W/\"abc\"", " \"abc\" "] {
            assert_eq!(unquoted(text), "abc");
        }
        assert_eq!(unquoted("\""), "\"");
        assert_eq!(quoted("abc"), "\"abc\"");
    }
}

//! Content tags in records and events: a text, wherever the tag comes from. Format: `docs/format/records.md`.

use std::borrow::Cow;

use crate::types::ContentTag;

/// The tag of content without a byte.
const NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";
/// Behind the hex digits of a tag that is derived.
const DERIVED: &str = "-0";

/// The text of a tag.
#[must_use]
pub fn written(tag: &ContentTag) -> Cow<'_, str> {
    match tag {
        ContentTag::Given(text) => Cow::Borrowed(text),
        ContentTag::Nothing => Cow::Borrowed(NOTHING),
        ContentTag::Derived(digest) => {
            use std::fmt::Write as _;
            let mut text = String::with_capacity(2 * digest.len() + DERIVED.len());
            for byte in digest {
                let _ = write!(text, "{byte:02x}");
            }
            Cow::Owned(text + DERIVED)
        }
    }
}

/// The tag of a text; its text is the same.
#[must_use]
pub fn read(text: String) -> ContentTag {
    if text == NOTHING {
        return ContentTag::Nothing;
    }
    match text.strip_suffix(DERIVED).and_then(digest_of) {
        Some(digest) => ContentTag::Derived(digest),
        None => ContentTag::Given(text),
    }
}

/// The bytes of 32 small hex digits; `None` of anything else.
pub(crate) fn digest_of(digits: &str) -> Option<[u8; 16]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (digits, mut digest) = (digits.as_bytes(), [0; 16]);
    if digits.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_the_text_that_it_always_had_and_is_read_from_it() {
        for (tag, text) in [
            (ContentTag::Nothing, "d41d8cd98f00b204e9800998ecf8427e"),
            (ContentTag::Derived([0xa1; 16]), "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1-0"),
            (ContentTag::Given("a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1".into()), "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"),
            (ContentTag::Given("A1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1-0".into()), "A1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1-0"),
            (ContentTag::Given("a1-0".into()), "a1-0"),
            (ContentTag::Given(String::new()), ""),
        ] {
            assert_eq!(written(&tag), text);
            assert_eq!(read(text.to_owned()), tag);
        }
    }
}

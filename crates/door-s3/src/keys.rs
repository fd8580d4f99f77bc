//! Keys and tokens as text: what a list document can carry, and where the next page begins.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use s3s::{S3Error, S3ErrorCode};

use crate::error::refuse;

/// What `encoding-type=url` leaves alone: letters, digits, `- . _ ~ /` and `*`. A space becomes `%20` and a plus sign
/// `%2B`, which both decoders in use (with and without "plus means space") read back rightly.
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b'*');

/// First byte of a continuation token, so that another kind may come later.
const TOKEN_VERSION: u8 = 1;
/// Longest place in a listing. Paths made at file doors may be longer than a key can be.
const PLACE_LEN_MAX: usize = strata_namespace::LISTED_LEN_MAX;

/// How keys are written into a list document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    /// As they are. A key that is no UTF-8, which only a file door can create, is shown with replacement characters.
    Plain,
    /// Percent-encoded: every key comes through.
    Url,
}

impl Encoding {
    /// Reads the `encoding-type` parameter.
    ///
    /// # Errors
    /// `InvalidArgument` for anything but `url`.
    pub(crate) fn of_parameter(value: Option<&str>) -> Result<Self, S3Error> {
        match value {
            None | Some("") => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(_) => Err(refuse(S3ErrorCode::InvalidArgument, "invalid encoding method specified in request")),
        }
    }

    pub(crate) fn write(self, key: &[u8]) -> String {
        match self {
            Self::Plain => String::from_utf8_lossy(key).into_owned(),
            Self::Url => percent_encode(key, URL).to_string(),
        }
    }
}

/// A document whose control characters are written as references. Raw, a carriage return is read as a line feed, and a client
/// that deletes what was listed deletes something else. XML 1.0 has no form at all for the other ones; as in S3, a
/// parser then complains, and `encoding-type=url` carries them.
pub(crate) fn without_raw_controls(document: Bytes) -> Bytes {
    let raw = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n');
    if !document.iter().any(raw) {
        return document;
    }
    let mut out = Vec::with_capacity(document.len() + 64);
    for byte in &document {
        if raw(byte) {
            out.extend_from_slice(format!("&#x{byte:X};").as_bytes());
        } else {
            out.push(*byte);
        }
    }
    out.into()
}

/// The token that continues a listing behind `place`.
pub(crate) fn token(place: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(place.len() + 1);
    bytes.push(TOKEN_VERSION);
    bytes.extend_from_slice(place);
    BASE64.encode(bytes)
}

/// The place that a token encodes.
///
/// # Errors
/// `InvalidArgument` for what is no token of this store.
pub(crate) fn place(token: &str) -> Result<Vec<u8>, S3Error> {
    let bytes = BASE64.decode(token).ok().filter(|bytes| bytes.len() <= PLACE_LEN_MAX + 1);
    match bytes.as_deref() {
        Some([TOKEN_VERSION, place @ ..]) => Ok(place.to_vec()),
        _ => Err(refuse(S3ErrorCode::InvalidArgument, "the continuation token provided is incorrect")),
    }
}

/// How many entries a page has: 0 to 1000, 1000 if nothing is said.
///
/// # Errors
/// `InvalidArgument` for negative numbers.
pub(crate) fn page_len(asked: Option<i32>) -> Result<usize, S3Error> {
    const PAGE_LEN_MAX: usize = 1000;
    match usize::try_from(asked.unwrap_or(1000)) {
        Ok(asked) => Ok(asked.min(PAGE_LEN_MAX)),
        Err(_) => Err(refuse(S3ErrorCode::InvalidArgument, "the maximum number of entries must not be negative")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn url_encoding_carries_what_a_document_cannot() {
        assert_eq!(Encoding::Url.write(b"a/b c+d\x1f\xff~"), "a/b%20c%2Bd%1F%FF~");
        assert_eq!(Encoding::Plain.write("ø/ b".as_bytes()), "ø/ b");
    }

    #[test]
    fn a_document_has_no_control_characters_but_tabs_and_line_feeds() {
        let written = |text: &'static str| without_raw_controls(Bytes::from_static(text.as_bytes()));
        assert_eq!(&written("<Key>Icon\r</Key>")[..], b"<Key>Icon&#xD;</Key>");
        assert_eq!(&written("<?xml?>\n<Key>\t\u{1}\u{1f}\u{7f}</Key>")[..], b"<?xml?>\n<Key>\t&#x1;&#x1F;\x7f</Key>");
    }

    #[test]
    fn page_lengths_are_capped_and_never_negative() {
        assert_eq!(
            (page_len(None).unwrap(), page_len(Some(0)).unwrap(), page_len(Some(5000)).unwrap()),
            (1000, 0, 1000)
        );
        assert!(page_len(Some(-1)).is_err());
    }

    proptest! {
        #[test]
        fn every_place_comes_back_from_its_token(bytes in proptest::collection::vec(any::<u8>(), 0..PLACE_LEN_MAX)) {
            prop_assert_eq!(place(&token(&bytes)).unwrap(), bytes);
        }
        #[test]
        fn any_text_that_is_taken_for_a_token_is_the_token_of_its_place(text in "[A-Za-z0-9+/_-]{0,60}={0,2}|.{0,60}") {
            // The first byte tells versions apart.
            let versioned = BASE64.encode([&[TOKEN_VERSION][..], text.as_bytes()].concat());
            for text in [text, versioned] {
                if let Ok(place) = place(&text) {
                    prop_assert_eq!(token(&place), text);
                }
            }
        }
    }
}

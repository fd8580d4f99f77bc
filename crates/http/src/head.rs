//! What is wrong with the head of a request, whatever it asks for.

use http::HeaderMap;
use http::header::TRANSFER_ENCODING;

/// Whether the body has a transfer coding besides `chunked`. Such a body must be refused: it would be stored with that coding (RFC 9112,
/// section 6.1).
#[must_use]
pub fn is_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chunks_are_no_coding() {
        let is_coded = |values: &[&str]| {
            is_coded(&values.iter().map(|value| (TRANSFER_ENCODING, value.parse().unwrap())).collect())
        };
        for values in [&[][..], &["chunked"], &[" Chunked "]] {
            assert!(!is_coded(values), "{values:?}");
        }
        for values in [&["gzip, chunked"][..], &["gzip", "chunked"], &["identity"], &[""]] {
            assert!(is_coded(values), "{values:?}");
        }
    }
}

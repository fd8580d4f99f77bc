//! The headers that WebDAV adds to HTTP (RFC 4918 section 10), read strictly. Pure.

use http::HeaderMap;

use crate::error::{Refusal, Result};

/// How far a request reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Depth {
    /// The resource.
    Zero,
    /// And its members.
    One,
    /// And everything below.
    Infinity,
}

/// The text of a header; `None` if it is missing, 400 if it is not ASCII or there are several.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    match utf8(headers, name)? {
        Some(text) if !text.is_ascii() => Err(Refusal::bad_request(format!("{name} is not ASCII text"))),
        text => Ok(text),
    }
}

/// As [`text`], for headers that carry URLs.
pub(crate) fn utf8<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::bad_request(format!("{name} is given more than once")));
    }
    std::str::from_utf8(value.as_bytes())
        .map(Some)
        .map_err(|_| Refusal::bad_request(format!("{name} is neither ASCII nor UTF-8 text")))
}

/// `Depth`, if given.
pub(crate) fn depth(headers: &HeaderMap) -> Result<Option<Depth>> {
    match text(headers, "depth")?.map(str::trim) {
        None => Ok(None),
        Some("0") => Ok(Some(Depth::Zero)),
        Some("1") => Ok(Some(Depth::One)),
        Some(word) if word.eq_ignore_ascii_case("infinity") => Ok(Some(Depth::Infinity)),
        Some(_) => Err(Refusal::bad_request("Depth must be 0, 1 or infinity")),
    }
}

/// `Overwrite`; true where it is missing.
pub(crate) fn overwrite(headers: &HeaderMap) -> Result<bool> {
    match text(headers, "overwrite")?.map(str::trim) {
        None | Some("T" | "t") => Ok(true),
        Some("F" | "f") => Ok(false),
        Some(_) => Err(Refusal::bad_request("Overwrite must be T or F; nothing was changed")),
    }
}

/// `Timeout` of a lock in seconds: the first proposal that is understood, `None` for an endless one and where there is none.
pub(crate) fn timeout_secs(headers: &HeaderMap) -> Option<u64> {
    let proposals =
        headers.get_all("timeout").iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    for proposal in proposals.map(str::trim) {
        if proposal.eq_ignore_ascii_case("infinite") {
            return None;
        }
        let secs =
            proposal.split_once('-').filter(|(unit, _)| unit.eq_ignore_ascii_case("second")).map(|(_, secs)| secs);
        match secs {
            Some(secs) if !secs.is_empty() && secs.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Some(secs.parse().unwrap_or(u64::MAX));
            }
            _ => {}
        }
    }
    None
}

/// `Destination` as it was sent: ASCII, or raw UTF-8 as some clients write it.
///
/// # Errors
/// 400 if it is missing, given twice or no text.
pub(crate) fn destination(headers: &HeaderMap) -> Result<&str> {
    utf8(headers, "destination")?
        .ok_or_else(|| Refusal::bad_request("COPY and MOVE need a Destination header; nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_destination_may_be_raw_utf_8() {
        assert_eq!(destination(&map(&[("destination", "/b/é")])).unwrap(), "/b/é");
        assert!(destination(&map(&[])).is_err());
        let mut broken = HeaderMap::new();
        broken.insert("destination", http::HeaderValue::from_bytes(b"/b/\xff").unwrap());
        assert!(destination(&broken).is_err());
    }

    #[test]
    fn depth_and_overwrite_are_read_strictly() {
        assert_eq!(depth(&map(&[("depth", "Infinity")])).unwrap(), Some(Depth::Infinity));
        assert!(depth(&map(&[("depth", "2")])).is_err());
        let mut twice = map(&[("depth", "0")]);
        twice.append("depth", "1".parse().unwrap());
        assert!(depth(&twice).is_err());
        assert!(overwrite(&map(&[])).unwrap());
        assert!(!overwrite(&map(&[("overwrite", "F")])).unwrap());
        assert!(overwrite(&map(&[("overwrite", "maybe")])).is_err());
    }

    #[test]
    fn of_the_proposed_timeouts_the_first_understood_counts() {
        let secs = |value| timeout_secs(&map(&[("timeout", value)]));
        assert_eq!(secs("Second-1800"), Some(1800));
        assert_eq!(secs("Extend-5, second-7, Infinite"), Some(7));
        assert_eq!(secs("Infinite, Second-4100000000"), None);
        assert_eq!(secs("Second-99999999999999999999"), Some(u64::MAX));
        assert_eq!(secs("Second-, Second--1, soon"), None);
        assert_eq!(timeout_secs(&map(&[])), None);
    }

    proptest! {
        #[test]
        fn of_the_proposals_for_a_timeout_the_first_that_is_understood_counts(
            before in prop::collection::vec("[a-z]{1,8}|Second-[a-z]{0,3}|Minute-[0-9]{1,3}", 0..3),
            secs in proptest::option::of(any::<u32>()),
            behind in "[A-Za-z0-9, -]{0,20}",
        ) {
            prop_assume!(!before.iter().any(|word| word.eq_ignore_ascii_case("infinite")));
            let counts = secs.map_or_else(|| "Infinite".to_owned(), |secs| format!("Second-{secs}"));
            let text = [before, vec![counts, behind]].concat().join(", ");
            prop_assert_eq!(timeout_secs(&map(&[("timeout", &text)])), secs.map(u64::from), "{}", text);
        }
    }
}

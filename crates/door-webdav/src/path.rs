//! Paths of requests: decoded once, checked once, and the same bytes are authorised, locked and used.
//!
//! Invariants of a [`UrlPath`]: it names no `.` or `..`, no empty name, no name with a slash or NUL in it, and none longer
//! than the name space holds. What would need guessing (a half escape, an escaped slash) is refused, not repaired.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use strata_namespace::NAME_LEN_MAX;

use crate::error::{Refusal, Result};

/// Longest decoded path in bytes.
pub(crate) const PATH_LEN_MAX: usize = 8 * 1024;

/// What stays as it is in an `href`: the unreserved characters of RFC 3986.
const KEEP: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A path below the root of the name space: `/`, or `/name` once or more, without a slash at the end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UrlPath {
    bytes: Vec<u8>,
    slash: bool,
}

impl std::fmt::Debug for UrlPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.href(self.slash))
    }
}

impl UrlPath {
    /// From the path of a URL, still percent-encoded. Repeated slashes count as one.
    ///
    /// # Errors
    /// 400 for anything that has no single meaning, 414 for what is too long to be held.
    pub(crate) fn parse(encoded: &str) -> Result<Self> {
        if !encoded.starts_with('/') {
            return Err(Refusal::bad_request("the path of a request starts with a slash"));
        }
        let mut bytes = Vec::with_capacity(encoded.len());
        for segment in encoded.split('/').filter(|segment| !segment.is_empty()) {
            let name = decode(segment)?;
            if name == b"." || name == b".." {
                return Err(Refusal::bad_request("a path may not contain . or .. as a name"));
            }
            if name.contains(&0) || name.contains(&b'/') {
                return Err(Refusal::bad_request("a name may not contain NUL or an escaped slash"));
            }
            if name.len() > NAME_LEN_MAX {
                return Err(Refusal::new(
                    http::StatusCode::URI_TOO_LONG,
                    format!("a name is longer than {NAME_LEN_MAX} bytes"),
                ));
            }
            bytes.push(b'/');
            bytes.extend_from_slice(&name);
        }
        if bytes.len() > PATH_LEN_MAX {
            return Err(Refusal::new(
                http::StatusCode::URI_TOO_LONG,
                format!("the path is longer than {PATH_LEN_MAX} bytes"),
            ));
        }
        Ok(Self { bytes, slash: encoded.ends_with('/') })
    }

    /// Whether this is the root, whose members are the buckets and files of its own.
    pub(crate) fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }
    /// Whether this is at the top: a collection there is a bucket.
    pub(crate) fn is_top(&self) -> bool {
        self.names().count() == 1
    }
    /// Whether the URL ended in a slash: the client means a collection.
    pub(crate) fn has_slash(&self) -> bool {
        self.slash
    }
    /// The names from the root down.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|&byte| byte == b'/').skip(1)
    }
    /// The last name; empty for the root.
    pub(crate) fn name(&self) -> &[u8] {
        self.names().last().unwrap_or_default()
    }
    /// Whether a rename leads from here to `other`: both are at the top, or both are below one bucket.
    pub(crate) fn shares_bucket(&self, other: &Self) -> bool {
        match (self.is_top(), other.is_top()) {
            (false, false) => self.names().next() == other.names().next(),
            (one, other) => one && other,
        }
    }
    /// The collection that holds it; the root's is the root.
    pub(crate) fn parent(&self) -> Self {
        let end = self.bytes.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Self { bytes: self.bytes[..end].to_vec(), slash: true }
    }
    /// As the lock table keys it: `/` alone for the root, else without a slash at the end.
    pub(crate) fn key(&self) -> &[u8] {
        if self.bytes.is_empty() { b"/" } else { &self.bytes }
    }
    /// Whether `other` is this path or lies below it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        covers(self.key(), other.key())
    }
    /// The percent-encoded form for replies; a collection's ends in a slash.
    pub(crate) fn href(&self, collection: bool) -> String {
        href(self.key(), collection)
    }
}

/// Whether the key `upper` is `lower` or an ancestor of it.
pub(crate) fn covers(upper: &[u8], lower: &[u8]) -> bool {
    upper == b"/" || lower.strip_prefix(upper).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The percent-encoded form of a key.
pub(crate) fn href(key: &[u8], collection: bool) -> String {
    let mut out = String::with_capacity(key.len() + 8);
    for name in key.split(|&byte| byte == b'/').skip(1).filter(|name| !name.is_empty()) {
        out.push('/');
        push_name(&mut out, name);
    }
    if collection || out.is_empty() {
        out.push('/');
    }
    out
}

/// Appends one name, percent-encoded.
pub(crate) fn push_name(out: &mut String, name: &[u8]) {
    out.extend(percent_encode(name, KEEP));
}

fn decode(segment: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            out.push(byte);
            rest = tail;
            continue;
        }
        let digit = |at: usize| {
            tail.get(at).and_then(|&byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
        };
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(Refusal::bad_request("a percent sign in the path is not followed by two hexadecimal digits"));
        };
        out.push(high << 4 | low);
        rest = &tail[2..];
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_decoded_exactly_once() {
        let path = UrlPath::parse("/b/a%2520b/").unwrap();
        assert_eq!(path.name(), b"a%20b");
        assert!(path.has_slash());
        assert_eq!(path.href(false), "/b/a%2520b");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for path in ["/b/..", "/b/%2e%2e/x", "/b/.", "/b/a%2Fb", "/b/a%00", "/b/%zz", "/b/%4", "b", ""] {
            assert!(UrlPath::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn repeated_slashes_count_as_one() {
        assert_eq!(UrlPath::parse("//b///c").unwrap().key(), b"/b/c");
        assert!(UrlPath::parse("//").unwrap().is_root());
    }

    #[test]
    fn covering_stops_at_names() {
        let path = |text| UrlPath::parse(text).unwrap();
        assert!(path("/a").covers(&path("/a/b")));
        assert!(path("/").covers(&path("/a")));
        assert!(path("/a").covers(&path("/a/")));
        assert!(!path("/a").covers(&path("/ab")));
    }

    proptest! {
        #[test]
        fn any_text_that_is_a_path_keeps_the_invariants_and_its_href_leads_back(text in "/([a-z./é]|%[0-7][0-9a-fA-F]|%[a-z]?){0,30}|.*") {
            if let Ok(path) = UrlPath::parse(&text) {
                for name in path.names() {
                    prop_assert!(!name.is_empty() && name != b"." && name != b"..", "{text}");
                    prop_assert!(!name.contains(&0) && !name.contains(&b'/') && name.len() <= NAME_LEN_MAX, "{text}");
                }
                prop_assert_eq!(&UrlPath::parse(&path.href(path.has_slash())).unwrap(), &path);
            }
        }

        #[test]
        fn an_href_leads_back_to_the_same_bytes(names in prop::collection::vec(prop::collection::vec(1u8.., 1..40), 0..6)) {
            prop_assume!(names.iter().all(|name| name != b"." && name != b".." && !name.contains(&b'/')));
            let mut key: Vec<u8> = names.iter().flat_map(|name| [b"/".as_slice(), name].concat()).collect();
            if key.is_empty() {
                key = b"/".to_vec();
            }
            let path = UrlPath::parse(&href(&key, false)).unwrap();
            prop_assert_eq!(path.key(), &key[..]);
            prop_assert_eq!(path.names().map(<[u8]>::to_vec).collect::<Vec<_>>(), names);
        }
    }
}

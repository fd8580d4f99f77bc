//! The headers that WebDAV adds to HTTP (RFC 4918 section 10), read strictly. Pure.

use http::header::HOST;
use http::{HeaderMap, StatusCode, Uri};

use crate::error::{Refusal, Result};
use crate::path::UrlPath;

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
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::bad_request(format!("{name} is given more than once")));
    }
    value.to_str().map(Some).map_err(|_| Refusal::bad_request(format!("{name} is not ASCII text")))
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

/// `Destination`: a path, or a URL of this very server.
///
/// # Errors
/// 400 if it is missing or cannot be read, 502 if it names another server (RFC 4918 section 9.8.5).
pub(crate) fn destination(headers: &HeaderMap) -> Result<UrlPath> {
    let Some(value) = text(headers, "destination")? else {
        return Err(Refusal::bad_request("COPY and MOVE need a Destination header; nothing was changed"));
    };
    local_path(value, headers)
}

/// The path of an absolute path or of a URL whose authority is that of the request's `Host`.
pub(crate) fn local_path(reference: &str, headers: &HeaderMap) -> Result<UrlPath> {
    let reference = reference.trim();
    if reference.starts_with('/') && !reference.starts_with("//") {
        let end = reference.find(['?', '#']).unwrap_or(reference.len());
        return UrlPath::parse(&reference[..end]);
    }
    let uri: Uri = reference
        .parse()
        .map_err(|_| Refusal::bad_request("a URL in the request cannot be read; nothing was changed"))?;
    let here = headers.get(HOST).and_then(|host| host.to_str().ok());
    let same = match (uri.scheme_str(), uri.authority(), here) {
        (Some("http" | "https"), Some(authority), Some(here)) => same_authority(authority.as_str(), here),
        _ => false,
    };
    if !same {
        return Err(Refusal::new(
            StatusCode::BAD_GATEWAY,
            "the other URL of the request is not on this server; nothing was changed",
        ));
    }
    UrlPath::parse(uri.path())
}

/// Host names without regard to case, default ports left out, user information dropped.
fn same_authority(one: &str, two: &str) -> bool {
    let plain = |text: &str| {
        let host = text.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
        host.strip_suffix(":80").or_else(|| host.strip_suffix(":443")).unwrap_or(&host).to_owned()
    };
    plain(one) == plain(two)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_destination_is_a_path_or_a_url_of_this_server() {
        for value in
            ["/b/x%20y", "http://store:8080/b/x%20y", "HTTP://STORE:8080/b/x%20y", "https://me@store:8080/b/x%20y?q"]
        {
            let headers = map(&[("host", "store:8080"), ("destination", value)]);
            assert_eq!(destination(&headers).unwrap().key(), b"/b/x y", "{value}");
        }
    }

    #[test]
    fn a_destination_elsewhere_is_a_bad_gateway() {
        for value in ["http://other/b/x", "ftp://store/b/x", "http://store:81/b", "//other/x", "x"] {
            let headers = map(&[("host", "store"), ("destination", value)]);
            assert_eq!(destination(&headers).unwrap_err().status, StatusCode::BAD_GATEWAY, "{value}");
        }
    }

    #[test]
    fn a_destination_obeys_the_rules_of_paths() {
        for value in ["/b/../c", "http://store/b/%2e%2e/c", "/b/a%2fb", "/b/%"] {
            let headers = map(&[("host", "store"), ("destination", value)]);
            assert_eq!(destination(&headers).unwrap_err().status, StatusCode::BAD_REQUEST, "{value}");
        }
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
        fn reading_any_timeout_never_panics(text in "[A-Za-z0-9, -]{0,40}") {
            let _ = timeout_secs(&map(&[("timeout", &text)]));
        }

        #[test]
        fn reading_any_reference_never_panics(text in "[a-z:/@%0-9.?#\\[\\]-]{0,40}") {
            let _ = local_path(&text, &map(&[("host", "store")]));
        }
    }
}

//! Basic authentication (RFC 7617) over the store's users. Nothing of a credential is ever logged or kept.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Longest `Authorization` header looked at, in bytes.
const HEADER_LEN_MAX: usize = 4096;

/// The challenge of a 401.
pub(crate) const CHALLENGE: &str = "Basic realm=\"strata\", charset=\"UTF-8\"";

/// Name and password of a request, if it has exactly one well-formed Basic credential.
pub(crate) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    parse(value)
}

fn parse(value: &str) -> Option<(String, String)> {
    if value.len() > HEADER_LEN_MAX {
        return None;
    }
    let (scheme, encoded) = value.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = plain.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_password_may_hold_colons() {
        assert_eq!(parse("Basic YWxpY2U6YTpi"), Some(("alice".into(), "a:b".into())));
        assert_eq!(parse("basic  YWxpY2U6"), Some(("alice".into(), String::new())));
    }

    #[test]
    fn what_is_not_basic_is_no_credential() {
        for value in ["", "Basic", "Basic !", "Bearer YWxpY2U6YTpi", "Basic YWxpY2U=", "Basic /w=="] {
            assert_eq!(parse(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_credential_is_read_back(name in "[^:]{0,20}", password in ".{0,20}") {
            let header = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
            prop_assert_eq!(parse(&header), Some((name, password)));
        }
        #[test]
        fn any_text_that_is_read_as_a_credential_is_that_one_encoded(text in "[Bb]asic +[A-Za-z0-9+/]{0,40}={0,2}|.{0,40}") {
            if let Some((name, password)) = parse(&text) {
                prop_assert!(!name.contains(':'));
                let encoded = STANDARD.encode(format!("{name}:{password}"));
                prop_assert_eq!(text.trim().split_once(' ').map(|(_, rest)| rest.trim()), Some(encoded.as_str()));
            }
        }
    }
}

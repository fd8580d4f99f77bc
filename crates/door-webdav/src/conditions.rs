//! Conditional requests of RFC 9110 section 13: what may stand in their headers here. Pure.

use http::HeaderMap;
use strata_http::conditions::{Conditions, NAMES};

use crate::error::{Refusal, Result};

/// Most entity tags in one header.
const TAGS_MAX: usize = 64;

/// Reads the headers; dates that are none are ignored, as RFC 9110 says.
///
/// # Errors
/// 400 for entity tags that cannot be read: ignoring a guard would be worse than refusing.
pub(crate) fn of(headers: &HeaderMap) -> Result<Conditions> {
    let conditions = Conditions::of(headers, &NAMES);
    if let Some(name) = conditions.unreadable_tags {
        return Err(Refusal::bad_request(format!("{name} cannot be read; nothing was changed")));
    }
    for (name, tags) in [(NAMES.if_match, &conditions.if_match), (NAMES.if_none_match, &conditions.if_none_match)] {
        if tags.as_ref().is_some_and(|tags| tags.list.len() > TAGS_MAX) {
            return Err(Refusal::bad_request(format!("{name} has more than {TAGS_MAX} entity tags")));
        }
    }
    Ok(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{IF_MATCH, IF_NONE_MATCH};

    #[test]
    fn a_guard_that_cannot_be_read_is_an_error() {
        for value in ["\"a", "", ",", "\"a\" b"] {
            let map: HeaderMap = [(IF_MATCH, value.parse().unwrap())].into_iter().collect();
            assert!(of(&map).is_err(), "{value}");
        }
    }

    #[test]
    fn a_guard_has_so_many_tags_and_no_more() {
        let map = |count| -> HeaderMap {
            let tags = vec!["\"a\""; count].join(", ");
            [(IF_NONE_MATCH, tags.parse().unwrap())].into_iter().collect()
        };
        assert!(of(&map(TAGS_MAX)).is_ok());
        assert!(of(&map(TAGS_MAX + 1)).is_err());
    }
}

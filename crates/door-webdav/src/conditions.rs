//! Conditional requests of RFC 9110 section 13: what may stand in their headers here, and what of it a commit checks. Pure.

use http::HeaderMap;
use strata_http::conditions::{Conditions, NAMES};
use strata_http::etag::Tags;
use strata_namespace::Condition;

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

/// What the name space checks again in the commit of a PUT, so that nothing slips in between.
pub(crate) fn for_commit(conditions: &Conditions) -> Condition {
    let etag_in = conditions.if_match.as_ref().map(|tags| match tags.any {
        true => vec!["*".to_owned()],
        false => tags.strong_texts(),
    });
    let none = conditions.if_none_match.as_ref();
    Condition {
        absent: none.is_some_and(|tags| tags.any),
        etag_in: etag_in.unwrap_or_default(),
        etag_not_in: none.map(Tags::weak_texts).unwrap_or_default(),
    }
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

    #[test]
    fn the_commit_checks_the_same_tags() {
        let map: HeaderMap =
            [(IF_MATCH, "\"a\"".parse().unwrap()), (IF_NONE_MATCH, "*".parse().unwrap())].into_iter().collect();
        let condition = for_commit(&of(&map).unwrap());
        assert_eq!(condition, Condition { absent: true, etag_in: vec!["a".into()], etag_not_in: vec![] });
    }

    #[test]
    fn a_star_in_quotes_lets_no_commit_through() {
        let map: HeaderMap = [(IF_MATCH, "\"a\", \"*\"".parse().unwrap())].into_iter().collect();
        let condition = for_commit(&of(&map).unwrap());
        assert_eq!(condition.etag_in, ["a", "\"*\""]);
    }
}

//! Conditional requests of RFC 9110 section 13: what the headers ask, and whether it holds. Pure.
//!
//! ETags of this store are strong and compared as such, save for `If-None-Match` on GET and HEAD, where a weak tag with
//! the same text is good enough for a cache.

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName};
use strata_namespace::Condition;
use strata_seam::Timestamp;

use crate::date;
use crate::error::{Refusal, Result};

/// Most entity tags in one header.
const TAGS_MAX: usize = 64;

/// `If-Match` or `If-None-Match`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Tags {
    /// `*`: any present resource.
    Any,
    /// Tags without quotes, each with whether it was marked weak.
    List(Vec<(bool, String)>),
}

/// What the validators of the present resource are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present<'a> {
    /// Without quotes; `None` for a collection.
    pub(crate) etag: Option<&'a str>,
    /// Time of last modification.
    pub(crate) modified: Timestamp,
}

/// The conditional headers of a request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
    modified_since: Option<i64>,
    unmodified_since: Option<i64>,
}

/// How a conditional request goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// All conditions hold.
    Proceed,
    /// 412.
    Failed,
    /// 304, GET and HEAD only.
    NotModified,
}

impl Conditions {
    /// Reads the headers; dates that are none are ignored, as RFC 9110 says.
    ///
    /// # Errors
    /// 400 for entity tags that cannot be read: ignoring a guard would be worse than refusing.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self> {
        let since = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).and_then(date::parse);
        Ok(Self {
            if_match: tags(headers, IF_MATCH)?,
            if_none_match: tags(headers, IF_NONE_MATCH)?,
            modified_since: since(IF_MODIFIED_SINCE),
            unmodified_since: since(IF_UNMODIFIED_SINCE),
        })
    }

    /// In the order of RFC 9110 section 13.2.2. `reading` for GET and HEAD.
    pub(crate) fn verdict(&self, present: Option<Present<'_>>, reading: bool) -> Verdict {
        let etag = present.and_then(|present| present.etag);
        if let Some(tags) = &self.if_match {
            let holds = match tags {
                Tags::Any => present.is_some(),
                Tags::List(list) => list.iter().any(|(weak, tag)| !weak && etag == Some(tag)),
            };
            if !holds {
                return Verdict::Failed;
            }
        } else if let Some(limit) = self.unmodified_since
            && present.is_none_or(|present| present.modified.secs() > limit)
        {
            return Verdict::Failed;
        }
        if let Some(tags) = &self.if_none_match {
            let matches = match tags {
                Tags::Any => present.is_some(),
                Tags::List(list) => list.iter().any(|(weak, tag)| (reading || !weak) && etag == Some(tag)),
            };
            if matches {
                return if reading { Verdict::NotModified } else { Verdict::Failed };
            }
        } else if reading
            && let (Some(limit), Some(present)) = (self.modified_since, present)
            && present.modified.secs() <= limit
        {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// What the name space checks again in the commit of a PUT, so that nothing slips in between.
    pub(crate) fn for_commit(&self) -> Condition {
        let mut condition = Condition::default();
        match &self.if_match {
            Some(Tags::Any) => condition.etag_in.push("*".into()),
            Some(Tags::List(list)) => condition.etag_in.extend(strong(list)),
            None => {}
        }
        match &self.if_none_match {
            Some(Tags::Any) => condition.absent = true,
            Some(Tags::List(list)) => condition.etag_not_in.extend(strong(list)),
            None => {}
        }
        condition
    }
}

fn strong(list: &[(bool, String)]) -> impl Iterator<Item = String> {
    list.iter().filter(|(weak, _)| !weak).map(|(_, tag)| tag.clone())
}

fn tags(headers: &HeaderMap, name: HeaderName) -> Result<Option<Tags>> {
    let mut list = Vec::new();
    let mut seen = false;
    for value in headers.get_all(&name) {
        seen = true;
        let text = value.to_str().ok().and_then(parse_tags);
        match text {
            Some(Tags::Any) => return Ok(Some(Tags::Any)),
            Some(Tags::List(more)) => list.extend(more),
            None => return Err(Refusal::bad_request(format!("{name} cannot be read; nothing was changed"))),
        }
    }
    if list.len() > TAGS_MAX {
        return Err(Refusal::bad_request(format!("{name} has more than {TAGS_MAX} entity tags")));
    }
    Ok(seen.then_some(Tags::List(list)))
}

/// `*`, or entity tags with commas between them. Tags without quotes, which some clients send, are taken up to the comma.
fn parse_tags(text: &str) -> Option<Tags> {
    let mut rest = text.trim();
    if rest == "*" {
        return Some(Tags::Any);
    }
    let mut list = Vec::new();
    while !rest.is_empty() {
        let (weak, tail) = rest.strip_prefix("W/").map_or((false, rest), |tail| (true, tail));
        let (tag, tail) = match tail.strip_prefix('"') {
            Some(tail) => tail.split_once('"')?,
            None => tail.split_at(tail.find(',').unwrap_or(tail.len())),
        };
        list.push((weak, tag.trim().to_owned()));
        let tail = tail.trim_start();
        rest = match tail.strip_prefix(',') {
            Some(tail) => tail.trim_start(),
            None if tail.is_empty() => tail,
            None => return None,
        };
    }
    (!list.is_empty()).then_some(Tags::List(list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(784_111_777_500_000_000);

    fn verdict(headers: &[(HeaderName, &str)], etag: Option<&str>, reading: bool) -> Verdict {
        let map: HeaderMap = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let present = etag.map(|etag| Present { etag: Some(etag), modified: NOW });
        Conditions::from_headers(&map).unwrap().verdict(present, reading)
    }

    #[test]
    fn if_match_guards_a_change() {
        assert_eq!(verdict(&[(IF_MATCH, "\"a\", \"b\"")], Some("b"), false), Verdict::Proceed);
        assert_eq!(verdict(&[(IF_MATCH, "\"a\"")], Some("b"), false), Verdict::Failed);
        assert_eq!(verdict(&[(IF_MATCH, "W/\"a\"")], Some("a"), false), Verdict::Failed);
        assert_eq!(verdict(&[(IF_MATCH, "*")], None, false), Verdict::Failed);
    }

    #[test]
    fn if_none_match_star_creates_only() {
        assert_eq!(verdict(&[(IF_NONE_MATCH, "*")], None, false), Verdict::Proceed);
        assert_eq!(verdict(&[(IF_NONE_MATCH, "*")], Some("a"), false), Verdict::Failed);
    }

    #[test]
    fn a_cache_that_has_the_version_is_told_so() {
        assert_eq!(verdict(&[(IF_NONE_MATCH, "W/\"a\"")], Some("a"), true), Verdict::NotModified);
        assert_eq!(
            verdict(&[(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT")], Some("a"), true),
            Verdict::NotModified
        );
        assert_eq!(verdict(&[(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")], Some("a"), true), Verdict::Proceed);
        assert_eq!(
            verdict(&[(IF_UNMODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")], Some("a"), true),
            Verdict::Failed
        );
    }

    #[test]
    fn a_guard_that_cannot_be_read_is_an_error() {
        let map: HeaderMap = [(IF_MATCH, "\"a".parse().unwrap())].into_iter().collect();
        assert!(Conditions::from_headers(&map).is_err());
    }

    #[test]
    fn the_commit_checks_the_same_tags() {
        let map: HeaderMap =
            [(IF_MATCH, "\"a\"".parse().unwrap()), (IF_NONE_MATCH, "*".parse().unwrap())].into_iter().collect();
        let condition = Conditions::from_headers(&map).unwrap().for_commit();
        assert_eq!(condition, Condition { absent: true, etag_in: vec!["a".into()], etag_not_in: vec![] });
    }

    proptest! {
        #[test]
        fn any_text_that_is_read_as_tags_is_read_alike_when_these_are_quoted(text in "[\"W/,* a-zé]{0,40}") {
            let Some(Tags::List(tags)) = parse_tags(&text) else { return Ok(()) };
            prop_assert!(!tags.is_empty());
            // A tag without quotes may have one in it.
            prop_assume!(tags.iter().all(|(_, tag)| !tag.contains('"')));
            let quoted: Vec<String> = tags.iter().map(|(weak, tag)| format!("{}\"{tag}\"", if *weak { "W/" } else { "" })).collect();
            prop_assert_eq!(parse_tags(&quoted.join(",")), Some(Tags::List(tags)));
        }
        #[test]
        fn quoted_tags_are_read_back(tags in prop::collection::vec((any::<bool>(), "[!#-~]{0,10}"), 1..5)) {
            let text: Vec<String> = tags.iter().map(|(weak, tag)| format!("{}\"{tag}\"", if *weak { "W/" } else { "" })).collect();
            prop_assert_eq!(parse_tags(&text.join(", ")), Some(Tags::List(tags)));
        }
    }
}

//! What HTTP calls the content tags of the name space: their ETags, which S3, WebDAV and whoever shows changes write alike, and the
//! conditions of a request that a commit is to hold. Pure code.
//!
//! An ETag of 32 hex digits is the MD5 of the content; with `-N` behind, `N` from 1, that of the MD5s of its `N` parts. Clients may
//! compute both. `-0` marks what they may not: a tag that the store has derived.

use strata_http::conditions::Conditions;
use strata_http::etag::Tag;
use strata_namespace::{Condition, ContentTag, Wanted};

/// The MD5 of no bytes, which a directory that is shown as an object has too.
const OF_NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";
/// Stands behind a tag that is no MD5, where S3 has the number of parts, of which there are never none.
const NO_MD5: &str = "-0";

/// The ETag of content with this tag, without quotes.
#[must_use]
pub fn of(tag: &ContentTag) -> String {
    match tag {
        ContentTag::Given(text) => text.clone(),
        ContentTag::Derived(digest) => hex::encode(digest) + NO_MD5,
        ContentTag::Nothing => OF_NOTHING.to_owned(),
    }
}

/// The content tag whose ETag is this text, without quotes. Every text is one: a text that the store does not derive itself was given
/// with the content.
#[must_use]
pub fn read(etag: &str) -> ContentTag {
    if etag == OF_NOTHING {
        return ContentTag::Nothing;
    }
    let digest = || {
        let (digits, mut digest) = (etag.strip_suffix(NO_MD5)?, [0; 16]);
        hex::decode_to_slice(digits, &mut digest).ok()?;
        // In capitals it is another text.
        (hex::encode(digest) == digits).then_some(digest)
    };
    digest().map_or_else(|| ContentTag::Given(etag.to_owned()), ContentTag::Derived)
}

/// The part of a request's conditions that the name space checks in the commit, so that no other change comes in between: `If-Match` by
/// the strong comparison, `If-None-Match` by the weak one (RFC 9110, section 13.1). Dates are left out.
#[must_use]
pub fn condition(conditions: &Conditions) -> Condition {
    let (matches, none) = (conditions.if_match.as_ref(), conditions.if_none_match.as_ref());
    // A star in quotes is the tag of nothing, and not the sign for any.
    let tags = |listed: &[Tag], weak_too: bool| {
        let counted = listed.iter().filter(|tag| (weak_too || !tag.weak) && tag.text != "*");
        counted.map(|tag| read(tag.text.trim_matches('"'))).collect()
    };
    Condition {
        absent: none.is_some_and(|listed| listed.any),
        wanted: matches.map(|listed| match listed.any {
            true => Wanted::Anything,
            false => Wanted::OneOf(tags(&listed.list, false)),
        }),
        unwanted: none.map(|listed| tags(&listed.list, true)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;
    use strata_http::conditions::NAMES;

    use super::*;

    fn asked(if_match: &str, if_none_match: &str) -> Condition {
        let headers = [(http::header::IF_MATCH, if_match), (http::header::IF_NONE_MATCH, if_none_match)];
        let headers = headers.into_iter().filter(|(_, value)| !value.is_empty());
        let map: HeaderMap = headers.map(|(name, value)| (name, value.parse().expect("a header"))).collect();
        condition(&Conditions::of(&map, &NAMES))
    }

    fn given(texts: &[&str]) -> Vec<ContentTag> {
        texts.iter().map(|text| ContentTag::Given((*text).to_owned())).collect()
    }

    #[test]
    fn what_a_client_sent_is_its_md5_and_what_the_store_derived_is_marked_as_none() {
        let text = "25f9e794323b453885f5181f1b624d0b";
        assert_eq!(of(&read(text)), text);
        assert_eq!(read(text), ContentTag::Given(text.to_owned()));
        assert_eq!(of(&ContentTag::Derived([0x1f; 16])), "1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f-0");
        assert_eq!(read("1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f-0"), ContentTag::Derived([0x1f; 16]));
        assert_eq!(of(&ContentTag::Nothing), "d41d8cd98f00b204e9800998ecf8427e");
        for other in ["1F1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f-0", "1f-0", "-0", "", "D41D8CD98F00B204E9800998ECF8427E"] {
            assert_eq!(read(other), ContentTag::Given(other.to_owned()));
        }
    }

    #[test]
    fn a_weak_tag_and_a_star_in_quotes_let_no_commit_through() {
        for (if_match, tags) in [
            ("\"a\"", &["a"][..]),
            ("\"a\", \"*\"", &["a"]),
            ("\"a\", W/\"b\"", &["a"]),
            ("W/\"b\"", &[]),
            ("W/\"*\"", &[]),
            ("\"*\"", &[]),
        ] {
            let wanted = Some(Wanted::OneOf(given(tags)));
            assert_eq!(asked(if_match, ""), Condition { wanted, ..Condition::default() }, "{if_match}");
        }
        assert_eq!(
            asked("", "\"a\", W/\"b\", \"*\""),
            Condition { unwanted: given(&["a", "b"]), ..Condition::default() }
        );
    }

    #[test]
    fn a_star_is_whatever_is_there() {
        assert_eq!(asked("*", ""), Condition { wanted: Some(Wanted::Anything), ..Condition::default() });
        assert_eq!(asked("", "*"), Condition { absent: true, ..Condition::default() });
        assert_eq!(asked("", ""), Condition::default());
    }

    proptest! {
        #[test]
        fn any_text_is_the_etag_of_one_tag(text in "[0-9a-f]{32}(-0)?|[ -~]{0,40}") {
            prop_assert_eq!(of(&read(&text)), text);
        }
        #[test]
        fn an_etag_leads_back_to_its_tag(digest: [u8; 16]) {
            let tag = ContentTag::Derived(digest);
            prop_assert_eq!(read(&of(&tag)), tag);
        }
    }
}

//! Entity tags (RFC 9110, section 8.8.3), and the lists of them that conditions are. The tags of the store are strong.

use std::fmt;

use http::HeaderMap;

/// An entity tag as a client sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    /// Whether it is marked as weak.
    pub weak: bool,
    /// What stands between its quotes.
    pub text: String,
}

/// The tags of an `If-Match` or `If-None-Match` header, or `*`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tags {
    /// Whether `*` is in it, which stands for anything that is there.
    pub any: bool,
    /// The tags in it, in their order.
    pub list: Vec<Tag>,
}

/// The store's tag as a header has it: in quotes, strong.
#[must_use]
pub fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

impl Tag {
    /// Whether it equals this tag of the store by the strong comparison (section 8.8.3.2). A weak tag never does, because it does not
    /// promise equal bytes.
    #[must_use]
    pub fn is_strongly(&self, etag: &str) -> bool {
        !self.weak && self.text == etag
    }

    /// Whether it equals this tag of the store by the weak comparison, which ignores the mark `W/`.
    #[must_use]
    pub fn is_weakly(&self, etag: &str) -> bool {
        self.text == etag
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\"{}\"", if self.weak { "W/" } else { "" }, self.text)
    }
}

impl Tags {
    /// All tags of a header, which may come more than once (RFC 9110, section 5.3); `None` where it is not there.
    ///
    /// Tags without quotes, which some clients send, are taken up to the comma.
    ///
    /// # Errors
    /// The tags that could be read, if the header is malformed or lists nothing. What to do with them depends on the request:
    /// a condition that is ignored no longer keeps what it was to keep.
    pub fn of(headers: &HeaderMap, name: &str) -> Option<Result<Self, Self>> {
        let mut values = headers.get_all(name).iter().peekable();
        values.peek()?;
        let (mut tags, mut well_formed) = (Self::default(), true);
        for value in values {
            well_formed &= value.to_str().is_ok_and(|text| tags.read(text));
        }
        well_formed &= tags != Self::default();
        Some(if well_formed { Ok(tags) } else { Err(tags) })
    }

    /// Adds what a value lists; whether it is well-formed.
    fn read(&mut self, text: &str) -> bool {
        let (mut rest, mut well_formed) = (text, true);
        loop {
            // Empty elements of a list are passed over (RFC 9110, section 5.6.1).
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return well_formed;
            }
            let (weak, tag) = rest.strip_prefix("W/").map_or((false, rest), |tag| (true, tag));
            if let Some(inside) = tag.strip_prefix('"') {
                let Some((text, behind)) = inside.split_once('"') else { return false };
                self.list.push(Tag { weak, text: text.to_owned() });
                let (gap, next) = behind.split_once(',').unwrap_or((behind, ""));
                well_formed &= gap.trim().is_empty();
                rest = next;
            } else {
                let (text, next) = tag.split_once(',').unwrap_or((tag, ""));
                match text.trim() {
                    "*" if !weak => self.any = true,
                    text => self.list.push(Tag { weak, text: text.to_owned() }),
                }
                rest = next;
            }
        }
    }

    /// Whether one of them is this tag by the strong comparison, as `If-Match` asks (RFC 9110, section 13.1.1).
    #[must_use]
    pub fn has_strongly(&self, etag: &str) -> bool {
        self.list.iter().any(|tag| tag.is_strongly(etag))
    }

    /// Whether one of them is this tag by the weak comparison, as `If-None-Match` asks (RFC 9110, section 13.1.2).
    #[must_use]
    pub fn has_weakly(&self, etag: &str) -> bool {
        self.list.iter().any(|tag| tag.is_weakly(etag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::IF_MATCH;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<Tags> {
        let mut tags = Tags::default();
        (tags.read(text) && tags != Tags::default()).then_some(tags)
    }

    fn listed(tags: &[(bool, &str)]) -> Tags {
        let list = tags.iter().map(|(weak, text)| Tag { weak: *weak, text: (*text).to_owned() });
        Tags { any: false, list: list.collect() }
    }

    #[test]
    fn a_list_is_read_with_its_spaces_its_empty_elements_and_without_quotes() {
        for (text, tags) in [
            ("\"a\"", &[(false, "a")][..]),
            ("\"a\", W/\"b\"", &[(false, "a"), (true, "b")]),
            ("\"a\"\t,,\"b\" ,", &[(false, "a"), (false, "b")]),
            ("\"x,y\"", &[(false, "x,y")]),
            ("\"\"", &[(false, "")]),
            ("a, W/b", &[(false, "a"), (true, "b")]),
            ("w/\"a\"", &[(false, "w/\"a\"")]),
        ] {
            assert_eq!(read(text), Some(listed(tags)), "{text}");
        }
        for text in ["", " ", ",", "\"abc", "W/\"abc", "\"a\" b", "\"a\"\"b\""] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_star_is_the_sign_for_any_only_without_quotes() {
        assert_eq!(read("*"), Some(Tags { any: true, list: Vec::new() }));
        assert_eq!(read("*, \"a\""), Some(Tags { any: true, ..listed(&[(false, "a")]) }));
        assert_eq!(read("\"*\", W/*"), Some(listed(&[(false, "*"), (true, "*")])));
    }

    #[test]
    fn a_header_that_comes_twice_is_one_list_and_what_can_be_read_of_a_malformed_one_is_told() {
        let headers = |values: &[&str]| -> HeaderMap {
            values.iter().map(|value| (IF_MATCH, http::HeaderValue::from_bytes(value.as_bytes()).unwrap())).collect()
        };
        let both = listed(&[(false, "a"), (false, "b")]);
        assert_eq!(Tags::of(&headers(&["\"a\"", "\"b\""]), "if-match"), Some(Ok(both.clone())));
        assert_eq!(Tags::of(&headers(&["\"a\"", "é", "\"b\""]), "if-match"), Some(Err(both)));
        assert_eq!(Tags::of(&headers(&[""]), "if-match"), Some(Err(Tags::default())));
        assert_eq!(Tags::of(&headers(&[]), "if-match"), None);
    }

    #[test]
    fn a_weak_tag_is_equal_by_the_weak_comparison_only() {
        // The table of RFC 9110, section 8.8.3.2, with a strong tag of the store.
        for (tag, strongly, weakly) in
            [("W/\"1\"", false, true), ("W/\"2\"", false, false), ("\"1\"", true, true), ("\"2\"", false, false)]
        {
            let tags = read(tag).unwrap();
            assert_eq!((tags.has_strongly("1"), tags.has_weakly("1")), (strongly, weakly), "{tag}");
        }
        assert_eq!(quoted("abc"), "\"abc\"");
    }

    proptest! {
        #[test]
        fn any_text_that_is_read_as_tags_is_read_alike_when_these_are_quoted(text in "[\"W/,* a-zé]{0,40}") {
            let Some(tags) = read(&text) else { return Ok(()) };
            prop_assert!(tags.any || !tags.list.is_empty());
            // A tag without quotes may have one in it.
            prop_assume!(tags.list.iter().all(|tag| !tag.text.contains('"')));
            let mut quoted: Vec<String> = tags.list.iter().map(ToString::to_string).collect();
            quoted.extend(tags.any.then(|| "*".to_owned()));
            prop_assert_eq!(read(&quoted.join(",")), Some(tags));
        }
        #[test]
        fn quoted_tags_are_read_back(tags in prop::collection::vec((any::<bool>(), "[!#-~]{0,10}"), 1..5)) {
            let list: Vec<Tag> = tags.into_iter().map(|(weak, text)| Tag { weak, text }).collect();
            let text: Vec<String> = list.iter().map(ToString::to_string).collect();
            prop_assert_eq!(read(&text.join(", ")), Some(Tags { any: false, list }));
        }
    }
}

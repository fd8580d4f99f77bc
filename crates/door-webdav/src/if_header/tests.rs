//! The grammar by example, the evaluation against a model, and no input that panics.

use super::*;
use proptest::prelude::*;

struct World<'a> {
    tokens: &'a [(&'a str, &'a str)],
    etags: &'a [(&'a str, &'a str)],
}

impl State for World<'_> {
    fn has_token(&mut self, resource: Option<&str>, token: &str) -> bool {
        self.tokens.contains(&(resource.unwrap_or("/self"), token))
    }
    fn etag(&mut self, resource: Option<&str>) -> Option<String> {
        let resource = resource.unwrap_or("/self");
        self.etags.iter().find(|(path, _)| *path == resource).map(|(_, etag)| (*etag).to_owned())
    }
}

fn holds(header: &str) -> bool {
    let mut world = World {
        tokens: &[("/self", "urn:a"), ("/other", "urn:b")],
        etags: &[("/self", "\"1\""), ("/other", "\"2]\"")],
    };
    IfHeader::parse(header).unwrap().holds(&mut world)
}

#[test]
fn a_list_holds_when_all_its_conditions_do() {
    assert!(holds("(<urn:a> [\"1\"])"));
    assert!(!holds("(<urn:a> [\"9\"])"));
}

#[test]
fn one_of_several_lists_is_enough() {
    assert!(holds("(<urn:x>) ([\"1\"])"));
    assert!(!holds("(<urn:x>) (<urn:y>)"));
}

#[test]
fn a_tag_says_which_resource_the_following_lists_ask_about() {
    assert!(holds("</other> (<urn:b>)"));
    assert!(!holds("</other> (<urn:a>)"));
    assert!(holds("</nowhere> (<urn:a>) </other> (<urn:q>) ([\"2]\"])"));
}

#[test]
fn not_turns_a_condition_around() {
    assert!(holds("(Not <urn:x> <urn:a>)"));
    assert!(!holds("(not <urn:a>)"));
    assert!(holds("(<urn:x>) (Not <DAV:no-lock>)"));
}

#[test]
fn a_token_of_the_dav_scheme_never_matches() {
    let mut world = World { tokens: &[("/self", "DAV:no-lock")], etags: &[] };
    assert!(!IfHeader::parse("(<DAV:no-lock>)").unwrap().holds(&mut world));
}

#[test]
fn a_weak_tag_matches_nothing() {
    let mut world = World { tokens: &[], etags: &[("/self", "W/\"1\"")] };
    assert!(!IfHeader::parse("([W/\"1\"])").unwrap().holds(&mut world));
}

#[test]
fn all_tokens_count_as_submitted_even_those_of_lists_that_fail() {
    let header = IfHeader::parse("</x> (<urn:1> [\"q\"]) (Not <urn:2>)").unwrap();
    assert_eq!(header.tokens(), ["urn:1", "urn:2"]);
}

#[test]
fn what_is_not_the_grammar_is_refused() {
    for header in [
        "",
        "()",
        "(<>)",
        "<urn:a>",
        "(<urn:a>",
        "(urn:a)",
        "([1])",
        "([\"1\"",
        "(<urn:a>) x",
        "(Not)",
        "(<urn:a>) </r> (<urn:a>)",
        "</r>",
    ] {
        assert!(IfHeader::parse(header).is_err(), "{header}");
    }
}

#[test]
fn the_number_of_conditions_is_bounded() {
    assert!(IfHeader::parse(&"(<urn:a>)".repeat(CONDITIONS_MAX)).is_ok());
    assert!(IfHeader::parse(&"(<urn:a>)".repeat(CONDITIONS_MAX + 1)).is_err());
}

fn condition() -> impl Strategy<Value = Condition> {
    let token = "[a-z:0-9-]{1,12}".prop_map(Matcher::Token);
    let etag = "(W/)?\"[ -!#-~]{0,8}\"".prop_map(Matcher::ETag);
    (any::<bool>(), prop_oneof![token, etag]).prop_map(|(negated, what)| Condition { negated, what })
}

fn lists() -> impl Strategy<Value = Vec<List>> {
    let conditions = || prop::collection::vec(condition(), 1..4);
    let untagged = prop::collection::vec(conditions().prop_map(|conditions| List { resource: None, conditions }), 1..4);
    let tagged = prop::collection::vec(
        ("/[a-z/]{0,8}", conditions()).prop_map(|(tag, conditions)| List { resource: Some(tag), conditions }),
        1..4,
    );
    prop_oneof![untagged, tagged]
}

fn write(lists: &[List]) -> String {
    let mut out = String::new();
    for list in lists {
        if let Some(tag) = &list.resource {
            out += &format!("<{tag}> ");
        }
        out += "(";
        for condition in &list.conditions {
            out += if condition.negated { "Not " } else { " " };
            match &condition.what {
                Matcher::Token(token) => out += &format!("<{token}>"),
                Matcher::ETag(tag) => out += &format!("[{tag}]"),
            }
        }
        out += ") ";
    }
    out
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(lists in lists()) {
        prop_assert_eq!(IfHeader::parse(&write(&lists)).unwrap().lists, lists);
    }

    #[test]
    fn a_header_with_characters_in_place_of_others_is_refused_or_read_alike_when_written_again(
        lists in lists(),
        at: prop::sample::Index,
        taken in 0_usize..4,
        given in "[<>()\\[\\]\"/W a-zNot:]{0,4}",
    ) {
        let mut text = write(&lists);
        let from = at.index(text.len());
        text.replace_range(from..text.len().min(from + taken), &given);
        if let Ok(header) = IfHeader::parse(&text) {
            prop_assert!(header.lists.iter().all(|list| !list.conditions.is_empty()), "{text}");
            prop_assert_eq!(IfHeader::parse(&write(&header.lists)).map(|again| again.lists), Ok(header.lists), "{}", text);
        }
    }
}

//! Each condition alone, all of them in their order, and the versions that `If-Range` names.

use super::*;

const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
/// Half a second past the date, as files of this store are.
const MODIFIED: Timestamp = Timestamp(784_111_777_500_000_000);

fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn judge(pairs: &[(&'static str, &str)], etag: Option<&str>, reading: bool) -> Verdict {
    let present = etag.map(|etag| Validators { etag: Some(etag), modified: MODIFIED });
    Conditions::of(&map(pairs), &NAMES).judge(present.as_ref(), reading)
}

fn read(pairs: &[(&'static str, &str)]) -> Verdict {
    judge(pairs, Some("abc"), true)
}

#[test]
fn each_condition_alone_decides() {
    for (name, value, verdict) in [
        ("if-match", "\"abc\"", Verdict::Proceed),
        ("if-match", "\"x\", \"abc\"", Verdict::Proceed),
        ("if-match", "*", Verdict::Proceed),
        ("if-match", "\"x\"", Verdict::Failed),
        ("if-match", "abc", Verdict::Proceed),
        // Only If-None-Match compares weakly.
        ("if-match", "W/\"abc\"", Verdict::Failed),
        // One tag with a comma in it, and one that looks like the sign for any.
        ("if-match", "\"x,abc\"", Verdict::Failed),
        ("if-match", "\"*\"", Verdict::Failed),
        ("if-match", "", Verdict::Failed),
        ("if-match", "\"abc", Verdict::Failed),
        ("if-none-match", "\"abc\"", Verdict::NotModified),
        ("if-none-match", "W/\"abc\"", Verdict::NotModified),
        ("if-none-match", "*", Verdict::NotModified),
        ("if-none-match", "\"x\"", Verdict::Proceed),
        ("if-modified-since", BEFORE, Verdict::Proceed),
        ("if-modified-since", AT, Verdict::NotModified),
        ("if-modified-since", AFTER, Verdict::NotModified),
        ("if-unmodified-since", BEFORE, Verdict::Failed),
        ("if-unmodified-since", AT, Verdict::Proceed),
        ("if-unmodified-since", AFTER, Verdict::Proceed),
        ("if-modified-since", "yesterday", Verdict::Proceed),
        ("if-unmodified-since", "yesterday", Verdict::Proceed),
    ] {
        assert_eq!(read(&[(name, value)]), verdict, "{name}: {value}");
    }
}

#[test]
fn etags_come_before_dates() {
    assert_eq!(read(&[("if-match", "abc"), ("if-unmodified-since", BEFORE)]), Verdict::Proceed);
    assert_eq!(read(&[("if-none-match", "abc"), ("if-modified-since", BEFORE)]), Verdict::NotModified);
    assert_eq!(read(&[("if-none-match", "x"), ("if-modified-since", AFTER)]), Verdict::Proceed);
    assert_eq!(read(&[("if-match", "x"), ("if-none-match", "abc")]), Verdict::Failed);
}

#[test]
fn if_match_guards_a_change() {
    assert_eq!(judge(&[("if-match", "\"a\", \"b\"")], Some("b"), false), Verdict::Proceed);
    assert_eq!(judge(&[("if-match", "\"a\"")], Some("b"), false), Verdict::Failed);
    assert_eq!(judge(&[("if-match", "W/\"a\"")], Some("a"), false), Verdict::Failed);
    assert_eq!(judge(&[("if-match", "*")], None, false), Verdict::Failed);
    assert_eq!(judge(&[("if-unmodified-since", AFTER)], None, false), Verdict::Failed);
}

#[test]
fn if_none_match_star_creates_only() {
    assert_eq!(judge(&[("if-none-match", "*")], None, false), Verdict::Proceed);
    assert_eq!(judge(&[("if-none-match", "*")], Some("a"), false), Verdict::Failed);
}

#[test]
fn if_none_match_compares_weakly_whatever_the_method_and_a_change_knows_no_304() {
    for tag in ["\"a\"", "W/\"a\""] {
        assert_eq!(judge(&[("if-none-match", tag)], Some("a"), true), Verdict::NotModified);
        assert_eq!(judge(&[("if-none-match", tag)], Some("a"), false), Verdict::Failed);
    }
    assert_eq!(judge(&[("if-modified-since", AFTER)], Some("a"), false), Verdict::Proceed);
}

#[test]
fn a_cache_that_has_the_version_is_told_so() {
    assert_eq!(judge(&[("if-none-match", "W/\"a\"")], Some("a"), true), Verdict::NotModified);
    assert_eq!(judge(&[("if-modified-since", AT)], Some("a"), true), Verdict::NotModified);
    assert_eq!(judge(&[("if-modified-since", BEFORE)], Some("a"), true), Verdict::Proceed);
    assert_eq!(judge(&[("if-unmodified-since", BEFORE)], Some("a"), true), Verdict::Failed);
}

#[test]
fn what_has_no_tag_matches_the_star_only() {
    let collection = Validators { etag: None, modified: MODIFIED };
    for (name, value, verdict) in [
        ("if-match", "*", Verdict::Proceed),
        ("if-match", "\"\"", Verdict::Failed),
        ("if-none-match", "*", Verdict::NotModified),
        ("if-none-match", "\"\"", Verdict::Proceed),
        ("if-modified-since", AT, Verdict::NotModified),
    ] {
        let conditions = Conditions::of(&map(&[(name, value)]), &NAMES);
        assert_eq!(conditions.judge(Some(&collection), true), verdict, "{name}: {value}");
    }
}

#[test]
fn a_date_that_is_given_twice_is_no_condition() {
    for name in ["if-modified-since", "if-unmodified-since"] {
        assert_eq!(read(&[(name, AFTER), (name, AFTER)]), Verdict::Proceed);
        assert_eq!(read(&[(name, BEFORE), (name, BEFORE)]), Verdict::Proceed);
    }
}

#[test]
fn what_cannot_be_read_is_told_by_its_name() {
    let told = |pairs: &[(&'static str, &str)]| {
        let conditions = Conditions::of(&map(pairs), &NAMES);
        let names = [conditions.unreadable_tags, conditions.unreadable_date];
        (names, conditions.are_none())
    };
    assert_eq!(told(&[]), ([None, None], true));
    assert_eq!(told(&[("if-match", "\"a\"")]), ([None, None], false));
    assert_eq!(told(&[("if-match", "\"a"), ("if-none-match", "")]), ([Some("if-match"), None], false));
    assert_eq!(told(&[("if-none-match", "é")]), ([Some("if-none-match"), None], false));
    assert_eq!(told(&[("if-modified-since", "soon")]), ([None, Some("if-modified-since")], true));
    assert_eq!(told(&[("if-unmodified-since", AT), ("if-unmodified-since", AT)]).0[1], Some("if-unmodified-since"));
}

#[test]
fn a_part_is_given_of_the_version_that_if_range_names_and_of_no_other() {
    let present = Validators { etag: Some("abc"), modified: MODIFIED };
    let holds = |values: &[&str], quotes| {
        let pairs: Vec<_> = values.iter().map(|value| ("if-range", *value)).collect();
        present.hold_if_range(&map(&pairs), quotes)
    };
    for quotes in [Quotes::Needed, Quotes::Optional] {
        for value in ["\"abc\"", " \"abc\" ", AT, "Sunday, 06-Nov-94 08:49:37 GMT"] {
            assert!(holds(&[value], quotes), "{value}");
        }
        for value in ["\"x\"", "W/\"abc\"", "W/abc", "\"abc", "\"", "", "*", "é", BEFORE, AFTER] {
            assert!(!holds(&[value], quotes), "{value}");
        }
        assert!(holds(&[], quotes));
        assert!(!holds(&["\"abc\"", "\"abc\""], quotes));
        assert_eq!(holds(&["abc"], quotes), quotes == Quotes::Optional);
    }
}

#[test]
fn the_headers_that_caches_keep_are_those_that_conditions_ask_about() {
    let mut headers = HeaderMap::new();
    Validators { etag: Some("abc"), modified: MODIFIED }.add_to(&mut headers);
    assert_eq!((&headers["etag"], &headers["last-modified"]), (&"\"abc\"".parse().unwrap(), &AT.parse().unwrap()));
}

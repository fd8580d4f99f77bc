//! Bodies as clients send them, bodies as attackers send them, and text that survives the trip.

use super::*;
use proptest::prelude::*;

fn dav(local: &str) -> Name {
    Name { ns: "DAV:".into(), local: local.into() }
}

#[test]
fn an_empty_body_asks_for_all_properties() {
    assert_eq!(propfind(b"").unwrap(), Find::All(vec![]));
}

#[test]
fn named_properties_keep_their_name_spaces() {
    let body = br#"<?xml version="1.0"?><propfind xmlns="DAV:" xmlns:x="urn:x"><prop><getetag/><x:a/><b xmlns=""/></prop></propfind>"#;
    let expected = vec![
        dav("getetag"),
        Name { ns: "urn:x".into(), local: "a".into() },
        Name { ns: String::new(), local: "b".into() },
    ];
    assert_eq!(propfind(body).unwrap(), Find::These(expected));
}

#[test]
fn allprop_may_include_more() {
    let body = br#"<D:propfind xmlns:D="DAV:"><D:allprop/><D:include><D:quota-used-bytes/></D:include></D:propfind>"#;
    assert_eq!(propfind(body).unwrap(), Find::All(vec![dav("quota-used-bytes")]));
    assert_eq!(propfind(br#"<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>"#).unwrap(), Find::Names);
}

#[test]
fn unknown_elements_are_skipped() {
    let body = br#"<propfind xmlns="DAV:"><e:x xmlns:e="urn:e"><e:prop/></e:x><prop><getetag/></prop></propfind>"#;
    assert_eq!(propfind(body).unwrap(), Find::These(vec![dav("getetag")]));
}

#[test]
fn what_is_not_a_propfind_is_refused() {
    for body in [
        "<propfind><prop/></propfind>",
        "<propfind xmlns=\"DAV:\"/>",
        "<a xmlns=\"DAV:\"/>",
        "<propfind xmlns=\"DAV:\"><prop/>",
        "text",
        "<D:propfind xmlns:D=\"DAV:\"><D:prop><bar:foo xmlns:bar=\"\"/></D:prop></D:propfind>",
        "<propfind xmlns=\"DAV:\"><prop/><allprop/></propfind>",
    ] {
        assert!(propfind(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn the_language_in_scope_of_a_property_is_kept_with_it() {
    let body = br#"<D:propertyupdate xmlns:D="DAV:" xmlns:x="urn:x" xml:lang="de"><D:set><D:prop xml:lang="fr"><x:a/><x:b xml:lang="en"/></D:prop></D:set><D:set><D:prop><x:c/></D:prop></D:set></D:propertyupdate>"#;
    let patches = propertyupdate(body).unwrap();
    let languages = patches.iter().map(|patch| {
        let fragment = String::from_utf8(patch.value.as_ref().unwrap().fragment.clone()).unwrap();
        propertyupdate(
            format!("<p:propertyupdate xmlns:p='DAV:'><p:set><p:prop>{fragment}</p:prop></p:set></p:propertyupdate>")
                .as_bytes(),
        )
        .unwrap();
        let (_, rest) = fragment.split_once("xml:lang=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    });
    assert_eq!(languages.collect::<Vec<_>>(), ["fr", "en", "de"]);
}

#[test]
fn a_captured_value_carries_the_name_spaces_it_needs() {
    let body = br#"<D:propertyupdate xmlns:D="DAV:" xmlns:x="urn:x"><D:set><D:prop><x:a x:k="1"> v<x:b>w</x:b>&amp;</x:a></D:prop></D:set></D:propertyupdate>"#;
    let patches = propertyupdate(body).unwrap();
    let value = patches[0].value.as_ref().unwrap();
    assert_eq!(value.text, " vw&");
    let fragment = String::from_utf8(value.fragment.clone()).unwrap();
    check(fragment.as_bytes()).expect("a fragment stands on its own");
    assert!(fragment.starts_with("<x:a "), "{fragment}");
    assert!(fragment.contains("xmlns:x=\"urn:x\"") && fragment.ends_with("> v<x:b>w</x:b>&amp;</x:a>"), "{fragment}");
}

#[test]
fn instructions_come_in_document_order() {
    let body = br#"<propertyupdate xmlns="DAV:"><remove><prop><a/></prop></remove><set><prop><b>1</b><c/></prop></set></propertyupdate>"#;
    let patches = propertyupdate(body).unwrap();
    let seen: Vec<_> = patches.iter().map(|patch| (patch.name.local.as_str(), patch.value.is_some())).collect();
    assert_eq!(seen, [("a", false), ("b", true), ("c", true)]);
}

#[test]
fn a_body_nested_without_end_is_refused_before_anything_recurses() {
    let deep = "<a>".repeat(20_000);
    assert!(check(deep.as_bytes()).is_err());
    assert!(propfind(format!("<propfind xmlns=\"DAV:\"><prop>{deep}").as_bytes()).is_err());
    let closed = format!("{}{}", "<a>".repeat(DEPTH_MAX), "</a>".repeat(DEPTH_MAX));
    assert!(check(closed.as_bytes()).is_ok());
}

#[test]
fn entities_cannot_be_defined() {
    assert!(check(b"<!DOCTYPE a [<!ENTITY b \"cccccccc\">]><a>&b;&b;</a>").is_err());
}

#[test]
fn the_number_of_properties_is_bounded() {
    let body = |count: usize| format!("<propfind xmlns=\"DAV:\"><prop>{}</prop></propfind>", "<a/>".repeat(count));
    assert!(propfind(body(PROPERTIES_MAX).as_bytes()).is_ok());
    assert!(propfind(body(PROPERTIES_MAX + 1).as_bytes()).is_err());
}

proptest! {
    #[test]
    fn text_survives_escaping(text in "[\\t\\n\\r -~é€😀]{0,40}") {
        let mut out = b"<a>".to_vec();
        push_text(&mut out, &text);
        out.extend_from_slice(b"</a>");
        let mut events = Events::new(&out);
        let mut back = String::new();
        loop {
            match events.next().unwrap().1 {
                XmlEvent::Characters(more) => back.push_str(&more),
                XmlEvent::EndDocument => break,
                _ => {}
            }
        }
        prop_assert_eq!(back, text);
    }

    #[test]
    fn any_text_escapes_to_well_formed_xml(text in ".{0,40}") {
        let mut out = b"<a>".to_vec();
        push_text(&mut out, &text);
        out.extend_from_slice(b"</a>");
        prop_assert!(check(&out).is_ok());
    }

    #[test]
    fn a_body_with_other_markup_in_it_is_refused_or_well_formed(
        which in 0..BODIES.len(),
        at: prop::sample::Index,
        taken in 0_usize..12,
        given in "(<a>|</a>|<D:x/>|<|>|/|\"| xmlns=\"DAV:\"|<D:prop>|</D:prop>| |&amp;|&|<!--|-->|\\?|<!\\[CDATA\\[|\\]\\]>|x){0,4}",
    ) {
        let mut body = BODIES[which].to_owned();
        let from = at.index(body.len());
        body.replace_range(from..body.len().min(from + taken), &given);
        let sound = check(body.as_bytes()).is_ok();
        // Both readers read all of a body, so they refuse what the check refuses.
        prop_assert!(sound || propfind(body.as_bytes()).is_err(), "{body}");
        prop_assert!(sound || propertyupdate(body.as_bytes()).is_err(), "{body}");
    }

    #[test]
    fn bytes_that_are_no_xml_are_refused(body in prop::collection::vec(any::<u8>(), 1..200)) {
        prop_assume!(body.first() != Some(&b'<'));
        prop_assert!(propfind(&body).is_err() && propertyupdate(&body).is_err() && check(&body).is_err());
    }
}

/// Bodies of every kind.
const BODIES: [&str; 3] = [
    "<D:propfind xmlns:D=\"DAV:\"><D:prop><D:a/><b xmlns=\"urn:x\"/></D:prop></D:propfind>",
    "<D:propfind xmlns:D=\"DAV:\"><D:allprop/><D:include><D:a/></D:include></D:propfind>",
    "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop><D:a>1 &amp; <b/></D:a></D:prop></D:set><D:remove><D:prop><D:c/></D:prop></D:remove></D:propertyupdate>",
];

#[test]
fn the_bodies_that_are_changed_are_sound() {
    let [some, all, update] = BODIES.map(str::as_bytes);
    assert!(propfind(some).is_ok() && propfind(all).is_ok());
    assert_eq!(propertyupdate(update).unwrap().len(), 2);
}

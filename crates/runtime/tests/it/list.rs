//! Listing, compared with a sorted list of keys.

use std::collections::BTreeSet;

use proptest::prelude::*;
use strata_namespace::ListQuery;

use crate::support::*;

/// Few letters and many slashes, so that names meet.
fn key() -> impl Strategy<Value = String> {
    "[ab/.]{1,7}"
}

/// What one page should hold: keys, common prefixes, and whether more follow.
fn expected(keys: &BTreeSet<String>, query: &ListQuery) -> (Vec<String>, Vec<String>, bool) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (prefix, after) = (text(&query.prefix), query.after.as_deref().map(text));
    let delimiter = query.delimiter.as_deref().map(text);
    let (mut found, mut prefixes) = (Vec::new(), Vec::<String>::new());
    for key in keys.iter().filter(|key| key.starts_with(&prefix)) {
        if after.as_ref().is_some_and(|after| key <= after) {
            continue;
        }
        let at = delimiter.as_ref().and_then(|delimiter| Some(key[prefix.len()..].find(delimiter)? + delimiter.len()));
        if let Some(at) = at {
            let common = key[..prefix.len() + at].to_owned();
            if after.as_ref() == Some(&common) || prefixes.last() == Some(&common) {
                continue;
            }
            if found.len() + prefixes.len() == query.limit {
                return (found, prefixes, true);
            }
            prefixes.push(common);
        } else {
            if found.len() + prefixes.len() == query.limit {
                return (found, prefixes, true);
            }
            found.push(key.clone());
        }
    }
    (found, prefixes, false)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_listing_is_what_a_sorted_list_of_keys_gives(
        keys in proptest::collection::btree_set(key(), 1..30),
        gone in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        queries in proptest::collection::vec(
            ("[ab/.]{0,3}", proptest::option::of(prop_oneof![Just("/".to_owned()), "[ab/]{1,2}"]), proptest::option::of("[ab/.]{1,6}"), 1usize..8),
            1..40,
        ),
    ) {
        let (_world, store) = store();
        let ns = store.namespace();
        for key in &keys {
            put(ns, key, key.as_bytes());
        }
        let mut keys = keys;
        for gone in gone {
            if keys.is_empty() { break; }
            let key = keys.iter().nth(gone.index(keys.len())).unwrap().clone();
            prop_assert!(ns.delete_object(&root(), "bkt", key.as_bytes(), &Default::default()).unwrap());
            keys.remove(&key);
        }
        for (prefix, delimiter, after, limit) in queries {
            let query = ListQuery {
                prefix: prefix.into_bytes(),
                delimiter: delimiter.map(String::into_bytes),
                after: after.map(String::into_bytes),
                limit,
            };
            let page = ns.list(&root(), "bkt", &query).unwrap();
            let (found, prefixes, more) = expected(&keys, &query);
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            prop_assert_eq!(page.objects.into_iter().map(|(key, _)| text(key)).collect::<Vec<_>>(), found, "{:?}", query);
            prop_assert_eq!(page.prefixes.into_iter().map(text).collect::<Vec<_>>(), prefixes, "{:?}", query);
            prop_assert_eq!(page.next.is_some(), more, "{:?}", query);
        }
        sound(ns);
    }
}

#[test]
fn a_page_of_long_keys_ends_early_and_the_pages_together_hold_every_key_once() {
    const DEEP: usize = 60;
    let (_world, store) = store();
    let ns = store.namespace();
    let bucket = ns.bucket(&root(), "bkt").unwrap().root;
    let mut dir = bucket;
    for _ in 0..DEEP {
        dir = ns.mkdir(&root(), dir, &[b'd'; 250], 0o755).unwrap().ino;
        // Entries behind the way down: read again once the walk comes back to them.
        for name in ["e", "f"] {
            ns.create(&root(), dir, name.as_bytes(), 0o644, Default::default(), false, false).unwrap();
        }
    }
    let (mut after, mut found, mut pages) = (None, Vec::new(), 0);
    loop {
        let query = ListQuery { after: after.take(), limit: 1000, ..ListQuery::default() };
        let page = ns.list(&root(), "bkt", &query).unwrap();
        let bytes: usize = page.objects.iter().map(|(key, _)| key.len()).sum();
        assert!(bytes <= (256 << 10) + DEEP * 251 + 1, "{bytes} bytes of keys in one page");
        found.extend(page.objects.into_iter().map(|(key, _)| key));
        pages += 1;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert!(pages > 4, "{pages}");
    assert_eq!(found.len(), 3 * DEEP);
    assert!(found.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_file_that_is_being_written_is_listed_as_a_look_at_it_shows_it_and_stays_so() {
    let (world, store) = store();
    let ns = store.namespace();
    put(ns, "f", b"old");
    let file = ns.resolve(&root(), b"/bkt/f").unwrap().ino;
    ns.open(&root(), file, RW, false).unwrap();
    ns.write(&root(), file, 3, b" and new").unwrap();
    let op = root();
    let page = ns.list(&op, "bkt", &ListQuery { limit: 10, ..ListQuery::default() }).unwrap();
    let (_, listed) = &page.objects[0];
    let looked = ns.head_object(&root(), "bkt", b"f").unwrap();
    assert_eq!((listed.attr.size, &listed.tag), (11, &looked.tag));
    ns.settle_blocking(&op).unwrap();
    drop(store);
    world.restart(0);
    assert_eq!(get(open(&world).namespace(), "f").unwrap(), b"old and new");
}

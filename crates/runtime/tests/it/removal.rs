//! Buckets made in one change and removed with everything in them, whatever others do meanwhile.

use std::collections::BTreeMap;

use strata_namespace::{Caller, Durability, ErrorKind, Namespace, ObjectMeta, Op, ROOT_INO, RenameMode, STORE};

use crate::support::*;

fn begin_upload(ns: &Namespace, key: &str) {
    let upload = ns.create_upload(&root(), "bkt", key.as_bytes(), ObjectMeta::default()).unwrap();
    let part = content(ns, key.as_bytes());
    ns.put_part(&root(), "bkt", key.as_bytes(), &upload.id, 1, part, "0".repeat(32), BTreeMap::new()).unwrap();
}

#[test]
fn a_bucket_has_its_owner_mode_and_class_from_the_first_moment_on() {
    let (_world, store) = store();
    let ns = store.namespace();
    let maker = Caller { superuser: true, ..Caller::new(1000, 1001, [].into(), &STORE) };
    let info = ns.create_bucket_of_mode(&Op::new(maker.clone()), b"made", Some(Durability::Relaxed), 0o640).unwrap();
    assert_eq!((info.uid, info.mode, info.durability), (1000, 0o640, Durability::Relaxed));
    assert_eq!(ns.bucket(&root(), "made").unwrap(), info);
    let attr = ns.resolve(&root(), b"/made").unwrap();
    assert_eq!((attr.uid, attr.gid, attr.mode), (1000, 1001, 0o750));
    for (name, mode, kind) in [
        ("made", 0o600, ErrorKind::BucketExists),
        ("new", 0o755, ErrorKind::Invalid),
        ("..", 0o600, ErrorKind::InvalidName),
    ] {
        let refused = ns.create_bucket_of_mode(&Op::new(maker.clone()), name.as_bytes(), None, mode).unwrap_err();
        assert_eq!(refused.kind, kind, "{name}");
    }
    sound(ns);
}

#[test]
fn what_is_in_the_way_of_removing_a_bucket_is_told() {
    let (_world, store) = store();
    let ns = store.namespace();
    let told = ns.bucket_use(&root(), "bkt").unwrap();
    assert_eq!((told.first, told.uploads), (None, 0));
    (0..3).for_each(|number| begin_upload(ns, &format!("u{number}")));
    put(ns, "dir/a", b"a");
    let told = ns.bucket_use(&root(), "bkt").unwrap();
    assert_eq!((told.first.as_deref(), told.uploads), (Some("'dir', a directory"), 3));
    assert_eq!(ns.bucket_use(&root(), "none").unwrap_err().kind, ErrorKind::NoSuchBucket);
}

#[test]
fn a_bucket_is_removed_in_steps_and_what_shares_its_content_stays() {
    let (_world, store) = store();
    let ns = store.namespace();
    ns.create_bucket(&root(), "other", None).unwrap();
    let (bucket, other) = (ns.resolve(&root(), b"/bkt").unwrap().ino, ns.resolve(&root(), b"/other").unwrap().ino);
    for number in 0..300 {
        put(ns, &format!("many/{number}"), b"x");
    }
    let deep = "d/".repeat(400);
    for key in ["a", "a/", "a/b", "//", "e/../f", ".~strata~o~x", &"long".repeat(200), &format!("{deep}leaf")] {
        put(ns, key, key.as_bytes());
    }
    let shared = ns.resolve(&root(), b"/bkt/many/7").unwrap().ino;
    ns.copy_tree(&root(), (bucket, b"many"), (other, b"kept"), true, false).unwrap();
    ns.symlink(&root(), bucket, b"out", b"../other").unwrap();
    (0..3).for_each(|number| begin_upload(ns, &format!("u{number}")));

    let count = ns.count_below(&root(), bucket, &mut |_| true).unwrap().unwrap();
    let mut steps = Vec::new();
    let stopped = ns.remove_bucket(&root(), "bkt", &mut |names, uploads| {
        steps.push((names, uploads));
        names < 100
    });
    assert!(!stopped.unwrap());
    assert_eq!(&steps[..3], [(0, 1), (0, 2), (0, 3)]);
    let removed = steps.last().unwrap().0;
    let left = ns.count_below(&root(), bucket, &mut |_| true).unwrap().unwrap();
    assert!((100..count).contains(&removed) && left == count - removed, "{count} {removed} {left}");

    let mut last = 0;
    let told = &mut |names, _| {
        last = names;
        true
    };
    assert!(ns.remove_bucket(&root(), "bkt", told).unwrap());
    assert_eq!(last, left);
    assert_eq!(ns.bucket(&root(), "bkt").unwrap_err().kind, ErrorKind::NoSuchBucket);
    assert_eq!(ns.remove_bucket(&root(), "bkt", &mut |_, _| true).unwrap_err().kind, ErrorKind::NoSuchBucket);
    assert_eq!(ns.getattr(&root(), shared).unwrap_err().kind, ErrorKind::Stale);
    let kept = ns.resolve(&root(), b"/other/kept/7").unwrap().ino;
    assert_eq!(read_file(ns, kept), b"x");
    while ns.store().collect().unwrap() > 0 {}
    sound(ns);
}

#[test]
fn a_bucket_that_is_renamed_while_it_is_removed_keeps_what_is_left() {
    let (_world, store) = store();
    let ns = store.namespace();
    for number in 0..200 {
        put(ns, &format!("{number}"), b"x");
    }
    let mut renamed = false;
    let refused = ns.remove_bucket(&root(), "bkt", &mut |_, _| {
        if !std::mem::replace(&mut renamed, true) {
            let (from, to) = ((ROOT_INO, &b"bkt"[..]), (ROOT_INO, &b"saved"[..]));
            ns.rename(&root(), from, to, RenameMode::NoReplace).unwrap();
            // A new bucket of somebody else, which happens to be empty.
            ns.create_bucket(&root(), "bkt", None).unwrap();
        }
        true
    });
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotFound);
    assert!(refused.what.contains("renamed or removed"), "{}", refused.what);
    let saved = ns.resolve(&root(), b"/saved").unwrap().ino;
    assert_eq!(ns.count_below(&root(), saved, &mut |_| true).unwrap(), Some(184), "the first step has removed 16");
    assert!(ns.bucket(&root(), "bkt").is_ok());
    sound(ns);
}

#[test]
fn two_who_remove_the_same_tree_are_not_in_each_others_way() {
    let (_world, store) = store();
    let ns = store.namespace();
    let fill = || (0..300).for_each(|number| drop(put(ns, &format!("d{}/{number}", number % 3), b"x")));
    fill();
    let mut first = true;
    let done = ns.remove_bucket(&root(), "bkt", &mut |_, _| {
        // All of the content is removed, but not the bucket.
        if std::mem::replace(&mut first, false) {
            let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
            for dir in [&b"d0"[..], b"d1", b"d2"] {
                ns.remove_tree(&root(), bucket, dir).unwrap();
            }
        }
        true
    });
    assert!(done.unwrap());
    ns.create_bucket(&root(), "bkt", None).unwrap();
    fill();
    let remove = || ns.remove_bucket(&root(), "bkt", &mut |_, _| true).map_err(|error| error.kind);
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(remove);
        (remove(), other.join().unwrap())
    });
    let gone = |result| matches!(result, Ok(true) | Err(ErrorKind::NotFound | ErrorKind::NoSuchBucket));
    assert!(gone(one) && gone(two) && (one == Ok(true) || two == Ok(true)), "{one:?} {two:?}");
    assert_eq!(ns.bucket(&root(), "bkt").unwrap_err().kind, ErrorKind::NoSuchBucket);
    sound(ns);
}

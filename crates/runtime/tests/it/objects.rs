//! Buckets, keys, listings, multipart: the object side.

use strata_namespace::{Caller, Condition, ContentTag, ErrorKind, NewNode, NodeKind, ObjectMeta, Op, Wanted, Whole};

use crate::support::*;

#[test]
fn an_object_reads_back_as_it_was_put_at_every_size() {
    let (_world, store) = store();
    let ns = store.namespace();
    for len in [0, 1, 4096, 65_536, 300_000, 5_000_000] {
        let data = noise(len as u64, len);
        put(ns, &format!("k{len}"), &data);
        assert!(get(ns, &format!("k{len}")).unwrap() == data, "{len} bytes");
    }
    sound(ns);
}

#[test]
fn objects_survive_a_restart() {
    let (world, store) = store();
    let data = noise(9, 3_000_000);
    put(store.namespace(), "dir/big", &data);
    put(store.namespace(), "dir/small", b"hello");
    drop(store);
    world.kill_process();
    let store = open(&world);
    assert!(get(store.namespace(), "dir/big").unwrap() == data);
    assert_eq!(get(store.namespace(), "dir/small").unwrap(), b"hello");
    sound(store.namespace());
}

#[test]
fn the_same_bytes_twice_are_stored_once() {
    let (_world, store) = store();
    let ns = store.namespace();
    let data = noise(5, 4_000_000);
    put(ns, "one", &data);
    let before = ns.store().ledger().status().position;
    put(ns, "two", &data);
    let after = ns.store().ledger().status().position;
    assert_eq!(before.segment, after.segment);
    assert!(after.offset - before.offset < 64 << 10, "{before:?} {after:?}");
}

#[test]
fn keys_list_in_byte_order_with_prefix_delimiter_and_pages() {
    let (_world, store) = store();
    let ns = store.namespace();
    let all = ["a", "a-b", "a/", "a//x", "a/b", "a/b/c", "a0", "b", "c/d/e", "c/d/f", "c/g", "z"];
    for key in all {
        put(ns, key, key.as_bytes());
    }
    let mut sorted = all.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(keys(ns, "", None).0, sorted);
    assert_eq!(keys(ns, "a/", None).0, ["a/", "a//x", "a/b", "a/b/c"]);
    let (found, prefixes) = keys(ns, "", Some("/"));
    assert_eq!(found, ["a", "a-b", "a0", "b", "z"]);
    assert_eq!(prefixes, ["a/", "c/"]);
    let (found, prefixes) = keys(ns, "c/", Some("/"));
    assert_eq!((found, prefixes), (vec!["c/g".to_owned()], vec!["c/d/".to_owned()]));
    assert_eq!(keys(ns, "", Some("b")).1, ["a-b", "a/b", "b"]);
    for key in all {
        assert_eq!(get(ns, key).unwrap(), key.as_bytes());
    }
    sound(ns);
}

#[test]
fn directories_made_by_keys_vanish_with_their_last_object() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "p/q/r", b"1");
    assert!(ns.resolve(&root(), b"/bkt/p/q").is_ok());
    assert!(ns.delete_object(&root(), "bkt", b"p/q/r", &Condition::default()).unwrap());
    assert_eq!(ns.resolve(&root(), b"/bkt/p").unwrap_err().kind, ErrorKind::NotFound);
    assert!(!ns.delete_object(&root(), "bkt", b"p/q/r", &Condition::default()).unwrap());
    ns.delete_bucket(&root(), "bkt").unwrap();
    sound(ns);
}

#[test]
fn an_object_beside_a_directory_of_its_name_is_seen_under_an_alias_and_can_be_removed_by_it() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "a", b"object");
    put(ns, "a/b", b"below");
    let bucket = ns.resolve(&root(), b"/bkt").unwrap().ino;
    let names: Vec<_> = ns.readdir(&root(), bucket, &[], 10).unwrap().entries.into_iter().map(|e| e.name).collect();
    assert_eq!(names, [&b".~strata~o~a"[..], b"a"]);
    assert!(ns.lookup(&root(), bucket, b"a").unwrap().kind == strata_namespace::NodeKind::Directory);
    let alias = ns.lookup(&root(), bucket, b".~strata~o~a").unwrap();
    assert_eq!(read_file(ns, alias.ino), b"object");
    ns.unlink(&root(), bucket, b".~strata~o~a").unwrap();
    assert_eq!(get(ns, "a").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(get(ns, "a/b").unwrap(), b"below");
    sound(ns);
}

#[test]
fn an_overwrite_keeps_the_inode_and_a_pinned_reader_keeps_its_bytes() {
    let (_world, store) = store();
    let ns = store.namespace();
    let first = put(ns, "k", b"first");
    let (_, reader) = ns.get_object(&root(), "bkt", b"k").unwrap();
    let second = put(ns, "k", b"second one");
    assert_eq!(first.attr.ino, second.attr.ino);
    assert_ne!(first.tag, second.tag);
    assert_eq!(&reader.read(0, 100).unwrap()[..], b"first");
    assert_eq!(get(ns, "k").unwrap(), b"second one");
    sound(ns);
}

#[test]
fn conditions_are_judged_against_the_present_object() {
    let (_world, store) = store();
    let ns = store.namespace();
    let try_put = |cond: Condition| {
        let content = content(ns, b"new");
        ns.put_object(&root(), "bkt", b"k", content, None, ObjectMeta::default(), &cond).map(|info| info.tag)
    };
    let absent = Condition { absent: true, ..Condition::default() };
    let tag = try_put(absent.clone()).unwrap();
    assert_eq!(try_put(absent).unwrap_err().kind, ErrorKind::PreconditionFailed);
    let one_of = |tags: &[&ContentTag]| Wanted::OneOf(tags.iter().copied().cloned().collect());
    let matching = |tags: &[&ContentTag]| Condition { wanted: Some(one_of(tags)), ..Condition::default() };
    let other = ContentTag::Given("other".to_owned());
    assert!(try_put(matching(&[&other, &tag])).is_ok());
    for tags in [&[&other][..], &[]] {
        assert_eq!(try_put(matching(tags)).unwrap_err().kind, ErrorKind::PreconditionFailed);
    }
    let excluded = Condition { unwanted: vec![other, tag], ..Condition::default() };
    assert_eq!(try_put(excluded).unwrap_err().kind, ErrorKind::PreconditionFailed);
    assert!(try_put(Condition { wanted: Some(Wanted::Anything), ..Condition::default() }).is_ok());
    sound(ns);
}

#[test]
fn a_copy_moves_no_data_and_outlives_its_source() {
    let (_world, store) = store();
    let ns = store.namespace();
    let data = noise(3, 3_000_000);
    put(ns, "source", &data);
    let info = ns
        .copy_object(
            &root(),
            ("bkt", b"source"),
            &Condition::default(),
            ("bkt", b"x/copy"),
            &Condition::default(),
            None,
        )
        .unwrap();
    assert_eq!(info.attr.size, 3_000_000);
    ns.delete_object(&root(), "bkt", b"source", &Condition::default()).unwrap();
    assert!(get(ns, "x/copy").unwrap() == data);
    sound(ns);
}

#[test]
fn parts_become_one_object_in_their_order_and_unlisted_ones_are_let_go() {
    let (_world, store) = store();
    let ns = store.namespace();
    let upload = ns.create_upload(&root(), "bkt", b"joined", ObjectMeta::default()).unwrap();
    let data: Vec<_> = (1..=3u32).map(|n| noise(u64::from(n), if n == 3 { 1000 } else { 5 << 20 })).collect();
    let mut listed = Vec::new();
    for number in [3u32, 1, 2, 7] {
        let bytes = data.get(number as usize - 1).map_or(&b"unlisted"[..], |data| data);
        let etag = format!("{number:032x}");
        ns.put_part(
            &root(),
            "bkt",
            b"joined",
            &upload.id,
            number,
            content(ns, bytes),
            etag.clone(),
            Default::default(),
        )
        .unwrap();
        if number != 7 {
            listed.push((number, etag));
        }
    }
    assert_eq!(ns.parts(&root(), "bkt", b"joined", &upload.id, 0, 2).unwrap().0.len(), 2);
    let complete = |parts: &[(u32, String)]| {
        let whole = Whole { tag: ContentTag::Given(format!("{:032x}-{}", 9, parts.len())), ..Whole::default() };
        ns.complete_upload(&root(), "bkt", b"joined", &upload.id, parts, whole, &Condition::default())
    };
    assert_eq!(complete(&listed).unwrap_err().kind, ErrorKind::InvalidPartOrder);
    listed.sort();
    let wrong = [(1, "0".repeat(32))];
    assert_eq!(complete(&wrong).unwrap_err().kind, ErrorKind::InvalidPart);
    let short = [(1, format!("{:032x}", 1)), (3, format!("{:032x}", 3)), (7, format!("{:032x}", 7))];
    assert_eq!(complete(&short).unwrap_err().kind, ErrorKind::PartTooSmall);
    let info = complete(&listed).unwrap();
    assert_eq!(info.tag, ContentTag::Given(format!("{:032x}-3", 9)));
    assert_eq!(info.parts, [5 << 20, 5 << 20, 1000]);
    assert!(get(ns, "joined").unwrap() == data.concat());
    assert_eq!(complete(&listed).unwrap().tag, info.tag, "completing twice answers the same");
    assert!(ns.uploads(&root(), "bkt", b"", None, 10).unwrap().0.is_empty());
    sound(ns);
}

#[test]
fn uploads_list_by_key_and_aborting_leaves_nothing() {
    let (_world, store) = store();
    let ns = store.namespace();
    for key in ["b", "a", "a/x", "ab"] {
        ns.create_upload(&root(), "bkt", key.as_bytes(), ObjectMeta::default()).unwrap();
    }
    let (all, more) = ns.uploads(&root(), "bkt", b"", None, 3).unwrap();
    assert!(more);
    assert_eq!(all.iter().map(|u| u.key.clone()).collect::<Vec<_>>(), [&b"a"[..], b"a/x", b"ab"]);
    let (rest, more) = ns.uploads(&root(), "bkt", b"", Some((all[2].key.clone(), all[2].id.clone())), 3).unwrap();
    assert_eq!((rest.len(), more), (1, false));
    let (under_a, _) = ns.uploads(&root(), "bkt", b"a/", None, 9).unwrap();
    assert_eq!(under_a.len(), 1);
    ns.put_part(&root(), "bkt", b"b", &rest[0].id, 1, content(ns, b"x"), "0".repeat(32), Default::default()).unwrap();
    ns.abort_upload(&root(), "bkt", b"b", &rest[0].id).unwrap();
    assert_eq!(ns.upload(&root(), "bkt", b"b", &rest[0].id).unwrap_err().kind, ErrorKind::NoSuchUpload);
    sound(ns);
}

#[test]
fn mode_bits_hold_for_s3_callers_too() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "secret", b"x");
    let ino = ns.resolve(&root(), b"/bkt/secret").unwrap().ino;
    let set = strata_namespace::SetAttr { mode: Some(0o600), ..Default::default() };
    ns.setattr(&root(), ino, &set).unwrap();
    let stranger = Op::new(Caller::new(1000, 1000, [].into(), &S3));
    assert_eq!(ns.get_object(&stranger, "bkt", b"secret").err().unwrap().kind, ErrorKind::AccessDenied);
    let refused =
        ns.put_object(&stranger, "bkt", b"n", content(ns, b""), None, ObjectMeta::default(), &Condition::default());
    assert_eq!(refused.unwrap_err().kind, ErrorKind::AccessDenied);
}

#[test]
fn what_is_no_object_is_neither_replaced_nor_walked_through() {
    let (_world, store) = store();
    let ns = store.namespace();
    let op = root();
    let bucket = ns.resolve(&op, b"/bkt").unwrap().ino;
    ns.symlink(&op, bucket, b"link", b"target").unwrap();
    for (name, kind) in [(&b"fifo"[..], NodeKind::Fifo), (b"socket", NodeKind::Socket), (b"null", NodeKind::CharDevice)]
    {
        ns.mknod(&op, bucket, name, NewNode { kind, mode: 0o600, rdev: 0 }).unwrap();
    }
    put(ns, "source", b"data");
    let before = ns.readdir(&op, bucket, &[], 100).unwrap().entries;
    let absent = Condition { absent: true, ..Condition::default() };
    for name in ["link", "fifo", "socket", "null"] {
        for key in [name.to_owned(), format!("{name}/below"), format!("{name}/"), format!("{name}/a/b")] {
            for cond in [&Condition::default(), &absent] {
                let new = content(ns, b"new");
                let refused =
                    ns.put_object(&op, "bkt", key.as_bytes(), new, None, ObjectMeta::default(), cond).unwrap_err();
                assert_eq!(refused.kind, ErrorKind::Exists, "{key}");
                assert!(
                    refused.what.contains(name) && refused.what.contains("nothing was changed"),
                    "{}",
                    refused.what
                );
                let to = ("bkt", key.as_bytes());
                let copied = ns.copy_object(&op, ("bkt", b"source"), &Condition::default(), to, cond, None);
                assert_eq!(copied.unwrap_err().kind, ErrorKind::Exists, "{key}");
            }
            assert_eq!(get(ns, &key).unwrap_err().kind, ErrorKind::NotFound, "{key}");
            assert!(!ns.delete_object(&op, "bkt", key.as_bytes(), &Condition::default()).unwrap(), "{key}");
        }
        let file = ns.put_file(&op, bucket, name.as_bytes(), content(ns, b"n"), None, ObjectMeta::default(), &absent);
        assert_eq!(file.unwrap_err().kind, ErrorKind::Exists, "{name}");
    }
    assert_eq!(ns.readdir(&op, bucket, &[], 100).unwrap().entries, before);
    ns.delete_object(&op, "bkt", b"source", &Condition::default()).unwrap();
    let kept = ns.delete_bucket(&op, "bkt").unwrap_err();
    assert_eq!(kept.kind, ErrorKind::NotEmpty);
    assert!(kept.what.contains("'fifo', a FIFO"), "{}", kept.what);
    sound(ns);
}

#[test]
fn a_bucket_takes_modes_of_objects_only() {
    let (_world, store) = store();
    let ns = store.namespace();
    for mode in [0o600, 0o640, 0o644, 0o660, 0o664, 0o666] {
        assert_eq!(ns.set_bucket_mode(&root(), "bkt", mode).unwrap().mode, mode);
        let dir = ns.resolve(&root(), b"/bkt").unwrap();
        assert_eq!(dir.mode, mode | (mode & 0o444) >> 2, "{mode:o}");
    }
    for mode in [0, 0o400, 0o620, 0o602, 0o755, 0o4644, 0o10644] {
        assert_eq!(ns.set_bucket_mode(&root(), "bkt", mode).unwrap_err().kind, ErrorKind::Invalid, "{mode:o}");
    }
    assert_eq!(ns.set_bucket_mode(&root(), "none", 0o600).unwrap_err().kind, ErrorKind::NoSuchBucket);
    let stranger = Op::new(Caller::new(1000, 1000, [].into(), &S3));
    assert_eq!(ns.set_bucket_mode(&stranger, "bkt", 0o666).unwrap_err().kind, ErrorKind::NotPermitted);
    sound(ns);
}

#[test]
fn what_somebody_owns_is_found_with_its_path() {
    let (_world, store) = store();
    let ns = store.namespace();
    for key in ["a", "d/b", "d/c"] {
        put(ns, key, b"x");
    }
    let ino = ns.resolve(&root(), b"/bkt/d/b").unwrap().ino;
    let give = strata_namespace::SetAttr { uid: Some(7), ..Default::default() };
    ns.setattr(&root(), ino, &give).unwrap();
    let theirs = ns.owned_by(&root(), 7, 9).unwrap();
    assert_eq!(theirs.len(), 1);
    assert_eq!(
        (theirs[0].bucket.as_str(), theirs[0].count, &theirs[0].first[..]),
        ("bkt", 1, &["/bkt/d/b".to_owned()][..])
    );
    let roots = ns.owned_by(&root(), 0, 2).unwrap();
    assert_eq!((roots[0].count, roots[0].first.len()), (4, 2), "the bucket, a, d and d/c");
}

#[test]
fn no_refusal_shows_an_inode_number() {
    let (_world, store) = store();
    let ns = store.namespace();
    put(ns, "f", b"x");
    let (bucket, file) = (ns.resolve(&root(), b"/bkt").unwrap().ino, ns.resolve(&root(), b"/bkt/f").unwrap().ino);
    let eve = Op::new(Caller::new(1000, 1000, [].into(), &MOUNT));
    let gone = strata_seam::Ino(424_242);
    let chown = strata_namespace::SetAttr { uid: Some(7), ..Default::default() };
    let chmod = strata_namespace::SetAttr { mode: Some(0o777), ..Default::default() };
    let cut = strata_namespace::SetAttr { size: Some(0), ..Default::default() };
    let refusals = [
        ns.lookup(&eve, bucket, b"f").unwrap_err(),
        ns.getattr(&eve, gone).unwrap_err(),
        ns.setattr(&eve, file, &chown).unwrap_err(),
        ns.setattr(&eve, file, &chmod).unwrap_err(),
        ns.setattr(&eve, file, &cut).unwrap_err(),
        ns.setattr(&root(), bucket, &cut).unwrap_err(),
        ns.readdir(&root(), file, b"", 9).unwrap_err(),
        ns.readlink(&root(), file).unwrap_err(),
        ns.read(&root(), bucket, 0, 9).unwrap_err(),
        ns.open_object(&root(), bucket).err().unwrap(),
        ns.get_object(&eve, "bkt", b"f").err().unwrap(),
        ns.rmdir(&root(), bucket, b"f").unwrap_err(),
        ns.link(&root(), bucket, bucket, b"l").unwrap_err(),
    ];
    for refusal in refusals {
        let told = refusal.to_string();
        assert!(!told.contains("inode") && !told.contains("424242"), "{told}");
    }
}

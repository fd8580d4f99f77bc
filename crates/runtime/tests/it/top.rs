//! The top of the tree, as a person at a desktop uses it: folders of any name, which are buckets, and files outside of any folder.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use strata_namespace::{
    ALIAS_MARK, ALIAS_PREFIX, Access, Caller, Condition, Door, Durability, ErrorKind, ListQuery, Namespace, NewNode,
    NodeKind, ObjectMeta, Op, ROOT_INO, RenameMode, Result, SetAttr, UsageOf,
};
use strata_seam::Ino;
use strata_seam::sim::{SimWorld, Submission, explore_crashes};

use crate::support::*;

/// Names that a file system allows and S3 does not, some of them hostile.
fn hostile_names() -> Vec<Vec<u8>> {
    let text = [
        "My Files",
        "Photos",
        "my_docs",
        ".Trash-1000",
        "New folder",
        "a",
        "ab",
        "..a",
        "-x",
        "Größe",
        "写真",
        "line\nbreak",
        "tab\there",
        "bell\u{7}",
        "<&\"'>",
        "192.168.0.1",
        "a..b",
        "my-files-zzzz--strata",
        "--strata",
        "photos",
        "PHOTOS",
        " ",
        "~",
        "CON",
        "a\\b",
        "]]>",
        "\u{feff}",
        "lost+found",
        ".strata-moving-1-1",
        ".~strata",
        "\u{202e}gnp.exe",
        "top",
    ];
    let mut names: Vec<Vec<u8>> = text.iter().map(|name| name.as_bytes().to_vec()).collect();
    names.extend([b"\xff\xfe".to_vec(), b"half \xc3".to_vec(), vec![b'x'; 255], vec![0xff; 255], vec![1]]);
    names
}

fn entries(ns: &Namespace, dir: Ino) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> =
        ns.readdir(&root(), dir, &[], 1000).unwrap().entries.into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

fn put_in(ns: &Namespace, op: &Op, bucket: &str, key: &[u8], data: &[u8]) -> Result<Ino> {
    let mut ingest = ns.ingest(op, bucket)?;
    ingest.push(data).unwrap();
    let content = ingest.finish().unwrap();
    let (meta, any) = (ObjectMeta::default(), Condition::default());
    ns.put_object(op, bucket, key, content, None, meta, &any).map(|info| info.attr.ino)
}

fn read(ns: &Namespace, bucket: &str, key: &[u8]) -> Result<Vec<u8>> {
    let (_, reader) = ns.get_object(&root(), bucket, key)?;
    Ok(reader.read(0, 1 << 20).unwrap().to_vec())
}

fn listed(ns: &Namespace, bucket: &str, prefix: &[u8]) -> Vec<String> {
    let query = ListQuery { prefix: prefix.to_vec(), limit: 1000, ..ListQuery::default() };
    let page = ns.list(&root(), bucket, &query).unwrap();
    page.objects.into_iter().map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect()
}

fn make_file(ns: &Namespace, op: &Op, name: &[u8], data: &[u8]) -> Result<Ino> {
    let ino = ns.create(op, ROOT_INO, name, 0o644, RW, true, false)?.ino;
    ns.write(op, ino, 0, data)?;
    ns.close(op, ino, true)?;
    Ok(ino)
}

fn kind<T: std::fmt::Debug>(refused: Result<T>) -> ErrorKind {
    refused.unwrap_err().kind
}

#[test]
fn a_folder_of_any_name_is_made_renamed_and_removed_and_s3_reaches_it_by_one_name() {
    let (world, store) = store();
    let ns = store.namespace();
    let mut made = Vec::new();
    for name in hostile_names() {
        let shown = name.escape_ascii().to_string();
        let folder = ns.mkdir(&root(), ROOT_INO, &name, 0o755).unwrap_or_else(|error| panic!("{shown}: {error}")).ino;
        let info = ns.bucket_of(&root(), folder).unwrap();
        assert_eq!((info.root, &info.folder), (folder, &name));
        let plain = info.name.as_bytes() == name;
        assert!(plain || info.name.ends_with(ALIAS_MARK), "{shown}: {}", info.name);
        put_in(ns, &root(), &info.name, b"dir/key", &name).unwrap();
        made.push((name, info));
    }
    let names: std::collections::HashSet<&str> = made.iter().map(|(_, info)| info.name.as_str()).collect();
    assert_eq!(names.len(), made.len(), "no two have one name");
    for (name, info) in &made {
        assert_eq!(ns.bucket(&root(), &info.name).unwrap(), *info);
        assert_eq!(ns.bucket_called(&root(), name).unwrap().root, info.root, "{}", name.escape_ascii());
        assert_eq!(&read(ns, &info.name, b"dir/key").unwrap(), name);
    }
    let all = ns.buckets(&root()).unwrap();
    assert_eq!(all.len(), made.len() + 1);
    sound(ns);
    ns.store().ledger().sync().unwrap();
    drop(store);
    // The same after a restart, and under another name.
    let store = open(&world);
    let ns = store.namespace();
    for (name, info) in &made {
        assert_eq!(&read(ns, &info.name, b"dir/key").unwrap(), name);
        let renamed = [&name[..name.len().min(250)], b" (2)"].concat();
        ns.rename(&root(), (ROOT_INO, name), (ROOT_INO, &renamed), RenameMode::NoReplace).unwrap();
        let now = ns.bucket_of(&root(), info.root).unwrap();
        assert_eq!(now.folder, renamed);
        assert_eq!(kind(ns.bucket_of_folder(&root(), name)), ErrorKind::NoSuchBucket);
        assert_eq!(read(ns, &now.name, b"dir/key").unwrap(), *name);
        ns.rmdir(&root(), ns.resolve(&root(), &renamed).unwrap().ino, b"dir").unwrap_err();
        ns.remove_bucket(&root(), &now.name, &mut |_, _| true).unwrap();
    }
    assert_eq!(entries(ns, ROOT_INO), [b"bkt"]);
    sound(ns);
}

#[test]
fn an_alias_of_before_a_rename_and_one_that_is_nobodys_lead_nowhere() {
    let (_world, store) = store();
    let ns = store.namespace();
    let folder = ns.mkdir(&root(), ROOT_INO, b"My Files", 0o755).unwrap().ino;
    let other = ns.mkdir(&root(), ROOT_INO, b"Other", 0o755).unwrap().ino;
    let alias = ns.bucket_of(&root(), folder).unwrap().name;
    assert!(alias.starts_with("my-files-") && alias.ends_with("--strata"), "{alias}");
    let (number, of_other) = (alias.strip_prefix("my-files").unwrap(), ns.bucket_of(&root(), other).unwrap().name);
    let wrong = [
        format!("my_files{number}"),
        format!("other{number}"),
        format!("my-files-0{}", &number[1..]),
        alias.to_ascii_uppercase(),
        of_other.replace("other", "my-files"),
        "my-files--strata".to_owned(),
        "bkt-1--strata".to_owned(),
        // The root of a bucket whose name S3 allows has no alias.
        format!("bkt-{}--strata", ns.bucket(&root(), "bkt").unwrap().root),
        "My Files".to_owned(),
        String::new(),
        "/".to_owned(),
    ];
    for name in &wrong {
        assert_eq!(kind(ns.bucket(&root(), name)), ErrorKind::NoSuchBucket, "{name}");
    }
    ns.rename(&root(), (ROOT_INO, b"My Files"), (ROOT_INO, b"my-files"), RenameMode::NoReplace).unwrap();
    assert_eq!(kind(ns.bucket(&root(), &alias)), ErrorKind::NoSuchBucket);
    assert_eq!(ns.bucket(&root(), "my-files").unwrap().root, folder);
    // A folder whose name is another's alias has an alias of its own. For that name, people are asked which one they mean.
    ns.mkdir(&root(), ROOT_INO, of_other.as_bytes(), 0o755).unwrap();
    assert_eq!(ns.bucket(&root(), &of_other).unwrap().root, other);
    assert_eq!(kind(ns.bucket_called(&root(), of_other.as_bytes())), ErrorKind::Invalid);
    assert_eq!(kind(ns.create_bucket(&root(), "new--strata", None)), ErrorKind::InvalidName);
    sound(ns);
}

#[test]
fn names_that_no_file_system_allows_are_refused_at_the_top_as_anywhere() {
    let (_world, store) = store();
    let ns = store.namespace();
    let aliased = [ALIAS_PREFIX, b"o~x"].concat();
    for name in [&b""[..], b".", b"..", b"a/b", b"nul\0", &[b'x'; 256], &aliased] {
        assert!(ns.mkdir(&root(), ROOT_INO, name, 0o755).is_err(), "{}", name.escape_ascii());
        assert!(ns.create(&root(), ROOT_INO, name, 0o644, RW, true, false).is_err(), "{}", name.escape_ascii());
        assert!(ns.rename(&root(), (ROOT_INO, b"bkt"), (ROOT_INO, name), RenameMode::Replace).is_err());
    }
    assert_eq!(entries(ns, ROOT_INO), [b"bkt"]);
    sound(ns);
}

#[test]
fn files_at_the_top_are_objects_of_one_bucket_which_has_no_folders() {
    let (world, store) = store();
    let ns = store.namespace();
    assert!(ns.buckets(&root()).unwrap().iter().all(|bucket| !bucket.is_top()), "not listed while it is empty");
    make_file(ns, &root(), b".DS_Store", b"finder").unwrap();
    make_file(ns, &root(), b"desktop.ini", b"explorer").unwrap();
    ns.symlink(&root(), ROOT_INO, b"link", b"bkt").unwrap();
    ns.mknod(&root(), ROOT_INO, b"fifo", NewNode { kind: NodeKind::Fifo, mode: 0o600, rdev: 0 }).unwrap();
    put(ns, "inner/key", b"of bkt");
    put_in(ns, &root(), "top", b"from s3", b"s3").unwrap();
    assert_eq!(listed(ns, "top", b""), [".DS_Store", "desktop.ini", "from s3"]);
    assert_eq!(listed(ns, "top", b"d"), ["desktop.ini"]);
    for prefix in [&b"bkt"[..], b"bkt/", b"bkt/inner/", b"/"] {
        assert!(listed(ns, "top", prefix).is_empty());
    }
    let query = ListQuery { delimiter: Some(b"/".to_vec()), limit: 100, ..ListQuery::default() };
    assert!(ns.list(&root(), "top", &query).unwrap().prefixes.is_empty());
    assert_eq!(read(ns, "top", b"desktop.ini").unwrap(), b"explorer");
    let file = ns.resolve(&root(), b"/from s3").unwrap();
    assert_eq!(read_file(ns, file.ino), b"s3");
    assert_eq!(ns.path_of(&root(), file.ino).unwrap().unwrap(), b"from s3");
    assert_eq!(ns.path_of(&root(), ROOT_INO).unwrap().unwrap(), b"");
    // Keys in a folder do not belong to this bucket.
    assert_eq!(kind(read(ns, "top", b"bkt/inner/key")), ErrorKind::NotFound);
    assert_eq!(kind(put_in(ns, &root(), "top", b"bkt/new", b"x")), ErrorKind::Invalid);
    assert_eq!(kind(put_in(ns, &root(), "top", b"folder/", b"")), ErrorKind::Invalid);
    assert_eq!(kind(ns.create_upload(&root(), "top", b"bkt/new", ObjectMeta::default())), ErrorKind::Invalid);
    let any = Condition::default();
    assert_eq!(kind(ns.delete_object(&root(), "top", b"bkt/inner/key", &any)), ErrorKind::Invalid);
    let refused = &ns.delete_objects(&root(), "top", &[b"bkt/".to_vec(), b"from s3".to_vec()]).unwrap();
    assert_eq!(refused[0].as_ref().unwrap_err().kind, ErrorKind::Invalid);
    assert!(*refused[1].as_ref().unwrap());
    assert_eq!(get(ns, "inner/key").unwrap(), b"of bkt");
    // The bucket at the top is neither removed nor renamed, and nobody makes a second one of its name.
    assert_eq!(kind(ns.delete_bucket(&root(), "top")), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.remove_bucket(&root(), "top", &mut |_, _| true)), ErrorKind::NotPermitted);
    assert_eq!(kind(ns.create_bucket(&root(), "top", None)), ErrorKind::BucketExists);
    assert_eq!(kind(ns.create_bucket(&root(), "desktop.ini", None)), ErrorKind::BucketExists);
    let names: Vec<String> = ns.buckets(&root()).unwrap().into_iter().map(|bucket| bucket.name).collect();
    assert_eq!(names, ["bkt", "top"]);
    sound(ns);
    drop(store);
    let store = open(&world);
    assert_eq!(listed(store.namespace(), "top", b""), [".DS_Store", "desktop.ini"]);
    sound(store.namespace());
}

#[test]
fn the_bucket_of_the_files_at_the_top_has_uploads_copies_and_rules_like_any() {
    let (_world, store) = store();
    let ns = store.namespace();
    let upload = ns.create_upload(&root(), "top", b"big", ObjectMeta::default()).unwrap().id;
    assert!(ns.buckets(&root()).unwrap().iter().any(|bucket| bucket.is_top()), "an upload has it listed");
    let part = content(ns, b"part");
    let etag = format!("{:032x}", 7);
    ns.put_part(&root(), "top", b"big", &upload, 1, part, etag.clone(), BTreeMap::new()).unwrap();
    let any = Condition::default();
    ns.complete_upload(&root(), "top", b"big", &upload, &[(1, etag)], Default::default(), &any).unwrap();
    ns.copy_object(&root(), ("top", b"big"), &any, ("bkt", b"copy"), &any, None).unwrap();
    ns.copy_object(&root(), ("bkt", b"copy"), &any, ("top", b"back"), &any, None).unwrap();
    assert_eq!((get(ns, "copy").unwrap(), read(ns, "top", b"back").unwrap()), (b"part".to_vec(), b"part".to_vec()));
    let used = ns.usage(UsageOf::Bucket(ROOT_INO)).unwrap();
    assert_eq!((used.bytes, used.inodes), (8, 3), "the two files, and the root itself");
    // The mode of its objects does not change that of the root.
    let before = ns.getattr(&root(), ROOT_INO).unwrap().mode;
    assert_eq!(ns.set_bucket_mode(&root(), "top", 0o640).unwrap().mode, 0o640);
    assert_eq!(ns.getattr(&root(), ROOT_INO).unwrap().mode, before);
    let made = put_in(ns, &root(), "top", b"readable", b"x").unwrap();
    assert_eq!(ns.getattr(&root(), made).unwrap().mode & 0o777, 0o640);
    // If it is relaxed, a folder is as durable as before, because a folder is a bucket of its own.
    ns.set_bucket(&root(), "top", None, Some(Durability::Relaxed)).unwrap();
    let (file, folder) = (root(), root());
    put_in(ns, &file, "top", b"relaxed", b"x").unwrap();
    ns.mkdir(&folder, ROOT_INO, b"Strict", 0o755).unwrap();
    assert!(!file.strict() && folder.strict());
    // It ends at the folders as a file system does.
    let (bkt, top) = (ns.resolve(&root(), b"/bkt").unwrap().ino, ns.resolve(&root(), b"/readable").unwrap().ino);
    assert_eq!(
        kind(ns.rename(&root(), (ROOT_INO, b"readable"), (bkt, b"r"), RenameMode::Replace)),
        ErrorKind::CrossDevice
    );
    assert_eq!(kind(ns.link(&root(), top, bkt, b"r")), ErrorKind::CrossDevice);
    ns.link(&root(), top, ROOT_INO, b"second name").unwrap();
    assert!(!ns.move_across(&root(), (ROOT_INO, b"readable"), (bkt, b"r"), false).unwrap());
    assert!(!ns.move_across(&root(), (bkt, b"copy"), (ROOT_INO, b"moved"), false).unwrap());
    assert!(!ns.move_across(&root(), (bkt, b"r"), (ROOT_INO, b"r"), false).unwrap());
    assert_eq!(read(ns, "top", b"moved").unwrap(), b"part");
    assert_eq!(read(ns, "top", b"second name").unwrap(), b"x");
    sound(ns);
}

#[test]
fn a_folder_that_has_the_name_of_that_bucket_is_meant_and_the_files_have_an_alias() {
    let (_world, store) = store();
    let ns = store.namespace();
    assert!(ns.name_top("My Top").is_err() && ns.name_top("a--strata").is_err());
    make_file(ns, &root(), b"f", b"file").unwrap();
    let folder = ns.mkdir(&root(), ROOT_INO, b"top", 0o755).unwrap().ino;
    assert_eq!(ns.bucket(&root(), "top").unwrap().root, folder);
    let hidden = ns.top(&root()).unwrap();
    assert_eq!(hidden.name, "top-1--strata");
    assert_eq!(read(ns, &hidden.name, b"f").unwrap(), b"file");
    ns.rmdir(&root(), ROOT_INO, b"top").unwrap();
    assert_eq!(ns.top(&root()).unwrap().name, "top");
    assert_eq!(kind(ns.bucket(&root(), "top-1--strata")), ErrorKind::NoSuchBucket);
    assert!(ns.name_top("loose-files").unwrap());
    assert_eq!(read(ns, "loose-files", b"f").unwrap(), b"file");
    assert_eq!(kind(ns.bucket(&root(), "top")), ErrorKind::NoSuchBucket);
    // It is no folder, so nobody exports or mounts it as one.
    assert_eq!(kind(ns.bucket_of_folder(&root(), b"loose-files")), ErrorKind::NoSuchBucket);
    assert_eq!(kind(ns.bucket_of_folder(&root(), b"")), ErrorKind::NoSuchBucket);
    sound(ns);
}

#[test]
fn a_file_and_a_folder_change_places_and_stand_beside_each_other_at_the_top() {
    let (_world, store) = store();
    let ns = store.namespace();
    make_file(ns, &root(), b"one", b"file").unwrap();
    ns.mkdir(&root(), ROOT_INO, b"Two", 0o755).unwrap();
    ns.rename(&root(), (ROOT_INO, b"one"), (ROOT_INO, b"Two"), RenameMode::Exchange).unwrap();
    assert_eq!(ns.bucket(&root(), "one").unwrap().folder, b"one");
    assert_eq!(read(ns, "top", b"Two").unwrap(), b"file");
    sound(ns);
    // S3 may put an object beside a folder; file doors show it under its alias.
    put_in(ns, &root(), "top", b"one", b"beside").unwrap();
    assert_eq!(entries(ns, ROOT_INO), [&b".~strata~o~one"[..], b"Two", b"bkt", b"one"]);
    assert_eq!(
        kind(ns.rename(&root(), (ROOT_INO, b"Two"), (ROOT_INO, b"one"), RenameMode::Replace)),
        ErrorKind::IsDirectory
    );
    ns.unlink(&root(), ROOT_INO, b".~strata~o~one").unwrap();
    ns.rename(&root(), (ROOT_INO, b"Two"), (ROOT_INO, b"three"), RenameMode::NoReplace).unwrap();
    ns.unlink(&root(), ROOT_INO, b"three").unwrap();
    assert!(listed(ns, "top", b"").is_empty());
    sound(ns);
}

/// A request of ada, who is a user with uid 1000, of eve, a user with uid 1001 without the right, or of nobody's uid 1002.
fn of(uid: u32, door: &'static Door) -> Op {
    let caller = Caller::new(uid, uid, [].into(), door);
    let may = uid == 1000 && [&S3, &WEBDAV].contains(&door);
    Op::new(Caller { superuser: false, may_make_buckets: may, ..caller })
}

#[test]
fn who_makes_anything_at_the_top_is_a_right_of_the_user_at_every_door() {
    let (_world, store) = store();
    let ns = store.namespace();
    ns.set_rights(HashMap::from([(1000, true), (1001, false)]));
    let write = Access { write: true, ..Access::default() };
    for door in [&MOUNT, &NFS, &S3, &WEBDAV] {
        let (ada, eve) = (of(1000, door), of(1001, door));
        assert!(ns.access(&ada, ROOT_INO, write).unwrap().write && !ns.access(&eve, ROOT_INO, write).unwrap().write);
        ns.mkdir(&ada, ROOT_INO, b"Ada's", 0o700).unwrap();
        make_file(ns, &ada, b".DS_Store", b"x").unwrap();
        assert_eq!(kind(ns.mkdir(&eve, ROOT_INO, b"Eve's", 0o700)), ErrorKind::AccessDenied, "{door:?}");
        assert_eq!(kind(make_file(ns, &eve, b"eve", b"x")), ErrorKind::AccessDenied);
        assert_eq!(kind(ns.create_unnamed(&eve, ROOT_INO, 0o600)), ErrorKind::AccessDenied);
        // What belongs to another user stays.
        for other in [&eve, &of(1002, door)] {
            assert!(ns.rmdir(other, ROOT_INO, b"Ada's").is_err() && ns.unlink(other, ROOT_INO, b".DS_Store").is_err());
            assert!(ns.rename(other, (ROOT_INO, b"Ada's"), (ROOT_INO, b"Mine"), RenameMode::Replace).is_err());
        }
        assert_eq!(kind(ns.rmdir(&ada, ROOT_INO, b"bkt")), ErrorKind::NotPermitted);
        ns.rename(&ada, (ROOT_INO, b"Ada's"), (ROOT_INO, b"Ada"), RenameMode::Replace).unwrap();
        ns.rename(&ada, (ROOT_INO, b".DS_Store"), (ROOT_INO, b"._x"), RenameMode::Replace).unwrap();
        ns.rmdir(&ada, ROOT_INO, b"Ada").unwrap();
        ns.unlink(&ada, ROOT_INO, b"._x").unwrap();
        // For a user whom the store does not know, the mode of the root decides at a file door.
        let nobody = of(1002, door);
        assert!(ns.mkdir(&nobody, ROOT_INO, b"Nobody's", 0o700).is_err());
        ns.setattr(&root(), ROOT_INO, &SetAttr { mode: Some(0o777), ..SetAttr::default() }).unwrap();
        assert_eq!(ns.mkdir(&nobody, ROOT_INO, b"Nobody's", 0o700).is_ok(), [&MOUNT, &NFS].contains(&door));
        assert_eq!(kind(ns.mkdir(&eve, ROOT_INO, b"Eve's", 0o700)), ErrorKind::AccessDenied);
        ns.setattr(&root(), ROOT_INO, &SetAttr { mode: Some(0o755), ..SetAttr::default() }).unwrap();
        ns.rmdir(&root(), ROOT_INO, b"Nobody's").ok();
    }
    assert_eq!(entries(ns, ROOT_INO), [b"bkt"]);
    sound(ns);
}

#[test]
fn a_kernel_that_judges_by_the_mode_is_shown_one_that_lets_users_ask() {
    let (_world, store) = store();
    let ns = store.namespace();
    let shown = |path: &[u8]| ns.mode_for_kernel(&ns.resolve(&root(), path).unwrap());
    for (rights, mode) in [
        (HashMap::new(), 0o755),
        (HashMap::from([(0, true)]), 0o755),
        (HashMap::from([(1000, false)]), 0o755),
        (HashMap::from([(0, true), (1000, true)]), 0o777),
    ] {
        ns.set_rights(rights);
        assert_eq!((shown(b"/"), shown(b"/bkt")), (mode, 0o700));
    }
    // Users who may not read the root are not shown the right to write there either.
    ns.setattr(&root(), ROOT_INO, &SetAttr { mode: Some(0o750), ..SetAttr::default() }).unwrap();
    assert_eq!(shown(b"/"), 0o770);
}

#[test]
fn a_crash_at_any_moment_of_a_life_at_the_top_leaves_it_sound() {
    let (world, store) = store();
    store.namespace().store().ledger().sync().unwrap();
    drop(store);
    world.kill_process();
    let life = |world: &SimWorld| -> Result<()> {
        let store = try_open(world, 2, 1)?;
        let ns = store.namespace();
        // Each commit is a stripe of its own, so that the power can go between any two.
        let ledger = Arc::clone(ns.store().ledger());
        let _synced = ns.store().watch(Arc::new(move |_| drop(ledger.sync())));
        ns.mkdir(&root(), ROOT_INO, b"New folder", 0o755)?;
        ns.rename(&root(), (ROOT_INO, b"New folder"), (ROOT_INO, b"My Files"), RenameMode::NoReplace)?;
        make_file(ns, &root(), b"desktop.ini", b"x")?;
        ns.rename(&root(), (ROOT_INO, b"desktop.ini"), (ROOT_INO, b"My Files"), RenameMode::Exchange)?;
        ns.unlink(&root(), ROOT_INO, b"My Files")?;
        ns.rmdir(&root(), ROOT_INO, b"desktop.ini")?;
        ns.settle_blocking(&root())
    };
    let mut seen = std::collections::BTreeSet::new();
    let states = explore_crashes(&world, Submission::DisksInParallel, 0..2, life, |world, _, state| {
        let store = open(world);
        let ns = store.namespace();
        for bucket in ns.buckets(&root()).unwrap() {
            assert_eq!(ns.bucket(&root(), &bucket.name).unwrap(), bucket, "{state:?}");
        }
        seen.insert(entries(ns, ROOT_INO));
        sound(ns);
    });
    assert!(states > 30 && seen.len() >= 5, "{states} states, {seen:?}");
}

//! Makes a golden store: a little of everything that a store may hold, and then its process dies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strata_namespace::{
    Access, Begin, Caller, Condition, Content, Door, DoorNumber, Durability, HeldRange, HoldOwner, Namespace, NewLock,
    NewNode, NodeKind, ObjectMeta, Op, ROOT_INO, RangeKind, RangeSpace, RenameMode, SetAttr, Whole, XattrMode,
};
use strata_runtime::Runtime;
use strata_seam::Ino;

use super::describe::root;
use crate::outside::rng::Rng;

static WEBDAV: Door = Door::of_users("webdav", DoorNumber::new(4), &[]);
static MOUNT: Door = Door { settles: false, keeps_pages: true, ..Door::of_uids("mount", DoorNumber::new(2), &[]) };

const RW: Access = Access { read: true, write: true, exec: false };
/// The least that S3 allows for a part that is not the last.
const PART_LEN: usize = 5 << 20;
/// Objects that come and go in a store that is reclaimed: several segments of the widest layout.
const PASSING: u32 = 24;
/// Where the only data of a file with a hole lie.
const HOLE: u64 = 1 << 20;
/// Folders at the top whose names S3 does not allow; one of them is not UTF-8.
const ODD_NAMES: [&[u8]; 4] = [b"My Files", "Gr\u{f6}\u{df}e \u{2026}".as_bytes(), b"half \xc3", b".Trash-1000"];
/// Pieces of the file with a page, and the length of each and of the hole behind it.
const PAGED_ITEMS: u64 = 24;
const PAGED_LEN: u64 = 4096;

/// What every store has had since the first release.
fn fill(ns: &Namespace) -> Result<()> {
    let op = root();
    let mut rng = Rng::new(14);
    ns.create_bucket(&op, "golden", None)?;
    ns.create_bucket(&op, "loose", Some(Durability::Relaxed))?;
    ns.put_setting(&op, "golden", Some(b"setting"))?;

    // Objects: small, in many chunks, replaced, of odd names, copied, in parts, removed.
    let user = BTreeMap::from([("colour".to_owned(), "blue".to_owned())]);
    let system = BTreeMap::from([("content-type".to_owned(), "text/plain".to_owned())]);
    let meta = ObjectMeta { system, user, checksums: BTreeMap::new() };
    put(ns, "a/hello", b"hello, reader of a later age\n", &meta)?;
    put(ns, "replaced", &rng.bytes(30_000), &ObjectMeta::default())?;
    put(ns, "replaced", &rng.bytes(20_000), &ObjectMeta::default())?;
    for key in ["a", "a//b", "a/..", "empty", "with space and \u{fc}"] {
        let bytes = if key == "empty" { Vec::new() } else { key.as_bytes().to_vec() };
        put(ns, key, &bytes, &ObjectMeta::default())?;
    }
    let long = rng.bytes(90_000);
    put(ns, "long", &[&long[..], &[7; 400_000], &long].concat(), &ObjectMeta::default())?;
    ns.copy_object(
        &op,
        ("golden", b"long"),
        &Condition::default(),
        ("golden", b"copied"),
        &Condition::default(),
        None,
    )?;
    put(ns, "gone", &rng.bytes(10_000), &ObjectMeta::default())?;
    ns.delete_object(&op, "golden", b"gone", &Condition::default())?;
    let parts = [repeated("first part ", PART_LEN), rng.bytes(9_000)];
    let upload = ns.create_upload(&op, "golden", b"in parts", ObjectMeta::default())?.id;
    let mut listed = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        let etag = hex::encode(<md5::Md5 as md5::Digest>::digest(part));
        let content = content(ns, part)?;
        ns.put_part(&op, "golden", b"in parts", &upload, number, content, etag.clone(), BTreeMap::new())?;
        listed.push((number, etag));
    }
    let of_parts: Vec<u8> = parts.iter().flat_map(<md5::Md5 as md5::Digest>::digest).collect();
    let etag = format!("{}-{}", hex::encode(<md5::Md5 as md5::Digest>::digest(of_parts)), parts.len());
    let whole = Whole { tag: strata_etag::read(&etag), ..Whole::default() };
    ns.complete_upload(&op, "golden", b"in parts", &upload, &listed, whole, &Condition::default())?;
    let upload = ns.create_upload(&op, "golden", b"interrupted", meta)?.id;
    let part = content(ns, &rng.bytes(5_000))?;
    ns.put_part(&op, "golden", b"interrupted", &upload, 3, part, "0".repeat(32), BTreeMap::new())?;

    // Files: written, linked, with attributes, with a hole, of other kinds, removed.
    let bucket = ns.resolve(&op, b"/golden")?.ino;
    let dir = ns.mkdir(&op, bucket, b"dir", 0o750)?.ino;
    let file = ns.create(&op, dir, b"file", 0o640, RW, true, false)?.ino;
    ns.write(&op, file, 0, &rng.bytes(100_000))?;
    ns.write(&op, file, 50_000, b"written into the middle")?;
    ns.close(&op, file, true)?;
    ns.link(&op, file, dir, b"linked")?;
    ns.set_xattr(&op, file, b"user.colour", b"green", XattrMode::Any)?;
    ns.set_property(&op, file, "urn:example", "mood", Some(b"<mood>calm</mood>"))?;
    ns.setattr(&op, file, &SetAttr { uid: Some(1000), gid: Some(1001), ..SetAttr::default() })?;
    ns.symlink(&op, dir, b"symbolic", b"../a/hello")?;
    ns.mknod(&op, dir, b"pipe", NewNode { kind: NodeKind::Fifo, mode: 0o600, rdev: 0 })?;
    let hole = ns.create(&op, dir, b"hole", 0o600, RW, true, false)?.ino;
    ns.write(&op, hole, HOLE, b"behind the hole")?;
    ns.setattr(&op, hole, &SetAttr { size: Some(3 * HOLE), ..SetAttr::default() })?;
    ns.close(&op, hole, true)?;
    let removed = ns.create(&op, dir, b"removed", 0o600, RW, true, false)?.ino;
    ns.write(&op, removed, 0, &rng.bytes(3_000))?;
    ns.close(&op, removed, true)?;
    ns.unlink(&op, dir, b"removed")?;
    lock(ns, 1, "/golden/dir/file", false)?;

    // Open when the process dies: one synced and written on, one removed.
    let open = ns.create(&op, dir, b"synced", 0o600, RW, true, false)?.ino;
    ns.write(&op, open, 0, &rng.bytes(12_000))?;
    let orphan = ns.create(&op, dir, b"orphan", 0o600, RW, true, false)?.ino;
    ns.write(&op, orphan, 0, &rng.bytes(2_000))?;
    ns.fsync(&op, orphan)?;
    ns.unlink(&op, dir, b"orphan")?;
    ns.fsync(&op, open)?;
    ns.settle_blocking(&op)?;
    ns.write(&op, open, 12_000, b"never synced")?;
    Ok(())
}

/// Fills a new store with a little of everything: what the first release had, and all that came since.
pub(super) fn fill_all(ns: &Arc<Namespace>) -> Result<()> {
    fill(ns)?;
    let op = root();
    let mut rng = Rng::new(16);
    let user = br#"{"version":1,"name":"eve","access_key":"EVEKEY","secret_key":"secret-of-eve","uid":0,"gid":0,"groups":[],"admin":false}"#;
    ns.put_setting(&op, "user/eve", Some(user))?;
    fill_top(ns, &mut rng)?;
    fill_names(ns, &mut rng)?;
    fill_held(ns, &mut rng)?;

    // A reader of events, and what it has not read yet.
    ns.events_by_cursor(&op, "follower", Begin::Now)?;
    put(ns, "told/object", b"told of", &ObjectMeta::default())?;
    let dir = ns.resolve(&op, b"/golden/dir")?.ino;
    write(ns, dir, b"told", b"of this too")?;
    ns.rename(&op, (dir, b"told"), (dir, b"told of"), RenameMode::Replace)?;
    ns.unlink(&op, dir, b"told of")?;
    Ok(ns.settle_blocking(&op)?)
}

/// Folders and files at the top of the tree.
fn fill_top(ns: &Namespace, rng: &mut Rng) -> Result<()> {
    let op = root();
    for (number, name) in ODD_NAMES.into_iter().enumerate() {
        let folder = ns.mkdir(&op, ROOT_INO, name, 0o755)?.ino;
        write(ns, folder, b"inside", format!("inside of number {number}").as_bytes())?;
    }
    write(ns, ROOT_INO, b".DS_Store", &rng.bytes(6_000))?;
    write(ns, ROOT_INO, b"notes with a space.txt", b"at the top")?;
    ns.symlink(&op, ROOT_INO, b"short cut", b"golden/dir/file")?;
    // Through S3: a bucket by its alias, and a file at the top.
    let folder = ns.bucket_of_folder(&op, ODD_NAMES[0])?.name;
    for (bucket, key) in [(folder.as_str(), "from/afar"), ("top", "from afar")] {
        put_in(ns, bucket, key, format!("{bucket}: {key}").as_bytes(), &ObjectMeta::default())?;
    }
    let upload = ns.create_upload(&op, "top", b"under way at the top", ObjectMeta::default())?.id;
    let part = content(ns, &rng.bytes(4_000))?;
    ns.put_part(&op, "top", b"under way at the top", &upload, 7, part, "7".repeat(32), BTreeMap::new())?;
    Ok(())
}

/// Several names of one file, directories with an object of their name, earlier versions, and a manifest of more than one level.
fn fill_names(ns: &Namespace, rng: &mut Rng) -> Result<()> {
    let op = root();
    let bucket = ns.resolve(&op, b"/golden")?.ino;
    let far = ns.mkdir(&op, bucket, b"far", 0o755)?.ino;
    let near = ns.mkdir(&op, far, b"near", 0o700)?.ino;
    let file = ns.resolve(&op, b"/golden/dir/file")?.ino;
    for (dir, name) in [(far, "one"), (near, "two"), (near, "three"), (bucket, "four")] {
        ns.link(&op, file, dir, name.as_bytes())?;
    }
    let symbolic = ns.resolve(&op, b"/golden/dir/symbolic")?.ino;
    ns.link(&op, symbolic, near, b"symbolic")?;
    // Its first name is another one than that it is known by now.
    let moved = write(ns, far, b"moved", &rng.bytes(7_000))?;
    ns.link(&op, moved, near, b"moved here")?;
    ns.unlink(&op, far, b"moved")?;
    ns.rename(&op, (far, b"near"), (bucket, b"nearer"), RenameMode::Replace)?;
    // A directory beside an object of its name, and one that only keys have made.
    put(ns, "dir", b"an object beside a directory", &ObjectMeta::default())?;
    put(ns, "made/by/keys", b"in implicit directories", &ObjectMeta::default())?;
    ns.mkdir(&op, bucket, b"empty directory", 0o711)?;

    ns.create_bucket(&op, "kept", None)?;
    ns.set_versioned(&op, "kept", true)?;
    for turn in 0..3 {
        put_in(ns, "kept", "versions", &rng.bytes(5_000 + turn), &ObjectMeta::default())?;
    }
    ns.set_bucket_mode(&op, "kept", 0o640)?;
    // More items than an inode's record holds: a page.
    let paged = ns.create(&op, far, b"paged", 0o644, RW, true, false)?.ino;
    for item in 0..PAGED_ITEMS {
        ns.write(&op, paged, item * 2 * PAGED_LEN, &rng.bytes(usize::try_from(PAGED_LEN)?))?;
    }
    Ok(ns.close(&op, paged, true)?)
}

/// Locks of every kind, and what is open.
fn fill_held(ns: &Namespace, rng: &mut Rng) -> Result<()> {
    let op = root();
    lock(ns, 2, "/golden/nearer", true)?;
    lock(ns, 3, "/golden/made/not yet there", false)?;
    lock(ns, 4, "/notes with a space.txt", false)?;
    let [file, paged] = ["/golden/far/one", "/golden/far/paged"].map(|path| ns.resolve(&op, path.as_bytes()));
    let (file, paged) = (file?.ino, paged?.ino);
    let owner = HoldOwner { door: MOUNT.number, client: 0, owner: 77, pid: 1234 };
    for (ino, space, kind, range) in [
        (file, RangeSpace::Bytes, RangeKind::Write, 10..20),
        (file, RangeSpace::Bytes, RangeKind::Read, 100..u64::MAX),
        (paged, RangeSpace::Whole, RangeKind::Write, 0..u64::MAX),
    ] {
        let refused = ns.set_hold(&op, ino, &HeldRange { owner, space, kind, range, lease: None })?;
        ensure!(refused.is_none(), "a lock of a process was refused: {refused:?}");
    }
    // Written under one of its names when the process dies.
    ns.open(&op, file, RW, false)?;
    ns.write(&op, file, 10, b"synced by another name")?;
    ns.fsync(&op, file)?;
    ns.settle_blocking(&op)?;
    ns.write(&op, file, 90_000, &rng.bytes(10))?;
    Ok(())
}

/// The same, in a store where much was written and removed before, and the space given back, which takes a checkpoint.
pub(super) fn fill_all_and_reclaim(ns: &Arc<Namespace>) -> Result<()> {
    let op = root();
    let mut rng = Rng::new(15);
    let passing = |number: u32| format!("passing {number}");
    ns.create_bucket(&op, "before", None)?;
    for number in 0..PASSING {
        put_in(ns, "before", &passing(number), &rng.bytes(900_000), &ObjectMeta::default())?;
        // Between what goes there is what stays and has to be moved.
        put_in(ns, "before", &format!("staying {number}"), &rng.bytes(2_000), &ObjectMeta::default())?;
    }
    for number in 0..PASSING {
        ns.delete_object(&op, "before", passing(number).as_bytes(), &Condition::default())?;
    }
    ns.settle_blocking(&op)?;
    let report = Runtime::over(Arc::clone(ns)).reclaim(Duration::ZERO, &mut |_| true)?;
    ensure!(report.segments_freed > 0, "no segment was given back: {report:?}");
    fill_all(ns)?;
    ns.delete_object(&op, "before", b"staying 3", &Condition::default())?;
    Ok(ns.settle_blocking(&op)?)
}

/// Makes a file of these bytes.
fn write(ns: &Namespace, dir: Ino, name: &[u8], bytes: &[u8]) -> Result<Ino> {
    let op = root();
    let ino = ns.create(&op, dir, name, 0o644, RW, true, false)?.ino;
    ns.write(&op, ino, 0, bytes)?;
    ns.close(&op, ino, true)?;
    Ok(ino)
}

/// Has the administrator lock a path over WebDAV. Whoever fills the store further passes it, as an operator does.
fn lock(ns: &Namespace, number: u32, path: &str, deep: bool) -> Result<()> {
    let op = Op::new(Caller::root(&WEBDAV));
    op.submit("admin", Vec::new());
    let (parent, name) = path.rsplit_once('/').context("a path has a slash")?;
    let wanted = NewLock {
        token: format!("urn:uuid:00000000-0000-0000-0000-{number:012}"),
        path: path.as_bytes().to_vec(),
        deep,
        shared: false,
        owner_xml: b"<owner/>".to_vec(),
        seconds: None,
    };
    let parent = if parent.is_empty() { ROOT_INO } else { ns.resolve(&op, parent.as_bytes())?.ino };
    ns.lock(&op, Some((parent, name.as_bytes())), &wanted)?;
    Ok(())
}

fn repeated(word: &str, len: usize) -> Vec<u8> {
    word.bytes().cycle().take(len).collect()
}

fn content(ns: &Namespace, bytes: &[u8]) -> Result<Content> {
    content_in(ns, "golden", bytes)
}

fn content_in(ns: &Namespace, bucket: &str, bytes: &[u8]) -> Result<Content> {
    let mut ingest = ns.ingest(&root(), bucket)?;
    ingest.push(bytes)?;
    Ok(ingest.finish()?)
}

fn put(ns: &Namespace, key: &str, bytes: &[u8], meta: &ObjectMeta) -> Result<()> {
    put_in(ns, "golden", key, bytes, meta)
}

fn put_in(ns: &Namespace, bucket: &str, key: &str, bytes: &[u8], meta: &ObjectMeta) -> Result<()> {
    let etag = Some(hex::encode(<md5::Md5 as md5::Digest>::digest(bytes)));
    let content = content_in(ns, bucket, bytes)?;
    let op = root();
    ns.put_object(
        &op,
        bucket,
        key.as_bytes(),
        content,
        etag.as_deref().map(strata_etag::read),
        meta.clone(),
        &Condition::default(),
    )?;
    Ok(ns.settle_blocking(&op)?)
}

//! Makes a golden store: a little of everything that a store may hold, and then its process dies.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strata_namespace::{
    Access, Caller, Condition, Content, Door, Durability, Namespace, NewLock, NewNode, NodeKind, ObjectMeta, Op,
    RenameMode, SetAttr, XattrMode,
};

use super::describe::root;
use crate::outside::rng::Rng;

const RW: Access = Access { read: true, write: true, exec: false };
/// The least that S3 allows for a part that is not the last.
const PART_LEN: usize = 5 << 20;
/// Objects that come and go in a store that is reclaimed: several segments of the widest layout.
const PASSING: u32 = 24;
/// Where the only data of a file with a hole lie.
const HOLE: u64 = 1 << 20;

/// Fills a new store.
pub(super) fn fill(ns: &Namespace) -> Result<()> {
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
    ns.complete_upload(&op, "golden", b"in parts", &upload, &listed, Default::default(), &Condition::default())?;
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

/// The same; then much is written and removed, the space is given back, which takes a checkpoint, and a little more happens.
pub(super) fn fill_and_reclaim(ns: &Namespace) -> Result<()> {
    fill(ns)?;
    let op = root();
    let mut rng = Rng::new(15);
    let passing = |number: u32| format!("passing {number}");
    for number in 0..PASSING {
        put(ns, &passing(number), &rng.bytes(900_000), &ObjectMeta::default())?;
        // Between what goes there is what stays and has to be moved.
        put(ns, &format!("staying {number}"), &rng.bytes(2_000), &ObjectMeta::default())?;
    }
    for number in 0..PASSING {
        ns.delete_object(&op, "golden", passing(number).as_bytes(), &Condition::default())?;
    }
    ns.settle_blocking(&op)?;
    let report = ns.reclaim(Duration::ZERO, &mut |_| true)?;
    ensure!(report.segments_freed > 0, "no segment was given back: {report:?}");
    put(ns, "behind the checkpoint", &rng.bytes(3_000), &ObjectMeta::default())?;
    ns.delete_object(&op, "golden", b"staying 3", &Condition::default())?;
    Ok(ns.settle_blocking(&op)?)
}

/// The same; then files get names in several buckets, one of them while it is written, and there are locks, an
/// upload under way and a user of uid 0.
pub(super) fn fill_and_link(ns: &Namespace) -> Result<()> {
    fill(ns)?;
    let op = root();
    let mut rng = Rng::new(16);
    ns.create_bucket(&op, "elsewhere", None)?;
    let [golden, loose, elsewhere] = ["golden", "loose", "elsewhere"]
        .map(|bucket| ns.resolve(&op, format!("/{bucket}").as_bytes()).map(|attr| attr.ino));
    let (golden, loose, elsewhere) = (golden?, loose?, elsewhere?);
    let far = ns.mkdir(&op, elsewhere, b"far", 0o755)?.ino;
    // By a file's every name: in its own bucket, in another and in a relaxed one.
    let file = ns.resolve(&op, b"/golden/dir/file")?.ino;
    ns.link(&op, file, far, b"file")?;
    ns.link(&op, file, loose, b"file")?;
    let long = ns.resolve(&op, b"/golden/long")?.ino;
    ns.link(&op, long, elsewhere, b"long")?;
    // In two others, and no longer in the one it was made in.
    let moved = ns.create(&op, golden, b"moved", 0o644, RW, true, false)?.ino;
    ns.write(&op, moved, 0, &rng.bytes(7_000))?;
    ns.close(&op, moved, true)?;
    ns.link(&op, moved, elsewhere, b"moved")?;
    ns.link(&op, moved, loose, b"moved")?;
    ns.unlink(&op, golden, b"moved")?;
    let symbolic = ns.resolve(&op, b"/golden/dir/symbolic")?.ino;
    ns.link(&op, symbolic, elsewhere, b"symbolic")?;
    // A directory that went from one bucket to another.
    let tree = ns.mkdir(&op, golden, b"tree", 0o755)?.ino;
    let leaf = ns.create(&op, tree, b"leaf", 0o644, RW, true, false)?.ino;
    ns.write(&op, leaf, 0, b"leaf of a tree")?;
    ns.close(&op, leaf, true)?;
    ns.rename(&op, (golden, b"tree"), (loose, b"tree"), RenameMode::Replace)?;

    lock(ns, 2, "/elsewhere/far/file", false)?;
    lock(ns, 3, "/golden/dir", false)?;
    let upload = ns.create_upload(&op, "elsewhere", b"under way", ObjectMeta::default())?.id;
    let part = content(ns, &rng.bytes(6_000))?;
    ns.put_part(&op, "elsewhere", b"under way", &upload, 1, part, "0".repeat(32), BTreeMap::new())?;
    let user = br#"{"version":1,"name":"eve","access_key":"EVEKEY","secret_key":"secret-of-eve","uid":0,"gid":0,"groups":[],"admin":false}"#;
    ns.put_setting(&op, "user/eve", Some(user))?;

    // Written under one name when the process dies.
    ns.open(&op, file, RW, false)?;
    ns.write(&op, file, 10, b"synced by a name elsewhere")?;
    ns.fsync(&op, file)?;
    ns.settle_blocking(&op)?;
    ns.write(&op, file, 90_000, b"never synced")?;
    Ok(())
}

/// Has the administrator lock a path over WebDAV. Whoever fills the store further passes it, as an operator does.
fn lock(ns: &Namespace, number: u32, path: &str, deep: bool) -> Result<()> {
    let op = Op::new(Caller::root(Door::WebDav));
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
    let parent = ns.resolve(&op, parent.as_bytes())?.ino;
    ns.lock(&op, Some((parent, name.as_bytes())), &wanted)?;
    Ok(())
}

fn repeated(word: &str, len: usize) -> Vec<u8> {
    word.bytes().cycle().take(len).collect()
}

fn content(ns: &Namespace, bytes: &[u8]) -> Result<Content> {
    let mut ingest = ns.ingest(&root(), "golden")?;
    ingest.push(bytes)?;
    Ok(ingest.finish()?)
}

fn put(ns: &Namespace, key: &str, bytes: &[u8], meta: &ObjectMeta) -> Result<()> {
    let etag = Some(hex::encode(<md5::Md5 as md5::Digest>::digest(bytes)));
    let content = content(ns, bytes)?;
    let op = root();
    ns.put_object(&op, "golden", key.as_bytes(), content, etag, meta.clone(), &Condition::default())?;
    Ok(ns.settle_blocking(&op)?)
}

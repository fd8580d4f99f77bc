//! Everything that can be told of a store, as one JSON value: the manifest beside a golden store is what this gave when the
//! store was made.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};
use strata_namespace::{Attr, Begin, Caller, EventAt, ListQuery, Namespace, NodeKind, Op, ROOT_INO, STORE};
use strata_seam::Ino;

/// Bytes read at once.
const STEP: usize = 1 << 20;
/// Events of each reader: as many as every store has.
const EVENTS: usize = 5;

/// An operation of the administrator.
pub(super) fn root() -> Op {
    Op::new(Caller::root(&STORE))
}

/// All buckets with all inodes, names, contents and attributes; all objects as S3 lists them; all uploads under way; the settings, the locks
/// and the readers of events.
pub(super) fn describe(ns: &Arc<Namespace>) -> Result<Value> {
    let op = root();
    let mut files = Vec::new();
    walk(ns, ROOT_INO, "", &mut files)?;
    let mut buckets = Vec::new();
    for bucket in ns.buckets(&op)? {
        let mut objects = Vec::new();
        let mut after = None;
        loop {
            let page = ns.list(&op, &bucket.name, &ListQuery { after, limit: 100, ..ListQuery::default() })?;
            for (key, info) in page.objects {
                objects.push(json!({
                    "key": text(&key), "size": info.attr.size, "etag": strata_etag::of(&info.tag), "parts": info.parts,
                    "system": info.meta.system, "user": info.meta.user, "checksums": info.meta.checksums,
                    "version": info.version, "content": content_of_object(ns, &bucket.name, &key)?,
                }));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let mut uploads = Vec::new();
        for upload in ns.uploads(&op, &bucket.name, b"", None, 1000)?.0 {
            let (parts, _) = ns.parts(&op, &bucket.name, &upload.key, &upload.id, 0, 1000)?;
            let parts = parts.into_iter().map(|part| json!([part.number, part.size, part.tag]));
            uploads.push(json!({ "key": text(&upload.key), "id": upload.id, "parts": parts.collect::<Vec<_>>() }));
        }
        buckets.push(json!({
            "name": bucket.name, "uid": bucket.uid, "created": bucket.created.0, "relaxed": format!("{:?}", bucket.durability),
            "objects": objects, "uploads": uploads,
        }));
    }
    let settings = ns.settings(&op, "")?.into_iter().map(|(key, value)| json!([key, text(&value)]));
    Ok(json!({
        "files": files, "buckets": buckets, "settings": settings.collect::<Vec<_>>(),
        "locks": locks(ns)?, "readers": readers(ns)?,
    }))
}

/// The locks of WebDAV that stand.
fn locks(ns: &Namespace) -> Result<Vec<Value>> {
    let locks = ns.locks(&root())?.into_iter().map(|lock| {
        json!({
            "token": lock.token, "path": text(&lock.path), "ino": lock.ino.map(|ino| ino.0), "deep": lock.deep,
            "shared": lock.shared, "user": lock.principal, "owner": text(&lock.owner_xml),
            "expires": lock.expires.map(|end| end.0),
        })
    });
    Ok(locks.collect())
}

/// The readers of events, with the first that each has not read: later ones may be of openings.
fn readers(ns: &Arc<Namespace>) -> Result<Vec<Value>> {
    let mut readers = Vec::new();
    for cursor in ns.cursors()? {
        let page = ns.events(Begin::Behind(cursor.after)).next_page(EVENTS)?;
        anyhow::ensure!(page.gap.is_none(), "events behind the cursor {} are missing: {:?}", cursor.name, page.gap);
        let events = page.events.into_iter().map(|EventAt { sequence, event }| {
            json!({
                "at": [sequence.lsn.0, sequence.index], "bucket": &*event.bucket, "ino": event.ino.0,
                "key": event.key.as_deref().map(text), "size": event.size,
            })
        });
        let events = events.take(EVENTS).collect::<Vec<_>>();
        readers
            .push(json!({ "name": cursor.name, "after": [cursor.after.lsn.0, cursor.after.index], "events": events }));
    }
    Ok(readers)
}

/// Has `told` say nothing that a manifest of an earlier version does not speak of.
pub(super) fn leave_out_untold(manifest: &Value, told: &mut Value) {
    if let (Some(manifest), Some(told)) = (manifest.as_object(), told.as_object_mut()) {
        told.retain(|what, _| manifest.contains_key(what));
    }
}

fn walk(ns: &Namespace, dir: Ino, below: &str, found: &mut Vec<Value>) -> Result<()> {
    let op = root();
    let mut after = Vec::new();
    loop {
        let page = ns.readdir(&op, dir, &after, 100)?;
        for entry in &page.entries {
            let path = format!("{below}/{}", text(&entry.name));
            found.push(node(ns, &path, &entry.attr)?);
            if entry.attr.kind == NodeKind::Directory {
                walk(ns, entry.attr.ino, &path, found)?;
            }
            after.clone_from(&entry.cursor);
        }
        if page.end {
            return Ok(());
        }
    }
}

fn node(ns: &Namespace, path: &str, attr: &Attr) -> Result<Value> {
    let op = root();
    let mut xattrs = Vec::new();
    for name in ns.list_xattrs(&op, attr.ino)? {
        xattrs.push(json!([text(&name), text(&ns.get_xattr(&op, attr.ino, &name)?)]));
    }
    let properties = ns.properties(&op, attr.ino)?;
    let properties = properties.into_iter().map(|(space, name, value)| json!([space, name, text(&value)]));
    let content = match attr.kind {
        NodeKind::File => content_of_file(ns, attr)?,
        NodeKind::Symlink => text(&ns.readlink(&op, attr.ino)?),
        _ => String::new(),
    };
    Ok(json!({
        "path": path, "ino": attr.ino.0, "kind": format!("{:?}", attr.kind), "mode": format!("{:o}", attr.mode),
        "owner": [attr.uid, attr.gid], "nlink": attr.nlink, "rdev": attr.rdev, "size": attr.size,
        "mtime": attr.mtime.0, "ctime": attr.ctime.0, "btime": attr.btime.0,
        "xattrs": xattrs, "properties": properties.collect::<Vec<_>>(), "content": content,
    }))
}

fn content_of_file(ns: &Namespace, attr: &Attr) -> Result<String> {
    let mut hash = blake3::Hasher::new();
    let mut at = 0;
    while at < attr.size {
        let step = ns.read(&root(), attr.ino, at, STEP)?;
        anyhow::ensure!(!step.is_empty(), "inode {} ends at {at} of {}", attr.ino, attr.size);
        hash.update(&step);
        at += step.len() as u64;
    }
    Ok(hash.finalize().to_hex().to_string())
}

fn content_of_object(ns: &Namespace, bucket: &str, key: &[u8]) -> Result<String> {
    let (_, reader) = ns.get_object(&root(), bucket, key)?;
    let mut hash = blake3::Hasher::new();
    let mut at = 0;
    while at < reader.len() {
        let step = reader.read(at, STEP)?;
        anyhow::ensure!(!step.is_empty(), "{bucket}/{} ends at {at} of {}", text(key), reader.len());
        hash.update(&step);
        at += step.len() as u64;
    }
    Ok(hash.finalize().to_hex().to_string())
}

/// Has what two descriptions say of files with names in several buckets be the same where the one was made before a bucket was a
/// boundary and the other after the upgrade, which makes such a file one in each bucket: in place of the number of each stands the order in
/// which they are met, and its links are its names in its bucket. Everything else stays as it is told.
pub(super) fn part_files(manifest: &mut Value, told: &mut Value) {
    let mut buckets: HashMap<u64, HashSet<String>> = HashMap::new();
    for (path, ino) in names(manifest) {
        buckets.entry(ino).or_default().insert(bucket_of(&path));
    }
    let several: HashSet<String> =
        names(manifest).into_iter().filter(|(_, ino)| buckets[ino].len() > 1).map(|(path, _)| path).collect();
    for description in [manifest, told] {
        let mut met: HashMap<(String, u64), Vec<usize>> = HashMap::new();
        let mut order = Vec::new();
        for (at, (path, ino)) in
            names(description).into_iter().enumerate().filter(|(_, (path, _))| several.contains(path))
        {
            let file = (bucket_of(&path), ino);
            if !met.contains_key(&file) {
                order.push(file.clone());
            }
            met.entry(file).or_default().push(at);
        }
        let Some(files) = description["files"].as_array_mut() else { continue };
        for (number, file) in order.iter().enumerate() {
            for at in &met[file] {
                files[*at]["ino"] = json!(format!("parted {number}"));
                files[*at]["nlink"] = json!(met[file].len());
            }
        }
    }
}

/// The path and the inode of every file in a description, in its order.
fn names(description: &Value) -> Vec<(String, u64)> {
    let files = description["files"].as_array().map_or(&[][..], Vec::as_slice);
    files
        .iter()
        .map(|file| (file["path"].as_str().unwrap_or_default().to_owned(), file["ino"].as_u64().unwrap_or(0)))
        .collect()
}

fn bucket_of(path: &str) -> String {
    path.split('/').nth(1).unwrap_or_default().to_owned()
}

/// Bytes as text that tells all of them.
fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Where two descriptions differ first, for a message.
pub(super) fn difference(left: &Value, right: &Value) -> String {
    let (left, right) = (pretty(left), pretty(right));
    let differing = left.lines().zip(right.lines()).find(|(left, right)| left != right);
    match differing {
        Some((left, right)) => format!("{} where the manifest has {}", left.trim(), right.trim()),
        None => format!("{} lines where the manifest has {}", left.lines().count(), right.lines().count()),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

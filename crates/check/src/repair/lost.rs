//! The bucket where a repair puts what has lost its place.

use strata_content::{DedupDomain, Tx};
use strata_seam::Ino;

use super::Repaired;
use strata_namespace::checking::{View, raw};
use strata_namespace::records::{Bucket, Inode, LockCount, key};
use strata_namespace::{Error, ErrorKind, NAME_LEN_MAX, Namespace, NodeKind, OBJECT_MODE_DEFAULT, ROOT_INO, Result};

/// Its name; with a number behind it where something else at the top is called so.
pub const LOST_AND_FOUND: &str = "lost+found";
/// Only the superuser sees it: what is in it may have come from where others must not look.
const MODE: u32 = 0o700;
/// What of a mode is for others than the owner.
const OTHERS: u32 = 0o077;
/// Longest report kept, in bytes.
const REPORT_LEN_MAX: usize = 16 << 20;
/// Names tried for one thing.
const NAMES_MAX: u32 = 1000;

/// The bucket's directory, made where it is not there.
pub(super) fn directory(ns: &Namespace, tx: &mut Tx<'_>) -> Result<Inode> {
    let mut root = tx.dir(ROOT_INO)?;
    let mut free = None;
    for n in 0..NAMES_MAX {
        let name = if n == 0 { LOST_AND_FOUND.to_owned() } else { format!("{LOST_AND_FOUND}~{n}") };
        let found = tx.entry(ROOT_INO, format!("{name}/").as_bytes());
        if let Ok(Some(dirent)) = found {
            // A folder of another user, one that others can look into, or a broken one was not made by a repair, whatever its name.
            match tx.dir(dirent.ino) {
                Ok(dir) if dir.attr.uid == root.attr.uid && dir.attr.mode & OTHERS == 0 => return Ok(dir),
                _ => continue,
            }
        }
        if matches!(tx.any_entry(ROOT_INO, name.as_bytes()), Ok(None)) {
            free = Some(name);
            break;
        }
    }
    let name =
        free.ok_or_else(|| Error::new(ErrorKind::Exists, format!("'{LOST_AND_FOUND}' is taken {NAMES_MAX} times")))?;
    let entry_name = format!("{name}/").into_bytes();
    let now = ns.now();
    let owner = (root.attr.uid, root.attr.gid);
    let mut dir = ns.mending().new_inode(tx, NodeKind::Directory, MODE, owner, &root)?;
    ns.mending().add_entry(tx, &mut root, (&entry_name, None), &mut dir)?;
    let (root, mode) = (dir.attr.ino, OBJECT_MODE_DEFAULT);
    let name = name.into_bytes();
    let record = Bucket {
        root,
        name,
        created: now,
        uid: owner.0,
        relaxed: false,
        versioned: false,
        mode,
        locks: LockCount::default(),
    };
    ns.mending().put_bucket(tx, &record);
    Ok(dir)
}

/// A name in `dir` that is free, for something that was called `name`.
pub(super) fn free_name(tx: &mut Tx<'_>, dir: Ino, name: &[u8]) -> Result<Vec<u8>> {
    for n in 0..NAMES_MAX {
        let tail = if n == 0 { Vec::new() } else { format!("~{n}").into_bytes() };
        let kept = name.len().min(NAME_LEN_MAX - tail.len());
        let name = [&name[..kept], &tail].concat();
        let taken = tx.record(&key::entry(dir, &name))?.is_some()
            || tx.record(&key::entry(dir, &[&name[..], b"/"].concat()))?.is_some();
        if !taken {
            return Ok(name);
        }
    }
    Err(Error::new(
        ErrorKind::Exists,
        format!("'{}' is taken {NAMES_MAX} times in {LOST_AND_FOUND}", name.escape_ascii()),
    ))
}

/// Gives `inode`, which has no name any more, one in the bucket: its number and what it was called. Writes the inode.
pub(super) fn take_in(ns: &Namespace, tx: &mut Tx<'_>, mut inode: Inode, called: &str) -> Result<String> {
    let mut dir = directory(ns, tx)?;
    let name = free_name(tx, dir.attr.ino, called.as_bytes())?;
    let mut entry_name = name.clone();
    if inode.attr.kind == NodeKind::Directory {
        entry_name.push(b'/');
    }
    inode.unname();
    (inode.bucket, inode.tree) = (dir.bucket, dir.tree);
    ns.mending().add_entry(tx, &mut dir, (&entry_name, None), &mut inode)?;
    Ok(format!("is now {}/{}", raw(&dir.name).escape_ascii(), name.escape_ascii()))
}

/// What the thing is to be called: its number, and its former name where it is known.
pub(super) fn called(ino: Ino, former: Option<&[u8]>) -> String {
    match former {
        Some(former) => format!("{ino}-{}", String::from_utf8_lossy(former)),
        None => ino.to_string(),
    }
}

/// Keeps a report of the repair in the bucket, for those who look for something later.
pub(super) fn keep_report(ns: &Namespace, repaired: &Repaired) -> Result<()> {
    let mut text = repaired.done.join("\n");
    text.push('\n');
    repaired.failed.iter().for_each(|failed| text.push_str(&format!("not done: {failed}\n")));
    text.truncate(text.floor_char_boundary(REPORT_LEN_MAX));
    let now = ns.now();
    keep_bytes(ns, &format!("repair-{}.txt", now.0 / 1_000_000_000), text.as_bytes()).map(|_| ())
}

/// Makes a file of these bytes in the bucket.
pub(super) fn keep_bytes(ns: &Namespace, name: &str, bytes: &[u8]) -> Result<String> {
    let mut ingest = ns.store().ingest(DedupDomain::COMMON, false);
    ingest.push(bytes)?;
    let content = ingest.finish()?;
    let allocated = ns.store().allocated_of(&content)?;
    ns.mending().ready()?;
    let done = ns.store().transact(false, |tx| {
        let dir = directory(ns, tx)?;
        let owner = (dir.attr.uid, dir.attr.gid);
        let mut inode = ns.mending().new_inode(tx, NodeKind::File, 0o600, owner, &dir)?;
        ns.mending().set_content(tx, &mut inode, &content, allocated)?;
        take_in(ns, tx, inode, name)
    })?;
    Ok(done.value)
}

//! The steps of a repair, one per kind of finding. Each is one commit and makes sure under the lock that it still applies.

use strata_content::{ChunkFault, DedupDomain, Item, Tx};
use strata_seam::Ino;

use super::lost;
use crate::check::{Affected, Finding, Owner, entry_of, stands};
use strata_namespace::checking::{Taken, View, hash, is_dir, raw};
use strata_namespace::records::{Beside, Bucket, Dirent, Inode, LockCount, Part, Version, key};
use strata_namespace::{Error, Namespace, NodeKind, OBJECT_MODE_DEFAULT, ROOT_INO, Result, UsageOf};

/// Entries read per step.
const STEP: usize = 1024;

/// Mends what was found; `None` if there is nothing to mend any more.
pub(super) fn mend(ns: &Namespace, finding: &Finding) -> Result<Option<String>> {
    ns.mending().ready()?;
    // Some steps need a walk over all entries. Nothing changes these meanwhile: the caller holds the store alone.
    match finding {
        Finding::ManyNames { ino, .. } => return many_names(ns, *ino),
        Finding::Names { ino } => {
            let entries = entries_of(ns, *ino)?;
            return change(ns, finding, |tx| known_names(ns, tx, *ino, &entries));
        }
        Finding::Unreached { ino } => {
            let entries = entries_of(ns, *ino)?;
            return change(ns, finding, |tx| unreached(ns, tx, *ino, &entries));
        }
        Finding::Elsewhere { parent, name, .. } => {
            let mut taken = change(ns, finding, |tx| {
                let dir = tx.dir(*parent)?;
                Ok(match ns.mending().take_over(tx, &dir, name)? {
                    Taken::Copied(ino) => format!("is its copy by reference now, inode {ino}"),
                    Taken::Whole | Taken::Already => "belongs there now".to_owned(),
                })
            })?;
            // Everything below a directory belongs to the bucket of the directory.
            let at = ns.store().get(&key::entry(*parent, name))?.and_then(|entry| Dirent::decode(&entry.value).ok());
            if let (Some(taken), Some(Dirent { ino, kind: NodeKind::Directory, .. })) = (&mut taken, at) {
                let below = ns.mending().take_over_below(ino)?;
                taken.push_str(&format!(", and {below} names below it"));
            }
            return Ok(taken);
        }
        Finding::Record { key } if key.first() == Some(&key::TABLE_ENTRY) => {
            let Some(value) = ns.store().get(key)? else { return Ok(None) };
            let text = [key, &b"\n"[..], &value.value].concat();
            let kept = lost::keep_bytes(ns, &format!("entry-{}", hash(key)), &text)?;
            return change(ns, finding, |tx| {
                tx.delete(key.clone());
                Ok(format!("its bytes {}; removed", kept.trim_start_matches("is now ")))
            });
        }
        _ => {}
    }
    change(ns, finding, |tx| match finding {
        Finding::Size { ino, .. } => size(ns, tx, *ino),
        Finding::Dangling { parent, name, .. } => {
            remove_entry(ns, tx, *parent, name)?;
            Ok("removed".to_owned())
        }
        Finding::NoDirectory { parent, name, .. } => no_directory(ns, tx, *parent, name),
        Finding::Kind { parent, name, ino } => kind(ns, tx, *parent, name, *ino),
        Finding::Shadow { parent, name } => {
            let directory = tx.entry(*parent, &[name, &b"/"[..]].concat())?;
            let plain = key::entry(*parent, name);
            match (tx.entry(*parent, name)?, directory) {
                (Some(object), _) => tx.put(plain, Dirent { shadowed: directory.is_some(), ..object }.encode()),
                (None, Some(directory)) => tx.put(plain, Dirent::placeholder(directory.ino).encode()),
                (None, None) => tx.delete(plain),
            }
            Ok("set".to_owned())
        }
        Finding::Parent { ino, parent, .. } => {
            let mut inode = tx.inode(*ino)?;
            if entry_of(tx, inode.parent, *ino)? {
                return Ok("has several names; they are seen to on their own".to_owned());
            }
            inode.parent = *parent;
            ns.mending().put_inode(tx, &mut inode);
            Ok(format!("says {parent} now"))
        }
        Finding::NoName { ino } => {
            let mut inode = tx.inode(*ino)?;
            if inode.attr.kind != NodeKind::Directory {
                inode.attr.nlink = 1;
            }
            lost::take_in(ns, tx, inode, &lost::called(*ino, None))
        }
        Finding::Links { ino, exist, .. } => {
            let mut inode = tx.inode(*ino)?;
            inode.attr.nlink = *exist;
            ns.mending().put_inode(tx, &mut inode);
            Ok(format!("counts {exist} now"))
        }
        Finding::Bucket { root } => bucket(ns, tx, *root),
        Finding::Stray { name } => stray(ns, tx, name),
        Finding::Part { upload, part } => part_of_nothing(ns, tx, *upload, *part),
        Finding::Leftover { key, .. }
            if matches!(
                key.first(),
                Some(&(key::TABLE_TIMES | key::TABLE_NAME | key::TABLE_ADDED | key::TABLE_LOCK | key::TABLE_HOLD))
            ) =>
        {
            tx.delete(key.clone());
            Ok("removed".to_owned())
        }
        Finding::Beside { ino, key } => {
            let mut inode = tx.inode(*ino)?;
            if let Some(has) = key.first().and_then(|table| inode.beside.of(*table)) {
                *has = true;
            }
            ns.mending().put_inode(tx, &mut inode);
            Ok("says so now".to_owned())
        }
        Finding::Leftover { ino, .. } => {
            let dir = lost::directory(ns, tx)?;
            tx.tally(key::KEY_INODES, 1);
            let mut inode = Inode::new(*ino, NodeKind::File, 0o600, (dir.attr.uid, dir.attr.gid), ns.now());
            inode.beside = Beside::UNKNOWN;
            lost::take_in(ns, tx, inode, &lost::called(*ino, None))
        }
        Finding::Tally { counted, exist } => {
            tx.tally(key::KEY_INODES, exist.cast_signed().wrapping_sub(counted.cast_signed()));
            Ok(format!("is {exist} now"))
        }
        Finding::Chunk(ChunkFault::Count { id, counted, exist }) => {
            tx.correct_count(*id, exist - counted);
            Ok(format!("counts {exist} now"))
        }
        Finding::Usage { of, bytes, counted, exist } => {
            tx.tally(&of.key(*bytes), exist - counted);
            Ok(format!("is {exist} now"))
        }
        Finding::LockCount { bucket, exist, .. } => {
            ns.mending().set_lock_count(tx, *bucket, u64::try_from(*exist).unwrap_or(0))?;
            Ok(format!("is {exist} now"))
        }
        Finding::FollowingCount { counted, exist } => {
            tx.tally(key::KEY_FOLLOWING, exist - counted);
            Ok(format!("is {exist} now"))
        }
        Finding::Leaving { root } => leaving(ns, tx, *root),
        Finding::Record { .. }
        | Finding::Chunk(_)
        | Finding::ManyNames { .. }
        | Finding::Names { .. }
        | Finding::Unreached { .. }
        | Finding::Elsewhere { .. } => Ok("left as it is".to_owned()),
    })
}

/// One commit, if the finding still stands.
fn change(ns: &Namespace, finding: &Finding, mend: impl Fn(&mut Tx<'_>) -> Result<String>) -> Result<Option<String>> {
    let done = ns
        .store()
        .transact(false, |tx| if stands(tx, finding)? { mend(tx).map(Some) } else { Ok::<_, Error>(None) })?;
    Ok(done.value)
}

fn size(ns: &Namespace, tx: &mut Tx<'_>, ino: Ino) -> Result<String> {
    let mut inode = tx.inode(ino)?;
    inode.attr.size = strata_content::items_len(&inode.items);
    // If a page cannot be read, the allocated size stays as it was.
    if let Ok(allocated) = ns.store().allocated_in(&inode.items) {
        inode.attr.allocated = allocated;
    }
    let size = inode.attr.size;
    ns.mending().put_inode(tx, &mut inode);
    Ok(format!("has size {size} now"))
}

/// Removes an entry, the mark beside it, and the name of what it led to; the directory's count is set right with the other counts.
fn remove_entry(ns: &Namespace, tx: &mut Tx<'_>, parent: Ino, entry_name: &[u8]) -> Result<()> {
    if let Ok(Some(dirent)) = tx.entry(parent, entry_name)
        && let Ok(Some(mut inode)) = tx.find_inode(dirent.ino)
    {
        ns.mending().forget_name(tx, &mut inode, parent, entry_name);
        ns.mending().adopt(tx, &mut inode)?;
        ns.mending().put_inode(tx, &mut inode);
    }
    match tx.dir(parent) {
        // Whether there is a directory of the same name is looked up, whatever the entry says.
        Ok(mut dir) => ns.mending().unlist(tx, &mut dir, (entry_name, true)),
        Err(_) => {
            tx.delete(key::entry(parent, entry_name));
            Ok(())
        }
    }
}

fn set_entry(tx: &mut Tx<'_>, parent: Ino, entry_name: &[u8], set: impl FnOnce(&mut Dirent)) -> Result<()> {
    if let Some(mut dirent) = tx.entry(parent, entry_name)? {
        set(&mut dirent);
        tx.put(key::entry(parent, entry_name), dirent.encode());
    }
    Ok(())
}

fn no_directory(ns: &Namespace, tx: &mut Tx<'_>, parent: Ino, entry_name: &[u8]) -> Result<String> {
    let found = tx.find_inode(parent)?;
    if found.is_none() && parent == ROOT_INO {
        let mut root = Inode::new(ROOT_INO, NodeKind::Directory, 0o755, (0, 0), ns.now());
        (root.parent, root.bucket) = (ROOT_INO, ROOT_INO);
        ns.mending().put_inode(tx, &mut root);
        return Ok("the root is a directory again".to_owned());
    }
    if found.is_none() {
        // A directory with the old number: its entries stay as they are, and directories among them have the right parent.
        let lost = lost::directory(ns, tx)?;
        tx.tally(key::KEY_INODES, 1);
        let dir = Inode::new(parent, NodeKind::Directory, 0o700, (lost.attr.uid, lost.attr.gid), ns.now());
        return Ok(format!("its directory {}", lost::take_in(ns, tx, dir, &lost::called(parent, None))?));
    }
    // The number is a file's: the entry itself moves to the bucket of repairs.
    let Some(dirent) = tx.entry(parent, entry_name)? else { return Ok("gone".to_owned()) };
    tx.delete(key::entry(parent, entry_name));
    match tx.find_inode(dirent.ino)? {
        Some(inode) => lost::take_in(ns, tx, inode, &lost::called(dirent.ino, Some(raw(entry_name)))),
        None => Ok("removed; there was nothing behind it".to_owned()),
    }
}

fn kind(ns: &Namespace, tx: &mut Tx<'_>, parent: Ino, entry_name: &[u8], ino: Ino) -> Result<String> {
    let inode = tx.inode(ino)?;
    let kind = inode.attr.kind;
    if is_dir(entry_name) == (kind == NodeKind::Directory) {
        set_entry(tx, parent, entry_name, |dirent| dirent.kind = kind)?;
        return Ok("kind set".to_owned());
    }
    remove_entry(ns, tx, parent, entry_name)?;
    let inode = tx.inode(ino)?;
    lost::take_in(ns, tx, inode, &lost::called(ino, Some(raw(entry_name))))
}

/// Every entry that leads to an inode.
fn entries_of(ns: &Namespace, ino: Ino) -> Result<Vec<(Ino, Vec<u8>)>> {
    let mut from = vec![key::TABLE_ENTRY];
    let mut found = Vec::new();
    loop {
        let page = ns.store().range(&from, &[key::TABLE_ENTRY + 1], STEP)?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        from.clone_from(last);
        from.push(0);
        for (key, entry) in &page {
            if let Some(parent) = key.get(1..9).and_then(|parent| <[u8; 8]>::try_from(parent).ok())
                && Dirent::decode(&entry.value).is_ok_and(|dirent| dirent.ino == ino && !dirent.stands_in(&key[9..]))
            {
                found.push((Ino(u64::from_be_bytes(parent)), key[9..].to_vec()));
            }
        }
    }
}

fn many_names(ns: &Namespace, ino: Ino) -> Result<Option<String>> {
    let entries = entries_of(ns, ino)?;
    let Some((first, rest)) = entries.split_first().filter(|(_, rest)| !rest.is_empty()) else { return Ok(None) };
    let done = ns.store().transact(false, |tx| {
        let mut inode = tx.inode(ino)?;
        let named = entries.iter().find(|(parent, name)| inode.is_called(*parent, name));
        let keep = named.or_else(|| entries.iter().find(|(parent, _)| *parent == inode.parent)).unwrap_or(first);
        for (parent, name) in entries.iter().filter(|entry| *entry != keep) {
            remove_entry(ns, tx, *parent, name)?;
        }
        inode = tx.inode(ino)?;
        (inode.parent, inode.name) = keep.clone();
        ns.mending().put_inode(tx, &mut inode);
        Ok::<_, Error>(format!("keeps the name '{}' of {}; {} removed", keep.1.escape_ascii(), keep.0, rest.len()))
    })?;
    Ok(Some(done.value))
}

/// Has the inode know these names and no others.
fn known_names(ns: &Namespace, tx: &mut Tx<'_>, ino: Ino, entries: &[(Ino, Vec<u8>)]) -> Result<String> {
    let (from, to) = (key::under(key::TABLE_NAME, ino, &[]), key::behind(key::TABLE_NAME, ino));
    for (key, _) in tx.records(&from, &to, usize::MAX >> 1)? {
        tx.delete(key);
    }
    let mut inode = tx.inode(ino)?;
    inode.unname();
    for (parent, entry_name) in entries {
        ns.mending().add_name(tx, &mut inode, *parent, entry_name);
    }
    ns.mending().put_inode(tx, &mut inode);
    Ok(format!("knows its {} names now", entries.len()))
}

fn unreached(ns: &Namespace, tx: &mut Tx<'_>, ino: Ino, entries: &[(Ino, Vec<u8>)]) -> Result<String> {
    for (parent, name) in entries {
        remove_entry(ns, tx, *parent, name)?;
    }
    let former = entries.first().map(|(_, entry_name)| raw(entry_name));
    let inode = tx.inode(ino)?;
    lost::take_in(ns, tx, inode, &lost::called(ino, former))
}

/// The name under which the root has a directory.
fn name_in_root(tx: &mut Tx<'_>, root: Ino) -> Result<Option<Vec<u8>>> {
    let (mut from, end) = (key::entry(ROOT_INO, &[]), key::behind(key::TABLE_ENTRY, ROOT_INO));
    loop {
        let page = tx.records(&from, &end, STEP)?;
        let Some((last, _)) = page.last() else { return Ok(None) };
        from.clone_from(last);
        from.push(0);
        let leads = |value: &[u8]| Dirent::decode(value).is_ok_and(|dirent| dirent.ino == root);
        if let Some((key, _)) = page.iter().find(|(key, value)| is_dir(key) && leads(value)) {
            return Ok(Some(raw(&key[9..]).to_vec()));
        }
    }
}

fn bucket(ns: &Namespace, tx: &mut Tx<'_>, root: Ino) -> Result<String> {
    let record = tx.record(&key::bucket(root))?.and_then(|bytes| Bucket::decode(root, &bytes).ok());
    if root == ROOT_INO {
        let fresh = ns.mending().fresh_top(&tx.dir(ROOT_INO)?);
        ns.mending().put_bucket(tx, &record.map_or(fresh, |record| Bucket { name: Vec::new(), ..record }));
        ns.mending().put_top(tx)?;
        return Ok("is that of the files at the top now".to_owned());
    }
    if let Some(name) = name_in_root(tx, root)? {
        let fresh = fresh_bucket(&tx.inode(root)?, &name);
        let name = fresh.name.clone();
        let bucket = record.map_or(fresh, |record| Bucket { name: name.clone(), ..record });
        ns.mending().put_bucket(tx, &bucket);
        return Ok(format!("is called '{}' now, as in the root", name.escape_ascii()));
    }
    let Some(bucket) = record else {
        tx.delete(key::bucket(root));
        return Ok("removed; it led nowhere".to_owned());
    };
    let mut dir = match tx.find_inode(root)? {
        Some(dir) if dir.attr.kind == NodeKind::Directory => dir,
        Some(_) => {
            tx.delete(key::bucket(root));
            return Ok("removed; what it led to is no directory and stays where it is".to_owned());
        }
        None => {
            tx.tally(key::KEY_INODES, 1);
            let gid = tx.dir(ROOT_INO)?.attr.gid;
            Inode::new(root, NodeKind::Directory, 0o755, (bucket.uid, gid), ns.now())
        }
    };
    let entry_name = [&bucket.name[..], b"/"].concat();
    if tx.entry(ROOT_INO, &entry_name)?.is_some() {
        tx.delete(key::bucket(root));
        return lost::take_in(ns, tx, dir, &lost::called(root, Some(&bucket.name)));
    }
    dir.unname();
    dir.bucket = root;
    let mut top = tx.dir(ROOT_INO)?;
    let plain = tx.any_entry(ROOT_INO, raw(&entry_name))?;
    ns.mending().add_entry(tx, &mut top, (&entry_name, plain), &mut dir)?;
    Ok("has its entry in the root again".to_owned())
}

/// What a bucket's record says where it is lost: the strictest of what it may have said.
fn fresh_bucket(root: &Inode, name: &[u8]) -> Bucket {
    Bucket {
        root: root.attr.ino,
        name: name.to_vec(),
        created: root.attr.btime,
        uid: root.attr.uid,
        relaxed: false,
        versioned: false,
        mode: OBJECT_MODE_DEFAULT,
        locks: LockCount::default(),
    }
}

/// A bucket that went into the trash, and whose record is gone: what still belongs to it needs rules, whatever they were.
fn leaving(ns: &Namespace, tx: &mut Tx<'_>, root: Ino) -> Result<String> {
    let left = tx.cell(&UsageOf::Bucket(root).key(false))?.map_or(0, |cell| cell.count);
    if left <= 0 {
        tx.delete(key::leaving(root));
        return Ok("removed; nothing belongs to it any more".to_owned());
    }
    let dir = match tx.find_inode(root)? {
        Some(dir) => dir,
        None => Inode { parent: ROOT_INO, ..Inode::new(root, NodeKind::Directory, 0o700, (0, 0), ns.now()) },
    };
    ns.mending().put_bucket(tx, &fresh_bucket(&dir, raw(&dir.name)));
    Ok(format!("has a record again, for the {left} inodes that belong to it"))
}

fn stray(ns: &Namespace, tx: &mut Tx<'_>, entry_name: &[u8]) -> Result<String> {
    let Some(dirent) = tx.entry(ROOT_INO, entry_name)? else { return Ok("gone".to_owned()) };
    let Some(inode) = tx.find_inode(dirent.ino)? else {
        remove_entry(ns, tx, ROOT_INO, entry_name)?;
        return Ok("removed; there was nothing behind it".to_owned());
    };
    if inode.attr.kind == NodeKind::Directory {
        ns.mending().put_bucket(tx, &fresh_bucket(&inode, raw(entry_name)));
        return Ok("is a bucket now".to_owned());
    }
    remove_entry(ns, tx, ROOT_INO, entry_name)?;
    let inode = tx.inode(dirent.ino)?;
    lost::take_in(ns, tx, inode, &lost::called(dirent.ino, Some(raw(entry_name))))
}

fn part_of_nothing(ns: &Namespace, tx: &mut Tx<'_>, upload: u64, number: u32) -> Result<String> {
    let key = key::under(key::TABLE_PART, Ino(upload), &number.to_be_bytes());
    let Some(part) = tx.record(&key)?.and_then(|bytes| Part::decode(&bytes).ok()) else { return Ok("gone".to_owned()) };
    let dir = lost::directory(ns, tx)?;
    let owner = (dir.attr.uid, dir.attr.gid);
    let mut inode = ns.mending().new_inode(tx, NodeKind::File, 0o600, owner, &dir)?;
    inode.attr.size = strata_content::items_len(&part.items);
    inode.attr.allocated = ns.store().allocated_in(&part.items).unwrap_or(inode.attr.size);
    // The references go over with the items: one owner less, one more.
    inode.items = part.items;
    inode.version = 1;
    tx.delete(key);
    lost::take_in(ns, tx, inode, &format!("upload-{upload}-part-{number}"))
}

/// The name of the copy of what can be read.
pub(super) fn name_of_copy(content: &Affected) -> String {
    let former = content.path.as_deref().and_then(|path| path.rsplit('/').next());
    let former = former.map(str::as_bytes);
    match content.owner {
        Owner::Inode(ino) => format!("{}.readable", lost::called(ino, former)),
        Owner::Version(ino, version) => format!("{}.version-{version}.readable", lost::called(ino, former)),
        Owner::Part(upload, part) => format!("upload-{upload}-part-{part}.readable"),
    }
}

/// Copies what can be read of damaged content into the bucket, by reference: holes take the place of the rest.
pub(super) fn keep_readable(ns: &Namespace, content: &Affected) -> Result<Option<String>> {
    let Some((like, items)) = content_of(ns, content.owner)? else { return Ok(None) };
    let len = strata_content::items_len(&items);
    let mut readable = Vec::new();
    let mut at = 0;
    for lost in &content.lost {
        readable.extend(ns.store().slice(&items, at..lost.start.min(len))?);
        readable.push(Item::hole(lost.end.min(len) - lost.start.min(len)));
        at = lost.end.min(len);
    }
    readable.extend(ns.store().slice(&items, at..len)?);
    // The copy stays in the dedup domain of its chunks.
    let domain = like.as_ref().map_or(DedupDomain::COMMON, |like| ns.mending().dedup_domain(like.bucket));
    let copy = ns.store().content(domain, readable)?;
    let allocated = ns.store().allocated_of(&copy)?;
    let name = name_of_copy(content);
    ns.mending().ready()?;
    let done = ns.store().transact(false, |tx| {
        let dir = lost::directory(ns, tx)?;
        if tx.entry(dir.attr.ino, name.as_bytes())?.is_some() {
            return Ok(None);
        }
        let owner = like.as_ref().map_or((dir.attr.uid, dir.attr.gid), |like| (like.attr.uid, like.attr.gid));
        let mode = like.as_ref().map_or(0o600, |like| like.attr.mode);
        let mut inode = ns.mending().new_inode(tx, NodeKind::File, mode, owner, &dir)?;
        if let Some(like) = &like {
            inode.attr.mtime = like.attr.mtime;
            inode.meta.clone_from(&like.meta);
        }
        ns.mending().set_content(tx, &mut inode, &copy, allocated)?;
        lost::take_in(ns, tx, inode, &name).map(Some)
    });
    let lost: Vec<String> = content.lost.iter().map(|range| format!("{}-{}", range.start, range.end)).collect();
    Ok(done?.value.map(|done: String| format!("what can be read {done}; lost bytes: {}", lost.join(", "))))
}

/// The inode that gives owner and mode, and the items.
fn content_of(ns: &Namespace, owner: Owner) -> Result<Option<(Option<Inode>, Vec<Item>)>> {
    let inode = |ino: Ino| -> Result<Option<Inode>> {
        Ok(ns.store().get(&key::inode(ino))?.and_then(|entry| Inode::decode(ino, &entry.value).ok()))
    };
    Ok(match owner {
        Owner::Inode(ino) => inode(ino)?.map(|mut inode| {
            let items = std::mem::take(&mut inode.items);
            (Some(inode), items)
        }),
        Owner::Version(ino, version) => {
            let key = key::under(key::TABLE_VERSION, ino, &(!version).to_be_bytes());
            let record = ns.store().get(&key)?.and_then(|entry| Version::decode(&entry.value).ok());
            let like = inode(ino)?;
            record.map(|version| (like, version.items))
        }
        Owner::Part(upload, part) => {
            let key = key::under(key::TABLE_PART, Ino(upload), &part.to_be_bytes());
            let record = ns.store().get(&key)?.and_then(|entry| Part::decode(&entry.value).ok());
            record.map(|part| (None, part.items))
        }
    })
}

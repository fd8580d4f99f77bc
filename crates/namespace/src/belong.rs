//! Assigning inodes to the bucket of the directory they are in, and recording their names in them. Used when a store of an earlier
//! format is upgraded, and by a repair.
//!
//! A file that has names in several buckets becomes one file per bucket, by reference: its names in one bucket lead to one inode, as
//! before. Repeated after a crash, the same entries lead to the same copies.

use strata_content::Tx;
use strata_seam::Ino;

use crate::domain::dedup_domain;
use crate::error::{Error, Result};
use crate::key;
use crate::name;
use crate::names;
use crate::namespace::Namespace;
use crate::records::{Beside, Dirent, Inode};
use crate::types::{NodeKind, ROOT_INO};
use crate::view::{View, decode_dirent};

/// Entries settled in one commit; in this crate's tests few, so that small trees take many.
const STEP: usize = if cfg!(test) { 2 } else { 64 };

/// What [`crate::Mending::take_over`] did with an entry so that it leads to an inode of its directory's bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// The inode belonged there, and had the name.
    Already,
    /// The inode it leads to belongs there now, or knows the name now.
    Whole,
    /// The entry leads to a copy now, because the inode belongs to another bucket in which it has names.
    Copied(Ino),
}

/// The bucket of what is in a directory: at the top a directory is the root of one, and anything else is in that of the files there.
pub(crate) fn bucket_for(dir: &Inode, ino: Ino, kind: NodeKind) -> Ino {
    if dir.attr.ino == ROOT_INO && kind == NodeKind::Directory { ino } else { dir.bucket }
}

/// Whether an inode is in the bucket and the quota tree of a directory that it is in.
pub fn belongs(dir: &Inode, inode: &Inode) -> bool {
    inode.bucket == bucket_for(dir, inode.attr.ino, inode.attr.kind)
        && (dir.attr.ino == ROOT_INO || inode.tree == dir.tree)
}

/// Within a change: has the entry lead to an inode of the bucket and quota tree of `dir`, which knows the name.
pub(crate) fn take_over(ns: &Namespace, tx: &mut Tx<'_>, dir: &Inode, entry_name: &[u8]) -> Result<Taken> {
    take_over_as(ns, tx, dir, entry_name, Copies::OnePerBucket)
}

/// Makes the entry lead to an inode of its directory's bucket, in a store that is in use. If the file has names in another bucket too,
/// each name in this one becomes a separate file: a file that one of them was copied to before may have been written since.
pub(crate) fn take_over_alone(ns: &Namespace, tx: &mut Tx<'_>, dir: &Inode, entry_name: &[u8]) -> Result<Taken> {
    take_over_as(ns, tx, dir, entry_name, Copies::OnePerName)
}

/// What the names in one bucket of a file lead to that stays in another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    OnePerBucket,
    OnePerName,
}

fn take_over_as(ns: &Namespace, tx: &mut Tx<'_>, dir: &Inode, entry_name: &[u8], copies: Copies) -> Result<Taken> {
    let parent = dir.attr.ino;
    let Some(dirent) = tx.entry(parent, entry_name)? else { return Ok(Taken::Already) };
    let Some(mut inode) = tx.find_inode(dirent.ino)? else { return Ok(Taken::Already) };
    if inode.beside == Beside::UNKNOWN {
        inode.beside = beside_of(tx, dirent.ino)?;
    }
    if name::is_dir(entry_name) && tx.any_entry(parent, name::raw(entry_name))?.is_none() {
        tx.put(key::entry(parent, name::raw(entry_name)), Dirent::placeholder(dirent.ino).encode());
    }
    if belongs(dir, &inode) {
        let learnt = learn(ns, tx, &mut inode, parent, entry_name)?;
        return Ok(if learnt { Taken::Whole } else { Taken::Already });
    }
    let bucket = bucket_for(dir, inode.attr.ino, inode.attr.kind);
    let shared = inode.bucket != Ino(0) && inode.attr.kind != NodeKind::Directory && inode.attr.nlink > 1;
    if !shared {
        (inode.bucket, inode.tree) = (bucket, dir.tree);
        if !learn(ns, tx, &mut inode, parent, entry_name)? {
            ns.put_inode(tx, &mut inode);
        }
        return Ok(Taken::Whole);
    }
    let copy_key = key::copy_for(inode.attr.ino, bucket);
    let known = if copies == Copies::OnePerBucket { tx.record(&copy_key)? } else { None };
    let known = known.and_then(|ino| Some(Ino(u64::from_be_bytes(ino.try_into().ok()?))));
    let copy = match known {
        Some(copy) => tx.find_inode(copy)?,
        None => None,
    };
    let mut copy = match copy {
        Some(mut copy) => {
            copy.attr.nlink += 1;
            copy
        }
        None => copy_of(ns, tx, &inode, dir, bucket)?,
    };
    names::add(tx, &mut copy, parent, entry_name);
    ns.put_inode(tx, &mut copy);
    let copied = copy.attr.ino;
    if copies == Copies::OnePerBucket {
        tx.put(copy_key, copied.0.to_be_bytes().to_vec());
    }
    inode.attr.nlink -= 1;
    names::remove(tx, &mut inode, parent, entry_name);
    names::adopt(tx, &mut inode)?;
    ns.put_inode(tx, &mut inode);
    tx.put(key::entry(parent, entry_name), Dirent { ino: copied, ..dirent }.encode());
    Ok(Taken::Copied(copied))
}

/// Which tables have records of an inode.
fn beside_of(tx: &mut Tx<'_>, ino: Ino) -> Result<Beside> {
    let mut beside = Beside::default();
    for table in [key::TABLE_XATTR, key::TABLE_PROPERTY, key::TABLE_VERSION] {
        let any = !tx.records(&key::under(table, ino, &[]), &key::behind(table, ino), 1)?.is_empty();
        if let Some(has) = beside.of(table) {
            *has = any;
        }
    }
    Ok(beside)
}

/// A new inode with everything the other has, for one name; not yet written.
fn copy_of(ns: &Namespace, tx: &mut Tx<'_>, inode: &Inode, dir: &Inode, bucket: Ino) -> Result<Inode> {
    let mut copy = Inode { items: Vec::new(), counted: None, bucket, tree: dir.tree, ..inode.clone() };
    copy.attr.ino = Ino(ns.numbers.draw(tx)?);
    copy.attr.nlink = 1;
    copy.unname();
    copy.beside.versions = false;
    tx.tally(key::KEY_INODES, 1);
    if inode.attr.kind == NodeKind::File {
        let content = ns.store.content(dedup_domain(bucket), inode.items.clone())?;
        ns.set_content(tx, &mut copy, &content, inode.attr.allocated)?;
        copy.version = inode.version;
    }
    for table in [key::TABLE_XATTR, key::TABLE_PROPERTY] {
        let (from, to) = (key::under(table, inode.attr.ino, &[]), key::behind(table, inode.attr.ino));
        for (key, value) in tx.records(&from, &to, usize::MAX >> 1)? {
            tx.put(key::under(table, copy.attr.ino, &key[9..]), value);
        }
    }
    Ok(copy)
}

/// Has every entry below `top` lead to an inode of its directory's bucket, in many commits, from the top down. `told` hears of each
/// that changed: what became of it, and its path from `top`.
///
/// # Errors
/// Those of the store; what was done stays, and the rest is done by calling again.
pub(crate) fn take_over_below(
    ns: &Namespace,
    top: Ino,
    told: &mut dyn FnMut(Taken, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut dirs = vec![(top, Vec::new())];
    while let Some((dir, path)) = dirs.pop() {
        let (mut from, end) = (key::entry(dir, &[]), key::behind(key::TABLE_ENTRY, dir));
        loop {
            let page = ns.store.range(&from, &end, STEP)?;
            let Some((last, _)) = page.last() else { break };
            from.clone_from(last);
            from.push(0);
            for (key, entry) in &page {
                let dirent = decode_dirent(dir, &entry.value)?;
                if name::is_dir(key) {
                    dirs.push((dirent.ino, below(&path, &key[9..])));
                }
            }
            ns.numbers.have_at_hand(&ns.store, STEP as u64)?;
            let done = ns.store.transact_as_removal(|tx| {
                let inode = tx.dir(dir)?;
                page.iter().map(|(key, _)| take_over(ns, tx, &inode, &key[9..])).collect::<Result<Vec<_>, Error>>()
            })?;
            for ((key, _), what) in page.iter().zip(done.value).filter(|(_, what)| *what != Taken::Already) {
                told(what, &below(&path, &key[9..]))?;
            }
        }
    }
    Ok(())
}

/// The path of an entry of the directory at `path`.
pub(crate) fn below(path: &[u8], entry_name: &[u8]) -> Vec<u8> {
    let name = name::raw(entry_name);
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// Has an inode that a store of an earlier version has, or that a repair found without, know this name; `false` if it did.
/// Writes it.
///
/// # Errors
/// Reading the index.
fn learn(ns: &Namespace, tx: &mut Tx<'_>, inode: &mut Inode, parent: Ino, entry_name: &[u8]) -> Result<bool> {
    if inode.is_called(parent, entry_name) {
        return Ok(false);
    }
    if inode.is_named() {
        if tx.record(&key::name(inode.attr.ino, parent, entry_name))?.is_some() {
            return Ok(false);
        }
        names::add(tx, inode, parent, entry_name);
        return Ok(true);
    }
    names::add(tx, inode, parent, entry_name);
    ns.put_inode(tx, inode);
    Ok(true)
}

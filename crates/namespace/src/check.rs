//! The invariants of the name space as predicates, over a store at rest: what `strata fsck` and the tests run.

use std::collections::HashMap;

use strata_content::{Audit, Item};
use strata_seam::Ino;

use crate::error::Result;
use crate::key;
use crate::name;
use crate::namespace::Namespace;
use crate::record::{Bucket, Dirent, Inode, Part, Version};
use crate::types::{NodeKind, ROOT_INO};

/// Records read per step.
const STEP: usize = 1024;

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    /// Inodes looked at.
    pub inodes: u64,
    /// Directory entries looked at.
    pub entries: u64,
    /// Chunks looked at.
    pub chunks: u64,
    /// What is wrong: the invariant's id and a sentence each. Empty is good.
    pub violations: Vec<String>,
}

/// What the check remembers of an inode: 40 bytes each.
struct Seen {
    kind: NodeKind,
    nlink: u32,
    parent: Ino,
    names: u32,
    subdirs: u32,
}

/// Checks every record of the name space, and every reference; with `contents` also every chunk's bytes.
///
/// The store must be at rest: changes made meanwhile may be reported as violations. `progress` is told how many records
/// were looked at.
///
/// # Errors
/// Reading the index. What is wrong with the data is in the report.
pub fn check_store(ns: &Namespace, contents: bool, progress: &mut dyn FnMut(u64)) -> Result<CheckReport> {
    let mut check = Check { ns, report: CheckReport::default(), seen: HashMap::new(), done: 0, progress };
    let mut audit = Audit::new(&ns.store)?;
    check.inodes(&mut audit)?;
    check.entries()?;
    check.buckets()?;
    check.owners(&mut audit)?;
    check.links();
    check.tally()?;
    let Check { mut report, done, progress, .. } = check;
    report.chunks = audit.finish(contents, |chunks| progress(done + chunks))?;
    report.violations.append(&mut audit.violations);
    Ok(report)
}

struct Check<'a> {
    ns: &'a Namespace,
    report: CheckReport,
    seen: HashMap<Ino, Seen>,
    done: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl Check<'_> {
    fn each(&mut self, table: u8, mut visit: impl FnMut(&mut Self, &[u8], &[u8])) -> Result<()> {
        let mut from = vec![table];
        loop {
            let page = self.ns.store.range(&from, &[table + 1], STEP)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from.clone_from(last);
            from.push(0);
            for (key, entry) in &page {
                visit(self, &key[1..], &entry.value);
            }
            self.done += page.len() as u64;
            (self.progress)(self.done);
        }
    }

    fn wrong(&mut self, what: String) {
        self.report.violations.push(what);
    }

    fn inodes(&mut self, audit: &mut Audit) -> Result<()> {
        self.each(key::TABLE_INODE, |check, key, value| {
            let Some(ino) = number(key) else { return check.wrong("TREE: an inode has a malformed key".to_owned()) };
            let Ok(inode) = Inode::decode(ino, value) else {
                return check.wrong(format!("TREE: inode {ino} does not decode"));
            };
            check.report.inodes += 1;
            let len: u64 = inode.items.iter().map(|item: &Item| item.len).sum();
            if inode.attr.kind == NodeKind::File && len != inode.attr.size {
                check.wrong(format!("TREE: inode {ino} has size {} but content of {len} bytes", inode.attr.size));
            }
            audit.owner(&inode.items);
            let seen =
                Seen { kind: inode.attr.kind, nlink: inode.attr.nlink, parent: inode.parent, names: 0, subdirs: 0 };
            check.seen.insert(ino, seen);
        })
    }

    fn entries(&mut self) -> Result<()> {
        self.each(key::TABLE_ENTRY, |check, key, value| {
            let (Some(parent), Ok(dirent)) = (number(key), Dirent::decode(value)) else {
                return check.wrong("TREE: a directory entry is malformed".to_owned());
            };
            check.report.entries += 1;
            let entry_name = &key[8..];
            let shown = entry_name.escape_ascii().to_string();
            let directory = name::is_dir(entry_name);
            match check.seen.get_mut(&parent) {
                Some(dir) if dir.kind == NodeKind::Directory => dir.subdirs += u32::from(directory),
                _ => check.wrong(format!("TREE: entry '{shown}' is in inode {parent}, which is no directory")),
            }
            match check.seen.get_mut(&dirent.ino) {
                Some(seen) => {
                    seen.names += 1;
                    let (kind, found_parent) = (seen.kind, seen.parent);
                    if kind != dirent.kind || directory != (kind == NodeKind::Directory) {
                        check.wrong(format!(
                            "TREE: entry '{shown}' of {parent} says another kind than inode {}",
                            dirent.ino
                        ));
                    }
                    if directory && found_parent != parent {
                        check.wrong(format!("TREE: directory {} is in {parent} but names {found_parent}", dirent.ino));
                    }
                }
                None => check
                    .wrong(format!("TREE: entry '{shown}' of {parent} leads to inode {}, which is gone", dirent.ino)),
            }
            let beside = check.ns.store.get(&key::entry(parent, &[entry_name, b"/"].concat()));
            if !directory && matches!(&beside, Ok(found) if found.is_some() != dirent.shadowed) {
                check.wrong(format!("TREE: entry '{shown}' of {parent} has the wrong mark for a directory beside it"));
            }
        })
    }

    fn buckets(&mut self) -> Result<()> {
        let mut count = 0;
        self.each(key::TABLE_BUCKET, |check, key, value| {
            count += 1;
            let shown = key.escape_ascii().to_string();
            let Ok(bucket) = Bucket::decode(value) else {
                return check.wrong(format!("TREE: bucket '{shown}' does not decode"));
            };
            let entry = check.ns.store.get(&key::entry(ROOT_INO, &[key, b"/"].concat()));
            let leads =
                entry.ok().flatten().and_then(|entry| Dirent::decode(&entry.value).ok()).map(|dirent| dirent.ino);
            if leads != Some(bucket.root) {
                check.wrong(format!("TREE: bucket '{shown}' and the root's entry disagree"));
            }
        })?;
        if self.seen.get(&ROOT_INO).is_some_and(|root| root.subdirs != count) {
            self.wrong("TREE: the root has a directory that is no bucket".to_owned());
        }
        Ok(())
    }

    fn owners(&mut self, audit: &mut Audit) -> Result<()> {
        self.each(key::TABLE_PART, |check, _, value| match Part::decode(value) {
            Ok(part) => audit.owner(&part.items),
            Err(_) => check.wrong("TREE: a part of an upload does not decode".to_owned()),
        })?;
        self.each(key::TABLE_VERSION, |check, _, value| match Version::decode(value) {
            Ok(version) => audit.owner(&version.items),
            Err(_) => check.wrong("TREE: an earlier version does not decode".to_owned()),
        })
    }

    fn tally(&mut self) -> Result<()> {
        let counted = self.ns.space(&crate::Op::new(crate::Caller::root(crate::Door::Admin)))?.inodes;
        if counted != self.report.inodes {
            self.wrong(format!("TREE: {counted} inodes are counted, {} exist", self.report.inodes));
        }
        Ok(())
    }

    fn links(&mut self) {
        let mut wrong = Vec::new();
        for (ino, seen) in &self.seen {
            let expected = match seen.kind {
                NodeKind::Directory => 2 + seen.subdirs,
                _ => seen.names,
            };
            if seen.nlink != expected {
                wrong.push(format!("TREE: inode {ino} counts {} links, {expected} exist", seen.nlink));
            }
            let unlinked =
                || self.ns.store.get(&key::under(key::TABLE_UNLINKED, *ino, &[])).is_ok_and(|mark| mark.is_some());
            if seen.names == 0 && *ino != ROOT_INO && !unlinked() {
                wrong.push(format!("TREE: inode {ino} has no name"));
            }
            if seen.kind == NodeKind::Directory && seen.names > 1 {
                wrong.push(format!("TREE: directory {ino} has {} names", seen.names));
            }
        }
        wrong.sort();
        self.report.violations.append(&mut wrong);
    }
}

fn number(key: &[u8]) -> Option<Ino> {
    key.first_chunk::<8>().map(|bytes| Ino(u64::from_be_bytes(*bytes)))
}

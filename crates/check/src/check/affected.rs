//! From chunks that cannot be read to the content that needs them: which file, which bytes of it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use strata_content::{Item, Source, Store};
use strata_seam::{ChunkId, Ino};

use super::owners;
use super::report::Teller;
use super::tree::{each, number, table};
use strata_namespace::checking::{is_dir, raw};
use strata_namespace::records::{Dirent, key};
use strata_namespace::{Namespace, ROOT_INO, Result};

/// Content named at most; further content is left out.
const AFFECTED_MAX: usize = 10_000;
/// Bad ranges named per content; beyond, the last one reaches to the end of the last.
const RANGES_MAX: usize = 1000;
/// Deepest manifest and deepest path followed.
const DEPTH_MAX: usize = 1 << 12;

/// What holds content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Owner {
    /// The present content of an inode.
    Inode(Ino),
    /// An earlier version of it: inode, version.
    Version(Ino, u64),
    /// A part of an unfinished upload: upload, part.
    Part(u64, u32),
}

/// Content some of whose bytes cannot be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Affected {
    /// What holds it.
    pub owner: Owner,
    /// One of its names as `bucket/path`, if it has any.
    pub path: Option<String>,
    /// Its length in bytes.
    pub len: u64,
    /// The bytes that cannot be read.
    pub lost: Vec<Range<u64>>,
}

pub(super) fn affected(
    ns: &Namespace,
    chunks: &HashSet<ChunkId>,
    teller: &mut Teller<'_>,
) -> Result<Option<Vec<Affected>>> {
    let mut found = Vec::new();
    let mut search = Search { store: ns.store(), chunks, clean: HashSet::new() };
    let going = owners(ns, teller, &mut |owner, items| {
        let mut lost = Vec::new();
        search.look(items, 0, 0, &mut lost);
        if !lost.is_empty() && found.len() < AFFECTED_MAX {
            found.push(Affected { owner, path: None, len: strata_content::items_len(items), lost });
        }
        Ok(())
    })?;
    if !going {
        return Ok(None);
    }
    if !found.is_empty() {
        let Some(uploads) = uploads(ns.store(), &found, teller)? else { return Ok(None) };
        let inodes = found.iter().filter_map(|affected| ino_of(affected.owner));
        let wanted = inodes.chain(uploads.values().map(|(bucket, _)| *bucket)).collect();
        let Some(paths) = paths(ns.store(), &wanted, teller)? else { return Ok(None) };
        for affected in &mut found {
            affected.path = match affected.owner {
                Owner::Inode(ino) | Owner::Version(ino, _) => paths.get(&ino).cloned(),
                Owner::Part(upload, number) => uploads.get(&upload).map(|(bucket, key)| {
                    let bucket = paths.get(bucket).map_or("", String::as_str);
                    format!("{bucket}/{key} (part {number} of the unfinished upload {upload:016x})")
                }),
            };
        }
    }
    Ok(Some(found))
}

fn ino_of(owner: Owner) -> Option<Ino> {
    match owner {
        Owner::Inode(ino) | Owner::Version(ino, _) => Some(ino),
        Owner::Part(..) => None,
    }
}

/// The bucket's directory and the key of each upload whose parts are among these.
fn uploads(store: &Store, found: &[Affected], teller: &mut Teller<'_>) -> Result<Option<HashMap<u64, (Ino, String)>>> {
    let wanted: HashSet<u64> = found
        .iter()
        .filter_map(|affected| match affected.owner {
            Owner::Part(upload, _) => Some(upload),
            Owner::Inode(_) | Owner::Version(..) => None,
        })
        .collect();
    let mut uploads = HashMap::new();
    if wanted.is_empty() {
        return Ok(Some(uploads));
    }
    let going = each(store, table(key::TABLE_UPLOAD), teller, |at, _| {
        if let (Some(bucket), Some((name, id))) = (number(&at[1..]), at.get(9..).and_then(key::split_terminated))
            && let Some(id) = number(id).filter(|id| wanted.contains(&id.0))
        {
            uploads.insert(id.0, (bucket, String::from_utf8_lossy(&name).into_owned()));
        }
        Ok(())
    })?;
    Ok(going.then_some(uploads))
}

/// One of the names of each of these inodes.
fn paths(store: &Store, wanted: &HashSet<Ino>, teller: &mut Teller<'_>) -> Result<Option<HashMap<Ino, String>>> {
    let mut places: HashMap<Ino, (Ino, Vec<u8>)> = HashMap::new();
    let going = each(store, table(key::TABLE_ENTRY), teller, |key, value| {
        if let (Some(parent), Ok(dirent)) = (number(&key[1..]), Dirent::decode(value)) {
            let name = &key[9..];
            if is_dir(name) || wanted.contains(&dirent.ino) {
                places.entry(dirent.ino).or_insert_with(|| (parent, raw(name).to_vec()));
            }
        }
        Ok(())
    })?;
    Ok(going.then(|| wanted.iter().filter_map(|ino| Some((*ino, path(&places, *ino)?))).collect()))
}

fn path(places: &HashMap<Ino, (Ino, Vec<u8>)>, ino: Ino) -> Option<String> {
    let mut parts = Vec::new();
    let mut at = ino;
    while at != ROOT_INO && parts.len() < DEPTH_MAX {
        let (parent, name) = places.get(&at)?;
        parts.push(String::from_utf8_lossy(name).into_owned());
        at = *parent;
    }
    parts.reverse();
    Some(parts.join("/"))
}

struct Search<'a> {
    store: &'a Store,
    chunks: &'a HashSet<ChunkId>,
    /// Pages below which nothing is lost.
    clean: HashSet<ChunkId>,
}

impl Search<'_> {
    /// Adds the ranges of `items`, which begin at `start`, that cannot be read. Whether there are any.
    fn look(&mut self, items: &[Item], start: u64, depth: usize, lost: &mut Vec<Range<u64>>) -> bool {
        let mut start = start;
        let mut any = false;
        for item in items {
            let range = start..start + item.len;
            start = range.end;
            let bad = match item.source {
                Source::Hole => false,
                Source::Chunk { id, .. } => self.chunks.contains(&id),
                Source::Page { id, .. } if self.clean.contains(&id) => false,
                Source::Page { id, .. } => match self.store.page(&id) {
                    Ok(node) if depth < DEPTH_MAX && !self.chunks.contains(&id) => {
                        if self.look(node.items(), range.start, depth + 1, lost) {
                            any = true;
                        } else {
                            self.clean.insert(id);
                        }
                        false
                    }
                    _ => true,
                },
            };
            if bad {
                any = true;
                push(lost, range);
            }
        }
        any
    }
}

fn push(lost: &mut Vec<Range<u64>>, range: Range<u64>) {
    let full = lost.len() >= RANGES_MAX;
    match lost.last_mut() {
        Some(last) if last.end == range.start || full => last.end = range.end,
        _ => lost.push(range),
    }
}

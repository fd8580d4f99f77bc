//! Where something is, as locks know it: its bucket and the key there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use strata_seam::Ino;

use crate::error::{ErrorKind, Result};
use crate::key;
use crate::name;
use crate::names::{self, Path};
use crate::records::Inode;
use crate::types::ROOT_INO;
use crate::view::{View, damaged};

/// Most walks in search of one inode while others move it.
const WALKS_MAX: usize = 8;
/// Names of a file read at once.
const NAMES_STEP: usize = 256;

/// A place in the tree. What is below a directory has a key that begins with the directory's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Place {
    /// The root directory of the bucket, which for a file at the top is the root of the tree; 0 for that root itself.
    pub(crate) bucket: Ino,
    /// As S3 has it: of a directory with `/` at its end, of a bucket's root directory empty.
    pub(crate) key: Vec<u8>,
}

impl From<Path> for Place {
    fn from(Path { bucket, key }: Path) -> Self {
        if bucket == ROOT_INO && key.is_empty() { Self::ROOT } else { Self { bucket, key } }
    }
}

impl Place {
    /// The root of the tree, which holds the buckets and the files at the top.
    pub(crate) const ROOT: Self = Self { bucket: Ino(0), key: Vec::new() };

    pub(crate) fn is_root(&self) -> bool {
        self.bucket == Ino(0)
    }

    /// Whether anything can be below it.
    pub(crate) fn is_dir(&self) -> bool {
        self.key.last().is_none_or(|byte| *byte == b'/')
    }

    /// What has this entry name in it. Of the root of the tree a directory is the bucket with this root directory.
    pub(crate) fn entry(&self, entry_name: &[u8], ino: Ino) -> Self {
        if self.is_root() {
            return match name::is_dir(entry_name) {
                true => Self { bucket: ino, key: Vec::new() },
                false => Self { bucket: ROOT_INO, key: entry_name.to_vec() },
            };
        }
        Self { bucket: self.bucket, key: [&self.key, entry_name].concat() }
    }

    /// Whether `other` is this place or below it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.is_root()
            || self.bucket == other.bucket
                && (self.key == other.key || self.is_dir() && other.key.starts_with(&self.key))
    }

    /// This place and the directories above it, outermost first.
    pub(crate) fn lineage(&self) -> impl Iterator<Item = Self> {
        let root = (!self.is_root()).then_some(Self::ROOT);
        let ends = self.key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
        // The bucket's root directory has the empty key; a key that is no directory's ends behind its last slash.
        let own = (!self.is_dir()).then_some(self.key.len());
        let ends: Vec<usize> = std::iter::once(0).chain(ends).chain(own).collect();
        root.into_iter().chain(ends.into_iter().map(|end| Self { bucket: self.bucket, key: self.key[..end].to_vec() }))
    }
}

/// Where a directory is.
///
/// # Errors
/// [`ErrorKind::Stale`] where it is gone; reading the index; a tree that leads nowhere.
pub(crate) fn of_dir(view: &mut impl View, dir: &Inode) -> Result<Place> {
    steadily(view, dir, |view, dir| {
        let path = names::path(view, dir)?;
        path.map(Place::from).ok_or_else(|| damaged(format!("the directories above inode {}", dir.attr.ino)))
    })
}

/// Where an inode is, by each of its names; nowhere if it has none any more.
///
/// # Errors
/// As [`of_dir`].
pub(crate) fn all_of(view: &mut impl View, inode: &Inode) -> Result<Vec<Place>> {
    steadily(view, inode, |view, inode| {
        let mut places: Vec<Place> = names::path(view, inode)?.map(Place::from).into_iter().collect();
        if inode.attr.nlink < 2 || inode.is_directory() {
            return Ok(places);
        }
        let ino = inode.attr.ino;
        let mut dirs: HashMap<Ino, Option<Place>> = HashMap::new();
        let (mut from, end) = (key::under(key::TABLE_NAME, ino, &[]), key::behind(key::TABLE_NAME, ino));
        loop {
            let page = view.records(&from, &end, NAMES_STEP)?;
            for (key, _) in &page {
                let (parent, entry_name) =
                    key::of_name(key).ok_or_else(|| damaged(format!("a name of inode {ino}")))?;
                let above = match dirs.entry(parent) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(unknown) => {
                        let dir = view.dir(parent)?;
                        unknown.insert(names::path(view, &dir)?.map(Place::from))
                    }
                };
                places.extend(above.as_ref().map(|above| above.entry(entry_name, ino)));
            }
            match page.last() {
                Some((last, _)) if page.len() == NAMES_STEP => {
                    from.clone_from(last);
                    from.push(0);
                }
                _ => return Ok(places),
            }
        }
    })
}

/// Outside of a change an inode may be moved, and the directory it was in removed, between two steps of a walk. Then it is looked
/// at again.
fn steadily<V: View, T>(view: &mut V, inode: &Inode, walk: impl Fn(&mut V, &Inode) -> Result<T>) -> Result<T> {
    let mut walked = walk(view, inode);
    for _ in 0..WALKS_MAX {
        match walked {
            Err(error) if error.kind == ErrorKind::Stale => {
                let again = view.inode(inode.attr.ino)?;
                walked = walk(view, &again);
            }
            walked => return walked,
        }
    }
    walked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(key: &str) -> Place {
        Place { bucket: Ino(9), key: key.into() }
    }

    #[test]
    fn a_lineage_runs_from_the_root_of_the_tree_down() {
        let keys = |place: Place| -> Vec<_> { place.lineage().map(|at| (at.bucket.0, at.key)).collect() };
        assert_eq!(
            keys(at("a/b/c")),
            [(0, b"".to_vec()), (9, b"".to_vec()), (9, b"a/".to_vec()), (9, b"a/b/".to_vec()), (9, b"a/b/c".to_vec())]
        );
        assert_eq!(keys(at("a/")), [(0, b"".to_vec()), (9, b"".to_vec()), (9, b"a/".to_vec())]);
        assert_eq!(keys(at("")), [(0, b"".to_vec()), (9, b"".to_vec())]);
        assert_eq!(keys(Place::ROOT), [(0, b"".to_vec())]);
        let file = Place::ROOT.entry(b"file", Ino(7));
        assert_eq!(keys(file.clone()), [(0, b"".to_vec()), (1, b"".to_vec()), (1, b"file".to_vec())]);
        assert!(Place::ROOT.covers(&file) && !at("").covers(&file));
        assert_eq!(Place::ROOT.entry(b"folder/", Ino(9)), at(""));
        assert_eq!(Place::from(Path { bucket: ROOT_INO, key: Vec::new() }), Place::ROOT);
        // Inner names may be empty at S3.
        assert_eq!(at("a//b").lineage().count(), 5);
    }

    #[test]
    fn covering_stops_at_names_and_at_buckets() {
        assert!(at("a/").covers(&at("a/b")));
        assert!(at("").covers(&at("a/b/")));
        assert!(Place::ROOT.covers(&at("a")));
        assert!(!at("a").covers(&at("a/")), "an object is not the directory beside it");
        assert!(!at("a").covers(&at("ab")));
        assert!(!at("a/").covers(&Place { bucket: Ino(8), key: b"a/b".to_vec() }));
    }
}

//! The names of an inode, found from the inode.
//!
//! An inode's record has one of its names: the directory and the entry name there. Further names of a file, its hard links, are
//! rows of their own under its number. So a path is found from any inode, also from an NFS handle, without a walk through the
//! tree. Code that adds or removes an entry writes both sides in the same commit (`Namespace::add_entry`).

use strata_content::Tx;
use strata_seam::Ino;

use crate::error::Result;
use crate::key;
use crate::records::Inode;
use crate::types::ROOT_INO;
use crate::view::{View, damaged};

/// Deepest tree that is followed upwards; the doors' limits on paths are far below.
const DEPTH_MAX: usize = 1 << 16;

/// Where an inode is: its bucket, and the key in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    /// The root directory of the bucket: the root of the tree for itself and for the files there.
    pub(crate) bucket: Ino,
    /// As S3 has it: of a directory with `/` at its end, of a bucket's root directory empty.
    pub(crate) key: Vec<u8>,
}

impl Inode {
    /// Whether the record has a name. Records of earlier versions have none, but for the parents of directories.
    pub fn is_named(&self) -> bool {
        self.parent != Ino(0) && (!self.name.is_empty() || !self.is_directory())
    }

    /// Whether the record has this name.
    pub fn is_called(&self, parent: Ino, entry_name: &[u8]) -> bool {
        self.is_named() && self.parent == parent && self.name == entry_name
    }

    /// Has the record have no name.
    pub fn unname(&mut self) {
        self.parent = Ino(0);
        self.name.clear();
    }
}

/// An entry leads to the inode from now on. The caller writes the inode.
pub(crate) fn add(tx: &mut Tx<'_>, inode: &mut Inode, parent: Ino, entry_name: &[u8]) {
    if inode.is_named() {
        tx.put(key::name(inode.attr.ino, parent, entry_name), Vec::new());
    } else {
        inode.parent = parent;
        inode.name = entry_name.to_vec();
    }
}

/// An entry no longer leads to the inode. The caller writes the inode, or removes it.
pub(crate) fn remove(tx: &mut Tx<'_>, inode: &mut Inode, parent: Ino, entry_name: &[u8]) {
    if inode.is_called(parent, entry_name) {
        inode.unname();
    } else {
        tx.delete(key::name(inode.attr.ino, parent, entry_name));
    }
}

/// Has the record have a name again if the inode has any left. The caller writes the inode.
///
/// # Errors
/// Reading the index.
pub(crate) fn adopt(tx: &mut Tx<'_>, inode: &mut Inode) -> Result<()> {
    if inode.is_named() {
        return Ok(());
    }
    let ino = inode.attr.ino;
    if let Some((key, _)) =
        tx.records(&key::under(key::TABLE_NAME, ino, &[]), &key::behind(key::TABLE_NAME, ino), 1)?.pop()
    {
        let Some((parent, entry_name)) = key::of_name(&key) else {
            return Err(damaged(format!("a name of inode {ino}")));
        };
        inode.parent = parent;
        inode.name = entry_name.to_vec();
        tx.delete(key);
    }
    Ok(())
}

/// Where the inode is, by one of its names; `None` where it has none any more.
///
/// # Errors
/// Reading the index; a tree that leads nowhere.
pub(crate) fn path<V: View + ?Sized>(view: &mut V, inode: &Inode) -> Result<Option<Path>> {
    let ino = inode.attr.ino;
    if ino == ROOT_INO || inode.parent == ROOT_INO && inode.is_directory() {
        return Ok(Some(Path { bucket: ino, key: Vec::new() }));
    }
    if !inode.is_named() {
        return Ok(None);
    }
    if inode.parent == ROOT_INO {
        return Ok(Some(Path { bucket: ROOT_INO, key: inode.name.clone() }));
    }
    let mut names = vec![inode.name.clone()];
    let mut at = inode.parent;
    for _ in 0..DEPTH_MAX {
        let dir = view.dir(at)?;
        if dir.parent == ROOT_INO {
            names.reverse();
            return Ok(Some(Path { bucket: dir.attr.ino, key: names.concat() }));
        }
        names.push(dir.name);
        at = dir.parent;
    }
    Err(damaged(format!("the directories above inode {ino}")))
}

#[cfg(test)]
mod tests;

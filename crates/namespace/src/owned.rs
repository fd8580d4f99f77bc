//! Which user owns what, for operators.

use strata_seam::Ino;

use crate::authority::{Action, Resource};
use crate::error::Result;
use crate::key;
use crate::name;
use crate::namespace::Namespace;
use crate::types::{NodeKind, Op, ROOT_INO};
use crate::view::{View, decode_dirent};

/// Entries read at once.
const STEP: usize = 1000;

/// What of a bucket belongs to somebody.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Owned {
    /// What S3 calls the bucket.
    pub bucket: String,
    /// Files and directories in it, itself included.
    pub count: u64,
    /// The paths of some of them from the root, for people.
    pub first: Vec<String>,
}

impl Namespace {
    /// What belongs to `uid`, by bucket, with at most `shown` paths each. Reads the entry and the inode of everything.
    ///
    /// # Errors
    /// Reading the index.
    pub fn owned_by(&self, op: &Op, uid: u32, shown: usize) -> Result<Vec<Owned>> {
        self.authorize(op, Action::Administer, Resource::Store)?;
        let mut all = Vec::new();
        for bucket in self.buckets(op)? {
            let mut owned = Owned { bucket: bucket.name.clone(), ..Owned::default() };
            let here = format!("/{}", bucket.folder.escape_ascii());
            let root = self.getattr(op, bucket.root)?;
            owned.note(root.uid == uid, shown, || here.clone());
            let mut dirs = vec![(bucket.root, if bucket.is_top() { here } else { here + "/" })];
            while let Some((dir, path)) = dirs.pop() {
                self.owned_in(op, uid, shown, (dir, &path), &mut dirs, &mut owned)?;
            }
            if owned.count > 0 {
                all.push(owned);
            }
        }
        Ok(all)
    }

    fn owned_in(
        &self,
        op: &Op,
        uid: u32,
        shown: usize,
        (dir, path): (Ino, &str),
        dirs: &mut Vec<(Ino, String)>,
        owned: &mut Owned,
    ) -> Result<()> {
        let mut from = key::entry(dir, &[]);
        loop {
            let mut snap = self.snap(op);
            let page = snap.entries(&from, &key::behind(key::TABLE_ENTRY, dir), STEP)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from.clone_from(last);
            from.push(0);
            // Folders at the top are buckets of their own.
            for (key, value) in page.iter().filter(|(key, _)| dir != ROOT_INO || !name::is_dir(key)) {
                let dirent = decode_dirent(dir, value)?;
                // Removed since the page was read: nobody owns it.
                let Some(inode) = snap.find_inode(dirent.ino)? else { continue };
                let here = || format!("{path}{}", name::raw(&key[9..]).escape_ascii());
                owned.note(inode.attr.uid == uid, shown, here);
                if inode.attr.kind == NodeKind::Directory {
                    dirs.push((dirent.ino, format!("{}/", here())));
                }
            }
        }
    }
}

impl Owned {
    fn note(&mut self, theirs: bool, shown: usize, path: impl FnOnce() -> String) {
        if theirs {
            self.count += 1;
            if self.first.len() < shown {
                self.first.push(path());
            }
        }
    }
}

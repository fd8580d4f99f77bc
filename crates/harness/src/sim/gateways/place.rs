//! Where a step is taken.

use strata_namespace::{Namespace, NodeKind, TOP_NAME_DEFAULT};
use strata_seam::Ino;
use strata_seam::sim::SimRng;

use super::super::rig::root;
use super::locking::Touched;

/// Buckets that come and go.
pub(super) const BUCKETS: [&str; 2] = ["one", "two"];
/// The folder of a desktop's trash, which nobody takes away.
pub(super) const TRASH: &str = ".Trash-0";
/// Folders at the top that places are in.
const FOLDERS: [&str; 3] = [BUCKETS[0], BUCKETS[1], TRASH];
/// Names at the top: of files, of folders that S3 calls so, and of others.
const AT_TOP: [&str; 4] = ["a", "one", "My Files", "loose"];

fn key(rng: &mut SimRng) -> String {
    let parts: Vec<&str> = (0..=rng.below(3)).map(|_| ["a", "b"][rng.below(2) as usize]).collect();
    parts.join("/")
}

/// A place: folder at the top, and a key of up to three parts there; or, in the folder behind the last, a name at the top of the tree.
#[derive(Clone, Debug)]
pub(super) struct Place(usize, pub(super) String);

impl Place {
    pub(super) fn of(rng: &mut SimRng) -> Self {
        if rng.one_in(4) {
            return Self(FOLDERS.len(), AT_TOP[rng.below(AT_TOP.len() as u64) as usize].to_owned());
        }
        let folder = rng.below(FOLDERS.len() as u64) as usize;
        Self(folder, key(rng))
    }

    /// One in the trash, most often in its folder itself.
    pub(super) fn in_trash(rng: &mut SimRng) -> Self {
        let key = if rng.one_in(3) { key(rng) } else { ["a", "b"][rng.below(2) as usize].to_owned() };
        Self(FOLDERS.len() - 1, key)
    }

    /// What has this name in the trash, and is deeper there: a place that what was thrown away may have.
    pub(super) fn deep_in_trash(rng: &mut SimRng) -> Self {
        Self::in_trash(rng).below(rng)
    }

    /// The place with this path: of something in a bucket, or at the top.
    #[cfg(test)]
    pub(super) fn at(path: &str) -> Self {
        let inside = FOLDERS
            .iter()
            .enumerate()
            .find_map(|(at, bucket)| Some(Self(at, path.strip_prefix(bucket)?.strip_prefix('/')?.to_owned())));
        inside.unwrap_or_else(|| Self(FOLDERS.len(), path.to_owned()))
    }

    /// Something in it, if it can have anything.
    pub(super) fn below(&self, rng: &mut SimRng) -> Self {
        let name = ["a", "b"][rng.below(2) as usize];
        match (FOLDERS.get(self.0), FOLDERS.iter().position(|folder| *folder == self.1)) {
            (Some(_), _) => Self(self.0, format!("{}/{name}", self.1)),
            (None, Some(bucket)) => Self(bucket, name.to_owned()),
            (None, None) => self.clone(),
        }
    }

    /// What S3 calls the bucket. The trash has another name there, which nobody here uses.
    pub(super) fn bucket(&self) -> &'static str {
        FOLDERS.get(self.0).copied().unwrap_or(TOP_NAME_DEFAULT)
    }

    pub(super) fn key(&self) -> &[u8] {
        self.1.as_bytes()
    }

    fn path_of(&self, key: &str) -> String {
        FOLDERS.get(self.0).map_or_else(|| format!("/{key}"), |folder| format!("/{folder}/{key}"))
    }

    pub(super) fn path(&self) -> String {
        self.path_of(&self.1)
    }

    /// The path of the directory it is in, with `/` at the end.
    pub(super) fn dir(&self) -> String {
        let path = self.path();
        path[..=path.rfind('/').unwrap_or(0)].to_owned()
    }

    /// The directory it is in, and its name there.
    pub(super) fn split(&self, ns: &Namespace) -> Option<(Ino, &[u8])> {
        let (dir, name) = self.1.rsplit_once('/').unwrap_or(("", &self.1));
        let dir = ns.resolve(&root(), self.path_of(dir).as_bytes()).ok()?;
        Some((dir.ino, name.as_bytes()))
    }

    pub(super) fn ino(&self, ns: &Namespace) -> Option<Ino> {
        ns.resolve(&root(), self.path().as_bytes()).ok().map(|attr| attr.ino)
    }

    /// A file by its name at file doors, where that is what they find.
    pub(super) fn file(&self, ns: &Namespace) -> Option<Ino> {
        let attr = ns.resolve(&root(), self.path().as_bytes()).ok()?;
        (attr.kind == NodeKind::File).then_some(attr.ino)
    }

    /// What a change of this inode touches, which had the name before; nothing that is known where it has lost it meanwhile.
    pub(super) fn node(&self, ns: &Namespace, ino: Ino) -> Option<Touched> {
        (self.ino(ns) == Some(ino)).then(|| Touched::Below(self.path()))
    }

    /// What coming and going of this name touches.
    pub(super) fn name(&self) -> Touched {
        Touched::Members(self.dir())
    }
}

//! What is done to a store, one call of a door at a time: each step is one visible change or none.

use std::collections::{BTreeMap, BTreeSet};

use strata_content::ContentError;
use strata_ledger::PassOptions;
use strata_namespace::{
    Access, Condition, ContentSettings, Namespace, NewNode, NodeKind, ObjectMeta, Op, RenameMode, Result, SetAttr,
};
use strata_seam::Ino;
use strata_seam::sim::SimRng;

use super::mover::{Across, put_across, reclaim};
use super::rig::{BUCKET, noise};

/// A change, by the names of the tree in the bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// S3 PUT.
    Put(String, u64),
    /// S3 PUT with `If-None-Match: *`.
    PutAbsent(String, u64),
    /// Create an upload, put a part, complete it.
    Multipart(String, u64),
    /// Create an upload, put a part, give it up.
    Abort(String, u64),
    /// Take content in and drop it.
    Abandon(u64),
    /// S3 DELETE.
    Delete(String),
    /// S3 server-side copy.
    Copy(String, String),
    /// Make a directory.
    Mkdir(String),
    /// Make an empty file.
    Create(String),
    /// Open, write in the middle, sync, close.
    Write(String, u64),
    /// The same at the end.
    Append(String, u64),
    /// Cut or extend a file to a length below 40,000.
    Truncate(String, u64),
    /// Remove a name.
    Unlink(String),
    /// Remove a name while the file is open, and never close it.
    UnlinkOpen(String),
    /// Remove an empty directory.
    Rmdir(String),
    /// Rename a file or directory.
    Rename(String, String),
    /// Swap two files.
    Exchange(String, String),
    /// Add a name.
    Link(String, String),
    /// Change the mode.
    Chmod(String, u32),
    /// Let go what nobody owns.
    Collect,
    /// One round of the worker.
    Tend,
    /// Heal every frame.
    Heal,
    /// Read and verify every frame, and repair.
    Scrub,
    /// Write the index down, so that the log's start is no longer needed.
    Checkpoint,
    /// One reclaim of every segment: move what is wanted, take a checkpoint, free the rest.
    Reclaim,
    /// S3 PUT around a reclaim that finds its bytes idle: see [`Across`].
    PutAcross(String, u64, Across),
}

/// Paths of up to three levels; directories and files have names of their own, so that none is an alias.
fn dir(rng: &mut SimRng) -> String {
    let depth = rng.below(3);
    (0..depth).map(|_| format!("d{}/", rng.below(3))).collect()
}

fn file(rng: &mut SimRng) -> String {
    format!("{}f{}", dir(rng), rng.below(3))
}

impl Step {
    /// Any step.
    pub(crate) fn any(rng: &mut SimRng) -> Self {
        let below = |rng: &mut SimRng| format!("{}d{}", dir(rng), rng.below(3));
        // Few different contents, so that chunks and pages are shared, let go and come back.
        let bytes = |rng: &mut SimRng| if rng.one_in(2) { rng.below(12) } else { rng.below(1 << 30) };
        match rng.below(33) {
            0..=4 => Self::Put(file(rng), bytes(rng)),
            5 => Self::PutAbsent(file(rng), bytes(rng)),
            6 => Self::Multipart(file(rng), bytes(rng)),
            7 => Self::Abort(file(rng), bytes(rng)),
            8 => Self::Abandon(bytes(rng)),
            9 | 10 => Self::Delete(file(rng)),
            11 => Self::Copy(file(rng), file(rng)),
            12 | 13 => Self::Mkdir(below(rng)),
            14 => Self::Create(file(rng)),
            15..=17 => Self::Write(file(rng), bytes(rng)),
            18 => Self::Append(file(rng), bytes(rng)),
            19 => Self::Truncate(file(rng), rng.below(40_000)),
            20 => Self::Unlink(file(rng)),
            21 => Self::UnlinkOpen(file(rng)),
            22 => Self::Rmdir(below(rng)),
            23 => Self::Rename(below(rng), below(rng)),
            24 | 25 => Self::Rename(file(rng), file(rng)),
            26 => Self::Exchange(file(rng), file(rng)),
            27 => Self::Link(file(rng), file(rng)),
            28 => Self::Chmod(file(rng), 0o600 + (rng.below(64) as u32)),
            29 if rng.one_in(2) => Self::Collect,
            29 => Self::Tend,
            30 if rng.one_in(3) => Self::Scrub,
            30 => Self::Checkpoint,
            31 => Self::Reclaim,
            _ if rng.one_in(3) => Self::PutAcross(file(rng), bytes(rng), Across::Read),
            _ if rng.one_in(3) => Self::PutAcross(file(rng), bytes(rng), Across::Slow),
            _ if rng.one_in(2) => Self::PutAcross(file(rng), bytes(rng), Across::Early),
            _ => Self::PutAcross(file(rng), bytes(rng), Across::Fresh),
        }
    }

    /// Whether its bytes are staged first, and stay so where they cannot be synced.
    pub(crate) fn stages(&self) -> bool {
        matches!(self, Self::Write(..) | Self::Append(..))
    }

    /// Does it. What it depends on is noted in `op`.
    pub(crate) fn apply(&self, ns: &Namespace, op: &Op) -> Result<()> {
        let at = |path: &str| ns.resolve(op, format!("/{BUCKET}/{path}").as_bytes()).map(|attr| attr.ino);
        let place = |path: &str| -> Result<(Ino, Vec<u8>)> {
            let (dir, name) = split(path);
            Ok((at(dir)?, name.as_bytes().to_vec()))
        };
        let ingest = |seed: u64| -> Result<_> {
            let mut ingest = ns.ingest(op, BUCKET)?;
            ingest.push(&bytes(seed))?;
            Ok(ingest)
        };
        let put = |key: &str, seed: u64, absent: bool| -> Result<()> {
            let condition = Condition { absent, ..Condition::default() };
            let content = ingest(seed)?.finish()?;
            ns.put_object(op, BUCKET, key.as_bytes(), content, None, ObjectMeta::default(), &condition).map(|_| ())
        };
        let part = |key: &str, seed: u64| -> Result<_> {
            let upload = ns.create_upload(op, BUCKET, key.as_bytes(), ObjectMeta::default())?;
            let etag = format!("{seed:032x}");
            let (content, none) = (ingest(seed)?.finish()?, BTreeMap::new());
            ns.put_part(op, BUCKET, key.as_bytes(), &upload.id, 1, content, etag.clone(), none)?;
            Ok((upload.id, etag))
        };
        let write = |path: &str, offset: Option<u64>, seed: u64| -> Result<()> {
            let ino = at(path)?;
            let data = bytes(seed);
            ns.open(op, ino, Access { read: true, write: true, exec: false }, false)?;
            let done = match offset {
                Some(offset) => ns.write(op, ino, offset, &data).map(|_| ()),
                None => ns.append(op, ino, &data).map(|_| ()),
            };
            let synced = done.and_then(|()| ns.fsync(op, ino));
            synced.and(ns.close(op, ino, false))
        };
        match self {
            Self::Put(key, seed) => put(key, *seed, false),
            Self::PutAbsent(key, seed) => put(key, *seed, true),
            Self::Multipart(key, seed) => {
                let (id, etag) = part(key, *seed)?;
                let condition = Condition::default();
                ns.complete_upload(op, BUCKET, key.as_bytes(), &id, &[(1, etag)], Default::default(), &condition)
                    .map(|_| ())
            }
            Self::Abort(key, seed) => {
                let (id, _) = part(key, *seed)?;
                ns.abort_upload(op, BUCKET, key.as_bytes(), &id)
            }
            Self::Abandon(seed) => {
                let mut dropped = ns.ingest(op, BUCKET)?;
                Ok(dropped.push(&noise(*seed, LONG))?)
            }
            Self::Delete(key) => ns.delete_object(op, BUCKET, key.as_bytes(), &Condition::default()).map(|_| ()),
            Self::Copy(from, to) => {
                let (from, to) = ((BUCKET, from.as_bytes()), (BUCKET, to.as_bytes()));
                ns.copy_object(op, from, &Condition::default(), to, &Condition::default(), None).map(|_| ())
            }
            Self::Mkdir(path) => place(path).and_then(|(dir, name)| ns.mkdir(op, dir, &name, 0o755)).map(|_| ()),
            Self::Create(path) => {
                let (dir, name) = place(path)?;
                ns.mknod(op, dir, &name, NewNode { kind: NodeKind::File, mode: MODE, rdev: 0 }).map(|_| ())
            }
            Self::Write(path, seed) => write(path, Some(write_offset(*seed)), *seed),
            Self::Append(path, seed) => write(path, None, *seed),
            Self::Truncate(path, len) => {
                let set = SetAttr { size: Some(*len), ..SetAttr::default() };
                ns.setattr(op, at(path)?, &set).map(|_| ())
            }
            Self::Unlink(path) => place(path).and_then(|(dir, name)| ns.unlink(op, dir, &name)),
            Self::UnlinkOpen(path) => {
                let (dir, name) = place(path)?;
                let ino = ns.lookup(op, dir, &name)?.ino;
                ns.open(op, ino, Access { read: true, write: true, exec: false }, false)?;
                ns.unlink(op, dir, &name)
            }
            Self::Rmdir(path) => place(path).and_then(|(dir, name)| ns.rmdir(op, dir, &name)),
            Self::Rename(from, to) => rename(ns, op, place(from)?, place(to)?, RenameMode::Replace),
            Self::Exchange(from, to) => rename(ns, op, place(from)?, place(to)?, RenameMode::Exchange),
            Self::Link(from, to) => {
                let (ino, to) = (at(from)?, place(to)?);
                ns.link(op, ino, to.0, &to.1).map(|_| ())
            }
            Self::Chmod(path, mode) => {
                let set = SetAttr { mode: Some(*mode), ..SetAttr::default() };
                ns.setattr(op, at(path)?, &set).map(|_| ())
            }
            Self::Collect => Ok(ns.store().collect().map(|_| ())?),
            Self::Tend => {
                ns.seal_idle()?;
                Ok(ns.store().collect().map(|_| ())?)
            }
            Self::Heal => Ok(ns
                .store()
                .ledger()
                .heal(&PassOptions::default(), &mut |_| true)
                .map(|_| ())
                .map_err(ContentError::from)?),
            Self::Scrub => Ok(ns
                .store()
                .ledger()
                .scrub(&PassOptions::default(), &mut |_| true)
                .map(|_| ())
                .map_err(ContentError::from)?),
            Self::Checkpoint => Ok(ns.store().take_checkpoint(&BTreeSet::new(), &mut |_| true).map(|_| ())?),
            Self::Reclaim => reclaim(ns, &mut |_| true, &mut || false).map(|_| ()),
            Self::PutAcross(key, seed, across) => put_across(ns, op, key, *seed, *across),
        }
    }
}

fn rename(ns: &Namespace, op: &Op, from: (Ino, Vec<u8>), to: (Ino, Vec<u8>), mode: RenameMode) -> Result<()> {
    ns.rename(op, (from.0, &from.1), (to.0, &to.1), mode)
}

/// Mode of files that nobody gave another.
pub(crate) const MODE: u32 = 0o600;
/// Long enough for pages of pages while it is taken in.
const LONG: usize = 200_000;

/// Where [`Step::Write`] writes.
pub(crate) fn write_offset(seed: u64) -> u64 {
    seed % 5000
}

/// The content that a seed stands for: up to 3,000 bytes, one in eight up to 40,000.
pub(crate) fn bytes(seed: u64) -> Vec<u8> {
    noise(seed, (seed % if seed.is_multiple_of(8) { 40_000 } else { 3_000 }) as usize + 1)
}

/// Directory and name.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Content cut so finely that a few kilobytes have pages.
pub(crate) fn fine(cache_bytes: u64) -> ContentSettings {
    let chunks = strata_chunk::ChunkParams::new(128, 512, 2048).expect("sizes within their limits");
    ContentSettings { chunks, cache_bytes, ..ContentSettings::default() }
}

//! Settling suspicions beside writers, so that no violation is reported that is none.
//!
//! Where a few records decide, they are read again under the writer's lock ([`stands`]). Where a count decides, it is
//! counted again while every commit is watched: a suspicion found again about something that no commit touched stands,
//! one not found again is dismissed, and what was touched is counted once more.
//!
//! The commit itself says what it touches. The names of an inode change only with the inode's record, an entry
//! in it, or an entry that leads to it. The references to a chunk change only with its count, or, where a commit takes one
//! away and adds another, with an owner's record that names the chunk or a page that came alive with it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use strata_chunk::Source;
use strata_content::{Batch, ChunkFault, Item, Mutation, Scope, TABLE_CHUNK, TABLE_GARBAGE, TABLE_ORPHAN_PAGE, Tx};
use strata_seam::{ChunkId, Ino};

use super::finding::Finding;
use super::references;
use super::report::{CheckOptions, CheckReport, Found, Teller};
use super::tree::{self, Inodes, TreePass, number};
use strata_namespace::checking::{View, belongs, is_dir, locked};
use strata_namespace::records::{Bucket, Dirent, Inode, Part, Upload, Version, key};
use strata_namespace::{Namespace, NodeKind, ROOT_INO, Result, UsageOf};

/// How often something that is being changed is counted again.
const ROUNDS: usize = 8;
/// Pages come alive during one round; beyond, the round settles nothing.
const NOTED_MAX: usize = 1 << 20;
/// Deepest tree followed upwards.
const DEPTH_MAX: usize = 1 << 16;

/// Keeps of the findings those that stand.
pub(super) fn settle(
    ns: &Namespace,
    options: &CheckOptions,
    report: &mut CheckReport,
    teller: &mut Teller<'_>,
) -> Result<()> {
    teller.now("what looked wrong, again");
    let suspicions = std::mem::take(&mut report.findings);
    let mut counted = Subjects::default();
    for suspicion in suspicions {
        match &suspicion {
            Finding::Links { ino, .. }
            | Finding::Names { ino }
            | Finding::NoName { ino }
            | Finding::ManyNames { ino, .. } => {
                counted.inodes.insert(*ino);
            }
            Finding::Chunk(fault) if fault.chunk().is_some() => counted.chunks.extend(fault.chunk()),
            // These counts include the changes made meanwhile.
            Finding::Tally { .. }
            | Finding::Usage { .. }
            | Finding::LockCount { .. }
            | Finding::FollowingCount { .. } => report.findings.push(suspicion),
            _ => {
                if ns.store().transact(true, |tx| stands(tx, &suspicion))?.value {
                    report.findings.push(suspicion);
                }
            }
        }
    }
    for _ in 0..ROUNDS {
        if counted.is_empty() {
            return Ok(());
        }
        let Some(left) = round(ns, options, counted, report, teller)? else {
            report.ended = true;
            return Ok(());
        };
        counted = left;
    }
    report.unsettled += (counted.inodes.len() + counted.chunks.len()) as u64;
    Ok(())
}

#[derive(Clone, Default)]
struct Subjects {
    inodes: HashSet<Ino>,
    chunks: HashSet<ChunkId>,
}

impl Subjects {
    fn is_empty(&self) -> bool {
        self.inodes.is_empty() && self.chunks.is_empty()
    }
}

/// What was touched during a round.
#[derive(Default)]
struct Touched {
    subjects: Subjects,
    /// Pages that may have come alive: their items count as touched.
    pages: HashSet<ChunkId>,
    /// More was touched than is noted.
    all: bool,
}

/// Counts once more; what was touched meanwhile is returned. `None` if it was told to stop.
fn round(
    ns: &Namespace,
    options: &CheckOptions,
    subjects: Subjects,
    report: &mut CheckReport,
    teller: &mut Teller<'_>,
) -> Result<Option<Subjects>> {
    let subjects = Arc::new(subjects);
    let touched = Arc::new(Mutex::new(Touched::default()));
    let watch = ns.store().watch({
        let (subjects, touched) = (Arc::clone(&subjects), Arc::clone(&touched));
        Arc::new(move |batch| note(batch, &subjects, &mut touched.lock()))
    });
    let mut found = Found::default();
    let pass = TreePass::new(ns.store(), Inodes::These(Arc::new(subjects.inodes.clone())));
    if !subjects.inodes.is_empty() && pass.run(usize::MAX, &mut found, teller)?.is_none() {
        return Ok(None);
    }
    let scope = Scope::These(Arc::new(subjects.chunks.clone()));
    if !subjects.chunks.is_empty() && !references(ns, scope, options.contents, &mut found, teller)? {
        return Ok(None);
    }
    drop(watch);
    let mut touched = std::mem::take(&mut *touched.lock());
    follow_pages(ns, &subjects, &mut touched);
    if touched.all {
        return Ok(Some((*subjects).clone()));
    }
    for finding in found.report.findings {
        let standing = match &finding {
            Finding::Links { ino, .. }
            | Finding::Names { ino }
            | Finding::NoName { ino }
            | Finding::ManyNames { ino, .. } => !touched.subjects.inodes.contains(ino),
            Finding::Chunk(fault) => fault.chunk().is_some_and(|id| !touched.subjects.chunks.contains(&id)),
            _ => false,
        };
        if standing {
            report.findings.push(finding);
        }
    }
    Ok(Some(touched.subjects))
}

/// Notes what of the subjects a commit touches.
fn note(batch: &Batch, subjects: &Subjects, touched: &mut Touched) {
    let inode = |ino: Option<Ino>, touched: &mut Touched| {
        if let Some(ino) = ino.filter(|ino| subjects.inodes.contains(ino)) {
            touched.subjects.inodes.insert(ino);
        }
    };
    let mut counted_up = HashSet::new();
    let mut owned: Vec<Item> = Vec::new();
    for mutation in &batch.0 {
        let Some((&table, rest)) = mutation.key().split_first() else { continue };
        match (table, mutation) {
            (TABLE_CHUNK, _) => {
                let Some(id) = <[u8; 32]>::try_from(rest).ok().map(ChunkId) else { continue };
                if subjects.chunks.contains(&id) {
                    touched.subjects.chunks.insert(id);
                }
                if matches!(mutation, Mutation::Count { delta, .. } if *delta > 0) {
                    counted_up.insert(id);
                }
            }
            (TABLE_GARBAGE | TABLE_ORPHAN_PAGE, Mutation::Put { value, .. }) => {
                if let Some(id) = <[u8; 32]>::try_from(&value[..]).ok().map(ChunkId) {
                    owned.push(Item::page(id, 1, 1));
                }
            }
            (key::TABLE_INODE, Mutation::Put { value, .. }) => {
                let ino = number(rest);
                inode(ino, touched);
                owned.extend(
                    ino.and_then(|ino| Inode::decode(ino, value).ok()).into_iter().flat_map(|inode| inode.items),
                );
            }
            (key::TABLE_INODE, _) => inode(number(rest), touched),
            (key::TABLE_UNLINKED, _) => inode(key::unlinked_ino(rest), touched),
            (key::TABLE_ENTRY, _) => {
                inode(number(rest), touched);
                if let Mutation::Put { value, .. } = mutation {
                    inode(Dirent::decode(value).ok().map(|dirent| dirent.ino), touched);
                }
            }
            (key::TABLE_PART, Mutation::Put { value, .. }) => {
                owned.extend(Part::decode(value).into_iter().flat_map(|part| part.items));
            }
            (key::TABLE_VERSION, Mutation::Put { value, .. }) => {
                owned.extend(Version::decode(value).into_iter().flat_map(|version| version.items));
            }
            _ => {}
        }
    }
    for item in owned {
        let (id, page) = match item.source {
            Source::Hole => continue,
            Source::Chunk { id, .. } => (id, false),
            Source::Page { id, .. } => (id, true),
        };
        if subjects.chunks.contains(&id) {
            touched.subjects.chunks.insert(id);
        }
        if page && counted_up.contains(&id) {
            touched.pages.insert(id);
            touched.all |= touched.pages.len() > NOTED_MAX;
        }
    }
}

/// Everything below the pages that came alive counts as touched.
fn follow_pages(ns: &Namespace, subjects: &Subjects, touched: &mut Touched) {
    if subjects.chunks.is_empty() {
        return;
    }
    let mut met = HashSet::new();
    let mut pages: Vec<ChunkId> = touched.pages.drain().collect();
    while let Some(id) = pages.pop() {
        if !met.insert(id) {
            continue;
        }
        let Ok(node) = ns.store().page(&id) else {
            // Which chunks the page refers to is not known.
            touched.all = true;
            return;
        };
        for item in node.items() {
            match item.source {
                Source::Hole => {}
                Source::Chunk { id, .. } if subjects.chunks.contains(&id) => _ = touched.subjects.chunks.insert(id),
                Source::Chunk { .. } => {}
                Source::Page { id, .. } => {
                    if subjects.chunks.contains(&id) {
                        touched.subjects.chunks.insert(id);
                    }
                    pages.push(id);
                }
            }
        }
    }
}

/// Whether a finding that a few records decide is true now. Counts ([`Finding::Links`], [`Finding::Chunk`]) are taken to be.
pub(crate) fn stands(tx: &mut Tx<'_>, finding: &Finding) -> Result<bool> {
    let leads_to = |tx: &mut Tx<'_>, parent: Ino, name: &[u8], ino: Ino| -> Result<bool> {
        Ok(dirent(tx, parent, name)?.is_some_and(|dirent| dirent.ino == ino))
    };
    Ok(match finding {
        Finding::Record { key } => match tx.record(key)? {
            Some(value) => !decodes(key, &value),
            None => false,
        },
        Finding::Size { ino, .. } => sound_inode(tx, *ino)?.is_some_and(|inode| {
            inode.attr.kind == NodeKind::File && strata_content::items_len(&inode.items) != inode.attr.size
        }),
        Finding::Dangling { parent, name, ino } => {
            leads_to(tx, *parent, name, *ino)? && tx.record(&key::inode(*ino))?.is_none()
        }
        Finding::NoDirectory { parent, name, ino } => {
            leads_to(tx, *parent, name, *ino)? && !is_directory(sound_inode(tx, *parent)?)
        }
        Finding::Kind { parent, name, ino } => match (dirent(tx, *parent, name)?, sound_inode(tx, *ino)?) {
            (Some(dirent), Some(inode)) if dirent.ino == *ino => {
                let kind = inode.attr.kind;
                kind != dirent.kind || is_dir(name) != (kind == NodeKind::Directory)
            }
            _ => false,
        },
        Finding::Shadow { parent, name } => {
            let directory = dirent(tx, *parent, &[name, &b"/"[..]].concat())?.map(|directory| directory.ino);
            match dirent(tx, *parent, name)? {
                Some(plain) if plain.stands_in(name) => directory != Some(plain.ino),
                Some(plain) => plain.shadowed != directory.is_some(),
                None => directory.is_some(),
            }
        }
        Finding::Parent { ino, parent, .. } => {
            let names = sound_inode(tx, *ino)?.is_some_and(|inode| inode.parent == *parent);
            !names && entry_of(tx, *parent, *ino)?
        }
        Finding::Unreached { ino } => in_a_ring(tx, *ino)?,
        Finding::Bucket { root } if *root == ROOT_INO => {
            let (top, root) = (tx.record(&key::bucket(ROOT_INO))?, tx.record(&key::inode(ROOT_INO))?);
            !tree::top_is_whole(top.as_deref(), root.as_deref())
        }
        Finding::Bucket { root } => match tx.record(&key::bucket(*root))? {
            Some(record) => match Bucket::decode(*root, &record) {
                Ok(bucket) => {
                    let leaves = tx.record(&key::leaving(*root))?.is_some();
                    !leads_to(tx, ROOT_INO, &[&bucket.name[..], b"/"].concat(), *root)? && !leaves
                }
                Err(_) => true,
            },
            None => false,
        },
        Finding::Leaving { root } => {
            tx.record(&key::leaving(*root))?.is_some() && tx.record(&key::bucket(*root))?.is_none()
        }
        Finding::Stray { name } => match dirent(tx, ROOT_INO, name)? {
            Some(dirent) => is_dir(name) && tx.record(&key::bucket(dirent.ino))?.is_none(),
            None => false,
        },
        Finding::Elsewhere { parent, name, ino } => match (sound_inode(tx, *parent)?, sound_inode(tx, *ino)?) {
            (Some(dir), Some(inode)) => {
                let follows = tx.record(&key::following(*parent))?.is_some();
                leads_to(tx, *parent, name, *ino)? && !belongs(&dir, &inode) && !follows
            }
            _ => false,
        },
        Finding::Part { upload, part } => {
            tx.record(&key::under(key::TABLE_PART, Ino(*upload), &part.to_be_bytes()))?.is_some()
                && !upload_exists(tx, *upload)?
        }
        Finding::Leftover { ino, key } => {
            let of_upload = key.first() == Some(&key::TABLE_ADDED);
            tx.record(key)?.is_some()
                && tx.record(&key::inode(*ino))?.is_none()
                && !(of_upload && upload_exists(tx, ino.0)?)
        }
        Finding::Beside { ino, key } => {
            let table = key.first().copied().unwrap_or_default();
            let inode = sound_inode(tx, *ino)?;
            let unsaid = inode.is_some_and(|mut inode| inode.beside.of(table).is_some_and(|has| !*has));
            unsaid && tx.record(key)?.is_some()
        }
        Finding::Chunk(ChunkFault::Record { key }) => tx.record(key)?.is_some(),
        Finding::Links { .. }
        | Finding::Names { .. }
        | Finding::NoName { .. }
        | Finding::ManyNames { .. }
        | Finding::Tally { .. }
        | Finding::Usage { .. }
        | Finding::LockCount { .. }
        | Finding::FollowingCount { .. }
        | Finding::Chunk(_) => true,
    })
}

fn dirent(tx: &mut Tx<'_>, parent: Ino, name: &[u8]) -> Result<Option<Dirent>> {
    Ok(tx.record(&key::entry(parent, name))?.and_then(|value| Dirent::decode(&value).ok()))
}

fn sound_inode(tx: &mut Tx<'_>, ino: Ino) -> Result<Option<Inode>> {
    Ok(tx.record(&key::inode(ino))?.and_then(|value| Inode::decode(ino, &value).ok()))
}

fn is_directory(inode: Option<Inode>) -> bool {
    inode.is_some_and(|inode| inode.attr.kind == NodeKind::Directory)
}

/// Whether `parent` has an entry that leads to the directory `ino`.
pub(crate) fn entry_of(tx: &mut Tx<'_>, parent: Ino, ino: Ino) -> Result<bool> {
    let (mut from, end) = (key::entry(parent, &[]), key::behind(key::TABLE_ENTRY, parent));
    loop {
        let page = tx.records(&from, &end, tree::STEP)?;
        let Some((last, _)) = page.last() else { return Ok(false) };
        from.clone_from(last);
        from.push(0);
        let leads = |(key, value): &(Vec<u8>, Vec<u8>)| {
            is_dir(key) && Dirent::decode(value).is_ok_and(|dirent| dirent.ino == ino)
        };
        if page.iter().any(leads) {
            return Ok(true);
        }
    }
}

/// Whether following the parents of a directory leads back to it.
fn in_a_ring(tx: &mut Tx<'_>, ino: Ino) -> Result<bool> {
    let mut steps: HashMap<Ino, Ino> = HashMap::new();
    let mut at = ino;
    while at != ROOT_INO && steps.len() < DEPTH_MAX {
        let Some(inode) = sound_inode(tx, at)? else { return Ok(false) };
        if inode.parent == ino {
            return Ok(true);
        }
        if steps.insert(at, inode.parent).is_some() {
            return Ok(false);
        }
        at = inode.parent;
    }
    Ok(false)
}

/// Whether there is an upload of this number, in whatever bucket.
fn upload_exists(tx: &mut Tx<'_>, upload: u64) -> Result<bool> {
    let mut from = vec![key::TABLE_UPLOAD];
    loop {
        let page = tx.records(&from, &[key::TABLE_UPLOAD + 1], tree::STEP)?;
        let Some((last, _)) = page.last() else { return Ok(false) };
        from.clone_from(last);
        from.push(0);
        if page.iter().any(|(key, _)| key.ends_with(&upload.to_be_bytes())) {
            return Ok(true);
        }
    }
}

/// Whether a record is one that we could have written.
fn decodes(key: &[u8], value: &[u8]) -> bool {
    let Some((&table, rest)) = key.split_first() else { return false };
    let ino = number(rest);
    match table {
        key::TABLE_BUCKET => rest.len() == 8 && ino.is_some_and(|ino| Bucket::decode(ino, value).is_ok()),
        key::TABLE_USAGE => UsageOf::of_key(key).is_some(),
        key::TABLE_NAME => key::of_name(key).is_some(),
        key::TABLE_LOCK => locked(key, value).is_ok(),
        key::TABLE_ENTRY => ino.is_some() && Dirent::decode(value).is_ok(),
        key::TABLE_INODE => rest.len() == 8 && ino.is_some_and(|ino| Inode::decode(ino, value).is_ok()),
        key::TABLE_PART => ino.is_some() && Part::decode(value).is_ok(),
        key::TABLE_UPLOAD => rest.len() >= 8 && Upload::decode(value).is_ok(),
        key::TABLE_VERSION => ino.is_some() && Version::decode(value).is_ok(),
        _ => ino.is_some(),
    }
}

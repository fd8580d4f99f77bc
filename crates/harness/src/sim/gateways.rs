//! Row `gateways`: several name spaces over one store, whose changes interrupt each other.
//!
//! It is what an engine for many gateways would do, in one thread and from one seed: a change is computed, another name space makes
//! one of its own, and then the first is committed if every row it read is as it was, as far as such an engine looks
//! (`strata_seam::rehearsal`). A change that was committed although it would have come out differently is a violation: it relied
//! on something that no row stands for. So is everything that a check of the store finds afterwards.

use std::sync::Arc;

use anyhow::Result;
use strata_namespace::{
    Access, Condition, Durability, Identity, Namespace, NewNode, NodeKind, ObjectMeta, RenameMode, SetAttr,
    TOP_NAME_DEFAULT, XattrMode,
};
use strata_runtime::OpenStore;
use strata_seam::rehearsal;
use strata_seam::sim::{SimRng, SimWorld};
use strata_seam::{Clock, Ino};

use super::rig::{Rig, leftovers, root, violations};
use crate::cases::{self, Tally};
use crate::options::Options;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row = Row {
    name: "gateways",
    id: "R16",
    about: "several name spaces over one store; each change interrupted by another before it is committed",
    run,
};

/// Name spaces over the store.
const GATEWAYS: usize = 3;
/// Changes of one seed.
const STEPS: u64 = 40;
const BUCKETS: [&str; 2] = ["one", "two"];

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let count = options.sized(400, 20_000);
    let name = |number: u64| format!("seed-{}", options.seed.wrapping_add(number));
    let tally = cases::run(options, report, count, name, |number, tally| {
        let seed = options.seed.wrapping_add(number);
        tally.count("seeds", 1);
        if let Err(wrong) = one(seed, options.case.is_some(), tally) {
            tally.broken(format!("seed {seed}: {wrong}"));
        }
    });
    report.goal("seeds", tally.of("seeds"), 20_000.0);
    for what in ["changes", "changes interrupted", "changes made"] {
        report.figure(what, tally.of(what));
    }
    Ok(())
}

/// A run of one seed; what is wrong.
fn one(seed: u64, told: bool, tally: &mut Tally) -> Result<(), String> {
    let world = SimWorld::new(seed);
    let _nobody_reported = rehearsal::take_reports();
    let store = Rig::small((1, 0)).open(&world).map_err(|error| error.to_string())?;
    let gateways = several(&world, &store).map_err(|error| error.to_string())?;
    let mut rng = SimRng::new(seed);
    for bucket in BUCKETS {
        gateways[0].create_bucket(&root(), bucket, None).map_err(|error| error.to_string())?;
    }
    let mut trail = Vec::new();
    for _ in 0..STEPS {
        let at = rng.below(GATEWAYS as u64) as usize;
        let step = Step::of(&mut rng);
        let other = (at + 1 + rng.below(GATEWAYS as u64 - 1) as usize) % GATEWAYS;
        let meanwhile = (!rng.one_in(4)).then(|| Step::of(&mut rng));
        trail.push(format!("{at}: {step:?} | {other}: {meanwhile:?}"));
        tally.count("changes", 1);
        if let Some(meanwhile) = meanwhile {
            let other = Arc::clone(&gateways[other]);
            rehearsal::interlude(Box::new(move || _ = meanwhile.take(&other)));
        }
        tally.count("changes made", u64::from(step.take(&gateways[at])));
        tally.count("changes interrupted", u64::from(rehearsal::take_interlude().is_none()));
        // Beside one case, after every step: it says which.
        let wrong = if told { violations(&gateways[0]).pop() } else { None };
        if let Some(report) = rehearsal::take_reports().pop().or(wrong) {
            return Err(after(&trail, told, &report));
        }
    }
    // Nothing is open any more.
    match violations(&gateways[0]).into_iter().chain(leftovers(&gateways[0])).next() {
        Some(wrong) => Err(after(&trail, told, &wrong)),
        None => Ok(()),
    }
}

/// What is wrong, with the step after which it was; `told` prints all of them.
fn after(trail: &[String], told: bool, wrong: &str) -> String {
    if told {
        trail.iter().for_each(|step| eprintln!("  {step}"));
    }
    format!("{wrong}; after {}", trail.last().map_or("", String::as_str))
}

/// The store's own name space, and others beside it.
fn several(world: &SimWorld, store: &OpenStore) -> strata_namespace::Result<Vec<Arc<Namespace>>> {
    let own = store.namespace();
    let clock: Arc<dyn Clock> = world.clock();
    let (store_id, durability) = (own.store_id(), Durability::Strict);
    let mut all = vec![Arc::clone(own)];
    for boot_id in 1..GATEWAYS as u64 {
        let identity = Identity { store_id, boot_id, uid: 0, gid: 0, durability };
        all.push(Namespace::over(Arc::clone(own.store()), Arc::clone(&clock), identity)?);
    }
    Ok(all)
}

/// A place: bucket, and a key of up to three parts; or, in the bucket behind the last, a name at the top of the tree.
#[derive(Clone, Debug)]
struct Place(usize, String);

/// Names at the top: of files, of folders that S3 calls so, and of others.
const AT_TOP: [&str; 4] = ["a", "one", "My Files", "loose"];

impl Place {
    fn of(rng: &mut SimRng) -> Self {
        if rng.one_in(4) {
            return Self(BUCKETS.len(), AT_TOP[rng.below(AT_TOP.len() as u64) as usize].to_owned());
        }
        let parts: Vec<&str> = (0..=rng.below(3)).map(|_| ["a", "b"][rng.below(2) as usize]).collect();
        Self(rng.below(BUCKETS.len() as u64) as usize, parts.join("/"))
    }

    fn bucket(&self) -> &'static str {
        BUCKETS.get(self.0).copied().unwrap_or(TOP_NAME_DEFAULT)
    }

    fn path(&self, key: &str) -> String {
        BUCKETS.get(self.0).map_or_else(|| format!("/{key}"), |bucket| format!("/{bucket}/{key}"))
    }

    /// The directory it is in, and its name there.
    fn split(&self, ns: &Namespace) -> Option<(Ino, &[u8])> {
        let (dir, name) = self.1.rsplit_once('/').unwrap_or(("", &self.1));
        let dir = ns.resolve(&root(), self.path(dir).as_bytes()).ok()?;
        Some((dir.ino, name.as_bytes()))
    }

    fn ino(&self, ns: &Namespace) -> Option<Ino> {
        ns.resolve(&root(), self.path(&self.1).as_bytes()).ok().map(|attr| attr.ino)
    }
}

/// What a name space is asked to do.
#[derive(Clone, Debug)]
enum Step {
    Make(Place),
    Open(Place),
    MakeDir(Place),
    Put(Place, u64),
    Delete(Place),
    Unlink(Place),
    RemoveDir(Place),
    Rename(Place, Place, RenameMode),
    Link(Place, Place),
    Attribute(Place, u64),
    Property(Place, u64),
    Mode(Place, u32),
    Upload(Place, u64),
    End(Place, bool),
    MakeBucket(usize),
    RemoveBucket(usize),
    BucketMode(usize, bool),
}

impl Step {
    fn of(rng: &mut SimRng) -> Self {
        let seed = rng.below(4);
        let mode = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange][rng.below(3) as usize];
        let bucket = rng.below(BUCKETS.len() as u64) as usize;
        let (place, other) = (Place::of(rng), Place::of(rng));
        match rng.below(40) {
            0..2 => Self::Make(place),
            2..4 => Self::Open(place),
            4..9 => Self::MakeDir(place),
            9..14 => Self::Put(place, seed),
            14..17 => Self::Delete(place),
            17..19 => Self::Unlink(place),
            19..23 => Self::RemoveDir(place),
            23..28 => Self::Rename(place, other, mode),
            28..30 => Self::Link(place, other),
            30 => Self::Attribute(place, seed),
            31 => Self::Property(place, seed),
            32 => Self::Mode(place, if rng.one_in(2) { 0o700 } else { 0o644 }),
            33..35 => Self::Upload(place, seed),
            35..37 => Self::End(place, rng.one_in(2)),
            37 => Self::MakeBucket(bucket),
            38 => Self::RemoveBucket(bucket),
            _ => Self::BucketMode(bucket, rng.one_in(2)),
        }
    }

    /// Whether it was done. What is refused has changed nothing; why does not matter here.
    fn take(&self, ns: &Namespace) -> bool {
        self.attempt(ns).is_some()
    }

    fn attempt(&self, ns: &Namespace) -> Option<()> {
        let op = root();
        match self {
            Self::Make(place) => {
                let (dir, name) = place.split(ns)?;
                let node = NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 };
                ns.mknod(&op, dir, name, node).ok().map(|_| ())
            }
            Self::Open(place) => {
                let (dir, name) = place.split(ns)?;
                let opened = ns.create(&op, dir, name, 0o644, Access::default(), false, false).ok()?;
                ns.close(&op, opened.ino, false).ok()
            }
            Self::MakeDir(place) => {
                let (dir, name) = place.split(ns)?;
                ns.mkdir(&op, dir, name, 0o755).ok().map(|_| ())
            }
            Self::Put(place, seed) => {
                let content = content(ns, place.bucket(), *seed)?;
                let (meta, any) = (ObjectMeta::default(), Condition::default());
                ns.put_object(&op, place.bucket(), place.1.as_bytes(), content, None, meta, &any).ok().map(|_| ())
            }
            Self::Delete(place) => {
                ns.delete_object(&op, place.bucket(), place.1.as_bytes(), &Condition::default()).ok().map(|_| ())
            }
            Self::Unlink(place) => {
                let (dir, name) = place.split(ns)?;
                ns.unlink(&op, dir, name).ok()
            }
            Self::RemoveDir(place) => {
                let (dir, name) = place.split(ns)?;
                ns.rmdir(&op, dir, name).ok()
            }
            Self::Rename(from, to, mode) => {
                let (from, to) = (from.split(ns)?, to.split(ns)?);
                ns.rename(&op, from, to, *mode).ok()
            }
            Self::Link(from, to) => {
                let (ino, (dir, name)) = (from.ino(ns)?, to.split(ns)?);
                ns.link(&op, ino, dir, name).ok().map(|_| ())
            }
            Self::Attribute(place, seed) => {
                let name = format!("user.{seed}");
                ns.set_xattr(&op, place.ino(ns)?, name.as_bytes(), b"value", XattrMode::Any).ok()
            }
            Self::Property(place, seed) => {
                ns.set_property(&op, place.ino(ns)?, "DAV:", &format!("p{seed}"), Some(b"value")).ok()
            }
            Self::Mode(place, mode) => {
                let set = SetAttr { mode: Some(*mode), ..SetAttr::default() };
                ns.setattr(&op, place.ino(ns)?, &set).ok().map(|_| ())
            }
            Self::Upload(place, seed) => upload(ns, place, *seed),
            Self::End(place, complete) => end_upload(ns, place, *complete),
            Self::MakeBucket(bucket) => ns.create_bucket(&op, BUCKETS[*bucket], None).ok().map(|_| ()),
            Self::RemoveBucket(bucket) => ns.delete_bucket(&op, BUCKETS[*bucket]).ok(),
            Self::BucketMode(bucket, private) => {
                let mode = if *private { 0o600 } else { 0o644 };
                ns.set_bucket_mode(&op, BUCKETS[*bucket], mode).ok().map(|_| ())
            }
        }
    }
}

fn content(ns: &Namespace, bucket: &str, seed: u64) -> Option<strata_content::Content> {
    let mut ingest = ns.ingest(&root(), bucket).ok()?;
    ingest.push(&super::rig::noise(seed, 3000)).ok()?;
    ingest.finish().ok()
}

/// The uploads of a key, the last of which is gone on with.
fn last_upload(ns: &Namespace, place: &Place) -> Option<String> {
    let (uploads, _) = ns.uploads(&root(), place.bucket(), place.1.as_bytes(), None, 10).ok()?;
    uploads.into_iter().rfind(|upload| upload.key == place.1.as_bytes()).map(|upload| upload.id)
}

/// Begins an upload, or puts a part of one that was begun.
fn upload(ns: &Namespace, place: &Place, seed: u64) -> Option<()> {
    let op = root();
    let Some(upload) = last_upload(ns, place).filter(|_| seed > 0) else {
        return ns.create_upload(&op, place.bucket(), place.1.as_bytes(), ObjectMeta::default()).ok().map(|_| ());
    };
    let content = content(ns, place.bucket(), seed)?;
    let number = 1 + u32::try_from(seed % 2).ok()?;
    ns.put_part(&op, place.bucket(), place.1.as_bytes(), &upload, number, content, etag(seed), Default::default())
        .ok()
        .map(|_| ())
}

fn etag(seed: u64) -> String {
    format!("{seed:032x}")
}

/// Completes an upload with its last part, or aborts it.
fn end_upload(ns: &Namespace, place: &Place, complete: bool) -> Option<()> {
    let op = root();
    let upload = last_upload(ns, place)?;
    if !complete {
        return ns.abort_upload(&op, place.bucket(), place.1.as_bytes(), &upload).ok();
    }
    let (parts, _) = ns.parts(&op, place.bucket(), place.1.as_bytes(), &upload, 0, 10).ok()?;
    let last = parts.last().map(|part| (part.number, part.tag.clone()))?;
    let (whole, any) = (Default::default(), Condition::default());
    ns.complete_upload(&op, place.bucket(), place.1.as_bytes(), &upload, &[last], whole, &any).ok().map(|_| ())
}

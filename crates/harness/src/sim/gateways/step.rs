//! What a session is asked to do, and what comes of it.

use strata_namespace::{
    Access, Condition, DoorNumber, HeldRange, HoldOwner, LockRecord, Namespace, NewLock, NewNode, NodeKind, ObjectMeta,
    Op, RangeKind, RangeSpace, RenameMode, SetAttr, XattrMode,
};
use strata_seam::Ino;
use strata_seam::sim::SimRng;

use super::super::rig::noise;
use super::Run;
use super::locking::{Actor, Touched, USERS, are_in_the_way};
use super::place::{BUCKETS, Place};

/// The door whose processes hold bytes of files.
const MOUNT: DoorNumber = DoorNumber::new(2);
/// Longest file that steps make, so that every one of them is read often.
const LEN_MAX: u64 = 6000;
/// Bytes of what is put.
const PUT_LEN: usize = 3000;
/// How long a lock lasts, in seconds: some end between two steps.
const LOCK_SECONDS: [u64; 3] = [2, 20, 200];

/// A file that is meant by its name, or as one that is open.
#[derive(Clone, Debug)]
pub(super) enum File {
    Named(Place),
    Open(u64),
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Make(Place),
    Create(Place),
    MakeDir(Place),
    Put(Place, u64),
    Delete(Place),
    Unlink(Place),
    RemoveDir(Place),
    Rename(Place, Place, RenameMode),
    Link(Place, Place),
    /// Into the trash, from whatever bucket; a file with one more name beside it, which stays.
    Throw(Place, Place, bool),
    /// The next of what has to follow a folder into the trash.
    Follow,
    Attribute(Place, u64),
    Property(Place, u64),
    Mode(Place, u32),
    Upload(Place, u64),
    End(Place, bool),
    MakeBucket(usize),
    RemoveBucket(usize),
    BucketMode(usize, bool),
    Open(Place, bool),
    /// Any file that somebody had open once, by its number: it may have no name any more.
    OpenByNumber(u64),
    Write(File, u64, u64),
    Cut(File, u64),
    Sync(u64),
    Close(u64, bool),
    Lock(Option<Place>, bool, bool, u64),
    Refresh(u64),
    Unlock(u64),
    Hold(File, u64, bool),
    LetGo(File, u64),
    /// What workers do about once a second; time passes before.
    Idle,
    /// The session ends as in a crash, another one takes its place, and opens this.
    Restart(Place),
}

/// What a step that was done does to files and locks.
pub(super) enum Effect {
    None,
    Opened(Ino, bool),
    Wrote(Ino, u64, Vec<u8>),
    Cut(Ino, usize),
    Replaced(Ino, Vec<u8>),
    Joined(Ino),
    Synced(Ino),
    Closed(Ino, bool),
    Locked(LockRecord),
    Held(Ino, Option<(HeldRange, HeldRange)>),
    /// It went from here to there.
    Thrown(Place, Place),
}

/// A step that was done.
pub(super) struct Done {
    pub(super) effect: Effect,
    pub(super) touched: Vec<Touched>,
}

fn done(touched: impl IntoIterator<Item = Touched>) -> Option<Done> {
    Some(Done { effect: Effect::None, touched: touched.into_iter().collect() })
}

fn with(effect: Effect, touched: impl IntoIterator<Item = Touched>) -> Option<Done> {
    Some(Done { effect, touched: touched.into_iter().collect() })
}

impl File {
    fn of(rng: &mut SimRng) -> Self {
        if rng.one_in(2) { Self::Open(rng.below(8)) } else { Self::Named(Place::of(rng)) }
    }

    fn ino(&self, run: &Run, at: usize, ns: &Namespace) -> Option<Ino> {
        match self {
            Self::Named(place) => place.file(ns),
            Self::Open(which) => run.files.borrow().open_one(at, *which),
        }
    }
}

impl Step {
    pub(super) fn of(rng: &mut SimRng) -> Self {
        let seed = rng.below(4);
        let mode = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange][rng.below(3) as usize];
        let bucket = rng.below(BUCKETS.len() as u64) as usize;
        let (place, other) = (Place::of(rng), Place::of(rng));
        match rng.below(80) {
            0..2 => Self::Make(place),
            2..4 => Self::Create(place),
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
            39 => Self::BucketMode(bucket, rng.one_in(2)),
            40..44 => Self::Open(place, rng.one_in(4)),
            44..46 => Self::OpenByNumber(rng.below(16)),
            46..50 => Self::Write(File::of(rng), rng.below(LEN_MAX - 1000), 1 + rng.below(1000)),
            50..52 => Self::Cut(File::of(rng), rng.below(LEN_MAX)),
            52..54 => Self::Sync(rng.below(8)),
            54..57 => Self::Close(rng.below(8), rng.one_in(2)),
            57..59 => Self::Lock((!rng.one_in(12)).then_some(place), rng.one_in(2), rng.one_in(3), rng.below(3)),
            59 => Self::Refresh(rng.below(8)),
            60 => Self::Unlock(rng.below(8)),
            61..63 => Self::Hold(File::of(rng), rng.below(1 << 10), rng.one_in(2)),
            63 => Self::LetGo(File::of(rng), rng.below(1 << 10)),
            64 => Self::Idle,
            65 => Self::Restart(place),
            66..72 => Self::Throw(place, Place::in_trash(rng), rng.one_in(2)),
            72..75 => Self::Follow,
            75 => Self::Lock(Some(Place::in_trash(rng)), true, false, 2),
            76 => Self::Put(place.below(rng).below(rng), seed),
            77 => Self::Mode(Place::deep_in_trash(rng).below(rng), 0o755),
            _ => Self::Mode(place, if rng.one_in(2) { 0o755 } else { 0o700 }),
        }
    }

    /// A step that may be in the way of this one: of any kind, at its place or in it.
    pub(super) fn rival(&self, rng: &mut SimRng) -> Self {
        let mut rival = Self::of(rng);
        match self {
            Self::Hold(file, ..) if rng.one_in(2) => return Self::Hold(file.clone(), rng.below(1 << 10), true),
            Self::Mode(dir, _) if rng.one_in(2) => return Self::MakeDir(dir.below(rng)),
            Self::Follow if rng.one_in(2) => {
                return Self::Throw(Place::of(rng), Place::in_trash(rng), true);
            }
            Self::Throw(..) if rng.one_in(4) => return Self::Follow,
            _ => {}
        }
        let mut own = self.clone();
        if let (Some(place), Some(there)) = (own.place(), rival.place()) {
            *there = if rng.one_in(3) { place.below(rng) } else { place.clone() };
        }
        rival
    }

    /// Where it is taken, if that is said.
    fn place(&mut self) -> Option<&mut Place> {
        match self {
            Self::Make(place)
            | Self::Create(place)
            | Self::MakeDir(place)
            | Self::Put(place, _)
            | Self::Delete(place)
            | Self::Unlink(place)
            | Self::RemoveDir(place)
            | Self::Rename(place, ..)
            | Self::Link(place, _)
            | Self::Throw(place, ..)
            | Self::Attribute(place, _)
            | Self::Property(place, _)
            | Self::Mode(place, _)
            | Self::Upload(place, _)
            | Self::End(place, _)
            | Self::Open(place, _)
            | Self::Write(File::Named(place), ..)
            | Self::Cut(File::Named(place), _)
            | Self::Hold(File::Named(place), ..)
            | Self::LetGo(File::Named(place), _)
            | Self::Lock(Some(place), ..)
            | Self::Restart(place) => Some(place),
            _ => None,
        }
    }

    /// Whether it was done, and with which effect. What is refused has changed nothing but what is stored of what was written before; why
    /// does not matter here.
    pub(super) fn attempt(&self, run: &Run, at: usize, actor: Actor) -> Option<Done> {
        let ns = &*run.namespace(at);
        let op = &run.locks.borrow().op(actor);
        match self {
            Self::Make(_)
            | Self::Create(_)
            | Self::MakeDir(_)
            | Self::Put(..)
            | Self::Delete(_)
            | Self::Unlink(_)
            | Self::RemoveDir(_)
            | Self::Rename(..)
            | Self::Link(..)
            | Self::Throw(..) => self.name(ns, op),
            Self::Follow => {
                let followed = ns.follow_step().ok()?;
                (followed > 0).then(|| done([])).flatten()
            }
            Self::Attribute(place, seed) => {
                let name = format!("user.{seed}");
                let ino = place.ino(ns)?;
                ns.set_xattr(op, ino, name.as_bytes(), b"value", XattrMode::Any).ok()?;
                done(place.node(ns, ino))
            }
            Self::Property(place, seed) => {
                let ino = place.ino(ns)?;
                ns.set_property(op, ino, "DAV:", &format!("p{seed}"), Some(b"value")).ok()?;
                done(place.node(ns, ino))
            }
            Self::Mode(place, mode) => {
                let set = SetAttr { mode: Some(*mode), ..SetAttr::default() };
                let ino = place.ino(ns)?;
                ns.setattr(op, ino, &set).ok()?;
                done(place.node(ns, ino))
            }
            Self::Upload(place, seed) => upload(ns, op, place, *seed),
            Self::End(place, complete) => end_upload(ns, op, place, *complete),
            Self::MakeBucket(bucket) => {
                ns.create_bucket(op, BUCKETS[*bucket], None).ok()?;
                done([Touched::Members("/".to_owned())])
            }
            Self::RemoveBucket(bucket) => {
                ns.delete_bucket(op, BUCKETS[*bucket]).ok()?;
                done([Touched::Members("/".to_owned())])
            }
            Self::BucketMode(bucket, private) => {
                let mode = if *private { 0o600 } else { 0o644 };
                ns.set_bucket_mode(op, BUCKETS[*bucket], mode).ok()?;
                done([])
            }
            Self::Open(..)
            | Self::OpenByNumber(_)
            | Self::Write(..)
            | Self::Cut(..)
            | Self::Sync(_)
            | Self::Close(..) => self.bytes(run, at, ns, op),
            Self::Lock(..) | Self::Refresh(_) | Self::Unlock(_) | Self::Hold(..) | Self::LetGo(..) => {
                self.lock(run, at, ns, (op, actor))
            }
            Self::Idle => {
                ns.seal_idle().ok()?;
                done([])
            }
            Self::Restart(place) => {
                run.restart(at);
                Self::Open(place.clone(), false).attempt(run, at, actor)
            }
        }
    }

    /// Names come and go.
    fn name(&self, ns: &Namespace, op: &Op) -> Option<Done> {
        match self {
            Self::Make(place) => {
                let (dir, name) = place.split(ns)?;
                let node = NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 };
                ns.mknod(op, dir, name, node).ok()?;
                done([place.name()])
            }
            Self::Create(place) => {
                let (dir, name) = place.split(ns)?;
                let opened = ns.create(op, dir, name, 0o644, Access::default(), false, false).ok()?;
                ns.close(op, opened.attr.ino, false).ok()?;
                done([])
            }
            Self::MakeDir(place) => {
                let (dir, name) = place.split(ns)?;
                ns.mkdir(op, dir, name, 0o755).ok()?;
                done([place.name()])
            }
            Self::Put(place, seed) => {
                let content = content(ns, op, place.bucket(), *seed)?;
                let (meta, any) = (ObjectMeta::default(), Condition::default());
                let put = ns.put_object(op, place.bucket(), place.key(), content, None, meta, &any).ok()?;
                with(Effect::Replaced(put.attr.ino, noise(*seed, PUT_LEN)), [Touched::Put(place.path())])
            }
            Self::Delete(place) => {
                let gone = ns.delete_object(op, place.bucket(), place.key(), &Condition::default()).ok()?;
                done(gone.then(|| [place.name(), Touched::File(place.path())]).into_iter().flatten())
            }
            Self::Unlink(place) => {
                let (dir, name) = place.split(ns)?;
                ns.unlink(op, dir, name).ok()?;
                done([place.name()])
            }
            Self::RemoveDir(place) => {
                let (dir, name) = place.split(ns)?;
                ns.rmdir(op, dir, name).ok()?;
                done([place.name()])
            }
            Self::Rename(from, to, mode) => {
                let (old, new) = (from.split(ns)?, to.split(ns)?);
                // What leads to the same file already is left as it is.
                let same = from.ino(ns) == to.ino(ns);
                ns.rename(op, old, new, *mode).ok()?;
                done(if same { Vec::new() } else { vec![from.name(), to.name()] })
            }
            Self::Link(from, to) => {
                let (ino, (dir, name)) = (from.ino(ns)?, to.split(ns)?);
                ns.link(op, ino, dir, name).ok()?;
                done([to.name()])
            }
            Self::Throw(from, to, linked) => {
                let (old, new) = (from.split(ns)?, to.split(ns)?);
                if let Some(file) = from.file(ns).filter(|_| *linked) {
                    // Where that name is taken it has several names already, or goes alone.
                    let beside = if old.1 == b"a" { b"b" } else { b"a" };
                    let _ = ns.link(op, file, old.0, beside);
                }
                let same = from.ino(ns) == to.ino(ns);
                ns.rename_or_trash(op, old, new, RenameMode::Replace).ok()?;
                if same {
                    return done([]);
                }
                with(Effect::Thrown(from.clone(), to.clone()), [from.name(), to.name()])
            }
            _ => None,
        }
    }

    /// Bytes of open files.
    fn bytes(&self, run: &Run, at: usize, ns: &Namespace, op: &Op) -> Option<Done> {
        match self {
            Self::Open(place, cut) => {
                let (dir, name) = place.split(ns)?;
                let access = Access { read: true, write: *cut, exec: false };
                let opened = ns.create(op, dir, name, 0o644, access, false, *cut).ok()?;
                let ino = opened.attr.ino;
                with(Effect::Opened(ino, *cut), place.node(ns, ino).filter(|_| *cut))
            }
            Self::OpenByNumber(which) => {
                let ino = run.files.borrow().any_one(*which)?;
                ns.open(op, ino, Access { read: true, write: false, exec: false }, false).ok()?;
                with(Effect::Opened(ino, false), [])
            }
            Self::Write(file, offset, len) => {
                let ino = file.ino(run, at, ns)?;
                let bytes = noise(offset ^ len << 32, *len as usize);
                let path = ns.path_of(op, ino).ok()?;
                ns.write(op, ino, *offset, &bytes).ok()?;
                // By the name that it had in this moment: a write is not interrupted.
                let path = path.map(|path| Touched::File(format!("/{}", String::from_utf8_lossy(&path))));
                with(Effect::Wrote(ino, *offset, bytes), path)
            }
            Self::Cut(file, len) => {
                let ino = file.ino(run, at, ns)?;
                let set = SetAttr { size: Some(*len), ..SetAttr::default() };
                ns.setattr(op, ino, &set).ok()?;
                let touched = if let File::Named(place) = file { place.node(ns, ino) } else { None };
                with(Effect::Cut(ino, *len as usize), touched)
            }
            Self::Sync(which) => {
                let ino = run.files.borrow().open_one(at, *which)?;
                ns.fsync(op, ino).ok()?;
                with(Effect::Synced(ino), [])
            }
            Self::Close(which, wrote) => {
                let ino = run.files.borrow().open_one(at, *which)?;
                let stored = ns.close(op, ino, *wrote).is_ok() && *wrote;
                with(Effect::Closed(ino, stored), [])
            }
            _ => None,
        }
    }

    /// What somebody holds.
    fn lock(&self, run: &Run, at: usize, ns: &Namespace, (op, actor): (&Op, Actor)) -> Option<Done> {
        match self {
            Self::Lock(place, deep, shared, seconds) => {
                let number = run.locks.borrow().count;
                run.locks.borrow_mut().count += 1;
                let path = place.as_ref().map_or("/".to_owned(), Place::path);
                let wanted = NewLock {
                    token: format!("urn:uuid:{number}"),
                    path: path.into_bytes(),
                    deep: *deep,
                    shared: *shared,
                    owner_xml: Vec::new(),
                    seconds: Some(LOCK_SECONDS[*seconds as usize]),
                };
                let at = match place {
                    Some(place) => Some(place.split(ns)?),
                    None => None,
                };
                let (lock, made) = ns.lock(op, at, &wanted).ok()?;
                with(Effect::Locked(lock), place.as_ref().filter(|_| made).map(Place::name))
            }
            Self::Refresh(which) => {
                let (ino, token) = run.locks.borrow().one_of(actor, *which)?;
                ns.refresh_lock(op, ino, &token, Some(LOCK_SECONDS[1])).ok()?;
                done([])
            }
            Self::Unlock(which) => {
                let (ino, token) = run.locks.borrow().one_of(actor, *which)?;
                ns.unlock(op, ino, &token).ok()?;
                done([])
            }
            Self::Hold(file, which, write) => {
                let ino = file.ino(run, at, ns)?;
                let wanted = hold(run, at, *which, *write);
                let other = ns.set_hold(op, ino, &wanted).ok()?;
                with(Effect::Held(ino, other.map(|other| (wanted, other))), [])
            }
            Self::LetGo(file, which) => {
                let ino = file.ino(run, at, ns)?;
                let HeldRange { owner, space, range, .. } = hold(run, at, *which, false);
                ns.release_hold(op, ino, &owner, space, &range).ok()?;
                with(Effect::Held(ino, None), [])
            }
            _ => None,
        }
    }
}

/// A lock of a process of this gateway's session, on some of eight bytes.
fn hold(run: &Run, at: usize, which: u64, write: bool) -> HeldRange {
    let (start, len, owner) = (which % 8, 1 + which / 8 % 8, which / 64 % 2);
    let whole = (which / 128).is_multiple_of(8);
    HeldRange {
        owner: HoldOwner { door: MOUNT, client: run.session(at), owner, pid: 1 },
        space: if whole { RangeSpace::Whole } else { RangeSpace::Bytes },
        kind: if write { RangeKind::Write } else { RangeKind::Read },
        range: if whole { 0..u64::MAX } else { start..start + len },
        lease: None,
    }
}

/// Whether what was said to be in the way is.
pub(super) fn was_in_the_way((wanted, other): &(HeldRange, HeldRange), held: &[HeldRange]) -> bool {
    are_in_the_way(wanted, other) && held.contains(other)
}

/// One who is asked for nothing in particular.
pub(super) fn actor(rng: &mut SimRng) -> Actor {
    Actor((!rng.one_in(3)).then(|| USERS[rng.below(USERS.len() as u64) as usize]))
}

fn content(ns: &Namespace, op: &Op, bucket: &str, seed: u64) -> Option<strata_content::Content> {
    let mut ingest = ns.ingest(op, bucket).ok()?;
    ingest.push(&noise(seed, PUT_LEN)).ok()?;
    ingest.finish().ok()
}

/// The uploads of a key, the last of which is gone on with.
fn last_upload(ns: &Namespace, op: &Op, place: &Place) -> Option<String> {
    let (uploads, _) = ns.uploads(op, place.bucket(), place.key(), None, 10).ok()?;
    uploads.into_iter().rfind(|upload| upload.key == place.key()).map(|upload| upload.id)
}

/// Begins an upload, or puts a part of one that was begun.
fn upload(ns: &Namespace, op: &Op, place: &Place, seed: u64) -> Option<Done> {
    let Some(upload) = last_upload(ns, op, place).filter(|_| seed > 0) else {
        ns.create_upload(op, place.bucket(), place.key(), ObjectMeta::default()).ok()?;
        return done([]);
    };
    let content = content(ns, op, place.bucket(), seed)?;
    let number = 1 + u32::try_from(seed % 2).ok()?;
    let etag = format!("{seed:032x}");
    ns.put_part(op, place.bucket(), place.key(), &upload, number, content, etag, Default::default()).ok()?;
    done([])
}

/// Completes an upload with its last part, or aborts it.
fn end_upload(ns: &Namespace, op: &Op, place: &Place, complete: bool) -> Option<Done> {
    let upload = last_upload(ns, op, place)?;
    if !complete {
        ns.abort_upload(op, place.bucket(), place.key(), &upload).ok()?;
        return done([]);
    }
    let (parts, _) = ns.parts(op, place.bucket(), place.key(), &upload, 0, 10).ok()?;
    let last = parts.last().map(|part| (part.number, part.tag.clone()))?;
    let (whole, any) = (Default::default(), Condition::default());
    let made = ns.complete_upload(op, place.bucket(), place.key(), &upload, &[last], whole, &any).ok()?;
    with(Effect::Joined(made.attr.ino), [Touched::Put(place.path())])
}

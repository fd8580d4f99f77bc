//! A set that fills up, for row `iofail`: what was refused is stored when it comes again with room, in the same process;
//! what was accepted stays; and what was synced of a file that nobody closes outlives the power.

use strata_namespace::{Access, Condition, ErrorKind, Namespace, NewNode, NodeKind, ObjectMeta, SetAttr};
use strata_runtime::OpenStore;
use strata_seam::Ino;
use strata_seam::sim::{SimRng, SimWorld};

use super::rig::{ASIDE, BUCKET, Layout, Rig, get, noise, root, violations};
use super::step::{Step, bytes};
use super::trouble::CAPACITY;
use super::workload::run as run_step;
use crate::cases::Tally;

const LAYOUTS: [Layout; 4] = [(2, 1), (4, 2), (1, 1), (3, 2)];
/// Objects that are tried while the set is tight.
const OBJECTS: u64 = 400;
/// Content of an object: one in eight seeds stands for up to 40,000 bytes.
const SEED_STEP: u64 = 8;

/// Segments of room, at least, that a store is given before it is filled up.
const ROOM_SEGMENTS: u64 = 7;
/// Objects that fill a segment, about: few, so that a large set is filled as quickly as a small one.
const FILLINGS_PER_SEGMENT: u64 = 12;
/// How many times as many, now and then: with so many a checkpoint takes more than comes free of one segment.
const SMALLER: u64 = 12;
/// Bytes written to a file that is then emptied.
const FILLING: usize = 40_000;
/// Objects it is filled with, at most.
const FILLINGS: u64 = 4000;
/// Bytes of a file that waits in memory, at most: with more it would be stored at once.
const STAGED_MAX: u64 = 7 << 20;
/// Bytes read at a time.
const READ: usize = 1 << 20;
/// Changes of a mode, at most: more than any store has room for.
const TOUCHES: u32 = 6000;

/// A running store whose disks, all of them well, have little room for a while: it is filled until it refuses, and must be
/// emptied. Nothing of it touches the tree. With room on disks given back, the number of objects that were stored again.
///
/// # Errors
/// The promise that was broken, also where the power went meanwhile: whoever cut it knows.
pub(crate) fn fill_and_empty(
    store: &OpenStore,
    world: &SimWorld,
    (disks, segment_len): (&[String], u64),
    rng: &mut SimRng,
) -> Result<u64, String> {
    let ns = store.namespace();
    let used = |disk: &String| world.files(disk).iter().map(|file| file.len).sum::<u64>();
    // The same on all: where others have plenty, one that is full is left out, and is no matter of a full store.
    let room = (ROOM_SEGMENTS + rng.below(6)) * segment_len + rng.below(segment_len);
    disks.iter().for_each(|disk| world.set_capacity(disk, used(disk) + room));
    let segments = disks.iter().map(|disk| (used(disk) + room) / segment_len).min().unwrap_or(0);
    let small = if rng.one_in(4) { SMALLER } else { 1 };
    let filling = ns.store().ledger().segment_capacity() / FILLINGS_PER_SEGMENT / small;
    let seed = rng.next_u64();
    let put = |number: u64| -> strata_namespace::Result<()> {
        let op = root();
        let mut ingest = ns.ingest(&op, ASIDE)?;
        ingest.push(&noise(seed.wrapping_add(number), filling as usize))?;
        let (content, key) = (ingest.finish()?, format!("filling{number}"));
        ns.put_object(&op, ASIDE, key.as_bytes(), content, None, ObjectMeta::default(), &Condition::default())?;
        ns.settle_blocking(&op)
    };
    let fill = |from: u64| -> Result<u64, String> {
        for number in from..from + FILLINGS {
            match put(number) {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::NoSpace => return Ok(number),
                Err(error) => return Err(format!("a full store says {error:?}")),
            }
        }
        Err("it is never full".to_owned())
    };
    let reclaim = || -> Result<(), String> {
        let done =
            strata_runtime::Runtime::over(std::sync::Arc::clone(ns)).reclaim(std::time::Duration::ZERO, &mut |_| true);
        done.map(|_| ()).map_err(|error| {
            let ledger = ns.store().ledger();
            let (room, checkpoint, space) = (ledger.room(), ns.store().checkpoint_room(), ledger.space());
            let segment = ledger.segment_capacity();
            format!(
                "the mover of a full store cannot go on, {room:?} of {space:?} in segments of {segment}, a checkpoint takes {checkpoint}: {error:?}"
            )
        })
    };
    let delete = |number: u64| -> Result<(), String> {
        let removed = || {
            let op = root();
            let deleted = ns.delete_object(&op, ASIDE, format!("filling{number}").as_bytes(), &Condition::default());
            deleted.map(|_| ()).and_then(|()| ns.settle_blocking(&op))
        };
        match removed() {
            // So many removals in a row are not promised without the mover, which a server lets work meanwhile.
            Err(error) if small > 1 && error.kind == ErrorKind::NoSpace => {
                reclaim()?;
                removed()
            }
            done => done,
        }
        .map_err(|error| format!("a full store takes no removal: {error:?}"))
    };
    let waiting = promised(ns, seed).map_err(|error| format!("a file cannot be written: {error:?}"))?;
    let stored = fill(0)?;
    if rng.one_in(2) {
        cut_short(ns)?;
    }
    waiting.end(ns).map_err(|error| format!("what was written before the store was full finds no room: {error:?}"))?;
    // Where the disks have too few segments to keep back two checkpoints, a store without end of removals is promised nothing.
    let kept_at_most = segments * ns.store().ledger().segment_capacity() * 3 / 8;
    let touched = ns.store().checkpoint_room() * 5 < kept_at_most;
    if touched && rng.one_in(6) {
        touch(ns)?;
        reclaim()?;
    }
    // The less of each segment goes, the more has to be moved for what comes free.
    let one_in = 2 + rng.below(3);
    let gone: Vec<u64> = (0..stored).filter(|_| rng.one_in(one_in)).collect();
    gone.iter().try_for_each(|number| delete(*number))?;
    if touched && rng.one_in(3) {
        // What is kept back for the mover is all it has: its rounds are to be as small as that.
        touch(ns)?;
    }
    reclaim()?;
    let again = fill(stored)?;
    let (deleted, fitted) = (gone.len() as u64, again - stored);
    let (segment, checkpoint) = (ns.store().ledger().segment_capacity(), ns.store().checkpoint_room());
    // Half of everything is worth several rounds. Less may be less than the checkpoint that gives it back.
    let asked = match (one_in, small) {
        (2, 1) => deleted.div_ceil(4),
        _ => u64::from(deleted * filling > 2 * (segment + checkpoint)),
    };
    if fitted < asked {
        return Err(format!(
            "{deleted} objects of {filling} bytes, one in {one_in}, were deleted of a full store, then {fitted} fitted; segments have \
             {segment}, a checkpoint takes {checkpoint}, {:?} of {:?}",
            ns.store().ledger().room(),
            ns.store().ledger().space()
        ));
    }
    for number in (0..again).filter(|number| !gone.contains(number)) {
        delete(number)?;
    }
    reclaim()?;
    disks.iter().for_each(|disk| world.set_capacity(disk, CAPACITY));
    ns.store().ledger().tend().map_err(|error| format!("disks with room are not taken back: {error:?}"))?;
    Ok(fitted)
}

/// A file that was written and closed by nobody yet.
struct Waiting {
    ino: Ino,
    bytes: Vec<u8>,
}

/// Writes more than is kept back for removals, and leaves it in memory.
fn promised(ns: &Namespace, seed: u64) -> strata_namespace::Result<Waiting> {
    let op = root();
    let len = (ns.store().ledger().segment_capacity() * 5 / 4).min(STAGED_MAX);
    let dir = ns.resolve(&op, format!("/{ASIDE}").as_bytes())?.ino;
    let bytes = noise(seed ^ 1, len as usize);
    let ino = ns.create(&op, dir, b"waiting", 0o600, Access { read: true, write: true, exec: false }, false, true)?.ino;
    ns.write(&op, ino, 0, &bytes)?;
    Ok(Waiting { ino, bytes })
}

impl Waiting {
    /// Closes it, reads it from where it is stored by then, and removes it.
    fn end(self, ns: &Namespace) -> strata_namespace::Result<()> {
        let op = root();
        ns.close(&op, self.ino, true)?;
        ns.settle_blocking(&op)?;
        ns.store().ledger().sync().map_err(strata_content::ContentError::from)?;
        let dir = ns.resolve(&op, format!("/{ASIDE}").as_bytes())?.ino;
        for (at, part) in self.bytes.chunks(READ).enumerate() {
            let read = ns.read(&op, self.ino, (at * READ) as u64, READ)?;
            assert!(read == part, "a file of a full store reads as other bytes");
        }
        ns.unlink(&op, dir, b"waiting")
    }
}

/// A file can be emptied, whether what was written to it found room or not.
fn cut_short(ns: &Namespace) -> Result<(), String> {
    let op = root();
    let empty = SetAttr { size: Some(0), ..SetAttr::default() };
    let cut = || -> strata_namespace::Result<bool> {
        let dir = ns.resolve(&op, format!("/{ASIDE}").as_bytes())?.ino;
        let Ok(found) = ns.lookup(&op, dir, b"filling0") else { return Ok(true) };
        // Often there is no room for it.
        drop(ns.write(&op, found.ino, 10, &noise(1, FILLING)).and_then(|_| ns.fsync(&op, found.ino)));
        Ok(ns.setattr(&op, found.ino, &empty)?.size == 0)
    };
    match cut() {
        Ok(true) => Ok(()),
        Ok(false) => Err("a file that was emptied has bytes".to_owned()),
        Err(error) => Err(format!("a file of a full store cannot be emptied: {error:?}")),
    }
}

/// Changes that make nothing larger, each waited for, until there is no room even for these.
fn touch(ns: &Namespace) -> Result<(), String> {
    let op = root();
    let dir = ns.resolve(&op, format!("/{ASIDE}").as_bytes()).map_err(|error| format!("{error:?}"))?.ino;
    for number in 0..TOUCHES {
        let set = SetAttr { mode: Some(0o750 + number % 4), ..SetAttr::default() };
        match ns.setattr(&op, dir, &set).and_then(|_| ns.settle_blocking(&op)) {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::NoSpace => return Ok(()),
            Err(error) => return Err(format!("a full store says {error:?}")),
        }
    }
    Err("a full store takes changes without end".to_owned())
}

/// One set, filled and given room again; if asked, it is then filled and emptied.
///
/// # Errors
/// The promise that was broken.
pub(crate) fn fill(seed: u64, twice: bool, tally: &mut Tally) -> Result<(), String> {
    let mut rng = SimRng::new(seed);
    let rig = Rig::small(LAYOUTS[(seed % LAYOUTS.len() as u64) as usize]);
    let world = SimWorld::new(seed);
    let store = rig.make(&world).map_err(|error| format!("it cannot be made: {error:?}"))?;
    let ns = store.namespace();
    for disk in &rig.disks {
        let used: u64 = world.files(disk).iter().map(|file| file.len).sum();
        world.set_capacity(disk, used + rig.ledger.segment_len * (1 + seed % 2) + rng.below(rig.ledger.segment_len));
    }
    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    for number in 0..OBJECTS {
        let content = (seed * OBJECTS + number) * SEED_STEP;
        match run_step(&store, &Step::Put(format!("f{number}"), content)) {
            Ok(()) => kept.push((format!("f{number}"), content)),
            Err(error) if error.kind == ErrorKind::NoSpace => refused.push(content),
            Err(error) => return Err(format!("a full set says {error:?}")),
        }
        if refused.len() >= 3 {
            break;
        }
    }
    if refused.is_empty() {
        return Err("it is never full".to_owned());
    }
    tally.count("refused by a full set", refused.len() as u64);
    rig.disks.iter().for_each(|disk| world.set_capacity(disk, 1 << 40));
    ns.store().ledger().tend().map_err(|error| format!("disks with room are not taken back: {error:?}"))?;
    for content in refused {
        let key = format!("again{content}");
        run_step(&store, &Step::Put(key.clone(), content)).map_err(|error| format!("with room it says {error:?}"))?;
        kept.push((key, content));
    }
    all_there(ns, &kept)?;
    let open_file = left_open(ns, seed).map_err(|error| format!("a file cannot be written: {error:?}"))?;
    drop(store);
    world.restart(0);
    let store = rig.open(&world).map_err(|error| format!("it does not open: {error:?}"))?;
    let ns = store.namespace();
    all_there(ns, &kept)?;
    if get(ns, "open").ok().as_deref() != Some(&open_file) {
        return Err("what was synced of an open file is not there".to_owned());
    }
    if twice {
        fill_and_empty(&store, &world, (&rig.disks, rig.ledger.segment_len), &mut rng)?;
    }
    violations(ns).into_iter().next().map_or(Ok(()), Err)
}

fn all_there(ns: &Namespace, kept: &[(String, u64)]) -> Result<(), String> {
    for (key, content) in kept {
        match get(ns, key) {
            Ok(found) if found == bytes(*content) => {}
            Ok(_) => return Err(format!("{key} reads as other bytes")),
            Err(error) => return Err(format!("{key} cannot be read: {error:?}")),
        }
    }
    Ok(())
}

/// Makes a file, writes and syncs it, and does not close it.
fn left_open(ns: &Namespace, seed: u64) -> strata_namespace::Result<Vec<u8>> {
    let op = root();
    let dir = ns.resolve(&op, format!("/{BUCKET}").as_bytes())?.ino;
    let ino = ns.mknod(&op, dir, b"open", NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 })?.ino;
    ns.open(&op, ino, Access { read: true, write: true, exec: false }, false)?;
    let data = noise(seed, 5000);
    ns.write(&op, ino, 0, &data)?;
    ns.fsync(&op, ino)?;
    ns.settle_blocking(&op)?;
    Ok(data)
}

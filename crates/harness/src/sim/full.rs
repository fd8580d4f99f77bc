//! A set that fills up, for row `iofail`: what was refused is stored when it comes again with room, in the same process;
//! what was accepted stays; and what was synced of a file that nobody closes outlives the power.

use strata_namespace::{Access, ErrorKind, Namespace, NewNode, NodeKind};
use strata_seam::sim::{SimRng, SimWorld};

use super::rig::{BUCKET, Layout, Rig, get, noise, root, violations};
use super::step::{Step, bytes};
use super::workload::run as run_step;
use crate::cases::Tally;

const LAYOUTS: [Layout; 4] = [(2, 1), (4, 2), (1, 1), (3, 2)];
/// Objects that are tried while the set is tight.
const OBJECTS: u64 = 400;
/// Content of an object: one in eight seeds stands for up to 40,000 bytes.
const SEED_STEP: u64 = 8;

/// One set, filled and given room again.
///
/// # Errors
/// The promise that was broken.
pub(crate) fn fill(seed: u64, tally: &mut Tally) -> Result<(), String> {
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

//! Cases `upgrade-*` of row `crash`: the power goes at every I/O of the opening that upgrades a store of records before format 5. Whatever is
//! left, no disk has a record that the release before cannot read unless its superblock keeps that release off.

use strata_content::ContentError;
use strata_namespace::records::key;
use strata_seam::Disk;
use strata_seam::sim::{SimWorld, Submission, explore_crashes};

use super::rig::{BUCKET, Layout, Rig, root, violations};
use super::step::Step;
use super::workload::run as run_step;
use crate::cases::Tally;

/// Slots of a superblock: their length, where their incompatible features are, and where their checksum (docs/format/superblock.md).
const SLOT_LEN: usize = 4096;
const INCOMPAT_AT: usize = 8;
const CRC_AT: usize = 4092;
/// The mark of records of format 5.
const MARK: u8 = 4;
/// The format before.
const FORMAT_BEFORE: u8 = 4;

/// The valid slots of a disk's superblock, with their offsets.
fn slots(disk: &dyn Disk) -> Result<Vec<(usize, Vec<u8>)>, String> {
    let told = |error: strata_seam::DiskError| format!("a superblock cannot be read: {error:?}");
    let file = disk.open("superblock").map_err(told)?;
    let mut found = Vec::new();
    for at in [0, SLOT_LEN] {
        let mut slot = vec![0; SLOT_LEN];
        file.read_at(at as u64, &mut slot).map_err(told)?;
        if slot[CRC_AT..] == crc(&slot) {
            found.push((at, slot));
        }
    }
    Ok(found)
}

fn crc(slot: &[u8]) -> [u8; 4] {
    crc_fast::crc32_iscsi(&slot[..CRC_AT]).to_le_bytes()
}

/// Takes the mark off a disk: it is as the release before wrote it.
fn unmark(disk: &dyn Disk) -> Result<(), String> {
    let mut whole = vec![0; 2 * SLOT_LEN];
    for (at, mut slot) in slots(disk)? {
        slot[INCOMPAT_AT] &= !MARK;
        let sum = crc(&slot);
        slot[CRC_AT..].copy_from_slice(&sum);
        whole[at..at + SLOT_LEN].copy_from_slice(&slot);
    }
    disk.replace("superblock", &whole).map_err(|error| format!("a superblock cannot be written: {error:?}"))
}

/// Whether the release before refuses the disk.
fn keeps_off(disk: &dyn Disk) -> Result<bool, String> {
    Ok(slots(disk)?.iter().any(|(_, slot)| slot[INCOMPAT_AT] & MARK != 0))
}

/// A store as the release before left it.
fn store_of_before(rig: &Rig, world: &SimWorld) -> Result<(), String> {
    let told = |what: &str, error: &dyn std::fmt::Debug| format!("{what}: {error:?}");
    let store = rig.make(world).map_err(|error| told("no store", &error))?;
    run_step(&store, &Step::Put("kept".to_owned(), 3)).map_err(|error| told("no object", &error))?;
    let content = store.namespace().store();
    let before = content.transact(false, |tx| {
        tx.put(key::KEY_FORMAT, vec![FORMAT_BEFORE]);
        Ok::<_, ContentError>(())
    });
    before.map_err(|error| told("no format of before", &error))?;
    store.close().map_err(|error| told("not closed", &error))?;
    rig.disks.iter().try_for_each(|disk| unmark(&*world.disk(disk)))
}

/// Goes through all of it.
pub(super) fn explore(layout: Layout, seed: u64, choices: u64, tally: &mut Tally) {
    let (rig, world) = (Rig::small(layout), SimWorld::new(seed));
    if let Err(wrong) = store_of_before(&rig, &world) {
        return tally.broken(wrong);
    }
    let opens = |world: &SimWorld| rig.open(world).is_ok_and(|store| store.namespace().upgraded().is_some());
    let cuts = explore_crashes(&world, Submission::DisksInParallel, 0..choices, opens, |world, upgraded, state| {
        if let Err(wrong) = check(&rig, world, *upgraded) {
            tally.broken(format!("{layout:?}, upgraded {upgraded}, {state:?}: {wrong}"));
        }
    });
    tally.count("cuts", cuts);
    tally.count("upgrades cut", cuts);
}

fn check(rig: &Rig, world: &SimWorld, upgraded: bool) -> Result<(), String> {
    let marked = || -> Result<bool, String> {
        let each: Result<Vec<bool>, String> = rig.disks.iter().map(|disk| keeps_off(&*world.disk(disk))).collect();
        Ok(each?.into_iter().all(|marked| marked))
    };
    let kept_off = marked()?;
    if upgraded && !kept_off {
        return Err("it was told to be upgraded, and a disk is open to the release before".to_owned());
    }
    // What is there is looked at without changing it.
    let read_only = |on: bool| rig.disks.iter().for_each(|disk| world.set_read_only(disk, on));
    read_only(true);
    let store = rig.open(world).map_err(|error| format!("it does not open to be read: {error:?}"))?;
    let is_new = !store.namespace().is_outdated();
    drop(store);
    read_only(false);
    if is_new && !kept_off {
        return Err("it has records of format 5, and a disk is open to the release before".to_owned());
    }
    world.kill_process();
    let store = rig.open(world).map_err(|error| format!("it does not open: {error:?}"))?;
    if store.namespace().is_outdated() || !marked()? {
        return Err("an opening did not end the upgrade".to_owned());
    }
    let kept = store.namespace().head_object(&root(), BUCKET, b"kept");
    kept.map_err(|error| format!("what was there is gone: {error:?}"))?;
    violations(store.namespace()).pop().map_or(Ok(()), Err)
}

//! Marks of features in the superblocks: a store that has one keeps it, whatever the power and the disks do, and whoever does
//! not know it refuses the store.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::sync::Arc;

use strata_ledger::{Feature, Geometry, Ledger, LedgerError};
use strata_seam::Disk;
use strata_seam::sim::{Fault, IoOp, SimEntropy, SimWorld, Submission, explore_crashes, sweep_failures};
use support::Rig;

/// Bytes of a slot of a superblock, where its incompatible features are, and where its checksum (docs/format/superblock.md).
const SLOT_LEN: usize = 4096;
const INCOMPAT_AT: usize = 8;
const CRC_AT: usize = 4092;
/// The mark that this version writes.
const DOMAINS: u32 = 4;
/// Bits that the release before knew.
const KNOWN_BEFORE: u32 = 3;

fn slots(disk: &dyn Disk) -> Vec<Vec<u8>> {
    let mut bytes = vec![0; 2 * SLOT_LEN];
    disk.open("superblock").unwrap().read_at(0, &mut bytes).unwrap();
    bytes.chunks(SLOT_LEN).map(<[u8]>::to_vec).collect()
}

fn incompat(slot: &[u8]) -> u32 {
    u32::from_le_bytes(slot[INCOMPAT_AT..INCOMPAT_AT + 4].try_into().unwrap())
}

fn crc(slot: &[u8]) -> [u8; 4] {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &slot[..CRC_AT]).to_le_bytes()[..4].try_into().unwrap()
}

/// Whether the slot proves itself.
fn is_valid(slot: &[u8]) -> bool {
    slot[CRC_AT..] == crc(slot)
}

/// Has the disk's superblock say what the release before wrote, and with `also` one more bit.
fn rewrite(disk: &dyn Disk, also: u32) {
    let mut whole = Vec::new();
    for mut slot in slots(disk) {
        if is_valid(&slot) {
            let bits = incompat(&slot) & KNOWN_BEFORE | also;
            slot[INCOMPAT_AT..INCOMPAT_AT + 4].copy_from_slice(&bits.to_le_bytes());
            let sum = crc(&slot);
            slot[CRC_AT..].copy_from_slice(&sum);
        }
        whole.extend(slot);
    }
    disk.replace("superblock", &whole).unwrap();
}

/// Whether the release before would refuse the disk, which it does where it finds an unknown bit in a slot that proves itself.
fn keeps_off(disk: &dyn Disk) -> bool {
    slots(disk).iter().any(|slot| is_valid(slot) && incompat(slot) & !KNOWN_BEFORE != 0)
}

fn disks(world: &SimWorld, names: &[&str]) -> Vec<Arc<dyn Disk>> {
    names.iter().map(|name| world.disk(name) as Arc<dyn Disk>).collect()
}

fn open(world: &SimWorld, names: &[&str]) -> Result<Ledger, LedgerError> {
    Ledger::open(disks(world, names), support::small(), world.clock(), &SimEntropy::new(5), None, &mut |_| Ok(()))
}

/// A set of three disks as the release before made it.
fn unmarked() -> Rig {
    let rig = Rig::new(2, 1, support::small());
    rig.disks().iter().for_each(|disk| rewrite(&**disk, 0));
    rig
}

const NAMES: [&str; 3] = ["d00", "d01", "d02"];

#[test]
fn a_new_store_is_marked_from_the_start_and_versions_from_before_refuse_each_of_its_disks() {
    let mut rig = Rig::new(2, 1, support::small());
    let (ledger, _) = rig.open();
    assert!(ledger.has(Feature::Domains));
    ledger.mark(Feature::Domains).unwrap();
    drop(ledger);
    assert!(rig.disks().iter().all(|disk| keeps_off(&**disk)));
    // What they say to it, as this version does of a bit that it does not know.
    rewrite(&*rig.disks()[1], DOMAINS | 0x40);
    let refused = rig.try_open().err().unwrap().to_string();
    assert!(refused.contains("written by a newer version (unknown feature bits 0x40)"), "{refused}");
    assert!(refused.contains("nothing was changed; use that version"), "{refused}");
}

#[test]
fn a_store_from_before_is_unmarked_until_it_is_told_and_marked_on_every_disk_then() {
    let mut rig = unmarked();
    let (ledger, _) = rig.open();
    assert!(!ledger.has(Feature::Domains));
    assert!(!rig.disks().iter().any(|disk| keeps_off(&**disk)), "an opening alone keeps nobody off");
    ledger.mark(Feature::Domains).unwrap();
    assert!(ledger.has(Feature::Domains));
    assert!(rig.disks().iter().all(|disk| keeps_off(&**disk)));
    // Further changes of the superblocks keep it, and so does a checkpoint.
    ledger.store_checkpoint_root([7; 128]).unwrap();
    let (ledger, _) = rig.reopen(ledger);
    assert!(ledger.has(Feature::Domains) && ledger.checkpoint_root() == Some([7; 128]));
    drop(ledger);
    let newest = |disk: &Arc<dyn Disk>| slots(&**disk).iter().map(|slot| incompat(slot)).max().unwrap();
    assert_eq!(rig.disks().iter().map(newest).collect::<Vec<_>>(), [DOMAINS | 1; 3]);
}

#[test]
fn a_crash_while_a_store_is_marked_leaves_it_marked_or_not_and_it_can_be_told_again() {
    let rig = unmarked();
    let mut cut = 0;
    let states = explore_crashes(
        &rig.world,
        Submission::OneByOne,
        0..4,
        |world| open(world, &NAMES).is_ok_and(|ledger| ledger.mark(Feature::Domains).is_ok()),
        |world, marked, state| {
            let any = disks(world, &NAMES).iter().any(|disk| keeps_off(&**disk));
            assert!(any || !marked, "{state:?}: who was told so finds the mark");
            cut += u32::from(any && !marked);
            // Also without a disk, be it one that was told or not.
            let lost = NAMES[state.choices as usize % 3];
            let names: Vec<&str> = NAMES.into_iter().filter(|name| *name != lost || state.choices == 3).collect();
            let ledger = open(world, &names).unwrap_or_else(|error| panic!("{state:?}: {error}"));
            assert!(ledger.has(Feature::Domains) || !marked, "{state:?}");
            if ledger.status().read_only.is_none() {
                ledger.mark(Feature::Domains).unwrap();
                assert!(ledger.has(Feature::Domains));
                drop(ledger);
                assert!(disks(world, &names).iter().all(|disk| keeps_off(&**disk)), "{state:?}");
            }
        },
    );
    assert!(states > 30 && cut > 0, "{states} states, {cut} of them cut between two disks");
}

#[test]
fn a_disk_that_fails_while_a_store_is_marked_is_left_out_or_the_mark_is_refused() {
    let rig = unmarked();
    let faults = [Fault::full(), Fault::medium().of(IoOp::Write), Fault::medium().of(IoOp::Read)];
    let runs = sweep_failures(
        &rig.world,
        &faults,
        |world| open(world, &NAMES).is_ok_and(|ledger| ledger.mark(Feature::Domains).is_ok()),
        |world, marked, fault| {
            world.restart(0);
            let ledger = open(world, &NAMES).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert!(ledger.has(Feature::Domains) || !marked, "{fault:?}");
            ledger.mark(Feature::Domains).unwrap();
            assert!(ledger.has(Feature::Domains));
        },
    );
    assert!(runs > 40, "{runs}");
}

#[test]
fn a_store_that_takes_no_writes_is_not_marked_and_stays_as_it_was() {
    let mut rig = unmarked();
    let (ledger, _) = rig.open();
    drop(ledger);
    for name in ["d01", "d02"] {
        rig.world.set_read_only(name, true);
    }
    let (ledger, _) = rig.open();
    assert!(matches!(ledger.mark(Feature::Domains), Err(LedgerError::QuorumLost { .. })));
    drop(ledger);
    assert!(!rig.disks().iter().any(|disk| keeps_off(&**disk)));
}

#[test]
fn a_set_that_was_not_told_learns_the_mark_at_the_next_opening_and_one_that_joins_has_it() {
    let mut rig = unmarked();
    let (ledger, _) = rig.open();
    let second = ["e00", "e01"];
    let add = |ledger: &Ledger, names: &[&str], seed| {
        let geometry = Geometry { data_shards: 1, parity_shards: 1 };
        ledger.add_set(&disks(&rig.world, names), geometry, &SimEntropy::new(seed)).unwrap()
    };
    add(&ledger, &second, 31);
    drop(ledger);
    let all = [&NAMES[..], &second].concat();
    assert!(!disks(&rig.world, &all).iter().any(|disk| keeps_off(&**disk)), "a set joins with the marks of the others");
    // The second set lacks a disk and takes no writes while the store is marked.
    rig.world.vanish("e01");
    rig.world.set_read_only("e00", true);
    let ledger = open(&rig.world, &all).unwrap();
    assert_eq!(ledger.status().sets.iter().map(|set| set.is_written).collect::<Vec<_>>(), [true, false]);
    ledger.mark(Feature::Domains).unwrap();
    assert!(ledger.has(Feature::Domains));
    assert!(!keeps_off(&*rig.world.disk("e00")));
    drop(ledger);
    rig.world.kill_process();
    rig.world.bring_back("e01");
    rig.world.set_read_only("e00", false);
    let ledger = open(&rig.world, &all).unwrap();
    assert!(ledger.has(Feature::Domains));
    assert!(disks(&rig.world, &all).iter().all(|disk| keeps_off(&**disk)));
    add(&ledger, &["f00", "f01"], 32);
    assert!(keeps_off(&*rig.world.disk("f00")) && keeps_off(&*rig.world.disk("f01")));
}

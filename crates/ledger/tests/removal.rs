//! Disks that the operator takes out of a running set and gives back, with a crash at any moment of it.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use strata_ledger::{Class, DiskState, Ledger, LedgerError, PassOptions};
use strata_seam::sim::SimRng;
use strata_seam::{DiskIndex, Lsn};
use support::{Model, Rig};

fn append(ledger: &Ledger, model: &mut Model, rng: &mut SimRng, count: u64) {
    for _ in 0..count {
        let tag = rng.next_u64();
        let lsn = model.append(ledger, support::sample(rng, tag, 3000)).unwrap();
        ledger.wait(lsn, Class::Durable).unwrap();
    }
}

fn state(ledger: &Ledger, label: &str) -> Option<DiskState> {
    ledger.status().disks.into_iter().find(|disk| disk.label == label).map(|disk| disk.state)
}

fn all_there(rig: &mut Rig, model: &Model) -> Ledger {
    let (ledger, replayed) = rig.open();
    model.check_prefix(&replayed, Lsn(model.appends.len() as u64), Some(&ledger));
    ledger
}

#[test]
fn a_disk_that_was_taken_out_is_left_alone_until_it_is_added_again_and_healed() {
    let mut rig = Rig::new(2, 2, support::small());
    let (mut model, mut rng) = (Model::default(), SimRng::new(5));
    let (ledger, _) = rig.open();
    append(&ledger, &mut model, &mut rng, 10);
    assert_eq!(ledger.remove_disk(DiskIndex(1)).unwrap(), "d01");
    assert_eq!(state(&ledger, "d01"), Some(DiskState::Missing));
    // Nothing touches it any more: it may be pulled.
    let before = rig.world.disk_image("d01");
    append(&ledger, &mut model, &mut rng, 10);
    assert!(ledger.verify(&PassOptions::default(), &mut |_| true).unwrap().unreadable_count == 0);
    for file in rig.world.files("d01") {
        let now = rig.world.peek("d01", &file.name);
        rig.world.bring_back_with("d01", &before);
        assert!(now == rig.world.peek("d01", &file.name), "{} was changed", file.name);
    }
    // With one disk less no other may go.
    let refused = ledger.remove_disk(DiskIndex(2)).unwrap_err();
    assert!(matches!(refused, LedgerError::Setting { .. }), "{refused:?}");
    let refused = ledger.rejoin(rig.world.disk("d01")).unwrap_err();
    assert!(refused.to_string().contains("was taken out"), "{refused}");
    drop(ledger);
    rig.world.kill_process();
    let ledger = all_there(&mut rig, &model);
    assert!(state(&ledger, "d01").is_none(), "an opening does not take it in");
    assert!(ledger.status().strangers.iter().any(|stranger| stranger.label == "d01"));
    append(&ledger, &mut model, &mut rng, 3);
    assert!(ledger.add_disk(rig.world.disk("d01")).unwrap().written);
    assert_eq!(state(&ledger, "d01"), Some(DiskState::Stale));
    assert!(ledger.heal(&PassOptions::default(), &mut |_| true).unwrap().is_whole());
    assert_eq!(state(&ledger, "d01"), Some(DiskState::Active));
    drop(ledger);
    rig.world.restart(0);
    rig.world.vanish("d00");
    rig.world.vanish("d03");
    all_there(&mut rig, &model);
}

#[test]
fn a_disk_is_not_taken_out_while_others_lack_what_it_holds() {
    let mut rig = Rig::new(2, 2, support::small());
    let (mut model, mut rng) = (Model::default(), SimRng::new(8));
    let (ledger, _) = rig.open();
    append(&ledger, &mut model, &mut rng, 8);
    for disk in [2, 3] {
        ledger.remove_disk(DiskIndex(disk)).unwrap();
        ledger.replace_disk(DiskIndex(disk), rig.world.disk(&format!("new{disk}"))).unwrap();
    }
    // Two disks hold everything, which is as many as are needed to read it, and all four take writes.
    assert!(ledger.status().disks.iter().all(|disk| disk.state.is_written()));
    let refused = ledger.remove_disk(DiskIndex(0)).unwrap_err();
    assert!(refused.to_string().contains("heal it first"), "{refused}");
    assert!(ledger.heal(&PassOptions::default(), &mut |_| true).unwrap().is_whole());
    ledger.remove_disk(DiskIndex(0)).unwrap();
}

#[test]
fn a_place_whose_disk_was_taken_out_takes_another() {
    let mut rig = Rig::new(2, 1, support::small());
    let (mut model, mut rng) = (Model::default(), SimRng::new(6));
    let (ledger, _) = rig.open();
    append(&ledger, &mut model, &mut rng, 8);
    ledger.remove_disk(DiskIndex(0)).unwrap();
    ledger.replace_disk(DiskIndex(0), rig.world.disk("new")).unwrap();
    assert!(ledger.heal(&PassOptions::default(), &mut |_| true).unwrap().is_whole());
    drop(ledger);
    rig.world.kill_process();
    rig.names[0] = "new".to_owned();
    rig.world.vanish("d02");
    all_there(&mut rig, &model);
}

#[test]
fn a_crash_at_any_io_of_taking_a_disk_out_and_back_loses_nothing() {
    let mut rig = Rig::new(2, 1, support::small());
    let (mut model, mut rng) = (Model::default(), SimRng::new(7));
    let (ledger, _) = rig.open();
    append(&ledger, &mut model, &mut rng, 6);
    drop(ledger);
    rig.world.kill_process();
    let start = rig.world.snapshot();
    let whole = |rig: &mut Rig, rng: &mut SimRng| {
        let Ok((ledger, _)) = rig.try_open() else { return false };
        let removed = ledger.remove_disk(DiskIndex(2)).is_ok();
        for _ in 0..3 {
            let tag = rng.next_u64();
            let Ok(lsn) = ledger.append(support::sample(rng, tag, 900)) else { return false };
            if ledger.wait(lsn, Class::Durable).is_err() {
                return false;
            }
        }
        removed && ledger.add_disk(rig.world.disk("d02")).is_ok()
    };
    let first = rig.world.io_count() + 1;
    assert!(whole(&mut rig, &mut rng.clone()));
    let last = rig.world.io_count();
    let (mut inside, mut outside) = (0, 0);
    for io in first..=last {
        rig.world.restore(&start);
        rig.world.crash_at(io);
        whole(&mut rig, &mut rng.clone());
        rig.world.restart([0, 1, io | 2][io as usize % 3]);
        let (ledger, replayed) = rig.open();
        for (lsn, expected) in &model.appends {
            let found = replayed.iter().find(|append| append.lsn == *lsn).unwrap();
            assert_eq!(found.commit, expected.commit, "I/O {io}");
        }
        match state(&ledger, "d02") {
            Some(_) => inside += 1,
            None => {
                outside += 1;
                assert!(ledger.add_disk(rig.world.disk("d02")).unwrap().written);
            }
        }
        assert!(ledger.heal(&PassOptions::default(), &mut |_| true).unwrap().is_whole(), "I/O {io}");
    }
    assert!(inside > 3 && outside > 3, "{inside} with it, {outside} without");
}

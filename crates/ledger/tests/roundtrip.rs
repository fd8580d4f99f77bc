//! What goes in comes out: in every layout, through the sink, by location, by replay, from any position.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use strata_ledger::{Append, BlockRecord, Class, LedgerError, Options};
use strata_seam::sim::SimRng;
use strata_seam::{Disk, Lsn};
use support::{LAYOUTS, Model, Rig, Told};

#[test]
fn every_layout_gives_back_what_was_appended() {
    for (data, parity) in LAYOUTS {
        let mut rig = Rig::new(data, parity, support::small());
        let (ledger, replayed) = rig.open();
        assert!(replayed.is_empty());
        let told = Arc::new(Told::default());
        ledger.set_sink(told.clone());
        let (mut model, mut rng) = (Model::default(), SimRng::new(u64::from(data)));
        model.fill(&ledger, &mut rng, 150);
        assert_eq!(ledger.durable(), Lsn(150));

        let (ledger, replayed) = rig.reopen(ledger);
        assert_eq!(replayed.len(), 150);
        model.check_prefix(&replayed, Lsn(150), Some(&ledger));
        let placed: Vec<_> = replayed.iter().flat_map(|append| append.blocks.clone()).collect();
        let heard = told.blocks.lock().clone();
        assert_eq!(heard.len(), placed.len());
        assert!(
            heard
                .iter()
                .zip(&placed)
                .all(|(heard, placed)| heard.location == placed.location && heard.lsn == placed.lsn)
        );

        // And the log goes on behind it.
        model.fill(&ledger, &mut rng, 50);
        let (ledger, replayed) = rig.reopen(ledger);
        assert_eq!(replayed.len(), 200);
        model.check_prefix(&replayed, Lsn(200), Some(&ledger));
    }
}

#[test]
fn a_replay_starts_at_any_position_the_sink_was_told() {
    let mut rig = Rig::new(2, 1, support::small());
    let (ledger, _) = rig.open();
    let told = Arc::new(Told::default());
    ledger.set_sink(told.clone());
    let mut model = Model::default();
    model.fill(&ledger, &mut SimRng::new(3), 120);
    drop(ledger);
    let positions = told.after.lock().clone();
    assert!(positions.last().unwrap().segment.0 >= 2, "the log spans several segments");
    for from in positions {
        rig.world.kill_process();
        let mut next = from.next_lsn;
        let disks = rig.disks();
        let ledger = rig
            .open_on(disks, Some(from), &mut |append| {
                assert_eq!(append.lsn, next);
                model.check_one(&append, None);
                next = next.next();
                Ok(())
            })
            .unwrap();
        assert_eq!(next, Lsn(121));
        assert_eq!(ledger.next_lsn(), Lsn(121));
    }
}

#[test]
fn a_position_that_is_none_is_refused() {
    let mut rig = Rig::new(2, 1, support::small());
    let (ledger, _) = rig.open();
    let told = Arc::new(Told::default());
    ledger.set_sink(told.clone());
    Model::default().fill(&ledger, &mut SimRng::new(3), 20);
    drop(ledger);
    let after = *told.after.lock().last().unwrap();
    let mut beyond = after;
    beyond.next_lsn = Lsn(beyond.next_lsn.0 + 1);
    let mut between = after;
    between.offset -= 4096;
    let mut elsewhere = after;
    elsewhere.segment.0 += 7;
    for wrong in [beyond, between, elsewhere] {
        rig.world.kill_process();
        let disks = rig.disks();
        let opened = rig.open_on(disks, Some(wrong), &mut |_| Ok(()));
        assert!(matches!(opened, Err(LedgerError::Inconsistent { .. })), "{wrong:?}");
    }
}

#[test]
fn a_small_commit_costs_one_sector_per_disk_and_a_block_of_it_one_read() {
    let mut rig = Rig::new(4, 2, Options::default());
    let (ledger, _) = rig.open();
    let told = Arc::new(Told::default());
    ledger.set_sink(told.clone());
    rig.world.record_trace(true);
    let append = Append {
        blocks: vec![BlockRecord { directory: Bytes::from_static(b"dir"), data: Bytes::from(vec![7; 3600]) }],
        commit: Some(Bytes::from(vec![1; 1000])),
        relaxed: false,
    };
    let lsn = ledger.append(append).unwrap();
    ledger.wait(lsn, Class::Durable).unwrap();
    let trace = rig.world.trace();
    assert_eq!(trace.len(), 6, "{trace:?}");
    assert!(trace.iter().all(|io| io.len == 4096));
    rig.world.record_trace(false);
    rig.world.record_trace(true);
    let location = told.blocks.lock()[0].location;
    assert_eq!(ledger.read(&location).unwrap(), vec![7; 3600]);
    assert_eq!(rig.world.trace().len(), 1);
}

#[test]
fn disks_may_be_given_in_any_order() {
    let mut rig = Rig::new(3, 2, support::small());
    let (ledger, _) = rig.open();
    let mut model = Model::default();
    model.fill(&ledger, &mut SimRng::new(5), 60);
    drop(ledger);
    rig.world.kill_process();
    let mut disks: Vec<Arc<dyn Disk>> = rig.disks();
    disks.reverse();
    disks.swap(0, 1);
    let mut replayed = Vec::new();
    let ledger = rig
        .open_on(disks, None, &mut |append| {
            replayed.push(append);
            Ok(())
        })
        .unwrap();
    model.check_prefix(&replayed, Lsn(60), Some(&ledger));
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_the_largest_append_fits() {
    let mut rig = Rig::new(2, 1, support::small());
    let (ledger, _) = rig.open();
    let limit = ledger.append_len_max();
    let block = |len: usize| Append {
        blocks: vec![BlockRecord { directory: Bytes::new(), data: Bytes::from(vec![3; len]) }],
        ..Append::default()
    };
    assert!(matches!(ledger.append(block(limit - 31)), Err(LedgerError::TooLarge { .. })));
    let lsn = ledger.append(block(limit - 32)).unwrap();
    ledger.wait(lsn, Class::Durable).unwrap();
    let commit = Append { commit: Some(Bytes::from(vec![0; (512 << 10) + 1])), ..Append::default() };
    assert!(matches!(ledger.append(commit), Err(LedgerError::TooLarge { .. })));
    assert!(matches!(ledger.wait(Lsn(9), Class::Durable), Err(LedgerError::Inconsistent { .. })));
}

#[test]
fn a_stopped_ledger_reads_but_takes_nothing() {
    let mut rig = Rig::new(2, 1, support::small());
    let (ledger, _) = rig.open();
    let mut model = Model::default();
    let mut rng = SimRng::new(1);
    for tag in 0..5 {
        model.append(&ledger, support::sample(&mut rng, tag, 500)).unwrap();
    }
    ledger.stop().unwrap();
    assert_eq!(ledger.durable(), Lsn(5));
    assert!(matches!(ledger.append(Append::default()), Err(LedgerError::Closed)));
    let (ledger, replayed) = rig.reopen(ledger);
    model.check_prefix(&replayed, Lsn(5), Some(&ledger));
}

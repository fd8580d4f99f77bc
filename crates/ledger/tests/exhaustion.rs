//! The server runs out of descriptors or memory: no disk is blamed for it, nothing is called damaged, and it goes on by
//! itself.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use strata_ledger::{Class, DiskState, LedgerError};
use strata_seam::Lsn;
use strata_seam::sim::{Fault, IoOp, SimRng, When};
use support::{Model, Rig};

fn all_active(ledger: &strata_ledger::Ledger) -> bool {
    ledger.status().disks.iter().all(|disk| disk.state == DiskState::Active)
}

/// Every call of a run finds the server exhausted, once or for a while, on one disk or on all; whatever was refused is
/// done by itself afterwards, under its own number, and no disk is set aside.
#[test]
fn a_server_out_of_descriptors_refuses_and_goes_on_and_no_disk_is_blamed() {
    let run = |rig: &mut Rig, model: &mut Model| -> u64 {
        let Ok((ledger, _)) = rig.try_open() else { return 1 };
        let mut rng = SimRng::new(3);
        let mut refused = 0;
        for tag in 0..30 {
            let mut append = support::sample(&mut rng, tag, 5000);
            append.relaxed = tag % 3 == 0;
            match model.append(&ledger, append) {
                Ok(lsn) => match ledger.wait(lsn, Class::Durable) {
                    Ok(()) => {}
                    Err(LedgerError::Exhausted { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                },
                Err(LedgerError::Exhausted { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        rig.world.clear_faults();
        // The next append finds out that there are descriptors again, and takes along what waited.
        let last = model.append(&ledger, support::sample(&mut rng, 99, 100)).unwrap();
        ledger.wait(last, Class::Durable).unwrap();
        assert_eq!(ledger.durable(), last);
        assert!(all_active(&ledger), "{:?}", ledger.status().disks);
        refused
    };
    for (data, parity) in [(1, 0), (2, 1), (4, 2)] {
        let mut rig = Rig::new(data, parity, support::small());
        rig.options.segment_len = 64 << 10;
        let start = rig.world.snapshot();
        rig.world.record_trace(true);
        run(&mut rig, &mut Model::default());
        let trace = rig.world.trace();
        let (mut refused, mut runs) = (0, 0);
        for io in trace.iter().filter(|io| io.op != IoOp::Sync).step_by(if data == 4 { 17 } else { 3 }) {
            let faults = [
                Fault::exhausted().when(When::At(io.number)),
                Fault::exhausted().on(&io.disk).when(When::From(io.number)),
                Fault::exhausted().of(IoOp::Open).when(When::From(io.number)),
                Fault::exhausted().of(IoOp::Create).when(When::From(io.number)),
            ];
            for fault in faults {
                rig.world.restore(&start);
                rig.world.set_fault(fault);
                let mut model = Model::default();
                let said = run(&mut rig, &mut model);
                (refused, runs) = (refused + said, runs + 1);
                rig.world.clear_faults();
                rig.world.restart(io.number);
                let (ledger, replayed) = rig.open();
                model.check_prefix(&replayed, Lsn(model.appends.len() as u64), Some(&ledger));
                assert!(all_active(&ledger));
            }
        }
        assert!(refused > runs, "{data}+{parity}: {refused} refusals in {runs} runs");
    }
}

#[test]
fn a_read_without_descriptors_is_refused_as_such_and_not_as_damage() {
    let mut rig = Rig::new(4, 2, support::small());
    let mut model = Model::default();
    let (ledger, _) = rig.open();
    model.fill(&ledger, &mut SimRng::new(8), 20);
    let (ledger, replayed) = rig.reopen(ledger);
    let places = support::places(&model, &replayed);
    rig.world.set_fault(Fault::exhausted().of(IoOp::Open));
    rig.world.set_fault(Fault::exhausted().of(IoOp::Read));
    for (location, _) in places.iter().filter(|(location, _)| location.len > 0) {
        assert!(matches!(ledger.read(location), Err(LedgerError::Exhausted { .. })));
    }
    rig.world.clear_faults();
    places.iter().for_each(|(location, bytes)| assert_eq!(ledger.read(location).unwrap(), bytes));
    assert!(ledger.status().disks.iter().all(|disk| disk.read_errors == 0), "no disk failed to be read");
}

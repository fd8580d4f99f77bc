//! The server runs out of descriptors or memory: no disk is blamed for it, nothing is called damaged, and it goes on by
//! itself.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use strata_ledger::{Append, Class, DiskState, Ledger, LedgerError, Options};
use strata_seam::sim::{Fault, IoOp, SimRng, When};
use strata_seam::{DiskError, DiskErrorKind, Lsn};
use support::disturbed::{Disturb, Disturbed};
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
        let mut rig = Rig::new(data, parity, Options { segment_len: 64 << 10, ..support::small() });
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

/// Appends to the ledger while a stripe is being written, and then has that write fail for lack of descriptors; once.
struct Grows {
    ledger: OnceLock<Ledger>,
    append: Mutex<Option<Append>>,
    number: OnceLock<Lsn>,
}

impl Disturb for Grows {
    fn before_write(&self, _file: &str) -> Result<(), DiskError> {
        let Some(append) = self.append.lock().take() else { return Ok(()) };
        assert!(self.number.set(self.ledger.get().unwrap().append(append).unwrap()).is_ok());
        let (disk, what) = ("d01".to_owned(), "no descriptors".to_owned());
        Err(DiskError { kind: DiskErrorKind::Exhausted, disk, what, source: None })
    }
}

/// What some disks took of a stripe is of no account once it is written elsewhere: also where it has grown meanwhile and
/// does not fit behind the last one any more.
#[test]
fn a_stripe_that_was_cut_off_for_lack_of_descriptors_may_grow_and_be_written_in_the_next_segment() {
    let mut moved = 0;
    for seed in 0..120 {
        let mut rig = Rig::new(2, 1, Options { segment_len: 64 << 10, ..support::small() });
        let grows = Arc::new(Grows { ledger: OnceLock::new(), append: Mutex::new(None), number: OnceLock::new() });
        let mut disks = rig.disks();
        disks[1] = Arc::new(Disturbed(Arc::clone(&disks[1]), Arc::<Grows>::clone(&grows)));
        assert!(grows.ledger.set(rig.open_on(disks, None, &mut |_| Ok(())).unwrap()).is_ok());
        let ledger = grows.ledger.get().unwrap();
        let (mut model, mut rng) = (Model::default(), SimRng::new(seed));
        model.fill(ledger, &mut rng, 4 + seed % 23);
        let before = ledger.writing();
        let first = model.append(ledger, support::sample(&mut rng, 1, 500)).unwrap();
        let (second, at) = (support::sample(&mut rng, 2, 9000), ledger.writing());
        *grows.append.lock() = Some(second.clone());
        let cut = ledger.wait(first, Class::Durable).is_err();
        let number = *grows.number.get().unwrap();
        model.appends.insert(number, second);
        ledger.wait(number, Class::Durable).unwrap();
        moved += usize::from(cut && at == before && ledger.writing() != before);
        let last = model.append(ledger, support::sample(&mut rng, 3, 500)).unwrap();
        ledger.wait(last, Class::Durable).unwrap();
        drop(grows);
        rig.world.restart(seed);
        let (ledger, replayed) = rig.try_open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        model.check_prefix(&replayed, last, Some(&ledger));
    }
    assert!(moved > 5, "{moved} of 120 stripes went to the next segment");
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

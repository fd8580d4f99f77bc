//! A set while it is made: cut off or failing at any I/O, the next start makes it anew or goes on with it.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use bytes::Bytes;
use strata_ledger::{Append, Class, Ledger};
use strata_seam::Lsn;
use strata_seam::sim::{Fault, IoOp, SimEntropy, SimRng, When};
use support::Rig;

const LAYOUTS: [(u8, u8); 4] = [(1, 0), (1, 1), (2, 1), (4, 2)];

/// Starts as a server does: makes the set where the disks hold none, opens it, and appends once. What was found, and the
/// number that is known to be durable at the end.
fn start(rig: &mut Rig, name: u64) -> strata_ledger::Result<(usize, Lsn)> {
    if Ledger::find(&rig.disks())?.is_none() {
        let (options, clock) = (rig.options.clone(), rig.world.clock());
        Ledger::format(&rig.disks(), rig.geometry, &options, &*clock, &SimEntropy::new(name))?;
    }
    let (ledger, replayed) = rig.try_open()?;
    let commit = Some(Bytes::from_static(b"first"));
    let lsn = ledger.append(Append { blocks: Vec::new(), commit, relaxed: false })?;
    ledger.wait(lsn, Class::Durable)?;
    Ok((replayed.len(), lsn))
}

/// I/Os of a first start that goes well.
fn ios(data: u8, parity: u8) -> u64 {
    let mut rig = Rig::blank(data, parity, support::small());
    assert_eq!(start(&mut rig, 1).unwrap(), (0, Lsn(1)));
    rig.world.io_count()
}

/// Whether a start after one that was cut off is a good one: it knows what that one acknowledged, and the disks are never of
/// two kinds.
fn check_next_start(rig: &mut Rig, acknowledged: usize, what: &str) {
    let in_use = Ledger::in_use(&rig.disks());
    assert!(
        in_use.iter().all(|used| *used == in_use[0]),
        "{what}: some disks hold a store and some do not: {in_use:?}"
    );
    let (found, _) = start(rig, 3).unwrap_or_else(|error| panic!("{what}: the next start fails: {error}"));
    assert!(found >= acknowledged, "{what}: {acknowledged} acknowledged, {found} found");
    let (ledger, replayed) = rig.open();
    assert_eq!(replayed.len(), found + 1, "{what}");
    assert!(ledger.status().disks.iter().all(|disk| disk.state.is_written()), "{what}: {:?}", ledger.status().disks);
}

#[test]
fn a_first_start_that_is_cut_off_anywhere_is_followed_by_one_that_succeeds() {
    for (data, parity) in LAYOUTS {
        let ios = ios(data, parity);
        let mut rng = SimRng::new(u64::from(data));
        for io in 1..=ios {
            // 0 keeps nothing that was not synced, 1 keeps everything, as the death of the process does.
            for choices in [0, 1, rng.next_u64() | 2] {
                let what = format!("{data}+{parity}, cut at {io} of {ios}, choices {choices}");
                let mut rig = Rig::blank(data, parity, support::small());
                rig.world.crash_during(io, 1 + rng.below(u64::from(data + parity)));
                let acknowledged = usize::from(start(&mut rig, 1).is_ok());
                rig.world.restart(choices);
                if rng.one_in(2) {
                    // The one after that is cut off as well.
                    rig.world.crash_at(rig.world.io_count() + 1 + rng.below(ios));
                    let again = start(&mut rig, 2);
                    rig.world.restart(rng.next_u64());
                    check_next_start(&mut rig, acknowledged + usize::from(again.is_ok()), &what);
                } else {
                    check_next_start(&mut rig, acknowledged, &what);
                }
            }
        }
    }
}

#[test]
fn an_io_that_fails_while_a_set_is_made_keeps_no_later_start_from_succeeding() {
    for (data, parity) in LAYOUTS {
        let mut failed = 0;
        for io in 1..=ios(data, parity) {
            let mut rig = Rig::blank(data, parity, support::small());
            rig.world.set_fault(Fault::medium().when(When::At(io)));
            let (options, clock) = (rig.options.clone(), rig.world.clock());
            let made = Ledger::format(&rig.disks(), rig.geometry, &options, &*clock, &SimEntropy::new(1));
            failed += u64::from(made.is_err());
            rig.world.clear_faults();
            check_next_start(&mut rig, 0, &format!("{data}+{parity}, I/O {io} failed"));
        }
        let disks = u64::from(data + parity);
        assert!(failed > 4 * disks, "making it takes several I/Os on each disk, and {failed} failures were reported");
    }
}

#[test]
fn disks_of_a_set_that_was_never_made_may_be_used_for_anything() {
    // Cut off when some disks were told of a set and none that it is made.
    let mut rig = Rig::blank(2, 1, support::small());
    rig.world.set_fault(Fault::medium().of(IoOp::Write).on("d02"));
    let (options, clock) = (rig.options.clone(), rig.world.clock());
    Ledger::format(&rig.disks(), rig.geometry, &options, &*clock, &SimEntropy::new(1)).unwrap_err();
    rig.world.clear_faults();
    assert_eq!(Ledger::find(&rig.disks()).unwrap(), None);
    assert_eq!(Ledger::in_use(&rig.disks()), [false; 3]);
    // In another layout,
    let two = strata_ledger::Geometry { data_shards: 1, parity_shards: 1 };
    let set = Ledger::format(&rig.disks()[1..], two, &options, &*clock, &SimEntropy::new(2)).unwrap();
    assert_eq!(Ledger::find(&rig.disks()).unwrap(), Some(set));
    // and beside a set: the one left over counts as blank.
    assert_eq!(Ledger::in_use(&rig.disks()), [false, true, true]);
    let ledger = rig.open_on(rig.disks(), None, &mut |_| Ok(())).unwrap();
    assert!(ledger.status().disks.iter().all(|disk| disk.state.is_written()));
}

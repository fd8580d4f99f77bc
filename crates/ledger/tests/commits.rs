//! The log is read in order while it is written: from any number that is still there, also over damage that parity covers;
//! what was given back or is lost is a gap that says where the log goes on.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod support;

use std::collections::BTreeSet;

use strata_ledger::{Ledger, LogGap, LogPlace, LogStop, Replayed};
use strata_seam::sim::SimRng;
use strata_seam::{Lsn, Position, SegmentId};
use support::{Model, Rig, small};

/// A set with some segments, and what is in them.
fn filled(data: u8, parity: u8, seed: u64) -> (Rig, Ledger, Model) {
    let mut rig = Rig::new(data, parity, small());
    let (ledger, _) = rig.open();
    let mut model = Model::default();
    model.fill(&ledger, &mut SimRng::new(seed), 150);
    assert!(ledger.segments().len() > 2, "{:?}", ledger.segments());
    (rig, ledger, model)
}

/// Everything from `next` on, in steps of at most `step` appends, up to the end or a gap.
fn read(ledger: &Ledger, next: Lsn, step: usize) -> (Vec<Replayed>, Option<LogGap>) {
    let (mut all, mut place) = (Vec::new(), LogPlace::before(next));
    loop {
        let before = all.len();
        let read = ledger.read_log(&mut place, Lsn(u64::MAX), &mut |append| {
            all.push(append);
            all.len() < before + step
        });
        match read {
            Err(LogStop::Gap(gap)) => return (all, Some(gap)),
            Err(stop) => panic!("{stop:?}"),
            Ok(()) if all.len() == before => {
                assert_eq!(place.next(), ledger.written().next());
                return (all, None);
            }
            Ok(()) => {}
        }
    }
}

fn check(ledger: &Ledger, model: &Model, next: Lsn, step: usize) {
    let (found, gap) = read(ledger, next, step);
    assert_eq!(gap, None, "from {next}");
    let expected: Vec<Lsn> = model.appends.range(next..).map(|(lsn, _)| *lsn).collect();
    assert_eq!(found.iter().map(|append| append.lsn).collect::<Vec<_>>(), expected, "from {next} in steps of {step}");
    found.iter().for_each(|append| model.check_one(append, Some(ledger)));
}

#[test]
fn the_log_is_read_from_any_number_in_steps_of_any_size() {
    for (data, parity) in [(1, 0), (2, 1), (4, 2)] {
        let (_rig, ledger, model) = filled(data, parity, 5);
        for next in [1, 2, 17, 80, 149, 150, 151] {
            for step in [1, 7, 1000] {
                check(&ledger, &model, Lsn(next), step);
            }
        }
    }
}

#[test]
fn a_reader_follows_what_is_written_and_goes_on_behind_a_crash() {
    let mut rig = Rig::new(2, 1, small());
    let (mut model, mut rng) = (Model::default(), SimRng::new(9));
    let mut place = LogPlace::before(Lsn(1));
    let mut found = Vec::new();
    for round in 0..12 {
        let (ledger, _) = rig.open();
        for _ in 0..4 {
            model.fill(&ledger, &mut rng, 7);
            let upto = Lsn(ledger.written().0 - 2);
            for upto in [upto, ledger.written()] {
                ledger
                    .read_log(&mut place, upto, &mut |append| {
                        found.push(append);
                        true
                    })
                    .unwrap();
                assert_eq!(place.next(), upto.next());
            }
        }
        if round % 3 == 0 {
            ledger.begin_segment().unwrap();
        }
        drop(ledger);
        rig.world.restart(round);
    }
    model.check_prefix(&found, Lsn(model.appends.len() as u64), None);
}

#[test]
fn what_was_given_back_is_a_gap_that_says_where_the_log_goes_on() {
    let (_rig, ledger, model) = filled(2, 1, 11);
    let segments = ledger.segments();
    let starts: Vec<Lsn> = segments
        .iter()
        .map(|segment| {
            let mut first = None;
            ledger.walk_segment(*segment, &mut |append| first = first.or(Some(append.lsn)));
            first.unwrap_or(ledger.next_lsn())
        })
        .collect();
    let kept: BTreeSet<SegmentId> = [segments[1]].into();
    let position = Position { segment: segments[3], offset: 0, next_lsn: starts[3] };
    assert_eq!(ledger.holding(starts[2]), Some(segments[2]));
    assert!(ledger.free_all_but(&kept, position).unwrap() > 0);
    // The first segment and the third are gone.
    let (none, gap) = read(&ledger, Lsn(1), 9);
    assert!(none.is_empty());
    assert_eq!(gap, Some(LogGap { from: Lsn(1), until: starts[1], damaged: false }));
    let (found, gap) = read(&ledger, starts[1], 9);
    assert_eq!(gap, Some(LogGap { from: starts[2], until: starts[3], damaged: false }));
    assert_eq!(found.len() as u64, starts[2].0 - starts[1].0);
    check(&ledger, &model, starts[3], 9);
    assert_eq!((ledger.holding(Lsn(1)), ledger.holding(starts[2])), (None, Some(segments[1])));
}

#[test]
fn damage_that_parity_covers_is_not_seen_and_more_is_a_gap_of_just_the_stripes_that_are_lost() {
    let (rig, ledger, model) = filled(2, 1, 13);
    let segment = ledger.segments()[1];
    let mut places = Vec::new();
    ledger.walk_segment(segment, &mut |append| places.push((append.at.offset, append.lsn)));
    let (offset, first) = places[places.len() / 2];
    let lost: Vec<Lsn> = places.iter().filter(|(at, _)| *at == offset).map(|(_, lsn)| *lsn).collect();
    let last = lost[lost.len() - 1];
    let file = format!("seg-{:08x}", segment.0);
    let damage = |name: &str| assert!(rig.world.poke(name, &file, offset, &[0xff; 4096]));
    damage("d00");
    check(&ledger, &model, Lsn(1), 1000);
    damage("d01");
    damage("d02");
    let (_, gap) = read(&ledger, Lsn(1), 1000);
    assert_eq!(gap, Some(LogGap { from: lost[0], until: last.next(), damaged: true }), "{first}");
    check(&ledger, &model, last.next(), 1000);
}

#[test]
fn disks_that_do_not_answer_are_no_gap() {
    let (rig, ledger, model) = filled(2, 1, 17);
    rig.world.vanish("d00");
    check(&ledger, &model, Lsn(1), 1000);
    rig.world.vanish("d01");
    let stop = ledger.read_log(&mut LogPlace::before(Lsn(1)), Lsn(u64::MAX), &mut |_| true);
    assert!(matches!(stop, Err(LogStop::Silent(_))), "{stop:?}");
    rig.world.bring_back("d01");
}

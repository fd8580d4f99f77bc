//! Row `loss`: every subset of disks that parity makes good is lost, in every phase of the store's life; and one more.
//!
//! The disks go in the middle of what the phase does, or are gone from the start where a start is the phase. Within
//! parity nothing is wrong or missing. Beyond it the answer names the loss, or is right: never wrong in silence.

use anyhow::Result;
use strata_ledger::PassOptions;
use strata_runtime::OpenStore;
use strata_seam::DiskErrorKind;
use strata_seam::sim::{DiskImage, Fault, FaultKind, SimRng, SimWorld, When};

use super::corrupt::names_the_loss;
use super::model::{Model, Possible, difference, seen};
use super::mover::reclaim;
use super::rig::{Layout, Rig, violations};
use super::step::Step;
use super::workload::{Workload, run as run_step};
use crate::cases::{self, Tally};
use crate::options::Options;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row =
    Row { name: "loss", id: "R1", about: "every loss of up to parity disks, in every phase", run };

/// The layouts whose subsets are all tried.
const LAYOUTS: [Layout; 3] = [(2, 1), (4, 2), (8, 4)];

/// What a store is doing when disks go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Put,
    Delete,
    Heal,
    Move,
    Recovery,
}

const PHASES: [Phase; 6] = [Phase::Idle, Phase::Put, Phase::Delete, Phase::Heal, Phase::Move, Phase::Recovery];

/// Layout, phase, and the disks that are lost.
type Case = (Layout, Phase, Vec<usize>);

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut cases: Vec<Case> = Vec::new();
    for layout in LAYOUTS {
        for phase in PHASES {
            cases.extend(subsets(layout, 0).into_iter().map(|lost| (layout, phase, lost)));
            // One more than parity: not every phase of every subset, but every subset in some phase.
            let beyond = subsets(layout, 1).into_iter().filter(|lost| lost.len() > usize::from(layout.1)).enumerate();
            let here = beyond.filter(|(number, _)| PHASES[number % PHASES.len()] == phase);
            cases.extend(here.map(|(_, lost)| (layout, phase, lost)));
        }
    }
    if !options.full {
        // All of the small layouts, a sample of the large one.
        let mut number = 0;
        cases.retain(|(layout, ..)| {
            number += 1;
            layout.0 < 8 || number % 29 == 0
        });
    }
    let name = |number: u64| format!("{:?}", cases[number as usize]);
    let tally = cases::run(options, report, cases.len() as u64, name, |number, tally| {
        let case = &cases[number as usize];
        if let Err(wrong) = lose(case, options.seed, tally) {
            tally.broken(format!("{case:?}: {wrong}"));
        }
    });
    report.goal("cases within parity", tally.of("within"), 4920.0);
    report.figure("cases one beyond", tally.of("beyond"));
    report.figure("of those refused or answered by name", tally.of("named"));
    report.figure("objects read whole", tally.of("read"));
    Ok(())
}

/// Every subset of the layout's disks that parity makes good (with `more` beyond), smallest first.
fn subsets((data, parity): Layout, more: usize) -> Vec<Vec<usize>> {
    let (count, most) = (usize::from(data + parity), usize::from(parity) + more);
    let members = |mask: usize| (0..count).filter(move |index| mask >> index & 1 == 1).collect::<Vec<_>>();
    let mut all: Vec<_> = (0..1_usize << count).map(members).filter(|members| members.len() <= most).collect();
    all.sort_by_key(Vec::len);
    all
}

/// A step with the disks going at an I/O in the middle of it. The name space goes on or says that it cannot.
fn during(
    store: &OpenStore,
    world: &SimWorld,
    possible: &mut Possible,
    lost: &[usize],
    steps: &[Step],
) -> Result<(), String> {
    for (number, step) in steps.iter().enumerate() {
        if number == steps.len() / 2 {
            lost.iter().for_each(|disk| world.vanish(&Rig::disk_name(*disk)));
        }
        let answer = run_step(store, step);
        possible.note(step, &answer, answer.is_ok())?;
    }
    Ok(())
}

fn lose((layout, phase, lost): &Case, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let within = lost.len() <= usize::from(layout.1);
    tally.count(if within { "within" } else { "beyond" }, 1);
    let mut workload = Workload::new(*layout, seed, Vec::new());
    workload.rig.content = super::step::fine(4 << 20);
    let (rig, world) = (&workload.rig, &workload.world);
    let mut possible = Possible::known(workload.model.clone());
    let open = || rig.open(world);
    let opened = || open().map_err(|error| format!("it does not open: {error:?}"));
    let go = || lost.iter().for_each(|disk| world.vanish(&Rig::disk_name(*disk)));
    let key = |n: u64| format!("d{}/f{}", n % 3, n / 3);
    let store = match phase {
        Phase::Idle => {
            let store = opened()?;
            go();
            Ok(store)
        }
        Phase::Put | Phase::Delete => {
            let store = opened()?;
            let steps: Vec<Step> = (0..4)
                .map(|n| match phase {
                    Phase::Put => Step::Put(key(n), 8 * (n + seed)),
                    _ if n % 2 == 0 => Step::Delete(["d0/f1", "f0"][n as usize / 2].to_owned()),
                    _ if n == 1 => Step::Collect,
                    _ => Step::Reclaim,
                })
                .collect();
            during(&store, world, &mut possible, lost, &steps)?;
            Ok(store)
        }
        Phase::Heal => {
            // One of the disks came back blank and is being healed when all of them go.
            if let Some(first) = lost.first() {
                world.bring_back_with(&Rig::disk_name(*first), &DiskImage::default());
            }
            let adopting =
                Rig { ledger: strata_ledger::Options { adopt_blank: true, ..rig.ledger.clone() }, ..rig.clone() };
            let store = adopting.open(world).map_err(|error| format!("it does not open: {error:?}"))?;
            let mut stripes = 0;
            let healed = store.namespace().store().ledger().heal(&PassOptions::default(), &mut |_| {
                stripes += 1;
                if stripes == 3 {
                    go();
                }
                true
            });
            if within && lost.is_empty() {
                healed.map_err(|error| format!("a heal with every disk there: {error:?}"))?;
            }
            go();
            Ok(store)
        }
        Phase::Move => {
            // Everything is moved to new segments, the old ones are freed, and the disks go in the middle of that.
            let store = opened()?;
            let at = 2 + lost.iter().sum::<usize>() as u64 % 24;
            let mut steps = 0;
            let moved = reclaim(
                store.namespace(),
                &mut |_| {
                    steps += 1;
                    if steps == at {
                        go();
                    }
                    true
                },
                &mut || true,
            );
            if lost.is_empty()
                && moved.map_err(|error| format!("a reclaim with every disk there: {error:?}"))?.segments_freed == 0
            {
                return Err("a reclaim of everything frees nothing".to_owned());
            }
            go();
            Ok(store)
        }
        Phase::Recovery => {
            // The power goes during a put, the disks while recovery reads and writes.
            world.crash_at(world.io_count() + 60 + seed % 20);
            if let Ok(store) = open() {
                for n in 0..4 {
                    let step = Step::Put(key(n), 24 + n);
                    let answer = run_step(&store, &step);
                    possible.note(&step, &answer, answer.is_ok())?;
                }
            }
            world.restart(SimRng::new(seed).next_u64());
            let mid = world.io_count() + 10 + (lost.len() as u64) * 3;
            world.crash_at(mid);
            drop(open());
            world.restart(2);
            if within {
                go();
            } else {
                // More than parity covers cease to answer in the middle of it: silence is no proof of anything.
                let from = world.io_count() + 1 + lost.iter().sum::<usize>() as u64 * 7 % 90;
                for disk in lost {
                    let gone = Fault::new(FaultKind::Fail(DiskErrorKind::Gone)).on(&Rig::disk_name(*disk));
                    world.set_fault(gone.when(When::From(from)));
                }
            }
            open()
        }
    };
    let crashed = *phase == Phase::Recovery;
    match store {
        Ok(store) if within => whole(&store, &mut possible, crashed, tally)?,
        Ok(store) => partly(&store, &possible, tally)?,
        Err(error) if !within && names_the_loss(&format!("{error:?}")) => tally.count("named", 1),
        Err(error) => return Err(format!("it does not open: {error:?}")),
    }
    if within {
        // And again from the start, without those disks.
        world.kill_process();
        whole(&opened()?, &mut possible, true, tally)?;
    }
    Ok(())
}

/// Nothing is wrong and nothing is missing.
fn whole(store: &OpenStore, possible: &mut Possible, started: bool, tally: &mut Tally) -> Result<(), String> {
    let found = seen(store.namespace()).map_err(|error| format!("it cannot be read: {error:?}"))?;
    if started {
        possible.check_after_crash(&found)?
    } else {
        possible.check_now(&found)?
    }
    tally.count("read", found.values().flatten().count() as u64);
    violations(store.namespace()).into_iter().next().map_or(Ok(()), Err)
}

/// Beyond parity: what is read is right, what is not read is refused by name.
fn partly(store: &OpenStore, possible: &Possible, tally: &mut Tally) -> Result<(), String> {
    let mut named = false;
    match seen(store.namespace()) {
        Ok(found) => {
            let models: Vec<Model> = possible.models();
            if !models.iter().any(|model| model.seen() == found) {
                let expected = models.first().map(Model::seen).unwrap_or_default();
                return Err(format!("beyond parity it shows {}", difference(&found, &expected)));
            }
            tally.count("read", found.values().flatten().count() as u64);
        }
        Err(error) => {
            let text = format!("{error:?}");
            named = names_the_loss(&text);
            if !named {
                return Err(format!("beyond parity it does not say what is lost: {text}"));
            }
        }
    }
    tally.count("named", u64::from(named));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_counted_as_the_binomials_say() {
        assert_eq!(subsets((2, 1), 0).len(), 4);
        assert_eq!(subsets((4, 2), 0).len(), 22);
        assert_eq!(subsets((8, 4), 0).len(), 794);
        assert_eq!(PHASES.len() * (4 + 22 + 794), 4920);
    }
}

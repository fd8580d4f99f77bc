//! Row `loss`: every subset of disks that parity makes good is lost, in every phase of the store's life.

use anyhow::Result;
use strata_seam::sim::SimWorld;

use super::rig::{Layout, Rig, get, noise, put, violations};
use crate::cases;
use crate::options::Options;
use crate::report::Report;
use crate::row::Row;

/// The row.
pub(crate) const ROW: Row =
    Row { name: "loss", id: "R1", about: "every loss of up to parity disks, in every phase", run };

/// The layouts whose subsets are all tried.
const LAYOUTS: [Layout; 3] = [(2, 1), (4, 2), (8, 4)];

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let cases: Vec<(Layout, Vec<usize>)> =
        LAYOUTS.into_iter().flat_map(|layout| subsets(layout).into_iter().map(move |lost| (layout, lost))).collect();
    let name = |number| format!("{:?}", cases[number as usize]);
    let tally = cases::run(options, report, cases.len() as u64, name, |number, tally| {
        let (layout, lost) = &cases[number as usize];
        tally.count("cases", 1);
        let rig = Rig::small(*layout);
        let world = SimWorld::new(options.seed);
        let bytes = noise(options.seed, 50_000);
        let store = rig.make(&world).expect("a store is made");
        put(store.namespace(), "kept", &bytes).expect("a healthy store takes an object");
        drop(store);
        world.kill_process();
        lost.iter().for_each(|disk| world.vanish(&Rig::disk_name(*disk)));
        let store = rig.open(&world).expect("the store opens without up to parity disks");
        if get(store.namespace(), "kept").ok().as_ref() != Some(&bytes) {
            tally.broken("an object is not what was put");
        }
        violations(store.namespace()).into_iter().for_each(|wrong| tally.broken(wrong));
    });
    report.goal("cases", tally.of("cases"), 4920.0);
    report.figure("threads", options.threads() as f64);
    Ok(())
}

/// Every subset of the layout's disks that parity makes good, smallest first.
fn subsets((data, parity): Layout) -> Vec<Vec<usize>> {
    let (count, most) = (usize::from(data + parity), usize::from(parity));
    let members = |mask: usize| (0..count).filter(move |index| mask >> index & 1 == 1).collect::<Vec<_>>();
    let mut all: Vec<_> = (0..1_usize << count).map(members).filter(|members| members.len() <= most).collect();
    all.sort_by_key(Vec::len);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_counted_as_the_binomials_say() {
        assert_eq!(subsets((2, 1)).len(), 4);
        assert_eq!(subsets((4, 2)).len(), 22);
        assert_eq!(subsets((8, 4)).len(), 794);
    }
}

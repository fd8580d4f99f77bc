//! A log over two sets whose server runs out of descriptors at every I/O in turn while the set that is written loses its quorum or
//! is drained, for row `iofail`: what was not taken is written on the other set, and nothing that was acknowledged is lost.

use std::sync::Arc;

use strata_ledger::{Class, Geometry, Ledger, LedgerError, Replayed};
use strata_seam::sim::{Fault, SimEntropy, SimRng, SimWorld, sweep_failures};
use strata_seam::{Disk, Lsn};

use super::log::{options, sample};
use super::rig::Layout;
use crate::cases::Tally;

const LAYOUTS: [Layout; 5] = [(2, 2), (1, 2), (2, 1), (1, 1), (3, 2)];
/// Appends before the set is lost, at most, and after it.
const APPENDS: u64 = 10;

/// The two sets and what befalls the one that is written.
struct Case {
    seed: u64,
    layouts: [Layout; 2],
    drains: bool,
}

impl Case {
    fn disks(&self, world: &SimWorld, set: usize) -> Vec<Arc<dyn Disk>> {
        let (data, parity) = self.layouts[set];
        (0..data + parity).map(|index| world.disk(&Self::name(set, index)) as Arc<dyn Disk>).collect()
    }

    fn name(set: usize, index: u8) -> String {
        format!("s{set}d{index:02}")
    }

    fn open(&self, world: &SimWorld) -> strata_ledger::Result<(Ledger, Vec<Replayed>)> {
        let disks = (0..2).flat_map(|set| self.disks(world, set)).collect();
        let mut replayed = Vec::new();
        let entropy = SimEntropy::new(world.io_count());
        let ledger = Ledger::open(disks, options(), world.clock(), &entropy, None, &mut |append| {
            replayed.push(append);
            Ok(())
        })?;
        Ok((ledger, replayed))
    }

    /// A store of both sets with some appends; how many.
    fn prepare(&self, world: &SimWorld) -> strata_ledger::Result<u64> {
        let geometry = |(data_shards, parity_shards): Layout| Geometry { data_shards, parity_shards };
        let (first, second) = (self.disks(world, 0), self.disks(world, 1));
        let entropy = SimEntropy::new(self.seed);
        Ledger::format(&first, geometry(self.layouts[0]), &options(), &*world.clock(), &entropy)?;
        let ledger = Ledger::open(first, options(), world.clock(), &entropy, None, &mut |_| Ok(()))?;
        ledger.add_set(&second, geometry(self.layouts[1]), &entropy)?;
        let base = 1 + self.seed % 7;
        for number in 1..=base {
            ledger.append(sample(self.seed, number))?;
        }
        ledger.sync()?;
        Ok(base)
    }

    /// Goes on appending while the set that is written goes; the last number known to be durable.
    fn work(&self, world: &SimWorld, base: u64) -> Result<Lsn, String> {
        let Ok((ledger, _)) = self.open(world) else { return Ok(Lsn(base)) };
        let mut rng = SimRng::new(self.seed);
        let at = rng.below(APPENDS / 2);
        let mut durable = Lsn(base);
        for nth in 0..APPENDS {
            if nth == at {
                self.strike(&ledger, world, &mut rng);
            }
            let number = ledger.next_lsn().0;
            let taken = ledger.append(sample(self.seed, number)).and_then(|lsn| {
                ledger.wait(lsn, Class::Durable)?;
                Ok(lsn)
            });
            match taken {
                Ok(lsn) => durable = lsn,
                Err(LedgerError::Exhausted { .. } | LedgerError::QuorumLost { .. }) => {}
                Err(error) => return Err(format!("append {number} is refused: {error:?}")),
            }
        }
        Ok(durable.max(ledger.durable()))
    }

    fn strike(&self, ledger: &Ledger, world: &SimWorld, rng: &mut SimRng) {
        let Some(set) = ledger.set_of(ledger.writing()) else { return };
        if self.drains {
            // Whether it may be: what it leads to is what counts.
            drop(ledger.set_draining(set, true));
            return;
        }
        // As many as parity covers: with two, the rest is below the write quorum.
        let (data, parity) = self.layouts[usize::from(set)];
        let first = rng.below(u64::from(data + parity)) as u8;
        (0..parity).for_each(|nth| world.vanish(&Self::name(usize::from(set), (first + nth) % (data + parity))));
    }

    fn check(&self, world: &SimWorld, durable: Lsn) -> Result<(), String> {
        world.restart(self.seed | 1);
        let (ledger, replayed) = self.open(world).map_err(|error| format!("it does not open: {error:?}"))?;
        for (number, append) in (1..).zip(&replayed) {
            let expected = sample(self.seed, number);
            if append.lsn != Lsn(number) || append.commit != expected.commit {
                return Err(format!("append {number} is replayed as {} {:?}", append.lsn, append.commit));
            }
            for (placed, block) in append.blocks.iter().zip(&expected.blocks) {
                if ledger.read(&placed.location).ok().as_ref() != Some(&block.data) {
                    return Err(format!("a block of append {number} cannot be read as it was written"));
                }
            }
        }
        let last = replayed.len() as u64;
        if last < durable.0 { Err(format!("{durable} was acknowledged, {last} is the last one there")) } else { Ok(()) }
    }
}

/// One pair of sets, with a lack of descriptors at every I/O of what is done with them.
pub(crate) fn exhaust(seed: u64, tally: &mut Tally) {
    let mut rng = SimRng::new(seed);
    let mut layout = || LAYOUTS[rng.below(LAYOUTS.len() as u64) as usize];
    let case = Case { seed, layouts: [layout(), layout()], drains: seed.is_multiple_of(3) };
    let world = SimWorld::new(seed);
    let base = match case.prepare(&world) {
        Ok(base) => base,
        Err(error) => return tally.broken(format!("{:?} cannot be made: {error:?}", case.layouts)),
    };
    world.kill_process();
    let one = |set: usize| Case::name(set, (seed % u64::from(case.layouts[set].0)) as u8);
    let faults = [Fault::exhausted(), Fault::exhausted().on(&one(0)), Fault::exhausted().on(&one(1))];
    let runs = sweep_failures(
        &world,
        &faults,
        |world| case.work(world, base),
        |world, durable, fault| {
            let checked = durable.clone().and_then(|durable| case.check(world, durable));
            match checked {
                Ok(()) => tally.count("opened", 1),
                Err(wrong) => tally.broken(format!("sets {:?}, {fault:?}: {wrong}", case.layouts)),
            }
        },
    );
    tally.count("runs", runs);
    tally.count("sets taken over", 1);
}

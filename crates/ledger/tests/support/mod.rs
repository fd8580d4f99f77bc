//! A set of simulated disks with a ledger on it, and a model of what was appended.
#![allow(dead_code, reason = "each suite uses its part")]

pub(crate) mod disturbed;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use strata_ledger::{
    Append, BlockRecord, Class, Geometry, Ledger, LedgerError, Location, Options, PlacedBlock, Replayed, Result, Sink,
};
use strata_seam::sim::{SimEntropy, SimRng, SimWorld};
use strata_seam::{Disk, Lsn, Position};

pub(crate) const LAYOUTS: [(u8, u8); 7] = [(1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (4, 2), (16, 4)];

/// A set on simulated disks.
pub(crate) struct Rig {
    pub(crate) world: SimWorld,
    pub(crate) names: Vec<String>,
    pub(crate) geometry: Geometry,
    pub(crate) options: Options,
    openings: u64,
}

/// Small segments and stripes, so that little data crosses many borders.
pub(crate) fn small() -> Options {
    Options {
        segment_len: 128 << 10,
        shard_payload_max: 16 << 10,
        queue_bytes_max: 64 << 10,
        flush_bytes: 16 << 10,
        ..Options::default()
    }
}

impl Rig {
    /// A formatted set.
    pub(crate) fn new(data: u8, parity: u8, options: Options) -> Self {
        let rig = Self::blank(data, parity, options);
        Ledger::format(&rig.disks(), rig.geometry, &rig.options, &*rig.world.clock(), &SimEntropy::new(1)).unwrap();
        rig
    }

    /// Disks without a set on them.
    pub(crate) fn blank(data: u8, parity: u8, options: Options) -> Self {
        let geometry = Geometry { data_shards: data, parity_shards: parity };
        let names = (0..data + parity).map(|index| format!("d{index:02}")).collect();
        Self { world: SimWorld::new(7), names, geometry, options, openings: 0 }
    }

    pub(crate) fn disks(&self) -> Vec<Arc<dyn Disk>> {
        self.names.iter().map(|name| self.world.disk(name) as Arc<dyn Disk>).collect()
    }

    pub(crate) fn open_on(
        &mut self,
        disks: Vec<Arc<dyn Disk>>,
        from: Option<Position>,
        replay: &mut dyn FnMut(Replayed) -> Result<()>,
    ) -> Result<Ledger> {
        self.openings += 1;
        Ledger::open(disks, self.options.clone(), self.world.clock(), &SimEntropy::new(self.openings), from, replay)
    }

    /// Opens and returns what was replayed.
    pub(crate) fn try_open(&mut self) -> Result<(Ledger, Vec<Replayed>)> {
        let mut replayed = Vec::new();
        let disks = self.disks();
        let ledger = self.open_on(disks, None, &mut |append| {
            replayed.push(append);
            Ok(())
        })?;
        Ok((ledger, replayed))
    }

    pub(crate) fn open(&mut self) -> (Ledger, Vec<Replayed>) {
        self.try_open().unwrap()
    }

    /// The process dies and starts again.
    pub(crate) fn reopen(&mut self, ledger: Ledger) -> (Ledger, Vec<Replayed>) {
        drop(ledger);
        self.world.kill_process();
        self.open()
    }
}

/// What was appended, by number.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) appends: BTreeMap<Lsn, Append>,
}

/// An append that can be told from every other.
pub(crate) fn sample(rng: &mut SimRng, tag: u64, len_max: u64) -> Append {
    let count = rng.below(4);
    let blocks = (0..count)
        .map(|block| {
            let mut data = vec![0; rng.below(len_max) as usize];
            rng.fill(&mut data);
            BlockRecord { directory: Bytes::from(format!("{tag}/{block}")), data: Bytes::from(data) }
        })
        .collect();
    let commit = (count == 0 || rng.one_in(2)).then(|| {
        let mut commit = format!("commit {tag} ").into_bytes();
        commit.resize(commit.len() + rng.below(300) as usize, b'.');
        Bytes::from(commit)
    });
    Append { blocks, commit, relaxed: false }
}

impl Model {
    pub(crate) fn append(&mut self, ledger: &Ledger, append: Append) -> Result<Lsn> {
        let lsn = ledger.append(append.clone())?;
        assert!(self.appends.insert(lsn, append).is_none(), "{lsn} was given out twice");
        Ok(lsn)
    }

    /// Appends `count` samples, waiting for each fifth.
    pub(crate) fn fill(&mut self, ledger: &Ledger, rng: &mut SimRng, count: u64) {
        for _ in 0..count {
            let tag = rng.next_u64();
            let lsn = self.append(ledger, sample(rng, tag, 6000)).unwrap();
            if rng.one_in(5) {
                ledger.wait(lsn, Class::Durable).unwrap();
            }
        }
        ledger.sync().unwrap();
    }

    /// Checks one replayed append, and with a ledger the data of its blocks.
    pub(crate) fn check_one(&self, replayed: &Replayed, ledger: Option<&Ledger>) {
        let expected = self.appends.get(&replayed.lsn).unwrap_or_else(|| panic!("{} was never appended", replayed.lsn));
        assert_eq!(replayed.commit, expected.commit, "commit of {}", replayed.lsn);
        assert_eq!(replayed.blocks.len(), expected.blocks.len());
        for (placed, block) in replayed.blocks.iter().zip(&expected.blocks) {
            assert_eq!((placed.lsn, &placed.directory), (replayed.lsn, &block.directory));
            if let Some(ledger) = ledger {
                assert_eq!(ledger.read(&placed.location).unwrap(), block.data, "data of {}", replayed.lsn);
            }
        }
    }

    /// Checks that exactly the appends up to the last one replayed are there, and at least those up to `least`.
    pub(crate) fn check_prefix(&self, replayed: &[Replayed], least: Lsn, ledger: Option<&Ledger>) {
        for (index, append) in replayed.iter().enumerate() {
            assert_eq!(append.lsn, Lsn(index as u64 + 1), "appends are replayed in order and without a gap");
            self.check_one(append, ledger);
        }
        assert!(replayed.len() as u64 >= least.0, "{} appends were acknowledged, {} are there", least, replayed.len());
    }

    /// Forgets what a crash took back.
    pub(crate) fn cut(&mut self, end: Lsn) {
        self.appends.retain(|lsn, _| *lsn < end);
    }
}

/// Keeps what the sink is told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) blocks: Mutex<Vec<PlacedBlock>>,
    pub(crate) after: Mutex<Vec<Position>>,
}

impl Sink for Told {
    fn written(&self, blocks: &[PlacedBlock], after: Position) {
        self.blocks.lock().extend_from_slice(blocks);
        self.after.lock().push(after);
    }
}

pub(crate) fn is_corrupt<T>(result: &Result<T>) -> bool {
    matches!(result, Err(LedgerError::Corrupt { .. }))
}

/// Every location of a replay, with the bytes that must be there.
pub(crate) fn places(model: &Model, replayed: &[Replayed]) -> Vec<(Location, Bytes)> {
    let blocks = replayed.iter().flat_map(|append| {
        let expected = &model.appends[&append.lsn];
        append.blocks.iter().zip(&expected.blocks).map(|(placed, block)| (placed.location, block.data.clone()))
    });
    blocks.collect()
}

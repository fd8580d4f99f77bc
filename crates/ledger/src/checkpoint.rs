//! Keeping the root of the checkpoint, and reading the log's blocks before the log is opened.
//!
//! The root is opaque here: up to 128 bytes that the layer above gave, in the superblock of every disk that takes writes. It
//! goes there with the superblock's own crash argument (`docs/format/superblock.md`): an opening finds the old root or the
//! new one, and the new one if the call that stored it returned.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use strata_seam::{Clock, Disk, Lsn, SegmentId, SetId, Timestamp};

use crate::api::Location;
use crate::error::{LedgerError, Result};
use crate::identify::{self, Identified};
use crate::ledger::Ledger;
use crate::options::Options;
use crate::set::Set;
use crate::sets::{Homes, Sets, find_homes};

/// Bytes of a root; one of zeros is none.
pub const CHECKPOINT_ROOT_LEN: usize = 128;

impl Ledger {
    /// The root last stored, if there is one.
    #[must_use]
    pub fn checkpoint_root(&self) -> Option<[u8; CHECKPOINT_ROOT_LEN]> {
        known(newest(&self.shared.sets.all()).1)
    }

    /// Makes `root` the store's checkpoint on every disk that takes writes. What it refers to must be durable before.
    ///
    /// # Errors
    /// [`LedgerError::QuorumLost`], [`LedgerError::Closed`]: the next opening finds this root or the one before.
    pub fn store_checkpoint_root(&self, root: [u8; CHECKPOINT_ROOT_LEN]) -> Result<()> {
        // The writer's lock, so that no stripe is acknowledged between a disk's failure and the others being told of it.
        let writer = self.shared.writer.lock();
        if let Some(halt) = self.shared.queue.lock().halt {
            return Err(halt.error());
        }
        let durable = self.shared.durable();
        let version = newest(&self.shared.sets.all()).0 + 1;
        let stored = self.shared.tell_all(|superblock| {
            superblock.durable_lsn = superblock.durable_lsn.max(durable);
            superblock.checkpoint = root;
            if superblock.roster.is_some() {
                superblock.checkpoint_version = version;
            }
        });
        drop(writer);
        stored
    }
}

fn known(root: [u8; CHECKPOINT_ROOT_LEN]) -> Option<[u8; CHECKPOINT_ROOT_LEN]> {
    (root != [0; CHECKPOINT_ROOT_LEN]).then_some(root)
}

/// The root last stored and its version: the highest, where there are several sets. Zeros are none.
pub(crate) fn newest(sets: &[Arc<Set>]) -> (u64, [u8; CHECKPOINT_ROOT_LEN]) {
    let roots = sets.iter().map(|set| {
        let supers = set.supers.lock();
        (supers.newest.checkpoint_version, supers.newest.checkpoint)
    });
    roots.max_by_key(|(version, _)| *version).unwrap_or((0, [0; CHECKPOINT_ROOT_LEN]))
}

/// A store whose blocks can be read although its log was not opened. Nothing is written, and no disk is adopted.
pub struct Peek {
    store: SetId,
    sets: Sets,
    homes: Homes,
    root: Option<[u8; CHECKPOINT_ROOT_LEN]>,
}

/// A clock that does not move.
struct Standstill;

impl Clock for Standstill {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
    fn monotonic_nanos(&self) -> u64 {
        0
    }
}

impl Peek {
    /// Identifies the disks.
    ///
    /// # Errors
    /// As [`Ledger::open`] where the disks make no readable set.
    pub fn new(disks: &[Arc<dyn Disk>], options: &Options) -> Result<Self> {
        let options = Options { adopt_blank: false, ..options.clone() };
        // Nothing is judged by its time here.
        let clock = Arc::new(Standstill);
        let Identified { sets, roster, history, .. } = identify::identify(disks.to_vec(), &options, clock)?;
        let (homes, _) = find_homes(&sets, &history);
        let root = known(newest(&sets).1);
        Ok(Self { store: roster.store, sets: Sets::new(sets, homes.clone(), roster), homes, root })
    }

    /// The store's identity.
    #[must_use]
    pub fn set_id(&self) -> SetId {
        self.store
    }

    /// The root of the newest checkpoint, if there is one.
    #[must_use]
    pub fn checkpoint_root(&self) -> Option<[u8; CHECKPOINT_ROOT_LEN]> {
        self.root
    }

    /// The bytes at `location`, verified, from other disks if need be.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`].
    pub fn read(&self, location: &Location) -> Result<Bytes> {
        match self.sets.of(location.segment) {
            Some(set) => set.read(location),
            None => Err(LedgerError::corrupt(location.segment, location.sector, Lsn(0), "no set has this segment")),
        }
    }

    /// Every segment that some disk has a file of.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentId> {
        let listed = self.sets.all().into_iter().flat_map(|set| set.listed().0.into_keys());
        listed.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether the log can be replayed from the start of this segment: it and all later ones are there.
    #[must_use]
    pub fn reaches_back_to(&self, segment: SegmentId) -> bool {
        let last = self.homes.keys().next_back().copied().unwrap_or_default();
        // A store that never wrote anything has no segment and a whole log.
        last < segment
            || (segment.0..=last.0).all(|number| self.homes.contains_key(&SegmentId(number)))
            || self.homes.is_empty()
    }
}

/// Why a replay of everything is refused.
pub(crate) fn start_is_gone(first: SegmentId) -> LedgerError {
    LedgerError::Inconsistent {
        what: format!(
            "the log begins with segment {first}, what was before was given back after a checkpoint; replay from the \
             checkpoint"
        ),
    }
}

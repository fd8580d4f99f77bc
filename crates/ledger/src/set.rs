//! The disks of one erasure set with what is fixed about them. Shared by reading, writing and recovery.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use strata_erasure::{Codec, CodecId};
use strata_seam::planted::{Bug, planted};
use strata_seam::{Clock, DiskError, DiskErrorKind, SegmentId, SetId};

use crate::api::Geometry;
use crate::error::{LedgerError, Result};
use crate::layout;
use crate::member::Member;
use crate::meter::median;
use crate::supers::Supers;

/// Everything before `end` that is not among `kept` was given back.
#[derive(Clone, Debug, Default)]
pub(crate) struct GivenBack {
    pub(crate) end: SegmentId,
    pub(crate) kept: BTreeSet<SegmentId>,
    /// Files are overwritten before they are removed.
    pub(crate) erase: bool,
}

impl GivenBack {
    pub(crate) fn has(&self, segment: SegmentId) -> bool {
        segment < self.end && !self.kept.contains(&segment)
    }
}

/// An erasure set.
pub(crate) struct Set {
    pub(crate) id: SetId,
    /// What operators call it.
    pub(crate) number: u16,
    pub(crate) geometry: Geometry,
    pub(crate) segment_len: u64,
    pub(crate) codec_id: CodecId,
    /// In order of disk index.
    pub(crate) members: Vec<Member>,
    /// For rebuilding; the writer has its own.
    pub(crate) codec: Mutex<Codec>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Held for reading while a frame is healed, and for writing while segments are given back: a heal must not make a
    /// file anew that was just removed. What it guards is what was given back last.
    pub(crate) freeing: RwLock<GivenBack>,
    /// Held while a missing segment file is made to be healed.
    pub(crate) making: Mutex<()>,
    pub(crate) supers: Mutex<Supers>,
    /// Reads that failed because the server was out of descriptors or memory.
    pub(crate) exhausted_reads: AtomicU64,
    /// Whether it lost its write quorum: nothing is written to it until the store is opened again, which
    /// this process does by itself as soon as enough disks are back.
    pub(crate) halted: AtomicBool,
}

impl Set {
    pub(crate) fn disks(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn data_shards(&self) -> usize {
        usize::from(self.geometry.data_shards)
    }

    /// Disks that must take a write before it is acknowledged: one more than are needed to read it where the parity
    /// allows, so that an acknowledged stripe survives the loss of a disk at once.
    pub(crate) fn write_quorum(&self) -> usize {
        let quorum = self.data_shards() + usize::from(self.geometry.parity_shards >= 2);
        quorum - usize::from(planted(Bug::QuorumIgnored))
    }

    /// Disks that take writes now.
    pub(crate) fn writable(&self) -> usize {
        self.members.iter().filter(|member| member.writable()).count()
    }

    /// A bit per disk for which `test` holds.
    pub(crate) fn mask(&self, test: impl Fn(&Member) -> bool) -> u32 {
        self.members.iter().enumerate().filter(|(_, member)| test(member)).fold(0, |mask, (index, _)| mask | 1 << index)
    }

    /// Refuses when too few disks take writes.
    pub(crate) fn check_quorum(&self) -> Result<()> {
        let (answered, needed) = (self.writable(), self.write_quorum());
        if answered < needed { Err(LedgerError::QuorumLost { answered, needed }) } else { Ok(()) }
    }

    /// Whether stripes may be written to it.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_halted() && self.check_quorum().is_ok()
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Writes nothing more to it, and says so once. The store goes on with its other sets, if there are any.
    pub(crate) fn halt(&self) {
        if !self.halted.swap(true, Ordering::AcqRel) {
            let (answered, needed) = (self.writable(), self.write_quorum());
            tracing::error!(set = %self.id, number = self.number, answered, needed,
                "write quorum lost: nothing is written to the set until enough of its disks are back");
        }
    }

    /// The same because of an error, unless that says nothing about the disks.
    pub(crate) fn halt_over(&self, error: &LedgerError) {
        if !matches!(error, LedgerError::Exhausted { .. }) {
            self.halt();
        }
    }

    /// Sectors of a segment.
    pub(crate) fn segment_sectors(&self) -> u32 {
        u32::try_from(self.segment_len / layout::byte_of(1)).unwrap_or(u32::MAX)
    }

    /// Every segment that some disk has a file of, with a bit per disk that has one, and a bit per disk that could not
    /// be asked. What is known to have been given back is not among them, whoever still has a file of it.
    pub(crate) fn listed(&self) -> (BTreeMap<SegmentId, u32>, u32) {
        let mut segments: BTreeMap<SegmentId, u32> = BTreeMap::new();
        let mut silent = 0;
        for (index, member) in self.members.iter().enumerate() {
            match member.disk().and_then(|disk| disk.list()) {
                Ok(files) => {
                    for segment in files.iter().filter_map(|file| layout::parse_segment_name(&file.name)) {
                        *segments.entry(segment).or_default() |= 1 << index;
                    }
                }
                Err(_) => silent |= 1 << index,
            }
        }
        let given_back = self.freeing.read();
        segments.retain(|segment, _| !given_back.has(*segment));
        drop(given_back);
        (segments, silent)
    }

    /// The segments of the log, and a bit per disk that could not be asked. A segment that was given back while disks
    /// were away is still listed by those: it is part of the log only where so many of the disks that are `whole` list
    /// it that it can be read, or more than can have been away.
    pub(crate) fn segments(&self, whole: u32) -> (BTreeSet<SegmentId>, u32) {
        let (listed, silent) = self.listed();
        let witnesses = whole & !silent;
        let enough = self.data_shards().min(usize::from(self.geometry.parity_shards) + 1);
        let enough = enough.min(witnesses.count_ones() as usize);
        let of_the_log = |on: u32| (on & witnesses).count_ones() as usize >= enough;
        (listed.into_iter().filter(|(_, on)| of_the_log(*on)).map(|(segment, _)| segment).collect(), silent)
    }

    /// A bit per disk that is read around.
    pub(crate) fn around(&self) -> u32 {
        self.mask(|member| member.meter.is_around())
    }

    /// Notes that a disk could not be read, and whether it is to blame.
    pub(crate) fn note_read_error(&self, disk: usize, error: &DiskError) {
        if error.kind == DiskErrorKind::Exhausted {
            self.exhausted_reads.fetch_add(1, Ordering::AcqRel);
        } else if self.members[disk].present() {
            self.members[disk].meter.note_read_error();
        }
    }

    /// Reads from a disk by `read`, and takes its time.
    pub(crate) fn timed_read<R>(
        &self,
        disk: usize,
        read: impl FnOnce() -> Result<R, DiskError>,
    ) -> Result<R, DiskError> {
        let started = self.clock.monotonic_nanos();
        let result = read();
        let now = self.clock.monotonic_nanos();
        let member = &self.members[disk];
        match &result {
            Ok(_) => {
                let usual = || {
                    let others = self.members.iter().enumerate().filter(|(index, _)| *index != disk);
                    let others = others.map(|(_, other)| &other.meter).filter(|meter| !meter.is_around());
                    median(others.map(crate::meter::Meter::read_nanos).filter(|nanos| *nanos > 0).collect())
                };
                if member.meter.note_read(now, now.saturating_sub(started), usual) {
                    let nanos = member.meter.read_nanos();
                    tracing::warn!(disk = &*member.label(), nanos, "disk is far slower than the others: read around");
                }
            }
            Err(error) => self.note_read_error(disk, error),
        }
        result
    }
}

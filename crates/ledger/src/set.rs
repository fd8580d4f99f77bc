//! The disks of one erasure set with what is fixed about them. Shared by reading, writing and recovery.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use strata_erasure::{Codec, CodecId};
use strata_seam::{SegmentId, SetId};

use crate::api::Geometry;
use crate::error::{LedgerError, Result};
use crate::layout;
use crate::member::Member;

/// An erasure set.
pub(crate) struct Set {
    pub(crate) id: SetId,
    pub(crate) geometry: Geometry,
    pub(crate) segment_len: u64,
    pub(crate) codec_id: CodecId,
    /// In order of disk index.
    pub(crate) members: Vec<Member>,
    /// For rebuilding; the writer has its own.
    pub(crate) codec: Mutex<Codec>,
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
        self.data_shards() + usize::from(self.geometry.parity_shards >= 2)
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

    /// Sectors of a segment.
    pub(crate) fn segment_sectors(&self) -> u32 {
        u32::try_from(self.segment_len / layout::byte_of(1)).unwrap_or(u32::MAX)
    }

    /// Every segment that some disk has a file of, and a bit per disk that could not be asked.
    pub(crate) fn segments(&self) -> (BTreeSet<SegmentId>, u32) {
        let mut segments = BTreeSet::new();
        let mut silent = 0;
        for (index, member) in self.members.iter().enumerate() {
            match member.disk().and_then(|disk| disk.list()) {
                Ok(files) => segments.extend(files.iter().filter_map(|file| layout::parse_segment_name(&file.name))),
                Err(_) => silent |= 1 << index,
            }
        }
        (segments, silent)
    }
}

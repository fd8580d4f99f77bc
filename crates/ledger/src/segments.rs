//! Giving segments back, and keeping the last ones for whoever makes room.
//!
//! A segment is freed by removing its file from every disk. Its number is never used again, so a location in it can only
//! fail, never give other bytes. A disk that is away keeps its file; the checkpoint says which segments there still are, and
//! whatever else lies before its position is removed when the disk is seen again: at an opening, and before a disk is taken
//! back while the set runs. A pass over the log would otherwise find stripes there that all other disks lack.

use crate::sync::atomic::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use strata_seam::planted::{Bug, planted};
use strata_seam::{DiskError, DiskErrorKind, Lsn, Position, SECTOR_LEN, SegmentId};

use crate::api::Replayed;
use crate::error::{LedgerError, Result};
use crate::layout;
use crate::ledger::Ledger;
use crate::member::Member;
use crate::meta;
use crate::set::{GivenBack, Set};
use crate::walk::Walker;

impl Ledger {
    /// Gives a segment's room back: removes its file from every disk. The caller answers for nothing in it being wanted
    /// any more, neither by location nor by a replay. A disk that is away keeps its file until it is removed again.
    ///
    /// # Errors
    /// [`LedgerError::Inconsistent`] for the segment being written or a later one, and disk errors after the other disks
    /// have been tried.
    pub fn free_segment(&self, segment: SegmentId) -> Result<()> {
        let shared = &self.shared;
        if segment >= shared.writer.lock().segment {
            return Err(LedgerError::Inconsistent { what: format!("segment {segment} is still being written") });
        }
        let mut result = Ok(());
        if let Some(set) = shared.sets.of(segment) {
            let freeing = set.freeing.write();
            for member in set.members.iter().filter(|member| member.present()) {
                match member.remove(segment, shared.erasing.load(Ordering::Relaxed)) {
                    // One that is set aside keeps its file like one that is away.
                    Err(error) if member.writable() => result = Err(error.into()),
                    _ => {}
                }
            }
            drop(freeing);
        }
        shared.sets.forget(|gone| gone == segment);
        self.look_for_room();
        result
    }

    /// Removes every segment file before `position` that is not among `kept`: what a freeing that was cut off left, and
    /// what disks still have that were away. Returns how many files went. Where the store takes no writes, none do: they go
    /// when it takes some again.
    ///
    /// # Errors
    /// Disk errors, after the other files have been tried.
    pub fn free_all_but(&self, kept: &BTreeSet<SegmentId>, position: Position) -> Result<u64> {
        let mut removed = 0;
        let mut result = Ok(());
        let end = position.segment.min(self.shared.writer.lock().segment);
        let halted = self.shared.queue.lock().halt.is_some();
        for set in self.shared.sets.all() {
            let mut freeing = set.freeing.write();
            let erase = self.shared.erasing.load(Ordering::Relaxed);
            *freeing = GivenBack { end, kept: kept.clone(), erase };
            for member in set.members.iter().filter(|member| member.present() && !halted) {
                match member.remove_given_back(&freeing) {
                    Ok(files) => removed += files,
                    Err(error) if member.writable() => result = Err(error.into()),
                    // One that is set aside keeps its files like one that is away.
                    Err(_) => {}
                }
            }
            drop(freeing);
        }
        self.shared.sets.forget(|segment| segment < end && !kept.contains(&segment));
        if removed > 0 {
            self.look_for_room();
        }
        result.map(|()| removed)
    }

    /// Has the files of segments that are freed from now on overwritten before they are removed, or not any more. A disk that is away
    /// keeps its files until it is seen again; those are only removed then.
    pub fn erase_freed(&self, erase: bool) {
        self.shared.erasing.store(erase, Ordering::Relaxed);
    }

    /// After something was freed: appends that were refused may pass again.
    fn look_for_room(&self) {
        self.shared.measure(&self.shared.writer.lock());
        self.shared.work.notify_one();
    }

    /// Ends the segment being written, if anything is in it, so that it can be moved and freed.
    ///
    /// # Errors
    /// [`LedgerError::Full`], [`LedgerError::QuorumLost`], [`LedgerError::Closed`].
    pub fn begin_segment(&self) -> Result<()> {
        let shared = &self.shared;
        let mut writer = shared.writer.lock();
        while shared.pump(&mut writer)? {}
        if writer.sector > 0 || !shared.may_take(&writer.set) { shared.roll(&mut writer) } else { Ok(()) }
    }

    /// The segment being written. It and all later ones cannot be freed.
    #[must_use]
    pub fn writing(&self) -> SegmentId {
        self.shared.writer.lock().segment
    }

    /// Bytes that the payloads of one segment may take at most: its length on the disks that hold data, of the set where
    /// that is most.
    #[must_use]
    pub fn segment_capacity(&self) -> u64 {
        self.shared.sets.all().iter().map(|set| set.segment_capacity()).max().unwrap_or(0)
    }

    /// The same of one segment.
    #[must_use]
    pub fn capacity_of(&self, segment: SegmentId) -> u64 {
        self.shared.sets.of(segment).map_or(0, |set| set.segment_capacity())
    }

    /// Every append of a segment that is no longer written, in order, as a replay would give it. Appends that cannot be
    /// read are counted and passed over: the second number returned. The first is the bytes that frames take on each
    /// disk.
    pub fn walk_segment(&self, segment: SegmentId, each: &mut dyn FnMut(Replayed)) -> (u64, u64) {
        let Some(set) = self.shared.sets.of(segment) else { return (0, 0) };
        let history = self.shared.history.lock().clone();
        let mut walker = Walker::new(&set, &history);
        walker.enter(segment, self.shared.sets.of(SegmentId(segment.0.saturating_add(1))).as_deref());
        let (mut sector, mut expected, mut used, mut unreadable) = (0, None, 0, 0);
        loop {
            let stripe = match walker.stripe_at(segment, sector, expected) {
                Some((stripe, _)) => stripe,
                None => {
                    let head = walker.scan(segment, sector, set.segment_sectors(), |head| {
                        walker.admits(head) && expected.is_none_or(|lsn: Lsn| head.first_lsn >= lsn)
                    });
                    let found = head.and_then(|head| walker.stripe_at(segment, head.sector, Some(head.first_lsn)));
                    let Some((stripe, _)) = found else { break };
                    // Something lay before it that cannot be found any more.
                    unreadable += 1;
                    stripe
                }
            };
            let head = &stripe.head;
            used += u64::from(head.end_sector() - head.sector) * SECTOR_LEN as u64;
            let appends = set.read(&head.meta_location()).ok().and_then(|bytes: Bytes| meta::decode(head, &bytes));
            match appends {
                Some(appends) => appends.into_iter().for_each(&mut *each),
                None => unreadable += 1,
            }
            sector = head.end_sector();
            expected = Some(head.last_lsn.next());
        }
        (used, unreadable)
    }
}

impl Member {
    /// Removes the files of segments that were given back, also behind one that cannot be removed. Returns how many.
    pub(crate) fn remove_given_back(&self, given_back: &GivenBack) -> Result<u64, DiskError> {
        let files = self.disk()?.list()?;
        let segments = files.iter().filter_map(|file| layout::parse_segment_name(&file.name));
        let (mut removed, mut result) = (0, Ok(()));
        for segment in segments.filter(|segment| given_back.has(*segment) && !planted(Bug::FreedFilesKept)) {
            match self.remove(segment, given_back.erase) {
                Ok(()) => removed += 1,
                Err(error) => result = Err(error),
            }
        }
        result.map(|()| removed)
    }
}

impl Set {
    /// Removes what was given back while disks were away. Where that fails some room is lost until the next opening.
    pub(crate) fn give_up_given_back(&self) {
        let freeing = self.freeing.write();
        for member in self.members.iter().filter(|member| member.present()) {
            if let Err(error) = member.remove_given_back(&freeing) {
                let disk = &*member.label();
                tracing::warn!(disk, %error, "segments that were given back while the disk was away stay on it");
            }
        }
    }

    /// Bytes that the payloads of one segment may take: its length on the disks that hold data.
    pub(crate) fn segment_capacity(&self) -> u64 {
        self.segment_len * self.data_shards() as u64
    }

    /// Whether every disk that takes writes has room for `segments` more segment files. One that has not is set aside
    /// where the others have plenty.
    ///
    /// # Errors
    /// [`LedgerError::Full`] where the set has not. A disk that does not tell counts as having it: creating the file will
    /// tell.
    pub(crate) fn check_room(&self, segments: u64) -> Result<()> {
        let mut volumes: BTreeMap<u64, (u64, Vec<usize>)> = BTreeMap::new();
        for (index, member) in self.members.iter().enumerate().filter(|(_, member)| member.writable()) {
            if let Ok(space) = member.disk().and_then(|disk| disk.space()) {
                let (free, disks) = volumes.entry(space.volume).or_insert((space.free, Vec::new()));
                *free = space.free.min(*free);
                disks.push(index);
            }
        }
        let wanted = |disks: usize| disks as u64 * segments * self.segment_len;
        let short = volumes.into_values().filter(|(free, disks)| *free < wanted(disks.len()));
        let full = short.flat_map(|(free, disks)| disks.into_iter().map(move |disk| (disk, free)));
        let full = full.map(|(disk, free)| {
            let what = format!("room for {segments} more segments: {free} bytes are free");
            let disk_label = self.members[disk].label().to_string();
            (disk, DiskError { kind: DiskErrorKind::Full, disk: disk_label, what, source: None })
        });
        self.judge_full(&full.collect::<Vec<_>>())
    }
}

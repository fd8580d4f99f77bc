//! The single writer: takes a batch from the queue, writes it as a stripe, tells who waits.
//!
//! Which set a segment is made on is decided in `placing.rs`. Invariants: one stripe is in flight at a time; `written` and `durable` rise only after a write quorum took the frames
//! and, where a disk was lost by this stripe, after the superblocks of the others say so; buffered stripes not yet
//! synced all lie in the current segment.

use crate::sync::atomic::Ordering;
use std::sync::Arc;

use strata_seam::planted::{Bug, planted};
use strata_seam::{AlignedBuf, DiskError, DiskErrorKind, DiskFile, Epoch, Lsn, Position, SegmentId, WriteMode};

use crate::error::{LedgerError, Result};
use crate::layout;
use crate::member::Member;
use crate::queue::{Halt, Queued, Stuck};
use crate::set::Set;
use crate::shared::Shared;
use crate::stripe::{Frames, Identity};
use crate::thread::STUCK_PAUSE;
use crate::workers::{Job, Workers};

/// Frames of at least this many bytes are written past the operating system's memory also where nobody asked for it:
/// copying them there and flushing them later is slower (measured on ext4, 1 MiB appends over 4+2: 300 MB/s through it,
/// 750 MB/s past it).
const DIRECT_MIN: usize = 64 << 10;
/// Bytes of a stripe that are written one disk after the other where only the operating system's memory is meant: that
/// takes a few microseconds a disk, less than waking a thread.
const INLINE_MAX: usize = 256 << 10;

/// What may lie on some disks, at the writer's place, of a stripe that was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attempt {
    /// Nothing.
    None,
    /// Frames. The stripe is written there again, or in another segment as a new opening, which disowns them.
    Frames,
    /// Frames, and some sets may have been told of that opening: nothing more may be written as the one before it.
    Disowned,
}

/// What only the writer touches.
pub(crate) struct Writer {
    /// The set that the current segment lies on.
    pub(crate) set: Arc<Set>,
    pub(crate) segment: SegmentId,
    /// Where the next stripe goes.
    pub(crate) sector: u32,
    /// Of the current segment, by disk; `None` for disks that do not take writes.
    files: Vec<Option<Arc<dyn DiskFile>>>,
    pub(crate) frames: Frames,
    pub(crate) identity: Identity,
    /// Whether stripes of the current segment wait for a sync.
    pub(crate) unsynced: bool,
    /// Stripes written to the current segment.
    pub(crate) stripes: u64,
    pub(crate) attempt: Attempt,
    /// The segment that was asked for or made ahead, and the set it was made on where that is known.
    pub(crate) ahead: Option<(SegmentId, Option<Arc<Set>>)>,
    pub(crate) workers: Workers,
}

impl Writer {
    /// A writer that goes on at `end`, in a segment on `set`.
    pub(crate) fn new(end: Position, set: Arc<Set>, frames: Frames, identity: Identity) -> Self {
        Self {
            set,
            segment: end.segment,
            // The end comes from sectors counted in 32 bits.
            sector: u32::try_from(end.offset / layout::byte_of(1)).unwrap_or(u32::MAX),
            files: Vec::new(),
            frames,
            identity,
            unsynced: false,
            stripes: 0,
            attempt: Attempt::None,
            ahead: None,
            workers: Workers::default(),
        }
    }

    /// Opens the files of the current segment, creating them where a disk has none.
    pub(crate) fn open_files(&mut self) -> Result<()> {
        let set = Arc::clone(&self.set);
        // None at all until all of them are: a disk that takes writes must not be passed over.
        self.files.clear();
        let mut files: Vec<Option<Arc<dyn DiskFile>>> = vec![None; set.disks()];
        let mut full = Vec::new();
        for (index, member) in set.members.iter().enumerate().filter(|(_, member)| member.writable()) {
            match self.open_file(&set, member) {
                Ok(file) => files[index] = Some(file),
                Err(error) if error.kind == DiskErrorKind::Full => full.push((index, error)),
                Err(error) => member.blame(&error)?,
            }
        }
        set.judge_full(&full)?;
        set.check_quorum()?;
        self.files = files;
        Ok(())
    }

    /// Opens one disk's file of the current segment, creating it where there is none.
    fn open_file(&self, set: &Set, member: &Member) -> Result<Arc<dyn DiskFile>, DiskError> {
        let create = || member.create(self.segment, set.segment_len, false);
        if self.sector == 0 {
            // It may have been made ahead, and somebody may have removed or moved it since.
            member.forget(self.segment);
        }
        match member.file(self.segment) {
            Err(error) if error.kind == DiskErrorKind::NotFound => create(),
            Ok(file) if file.len() < set.segment_len => {
                if self.sector == 0 {
                    // Left by a creation that was cut off; nothing was ever in it.
                    return create();
                }
                Err(DiskError {
                    kind: DiskErrorKind::ShortRead,
                    disk: member.label().to_string(),
                    what: format!("{} is shorter than a segment", layout::segment_name(self.segment)),
                    source: None,
                })
            }
            other => other,
        }
    }

    /// Lets a disk take part from the next stripe on; what it lacks of the segment is healed. Does nothing for a disk of
    /// a set that is not being written.
    pub(crate) fn join(&mut self, set: &Set, disk: usize) -> Result<(), DiskError> {
        if set.id != self.set.id {
            return Ok(());
        }
        let member = &set.members[disk];
        let file = match self.open_file(set, member) {
            // An old file of this number, cut short: nothing in it is relied on.
            Err(error) if error.kind == DiskErrorKind::ShortRead => member.create(self.segment, set.segment_len, false),
            other => other,
        }?;
        if let Some(place) = self.files.get_mut(disk) {
            *place = Some(file);
        }
        Ok(())
    }

    /// Lets a disk take part no longer.
    pub(crate) fn leave(&mut self, set: &Set, disk: usize) {
        if set.id != self.set.id {
            return;
        }
        if let Some(place) = self.files.get_mut(disk) {
            *place = None;
        }
    }

    /// Whether the files of the current segment are open; there may have been no room for them yet.
    pub(crate) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.identity.epoch
    }

    pub(crate) fn position(&self, next_lsn: Lsn) -> Position {
        Position { segment: self.segment, offset: layout::byte_of(self.sector), next_lsn }
    }
}

impl Shared {
    /// Writes one batch, or syncs what somebody waits for. False if there was nothing to do.
    pub(crate) fn pump(&self, writer: &mut Writer) -> Result<bool> {
        loop {
            let mut queue = self.queue.lock();
            if let Some(halt) = queue.halt {
                return Err(halt.error());
            }
            let moves = writer.set.is_halted() || writer.attempt == Attempt::Disowned;
            if moves && !queue.items.is_empty() {
                // The set lost its quorum over something else than a stripe, or going on elsewhere was cut off.
                drop(queue);
                self.roll(writer).inspect_err(|error| self.stick(error))?;
                continue;
            }
            let wanted_durable = queue.wanted_durable;
            let batch = queue.take(self.options.payload_max(writer.set.geometry) as usize);
            drop(queue);
            let (Some(first), Some(last)) =
                (batch.first().map(|queued| queued.lsn), batch.last().map(|queued| queued.lsn))
            else {
                if wanted_durable <= self.durable() || !writer.unsynced {
                    return Ok(false);
                }
                self.sync(writer)?;
                return Ok(true);
            };
            let shard_len = Frames::shard_len(&batch, writer.set.geometry.data_shards);
            if writer.sector + layout::frame_sectors(shard_len) > writer.set.segment_sectors() {
                // The next segment may lie on a set of another layout, where a stripe holds more or less.
                self.queue.lock().put_back(batch);
                self.roll(writer).inspect_err(|error| self.stick(error))?;
                continue;
            }
            if writer.files.is_empty() {
                // There was no room for them before.
                if let Err(error) = writer.open_files() {
                    self.queue.lock().put_back(batch);
                    self.stick(&error);
                    return Err(error);
                }
            }
            let durable = wanted_durable >= first || batch.iter().any(|queued| !queued.append.relaxed);
            if planted(Bug::AcknowledgedEarly) {
                self.advance(0, last, last);
            }
            match self.write(writer, &batch, last, durable) {
                Ok(()) => {}
                Err(LedgerError::QuorumLost { answered, needed }) => {
                    self.queue.lock().put_back(batch);
                    if !self.go_elsewhere(writer, first).inspect_err(|error| self.stick(error))? {
                        let halt = Halt::QuorumLost { answered, needed };
                        self.halt(halt);
                        return Err(halt.error());
                    }
                    continue;
                }
                Err(error @ (LedgerError::Full | LedgerError::Exhausted { .. })) => {
                    self.queue.lock().put_back(batch);
                    self.stick(&error);
                    return Err(error);
                }
                Err(other) => return Err(other),
            }
            self.look_ahead(writer);
            return Ok(true);
        }
    }

    /// Tells whoever waits that what is queued cannot be written for now, if that is what `error` says.
    fn stick(&self, error: &LedgerError) {
        let mut queue = self.queue.lock();
        let stuck = match error {
            LedgerError::Full => Some(Stuck::Full),
            LedgerError::Exhausted { .. } => Some(Stuck::Exhausted),
            _ => None,
        };
        if stuck.is_some() {
            queue.stuck = stuck;
            // Whoever waits is told.
            let _ = self.writes.failed(error, STUCK_PAUSE);
            queue.note_refusing(self.clock.now());
            self.stalled.store(true, Ordering::Release);
        }
        self.wake(queue);
    }

    fn write(&self, writer: &mut Writer, batch: &[Queued], last: Lsn, durable: bool) -> Result<()> {
        let (segment, sector) = (writer.segment, writer.sector);
        let laid = match writer.frames.lay_out(batch, &writer.identity, segment, sector, self.durable()) {
            Ok(laid) => laid,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a stripe cannot be coded");
                let halt = Halt::QuorumLost { answered: 0, needed: writer.set.write_quorum() };
                self.halt(halt);
                return Err(halt.error());
            }
        };
        // Direct and durable in one call; but what was buffered before needs a sync that covers it as well.
        let direct = laid.frame_len >= DIRECT_MIN;
        let synced = (direct || (durable && !writer.unsynced)) && !planted(Bug::StripeNotSynced);
        let mode = if synced { WriteMode::Durable } else { WriteMode::Buffered };
        let durable = durable || (direct && !writer.unsynced);
        let sync = durable && writer.unsynced && !planted(Bug::EarlierStripesNotSynced);
        self.each_disk(writer, laid.frame_len, mode, sync)?;
        writer.unsynced = !durable;
        writer.attempt = Attempt::None;
        writer.sector = laid.head.end_sector();
        writer.stripes += 1;
        self.queue.lock().room.rest = self.rest(writer);
        if let Some(sink) = &*self.sink.read() {
            sink.written(&laid.placed, writer.position(last.next()));
        }
        let bytes = batch.iter().map(Queued::len).sum();
        self.advance(bytes, last, if durable { last } else { Lsn(0) });
        Ok(())
    }

    /// Writes the laid frames and syncs, on all disks that take writes; `frame_len` of zero only syncs.
    fn each_disk(&self, writer: &mut Writer, frame_len: usize, mode: WriteMode, sync: bool) -> Result<()> {
        if writer.files.is_empty() {
            writer.open_files()?;
        }
        if frame_len > 0 {
            writer.attempt = Attempt::Frames;
        }
        let (segment, sector) = (writer.segment, writer.sector);
        let set = Arc::clone(&writer.set);
        let disks = set.disks();
        let mut jobs = Vec::with_capacity(disks);
        for (disk, file) in writer.files.iter().enumerate() {
            let Some(file) = file.as_ref().filter(|_| set.members[disk].writable()) else {
                continue;
            };
            let buf = if frame_len > 0 {
                std::mem::take(&mut writer.frames.by_shard[layout::shard_on(disk, segment, sector, disks)])
            } else {
                AlignedBuf::new()
            };
            jobs.push(Job {
                disk,
                file: Arc::clone(file),
                buf,
                len: frame_len,
                offset: layout::byte_of(sector),
                mode,
                sync,
            });
        }
        let (mut answered, mut took, mut exhausted) = (0, 0_u32, None);
        let inline = mode == WriteMode::Buffered && !sync && frame_len * disks <= INLINE_MAX;
        let mut times = Vec::with_capacity(disks);
        for done in writer.workers.run(jobs, inline, &*self.clock) {
            if frame_len > 0 {
                writer.frames.by_shard[layout::shard_on(done.disk, segment, sector, disks)] = done.buf;
            }
            match done.result {
                Ok(()) => {
                    answered += 1;
                    took |= 1 << done.disk;
                    times.push((done.disk, done.nanos));
                }
                Err(_) if planted(Bug::FailedDiskKept) => took |= 1 << done.disk,
                Err(error) => match set.members[done.disk].blame(&error) {
                    Ok(()) => writer.files[done.disk] = None,
                    Err(error) => exhausted = Some(error),
                },
            }
        }
        let needed = set.write_quorum();
        if let Some(exhausted) = exhausted {
            set.check_quorum()?;
            // What some disks took is written to all of them once more, at the same place.
            return Err(exhausted);
        }
        if answered < needed {
            return Err(LedgerError::QuorumLost { answered, needed });
        }
        if let Some(slow) = set.judge_writes(&times) {
            writer.files[slow] = None;
            took &= !(1 << slow);
        }
        let mut supers = set.supers.lock();
        if (supers.newest.active & !took != 0 || supers.is_behind()) && !planted(Bug::LostDiskNotTold) {
            // Before anything is acknowledged that a disk lacks, the others must know that it lacks it. It may have been
            // set aside by this stripe, or before it by whoever made a segment or healed.
            let durable = self.durable();
            supers.store(&set, durable, |superblock| superblock.durable_lsn = durable)?;
        }
        Ok(())
    }

    /// Syncs the current segment on all disks; everything written is then durable.
    pub(crate) fn sync(&self, writer: &mut Writer) -> Result<()> {
        if writer.unsynced && !planted(Bug::SyncSkipped) {
            self.sync_files(writer)?;
        }
        self.advance(0, Lsn(0), self.written());
        Ok(())
    }

    /// Syncs the files of the current segment, whether anything waits for it or not. One that was removed, or whose disk went and came
    /// back, is found so: its disk is set aside.
    pub(crate) fn sync_files(&self, writer: &mut Writer) -> Result<()> {
        self.each_disk(writer, 0, WriteMode::Buffered, true).inspect_err(|error| {
            // What was written before is told of already: no other set can stand in for it.
            if let LedgerError::QuorumLost { answered, needed } = *error {
                self.halt(Halt::QuorumLost { answered, needed });
            }
        })?;
        writer.unsynced = false;
        self.advance(0, Lsn(0), self.written());
        Ok(())
    }

    /// Makes the first segment of a new set anew, filled with zeros, before anything is in it.
    pub(crate) fn zero_first(&self, writer: &mut Writer) {
        let untouched = writer.segment.0 == 0 && writer.sector == 0 && self.queue.lock().halt.is_none();
        if untouched && self.options.zero_ahead {
            // A lack of room or of disks shows with the first stripe.
            drop(writer.set.create_segment(writer.segment, true, 0));
            drop(writer.open_files());
        }
    }
}

//! When the mover runs, and how fast: in the background of a server, and on demand.
//!
//! In the background a checkpoint is taken once the log behind the last one is long, so that the rebuild of a lost index stays short.
//! The references into each segment are counted now and then, for a small share of the time. If enough is garbage, or the disks fill
//! up, the mover reclaims the segments that are worth it. When the disks are nearly full, it works without a rate limit.

use std::time::Duration;

use strata_content::{Choice, ContentErrorKind, Host, MoverReport, Taken, Unpaced};
use strata_namespace::records::key;
use strata_namespace::{Error, ErrorKind, Result};
use strata_seam::{Share, Stop};

use crate::balance::sum;
use crate::drain::DrainStep;
use crate::runtime::Runtime;

/// How often the background looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Least time between two countings, in nanoseconds, if so much was released since that it may be worth a round ...
const COUNT_EVERY_NANOS: u64 = 2_000_000_000;
/// ... and where it was not: garbage also comes of what nobody ever owned ...
const COUNT_ANYWAY_NANOS: u64 = 60_000_000_000;
/// ... and of the time at most so much.
const COUNT_SHARE: Share = Share(20);
/// The same in a full store, where everybody waits for it.
const FULL_LOOK_EVERY: Duration = Duration::from_millis(200);
const FULL_COUNT_EVERY_NANOS: u64 = 500_000_000;
const FULL_COUNT_SHARE: Share = Share(3);
/// Time after which it is counted again although nothing was committed.
const FULL_AGAIN_NANOS: u64 = 2_000_000_000;
/// Pause after something failed in a store that is not full.
const FAILED_PAUSE: Duration = Duration::from_secs(10);
/// How long the background waits for readers and ingests from before, before it leaves their segments for another time.
const HOLDERS_WAIT_NANOS: u64 = 30_000_000_000;
/// Pause between two looks at them.
const HOLDERS_PAUSE: Duration = Duration::from_millis(20);
/// Per cent of the disks in use from which any garbage is worth taking up.
const CROWDED_PERCENT: u64 = 85;
/// A store with room for less than this share of a segment counts as full for the mover.
const ALMOST_FULL_SHARE: u64 = 4;
/// Per cent of a segment that may still be wanted for it to be taken up in the background, and on demand or when crowded.
const BELOW: u8 = 60;
const BELOW_ON_DEMAND: u8 = 85;
/// Segments of which nothing is referenced.
const BELOW_DEAD: u8 = 1;
/// In a full store, where nothing emptier is left. Headers and the ends of segments are some per cent of what is not wanted.
const BELOW_FULL: u8 = 92;
/// Share of the complete segments that must be garbage before the background begins.
const GARBAGE_SHARE: u64 = 10;
/// Per cent of the complete segments that are garbage from which the background begins whatever that costs.
const GARBAGE_PERCENT_MAX: u64 = 66;

/// Keeps to the rate, tells how it goes, ends when asked.
struct Paced<'a> {
    runtime: &'a Runtime,
    stop: &'a Stop,
    progress: &'a mut dyn FnMut(&MoverReport) -> bool,
    /// Whether the rate does not count: the disks are full.
    hurry: bool,
    /// Since when it waits for the same holders.
    waiting_since: Option<u64>,
    wait_nanos: u64,
}

impl Host for Paced<'_> {
    fn pace(&mut self, bytes: u64, report: &MoverReport) -> bool {
        self.waiting_since = None;
        if !self.hurry {
            let store = self.runtime.store();
            // A store that has become full meanwhile does not wait either.
            let no_rest = || self.stop.is_asked() || store.ledger().is_full();
            store.mover_pace().pay(&**self.runtime.clock(), bytes, &no_rest);
        }
        !self.stop.is_asked() && (self.progress)(report)
    }

    fn wait(&mut self, _holders: usize, report: &MoverReport) -> bool {
        let now = self.runtime.clock().monotonic_nanos();
        let since = *self.waiting_since.get_or_insert(now);
        now.saturating_sub(since) < self.wait_nanos && self.stop.sleep(HOLDERS_PAUSE) && (self.progress)(report)
    }
}

impl Runtime {
    /// Frees the space of deleted content now, and packs small commits, at full speed: releases references without an owner, ends the
    /// segment being written, and reclaims every segment that is less than 85 % referenced. Waits up to `patience` for readers and
    /// uploads that began before, and leaves their segments if they have not ended. `progress` is called with the report so far and ends
    /// the work by returning `false`; what was done stays done.
    ///
    /// # Errors
    /// Those of the store; nothing is lost, and the next reclaim goes on.
    pub fn reclaim(&self, patience: Duration, progress: &mut dyn FnMut(&MoverReport) -> bool) -> Result<MoverReport> {
        let mut collected = self.collect_all(&mut || true)?;
        let mut on = true;
        let mut done = MoverReport::default();
        let mut ended = self.end_segment()?;
        let mut most = self.store().ledger().room().left;
        loop {
            let mut freed = 0;
            // Rounds leave their commits behind, and each but the last its checkpoint: whole segments without referenced content.
            // One more checkpoint frees them.
            for below in [BELOW_ON_DEMAND, BELOW_DEAD] {
                let (before, written) = (done.clone(), self.store().log_written());
                let mut tell = |report: &MoverReport| {
                    on = progress(&sum(&before, report));
                    on
                };
                let report = self.reclaim_as(Choice::Below(below), patience, true, &mut tell)?;
                done = sum(&done, &report);
                freed += report.segments_freed;
                let written = self.store().log_written().saturating_sub(written);
                let leaves_little = report.checkpoints <= 1 && written <= self.store().ledger().segment_capacity();
                if leaves_little || !on {
                    break;
                }
            }
            // What could not be ended for lack of room may be ended now, and its garbage freed. But if checkpoints are longer than
            // segments, a round may free only what its checkpoint took: then this would never end.
            let left = self.store().ledger().room().left;
            let more = !ended || !collected;
            if !more || !on || freed == 0 || left <= most {
                return Ok(done);
            }
            most = left;
            collected = self.collect_all(&mut || true)?;
            ended = self.end_segment()?;
        }
    }

    /// Releases what nobody owns any more, as long as `go_on` returns true; `false` if there is no room even for that, before
    /// what is garbage already was freed.
    fn collect_all(&self, go_on: &mut dyn FnMut() -> bool) -> Result<bool> {
        while go_on() {
            match self.store().collect() {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ContentErrorKind::NoSpace => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Ends the segment being written, so that it can be moved and freed; `false` where the room for another is kept for
    /// the mover, and not well spent on that.
    fn end_segment(&self) -> Result<bool> {
        let ledger = self.store().ledger();
        if ledger.room().spare <= ledger.segment_capacity() {
            let census = self.store().census(&mut Unpaced, &MoverReport::default())?;
            if !census.is_some_and(|census| self.store().is_worth_ending(&census)) {
                return Ok(false);
            }
        }
        ledger.begin_segment().map_err(strata_content::ContentError::from)?;
        Ok(true)
    }

    /// A reclaim on demand: as fast as it can with `hurry`, else at the mover's pace.
    pub(crate) fn reclaim_as(
        &self,
        choice: Choice<'_>,
        patience: Duration,
        hurry: bool,
        progress: &mut dyn FnMut(&MoverReport) -> bool,
    ) -> Result<MoverReport> {
        if !self.store().ledger().is_started() {
            // Without threads no holder could end meanwhile, and nothing may sleep.
            return Ok(self.store().reclaim(choice, &mut Unpaced)?);
        }
        let wait_nanos = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let stop = Stop::default();
        let mut host = Paced { runtime: self, stop: &stop, progress, hurry, waiting_since: None, wait_nanos };
        Ok(self.store().reclaim(choice, &mut host)?)
    }

    /// Overwrites what the log still has of certain settings, chosen by key and value, in commits and in all checkpoints but the newest.
    /// The settings themselves must have been replaced before. Works at the mover's pace. Returns `true` once nothing is left; `false` if
    /// `go_on` ended it, or if readers and uploads from before prevent it: try again later. A disk that is away keeps its traces until it
    /// comes back.
    ///
    /// # Errors
    /// Those of the store; nothing is lost, and the next one goes on.
    pub fn erase_settings(
        &self,
        sought: &dyn Fn(&str, &[u8]) -> bool,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<bool> {
        let records = |key: &[u8], value: &[u8]| {
            key.first() == Some(&key::TABLE_SETTING)
                && std::str::from_utf8(&key[1..]).is_ok_and(|name| sought(name, value))
        };
        self.store().ledger().begin_segment().map_err(strata_content::ContentError::from)?;
        // A commit behind what is to be freed: the position of a checkpoint is that of the last commit in it, and limits what may be freed.
        self.namespace().commit_nothing()?;
        if !self.store().ledger().is_started() {
            return Ok(self.store().erase(&records, &mut Unpaced)?);
        }
        let mut progress = |_: &MoverReport| go_on();
        let mut host = Paced {
            runtime: self,
            stop: &Stop::default(),
            progress: &mut progress,
            hurry: false,
            waiting_since: None,
            wait_nanos: HOLDERS_WAIT_NANOS,
        };
        Ok(self.store().erase(&records, &mut host)?)
    }

    /// The background of the mover, until it is told to stop.
    pub(crate) fn run_mover(&self, stop: &Stop) {
        // The worker is shown from the beginning.
        self.drainer();
        let mut counted = SpaceWatch::default();
        let pause = || if self.store().ledger().is_full() { FULL_LOOK_EVERY } else { LOOK_EVERY };
        let again = || if self.store().ledger().is_full() { LOOK_EVERY } else { FAILED_PAUSE };
        // A failure loses nothing, and an immediate retry would only repeat it.
        let say = |error: &Error| {
            tracing::warn!(error = error as &dyn std::error::Error, "the mover cannot go on; it tries again");
        };
        stop.sleep(pause());
        self.store().mover().work(stop, again, say, || self.move_if_due(stop, &mut counted).map(|()| pause()));
    }

    /// Does one round of the mover's thread on the calling thread: a checkpoint, a step of a drain, or a reclaim, if one is due. For
    /// stores without threads.
    ///
    /// # Errors
    /// Those of the store; nothing is lost, and the next look goes on.
    pub fn give_back_if_due(&self, watch: &mut SpaceWatch) -> Result<()> {
        self.move_if_due(&Stop::default(), watch)
    }

    fn move_if_due(&self, stop: &Stop, counted: &mut SpaceWatch) -> Result<()> {
        let store = self.store();
        let ledger = store.ledger();
        if ledger.status().read_only.is_some() {
            store.mover().waits_for("the write quorum");
            return Ok(());
        }
        store.mover().goes_on();
        let mut quiet = |_: &MoverReport| true;
        let mut host = Paced {
            runtime: self,
            stop,
            progress: &mut quiet,
            hurry: false,
            waiting_since: None,
            wait_nanos: HOLDERS_WAIT_NANOS,
        };
        if store.checkpoint_due() {
            let report = MoverReport::default();
            let taken =
                store.take_checkpoint(&std::collections::BTreeSet::new(), &mut |bytes| host.pace(bytes, &report))?;
            if let Taken::Done(done) = taken {
                tracing::info!(pairs = done.pairs, pieces = done.pieces, shared = done.shared, "checkpoint taken");
            }
        }
        if let Some(set) = self.draining()
            && !self.drain_in_background(set.number, &mut host)?
        {
            return Ok(());
        }
        // The next write may need more than is left, which shows only when it is refused.
        let full = ledger.is_full() || ledger.room().spare < ledger.segment_capacity() / ALMOST_FULL_SHARE;
        if full {
            // Releases the contents of removed files, page by page: before that, nothing of them is garbage.
            self.collect_all(&mut || !stop.is_asked())?;
        }
        let now = self.clock().monotonic_nanos();
        let pause = match full {
            true => FULL_COUNT_EVERY_NANOS.max(FULL_COUNT_SHARE.rest_after(counted.took)),
            false if counted.garbage + store.released().saturating_sub(counted.released) >= counted.worth => {
                COUNT_EVERY_NANOS.max(COUNT_SHARE.rest_after(counted.took))
            }
            false => COUNT_ANYWAY_NANOS.max(COUNT_SHARE.rest_after(counted.took)),
        };
        let at = store.last_commit().0;
        // In a full store there may be no commits, but what somebody held before may be free by now.
        let again =
            full && now.saturating_sub(counted.when) >= FULL_AGAIN_NANOS.max(COUNT_SHARE.rest_after(counted.took));
        if (at == counted.at && !again) || now.saturating_sub(counted.when) < pause {
            return Ok(());
        }
        let room = ledger.space();
        let crowded = full || room.free.saturating_mul(100) < room.total * (100 - CROWDED_PERCENT);
        let released = store.released();
        let Some(census) = store.census(&mut host, &MoverReport::default())? else { return Ok(()) };
        let after = self.clock().monotonic_nanos();
        let worth = census.occupied() / GARBAGE_SHARE + census.capacity;
        // A round takes a checkpoint, which is large where many small objects are: garbage is freed in larger portions there.
        let worth = worth.max(store.worth_a_checkpoint().min(census.occupied() / 100 * GARBAGE_PERCENT_MAX));
        let garbage = census.garbage(Choice::Below(BELOW));
        *counted = SpaceWatch { at, when: after, took: after.saturating_sub(now), released, garbage, worth };
        let ended = full && store.is_worth_ending(&census);
        if ended {
            // Content that was removed last lies in this segment, and nothing else may free room.
            ledger.begin_segment().map_err(strata_content::ContentError::from)?;
        }
        let mut choice = Choice::Below(if crowded { BELOW_ON_DEMAND } else { BELOW });
        if full && census.garbage(choice) == 0 {
            choice = Choice::Below(BELOW_FULL);
        }
        let garbage = census.garbage(choice);
        if !ended && (garbage == 0 || (!crowded && garbage < worth)) {
            return Ok(());
        }
        host.hurry = crowded;
        let report = store.reclaim(choice, &mut host)?;
        if report.rounds == 0 {
            return Ok(());
        }
        tracing::info!(
            segments = report.segments_freed,
            bytes_freed = report.bytes_freed,
            bytes_moved = report.bytes_moved,
            chunks_dropped = report.chunks_dropped,
            waiting = report.segments_waiting,
            unreadable = report.unreadable,
            "space given back"
        );
        // Segments that somebody still reads from are looked at again, even if nothing is changed.
        counted.at = if report.segments_waiting > 0 { 0 } else { store.last_commit().0 };
        Ok(())
    }
}

impl Runtime {
    /// One step of emptying a set; `false` where the host is to end.
    fn drain_in_background(&self, number: u16, host: &mut Paced<'_>) -> Result<bool> {
        let worker = self.drainer();
        match self.drain_step(number, host) {
            Ok(DrainStep::Released(unwiped)) => {
                tracing::info!(number, ?unwiped, "a set was emptied and has left the store")
            }
            Ok(DrainStep::Stuck(why)) => {
                if worker.failed(&why, LOOK_EVERY) {
                    tracing::warn!(number, why, "a set cannot be emptied for now; it is tried again");
                }
                return Ok(true);
            }
            Ok(DrainStep::More) => {}
            Ok(DrainStep::Ended) => return Ok(false),
            Err(error) => {
                let new = worker.failed(&error, LOOK_EVERY);
                // Where the other sets are full, making room on them comes first.
                if error.kind != ErrorKind::NoSpace {
                    return Err(error);
                }
                if new {
                    tracing::warn!(number, %error, "a set cannot be emptied for now; it is tried again");
                }
                return Ok(true);
            }
        }
        worker.well();
        Ok(true)
    }
}

/// What the mover's thread remembers between two rounds: its last count of referenced bytes.
#[derive(Default)]
pub struct SpaceWatch {
    /// The last commit before it.
    at: u64,
    when: u64,
    took: u64,
    /// Bytes that had been released before it, the garbage that it found, and how much is worth a round.
    released: u64,
    garbage: u64,
    worth: u64,
}

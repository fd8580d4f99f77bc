//! Opening the sets of a store: at the start of a process, and anew within one when a set that had lost its write quorum
//! has enough disks again.
//!
//! Anew it is the same as at a start: the disks say who they are and what they were told, the log is walked to its end and
//! mended, and an opening of its own is written down before anything is appended. What the process knew of the disks is
//! forgotten, since nobody could write down who was left when the quorum went (`supers.rs`). What it has in its queue is not:
//! what of it the disks turn out to have is written, the rest is written now, under its own numbers.
//!
//! Invariants: nothing that was told to be written is missing afterwards, or the store stays read-only; a set that was
//! replaced by its successor in memory writes nothing more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use strata_seam::planted::{Bug, planted};
use strata_seam::{Clock, Disk, Epoch, Lsn, Position, SegmentId};

use crate::api::{PlacedBlock, Replayed};
use crate::error::{LedgerError, Result};
use crate::features;
use crate::history::{History, Opening};
use crate::identify::{self, Identified, Stranger};
use crate::ledger::append_limit;
use crate::member::Member;
use crate::options::Options;
use crate::placing::another_name;
use crate::queue::{Halt, Queued, Stuck};
use crate::recover::{self, Replay};
use crate::roster::Roster;
use crate::set::Set;
use crate::sets::Homes;
use crate::shared::Shared;
use crate::stripe::{Frames, Identity};
use crate::writer::Writer;

/// The sets of a store as they were found, and where their log goes on.
pub(crate) struct OpenSets {
    pub(crate) sets: Vec<Arc<Set>>,
    pub(crate) homes: Homes,
    pub(crate) roster: Roster,
    pub(crate) history: History,
    pub(crate) strangers: Vec<Stranger>,
    pub(crate) writer: Writer,
    pub(crate) end: Position,
    /// Why nothing can be appended, if so.
    pub(crate) halt: Option<Halt>,
}

/// Identifies the disks, replays the log from `from` on, mends its end and, where a set takes writes, writes down that it
/// is open. `name` draws the name of the opening, given its epoch. `before` are the sets as this process knew them, if it did:
/// what was given back of them is not of the log, whoever still has files of it.
pub(crate) fn open_sets(
    disks: Vec<Arc<dyn Disk>>,
    before: &[Arc<Set>],
    options: &Options,
    clock: &Arc<dyn Clock>,
    name: impl FnOnce(u64) -> u64,
    from: Option<Position>,
    replay: Replay<'_>,
) -> Result<OpenSets> {
    let Identified { sets, roster, history, strangers } = identify::identify(disks, options, Arc::clone(clock))?;
    let mut unknown = 0;
    for set in &sets {
        if let Some(known) = before.iter().find(|known| known.id == set.id) {
            *set.freeing.write() = known.freeing.read().clone();
        }
        Options { segment_len: set.segment_len, ..options.clone() }.check(set.geometry)?;
        unknown |= set.supers.lock().newest.unknown_ro_compat();
        if set.check_quorum().is_err() {
            set.halt();
        }
    }
    if unknown != 0 {
        tracing::warn!(store = %roster.store, flags = unknown, "the store has features this version does not know: it opens read-only");
    }
    let mut writable = unknown == 0 && sets.iter().any(|set| set.is_open());
    let recovered = recover::recover(&sets, &history, from, writable, replay)?;
    let end = recovered.end;
    // What is kept without proof of having been durable is so only where a set that takes writes was mended. To tell
    // anybody otherwise would turn its loss, which nobody was promised to be spared, into damage.
    let settled = |segment: &SegmentId| recovered.homes.get(segment).is_none_or(|set| set.is_open());
    writable &= sets.iter().any(|set| set.is_open()) && recovered.tail.iter().all(settled);
    let mut history = history;
    let mut last = Opening { epoch: Epoch(0), opening: 0, first_lsn: end.next_lsn };
    if writable {
        let epoch = history.last().map_or(0, |last| last.epoch.0) + 1;
        last = Opening { epoch: Epoch(epoch), opening: name(epoch), first_lsn: end.next_lsn };
        if !planted(Bug::OpeningNotStored) {
            history.push(last);
        }
        begin_opening(&sets, &history, &roster, Lsn(end.next_lsn.0 - 1))?;
        writable = sets.iter().any(|set| set.is_open());
    }
    let home = recovered.homes.get(&end.segment).unwrap_or(&sets[0]);
    let frames = Frames::new(identify::codec(home.codec_id, home.geometry)?);
    let identity = Identity { set: home.id, geometry: home.geometry, epoch: last.epoch, opening: last.opening };
    let writer = Writer::new(end, Arc::clone(home), frames, identity);
    let halt = (!writable).then(|| Halt::QuorumLost { answered: home.writable(), needed: home.write_quorum() });
    sets.iter().flat_map(|set| &set.members).for_each(|member| member.join_at(end.next_lsn));
    Ok(OpenSets { sets, homes: recovered.homes, roster, history, strangers, writer, end, halt })
}

/// How often anything about the disks has changed.
fn changes_of(sets: &[Arc<Set>]) -> u64 {
    sets.iter().flat_map(|set| &set.members).map(Member::changes).sum()
}

impl Shared {
    /// Goes on where an opening found the end of the log.
    ///
    /// # Errors
    /// [`LedgerError::Exhausted`].
    pub(crate) fn begin(&self, writer: &mut Writer) -> Result<()> {
        match self.go_on(writer) {
            Ok(()) => {}
            Err(LedgerError::Full) => self.queue.lock().stuck = Some(Stuck::Full),
            Err(error @ LedgerError::Exhausted { .. }) => return Err(error),
            Err(_) => {
                let (answered, needed) = (writer.set.writable(), writer.set.write_quorum());
                self.halt(Halt::QuorumLost { answered, needed });
            }
        }
        Ok(())
    }

    /// Opens the store anew where a set takes no writes and has enough disks for it by now. Whether all of it takes writes
    /// then. What waits in the queue is written by whoever writes next.
    ///
    /// # Errors
    /// Those of an opening, and [`LedgerError::Inconsistent`] where what was told to be written is not there any more: the
    /// store stays as it is.
    pub(crate) fn reopen(&self, writer: &mut Writer) -> Result<bool> {
        let sets = self.sets.all();
        let halt = self.queue.lock().halt;
        let lost = |set: &Set| set.is_halted() || halt.is_some();
        let enough = sets.iter().any(|set| lost(set) && set.check_quorum().is_ok());
        // Where no disk came or went since the last look, it finds what that one found.
        let changes = changes_of(&sets);
        let changed = self.looked_at.swap(changes, Ordering::AcqRel) != changes;
        if !enough || !changed || halt == Some(Halt::Closed) {
            return Ok(false);
        }
        let reopened = self.open_anew(writer, &sets);
        match &reopened {
            Ok(_) => self.looked_at.store(changes_of(&self.sets.all()), Ordering::Release),
            Err(LedgerError::Exhausted { .. }) => self.looked_at.store(u64::MAX, Ordering::Release),
            Err(_) => {}
        }
        reopened
    }

    fn open_anew(&self, writer: &mut Writer, sets: &[Arc<Set>]) -> Result<bool> {
        self.prepare.quiesce();
        let mut disks = Vec::new();
        for set in sets {
            disks.extend(set.members.iter().filter_map(|member| member.disk().ok()));
        }
        let written = self.written();
        let from = writer.position(written.next());
        let mut found: Vec<PlacedBlock> = Vec::new();
        let opened = open_sets(
            disks,
            sets,
            &self.options,
            &self.clock,
            |epoch| another_name(self.seed, epoch),
            Some(from),
            &mut |append: Replayed| {
                found.extend(append.blocks);
                Ok(())
            },
        )?;
        let mut queue = self.queue.lock();
        if opened.end.next_lsn <= written || opened.end.next_lsn > queue.next_lsn {
            let what = format!(
                "the disks hold the log up to {}, and this server knows of {written} to {}; restart it",
                opened.end.next_lsn, queue.next_lsn
            );
            return Err(LedgerError::Inconsistent { what });
        }
        queue.halt = opened.halt;
        if queue.halt.is_none() {
            self.writes.goes_on();
            self.writes.well();
        }
        queue.append_len_max = append_limit(&opened.sets, &self.options);
        let mut bytes = 0;
        while queue.items.front().is_some_and(|queued| queued.lsn < opened.end.next_lsn) {
            bytes += queue.items.pop_front().as_ref().map_or(0, Queued::len);
        }
        if planted(Bug::QueueForgotten) {
            bytes = queue.bytes;
            queue.items.clear();
        }
        drop(queue);
        opened.sets.iter().filter(|set| set.is_open()).for_each(|set| set.give_up_given_back());
        // Whoever still has one of the old ones in hand only reads.
        sets.iter().for_each(|set| set.halted.store(true, Ordering::Release));
        self.sets.replace(opened.sets, opened.homes, opened.roster);
        *self.history.lock() = opened.history;
        *self.strangers.lock() = opened.strangers;
        let workers = std::mem::take(&mut writer.workers);
        *writer = opened.writer;
        writer.workers = workers;
        let last = Lsn(opened.end.next_lsn.0 - 1);
        if let Some(sink) = &*self.sink.read() {
            sink.written(&found, opened.end);
        }
        self.advance(bytes, last, last);
        if opened.halt.is_some() {
            return Ok(false);
        }
        self.begin(writer)?;
        self.measure(writer);
        let resumed = self.queue.lock().halt.is_none();
        if resumed {
            tracing::info!(from = last.next().0, "the write quorum is back: the store takes writes again");
        }
        self.work.notify_one();
        Ok(resumed && self.sets.all().iter().all(|set| !set.is_halted()))
    }
}

/// Tells the sets that take writes of an opening that begins behind `durable`: first all of them that there is one, then
/// all of them that it may append. Only when a quorum of each knows that may anybody be told what the opening found. A
/// set that loses its quorum by it takes no writes.
///
/// Along with it those sets learn the list of sets, the checkpoint and the features that count, where they were not told when
/// these were changed.
///
/// # Errors
/// [`LedgerError::Exhausted`]: the opening is to be tried again.
fn begin_opening(sets: &[Arc<Set>], history: &History, roster: &Roster, durable: Lsn) -> Result<()> {
    let newest = sets.iter().map(|set| {
        let supers = set.supers.lock();
        (supers.newest.checkpoint_version, supers.newest.checkpoint)
    });
    let (version, checkpoint) = newest.max_by_key(|(version, _)| *version).unwrap_or((0, [0; 128]));
    let (several, features) = (roster.version > 0, features::known(sets));
    // A disk that failed while the end of the log was mended holds what was known before to be durable.
    let sounds: Vec<Lsn> = sets.iter().map(|set| set.supers.lock().newest.durable_lsn).collect();
    for appending in [false, true] {
        for (set, sound) in sets.iter().zip(&sounds).filter(|(set, _)| !set.is_halted()) {
            let stored = set.supers.lock().store(set, *sound, |superblock| {
                superblock.appending = appending;
                if appending {
                    return;
                }
                superblock.durable_lsn = superblock.durable_lsn.max(durable);
                superblock.history = history.clone();
                superblock.features |= features;
                if several {
                    superblock.roster = Some(roster.clone());
                    (superblock.checkpoint_version, superblock.checkpoint) = (version, checkpoint);
                }
            });
            match stored {
                Err(error @ LedgerError::Exhausted { .. }) => return Err(error),
                Err(_) => set.halt(),
                Ok(()) => {}
            }
        }
    }
    Ok(())
}
